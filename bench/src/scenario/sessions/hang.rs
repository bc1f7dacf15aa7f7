//! Whether message sync notices that the vendor hangs and people wait for it.

use tokio::task::spawn_local;

use super::{SYSTEM, Stage, TIMEOUT_SECONDS, senders};
use crate::client::dreamer::Dreamer;
use crate::client::each::each;
use crate::client::load::{self, Load};
use crate::client::request::posts;
use crate::error::Result;
use crate::options::Options;
use crate::place::Place;
use crate::report::sessions::HangRow;
use crate::report::{LoadRow, LoadRun, Section};
use crate::scenario::{announce, load_words, section};
use crate::systems::elevenlabs::Manner;
use crate::systems::nats::Sync;
use crate::systems::postgres::Postgres;

/// Connections of message sync, one message under way on each.
const CONNECTIONS: [usize; 2] = [16, 64];
/// Inits that wait for the vendor, each of another participant.
const WAITING: usize = 200;

/// Measures message sync alone and while inits wait, in turn: what the machine does meanwhile happens to both.
pub(super) async fn measure(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
) -> Result<Section<HangRow>> {
    let mut rows: Vec<HangRow> = CONNECTIONS.iter().map(|&of| row(of)).collect();
    for run in 0..options.runs {
        for row in &mut rows {
            // Neither is always the first.
            let (alone, beside) = ((&mut row.alone, 0), (&mut row.beside, WAITING));
            let pair = if run % 2 == 0 { [alone, beside] } else { [beside, alone] };
            for (row, waiting) in pair {
                let run = one(place, options, postgres, row.connections, waiting).await?;
                announce(row, &run);
                row.runs.push(run);
            }
        }
    }
    let how = format!(
        "{} LOG_LEVEL={}. In each run {WAITING} further participants have a dream; beside message sync, their inits are \
         under way from before the warm-up to after the end, while the stand-in of the vendor holds all {WAITING} \
         requests open and answers none (ELEVENLABS_TIMEOUT_SECONDS={TIMEOUT_SECONDS}): a run in which it does not, \
         fails.",
        load_words(options),
        place.log_level
    );
    section(place, how, rows)
}

fn row(connections: usize) -> HangRow {
    let of = |system: String| {
        let durability = Sync::Always.words().to_owned();
        LoadRow { system, durability, connections, runs: Vec::new() }
    };
    let beside = format!("{SYSTEM}, {WAITING} inits wait for the vendor");
    HangRow { waiting: WAITING, alone: of(SYSTEM.to_owned()), beside: of(beside) }
}

async fn one(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
    connections: usize,
    waiting: usize,
) -> Result<LoadRun> {
    let mut stage = Stage::start(place, postgres, Manner::Hangs).await?;
    let address = stage.turnlog.address();
    let dreamers = stage.dreamers(WAITING).await?;
    let posts = posts(&senders(WAITING, connections)?, connections, options.content_bytes);
    let inits: Vec<Vec<u8>> = dreamers.iter().take(waiting).map(Dreamer::init).collect();
    let inits = spawn_local(async move { each(address, waiting, &inits).await });
    stage.vendor.holding(waiting).await?;
    let load = Load {
        address,
        connections,
        conversations: options.conversations,
        warm_up: options.warming_up(),
        measured: options.measured(),
    };
    let run = load::run(&load, posts, &stage.programs()).await?;
    stage.vendor.still_holds(waiting)?;
    stage.turnlog.still_runs()?;
    // Their connections are closed before the server is asked to stop: it would wait for them.
    inits.abort();
    let _cut_off = inits.await;
    Ok(run)
}
