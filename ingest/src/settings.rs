//! Settings of the write edge.

use std::time::Duration;

use shared::config::{AuthSettings, Env, NatsSettings};
use shared::limits::DEFAULT_CONTENT_BYTES;

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
    pub logins_per_address: u32,
    /// Logins a minute for one id.
    pub logins_per_id: u32,
    /// Bytes of one message's content.
    pub max_content_bytes: usize,
    /// Bytes of one request body.
    pub max_body_bytes: usize,
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
        Self {
            nats: NatsSettings::from_env(env),
            auth: AuthSettings::from_env(env),
            login_mode,
            token_ttl: env.seconds("TOKEN_TTL_SECONDS", Duration::from_secs(24 * 3600)),
            logins_per_address: env.parse("RATE_LIMIT_LOGIN_PER_MIN", 300, "a number of logins"),
            logins_per_id: env.parse("RATE_LIMIT_LOGIN_PER_ID_PER_MIN", 20, "a number of logins"),
            max_content_bytes,
            max_body_bytes,
        }
    }
}
