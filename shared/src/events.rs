//! Every fact that can stand in the log: past tense, typed, versioned. A golden file for each is in `tests/golden/`.
//!
//! A type is never changed once written; a new shape is a new version, and the old one stays readable for ever.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{ConversationId, MessageId, ParticipantId, Provider, Speaker, Timestamp};

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A turn of a conversation was taken in for the first time.
    MessageRecorded(Message),
    /// A recorded turn was sent again with another content, which replaces the one before.
    MessageCorrected(Correction),
    /// A participant became known.
    ParticipantEnrolled(Enrolment),
    /// A participant's access code or profile changed; what is absent stays as it was.
    ParticipantUpdated(Enrolment),
    /// A token was given up before it expired.
    TokenRevoked(Revocation),
}

/// Data of `turnlog.message.recorded.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The conversation it belongs to.
    pub conversation_id: ConversationId,
    /// Who owns the conversation; absent where no participant is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub participant_id: Option<ParticipantId>,
    /// Its place in the conversation at the time it was stored, from 1. Decided under the conversation's expected
    /// sequence, so it is also the number of messages so far: readers need not count.
    pub ordinal: u64,
    /// The message's own id, where it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<MessageId>,
    /// The caller's `Idempotency-Key`, where the message has no id of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<MessageId>,
    /// Who spoke.
    pub role: Speaker,
    /// What was said.
    pub content: String,
    /// When it was said, as the caller's clock had it.
    pub timestamp: Timestamp,
    /// Through which frontend.
    pub provider: Provider,
}

/// Data of `turnlog.message.corrected.v1`: the whole message as it stands now, and which one it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Sequence of the event that recorded the message first; its row's id.
    pub first_sequence: u64,
    /// The message with its new content; `ordinal` is the first version's.
    #[serde(flatten)]
    pub message: Message,
}

/// Data of `turnlog.participant.enrolled.v1` and `turnlog.participant.updated.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Who.
    pub participant_id: ParticipantId,
    /// Argon2 hash (PHC string) of the access code; never the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_code_hash: Option<String>,
    /// Given name, as the service knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Age in years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u16>,
    /// Where the participant lives, in free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Data of `turnlog.token.revoked.v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revocation {
    /// The token's `jti`.
    pub token_id: String,
    /// When it would have expired by itself; after that the revocation means nothing any more.
    pub expires_at: DateTime<Utc>,
}

impl Event {
    /// The CloudEvents type: what happened, and the version of its data.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::MessageRecorded(_) => "turnlog.message.recorded.v1",
            Self::MessageCorrected(_) => "turnlog.message.corrected.v1",
            Self::ParticipantEnrolled(_) => "turnlog.participant.enrolled.v1",
            Self::ParticipantUpdated(_) => "turnlog.participant.updated.v1",
            Self::TokenRevoked(_) => "turnlog.token.revoked.v1",
        }
    }

    /// The data as JSON.
    ///
    /// # Errors
    /// None in practice: every field serialises. The error is passed on rather than hidden.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::MessageRecorded(data) => serde_json::to_vec(data),
            Self::MessageCorrected(data) => serde_json::to_vec(data),
            Self::ParticipantEnrolled(data) | Self::ParticipantUpdated(data) => serde_json::to_vec(data),
            Self::TokenRevoked(data) => serde_json::to_vec(data),
        }
    }

    /// Reads data of the named type; `None` for a type this version does not know.
    ///
    /// # Errors
    /// When the data is not of the type's shape.
    pub fn from_json(type_name: &str, data: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match type_name {
            "turnlog.message.recorded.v1" => Self::MessageRecorded(serde_json::from_slice(data)?),
            "turnlog.message.corrected.v1" => Self::MessageCorrected(serde_json::from_slice(data)?),
            "turnlog.participant.enrolled.v1" => Self::ParticipantEnrolled(serde_json::from_slice(data)?),
            "turnlog.participant.updated.v1" => Self::ParticipantUpdated(serde_json::from_slice(data)?),
            "turnlog.token.revoked.v1" => Self::TokenRevoked(serde_json::from_slice(data)?),
            _ => return Ok(None),
        }))
    }
}
