//! Readers that stop, and what the others notice of it.

use std::time::Duration;

use super::reconnect::higher;
use super::stage::Stage;
use super::{Bench, Shape};
use crate::client::write::Plan;
use crate::error::Result;
use crate::memory::Memory;
use crate::report::feeds::{LiveRun, Row, StalledRun};
use crate::systems::watched::System;

pub(super) const WORDS: &str = "The load of 10,000 feeds over 100 conversations twice, for three times as long, with the first conversation at 100 \
     messages/s; 10 readers of it stop before. What one of them is not given does not count as wrong: it is \
     closed, and would come back.";

/// What is measured.
const SHAPE: Shape = Shape { feeds: 10_000, conversations: 100, rate: 1_000.0 };
/// Readers that stop.
const STALLED: usize = 10;
/// Messages a second in the conversation that they watch: enough to fill what is kept for them.
const BUSY_RATE: f64 = 100.0;
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(500);

impl Bench<'_> {
    pub(super) async fn stalled(&mut self) -> Result<Vec<Row<StalledRun>>> {
        let mut rows = Vec::new();
        for system in self.options.systems.clone().into_iter().filter(|system| system.resumes()) {
            let shape = SHAPE.on(system, self.options);
            let mut runs = Vec::new();
            for _ in 0..self.options.runs {
                let (all_read, all_read_peak, _) = self.one_stalled(system, shape, 0).await?;
                let (some_stalled, stalled_peak, closed) = self.one_stalled(system, shape, STALLED).await?;
                let run = StalledRun {
                    stalled: STALLED,
                    all_read,
                    some_stalled,
                    all_read_peak,
                    stalled_peak,
                    closed,
                };
                runs.push(run);
            }
            rows.push(Shape { rate: shape.rate + BUSY_RATE, ..shape }.row(system, runs));
        }
        Ok(rows)
    }

    /// What the others got, the most that the server held, and how many of the stalled it closed.
    async fn one_stalled(
        &mut self,
        system: System,
        shape: Shape,
        stalled: usize,
    ) -> Result<(LiveRun, Memory, usize)> {
        let mut stage = self.stage(system, shape).await?;
        let open = stage.settled().await;
        // Feeds watch conversations in turn: these are of conversation 0.
        let those: Vec<usize> = (0..stalled).map(|index| index * shape.conversations as usize).collect();
        let (warm_up, measured) = (self.options.warming_up(), self.options.measured() * 3);
        let seconds = (warm_up + measured).as_secs_f64();
        let count = |rate: f64| (rate * seconds).ceil() as usize;
        let plans = [
            Plan { conversations: vec![0], rate: BUSY_RATE, count: count(BUSY_RATE) },
            Plan {
                conversations: (1..shape.conversations.max(2)).collect(),
                rate: shape.rate,
                count: count(shape.rate),
            },
        ];
        stage.stall(&those);
        let (run, peak) =
            tokio::join!(stage.load(&plans, warm_up, measured), highest(&stage, warm_up + measured));
        let mut run = run?;
        run.memory = [stage.opened.before, open, stage.memory()];
        // What waits in their sockets is read, and its end.
        stage.watch.resume(&those);
        tokio::time::sleep(LOOK).await;
        let closed = stage.watch.ended();
        let faults = stage.finish(&those)?;
        run.faults = faults;
        super::live::announce(system, shape, &run);
        println!("  {stalled} stalled, {closed} of them closed; at most {:.0} MB", peak.pss_kib / 1024.0);
        self.judge(system, faults);
        Ok((run, peak, closed))
    }
}

async fn highest(stage: &Stage, during: Duration) -> Memory {
    let mut most = stage.memory();
    let looks = (during.as_secs_f64() / LOOK.as_secs_f64()) as u32;
    for _ in 0..looks {
        tokio::time::sleep(LOOK).await;
        most = higher(most, stage.memory());
    }
    most
}
