//! Settings of the write edge.

use std::num::NonZeroU32;
use std::time::Duration;

use shared::config::{AuthSettings, Env, NatsSettings};
use shared::limits::{
    DEFAULT_CONTENT_BYTES, DEFAULT_LOGINS_PER_ADDRESS, DEFAULT_LOGINS_PER_ID, DEFAULT_MEDIA_BYTES,
    DEFAULT_SESSIONS_PER_PARTICIPANT, DEFAULT_WEBHOOKS_PER_ADDRESS, MAX_OBJECT_BYTES,
};

use crate::interpreters::Interpreters;
use crate::reconcile::ReconcileSettings;
use crate::vendor::VendorSettings;
use crate::webhooks::WebhookSettings;

/// Most bytes that `MAX_CONTENT_BYTES` may ask for: sixfold (escaped JSON) it still fits one event.
const LARGEST_CONTENT: usize = 256 * 1024;

/// Who may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginMode {
    /// Any id; an unknown one enrols itself.
    Open,
    /// Ids that were enrolled.
    Enrolled,
    /// Ids that were enrolled, with their access code.
    Code,
}

/// Everything the write edge is told.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    /// The log.
    pub nats: NatsSettings,
    /// Credentials.
    pub auth: AuthSettings,
    /// Who may log in.
    pub login_mode: LoginMode,
    /// How long a token from login is good.
    pub token_ttl: Duration,
    /// Logins a minute from one address.
    pub logins_per_address: NonZeroU32,
    /// Logins a minute for one id.
    pub logins_per_id: NonZeroU32,
    /// Requests a minute to the conversation webhook from one address.
    pub webhooks_per_address: NonZeroU32,
    /// Bytes of one message's content.
    pub max_content_bytes: usize,
    /// Bytes of one request body.
    pub max_body_bytes: usize,
    /// Bytes of one upload.
    pub max_media_bytes: usize,
    /// The vendor's API; `None` where there is no key to it.
    pub vendor: Option<VendorSettings>,
    /// What others send.
    pub webhooks: WebhookSettings,
    /// How what is missing is fetched from the vendor.
    pub reconcile: ReconcileSettings,
    /// Who dreams can be talked about with.
    pub interpreters: Interpreters,
    /// Sessions a minute that one participant may open.
    pub sessions_per_participant: NonZeroU32,
}

impl IngestSettings {
    /// Reads them. `default_mode` holds where `LOGIN_MODE` is not set.
    pub fn from_env(env: &mut Env<'_>, max_body_bytes: usize, default_mode: LoginMode) -> Self {
        let login_mode = match env.text("LOGIN_MODE").as_deref() {
            None => default_mode,
            Some("open") => LoginMode::Open,
            Some("enrolled") => LoginMode::Enrolled,
            Some("code") => LoginMode::Code,
            Some(_) => {
                env.reject("LOGIN_MODE", "must be open, enrolled or code");
                default_mode
            }
        };
        let max_content_bytes = env.parse("MAX_CONTENT_BYTES", DEFAULT_CONTENT_BYTES, "a number of bytes");
        if !(1..=LARGEST_CONTENT).contains(&max_content_bytes) {
            env.reject("MAX_CONTENT_BYTES", &format!("must be from 1 to {LARGEST_CONTENT}"));
        }
        let max_media_bytes = env.parse("MAX_MEDIA_BYTES", DEFAULT_MEDIA_BYTES, "a number of bytes");
        if !(1..=MAX_OBJECT_BYTES).contains(&max_media_bytes) {
            env.reject("MAX_MEDIA_BYTES", &format!("must be from 1 to {MAX_OBJECT_BYTES}"));
        }
        let reconcile = ReconcileSettings::from_env(env);
        let interpreters = Interpreters::from_env(env, reconcile.agents.clone());
        Self {
            nats: NatsSettings::from_env(env),
            auth: AuthSettings::from_env(env),
            login_mode,
            token_ttl: env.seconds("TOKEN_TTL_SECONDS", Duration::from_secs(24 * 3600)),
            logins_per_address: env.per_minute("RATE_LIMIT_LOGIN_PER_MIN", DEFAULT_LOGINS_PER_ADDRESS),
            logins_per_id: env.per_minute("RATE_LIMIT_LOGIN_PER_ID_PER_MIN", DEFAULT_LOGINS_PER_ID),
            webhooks_per_address: env.per_minute("RATE_LIMIT_WEBHOOK_PER_MIN", DEFAULT_WEBHOOKS_PER_ADDRESS),
            max_content_bytes,
            max_body_bytes,
            max_media_bytes,
            vendor: VendorSettings::from_env(env),
            webhooks: WebhookSettings::from_env(env),
            reconcile,
            interpreters,
            sessions_per_participant: env
                .per_minute("RATE_LIMIT_SESSIONS_PER_MIN", DEFAULT_SESSIONS_PER_PARTICIPANT),
        }
    }
}
