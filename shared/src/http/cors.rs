//! Which pages of other origins a browser lets call us.

use std::str::FromStr;
use std::time::Duration;

use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::observe::{RATE_LIMIT, RATE_REMAINING, RATE_RESET, REQUEST_ID, SEQUENCE};

/// How long a browser may remember the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(600);

/// Origins whose pages may call us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// None: no answer says anything about other origins.
    #[default]
    None,
    /// Every one, but without credentials of the browser.
    Any,
    /// These, as browsers write them in `Origin`.
    These(Vec<HeaderValue>),
}

impl FromStr for AllowedOrigins {
    type Err = ();

    /// `*`, or origins with commas between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let entries: Vec<_> = entries.collect();
        match entries.as_slice() {
            [] => Ok(Self::None),
            ["*"] => Ok(Self::Any),
            given => {
                given.iter().map(|text| origin(text).ok_or(())).collect::<Result<_, _>>().map(Self::These)
            }
        }
    }
}

impl AllowedOrigins {
    /// Whether pages of this origin may call with the browser's credentials.
    pub(super) fn name(&self, origin: &HeaderValue) -> bool {
        match self {
            Self::None | Self::Any => false,
            Self::These(origins) => origins.contains(origin),
        }
    }

    /// The layer that says so, and that answers preflights; `None` where there is nothing to say.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        match self {
            Self::None => None,
            Self::Any => Some(rules().allow_origin(Any)),
            Self::These(origins) => {
                Some(rules().allow_origin(AllowOrigin::list(origins.clone())).allow_credentials(true))
            }
        }
    }
}

/// What holds for every origin that may call.
fn rules() -> CorsLayer {
    let name = HeaderName::from_static;
    CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CACHE_CONTROL,
            name("idempotency-key"),
            name("last-event-id"),
            name("traceparent"),
            header::RANGE,
            header::IF_RANGE,
            REQUEST_ID,
        ])
        .expose_headers([
            SEQUENCE,
            REQUEST_ID,
            RATE_LIMIT,
            RATE_REMAINING,
            RATE_RESET,
            header::RETRY_AFTER,
            header::ACCEPT_RANGES,
            header::CONTENT_RANGE,
            header::ETAG,
        ])
        .max_age(MAX_AGE)
}

/// `scheme://host[:port]` as browsers send it: lower case, without a path, without the scheme's own port.
fn origin(text: &str) -> Option<HeaderValue> {
    let (_, rest) = text.split_once("://")?;
    let uri: Uri = text.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?.to_ascii_lowercase(), uri.authority()?);
    // Nothing but the authority may follow: no user, path or query, and no wildcard, which nobody would match.
    if rest != authority.as_str() || !is_host(authority) {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let port = match (scheme.as_str(), authority.port_u16()) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    HeaderValue::from_str(&format!("{scheme}://{host}{port}")).ok()
}

fn is_host(authority: &Authority) -> bool {
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).and_then(|rest| match rest.strip_prefix(':') {
        Some(port) => port.parse::<u16>().ok(),
        None => rest.is_empty().then_some(0),
    });
    let name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    port.is_some() && (name || address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    fn these(origins: &[&'static str]) -> AllowedOrigins {
        AllowedOrigins::These(origins.iter().map(|origin| HeaderValue::from_static(origin)).collect())
    }

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        assert_eq!(
            "https://App.Example.org:443, http://localhost:5173,http://[::1]:80".parse(),
            Ok(these(&["https://app.example.org", "http://localhost:5173", "http://[::1]"]))
        );
        assert_eq!("capacitor://localhost".parse(), Ok(these(&["capacitor://localhost"])));
        assert_eq!("*".parse(), Ok(AllowedOrigins::Any));
        assert_eq!(" , ".parse(), Ok(AllowedOrigins::None));
    }

    #[test]
    fn what_no_browser_sends_is_wrong() {
        for wrong in [
            "example.org",
            "https://example.org/",
            "https://example.org/app",
            "https://example.org?a",
            "https://user@example.org",
            "https://*.example.org",
            "https://example.org:",
            "https://example.org:99999",
            "https://",
            "https://[::x]",
            "null",
            "*, https://example.org",
            "*,*",
        ] {
            assert_eq!(wrong.parse::<AllowedOrigins>(), Err(()), "{wrong}");
        }
    }

    /// What an answer to a page of `from` says about credentials and about who may read it.
    async fn told(origins: &AllowedOrigins, from: &str) -> [Option<String>; 3] {
        let routes = Router::new().route("/", get(|| async {})).layer(origins.layer().unwrap());
        let request = Request::get("/").header(header::ORIGIN, from).body(Body::empty()).unwrap();
        let headers = routes.oneshot(request).await.unwrap().headers().clone();
        ["access-control-allow-origin", "access-control-allow-credentials", "vary"]
            .map(|name| headers.get(name).map(|value| value.to_str().unwrap().to_owned()))
    }

    #[tokio::test]
    async fn credentials_go_with_named_origins_alone() {
        let (named, foreign) = ("https://example.org", "https://example.net");
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(told(&AllowedOrigins::Any, named).await, [text("*"), None, None]);
        let origins = these(&["https://example.com", named]);
        assert_eq!(told(&origins, named).await, [text(named), text("true"), text("origin")]);
        assert_eq!(told(&origins, foreign).await, [None, text("true"), text("origin")]);
        assert!(AllowedOrigins::None.layer().is_none());
    }
}
