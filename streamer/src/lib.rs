#![doc = include_str!("../README.md")]

mod access;
mod analytics;
mod calls;
mod document;
mod feed;
mod limits;
mod list;
mod looks;
mod media;
mod past;
mod query;
mod router;
mod search;
mod snapshot;
mod status;
mod tables;
mod tickets;
mod view;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use shared::audit::seal::Sealer;
use shared::audit::{Audit, Recorder, Refusals};
use shared::auth::{Authenticator, Revocations};
use shared::claims::Claims;
use shared::config::{AuthSettings, DatabaseSettings, Env, NatsSettings};
use shared::health::Health;
use shared::http::{AnyError, Lifecycle, Service};
use shared::live::Channel;
use shared::log::{Log, LogError};
use shared::objects::Objects;
use tokio::task::JoinSet;

use document::Typesetter;
use feed::calls::Marks;
use feed::caps::Caps;
use feed::clock::Pace;
use feed::hub::Hub;
use feed::join::Feeds;
use feed::live;
use feed::presence::Presence;
use feed::sse::Wire;
use feed::{sweep, tail};
use limits::{DEFAULT_FEED_AGE, DEFAULT_PER_COMPANY, DEFAULT_PER_KEY, DEFAULT_PER_TOKEN};
use list::Cursors;
use looks::Looks;
use media::Media;
use past::Past;
use router::Edge;
use tables::Tables;
use tickets::Tickets;

pub use document::Fonts;

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
    /// How long a feed is open before its client is asked to come back; up to a tenth less.
    pub feed_max_age: Duration,
    /// How many may be open.
    pub feed_caps: FeedCaps,
    /// What documents are set in.
    pub fonts: Fonts,
}

/// How many feeds may be open at once in one process.
#[derive(Debug, Clone, Copy)]
pub struct FeedCaps {
    /// With one token.
    pub per_token: NonZeroU32,
    /// With the tokens of one company's admins.
    pub per_company: NonZeroU32,
    /// With one API key.
    pub per_key: NonZeroU32,
}

impl Default for FeedCaps {
    fn default() -> Self {
        Self { per_token: DEFAULT_PER_TOKEN, per_company: DEFAULT_PER_COMPANY, per_key: DEFAULT_PER_KEY }
    }
}

impl FeedCaps {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self {
            per_token: env.count("FEEDS_PER_TOKEN", DEFAULT_PER_TOKEN),
            per_company: env.count("FEEDS_PER_COMPANY", DEFAULT_PER_COMPANY),
            per_key: env.count("FEEDS_PER_KEY", DEFAULT_PER_KEY),
        }
    }
}

impl StreamerSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self {
            nats: NatsSettings::from_env(env),
            database: DatabaseSettings::from_env(env),
            auth: AuthSettings::from_env(env),
            heartbeat: env.seconds("HEARTBEAT_SECONDS", DEFAULT_HEARTBEAT),
            feed_max_age: env.seconds("FEED_MAX_AGE_SECONDS", DEFAULT_FEED_AGE),
            feed_caps: FeedCaps::from_env(env),
            fonts: Fonts::from_env(env),
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
    let pace = Pace { heartbeat: settings.heartbeat, max_age: settings.feed_max_age };
    let (recorder, recorded) = Recorder::new();
    let (looks, refusals) = (Looks::new(recorder.clone()), Refusals::new(recorder.clone()));
    let claims = Box::pin(Claims::open(&log, settings.nats.replicas)).await?;
    let channel = Channel::new(log.client().clone());
    let (presence, told) = Presence::new();
    let cursors = Cursors::new(&settings.auth.jwt_secret, log.epoch());
    let objects = Box::pin(Objects::open(&settings.nats, "streamer objects")).await?;
    let past = Past::new(&log, &objects);
    let feeds = Feeds {
        hub: Arc::clone(&hub),
        tables: tables.clone(),
        log: log.clone(),
        wire: wire.clone(),
        pace,
        caps: Caps::new(settings.feed_caps),
        presence: presence.clone(),
        channel: channel.clone(),
        revocations: revocations.clone(),
        stopping: lifecycle.stopping.clone(),
        looks: looks.clone(),
        cursors: cursors.clone(),
        past: past.clone(),
        replays: feed::replay::places(),
    };
    let auth = Authenticator::new(&settings.auth, revocations.clone());
    let tail = log.tail("streamer", hub.position(), None);
    let progress = health.follow("streamer");
    let mut loops = JoinSet::new();
    loops.spawn(live::show(channel, Arc::clone(&hub), presence, told));
    let marks = Arc::new(Marks::default());
    loops.spawn(tail::follow(tail, Arc::clone(&hub), Arc::clone(&marks), wire.clone(), progress));
    loops.spawn(feed::calls::follow(marks, Arc::clone(&hub), tables.clone(), wire).map(Ok));
    loops.spawn(revocations.clone().follow(revoked));
    let keyed = log.clone();
    loops.spawn(async move { keyed.keyring().follow(&keyed).await });
    loops.spawn(keep_feeds(hub, pace, revocations, lifecycle.clone()));
    loops.spawn(tables.clone().poll_checkpoint().map(Ok));
    loops.spawn(recorded.write(Audit::new(&log)));
    loops.spawn(Sealer::new(&log).follow());
    loops.spawn(refusals.clone().follow());
    let fonts = settings.fonts.clone();
    // Looking through many files takes a moment, and nobody waits for it.
    drop(tokio::task::spawn_blocking(move || fonts.check()));
    let routes = router::routes(Edge {
        tickets: Tickets { auth, claims },
        tables: tables.clone(),
        looks,
        refusals: refusals.clone(),
        feeds: Arc::new(feeds),
        list_cursors: cursors,
        search_cursors: Cursors::with(search::PURPOSE, &settings.auth.jwt_secret, log.epoch()),
        typesetter: Typesetter::new(settings.fonts),
        media: Media::new(objects.clone()),
        past,
    });
    let work = run(loops, log, objects, tables, (recorder, refusals), lifecycle).boxed();
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

/// Does to feeds what time and revocations ask for, and ends them at a stop.
async fn keep_feeds(
    hub: Arc<Hub>,
    pace: Pace,
    revocations: Revocations,
    lifecycle: Lifecycle,
) -> Result<(), LogError> {
    tokio::select! {
        () = sweep::keep_time(&hub, pace) => {}
        () = sweep::close_feeds(&hub, &revocations, &lifecycle) => {}
    }
    Ok(())
}

/// Lets the loops run until everything is answered. None of them ends by itself but by an error.
async fn run(
    mut loops: JoinSet<Result<(), LogError>>,
    log: Log,
    objects: Objects,
    tables: Tables,
    (recorder, refusals): (Recorder, Refusals),
    lifecycle: Lifecycle,
) -> Result<(), AnyError> {
    let ended = tokio::select! {
        () = lifecycle.drained.cancelled() => {
            refusals.sum_up();
            recorder.settle().await;
            // What nobody seals now waits for the next start.
            if let Err(error) = Sealer::new(&log).round().await {
                tracing::debug!(%error, "the last records are not sealed");
            }
            Ok(())
        }
        Some(ended) = loops.join_next() => match ended {
            Ok(result) => result.map_err(AnyError::from),
            Err(broken) => Err(broken.into()),
        },
    };
    loops.shutdown().await;
    tables.close().await;
    objects.close().await;
    log.close().await;
    ended
}
