//! What is up, and whether the loops really move.
//!
//! A loop says how far it has come; here that is compared with the log's own last sequence, so that a loop that is
//! stuck but polite cannot look healthy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{SecondsFormat, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::openapi::{alias, tags};
use crate::log::Log;

/// How long a loop may stand still behind the log before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);
/// How often the log is asked how far it reaches.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// How long a dependency may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

type Probe = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// The state of everything this process needs. Clones share it.
#[derive(Clone, Default)]
pub struct Health(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    dependencies: BTreeMap<&'static str, Dependency>,
    loops: Vec<Loop>,
}

#[derive(Clone)]
struct Dependency {
    probe: Probe,
    needed: bool,
}

struct Loop {
    name: &'static str,
    position: Arc<AtomicU64>,
    seen: u64,
    moved_at: Instant,
    stuck: bool,
}

/// How everything was found just now.
struct Findings {
    /// Each dependency, and whether it answers.
    answers: BTreeMap<&'static str, bool>,
    /// Needed dependencies that do not answer.
    down: Vec<&'static str>,
    /// Loops that stand still.
    stuck: Vec<&'static str>,
}

impl Findings {
    fn healthy(&self) -> bool {
        self.down.is_empty() && self.stuck.is_empty()
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

/// How far one loop has come. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Says that everything up to this sequence is done.
    pub fn reached(&self, sequence: u64) {
        self.0.store(sequence, Ordering::Relaxed);
    }
}

impl Health {
    /// Adds a dependency (`database`, `nats`) that this process needs; a later one of the same name
    /// replaces the one before.
    pub fn dependency<F>(&self, name: &'static str, probe: F)
    where
        F: Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static,
    {
        self.lock().dependencies.insert(name, Dependency { probe: Arc::new(probe), needed: true });
    }

    /// Adds a dependency that is shown, but that this process can do without.
    pub fn optional<F>(&self, name: &'static str, probe: F)
    where
        F: Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static,
    {
        self.lock().dependencies.insert(name, Dependency { probe: Arc::new(probe), needed: false });
    }

    /// Adds a loop that follows the log.
    pub fn follow(&self, name: &'static str) -> Progress {
        let position = Arc::new(AtomicU64::new(0));
        let (seen, moved_at) = (0, Instant::now());
        self.lock().loops.push(Loop { name, position: Arc::clone(&position), seen, moved_at, stuck: false });
        Progress(position)
    }

    /// Compares the loops with the log, once a second, for as long as it is polled.
    pub async fn watch(self, log: Log) {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        let mut last = 0;
        loop {
            ticks.tick().await;
            self.sample(last);
            if let Ok(extent) = log.extent().await {
                last = extent.last;
            }
        }
    }

    /// `last` is where the log ended one sample ago: what came since has not been seen by anybody for long.
    fn sample(&self, last: u64) {
        for following in &mut self.lock().loops {
            let position = following.position.load(Ordering::Relaxed);
            if position != following.seen || position >= last {
                (following.seen, following.moved_at) = (position, Instant::now());
            }
            following.stuck = following.moved_at.elapsed() > STUCK_AFTER;
            metrics::gauge!("turnlog_lag_events", "loop" => following.name)
                .set(last.saturating_sub(position) as f64);
            metrics::gauge!("turnlog_lag_seconds", "loop" => following.name)
                .set(following.moved_at.elapsed().as_secs_f64());
        }
    }

    async fn findings(&self) -> Findings {
        let dependencies = self.lock().dependencies.clone();
        let answers = futures::future::join_all(dependencies.into_iter().map(|(name, one)| async move {
            let up = tokio::time::timeout(PROBE_TIMEOUT, (one.probe)()).await.unwrap_or(false);
            (name, up, one.needed)
        }))
        .await;
        Findings {
            down: answers.iter().filter(|(_, up, needed)| *needed && !up).map(|(name, ..)| *name).collect(),
            stuck: self.lock().loops.iter().filter(|following| following.stuck).map(|l| l.name).collect(),
            answers: answers.into_iter().map(|(name, up, _)| (name, up)).collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/api/v1/health` (S3's shape), `/health`, `/health/live`, `/health/ready`.
    pub fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(overview))
            .routes(alias("/health", "health", routes!(overview)))
            .routes(routes!(live))
            .routes(routes!(ready))
            .with_state(self.clone())
    }
}

/// What this process needs, and whether it is there.
#[derive(Serialize, ToSchema)]
struct Overview {
    status: Wellness,
    /// When this was found.
    #[schema(value_type = String, format = DateTime)]
    timestamp: String,
    /// Of the program.
    version: &'static str,
    dependencies: Dependencies,
    /// Loops that stand still behind the log.
    stuck: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Wellness {
    Healthy,
    Unhealthy,
}

#[derive(Serialize, ToSchema)]
struct Dependencies {
    database: Connection,
    nats: Connection,
    elevenlabs: Connection,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Connection {
    Connected,
    Disconnected,
    NotConfigured,
}

#[derive(Serialize, ToSchema)]
struct Live {
    /// `live`.
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Ready {
    /// `ready` or `not ready`.
    status: &'static str,
    /// Dependencies that do not answer.
    disconnected: Vec<&'static str>,
    /// Loops that stand still behind the log.
    stuck: Vec<&'static str>,
}

/// Health
///
/// What this process needs, and whether it is there. Never rate-limited.
#[utoipa::path(
    get, path = "/api/v1/health", tag = tags::OPERATORS,
    responses(
        (status = 200, description = "Everything needed is there.", body = Overview,
         example = json!({
            "status": "healthy", "timestamp": "2024-01-15T10:35:00.000Z", "version": "1.0.0",
            "dependencies": {"database": "connected", "nats": "connected", "elevenlabs": "not_configured"},
            "stuck": [],
        })),
        (status = 503, description = "Something needed is not there.", body = Overview),
    ),
)]
async fn overview(State(health): State<Health>) -> Response {
    let found = health.findings().await;
    let state = |name| match found.answers.get(name) {
        None => Connection::NotConfigured,
        Some(true) => Connection::Connected,
        Some(false) => Connection::Disconnected,
    };
    let healthy = found.healthy();
    let body = Overview {
        status: if healthy { Wellness::Healthy } else { Wellness::Unhealthy },
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        version: env!("CARGO_PKG_VERSION"),
        dependencies: Dependencies {
            database: state("database"),
            nats: state("nats"),
            elevenlabs: state("elevenlabs"),
        },
        stuck: found.stuck,
    };
    (status(healthy), Json(body)).into_response()
}

/// Liveness
///
/// The process answers: that is all that a restart could mend.
#[utoipa::path(
    get, path = "/health/live", tag = tags::OPERATORS,
    responses((status = 200, description = "It answers.", body = Live)),
)]
async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Readiness
///
/// Whether requests should be sent here.
#[utoipa::path(
    get, path = "/health/ready", tag = tags::OPERATORS,
    responses(
        (status = 200, description = "Ready.", body = Ready),
        (status = 503, description = "Not ready.", body = Ready),
    ),
)]
async fn ready(State(health): State<Health>) -> Response {
    let found = health.findings().await;
    let ready = found.healthy();
    let word = if ready { "ready" } else { "not ready" };
    let body = Ready { status: word, disconnected: found.down, stuck: found.stuck };
    (status(ready), Json(body)).into_response()
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stands_still_behind_the_log_is_stuck_and_one_that_moves_is_not() {
        let health = Health::default();
        let (still, moving) = (health.follow("still"), health.follow("moving"));
        still.reached(5);
        let long_ago = Instant::now().checked_sub(STUCK_AFTER * 2).unwrap();
        for step in 1..=3 {
            moving.reached(step);
            health.sample(10);
            health.lock().loops[0].moved_at = long_ago;
        }
        moving.reached(4);
        health.sample(10);
        let stuck: Vec<_> = health.lock().loops.iter().map(|l| (l.name, l.stuck)).collect();
        assert_eq!(stuck, [("still", true), ("moving", false)]);
        still.reached(10);
        health.sample(10);
        assert!(!health.lock().loops[0].stuck);
    }
}
