//! What callers see of a conversation and its messages (S4's shape), in snapshots and in frames alike.

use std::borrow::Cow;

use serde::Serialize;
use shared::events::{Attachment, Call, Message};
use shared::ids::Timestamp;
use utoipa::ToSchema;

/// A conversation with its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Conversation)]
pub(crate) struct ConversationView {
    pub(crate) conversation_id: String,
    /// The call that it belongs to, and what is known of it.
    pub(crate) call_id: Option<String>,
    pub(crate) worker_id: Option<String>,
    pub(crate) mobile_no: Option<String>,
    pub(crate) urgency: Option<String>,
    /// `ACTIVE`, or how it ended.
    pub(crate) status: String,
    pub(crate) medium: Option<String>,
    /// Of its first message.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) timestamp: Timestamp,
    /// In the order of the log.
    pub(crate) messages: Vec<MessageView>,
    pub(crate) total_messages: u64,
    /// The admin who took the call over.
    pub(crate) admin_id: Option<String>,
    /// Who has seen it, up to which sequence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) seen: Vec<SeenView>,
}

/// Up to where somebody has seen a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct SeenView {
    /// `admin` or `participant`.
    pub(crate) role: String,
    pub(crate) id: String,
    pub(crate) sequence: u64,
    /// Log position of the receipt.
    #[serde(skip)]
    pub(crate) version: u64,
}

/// What changed of a conversation besides its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = CallState)]
pub(crate) struct CallView {
    pub(crate) conversation_id: String,
    pub(crate) call_id: String,
    pub(crate) worker_id: String,
    pub(crate) mobile_no: String,
    pub(crate) urgency: String,
    /// `ACTIVE`, or how it ended.
    pub(crate) status: String,
    pub(crate) medium: String,
    /// When the call was opened.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) timestamp: Timestamp,
    /// The admin who took the call over.
    pub(crate) admin_id: Option<String>,
}

/// How a conversation stands that carries no call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StandingView {
    pub(crate) conversation_id: String,
    /// `ACTIVE`, or how it ended.
    pub(crate) status: String,
    /// The number of its newest session.
    pub(crate) session: u32,
}

/// A call's conversation without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ListedConversation)]
pub(crate) struct ListedView {
    #[serde(flatten)]
    pub(crate) call: CallView,
    pub(crate) total_messages: u64,
}

impl CallView {
    /// Of a call as it stands in the log.
    pub(crate) fn of_event(call: Call, status: &str) -> Self {
        Self {
            conversation_id: call.conversation_id.into(),
            call_id: call.call_id.into(),
            worker_id: call.worker_id.into(),
            mobile_no: call.mobile_no,
            urgency: call.urgency,
            status: status.into(),
            medium: call.medium,
            timestamp: call.opened_at,
            admin_id: call.admin_id.map(String::from),
        }
    }
}

/// One message in its newest version.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageView {
    /// Its own id where it came with one, otherwise one made of the conversation's and its place.
    pub(crate) message_id: String,
    /// `user` or `assistant`.
    #[schema(value_type = String)]
    pub(crate) role: Cow<'static, str>,
    pub(crate) content: String,
    /// With the offset that it was given in.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) timestamp: Timestamp,
    /// What the answer is based on.
    pub(crate) sources: String,
    /// What came with it besides words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) attachments: Vec<Attachment>,
    /// It came after the conversation had ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub(crate) late: bool,
    /// Log position of its first version.
    pub(crate) sequence: u64,
    /// What the conversation is ordered by, and by `sequence` where two are equal: a turn that a transcript completes
    /// later stands between its neighbours.
    pub(crate) place: u64,
    /// The frontend that it came through.
    #[schema(value_type = String)]
    pub(crate) provider: Cow<'static, str>,
    /// Log position of the version shown.
    #[serde(skip)]
    pub(crate) version: u64,
    /// Its place in the conversation, from 1.
    #[serde(skip)]
    pub(crate) ordinal: u64,
}

impl MessageView {
    /// Of a message as it stands in the log: `first` is where it was recorded, `version` where it was read.
    pub(crate) fn of_event(message: Message, first: u64, version: u64) -> Self {
        let place = message.place();
        let own = message.message_id.map(String::from);
        Self {
            message_id: own.unwrap_or_else(|| made_id(message.conversation_id.as_str(), message.ordinal)),
            role: message.role.as_str().into(),
            content: message.content,
            timestamp: message.timestamp,
            sources: message.sources.unwrap_or_default(),
            attachments: message.attachments,
            late: message.late,
            sequence: first,
            place,
            provider: message.provider.as_str().into(),
            version,
            ordinal: message.ordinal,
        }
    }
}

/// The id of a message that came without one: `conv_X` and its third message make `msg_X_0003`.
pub(crate) fn made_id(conversation_id: &str, ordinal: u64) -> String {
    format!("msg_{}_{ordinal:04}", conversation_id.strip_prefix("conv_").unwrap_or(conversation_id))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A message whose content tells its version.
    pub(crate) fn message(sequence: u64, version: u64, ordinal: u64) -> MessageView {
        MessageView {
            message_id: format!("m{ordinal}"),
            role: "user".into(),
            content: version.to_string(),
            timestamp: Timestamp::from_parts(chrono::DateTime::UNIX_EPOCH, 0),
            sources: String::new(),
            attachments: Vec::new(),
            late: false,
            sequence,
            place: ordinal,
            provider: "openai".into(),
            version,
            ordinal,
        }
    }

    #[test]
    fn a_message_without_an_id_gets_the_seeds_kind_of_id() {
        assert_eq!(made_id("conv_919325590143_20251003_115804", 1), "msg_919325590143_20251003_115804_0001");
        assert_eq!(made_id("standing.openai.RID001", 12_345), "msg_standing.openai.RID001_12345");
    }
}
