//! How a request arrived: over TLS or not, and from a page that may use the browser's credentials or not.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Uri};

use super::AllowedOrigins;
use crate::problem::Problem;

/// What the browser says of the page that a request is from. Scripts cannot set it.
const FETCH_SITE: &str = "sec-fetch-site";

/// How a request arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// A trusted proxy says that its caller used TLS.
    pub https: bool,
    pub(super) origins: Arc<AllowedOrigins>,
}

impl Arrival {
    /// That of a request.
    ///
    /// # Errors
    /// 500 where the outermost layer is missing.
    pub(crate) fn of(parts: &Parts) -> Result<&Self, Problem> {
        parts.extensions.get().ok_or_else(|| Problem::internal("served without knowing how it arrived"))
    }

    /// Whether the request is from a page of ours, or of an origin that may call us. What only reads may also be from
    /// no page at all, such as an address that was typed: no other page gets to see the answer then. WebSockets only
    /// read in this sense, and always name their origin.
    pub(crate) fn is_ours(&self, parts: &Parts) -> bool {
        let headers = &parts.headers;
        if headers.get(FETCH_SITE).is_some_and(|site| site == "same-origin") {
            return true;
        }
        match headers.get(ORIGIN) {
            Some(origin) => self.is_own(origin, parts) || self.origins.name(origin),
            None => parts.method.is_safe(),
        }
    }

    /// Whether the origin is where this request went. Without the word of a proxy the scheme is not known.
    fn is_own(&self, origin: &HeaderValue, parts: &Parts) -> bool {
        let origin = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        let Some((scheme, from)) = origin.as_ref().and_then(|uri| uri.scheme_str().zip(uri.authority()))
        else {
            return false;
        };
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
        let Some(to) = host.or_else(|| parts.uri.authority().cloned()) else { return false };
        let port = |authority: &Authority| match (authority.port_u16(), scheme) {
            (None, "https") => Some(443),
            (None, "http") => Some(80),
            (port, _) => port,
        };
        (scheme == "https" || !self.https)
            && from.host().eq_ignore_ascii_case(to.host())
            && port(from) == port(&to)
    }
}

impl<S: Sync> FromRequestParts<S> for Arrival {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts).cloned()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn ours(https: bool, method: &str, headers: &[(&str, &str)]) -> bool {
        let origins = Arc::new("https://app.example.org".parse().unwrap());
        let request = headers
            .iter()
            .fold(Request::builder().method(method), |request, (name, value)| request.header(*name, *value));
        Arrival { https, origins }.is_ours(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_page_that_may_not_call_changes_nothing() {
        let host = ("host", "turnlog.example.org");
        for foreign in [
            ("origin", "https://evil.example.org"),
            ("origin", "https://turnlog.example.org.evil.net"),
            ("origin", "https://turnlog.example.org:8443"),
            ("origin", "null"),
            ("origin", "turnlog.example.org"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "none"),
            ("accept", "*/*"),
        ] {
            assert!(!ours(false, "POST", &[host, foreign]), "{foreign:?}");
        }
        // Nor what a browser would still read for it: a WebSocket begins with GET.
        assert!(!ours(false, "GET", &[host, ("origin", "https://evil.example.org")]));
        // The page was not ours: somebody without TLS wrote it.
        assert!(!ours(true, "POST", &[host, ("origin", "http://turnlog.example.org")]));
    }

    #[test]
    fn our_own_pages_and_those_that_are_named_may() {
        let host = ("host", "Turnlog.example.org:443");
        for own in [
            ("origin", "https://turnlog.example.org"),
            ("origin", "https://app.example.org"),
            ("sec-fetch-site", "same-origin"),
        ] {
            assert!(ours(true, "DELETE", &[host, own]), "{own:?}");
        }
        let local = ("host", "127.0.0.1:8080");
        assert!(ours(false, "POST", &[local, ("origin", "http://127.0.0.1:8080")]));
        assert!(!ours(false, "POST", &[local, ("origin", "http://127.0.0.1:8081")]));
        assert!(ours(false, "GET", &[local]));
    }
}
