//! The outermost layer: makes or takes the request id, times the request, renders problems, writes the wide line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{AllowedOrigins, Arrival, Caller, Edge, TrustedProxies, retry_after_seconds};
use crate::auth::KeyId;
use crate::envelope::Origin;
use crate::limiter::{Allowance, Allowances, Limiter};
use crate::limits::MAX_REQUEST_ID_BYTES;
use crate::problem::{Kind, Problem};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const SEQUENCE: HeaderName = HeaderName::from_static("turnlog-sequence");
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
pub(super) const RATE_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
pub(super) const RATE_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What is the same for every request.
#[derive(Debug, Clone)]
pub(super) struct Observer {
    proxies: TrustedProxies,
    origins: Arc<AllowedOrigins>,
    /// One for all roles of the process: a key has one budget, whoever answers.
    keys: Limiter<KeyId>,
}

impl Observer {
    pub(super) fn new(edge: &Edge) -> Self {
        let (proxies, origins) = (edge.proxies.clone(), Arc::new(edge.origins.clone()));
        Self { proxies, origins, keys: Limiter::new(edge.requests_per_key) }
    }

    /// Hands to extractors what they cannot find out by themselves.
    fn introduce(&self, request: &mut Request) -> Allowances {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
        if let Some(peer) = peer {
            let caller = Caller(self.proxies.client(peer, request.headers()));
            request.extensions_mut().insert(caller);
        }
        let https = peer.is_some_and(|peer| self.proxies.https(peer, request.headers()));
        request.extensions_mut().insert(Arrival { https, origins: Arc::clone(&self.origins) });
        let allowances = Allowances::default();
        let extensions = request.extensions_mut();
        extensions.insert(self.keys.clone());
        extensions.insert(allowances.clone());
        allowances
    }
}

pub(super) async fn observe(State(observer): State<Observer>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let origin =
        Origin { request_id: request_id(request.headers()), traceparent: traceparent(request.headers()) };
    request.extensions_mut().insert(origin.clone());
    let allowances = observer.introduce(&mut request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>().or_else(|| bare(&response));
    if let Some(problem) = &problem {
        response = render(problem, &origin.request_id, response.headers());
    }
    if let Ok(value) = HeaderValue::from_str(&origin.request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if let Some(allowance) = allowances.tightest() {
        tell(&allowance, response.headers_mut());
    }
    let route = route.as_ref().map_or("unknown", MatchedPath::as_str);
    let seconds = started.elapsed().as_secs_f64();
    count(method.as_str(), route, response.status(), seconds);
    let sequence = response.headers().get(SEQUENCE).and_then(|value| value.to_str().ok());
    let (status, milliseconds) = (response.status().as_u16(), (seconds * 1e5).round() / 1e2);
    let request_id = origin.request_id.as_str();
    match problem {
        Some(problem) if response.status().is_server_error() => tracing::error!(
            %method, route, status, milliseconds, request_id, detail = problem.detail,
            cause = problem.cause.as_deref(), "request failed"
        ),
        Some(problem) => tracing::info!(
            %method, route, status, milliseconds, request_id, detail = problem.detail,
            cause = problem.cause.as_deref(), "request refused"
        ),
        None => {
            tracing::info!(%method, route, status, milliseconds, request_id, sequence, "request answered");
        }
    }
    response
}

/// The problem for an error that the router's own extractors answered, which know no problems. An error with a JSON
/// body was meant as it is: a health report.
fn bare(response: &Response) -> Option<Problem> {
    let json = HeaderValue::from_static("application/json");
    if response.headers().get(header::CONTENT_TYPE) == Some(&json) {
        return None;
    }
    let status = response.status();
    if status.is_client_error() {
        return Some(Problem::new(
            Kind::BadRequest,
            "The path, the query or a header of the request cannot be read.",
        ));
    }
    status.is_server_error().then(|| Problem::internal("answered without a problem"))
}

fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| {
            !id.is_empty() && id.len() <= MAX_REQUEST_ID_BYTES && id.bytes().all(|b| b.is_ascii_graphic())
        })
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// W3C trace context, level 1: `00-<32 hex>-<16 hex>-<2 hex>`; anything else is dropped.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let parts: Vec<_> = text.split('-').collect();
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let good = parts.len() == 4 && [2, 32, 16, 2].iter().zip(&parts).all(|(length, part)| hex(part, *length));
    good.then(|| text.to_owned())
}

fn render(problem: &Problem, request_id: &str, given: &HeaderMap) -> Response {
    let mut response = (problem.kind.parts().0, Json(problem.document(request_id))).into_response();
    let headers = response.headers_mut();
    // What a handler or the router set beside the problem stays, such as Allow.
    for (name, value) in given.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        headers.append(name, value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(wait) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_seconds(wait)));
    }
    if problem.kind == Kind::Unauthenticated {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn tell(allowance: &Allowance, headers: &mut HeaderMap) {
    headers.insert(RATE_LIMIT, HeaderValue::from(allowance.limit));
    headers.insert(RATE_REMAINING, HeaderValue::from(allowance.remaining));
    headers.insert(RATE_RESET, HeaderValue::from(retry_after_seconds(allowance.reset)));
}

fn count(method: &str, route: &str, status: StatusCode, seconds: f64) {
    let labels =
        [("method", method.to_owned()), ("route", route.to_owned()), ("status", status.as_str().to_owned())];
    metrics::counter!("turnlog_http_requests_total", &labels).increment(1);
    metrics::histogram!("turnlog_http_request_seconds", "route" => route.to_owned()).record(seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_callers_request_id_is_taken_when_it_is_sane_and_replaced_when_not() {
        assert_eq!(request_id(&headers("x-request-id", "abc-1")), "abc-1");
        for bad in ["", "a b", &"x".repeat(200)] {
            assert_ne!(request_id(&headers("x-request-id", bad)), bad);
        }
    }

    #[test]
    fn only_a_well_formed_trace_is_carried() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&headers("traceparent", good)).as_deref(), Some(good));
        assert_eq!(traceparent(&headers("traceparent", "00-xyz-1-01")), None);
    }
}
