//! Facts about single turns.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ConversationId, MessageId, ParticipantId, Provider, Speaker, Timestamp};

/// Between the places of two turns that came one after the other, so that others fit in between: a transcript of
/// thousands of turns can complete two.
pub const PLACE_STEP: u64 = 1 << 32;

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
    /// Where it stands in the order of its conversation, if not at the end as it was then: a turn that a transcript
    /// completed later stands between its neighbours. See [`Message::place`].
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "place")]
    pub inserted_at: Option<u64>,
    /// The vendor's own number of the utterance, where it came with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<u64>,
    /// It is known from a report alone; no frontend has sent it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reported: bool,
    /// What was about to be said when the speaker was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
    /// What an answer is based on, as its sender lists it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<String>,
    /// What came with it besides words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// It came after the conversation had ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub late: bool,
    /// The session that it was said in, by its number in the conversation; 0 where there are none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub session: u32,
}

/// What came with a turn besides words: a reference, never the thing itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// What it is.
    #[schema(inline)]
    pub kind: AttachmentKind,
    /// Where somebody else keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What we keep: the SHA-256 of its bytes, hexadecimal, also its name in the object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_id: Option<String>,
    /// Its size, where we keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its media type: `image/jpeg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// In degrees north.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// In degrees east.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Kinds of attachments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttachmentKind {
    /// A picture.
    Image,
    /// A sound.
    Audio,
    /// A place on earth.
    Location,
    /// Anything else.
    File,
}

impl Message {
    /// What a conversation is ordered by, and by sequence where two are equal.
    pub fn place(&self) -> u64 {
        self.inserted_at.unwrap_or(self.ordinal.saturating_mul(PLACE_STEP))
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

pub(super) fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Data of `turnlog.message.corrected.v1`: the whole message as it stands now, and which one it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Sequence of the event that recorded the message first; its row's id.
    pub first_sequence: u64,
    /// The message with its new content; `ordinal` is the first version's.
    #[serde(flatten)]
    pub message: Message,
    /// What a frontend sent, where the final text of the vendor stands against it and holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<String>,
}
