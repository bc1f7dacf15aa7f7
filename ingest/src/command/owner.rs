//! Whose key seals what comes of a command.

use shared::ids::ParticipantId;
use shared::subjects::Subject;

use super::{Command, Deed, OnCall, OnDream, Told};
use crate::state::State;

impl Command {
    /// Whose key seals what comes of it: the participant's; where none is known the worker's who called, or else the
    /// aggregate's own. None for what says nothing of anybody. `state` is the aggregate's.
    pub fn owner(&self, state: &State) -> Option<Subject> {
        let conversation = &state.conversation;
        let known = |given: Option<&ParticipantId>| {
            given
                .or(conversation.owner.as_ref())
                .map(Subject::participant)
                .or_else(|| conversation.call.as_ref().map(|call| Subject::worker(&call.worker_id)))
        };
        let owner = match self {
            Self::Record(message) => known(message.participant.as_ref()),
            Self::Report(report) => known(report.participant.as_ref()),
            Self::StoreAudio(recording) => known(recording.participant_id.as_ref()),
            Self::Call(OnCall { deed: Deed::Open(call), .. }) => Some(Subject::worker(&call.worker_id)),
            Self::Call(_) => known(None),
            Self::Dream(OnDream { told: Told::Dream(dream), .. }) => {
                Some(Subject::participant(&dream.participant_id))
            }
            Self::Dream(_) => {
                state.dream.as_ref().map(|known| Subject::participant(&known.dream.participant_id))
            }
            Self::OpenSession(session) => Some(Subject::participant(&session.participant_id)),
            Self::Link(link) => Some(Subject::participant(&link.participant_id)),
            // A key of its own keeps the tombstone when that of the participant goes.
            Self::Enrol(_) | Self::Update(_) | Self::Receive(_) | Self::Directory(_) | Self::Erase(_) => None,
            Self::Revoke(_) | Self::Refuse(_) => return None,
        };
        Some(owner.unwrap_or_else(|| self.subject()))
    }
}
