//! One atomic batch with flow control: a content is many times larger than what may be under way at once.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use uuid::Uuid;

use super::ObjectError;
use crate::limits::MAX_CHUNKS_UNDER_WAY;

/// How long the server may take to say that it has a chunk. It abandons a batch itself after ten seconds.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to store the whole batch.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// The subject moved on: of the stream, of the batch, in process.
const CONFLICTS: [u64; 3] = [10_071, 10_164, 10_158];

/// Why a batch was not committed, or not known to be.
#[derive(Debug)]
pub(super) enum NotCommitted {
    /// The object is there.
    Conflict(String),
    /// No, or no answer.
    Refused(String),
    /// The content is not what it should be.
    Content(ObjectError),
}

impl NotCommitted {
    pub(super) fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<ObjectError> for NotCommitted {
    fn from(error: ObjectError) -> Self {
        Self::Content(error)
    }
}

#[derive(Debug, Deserialize)]
struct Ack {
    error: Option<AckError>,
    count: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct AckError {
    err_code: u64,
    description: String,
}

/// A batch under way. Dropped before its commit it leaves nothing: the server abandons it.
pub(super) struct Batch {
    client: Client,
    inbox: String,
    acks: Subscriber,
    id: String,
    sent: u64,
    acknowledged: u64,
}

impl Batch {
    pub(super) async fn begin(client: &Client) -> Result<Self, NotCommitted> {
        let inbox = client.new_inbox();
        let acks = client.subscribe(inbox.clone()).await.map_err(NotCommitted::refused)?;
        let id = Uuid::new_v4().simple().to_string();
        Ok(Self { client: client.clone(), inbox, acks, id, sent: 0, acknowledged: 0 })
    }

    /// Adds a message; waits while too many are under way.
    pub(super) async fn add(&mut self, subject: &str, body: Bytes) -> Result<(), NotCommitted> {
        while self.sent - self.acknowledged >= MAX_CHUNKS_UNDER_WAY as u64 {
            self.chunk_ack().await?;
        }
        self.send(subject, HeaderMap::new(), body).await
    }

    /// Adds the last message, the first of its subject ever, and waits until all are stored.
    pub(super) async fn commit(mut self, subject: &str, body: Bytes) -> Result<(), NotCommitted> {
        while self.sent > self.acknowledged {
            self.chunk_ack().await?;
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Batch-Commit", "1");
        headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
        self.send(subject, headers, body).await?;
        let answer = self.next(COMMIT_TIMEOUT).await?;
        match parse(&answer)? {
            Ack { count: Some(count), .. } if count == self.sent => Ok(()),
            Ack { count, .. } => {
                Err(NotCommitted::Refused(format!("the ack names {count:?} of {} messages", self.sent)))
            }
        }
    }

    async fn send(&mut self, subject: &str, mut headers: HeaderMap, body: Bytes) -> Result<(), NotCommitted> {
        self.sent += 1;
        headers.insert("Nats-Batch-Id", self.id.as_str());
        headers.insert("Nats-Batch-Sequence", self.sent.to_string());
        let (subject, inbox) = (subject.to_owned(), self.inbox.clone());
        let sent = self.client.publish_with_reply_and_headers(subject, inbox, headers, body).await;
        sent.map_err(NotCommitted::refused)
    }

    /// Before the commit an ack is empty; anything else is the end of the batch.
    async fn chunk_ack(&mut self) -> Result<(), NotCommitted> {
        let answer = self.next(CHUNK_TIMEOUT).await?;
        if answer.payload.is_empty() && answer.status.is_none() {
            self.acknowledged += 1;
            return Ok(());
        }
        parse(&answer)?;
        Err(NotCommitted::Refused("a chunk was taken for the last one".into()))
    }

    async fn next(&mut self, patience: Duration) -> Result<Message, NotCommitted> {
        match tokio::time::timeout(patience, self.acks.next()).await {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(NotCommitted::Refused("the connection was closed".into())),
            Err(_) => Err(NotCommitted::Refused(format!("no ack within {patience:?}"))),
        }
    }
}

fn parse(message: &Message) -> Result<Ack, NotCommitted> {
    if let Some(status) = message.status.filter(|status| status.as_u16() != 200) {
        return Err(NotCommitted::Refused(format!("status {status}: no leader takes objects just now")));
    }
    let ack: Ack = serde_json::from_slice(&message.payload)
        .map_err(|error| NotCommitted::Refused(format!("an ack that is no JSON: {error}")))?;
    match ack.error {
        Some(error) if CONFLICTS.contains(&error.err_code) => Err(NotCommitted::Conflict(error.description)),
        Some(error) => Err(NotCommitted::Refused(format!("{} ({})", error.description, error.err_code))),
        None => Ok(ack),
    }
}
