//! How far the tables are, for operators.

use chrono::{DateTime, Utc};
use shared::config::DatabaseSettings;

use crate::database::{DatabaseError, connect};

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
    /// Events that could not be folded and were given up.
    pub dropped: u64,
}

/// Asks the database.
///
/// # Errors
/// [`DatabaseError`], when it is not there or was not migrated.
pub async fn status(database: &DatabaseSettings) -> Result<Status, DatabaseError> {
    let mut connection = connect(database).await?;
    let row = sqlx::query!(
        r#"SELECT epoch, last_sequence, updated_at,
                  (SELECT count(*) FROM parked WHERE state = 'parked') AS "parked!",
                  (SELECT count(*) FROM parked WHERE state = 'dropped') AS "dropped!"
           FROM checkpoint WHERE name = 'read'"#
    )
    .fetch_optional(&mut connection)
    .await?
    .ok_or(DatabaseError::NotMigrated)?;
    Ok(Status {
        epoch: row.epoch,
        last_sequence: row.last_sequence.unsigned_abs(),
        updated_at: row.updated_at,
        parked: row.parked.unsigned_abs(),
        dropped: row.dropped.unsigned_abs(),
    })
}
