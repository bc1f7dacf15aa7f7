#![doc = include_str!("../README.md")]

pub mod command;
pub mod committer;
pub mod decide;
mod endpoints;
mod limiter;
mod passwords;
mod router;
mod settings;
pub mod state;

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use shared::auth::{Authenticator, Revocations};
use shared::health::Health;
use shared::http::{AnyError, Lifecycle, Service};
use shared::limits::{ENVELOPE_BYTES, MAX_ID_BYTES};
use shared::log::Log;

use committer::Committer;
use limiter::LoginLimiter;
use passwords::AccessCodes;

pub use settings::{IngestSettings, LoginMode};

/// What handlers work with. Every request takes a clone, so it is one pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    settings: IngestSettings,
    authenticator: Authenticator,
    committer: Committer,
    logins: LoginLimiter,
    access_codes: AccessCodes,
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<App> for Authenticator {
    fn from_ref(app: &App) -> Self {
        app.authenticator.clone()
    }
}

/// Connects to the log, loads what every request needs, and answers the role ready to be served.
///
/// # Errors
/// When the log cannot be reached or its server refuses messages as large as settings let through.
pub async fn start(
    settings: IngestSettings,
    health: &Health,
    lifecycle: Lifecycle,
) -> Result<Service, AnyError> {
    let log = Log::open(&settings.nats, "ingest").await?;
    check_payload(&settings, &log)?;
    let revocations = Revocations::default();
    let revoked = revocations.load(&log, "ingest").await?;
    let (committer, committing) = committer::start(&log).await?;
    let probe = log.clone();
    health.dependency("nats", move || {
        let log = probe.clone();
        Box::pin(async move { log.extent().await.is_ok() })
    });
    let app = App(Arc::new(Parts {
        authenticator: Authenticator::new(&settings.auth, revocations.clone()),
        committer,
        logins: LoginLimiter::new(&settings),
        access_codes: AccessCodes::default(),
        settings,
    }));
    let work = async move {
        tokio::select! {
            () = committing => Err("the committer stopped".into()),
            ended = revocations.follow(revoked) => ended.map_err(AnyError::from),
            () = lifecycle.drained.cancelled() => {
                log.close().await;
                Ok(())
            }
        }
    };
    Ok(Service { name: "ingest", routes: router::routes(app), work: Box::pin(work) })
}

/// JSON can make one byte of content six; an event of the largest message must still pass the server.
fn check_payload(settings: &IngestSettings, log: &Log) -> Result<(), AnyError> {
    let needed = 6 * (settings.max_content_bytes + 4 * MAX_ID_BYTES) + ENVELOPE_BYTES;
    let allowed = log.client().server_info().max_payload;
    if allowed < needed {
        return Err(format!(
            "the log's server takes messages of {allowed} bytes, but MAX_CONTENT_BYTES={} needs {needed}: \
             raise max_payload in nats.conf or lower MAX_CONTENT_BYTES",
            settings.max_content_bytes
        )
        .into());
    }
    Ok(())
}
