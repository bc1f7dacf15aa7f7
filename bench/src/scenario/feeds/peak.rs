//! The most that is delivered: rates that rise until they are too high.

use std::time::Duration;

use super::stage::evenly;
use super::{Bench, Shape};
use crate::error::Result;
use crate::report::feeds::{PeakRun, Row, Step};
use crate::systems::watched::System;

pub(super) const WORDS: &str = "Rates rise step by step on the same feeds. A step is kept up with when at least 97 % of what was offered came \
     within its own time and p99 is at most 500 ms; the most delivered is the best of those.";

/// What is opened. The rate is the first step's: 100,000 messages delivered a second.
const SHAPE: Shape = Shape { feeds: 10_000, conversations: 10, rate: 100.0 };
/// Each step offers so much more than the first, in parts of it.
const RISE: f64 = 0.2;
/// Steps at most.
const STEPS: u32 = 20;
/// The same in a quick look, whose rates are far from too high.
const QUICK_STEPS: u32 = 2;
/// What part of what was offered has to come in time.
const IN_TIME: f64 = 0.97;
/// The highest p99 of a step that is kept up with, in milliseconds.
const HIGHEST_P99: f64 = 500.0;
/// A step that leaves the one before in peace.
const WARM_UP: Duration = Duration::from_millis(500);

impl Bench<'_> {
    pub(super) async fn peak(&mut self) -> Result<Vec<Row<PeakRun>>> {
        let mut rows = Vec::new();
        // To ask a table each second is no match for this: `live` shows how it stands.
        for system in self.options.systems.clone().into_iter().filter(|system| system.resumes()) {
            let shape = SHAPE.on(system, self.options);
            let mut runs = Vec::new();
            for _ in 0..self.options.runs {
                runs.push(self.one_peak(system, shape).await?);
            }
            rows.push(shape.row(system, runs));
        }
        Ok(rows)
    }

    async fn one_peak(&mut self, system: System, shape: Shape) -> Result<PeakRun> {
        let stage = self.stage(system, shape).await?;
        let measured = self.options.measured().div_f64(2.0);
        let each = shape.feeds as f64 / f64::from(shape.conversations);
        let mut steps = Vec::new();
        for number in 0..if self.options.quick { QUICK_STEPS } else { STEPS } {
            let shape = Shape { rate: shape.rate * (1.0 + RISE * f64::from(number)), ..shape };
            let plan = evenly(shape, (WARM_UP + measured).as_secs_f64());
            let run = stage.load(&[plan], WARM_UP, measured).await?;
            let offered = shape.rate * each;
            let kept_up = run.per_second >= IN_TIME * offered && run.from_stored.p99_ms <= HIGHEST_P99;
            super::live::announce(system, shape, &run);
            steps.push(Step {
                offered,
                delivered: run.per_second,
                from_stored: run.from_stored,
                kept_up,
                cpu_percent: run.cpu_percent,
            });
            if !kept_up {
                break;
            }
        }
        let faults = stage.finish(&[])?;
        self.judge(system, faults);
        Ok(PeakRun { steps, faults })
    }
}
