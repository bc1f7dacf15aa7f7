//! What waits for one feed: frames, bounded by count and by bytes, or the reason why the feed ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::frame::Frame;
use crate::limits::{QUEUE_BYTES, QUEUE_FRAMES};

/// Why a feed ends from our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Its reader does not keep up.
    TooSlow,
    /// Its token was revoked.
    Revoked,
    /// The process stops.
    Stopping,
}

impl Closing {
    /// What the client is told; a stop is told by the end of the answer alone.
    pub(crate) fn told(self) -> Option<&'static str> {
        match self {
            Self::TooSlow => Some("Too slow: reconnect with your last id."),
            Self::Revoked => Some("The token was revoked; log in again."),
            Self::Stopping => None,
        }
    }
}

/// What a feed does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Look at this frame.
    Frame(Arc<Frame>),
    /// End.
    Close(Closing),
}

/// One feed's queue. Holds next to nothing while the feed is idle.
#[derive(Debug)]
pub(crate) struct Queue {
    token_id: Option<Box<str>>,
    admin: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    closing: Option<Closing>,
    waker: Option<Waker>,
}

impl Queue {
    /// For a feed of this token; `None` for one that no revocation ends.
    pub(crate) fn new(token_id: Option<&str>, admin: bool) -> Self {
        Self { token_id: token_id.map(Box::from), admin, state: Mutex::default() }
    }

    /// Whether an admin reads it: what the directory says may end it.
    pub(crate) fn is_of_admin(&self) -> bool {
        self.admin
    }

    /// The token that the feed was opened with.
    pub(crate) fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Adds a frame. Where there is no more room the feed is closed instead, and this answers `false`.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> bool {
        let mut state = self.lock();
        if state.closing.is_some() {
            return true;
        }
        let size = frame.encoded().len();
        let full = state.frames.len() >= QUEUE_FRAMES || state.bytes + size > QUEUE_BYTES;
        if full && !state.frames.is_empty() {
            state.close(Closing::TooSlow);
            return false;
        }
        state.bytes += size;
        state.frames.push_back(Arc::clone(frame));
        state.wake();
        true
    }

    /// Ends the feed; what waits is dropped, since the client resumes with its last id.
    pub(crate) fn close(&self, why: Closing) {
        self.lock().close(why);
    }

    /// The next frame, or the end.
    pub(crate) fn poll_next(&self, context: &Context<'_>) -> Poll<Next> {
        let mut state = self.lock();
        if let Some(why) = state.closing {
            return Poll::Ready(Next::Close(why));
        }
        if let Some(frame) = state.frames.pop_front() {
            state.bytes -= frame.encoded().len();
            return Poll::Ready(Next::Frame(frame));
        }
        // A burst's room is given back once it is over.
        state.frames = VecDeque::new();
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, why: Closing) {
        if self.closing.is_none() {
            self.closing = Some(why);
            self.frames = VecDeque::new();
            self.bytes = 0;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use futures::task::noop_waker;

    use super::*;
    use crate::feed::frame::{Change, drafts};
    use crate::feed::sse::Wire;
    use crate::view::MessageView;
    use crate::view::tests::message;

    pub(crate) fn frame(sequence: u64, content: &str) -> Arc<Frame> {
        let message = MessageView { content: content.into(), ..message(sequence, sequence, sequence) };
        let draft = drafts(vec![Change::Recorded(message)]).remove(0);
        Arc::new(draft.encode(&Wire::new("e"), &"conv_1".into(), 0))
    }

    pub(crate) fn next(queue: &Queue) -> Option<Result<Bytes, Closing>> {
        match queue.poll_next(&Context::from_waker(&noop_waker())) {
            Poll::Pending => None,
            Poll::Ready(Next::Frame(frame)) => Some(Ok(frame.encoded().clone())),
            Poll::Ready(Next::Close(why)) => Some(Err(why)),
        }
    }

    #[test]
    fn frames_come_out_in_order_until_the_feed_is_closed() {
        let queue = Queue::new(None, false);
        assert_eq!(next(&queue), None);
        let (one, two) = (frame(1, "a"), frame(2, "b"));
        assert!(queue.push(&one) && queue.push(&two));
        assert_eq!(next(&queue), Some(Ok(one.encoded().clone())));
        queue.close(Closing::Revoked);
        assert_eq!(next(&queue), Some(Err(Closing::Revoked)));
    }

    #[test]
    fn a_queue_is_bounded_by_count_and_by_bytes_and_then_its_feed_ends() {
        let queue = Queue::new(None, false);
        let small = frame(1, "a");
        assert!((0..QUEUE_FRAMES).all(|_| queue.push(&small)));
        assert!(!queue.push(&small));
        assert_eq!(next(&queue), Some(Err(Closing::TooSlow)));
        let queue = Queue::new(None, false);
        let large = frame(1, &"x".repeat(QUEUE_BYTES));
        assert!(queue.push(&large), "one frame always fits");
        assert!(!queue.push(&small));
    }
}
