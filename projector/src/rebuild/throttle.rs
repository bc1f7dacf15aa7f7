//! Who reads and what is projected meanwhile goes first.

use std::time::{Duration, Instant};

use shared::log::Log;
use sqlx::PgConnection;

use super::RebuildError;
use crate::database::Database;
use crate::run::LEADER_LOCK;

/// A look at one row takes this long at most while the database has time for others.
const BUSY: Duration = Duration::from_millis(5);
/// Events that the live tables may be behind the log.
const FAR: u64 = 1_000;
/// How long it stands aside before it looks again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often it stands aside before it goes on all the same: it must end some day, and nobody may project at all.
const MOST_PAUSES: u32 = 20;

/// Asks before each batch whether there is time for it.
pub(crate) struct Throttle {
    connection: PgConnection,
    log: Log,
    unhindered: bool,
}

impl Throttle {
    /// `unhindered`: whatever it costs the others.
    pub(crate) async fn new(database: &Database, log: &Log, unhindered: bool) -> Result<Self, RebuildError> {
        Ok(Self { connection: database.connect().await?, log: log.clone(), unhindered })
    }

    /// Waits while the live tables fall behind, or the database is slow to answer; not for ever.
    pub(crate) async fn breathe(&mut self) -> Result<(), RebuildError> {
        for _ in 0..MOST_PAUSES {
            if self.unhindered || !self.is_needed().await? {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn is_needed(&mut self) -> Result<bool, RebuildError> {
        let asked = Instant::now();
        let live = sqlx::query!(
            r#"SELECT last_sequence, EXISTS (SELECT FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
                                             WHERE l.locktype = 'advisory' AND d.datname = current_database()
                                                   AND l.granted AND l.objsubid = 1
                                                   AND l.classid::bigint << 32 | l.objid::bigint = $1) AS "led!"
               FROM checkpoint WHERE name = 'read'"#,
            LEADER_LOCK
        )
        .fetch_one(&mut self.connection)
        .await?;
        let busy = asked.elapsed() > BUSY;
        Ok(busy || live.led && self.log.extent().await?.last > live.last_sequence.unsigned_abs() + FAR)
    }
}
