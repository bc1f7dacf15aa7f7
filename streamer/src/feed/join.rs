//! How a feed joins, in a fixed order: take a seat, note how far the tail has come, read the tables as they
//! are at least there, then go on with what queued meanwhile. Nothing is missed in between and nothing comes
//! twice.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use shared::audit::What;
use shared::auth::{Identity, Revocations};
use shared::events::Viewer;
use shared::ids::ConversationId;
use shared::limits::{PEER_TIMEOUT, READ_WAIT};
use shared::live::Channel;
use shared::log::{Log, LogError};
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caps::Caps;
use super::clock::{Clock, Now, Pace};
use super::frame::{Change, Seen, drafts};
use super::hub::{Hub, Seat};
use super::id::{self, LastId, Lost};
use super::presence::{Presence, Present};
use super::queue::Terms;
use super::sse::{self, Wire};
use super::{Feed, Open, Topic, Watch, reader};
use crate::access::Rule;
use crate::limits::PEER_PATIENCE;
use crate::list::Cursors;
use crate::looks::{Looks, Trail, range};
use crate::past::Past;
use crate::snapshot::Head;
use crate::tables::{ReadError, Reading, Tables};
use crate::view::{ConversationView, MessageView};

/// What feeds are made of and fed by.
#[derive(Debug)]
pub(crate) struct Feeds {
    /// The rooms.
    pub(crate) hub: Arc<Hub>,
    /// What came before.
    pub(crate) tables: Tables,
    /// How far it all goes.
    pub(crate) log: Log,
    /// How frames are written.
    pub(crate) wire: Wire,
    /// How long feeds live, and how often an idle one says so.
    pub(crate) pace: Pace,
    /// How many there may be.
    pub(crate) caps: Caps,
    /// Who watches.
    pub(crate) presence: Presence,
    /// The way to other instances.
    pub(crate) channel: Channel,
    /// Tokens that were given up.
    pub(crate) revocations: Revocations,
    /// The process stops.
    pub(crate) stopping: CancellationToken,
    /// Where looks are recorded.
    pub(crate) looks: Looks,
    /// Where lists go on.
    pub(crate) cursors: Cursors,
    /// How things stood.
    pub(crate) past: Past,
    /// One for each replay under way.
    pub(crate) replays: Arc<Semaphore>,
}

/// Who wants which feed, and from where.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Who.
    pub(crate) identity: Identity,
    /// Which conversation.
    pub(crate) conversation: ConversationId,
    /// The id of the last frame that the client got.
    pub(crate) last_id: Option<String>,
    /// The tables must have come this far.
    pub(crate) after: u64,
    /// From where.
    pub(crate) trail: Trail,
}

/// Where a feed begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    Fresh,
    After(u64),
    Reset(Lost),
}

/// What came of joining by a name.
enum Joined {
    Feed(Box<Feed>),
    /// It is the vendor's name of a session; the conversation's own is this.
    Elsewhere(ConversationId),
}

/// What a feed says first, and what the client has seen with it.
struct Opening {
    bytes: Bytes,
    seen: Seen,
    /// The messages in it lie between these.
    shown: Option<(u64, u64)>,
    /// The conversation has ended: there is nothing more to come.
    over: bool,
}

impl Feeds {
    /// Opens a feed; beside it stands the conversation's own id.
    ///
    /// # Errors
    /// 403, 404, 429 when the caller has as many as it may, and 503 when the tables or the log cannot be asked or are too far behind.
    pub(crate) async fn join(
        &self,
        mut wish: Wish,
        may_read: Rule,
    ) -> Result<(Feed, ConversationId), Problem> {
        let started = Instant::now();
        loop {
            match self.join_named(&wish, may_read, started).await? {
                Joined::Feed(feed) => return Ok((*feed, wish.conversation)),
                // What comes of it comes to the room of its own name.
                Joined::Elsewhere(own) => wish.conversation = own,
            }
        }
    }

    /// Opens a feed of the conversation that is named so, unless that is not its own name.
    async fn join_named(&self, wish: &Wish, may_read: Rule, started: Instant) -> Result<Joined, Problem> {
        let subject = Subject::conversation(&wish.conversation);
        let (seat, open) = self.sit(subject.token(), &wish.identity, &wish.trail)?;
        let tail = self.hub.position();
        let start = self.start(wish.last_id.as_deref(), tail).await?;
        let deadline = started + READ_WAIT;
        let mut reading = self.reading(wish, may_read, subject.token(), tail, deadline).await?;
        if let Some(own) = reading.own_id.take() {
            return Ok(Joined::Elsewhere(own));
        }
        let opening = self.opening(&mut reading, start).await?;
        let facts = reading.facts.clone();
        drop(reading);
        seat.know_total(opening.seen.total);
        let watch = matches!(reader::viewer(&wish.identity), Some(Viewer::Admin(_)))
            .then(|| Box::new(Watch { identity: wish.identity.clone(), facts, may_read }));
        let look = wish.trail.look(&wish.identity, What::FeedOpened);
        let (shown, up_to) = (opening.shown, opening.seen.up_to);
        let watched = self.looks.opened(look, Some(&wish.conversation), shown, up_to).await?;
        metrics::histogram!("turnlog_feed_join_seconds").record(started.elapsed().as_secs_f64());
        let topic = Topic::Conversation { id: wish.conversation.as_str().into(), seen: opening.seen, watch };
        Ok(Joined::Feed(Box::new(Feed {
            topic,
            seat,
            wire: self.wire.clone(),
            opening: Some(opening.bytes),
            _present: self.present(&wish.conversation, &wish.identity),
            over: opening.over,
            peer_timeout: self.peer_timeout(),
            open,
            watched,
        })))
    }

    fn present(&self, conversation: &ConversationId, identity: &Identity) -> Option<Present> {
        match reader::viewer(identity)? {
            Viewer::Admin(admin) => Some(self.presence.enter(conversation, admin)),
            Viewer::Participant(_) => None,
        }
    }

    /// Takes a seat in a room, if the caller may have another one.
    pub(super) fn sit(
        &self,
        room: &str,
        identity: &Identity,
        trail: &Trail,
    ) -> Result<(Seat, Open), Problem> {
        let (token_id, expires_at) = match identity {
            Identity::Service => (None, None),
            Identity::Person(grant) => (Some(grant.token_id.as_str()), Some(grant.expires_at)),
        };
        let open = Open::new(self.caps.admit(identity, trail.key())?);
        let clock = Clock::new(self.pace, expires_at, Now::read(), rand::random());
        let viewer = reader::viewer(identity);
        let admin = matches!(viewer, Some(Viewer::Admin(_)));
        let reader = viewer.as_ref().map(reader::number);
        let terms = Terms { token_id: token_id.map(Box::from), admin, reader, clock };
        let seat = self.hub.join(room, terms);
        self.still_open(token_id)?;
        Ok((seat, open))
    }

    /// A heartbeat later, something is under way; gone before the next one is within two.
    pub(super) fn peer_timeout(&self) -> Duration {
        PEER_TIMEOUT.min(self.pace.heartbeat.mul_f64(PEER_PATIENCE))
    }

    /// A revocation or a stop between the check of the credential and the seat would have found no feed to
    /// close.
    fn still_open(&self, token_id: Option<&str>) -> Result<(), Problem> {
        if token_id.is_some_and(|id| self.revocations.contains(id)) {
            return Err(Problem::new(Kind::Unauthenticated, "The token was revoked; log in again."));
        }
        if self.stopping.is_cancelled() {
            return Err(Problem::unavailable("The service is stopping; reconnect.", "joined while stopping"));
        }
        Ok(())
    }

    /// An id past our tail may have come from a streamer that was ahead of us: only the log knows its own
    /// end.
    pub(super) async fn start(&self, last_id: Option<&str>, tail: u64) -> Result<Start, Problem> {
        let Some(text) = last_id else { return Ok(Start::Fresh) };
        Ok(match id::parse(text, self.wire.epoch()) {
            LastId::Lost(lost) => Start::Reset(lost),
            LastId::Seen(sequence) if sequence <= tail => Start::After(sequence),
            LastId::Seen(sequence) if sequence <= self.end().await? => Start::After(sequence),
            LastId::Seen(_) => Start::Reset(Lost::Future),
        })
    }

    async fn end(&self) -> Result<u64, Problem> {
        let extent = self.log.extent().await;
        extent.map(|extent| extent.last).map_err(|error: LogError| {
            Problem::unavailable("The log does not answer for now; try again in a moment.", error)
        })
    }

    /// A reading of the tables at `tail` or later. A conversation that is not there may be one whose first
    /// message was acknowledged a moment ago: that is certain only where the tables have all that the log
    /// had.
    pub(super) async fn reading(
        &self,
        wish: &Wish,
        may_read: Rule,
        token: &str,
        tail: u64,
        deadline: Instant,
    ) -> Result<Reading, Problem> {
        let at_least = tail.max(wish.after);
        match self.tables.open_at(&wish.identity, token, may_read, at_least, deadline).await {
            Err(ReadError::NotFound) => {
                let at_least = at_least.max(self.end().await?);
                Ok(self.tables.open_at(&wish.identity, token, may_read, at_least, deadline).await?)
            }
            other => Ok(other?),
        }
    }

    async fn opening(&self, reading: &mut Reading, start: Start) -> Result<Opening, ReadError> {
        let read_to = reading.position();
        let mut bytes = BytesMut::from(&sse::preamble()[..]);
        let (head, up_to, shown) = match start {
            Start::Fresh => {
                let (head, conversation) = reading.whole().await?;
                bytes.extend_from_slice(&self.initial(&conversation, &head, read_to));
                (head, read_to, range(&conversation.messages))
            }
            Start::Reset(lost) => {
                let (head, conversation) = reading.whole().await?;
                bytes.extend_from_slice(&self.wire.reset(&conversation.conversation_id, lost));
                bytes.extend_from_slice(&self.initial(&conversation, &head, read_to));
                (head, read_to, range(&conversation.messages))
            }
            Start::After(sequence) => {
                let (head, messages) = reading.messages_after(sequence).await?;
                let beside = self.beside(reading, &head, sequence).await?;
                let shown = range(&messages);
                let id: Arc<str> = head.conversation_id.as_str().into();
                for frame in replay(&self.wire, &id, messages, beside, sequence, head.total_messages) {
                    bytes.extend_from_slice(&frame);
                }
                (head, read_to.max(sequence), shown)
            }
        };
        let over = head.ended.is_some();
        if over {
            bytes.extend_from_slice(&self.wire.ended(up_to, &head.conversation_id));
        }
        let seen = Seen { up_to, total: head.total_messages };
        Ok(Opening { bytes: bytes.freeze(), seen, shown, over })
    }

    /// What happened after a sequence besides messages.
    async fn beside(&self, reading: &mut Reading, head: &Head, after: u64) -> Result<Vec<Change>, ReadError> {
        let call = head.call.as_ref().filter(|call| call.version > after);
        let call = call.map(|call| Change::Call(call.version, Box::new(head.call_view(call))));
        let opened = head.opened.filter(|opened| *opened > after);
        let opened = opened.map(|opened| Change::Opened(opened, head.standing()));
        let seen = reading.seen_after(after).await?;
        let seen = seen.into_iter().map(|seen| Change::Seen(seen.version, seen));
        Ok(call.into_iter().chain(opened).chain(seen).collect())
    }

    fn initial(&self, conversation: &ConversationView, head: &Head, read_to: u64) -> Bytes {
        let newest = conversation.messages.iter().map(|message| message.version);
        let newest = newest.chain(head.call.as_ref().map(|call| call.version)).chain(head.opened);
        let newest = newest.chain(conversation.seen.iter().map(|seen| seen.version)).max();
        self.wire.initial(newest.unwrap_or(read_to), conversation)
    }
}

/// Frames for a client that has everything up to `after`, of the messages that are newer or were corrected
/// since.
///
/// A message that came and was corrected since is a new one with its newest content. Only the last frame's id
/// covers such a correction: a client that is cut off before it is told of the correction again, rather than
/// never.
pub(super) fn replay(
    wire: &Wire,
    conversation_id: &Arc<str>,
    messages: Vec<MessageView>,
    beside: Vec<Change>,
    after: u64,
    total: u64,
) -> Vec<Bytes> {
    let newest = messages.iter().map(|message| message.version);
    let newest = newest.chain(beside.iter().map(Change::position)).max();
    let fresh = messages.iter().filter(|message| message.sequence > after).count() as u64;
    let mut changes: Vec<_> =
        messages
            .into_iter()
            .map(|message| {
                if message.sequence > after { Change::Recorded(message) } else { Change::Corrected(message) }
            })
            .chain(beside)
            .collect();
    changes.sort_by_key(Change::position);
    let mut drafts = drafts(changes);
    if let (Some(last), Some(newest)) = (drafts.last_mut(), newest) {
        last.reaches(newest);
    }
    let mut before = total.saturating_sub(fresh);
    drafts
        .into_iter()
        .map(|draft| {
            let frame = draft.encode(wire, conversation_id, before);
            before = frame.total();
            frame.encoded().clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::message;

    /// Event, id and total of each frame.
    fn said(messages: Vec<MessageView>, after: u64, total: u64) -> Vec<(String, String, u64)> {
        replay(&Wire::new("e"), &"conv_1".into(), messages, Vec::new(), after, total)
            .iter()
            .map(|bytes| {
                let lines: Vec<_> = std::str::from_utf8(bytes).unwrap().lines().collect();
                let data: serde_json::Value = serde_json::from_str(&lines[2]["data: ".len()..]).unwrap();
                let total = data["total_messages"].as_u64().unwrap();
                (lines[0]["event: ".len()..].to_owned(), lines[1]["id: ".len()..].to_owned(), total)
            })
            .collect()
    }

    #[test]
    fn nothing_new_is_nothing_said() {
        assert!(said(vec![], 9, 3).is_empty());
    }

    #[test]
    fn what_came_since_is_one_frame_and_older_corrections_stand_where_the_log_has_them() {
        let frame = |name: &str, id: &str, total| (name.to_owned(), id.to_owned(), total);
        assert_eq!(
            said(vec![message(4, 8, 2), message(7, 7, 4), message(9, 9, 5)], 5, 5),
            [
                frame("new_messages", "e-7", 4),
                frame("message_corrected", "e-8", 4),
                frame("new_messages", "e-9", 5)
            ]
        );
    }

    #[test]
    fn the_last_id_covers_the_corrections_of_what_is_new() {
        assert_eq!(
            said(vec![message(7, 12, 4), message(9, 9, 5)], 5, 5),
            [("new_messages".into(), "e-12".into(), 5)]
        );
    }
}
