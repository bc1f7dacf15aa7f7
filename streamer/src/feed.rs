//! Live feeds: one tail of the log, rooms by conversation and by list, a bounded queue for each feed.

pub(crate) mod calls;
pub(crate) mod caps;
pub(crate) mod clock;
pub(crate) mod frame;
pub(crate) mod hub;
mod id;
pub(crate) mod join;
pub(crate) mod live;
#[cfg(test)]
mod model;
pub(crate) mod presence;
mod queue;
pub(crate) mod reader;
pub(crate) mod replay;
pub(crate) mod sse;
mod standing;
pub(crate) mod sweep;
pub(crate) mod tail;
mod wakes;
pub(crate) mod websocket;

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use shared::auth::Identity;
use shared::http::{Endless, Line};

use crate::access::{AccessChange, Denied, Facts, Rule};
use calls::Watching;
use caps::Place;
use frame::{Frame, Seen};
use hub::Seat;
use presence::Present;
use queue::{Closing, Item, Next};
use replay::Replay;
use sse::Wire;

use crate::looks::Watched;

/// One open feed: what it has seen, and what comes next for it. It ends when its token or its lease does, when its
/// reader is too slow, or at a stop.
///
/// Who sends it asks [`Self::poll_next`]: the HTTP server as the body of its answer, then, once it is idle, the bare
/// socket of its connection ([`standing`]).
pub(crate) struct Feed {
    topic: Topic,
    seat: Seat,
    wire: Wire,
    opening: Option<Bytes>,
    _present: Option<Present>,
    over: bool,
    /// How long what was sent may wait for its peer.
    peer_timeout: Duration,
    open: Open,
    watched: Watched,
}

/// What a feed is of, and what it has shown.
enum Topic {
    /// One conversation.
    Conversation { id: Box<str>, seen: Seen, watch: Option<Box<Watch>> },
    /// Calls.
    Calls(Box<Watching>),
    /// The past of one conversation.
    Past(Box<Replay>),
}

impl Topic {
    fn conversation(&self) -> Option<&str> {
        match self {
            Self::Conversation { id, .. } => Some(id),
            Self::Calls(_) => None,
            Self::Past(replay) => Some(&replay.id),
        }
    }

    /// Takes in what a frame says of who may read; why the feed ends, if it does.
    fn learn(&mut self, frame: &Frame) -> Result<(), Denied> {
        match self {
            Self::Conversation { seen, watch, .. } => {
                let change = frame.access(seen.up_to);
                watch.as_mut().zip(change).map_or(Ok(()), |(watch, change)| watch.learn(change))
            }
            Self::Calls(watching) => watching.learn(frame),
            Self::Past(replay) => replay.learn(frame),
        }
    }
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

/// Counted while it is there.
struct Open {
    frames: metrics::Counter,
    ended: &'static str,
    _place: Place,
}

impl Open {
    fn new(place: Place) -> Self {
        metrics::gauge!("turnlog_feeds_open").increment(1.0);
        Self { frames: metrics::counter!("turnlog_frames_total"), ended: "left", _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("turnlog_feeds_open").decrement(1.0);
        metrics::counter!("turnlog_feeds_ended_total", "reason" => self.ended).increment(1);
    }
}

impl Feed {
    /// The next bytes to send; `None` at the end. Where there is nothing, the context is woken when there is.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(opening));
        }
        while !self.over {
            let Poll::Ready(next) = self.seat.queue().poll_next(context) else { return Poll::Pending };
            if let Some(bytes) = self.take(next) {
                return Poll::Ready(Some(bytes));
            }
        }
        Poll::Ready(None)
    }

    /// What becomes of the next thing in the queue, as far as this feed has seen its topic.
    fn take(&mut self, next: Next) -> Option<Bytes> {
        let bytes = match next {
            Next::Item(Item::Frame(frame)) => match self.topic.learn(&frame) {
                Ok(()) => self.of_conversation(&frame),
                Err(denied) => return self.close(Closing::Denied(denied)),
            },
            Next::Item(Item::Call(changed)) => match &mut self.topic {
                Topic::Calls(watching) => watching.take(&changed),
                Topic::Conversation { .. } | Topic::Past(_) => None,
            },
            // Who types now is nothing of the past.
            Next::Item(Item::Live(bytes)) if matches!(self.topic, Topic::Past(_)) => {
                return Some(bytes).filter(|bytes| sse::is_heartbeat(bytes));
            }
            Next::Item(Item::Live(bytes)) => return Some(bytes),
            Next::Item(Item::Past(part)) => {
                self.watched.shown(part.up_to);
                if let Some(end) = part.end {
                    self.finish(end);
                }
                Some(part.bytes.clone())
            }
            Next::Item(Item::Expiring(at)) => return Some(sse::expiring(self.topic.conversation(), at)),
            Next::Close(why) => return self.close(why),
        };
        self.open.frames.increment(u64::from(bytes.is_some()));
        bytes
    }

    /// What is new in a frame of the feed's conversation.
    fn of_conversation(&mut self, frame: &Frame) -> Option<Bytes> {
        let Topic::Conversation { seen, .. } = &mut self.topic else { return None };
        let bytes = frame.beyond(seen, &self.wire);
        self.watched.shown(seen.up_to);
        if frame.is_end() {
            self.finish("ended");
        }
        bytes
    }

    /// Nothing comes any more.
    fn finish(&mut self, why: &'static str) {
        (self.over, self.open.ended) = (true, why);
        self.watched.ends(why);
    }

    /// How it ended, as metrics call it.
    fn ended(&self) -> &'static str {
        self.open.ended
    }

    fn close(&mut self, why: Closing) -> Option<Bytes> {
        (self.over, self.open.ended) = (true, why.name());
        self.watched.ends(why.name());
        why.told().map(|told| sse::error(self.topic.conversation(), &told))
    }
}

impl Endless for Feed {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        Self::poll_next(self, context)
    }

    fn go_on(self: Box<Self>, line: Line) -> BoxFuture<'static, ()> {
        Box::pin(standing::stand(*self, line))
    }
}
