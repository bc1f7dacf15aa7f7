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
/// Weight of a new measurement: a wrong guess is gone after a handful.
const NEW: f64 = 0.5;
/// After so many batches in a row a few messages go one by one, to learn whether that has become cheaper.
const PROBE_EVERY: u32 = 64;
/// Messages of such a probe: enough that what each costs shows beside the round trip, few enough to be cheap.
const PROBE: usize = 32;
/// A publish that costs less than this waits for no disk: then small groups one by one beat any batch, because requests
/// are answered and new ones read while the next group is under way.
const CHEAP: f64 = 60e-6;
/// Such a group.
const SMALL_GROUP: usize = 48;
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
        if pending.iter().any(|job| job.command.makes_several()) {
            return Mode::Batch;
        }
        self.choose_for(pending.len(), most_of_one(pending))
    }

    /// Chooses for so many events, at most `turns` of them for one aggregate.
    fn choose_for(&mut self, events: usize, turns: usize) -> Mode {
        if self.single <= CHEAP && turns <= events.div_ceil(SMALL_GROUP) {
            return Mode::Singles { most: SMALL_GROUP };
        }
        let rounds = turns.max(events.div_ceil(MOST_SINGLES));
        let one_by_one = rounds as f64 * ROUND_TRIP + events as f64 * self.single;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of this size until the choice settles; answers it.
    fn settle(costs: &mut Costs, events: usize, single: f64, batch: f64) -> Mode {
        let mut last = Mode::Batch;
        for _ in 0..2_000 {
            last = costs.choose_for(events, 1);
            let took = match last {
                Mode::Batch => batch,
                Mode::Singles { most } => ROUND_TRIP + events.min(most) as f64 * single,
            };
            costs.learn(last, events, Duration::from_secs_f64(took));
        }
        last
    }

    #[test]
    fn a_lone_command_goes_at_once() {
        assert_eq!(Costs::default().choose_for(1, 1), Mode::Singles { most: MOST_SINGLES });
    }

    #[test]
    fn with_an_fsync_for_each_publish_a_crowd_goes_as_one_batch() {
        assert_eq!(settle(&mut Costs::default(), 100, 250e-6, 3e-3), Mode::Batch);
        assert_eq!(settle(&mut Costs::default(), 5, 250e-6, 3e-3), Mode::Singles { most: MOST_SINGLES });
    }

    #[test]
    fn where_publishes_are_cheap_that_is_found_out_and_when_they_become_dear_too() {
        let mut costs = Costs::default();
        assert_eq!(settle(&mut costs, 100, 10e-6, 3e-3), Mode::Singles { most: SMALL_GROUP });
        assert_eq!(settle(&mut costs, 100, 250e-6, 3e-3), Mode::Batch);
    }

    #[test]
    fn many_commands_for_one_aggregate_are_a_batch_because_one_by_one_they_take_turns() {
        assert_eq!(Costs::default().choose_for(20, 20), Mode::Batch);
    }
}
