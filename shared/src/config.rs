//! Settings: read once, by name, into one small struct per topic. Only the binary hands in the environment.

mod listing;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::http::Edge;
use crate::limits;
use crate::sealing::MasterKeys;

pub use listing::{SETTINGS, Setting};

/// Text that never shows in a log line or an error.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// One line that names every setting that is wrong or missing.
#[derive(Debug, thiserror::Error)]
#[error("wrong settings: {0}")]
pub struct WrongSettings(String);

/// Reads settings by name and collects what is wrong with them, so that one start names all.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    wrong: Vec<String>,
}

impl fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").field("wrong", &self.wrong).finish_non_exhaustive()
    }
}

impl<'a> Env<'a> {
    /// Over a way to look a name up; the binary passes `std::env::var`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, wrong: Vec::new() }
    }

    /// A text that may be absent; empty counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        debug_assert!(SETTINGS.iter().any(|setting| setting.name == name), "{name} is not in SETTINGS");
        (self.lookup)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.reject(name, "is not set");
            String::new()
        })
    }

    /// A comma-separated list; absent is empty.
    pub fn list(&self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// A comma-separated list of secrets.
    pub fn secrets(&self, name: &str) -> Vec<Secret> {
        self.list(name).into_iter().map(Secret).collect()
    }

    /// A value of another type, or its default. `what` says what is wanted.
    pub fn parse<T: FromStr>(&mut self, name: &str, default: T, what: &str) -> T {
        match self.text(name).map(|text| text.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.reject(name, &format!("must be {what}"));
                default
            }
        }
    }

    /// How many a minute, at least 1.
    pub fn per_minute(&mut self, name: &str, default: NonZeroU32) -> NonZeroU32 {
        self.count(name, default)
    }

    /// How many, at least 1.
    pub fn count(&mut self, name: &str, default: NonZeroU32) -> NonZeroU32 {
        self.parse(name, default, "a whole number, at least 1")
    }

    /// A whole number of seconds, at least 1.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        match self.parse(name, default.as_secs(), "a whole number of seconds, at least 1") {
            0 => {
                self.reject(name, "must be a whole number of seconds, at least 1");
                default
            }
            seconds => Duration::from_secs(seconds),
        }
    }

    /// Notes that a setting is wrong. The value is not repeated: it may be a secret.
    pub fn reject(&mut self, name: &str, why: &str) {
        let line = format!("{name} {why}");
        // Roles in one process read some settings each for themselves.
        if !self.wrong.contains(&line) {
            self.wrong.push(line);
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`WrongSettings`] when anything was rejected.
    pub fn finish(self) -> Result<(), WrongSettings> {
        if self.wrong.is_empty() { Ok(()) } else { Err(WrongSettings(self.wrong.join("; "))) }
    }
}

/// Where the log is and how its stream is kept.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Servers of one cluster; an address may hold user and password.
    pub urls: Vec<Secret>,
    /// Credentials file of a user.
    pub credentials: Option<PathBuf>,
    /// User name, with `password`.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// Copies of the stream: 1, 3 or 5.
    pub replicas: usize,
    /// How long the server recognises a repeated event id.
    pub dedupe_window: Duration,
    /// What seals the data keys that seal content; none where nothing is sealed.
    pub sealing: Option<Arc<MasterKeys>>,
}

impl NatsSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let urls = env.secrets("NATS_URL");
        if urls.is_empty() {
            env.reject("NATS_URL", "is not set");
        }
        let (user, password) = (env.text("NATS_USER"), env.text("NATS_PASSWORD").map(Secret));
        if user.is_some() != password.is_some() {
            env.reject("NATS_USER", "and NATS_PASSWORD go together: set both or none");
        }
        let replicas = env.parse("STREAM_REPLICAS", 1, "1, 3 or 5");
        if ![1, 3, 5].contains(&replicas) {
            env.reject("STREAM_REPLICAS", "must be 1, 3 or 5");
        }
        let credentials = env.text("NATS_CREDS").map(PathBuf::from);
        let dedupe_window = env.seconds("DEDUPE_WINDOW_SECONDS", limits::DEFAULT_DEDUPE_WINDOW);
        let sealing = env.text("SEALING_KEYS").and_then(|text| match MasterKeys::parse(&text) {
            Ok(masters) => Some(Arc::new(masters)),
            Err(wrong) => {
                env.reject("SEALING_KEYS", &wrong.to_string());
                None
            }
        });
        Self { urls, credentials, user, password, replicas, dedupe_window, sealing }
    }
}

/// Where the read tables are.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
}

impl DatabaseSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        Self { url: Secret(env.required("DATABASE_URL")) }
    }
}

/// Who may call, and how tokens are made.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Signs and checks HS256 tokens; at least 32 bytes.
    pub jwt_secret: Secret,
    /// `iss` that a token must name.
    pub issuer: String,
    /// `aud` that a token must name.
    pub audience: String,
    /// Keys of calling services, newest first; several while one is being rotated.
    pub api_keys: Vec<Secret>,
}

impl AuthSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let jwt_secret = Secret(env.required("JWT_SECRET"));
        if !jwt_secret.0.is_empty() && jwt_secret.0.len() < 32 {
            env.reject("JWT_SECRET", "must be at least 32 bytes long");
        }
        let api_keys = env.secrets("API_SECRET_KEY");
        if api_keys.iter().any(|key| key.0.len() < 16) {
            env.reject("API_SECRET_KEY", "must be keys of at least 16 bytes");
        }
        let or = |name: &str| env.text(name).unwrap_or_else(|| "turnlog".into());
        Self { jwt_secret, issuer: or("JWT_ISSUER"), audience: or("JWT_AUDIENCE"), api_keys }
    }
}

/// The HTTP face of a process.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Address of `/metrics`, apart from the rest; the same address where it is not set.
    pub metrics_listen: Option<SocketAddr>,
    /// Bytes of one request body.
    pub max_body_bytes: usize,
    /// How callers are treated.
    pub edge: Edge,
}

impl HttpSettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let address = "an address and a port, for example 127.0.0.1:8080";
        let listen = env.parse("LISTEN", SocketAddr::from(([127, 0, 0, 1], 8080)), address);
        let metrics_listen = env.text("METRICS_LISTEN").and_then(|text| {
            text.parse().map_err(|_| env.reject("METRICS_LISTEN", &format!("must be {address}"))).ok()
        });
        let max_body_bytes = env.parse("MAX_BODY_BYTES", limits::DEFAULT_BODY_BYTES, "a number of bytes");
        Self { listen, metrics_listen, max_body_bytes, edge: Edge::from_env(env) }
    }
}

impl Edge {
    fn from_env(env: &mut Env<'_>) -> Self {
        let Self { proxies, origins, requests_per_key } = Self::default();
        let networks = "IP addresses and networks such as 10.0.0.0/8, with commas between";
        let pages = "* alone, or origins such as https://app.example.org (no path), with commas between";
        Self {
            proxies: env.parse("TRUSTED_PROXIES", proxies, networks),
            origins: env.parse("CORS_ORIGINS", origins, pages),
            requests_per_key: env.per_minute("RATE_LIMIT_API_PER_MIN", requests_per_key),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// Filter directives, for example `info` or `info,ingest=debug`.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl TelemetrySettings {
    /// Reads them.
    pub fn from_env(env: &mut Env<'_>) -> Self {
        let level = env.text("LOG_LEVEL").unwrap_or_else(|| "info".into()).to_lowercase();
        let json = match env.text("LOG_FORMAT").as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => {
                env.reject("LOG_FORMAT", "must be text or json");
                false
            }
        };
        Self { level, json }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_named_at_once_and_no_value_is_repeated() {
        let lookup = |name: &str| match name {
            "JWT_SECRET" => Some("hunter2".to_owned()),
            "LISTEN" => Some("everywhere".to_owned()),
            "STREAM_REPLICAS" => Some("2".to_owned()),
            "TRUSTED_PROXIES" => Some("10.0.0.1, proxy.example.org".to_owned()),
            "CORS_ORIGINS" => Some("https://example.org, *".to_owned()),
            "RATE_LIMIT_API_PER_MIN" => Some("0".to_owned()),
            _ => None,
        };
        let mut env = Env::new(&lookup);
        NatsSettings::from_env(&mut env);
        AuthSettings::from_env(&mut env);
        HttpSettings::from_env(&mut env);
        let line = env.finish().unwrap_err().to_string();
        let edge = ["TRUSTED_PROXIES", "CORS_ORIGINS", "RATE_LIMIT_API_PER_MIN"];
        for name in ["NATS_URL", "JWT_SECRET", "LISTEN", "STREAM_REPLICAS"].into_iter().chain(edge) {
            assert!(line.contains(name), "{name} is not in: {line}");
        }
        assert!(!line.contains("hunter2"));
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_secret_does_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[secret]");
    }
}
