//! Results: raw figures of every run as JSON, and the table that is made of them.

pub mod exports;
pub mod feeds;
pub mod markdown;
pub mod sessions;
pub mod store;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Everything that was measured, by scenario. A scenario that is measured again replaces its section alone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Acknowledged messages/s of turnlog.
    pub ingest: Option<Section<LoadRow>>,
    /// The same of the seeds' own design.
    pub peers: Option<Section<LoadRow>>,
    /// Messages/s projected.
    pub project: Option<Section<ProjectRow>>,
    /// Events/s rebuilt and verified.
    #[serde(default)]
    pub rebuild: Option<Section<RebuildRow>>,
    /// Post-to-feed latency.
    pub feed: Option<Section<FeedRow>>,
    /// Pages of a list of conversations.
    pub list: Option<Section<ListRow>>,
    /// Latency of searches.
    #[serde(default)]
    pub search: Option<Section<SearchRow>>,
    /// Acknowledged webhooks/s.
    #[serde(default)]
    pub webhooks: Option<Section<LoadRow>>,
    /// Memory while large webhooks arrive at once.
    #[serde(default)]
    pub webhook_memory: Option<Section<MemoryRow>>,
    /// Messages/s exported.
    #[serde(default)]
    pub export: Option<Section<exports::ExportRow>>,
    /// Voice sessions.
    #[serde(default)]
    pub sessions: sessions::Sessions,
    /// Many live feeds.
    #[serde(default)]
    pub feeds: feeds::Feeds,
}

/// One scenario's results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Section<R> {
    /// Day and time (UTC) it was taken.
    pub taken: String,
    /// What it was taken on.
    pub machine: Machine,
    /// Options that shape the figures, in words.
    pub how: String,
    /// One row for each system and setting.
    pub rows: Vec<R>,
}

/// Repeated loads of one system in one setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadRow {
    /// What was measured.
    pub system: String,
    /// When a message counts as stored there.
    pub durability: String,
    /// Connections, one request under way on each.
    pub connections: usize,
    /// Every run.
    pub runs: Vec<LoadRun>,
}

/// One run of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadRun {
    /// Messages answered 200 within the window, a second.
    pub per_second: f64,
    /// Messages answered 200 within the window.
    pub acknowledged: u64,
    /// From before the request is written to after its reply is read.
    pub latency: Latency,
    /// Answers other than 200 with a `message_id`.
    pub not_200: u64,
    /// Connections that broke.
    pub broken: u64,
    /// Requests without an answer two seconds after the end.
    pub unanswered: u64,
    /// `message_id`s that were given out before: always an error.
    pub double_ids: u64,
    /// The first thing that went wrong.
    pub first_error: Option<String>,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_ms: f64,
    /// One in ten is slower.
    pub p90_ms: f64,
    /// One in a hundred is slower.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// Repeated projections of one log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectRow {
    /// Messages in the log.
    pub messages: u64,
    /// Conversations they belong to.
    pub conversations: u64,
    /// Every run.
    pub runs: Vec<ProjectRun>,
}

/// One projection of the whole log into an empty database.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectRun {
    /// From starting the program to the checkpoint at the log's end.
    pub seconds: f64,
    /// Messages divided by that.
    pub per_second: f64,
    /// Rows found in `conversation_messages` afterwards: must be as many as messages.
    pub rows: u64,
    /// How long filling the log took.
    pub fill_seconds: f64,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Repeated runs of one command over one log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RebuildRow {
    /// The command.
    pub command: String,
    /// Messages in the log when it was filled.
    pub messages: u64,
    /// Conversations they belong to.
    pub conversations: u64,
    /// Every run.
    pub runs: Vec<RebuildRun>,
}

/// One run of it, beside a system that is read and written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RebuildRun {
    /// From its start to its end.
    pub seconds: f64,
    /// Events divided by that.
    pub per_second: f64,
    /// What its process held at most.
    pub peak_mb: f64,
    /// A snapshot of a conversation before it ran.
    pub idle_read: Latency,
    /// The same while it ran.
    pub read: Latency,
    /// From a message's POST until a read finds it in the tables, before it ran.
    pub idle_write: Latency,
    /// The same while it ran.
    pub write: Latency,
}

/// Repeated open loops of one setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedRow {
    /// What was measured.
    pub system: String,
    /// When a message counts as stored there.
    pub durability: String,
    /// Posts a second.
    pub rate: u32,
    /// Every run.
    pub runs: Vec<FeedRun>,
}

/// One open loop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FeedRun {
    /// Messages sent.
    pub posted: u64,
    /// Messages seen on the feed: must be as many.
    pub received: u64,
    /// Messages seen more than once: must be none.
    pub doubled: u64,
    /// From just before the POST is written to the frame's last byte.
    pub from_post: Latency,
    /// From the POST's reply to the frame's last byte; 0 where the frame came first.
    pub from_reply: Latency,
    /// From just before the POST is written to its reply.
    pub post: Latency,
}

/// Repeated requests for one page of one list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListRow {
    /// Whose list, narrowed to what.
    pub list: String,
    /// How the page was asked for.
    pub how: String,
    /// Its number.
    pub page: u64,
    /// Conversations on all pages.
    pub conversations: u64,
    /// Every run: from before the request is written to after its reply is read.
    pub runs: Vec<Latency>,
}

/// Repeated requests for the first page of one search.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SearchRow {
    /// What kind of search it is.
    pub search: String,
    /// Hits on the page.
    pub hits: usize,
    /// Every run: from before the request is written to after its reply is read.
    pub runs: Vec<Latency>,
}

/// Repeated floods of large webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryRow {
    /// What was measured.
    pub system: String,
    /// Webhooks at once.
    pub webhooks: usize,
    /// Bytes of the sound in each.
    pub bytes: usize,
    /// Every run.
    pub runs: Vec<MemoryRun>,
}

/// One flood.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryRun {
    /// Resident before, in MB of 1,048,576 bytes.
    pub idle_mb: f64,
    /// The most that was resident.
    pub peak_mb: f64,
    /// From the first byte to the last answer.
    pub seconds: f64,
    /// Answers other than 200.
    pub not_200: u64,
}

impl Latency {
    /// The quantiles of a histogram of microseconds.
    pub fn of(micros: &Histogram<u64>) -> Self {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Self {
            p50_ms: ms(micros.value_at_quantile(0.50)),
            p90_ms: ms(micros.value_at_quantile(0.90)),
            p99_ms: ms(micros.value_at_quantile(0.99)),
            max_ms: ms(micros.max()),
        }
    }
}

impl LoadRun {
    /// Whether every message was answered 200 with an id of its own.
    pub fn is_clean(&self) -> bool {
        self.not_200 + self.broken + self.unanswered + self.double_ids == 0
    }
}

/// A histogram of microseconds up to two minutes, with three digits: an error of 0.1 % at most.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000, 3)
        .expect("constant bounds that the library documents as valid")
}

/// The middle one of `values`; of an even number the mean of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }
}
