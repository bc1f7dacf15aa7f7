//! The log: the JetStream stream `EVENTS`. Made here, read by subject here, followed from a sequence here.
//!
//! Publishing is the write edge's alone and lives in `ingest`.

mod ahead;
mod line;
pub(crate) mod read;
mod source;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::DeleteMessageErrorKind;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, ServerAddr};
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::{NatsSettings, Secret};
use crate::envelope::Entry;
use crate::events::{Erasure, Event};
use crate::sealing::{KeyStore, Keyring};
use crate::{audit, subjects};

pub use ahead::Ahead;
pub use tail::Tail;

/// The stream's name.
pub const STREAM: &str = "EVENTS";
/// Metadata key of the stream's epoch: random, made once with the stream, part of every feed id.
const EPOCH_KEY: &str = "turnlog-epoch";
/// Oldest server that keeps the promises the log is built on (atomic batches, fixes to the file store).
const OLDEST_SERVER: (i64, i64, i64) = (2, 14, 6);
/// The server's code for a message that is not there.
const NO_MESSAGE: u64 = 10_057;
/// How long a start waits for the server to come up beside it.
pub(crate) const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
/// How long one question to the server may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the log could not be reached or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The server could not be reached at the start.
    #[error("cannot reach NATS at NATS_URL: {0}; check that it runs and that the credentials are right")]
    Connect(String),
    /// The server is too old.
    #[error("nats-server {0} is too old: 2.14.6 or newer is needed")]
    TooOld(String),
    /// The stream could not be made or looked at.
    #[error("the stream EVENTS cannot be used: {0}")]
    Stream(String),
    /// A question to the server failed for now; it may work in a moment.
    #[error("the log does not answer: {0}")]
    Unavailable(String),
    /// The stream is another one than the one that was followed so far.
    #[error(
        "the log is not the one that was read before (epoch or last sequence went back): \
         it was made anew or restored; the read tables have to be rebuilt: turnlog rebuild --another-log"
    )]
    Replaced,
}

impl LogError {
    pub(crate) fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// How far the log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Sequence of the oldest entry still there.
    pub first: u64,
    /// Sequence of the newest entry; 0 when nothing was ever stored.
    pub last: u64,
    /// Entries.
    pub messages: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// A connection to the log.
#[derive(Debug, Clone)]
pub struct Log {
    client: Client,
    context: jetstream::Context,
    reconnects: watch::Receiver<u64>,
    epoch: Arc<str>,
    keyring: Keyring,
    settings: Arc<NatsSettings>,
}

impl Log {
    /// Connects as `name`, waits up to half a minute for the server, and makes the stream if it is not there.
    ///
    /// # Errors
    /// [`LogError::Connect`], [`LogError::TooOld`] or [`LogError::Stream`].
    pub async fn open(settings: &NatsSettings, name: &str) -> Result<Self, LogError> {
        let (client, reconnects) = connect(settings, name).await?;
        check_version(&client.server_info().version)?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let epoch = ensure_stream(&context, settings).await?;
        // On the heap, as what it says to the server is large.
        Box::pin(audit::ensure(&context, settings.replicas)).await?;
        let keys = KeyStore::open(&context, settings.replicas).await?;
        let keyring = Keyring::new(keys, settings.sealing.clone());
        Ok(Self { client, context, reconnects, epoch, keyring, settings: Arc::new(settings.clone()) })
    }

    /// The client, for the one file of a service that speaks JetStream itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The keys that content is sealed with.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Opens what is sealed.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], also where a key is missing that should be there: nothing can be read without it.
    pub(crate) async fn unseal(&self, entries: &mut [Entry]) -> Result<(), LogError> {
        if entries.iter().any(Entry::is_of_erasure) {
            // On the heap: it is rare, and every read would carry it.
            Box::pin(self.heed_erasures(entries)).await?;
        }
        self.keyring.open(entries).await.map_err(LogError::unavailable)
    }

    /// Who meets an erasure must not go on with keys that it had: all that stands behind it is closed for certain,
    /// whether or not word of the destroyed keys came through before.
    async fn heed_erasures(&self, entries: &[Entry]) -> Result<(), LogError> {
        for entry in entries.iter().filter(|entry| entry.is_of_erasure()) {
            let mut opened = [entry.clone()];
            self.keyring.open(&mut opened).await.map_err(LogError::unavailable)?;
            if let Ok(Event::ParticipantErased(erasure)) = opened[0].decode() {
                for owner in &erasure.keys {
                    self.keyring.forget(owner).await;
                }
            }
        }
        Ok(())
    }

    /// Deletes an event; its bytes on disk are overwritten. One that is not there is no error. For erasures alone: what a
    /// destroyed key has sealed need not be deleted.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while it may still be there.
    pub async fn delete(&self, sequence: u64) -> Result<(), LogError> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(LogError::unavailable)?;
        match stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteMessageErrorKind::JetStream(why) if why.error_code().0 == NO_MESSAGE => Ok(()),
                DeleteMessageErrorKind::JetStream(_)
                | DeleteMessageErrorKind::Request
                | DeleteMessageErrorKind::TimedOut => Err(LogError::unavailable(error)),
            },
        }
    }

    /// Every participant that was erased up to this sequence, oldest first, with the sequence of that.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time.
    pub async fn erasures(&self, up_to: u64) -> Result<Vec<(u64, Erasure)>, LogError> {
        let all = self.erasures_after(0).await?.into_iter();
        Ok(all.take_while(|(sequence, _)| *sequence <= up_to).collect())
    }

    /// Every participant that was erased after this sequence, oldest first, with the sequence of that.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time.
    pub async fn erasures_after(&self, after: u64) -> Result<Vec<(u64, Erasure)>, LogError> {
        let (mut erasures, mut after) = (Vec::new(), after);
        loop {
            let page = self.page_of(subjects::ERASURES, after).await?;
            let Some(last) = page.last() else { return Ok(erasures) };
            after = last.sequence;
            for entry in &page {
                if let Ok(Event::ParticipantErased(erasure)) = entry.decode() {
                    erasures.push((entry.sequence, erasure));
                }
            }
        }
    }

    /// JetStream on the same connection.
    pub(crate) fn context(&self) -> &jetstream::Context {
        &self.context
    }

    /// The stream's epoch: differs between streams even of the same name, stays across restarts and restores.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Counts reconnects of the client; it changes when consumers made before may be gone.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.clone()
    }

    /// How far the log reaches now.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while the server does not answer, [`LogError::Replaced`] when the stream's epoch is
    /// another than at the start.
    pub async fn extent(&self) -> Result<Extent, LogError> {
        let stream = self.context.get_stream(STREAM).await.map_err(LogError::unavailable)?;
        let info = stream.cached_info();
        if info.config.metadata.get(EPOCH_KEY).map(String::as_str) != Some(&*self.epoch) {
            return Err(LogError::Replaced);
        }
        let state = &info.state;
        Ok(Extent {
            first: state.first_sequence,
            last: state.last_sequence,
            messages: state.messages,
            bytes: state.bytes,
        })
    }

    /// The server's version, as it says itself.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Whether the connection is up at this moment.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Sends what is still buffered and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the connection to the log was already closed");
        }
    }
}

/// Connects as `name`; waits up to [`CONNECT_PATIENCE`] for the server. Also counts reconnects.
pub(crate) async fn connect(
    settings: &NatsSettings,
    name: &str,
) -> Result<(Client, watch::Receiver<u64>), LogError> {
    let started = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let (count, reconnects) = watch::channel(0);
        let error = match options(settings, name, count).await?.connect(servers(settings)?).await {
            Ok(client) => return Ok((client, reconnects)),
            Err(error) => error,
        };
        if started.elapsed() > CONNECT_PATIENCE {
            return Err(LogError::Connect(error.to_string()));
        }
        tracing::debug!(%error, "NATS is not there yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

fn servers(settings: &NatsSettings) -> Result<Vec<ServerAddr>, LogError> {
    settings
        .urls
        .iter()
        // The address itself may hold a password, so it is not repeated.
        .map(|url| {
            url.expose()
                .parse()
                .map_err(|_| LogError::Connect("an address in NATS_URL is no NATS URL".into()))
        })
        .collect()
}

async fn options(
    settings: &NatsSettings,
    name: &str,
    count: watch::Sender<u64>,
) -> Result<ConnectOptions, LogError> {
    let mut options = ConnectOptions::new()
        .name(format!("turnlog {name}"))
        .request_timeout(Some(REQUEST_TIMEOUT))
        // The defaults notice a dead peer after three minutes and wait four seconds between tries.
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|attempt| Duration::from_millis((10 * attempt as u64).min(500)))
        .event_callback(move |event| {
            if matches!(event, async_nats::Event::Connected) {
                // The first time is told of late, when there may be consumers already: nothing of theirs is gone.
                count.send_if_modified(|n| {
                    *n += 1;
                    *n > 1
                });
            }
            tracing::debug!(%event, "NATS connection");
            std::future::ready(())
        });
    if let Some(path) = &settings.credentials {
        options = options
            .credentials_file(path)
            .await
            .map_err(|error| LogError::Connect(format!("NATS_CREDS cannot be read: {error}")))?;
    }
    // The client does not take what stands in an address by itself.
    if let Some((user, password)) = password(settings, &servers(settings)?) {
        options = options.user_and_password(user, password);
    }
    Ok(options)
}

/// User and password: those of the settings, or of the first address that has them.
fn password(settings: &NatsSettings, servers: &[ServerAddr]) -> Option<(String, String)> {
    let in_address = servers.iter().find_map(|server| server.username().zip(server.password()));
    let named = settings.user.as_deref().zip(settings.password.as_ref().map(Secret::expose));
    named.or(in_address).map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn check_version(version: &str) -> Result<(), LogError> {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    if (next(), next(), next()) < OLDEST_SERVER {
        return Err(LogError::TooOld(version.to_owned()));
    }
    Ok(())
}

fn stream_config(settings: &NatsSettings) -> stream::Config {
    stream::Config {
        name: STREAM.into(),
        description: Some("turnlog: every fact, one subject for each aggregate".into()),
        subjects: vec![subjects::ALL.into()],
        storage: stream::StorageType::File,
        num_replicas: settings.replicas,
        duplicate_window: settings.dedupe_window,
        allow_direct: true,
        allow_atomic_publish: true,
        metadata: [(EPOCH_KEY.to_owned(), Uuid::new_v4().simple().to_string()[..12].to_owned())].into(),
        ..stream::Config::default()
    }
}

/// Makes the stream or brings an existing one to these settings; answers its epoch.
async fn ensure_stream(context: &jetstream::Context, settings: &NatsSettings) -> Result<Arc<str>, LogError> {
    let failed = |error: &dyn std::fmt::Display| LogError::Stream(error.to_string());
    let started = tokio::time::Instant::now();
    let wanted = stream_config(settings);
    let found = loop {
        // Two services may try to make it at once: the second finds the first one's, with the first one's epoch.
        match context.get_or_create_stream(wanted.clone()).await {
            Ok(found) => break found,
            Err(error) if started.elapsed() > CONNECT_PATIENCE => return Err(failed(&error)),
            Err(error) => tracing::debug!(%error, "the stream is not there yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let mut config = found.cached_info().config.clone();
    let epoch =
        config.metadata.entry(EPOCH_KEY.to_owned()).or_insert_with(|| wanted.metadata[EPOCH_KEY].clone());
    let epoch: Arc<str> = Arc::from(epoch.as_str());
    config.num_replicas = wanted.num_replicas;
    config.duplicate_window = wanted.duplicate_window;
    (config.allow_direct, config.allow_atomic_publish) = (true, true);
    if config != found.cached_info().config {
        context.update_stream(&config).await.map_err(|error| failed(&error))?;
    }
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_older_than_the_fixes_are_refused() {
        for (version, good) in [
            ("2.9.10", false),
            ("2.14.5", false),
            ("2.14.6", true),
            ("2.15.1", true),
            ("2.15.0-RC.1", true),
            ("3.0.0", true),
        ] {
            assert_eq!(check_version(version).is_ok(), good, "{version}");
        }
    }
}
