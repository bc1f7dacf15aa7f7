//! The log folded again and compared with the tables, row for row, as both stood at one event.
//!
//! It is folded into tables of its own, as for a rebuild, so memory is bounded by Postgres' and a batch's; what is
//! compared is one snapshot, taken while the projector was between two transactions.

mod compare;
mod sample;

use serde_json::Value;
use shared::config::DatabaseSettings;
use shared::events::unknown::Tally;
use shared::log::{Extent, Log};
use shared::objects::Objects;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub(crate) use sample::Sampler;

use crate::generation::{self, LIVE};
use crate::rebuild::{self, Fill, RebuildError, Step, Throttle, exchange};

/// Events that are left for the moment in which the projector waits.
const NEAR: u64 = 500;
/// How often the moment is waited for.
const TRIES: u32 = 100;

/// Where the tables are not what the log makes them.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which table.
    pub table: String,
    /// Which row, by its key: sequences, hashes and names of kinds, nothing personal.
    pub key: String,
    /// In what.
    pub what: What,
}

/// In what rows differ.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The tables lack the row.
    Missing,
    /// The log knows nothing of the row.
    Surplus,
    /// These columns are others.
    Changed(Vec<Column>),
}

/// A column that is another.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What the tables have; it may be personal.
    pub tables: Value,
    /// What the log makes it.
    pub log: Value,
}

/// What was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The last event of both.
    pub events: u64,
    /// Rows of the tables that were compared.
    pub rows: u64,
    /// How many of them differ.
    pub differences: u64,
    /// Events of a newer version, which this one passes over.
    pub waiting: Tally,
}

/// Compares everything; each difference is handed to `found` as it comes up.
///
/// # Errors
/// [`RebuildError`], when it could not be compared.
pub async fn run(
    settings: &DatabaseSettings,
    log: &Log,
    objects: &Objects,
    unhindered: bool,
    show: &mut (dyn FnMut(Step) + Send),
    found: &mut (dyn FnMut(Difference) + Send),
) -> Result<Verified, RebuildError> {
    let (database, mut control) = rebuild::open(settings).await?;
    let migration = generation::migration(&mut control).await?;
    let whole = rebuild::check(&mut control, log, LIVE, false).await?;
    // No further than the tables are: the projector may be behind, or not run.
    let (_, last) = rebuild::position(&mut control, LIVE).await?;
    let extent = Extent { last, ..whole };
    let compared = async {
        let mut fill = rebuild::begin(&database, &mut control, log, objects, false).await?;
        let mut throttle = Throttle::new(&database, log, unhindered).await?;
        fill.bulk(extent, &mut throttle, show).await?;
        fill.finish(&database, show).await?;
        let mut snapshot = database.connect_at_length("pg_catalog").await?;
        meet(&mut control, &mut fill, &mut snapshot, &migration).await?;
        let mut beside = database.connect_at_length("pg_catalog").await?;
        join(&mut beside, &mut snapshot).await?;
        compare::all([&mut snapshot, &mut beside], fill.position(), show, found).await
    };
    let compared = compared.await;
    rebuild::discard(&mut control).await;
    compared
}

/// Begins the snapshot that the other connection has.
async fn join(connection: &mut PgConnection, other: &mut PgConnection) -> Result<(), RebuildError> {
    let name: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(other).await?;
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{name}'");
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(connection).await?;
    Ok(())
}

/// Brings what was folded to where the tables are, and begins the snapshot there.
async fn meet(
    control: &mut PgConnection,
    fill: &mut Fill,
    snapshot: &mut PgConnection,
    migration: &str,
) -> Result<(), RebuildError> {
    for _ in 0..TRIES {
        loop {
            let (_, wanted) = rebuild::position(control, LIVE).await?;
            if wanted <= fill.position() + NEAR {
                break;
            }
            fill.up_to(wanted).await?;
        }
        let mut transaction = control.begin().await?;
        match exchange::lock(&mut transaction).await {
            Err(RebuildError::Database(error)) if error.is_lock() => continue,
            locked => locked?,
        }
        if generation::migration(&mut transaction).await? != migration {
            return Err(RebuildError::Migrated);
        }
        let (_, wanted) = rebuild::position(&mut transaction, LIVE).await?;
        exchange::meet(fill, wanted).await?;
        // The first statement takes the snapshot.
        sqlx::raw_sql(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT count(*) FROM read_v1.checkpoint",
        )
        .execute(&mut *snapshot)
        .await?;
        transaction.rollback().await?;
        return Ok(());
    }
    Err(RebuildError::NeverQuiet)
}
