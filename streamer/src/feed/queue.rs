//! What waits for one feed, bounded by count and by bytes, or the reason why the feed ends. Whatever sends the feed, be
//! it the HTTP server, a bare socket or a WebSocket, takes it from here by way of [`super::Feed`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::calls::Changed;
use super::clock::{Clock, Due, Now, Pace};
use super::frame::Frame;
use super::replay::Part;
use super::wakes::Wakes;
use crate::access::Denied;
use crate::limits::{QUEUE_BYTES, QUEUE_FRAMES};

/// Why a feed ends from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Its reader does not keep up.
    TooSlow,
    /// Its token was revoked.
    Revoked,
    /// Something of what it shows was erased.
    Erased,
    /// Its token has expired.
    Expired,
    /// It was open for as long as one may be.
    Lease,
    /// What it should show next is not known.
    Lost,
    /// The process stops.
    Stopping,
    /// Its reader may not read it any more.
    Denied(Denied),
}

impl Closing {
    /// What the client is told; where it has only to come back, the end of the answer says so.
    pub(crate) fn told(self) -> Option<String> {
        match self {
            Self::TooSlow => Some("Too slow: reconnect with your last id.".into()),
            Self::Revoked => Some("The token was revoked; log in again.".into()),
            Self::Erased => Some("The conversation was erased.".into()),
            Self::Expired => Some("The token has expired; log in again.".into()),
            Self::Denied(denied) => Some(denied.to_string()),
            Self::Lease | Self::Lost | Self::Stopping => None,
        }
    }

    /// As metrics call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::Revoked => "revoked",
            Self::Erased => "erased",
            Self::Expired => "expired",
            Self::Lease => "lease",
            Self::Lost => "lost",
            Self::Stopping => "stopping",
            Self::Denied(_) => "denied",
        }
    }
}

/// One thing that waits. The feed itself decides what becomes of it.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    /// What the log brought: each feed takes of it what it has not seen.
    Frame(Arc<Frame>),
    /// A call as it stands now: what it says to whom depends on who sees it.
    Call(Arc<Changed>),
    /// A piece of a replay.
    Past(Arc<Part>),
    /// A frame without an id, the same for all: it is no fact.
    Live(Bytes),
    /// The feed's token expires then.
    Expiring(DateTime<Utc>),
}

impl Item {
    fn size(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.encoded().len(),
            Self::Call(changed) => changed.size(),
            Self::Live(bytes) => bytes.len(),
            // Of a replay there are never more than a few.
            Self::Past(_) | Self::Expiring(_) => 0,
        }
    }
}

/// What a feed does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Look at this.
    Item(Item),
    /// End.
    Close(Closing),
}

/// Under what conditions a feed is open.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The token whose revocation ends it; `None` for one that no revocation ends.
    pub(crate) token_id: Option<Box<str>>,
    /// Whether an admin reads it: what the directory says may end it.
    pub(crate) admin: bool,
    /// The person who reads it, as [`super::reader::number`] has them.
    pub(crate) reader: Option<u64>,
    /// When it has to do something by itself.
    pub(crate) clock: Clock,
}

/// One feed's queue. Holds next to nothing while the feed is idle.
#[derive(Debug)]
pub(crate) struct Queue {
    token_id: Option<Box<str>>,
    admin: bool,
    reader: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    closing: Option<Closing>,
    waker: Option<Waker>,
    clock: Clock,
}

impl Queue {
    /// For a feed under these terms.
    pub(crate) fn new(terms: Terms) -> Self {
        let Terms { token_id, admin, reader, clock } = terms;
        let state = State { items: VecDeque::new(), bytes: 0, closing: None, waker: None, clock };
        Self { token_id, admin, reader, state: Mutex::new(state) }
    }

    /// Whether an admin reads it.
    pub(crate) fn is_of_admin(&self) -> bool {
        self.admin
    }

    /// Whether this person reads it.
    pub(crate) fn is_of(&self, reader: u64) -> bool {
        self.reader == Some(reader)
    }

    /// The token that the feed was opened with.
    pub(crate) fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Adds an item. Where there is no more room the feed is closed instead, and this answers `false`.
    pub(crate) fn push(&self, item: Item, wakes: &mut Wakes) -> bool {
        let mut state = self.lock();
        if state.closing.is_some() {
            return true;
        }
        let full = state.items.len() >= QUEUE_FRAMES || state.bytes + item.size() > QUEUE_BYTES;
        if full && !state.items.is_empty() {
            state.close(Closing::TooSlow, wakes);
            return false;
        }
        state.add(item, wakes);
        true
    }

    /// Ends the feed; what waits is dropped, since the client resumes with its last id.
    pub(crate) fn close(&self, why: Closing, wakes: &mut Wakes) {
        self.lock().close(why, wakes);
    }

    /// Does what the feed's clock says. `heartbeat` is the frame of this moment.
    pub(crate) fn tick(&self, now: Now, pace: Pace, heartbeat: &Bytes, wakes: &mut Wakes) {
        let mut state = self.lock();
        if state.closing.is_some() {
            return;
        }
        match state.clock.due(now, pace) {
            Due::Nothing => {}
            // To a reader that is behind, what waits says it as well.
            Due::Heartbeat if !state.items.is_empty() => {}
            Due::Heartbeat => state.add(Item::Live(heartbeat.clone()), wakes),
            Due::Expiring(at) => state.add(Item::Expiring(at), wakes),
            Due::End(why) => state.close(why, wakes),
        }
    }

    /// The next item, or the end.
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Next> {
        let mut state = self.lock();
        if let Some(why) = state.closing {
            return Poll::Ready(Next::Close(why));
        }
        if let Some(item) = state.items.pop_front() {
            state.bytes -= item.size();
            return Poll::Ready(Next::Item(item));
        }
        // A burst's room is given back once it is over.
        state.items = VecDeque::new();
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, item: Item, wakes: &mut Wakes) {
        self.bytes += item.size();
        self.items.push_back(item);
        wakes.add(self.waker.take());
    }

    fn close(&mut self, why: Closing, wakes: &mut Wakes) {
        if self.closing.is_none() {
            self.closing = Some(why);
            self.items = VecDeque::new();
            self.bytes = 0;
            wakes.add(self.waker.take());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use futures::task::noop_waker;

    use super::*;
    use crate::feed::frame::{Change, drafts};
    use crate::feed::sse::Wire;
    use crate::view::MessageView;
    use crate::view::tests::message;

    pub(crate) const PACE: Pace =
        Pace { heartbeat: Duration::from_secs(30), max_age: Duration::from_secs(3600) };

    pub(crate) fn terms(token_id: Option<&str>) -> Terms {
        Terms {
            token_id: token_id.map(Box::from),
            admin: false,
            reader: None,
            clock: Clock::new(PACE, None, Now::read(), 0.0),
        }
    }

    pub(crate) fn frame(sequence: u64, content: &str) -> Arc<Frame> {
        let message = MessageView { content: content.into(), ..message(sequence, sequence, sequence) };
        let draft = drafts(vec![Change::Recorded(message)]).remove(0);
        Arc::new(draft.encode(&Wire::new("e"), &"conv_1".into(), 0))
    }

    fn push(queue: &Queue, frame: &Arc<Frame>) -> bool {
        queue.push(Item::Frame(Arc::clone(frame)), &mut Wakes::default())
    }

    pub(crate) fn next(queue: &Queue) -> Option<Result<Bytes, Closing>> {
        match queue.poll_next(&Context::from_waker(&noop_waker())) {
            Poll::Pending => None,
            Poll::Ready(Next::Item(Item::Frame(frame))) => Some(Ok(frame.encoded().clone())),
            Poll::Ready(Next::Item(Item::Live(bytes))) => Some(Ok(bytes)),
            Poll::Ready(Next::Item(Item::Call(_))) => panic!("no calls are told"),
            Poll::Ready(Next::Item(Item::Past(_))) => panic!("nothing is replayed"),
            Poll::Ready(Next::Item(Item::Expiring(_))) => panic!("nothing expires"),
            Poll::Ready(Next::Close(why)) => Some(Err(why)),
        }
    }

    #[test]
    fn frames_come_out_in_order_until_the_feed_is_closed() {
        let queue = Queue::new(terms(None));
        assert_eq!(next(&queue), None);
        let (one, two) = (frame(1, "a"), frame(2, "b"));
        assert!(push(&queue, &one) && push(&queue, &two));
        assert_eq!(next(&queue), Some(Ok(one.encoded().clone())));
        queue.close(Closing::Revoked, &mut Wakes::default());
        assert_eq!(next(&queue), Some(Err(Closing::Revoked)));
    }

    #[test]
    fn a_queue_is_bounded_by_count_and_by_bytes_and_then_its_feed_ends() {
        let queue = Queue::new(terms(None));
        let small = frame(1, "a");
        assert!((0..QUEUE_FRAMES).all(|_| push(&queue, &small)));
        assert!(!push(&queue, &small));
        assert_eq!(next(&queue), Some(Err(Closing::TooSlow)));
        let queue = Queue::new(terms(None));
        let large = frame(1, &"x".repeat(QUEUE_BYTES));
        assert!(push(&queue, &large), "one frame always fits");
        assert!(!push(&queue, &small));
    }

    #[test]
    fn a_heartbeat_is_for_the_idle() {
        let queue = Queue::new(terms(None));
        let late = Now { steady: Now::read().steady + PACE.heartbeat, ..Now::read() };
        queue.tick(late, PACE, &"beat".into(), &mut Wakes::default());
        assert_eq!(next(&queue), Some(Ok("beat".into())));
        assert!(push(&queue, &frame(1, "a")));
        let later = Now { steady: late.steady + PACE.heartbeat, ..late };
        queue.tick(later, PACE, &"beat".into(), &mut Wakes::default());
        assert_ne!(next(&queue), Some(Ok("beat".into())));
        assert_eq!(next(&queue), None);
    }
}
