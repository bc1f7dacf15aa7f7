//! Serving: services put together on one address, request ids, one wide line a request, problems rendered, a clean stop.

mod body;
mod fields;
mod observe;
mod socket;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware;
use axum::routing::get;
use axum::serve::ListenerExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::envelope::Origin;
use crate::health::Health;
use crate::limits::DRAIN_TIMEOUT;
use crate::problem::{Kind, Problem};

pub use body::{JsonObject, read_json};
pub use fields::Fields;

/// An error of any cause, for the log of the process.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// One role, ready to be served.
pub struct Service {
    /// Its name: `ingest`, `projector` or `streamer`.
    pub name: &'static str,
    /// Its endpoints.
    pub routes: Router,
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

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub SocketAddr);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        info.map(|info| Self(info.0)).ok_or_else(|| Problem::internal("served without the caller's address"))
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
) -> Result<(), AnyError> {
    let mut routes = health.routes();
    let mut work = JoinSet::new();
    for service in services {
        routes = routes.merge(service.routes);
        work.spawn(async move { (service.name, service.work.await) });
    }
    let metrics = Router::new().route("/metrics", get(metrics_page));
    match metrics_listener {
        None => routes = routes.merge(metrics),
        Some(listener) => {
            let stopped = lifecycle.drained.clone().cancelled_owned();
            work.spawn(async move {
                let served = axum::serve(listener, metrics).with_graceful_shutdown(stopped).await;
                ("metrics", served.map_err(AnyError::from))
            });
        }
    }
    let stopped = lifecycle.stopping.clone().cancelled_owned();
    let app = layer(routes).into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| socket::tune(stream));
    let serving = tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(stopped).into_future());
    let fault = supervise(&mut work, &lifecycle).await;
    lifecycle.stopping.cancel();
    match tokio::time::timeout(DRAIN_TIMEOUT, serving).await {
        Ok(served) => served??,
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

/// Puts the outermost layers around routes: ids, wide lines, problems, and answers for unknown paths and methods.
pub fn layer(routes: Router) -> Router {
    routes
        .fallback(|| async { Problem::new(Kind::NotFound, "There is nothing at this path.") })
        .method_not_allowed_fallback(|| async {
            Problem::new(Kind::MethodNotAllowed, "This path does not take this method; see the Allow header.")
        })
        .layer(middleware::from_fn(|request: Request, next| observe::observe(request, next)))
}

/// Seconds as they stand in `Retry-After`: rounded up, at least one.
pub fn retry_after_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

async fn metrics_page() -> String {
    crate::telemetry::metrics().render()
}
