//! Tables of the scenario `sessions`.

use std::fmt::Write;

use super::{cpu, load_table, quantile, section, spread};
use crate::report::sessions::{HangRow, InitRow, InitRun, Sessions};
use crate::report::{Latency, LoadRow, LoadRun, median};

/// All sections that there are.
pub(super) fn render(text: &mut String, sessions: &Sessions) {
    section(text, "Sessions: init", sessions.init.as_ref(), init);
    section(text, "Sessions: message sync while the vendor hangs", sessions.hang.as_ref(), hang);
}

fn init(rows: &[InitRow]) -> String {
    let mut text = String::from(
        "| init | connections | inits/s | p50 ms | p99 ms | max ms | of it the stand-in: p50 ms | p99 ms | CPU % | wrong |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---|---|\n",
    );
    for row in rows {
        let of =
            |of: fn(&InitRun) -> Latency, value: fn(Latency) -> f64| quantile(row.runs.iter().map(of), value);
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.words(),
            row.connections,
            spread(row.runs.iter().map(|run| run.per_second)),
            of(|run| run.latency, |l| l.p50_ms),
            of(|run| run.latency, |l| l.p99_ms),
            of(|run| run.latency, |l| l.max_ms),
            of(|run| run.vendor, |l| l.p50_ms),
            of(|run| run.vendor, |l| l.p99_ms),
            cpu(row.runs.iter().map(|run| &run.cpu_percent)),
            wrong(&row.runs),
        );
    }
    text
}

fn wrong(runs: &[InitRun]) -> String {
    let of = |value: fn(&InitRun) -> u64| runs.iter().map(value).sum::<u64>();
    let (wrong, inits, vendor) = (of(|run| run.wrong), of(|run| run.inits), of(|run| run.vendor_answers));
    let mut named = Vec::new();
    if wrong > 0 {
        named.push(format!("{wrong} wrong answers"));
    }
    if vendor != inits {
        named.push(format!("the vendor was asked {vendor} times for {inits}"));
    }
    if named.is_empty() { "–".to_owned() } else { named.join(", ") }
}

fn hang(rows: &[HangRow]) -> String {
    let both: Vec<LoadRow> = rows.iter().flat_map(|row| [row.alone.clone(), row.beside.clone()]).collect();
    let mut text = load_table(&both);
    text += "\nBeside inits that wait, by alone (ratios of the medians):\n\n\
             | connections | inits that wait | messages/s | p50 | p99 |\n|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let ratio = |of: fn(&LoadRun) -> f64| {
            let middle = |row: &LoadRow| median(row.runs.iter().map(of));
            format!("{:.2}", middle(&row.beside) / middle(&row.alone))
        };
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.alone.connections,
            row.waiting,
            ratio(|run| run.per_second),
            ratio(|run| run.latency.p50_ms),
            ratio(|run| run.latency.p99_ms),
        );
    }
    text
}
