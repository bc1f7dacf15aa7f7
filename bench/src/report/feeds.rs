//! Results of the scenario `feeds`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Latency, Section};
use crate::client::watch::track::Faults;
use crate::memory::{Kernel, Memory};

/// What was measured of feeds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Feeds {
    /// Memory of feeds that nothing comes on.
    pub idle: Option<Section<Row<IdleRun>>>,
    /// Latency at a rate.
    pub live: Option<Section<Row<LiveRun>>>,
    /// The most that is delivered.
    pub peak: Option<Section<Row<PeakRun>>>,
    /// Feeds that come back at the same time.
    pub reconnect: Option<Section<Row<ReconnectRun>>>,
    /// Readers that stop.
    pub stalled: Option<Section<Row<StalledRun>>>,
}

/// Repeated runs of one system in one setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row<R> {
    /// What was measured.
    pub system: String,
    /// Feeds that were open.
    pub feeds: usize,
    /// Conversations that they watched.
    pub conversations: u32,
    /// Messages a second, in all; 0 where it is not set.
    pub rate: f64,
    /// Every run.
    pub runs: Vec<R>,
}

/// Feeds that nothing comes on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IdleRun {
    /// From the first connection to the last `initial`.
    pub open_seconds: f64,
    /// The server before the first.
    pub before: Memory,
    /// The server once all are open and its memory has settled.
    pub open: Memory,
    /// The kernel before, both ends.
    pub kernel_before: Kernel,
    /// The kernel after, both ends.
    pub kernel_open: Kernel,
    /// What is held open behind the server while they are open.
    pub behind: BTreeMap<String, u64>,
    /// What was wrong.
    pub faults: Faults,
}

/// Messages at a rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LiveRun {
    /// Messages that count.
    pub messages: u64,
    /// Of them, those that came, of all feeds together.
    pub delivered: u64,
    /// Messages that came within the window, a second.
    pub per_second: f64,
    /// From the answer to its writer to its last byte; 0 where it came first.
    pub from_stored: Latency,
    /// From just before it is written to its last byte on a feed.
    pub from_written: Latency,
    /// From just before it is written to its answer.
    pub answer: Latency,
    /// How much later than due it was written.
    pub late: Latency,
    /// The server before the first feed, with them open, and after the load.
    pub memory: [Memory; 3],
    /// What was wrong.
    pub faults: Faults,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Rates that rise until they are too high.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeakRun {
    /// Every step.
    pub steps: Vec<Step>,
    /// What was wrong up to the step that was too high.
    pub faults: Faults,
}

/// One rate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// Messages that were to be delivered, a second, of all feeds together.
    pub offered: f64,
    /// Messages that were, a second.
    pub delivered: f64,
    /// From the answer to its writer.
    pub from_stored: Latency,
    /// Whether it was kept up with.
    pub kept_up: bool,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Feeds that come back at the same time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReconnectRun {
    /// Messages that each had missed.
    pub behind_by: u32,
    /// From the first connection to the last message of the last feed.
    pub seconds: f64,
    /// From the first connection to each feed's last message.
    pub caught_up: Latency,
    /// What is held open behind the server: before, the most of each meanwhile, after.
    pub behind: [BTreeMap<String, u64>; 3],
    /// The server before they came back, and the most meanwhile.
    pub memory: [Memory; 2],
    /// What was wrong.
    pub faults: Faults,
}

/// The same load twice, without and with readers that stop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StalledRun {
    /// Readers that stop.
    pub stalled: usize,
    /// The others while all read.
    pub all_read: LiveRun,
    /// The others while those do not.
    pub some_stalled: LiveRun,
    /// The most that the server held while all read.
    pub all_read_peak: Memory,
    /// The most that the server held while those did not.
    pub stalled_peak: Memory,
    /// Of those that stopped, how many the server closed.
    pub closed: usize,
}

impl IdleRun {
    /// KiB of user space for each of `feeds`.
    pub fn kib_each(&self, feeds: usize) -> f64 {
        (self.open.pss_kib - self.before.pss_kib) / feeds as f64
    }

    /// KiB of the kernel for each of `feeds`, both ends.
    pub fn kernel_kib_each(&self, feeds: usize) -> f64 {
        let sum = |kernel: Kernel| kernel.slab_kib + kernel.tcp_kib;
        (sum(self.kernel_open) - sum(self.kernel_before)) / feeds as f64
    }
}

impl PeakRun {
    /// The highest rate that was kept up with, as it was delivered.
    pub fn best(&self) -> Option<&Step> {
        self.steps.iter().filter(|step| step.kept_up).max_by(|a, b| a.delivered.total_cmp(&b.delivered))
    }
}
