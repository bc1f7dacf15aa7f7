//! Results of the scenario `sessions`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Latency, LoadRow, Section};

/// What was measured of voice sessions.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// How long `init` takes.
    pub init: Option<Section<InitRow>>,
    /// Message sync while the vendor hangs.
    pub hang: Option<Section<HangRow>>,
}

/// Repeated inits in one setting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitRow {
    /// Messages of each talk before; none of a first init.
    pub messages: u64,
    /// Connections, one init under way on each.
    pub connections: usize,
    /// Every run.
    pub runs: Vec<InitRun>,
}

/// Inits of participants one after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InitRun {
    /// Inits that count.
    pub inits: u64,
    /// Of them, a second.
    pub per_second: f64,
    /// From before the request is written to after its answer is read.
    pub latency: Latency,
    /// The stand-in of the vendor, within that: from a request read to its answer written.
    pub vendor: Latency,
    /// Requests that the stand-in answered: as many as inits, where none is asked for twice.
    pub vendor_answers: u64,
    /// Answers other than 200, without a signed URL, or with another number of messages; of the warm-up too.
    pub wrong: u64,
    /// The first of them.
    pub first_wrong: Option<String>,
    /// Percent of one core that each part used.
    pub cpu_percent: BTreeMap<String, f64>,
}

/// Repeated loads of message sync, in turn alone and beside inits that wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HangRow {
    /// Inits that waited for the vendor, all of them in all of the time that counts.
    pub waiting: usize,
    /// Message sync alone.
    pub alone: LoadRow,
    /// Message sync beside them.
    pub beside: LoadRow,
}

impl InitRow {
    /// What kind of inits they are.
    pub fn words(&self) -> String {
        match self.messages {
            0 => "first init".to_owned(),
            messages => format!("init that resumes, {messages} messages before"),
        }
    }
}
