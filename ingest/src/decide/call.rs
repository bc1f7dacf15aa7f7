//! Calls: who holds them, when they end, who has seen what.

use shared::events::{Call, Ending, Event, Handover, Sighting, Viewer};
use shared::ids::{AdminId, ConversationId, Timestamp};

use super::{Decision, Refusal};
use crate::command::{Deed, OnCall};
use crate::state::Conversation;

/// What something done to a call means for its conversation.
pub(super) fn decide(
    on: &OnCall,
    conversation: &Conversation,
    last_sequence: u64,
) -> Result<Decision, Refusal> {
    match &on.deed {
        Deed::Open(call) => open(call, conversation, last_sequence),
        Deed::TakeOver(admin) => take_over(admin, conversation, last_sequence),
        Deed::Release(admin) => release(admin, conversation, last_sequence),
        Deed::End(by, at) => end(&on.conversation, by.as_ref(), *at, conversation),
        Deed::See(by, sequence) => {
            let (conversation_id, by, sequence) = (on.conversation.clone(), by.clone(), *sequence);
            see(Sighting { conversation_id, by, sequence }, conversation, last_sequence)
        }
    }
}

/// Opens a call, or changes its urgency and medium. Whose it is and when it began stay what they are.
fn open(wanted: &Call, conversation: &Conversation, last_sequence: u64) -> Result<Decision, Refusal> {
    let Some(known) = &conversation.call else {
        if conversation.ended.is_some() {
            return Err(Refusal::Ended);
        }
        return Ok(Decision::append(Event::CallOpened(wanted.clone())));
    };
    let differs = [
        ("call_id", known.call_id != wanted.call_id),
        ("worker_id", known.worker_id != wanted.worker_id),
        ("mobile_no", known.mobile_no != wanted.mobile_no),
        ("timestamp", known.opened_at != wanted.opened_at),
    ];
    if let Some((field, _)) = differs.into_iter().find(|(_, differs)| *differs) {
        return Err(Refusal::OtherCall(field));
    }
    if (&known.urgency, &known.medium) == (&wanted.urgency, &wanted.medium) {
        return Ok(Decision::already(last_sequence));
    }
    if conversation.ended.is_some() {
        return Err(Refusal::Ended);
    }
    let changed = Call { admin_id: known.admin_id.clone(), ..wanted.clone() };
    Ok(Decision::append(Event::CallChanged(changed)))
}

/// The first taker wins.
fn take_over(admin: &AdminId, conversation: &Conversation, last_sequence: u64) -> Result<Decision, Refusal> {
    let call = conversation.call.as_ref().ok_or(Refusal::Unknown("call"))?;
    match &call.admin_id {
        Some(holder) if holder == admin => Ok(Decision::already(last_sequence)),
        Some(holder) => Err(Refusal::Held(holder.clone())),
        None if conversation.ended.is_some() => Err(Refusal::Ended),
        None => {
            let call = Call { admin_id: Some(admin.clone()), ..(**call).clone() };
            Ok(Decision::append(Event::CallTakenOver(Handover { call, by: admin.clone() })))
        }
    }
}

/// Only who holds it gives it back.
fn release(admin: &AdminId, conversation: &Conversation, last_sequence: u64) -> Result<Decision, Refusal> {
    let call = conversation.call.as_ref().ok_or(Refusal::Unknown("call"))?;
    match &call.admin_id {
        None => Ok(Decision::already(last_sequence)),
        Some(holder) if holder != admin => Err(Refusal::Held(holder.clone())),
        Some(_) => {
            let call = Call { admin_id: None, ..(**call).clone() };
            Ok(Decision::append(Event::CallReleased(Handover { call, by: admin.clone() })))
        }
    }
}

/// A service ends any conversation, an admin the one that they hold.
fn end(
    id: &ConversationId,
    by: Option<&AdminId>,
    ended_at: Timestamp,
    conversation: &Conversation,
) -> Result<Decision, Refusal> {
    if !conversation.has_begun() {
        return Err(Refusal::Unknown("conversation"));
    }
    if by.is_some() && by != conversation.holder() {
        return Err(Refusal::NotHolder);
    }
    if let Some(sequence) = conversation.ended {
        return Ok(Decision::already(sequence));
    }
    Ok(Decision::append(Event::ConversationEnded(Ending {
        conversation_id: id.clone(),
        call: conversation.call.as_deref().cloned(),
        ended_at,
        by: by.cloned(),
    })))
}

/// What was seen stays seen.
fn see(sighting: Sighting, conversation: &Conversation, last_sequence: u64) -> Result<Decision, Refusal> {
    if !conversation.has_begun() {
        return Err(Refusal::Unknown("conversation"));
    }
    if let Viewer::Participant(id) = &sighting.by
        && conversation.owner.as_ref() != Some(id)
    {
        return Err(Refusal::NotOwner);
    }
    if sighting.sequence > last_sequence {
        return Err(Refusal::Ahead(last_sequence));
    }
    match conversation.seen.get(&sighting.by) {
        Some(seen) if *seen >= sighting.sequence => Ok(Decision::already(last_sequence)),
        Some(_) | None => Ok(Decision::append(Event::ConversationSeen(sighting))),
    }
}
