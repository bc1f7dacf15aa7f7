//! One atomic batch or one by one: whichever the measured costs say is cheaper for what is queued.
//!
//! With an fsync for every publish a batch pays from about a dozen messages on; with the server's default sync it
//! hardly ever does. Neither is configured here: both are learned from the acks.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Job;

/// First guess of one pipelined publish: an fsync on a good disk.
const SINGLE: f64 = 250e-6;
/// First guess of a batch: its six flushes.
const BATCH: f64 = 3e-3;
/// Round trip of a publish beside its flush.
const ROUND_TRIP: f64 = 200e-6;
/// Publishes from which the cost of one is learned; fewer tell the round trip instead.
const ENOUGH: usize = 4;
/// Weight of a new measurement.
const NEW: f64 = 0.2;
/// After so many batches in a row a few messages go one by one, to learn whether that has become cheaper.
const PROBE_EVERY: u32 = 200;
/// Messages of such a probe.
const PROBE: usize = 8;
/// Messages that go one by one at most at once, so that a wrong guess costs little.
const MOST_SINGLES: usize = 256;

/// How a group goes to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As one atomic batch.
    Batch,
    /// One publish each, at most so many at once, at most one for each aggregate.
    Singles {
        /// How many at most.
        most: usize,
    },
}

#[derive(Debug)]
pub(super) struct Costs {
    single: f64,
    batch: f64,
    batches: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Self { single: SINGLE, batch: BATCH, batches: 0 }
    }
}

impl Costs {
    /// Chooses for what is queued. `singles` asks for one by one, whatever it costs.
    pub(super) fn choose(&mut self, pending: &VecDeque<Job>, singles: bool) -> Mode {
        // A lone message goes at once.
        if singles || pending.len() < 2 {
            return Mode::Singles { most: MOST_SINGLES };
        }
        let rounds = most_of_one(pending).max(pending.len().div_ceil(MOST_SINGLES));
        let one_by_one = rounds as f64 * ROUND_TRIP + pending.len() as f64 * self.single;
        if one_by_one <= self.batch {
            return Mode::Singles { most: MOST_SINGLES };
        }
        self.batches += 1;
        if self.batches.is_multiple_of(PROBE_EVERY) { Mode::Singles { most: PROBE } } else { Mode::Batch }
    }

    /// Takes in what a group really took.
    pub(super) fn learn(&mut self, mode: Mode, events: usize, took: Duration) {
        let took = took.as_secs_f64();
        match mode {
            Mode::Batch => self.batch += NEW * (took - self.batch),
            Mode::Singles { .. } if events >= ENOUGH => {
                let each = (took - ROUND_TRIP).max(0.0) / events as f64;
                self.single += NEW * (each - self.single);
            }
            Mode::Singles { .. } => {}
        }
    }
}

/// How many of the waiting commands are for the same aggregate, at most: one by one they take as many rounds.
fn most_of_one(pending: &VecDeque<Job>) -> usize {
    let mut counts = HashMap::with_capacity(pending.len());
    for job in pending {
        *counts.entry(job.subject.as_str()).or_insert(0_usize) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
