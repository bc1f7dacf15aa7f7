//! Conversations as they stood: folded from the log by subject, up to a sequence or a time.
//!
//! Who may read is decided by how things stand today; what is read is what was there then, less what was erased since.

mod fold;

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use shared::envelope::{DecodeError, Entry};
use shared::events::{Event, Payload, RawJson, Report};
use shared::ids::ConversationId;
use shared::limits::MAX_REPORT_BYTES;
use shared::log::{Log, LogError};
use shared::objects::{ObjectError, ObjectName, Objects};
use shared::problem::{FieldError, Kind, Problem};
use shared::report::Facts;
use shared::subjects::Subject;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{PAST_AT_ONCE, PAST_PATIENCE, PAST_TIME};
use crate::query::Wrong;
use crate::tables::{ReadError, Reading};
use crate::view::ConversationView;
use fold::At;
pub(crate) use fold::Then;

/// What is answered of a conversation that was not there yet.
const NOT_BEGUN: &str = "The conversation had not begun by then.";

/// A point of the log, as callers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// After the event with this sequence.
    Sequence(u64),
    /// After the last event that was stored by this time.
    Time(DateTime<Utc>),
}

/// A parameter that names a point of the log, or `None` where it is absent or wrong.
pub(crate) fn moment(wrong: &mut Wrong, field: &str, text: Option<&str>) -> Option<Moment> {
    let text = text?;
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // What no number can hold is beyond any log.
        return Some(Moment::Sequence(text.parse().unwrap_or(u64::MAX)));
    }
    let time = DateTime::parse_from_rfc3339(text).ok();
    if time.is_none() {
        let message = "must be a sequence, as in message_id or Turnlog-Sequence, or a time in RFC 3339, for example \
                       2025-10-03T11:58:04Z (write + as %2B)";
        wrong.reject(field, message);
    }
    time.map(|time| Moment::Time(time.to_utc()))
}

/// Reads conversations as they stood. Clones share how many are read at once.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) log: Log,
    objects: Objects,
    places: Arc<Semaphore>,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

impl From<Hindrance> for Problem {
    fn from(error: Hindrance) -> Self {
        Self::unavailable("The log cannot be read for now; try again in a moment.", error)
    }
}

/// The entries of a conversation that the tables could not take.
pub(crate) type SetAside = HashSet<u64>;

impl Reading {
    /// Which entries of this subject the tables do not have, though the log does.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn set_aside(&mut self, subject: &Subject) -> Result<SetAside, ReadError> {
        let sequences = sqlx::query_scalar!(
            r#"SELECT sequence AS "sequence!" FROM turnlog.parked WHERE subject = $1"#,
            subject.as_str(),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(sequences.into_iter().map(i64::unsigned_abs).collect())
    }
}

impl Past {
    /// Of this log, and of what it keeps elsewhere.
    pub(crate) fn new(log: &Log, objects: &Objects) -> Self {
        Self { log: log.clone(), objects: objects.clone(), places: Arc::new(Semaphore::new(PAST_AT_ONCE)) }
    }

    /// The last sequence that counts; `field` is the parameter that asks for it.
    ///
    /// # Errors
    /// 400 beyond the end of the log; 503 when the log does not answer.
    pub(crate) async fn sequence(&self, field: &str, moment: Moment) -> Result<u64, Problem> {
        let end = async { Ok::<_, Hindrance>(self.log.extent().await?.last) };
        match moment {
            // Nothing was stored so early; the server need not read such a time.
            Moment::Time(time) if time.timestamp() < 0 => Ok(0),
            Moment::Time(time) if time >= Utc::now() => Ok(end.await?),
            Moment::Time(time) => {
                // A leap second is none of the server's.
                let leaps = time.timestamp_subsec_nanos() >= 1_000_000_000;
                let time = if leaps { time.trunc_subsecs(0) + TimeDelta::seconds(1) } else { time };
                Ok(self.log.sequence_at(time).await.map_err(Hindrance::Log)?)
            }
            Moment::Sequence(sequence) => match end.await? {
                last if sequence > last => {
                    let message = format!("must not be beyond the end of the log, which is at {last}");
                    Err(Problem::fields(vec![FieldError { field: field.into(), message }]))
                }
                _ => Ok(sequence),
            },
        }
    }

    /// The conversation as a snapshot showed it once everything up to `up_to` was stored.
    ///
    /// # Errors
    /// As [`Self::read`], and 503 when the tables cannot be asked.
    pub(crate) async fn conversation(
        &self,
        mut reading: Reading,
        id: &ConversationId,
        up_to: u64,
    ) -> Result<ConversationView, Problem> {
        let set_aside = reading.set_aside(&Subject::conversation(id)).await?;
        // Others need the connection while the log is read.
        drop(reading);
        let then = self.read(id, &set_aside, up_to, false).await?;
        then.view().ok_or_else(|| Problem::new(Kind::NotFound, NOT_BEGUN))
    }

    /// The conversation as it stood once everything up to `up_to` was stored. With `from_its_beginning`, one that begins
    /// later is read up to its beginning.
    ///
    /// # Errors
    /// 404 where it had not begun; 503 when it cannot be read, or not in time.
    pub(crate) async fn read(
        &self,
        id: &ConversationId,
        set_aside: &SetAside,
        up_to: u64,
        from_its_beginning: bool,
    ) -> Result<Then, Problem> {
        let busy = |cause: &str| {
            let detail = "The past of this conversation cannot be read for now; try again in a moment.";
            Problem::unavailable(detail, cause.to_owned())
        };
        let place = timeout(PAST_PATIENCE, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(busy("too many read at once")) };
        let subject = Subject::conversation(id);
        let folded = timeout(PAST_TIME, self.fold(&subject, set_aside, up_to, from_its_beginning)).await;
        let then = folded.map_err(|_| busy("it took too long"))??;
        if !then.has_begun() {
            return Err(Problem::new(Kind::NotFound, NOT_BEGUN));
        }
        Ok(then)
    }

    async fn fold(
        &self,
        subject: &Subject,
        set_aside: &SetAside,
        up_to: u64,
        from_its_beginning: bool,
    ) -> Result<Then, Hindrance> {
        let (mut then, mut position) = (Then::default(), 0);
        loop {
            let page = self.log.page_of(subject.as_str(), position).await?;
            let Some(last) = page.last() else { return Ok(then) };
            position = last.sequence;
            for entry in page {
                if entry.sequence > up_to && (!from_its_beginning || then.has_begun()) {
                    return Ok(then);
                }
                if !set_aside.contains(&entry.sequence) {
                    self.take(&mut then, &entry).await?;
                }
            }
        }
    }

    /// What cannot be read, or was erased, is as if it had never been.
    async fn take(&self, then: &mut Then, entry: &Entry) -> Result<(), Hindrance> {
        let event = match entry.decode() {
            Ok(event) => event,
            Err(DecodeError::Erased) => return Ok(()),
            Err(error) => {
                tracing::debug!(sequence = entry.sequence, %error, "an entry of the past cannot be read");
                return Ok(());
            }
        };
        let facts = if let Event::ConversationReported(report) = &event
            && !report.superseded
        {
            self.facts(report).await?
        } else {
            None
        };
        let at = At { sequence: entry.sequence, stored_at: entry.stored_at };
        then.take(at, event, facts.as_ref());
        Ok(())
    }

    /// What a report says, wherever its payload is. `None` for what this version cannot read, as for the tables.
    async fn facts(&self, report: &Report) -> Result<Option<Facts>, ObjectError> {
        let fetched;
        let json = match &report.payload {
            Payload::Json(json) => json,
            Payload::Object(stored) => {
                let name = ObjectName::parse(&stored.object).filter(|_| stored.bytes <= MAX_REPORT_BYTES);
                let Some(name) = name else { return Ok(None) };
                let text = self.objects.text(name, stored.bytes).await?;
                let Some(json) = text.and_then(|text| RawJson::new(text).ok()) else { return Ok(None) };
                fetched = json;
                &fetched
            }
        };
        Ok(shared::report::read(&report.kind, json.raw()).map(|reading| reading.facts))
    }
}
