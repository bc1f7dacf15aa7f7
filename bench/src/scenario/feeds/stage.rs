//! One run: a system that has just been started, its feeds, and what is written to them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::{Bench, Shape};
use crate::client::watch::track::Faults;
use crate::client::watch::{Delivery, Watch};
use crate::client::write::{Ledger, Plan, Writers};
use crate::error::Result;
use crate::memory::{Kernel, Memory};
use crate::report::feeds::LiveRun;
use crate::report::{Latency, histogram};
use crate::systems::watched::{Running, System};

/// The most feeds of any run.
pub(super) const MOST_FEEDS: usize = 10_000;
/// Feeds that are opened at the same time.
const AT_ONCE: usize = 64;
/// Messages a second while conversations are begun.
const BEGINNING_RATE: f64 = 1_000.0;
/// How long what was written may be on its way after the last answer.
pub(super) const GRACE: Duration = Duration::from_secs(20);
/// Memory has settled when it changed by less than this part of itself within `SETTLE`.
const SETTLED: f64 = 0.002;
const SETTLE: Duration = Duration::from_millis(1_000);
const SETTLES: usize = 20;

/// A system with feeds.
pub(super) struct Stage {
    pub(super) running: Running,
    pub(super) watch: Watch,
    pub(super) writers: Writers,
    pub(super) opened: Opened,
    /// Feeds of each conversation that read.
    feeds_of: Vec<u64>,
    /// Messages that were given to feeds before they stopped to read.
    given_before: u64,
    base: Instant,
}

/// How the feeds were opened.
pub(super) struct Opened {
    pub(super) seconds: f64,
    pub(super) before: Memory,
    pub(super) kernel_before: Kernel,
}

/// What part of a load counts: messages by number, and the window in microseconds since the run began.
struct Counting {
    numbers: Range<usize>,
    window: Range<u32>,
}

impl Bench<'_> {
    /// Starts a system, begins its conversations with one message each, and opens all feeds.
    pub(super) async fn stage(&mut self, system: System, shape: Shape) -> Result<Stage> {
        let Shape { feeds, conversations, .. } = shape;
        let running =
            self.systems.start(self.place, system, conversations, self.options.content_bytes).await?;
        let base = Instant::now();
        let templates = (0..conversations).map(|conversation| running.template(conversation)).collect();
        let writers = Writers::new(running.address(), templates, base);
        let all: Vec<u32> = (0..conversations).collect();
        let count = all.len();
        writers.write(&[Plan { conversations: all, rate: BEGINNING_RATE, count }]).await?;
        let of = |feed: usize| (feed % conversations as usize) as u32;
        let wanted = (0..feeds).map(|feed| running.feed(of(feed))).collect::<Result<Vec<_>>>()?;
        let mut feeds_of = vec![0; conversations as usize];
        (0..feeds).for_each(|feed| feeds_of[of(feed) as usize] += 1);
        let watch = Watch::start(running.address(), running.ids(), wanted, base)?;
        let mut stage = Stage {
            opened: Opened { seconds: 0.0, before: Memory::default(), kernel_before: Kernel::default() },
            running,
            watch,
            writers,
            feeds_of,
            given_before: 0,
            base,
        };
        stage.opened.before = stage.settled().await;
        stage.opened.kernel_before = Kernel::now();
        stage.opened.seconds = stage.watch.open(AT_ONCE).await?.as_secs_f64();
        Ok(stage)
    }
}

impl Stage {
    /// The server's memory now.
    pub(super) fn memory(&self) -> Memory {
        self.running.processes().first().map(|(_, id)| Memory::of(*id)).unwrap_or_default()
    }

    /// The server's memory once it no longer changes.
    pub(super) async fn settled(&self) -> Memory {
        let mut last = self.memory();
        for _ in 0..SETTLES {
            tokio::time::sleep(SETTLE).await;
            let now = self.memory();
            let still = (now.pss_kib - last.pss_kib).abs() < SETTLED * last.pss_kib;
            last = now;
            if still {
                break;
            }
        }
        last
    }

    /// What the times of deliveries are counted from.
    pub(super) fn base(&self) -> Instant {
        self.base
    }

    /// Messages that all feeds together should have been given by now.
    pub(super) fn due(&self) -> u64 {
        let written = self.writers.written();
        let reading = written.iter().zip(&self.feeds_of).map(|(written, feeds)| u64::from(*written) * feeds);
        reading.sum::<u64>() + self.given_before
    }

    /// Reads no more of these feeds, which have been given everything until now.
    pub(super) fn stall(&mut self, feeds: &[usize]) {
        let written = self.writers.written();
        for feed in feeds {
            let conversation = feed % self.feeds_of.len();
            self.feeds_of[conversation] -= 1;
            self.given_before += u64::from(written[conversation]);
        }
        self.watch.stall(feeds);
    }

    /// Writes at a rate, in turn, for `warm_up` and then for `measured`; gives what came of the latter.
    pub(super) async fn load(
        &self,
        plans: &[Plan],
        warm_up: Duration,
        measured: Duration,
    ) -> Result<LiveRun> {
        let first = self.writers.numbers();
        let began = self.base.elapsed() + warm_up;
        self.watch.take()?;
        let programs = self.running.processes();
        let meter = async {
            tokio::time::sleep(warm_up).await;
            let meter = crate::cpu::Meter::start(&programs);
            tokio::time::sleep(measured).await;
            meter.percent()
        };
        let (wrote, cpu_percent) = tokio::join!(self.writers.write(plans), meter);
        wrote?;
        self.watch.reaches(self.due(), GRACE).await;
        let deliveries = self.watch.take()?;
        let from = began.as_micros() as u32;
        let window = from..from + measured.as_micros() as u32;
        let counting = Counting { numbers: first..self.writers.numbers(), window };
        Ok(live_run(&self.writers.ledger().borrow(), &deliveries, &counting, cpu_percent))
    }

    /// Closes everything: the faults of all feeds together, but for the `excused` ones.
    pub(super) fn finish(mut self, excused: &[usize]) -> Result<Faults> {
        self.running.still_runs()?;
        let told = self.writers.ledger().borrow().told.clone();
        let all = self.watch.finish(self.writers.written(), told)?;
        let mut faults = Faults::default();
        let counted = all.into_iter().enumerate().filter(|(index, _)| !excused.contains(index));
        counted.for_each(|(_, of_one)| faults += of_one);
        Ok(faults)
    }
}

/// Messages at `rate` to all conversations of a shape in turn, for `seconds`.
pub(super) fn evenly(shape: Shape, seconds: f64) -> Plan {
    let count = (shape.rate * seconds).ceil() as usize;
    Plan { conversations: (0..shape.conversations).collect(), rate: shape.rate, count }
}

fn live_run(
    ledger: &Ledger,
    deliveries: &[Delivery],
    counting: &Counting,
    cpu_percent: BTreeMap<String, f64>,
) -> LiveRun {
    let counts =
        |number: usize| counting.numbers.contains(&number) && counting.window.contains(&ledger.sent[number]);
    let (mut stored, mut written, mut answer, mut late) =
        (histogram(), histogram(), histogram(), histogram());
    let (mut within, mut delivered, mut messages) = (0, 0, 0);
    for &Delivery { number, at } in deliveries {
        let number = number as usize;
        within += u64::from(counting.window.contains(&at));
        if counts(number) {
            delivered += 1;
            stored.saturating_record(at.saturating_sub(ledger.answered[number]).into());
            written.saturating_record(at.saturating_sub(ledger.sent[number]).into());
        }
    }
    for number in counting.numbers.clone().filter(|number| counts(*number)) {
        messages += 1;
        answer.saturating_record((ledger.answered[number] - ledger.sent[number]).into());
        late.saturating_record(ledger.late[number].into());
    }
    let seconds = f64::from(counting.window.end - counting.window.start) / 1e6;
    LiveRun {
        messages,
        delivered,
        per_second: within as f64 / seconds,
        from_stored: Latency::of(&stored),
        from_written: Latency::of(&written),
        answer: Latency::of(&answer),
        late: Latency::of(&late),
        memory: [Memory::default(); 3],
        faults: Faults::default(),
        cpu_percent,
    }
}
