//! Many live feeds, on turnlog and on its peers in the same run: memory, latency, the most delivered, all coming back
//! at once, and readers that stop.
//!
//! Every message carries its place in its conversation, and every feed is held to it: one that was missed or came twice
//! fails the run.

mod idle;
mod live;
mod peak;
mod reconnect;
mod stage;
mod stalled;

use clap::ValueEnum;

use super::section;
use crate::client::watch::{socket, track::Faults};
use crate::error::{Doing, Error, Result};
use crate::options::Options;
use crate::place::Place;
use crate::report::feeds::Row;
use crate::report::store::Store;
use crate::systems::watched::{System, Systems};

/// One kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Memory of 10,000 feeds over 1,000 conversations that nothing comes on.
    Idle,
    /// Latency at rates: 1, 100, 1,000, 5,000 and 10,000 feeds on one conversation, 10,000 over 100.
    Live,
    /// The most that is delivered to 10,000 feeds.
    Peak,
    /// 1,000 feeds that come back at the same time, 500 messages behind.
    Reconnect,
    /// 10 readers of 10,000 that stop.
    Stalled,
}

/// Feeds, the conversations that they watch, and how much is written.
#[derive(Debug, Clone, Copy)]
struct Shape {
    feeds: usize,
    conversations: u32,
    rate: f64,
}

/// Feeds in a quick look at most.
const QUICK_FEEDS: usize = 1_000;

impl Shape {
    /// As it is measured on a system: less in a quick look, and where the system cannot do as many.
    fn on(self, system: System, options: &Options) -> Self {
        let most = if options.quick { QUICK_FEEDS } else { usize::MAX }.min(system.most_feeds());
        let feeds = self.feeds.min(most);
        // As many feeds on each conversation as before, where there is more than one; and as much on each.
        let conversations =
            ((f64::from(self.conversations) * feeds as f64 / self.feeds as f64).ceil() as u32).max(1);
        let rate = self.rate * f64::from(conversations) / f64::from(self.conversations);
        Self { feeds, conversations, rate }
    }

    fn row<R>(self, system: System, runs: Vec<R>) -> Row<R> {
        let Self { feeds, conversations, rate } = self;
        Row { system: system.words().to_owned(), feeds, conversations, rate, runs }
    }
}

/// Measures what the options name; each section is written as soon as it is there.
///
/// # Errors
/// When a system is missing, cannot be started or ends, and when turnlog lost, doubled or misnamed a message.
pub async fn measure(place: &Place, options: &Options, store: &Store) -> Result<()> {
    // A socket for each feed here and in the server, which inherits the limit.
    socket::allow(2 * stage::MOST_FEEDS).or_else(|_| socket::allow(stage::MOST_FEEDS)).doing(
        "allow as many open files as there are feeds; raise the hard limit (`ulimit -Hn`) or run with --quick",
    )?;
    let mut bench = Bench {
        place,
        options,
        systems: Systems::find(place, &options.systems).await?,
        faults: Faults::default(),
    };
    let words = |what: &str| {
        format!(
            "{what} {} bytes of content; {} runs, fresh data each. LOG_LEVEL={}.",
            options.content_bytes, options.runs, place.log_level
        )
    };
    let wanted = |part: Part| options.parts.contains(&part);
    if wanted(Part::Idle) {
        let section = section(place, words(idle::WORDS), bench.idle().await?)?;
        store.update(|report| report.feeds.idle = Some(section))?;
    }
    if wanted(Part::Live) {
        let section = section(place, words(live::WORDS), bench.live().await?)?;
        store.update(|report| report.feeds.live = Some(section))?;
    }
    if wanted(Part::Peak) {
        let section = section(place, words(peak::WORDS), bench.peak().await?)?;
        store.update(|report| report.feeds.peak = Some(section))?;
    }
    if wanted(Part::Reconnect) {
        let section = section(place, words(reconnect::WORDS), bench.reconnect().await?)?;
        store.update(|report| report.feeds.reconnect = Some(section))?;
    }
    if wanted(Part::Stalled) {
        let section = section(place, words(stalled::WORDS), bench.stalled().await?)?;
        store.update(|report| report.feeds.stalled = Some(section))?;
    }
    if bench.faults.is_clean() {
        return Ok(());
    }
    Err(Error::Answer(format!("turnlog's feeds are not as they should be: {}", bench.faults.words())))
}

/// What all parts share.
struct Bench<'a> {
    place: &'a Place,
    options: &'a Options,
    systems: Systems,
    /// Those of turnlog, of all runs: they fail the scenario.
    faults: Faults,
}

impl Bench<'_> {
    /// Keeps turnlog's faults, and says everybody's.
    fn judge(&mut self, system: System, faults: Faults) {
        let judged = if faults.is_clean() { "every message once" } else { "NOT CLEAN" };
        println!("  {judged} {}", faults.words());
        if system == System::Turnlog {
            self.faults += faults;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_shape_has_the_same_load_on_each_feed() {
        let shape = Shape { feeds: 10_000, conversations: 100, rate: 1_000.0 };
        let small = Shape { feeds: 1_000, conversations: 10, rate: 100.0 };
        let options = <crate::options::Cli as clap::Parser>::parse_from(["turnlog-bench"]).options;
        let on = |system| format!("{:?}", shape.on(system, &options));
        assert_eq!(on(System::Turnlog), format!("{shape:?}"));
        assert_eq!(on(System::Fastapi), format!("{small:?}"));
    }
}
