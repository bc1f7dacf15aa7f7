//! What a command means for an aggregate in this state: pure, no clock, no I/O, so that it can be decided again.

mod call;
mod dream;
mod report;
mod session;

use shared::events::{AdminRemoval, Claim, Correction, Event, Message, Recording, Revocation, WorkerRemoval};
use shared::ids::{AdminId, ParticipantId};

use crate::align::claim;
use crate::command::{Command, ContentDigest, OnDirectory, RecordMessage};
use crate::state::{Conversation, Standing, State, Turn, merge};

/// What comes of a command.
#[derive(Debug, PartialEq)]
pub enum Decision {
    /// New facts of one aggregate, stored as a whole or not at all.
    Append {
        /// The facts, in their order; never empty.
        events: Vec<Event>,
        /// Sequence of the first version, for a correction.
        first: Option<u64>,
        /// They are too many for one commit: once these are stored the command is decided again for the rest.
        more: bool,
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
    /// There is nothing to do it to.
    #[error("There is no such {0}.")]
    Unknown(&'static str),
    /// Somebody else holds the call.
    #[error("The call is held by {0}.")]
    Held(AdminId),
    /// Only who holds the call may.
    #[error("Only the admin who holds the call, or a service, ends it; take it over first.")]
    NotHolder,
    /// The call is over.
    #[error("The conversation has ended.")]
    Ended,
    /// The call is another one.
    #[error("This conversation carries another call: {0} differs from what is stored.")]
    OtherCall(&'static str),
    /// Somebody else dreamt it.
    #[error("This dream belongs to another participant.")]
    NotDreamer,
    /// The vendor gave a name to two of its conversations.
    #[error("The vendor's conversation is known already.")]
    Linked,
    /// The participant was erased.
    #[error("This participant was erased; nothing further is stored of them.")]
    Erased,
    /// It became a session of another conversation while this was under way.
    #[error("The conversation was just linked to another one; send it again.")]
    Moved,
    /// A newer version wrote to it, and this one does not know what.
    #[error(
        "A newer version of turnlog wrote here, so this instance cannot decide; nothing was stored. Send it again."
    )]
    Newer,
    /// What was seen is not there yet.
    #[error("sequence must be one of the conversation's: it ends at {0}.")]
    Ahead(u64),
}

impl Decision {
    fn append(event: Event) -> Self {
        Self::Append { events: vec![event], first: None, more: false }
    }

    fn already(sequence: u64) -> Self {
        Self::Already { first: sequence, sequence }
    }
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
    let already = || Decision::already(last_sequence);
    if state.conversation.continues.is_some() && command.conversation().is_some() {
        return Err(Refusal::Moved);
    }
    Ok(match command {
        Command::Record(message) => record(message, &state.conversation, planned)?,
        Command::Enrol(_) if state.participant.is_some() => already(),
        Command::Enrol(id) => Decision::append(Event::ParticipantEnrolled(bare(id))),
        Command::Update(given) => match &state.participant {
            None => Decision::append(Event::ParticipantEnrolled(given.clone())),
            Some(known) => {
                let mut changed = known.clone();
                merge(&mut changed, given);
                if changed == *known {
                    already()
                } else {
                    Decision::append(Event::ParticipantUpdated(given.clone()))
                }
            }
        },
        Command::Revoke(_) if state.revoked => already(),
        Command::Revoke(Revocation { token_id, expires_at }) => {
            let revocation = Revocation { token_id: token_id.clone(), expires_at: *expires_at };
            Decision::append(Event::TokenRevoked(revocation))
        }
        Command::Report(told) => report::decide(told, &state.conversation),
        Command::StoreAudio(recording) => audio(recording, &state.conversation),
        Command::Receive(unread) => match state.unread {
            Some(sequence) => Decision::already(sequence),
            None => Decision::append(Event::WebhookReceived(unread.clone())),
        },
        Command::Refuse(refusal) => Decision::append(Event::WebhookRefused(refusal.clone())),
        Command::Call(on) => call::decide(on, &state.conversation, last_sequence)?,
        Command::Directory(on) => directory(on, state, last_sequence)?,
        Command::Dream(on) => dream::decide(on, state.dream.as_deref(), last_sequence)?,
        Command::OpenSession(opened) => session::open(opened, &state.conversation)?,
        Command::Link(link) => session::link(link, &state.conversation, last_sequence)?,
        Command::Erase(_) if state.erased.is_some() => already(),
        Command::Erase(erasure) => Decision::append(Event::ParticipantErased((**erasure).clone())),
    })
}

fn directory(on: &OnDirectory, state: &State, last_sequence: u64) -> Result<Decision, Refusal> {
    let already = || Decision::already(last_sequence);
    Ok(match (on, &state.worker, &state.admin) {
        (OnDirectory::RegisterWorker(worker), Some(known), _) if worker == known => already(),
        (OnDirectory::RegisterWorker(worker), _, _) => {
            Decision::append(Event::WorkerRegistered(worker.clone()))
        }
        (OnDirectory::RemoveWorker(_), None, _) if last_sequence == 0 => {
            return Err(Refusal::Unknown("worker"));
        }
        (OnDirectory::RemoveWorker(_), None, _) | (OnDirectory::RemoveAdmin(_), _, Standing::Removed) => {
            already()
        }
        (OnDirectory::RemoveWorker(id), Some(_), _) => {
            Decision::append(Event::WorkerRemoved(WorkerRemoval { worker_id: id.clone() }))
        }
        (OnDirectory::RegisterAdmin(admin), _, Standing::Registered(known)) if admin == known => already(),
        (OnDirectory::RegisterAdmin(admin), _, _) => Decision::append(Event::AdminRegistered(admin.clone())),
        // One who was never registered may have a token all the same: it is worth nothing from here on.
        (OnDirectory::RemoveAdmin(id), _, Standing::Registered(_) | Standing::Unknown) => {
            Decision::append(Event::AdminRemoved(AdminRemoval { admin_id: id.clone() }))
        }
    })
}

fn record(message: &RecordMessage, conversation: &Conversation, planned: u64) -> Result<Decision, Refusal> {
    match (&message.participant, &conversation.owner, &conversation.call) {
        (Some(sender), Some(owner), _) if sender != owner => return Err(Refusal::NotOwner),
        // A call that no participant began is nobody's to claim by knowing its id.
        (Some(_), None, Some(_)) => return Err(Refusal::NotOwner),
        (None, _, None) => return Err(Refusal::Unknown("call")),
        (Some(_), Some(_), _) | (Some(_), None, None) | (None, _, Some(_)) => {}
    }
    let digest =
        ContentDigest::with(message.role, &message.content, message.sources.as_deref(), &message.attachments);
    if let Some(turn) = message.key().and_then(|key| conversation.find(key)) {
        let first = turn.first();
        // Any version that was sent before is a repeat, also an older one: a late retry must not undo a correction.
        return Ok(match turn.version(digest) {
            Some(sequence) => Decision::Already { first, sequence },
            None => corrected(message, conversation, turn),
        });
    }
    if let Some(turn) = reported_turn(message, conversation) {
        return Ok(owned(message, conversation, corrected(message, conversation, turn)));
    }
    let ordinal = conversation.messages + planned + 1;
    let event = Event::MessageRecorded(fact(message, conversation, ordinal));
    Ok(owned(message, conversation, Decision::append(event)))
}

/// The final text of a report holds against what a frontend sends late, which is kept beside it.
fn corrected(message: &RecordMessage, conversation: &Conversation, turn: &Turn) -> Decision {
    let mut fact = fact(message, conversation, turn.ordinal);
    let mut sent = None;
    if let Some(held) = &turn.message {
        fact.inserted_at = held.inserted_at;
        fact.event_id = fact.event_id.or(held.event_id);
        fact.original.clone_from(&held.original);
        fact.late = held.late;
        fact.session = held.session;
        if turn.settled {
            fact.role = held.role;
            sent = (held.content != fact.content)
                .then(|| std::mem::replace(&mut fact.content, held.content.clone()));
        }
    }
    let correction = Correction { first_sequence: turn.first(), message: fact, sent };
    let first = Some(correction.first_sequence);
    Decision::Append { events: vec![Event::MessageCorrected(correction)], first, more: false }
}

/// The message that a report told of before its frontend did: of the session that it was said in. Where a frontend does
/// not say which, what was said before the newest session was opened may be of an older one, in which the vendor's
/// numbers mean nothing.
fn reported_turn<'c>(message: &RecordMessage, conversation: &'c Conversation) -> Option<&'c Turn> {
    if conversation.reports.is_empty() {
        return None;
    }
    let session = session_of(message, conversation);
    let among = |event_id: Option<u64>, wanted: &dyn Fn(u32) -> bool| {
        let unclaimed: Vec<_> = conversation
            .turns
            .iter()
            .filter_map(|turn| Some((turn, turn.message.as_deref().filter(|held| held.reported)?)))
            .filter(|(_, held)| wanted(held.session))
            .collect();
        let messages: Vec<_> = unclaimed.iter().map(|(_, held)| *held).collect();
        let place = claim(&messages, message.role, &message.content, event_id)?;
        unclaimed.get(place).map(|(turn, _)| *turn)
    };
    let found = among(message.event_id, &|held| held == session);
    let opened = conversation.sessions.last().map(|newest| newest.opened.opened_at);
    let is_older = message.session == 0 && opened.is_some_and(|at| message.timestamp.instant() < at);
    found.or_else(|| if is_older { among(None, &|held| held != session) } else { None })
}

fn session_of(message: &RecordMessage, conversation: &Conversation) -> u32 {
    match message.session {
        0 => conversation.newest_session(),
        named => named,
    }
}

/// What was there before its participant was known becomes the participant's, too.
fn owned(message: &RecordMessage, conversation: &Conversation, mut decision: Decision) -> Decision {
    if let (Decision::Append { events, .. }, None, Some(participant)) =
        (&mut decision, &conversation.owner, &message.participant)
    {
        events.splice(0..0, claimed(conversation, &message.conversation, participant));
    }
    decision
}

fn claimed(
    conversation: &Conversation,
    id: &shared::ids::ConversationId,
    participant: &ParticipantId,
) -> Option<Event> {
    let claim = Claim { conversation_id: id.clone(), participant_id: participant.clone() };
    conversation.has_begun().then_some(Event::ConversationClaimed(claim))
}

fn audio(recording: &Recording, conversation: &Conversation) -> Decision {
    let this = (recording.session, recording.audio.sha256.as_str());
    let known = conversation.audio.iter().find(|(session, sha256, _)| (*session, sha256.as_str()) == this);
    if let Some((_, _, sequence)) = known {
        return Decision::already(*sequence);
    }
    let participant_id = conversation.owner.clone();
    Decision::append(Event::AudioStored(Recording { participant_id, ..recording.clone() }))
}

fn fact(message: &RecordMessage, conversation: &Conversation, ordinal: u64) -> Message {
    Message {
        conversation_id: message.conversation.clone(),
        participant_id: message.participant.clone().or_else(|| conversation.owner.clone()),
        ordinal,
        message_id: message.message_id.clone(),
        idempotency_key: message.idempotency_key.clone(),
        role: message.role,
        content: message.content.clone(),
        timestamp: message.timestamp,
        provider: message.provider,
        inserted_at: None,
        event_id: message.event_id,
        reported: false,
        original: None,
        sources: message.sources.clone(),
        attachments: message.attachments.clone(),
        late: conversation.ended.is_some(),
        session: session_of(message, conversation),
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
