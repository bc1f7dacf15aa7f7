//! The log, read and decoded ahead of the database: while one batch is applied, the next one gathers.
//!
//! There is no timer: what is there when the database is free goes, be it one event or thousands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::envelope::{DecodeError, Entry};
use shared::events::{Event, Payload, RawJson, Report, Source, StoredObject, Unread};
use shared::http::AnyError;
use shared::limits::MAX_REPORT_BYTES;
use shared::log::{Log, LogError};
use shared::objects::{ObjectError, ObjectName, Objects};
use shared::report::{Reading, heading};
use shared::subjects::{Aggregate, Subject, token_of};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Events that may gather, and as many more as are read at once. A larger batch touches each conversation's row less
/// often: of Postgres' time, an event takes 14 µs in batches of 500, 11 in 2,000, 9.5 in 5,000, and no less in 10,000.
const MAX_EVENTS: usize = 5_000;
/// Bytes of bodies that may gather, so that large messages do not fill the memory.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Events that have gathered while a batch was applied, when the log is far ahead: more than come in in that time.
const FAR_AHEAD: usize = 1_000;
/// How many times its size a large payload may take in memory once it is read.
const LARGE_COST: usize = 8;
/// Pause before the object store is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Why an event is set aside that a newer version wrote. One text for all: it tells them from faults, also in the table,
/// and by it a version that knows their types finds them.
pub(crate) const OF_NEWER: &str = "unknown type: a newer version wrote it, and folds it as soon as it runs";

/// What ends the reason of a webhook that was set aside because this version does not understand it.
const NOT_UNDERSTOOD: &str = "; a newer version may understand it";
/// Why a webhook is set aside whose body lies elsewhere.
const NO_PAYLOAD: &str = "its payload is not in the object store, or too large to be read";

/// Whether what was set aside for this reason was counted with its source all the same.
pub(crate) fn was_counted(reason: &str) -> bool {
    reason == NO_PAYLOAD || reason.ends_with(NOT_UNDERSTOOD)
}

/// An entry of the log, and what it says, or why it says nothing.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) sequence: u64,
    pub(crate) stored_at: DateTime<Utc>,
    pub(crate) subject: String,
    pub(crate) event_id: String,
    /// Bytes of its body.
    size: usize,
    pub(crate) event: Result<Event, Unreadable>,
    /// What a report says; few items have one.
    pub(crate) reading: Option<Box<Reading>>,
    /// Of an erasure: what is left of the conversations and dreams that it touches.
    pub(crate) left: Vec<Item>,
}

/// Why an entry says nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The type that its header names.
    pub(crate) event_type: String,
    /// Somebody was erased, and this is all that is left of what it said: it is as if it had never been.
    pub(crate) erased: bool,
    /// Nothing that stands in the body.
    pub(crate) reason: String,
    /// Where it came in, if it is a webhook.
    pub(crate) source: Option<Source>,
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        let event = entry.decode().map_err(|error| {
            let newer = matches!(error, DecodeError::UnknownType(_));
            Unreadable {
                event_type: entry.event_type().to_owned(),
                erased: matches!(error, DecodeError::Erased),
                reason: if newer { OF_NEWER.to_owned() } else { error.to_string() },
                // Counted as before: how much came in by which way is nobody's secret.
                source: entry.told_by().filter(|_| entry.is_erased()),
            }
        });
        let size = entry.body.len();
        let (sequence, stored_at, subject, event_id) = entry.into_place();
        let mut item =
            Self { sequence, stored_at, subject, event_id, size, event, reading: None, left: Vec::new() };
        item.understand();
        item
    }
}

impl Item {
    /// Reads what a report says. What this version cannot read is set aside, and with it a webhook that no version
    /// before could.
    fn understand(&mut self) {
        let (kind, payload, source, why) = match &self.event {
            Ok(Event::ConversationReported(Report { kind, payload, source, .. })) => (
                Some(kind),
                payload,
                source,
                "this version does not understand this kind of report, or its form",
            ),
            Ok(Event::WebhookReceived(Unread { kind, payload, source, reason, .. })) => {
                (kind.as_ref(), payload, source, reason.as_str())
            }
            Ok(_) | Err(_) => return,
        };
        let Payload::Json(json) = payload else { return };
        let reading = kind.and_then(|kind| shared::report::read(kind, json.raw()));
        // What names no conversation is of none, however well it can be read.
        let nowhere = matches!(self.event, Ok(Event::WebhookReceived(_)))
            && heading(json.raw()).is_none_or(|heading| heading.conversation.is_none());
        if reading.is_none() || nowhere {
            let (reason, source) = (format!("{why}{NOT_UNDERSTOOD}"), *source);
            self.set_aside(reason, Some(source));
        } else {
            self.reading = reading.map(Box::new);
        }
    }

    /// Whether there is more of it elsewhere.
    fn lacks_something(&self) -> bool {
        self.is_of_erasure() || self.payload_elsewhere().is_some()
    }

    fn is_of_erasure(&self) -> bool {
        matches!(self.event, Ok(Event::ParticipantErased(_)))
    }

    /// Where the payload is, if it is not in the event.
    fn payload_elsewhere(&self) -> Option<(&StoredObject, Source)> {
        match &self.event {
            Ok(Event::ConversationReported(Report { payload: Payload::Object(stored), source, .. })) => {
                Some((stored, *source))
            }
            // A payload that was not even read when it came in.
            Ok(Event::WebhookReceived(Unread { payload: Payload::Object(stored), source, .. })) => {
                Some((stored, *source))
            }
            Ok(_) | Err(_) => None,
        }
    }

    /// Fetches a payload that is not in the event, if there is one; answers its size. What is not there any more, or
    /// is larger than any report, is set aside.
    ///
    /// # Errors
    /// While the object store does not answer.
    pub(crate) async fn fetch(&mut self, objects: &Objects) -> Result<usize, ObjectError> {
        let Some((stored, source)) = self.payload_elsewhere() else { return Ok(0) };
        let (name, bytes) = (ObjectName::parse(&stored.object), stored.bytes);
        let text = match name {
            Some(name) if bytes <= MAX_REPORT_BYTES => objects.text(name, bytes).await?,
            Some(_) | None => None,
        };
        let json = text.and_then(|text| RawJson::new(text).ok());
        let Some(json) = json else {
            self.set_aside(NO_PAYLOAD.into(), Some(source));
            return Ok(0);
        };
        if let Ok(
            Event::ConversationReported(Report { payload, .. })
            | Event::WebhookReceived(Unread { payload, .. }),
        ) = &mut self.event
        {
            *payload = Payload::Json(json);
        }
        self.understand();
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Reads what an erasure leaves of what it touches, up to itself. Its keys are forgotten by then.
    ///
    /// # Errors
    /// While log or object store do not answer.
    pub(crate) async fn fetch_left(&mut self, log: &Log, objects: &Objects) -> Result<(), AnyError> {
        let Ok(Event::ParticipantErased(erasure)) = &self.event else { return Ok(()) };
        let of = |aggregate| move |token: &String| Subject::of_token(aggregate, token);
        let conversations = erasure.conversations.iter().map(of(Aggregate::Conversation));
        let dreams = erasure.dreams.iter().map(of(Aggregate::Dream));
        let mut left = Vec::new();
        for subject in conversations.chain(dreams) {
            let read = log.read(&subject, 0, |entry| {
                if entry.sequence < self.sequence && !entry.is_erased() {
                    left.push(Self::from(entry));
                }
            });
            read.await?;
        }
        for item in &mut left {
            item.fetch(objects).await?;
        }
        left.sort_by_key(|item| item.sequence);
        self.left = left;
        Ok(())
    }

    fn set_aside(&mut self, reason: String, source: Option<Source>) {
        let event_type = self.event_type().to_owned();
        self.event = Err(Unreadable { event_type, erased: false, reason, source });
    }

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
    pub(crate) fn start(log: &Log, objects: &Objects, after: u64) -> Self {
        let basket = Arc::new(Basket::default());
        let reader = tokio::spawn(read(log.clone(), objects.clone(), after, Arc::clone(&basket)));
        Self { basket, reader: AbortOnDropHandle::new(reader) }
    }

    /// Whether the log is far ahead. Where it is, the next batch is already there.
    pub(crate) fn is_far_ahead(&self) -> bool {
        self.basket.lock().items.len() >= FAR_AHEAD
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

async fn read(log: Log, objects: Objects, after: u64, basket: Arc<Basket>) -> LogError {
    let mut ahead = match log.ahead::<Item>("projector", after, None).await {
        Ok(ahead) => ahead,
        Err(error) => return error,
    };
    loop {
        basket.room().await;
        let mut items = match ahead.next_batch().await {
            Ok(items) => items,
            Err(error) => return error,
        };
        // Few lack anything: what is complete goes on as it is.
        while let Some(lacking) = items.iter().position(Item::lacks_something) {
            let rest = items.split_off(lacking + 1);
            let item = items.pop();
            basket.put(items);
            items = rest;
            if let Some(item) = item {
                basket.put(vec![completed(item, &log, &objects).await]);
            }
            // Large payloads go one by one: read, each takes much more than its text.
            basket.room().await;
        }
        basket.put(items);
    }
}

/// Fetches what an item lacks.
async fn completed(item: Item, log: &Log, objects: &Objects) -> Item {
    if item.is_of_erasure() {
        return fetch_left_patiently(item, log, objects).await;
    }
    let (mut item, size) = fetch_patiently(item, objects).await;
    item.size += size.saturating_mul(LARGE_COST);
    item
}

/// Fetches a payload, waiting for the object store as long as it takes.
async fn fetch_patiently(mut item: Item, objects: &Objects) -> (Item, usize) {
    loop {
        match item.fetch(objects).await {
            Ok(bytes) => return (item, bytes),
            Err(error) => tracing::warn!(sequence = item.sequence, %error, "a payload cannot be fetched yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Reads what an erasure leaves, waiting as long as it takes.
async fn fetch_left_patiently(mut item: Item, log: &Log, objects: &Objects) -> Item {
    while let Err(error) = item.fetch_left(log, objects).await {
        tracing::warn!(sequence = item.sequence, error, "what an erasure leaves cannot be read yet");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    item
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

    fn put(&self, items: Vec<Item>) {
        let mut held = self.lock();
        held.bytes += items.iter().map(|item| item.size).sum::<usize>();
        if held.items.is_empty() {
            held.items = items;
        } else {
            held.items.extend(items);
        }
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
