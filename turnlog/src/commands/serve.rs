//! `turnlog serve`: one role, or all, on one address.

use exporter::JobsSettings;
use ingest::{IngestSettings, LoginMode};
use projector::ProjectorSettings;
use shared::config::{Env, HttpSettings, NatsSettings, TelemetrySettings};
use shared::health::Health;
use shared::http::{Lifecycle, Service};
use shared::log::Log;
use shared::telemetry;
use streamer::StreamerSettings;
use tokio::net::TcpListener;

use crate::console;
use crate::descriptors;
use crate::environment::Environment;
use crate::failure::{Failure, OrFail};
use crate::signals;

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// What to run
    #[arg(value_enum, default_value_t = Role::All)]
    role: Role,
}

/// A part of the system that can run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    /// Takes writes into the log; needs NATS alone
    Ingest,
    /// Folds the log into the read tables
    Projector,
    /// Answers reads and feeds, and makes data sets
    Streamer,
    /// All three in one process
    All,
}

/// Services put together and ready to run.
pub(crate) struct Services {
    http: HttpSettings,
    health: Health,
    log: Log,
    services: Vec<Service>,
}

/// Runs the command until a stop is asked for.
pub(crate) async fn run(args: ServeArgs) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let environment = Environment::default();
    init_logs(&environment)?;
    descriptors::take_all();
    let lifecycle = Lifecycle::default();
    let services = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        services = Services::open(&environment, args.role, &lifecycle) => services?,
    };
    let listen = services.http.listen;
    let listener = TcpListener::bind(listen).await.or_fail(format!("listen on {listen} (LISTEN)"))?;
    let asked = lifecycle.stopping.clone();
    tokio::spawn(async move {
        stop.cancelled().await;
        asked.cancel();
    });
    services.run(listener, lifecycle).await
}

/// Sets up log lines as the settings say.
pub(crate) fn init_logs(environment: &Environment) -> Result<(), Failure> {
    let settings = environment.read(TelemetrySettings::from_env)?;
    telemetry::init_logs(&settings).map_err(failure)
}

impl Role {
    fn takes(self, part: Self) -> bool {
        self == part || self == Self::All
    }
}

/// The settings of each part that a role takes.
struct RoleSettings {
    http: HttpSettings,
    nats: NatsSettings,
    ingest: Option<IngestSettings>,
    projector: Option<ProjectorSettings>,
    streamer: Option<StreamerSettings>,
    exports: Option<JobsSettings>,
}

impl RoleSettings {
    fn read(env: &mut Env<'_>, role: Role) -> Self {
        let http = HttpSettings::from_env(env);
        // Under `up` the environment has another default for it.
        let login = LoginMode::Enrolled;
        let ingest =
            role.takes(Role::Ingest).then(|| IngestSettings::from_env(env, http.max_body_bytes, login));
        let projector = role.takes(Role::Projector).then(|| ProjectorSettings::from_env(env));
        let streamer = role.takes(Role::Streamer).then(|| StreamerSettings::from_env(env));
        let exports = role.takes(Role::Streamer).then(|| JobsSettings::from_env(env));
        Self { http, nats: NatsSettings::from_env(env), ingest, projector, streamer, exports }
    }
}

impl Services {
    /// Reads the settings of a role, connects to what it needs, and puts it together.
    pub(crate) async fn open(
        environment: &Environment,
        role: Role,
        lifecycle: &Lifecycle,
    ) -> Result<Self, Failure> {
        let settings = environment.read(|env| RoleSettings::read(env, role))?;
        telemetry::metrics();
        let health = Health::default();
        let log = Log::open(&settings.nats, "health").await.map_err(failure)?;
        let mut services = Vec::new();
        if let Some(settings) = settings.ingest {
            // On the heap: starting it is a large future.
            let starting = Box::pin(ingest::start(settings, &health, lifecycle.clone()));
            services.push(starting.await.map_err(failure)?);
        }
        if let Some(settings) = settings.projector {
            services.push(projector::start(settings, &health, lifecycle.clone()).await.map_err(failure)?);
        }
        if let Some(settings) = settings.streamer {
            let starting = Box::pin(streamer::start(settings, &health, lifecycle.clone()));
            let mut streamer = starting.await.map_err(failure)?;
            streamer.routes = streamer.routes.merge(console::routes().into());
            services.push(streamer);
        }
        if let Some(settings) = settings.exports {
            let starting = Box::pin(exporter::start(settings, lifecycle.clone()));
            services.push(starting.await.map_err(failure)?);
        }
        Ok(Self { http: settings.http, health, log, services })
    }

    /// Serves until the lifecycle says stop, or a loop ends by itself.
    pub(crate) async fn run(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), Failure> {
        let metrics = match self.http.metrics_listen {
            None => None,
            Some(address) => Some(
                TcpListener::bind(address).await.or_fail(format!("listen on {address} (METRICS_LISTEN)"))?,
            ),
        };
        let watch = self.health.clone().watch(self.log.clone());
        let result = tokio::select! {
            served = shared::http::run(listener, metrics, self.services, self.health, lifecycle, &self.http.edge) => served,
            () = watch => Err("the watch over the loops ended by itself".into()),
        };
        self.log.close().await;
        result.map_err(failure)
    }
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
