//! What an erasure needs of the database beside the projector: that nothing else holds the rows that went, and that their
//! bytes leave the disk.

use std::time::{Duration, Instant};

use shared::config::DatabaseSettings;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::database::DatabaseError;
use crate::generation::{self, LIVE};
use crate::rebuild::{self, RebuildError};

/// How long the tables may take to come to an event.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
/// How long readers may look at what was there before.
const READERS: Duration = Duration::from_secs(30);
/// Postgres' own notes on what columns hold: the commonest values, as they are.
const STATISTICS: &str = "pg_catalog.pg_statistic";
/// SQLSTATE: not allowed.
const NOT_ALLOWED: &str = "42501";

/// Whether somebody still sees rows as they were before this transaction: $1.
const SEEN: &str = "
    SELECT EXISTS (SELECT FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
                         AND age(backend_xmin) > age($1::text::xid))";

/// Keeps rebuilds and verifications away for as long as it lives.
#[derive(Debug)]
pub struct Scrub {
    control: PgConnection,
}

/// What of it could be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wal {
    /// Nothing older is left in the write-ahead log, where `wal_recycle` is off.
    Turned,
    /// The role may not: it leaves with the next checkpoints.
    NotAllowed,
}

impl Scrub {
    /// Connects, and keeps rebuilds and verifications away. What a rebuild that died has left goes.
    ///
    /// # Errors
    /// [`RebuildError::Busy`] while one runs, or [`RebuildError::Database`].
    pub async fn begin(settings: &DatabaseSettings) -> Result<Self, RebuildError> {
        let (_, mut control) = rebuild::open(settings).await?;
        rebuild::discard(&mut control).await;
        Ok(Self { control })
    }

    /// Waits until the tables have come to this event; `false` where they do not, since no projector runs.
    ///
    /// # Errors
    /// [`RebuildError::Database`].
    pub async fn reach(&mut self, sequence: u64) -> Result<bool, RebuildError> {
        let started = Instant::now();
        let (mut last, mut moved) = (0, started);
        loop {
            let (_, now) = rebuild::position(&mut self.control, LIVE).await?;
            if now >= sequence {
                return Ok(true);
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            if moved.elapsed() > PATIENCE {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Drops the tables of before the last rebuild, which hold what they held; `false` where there are none.
    ///
    /// # Errors
    /// [`RebuildError::Database`].
    pub async fn drop_kept(&mut self) -> Result<bool, RebuildError> {
        rebuild::drop_before(&mut self.control).await
    }

    /// Writes the tables anew without what went. Reads and the projection wait while each is written.
    ///
    /// # Errors
    /// [`RebuildError::Database`].
    pub async fn vacuum(&mut self, show: &mut (dyn FnMut(u64, u64) + Send)) -> Result<(), RebuildError> {
        self.wait_for_readers().await?;
        let mut tables = generation::tables(&mut self.control, LIVE).await?;
        // After the others: what it notes of them is noted anew.
        tables.push(STATISTICS.to_owned());
        let of = tables.len() as u64;
        for (done, table) in (0..).zip(tables) {
            show(done, of);
            let analyze = if table == STATISTICS { "" } else { ", ANALYZE" };
            let statement = format!("VACUUM (FULL{analyze}) {table}");
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut self.control).await?;
        }
        show(of, of);
        Ok(())
    }

    /// Has Postgres go on with another file of the write-ahead log, and need none of those before.
    ///
    /// # Errors
    /// [`RebuildError::Database`].
    pub async fn turn_wal(&mut self) -> Result<Wal, RebuildError> {
        for statement in ["CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"] {
            match sqlx::raw_sql(statement).execute(&mut self.control).await {
                Ok(_) => {}
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOT_ALLOWED) => {
                    return Ok(Wal::NotAllowed);
                }
                Err(error) => return Err(DatabaseError::from(error).into()),
            }
        }
        Ok(Wal::Turned)
    }

    /// Rows that somebody still sees are written anew, too. Nobody of ours looks for long.
    async fn wait_for_readers(&mut self) -> Result<(), RebuildError> {
        let mine: String =
            sqlx::query_scalar("SELECT pg_current_xact_id()::xid::text").fetch_one(&mut self.control).await?;
        let started = Instant::now();
        while started.elapsed() < READERS {
            let seen: bool = sqlx::query_scalar(SEEN).bind(&mine).fetch_one(&mut self.control).await?;
            if !seen {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!(
            "somebody has been reading the tables for long; run the erasure again when they have ended"
        );
        Ok(())
    }
}
