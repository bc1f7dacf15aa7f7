//! Events that could not be folded, for operators: list, show, retry, drop.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use shared::config::DatabaseSettings;
use shared::envelope::Entry;
use shared::events::Event;
use shared::log::{Log, LogError};
use shared::objects::{ObjectError, Objects};
use sqlx::{Connection, PgConnection};

use crate::apply;
use crate::database::{DatabaseError, Nature, connect, impersonal, nature};
use crate::fold::fold;
use crate::index;
use crate::intake::{Item, OF_NEWER, was_counted};
use crate::rows::{Changes, ParkedRow, number};

/// Why an operator's command did not work.
#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The object store, where large payloads are.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// There is no such parked event.
    #[error("event {0} is not parked: turnlog parked list names those that are")]
    Unknown(u64),
    /// It is parked, but no longer in the log.
    #[error("event {0} is no longer in the log: drop it")]
    Gone(u64),
}

impl From<sqlx::Error> for ParkedError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// An event that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedEvent {
    /// Its place in the log.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its type, as its header says.
    pub event_type: String,
    /// Its id.
    pub event_id: String,
    /// Why it could not be folded; nothing personal.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether somebody gave it up.
    pub dropped: bool,
    /// Whether it is no fault: a newer version wrote it, and folds it as soon as it runs.
    pub waiting: bool,
    /// When it was first set aside.
    pub parked_at: DateTime<Utc>,
    /// When it was last tried, or given up.
    pub updated_at: DateTime<Utc>,
}

/// How a retry ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the tables now and no longer parked.
    Applied,
    /// It still cannot be folded, for this reason.
    StillParked(String),
    /// What it said was erased meanwhile: nothing is left to be applied, and it is no longer parked.
    Erased,
}

/// What is parked or dropped, oldest first, at most `most`, after the sequence `after`.
///
/// # Errors
/// [`DatabaseError`].
pub async fn list(
    database: &DatabaseSettings,
    after: u64,
    most: u32,
) -> Result<Vec<ParkedEvent>, DatabaseError> {
    let mut connection = connect(database).await?;
    let rows = sqlx::query_as!(
        Row,
        "SELECT sequence, subject, event_type, event_id, reason, attempts, state, parked_at, updated_at
         FROM parked WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        number(after),
        i64::from(most)
    )
    .fetch_all(&mut connection)
    .await?;
    Ok(rows.into_iter().map(ParkedEvent::from).collect())
}

/// One of them, with its entry in the log, if that is still there.
///
/// # Errors
/// [`ParkedError`].
pub async fn show(
    database: &DatabaseSettings,
    log: &Log,
    sequence: u64,
) -> Result<(ParkedEvent, Option<Entry>), ParkedError> {
    let mut connection = connect(database).await?;
    let event = find(&mut connection, sequence).await?;
    Ok((event, log.get(sequence).await?))
}

/// Tries one again: after an upgrade, or after what hindered it was mended. Its rows end as if it had never
/// been parked.
///
/// # Errors
/// [`ParkedError`].
pub async fn retry(
    database: &DatabaseSettings,
    log: &Log,
    objects: &Objects,
    sequence: u64,
) -> Result<Outcome, ParkedError> {
    let mut connection = connect(database).await?;
    try_again(&mut connection, log, objects, sequence).await
}

/// The same over a connection that is there.
pub(crate) async fn try_again(
    connection: &mut PgConnection,
    log: &Log,
    objects: &Objects,
    sequence: u64,
) -> Result<Outcome, ParkedError> {
    let parked = find(connection, sequence).await?;
    let entry = log.get(sequence).await?.ok_or(ParkedError::Gone(sequence))?;
    let mut target = Item::from(entry);
    target.fetch(objects).await?;
    let reason = match &target.event {
        Ok(event) => match apply_again(connection, log, objects, &target, event, was_counted(&parked.reason))
            .await
        {
            Ok(()) => return Ok(Outcome::Applied),
            Err(ParkedError::Database(DatabaseError::Statement(error))) if nature(&error) == Nature::Data => {
                impersonal(&error)
            }
            Err(error) => return Err(error),
        },
        Err(unreadable) if unreadable.erased => {
            sqlx::query!("DELETE FROM parked WHERE sequence = $1", number(sequence))
                .execute(connection)
                .await?;
            return Ok(Outcome::Erased);
        }
        Err(unreadable) => unreadable.reason.clone(),
    };
    let parked = vec![ParkedRow::of(&target, &reason)];
    apply::rows(connection, &Changes { parked, ..Changes::default() }).await?;
    Ok(Outcome::StillParked(reason))
}

/// Tries all that are not dropped, oldest first.
///
/// # Errors
/// The first [`ParkedError`]; those before it are done.
pub async fn retry_all(
    database: &DatabaseSettings,
    log: &Log,
    objects: &Objects,
) -> Result<Vec<(u64, Outcome)>, ParkedError> {
    let mut connection = connect(database).await?;
    let sequences =
        sqlx::query_scalar!("SELECT sequence FROM parked WHERE state = 'parked' ORDER BY sequence")
            .fetch_all(&mut connection)
            .await?;
    let mut outcomes = Vec::with_capacity(sequences.len());
    for sequence in sequences.into_iter().map(i64::unsigned_abs) {
        outcomes.push((sequence, try_again(&mut connection, log, objects, sequence).await?));
    }
    Ok(outcomes)
}

/// Gives one up: it is kept, but no longer counts as a fault.
///
/// # Errors
/// [`ParkedError`].
pub async fn drop(database: &DatabaseSettings, sequence: u64) -> Result<(), ParkedError> {
    let mut connection = connect(database).await?;
    let found = sqlx::query!(
        "UPDATE parked SET state = 'dropped', updated_at = now() WHERE sequence = $1",
        number(sequence)
    )
    .execute(&mut connection)
    .await?;
    if found.rows_affected() == 1 { Ok(()) } else { Err(ParkedError::Unknown(sequence)) }
}

struct Row {
    sequence: i64,
    subject: String,
    event_type: String,
    event_id: String,
    reason: String,
    attempts: i32,
    state: String,
    parked_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for ParkedEvent {
    fn from(row: Row) -> Self {
        Self {
            waiting: row.state != "dropped" && row.reason == OF_NEWER,
            sequence: row.sequence.unsigned_abs(),
            subject: row.subject,
            event_type: row.event_type,
            event_id: row.event_id,
            reason: row.reason,
            attempts: row.attempts.unsigned_abs(),
            dropped: row.state == "dropped",
            parked_at: row.parked_at,
            updated_at: row.updated_at,
        }
    }
}

async fn find(connection: &mut PgConnection, sequence: u64) -> Result<ParkedEvent, ParkedError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT sequence, subject, event_type, event_id, reason, attempts, state, parked_at, updated_at
         FROM parked WHERE sequence = $1",
        number(sequence)
    )
    .fetch_optional(connection)
    .await?;
    row.map(ParkedEvent::from).ok_or(ParkedError::Unknown(sequence))
}

/// Applies one event, and after it those that were folded without it and would have changed what it writes. Where it
/// was `counted` with its source when it was set aside, it is not counted again.
async fn apply_again(
    connection: &mut PgConnection,
    log: &Log,
    objects: &Objects,
    target: &Item,
    event: &Event,
    counted: bool,
) -> Result<(), ParkedError> {
    let mut transaction = connection.begin().await?;
    // While this is held the projector cannot commit, so nothing comes between reading the log and writing
    // the rows.
    let reached = sqlx::query_scalar!("SELECT last_sequence FROM checkpoint WHERE name = 'read' FOR UPDATE")
        .fetch_one(&mut *transaction)
        .await?
        .unsigned_abs();
    let taken = sqlx::query!("DELETE FROM parked WHERE sequence = $1", number(target.sequence));
    if taken.execute(&mut *transaction).await?.rows_affected() == 0 {
        // Somebody else was faster: counters must not count it twice.
        return Err(ParkedError::Unknown(target.sequence));
    }
    let mut later = Vec::new();
    log.read(&event.subject(), target.sequence, |entry| {
        let folded = entry.sequence <= reached;
        let item = Item::from(entry);
        if folded && item.event.as_ref().is_ok_and(|event| follows(target.sequence, event)) {
            later.push(item);
        }
    })
    .await?;
    let sequences: Vec<_> = later.iter().map(|item| number(item.sequence)).collect();
    let set_aside = sqlx::query_scalar!("SELECT sequence FROM parked WHERE sequence = ANY($1)", &sequences)
        .fetch_all(&mut *transaction)
        .await?;
    let set_aside = HashSet::<i64>::from_iter(set_aside);
    later.retain(|item| !set_aside.contains(&number(item.sequence)));
    for item in &mut later {
        item.fetch(objects).await?;
    }
    let mut changes = fold(std::slice::from_ref(target));
    let source = changes.sources.first().map(|row| row.source);
    if counted {
        changes.sources.clear();
    }
    apply::late(&mut transaction, &changes).await?;
    apply::late(&mut transaction, &fold(&later)).await?;
    if let Some(source) = source {
        apply::failures(&mut transaction, source).await?;
    }
    // The index may be past it.
    let sequence = number(target.sequence);
    index::range(&mut transaction, sequence - 1, sequence).await?;
    transaction.commit().await?;
    Ok(())
}

/// Whether a later event of the same subject writes over what the event at `sequence` writes.
fn follows(sequence: u64, later: &Event) -> bool {
    match later {
        Event::MessageCorrected(correction) => correction.first_sequence == sequence,
        Event::ParticipantEnrolled(_) | Event::ParticipantUpdated(_) | Event::ConversationClaimed(_) => true,
        // Their tables know by themselves which version is the newest.
        Event::CallOpened(_)
        | Event::CallChanged(_)
        | Event::CallTakenOver(_)
        | Event::CallReleased(_)
        | Event::ConversationEnded(_)
        | Event::ConversationSeen(_)
        | Event::WorkerRegistered(_)
        | Event::WorkerRemoved(_)
        | Event::AdminRegistered(_)
        | Event::AdminRemoved(_)
        | Event::DreamRecorded(_)
        | Event::DreamChanged(_)
        | Event::DreamInterpreted(_)
        | Event::DreamDiscussed(_)
        | Event::SessionOpened(_)
        | Event::ConversationLinked(_) => false,
        // Tables know by themselves which report of a kind and session is the newest.
        Event::ConversationReported(_) | Event::AudioStored(_) => false,
        // On a subject of its own.
        Event::ParticipantErased(_) => false,
        Event::MessageRecorded(_)
        | Event::TokenRevoked(_)
        | Event::WebhookReceived(_)
        | Event::WebhookRefused(_) => false,
    }
}
