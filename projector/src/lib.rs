#![doc = include_str!("../README.md")]

mod apply;
mod database;
mod fold;
mod generation;
mod index;
mod intake;
mod lead;
pub mod migrate;
pub mod parked;
pub mod rebuild;
mod rows;
mod run;
pub mod scrub;
mod status;
pub mod verify;
mod waiting;

use std::time::Duration;

use shared::config::{DatabaseSettings, Env, NatsSettings};
use shared::health::Health;
use shared::http::{Lifecycle, Service};
use shared::log::Log;
use shared::objects::Objects;
use utoipa_axum::router::OpenApiRouter;

pub use database::DatabaseError;
pub use run::ProjectorError;
pub use status::{Refused, SourceStatus, Status, status};

/// What the projector needs.
#[derive(Debug, Clone)]
pub struct ProjectorSettings {
    /// The log.
    pub nats: NatsSettings,
    /// The read tables; their migrations must have run.
    pub database: DatabaseSettings,
    /// How often a conversation is compared with the log; never if `None`.
    pub verify_sample: Option<Duration>,
}

/// How often a conversation is compared with the log, unless it is said otherwise.
const SAMPLE_EVERY: Duration = Duration::from_secs(20);

impl ProjectorSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self {
            nats: NatsSettings::from_env(env),
            database: DatabaseSettings::from_env(env),
            verify_sample: sample(env),
        }
    }
}

fn sample(env: &mut Env<'_>) -> Option<Duration> {
    let Some(text) = env.text("VERIFY_SAMPLE_SECONDS") else { return Some(SAMPLE_EVERY) };
    if text == "off" {
        return None;
    }
    let seconds = text.parse().ok().filter(|seconds| (1..=24 * 3600).contains(seconds));
    if seconds.is_none() {
        env.reject("VERIFY_SAMPLE_SECONDS", "must be off, or a whole number of seconds from 1 to 86400");
    }
    seconds.map(Duration::from_secs)
}

/// Connects and makes the loop that keeps the read tables up with the log.
///
/// A database that is down is waited for by the loop; one that refuses this program, or was not migrated, is
/// an error.
///
/// # Errors
/// [`ProjectorError`], when the log cannot be reached or the database cannot be used.
pub async fn start(
    settings: ProjectorSettings,
    health: &Health,
    lifecycle: Lifecycle,
) -> Result<Service, ProjectorError> {
    let database = database::Database::new(&settings.database)?;
    run::check(&database).await?;
    let log = Log::open(&settings.nats, "projector").await?;
    let objects = Objects::open(&settings.nats, "projector objects").await?;
    let (probed, pool) = (log.clone(), database.pool());
    health.dependency("nats", move || Box::pin(std::future::ready(probed.is_connected())));
    health.dependency("database", move || {
        let pool = pool.clone();
        Box::pin(async move { sqlx::query("SELECT 1").execute(&pool).await.is_ok() })
    });
    let keyed = log.clone();
    let projector =
        run::Projector::new(log, objects, database, health.follow("projector"), settings.verify_sample);
    let work = Box::pin(async move {
        tokio::select! {
            ended = projector.run(lifecycle.drained) => ended.map_err(Into::into),
            ended = keyed.keyring().follow(&keyed) => ended.map_err(Into::into),
        }
    });
    Ok(Service { name: "projector", routes: OpenApiRouter::new(), work })
}
