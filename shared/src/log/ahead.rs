//! The log read from one end to the other, as fast as it goes: by a thread of its own, over a line of its own where one
//! can be had (decision 33). What is read is opened, and made into what its reader works with, on that thread: what it
//! allocates it frees, nobody else is woken for each entry, and little has to go from one processor to another.

use tokio::runtime;
use tokio::sync::mpsc;

use super::{Log, LogError, Tail};
use crate::envelope::Entry;

/// Entries handed over at once, at most: as many as stay in a processor's cache.
const BATCH: usize = 500;
/// Batches that wait: some are worked on, the next are there.
const WAITING: usize = 8;

/// Hands out the log, far ahead of whoever works on it. Dropped, it stops reading.
#[derive(Debug)]
pub struct Ahead<T = Entry> {
    position: u64,
    pending: u64,
    batches: mpsc::Receiver<Result<Batch<T>, LogError>>,
}

#[derive(Debug)]
struct Batch<T> {
    read: Vec<T>,
    /// Sequence of the last of them.
    position: u64,
    /// How many there were behind it.
    pending: u64,
}

impl Log {
    /// Reads ahead after the sequence `after`: all of the log, or only subjects that match `filter`. `name` is who reads.
    ///
    /// # Errors
    /// [`LogError`], where the log cannot be reached.
    pub async fn ahead<T>(&self, name: &str, after: u64, filter: Option<&str>) -> Result<Ahead<T>, LogError>
    where
        T: From<Entry> + Send + 'static,
    {
        let (sender, batches) = mpsc::channel(WAITING);
        let (log, name, filter) = (self.clone(), name.to_owned(), filter.map(str::to_owned));
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(LogError::unavailable)?;
        let read = move || runtime.block_on(hand_over(&log, &name, after, filter.as_deref(), &sender));
        std::thread::Builder::new().name("log-ahead".into()).spawn(read).map_err(LogError::unavailable)?;
        let mut ahead = Ahead { position: after, pending: 0, batches };
        ahead.next_batch().await?;
        Ok(ahead)
    }
}

impl<T> Ahead<T> {
    /// Sequence of the last entry that was handed out, or where it started.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Entries that were behind the last one when it was sent.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Waits for at least one entry and hands out what is there. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Replaced`] when the stream is another one. Failures that pass are waited out.
    pub async fn next_batch(&mut self) -> Result<Vec<T>, LogError> {
        let ended = || Err(LogError::unavailable("whoever read the log ended"));
        let Batch { read, position, pending } = self.batches.recv().await.unwrap_or_else(ended)?;
        (self.position, self.pending) = (position, pending);
        Ok(read)
    }
}

/// Reads until nobody takes any more. The first batch is empty: it says how much there is.
async fn hand_over<T: From<Entry>>(
    log: &Log,
    name: &str,
    after: u64,
    filter: Option<&str>,
    sender: &mpsc::Sender<Result<Batch<T>, LogError>>,
) {
    let reading = async {
        let mut tail = log.tail(name, after, filter).lined();
        tail.attach().await?;
        let mut read = Vec::new();
        let batch = |tail: &Tail, read| Batch { read, position: tail.position(), pending: tail.pending() };
        while sender.send(Ok(batch(&tail, read))).await.is_ok() {
            let entries = tokio::select! {
                () = sender.closed() => break,
                entries = tail.next_batch(BATCH) => entries?,
            };
            read = entries.into_iter().map(T::from).collect();
        }
        tail.leave().await;
        Ok(())
    };
    let ended: Result<(), LogError> = reading.await;
    if let Err(error) = ended {
        // Whoever takes no more does not want to know.
        let _gone = sender.send(Err(error)).await;
    }
}
