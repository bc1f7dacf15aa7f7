//! What is measured: each scenario starts its servers, repeats its runs on fresh data, and gives one section.

pub mod export;
pub mod feed;
pub mod feeds;
pub mod ingest;
pub mod list;
pub mod peers;
pub mod project;
pub mod rebuild;
pub mod search;
pub mod sessions;
pub mod webhooks;

use crate::error::Result;
use crate::options::Options;
use crate::place::Place;
use crate::report::{LoadRow, LoadRun, Section};

/// Wraps rows with when and where they were taken.
///
/// # Errors
/// When the machine cannot be described.
fn section<R>(place: &Place, how: String, rows: Vec<R>) -> Result<Section<R>> {
    let taken = chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string();
    Ok(Section { taken, machine: place.machine()?, how, rows })
}

/// The options that shape a load, in words.
fn load_words(options: &Options) -> String {
    let conversations = match options.conversations {
        0 => "one conversation a connection".to_owned(),
        n => format!("{n} conversations"),
    };
    format!(
        "Closed loop, keep-alive, {} bytes of content, {conversations}, each message with an id of its own; \
         {} runs of {} s after {} s of warm-up, fresh data each.",
        options.content_bytes, options.runs, options.seconds, options.warm_up
    )
}

/// Says how a run went, as it ends.
fn announce(row: &LoadRow, run: &LoadRun) {
    let LoadRow { system, durability, connections, .. } = row;
    let (rate, latency, cpu) = (run.per_second, run.latency, &run.cpu_percent);
    println!(
        "{system}, {durability}, {connections} connections: {rate:.0}/s, p50 {:.2} ms, p99 {:.2} ms, \
         CPU {cpu:?}",
        latency.p50_ms, latency.p99_ms
    );
    if !run.is_clean() {
        println!(
            "  NOT CLEAN: {} not 200, {} broken, {} unanswered, {} double ids; first: {}",
            run.not_200,
            run.broken,
            run.unanswered,
            run.double_ids,
            run.first_error.as_deref().unwrap_or("–")
        );
    }
}
