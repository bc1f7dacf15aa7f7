//! Settings of webhooks.

use std::path::PathBuf;
use std::time::Duration;

use shared::config::{Env, Secret};
use shared::limits::{BODY_TIMEOUT, DEFAULT_WEBHOOK_BYTES, MAX_OBJECT_BYTES};

use super::signature::Window;
use super::standard::Signers;

/// Webhooks: who signs them, and how long and large they may be.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Any of them may have signed; several while one is rotated, none where webhooks are not taken.
    pub secrets: Vec<Secret>,
    /// The same for the conversation webhook, signed as Standard Webhooks say.
    pub conversation_secrets: Vec<Secret>,
    /// How old a signature may be.
    pub tolerance: Duration,
    /// How far in the future its time may lie.
    pub skew: Duration,
    /// Bytes of one body, as the JSON it is sent as.
    pub max_bytes: usize,
    /// How long the next bytes of a body may take.
    pub body_timeout: Duration,
    /// Where long bodies wait; the system's directory for temporary files where it is not set.
    pub spool_dir: Option<PathBuf>,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            conversation_secrets: Vec::new(),
            tolerance: Duration::from_secs(3600),
            skew: Duration::from_secs(300),
            max_bytes: DEFAULT_WEBHOOK_BYTES,
            body_timeout: BODY_TIMEOUT,
            spool_dir: None,
        }
    }
}

impl WebhookSettings {
    /// When a good signature is neither too old nor of a time to come.
    pub fn window(&self) -> Window {
        Window { tolerance: self.tolerance, skew: self.skew }
    }

    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let default = Self::default();
        let secrets = env.secrets("ELEVENLABS_WEBHOOK_SECRET");
        let conversation_secrets = env.secrets("WEBHOOK_SECRET");
        if Signers::new(&conversation_secrets).is_none() {
            env.reject("WEBHOOK_SECRET", "must be base64, with or without whsec_ before it");
        }
        let max_bytes = env.parse("MAX_WEBHOOK_BYTES", default.max_bytes, "a number of bytes");
        if !(1..=MAX_OBJECT_BYTES).contains(&max_bytes) {
            env.reject("MAX_WEBHOOK_BYTES", &format!("must be from 1 to {MAX_OBJECT_BYTES}"));
        }
        let spool_dir = env.text("SPOOL_DIR").map(PathBuf::from);
        if spool_dir.as_ref().is_some_and(|directory| !directory.is_dir()) {
            env.reject("SPOOL_DIR", "must be a directory that exists");
        }
        let tolerance = env.seconds("ELEVENLABS_WEBHOOK_TOLERANCE_SECONDS", default.tolerance);
        let skew = env.seconds("ELEVENLABS_WEBHOOK_SKEW_SECONDS", default.skew);
        Self { secrets, conversation_secrets, tolerance, skew, max_bytes, spool_dir, ..default }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> (WebhookSettings, Result<(), String>) {
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let mut env = Env::new(&lookup);
        let settings = WebhookSettings::from_env(&mut env);
        (settings, env.finish().map_err(|error| error.to_string()))
    }

    #[test]
    fn webhooks_have_defaults_and_secrets_rotate() {
        let (settings, outcome) = read(&[]);
        assert_eq!(outcome, Ok(()));
        assert_eq!((settings.secrets.len(), settings.max_bytes), (0, 64 * 1024 * 1024));
        assert_eq!((settings.tolerance.as_secs(), settings.skew.as_secs()), (3600, 300));
        let (settings, outcome) = read(&[
            ("ELEVENLABS_WEBHOOK_SECRET", "wsec_0123456789a, wsec_0123456789b"),
            ("SPOOL_DIR", "/tmp"),
        ]);
        assert_eq!((settings.secrets.len(), outcome), (2, Ok(())));
    }

    #[test]
    fn wrong_settings_of_webhooks_are_named() {
        let (_, outcome) = read(&[
            ("ELEVENLABS_WEBHOOK_TOLERANCE_SECONDS", "0"),
            ("ELEVENLABS_WEBHOOK_SKEW_SECONDS", "soon"),
            ("MAX_WEBHOOK_BYTES", "0"),
            ("SPOOL_DIR", "/nonexistent/turnlog"),
            ("WEBHOOK_SECRET", "whsec_!"),
        ]);
        let line = outcome.unwrap_err();
        for name in ["TOLERANCE", "SKEW", "MAX_WEBHOOK_BYTES", "SPOOL_DIR", "WEBHOOK_SECRET"] {
            assert!(line.contains(name), "{name} is not in: {line}");
        }
    }
}
