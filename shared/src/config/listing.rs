//! The list of all settings: what `turnlog serve --help` prints.

/// One setting of the environment.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What holds when it is not set; empty where it must be set.
    pub default: &'static str,
    /// What it is, with its unit.
    pub about: &'static str,
}

const fn setting(name: &'static str, default: &'static str, about: &'static str) -> Setting {
    Setting { name, default, about }
}

/// Every setting, by topic.
pub const SETTINGS: &[Setting] = &[
    setting("LISTEN", "127.0.0.1:8080", "address and port to serve on; port 0 picks a free one"),
    setting("METRICS_LISTEN", "same as LISTEN", "address and port of /metrics alone"),
    setting("MAX_BODY_BYTES", "4194304", "bytes of one request body"),
    setting("MAX_CONTENT_BYTES", "65536", "bytes of one message's content"),
    setting("DATABASE_URL", "", "postgres://user:password@host:port/database of the read tables"),
    setting("NATS_URL", "", "nats://host:port of the log; several of one cluster with commas between"),
    setting("NATS_CREDS", "none", "path of a credentials file"),
    setting("NATS_USER", "none", "user name, together with NATS_PASSWORD"),
    setting("NATS_PASSWORD", "none", "password of NATS_USER"),
    setting("STREAM_REPLICAS", "1", "copies of the log: 1, 3 or 5"),
    setting("DEDUPE_WINDOW_SECONDS", "120", "how long the log's server recognises a repeated event id"),
    setting("JWT_SECRET", "", "signs and checks tokens (HS256); at least 32 bytes"),
    setting("JWT_ISSUER", "turnlog", "iss that a token must name"),
    setting("JWT_AUDIENCE", "turnlog", "aud that a token must name"),
    setting("API_SECRET_KEY", "none", "keys of calling services, with commas between while one is rotated"),
    setting(
        "LOGIN_MODE",
        "enrolled",
        "open: any id enrols itself; enrolled: must exist; code: needs its access code",
    ),
    setting("TOKEN_TTL_SECONDS", "86400", "how long a token from login is good"),
    setting("RATE_LIMIT_LOGIN_PER_MIN", "300", "logins a minute from one address"),
    setting("RATE_LIMIT_LOGIN_PER_ID_PER_MIN", "20", "logins a minute for one id"),
    setting("HEARTBEAT_SECONDS", "30", "seconds between heartbeats of an idle feed"),
    setting("LOG_LEVEL", "info", "error, warn, info, debug, trace, or directives such as info,ingest=debug"),
    setting("LOG_FORMAT", "text", "text or json"),
];
