#![doc = include_str!("../README.md")]

mod align;
mod asked;
mod call;
pub mod command;
pub mod committer;
mod context;
pub mod decide;
mod endpoints;
pub mod erase;
mod interpreters;
mod limiter;
mod media;
mod passwords;
pub mod reconcile;
mod router;
mod session;
mod settings;
pub mod state;
pub mod vendor;
pub mod webhooks;

use std::ops::Deref;
use std::sync::Arc;

use axum::extract::FromRef;
use shared::audit::{Audit, Recorder, Refusals};
use shared::auth::{Authenticator, Revocations};
use shared::health::Health;
use shared::http::{AnyError, Lifecycle, Service};
use shared::limiter::{Limiter, Network};
use shared::limits::{ENVELOPE_BYTES, MAX_ID_BYTES};
use shared::live::Channel;
use shared::log::Log;
use shared::objects::Objects;
use tokio::task::JoinHandle;

use committer::Committer;
use limiter::LoginLimiter;
use media::Media;
use passwords::AccessCodes;
use reconcile::{Desk, Reconciler};
use vendor::Vendor;
use webhooks::elevenlabs::{MAX_REPORT_EVENT_BYTES, Reader};
use webhooks::sources::Sources;
use webhooks::spool::Spool;
use webhooks::standard::Signers;

pub use interpreters::Interpreters;
pub use settings::{IngestSettings, LoginMode};
pub use webhooks::WebhookSettings;

/// What handlers work with. Every request takes a clone, so it is one pointer.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    settings: IngestSettings,
    authenticator: Authenticator,
    recorder: Recorder,
    refusals: Refusals,
    committer: Committer,
    channel: Channel,
    logins: LoginLimiter,
    access_codes: AccessCodes,
    conversation_webhooks: Limiter<Network>,
    sessions: Limiter<u64>,
    vendor: Option<Vendor>,
    signers: Signers,
    sources: Sources,
    spool: Spool,
    media: Media,
    reader: Reader,
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
    let vendor = settings.vendor.clone().map(Vendor::new).transpose()?;
    if let Some(vendor) = vendor.clone() {
        watch_vendor(vendor, health);
    }
    let objects = Objects::open(&settings.nats, "ingest objects").await?;
    let signers = Signers::new(&settings.webhooks.conversation_secrets);
    let channel = Channel::new(log.client().clone());
    let asked = channel.asked().await?;
    let answering = asked::answer(asked, channel.clone(), committer.clone());
    let desk = Desk::new(log.clone(), committer.clone(), objects.clone(), &settings.webhooks);
    let beside = Beside::start(desk, vendor.clone(), &settings, &lifecycle);
    let spool = Spool::new(&settings.webhooks);
    let (recorder, recorded) = Recorder::new();
    let refusals = Refusals::new(recorder.clone());
    let mut auditing = tokio::spawn(recorded.write(Audit::new(&log)));
    let app = App(Arc::new(Parts {
        recorder: recorder.clone(),
        refusals: refusals.clone(),
        authenticator: Authenticator::new(&settings.auth, revocations.clone()),
        logins: LoginLimiter::new(&settings),
        access_codes: AccessCodes::default(),
        conversation_webhooks: Limiter::new(settings.webhooks_per_address),
        sessions: Limiter::new(settings.sessions_per_participant),
        vendor: vendor.clone(),
        signers: signers.ok_or("WEBHOOK_SECRET must be base64, with or without whsec_ before it")?,
        sources: Sources::new(committer.clone()),
        media: Media::new(spool.for_bodies_of(settings.max_media_bytes), objects.clone()),
        spool,
        reader: Reader::new(objects.clone()),
        channel: channel.clone(),
        committer,
        settings,
    }));
    let work = async move {
        tokio::select! {
            () = committing => Err("the committer stopped".into()),
            _ = &mut auditing => Err("records go to the audit log no more".into()),
            ended = refusals.clone().follow() => ended.map_err(AnyError::from),
            ended = revocations.follow(revoked) => ended.map_err(AnyError::from),
            ended = log.keyring().follow(&log) => ended.map_err(AnyError::from),
            error = beside.ended() => Err(error),
            () = answering => Err("questions of watchers come in no more".into()),
            () = lifecycle.drained.cancelled() => {
                refusals.sum_up();
                recorder.settle().await;
                auditing.abort();
                objects.close().await;
                log.close().await;
                Ok(())
            }
        }
    };
    Ok(Service { name: "ingest", routes: router::routes(app), work: Box::pin(work) })
}

/// Loops on tasks of their own: a long conversation that is fetched must not hold up commits.
struct Beside {
    rereading: JoinHandle<()>,
    reconciling: JoinHandle<()>,
}

impl Beside {
    fn start(desk: Desk, vendor: Option<Vendor>, settings: &IngestSettings, lifecycle: &Lifecycle) -> Self {
        let desk = Arc::new(desk);
        let rereading = reconcile::keep_rereading(Arc::clone(&desk), lifecycle.stopping.clone());
        let (settings, stop) = (settings.reconcile.clone(), lifecycle.stopping.clone());
        let reconciling = async move {
            if let (Some(vendor), Some(every)) = (vendor, settings.every) {
                reconcile::keep_reconciling(Reconciler { vendor, settings, desk }, every, stop).await;
            }
        };
        Self { rereading: tokio::spawn(rereading), reconciling: tokio::spawn(reconciling) }
    }

    /// Answers when one of them ends without having been stopped.
    async fn ended(self) -> AnyError {
        tokio::select! {
            error = reconcile::supervise("reading webhooks again", self.rereading) => error,
            error = reconcile::supervise("the reconciler", self.reconciling) => error,
        }
    }
}

/// Shows on the health page whether the vendor answers. Taking events does not need it.
fn watch_vendor(vendor: Vendor, health: &Health) {
    health.optional("elevenlabs", move || {
        let vendor = vendor.clone();
        Box::pin(async move { vendor.is_up().await })
    });
}

/// JSON can make one byte of content six; an event of the largest message must still pass the server.
fn check_payload(settings: &IngestSettings, log: &Log) -> Result<(), AnyError> {
    let message = 6 * (settings.max_content_bytes + 4 * MAX_ID_BYTES);
    let needed = message.max(MAX_REPORT_EVENT_BYTES) + ENVELOPE_BYTES;
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
