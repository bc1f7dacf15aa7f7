//! How long `init` takes beside what the vendor takes of it: the first of a talk, and one that resumes it.

use std::time::Instant;

use serde_json::Value;

use super::{SYSTEM, Stage, TELLING};
use crate::client::dreamer::Dreamer;
use crate::client::each::{Answer, all_200, each};
use crate::cpu::Meter;
use crate::error::Result;
use crate::options::Options;
use crate::place::Place;
use crate::report::sessions::{InitRow, InitRun};
use crate::report::{Latency, Section, histogram};
use crate::scenario::section;
use crate::systems::elevenlabs::Manner;
use crate::systems::postgres::Postgres;

/// Connections, one init under way on each.
const CONNECTIONS: [usize; 2] = [1, 16];
/// Inits that count in each run.
const INITS: usize = 2_000;
/// Inits before them.
const WARM_UP: usize = 100;
/// Messages of each talk that is resumed.
const MESSAGES: u64 = 50;

/// Measures first inits and, in the same run, those that resume.
pub(super) async fn measure(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
) -> Result<Section<InitRow>> {
    let row = |connections, messages| InitRow { messages, connections, runs: Vec::new() };
    let mut rows: Vec<InitRow> = CONNECTIONS.iter().flat_map(|&of| [row(of, 0), row(of, MESSAGES)]).collect();
    for _ in 0..options.runs {
        for rows in rows.chunks_exact_mut(2) {
            let runs = one(place, options, postgres, rows[0].connections).await?;
            for (row, run) in rows.iter_mut().zip(runs) {
                announce(row, &run);
                row.runs.push(run);
            }
        }
    }
    let how = format!(
        "{SYSTEM}, sync_interval: always. Closed loop, keep-alive; {INITS} inits after {WARM_UP} that do not count, each \
         of another participant with a profile, a dream and an interpretation; those that resume have {MESSAGES} \
         messages of {} bytes before them. The stand-in of the vendor answers at once, on the client's thread; its own \
         time is from a request read to its answer written, and is within the latency. {} runs, fresh data each. \
         LOG_LEVEL={}.",
        options.content_bytes, options.runs, place.log_level
    );
    section(place, how, rows)
}

/// First inits of everybody, then their messages, then inits that resume.
async fn one(
    place: &Place,
    options: &Options,
    postgres: &mut Postgres,
    connections: usize,
) -> Result<[InitRun; 2]> {
    let mut stage = Stage::start(place, postgres, Manner::Answers).await?;
    let dreamers = stage.dreamers(WARM_UP + INITS).await?;
    let inits: Vec<Vec<u8>> = dreamers.iter().map(Dreamer::init).collect();
    let (first, answers) = pass(&stage, connections, &inits, 0).await?;
    // A talk that did not begin has no messages; its second init is wrong again.
    let said = |(dreamer, answer): (&Dreamer, &Answer)| {
        Some(dreamer.messages(&conversation(answer)?, MESSAGES, options.content_bytes))
    };
    let messages: Vec<Vec<u8>> = dreamers.iter().zip(&answers).filter_map(said).collect();
    all_200(stage.turnlog.address(), TELLING, &messages).await?;
    let (resumed, _) = pass(&stage, connections, &inits, MESSAGES).await?;
    stage.turnlog.still_runs()?;
    Ok([first, resumed])
}

/// One init of everybody; each must tell of so many messages before it.
async fn pass(
    stage: &Stage,
    connections: usize,
    inits: &[Vec<u8>],
    messages: u64,
) -> Result<(InitRun, Vec<Answer>)> {
    let address = stage.turnlog.address();
    let (warm_up, counted) = inits.split_at(WARM_UP);
    let mut answers = each(address, connections, warm_up).await?;
    let _before = stage.vendor.take();
    let meter = Meter::start(&stage.programs());
    let started = Instant::now();
    let measured = each(address, connections, counted).await?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_percent = meter.percent();
    let (vendor, vendor_answers) = stage.vendor.take();
    let mut micros = histogram();
    measured.iter().for_each(|answer| micros.saturating_record(answer.micros));
    answers.extend(measured);
    let wrong: Vec<&Answer> = answers.iter().filter(|answer| !is_right(answer, messages)).collect();
    let run = InitRun {
        inits: counted.len() as u64,
        per_second: counted.len() as f64 / seconds,
        latency: Latency::of(&micros),
        vendor,
        vendor_answers,
        wrong: wrong.len() as u64,
        first_wrong: wrong.first().map(|answer| answer.shown()),
        cpu_percent,
    };
    Ok((run, answers))
}

/// Whether a call can begin, and goes on from where the talk was.
fn is_right(answer: &Answer, messages: u64) -> bool {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else { return false };
    let data = &body["data"];
    answer.status == 200
        && data["signedUrl"].as_str().is_some_and(|url| url.starts_with("ws://"))
        && data["isResumed"] == (messages > 0)
        && data["messageCount"] == messages
}

fn conversation(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body["data"]["conversationId"].as_str().map(str::to_owned)
}

fn announce(row: &InitRow, run: &InitRun) {
    println!(
        "{}, {} connections: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms; the stand-in p50 {:.3} ms, p99 {:.3} ms; CPU {:?}",
        row.words(),
        row.connections,
        run.per_second,
        run.latency.p50_ms,
        run.latency.p99_ms,
        run.vendor.p50_ms,
        run.vendor.p99_ms,
        run.cpu_percent
    );
    if let Some(first) = &run.first_wrong {
        println!("  {} WRONG; first: {first}", run.wrong);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, url: &str, messages: u64) -> Answer {
        let data = serde_json::json!({"signedUrl": url, "isResumed": messages > 0, "messageCount": messages});
        Answer { status, body: serde_json::json!({"data": data}).to_string().into_bytes(), micros: 1 }
    }

    #[test]
    fn an_answer_that_begins_no_call_is_wrong() {
        assert!(is_right(&answer(200, "ws://x", 0), 0) && is_right(&answer(200, "ws://x", 50), 50));
        assert!(!is_right(&answer(503, "ws://x", 0), 0));
        assert!(!is_right(&answer(200, "", 0), 0));
        assert!(!is_right(&answer(200, "ws://x", 49), 50) && !is_right(&answer(200, "ws://x", 50), 0));
        assert!(!is_right(&Answer { status: 200, body: b"<html>".to_vec(), micros: 1 }, 0));
    }
}
