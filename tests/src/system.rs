//! The three services in this process, on port 0, with parts of their own.

use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::Duration;

use exporter::JobsSettings;
use ingest::reconcile::ReconcileSettings;
use ingest::vendor::VendorSettings;
use ingest::{IngestSettings, Interpreters, LoginMode, WebhookSettings};
use projector::ProjectorSettings;
use serde_json::Value;
use shared::config::{AuthSettings, DatabaseSettings, NatsSettings, Secret};
use shared::health::Health;
use shared::http::{self, AnyError, Edge, Lifecycle, Service};
use shared::limits;
use shared::log::Log;
use shared::telemetry;
use sqlx::{Connection, PgConnection};
use streamer::{FeedCaps, Fonts, StreamerSettings};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{Client, account, database, eventually};

/// A service's key in every test.
pub const API_KEY: &str = "test-api-key-of-a-service";
/// The secret of ElevenLabs' webhooks in every test.
pub const WEBHOOK_SECRET: &str = "wsec_test_secret_of_webhooks";
/// The secret of conversation webhooks in every test.
pub const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The secret of tokens in every test.
pub const JWT_SECRET: &str = "test secret of tokens, long enough for HS256";

/// The fonts of the set-up, found once for all tests.
static FONTS: LazyLock<Fonts> = LazyLock::new(|| Fonts::new(vec![crate::tools().join("fonts")]));

/// What a system is made of.
#[derive(Debug, Clone)]
pub struct Parts {
    pub nats: NatsSettings,
    pub database_url: String,
    pub login_mode: LoginMode,
    /// How callers are treated.
    pub edge: Edge,
    /// Keys of services, beside the one of every test.
    pub more_keys: Vec<&'static str>,
    /// Logins a minute from one address.
    pub logins_per_address: u32,
    /// Conversation webhooks a minute from one address.
    pub webhooks_per_address: u32,
    /// Who signs webhooks, and how long and large they may be.
    pub webhooks: WebhookSettings,
    /// Bytes of one upload.
    pub max_media_bytes: usize,
    pub heartbeat: Duration,
    pub feed_max_age: Duration,
    pub feed_caps: FeedCaps,
    /// What documents are set in.
    pub fonts: Fonts,
    /// The API of the vendor; none unless a test sets it.
    pub vendor: Option<VendorSettings>,
    /// How its list is compared with the log; never unless a test sets it.
    pub reconcile: ReconcileSettings,
    /// Who dreams can be talked about with.
    pub interpreters: Interpreters,
    /// Sessions a minute of one participant.
    pub sessions_per_participant: u32,
    /// How often a conversation is compared with the log; never unless a test sets it.
    pub verify_sample: Option<Duration>,
    /// How data sets are made; as it is by default unless a test sets it.
    pub exports: Option<JobsSettings>,
    pub ingest: bool,
    pub projector: bool,
    pub streamer: bool,
}

impl Parts {
    /// All three services on an account and a database of their own.
    pub async fn fresh() -> Self {
        Self::on(account().await, database().await)
    }

    /// All three services on these servers.
    pub fn on(nats: NatsSettings, database_url: String) -> Self {
        let heartbeat = Duration::from_secs(30);
        Self {
            nats,
            database_url,
            login_mode: LoginMode::Open,
            edge: Edge { requests_per_key: per_minute(100_000), ..Edge::default() },
            more_keys: Vec::new(),
            logins_per_address: 100_000,
            webhooks_per_address: 100_000,
            webhooks: webhooks(),
            max_media_bytes: limits::DEFAULT_MEDIA_BYTES,
            heartbeat,
            feed_max_age: Duration::from_secs(3600),
            feed_caps: FeedCaps::default(),
            fonts: FONTS.clone(),
            vendor: None,
            reconcile: ReconcileSettings { every: None, ..ReconcileSettings::default() },
            interpreters: interpreters(),
            sessions_per_participant: 100_000,
            verify_sample: None,
            exports: None,
            ingest: true,
            projector: true,
            streamer: true,
        }
    }

    /// The same parts with only these services.
    pub fn only(&self, ingest: bool, projector: bool, streamer: bool) -> Self {
        Self { ingest, projector, streamer, ..self.clone() }
    }

    pub fn auth(&self) -> AuthSettings {
        AuthSettings {
            jwt_secret: Secret::new(JWT_SECRET),
            issuer: "turnlog".into(),
            audience: "turnlog".into(),
            api_keys: [API_KEY].iter().chain(&self.more_keys).map(|key| Secret::new(*key)).collect(),
        }
    }

    fn ingest_settings(&self) -> IngestSettings {
        IngestSettings {
            nats: self.nats.clone(),
            auth: self.auth(),
            login_mode: self.login_mode,
            token_ttl: Duration::from_secs(3600),
            logins_per_address: per_minute(self.logins_per_address),
            logins_per_id: per_minute(100),
            webhooks_per_address: per_minute(self.webhooks_per_address),
            max_content_bytes: limits::DEFAULT_CONTENT_BYTES,
            max_body_bytes: limits::DEFAULT_BODY_BYTES,
            max_media_bytes: self.max_media_bytes,
            vendor: self.vendor.clone(),
            webhooks: self.webhooks.clone(),
            reconcile: self.reconcile.clone(),
            interpreters: self.interpreters.clone(),
            sessions_per_participant: per_minute(self.sessions_per_participant),
        }
    }

    /// How data sets are made by default.
    pub fn exports(&self) -> JobsSettings {
        JobsSettings::new(self.nats.clone(), self.auth())
    }

    fn database(&self) -> DatabaseSettings {
        DatabaseSettings { url: Secret::new(self.database_url.clone()) }
    }

    /// Starts the services.
    pub async fn start(&self) -> System {
        // On the heap: three services that start are a large future.
        Box::pin(self.begin()).await
    }

    async fn begin(&self) -> System {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (health, lifecycle) = (Health::default(), Lifecycle::default());
        telemetry::metrics();
        let services = self.services(&health, &lifecycle).await.unwrap();
        let log = Log::open(&self.nats, "health").await.unwrap();
        let watch = health.clone().watch(log);
        let (edge, stop) = (self.edge.clone(), lifecycle.clone());
        let serving = tokio::spawn(async move {
            let run = http::run(listener, None, services, health, stop, &edge);
            tokio::select! {
                served = run => served,
                () = watch => Err("the watch ended".into()),
            }
        });
        System { client: Client::new(&base), base, parts: self.clone(), lifecycle, serving: Some(serving) }
    }

    async fn services(&self, health: &Health, lifecycle: &Lifecycle) -> Result<Vec<Service>, AnyError> {
        let mut services = Vec::new();
        if self.ingest {
            // On the heap: starting it is a large future.
            let starting = Box::pin(ingest::start(self.ingest_settings(), health, lifecycle.clone()));
            services.push(starting.await?);
        }
        if self.projector {
            let (nats, database, verify_sample) = (self.nats.clone(), self.database(), self.verify_sample);
            let settings = ProjectorSettings { nats, database, verify_sample };
            services.push(projector::start(settings, health, lifecycle.clone()).await?);
        }
        if self.streamer {
            let (nats, database, auth) = (self.nats.clone(), self.database(), self.auth());
            let Self { heartbeat, feed_max_age, feed_caps, .. } = *self;
            let fonts = self.fonts.clone();
            let settings =
                StreamerSettings { nats, database, auth, heartbeat, feed_max_age, feed_caps, fonts };
            services.push(streamer::start(settings, health, lifecycle.clone()).await?);
            let exports = self.exports.clone().unwrap_or_else(|| self.exports());
            services.push(Box::pin(exporter::start(exports, lifecycle.clone())).await?);
        }
        Ok(services)
    }
}

fn webhooks() -> WebhookSettings {
    let secrets = vec![Secret::new(WEBHOOK_SECRET)];
    let conversation_secrets = vec![Secret::new(STANDARD_SECRET)];
    WebhookSettings { secrets, conversation_secrets, ..WebhookSettings::default() }
}

/// Two of the seed's, one with a style.
fn interpreters() -> Interpreters {
    let styles = [("jung".to_owned(), "archetypes, and the shadow".to_owned())].into();
    Interpreters::new("jung=agent_jung,freud=agent_freud".parse().unwrap(), styles)
}

/// A limit of requests a minute.
pub fn per_minute(limit: u32) -> NonZeroU32 {
    NonZeroU32::new(limit).unwrap()
}

/// Running services.
#[derive(Debug)]
pub struct System {
    /// A caller without credential.
    pub client: Client,
    pub base: String,
    pub parts: Parts,
    lifecycle: Lifecycle,
    serving: Option<JoinHandle<Result<(), AnyError>>>,
}

impl System {
    /// All three services on parts of their own.
    pub async fn start() -> Self {
        Parts::fresh().await.start().await
    }

    /// A caller with the service's key.
    pub fn service(&self) -> Client {
        self.client.with(API_KEY)
    }

    /// Stops the services and answers how they ended.
    pub async fn stop(mut self) -> Result<(), AnyError> {
        self.lifecycle.stopping.cancel();
        self.serving.take().unwrap().await.unwrap()
    }

    /// How the services ended by themselves.
    pub async fn ended(mut self) -> Result<(), AnyError> {
        tokio::time::timeout(crate::PATIENCE, self.serving.take().unwrap())
            .await
            .expect("still serving")
            .unwrap()
    }

    /// A connection to the read tables with the owner's rights.
    pub async fn tables(&self) -> PgConnection {
        PgConnection::connect(&self.parts.database_url).await.unwrap()
    }

    /// The rows of a query over the read tables, as a list of objects.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let query = format!("SELECT coalesce(json_agg(found), '[]')::text FROM ({query}) AS found");
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query));
        let text: String = query.fetch_one(&mut self.tables().await).await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the read tables have reached this sequence.
    pub async fn projected(&self, sequence: u64) {
        let mut tables = self.tables().await;
        let wanted = i64::try_from(sequence).unwrap();
        for_condition(&mut tables, wanted).await;
    }
}

async fn for_condition(tables: &mut PgConnection, wanted: i64) {
    let cell = tokio::sync::Mutex::new(tables);
    eventually("the read tables reach the sequence", || async {
        let mut tables = cell.lock().await;
        let reached: i64 =
            sqlx::query_scalar("SELECT last_sequence FROM turnlog.checkpoint WHERE name = 'read'")
                .fetch_one(&mut **tables)
                .await
                .ok()?;
        (reached >= wanted).then_some(())
    })
    .await;
}

impl Drop for System {
    fn drop(&mut self) {
        self.lifecycle.stopping.cancel();
    }
}
