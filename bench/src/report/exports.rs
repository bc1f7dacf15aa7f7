//! Results of exports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Repeated exports of one log in one format.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRow {
    /// How tables are written.
    pub format: String,
    /// Which tables.
    pub tables: String,
    /// Messages in the log.
    pub messages: u64,
    /// Conversations they belong to.
    pub conversations: u64,
    /// Every run.
    pub runs: Vec<ExportRun>,
}

/// One export of the whole log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExportRun {
    /// From starting the program to its end.
    pub seconds: f64,
    /// Messages divided by that.
    pub per_second: f64,
    /// The most resident memory that it had, in MB.
    pub peak_mb: f64,
    /// Bytes of the data set, in MB.
    pub written_mb: f64,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}
