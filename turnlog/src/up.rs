//! `turnlog up`: the whole system on this machine, with a log and a database of its own.

mod account;
mod announce;
mod data_dir;
mod nats;
mod postgres;
mod probe;
mod process;
mod program;
pub(crate) mod secrets;
mod servers;
mod supervisor;
mod tools;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use shared::config::HttpSettings;
use shared::http::Lifecycle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::data_dir::DataDir;
use self::secrets::Secrets;
use self::servers::Servers;
use crate::commands::{migrate, serve};
use crate::descriptors;
use crate::environment::Environment;
use crate::failure::{Failure, OrFail};
use crate::instance::{Instance, reachable};
use crate::signals;

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Folder for all state: the log, the tables, secrets. Made where it is not there
    #[arg(long, value_name = "DIR", default_value = ".turnlog")]
    data_dir: PathBuf,
    /// Address to serve on; port 0 picks a free one [default: LISTEN, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Runs until a stop is asked for, or something ends that must not.
pub(crate) async fn run(args: UpArgs) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let mut environment = Environment::default();
    environment.assume("LOGIN_MODE", "open");
    if let Some(listen) = args.listen {
        environment.replace("LISTEN", Some(listen.to_string()));
    }
    serve::init_logs(&environment)?;
    descriptors::take_all();
    let dir = DataDir::claim(&args.data_dir)?;
    Instance::withdraw(dir.path())?;
    let listener = bind(&environment).await?;

    let mut servers = Servers::default();
    let result = run_on(&dir, &mut servers, environment, listener, &stop).await;
    tracing::info!("stopping");
    let withdrawn = Instance::withdraw(dir.path());
    let stopped = servers.stop().await;
    result.and(withdrawn).and(stopped)
}

async fn run_on(
    dir: &DataDir,
    servers: &mut Servers,
    mut environment: Environment,
    listener: TcpListener,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let address = listener.local_addr().or_fail("read the address served on")?;
    let lifecycle = Lifecycle::default();
    let services = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        prepared = prepare(dir, servers, &mut environment, &lifecycle) => prepared?,
    };
    let serving = services.run(listener, lifecycle.clone());
    tokio::pin!(serving);
    let instance = describe(&environment, address)?;
    let fault = tokio::select! {
        served = &mut serving => return served,
        () = stop.cancelled() => Ok(()),
        failure = servers.fault() => Err(failure),
        failure = announce(dir, &instance) => Err(failure),
    };
    lifecycle.stopping.cancel();
    fault.and(serving.await)
}

/// Starts the servers that are not given, brings the tables up to date, and puts the services together.
async fn prepare(
    dir: &DataDir,
    servers: &mut Servers,
    environment: &mut Environment,
    lifecycle: &Lifecycle,
) -> Result<serve::Services, Failure> {
    let secrets = Secrets::of(dir.path())?;
    environment.assume("JWT_SECRET", &secrets.jwt_secret);
    environment.assume("API_SECRET_KEY", &secrets.api_key);
    environment.assume("WEBHOOK_SECRET", &secrets.webhook_secret);
    environment.assume("ELEVENLABS_WEBHOOK_SECRET", &secrets.elevenlabs_webhook_secret);
    if let Some(keys) = &secrets.sealing_keys {
        environment.assume("SEALING_KEYS", keys);
    }
    for (setting, folder) in [("SPOOL_DIR", "spool"), ("EXPORTS_DIR", "exports")] {
        // A setting is text; a folder whose name is none leaves the system's directory in place.
        if environment.get(setting).is_none()
            && let Some(folder) = dir.folder(folder)?.to_str()
        {
            environment.assume(setting, folder);
        }
    }
    if let Some(folder) = tools::fonts().as_deref().and_then(Path::to_str) {
        environment.assume("FONTS_DIR", folder);
    }
    if environment.get("NATS_URL").is_none() {
        let url = servers.start_nats(dir, &secrets).await?;
        environment.replace("NATS_URL", Some(url));
        // These belong to a server that was not given.
        for name in ["NATS_USER", "NATS_PASSWORD", "NATS_CREDS"] {
            environment.replace(name, None);
        }
    }
    if environment.get("DATABASE_URL").is_none() {
        let url = servers.start_postgres(dir, &secrets).await?;
        environment.replace("DATABASE_URL", Some(url));
    }
    migrate::apply(environment).await?;
    serve::Services::open(environment, serve::Role::All, lifecycle).await
}

/// Publishes the instance once it is ready; ends only when that fails.
async fn announce(dir: &DataDir, instance: &Instance) -> Failure {
    let published = async {
        announce::ready(instance).await?;
        instance.publish(dir.path())?;
        announce::print(instance, dir.path())
    };
    match published.await {
        Ok(()) => std::future::pending().await,
        Err(failure) => failure,
    }
}

async fn bind(environment: &Environment) -> Result<TcpListener, Failure> {
    let listen = environment.read(HttpSettings::from_env)?.listen;
    TcpListener::bind(listen).await.map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            Failure::new(format!(
                "{listen} is taken: choose another address, or a free one with --listen 127.0.0.1:0"
            ))
        } else {
            Failure::new(format!("cannot listen on {listen}: {error}"))
        }
    })
}

fn describe(environment: &Environment, address: SocketAddr) -> Result<Instance, Failure> {
    let get = |name: &str| environment.get(name).ok_or_else(|| Failure::new(format!("{name} is not set")));
    // Several may be accepted while one is rotated; the first is the newest.
    let first =
        |name: &str| get(name).map(|list| list.split(',').next().unwrap_or_default().trim().to_owned());
    Ok(Instance {
        pid: std::process::id(),
        base_url: reachable(address),
        nats_url: get("NATS_URL")?,
        database_url: get("DATABASE_URL")?,
        api_key: first("API_SECRET_KEY")?,
        jwt_secret: get("JWT_SECRET")?,
        webhook_secret: first("WEBHOOK_SECRET")?,
        elevenlabs_webhook_secret: first("ELEVENLABS_WEBHOOK_SECRET")?,
    })
}
