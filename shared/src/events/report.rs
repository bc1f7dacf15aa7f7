//! Facts about whole conversations, told by somebody other than their participant.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::message::is_zero;
use crate::ids::{ConversationId, ParticipantId};

/// Who told of a conversation, or of anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// ElevenLabs' post-call webhooks.
    ElevenlabsWebhook,
    /// ElevenLabs' API, asked by the reconciler.
    ElevenlabsApi,
    /// The conversation webhook (S3).
    ConversationWebhook,
}

impl Source {
    /// As [`Self::as_str`] has it.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::ElevenlabsWebhook, Self::ElevenlabsApi, Self::ConversationWebhook];
        all.into_iter().find(|source| source.as_str() == text)
    }

    /// As it stands in tables, metrics and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ElevenlabsWebhook => "elevenlabs_webhook",
            Self::ElevenlabsApi => "elevenlabs_api",
            Self::ConversationWebhook => "conversation_webhook",
        }
    }
}

/// Data of `turnlog.conversation.claimed.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Whose it is.
    pub participant_id: ParticipantId,
}

/// Data of `turnlog.conversation.reported.v1`: a report as it came, and which messages its turns are. The messages that
/// it completed stand before it on the same subject; [`crate::report::read`] says what else it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Whose it is; absent where no participant is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<ParticipantId>,
    /// Who told.
    pub source: Source,
    /// The sender's name for this kind of report: `post_call_transcription`, `call_initiation_failure`,
    /// `conversation` (S3), and so on. A report replaces the one before of its kind and session.
    pub kind: String,
    /// The session that it tells of, by its number in the conversation; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session: u32,
    /// When the sender made it, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
    /// SHA-256 of the body that it came in, hexadecimal: the same body again is a repeat.
    pub sha256: String,
    /// A newer one of its kind was there before it: it is kept and changes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// For each turn of the payload in its order, the ordinal of the message that it is; null for a turn without text.
    pub turns: Vec<Option<u64>>,
    /// What was told.
    pub payload: Payload,
}

/// Data of `turnlog.audio.stored.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Whose it is; absent where no participant is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<ParticipantId>,
    /// The session that it is of, by its number in the conversation; 0 where it has none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session: u32,
    /// Who sent it.
    pub source: Source,
    /// The agent that was talked to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// When the sender made it, by its own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<DateTime<Utc>>,
    /// The sound itself.
    pub audio: StoredObject,
    /// Its media type.
    pub media_type: String,
}

/// Something too large for an event, in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Its name there.
    pub object: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, hexadecimal.
    pub sha256: String,
}

/// A body as it came: in the event, or in the object store where it is too large for one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// The JSON text, byte for byte.
    Json(RawJson),
    /// Where the JSON text is.
    Object(StoredObject),
}

/// JSON as it was written: not parsed, not reordered, not normalised.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// Of a text.
    ///
    /// # Errors
    /// When it is no JSON.
    pub fn new(text: String) -> Result<Self, serde_json::Error> {
        RawValue::from_string(text).map(Self)
    }

    /// The value.
    pub fn raw(&self) -> &RawValue {
        &self.0
    }

    /// The text.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for RawJson {
    /// Its size alone: it holds what people said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawJson({} bytes)", self.text().len())
    }
}
