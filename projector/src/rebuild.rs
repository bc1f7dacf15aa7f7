//! The read tables made anew from the log, beside those that are read, and put in their place.
//!
//! Nobody notices: until the one transaction that changes names, views and rights, the new tables are nobody's; in it the
//! projector is locked out, and the new tables are brought exactly to where it was.

mod copy;
pub(crate) mod exchange;
mod fill;
mod gathered;
mod search;
mod throttle;

use std::time::Duration;

use shared::config::DatabaseSettings;
use shared::events::unknown::Tally;
use shared::log::{Extent, Log, LogError};
use shared::objects::Objects;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::{Database, DatabaseError};
use crate::generation::{self, BEFORE, BUILDING, LIVE, Part};
use crate::status::waiting;

use exchange::Exchange;
pub(crate) use fill::Fill;
pub(crate) use throttle::Throttle;

/// The advisory lock of whoever makes a generation: "turnlog" in ASCII, and a number of its own.
const REBUILD_LOCK: i64 = 0x7475_726e_6c6f_6780;
/// How long it is waited for: what was killed holds it until Postgres has noticed.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(200);

/// Why a rebuild, or a verification, did not work. But for [`Self::Search`], the tables are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Somebody else is at it.
    #[error("another rebuild or verify runs on this database: wait until it has ended")]
    Busy,
    /// The log lacks its beginning.
    #[error(
        "the log begins at event {0}, not at 1: what came before is gone from it, and would be gone from the tables; \
         restore the log, or say --another-log if that is meant"
    )]
    Truncated(u64),
    /// The log lacks something in between.
    #[error(
        "{missing} events are missing between the log's first and its last, {last}, and would be missing in the tables: \
         restore the log, or say --another-log if that is meant"
    )]
    Incomplete {
        /// How many.
        missing: u64,
        /// The last event's sequence.
        last: u64,
    },
    /// The tables know more than the log, or are of another one.
    #[error(
        "the log is not the one that the tables are folded from: it was made anew, or ends at event {last} while the \
         tables have {tables}; restore the log, or say --another-log if that is meant"
    )]
    Another {
        /// The last event's sequence.
        last: u64,
        /// The last event that is in the tables.
        tables: u64,
    },
    /// Events were gone when it was their turn.
    #[error("events {from} to {to} went from the log meanwhile: run it again")]
    Gap {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// There are tables to go back to.
    #[error(
        "the tables before the last rebuild are still kept: drop them with turnlog rebuild --drop, \
         or go back to them with turnlog rebuild --back"
    )]
    Kept,
    /// There are no tables to go back to.
    #[error("no tables of before a rebuild are kept")]
    NothingKept,
    /// The form of the tables is another one now.
    #[error("the tables have another form since a migration: run turnlog rebuild instead, or again")]
    Migrated,
    /// The second half of a rebuild.
    #[error("the tables were made anew and are read now, but the search index is the one of before: {0}")]
    Search(#[source] Box<Self>),
    /// A moment in which nobody reads was not found.
    #[error(
        "the tables are read without a pause, so they could not be exchanged: run it again at a quieter time"
    )]
    NeverQuiet,
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

/// How a rebuild goes about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// As fast as it can, whatever it costs those who read and write meanwhile.
    pub unhindered: bool,
    /// Also from a log that is another one than before, or lacks something.
    pub another_log: bool,
    /// The search index stays as it is.
    pub keep_search: bool,
}

/// What is done at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Events are folded; counted in events.
    Events,
    /// Indexes are made; counted in steps.
    Indexes,
    /// What came meanwhile is folded; counted in events.
    CatchUp,
    /// The search index is made; counted in events.
    Search,
    /// Tables are compared; counted in tables.
    Compare,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub stage: Stage,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub of: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The last event in the tables when they were exchanged.
    pub events: u64,
    /// Events of a newer version, which this one passed over.
    pub waiting: Tally,
}

/// Makes the tables anew and puts them in the place of those that are read, which are kept.
///
/// # Errors
/// [`RebuildError`]; but for [`RebuildError::Search`], those that are read are as they were.
pub async fn run(
    settings: &DatabaseSettings,
    log: &Log,
    objects: &Objects,
    options: Options,
    show: &mut (dyn FnMut(Step) + Send),
) -> Result<Rebuilt, RebuildError> {
    let (database, mut control) = open(settings).await?;
    if generation::find(&mut control, BEFORE).await?.is_some() {
        return Err(RebuildError::Kept);
    }
    let migration = generation::migration(&mut control).await?;
    let extent = check(&mut control, log, LIVE, options.another_log).await?;
    let made = async {
        let mut fill = begin(&database, &mut control, log, objects, true).await?;
        let mut throttle = Throttle::new(&database, log, options.unhindered).await?;
        fill.bulk(extent, &mut throttle, show).await?;
        fill.finish(&database, show).await?;
        let exchange = Exchange { log, migration: &migration, another_log: options.another_log };
        exchange.run(&mut control, fill, BUILDING, show).await
    };
    match made.await {
        Ok(events) => {
            let waiting = waiting(&mut control, LIVE).await?;
            if options.keep_search {
                return Ok(Rebuilt { events, waiting });
            }
            let searched = async {
                let throttle = Throttle::new(&database, log, options.unhindered).await?;
                search::rebuild(&database, &mut control, throttle, show).await
            };
            if let Err(error) = searched.await {
                discard(&mut control).await;
                return Err(RebuildError::Search(Box::new(error)));
            }
            Ok(Rebuilt { events, waiting })
        }
        Err(error) => {
            discard(&mut control).await;
            Err(error)
        }
    }
}

/// Makes an empty generation that can be filled from the beginning of the log, to be kept or only looked at.
pub(crate) async fn begin(
    database: &Database,
    control: &mut PgConnection,
    log: &Log,
    objects: &Objects,
    kept: bool,
) -> Result<Fill, RebuildError> {
    generation::make(control, Part::Tables, kept).await?;
    Ok(Fill::new(database.connect_at_length(BUILDING).await?, log, objects, 0))
}

/// Puts the tables of before the last rebuild, brought to where the log is, in the place of those that are read, which
/// are kept in their turn.
///
/// # Errors
/// [`RebuildError`]; those that are read are as they were.
pub async fn back(
    settings: &DatabaseSettings,
    log: &Log,
    objects: &Objects,
    show: &mut (dyn FnMut(Step) + Send),
) -> Result<Rebuilt, RebuildError> {
    let (database, mut control) = open(settings).await?;
    let marked = generation::find(&mut control, BEFORE).await?.ok_or(RebuildError::NothingKept)?;
    let migration = generation::migration(&mut control).await?;
    if marked.as_ref() != Some(&migration) {
        return Err(RebuildError::Migrated);
    }
    check(&mut control, log, BEFORE, false).await?;
    let (_, position) = position(&mut control, BEFORE).await?;
    let fill = Fill::new(database.connect_at_length(BEFORE).await?, log, objects, position);
    let exchange = Exchange { log, migration: &migration, another_log: false };
    let events = exchange.run(&mut control, fill, BEFORE, show).await?;
    Ok(Rebuilt { events, waiting: waiting(&mut control, LIVE).await? })
}

/// Drops the tables of before the last rebuild, and what a rebuild that died has left.
///
/// # Errors
/// [`RebuildError`]; it is refused where something that is not turnlog's depends on them.
pub async fn drop_kept(settings: &DatabaseSettings) -> Result<(), RebuildError> {
    let (_, mut control) = open(settings).await?;
    discard(&mut control).await;
    if drop_before(&mut control).await? { Ok(()) } else { Err(RebuildError::NothingKept) }
}

/// Drops the tables of before the last rebuild; `false` where there are none.
pub(crate) async fn drop_before(control: &mut PgConnection) -> Result<bool, RebuildError> {
    if generation::find(control, BEFORE).await?.is_none() {
        return Ok(false);
    }
    let tables = generation::tables(control, BEFORE).await?.join(", ");
    let statements = [format!("DROP TABLE {tables}"), format!("DROP SCHEMA {BEFORE}")];
    generation::run(control, &statements).await?;
    Ok(true)
}

/// Connects, and takes the lock. The connection names every schema.
pub(crate) async fn open(settings: &DatabaseSettings) -> Result<(Database, PgConnection), RebuildError> {
    let database = Database::new(settings)?;
    let connected = database.connect_at_length("pg_catalog").await;
    let mut control = connected.map_err(|error| DatabaseError::connect(&error))?;
    let started = std::time::Instant::now();
    loop {
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(REBUILD_LOCK)
            .fetch_one(&mut control)
            .await?;
        if locked {
            return Ok((database, control));
        }
        if started.elapsed() > LOCK_PATIENCE {
            return Err(RebuildError::Busy);
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// How far the log reaches, if it is one that a generation can be made, or go on, from.
pub(crate) async fn check(
    control: &mut PgConnection,
    log: &Log,
    generation: &str,
    another_log: bool,
) -> Result<Extent, RebuildError> {
    let (epoch, tables) = position(control, generation).await?;
    let extent = log.extent().await?;
    let Extent { first, last, messages, .. } = extent;
    if another_log {
        return Ok(extent);
    }
    if last < tables || !epoch.is_empty() && epoch != log.epoch() {
        return Err(RebuildError::Another { last, tables });
    }
    let missing = last.saturating_sub(messages);
    if missing == 0 {
        return Ok(extent);
    }
    // Erasures delete what was written in clear, and say how much.
    let erased: u64 = log.erasures(last).await?.iter().map(|(_, erasure)| erasure.deleted_events).sum();
    match missing.saturating_sub(erased) {
        0 => Ok(extent),
        _ if first > 1 => Err(RebuildError::Truncated(first)),
        missing => Err(RebuildError::Incomplete { missing, last }),
    }
}

/// Which log a generation is folded from, and how far.
pub(crate) async fn position(
    control: &mut PgConnection,
    generation: &str,
) -> Result<(String, u64), RebuildError> {
    let asked = format!("SELECT epoch, last_sequence FROM {generation}.checkpoint WHERE name = 'read'");
    let row: Option<(String, i64)> = sqlx::query_as(AssertSqlSafe(asked)).fetch_optional(control).await?;
    let (epoch, last) = row.ok_or(DatabaseError::NotMigrated)?;
    Ok((epoch, last.unsigned_abs()))
}

/// Drops what was being made. The next run would, too.
pub(crate) async fn discard(control: &mut PgConnection) {
    let statement = format!("DROP SCHEMA IF EXISTS {BUILDING} CASCADE");
    if let Err(error) = generation::run(control, &[statement]).await {
        tracing::warn!(%error, "the tables that were being made could not be dropped; the next run drops them");
    }
}
