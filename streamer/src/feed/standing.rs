//! A feed on a bare socket: what most feeds are for most of their time. It has no buffer and no timer, and a task only
//! to notice that its peer left or can take more: whoever publishes a frame writes it to the socket there and then.

mod chunk;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use shared::http::{Framing, Line};
use tokio::net::TcpStream;

use super::Feed;
use crate::limits::{HEARD_AT_ONCE, MOST_HEARD};
use chunk::Chunk;

/// The feed, its socket, and what is half sent.
struct Standing {
    socket: TcpStream,
    framing: Framing,
    state: Mutex<State>,
}

struct State {
    /// `None` once it has nothing more to say.
    feed: Option<Feed>,
    /// What did not go into the socket at once; nothing else is taken from the feed before it has.
    chunk: Option<Chunk>,
    /// The task that waits for the socket.
    task: Option<Waker>,
    /// Bytes that the peer sent.
    heard: usize,
}

/// Sends a feed over a connection whose head was sent, until the feed ends or its peer leaves.
pub(super) async fn stand(feed: Feed, line: Line) {
    line.give_up_after(feed.peer_timeout);
    let Line { socket, framing } = line;
    let state = State { feed: Some(feed), chunk: None, task: None, heard: 0 };
    let held = Held::new(Arc::new(Standing { socket, framing, state: Mutex::new(state) }));
    poll_fn(|context| held.0.poll(context)).await;
}

/// A feed that stands until this is dropped: its queue holds it as well, to wake it.
struct Held(Arc<Standing>);

impl Held {
    fn new(standing: Arc<Standing>) -> Self {
        metrics::gauge!("turnlog_feeds_standing").increment(1.0);
        Self(standing)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().end();
        metrics::gauge!("turnlog_feeds_standing").decrement(1.0);
    }
}

/// Whatever comes into the feed's queue is sent by whoever put it there.
impl Wake for Standing {
    fn wake(self: Arc<Self>) {
        let mut state = self.lock();
        if !self.send(&mut state)
            && let Some(task) = &state.task
        {
            task.wake_by_ref();
        }
    }
}

impl Standing {
    fn poll(self: &Arc<Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        state.task = Some(context.waker().clone());
        if self.hear(&mut state, context).is_ready() {
            state.end();
            return Poll::Ready(());
        }
        while !self.send(&mut state) {
            if state.feed.is_none() && state.chunk.is_none() {
                return Poll::Ready(());
            }
            match self.socket.poll_write_ready(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => state.end(),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    /// Ready when the peer has left, or talks without end. What it says is dropped: its answer has told it that
    /// nothing is heard on this connection any more; left unread it would turn our end into a reset.
    fn hear(&self, state: &mut State, context: &mut Context<'_>) -> Poll<()> {
        let mut heard = [0; HEARD_AT_ONCE];
        while let Poll::Ready(ready) = self.socket.poll_read_ready(context) {
            match ready.and_then(|()| self.socket.try_read(&mut heard)) {
                Ok(0) => return Poll::Ready(()),
                Ok(bytes) => state.heard += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(()),
            }
            if state.heard > MOST_HEARD {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Sends what there is. `true`: all of it, and the feed says when there is more. `false`: the task has to go on.
    fn send(self: &Arc<Self>, state: &mut State) -> bool {
        loop {
            if let Some(chunk) = &mut state.chunk {
                match chunk.send(&self.socket) {
                    Ok(true) => state.chunk = None,
                    Ok(false) => return false,
                    Err(_) => state.end(),
                }
                continue;
            }
            let Some(feed) = &mut state.feed else { return false };
            let waker = Waker::from(Arc::clone(self));
            match feed.poll_next(&mut Context::from_waker(&waker)) {
                Poll::Pending => return true,
                Poll::Ready(Some(bytes)) => state.chunk = Some(Chunk::new(bytes, self.framing)),
                Poll::Ready(None) => {
                    state.feed = None;
                    state.chunk = Chunk::last(self.framing);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Gives up the feed's seat, and with it the queue that would wake this for ever.
    fn end(&mut self) {
        self.feed = None;
        self.chunk = None;
    }
}
