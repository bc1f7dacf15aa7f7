//! The moment in which other tables become those that are read.

use std::time::Duration;

use shared::log::Log;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{Fill, RebuildError, Stage, Step, position};
use crate::generation::{self, LIVE, SEARCH};

/// Events that are left for the moment in which the projector waits.
const NEAR: u64 = 500;
/// How long the projector may be waited for, to be between two transactions.
const WRITERS: &str = "SET LOCAL lock_timeout = '2s'";
/// How long readers may be waited for: those who come meanwhile wait, too.
const READERS: &str = "SET LOCAL lock_timeout = '200ms'; SET LOCAL synchronous_commit = on";
/// How long the rest of the log may take while the projector waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried, and the pause between two tries, in which those who waited are served.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(300);

/// What has to be known for it.
pub(super) struct Exchange<'a> {
    pub(super) log: &'a Log,
    pub(super) migration: &'a str,
    pub(super) another_log: bool,
}

impl Exchange<'_> {
    /// Puts the candidate in the place of the live generation; answers where the log was then.
    pub(super) async fn run(
        &self,
        control: &mut PgConnection,
        mut fill: Fill,
        candidate: &str,
        show: &mut (dyn FnMut(Step) + Send),
    ) -> Result<u64, RebuildError> {
        for _ in 0..TRIES {
            self.approach(control, &mut fill, show).await?;
            match self.try_once(control, &mut fill, candidate).await {
                Err(RebuildError::Database(error)) if error.is_lock() => tokio::time::sleep(PAUSE).await,
                done => return done,
            }
        }
        Err(RebuildError::NeverQuiet)
    }

    /// Where the live tables are; of another log, which nobody follows, its end.
    async fn wanted(&self, control: &mut PgConnection) -> Result<u64, RebuildError> {
        if self.another_log {
            Ok(self.log.extent().await?.last)
        } else {
            Ok(position(control, LIVE).await?.1)
        }
    }

    async fn approach(
        &self,
        control: &mut PgConnection,
        fill: &mut Fill,
        show: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), RebuildError> {
        loop {
            let of = self.wanted(control).await?;
            show(Step { stage: Stage::CatchUp, done: fill.position(), of });
            if of <= fill.position() + NEAR {
                return Ok(());
            }
            fill.up_to(of).await?;
        }
    }

    async fn try_once(
        &self,
        control: &mut PgConnection,
        fill: &mut Fill,
        candidate: &str,
    ) -> Result<u64, RebuildError> {
        let mut transaction = control.begin().await?;
        quiet(&mut transaction).await?;
        lock(&mut transaction).await?;
        if generation::migration(&mut transaction).await? != self.migration {
            return Err(RebuildError::Migrated);
        }
        let wanted = self.wanted(&mut transaction).await?;
        meet(fill, wanted).await?;
        let mut statements = vec![READERS.to_owned(), carry(candidate, self.another_log)];
        statements.extend(generation::swap(&mut transaction, candidate, self.migration).await?);
        generation::run(&mut transaction, &statements).await?;
        transaction.commit().await?;
        Ok(fill.position())
    }
}

/// Ends a vacuum of the tables that are searched, until the transaction ends. It would go on for minutes, and gives way
/// only to who waits for longer than readers can be made to.
pub(super) async fn quiet(transaction: &mut PgConnection) -> Result<(), RebuildError> {
    let [documents, blocks] = SEARCH;
    let lock = format!(
        "SET LOCAL lock_timeout = '5s';
         LOCK TABLE {LIVE}.{documents}, {LIVE}.{blocks} IN SHARE UPDATE EXCLUSIVE MODE"
    );
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(transaction).await?;
    Ok(())
}

/// Locks out whoever writes the live tables, until the transaction ends.
pub(crate) async fn lock(transaction: &mut PgConnection) -> Result<(), RebuildError> {
    let lock = format!("{WRITERS}; LOCK TABLE {LIVE}.checkpoint, {LIVE}.parked IN EXCLUSIVE MODE");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(transaction).await?;
    Ok(())
}

/// Brings a generation exactly to here, while others wait.
pub(crate) async fn meet(fill: &mut Fill, wanted: u64) -> Result<(), RebuildError> {
    tokio::time::timeout(PATIENCE, fill.up_to(wanted))
        .await
        .unwrap_or_else(|late| Err(shared::log::LogError::Unavailable(late.to_string()).into()))
}

/// What the tables hold that is not in the log: when they were written, and what operators did with parked events.
/// Documents of another log say nothing of this one.
fn carry(candidate: &str, another_log: bool) -> String {
    let [documents, blocks] = SEARCH;
    let search = if another_log {
        format!("TRUNCATE {LIVE}.{documents}, {LIVE}.{blocks}")
    } else {
        format!(
            "UPDATE {candidate}.checkpoint AS n
             SET epoch = o.epoch, last_sequence = o.last_sequence, updated_at = o.updated_at
             FROM {LIVE}.checkpoint AS o WHERE o.name = n.name AND n.name = 'search'"
        )
    };
    format!(
        "{search};
         UPDATE {candidate}.checkpoint AS n SET updated_at = o.updated_at FROM {LIVE}.checkpoint AS o
         WHERE o.name = n.name AND n.name = 'read' AND o.last_sequence = n.last_sequence;
         UPDATE {candidate}.parked AS n
         SET attempts = o.attempts, state = o.state, parked_at = o.parked_at, updated_at = o.updated_at
         FROM {LIVE}.parked AS o WHERE o.sequence = n.sequence"
    )
}
