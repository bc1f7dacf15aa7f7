//! The one tail of the log: what it brings goes to the rooms that somebody sits in.

use std::collections::HashMap;
use std::sync::Arc;

use shared::envelope::Entry;
use shared::events::{Call, Event, unknown};
use shared::health::Progress;
use shared::log::{LogError, Tail};
use shared::subjects::{self, Aggregate};

use super::calls::Marks;
use super::frame::{Change, drafts};
use super::hub::Hub;
use super::queue::Closing;
use super::sse::Wire;
use super::wakes::Wakes;
use crate::access::AccessChange;
use crate::limits::TAIL_BATCH;
use crate::status::Status;
use crate::view::{CallView, MessageView, SeenView, StandingView};

/// Changes of one conversation, in the order of the log.
struct Burst {
    token: String,
    conversation_id: Arc<str>,
    changes: Vec<Change>,
}

/// Follows the log for ever and fills the rooms.
///
/// # Errors
/// [`LogError::Replaced`], when the log is another one.
pub(crate) async fn follow(
    mut tail: Tail,
    hub: Arc<Hub>,
    marks: Arc<Marks>,
    wire: Wire,
    progress: Progress,
) -> Result<(), LogError> {
    progress.reached(tail.position());
    loop {
        let entries = tail.next_batch(TAIL_BATCH).await?;
        hub.advance(tail.position());
        if hub.has_lists() {
            marks.mark(&entries);
        }
        let mut wakes = Wakes::default();
        let (conversations, directory): (Vec<_>, Vec<_>) = entries.into_iter().partition(is_of_conversation);
        for change in directory.iter().filter_map(directory_change) {
            for draft in drafts(vec![change]) {
                hub.publish_to_admins(&Arc::new(draft.encode(&wire, &Arc::from(""), 0)), &mut wakes);
            }
        }
        for burst in bursts(conversations, |token| hub.total(token).is_some()) {
            publish(&hub, &wire, burst, &mut wakes).await;
        }
        for token in directory.iter().flat_map(erased) {
            hub.close_room(&token, Closing::Erased, &mut wakes);
        }
        // Waits for those who write: a tail that ran ahead of them would fill the queues of good readers.
        wakes.spread().await;
        progress.reached(tail.position());
    }
}

async fn publish(hub: &Hub, wire: &Wire, burst: Burst, wakes: &mut Wakes) {
    for (number, draft) in drafts(burst.changes).into_iter().enumerate() {
        if number > 0 {
            // A burst of many frames would fill the queues of good readers before they are asked to empty them.
            std::mem::take(wakes).spread().await;
        }
        let frame = draft.encode(wire, &burst.conversation_id, hub.total(&burst.token).unwrap_or(0));
        let overflows = hub.publish(&burst.token, &Arc::new(frame), wakes);
        if overflows > 0 {
            metrics::counter!("turnlog_queue_overflows_total").increment(overflows as u64);
            tracing::info!(
                feeds = overflows,
                conversation = burst.token,
                "feeds were too slow and are closed"
            );
        }
    }
}

/// Changes by conversation, of those that somebody listens to; the others are not even decoded.
fn bursts(entries: Vec<Entry>, listened: impl Fn(&str) -> bool) -> Vec<Burst> {
    let mut bursts: Vec<Burst> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        if !listened(entry.token()) {
            continue;
        }
        let Some((conversation_id, change)) = change(&entry) else { continue };
        let place = *places.entry(entry.token().to_owned()).or_insert_with(|| {
            let token = entry.token().to_owned();
            bursts.push(Burst { token, conversation_id: conversation_id.into(), changes: Vec::new() });
            bursts.len() - 1
        });
        bursts[place].changes.push(change);
    }
    bursts
}

fn is_of_conversation(entry: &Entry) -> bool {
    subjects::is_of(&entry.subject, Aggregate::Conversation)
}

/// The conversations of which an erasure took something, if the entry is one. Nobody can tell what of it a reader has:
/// whoever may still read it comes back and is shown what is left.
fn erased(entry: &Entry) -> Vec<String> {
    if !entry.is_of_erasure() {
        return Vec::new();
    }
    match entry.decode() {
        Ok(Event::ParticipantErased(erasure)) => erasure.conversations,
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// What the directory says anew, if the entry is of it.
fn directory_change(entry: &Entry) -> Option<Change> {
    let of_directory = [Aggregate::Worker, Aggregate::Admin];
    if !of_directory.into_iter().any(|aggregate| subjects::is_of(&entry.subject, aggregate)) {
        return None;
    }
    let change = match entry.decode() {
        Ok(Event::WorkerRegistered(worker)) => {
            AccessChange::Worker(worker.worker_id.into(), Some(worker.company_id.into()))
        }
        Ok(Event::WorkerRemoved(removal)) => AccessChange::Worker(removal.worker_id.into(), None),
        Ok(Event::AdminRegistered(admin)) => {
            AccessChange::Admin(admin.admin_id.into(), Some(admin.company_id.into()))
        }
        Ok(Event::AdminRemoved(removal)) => AccessChange::Admin(removal.admin_id.into(), None),
        // Subject and type belong together: anything else on these subjects does not decode.
        Ok(_) => return None,
        Err(error) => {
            tracing::warn!(sequence = entry.sequence, %error, "an entry of the directory cannot be read");
            return None;
        }
    };
    Some(Change::Directory(entry.sequence, change))
}

/// What feeds show of an entry, if anything, and the conversation it is of.
pub(super) fn change(entry: &Entry) -> Option<(String, Change)> {
    let at = entry.sequence;
    match entry.decode() {
        Ok(Event::MessageRecorded(message)) => {
            let id = message.conversation_id.as_str().to_owned();
            Some((id, Change::Recorded(MessageView::of_event(message, entry.sequence, entry.sequence))))
        }
        Ok(Event::MessageCorrected(correction)) => {
            let (first, message) = (correction.first_sequence, correction.message);
            let id = message.conversation_id.as_str().to_owned();
            Some((id, Change::Corrected(MessageView::of_event(message, first, entry.sequence))))
        }
        Ok(Event::CallOpened(call) | Event::CallChanged(call)) => Some(call_change(at, call)),
        Ok(Event::CallTakenOver(handover) | Event::CallReleased(handover)) => {
            Some(call_change(at, handover.call))
        }
        Ok(Event::ConversationEnded(ending)) => Some((ending.conversation_id.into(), Change::Ended(at))),
        Ok(Event::SessionOpened(session)) => {
            let id = session.conversation_id.as_str().to_owned();
            let status = Status::Active.stored().to_owned();
            let standing = StandingView { conversation_id: id.clone(), status, session: session.number };
            Some((id, Change::Opened(at, standing)))
        }
        Ok(Event::ConversationSeen(sighting)) => {
            let (role, id) = (sighting.by.role().to_owned(), sighting.by.id().to_owned());
            let seen = SeenView { role, id, sequence: sighting.sequence, version: at };
            Some((sighting.conversation_id.into(), Change::Seen(at, seen)))
        }
        Ok(
            Event::WorkerRegistered(_)
            | Event::WorkerRemoved(_)
            | Event::AdminRegistered(_)
            | Event::AdminRemoved(_)
            | Event::DreamRecorded(_)
            | Event::DreamChanged(_)
            | Event::DreamInterpreted(_)
            | Event::DreamDiscussed(_)
            | Event::ConversationLinked(_)
            | Event::ParticipantErased(_)
            | Event::ParticipantEnrolled(_)
            | Event::ParticipantUpdated(_)
            | Event::TokenRevoked(_)
            | Event::ConversationClaimed(_)
            | Event::ConversationReported(_)
            | Event::AudioStored(_)
            | Event::WebhookReceived(_)
            | Event::WebhookRefused(_),
        ) => None,
        Err(error) => {
            if error.is_of_newer() {
                unknown::passed_over("streamer", entry.event_type());
            }
            // The projection parks it; a feed shows what the tables show.
            tracing::debug!(sequence = entry.sequence, %error, "an entry cannot be shown");
            None
        }
    }
}

fn call_change(at: u64, call: Call) -> (String, Change) {
    let id = call.conversation_id.as_str().to_owned();
    (id, Change::Call(at, Box::new(CallView::of_event(call, "ACTIVE"))))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use shared::envelope::{Envelope, EventId, Origin};
    use shared::events::{Correction, Message};
    use shared::ids::{Provider, Speaker, Timestamp};

    use super::*;

    fn message(conversation: &str, ordinal: u64) -> Message {
        Message {
            conversation_id: conversation.to_owned().try_into().unwrap(),
            participant_id: None,
            ordinal,
            message_id: None,
            idempotency_key: None,
            role: Speaker::User,
            content: "hello".into(),
            timestamp: Timestamp::parse("2025-10-03T11:58:04+05:30", Utc::now()).unwrap(),
            provider: Provider::Openai,
            inserted_at: None,
            event_id: None,
            reported: false,
            original: None,
            sources: None,
            attachments: Vec::new(),
            late: false,
            session: 0,
        }
    }

    fn entry(sequence: u64, event: &Event) -> Entry {
        let sealed =
            Envelope::wrap(event.subject(), EventId::random(), event, &Origin::default(), Utc::now())
                .unwrap();
        let subject = sealed.subject.as_str().to_owned();
        Entry::new(sequence, Utc::now(), subject, &sealed.headers, sealed.body)
    }

    #[test]
    fn a_batch_becomes_one_burst_for_each_conversation_in_the_order_of_the_log() {
        let corrected = Event::MessageCorrected(Correction {
            first_sequence: 1,
            message: message("conv_a", 1),
            sent: None,
        });
        let mut broken = entry(4, &corrected);
        broken.body = "{".into();
        let entries = vec![
            entry(1, &Event::MessageRecorded(message("conv_a", 1))),
            entry(2, &Event::MessageRecorded(message("b", 1))),
            entry(3, &corrected),
            broken,
            entry(5, &Event::MessageRecorded(message("conv_a", 2))),
        ];
        let bursts = bursts(entries, |_| true);
        let said: Vec<(&str, Vec<u64>)> = bursts
            .iter()
            .map(|burst| (&*burst.conversation_id, burst.changes.iter().map(Change::position).collect()))
            .collect();
        assert_eq!(said, [("conv_a", vec![1, 3, 5]), ("b", vec![2])]);
        let Change::Recorded(first) = &bursts[0].changes[0] else { panic!("not recorded") };
        assert_eq!((first.message_id.as_str(), first.sequence, first.version), ("msg_a_0001", 1, 1));
        let Change::Corrected(second) = &bursts[0].changes[1] else { panic!("not corrected") };
        assert_eq!((second.sequence, second.version), (1, 3));
    }

    #[test]
    fn what_nobody_listens_to_is_left_alone() {
        assert!(bursts(vec![entry(1, &Event::MessageRecorded(message("a", 1)))], |_| false).is_empty());
    }
}
