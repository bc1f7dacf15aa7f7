//! Serving: services put together on one address, request ids, one wide line a request, problems rendered, a clean stop.

mod address;
mod arrival;
mod body;
pub mod client;
mod cors;
mod fields;
mod handover;
mod observe;
pub mod openapi;
mod ranged;
mod serve;
mod socket;

use std::num::NonZeroU32;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::envelope::Origin;
use crate::health::Health;
use crate::limits::{DEFAULT_REQUESTS_PER_KEY, DRAIN_TIMEOUT};
use crate::problem::{Kind, Problem};

use observe::Observer;

pub use address::{Caller, TrustedProxies};
pub use arrival::Arrival;
pub use body::{JsonObject, parse_json, read_body, read_json};
pub use cors::AllowedOrigins;
pub use fields::Fields;
pub use handover::{Endless, Framing, Handover, Line};
pub use ranged::{Content, Wanted};
pub use serve::Connections;

/// For answers that hold a credential.
pub const NOT_STORED: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// An error of any cause, for the log of the process.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// One role, ready to be served.
pub struct Service {
    /// Its name: `ingest`, `projector`, `streamer` or `exporter`.
    pub name: &'static str,
    /// Its endpoints, documented.
    pub routes: OpenApiRouter,
    /// Its loops. They run until [`Lifecycle::drained`]; when they end before, the process ends with their error.
    pub work: BoxFuture<'static, Result<(), AnyError>>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Service({})", self.name)
    }
}

/// The two steps of a stop.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    /// Stop was asked for: no new requests; endless answers end themselves.
    pub stopping: CancellationToken,
    /// Every request is answered: loops may end.
    pub drained: CancellationToken,
}

/// How the outermost layers treat callers.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Whose word about a caller's address counts.
    pub proxies: TrustedProxies,
    /// Whose pages may call.
    pub origins: AllowedOrigins,
    /// Requests a minute with one API key.
    pub requests_per_key: NonZeroU32,
}

impl Default for Edge {
    fn default() -> Self {
        let (proxies, origins) = (TrustedProxies::default(), AllowedOrigins::None);
        Self { proxies, origins, requests_per_key: DEFAULT_REQUESTS_PER_KEY }
    }
}

/// The request's id and trace, for the event that it writes.
#[derive(Debug, Clone)]
pub struct RequestOrigin(pub Origin);

impl<S: Sync> FromRequestParts<S> for RequestOrigin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let origin = parts.extensions.get::<Origin>();
        origin.cloned().map(Self).ok_or_else(|| Problem::internal("served without a request id"))
    }
}

/// Serves `services` on `listener` until `lifecycle.stopping`, then drains and ends them.
///
/// # Errors
/// The first error of a loop that ended by itself, naming it, or of the listener.
pub async fn run(
    listener: TcpListener,
    metrics_listener: Option<TcpListener>,
    services: Vec<Service>,
    health: Health,
    lifecycle: Lifecycle,
    edge: &Edge,
) -> Result<(), AnyError> {
    let mut routes = health.routes();
    let mut work = JoinSet::new();
    for service in services {
        routes = routes.merge(service.routes);
        work.spawn(async move { (service.name, service.work.await) });
    }
    let metrics = OpenApiRouter::new().routes(routes!(metrics_page));
    match metrics_listener {
        None => routes = routes.merge(metrics),
        Some(listener) => {
            let metrics = Router::from(metrics);
            let stopped = lifecycle.drained.clone().cancelled_owned();
            work.spawn(async move {
                let served = axum::serve(listener, metrics).with_graceful_shutdown(stopped).await;
                ("metrics", served.map_err(AnyError::from))
            });
        }
    }
    let app = layer(openapi::with_pages(routes), edge);
    let serving = tokio::spawn(serve::serve(listener, app, lifecycle.stopping.clone()));
    let fault = supervise(&mut work, &lifecycle).await;
    lifecycle.stopping.cancel();
    match tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
        Ok(served) => served?,
        Err(_) => tracing::warn!("requests were still under way after {DRAIN_TIMEOUT:?}; they are cut off"),
    }
    lifecycle.drained.cancel();
    let ended = tokio::time::timeout(DRAIN_TIMEOUT, async { while work.join_next().await.is_some() {} });
    if ended.await.is_err() {
        tracing::warn!("loops were still busy after {DRAIN_TIMEOUT:?}; they are cut off");
    }
    fault
}

/// Waits for the stop, or for a loop that ends without one.
async fn supervise(
    work: &mut JoinSet<(&'static str, Result<(), AnyError>)>,
    lifecycle: &Lifecycle,
) -> Result<(), AnyError> {
    tokio::select! {
        // First: a loop that ended because of the stop is no fault.
        biased;
        () = lifecycle.stopping.cancelled() => Ok(()),
        Some(ended) = work.join_next() => match ended {
            Ok((name, Ok(()))) => Err(format!("{name} ended by itself").into()),
            Ok((name, Err(error))) => Err(format!("{name} ended: {error}").into()),
            Err(error) => Err(format!("a loop broke: {error}").into()),
        },
    }
}

/// Puts the outermost layers around routes: ids, wide lines, problems, budgets of API keys, other origins, and answers
/// for unknown paths and methods.
pub fn layer(routes: Router, edge: &Edge) -> Router {
    let mut routes = routes
        .fallback(|| async { Problem::new(Kind::NotFound, "There is nothing at this path.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "This path does not take this method; see the Allow header.")
        });
    if let Some(cors) = edge.origins.layer() {
        routes = routes.layer(cors);
    }
    // Outside of it: preflights get their line too, and problems keep what it says.
    routes.layer(middleware::from_fn_with_state(Observer::new(edge), observe::observe))
}

/// Seconds as they stand in `Retry-After`: rounded up, at least one.
pub fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// 201 with the body.
pub fn created(body: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}

/// 202 with the body: it is being done, and how far it is stands at `location`.
pub fn accepted(location: &str, body: impl Serialize) -> Response {
    (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response()
}

/// 204: it is done, and there is nothing to say.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Metrics
///
/// In Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = openapi::tags::OPERATORS,
    responses((status = 200, description = "The metrics.", body = String, content_type = "text/plain")),
)]
async fn metrics_page() -> String {
    crate::telemetry::metrics().render()
}
