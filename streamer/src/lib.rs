#![doc = include_str!("../README.md")]

mod access;
mod feed;
mod limits;
mod list;
mod query;
mod router;
mod snapshot;
mod status;
mod tables;
mod view;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use shared::auth::{Authenticator, Revocations};
use shared::config::{AuthSettings, DatabaseSettings, Env, NatsSettings};
use shared::health::Health;
use shared::http::{AnyError, Lifecycle, Service};
use shared::log::{Log, LogError};
use tokio::task::JoinSet;

use feed::hub::Hub;
use feed::join::Feeds;
use feed::sse::Wire;
use feed::tail;
use list::Cursors;
use tables::Tables;

/// Seconds between heartbeats, unless `HEARTBEAT_SECONDS` says otherwise.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

/// What the read edge has to know.
#[derive(Debug, Clone)]
pub struct StreamerSettings {
    /// Where the log is.
    pub nats: NatsSettings,
    /// Where the read tables are.
    pub database: DatabaseSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// Time between heartbeats of a feed.
    pub heartbeat: Duration,
}

impl StreamerSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self {
            nats: NatsSettings::from_env(env),
            database: DatabaseSettings::from_env(env),
            auth: AuthSettings::from_env(env),
            heartbeat: env.seconds("HEARTBEAT_SECONDS", DEFAULT_HEARTBEAT),
        }
    }
}

/// Why the read edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The address of the read tables. It may hold a password, so it is not repeated.
    #[error(
        "DATABASE_URL is no address of a Postgres database: write postgres://user:password@host:port/database"
    )]
    Address,
}

/// Starts the read edge: opens the log, reads what was revoked, and hands back its endpoints and its loops.
///
/// Postgres may be away: feeds that are open go on, and whoever comes is answered 503 until it is back.
///
/// # Errors
/// [`StartError`], when the log cannot be opened or the database's address is none.
pub async fn start(
    settings: StreamerSettings,
    health: &Health,
    lifecycle: Lifecycle,
) -> Result<Service, StartError> {
    // The counters of feeds are made once for each feed: they need the recorder to be there before.
    shared::telemetry::metrics();
    let log = Log::open(&settings.nats, "streamer").await?;
    let tables = Tables::connect(&settings.database, log.epoch()).map_err(|_| StartError::Address)?;
    let revocations = Revocations::default();
    let revoked = revocations.load(&log, "streamer").await?;
    let hub = Hub::new(log.extent().await?.last);
    let wire = Wire::new(log.epoch());
    watch_dependencies(health, &log, &tables);
    let feeds = Feeds {
        hub: Arc::clone(&hub),
        tables: tables.clone(),
        log: log.clone(),
        wire: wire.clone(),
        heartbeat: settings.heartbeat,
        revocations: revocations.clone(),
        stopping: lifecycle.stopping.clone(),
    };
    let auth = Authenticator::new(&settings.auth, revocations.clone());
    let tail = log.tail("streamer", hub.position(), None);
    let progress = health.follow("streamer");
    let mut loops = JoinSet::new();
    loops.spawn(tail::follow(tail, Arc::clone(&hub), wire, progress));
    loops.spawn(revocations.clone().follow(revoked));
    loops.spawn(close_feeds(hub, revocations, lifecycle.clone()));
    loops.spawn(tables.clone().poll_checkpoint().map(Ok));
    let cursors = Cursors::new(&settings.auth.jwt_secret, log.epoch());
    let routes = router::routes(&auth, tables.clone(), feeds, cursors);
    let work = run(loops, log, tables, lifecycle).boxed();
    Ok(Service { name: "streamer", routes, work })
}

fn watch_dependencies(health: &Health, log: &Log, tables: &Tables) {
    let log = log.clone();
    health.dependency("nats", move || std::future::ready(log.is_connected()).boxed());
    let tables = tables.clone();
    health.dependency("database", move || {
        let tables = tables.clone();
        async move { tables.answers().await }.boxed()
    });
}

/// Closes the feeds of revoked tokens as they become known, and all of them at a stop.
async fn close_feeds(hub: Arc<Hub>, revocations: Revocations, lifecycle: Lifecycle) -> Result<(), LogError> {
    let mut changes = revocations.changes();
    loop {
        tokio::select! {
            () = lifecycle.stopping.cancelled() => break,
            // Cannot fail: the sender lives as long as `revocations`.
            _ = changes.changed() => hub.close_revoked(|token_id| revocations.contains(token_id)),
        }
    }
    hub.close_all();
    lifecycle.drained.cancelled().await;
    Ok(())
}

/// Lets the loops run until everything is answered. None of them ends by itself but by an error.
async fn run(
    mut loops: JoinSet<Result<(), LogError>>,
    log: Log,
    tables: Tables,
    lifecycle: Lifecycle,
) -> Result<(), AnyError> {
    let ended = tokio::select! {
        () = lifecycle.drained.cancelled() => Ok(()),
        Some(ended) = loops.join_next() => match ended {
            Ok(result) => result.map_err(AnyError::from),
            Err(broken) => Err(broken.into()),
        },
    };
    loops.shutdown().await;
    tables.close().await;
    log.close().await;
    ended
}
