//! The log read from one end to the other, as fast as it goes: by a thread of its own, over a line of its own where one
//! can be had (decision 33). On a thread that does nothing else nobody else is woken for each entry. What is sealed is
//! opened by whoever takes the entries.

use tokio::runtime;
use tokio::sync::mpsc;

use super::{Log, LogError};
use crate::envelope::Entry;

/// Entries handed over at once, at most.
const BATCH: usize = 2_000;
/// Batches that wait: one is worked on, the next is there.
const WAITING: usize = 2;

/// Hands out the log, far ahead of whoever works on it. Dropped, it stops reading.
#[derive(Debug)]
pub struct Ahead {
    log: Log,
    position: u64,
    pending: u64,
    batches: mpsc::Receiver<Result<Batch, LogError>>,
}

#[derive(Debug)]
struct Batch {
    entries: Vec<Entry>,
    /// How many there were behind it.
    pending: u64,
}

impl Log {
    /// Reads ahead after the sequence `after`: all of the log, or only subjects that match `filter`. `name` is who reads.
    ///
    /// # Errors
    /// [`LogError`], where the log cannot be reached.
    pub async fn ahead(&self, name: &str, after: u64, filter: Option<&str>) -> Result<Ahead, LogError> {
        let (sender, batches) = mpsc::channel(WAITING);
        let (log, name, filter) = (self.clone(), name.to_owned(), filter.map(str::to_owned));
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(LogError::unavailable)?;
        let read = move || runtime.block_on(hand_over(&log, &name, after, filter.as_deref(), &sender));
        std::thread::Builder::new().name("log-ahead".into()).spawn(read).map_err(LogError::unavailable)?;
        let mut ahead = Ahead { log: self.clone(), position: after, pending: 0, batches };
        ahead.take().await?;
        Ok(ahead)
    }
}

impl Ahead {
    /// Sequence of the last entry that was handed out, or where it started.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Entries that were behind the last one when it was sent.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Waits for at least one entry and hands out what is there, opened. Cancel safe until the first has come.
    ///
    /// # Errors
    /// [`LogError::Replaced`] when the stream is another one. Failures that pass are waited out.
    pub async fn next_batch(&mut self) -> Result<Vec<Entry>, LogError> {
        let mut entries = self.take().await?;
        self.log.unseal_patiently(&mut entries).await;
        Ok(entries)
    }

    async fn take(&mut self) -> Result<Vec<Entry>, LogError> {
        let ended = || Err(LogError::unavailable("whoever read the log ended"));
        let Batch { entries, pending } = self.batches.recv().await.unwrap_or_else(ended)?;
        self.position = entries.last().map_or(self.position, |entry| entry.sequence);
        self.pending = pending;
        Ok(entries)
    }
}

/// Reads until nobody takes any more. The first batch is empty: it says how much there is.
async fn hand_over(
    log: &Log,
    name: &str,
    after: u64,
    filter: Option<&str>,
    sender: &mpsc::Sender<Result<Batch, LogError>>,
) {
    let read = async {
        let mut tail = log.tail(name, after, filter).lined();
        tail.attach().await?;
        let mut entries = Vec::new();
        while sender.send(Ok(Batch { entries, pending: tail.pending() })).await.is_ok() {
            entries = tokio::select! {
                () = sender.closed() => break,
                entries = tail.next_sealed(BATCH) => entries?,
            };
        }
        tail.leave().await;
        Ok(())
    };
    let ended: Result<(), LogError> = read.await;
    if let Err(error) = ended {
        // Whoever takes no more does not want to know.
        let _gone = sender.send(Err(error)).await;
    }
}
