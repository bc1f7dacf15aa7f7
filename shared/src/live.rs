//! What goes between services over the broker's own publish and subscribe, outside of every stream: what is shown live
//! and never kept, where a loss is a loss and nothing else, and what a watcher asks the write edge to record.

use std::time::Duration;

use async_nats::{Client, Request};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::events::{Sighting, Viewer};
use crate::ids::{AdminId, ConversationId};
use crate::limits::WRITE_DEADLINE;
use crate::subjects::{self, Subject};

/// How long the write edge may take to record what it is asked to: a little longer than its own deadline.
const ASK_PATIENCE: Duration = WRITE_DEADLINE.saturating_add(Duration::from_secs(2));

/// Somebody types, or stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Typing {
    /// Where.
    pub conversation_id: ConversationId,
    /// Who.
    pub by: Viewer,
    /// Or stops.
    pub is_typing: bool,
}

/// The admins who watch a conversation through one streamer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watching {
    /// Where.
    pub conversation_id: ConversationId,
    /// Which streamer says so; what it said before no longer counts.
    pub streamer: String,
    /// Who, each once.
    pub admins: Vec<AdminId>,
    /// Somebody came, and does not know yet who else is there.
    pub joined: bool,
}

/// What somebody who has seen a conversation asks to be recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What was seen.
    pub sighting: Sighting,
    /// Of the request that the watcher came with.
    pub request_id: String,
}

/// What became of it: where it stands in the log, or a sentence that the asker can act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer(pub Result<u64, String>);

/// The way to the others. Clones share a connection.
#[derive(Debug, Clone)]
pub struct Channel(Client);

/// It could not be sent, or nobody answered.
#[derive(Debug, thiserror::Error)]
#[error("the broker does not pass it on: {0}")]
pub struct NotSent(String);

fn not_sent(error: impl std::fmt::Display) -> NotSent {
    NotSent(error.to_string())
}

impl Channel {
    /// Over this connection.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Shows that somebody types.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn typing(&self, typing: &Typing) -> Result<(), NotSent> {
        let subject = subjects::typing(Subject::conversation(&typing.conversation_id).token());
        self.show(subject, typing).await
    }

    /// Shows who watches.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn watching(&self, watching: &Watching) -> Result<(), NotSent> {
        let subject = subjects::watching(Subject::conversation(&watching.conversation_id).token());
        self.show(subject, watching).await
    }

    async fn show(&self, subject: String, what: &impl Serialize) -> Result<(), NotSent> {
        let body = serde_json::to_vec(what).map_err(not_sent)?;
        self.0.publish(subject, body.into()).await.map_err(not_sent)
    }

    /// Everything that is shown.
    ///
    /// # Errors
    /// [`NotSent`], when the connection is closed.
    pub async fn shown(&self) -> Result<async_nats::Subscriber, NotSent> {
        self.0.subscribe(subjects::LIVE).await.map_err(not_sent)
    }

    /// Asks the write edge to record what was seen.
    ///
    /// # Errors
    /// [`NotSent`], when no write edge answers in time.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, NotSent> {
        let body = serde_json::to_vec(ask).map_err(not_sent)?;
        let request = Request::new().payload(body.into()).timeout(Some(ASK_PATIENCE));
        let answer = self.0.send_request(subjects::ASK_SEEN, request).await.map_err(not_sent)?;
        serde_json::from_slice(&answer.payload).map_err(not_sent)
    }

    /// Everything that the write edge is asked; each question goes to one instance.
    ///
    /// # Errors
    /// [`NotSent`], when the connection is closed.
    pub async fn asked(&self) -> Result<async_nats::Subscriber, NotSent> {
        self.0.queue_subscribe(subjects::ASK_SEEN, "ingest".into()).await.map_err(not_sent)
    }

    /// Answers one question.
    ///
    /// # Errors
    /// [`NotSent`].
    pub async fn answer(&self, to: async_nats::Subject, answer: &Answer) -> Result<(), NotSent> {
        let body = json!(answer).to_string();
        self.0.publish(to, body.into()).await.map_err(not_sent)
    }
}
