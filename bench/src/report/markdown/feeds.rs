//! Tables of the scenario `feeds`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{cpu, quantile, section, spread, thousands};
use crate::client::watch::track::Faults;
use crate::memory::Memory;
use crate::report::feeds::{Feeds, IdleRun, LiveRun, PeakRun, ReconnectRun, Row, StalledRun};
use crate::report::{Latency, median};

/// KiB of a MB.
const MB: f64 = 1_024.0;
/// Messages that are written this much later than due are told of, in milliseconds.
const LATE_MS: f64 = 50.0;

/// All sections that there are.
pub(super) fn render(text: &mut String, feeds: &Feeds) {
    section(text, "Feeds: memory of idle ones", feeds.idle.as_ref(), idle);
    section(text, "Feeds: stored to received", feeds.live.as_ref(), live);
    section(text, "Feeds: the most delivered", feeds.peak.as_ref(), peak);
    section(text, "Feeds: all come back at once", feeds.reconnect.as_ref(), reconnect);
    section(text, "Feeds: readers that stop", feeds.stalled.as_ref(), stalled);
}

fn idle(rows: &[Row<IdleRun>]) -> String {
    let head = "| system | feeds | conversations | KiB each, user space | KiB each, kernel, both ends | \
                seconds to open | behind it | wrong |\n|---|---:|---:|---:|---:|---:|---|---|\n";
    table(head, rows, |row| {
        vec![
            fractions(row.runs.iter().map(|run| run.kib_each(row.feeds))),
            fractions(row.runs.iter().map(|run| run.kernel_kib_each(row.feeds))),
            fractions(row.runs.iter().map(|run| run.open_seconds)),
            row.runs.last().map(|run| counts(&run.behind)).unwrap_or_default(),
            wrong(row.runs.iter().map(|run| run.faults)),
        ]
    })
}

fn live(rows: &[Row<LiveRun>]) -> String {
    let head = "| system | feeds | conversations | messages/s | delivered/s | stored → received p50 / p99 / max ms | \
                written → received p50 / p99 ms | written → stored p50 / p99 ms | KiB each after | CPU % | wrong |\n\
                |---|---:|---:|---:|---:|---:|---:|---:|---:|---|---|\n";
    table(head, rows, |row| {
        let kib = |run: &LiveRun| (run.memory[2].pss_kib - run.memory[0].pss_kib) / row.feeds as f64;
        vec![
            thousands(row.rate),
            spread(row.runs.iter().map(|run| run.per_second)),
            quantiles(&row.runs, |run| run.from_stored, &[|l| l.p50_ms, |l| l.p99_ms, |l| l.max_ms]),
            quantiles(&row.runs, |run| run.from_written, &[|l| l.p50_ms, |l| l.p99_ms]),
            quantiles(&row.runs, |run| run.answer, &[|l| l.p50_ms, |l| l.p99_ms]),
            fractions(row.runs.iter().map(kib)),
            cpu(row.runs.iter().map(|run| &run.cpu_percent)),
            wrong(row.runs.iter().map(|run| run.faults)) + &late(&row.runs),
        ]
    })
}

/// Says that the rate was not what it should have been: the writers could not keep up.
fn late(runs: &[LiveRun]) -> String {
    let p99 = median(runs.iter().map(|run| run.late.p99_ms));
    if p99 < LATE_MS { String::new() } else { format!(", written {p99:.0} ms late (p99)") }
}

fn peak(rows: &[Row<PeakRun>]) -> String {
    let head = "| system | feeds | conversations | most delivered/s | stored → received there p50 / p99 ms | CPU % there \
                | too high: offered/s, delivered/s, p99 ms | wrong |\n|---|---:|---:|---:|---:|---|---|---|\n";
    table(head, rows, |row| {
        let best = || row.runs.iter().filter_map(PeakRun::best);
        let latencies: Vec<Latency> = best().map(|step| step.from_stored).collect();
        let too_high = row.runs.last().and_then(|run| run.steps.last()).filter(|step| !step.kept_up);
        vec![
            if latencies.is_empty() { "none".into() } else { spread(best().map(|step| step.delivered)) },
            quantiles(&latencies, |latency| *latency, &[|l| l.p50_ms, |l| l.p99_ms]),
            cpu(best().map(|step| &step.cpu_percent)),
            too_high.map_or("–".into(), |step| {
                let (offered, delivered) = (thousands(step.offered), thousands(step.delivered));
                format!("{offered}, {delivered}, {:.0}", step.from_stored.p99_ms)
            }),
            wrong(row.runs.iter().map(|run| run.faults)),
        ]
    })
}

fn reconnect(rows: &[Row<ReconnectRun>]) -> String {
    let head = "| system | feeds | conversations | messages behind | seconds to the last | caught up p50 / p99 ms | \
                behind it: before, most meanwhile, after | MB before, most meanwhile | wrong |\n\
                |---|---:|---:|---:|---:|---:|---|---|---|\n";
    table(head, rows, |row| {
        let run = row.runs.last();
        vec![
            run.map(|run| run.behind_by.to_string()).unwrap_or_default(),
            fractions(row.runs.iter().map(|run| run.seconds)),
            quantiles(&row.runs, |run| run.caught_up, &[|l| l.p50_ms, |l| l.p99_ms]),
            run.map(|run| run.behind.each_ref().map(counts).join("; ")).unwrap_or_default(),
            run.map(|run| run.memory.map(megabytes).join(", ")).unwrap_or_default(),
            wrong(row.runs.iter().map(|run| run.faults)),
        ]
    })
}

fn stalled(rows: &[Row<StalledRun>]) -> String {
    let mut text = String::from(
        "| system | feeds | conversations | messages/s | readers | others: stored → received p50 / p99 / max ms | \
         server MB: open, most, after | closed by the server | wrong with the others |\n\
         |---|---:|---:|---:|---|---:|---|---:|---|\n",
    );
    for row in rows {
        let Some(last) = row.runs.last() else { continue };
        let mut line = |readers: String, closed: String, side: fn(&StalledRun) -> (&LiveRun, Memory)| {
            let (live, peak) = side(last);
            let memory = [live.memory[1], peak, live.memory[2]].map(megabytes).join(", ");
            let latencies: Vec<Latency> = row.runs.iter().map(|run| side(run).0.from_stored).collect();
            let latency = quantiles(&latencies, |l| *l, &[|l| l.p50_ms, |l| l.p99_ms, |l| l.max_ms]);
            let cells = [
                thousands(row.rate),
                readers,
                latency,
                memory,
                closed,
                wrong(row.runs.iter().map(|run| side(run).0.faults)),
            ];
            let _infallible = writeln!(text, "{} {} |", beginning(row), cells.join(" | "));
        };
        line("all read".into(), "–".into(), |run| (&run.all_read, run.all_read_peak));
        let (readers, closed) = (format!("{} stop", last.stalled), last.closed.to_string());
        line(readers, closed, |run| (&run.some_stalled, run.stalled_peak));
    }
    text
}

fn table<R>(head: &str, rows: &[Row<R>], cells: impl Fn(&Row<R>) -> Vec<String>) -> String {
    let mut text = head.to_owned();
    for row in rows {
        let _infallible = writeln!(text, "{} {} |", beginning(row), cells(row).join(" | "));
    }
    text
}

fn beginning<R>(row: &Row<R>) -> String {
    let (feeds, conversations) = (thousands(row.feeds as f64), thousands(row.conversations.into()));
    format!("| {} | {feeds} | {conversations} |", row.system)
}

fn quantiles<R>(runs: &[R], of: fn(&R) -> Latency, which: &[fn(Latency) -> f64]) -> String {
    let each = which.iter().map(|value| quantile(runs.iter().map(of), *value));
    each.collect::<Vec<_>>().join(" / ")
}

fn fractions(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = median(values);
    if high - low < 0.05 { format!("{middle:.1}") } else { format!("{middle:.1} ({low:.1}–{high:.1})") }
}

fn megabytes(memory: Memory) -> String {
    format!("{:.0}", memory.pss_kib / MB)
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn wrong(faults: impl Iterator<Item = Faults>) -> String {
    let mut sum = Faults::default();
    faults.for_each(|faults| sum += faults);
    if sum == Faults::default() { "–".to_owned() } else { sum.words() }
}
