//! Calls that may have changed, from the tail to those who list them: how they stand is read from the tables once, as
//! soon as those have come as far as the log, and handed to the rooms.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::envelope::Entry;
use shared::events::Event;
use shared::limits::READ_WAIT;
use shared::subjects::{self, Aggregate};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::hub::Hub;
use super::super::queue::{Closing, Item};
use super::super::sse::Wire;
use super::super::wakes::Wakes;
use super::{Changed, room_of_admin};
use crate::limits::{CHANGED_CALLS, CHANGED_PAUSE};
use crate::tables::calls::CallNow;
use crate::tables::{ReadError, Tables};

/// What waits to be read again.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marked: Mutex<Marked>,
    there: Notify,
}

#[derive(Debug, Default)]
struct Marked {
    /// By their tokens.
    conversations: HashMap<String, Mark>,
    /// Workers whose company may have changed, and with it who sees their calls; and where in the log.
    workers: HashMap<String, u64>,
    /// There were too many to remember.
    lost: bool,
}

#[derive(Debug, Default)]
struct Mark {
    /// Where the newest change is in the log.
    at: u64,
    /// Admins who gave it back: they may have seen it for no other reason than that they held it.
    former: HashSet<String>,
}

impl Marks {
    /// Takes note of what entries may have changed.
    pub(crate) fn mark(&self, entries: &[Entry]) {
        let mut marked = self.lock();
        let mut any = false;
        for entry in entries {
            any |= marked.mark(entry);
        }
        if any {
            self.there.notify_one();
        }
    }

    /// Waits until there are some, and takes them.
    async fn take(&self) -> Marked {
        loop {
            self.there.notified().await;
            let marked = std::mem::take(&mut *self.lock());
            if marked.lost || marked.len() > 0 {
                return marked;
            }
        }
    }

    /// Puts back what could not be read.
    fn again(&self, marked: Marked) {
        self.lock().add(marked);
        self.there.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marked {
    fn len(&self) -> usize {
        self.conversations.len() + self.workers.len()
    }

    /// Whether there was something to take note of.
    fn mark(&mut self, entry: &Entry) -> bool {
        let (token, at) = (entry.token().to_owned(), entry.sequence);
        if subjects::is_of(&entry.subject, Aggregate::Worker) {
            self.workers.insert(token, at);
        } else if subjects::is_of(&entry.subject, Aggregate::Conversation)
            && let Some(former) = call_changed(entry)
        {
            self.conversations.entry(token).or_default().join(at, former);
        } else {
            return false;
        }
        self.bound();
        true
    }

    fn add(&mut self, other: Self) {
        for (token, Mark { at, former }) in other.conversations {
            self.conversations.entry(token).or_default().join(at, former);
        }
        for (token, at) in other.workers {
            let known = self.workers.entry(token).or_default();
            *known = at.max(*known);
        }
        self.lost |= other.lost;
        self.bound();
    }

    fn bound(&mut self) {
        if self.len() > CHANGED_CALLS {
            *self = Self { lost: true, ..Self::default() };
        }
    }

    /// Where the newest change of workers is.
    fn workers_at(&self) -> u64 {
        self.workers.values().copied().max().unwrap_or_default()
    }

    /// Where the newest of all is: the tables must have come there.
    fn up_to(&self) -> u64 {
        let conversations = self.conversations.values().map(|mark| mark.at);
        conversations.fold(self.workers_at(), u64::max)
    }
}

impl Mark {
    fn join(&mut self, at: u64, former: impl IntoIterator<Item = String>) {
        self.at = self.at.max(at);
        self.former.extend(former);
    }
}

/// Whether an entry changes what a list says of a call or who sees it, and who held it before, if that is somebody else
/// now.
fn call_changed(entry: &Entry) -> Option<Option<String>> {
    // There are many of these: they are not even decoded.
    if entry.event_type().starts_with("turnlog.message.") {
        return None;
    }
    match entry.decode() {
        Ok(Event::CallReleased(handover)) => Some(Some(handover.by.into())),
        Ok(
            Event::CallOpened(_)
            | Event::CallChanged(_)
            | Event::CallTakenOver(_)
            | Event::ConversationEnded(_)
            | Event::ConversationReported(_),
        ) => Some(None),
        Ok(
            Event::MessageRecorded(_)
            | Event::MessageCorrected(_)
            | Event::ConversationSeen(_)
            | Event::ConversationClaimed(_)
            | Event::WorkerRegistered(_)
            | Event::WorkerRemoved(_)
            | Event::AdminRegistered(_)
            | Event::AdminRemoved(_)
            | Event::DreamRecorded(_)
            | Event::DreamChanged(_)
            | Event::DreamInterpreted(_)
            | Event::DreamDiscussed(_)
            | Event::SessionOpened(_)
            | Event::ConversationLinked(_)
            // A call stays, whatever was said in it.
            | Event::ParticipantErased(_)
            | Event::ParticipantEnrolled(_)
            | Event::ParticipantUpdated(_)
            | Event::TokenRevoked(_)
            | Event::AudioStored(_)
            | Event::WebhookReceived(_)
            | Event::WebhookRefused(_),
        )
        // The projection parks what cannot be read, so the tables do not change with it.
        | Err(_) => None,
    }
}

/// Reads what was marked again and hands it to those who list calls, for ever.
pub(crate) async fn follow(marks: Arc<Marks>, hub: Arc<Hub>, tables: Tables, wire: Wire) {
    let mut number = 0;
    loop {
        let marked = marks.take().await;
        if !hub.has_lists() {
            continue;
        }
        match read(&marked, &tables).await {
            Ok(Some((calls, position))) => {
                for now in calls {
                    number += 1;
                    let at = marked.conversations.get(&now.token).map_or(0, |mark| mark.at);
                    let at = at.max(marked.workers_at());
                    let changed = Arc::new(Changed::new(now, position, at, number, &wire));
                    tell(&hub, &marked, &changed).spread().await;
                }
            }
            Ok(None) => {
                tracing::warn!("too many calls changed at once: those who list them begin anew");
                hub.close_lists(Closing::Lost).spread().await;
            }
            Err(error) => {
                tracing::debug!(%error, "changed calls cannot be read yet");
                marks.again(marked);
                tokio::time::sleep(CHANGED_PAUSE).await;
            }
        }
    }
}

/// How they stand, and the position that it is true at; `None` where there are too many.
async fn read(marked: &Marked, tables: &Tables) -> Result<Option<(Vec<CallNow>, u64)>, ReadError> {
    if marked.lost {
        return Ok(None);
    }
    let conversations: Vec<_> = marked.conversations.keys().map(String::as_str).collect();
    let workers: Vec<_> = marked.workers.keys().map(String::as_str).collect();
    let deadline = Instant::now() + READ_WAIT;
    let limit = CHANGED_CALLS + 1;
    let read = tables.calls_now(&conversations, &workers, limit, marked.up_to(), deadline).await?;
    Ok(Some(read).filter(|(calls, _)| calls.len() <= CHANGED_CALLS))
}

/// Hands a change to whoever sees the call or may have seen it.
fn tell(hub: &Hub, marked: &Marked, changed: &Arc<Changed>) -> Wakes {
    let mut wakes = Wakes::default();
    let item = Item::Call(Arc::clone(changed));
    let overflows = if marked.workers.is_empty() {
        let former = marked.conversations.get(&changed.now.token).into_iter().flat_map(|mark| &mark.former);
        let rooms = changed.rooms().chain(former.map(|admin| room_of_admin(admin)));
        rooms.map(|room| hub.tell(&room, &item, &mut wakes)).sum()
    } else {
        // Which company's they were is not known any more. Whoever does not have them is told nothing.
        hub.tell_lists(&item, &mut wakes)
    };
    if overflows > 0 {
        metrics::counter!("turnlog_queue_overflows_total").increment(overflows as u64);
        tracing::info!(feeds = overflows, "feeds of calls were too slow and are closed");
    }
    wakes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many conversations, from this one on, that changed there.
    fn marked(from: usize, count: usize, at: u64) -> Marked {
        let mark = |n: usize| (n.to_string(), Mark { at, former: HashSet::from([format!("a{at}")]) });
        Marked { conversations: (from..from + count).map(mark).collect(), ..Marked::default() }
    }

    #[test]
    fn what_could_not_be_read_waits_with_what_came_since() {
        let mut all = marked(0, 2, 9);
        all.add(Marked { workers: HashMap::from([("w".into(), 5)]), ..marked(1, 2, 7) });
        assert_eq!((all.len(), all.up_to(), all.workers_at()), (4, 9, 5));
        assert_eq!((all.conversations["1"].at, all.conversations["1"].former.len()), (9, 2));
    }

    #[test]
    fn too_many_are_forgotten_and_that_is_remembered() {
        let mut all = marked(0, CHANGED_CALLS, 1);
        all.bound();
        assert!(!all.lost);
        all.add(marked(CHANGED_CALLS, 1, 2));
        assert_eq!((all.lost, all.len()), (true, 0));
        all.add(marked(0, 1, 3));
        assert!(all.lost, "until their feeds were closed");
    }
}
