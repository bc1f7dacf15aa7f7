//! Feeds that come back at the same time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::stage::evenly;
use super::{Bench, Shape};
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::report::feeds::{ReconnectRun, Row};
use crate::report::{Latency, histogram};
use crate::systems::watched::System;

pub(super) const WORDS: &str = "All feeds are closed, messages are written, all feeds are opened again at once with their last ids; the client \
     comes back after a refusal as it is told. What is open behind the server is asked every 50 ms.";

/// What comes back. The rate is that of the messages which they miss.
const SHAPE: Shape = Shape { feeds: 1_000, conversations: 10, rate: 1_000.0 };
/// Messages that each feed misses.
const BEHIND: u32 = 500;
/// How long they may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked what is open behind the server.
const ASK: Duration = Duration::from_millis(50);

impl Bench<'_> {
    pub(super) async fn reconnect(&mut self) -> Result<Vec<Row<ReconnectRun>>> {
        let mut rows = Vec::new();
        for system in self.options.systems.clone().into_iter().filter(|system| system.resumes()) {
            for conversations in [1, SHAPE.conversations] {
                let shape = Shape { conversations, ..SHAPE }.on(system, self.options);
                let mut runs = Vec::new();
                for _ in 0..self.options.runs {
                    runs.push(self.one_reconnect(system, shape).await?);
                }
                rows.push(shape.row(system, runs));
            }
        }
        Ok(rows)
    }

    async fn one_reconnect(&mut self, system: System, shape: Shape) -> Result<ReconnectRun> {
        let stage = self.stage(system, shape).await?;
        let all = 0..shape.feeds;
        stage.watch.close(all.clone());
        let missed = f64::from(BEHIND * shape.conversations);
        stage.writers.write(&[evenly(shape, missed / shape.rate)]).await?;
        stage.watch.take()?;
        let (before, memory_before) = (stage.running.behind().await?, stage.memory());
        let (mut most, mut memory_most) = (before.clone(), memory_before);
        let (base, began) = (stage.base(), Instant::now());
        stage.watch.reopen(all);
        while stage.watch.messages() < stage.due() {
            raise(&mut most, stage.running.behind().await?);
            memory_most = higher(memory_most, stage.memory());
            if began.elapsed() > PATIENCE {
                return Err(Error::Answer(format!("{}: feeds did not catch up in time", system.words())));
            }
            tokio::time::sleep(ASK).await;
        }
        let deliveries = stage.watch.take()?;
        let after = stage.running.behind().await?;
        let ledger = stage.writers.ledger();
        let total = ledger.borrow().sent.len();
        let began = (began - base).as_micros() as u32;
        let mut caught_up = histogram();
        // The last message of each conversation ends the catching up of a feed.
        let last = total - shape.conversations as usize..total;
        for delivery in deliveries.iter().filter(|delivery| last.contains(&(delivery.number as usize))) {
            caught_up.saturating_record(delivery.at.saturating_sub(began).into());
        }
        let faults = stage.finish(&[])?;
        self.judge(system, faults);
        let seconds = caught_up.max() as f64 / 1e6;
        println!(
            "{}, {} feeds of {} conversations come back {BEHIND} messages behind: all within {seconds:.2} s; {most:?}",
            system.words(),
            shape.feeds,
            shape.conversations
        );
        Ok(ReconnectRun {
            behind_by: BEHIND,
            seconds,
            caught_up: Latency::of(&caught_up),
            behind: [before, most, after],
            memory: [memory_before, memory_most],
            faults,
        })
    }
}

fn raise(most: &mut BTreeMap<String, u64>, now: BTreeMap<String, u64>) {
    for (name, count) in now {
        let highest = most.entry(name).or_default();
        *highest = count.max(*highest);
    }
}

pub(super) fn higher(a: Memory, b: Memory) -> Memory {
    Memory { rss_kib: a.rss_kib.max(b.rss_kib), pss_kib: a.pss_kib.max(b.pss_kib) }
}
