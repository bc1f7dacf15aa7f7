//! What an event is of: its conversation, its participant, its frontend.

use shared::events::{Event, Viewer};
use shared::ids::{ConversationId, ParticipantId};

/// What an event names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) conversation: Option<&'a str>,
    pub(crate) participant: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
}

fn of<'a>(conversation: Option<&'a ConversationId>, participant: Option<&'a ParticipantId>) -> Named<'a> {
    let conversation = conversation.map(|id| id.as_str());
    Named { conversation, participant: participant.map(|id| id.as_str()), provider: None }
}

/// What this event names.
pub(crate) fn named(event: &Event) -> Named<'_> {
    match event {
        Event::MessageRecorded(message) => said(message),
        Event::MessageCorrected(correction) => said(&correction.message),
        Event::ParticipantEnrolled(data) | Event::ParticipantUpdated(data) => {
            of(None, Some(&data.participant_id))
        }
        Event::ConversationClaimed(data) => of(Some(&data.conversation_id), Some(&data.participant_id)),
        Event::ConversationReported(data) => of(Some(&data.conversation_id), data.participant_id.as_ref()),
        Event::AudioStored(data) => of(Some(&data.conversation_id), data.participant_id.as_ref()),
        Event::CallOpened(call) | Event::CallChanged(call) => of(Some(&call.conversation_id), None),
        Event::CallTakenOver(data) | Event::CallReleased(data) => of(Some(&data.call.conversation_id), None),
        Event::ConversationEnded(data) => of(Some(&data.conversation_id), None),
        Event::ConversationSeen(data) => {
            let participant = match &data.by {
                Viewer::Participant(id) => Some(id),
                Viewer::Admin(_) => None,
            };
            of(Some(&data.conversation_id), participant)
        }
        Event::DreamRecorded(data) | Event::DreamChanged(data) => of(None, Some(&data.participant_id)),
        Event::DreamInterpreted(data) => of(None, Some(&data.participant_id)),
        Event::DreamDiscussed(data) => of(Some(&data.conversation_id), Some(&data.participant_id)),
        Event::SessionOpened(data) => of(Some(&data.conversation_id), Some(&data.participant_id)),
        Event::ConversationLinked(data) => of(Some(&data.conversation_id), Some(&data.participant_id)),
        // Whoever exports some participants wants to know which of them are gone.
        Event::ParticipantErased(data) => of(None, Some(&data.participant_id)),
        Event::TokenRevoked(_)
        | Event::WebhookReceived(_)
        | Event::WebhookRefused(_)
        | Event::WorkerRegistered(_)
        | Event::WorkerRemoved(_)
        | Event::AdminRegistered(_)
        | Event::AdminRemoved(_) => Named::default(),
    }
}

fn said(message: &shared::events::Message) -> Named<'_> {
    let provider = Some(message.provider.as_str());
    Named { provider, ..of(Some(&message.conversation_id), message.participant_id.as_ref()) }
}
