//! Sessions of the vendor's within a conversation of ours, and what ties the two together.

use shared::events::{Event, Link, Session};

use super::{Decision, Refusal};
use crate::state::Conversation;

/// The conversation is its participant's from here on, and goes on if it had ended.
pub(super) fn open(session: &Session, conversation: &Conversation) -> Result<Decision, Refusal> {
    if conversation.owner.as_ref().is_some_and(|owner| *owner != session.participant_id) {
        return Err(Refusal::NotOwner);
    }
    let number = conversation.newest_session() + 1;
    Ok(Decision::append(Event::SessionOpened(Session { number, ..session.clone() })))
}

/// Nothing was said or told of it yet, since nobody but the vendor knew its id.
pub(super) fn link(
    link: &Link,
    conversation: &Conversation,
    last_sequence: u64,
) -> Result<Decision, Refusal> {
    match &conversation.continues {
        Some(known) if *known == link.continues => Ok(Decision::already(last_sequence)),
        Some(_) => Err(Refusal::Linked),
        None if conversation.has_begun() => Err(Refusal::Linked),
        None => Ok(Decision::append(Event::ConversationLinked(link.clone()))),
    }
}
