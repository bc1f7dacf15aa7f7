//! Many feeds watched by one thread: bare sockets over epoll, every frame and every message accounted for.
//!
//! It shares the machine with what it measures, so it takes one system call for a wake-up, parses in place, and writes
//! down eight bytes for a message that came: which, and when. Latencies are made of that afterwards.

pub mod mark;
pub mod parse;
pub mod socket;
pub mod track;
mod watcher;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::error::{Doing, Error, Result};
use track::{Faults, Ids};
use watcher::Watcher;

/// How long feeds may take to open or to catch up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether they did.
const LOOK: Duration = Duration::from_millis(5);

/// One feed to be watched.
pub struct Wanted {
    /// Its conversation's number.
    pub conversation: u32,
    /// The request that opens it, less the blank line at its end.
    pub request: Vec<u8>,
}

/// One message that one feed was given.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// The message's number in the run.
    pub number: u32,
    /// Microseconds since the run began.
    pub at: u32,
}

/// What is wanted of the watching thread.
enum Order {
    /// Opens feeds that are not open, so many at a time; with the last id, where there is one.
    Open { feeds: Range<usize>, at_once: usize },
    /// Closes feeds.
    Close { feeds: Range<usize> },
    /// Reads no more of these; they stay open.
    Stall { feeds: Vec<usize> },
    /// Reads these again.
    Resume { feeds: Vec<usize> },
    /// Gives what came since it was asked last.
    Take { to: Sender<Vec<Delivery>> },
    /// Closes everything and says how it was; `written` messages were in each conversation, and their ids were `told`.
    Finish { written: Vec<u32>, told: Vec<u64>, to: Sender<Vec<Faults>> },
}

/// How far the watching thread is.
#[derive(Default)]
struct Progress {
    /// Feeds that were given their first frame with a message since they were opened.
    open: AtomicUsize,
    /// Messages given, to all feeds together.
    messages: AtomicU64,
    /// Frames of all kinds.
    frames: AtomicU64,
    /// Feeds that the server ended.
    ended: AtomicUsize,
}

/// Feeds that are being watched.
pub struct Watch {
    orders: Sender<Order>,
    waker: Waker,
    progress: Arc<Progress>,
    feeds: usize,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts the thread. No feed is open yet. Times are counted from `base`.
    ///
    /// # Errors
    /// When the system gives no epoll instance or no thread.
    pub fn start(
        address: std::net::SocketAddr,
        ids: Ids,
        wanted: Vec<Wanted>,
        base: Instant,
    ) -> Result<Self> {
        let (orders, inbox) = channel();
        let progress = Arc::new(Progress::default());
        let feeds = wanted.len();
        let (watcher, waker) =
            Watcher::new(address, ids, wanted, base, Arc::clone(&progress)).doing("watch feeds")?;
        let run = move || watcher.run(&inbox);
        let thread = std::thread::Builder::new().name("watch".into()).spawn(run).doing("start a thread")?;
        Ok(Self { orders, waker, progress, feeds, thread: Some(thread) })
    }

    /// Opens all feeds, so many at a time, and waits until each was given what is there; gives how long it took.
    ///
    /// # Errors
    /// When they do not open in time.
    pub async fn open(&self, at_once: usize) -> Result<Duration> {
        let started = Instant::now();
        self.order(Order::Open { feeds: 0..self.feeds, at_once });
        while self.progress.open.load(Ordering::Relaxed) < self.feeds {
            if started.elapsed() > PATIENCE {
                let open = self.progress.open.load(Ordering::Relaxed);
                return Err(Error::Answer(format!("{open} of {} feeds opened in time", self.feeds)));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(started.elapsed())
    }

    /// Closes feeds.
    pub fn close(&self, feeds: Range<usize>) {
        self.order(Order::Close { feeds });
    }

    /// Opens feeds again, all at once, with their last ids.
    pub fn reopen(&self, feeds: Range<usize>) {
        let at_once = feeds.len();
        self.order(Order::Open { feeds, at_once });
    }

    /// Reads no more of these feeds.
    pub fn stall(&self, feeds: &[usize]) {
        self.order(Order::Stall { feeds: feeds.to_vec() });
    }

    /// Reads these feeds again.
    pub fn resume(&self, feeds: &[usize]) {
        self.order(Order::Resume { feeds: feeds.to_vec() });
    }

    /// Messages given so far, to all feeds together.
    pub fn messages(&self) -> u64 {
        self.progress.messages.load(Ordering::Relaxed)
    }

    /// Frames of all kinds so far.
    pub fn frames(&self) -> u64 {
        self.progress.frames.load(Ordering::Relaxed)
    }

    /// Feeds that the server has ended so far.
    pub fn ended(&self) -> usize {
        self.progress.ended.load(Ordering::Relaxed)
    }

    /// Waits until so many messages were given, at most so long; whether they were.
    pub async fn reaches(&self, messages: u64, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.messages() < messages {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// What came since this was asked last.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn take(&self) -> Result<Vec<Delivery>> {
        let (to, answer) = channel();
        self.order(Order::Take { to });
        received(&answer)
    }

    /// Ends the watching: the faults of each feed, and last those that are no single feed's.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn finish(self, written: Vec<u32>, told: Vec<u64>) -> Result<Vec<Faults>> {
        let (to, answer) = channel();
        self.order(Order::Finish { written, told, to });
        received(&answer)
    }

    fn order(&self, order: Order) {
        // A thread that has ended is noticed where its answer is waited for.
        let _ended = self.orders.send(order);
        let _woken = self.waker.wake();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let (to, _nobody) = channel();
        self.order(Order::Finish { written: Vec::new(), told: Vec::new(), to });
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn received<T>(answer: &Receiver<T>) -> Result<T> {
    answer.recv().map_err(|_| Error::Answer("the thread that watches feeds has ended".into()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::mark::Mark;
    use super::*;

    /// A server that gives one feed the messages at these places, each in a frame of its own.
    async fn watched(places: &'static [u32], written: u32) -> Faults {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
            for &place in places {
                let mark = Mark { conversation: 0, place, number: place }.text();
                let frame = format!("event: new_messages\nid: e-{}\ndata: {mark}\n\n", place + 7);
                write!(stream, "{:x}\r\n{frame}\r\n", frame.len()).unwrap();
            }
            stream
        });
        let wanted = vec![Wanted { conversation: 0, request: b"GET / HTTP/1.1\r\n".to_vec() }];
        let watch = Watch::start(address, Ids::Sequence, wanted, Instant::now()).unwrap();
        watch.open(1).await.unwrap();
        let given = places.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(watch.reaches(given as u64, PATIENCE).await);
        let _open_until_all_is_read = server.join().unwrap();
        let mut faults = Faults::default();
        watch.finish(vec![written], Vec::new()).unwrap().into_iter().for_each(|one| faults += one);
        faults
    }

    #[tokio::test]
    async fn a_feed_that_gives_everything_once_is_clean() {
        assert!(watched(&[0, 1, 2, 3], 4).await.is_clean());
    }

    #[tokio::test]
    async fn a_feed_that_leaves_one_out_is_not() {
        assert_eq!(watched(&[0, 1, 3], 4).await, Faults { missing: 1, ..Faults::default() });
        assert_eq!(watched(&[0, 1], 3).await, Faults { missing: 1, ..Faults::default() });
    }

    #[tokio::test]
    async fn a_feed_that_gives_one_twice_is_not() {
        let faults = watched(&[0, 1, 1, 2], 3).await;
        assert_eq!((faults.doubled, faults.wrong_ids, faults.missing), (1, 1, 0));
    }
}
