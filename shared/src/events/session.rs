//! Facts about dreams, what interpreters make of them, and the sessions in which they are talked about.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ConversationId, DreamId, InterpreterId, ParticipantId, Timestamp};

/// Data of `turnlog.dream.recorded.v1` and `turnlog.dream.changed.v1`: a dream as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dream {
    /// Which one.
    pub dream_id: DreamId,
    /// Who dreamt it.
    pub participant_id: ParticipantId,
    /// What was told of it, as it was told.
    pub raw_transcript: String,
    /// What it is about, in single words or a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub themes: Vec<String>,
    /// When it was told.
    pub recorded_at: Timestamp,
}

/// Data of `turnlog.dream.interpreted.v1`: what an interpreter makes of a dream; replaces what they made of it before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interpretation {
    /// Of which dream.
    pub dream_id: DreamId,
    /// Who dreamt it.
    pub participant_id: ParticipantId,
    /// Who interprets.
    pub interpreter_id: InterpreterId,
    /// How it feels.
    pub emotional_tone: EmotionalTone,
    /// The interpretation.
    pub text: String,
}

/// How a dream feels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EmotionalTone {
    /// The feeling that stands out: `anxiety`.
    #[schema(min_length = 1, max_length = 256)]
    pub primary: String,
    /// The one beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub secondary: Option<String>,
    /// How strong, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub intensity: Option<f64>,
}

/// Data of `turnlog.dream.discussed.v1`: the one conversation in which this interpreter and the dreamer talk about it,
/// however many sessions that takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Discussion {
    /// About which dream.
    pub dream_id: DreamId,
    /// Who dreamt it.
    pub participant_id: ParticipantId,
    /// With whom.
    pub interpreter_id: InterpreterId,
    /// Where: a random id, made for it.
    pub conversation_id: ConversationId,
}

/// Data of `turnlog.session.opened.v1`: a signed URL was handed out, with which one call of ElevenLabs' can begin that
/// belongs to this conversation. A conversation that had ended goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The conversation that goes on in it.
    pub conversation_id: ConversationId,
    /// Whose it is.
    pub participant_id: ParticipantId,
    /// Its number in the conversation, from 1.
    pub number: u32,
    /// What ElevenLabs calls it: the conversation of its own that it is to ElevenLabs.
    pub vendor_conversation_id: ConversationId,
    /// What is talked about.
    pub dream_id: DreamId,
    /// Who talks.
    pub interpreter_id: InterpreterId,
    /// Through which agent.
    pub agent_id: String,
    /// When, by our clock.
    pub opened_at: DateTime<Utc>,
    /// Until when its call can begin; one that has begun goes on.
    pub expires_at: DateTime<Utc>,
}

/// Data of `turnlog.conversation.linked.v1`, on the subject of the vendor's conversation: what is told of it belongs to
/// another conversation. It is the first event there, and nothing of the conversation itself follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// The vendor's conversation.
    pub conversation_id: ConversationId,
    /// The conversation that it is a session of.
    pub continues: ConversationId,
    /// Whose both are.
    pub participant_id: ParticipantId,
}
