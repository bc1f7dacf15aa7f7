//! What is up, and whether the loops really move.
//!
//! A loop says how far it has come; here that is compared with the log's own last sequence, so that a loop that is
//! stuck but polite cannot look healthy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{SecondsFormat, Utc};
use futures::future::BoxFuture;
use serde_json::json;

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
    dependencies: BTreeMap<&'static str, Probe>,
    loops: Vec<Loop>,
}

struct Loop {
    name: &'static str,
    position: Arc<AtomicU64>,
    seen: u64,
    moved_at: Instant,
    stuck: bool,
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
    /// Adds a dependency (`database`, `nats`, `elevenlabs`) that this process needs; a later one of the same name
    /// replaces the one before.
    pub fn dependency<F>(&self, name: &'static str, probe: F)
    where
        F: Fn() -> BoxFuture<'static, bool> + Send + Sync + 'static,
    {
        self.lock().dependencies.insert(name, Arc::new(probe));
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

    /// Names of dependencies that do not answer, and of loops that stand still.
    async fn faults(&self) -> (BTreeMap<&'static str, bool>, Vec<&'static str>) {
        let probes: Vec<_> =
            self.lock().dependencies.iter().map(|(name, probe)| (*name, Arc::clone(probe))).collect();
        let answers = futures::future::join_all(probes.into_iter().map(|(name, probe)| async move {
            (name, tokio::time::timeout(PROBE_TIMEOUT, probe()).await.unwrap_or(false))
        }))
        .await;
        let stuck = self.lock().loops.iter().filter(|following| following.stuck).map(|l| l.name).collect();
        (answers.into_iter().collect(), stuck)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `/api/v1/health` (S3's shape), `/health`, `/health/live`, `/health/ready`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/api/v1/health", get(overview))
            .route("/health", get(overview))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .with_state(self.clone())
    }
}

async fn overview(State(health): State<Health>) -> Response {
    let (answers, stuck) = health.faults().await;
    let state = |name| match answers.get(name) {
        None => "not_configured",
        Some(true) => "connected",
        Some(false) => "disconnected",
    };
    let healthy = answers.values().all(|up| *up) && stuck.is_empty();
    let body = json!({
        "status": if healthy { "healthy" } else { "unhealthy" },
        "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        "version": env!("CARGO_PKG_VERSION"),
        "dependencies": {"database": state("database"), "nats": state("nats"), "elevenlabs": state("elevenlabs")},
        "stuck": stuck,
    });
    (status(healthy), Json(body)).into_response()
}

/// The process answers: that is all that a restart could mend.
async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    let (answers, stuck) = health.faults().await;
    let down: Vec<_> = answers.into_iter().filter(|(_, up)| !up).map(|(name, _)| name).collect();
    let ready = down.is_empty() && stuck.is_empty();
    let word = if ready { "ready" } else { "not ready" };
    (status(ready), Json(json!({"status": word, "disconnected": down, "stuck": stuck}))).into_response()
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
