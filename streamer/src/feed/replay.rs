//! A past call as a feed: what the log has of it after some point, frame by frame, as far apart as its messages were said.
//!
//! It is a feed like any other to whoever sends it: its frames come through its queue, where a change of who may read, a
//! revocation and its clock find it, too. Behind it one task reads the log and waits; it is never more than a few frames
//! ahead of its reader, who may be as slow as they like.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use shared::audit::What;
use shared::events::Viewer;
use shared::ids::ConversationId;
use shared::limits::READ_WAIT;
use shared::log::{Log, LogError};
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Change, Frame, drafts};
use super::hub::Seat;
use super::join::{Feeds, Start, Wish};
use super::queue::{Closing, Item, Queue};
use super::sse::{self, Wire};
use super::wakes::Wakes;
use super::{Feed, Open, Topic, Watch, reader, tail};
use crate::access::{Denied, Facts, Rule};
use crate::limits::{CAP_RETRY, MAX_SILENCE, REPLAY_AHEAD, REPLAYS_AT_ONCE};
use crate::looks::range;
use crate::past::{Moment, Then, moment};
use crate::query::Wrong;

/// How fast a replay may go.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.25..=1_000.0;

/// From where a replay goes, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tempo {
    from: Moment,
    speed: f64,
    /// The longest pause.
    longest: Duration,
}

impl Tempo {
    /// Of parameters as they came; none where no replay is asked for.
    pub(crate) fn parse(
        wrong: &mut Wrong,
        from: Option<&str>,
        speed: Option<&str>,
        max_gap: Option<&str>,
    ) -> Option<Self> {
        let given = [("speed", speed.is_some()), ("max_gap", max_gap.is_some())];
        for (name, _) in given.into_iter().filter(|(_, given)| *given && from.is_none()) {
            wrong.reject(name, "is of a replay: say where it begins in from");
        }
        let mut number = |field: &str, text: Option<&str>, range: std::ops::RangeInclusive<f64>| {
            let number = text?.parse::<f64>().ok().filter(|number| range.contains(number));
            if number.is_none() {
                wrong.reject(field, format!("must be a number from {} to {}", range.start(), range.end()));
            }
            number
        };
        let speed = number("speed", speed, SPEEDS);
        let max_gap = number("max_gap", max_gap, 0.0..=MAX_SILENCE.as_secs_f64());
        let from = moment(wrong, "from", from)?;
        let longest = max_gap.map_or(MAX_SILENCE, Duration::from_secs_f64);
        Some(Self { from, speed: speed.unwrap_or(1.0), longest })
    }
}

/// A replay, as its feed knows it.
pub(super) struct Replay {
    pub(super) id: Box<str>,
    /// Who may read is known up to here.
    seen_to: u64,
    watch: Option<Box<Watch>>,
    _pump: AbortOnDropHandle<()>,
}

impl Replay {
    /// Takes in what a frame of the present says of who may read; why the replay ends, if it does.
    pub(super) fn learn(&mut self, frame: &Frame) -> Result<(), Denied> {
        let change = frame.access(self.seen_to);
        self.watch.as_mut().zip(change).map_or(Ok(()), |(watch, change)| watch.learn(change))
    }
}

/// A piece of a replay on its way to its reader. While it waits the replay does, too.
#[derive(Debug)]
pub(crate) struct Part {
    pub(super) bytes: Bytes,
    pub(super) up_to: u64,
    /// Nothing comes after it, and why.
    pub(super) end: Option<&'static str>,
    _place: OwnedSemaphorePermit,
}

/// Room for all replays of a process.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(REPLAYS_AT_ONCE))
}

/// What a replay begins with.
struct Beginning {
    seat: Seat,
    open: Open,
    start: Start,
    /// Where it begins, or goes on.
    begin: u64,
    then: Then,
    facts: Facts,
    /// How far the log was folded into `facts`.
    seen_to: u64,
}

impl Feeds {
    /// Opens a replay; beside it stands the conversation's own id.
    ///
    /// # Errors
    /// As [`Self::join`]; also 400 where it would begin beyond the end of the log, and 429 when too many run.
    pub(crate) async fn join_past(
        &self,
        mut wish: Wish,
        tempo: Tempo,
        may_read: Rule,
    ) -> Result<(Feed, ConversationId), Problem> {
        let place = Arc::clone(&self.replays).try_acquire_owned().map_err(|_| {
            let detail =
                format!("At most {REPLAYS_AT_ONCE} replays run at once here; try again in a moment.");
            Problem { retry_after: Some(CAP_RETRY), ..Problem::new(Kind::RateLimited, detail) }
        })?;
        let from = self.past.sequence("from", tempo.from).await?;
        wish.after = wish.after.max(from);
        let beginning = self.beginning(&mut wish, from, may_read).await?;
        let look = wish.trail.look(&wish.identity, What::FeedOpened);
        let look = look.map(|look| look.with("replay_from", from).with("speed", tempo.speed));
        let pump = Pump::new(self, &wish.conversation, &beginning, tempo, place);
        let Beginning { seat, open, start, begin, then, facts, seen_to } = beginning;
        let watch = matches!(reader::viewer(&wish.identity), Some(Viewer::Admin(_)));
        let watch = watch.then(|| Box::new(Watch { identity: wish.identity.clone(), facts, may_read }));
        let (opening, shown) = self.first(start, begin, then)?;
        let watched = self.looks.opened(look, Some(&wish.conversation), shown, pump.position).await?;
        let id: Box<str> = wish.conversation.as_str().into();
        let pump = AbortOnDropHandle::new(tokio::spawn(pump.run()));
        let feed = Feed {
            topic: Topic::Past(Box::new(Replay { id, seen_to, watch, _pump: pump })),
            seat,
            wire: self.wire.clone(),
            opening: Some(opening),
            _present: None,
            over: false,
            peer_timeout: self.peer_timeout(),
            open,
            watched,
        };
        Ok((feed, wish.conversation))
    }

    /// Takes a seat, where a change of who may read is told, and reads how things stood.
    async fn beginning(&self, wish: &mut Wish, from: u64, may_read: Rule) -> Result<Beginning, Problem> {
        let deadline = Instant::now() + READ_WAIT;
        loop {
            let subject = Subject::conversation(&wish.conversation);
            let (seat, open) = self.sit(subject.token(), &wish.identity, &wish.trail)?;
            let tail = self.hub.position();
            let start = self.start(wish.last_id.as_deref(), tail).await?;
            let mut reading = self.reading(wish, may_read, subject.token(), tail, deadline).await?;
            if let Some(own) = reading.own_id.take() {
                wish.conversation = own;
                continue;
            }
            let set_aside = reading.set_aside(&subject).await?;
            let (facts, seen_to) = (reading.facts.clone(), reading.position());
            // Others need the connection while the log is read.
            drop(reading);
            let begin = if let Start::After(sequence) = start { sequence } else { from };
            let then = self.past.read(&wish.conversation, &set_aside, begin, true).await?;
            return Ok(Beginning { seat, open, start, begin, then, facts, seen_to });
        }
    }

    /// What it says first, and what lies between which positions of that. Who has seen the beginning of the conversation is
    /// not told it again.
    fn first(&self, start: Start, begin: u64, then: Then) -> Result<(Bytes, Option<(u64, u64)>), Problem> {
        let (mut bytes, at) = (BytesMut::from(&sse::preamble()[..]), then.last());
        if matches!(start, Start::After(_)) && at <= begin {
            return Ok((bytes.freeze(), None));
        }
        let conversation = then.view().ok_or_else(|| Problem::internal("what was read has not begun"))?;
        if let Start::Reset(lost) = start {
            bytes.extend_from_slice(&self.wire.reset(&conversation.conversation_id, lost));
        }
        bytes.extend_from_slice(&self.wire.initial(at, &conversation));
        Ok((bytes.freeze(), range(&conversation.messages)))
    }
}

/// Reads the log and waits.
struct Pump {
    log: Log,
    subject: Subject,
    wire: Wire,
    id: Arc<str>,
    queue: Arc<Queue>,
    /// How far ahead of its reader it may be.
    ahead: Arc<Semaphore>,
    /// Everything up to here was shown.
    position: u64,
    /// Messages by then.
    total: u64,
    /// Whether the conversation had ended by then.
    over: bool,
    clock: Clock,
    _place: OwnedSemaphorePermit,
}

/// When what was said is shown again.
struct Clock {
    /// The latest that anything shown was said.
    said_to: Option<DateTime<Utc>>,
    speed: f64,
    /// The longest pause.
    longest: Duration,
    /// When what was shown last was due.
    due: Instant,
}

impl Clock {
    /// When a message is due that was said at this time. Time never goes backwards.
    fn due(&mut self, at: DateTime<Utc>) -> Instant {
        let before = self.said_to.replace(self.said_to.map_or(at, |before| before.max(at)));
        let gap = before.and_then(|before| (at - before).to_std().ok()).unwrap_or_default();
        let pause = (gap.as_secs_f64() / self.speed).min(self.longest.as_secs_f64());
        self.due += Duration::from_secs_f64(pause);
        self.due
    }
}

impl Pump {
    fn new(
        feeds: &Feeds,
        conversation: &ConversationId,
        beginning: &Beginning,
        tempo: Tempo,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let then = &beginning.then;
        Self {
            log: feeds.log.clone(),
            subject: Subject::conversation(conversation),
            wire: feeds.wire.clone(),
            id: conversation.as_str().into(),
            queue: beginning.seat.share(),
            ahead: Arc::new(Semaphore::new(REPLAY_AHEAD)),
            position: beginning.begin.max(then.last()),
            total: then.total(),
            over: then.is_over(),
            clock: Clock {
                said_to: then.said_to(),
                speed: tempo.speed,
                // A client that comes back when its feed is old must have come further by then.
                longest: tempo.longest.min(feeds.pace.max_age / 2),
                due: Instant::now(),
            },
            _place: place,
        }
    }

    async fn run(mut self) {
        if let Err(error) = self.play().await {
            tracing::info!(%error, "a replay ends: its log cannot be read for now");
            self.queue.close(Closing::Lost, &mut Wakes::default());
        }
    }

    /// Shows everything that the log has, also what comes to it meanwhile.
    async fn play(&mut self) -> Result<(), LogError> {
        loop {
            let page = self.log.page_of(self.subject.as_str(), self.position).await?;
            let Some(last) = page.last().map(|entry| entry.sequence) else { break };
            let mut changes = Vec::new();
            for entry in page {
                let Some((_, change)) = tail::change(&entry) else { continue };
                match &change {
                    // It may go on, or something may be said late: the end is told at the end.
                    Change::Ended(_) => {
                        self.over = true;
                        continue;
                    }
                    Change::Opened(..) => self.over = false,
                    Change::Recorded(message) => {
                        let due = self.clock.due(message.timestamp.instant());
                        if due > Instant::now() {
                            self.show(std::mem::take(&mut changes)).await;
                            sleep_until(due).await;
                        }
                    }
                    Change::Corrected(_) | Change::Call(..) | Change::Seen(..) | Change::Directory(..) => {}
                }
                changes.push(change);
            }
            self.show(changes).await;
            self.position = last;
        }
        let (bytes, end) = if self.over {
            (self.wire.ended(self.position, &self.id), "ended")
        } else {
            (self.wire.replayed(self.position, &self.id), "replayed")
        };
        self.push(bytes, self.position, Some(end)).await;
        Ok(())
    }

    async fn show(&mut self, changes: Vec<Change>) {
        for draft in drafts(changes) {
            let frame = draft.encode(&self.wire, &self.id, self.total);
            self.total = frame.total();
            self.push(frame.encoded().clone(), frame.last(), None).await;
        }
    }

    /// Waits until the reader has taken what is before it, however long that takes.
    async fn push(&self, bytes: Bytes, up_to: u64, end: Option<&'static str>) {
        let place = Arc::clone(&self.ahead).acquire_owned().await;
        let place = place.expect("nobody closes it");
        let part = Part { bytes, up_to, end, _place: place };
        self.queue.push(Item::Past(Arc::new(part)), &mut Wakes::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(
        from: Option<&str>,
        speed: Option<&str>,
        max_gap: Option<&str>,
    ) -> Result<Option<Tempo>, Vec<String>> {
        let mut wrong = Wrong::default();
        let tempo = Tempo::parse(&mut wrong, from, speed, max_gap);
        wrong.finish(tempo).map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn a_replay_has_a_beginning_and_bounds() {
        assert_eq!(parsed(None, None, None), Ok(None));
        let tempo = |speed, seconds| {
            let longest = Duration::from_secs_f64(seconds);
            Ok(Some(Tempo { from: Moment::Sequence(7), speed, longest }))
        };
        assert_eq!(parsed(Some("7"), None, None), tempo(1.0, MAX_SILENCE.as_secs_f64()));
        assert_eq!(parsed(Some("7"), Some("0.25"), Some("0")), tempo(0.25, 0.0));
        assert_eq!(parsed(Some("7"), Some("1e3"), Some("2.5")), tempo(1_000.0, 2.5));
        for wrong in ["", "0", "-1", "0.2", "1001", "NaN", "inf", "fast"] {
            assert_eq!(parsed(Some("7"), Some(wrong), None), Err(vec!["speed".into()]), "{wrong}");
        }
        assert_eq!(parsed(Some("7"), None, Some("1201")), Err(vec!["max_gap".into()]));
        assert_eq!(parsed(None, Some("4"), Some("x")).unwrap_err().len(), 3);
        assert_eq!(parsed(Some("then"), Some("0"), None), Err(vec!["speed".into(), "from".into()]));
    }

    #[test]
    fn pauses_are_those_of_the_talk_by_the_speed_and_none_is_too_long_or_backwards() {
        let began = Instant::now();
        let (speed, longest) = (4.0, Duration::from_secs(30));
        let mut clock = Clock { said_to: None, speed, longest, due: began };
        let said = [100, 140, 120, 140, 148, 10_000, 10_001];
        let shown = said.map(|second| clock.due(DateTime::from_timestamp(second, 0).unwrap()) - began);
        assert_eq!(shown.map(|after| after.as_millis()), [0, 10_000, 10_000, 10_000, 12_000, 42_000, 42_250]);
    }
}
