//! The publishes of a commit and their acks: the only place where ingest speaks JetStream itself.
//!
//! Atomic batches are ADR-50 of the server's architecture decisions. One commit is in flight at a time, so acks are read
//! from one subscription by this loop alone; what belongs to an earlier, abandoned commit is skipped by its number.

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt;
use serde::Deserialize;
use shared::envelope::Envelope;
use shared::http::AnyError;
use shared::limits::ACK_TIMEOUT;
use uuid::Uuid;

/// A publish that was stored, at this sequence, or not known to be.
pub(super) type Stored = Result<u64, NotStored>;

/// Why a publish is not known to be stored. Whichever it is, the aggregate is read again before the next try.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NotStored {
    /// Decided on a state that has moved on, or stored before by an earlier try.
    #[error("the log moved on: {0}")]
    Conflict(String),
    /// Refused, or nobody there: a leader is being elected, the server restarts.
    #[error("the log refused: {0}")]
    Refused(String),
    /// No ack in time: it may or may not be stored.
    #[error("no ack within {ACK_TIMEOUT:?}")]
    Silent,
}

impl NotStored {
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Conflict(_) => "conflict",
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
        }
    }

    /// Whether trying again at once would only meet the same answer.
    pub(super) fn wants_pause(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// The server's answer to a publish.
#[derive(Debug, Deserialize)]
struct Ack {
    error: Option<AckError>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    count: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct AckError {
    err_code: u64,
    description: String,
}

/// Wrong last sequence (one by one, in a batch, in process), duplicate id (in process, in a batch): all mean that the
/// aggregate has to be read again.
const CONFLICTS: [u64; 4] = [10_071, 10_164, 10_158, 10_201];

pub(super) struct Publisher {
    client: Client,
    inbox: String,
    acks: Subscriber,
    commit: u64,
}

impl Publisher {
    pub(super) async fn new(client: Client) -> Result<Self, AnyError> {
        let inbox = client.new_inbox();
        let acks = client.subscribe(format!("{inbox}.*.*")).await?;
        Ok(Self { client, inbox, acks, commit: 0 })
    }

    /// Publishes all as one atomic batch: stored as a whole, at consecutive sequences, or not at all.
    pub(super) async fn batch(&mut self, envelopes: Vec<Envelope>) -> Vec<Stored> {
        let count = envelopes.len();
        let outcome = match tokio::time::timeout(ACK_TIMEOUT, self.send_batch(envelopes)).await {
            Ok(Ok(ack)) if ack.count == Some(count) && ack.seq >= count as u64 => Ok(ack.seq - count as u64),
            Ok(Ok(ack)) => {
                Err(NotStored::Refused(format!("the ack names {:?} of {count} messages", ack.count)))
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(NotStored::Silent),
        };
        (1..=count as u64).map(|place| outcome.clone().map(|before| before + place)).collect()
    }

    async fn send_batch(&mut self, envelopes: Vec<Envelope>) -> Result<Ack, NotStored> {
        self.commit += 1;
        // An id of its own for every try: the server would add to an abandoned batch of the same id.
        let batch = Uuid::new_v4().simple().to_string();
        let last = envelopes.len();
        for (place, mut envelope) in (1..).zip(envelopes) {
            let headers = &mut envelope.headers;
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", place.to_string());
            if place == last {
                headers.insert("Nats-Batch-Commit", "1");
            }
            // The first message's reply says at once when the server takes no batch; the last one's is the ack.
            let reply = (place == 1 || place == last).then_some(place);
            self.send(envelope, reply).await?;
        }
        loop {
            let (place, message) = self.next_ack().await?;
            if message.payload.is_empty() && message.status.is_none() && place != last {
                continue;
            }
            return parse(&message);
        }
    }

    /// Publishes each by itself, all under way at once. They are for different aggregates.
    pub(super) async fn singles(&mut self, envelopes: Vec<Envelope>) -> Vec<Stored> {
        let mut outcomes = vec![Err(NotStored::Silent); envelopes.len()];
        let sent = tokio::time::timeout(ACK_TIMEOUT, self.send_singles(envelopes)).await;
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return vec![Err(why); outcomes.len()],
            Err(_) => return outcomes,
        }
        // Each ack has its own time, and all of them a bound: many publishes may take longer than one.
        let last = tokio::time::Instant::now() + 3 * ACK_TIMEOUT;
        for _ in 0..outcomes.len() {
            let until = last.min(tokio::time::Instant::now() + ACK_TIMEOUT);
            let Ok(Ok((place, message))) = tokio::time::timeout_at(until, self.next_ack()).await else {
                break;
            };
            if let Some(outcome) = outcomes.get_mut(place - 1) {
                *outcome = parse(&message).map(|ack| ack.seq);
            }
        }
        outcomes
    }

    async fn send_singles(&mut self, envelopes: Vec<Envelope>) -> Result<(), NotStored> {
        self.commit += 1;
        for (place, envelope) in (1..).zip(envelopes) {
            self.send(envelope, Some(place)).await?;
        }
        Ok(())
    }

    async fn send(&self, envelope: Envelope, reply: Option<usize>) -> Result<(), NotStored> {
        let Envelope { subject, headers, body, .. } = envelope;
        let subject = String::from(subject);
        let sent = match reply {
            Some(place) => {
                let reply = format!("{}.{}.{place}", self.inbox, self.commit);
                self.client.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
            None => self.client.publish_with_headers(subject, headers, body).await,
        };
        sent.map_err(|error| NotStored::Refused(error.to_string()))
    }

    /// The next ack of this commit: the place of its message, from 1, and the answer.
    async fn next_ack(&mut self) -> Result<(usize, Message), NotStored> {
        loop {
            let message = self.acks.next().await.ok_or(NotStored::Silent)?;
            let mut tokens = message.subject.rsplit('.');
            let place = tokens.next().and_then(|token| token.parse().ok());
            let commit: Option<u64> = tokens.next().and_then(|token| token.parse().ok());
            match (commit, place) {
                (Some(commit), Some(place)) if commit == self.commit && place > 0 => {
                    return Ok((place, message));
                }
                _ => tracing::debug!(subject = %message.subject, "an ack of an abandoned commit"),
            }
        }
    }
}

fn parse(message: &Message) -> Result<Ack, NotStored> {
    if let Some(status) = message.status.filter(|status| status.as_u16() != 200) {
        return Err(NotStored::Refused(format!("status {status}: no leader takes events just now")));
    }
    let ack: Ack = serde_json::from_slice(&message.payload)
        .map_err(|error| NotStored::Refused(format!("an ack that is no JSON: {error}")))?;
    match ack.error {
        Some(error) if CONFLICTS.contains(&error.err_code) => Err(NotStored::Conflict(error.description)),
        Some(error) => Err(NotStored::Refused(format!("{} ({})", error.description, error.err_code))),
        // The server knew the id: stored by an earlier try, or by another instance. Which, the log tells.
        None if ack.duplicate => Err(NotStored::Conflict("the event id was stored before".into())),
        None => Ok(ack),
    }
}
