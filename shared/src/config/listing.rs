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
    setting(
        "VERIFY_SAMPLE_SECONDS",
        "20",
        "seconds between conversations whose read tables the projector compares with the log; or off",
    ),
    setting("NATS_URL", "", "nats://host:port of the log; several of one cluster with commas between"),
    setting("NATS_CREDS", "none", "path of a credentials file"),
    setting("NATS_USER", "none", "user name, together with NATS_PASSWORD"),
    setting("NATS_PASSWORD", "none", "password of NATS_USER"),
    setting("STREAM_REPLICAS", "1", "copies of the log: 1, 3 or 5"),
    setting(
        "SEALING_KEYS",
        "none",
        "master keys as name=base64 of 32 bytes, with commas between; the first seals, the others open. Without one \
         content is not sealed",
    ),
    setting(
        "EXPORT_KEY",
        "none",
        "what turnlog export --pseudonymize makes pseudonyms with: at least 32 random bytes in base64",
    ),
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
    setting(
        "TRUSTED_PROXIES",
        "none",
        "IPs and CIDRs of proxies whose X-Forwarded-For counts, with commas between",
    ),
    setting("CORS_ORIGINS", "none", "origins whose pages may call, with commas between; or *"),
    setting("RATE_LIMIT_API_PER_MIN", "1000", "requests a minute with one API key"),
    setting("RATE_LIMIT_WEBHOOK_PER_MIN", "100", "conversation webhooks a minute from one address"),
    setting("RATE_LIMIT_LOGIN_PER_MIN", "300", "logins a minute from one address"),
    setting("RATE_LIMIT_LOGIN_PER_ID_PER_MIN", "20", "logins a minute for one id"),
    setting("RATE_LIMIT_SESSIONS_PER_MIN", "30", "voice sessions a minute that one participant may open"),
    setting("ELEVENLABS_API_KEY", "none", "key to ElevenLabs' API; without it the API is never called"),
    setting("ELEVENLABS_BASE_URL", "https://api.elevenlabs.io", "address of ElevenLabs' API"),
    setting(
        "ELEVENLABS_TIMEOUT_SECONDS",
        "5",
        "how long ElevenLabs may be silent; its short answers must be complete within it",
    ),
    setting(
        "ELEVENLABS_AGENTS",
        "all",
        "agents, as jung=agent_1,freud=agent_2: who can be talked with (none by default), whose conversations are fetched",
    ),
    setting(
        "INTERPRETER_STYLES",
        "none",
        "how each of those agents is to talk, as JSON such as {\"jung\": \"archetypes\"}",
    ),
    setting(
        "RECONCILE_SECONDS",
        "300",
        "seconds between comparisons of ElevenLabs' list with the log, which fetch what is missing; or off",
    ),
    setting("RECONCILE_LOOKBACK_SECONDS", "86400", "how far back the comparison at the start looks"),
    setting(
        "RECONCILE_AUDIO",
        "false",
        "whether recordings that are missing are fetched, too: true or false",
    ),
    setting(
        "WEBHOOK_SECRET",
        "none",
        "secrets of the conversation webhook (Standard Webhooks, base64), with commas between",
    ),
    setting(
        "ELEVENLABS_WEBHOOK_SECRET",
        "none",
        "secrets of ElevenLabs' webhooks, with commas between while one is rotated",
    ),
    setting("ELEVENLABS_WEBHOOK_TOLERANCE_SECONDS", "3600", "how old the signature of a webhook may be"),
    setting("ELEVENLABS_WEBHOOK_SKEW_SECONDS", "300", "how far in the future its time may lie"),
    setting(
        "MAX_WEBHOOK_BYTES",
        "67108864",
        "bytes of one webhook as the JSON it is sent as; audio in it is a third larger than when decoded",
    ),
    setting("MAX_MEDIA_BYTES", "33554432", "bytes of one uploaded attachment"),
    setting("SPOOL_DIR", "the system's", "directory where large bodies wait in files while they arrive"),
    setting("HEARTBEAT_SECONDS", "30", "seconds between heartbeats of an idle feed"),
    setting(
        "FEED_MAX_AGE_SECONDS",
        "3600",
        "how long a feed is open before its client is asked to come back; up to a tenth less",
    ),
    setting("FEEDS_PER_TOKEN", "64", "feeds that may be open with one token"),
    setting("FEEDS_PER_COMPANY", "10000", "feeds that may be open for one company's admins"),
    setting("FEEDS_PER_KEY", "50000", "feeds that may be open with one API key"),
    setting("EXPORT_JOBS_AT_ONCE", "1", "data sets asked for over HTTP that one process makes at once"),
    setting(
        "EXPORT_JOBS_PER_RESEARCHER",
        "2",
        "data sets that one researcher may have waiting or being made at once",
    ),
    setting("EXPORT_EXPIRES_HOURS", "72", "hours that a data set can be downloaded"),
    setting(
        "EXPORTS_MAX_BYTES",
        "10737418240",
        "bytes of all data sets that can be downloaded, in the store of the log's server",
    ),
    setting("EXPORTS_DIR", "the system's", "directory where data sets are made, for temporary files"),
    setting("FONTS_DIR", "the system's", "folders with fonts for PDFs, with colons between"),
    setting("LOG_LEVEL", "info", "error, warn, info, debug, trace, or directives such as info,ingest=debug"),
    setting("LOG_FORMAT", "text", "text or json"),
];
