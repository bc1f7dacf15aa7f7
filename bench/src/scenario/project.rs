//! Messages/s projected: a full log, empty tables, and the time until the checkpoint has reached the end.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};

use super::section;
use crate::cpu::Meter;
use crate::error::{Error, Result};
use crate::fill::{Filling, fill};
use crate::options::Options;
use crate::place::Place;
use crate::report::{ProjectRow, ProjectRun, Section};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{Stores, Turnlog};

/// Between two looks at the checkpoint: 0.1 % of what is measured.
const LOOK: Duration = Duration::from_millis(20);
/// How long a projection may take at most.
const PATIENCE: Duration = Duration::from_secs(600);

/// Fills one log and projects it again and again, each time into an empty database.
///
/// # Errors
/// When a system cannot be started, or the projector stops short of the end.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<ProjectRow>> {
    let Options { messages, log_conversations: conversations, content_bytes, .. } = *options;
    let mut postgres = Postgres::start(place).await?;
    let nats = Nats::start(place, Sync::Default).await?;
    let filled =
        fill(place, &nats.url(), Filling { messages, conversations, content_bytes, varied: false }).await?;
    println!(
        "log filled with {messages} messages of {conversations} conversations in {:.1} s",
        filled.as_secs_f64()
    );
    let mut row = ProjectRow { messages, conversations, runs: Vec::new() };
    for _ in 0..options.runs {
        let run = one(place, &nats, &mut postgres, messages, filled).await?;
        println!(
            "turnlog serve projector: {:.0}/s, {:.1} s, {} rows, CPU {:?}",
            run.per_second, run.seconds, run.rows, run.cpu_percent
        );
        row.runs.push(run);
    }
    let how = format!(
        "`turnlog serve projector` from its start on an empty migrated database until its checkpoint is the \
         log's last sequence; {content_bytes} bytes of content; {} runs over the same log.",
        options.runs
    );
    section(place, how, vec![row])
}

async fn one(
    place: &Place,
    nats: &Nats,
    postgres: &mut Postgres,
    messages: u64,
    filled: Duration,
) -> Result<ProjectRun> {
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    Turnlog::migrate(place, &stores)?;
    let mut tables = PgConnection::connect(&stores.database).await?;
    let mut turnlog = Turnlog::spawn(place, "projector", &stores)?;
    let started = Instant::now();
    let meter = Meter::start(&[turnlog.process(), nats.process(), postgres.process()]);
    while checkpoint(&mut tables).await? < messages {
        turnlog.still_runs()?;
        if started.elapsed() > PATIENCE {
            return Err(Error::Answer("the projector did not reach the log's end".into()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_percent = meter.percent();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM conversation_messages").fetch_one(&mut tables).await?;
    let rows = rows.unsigned_abs();
    let per_second = messages as f64 / seconds;
    Ok(ProjectRun { seconds, per_second, rows, fill_seconds: filled.as_secs_f64(), cpu_percent })
}

/// The last sequence whose effects are in the tables; 0 before the first.
async fn checkpoint(tables: &mut PgConnection) -> Result<u64> {
    let sequence: Option<i64> =
        sqlx::query_scalar("SELECT max(last_sequence)::bigint FROM turnlog.checkpoint")
            .fetch_one(tables)
            .await?;
    Ok(sequence.unwrap_or_default().unsigned_abs())
}
