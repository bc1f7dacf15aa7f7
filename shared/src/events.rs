//! Every fact that can stand in the log: past tense, typed, versioned. A golden file for each is in `tests/golden/`.
//!
//! What a type says never changes once written: a field may join it whose absence means what it always meant, anything
//! else is a new version, and the old one stays readable for ever.

mod call;
mod erasure;
mod message;
mod report;
mod session;
pub mod unknown;
pub mod upcast;
mod webhook;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::ParticipantId;

pub use call::{Admin, AdminRemoval, Call, Ending, Handover, Sighting, Viewer, Worker, WorkerRemoval};
pub use erasure::{DeletedWebhooks, Erasure};
pub use message::{Attachment, AttachmentKind, Correction, Message, PLACE_STEP};
pub use report::{Claim, Payload, RawJson, Recording, Report, Source, StoredObject};
pub use session::{Discussion, Dream, EmotionalTone, Interpretation, Link, Session};
pub use webhook::{Refusal, Unread};

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
    /// A conversation that had begun without a known participant turned out to be somebody's.
    ConversationClaimed(Claim),
    /// Somebody other than its participant told of a whole conversation: its turns, its facts.
    ConversationReported(Report),
    /// The sound of a conversation was stored.
    AudioStored(Recording),
    /// A webhook was good but this version could not understand it; kept whole.
    WebhookReceived(Unread),
    /// A webhook was turned away; kept without its body.
    WebhookRefused(Refusal),
    /// A call was opened on a conversation.
    CallOpened(Call),
    /// What is known of a call changed: its urgency, its medium.
    CallChanged(Call),
    /// An admin took a call over.
    CallTakenOver(Handover),
    /// An admin gave a call back.
    CallReleased(Handover),
    /// A conversation, and its call, ended.
    ConversationEnded(Ending),
    /// Somebody has seen a conversation up to a sequence.
    ConversationSeen(Sighting),
    /// A worker became known, or changed.
    WorkerRegistered(Worker),
    /// A worker left.
    WorkerRemoved(WorkerRemoval),
    /// An admin became known, or changed.
    AdminRegistered(Admin),
    /// An admin left.
    AdminRemoved(AdminRemoval),
    /// A dream was told.
    DreamRecorded(Dream),
    /// A dream is told otherwise now.
    DreamChanged(Dream),
    /// An interpreter said what they make of a dream.
    DreamInterpreted(Interpretation),
    /// A dream has a conversation with an interpreter.
    DreamDiscussed(Discussion),
    /// A call of the vendor's can begin that belongs to a conversation.
    SessionOpened(Session),
    /// A conversation of the vendor's is a session of one of ours.
    ConversationLinked(Link),
    /// A participant was erased: what they said cannot be read any more.
    ParticipantErased(Erasure),
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
    /// Who told of it, where it is told by others than the participant: not personal, so it stands beside the sealed data.
    pub fn source(&self) -> Option<Source> {
        let (Self::ConversationReported(Report { source, .. })
        | Self::AudioStored(Recording { source, .. })
        | Self::WebhookReceived(Unread { source, .. })) = self
        else {
            return None;
        };
        Some(*source)
    }

    /// The CloudEvents type: what happened, and the version of its data.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::MessageRecorded(_) => "turnlog.message.recorded.v1",
            Self::MessageCorrected(_) => "turnlog.message.corrected.v1",
            Self::ParticipantEnrolled(_) => "turnlog.participant.enrolled.v1",
            Self::ParticipantUpdated(_) => "turnlog.participant.updated.v1",
            Self::TokenRevoked(_) => "turnlog.token.revoked.v1",
            Self::ConversationClaimed(_) => "turnlog.conversation.claimed.v1",
            Self::ConversationReported(_) => "turnlog.conversation.reported.v1",
            Self::AudioStored(_) => "turnlog.audio.stored.v1",
            Self::WebhookReceived(_) => "turnlog.webhook.received.v1",
            Self::WebhookRefused(_) => "turnlog.webhook.refused.v1",
            Self::CallOpened(_) => "turnlog.call.opened.v1",
            Self::CallChanged(_) => "turnlog.call.changed.v1",
            Self::CallTakenOver(_) => "turnlog.call.taken_over.v1",
            Self::CallReleased(_) => "turnlog.call.released.v1",
            Self::ConversationEnded(_) => "turnlog.conversation.ended.v1",
            Self::ConversationSeen(_) => "turnlog.conversation.seen.v1",
            Self::WorkerRegistered(_) => "turnlog.worker.registered.v1",
            Self::WorkerRemoved(_) => "turnlog.worker.removed.v1",
            Self::AdminRegistered(_) => "turnlog.admin.registered.v1",
            Self::AdminRemoved(_) => "turnlog.admin.removed.v1",
            Self::DreamRecorded(_) => "turnlog.dream.recorded.v1",
            Self::DreamChanged(_) => "turnlog.dream.changed.v1",
            Self::DreamInterpreted(_) => "turnlog.dream.interpreted.v1",
            Self::DreamDiscussed(_) => "turnlog.dream.discussed.v1",
            Self::SessionOpened(_) => "turnlog.session.opened.v1",
            Self::ConversationLinked(_) => "turnlog.conversation.linked.v1",
            Self::ParticipantErased(_) => "turnlog.participant.erased.v1",
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
            Self::ConversationClaimed(data) => serde_json::to_vec(data),
            Self::ConversationReported(data) => serde_json::to_vec(data),
            Self::AudioStored(data) => serde_json::to_vec(data),
            Self::WebhookReceived(data) => serde_json::to_vec(data),
            Self::WebhookRefused(data) => serde_json::to_vec(data),
            Self::CallOpened(data) | Self::CallChanged(data) => serde_json::to_vec(data),
            Self::CallTakenOver(data) | Self::CallReleased(data) => serde_json::to_vec(data),
            Self::ConversationEnded(data) => serde_json::to_vec(data),
            Self::ConversationSeen(data) => serde_json::to_vec(data),
            Self::WorkerRegistered(data) => serde_json::to_vec(data),
            Self::WorkerRemoved(data) => serde_json::to_vec(data),
            Self::AdminRegistered(data) => serde_json::to_vec(data),
            Self::AdminRemoved(data) => serde_json::to_vec(data),
            Self::DreamRecorded(data) | Self::DreamChanged(data) => serde_json::to_vec(data),
            Self::DreamInterpreted(data) => serde_json::to_vec(data),
            Self::DreamDiscussed(data) => serde_json::to_vec(data),
            Self::SessionOpened(data) => serde_json::to_vec(data),
            Self::ConversationLinked(data) => serde_json::to_vec(data),
            Self::ParticipantErased(data) => serde_json::to_vec(data),
        }
    }

    /// Reads data of the named type, of whatever version; `None` for a type this version does not know.
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
            "turnlog.conversation.claimed.v1" => Self::ConversationClaimed(serde_json::from_slice(data)?),
            "turnlog.conversation.reported.v1" => Self::ConversationReported(serde_json::from_slice(data)?),
            "turnlog.audio.stored.v1" => Self::AudioStored(serde_json::from_slice(data)?),
            "turnlog.webhook.received.v1" => Self::WebhookReceived(serde_json::from_slice(data)?),
            "turnlog.webhook.refused.v1" => Self::WebhookRefused(serde_json::from_slice(data)?),
            "turnlog.call.opened.v1" => Self::CallOpened(serde_json::from_slice(data)?),
            "turnlog.call.changed.v1" => Self::CallChanged(serde_json::from_slice(data)?),
            "turnlog.call.taken_over.v1" => Self::CallTakenOver(serde_json::from_slice(data)?),
            "turnlog.call.released.v1" => Self::CallReleased(serde_json::from_slice(data)?),
            "turnlog.conversation.ended.v1" => Self::ConversationEnded(serde_json::from_slice(data)?),
            "turnlog.conversation.seen.v1" => Self::ConversationSeen(serde_json::from_slice(data)?),
            "turnlog.worker.registered.v1" => Self::WorkerRegistered(serde_json::from_slice(data)?),
            "turnlog.worker.removed.v1" => Self::WorkerRemoved(serde_json::from_slice(data)?),
            "turnlog.admin.registered.v1" => Self::AdminRegistered(serde_json::from_slice(data)?),
            "turnlog.admin.removed.v1" => Self::AdminRemoved(serde_json::from_slice(data)?),
            "turnlog.dream.recorded.v1" => Self::DreamRecorded(serde_json::from_slice(data)?),
            "turnlog.dream.changed.v1" => Self::DreamChanged(serde_json::from_slice(data)?),
            "turnlog.dream.interpreted.v1" => Self::DreamInterpreted(serde_json::from_slice(data)?),
            "turnlog.dream.discussed.v1" => Self::DreamDiscussed(serde_json::from_slice(data)?),
            "turnlog.session.opened.v1" => Self::SessionOpened(serde_json::from_slice(data)?),
            "turnlog.conversation.linked.v1" => Self::ConversationLinked(serde_json::from_slice(data)?),
            "turnlog.participant.erased.v1" => Self::ParticipantErased(serde_json::from_slice(data)?),
            older => {
                let Some((newest, data)) = upcast::lift(upcast::STEPS, older, data)? else { return Ok(None) };
                return Self::from_json(newest, &data);
            }
        }))
    }

    /// Whether this version can read data of the named type.
    pub fn is_known(type_name: &str) -> bool {
        // Of a known type, nothing at all is not of its shape.
        !matches!(Self::from_json(type_name, b""), Ok(None))
    }
}
