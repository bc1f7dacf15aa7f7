//! The audit log: who looked at what, when and from where, in the JetStream stream `AUDIT`. It holds nothing of what was
//! said. The server deletes nothing of it, whoever asks.

use std::net::IpAddr;
use std::time::Duration;

use async_nats::client::Request;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::{Identity, KeyName, Who};
use crate::envelope::Entry;
use crate::ids::{ConversationId, ParticipantId};
use crate::limits::ACK_TIMEOUT;
use crate::log::read::{PAGE, Start, Wanted, page};
use crate::log::{CONNECT_PATIENCE, Log, LogError};
use crate::subjects::{self, Subject};

/// The stream's name.
pub const STREAM: &str = "AUDIT";
/// Looks from which one atomic batch is cheaper than a publish, and an fsync, for each: a batch costs about six.
const BATCH_FROM: usize = 8;

/// Looks that one [`Audit::append`] takes at most.
pub const MOST_AT_ONCE: usize = 500;
const _: () = assert!(MOST_AT_ONCE <= crate::limits::MAX_BATCH_EVENTS, "they fit a batch");

/// How something was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The whole conversation.
    Snapshot,
    /// What became of it, and what was told of it.
    Status,
    /// A feed began.
    FeedOpened,
    /// A feed ended. One that was killed has no such record: it may have shown anything since.
    FeedEnded,
    /// A conversation as a file.
    Export,
    /// A recording or an attachment.
    Media,
    /// A page of a list.
    List,
    /// What a search found.
    Search,
    /// A data set was made.
    DataSetEnded,
    /// A participant is erased: recorded before anything of theirs is destroyed.
    Erasure,
}

/// Who looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looker {
    /// `admin`, `researcher` or `service`.
    pub role: String,
    /// The person's id, or what tells an API key from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// An admin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
}

impl Looker {
    /// Whoever's looks are recorded; none for a participant, who sees nothing but their own. `key` is the API key of a
    /// service.
    pub fn of(identity: &Identity, key: Option<&KeyName>) -> Option<Self> {
        let of = |role: &str, id: Option<&str>, company: Option<&str>| {
            Some(Self {
                role: role.to_owned(),
                id: id.map(str::to_owned),
                company: company.map(str::to_owned),
            })
        };
        match identity {
            Identity::Service => of("service", key.map(KeyName::as_str), None),
            Identity::Person(grant) => match &grant.who {
                Who::Admin { id, company } => of("admin", Some(id.as_str()), Some(company.as_str())),
                Who::Researcher(id) => of("researcher", Some(id), None),
                Who::Participant(_) => None,
            },
        }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: Looker,
    /// How.
    pub what: What,
    /// At which conversation; none for a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// What was shown of it lies from here, ...
    pub from_sequence: Option<u64>,
    /// ... to here in the log. Both are null where no message was shown.
    pub to_sequence: Option<u64>,
    /// Where the request came from.
    pub address: IpAddr,
    /// The request's id; that of a feed's beginning and of its end is the same.
    pub request_id: String,
    /// More about it: what a list was asked for and how many it showed, why a feed ended.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Look {
    /// That an operator's command does this; its request id is made.
    pub fn by_operator(name: &str, what: What) -> Self {
        Self {
            at: Utc::now(),
            who: Looker { role: "operator".into(), id: Some(name.to_owned()), company: None },
            what,
            conversation_id: None,
            from_sequence: None,
            to_sequence: None,
            address: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            request_id: Uuid::new_v4().to_string(),
            more: Map::new(),
        }
    }

    /// This record, of what lies in this range of the log.
    #[must_use]
    pub fn range(self, range: Option<(u64, u64)>) -> Self {
        let (from_sequence, to_sequence) = range.unzip();
        Self { from_sequence, to_sequence, ..self }
    }

    /// That this participant is erased. They are named by a hash: nothing is ever taken out of here.
    #[must_use]
    pub fn erases(self, participant: &ParticipantId) -> Self {
        Self { what: What::Erasure, ..self.with("participant", Subject::participant(participant).token()) }
    }

    /// This look, at a conversation, of which it shows what lies in this range.
    #[must_use]
    pub fn of(self, conversation: &ConversationId, shown: Option<(u64, u64)>) -> Self {
        let (from_sequence, to_sequence) = shown.unzip();
        Self { conversation_id: Some(conversation.as_str().to_owned()), from_sequence, to_sequence, ..self }
    }

    /// The same with something more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn subject(&self) -> String {
        let conversation = self.conversation_id.clone().and_then(|id| ConversationId::try_from(id).ok());
        match conversation {
            Some(id) => subjects::looks_at(&id),
            None => subjects::looks_of(&self.who.role, self.who.id.as_deref().unwrap_or_default()),
        }
    }

    fn body(&self) -> Bytes {
        // Strings, numbers and times: this does not fail, and an empty record would be refused when it is read.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

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
                each(entry);
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
        description: Some("turnlog: who looked at which conversation".into()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_holds_the_names_that_are_documented() {
        let look = Look {
            at: DateTime::from_timestamp(1_760_000_000, 0).unwrap(),
            who: Looker { role: "admin".into(), id: Some("a1".into()), company: Some("c1".into()) },
            what: What::FeedEnded,
            conversation_id: None,
            from_sequence: None,
            to_sequence: None,
            address: "10.0.0.1".parse().unwrap(),
            request_id: "r1".into(),
            more: Map::new(),
        };
        let look = look.of(&"conv_1".to_owned().try_into().unwrap(), Some((3, 41))).with("reason", "left");
        assert_eq!(
            std::str::from_utf8(&look.body()).unwrap(),
            r#"{"at":"2025-10-09T08:53:20Z","who":{"role":"admin","id":"a1","company":"c1"},"what":"feed_ended","conversation_id":"conv_1","from_sequence":3,"to_sequence":41,"address":"10.0.0.1","request_id":"r1","reason":"left"}"#
        );
        assert_eq!(serde_json::from_slice::<Look>(&look.body()).unwrap(), look);
    }
}
