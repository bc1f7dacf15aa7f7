//! Export jobs: what is known of each, and the data sets that they made, in two streams of the log's server. So any
//! instance tells of every job and serves every data set, and none has to keep a disk. Neither holds facts: what is lost
//! here can be made again.
//!
//! A job is changed only by who knows how it stands: each change names the revision that it was decided on.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, DirectGetErrorKind, LastRawMessageErrorKind};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use tokio::sync::watch;

use crate::config::NatsSettings;
use crate::limits::OBJECT_CHUNK_BYTES;
use crate::log::read::{PAGE, Start, Wanted, page};
use crate::log::{LogError, REQUEST_TIMEOUT, connect};
use crate::subjects;

/// The stream of jobs: one message for each.
const JOBS: &str = "EXPORTS";
/// The stream of data sets.
const PARTS: &str = "EXPORT_PARTS";
/// The server's code for a message that is not there.
const NO_MESSAGE: u64 = 10_057;
/// How long it stands that a job was forgotten: longer than any instance takes to hear of it.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// How long a part may take to be on disk: other writes may be under way on a slow one.
const PART_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a part but the last one.
pub const PART_BYTES: u64 = OBJECT_CHUNK_BYTES as u64;

/// The two streams, over a connection of their own: a data set under way must not hold up anything else. Clones share it.
#[derive(Debug, Clone)]
pub struct ExportStore {
    client: Client,
    context: jetstream::Context,
    reconnects: watch::Receiver<u64>,
    jobs: stream::Stream,
    parts: stream::Stream,
}

/// What is stored of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// As the service wrote it; empty once the job is forgotten.
    pub body: Bytes,
    /// Which version this is; 0 where nothing was ever stored.
    pub revision: u64,
}

/// Why a job's new version was not stored.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// Somebody else changed the job.
    #[error("the job stands otherwise now")]
    Changed,
    /// The server does not answer or refuses for now. It may be stored all the same.
    #[error("the job is not known to be stored: {0}")]
    Unavailable(String),
}

impl ExportStore {
    /// Connects as `name`, and makes the streams if they are not there.
    ///
    /// # Errors
    /// [`LogError::Connect`], or [`LogError::Stream`] when they cannot be made.
    pub async fn open(settings: &NatsSettings, name: &str) -> Result<Self, LogError> {
        let (client, reconnects) = connect(settings, name).await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(PART_TIMEOUT);
        let config = |name: &str, about: &str, subject: &str| stream::Config {
            name: name.into(),
            description: Some(about.into()),
            subjects: vec![subject.into()],
            storage: stream::StorageType::File,
            num_replicas: settings.replicas,
            max_messages_per_subject: 1,
            allow_direct: true,
            allow_message_ttl: true,
            ..stream::Config::default()
        };
        let jobs = config(JOBS, "turnlog: how export jobs stand", subjects::EXPORT_JOBS);
        let parts =
            config(PARTS, "turnlog: data sets, until they expire; no backup needed", subjects::EXPORT_PARTS);
        let jobs = ensure(&context, jobs).await?;
        let parts = ensure(&context, parts).await?;
        Ok(Self { client, context, reconnects, jobs, parts })
    }

    /// Every job that there is.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn all(&self) -> Result<Vec<JobRecord>, LogError> {
        let (mut found, mut next) = (Vec::new(), 1);
        loop {
            let mut more = false;
            let wanted = Wanted { subject: subjects::EXPORT_JOBS, start: Start::At(next), batch: PAGE };
            page(&self.client, JOBS, wanted, |entry, pending| {
                (next, more) = (entry.sequence + 1, pending > 0);
                found.push(JobRecord { revision: entry.sequence, body: entry.body });
            })
            .await?;
            if !more {
                return Ok(found);
            }
        }
    }

    /// How a job stands.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn job(&self, id: &str) -> Result<JobRecord, LogError> {
        self.job_at(&subjects::export_job(id)).await
    }

    /// How the job of this subject stands. Asks the leader: a replica might not have it yet.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn job_at(&self, subject: &str) -> Result<JobRecord, LogError> {
        match self.jobs.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(JobRecord { body: message.payload, revision: message.sequence }),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(JobRecord { body: Bytes::new(), revision: 0 }),
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => Err(LogError::unavailable(error)),
            },
        }
    }

    /// Stores a job's next version; answers its revision.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn keep(&self, id: &str, revision: u64, body: Bytes) -> Result<u64, NotKept> {
        let message = PublishMessage::build().payload(body);
        self.publish(id, message.expected_last_subject_sequence(revision)).await
    }

    /// Forgets a job.
    ///
    /// # Errors
    /// [`NotKept`].
    pub async fn forget(&self, id: &str, revision: u64) -> Result<u64, NotKept> {
        let message = PublishMessage::build().ttl(FORGOTTEN);
        self.publish(id, message.expected_last_subject_sequence(revision)).await
    }

    async fn publish(&self, id: &str, message: PublishMessage) -> Result<u64, NotKept> {
        let unavailable = |error: &dyn std::fmt::Display| NotKept::Unavailable(error.to_string());
        let sent = self.context.send_publish(subjects::export_job(id), message).await;
        match sent.map_err(|error| unavailable(&error))?.await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Err(NotKept::Changed),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Hints that jobs were changed, by subject. One may be false or late, and some are missed while the connection is
    /// down; see [`Self::reconnects`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the connection is closed.
    pub async fn changes(&self) -> Result<Subscriber, LogError> {
        self.client.subscribe(subjects::EXPORT_JOBS).await.map_err(LogError::unavailable)
    }

    /// Counts reconnects.
    pub fn reconnects(&self) -> watch::Receiver<u64> {
        self.reconnects.clone()
    }

    /// Stores one part of a job's data set.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when it is not known to be on disk.
    pub async fn put_part(&self, id: &str, number: u64, bytes: Bytes) -> Result<(), LogError> {
        let sent = self.context.publish(subjects::export_part(id, number), bytes).await;
        let ack = sent.map_err(LogError::unavailable)?.await;
        ack.map(drop).map_err(LogError::unavailable)
    }

    /// One part of a job's data set; none where it is gone.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub async fn part(&self, id: &str, number: u64) -> Result<Option<Bytes>, LogError> {
        let subject = subjects::export_part(id, number);
        match self.parts.direct_get_last_for_subject(subject.as_str()).await {
            Ok(message) => return Ok(Some(message.payload)),
            Err(error) => match error.kind() {
                // A replica may be behind; the leader is not.
                DirectGetErrorKind::NotFound => {}
                DirectGetErrorKind::InvalidSubject
                | DirectGetErrorKind::TimedOut
                | DirectGetErrorKind::Request
                | DirectGetErrorKind::ErrorResponse(..)
                | DirectGetErrorKind::Other => return Err(LogError::unavailable(error)),
            },
        }
        Ok(self.part_of_leader(&subject).await?.map(|(_, bytes)| bytes))
    }

    async fn part_of_leader(&self, subject: &str) -> Result<Option<(u64, Bytes)>, LogError> {
        match self.parts.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some((message.sequence, message.payload))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => Err(LogError::unavailable(error)),
            },
        }
    }

    /// Deletes a data set of so many parts, and whatever else is stored under the job. The bytes of its parts on disk are
    /// overwritten at once.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] while anything of it may still be there.
    pub async fn discard(&self, id: &str, parts: u64) -> Result<(), LogError> {
        for number in 0..parts {
            if let Some((sequence, _)) = self.part_of_leader(&subjects::export_part(id, number)).await? {
                self.overwrite(sequence).await?;
            }
        }
        let purged = self.parts.purge().filter(subjects::export_parts(id)).await;
        purged.map(drop).map_err(LogError::unavailable)
    }

    async fn overwrite(&self, sequence: u64) -> Result<(), LogError> {
        match self.parts.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                DeleteMessageErrorKind::JetStream(why) if why.error_code().0 == NO_MESSAGE => Ok(()),
                DeleteMessageErrorKind::JetStream(_)
                | DeleteMessageErrorKind::Request
                | DeleteMessageErrorKind::TimedOut => Err(LogError::unavailable(error)),
            },
        }
    }

    /// Questions to an instance whether it is there; each is to be answered by [`Self::answer`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the connection is closed.
    pub async fn questions(&self, instance: &str) -> Result<Subscriber, LogError> {
        self.client.subscribe(subjects::ask_exporter(instance)).await.map_err(LogError::unavailable)
    }

    /// Says that this instance is there.
    pub async fn answer(&self, question: async_nats::Message) {
        let Some(to) = question.reply else { return };
        if let Err(error) = self.client.publish(to, Bytes::new()).await {
            tracing::debug!(%error, "a question whether this instance is there stays without an answer");
        }
    }

    /// Whether an instance is known to be gone: the server has nobody of its name. One that only does not answer may be
    /// slow.
    pub async fn is_gone(&self, instance: &str) -> bool {
        let asked = self.client.request(subjects::ask_exporter(instance), Bytes::new());
        match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
            Ok(Err(error)) => error.kind() == RequestErrorKind::NoResponders,
            Ok(Ok(_)) | Err(_) => false,
        }
    }

    /// Sends what is still buffered and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the connection to the store of exports was already closed");
        }
    }
}

async fn ensure(context: &jetstream::Context, config: stream::Config) -> Result<stream::Stream, LogError> {
    let failed = |error: &dyn std::fmt::Display| LogError::Stream(format!("of exports: {error}"));
    let name = config.name.clone();
    context.create_or_update_stream(config).await.map_err(|error| failed(&error))?;
    context.get_stream(name).await.map_err(|error| failed(&error))
}
