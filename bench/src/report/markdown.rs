//! The table: medians over the runs, the spread beside them, and whatever was not as it should be.

mod feeds;
mod sessions;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::exports::ExportRow;
use super::{
    FeedRow, FeedRun, Latency, ListRow, LoadRow, LoadRun, MemoryRow, ProjectRow, RebuildRow, RebuildRun,
    Report, SearchRow, Section, median,
};

/// One of the latencies of a run.
type OfFeed = fn(&FeedRun) -> Latency;

/// The whole report as Markdown.
pub fn render(report: &Report) -> String {
    let mut text = String::from(
        "# Measured\n\nMade by `make bench`; raw figures of every run in the JSON beside this.\n",
    );
    text += "Medians over the runs, in brackets the lowest and highest. CPU in percent of one core.\n";
    section(&mut text, "Acknowledged messages/s", report.ingest.as_ref(), load_table);
    section(&mut text, "The seeds' own design", report.peers.as_ref(), load_table);
    section(&mut text, "Messages/s projected", report.project.as_ref(), project_table);
    section(&mut text, "Events/s rebuilt and verified", report.rebuild.as_ref(), rebuild_table);
    section(&mut text, "Post to feed", report.feed.as_ref(), feed_table);
    section(&mut text, "Pages of a list", report.list.as_ref(), list_table);
    section(&mut text, "Searches", report.search.as_ref(), search_table);
    section(&mut text, "Acknowledged webhooks/s", report.webhooks.as_ref(), load_table);
    section(&mut text, "Memory while large webhooks arrive", report.webhook_memory.as_ref(), memory_table);
    section(&mut text, "Messages/s exported", report.export.as_ref(), export_table);
    sessions::render(&mut text, &report.sessions);
    feeds::render(&mut text, &report.feeds);
    text
}

fn section<R>(text: &mut String, title: &str, section: Option<&Section<R>>, table: impl Fn(&[R]) -> String) {
    let Some(section) = section else { return };
    let Section { taken, machine, how, rows } = section;
    *text += &format!("\n## {title}\n\n{machine}\n\nTaken {taken}. {how}\n\n{}", table(rows));
}

fn load_table(rows: &[LoadRow]) -> String {
    let mut text = String::from(
        "| system | stored when | connections | messages/s | p50 ms | p99 ms | CPU % | wrong |\n",
    );
    text += "|---|---|---:|---:|---:|---:|---|---|\n";
    for row in rows {
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.system,
            row.durability,
            row.connections,
            spread(row.runs.iter().map(|run| run.per_second)),
            quantile(row.runs.iter().map(|run| run.latency), |l| l.p50_ms),
            quantile(row.runs.iter().map(|run| run.latency), |l| l.p99_ms),
            cpu(row.runs.iter().map(|run| &run.cpu_percent)),
            wrong(row),
        );
    }
    text
}

fn project_table(rows: &[ProjectRow]) -> String {
    let mut text = String::from("| messages | conversations | seconds | messages/s | rows found | CPU % |\n");
    text += "|---:|---:|---:|---:|---:|---|\n";
    for row in rows {
        let rows_found = row.runs.iter().map(|run| run.rows).min().unwrap_or_default();
        let _infallible = writeln!(
            text,
            "| {} | {} | {:.1} | {} | {} | {} |",
            thousands(row.messages as f64),
            thousands(row.conversations as f64),
            median(row.runs.iter().map(|run| run.seconds)),
            spread(row.runs.iter().map(|run| run.per_second)),
            thousands(rows_found as f64),
            cpu(row.runs.iter().map(|run| &run.cpu_percent)),
        );
    }
    text
}

fn rebuild_table(rows: &[RebuildRow]) -> String {
    let mut text = String::from(
        "| command | messages | events/s | peak MB | read p99 ms | idle | post to table p99 ms | idle |\n",
    );
    text += "|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let of = |value: fn(&RebuildRun) -> f64| spread(row.runs.iter().map(value));
        let p99 = |value: fn(&RebuildRun) -> Latency| quantile(row.runs.iter().map(value), |l| l.p99_ms);
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.command,
            thousands(row.messages as f64),
            of(|run| run.per_second),
            of(|run| run.peak_mb),
            p99(|run| run.read),
            p99(|run| run.idle_read),
            p99(|run| run.write),
            p99(|run| run.idle_write),
        );
    }
    text
}

fn export_table(rows: &[ExportRow]) -> String {
    let mut text = String::from(
        "| format | tables | messages | seconds | messages/s | peak MB | MB written | CPU % |\n",
    );
    text += "|---|---|---:|---:|---:|---:|---:|---|\n";
    for row in rows {
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {} | {} | {} | {} |",
            row.format,
            row.tables,
            thousands(row.messages as f64),
            median(row.runs.iter().map(|run| run.seconds)),
            spread(row.runs.iter().map(|run| run.per_second)),
            spread(row.runs.iter().map(|run| run.peak_mb)),
            spread(row.runs.iter().map(|run| run.written_mb)),
            cpu(row.runs.iter().map(|run| &run.cpu_percent)),
        );
    }
    text
}

fn memory_table(rows: &[MemoryRow]) -> String {
    let mut text = String::from(
        "| system | webhooks at once | MB each | idle MB | peak MB | MB over idle | seconds | not 200 |\n",
    );
    text += "|---|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let of = |value: fn(&super::MemoryRun) -> f64| spread(row.runs.iter().map(value));
        let _infallible = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} | {} |",
            row.system,
            row.webhooks,
            row.bytes / (1024 * 1024),
            of(|run| run.idle_mb),
            of(|run| run.peak_mb),
            of(|run| run.peak_mb - run.idle_mb),
            median(row.runs.iter().map(|run| run.seconds)),
            row.runs.iter().map(|run| run.not_200).sum::<u64>(),
        );
    }
    text
}

fn feed_table(rows: &[FeedRow]) -> String {
    let mut text = String::from(
        "| system | stored when | posts/s | what | p50 ms | p90 ms | p99 ms | max ms | seen |\n",
    );
    text += "|---|---|---:|---|---:|---:|---:|---:|---|\n";
    for row in rows {
        let sum = |of: fn(&FeedRun) -> u64| row.runs.iter().map(of).sum::<u64>();
        let seen =
            format!("{} of {}, {} doubled", sum(|r| r.received), sum(|r| r.posted), sum(|r| r.doubled));
        let measures: [(&str, OfFeed); 3] = [
            ("post → frame", |run| run.from_post),
            ("reply → frame", |run| run.from_reply),
            ("post → reply", |run| run.post),
        ];
        for (what, of) in measures {
            let of = |value: fn(Latency) -> f64| quantile(row.runs.iter().map(of), value);
            let quantiles =
                [of(|l| l.p50_ms), of(|l| l.p90_ms), of(|l| l.p99_ms), of(|l| l.max_ms)].join(" | ");
            let _infallible = writeln!(
                text,
                "| {} | {} | {} | {what} | {quantiles} | {seen} |",
                row.system, row.durability, row.rate
            );
        }
    }
    text
}

fn list_table(rows: &[ListRow]) -> String {
    let mut text = String::from("| list | conversations | page | asked for | p50 ms | p99 ms | max ms |\n");
    text += "|---|---:|---:|---|---:|---:|---:|\n";
    for row in rows {
        let of = |value: fn(Latency) -> f64| quantile(row.runs.iter().copied(), value);
        let quantiles = [of(|l| l.p50_ms), of(|l| l.p99_ms), of(|l| l.max_ms)].join(" | ");
        let (conversations, page) = (thousands(row.conversations as f64), thousands(row.page as f64));
        let _infallible =
            writeln!(text, "| {} | {conversations} | {page} | {} | {quantiles} |", row.list, row.how);
    }
    text
}

fn search_table(rows: &[SearchRow]) -> String {
    let mut text =
        String::from("| search | hits on the page | p50 ms | p99 ms | max ms |\n|---|---:|---:|---:|---:|\n");
    for row in rows {
        let of = |value: fn(Latency) -> f64| quantile(row.runs.iter().copied(), value);
        let quantiles = [of(|l| l.p50_ms), of(|l| l.p99_ms), of(|l| l.max_ms)].join(" | ");
        let _infallible = writeln!(text, "| {} | {} | {quantiles} |", row.search, row.hits);
    }
    text
}

fn wrong(row: &LoadRow) -> String {
    let total = |of: fn(&LoadRun) -> u64| row.runs.iter().map(of).sum::<u64>();
    let counts = [
        (total(|run| run.not_200), "not 200"),
        (total(|run| run.broken), "broken"),
        (total(|run| run.unanswered), "unanswered"),
        (total(|run| run.double_ids), "double ids"),
    ];
    let named: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if named.is_empty() { "–".to_owned() } else { named.join(", ") }
}

fn quantile(runs: impl Iterator<Item = Latency>, of: fn(Latency) -> f64) -> String {
    let middle = median(runs.map(of));
    // A run without a single answer has no latency.
    if middle == 0.0 { "–".to_owned() } else { format!("{middle:.2}") }
}

fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let middle = thousands(median(values));
    if low == high { middle } else { format!("{middle} ({}–{})", thousands(low), thousands(high)) }
}

fn cpu<'a>(runs: impl Iterator<Item = &'a BTreeMap<String, f64>>) -> String {
    let mut parts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, percent) in runs.flatten() {
        parts.entry(name).or_default().push(*percent);
    }
    parts
        .into_iter()
        .map(|(name, percents)| format!("{name} {:.0}", median(percents)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A whole number with a comma at every thousand.
pub fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567.2), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(spread([10_000.0, 9_000.0, 12_000.0].into_iter()), "10,000 (9,000–12,000)");
    }
}
