//! Rooms by conversation: who is listening where.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::calls::is_of_list;
use super::clock::{Now, Pace};
use super::frame::Frame;
use super::queue::{Closing, Item, Queue, Terms};
use super::wakes::Wakes;
use crate::limits::{SHARDS, SWEEP_STEPS};

type Shard = HashMap<Box<str>, Room>;

/// All rooms of this process.
#[derive(Debug)]
pub(crate) struct Hub {
    shards: Vec<Mutex<Shard>>,
    position: AtomicU64,
    /// Seats of those who list calls.
    lists: AtomicUsize,
}

/// The feeds of one conversation or of one list, and how many messages it has as far as any of them knows.
#[derive(Debug, Default)]
struct Room {
    total: u64,
    queues: Vec<Arc<Queue>>,
}

/// Who of a room is shown something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody but this person, as [`super::reader::number`] has them.
    Others(u64),
    /// Admins.
    Admins,
}

impl Audience {
    fn has(self, queue: &Queue) -> bool {
        match self {
            Self::Others(reader) => !queue.is_of(reader),
            Self::Admins => queue.is_of_admin(),
        }
    }
}

/// A place in a room; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Arc<Hub>,
    token: Box<str>,
    queue: Arc<Queue>,
}

impl Hub {
    /// With no rooms, following the log from `position`.
    pub(crate) fn new(position: u64) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, position: AtomicU64::new(position), lists: AtomicUsize::new(0) })
    }

    /// Takes a seat in the room of a conversation's token: from here on its frames queue.
    pub(crate) fn join(self: &Arc<Self>, token: &str, terms: Terms) -> Seat {
        self.sit(token, Arc::new(Queue::new(terms)))
    }

    fn sit(self: &Arc<Self>, token: &str, queue: Arc<Queue>) -> Seat {
        if is_of_list(token) {
            self.lists.fetch_add(1, Ordering::SeqCst);
        }
        self.shard(token).entry(token.into()).or_default().queues.push(Arc::clone(&queue));
        Seat { hub: Arc::clone(self), token: token.into(), queue }
    }

    /// Whether anybody lists calls. Asked after [`Self::advance`]: whoever is not counted yet will ask for the position
    /// later, and read what is there by then.
    pub(crate) fn has_lists(&self) -> bool {
        self.lists.load(Ordering::SeqCst) > 0
    }

    /// Says how far the log was read, before anything of it is published: whoever takes a seat and then asks
    /// for the position either finds an entry within it, or will find the entry's frame in the queue.
    pub(crate) fn advance(&self, position: u64) {
        self.position.store(position, Ordering::SeqCst);
    }

    /// How far the log was read.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::SeqCst)
    }

    /// How many messages a conversation has, as far as its room knows; `None` where nobody listens.
    pub(crate) fn total(&self, token: &str) -> Option<u64> {
        self.shard(token).get(token).map(|room| room.total)
    }

    /// Hands a frame to everybody in a room; answers how many queues overflowed.
    pub(crate) fn publish(&self, token: &str, frame: &Arc<Frame>, wakes: &mut Wakes) -> usize {
        let mut shard = self.shard(token);
        let Some(room) = shard.get_mut(token) else { return 0 };
        room.total = room.total.max(frame.total());
        room.queues.iter().filter(|queue| !queue.push(Item::Frame(Arc::clone(frame)), wakes)).count()
    }

    /// Does what the clocks of feeds say, of those in every [`SWEEP_STEPS`]th shard from `step` on.
    pub(crate) fn tick(&self, step: usize, now: Now, pace: Pace, heartbeat: &Bytes) -> Wakes {
        let mut wakes = Wakes::default();
        for shard in self.shards.iter().skip(step).step_by(SWEEP_STEPS) {
            each(shard, |queue| queue.tick(now, pace, heartbeat, &mut wakes));
        }
        wakes
    }

    /// Shows what is no fact to those in a room.
    pub(crate) fn show(&self, token: &str, frame: &Bytes, audience: Audience, wakes: &mut Wakes) {
        let shard = self.shard(token);
        let Some(room) = shard.get(token) else { return };
        for queue in room.queues.iter().filter(|queue| audience.has(queue)) {
            queue.push(Item::Live(frame.clone()), wakes);
        }
    }

    /// Hands an item to everybody in a room; answers how many queues overflowed.
    pub(crate) fn tell(&self, token: &str, item: &Item, wakes: &mut Wakes) -> usize {
        let shard = self.shard(token);
        let Some(room) = shard.get(token) else { return 0 };
        room.queues.iter().filter(|queue| !queue.push(item.clone(), wakes)).count()
    }

    /// Hands an item to everybody who lists calls; answers how many queues overflowed.
    pub(crate) fn tell_lists(&self, item: &Item, wakes: &mut Wakes) -> usize {
        let mut overflows = 0;
        self.each_list(|queue| overflows += usize::from(!queue.push(item.clone(), wakes)));
        overflows
    }

    /// Ends the feeds of everybody who lists calls.
    pub(crate) fn close_lists(&self, why: Closing) -> Wakes {
        let mut wakes = Wakes::default();
        self.each_list(|queue| queue.close(why, &mut wakes));
        wakes
    }

    fn each_list(&self, mut act: impl FnMut(&Arc<Queue>)) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let rooms = shard.iter().filter(|(token, _)| is_of_list(token));
            rooms.flat_map(|(_, room)| &room.queues).for_each(&mut act);
        }
    }

    /// Hands a frame to the feeds of admins, in every room.
    pub(crate) fn publish_to_admins(&self, frame: &Arc<Frame>, wakes: &mut Wakes) {
        for shard in &self.shards {
            each(shard, |queue| {
                if queue.is_of_admin() {
                    // One that overflows is closed, as by any other frame.
                    queue.push(Item::Frame(Arc::clone(frame)), wakes);
                }
            });
        }
    }

    /// Closes the feeds of a room.
    pub(crate) fn close_room(&self, token: &str, why: Closing, wakes: &mut Wakes) {
        let shard = self.shard(token);
        let Some(room) = shard.get(token) else { return };
        room.queues.iter().for_each(|queue| queue.close(why, wakes));
    }

    /// Closes the feeds of tokens that `gone` names.
    pub(crate) fn close_revoked(&self, gone: impl Fn(&str) -> bool) {
        let mut wakes = Wakes::default();
        for shard in &self.shards {
            each(shard, |queue| {
                if queue.token_id().is_some_and(&gone) {
                    queue.close(Closing::Revoked, &mut wakes);
                }
            });
        }
    }

    /// The queues of all feeds.
    pub(crate) fn queues(&self) -> Vec<Arc<Queue>> {
        let mut queues = Vec::new();
        self.shards.iter().for_each(|shard| each(shard, |queue| queues.push(Arc::clone(queue))));
        queues
    }

    /// A token is a hash already: its last character picks the shard.
    fn shard(&self, token: &str) -> MutexGuard<'_, Shard> {
        let byte = token.bytes().last().map_or(0, usize::from);
        self.shards[byte & (SHARDS - 1)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn each(shard: &Mutex<Shard>, act: impl FnMut(&Arc<Queue>)) {
    let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
    shard.values().flat_map(|room| &room.queues).for_each(act);
}

impl Seat {
    /// A place in another room for the same feed.
    pub(crate) fn beside(&self, token: &str) -> Self {
        self.hub.sit(token, Arc::clone(&self.queue))
    }

    /// What waits for this feed.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The same, for somebody who fills it.
    pub(super) fn share(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Tells the room how many messages there are.
    pub(crate) fn know_total(&self, total: u64) {
        if let Some(room) = self.hub.shard(&self.token).get_mut(&self.token) {
            room.total = room.total.max(total);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if is_of_list(&self.token) {
            self.hub.lists.fetch_sub(1, Ordering::SeqCst);
        }
        let mut shard = self.hub.shard(&self.token);
        let Some(room) = shard.get_mut(&self.token) else { return };
        if let Some(place) = room.queues.iter().position(|queue| Arc::ptr_eq(queue, &self.queue)) {
            room.queues.swap_remove(place);
        }
        if room.queues.is_empty() {
            shard.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::{frame, next, terms};
    use super::*;

    #[test]
    fn a_room_is_there_while_somebody_sits_in_it() {
        let hub = Hub::new(0);
        assert_eq!(hub.total("t1"), None);
        let (one, two) = (hub.join("t1", terms(None)), hub.join("t1", terms(None)));
        one.know_total(7);
        drop(one);
        assert_eq!(hub.total("t1"), Some(7));
        drop(two);
        assert_eq!(hub.total("t1"), None);
        assert!(hub.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn a_frame_reaches_its_room_alone_and_a_slow_reader_costs_nobody_else() {
        let hub = Hub::new(0);
        let (slow, good, other) =
            (hub.join("t1", terms(None)), hub.join("t1", terms(None)), hub.join("t2", terms(None)));
        let frame = frame(1, &"x".repeat(700_000));
        assert_eq!(hub.publish("t1", &frame, &mut Wakes::default()), 0);
        assert!(next(good.queue()).is_some());
        assert_eq!(hub.publish("t1", &frame, &mut Wakes::default()), 1);
        assert_eq!(next(slow.queue()), Some(Err(Closing::TooSlow)));
        assert!(matches!(next(good.queue()), Some(Ok(_))));
        assert_eq!(next(other.queue()), None);
    }

    #[test]
    fn a_revocation_closes_the_feeds_of_its_token_and_no_other() {
        let hub = Hub::new(0);
        let (gone, stays, service) =
            (hub.join("t1", terms(Some("a"))), hub.join("t1", terms(Some("b"))), hub.join("t2", terms(None)));
        hub.close_revoked(|token_id| token_id == "a");
        assert_eq!(next(gone.queue()), Some(Err(Closing::Revoked)));
        assert_eq!(next(stays.queue()), None);
        assert_eq!(next(service.queue()), None);
        assert_eq!(hub.queues().len(), 3);
    }
}
