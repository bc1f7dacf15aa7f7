//! Memory of feeds that nothing comes on.

use super::{Bench, Shape};
use crate::error::Result;
use crate::memory::Kernel;
use crate::report::feeds::{IdleRun, Row};
use crate::systems::watched::System;

pub(super) const WORDS: &str = "Proportional set size of the server's processes before the first feed and once it no \
                                longer changes with all open, divided by feeds; of the kernel slab and TCP buffers of \
                                the whole machine, client's end included.";

/// What is opened.
const SHAPE: Shape = Shape { feeds: 10_000, conversations: 1_000, rate: 0.0 };

impl Bench<'_> {
    pub(super) async fn idle(&mut self) -> Result<Vec<Row<IdleRun>>> {
        let mut rows = Vec::new();
        for system in self.options.systems.clone() {
            let shape = SHAPE.on(system, self.options);
            let mut runs = Vec::new();
            for _ in 0..self.options.runs {
                runs.push(self.one_idle(system, shape).await?);
            }
            rows.push(shape.row(system, runs));
        }
        Ok(rows)
    }

    async fn one_idle(&mut self, system: System, shape: Shape) -> Result<IdleRun> {
        let stage = self.stage(system, shape).await?;
        let open = stage.settled().await;
        let kernel_open = Kernel::now();
        let behind = stage.running.behind().await?;
        let (open_seconds, before, kernel_before) =
            (stage.opened.seconds, stage.opened.before, stage.opened.kernel_before);
        let faults = stage.finish(&[])?;
        self.judge(system, faults);
        let run = IdleRun { open_seconds, before, open, kernel_before, kernel_open, behind, faults };
        println!(
            "{}, {} idle feeds: {:.1} KiB each, {:.1} KiB of the kernel, opened within {open_seconds:.1} s",
            system.words(),
            shape.feeds,
            run.kib_each(shape.feeds),
            run.kernel_kib_each(shape.feeds),
        );
        Ok(run)
    }
}
