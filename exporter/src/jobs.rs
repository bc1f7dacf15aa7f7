//! Data sets over HTTP: asked for, made in the background, watched, downloaded, until they expire. Jobs and what they made
//! lie in the store of the log's server, so any instance serves them; one at a time runs each.

mod archive;
mod asked;
mod board;
mod endpoints;
mod feed;
mod keeper;
mod record;
mod runner;
mod scratch;
mod trail;
mod view;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use futures::{FutureExt, StreamExt};
use shared::audit::{Audit, Look, Recorder, Refusals};
use shared::auth::{Authenticator, Revocations};
use shared::config::{AuthSettings, Env, NatsSettings};
use shared::exports::ExportStore;
use shared::http::{AnyError, Lifecycle, Service};
use shared::log::{Log, LogError};
use shared::objects::Objects;
use shared::problem::Problem;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::board::Board;
use self::scratch::Scratch;
use crate::deid::ExportKey;
use crate::limits::{
    DEFAULT_AT_ONCE, DEFAULT_EXPIRES_HOURS, DEFAULT_HEARTBEAT, DEFAULT_MAX_BYTES, DEFAULT_PER_RESEARCHER,
    DOWNLOADS, FAILURE_PAUSE, FEEDS,
};

/// What export jobs have to know.
#[derive(Debug, Clone)]
pub struct JobsSettings {
    /// Where the log is.
    pub nats: NatsSettings,
    /// Who may call.
    pub auth: AuthSettings,
    /// Time between heartbeats of a feed.
    pub heartbeat: Duration,
    /// Data sets that this process makes at once.
    pub at_once: NonZeroU32,
    /// Jobs under way of one researcher.
    pub per_researcher: NonZeroU32,
    /// How long a data set can be downloaded.
    pub expires: Duration,
    /// What pseudonyms are made with; without it there are none.
    pub key: Option<ExportKey>,
    /// Bytes of all data sets that can be.
    pub max_bytes: u64,
    /// Where temporary files go.
    pub dir: PathBuf,
}

impl JobsSettings {
    /// With what holds where nothing is set.
    pub fn new(nats: NatsSettings, auth: AuthSettings) -> Self {
        Self {
            nats,
            auth,
            heartbeat: DEFAULT_HEARTBEAT,
            at_once: DEFAULT_AT_ONCE,
            per_researcher: DEFAULT_PER_RESEARCHER,
            expires: hours(DEFAULT_EXPIRES_HOURS),
            key: None,
            max_bytes: DEFAULT_MAX_BYTES,
            dir: std::env::temp_dir(),
        }
    }

    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let defaults = Self::new(NatsSettings::from_env(env), AuthSettings::from_env(env));
        let key = env.text("EXPORT_KEY").and_then(|text| {
            ExportKey::parse(&text).map_err(|error| env.reject("EXPORT_KEY", &error.to_string())).ok()
        });
        Self {
            heartbeat: env.seconds("HEARTBEAT_SECONDS", defaults.heartbeat),
            at_once: env.count("EXPORT_JOBS_AT_ONCE", defaults.at_once),
            per_researcher: env.count("EXPORT_JOBS_PER_RESEARCHER", defaults.per_researcher),
            expires: hours(env.count("EXPORT_EXPIRES_HOURS", DEFAULT_EXPIRES_HOURS)),
            key,
            max_bytes: env.parse("EXPORTS_MAX_BYTES", defaults.max_bytes, "a number of bytes"),
            dir: env.text("EXPORTS_DIR").map_or(defaults.dir, PathBuf::from),
            ..defaults
        }
    }
}

fn hours(count: NonZeroU32) -> Duration {
    Duration::from_secs(u64::from(count.get()) * 3600)
}

/// What endpoints and loops share. Each request takes a clone, so it is one pointer.
#[derive(Debug, Clone)]
pub(crate) struct Desk(Arc<Parts>);

#[derive(Debug)]
pub(crate) struct Parts {
    settings: JobsSettings,
    /// This process, by a name made at random.
    instance: String,
    auth: Authenticator,
    audit: Audit,
    log: Log,
    objects: Objects,
    store: ExportStore,
    board: Board,
    scratch: Arc<Scratch>,
    /// Held by whoever asks for a job.
    asking: Mutex<()>,
    downloads: Arc<Semaphore>,
    feeds: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl std::ops::Deref for Desk {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<Desk> for Authenticator {
    fn from_ref(desk: &Desk) -> Self {
        desk.auth.clone()
    }
}

impl Desk {
    /// Stores a record in the audit log before what it is of is answered.
    ///
    /// # Errors
    /// 503 when it is not known to be stored.
    async fn record(&self, look: Look) -> Result<(), Problem> {
        let stored = self.audit.append(std::slice::from_ref(&look)).await;
        stored.into_iter().collect::<Result<(), _>>().map_err(|cause| {
            Problem::unavailable(
                "This cannot be recorded for now, so it is not done; try again in a moment.",
                cause,
            )
        })
    }

    /// Stores a record of what was done already, as long as that takes, unless the process stops.
    async fn record_later(&self, look: Look) {
        while self.record(look.clone()).await.is_err() {
            tokio::select! {
                () = tokio::time::sleep(FAILURE_PAUSE) => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }
}

/// Starts export jobs: opens the log and the store, and hands back the endpoints and the loops.
///
/// # Errors
/// [`LogError`], when one of them cannot be opened.
pub async fn start(settings: JobsSettings, lifecycle: Lifecycle) -> Result<Service, LogError> {
    let log = Log::open(&settings.nats, "exporter").await?;
    let revocations = Revocations::default();
    let revoked = revocations.load(&log, "exporter").await?;
    let objects = Box::pin(Objects::open(&settings.nats, "exporter objects")).await?;
    let store = Box::pin(ExportStore::open(&settings.nats, "exporter data sets")).await?;
    let instance = Uuid::new_v4().simple().to_string();
    let questions = store.questions(&instance).await?;
    let board = Board::new(store.clone());
    board.load().await?;
    let desk = Desk(Arc::new(Parts {
        auth: Authenticator::new(&settings.auth, revocations.clone()),
        audit: Audit::new(&log),
        scratch: Arc::new(Scratch::new(&settings.dir, &instance)),
        asking: Mutex::default(),
        downloads: Arc::new(Semaphore::new(DOWNLOADS)),
        feeds: Arc::new(Semaphore::new(FEEDS)),
        stopping: lifecycle.stopping.clone(),
        settings,
        instance,
        log: log.clone(),
        objects,
        store: store.clone(),
        board: board.clone(),
    }));
    keeper::sweep(&desk);
    let (recorder, recorded) = Recorder::new();
    let refusals = Refusals::new(recorder.clone());
    let mut loops = JoinSet::new();
    loops.spawn(recorded.write(Audit::new(&log)));
    loops.spawn(refusals.clone().follow());
    loops.spawn(revocations.follow(revoked));
    loops.spawn(async move { log.keyring().follow(&log).await });
    loops.spawn(board.follow());
    loops.spawn(keeper::keep(desk.clone()).map(Ok));
    loops.spawn(async move {
        questions.for_each(|question| store.answer(question)).await;
        Err(LogError::Unavailable("questions come in no more".into()))
    });
    let laid_down = CancellationToken::new();
    let (running, idle) = (runner::run(desk.clone()), laid_down.clone());
    loops.spawn(async move {
        running.await;
        idle.cancel();
        std::future::pending().await
    });
    let routes = endpoints::routes(desk.clone(), refusals.clone());
    let work = run(desk, loops, laid_down, (recorder, refusals), lifecycle).boxed();
    Ok(Service { name: "exporter", routes, work })
}

/// Lets the loops run until everything is answered, and what runs is laid down. None of them ends by itself but by an error.
async fn run(
    desk: Desk,
    mut loops: JoinSet<Result<(), LogError>>,
    laid_down: CancellationToken,
    (recorder, refusals): (Recorder, Refusals),
    lifecycle: Lifecycle,
) -> Result<(), AnyError> {
    let settled = async {
        lifecycle.drained.cancelled().await;
        laid_down.cancelled().await;
    };
    let ended = tokio::select! {
        Some(ended) = loops.join_next() => match ended {
            Ok(result) => result.map_err(AnyError::from),
            Err(broken) => Err(broken.into()),
        },
        () = settled => Ok(()),
    };
    if ended.is_ok() {
        refusals.sum_up();
        recorder.settle().await;
    }
    loops.shutdown().await;
    desk.objects.close().await;
    desk.store.close().await;
    desk.log.close().await;
    ended
}
