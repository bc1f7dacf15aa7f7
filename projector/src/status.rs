//! How far the tables are, for operators.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use shared::config::DatabaseSettings;
use shared::events::unknown::Tally;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::{DatabaseError, SCHEMA, connect};
use crate::intake::OF_NEWER;

/// How far the tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Epoch of the log that they are folded from; empty before the first event.
    pub epoch: String,
    /// Sequence of the newest entry that is in them.
    pub last_sequence: u64,
    /// When that was committed.
    pub updated_at: DateTime<Utc>,
    /// Events that could not be folded and wait for somebody.
    pub parked: u64,
    /// Events of a newer version, by type: they wait for it, and nobody has to do anything but upgrade.
    pub waiting: Tally,
    /// Events that could not be folded and were given up.
    pub dropped: u64,
    /// Where webhooks came in, by name.
    pub sources: Vec<SourceStatus>,
    /// What was turned away in the last 24 hours, by source and then the most frequent first.
    pub refused: Vec<Refused>,
}

/// What came in from one source of webhooks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name, as in [`shared::events::Source::as_str`].
    pub source: String,
    /// Those that were stored; the same one again does not count.
    pub received: u64,
    /// Those that were turned away, as far as the log notes them.
    pub refused: u64,
    /// Deliveries that failed since the last good one.
    pub failures_in_a_row: u64,
    /// When the last good one was stored.
    pub last_received: Option<DateTime<Utc>>,
    /// When the last one was turned away.
    pub last_refused: Option<DateTime<Utc>>,
}

/// How many were turned away of one source for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Of which source.
    pub source: String,
    /// Why: a fixed word such as `bad_signature`.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Asks the database.
///
/// # Errors
/// [`DatabaseError`], when it is not there or was not migrated.
pub async fn status(database: &DatabaseSettings) -> Result<Status, DatabaseError> {
    let mut connection = connect(database).await?;
    let row = sqlx::query!(
        r#"SELECT epoch, last_sequence, updated_at,
                  (SELECT count(*) FROM parked WHERE state = 'parked' AND reason <> $1) AS "parked!",
                  (SELECT count(*) FROM parked WHERE state = 'dropped') AS "dropped!"
           FROM checkpoint WHERE name = 'read'"#,
        OF_NEWER
    )
    .fetch_optional(&mut connection)
    .await?
    .ok_or(DatabaseError::NotMigrated)?;
    Ok(Status {
        epoch: row.epoch,
        last_sequence: row.last_sequence.unsigned_abs(),
        updated_at: row.updated_at,
        parked: row.parked.unsigned_abs(),
        waiting: waiting(&mut connection, SCHEMA).await?,
        dropped: row.dropped.unsigned_abs(),
        sources: sources(&mut connection).await?,
        refused: refused(&mut connection).await?,
    })
}

/// Events of a newer version that a generation of the tables passed over, by type.
pub(crate) async fn waiting(connection: &mut PgConnection, generation: &str) -> Result<Tally, sqlx::Error> {
    let asked = format!(
        "SELECT event_type, count(*) FROM {generation}.parked WHERE state = 'parked' AND reason = $1
         GROUP BY event_type ORDER BY 2 DESC, 1"
    );
    let mut rows = sqlx::query_as::<_, (String, i64)>(AssertSqlSafe(asked)).bind(OF_NEWER).fetch(connection);
    let mut tally = Tally::default();
    while let Some((event_type, events)) = rows.try_next().await? {
        tally.add(&event_type, events.unsigned_abs());
    }
    Ok(tally)
}

async fn sources(connection: &mut PgConnection) -> Result<Vec<SourceStatus>, DatabaseError> {
    let rows = sqlx::query!(
        "SELECT source, received, refused, failures, last_received, last_refused FROM sources ORDER BY source"
    )
    .fetch_all(connection)
    .await?;
    let sources = rows.into_iter().map(|row| SourceStatus {
        source: row.source,
        received: row.received.unsigned_abs(),
        refused: row.refused.unsigned_abs(),
        failures_in_a_row: row.failures.unsigned_abs(),
        last_received: row.last_received,
        last_refused: row.last_refused,
    });
    Ok(sources.collect())
}

async fn refused(connection: &mut PgConnection) -> Result<Vec<Refused>, DatabaseError> {
    let rows = sqlx::query!(
        r#"SELECT source, reason, count(*) AS "count!" FROM refused
           WHERE refused_at > now() - interval '24 hours'
           GROUP BY source, reason ORDER BY source, "count!" DESC, reason"#
    )
    .fetch_all(connection)
    .await?;
    let refused = rows.into_iter().map(|row| Refused {
        source: row.source,
        reason: row.reason,
        count: row.count.unsigned_abs(),
    });
    Ok(refused.collect())
}
