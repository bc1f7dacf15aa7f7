//! Latency at rates.

use super::stage::evenly;
use super::{Bench, Shape};
use crate::error::Result;
use crate::report::feeds::{LiveRun, Row};
use crate::systems::watched::System;

pub(super) const WORDS: &str = "Open loop; every message of every feed counts. Stored is when the writer has read the answer (0 where the feed was \
     first), written just before the request is; on the same host's monotonic clock. nchan stores nothing and answers \
     when it has written to the feeds, so that it is compared by the time from written. FastAPI is asked for 100 feeds at \
     most.";

/// What is measured.
const SHAPES: [Shape; 6] = [
    Shape { feeds: 1, conversations: 1, rate: 50.0 },
    Shape { feeds: 100, conversations: 1, rate: 10.0 },
    Shape { feeds: 1_000, conversations: 1, rate: 50.0 },
    Shape { feeds: 5_000, conversations: 1, rate: 10.0 },
    Shape { feeds: 10_000, conversations: 1, rate: 10.0 },
    Shape { feeds: 10_000, conversations: 100, rate: 1_000.0 },
];

impl Bench<'_> {
    pub(super) async fn live(&mut self) -> Result<Vec<Row<LiveRun>>> {
        let mut rows = Vec::new();
        for shape in SHAPES {
            if !self.options.feeds.is_empty() && !self.options.feeds.contains(&shape.feeds) {
                continue;
            }
            for system in self.options.systems.clone() {
                // One that can do fewer has been measured with fewer already.
                if shape.feeds > system.most_live_feeds() {
                    continue;
                }
                let shape = shape.on(system, self.options);
                let mut runs = Vec::new();
                for _ in 0..self.options.runs {
                    runs.push(self.one_live(system, shape).await?);
                }
                rows.push(shape.row(system, runs));
            }
        }
        Ok(rows)
    }

    async fn one_live(&mut self, system: System, shape: Shape) -> Result<LiveRun> {
        let stage = self.stage(system, shape).await?;
        let open = stage.settled().await;
        let (warm_up, measured) = (self.options.warming_up(), self.options.measured());
        let plan = evenly(shape, (warm_up + measured).as_secs_f64());
        let mut run = stage.load(&[plan], warm_up, measured).await?;
        run.memory = [stage.opened.before, open, stage.memory()];
        run.faults = stage.finish(&[])?;
        announce(system, shape, &run);
        self.judge(system, run.faults);
        Ok(run)
    }
}

pub(super) fn announce(system: System, shape: Shape, run: &LiveRun) {
    let Shape { feeds, conversations, rate } = shape;
    println!(
        "{}, {feeds} feeds on {conversations} conversations, {rate:.0} messages/s: {:.0} delivered/s, stored to received \
         p50 {:.2} ms, p99 {:.2} ms; answered p99 {:.2} ms; late p99 {:.1} ms; CPU {:?}",
        system.words(),
        run.per_second,
        run.from_stored.p50_ms,
        run.from_stored.p99_ms,
        run.answer.p99_ms,
        run.late.p99_ms,
        run.cpu_percent,
    );
}
