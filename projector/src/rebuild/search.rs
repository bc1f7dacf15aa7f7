//! The search index made anew. It is written behind the tables, so it is exchanged by itself: what was searched before
//! goes on being searched until then.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::exchange::{lock, quiet};
use super::{RebuildError, Stage, Step, Throttle};
use crate::database::Database;
use crate::generation::{self, BUILDING, LIVE, Part};
use crate::index;

/// Sequences that are indexed at once, and at most while the indexer waits.
const STEP: i64 = 1_000;
/// How long readers may be waited for.
const READERS: &str = "SET LOCAL lock_timeout = '200ms'; SET LOCAL synchronous_commit = on";
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(300);

/// Makes it beside the one that is searched, and puts it in its place.
pub(super) async fn rebuild(
    database: &Database,
    control: &mut PgConnection,
    mut throttle: Throttle,
    show: &mut (dyn FnMut(Step) + Send),
) -> Result<(), RebuildError> {
    generation::make(control, Part::Search, true).await?;
    // Messages are those that are read.
    let mut connection = database.connect_at_length(&format!("{BUILDING}, {LIVE}")).await?;
    let mut position = 0;
    let wanted = indexed(control).await?;
    while position < wanted {
        throttle.breathe().await?;
        position = advance(&mut connection, position, wanted).await?;
        show(Step { stage: Stage::Search, done: position.unsigned_abs(), of: wanted.unsigned_abs() });
    }
    for statement in generation::completion(control, Part::Search).await? {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
    }
    for _ in 0..TRIES {
        let mut wanted = indexed(control).await?;
        while position + STEP < wanted {
            position = advance(&mut connection, position, wanted).await?;
            wanted = indexed(control).await?;
        }
        match exchange(control, &mut connection, &mut position).await {
            Err(RebuildError::Database(error)) if error.is_lock() => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    Err(RebuildError::NeverQuiet)
}

async fn exchange(
    control: &mut PgConnection,
    connection: &mut PgConnection,
    position: &mut i64,
) -> Result<(), RebuildError> {
    let mut transaction = control.begin().await?;
    quiet(&mut transaction).await?;
    lock(&mut transaction).await?;
    let wanted = indexed(&mut transaction).await?;
    while *position < wanted {
        *position = advance(connection, *position, wanted).await?;
    }
    let mut statements = vec![READERS.to_owned()];
    statements.extend(generation::swap_search(&mut transaction).await?);
    generation::run(&mut transaction, &statements).await?;
    transaction.commit().await?;
    Ok(())
}

/// One more step.
async fn advance(connection: &mut PgConnection, from: i64, wanted: i64) -> Result<i64, RebuildError> {
    let to = wanted.min(from + STEP);
    let mut transaction = connection.begin().await?;
    index::range(&mut transaction, from, to).await?;
    transaction.commit().await?;
    Ok(to)
}

/// How far the index that is searched is.
async fn indexed(control: &mut PgConnection) -> Result<i64, RebuildError> {
    let asked = format!("SELECT last_sequence FROM {LIVE}.checkpoint WHERE name = 'search'");
    Ok(sqlx::query_scalar(AssertSqlSafe(asked)).fetch_one(control).await?)
}
