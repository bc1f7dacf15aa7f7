//! The watching thread: one epoll instance, one buffer, all feeds.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use super::mark::Marks;
use super::parse::{Answer, Broken, Frame};
use super::socket::connect;
use super::track::{Agreed, Faults, Ids, Track};
use super::{Delivery, Order, Progress, Wanted};

/// Bytes read at once, of any feed: a burst of frames, and still within the processor's cache.
const READ_BYTES: usize = 64 * 1024;
/// Events taken at once.
const EVENTS: usize = 1_024;
/// Wakes the thread for an order.
const ORDERS: Token = Token(usize::MAX);
/// When a client comes back that was refused and not told when.
const COME_BACK: Duration = Duration::from_secs(1);

/// All feeds, and what is common to them.
pub(super) struct Watcher {
    poll: Poll,
    address: SocketAddr,
    feeds: Vec<Feed>,
    /// Feeds that wait for their turn to be opened.
    waiting: VecDeque<usize>,
    /// Feeds that were refused, and when they come back.
    later: Vec<(Instant, usize)>,
    /// Feeds that are being opened, and how many may be.
    opening: usize,
    at_once: usize,
    book: Book,
    progress: Arc<Progress>,
}

/// One feed.
struct Feed {
    stream: Option<TcpStream>,
    stage: Stage,
    answer: Answer,
    track: Track,
    request: Box<[u8]>,
    last_id: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Closed,
    Connecting,
    /// The request is written; nothing with a message came yet.
    Asked,
    Open,
    Stalled,
}

/// What is written down of all feeds together.
struct Book {
    marks: Marks,
    agreed: Agreed,
    deliveries: Vec<Delivery>,
    base: Instant,
    frames: u64,
    messages: u64,
}

impl Watcher {
    pub(super) fn new(
        address: SocketAddr,
        ids: Ids,
        wanted: Vec<Wanted>,
        base: Instant,
        progress: Arc<Progress>,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), ORDERS)?;
        let feed = |Wanted { conversation, request }| Feed {
            stream: None,
            stage: Stage::Closed,
            answer: Answer::default(),
            track: Track::new(conversation, ids),
            request: request.into_boxed_slice(),
            last_id: Vec::new(),
        };
        let book = Book {
            marks: Marks::default(),
            agreed: Agreed::default(),
            deliveries: Vec::new(),
            base,
            frames: 0,
            messages: 0,
        };
        let feeds = wanted.into_iter().map(feed).collect();
        let (waiting, later) = (VecDeque::new(), Vec::new());
        Ok((Self { poll, address, feeds, waiting, later, opening: 0, at_once: 0, book, progress }, waker))
    }

    /// Does what it is told until it is told to finish, or nobody is left to tell it.
    pub(super) fn run(mut self, orders: &Receiver<Order>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let next = self.later.iter().map(|(at, _)| at.saturating_duration_since(Instant::now())).min();
            match self.poll.poll(&mut events, next) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                Ok(()) | Err(_) => (),
            }
            for event in &events {
                if event.token() == ORDERS {
                    while let Ok(order) = orders.try_recv() {
                        if !self.obey(order) {
                            return;
                        }
                    }
                } else {
                    self.ready(event, &mut buffer);
                }
            }
            self.come_back();
            self.open_waiting();
            self.progress.frames.store(self.book.frames, Ordering::Relaxed);
            self.progress.messages.store(self.book.messages, Ordering::Relaxed);
        }
    }

    /// Whether it is to go on.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Open { feeds, at_once } => {
                self.at_once = at_once;
                self.waiting.extend(feeds);
            }
            Order::Close { feeds } => feeds.for_each(|index| self.close(index)),
            Order::Stall { feeds } => feeds.into_iter().for_each(|index| self.stall(index)),
            Order::Resume { feeds } => feeds.into_iter().for_each(|index| self.resume(index)),
            Order::Take { to } => {
                let _gone = to.send(std::mem::take(&mut self.book.deliveries));
            }
            Order::Finish { written, told, to } => {
                let written =
                    |feed: &Feed| written.get(feed.track.conversation()).copied().unwrap_or_default();
                let mut faults: Vec<Faults> =
                    self.feeds.iter().map(|feed| feed.track.faults(written(feed))).collect();
                faults.push(Faults { wrong_ids: self.book.agreed.differing(&told), ..Faults::default() });
                let _gone = to.send(faults);
                return false;
            }
        }
        true
    }

    fn open_waiting(&mut self) {
        while self.opening < self.at_once {
            let Some(index) = self.waiting.pop_front() else { return };
            self.opening += 1;
            if self.connect(index).is_err() {
                self.refused(index, COME_BACK);
            }
        }
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let mut stream = connect(self.address, index)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(index), both)?;
        let feed = &mut self.feeds[index];
        feed.stream = Some(stream);
        feed.stage = Stage::Connecting;
        feed.answer = Answer::default();
        Ok(())
    }

    fn come_back(&mut self) {
        let now = Instant::now();
        let waiting = &mut self.waiting;
        self.later.retain(|&(at, index)| {
            let due = at <= now;
            if due {
                waiting.push_back(index);
            }
            !due
        });
    }

    fn refused(&mut self, index: usize, wait: Duration) {
        self.feeds[index].track.refused();
        self.close(index);
        self.later.push((Instant::now() + wait, index));
    }

    fn close(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        match std::mem::replace(&mut feed.stage, Stage::Closed) {
            Stage::Connecting | Stage::Asked => self.opening = self.opening.saturating_sub(1),
            Stage::Open | Stage::Stalled => {
                self.progress.open.fetch_sub(1, Ordering::Relaxed);
            }
            // One that could not even be connected counts as being opened.
            Stage::Closed => self.opening = self.opening.saturating_sub(1),
        }
        feed.stream = None;
        feed.track.reopened();
    }

    fn stall(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if let (Stage::Open, Some(stream)) = (feed.stage, &mut feed.stream)
            && self.poll.registry().deregister(stream).is_ok()
        {
            feed.stage = Stage::Stalled;
        }
    }

    fn resume(&mut self, index: usize) {
        let feed = &mut self.feeds[index];
        if let (Stage::Stalled, Some(stream)) = (feed.stage, &mut feed.stream)
            && self.poll.registry().register(stream, Token(index), Interest::READABLE).is_ok()
        {
            feed.stage = Stage::Open;
        }
    }

    fn ready(&mut self, event: &Event, buffer: &mut [u8]) {
        let index = event.token().0;
        let Some(feed) = self.feeds.get_mut(index) else { return };
        if feed.stage == Stage::Connecting && event.is_writable() && feed.ask().is_err() {
            return self.refused(index, COME_BACK);
        }
        if !matches!(feed.stage, Stage::Asked | Stage::Open) {
            return;
        }
        let was = feed.stage;
        let read = feed.read(event.is_read_closed(), buffer, &mut self.book);
        if was == Stage::Asked && feed.stage == Stage::Open {
            self.opening = self.opening.saturating_sub(1);
            self.progress.open.fetch_add(1, Ordering::Relaxed);
        }
        match read {
            Ok(()) => (),
            Err(Broken::Refused { status, retry_after }) => {
                let wait = retry_after.map_or(COME_BACK, Duration::from_secs);
                if matches!(status, 429 | 503) {
                    return self.refused(index, wait);
                }
                feed.track.refused();
                self.close(index);
            }
            Err(Broken::Ended | Broken::Malformed(_)) => {
                feed.track.ended();
                self.close(index);
                self.progress.ended.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Feed {
    /// Writes the request. It is short: a fresh connection takes it whole.
    fn ask(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Err(ErrorKind::NotConnected.into()) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        let mut request = self.request.to_vec();
        if !self.last_id.is_empty() {
            request.extend_from_slice(b"Last-Event-ID: ");
            request.extend_from_slice(&self.last_id);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        if stream.write(&request)? < request.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        self.stage = Stage::Asked;
        Ok(())
    }

    /// Reads what is there. A read that does not fill the buffer emptied the socket: epoll tells of what comes later.
    fn read(&mut self, to_the_end: bool, buffer: &mut [u8], book: &mut Book) -> Result<(), Broken> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        loop {
            let read = match stream.read(buffer) {
                Ok(0) => return Err(Broken::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Broken::Ended),
            };
            let at = book.base.elapsed().as_micros() as u32;
            let (stage, track, last_id) = (&mut self.stage, &mut self.track, &mut self.last_id);
            self.answer.take(&buffer[..read], &mut |frame| {
                if book.note(frame, track, at) {
                    *stage = Stage::Open;
                }
                if let Some(id) = frame.id {
                    last_id.clear();
                    last_id.extend_from_slice(id);
                }
            })?;
            if read < buffer.len() && !to_the_end {
                return Ok(());
            }
        }
    }
}

impl Book {
    /// Writes down what a frame gave; whether it held a message.
    fn note(&mut self, frame: &Frame<'_>, track: &mut Track, at: u32) -> bool {
        self.frames += u64::from(!frame.data.is_empty());
        if matches!(frame.event, b"error" | b"reset") {
            track.told_of_an_error();
        }
        let before = self.messages;
        let (messages, deliveries) = (&mut self.messages, &mut self.deliveries);
        track.frame(frame.id, self.marks.of(frame.data), &mut self.agreed, |mark| {
            *messages += 1;
            deliveries.push(Delivery { number: mark.number, at });
        });
        self.messages > before
    }
}
