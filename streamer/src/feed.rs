//! Live feeds: one tail of the log, rooms by conversation, a bounded queue for each feed.

pub(crate) mod frame;
pub(crate) mod hub;
mod id;
pub(crate) mod join;
#[cfg(test)]
mod model;
mod queue;
pub(crate) mod sse;
pub(crate) mod tail;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::Stream;
use shared::auth::Identity;
use tokio::time::{Instant, Sleep};

use crate::access::{AccessChange, Denied, Facts, Rule};

use frame::Seen;
use hub::Seat;
use queue::Next;
use sse::Wire;

/// One open feed: the body of its answer. It ends when its token does, when its reader is too slow, or at a
/// stop.
///
/// Idle it is this struct, its timer and its place in a room; the rest of a connection's memory is the
/// server's.
pub(crate) struct Feed {
    conversation_id: Box<str>,
    seat: Seat,
    seen: Seen,
    wire: Wire,
    opening: Option<Bytes>,
    clock: Clock,
    watch: Option<Box<Watch>>,
    over: bool,
    open: Open,
}

/// Whether its reader may go on reading, of a feed whose reader may lose that.
struct Watch {
    identity: Identity,
    facts: Facts,
    may_read: Rule,
}

impl Watch {
    /// Takes in a change; why the feed ends, if it does.
    fn learn(&mut self, change: &AccessChange) -> Result<(), Denied> {
        self.facts.learn(&self.identity, change);
        (self.may_read)(&self.identity, &self.facts)
    }
}

/// When the feed has to do something by itself.
struct Clock {
    timer: Pin<Box<Sleep>>,
    heartbeat: Duration,
    next_heartbeat: Instant,
    expires_at: Option<DateTime<Utc>>,
}

enum Tick {
    Heartbeat,
    Expired,
    Nothing,
}

/// Counted while it is there.
struct Open {
    frames: metrics::Counter,
}

impl Open {
    fn new() -> Self {
        metrics::gauge!("turnlog_feeds_open").increment(1.0);
        Self { frames: metrics::counter!("turnlog_frames_total") }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("turnlog_feeds_open").decrement(1.0);
    }
}

impl Clock {
    fn new(heartbeat: Duration, expires_at: Option<DateTime<Utc>>) -> Self {
        let next_heartbeat = Instant::now() + heartbeat;
        let timer = Box::pin(tokio::time::sleep_until(next_heartbeat));
        let mut clock = Self { timer, heartbeat, next_heartbeat, expires_at };
        clock.set(Utc::now());
        clock
    }

    /// Sets the timer to what comes first. Expiry is asked of the wall clock again each time, since that can
    /// be set.
    fn set(&mut self, now: DateTime<Utc>) {
        let left = self.expires_at.and_then(|at| (at - now).to_std().ok());
        let expiry = left.and_then(|left| Instant::now().checked_add(left));
        let next = expiry.map_or(self.next_heartbeat, |expiry| expiry.min(self.next_heartbeat));
        self.timer.as_mut().reset(next);
    }

    fn tick(&mut self, now: DateTime<Utc>) -> Tick {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Tick::Expired;
        }
        let due = Instant::now() >= self.next_heartbeat;
        if due {
            self.next_heartbeat = Instant::now() + self.heartbeat;
        }
        self.set(now);
        if due { Tick::Heartbeat } else { Tick::Nothing }
    }
}

impl Feed {
    /// What the next tick of the clock puts on the wire, if anything.
    fn tick(&mut self) -> Option<Bytes> {
        let now = Utc::now();
        match self.clock.tick(now) {
            Tick::Heartbeat => Some(sse::heartbeat(now)),
            Tick::Expired => self.close(Some("The token has expired; log in again.")),
            Tick::Nothing => None,
        }
    }

    fn close(&mut self, told: Option<&str>) -> Option<Bytes> {
        self.over = true;
        told.map(|why| sse::error(&self.conversation_id, why))
    }

    fn take(&mut self, next: Next) -> Option<Bytes> {
        match next {
            Next::Frame(frame) => {
                let change = frame.access(self.seen);
                let lost =
                    self.watch.as_mut().zip(change).and_then(|(watch, change)| watch.learn(change).err());
                if let Some(denied) = lost {
                    return self.close(Some(&denied.to_string()));
                }
                self.over = frame.is_end();
                let bytes = frame.beyond(&mut self.seen, &self.wire);
                self.open.frames.increment(u64::from(bytes.is_some()));
                bytes
            }
            Next::Close(why) => self.close(why.told()),
        }
    }
}

impl Stream for Feed {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let feed = self.get_mut();
        loop {
            if let Some(opening) = feed.opening.take() {
                return Poll::Ready(Some(Ok(opening)));
            }
            if feed.over {
                return Poll::Ready(None);
            }
            // The clock first: a feed that is never idle expires, too.
            let bytes = if feed.clock.timer.as_mut().poll(context).is_ready() {
                feed.tick()
            } else {
                match feed.seat.queue().poll_next(context) {
                    Poll::Ready(next) => feed.take(next),
                    Poll::Pending => return Poll::Pending,
                }
            };
            if let Some(bytes) = bytes {
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}
