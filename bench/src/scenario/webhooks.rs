//! Acknowledged webhooks/s, and what `ingest` takes of memory while large ones arrive at once.

use std::fs;

use super::{announce, section};
use crate::client::flood::flood;
use crate::client::hook::Hook;
use crate::client::load::{self, Load};
use crate::error::{Doing, Error, Result};
use crate::options::Options;
use crate::place::Place;
use crate::report::{LoadRow, LoadRun, MemoryRow, MemoryRun, Section};
use crate::systems::nats::{Nats, Sync};
use crate::systems::postgres::Postgres;
use crate::systems::turnlog::{ELEVENLABS_SECRET, Stores, Turnlog};

/// The role that is measured.
const SYSTEM: &str = "turnlog serve ingest";
/// Connections, one webhook under way on each.
const CONNECTIONS: usize = 64;
/// Large webhooks at once.
const LARGE: usize = 20;
/// Bytes of the sound in each.
const SOUND_BYTES: usize = 30 * 1024 * 1024;

/// Measures transcriptions, each of a conversation of its own.
///
/// # Errors
/// When a system cannot be started, or ends while it is measured.
pub async fn measure(place: &Place, options: &Options) -> Result<Section<LoadRow>> {
    let mut postgres = Postgres::start(place).await?;
    let fixture = place.root.join("tests/fixtures/elevenlabs/post_call_transcription.json");
    let payload = fs::read_to_string(&fixture).doing(format!("read {}", fixture.display()))?;
    let bytes = Hook::new(&payload, ELEVENLABS_SECRET)?.body_bytes();
    let mut rows = Vec::new();
    for &sync in &options.sync {
        let (system, durability) = (SYSTEM.to_owned(), sync.words().to_owned());
        let mut row = LoadRow { system, durability, connections: CONNECTIONS, runs: Vec::new() };
        for _ in 0..options.runs {
            let run = one(place, options, &mut postgres, &payload, sync).await?;
            announce(&row, &run);
            row.runs.push(run);
        }
        rows.push(row);
    }
    let how = format!(
        "Closed loop, keep-alive, post_call_transcription of {bytes} bytes with 7 turns, each of a conversation of its \
         own, signed by the client while it measures; {} runs of {} s after {} s of warm-up, fresh data each. \
         LOG_LEVEL={}.",
        options.runs, options.seconds, options.warm_up, place.log_level
    );
    section(place, how, rows)
}

async fn one(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
    payload: &str,
    sync: Sync,
) -> Result<LoadRun> {
    let nats = Nats::start(place, sync).await?;
    let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
    let mut turnlog = Turnlog::start(place, "ingest", &stores).await?;
    let load = Load {
        address: turnlog.address(),
        connections: CONNECTIONS,
        conversations: 0,
        warm_up: options.warming_up(),
        measured: options.measured(),
    };
    let hooks: Result<Vec<_>> = (0..CONNECTIONS).map(|_| Hook::new(payload, ELEVENLABS_SECRET)).collect();
    let programs = [turnlog.process(), nats.process()];
    let run = load::run(&load, hooks?, &programs).await?;
    turnlog.still_runs()?;
    Ok(run)
}

/// Measures the most that is resident while many large webhooks arrive at once.
///
/// # Errors
/// When a system cannot be started, or ends while it is measured.
pub async fn memory(place: &Place, options: &Options) -> Result<Section<MemoryRow>> {
    let mut postgres = Postgres::start(place).await?;
    let mut row =
        MemoryRow { system: SYSTEM.to_owned(), webhooks: LARGE, bytes: SOUND_BYTES, runs: Vec::new() };
    for _ in 0..options.runs {
        let nats = Nats::start(place, Sync::Always).await?;
        let stores = Stores { nats: nats.url(), database: postgres.fresh_database().await? };
        let mut turnlog = Turnlog::start(place, "ingest", &stores).await?;
        let (_, id) = turnlog.process();
        let idle_mb = resident(id, "VmRSS:")?;
        let flooded = flood(turnlog.address(), ELEVENLABS_SECRET, LARGE, SOUND_BYTES).await?;
        turnlog.still_runs()?;
        let peak_mb = resident(id, "VmHWM:")?;
        let run = MemoryRun { idle_mb, peak_mb, seconds: flooded.seconds, not_200: flooded.not_200 };
        println!(
            "{LARGE} webhooks of 30 MB of sound at once: {idle_mb:.0} MB before, {peak_mb:.0} MB at most, {:.0} MB over \
             idle, {:.1} s, {} not 200",
            peak_mb - idle_mb,
            run.seconds,
            run.not_200
        );
        row.runs.push(run);
    }
    let how = "Sounds that differ, in chunks without a length, signed before the clock starts; VmHWM of the process \
               after the last answer beside its VmRSS before the first byte. sync_interval: always.";
    section(place, how.to_owned(), vec![row])
}

/// A figure of a process in MB.
fn resident(id: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).doing(format!("read {path}"))?;
    let kb = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kb.map(|kb| kb / 1024.0).ok_or_else(|| Error::Answer(format!("{path} names no {name}")))
}
