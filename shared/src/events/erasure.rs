//! That a participant was erased.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Event, Payload, Recording, Report, Source, Unread, Viewer};
use crate::ids::ParticipantId;

/// Data of `turnlog.participant.erased.v1`: the tombstone. Who, by whom, when, and what readers have to do about it;
/// nothing of what was said. When it stands in the log, all that it names is gone for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Erasure {
    /// Who. Those who hold data sets have to find what is theirs in them.
    pub participant_id: ParticipantId,
    /// Who did it.
    pub by: String,
    /// When.
    pub erased_at: DateTime<Utc>,
    /// Tokens of the conversations of which something, or everything, is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conversations: Vec<String>,
    /// Tokens of the dreams that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dreams: Vec<String>,
    /// Whose data keys were destroyed: the participant's, and those of what nobody was known to own when it was written.
    pub keys: Vec<String>,
    /// Where the first event stood that said something of them, ...
    #[serde(default)]
    pub first_sequence: u64,
    /// ... and where the last one: data sets of other ranges hold nothing of them.
    #[serde(default)]
    pub last_sequence: u64,
    /// Events that were deleted from the log, because no destroyed key had sealed them.
    #[serde(default)]
    pub deleted_events: u64,
    /// What of them had come in by webhooks: how much came in by which way stays known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted_webhooks: Vec<DeletedWebhooks>,
    /// Recordings, uploads and large payloads that were deleted.
    #[serde(default)]
    pub deleted_objects: u64,
}

/// Events of one way in for webhooks that were deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedWebhooks {
    /// Which way.
    pub source: Source,
    /// How many.
    pub events: u64,
    /// When the last of them had come.
    pub last_at: DateTime<Utc>,
}

impl Event {
    /// Whose it is, as it says itself.
    pub fn participant(&self) -> Option<&ParticipantId> {
        match self {
            Self::MessageRecorded(data) => data.participant_id.as_ref(),
            Self::MessageCorrected(data) => data.message.participant_id.as_ref(),
            Self::ParticipantEnrolled(data) | Self::ParticipantUpdated(data) => Some(&data.participant_id),
            Self::ConversationClaimed(data) => Some(&data.participant_id),
            Self::ConversationReported(data) => data.participant_id.as_ref(),
            Self::AudioStored(data) => data.participant_id.as_ref(),
            Self::ConversationSeen(data) => match &data.by {
                Viewer::Participant(id) => Some(id),
                Viewer::Admin(_) => None,
            },
            Self::DreamRecorded(data) | Self::DreamChanged(data) => Some(&data.participant_id),
            Self::DreamInterpreted(data) => Some(&data.participant_id),
            Self::DreamDiscussed(data) => Some(&data.participant_id),
            Self::SessionOpened(data) => Some(&data.participant_id),
            Self::ConversationLinked(data) => Some(&data.participant_id),
            // The tombstone is nobody's.
            Self::ParticipantErased(_)
            | Self::TokenRevoked(_)
            | Self::WebhookReceived(_)
            | Self::WebhookRefused(_)
            | Self::CallOpened(_)
            | Self::CallChanged(_)
            | Self::CallTakenOver(_)
            | Self::CallReleased(_)
            | Self::ConversationEnded(_)
            | Self::WorkerRegistered(_)
            | Self::WorkerRemoved(_)
            | Self::AdminRegistered(_)
            | Self::AdminRemoved(_) => None,
        }
    }

    /// Names of what it has in the object store.
    pub fn objects(&self) -> Vec<&str> {
        let attached = match self {
            Self::MessageRecorded(message) => Some(&message.attachments),
            Self::MessageCorrected(correction) => Some(&correction.message.attachments),
            Self::AudioStored(Recording { audio: stored, .. })
            | Self::ConversationReported(Report { payload: Payload::Object(stored), .. })
            | Self::WebhookReceived(Unread { payload: Payload::Object(stored), .. }) => {
                return vec![&stored.object];
            }
            Self::ParticipantEnrolled(_)
            | Self::ParticipantUpdated(_)
            | Self::TokenRevoked(_)
            | Self::ConversationClaimed(_)
            | Self::ConversationReported(_)
            | Self::WebhookReceived(_)
            | Self::WebhookRefused(_)
            | Self::CallOpened(_)
            | Self::CallChanged(_)
            | Self::CallTakenOver(_)
            | Self::CallReleased(_)
            | Self::ConversationEnded(_)
            | Self::ConversationSeen(_)
            | Self::WorkerRegistered(_)
            | Self::WorkerRemoved(_)
            | Self::AdminRegistered(_)
            | Self::AdminRemoved(_)
            | Self::DreamRecorded(_)
            | Self::DreamChanged(_)
            | Self::DreamInterpreted(_)
            | Self::DreamDiscussed(_)
            | Self::SessionOpened(_)
            | Self::ConversationLinked(_)
            | Self::ParticipantErased(_) => None,
        };
        attached.into_iter().flatten().filter_map(|attachment| attachment.media_id.as_deref()).collect()
    }
}
