//! What a command means for an aggregate in this state: pure, no clock, no I/O, so that it can be decided again.

use shared::events::{Correction, Event, Message, Revocation};
use shared::ids::ParticipantId;

use crate::command::{Command, ContentDigest, RecordMessage};
use crate::state::{Conversation, State, merge};

/// What comes of a command.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// A new fact.
    Append {
        /// The fact.
        event: Event,
        /// Sequence of the first version, for a correction.
        first: Option<u64>,
    },
    /// The log says so already.
    Already {
        /// Sequence of the message's first version: its id.
        first: u64,
        /// Sequence of the version that says the same.
        sequence: u64,
    },
}

/// Why a command cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Somebody else wrote first.
    #[error("This conversation belongs to another participant.")]
    NotOwner,
}

/// Decides. `planned` counts the messages of this conversation that were decided before but are not in `state` yet;
/// `last_sequence` is where the aggregate ends.
///
/// # Errors
/// [`Refusal`].
pub fn decide(
    command: &Command,
    state: &State,
    planned: u64,
    last_sequence: u64,
) -> Result<Decision, Refusal> {
    let already = Decision::Already { first: last_sequence, sequence: last_sequence };
    let append = |event| Decision::Append { event, first: None };
    Ok(match command {
        Command::Record(message) => record(message, &state.conversation, planned)?,
        Command::Enrol(_) if state.participant.is_some() => already,
        Command::Enrol(id) => append(Event::ParticipantEnrolled(bare(id))),
        Command::Update(given) => match &state.participant {
            None => append(Event::ParticipantEnrolled(given.clone())),
            Some(known) => {
                let mut changed = known.clone();
                merge(&mut changed, given);
                if changed == *known { already } else { append(Event::ParticipantUpdated(given.clone())) }
            }
        },
        Command::Revoke(_) if state.revoked => already,
        Command::Revoke(Revocation { token_id, expires_at }) => {
            append(Event::TokenRevoked(Revocation { token_id: token_id.clone(), expires_at: *expires_at }))
        }
    })
}

fn record(message: &RecordMessage, conversation: &Conversation, planned: u64) -> Result<Decision, Refusal> {
    if conversation.owner.as_ref().is_some_and(|owner| *owner != message.participant) {
        return Err(Refusal::NotOwner);
    }
    let known = message.key().and_then(|key| conversation.known.get(&key));
    let Some(known) = known else {
        let event = Event::MessageRecorded(fact(message, conversation.messages + planned + 1));
        return Ok(Decision::Append { event, first: None });
    };
    let first = known.first();
    // Any version that was sent before is a repeat, also an older one: a late retry must not undo a correction.
    if let Some(sequence) = known.version(ContentDigest::of(message.role, &message.content)) {
        return Ok(Decision::Already { first, sequence });
    }
    let correction = Correction { first_sequence: first, message: fact(message, known.ordinal) };
    Ok(Decision::Append { event: Event::MessageCorrected(correction), first: Some(first) })
}

fn fact(message: &RecordMessage, ordinal: u64) -> Message {
    Message {
        conversation_id: message.conversation.clone(),
        participant_id: Some(message.participant.clone()),
        ordinal,
        message_id: message.message_id.clone(),
        idempotency_key: message.idempotency_key.clone(),
        role: message.role,
        content: message.content.clone(),
        timestamp: message.timestamp,
        provider: message.provider,
    }
}

fn bare(id: &ParticipantId) -> shared::events::Enrolment {
    shared::events::Enrolment {
        participant_id: id.clone(),
        access_code_hash: None,
        name: None,
        age: None,
        location: None,
    }
}

#[cfg(test)]
mod tests;
