//! The audit log: who did what, when and from where, in the JetStream stream `AUDIT`: looks at conversations, data sets,
//! erasures, credentials that were made, callers that were turned away. It holds nothing of what was said. The server
//! deletes nothing of it, whoever asks, and seals tell when something of it is not what it was.

mod record;
mod recorder;
mod refusals;
pub mod seal;
mod trail;
pub mod verify;

use std::time::Duration;

use async_nats::client::Request;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::envelope::Entry;
use crate::ids::ConversationId;
use crate::limits::ACK_TIMEOUT;
use crate::log::read::{PAGE, Start, Wanted, page};
use crate::log::{CONNECT_PATIENCE, Log, LogError};
use crate::subjects;

pub use record::{Credential, Look, Looker, What};
pub use recorder::{Queue, Recorder};
pub use refusals::{Refusals, refused};
pub use trail::Trail;

/// The stream's name.
pub const STREAM: &str = "AUDIT";
/// Looks from which one atomic batch is cheaper than a publish, and an fsync, for each: a batch costs about six.
const BATCH_FROM: usize = 8;

/// Looks that one [`Audit::append`] takes at most.
pub const MOST_AT_ONCE: usize = 500;
const _: () = assert!(MOST_AT_ONCE <= crate::limits::MAX_BATCH_EVENTS, "they fit a batch");

/// The audit log, over the connection of the log.
#[derive(Debug, Clone)]
pub struct Audit {
    client: Client,
    context: jetstream::Context,
}

/// The server's answer to a batch.
#[derive(Deserialize)]
struct Ack {
    error: Option<Value>,
    count: Option<usize>,
}

impl Audit {
    /// On this connection.
    pub fn new(log: &Log) -> Self {
        let mut context = jetstream::new(log.client().clone());
        context.set_timeout(ACK_TIMEOUT);
        Self { client: log.client().clone(), context }
    }

    /// Stores looks, at most [`MOST_AT_ONCE`]; answers for each whether it is known to be on disk.
    pub async fn append(&self, looks: &[Look]) -> Vec<Result<(), LogError>> {
        if looks.len() < BATCH_FROM {
            return join_all(looks.iter().map(|look| self.single(look))).await;
        }
        let stored = tokio::time::timeout(2 * ACK_TIMEOUT, self.batch(looks)).await;
        let why = match stored.map_err(LogError::unavailable).flatten() {
            Ok(()) => return looks.iter().map(|_| Ok(())).collect(),
            Err(error) => error.to_string(),
        };
        looks.iter().map(|_| Err(LogError::Unavailable(why.clone()))).collect()
    }

    async fn single(&self, look: &Look) -> Result<(), LogError> {
        let ack = self.context.publish(look.subject(), look.body()).await.map_err(LogError::unavailable)?;
        ack.await.map(drop).map_err(LogError::unavailable)
    }

    /// All of them or none (ADR-50 of the server's architecture decisions).
    async fn batch(&self, looks: &[Look]) -> Result<(), LogError> {
        let batch = Uuid::new_v4().simple().to_string();
        let headers = |place: usize| {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", place.to_string());
            headers
        };
        let Some((last, before)) = looks.split_last() else { return Ok(()) };
        for (place, look) in (1..).zip(before) {
            let sent = self.client.publish_with_headers(look.subject(), headers(place), look.body()).await;
            sent.map_err(LogError::unavailable)?;
        }
        let mut headers = headers(looks.len());
        headers.insert("Nats-Batch-Commit", "1");
        let commit = Request::new().headers(headers).payload(last.body());
        let answer = self.client.send_request(last.subject(), commit).await.map_err(LogError::unavailable)?;
        let ack: Ack = serde_json::from_slice(&answer.payload).map_err(LogError::unavailable)?;
        match ack {
            Ack { error: None, count } if count == Some(looks.len()) => Ok(()),
            Ack { error, count } => {
                Err(LogError::unavailable(format!("{count:?} of {}: {error:?}", looks.len())))
            }
        }
    }

    /// Stores one record, for who has no queue of them: a command.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when it is not known to be on disk.
    pub async fn record(&self, look: &Look) -> Result<(), LogError> {
        self.single(look).await
    }

    /// Hands what was recorded to `each`, oldest first: of one conversation or of all, from a time on.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the server does not answer in time.
    pub async fn read(
        &self,
        conversation: Option<&ConversationId>,
        since: Option<DateTime<Utc>>,
        mut each: impl FnMut(Entry),
    ) -> Result<(), LogError> {
        let subject = conversation.map_or_else(|| subjects::AUDIT.to_owned(), subjects::looks_at);
        let mut start = since.map_or(Start::At(1), Start::Since);
        loop {
            let mut more = false;
            let wanted = Wanted { subject: &subject, start, batch: PAGE };
            page(&self.client, STREAM, wanted, |entry, pending| {
                (start, more) = (Start::At(entry.sequence + 1), pending > 0);
                // Seals are about records, and none themselves.
                if entry.subject != subjects::SEALS {
                    each(entry);
                }
            })
            .await?;
            if !more {
                return Ok(());
            }
        }
    }
}

/// Makes the stream if it is not there.
pub(crate) async fn ensure(context: &jetstream::Context, replicas: usize) -> Result<(), LogError> {
    let wanted = stream::Config {
        name: STREAM.into(),
        description: Some("turnlog: who did what; never taken out of".into()),
        subjects: vec![subjects::AUDIT.into()],
        storage: stream::StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        allow_atomic_publish: true,
        deny_delete: true,
        deny_purge: true,
        ..stream::Config::default()
    };
    let started = Instant::now();
    loop {
        // What the server fills in stays: it is asked to change the number of replicas alone.
        let made = match context.get_or_create_stream(wanted.clone()).await {
            Ok(found) if found.cached_info().config.num_replicas == replicas => return Ok(()),
            Ok(found) => {
                let config = stream::Config { num_replicas: replicas, ..found.cached_info().config.clone() };
                context.update_stream(&config).await.map(drop).map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match made {
            Ok(()) => return Ok(()),
            Err(error) if started.elapsed() > CONNECT_PATIENCE => {
                return Err(LogError::Stream(format!("of the audit log: {error}")));
            }
            Err(error) => tracing::debug!(%error, "the audit log is not there yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
