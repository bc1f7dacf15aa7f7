//! The log's tail, read and decoded ahead of the database: while one batch is applied, the next one gathers.
//!
//! There is no timer: what is there when the database is free goes, be it one event or thousands.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use shared::envelope::Entry;
use shared::events::Event;
use shared::log::{Log, LogError};
use shared::subjects::token_of;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Events that may gather. A larger batch touches each conversation's row less often: of Postgres' time, an
/// event takes 14 µs in batches of 500, 11 in 2,000, 9.5 in 5,000, and no less in 10,000.
const MAX_EVENTS: usize = 5_000;
/// Bytes of bodies that may gather, so that large messages do not fill the memory.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Events taken from the tail at once: what gathers may pass the limits by this much.
const CHUNK: usize = 500;

/// An entry of the log, and what it says, or why it says nothing. The entry itself is let go: its headers are
/// many small allocations, which cost more the longer they live.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) sequence: u64,
    pub(crate) stored_at: DateTime<Utc>,
    pub(crate) subject: String,
    pub(crate) event_id: String,
    pub(crate) event: Result<Event, Unreadable>,
}

/// Why an entry says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The type that its header names.
    pub(crate) event_type: String,
    /// Nothing that stands in the body.
    pub(crate) reason: String,
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        let event = entry.decode();
        let event_id = entry.event_id().to_owned();
        let event = event.map_err(|error| Unreadable {
            event_type: entry.event_type().to_owned(),
            reason: error.to_string(),
        });
        Self { sequence: entry.sequence, stored_at: entry.stored_at, subject: entry.subject, event_id, event }
    }
}

impl Item {
    /// The token of its aggregate.
    pub(crate) fn token(&self) -> &str {
        token_of(&self.subject)
    }

    /// The type of its event.
    pub(crate) fn event_type(&self) -> &str {
        match &self.event {
            Ok(event) => event.type_name(),
            Err(unreadable) => &unreadable.event_type,
        }
    }
}

/// Follows the log from one position on. Dropped, it stops reading.
#[derive(Debug)]
pub(crate) struct Intake {
    basket: Arc<Basket>,
    reader: AbortOnDropHandle<LogError>,
}

impl Intake {
    /// Starts to read after the sequence `after`.
    pub(crate) fn start(log: &Log, after: u64) -> Self {
        let basket = Arc::new(Basket::default());
        let reader = tokio::spawn(read(log.clone(), after, Arc::clone(&basket)));
        Self { basket, reader: AbortOnDropHandle::new(reader) }
    }

    /// Everything that has gathered, in order, at least one. Cancel safe.
    ///
    /// # Errors
    /// [`LogError::Replaced`], when the log is another one.
    pub(crate) async fn next(&mut self) -> Result<Vec<Item>, LogError> {
        tokio::select! {
            items = self.basket.take() => Ok(items),
            ended = &mut self.reader => {
                Err(ended.unwrap_or_else(|error| LogError::Unavailable(error.to_string())))
            }
        }
    }
}

async fn read(log: Log, after: u64, basket: Arc<Basket>) -> LogError {
    let mut tail = log.tail("projector", after, None);
    loop {
        basket.room().await;
        match tail.next_batch(CHUNK).await {
            Ok(entries) => {
                let bytes = entries.iter().map(|entry| entry.body.len()).sum();
                basket.put(entries.into_iter().map(Item::from).collect(), bytes);
            }
            Err(error) => return error,
        }
    }
}

/// Between the reader and the database: one puts, the other takes all.
#[derive(Debug, Default)]
struct Basket {
    held: Mutex<Held>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Held {
    items: Vec<Item>,
    bytes: usize,
}

impl Basket {
    /// Waits until there is room.
    async fn room(&self) {
        loop {
            {
                let held = self.lock();
                if held.items.len() < MAX_EVENTS && held.bytes < MAX_BYTES {
                    return;
                }
            }
            self.emptied.notified().await;
        }
    }

    fn put(&self, items: Vec<Item>, bytes: usize) {
        let mut held = self.lock();
        held.bytes += bytes;
        held.items.extend(items);
        drop(held);
        self.filled.notify_one();
    }

    /// Waits until there is something, and takes all of it.
    async fn take(&self) -> Vec<Item> {
        loop {
            let held = std::mem::take(&mut *self.lock());
            if !held.items.is_empty() {
                self.emptied.notify_one();
                return held.items;
            }
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
