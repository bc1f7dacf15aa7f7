//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

use crate::scenario::feeds::Part;
use crate::systems::nats::Sync;
use crate::systems::watched::System;

/// Measures turnlog and its peers on this machine and writes bench/results/.
#[derive(Debug, Parser)]
#[command(name = "turnlog-bench", version)]
pub struct Cli {
    /// What to measure; everything where nothing is named.
    #[command(subcommand)]
    pub scenario: Option<Scenario>,
    /// How to measure.
    #[command(flatten)]
    pub options: Options,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Scenario {
    /// Everything below, one after the other.
    All,
    /// Acknowledged messages/s and latency of turnlog.
    Ingest,
    /// The same of the seeds' own design: FastAPI, SQLAlchemy, Postgres.
    Peers,
    /// Messages/s projected from a filled log into empty tables.
    Project,
    /// Events/s of rebuild and verify, and what reads and writes take meanwhile.
    Rebuild,
    /// Latency from POST to live feed.
    Feed,
    /// Many live feeds, on turnlog and on its peers: memory, latency, the most delivered, reconnects, stopped readers.
    Feeds,
    /// Latency of pages of a list of conversations, the first and the deepest.
    List,
    /// Messages/s indexed for search, and latency of searches.
    Search,
    /// Acknowledged webhooks/s, and memory while large ones arrive.
    Webhooks,
    /// Messages/s exported from a filled log in each format, and the memory that it takes.
    Export,
    /// Latency of inits of voice sessions, and of message sync while the vendor hangs.
    Sessions,
}

/// Which roles of turnlog take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// The write edge alone: `turnlog serve ingest`.
    Ingest,
    /// The whole system in one process: `turnlog serve all`.
    All,
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Seconds that count, in each run of a load.
    #[arg(long, global = true, default_value_t = 10.0, value_parser = positive)]
    pub seconds: f64,
    /// Seconds of load before it counts.
    #[arg(long, global = true, default_value_t = 2.0, value_parser = positive)]
    pub warm_up: f64,
    /// Runs of everything; the table has the medians.
    #[arg(long, global = true, default_value_t = 3, value_parser = value_parser!(u32).range(1..))]
    pub runs: u32,
    /// Connections, one request under way on each.
    #[arg(long, global = true, value_delimiter = ',', default_value = "1,64,256", value_parser = counting)]
    pub connections: Vec<usize>,
    /// Conversations in all; by default one a connection.
    #[arg(long, global = true, default_value_t = 0)]
    pub conversations: usize,
    /// Bytes of a message's content.
    #[arg(long, global = true, default_value_t = 300)]
    pub content_bytes: usize,
    /// Roles that run beside each other while messages are taken in.
    #[arg(long, global = true, value_enum, value_delimiter = ',', default_value = "ingest,all")]
    pub roles: Vec<Role>,
    /// When the log's server calls a message stored.
    #[arg(long, global = true, value_enum, value_delimiter = ',', default_value = "always,default")]
    pub sync: Vec<Sync>,
    /// Messages in the log that is projected or exported.
    #[arg(long, global = true, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..))]
    pub messages: u64,
    /// Conversations in the log that is projected or exported.
    #[arg(long, global = true, default_value_t = 20_000, value_parser = value_parser!(u64).range(1..))]
    pub log_conversations: u64,
    /// Conversations in the list that is paged through.
    #[arg(long, global = true, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(100_000..))]
    pub listed: u64,
    /// Posts a second while the feed is watched.
    #[arg(long, global = true, default_value_t = 50, value_parser = value_parser!(u32).range(1..))]
    pub rate: u32,
    /// Systems that feeds are watched on.
    #[arg(
        long,
        global = true,
        value_enum,
        value_delimiter = ',',
        default_value = "turnlog,nchan,nchan2,fastapi"
    )]
    pub systems: Vec<System>,
    /// What is measured of feeds.
    #[arg(
        long,
        global = true,
        value_enum,
        value_delimiter = ',',
        default_value = "idle,live,peak,reconnect,stalled"
    )]
    pub parts: Vec<Part>,
    /// Of `live`, only the runs with so many feeds; by default all.
    #[arg(long, global = true, value_delimiter = ',', value_parser = counting)]
    pub feeds: Vec<usize>,
    /// A setting of turnlog, such as a cap that a run needs higher; may be given several times.
    #[arg(long = "set", global = true, value_name = "NAME=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// LOG_LEVEL of turnlog. Its default, info, writes a line for each request.
    #[arg(long, global = true, default_value = "warn")]
    pub log_level: String,
    /// A quick look: one short run of everything, written to bench/results/quick.* instead.
    #[arg(long, global = true)]
    pub quick: bool,
    /// The program to measure; by default the one beside this, else target/release/turnlog.
    #[arg(long, global = true)]
    pub turnlog: Option<PathBuf>,
    /// Directory for the servers' data; its disk is what durable figures depend on.
    #[arg(long, global = true)]
    pub data: Option<PathBuf>,
}

impl Options {
    /// These options, shortened where a quick look is wanted.
    pub fn settled(mut self) -> Self {
        if self.quick {
            (self.seconds, self.warm_up, self.runs) = (self.seconds.min(3.0), self.warm_up.min(1.0), 1);
            self.messages = self.messages.min(100_000);
            self.log_conversations = self.log_conversations.min(2_000);
            self.listed = self.listed.min(100_000);
        }
        self
    }

    /// The window that counts.
    pub fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The time before it.
    pub fn warming_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    /// The name of the result files.
    pub fn results(&self) -> &'static str {
        if self.quick { "quick" } else { "results" }
    }
}

impl Role {
    /// The argument of `turnlog serve`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::All => "all",
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n > 0.0)
        .ok_or_else(|| "must be a number above 0".into())
}

fn counting(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "must be a whole number of at least 1".into())
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["turnlog-bench", "ingest", "--quick", "--sync", "always"]).unwrap();
        let options = cli.options.settled();
        assert_eq!((options.runs, options.results(), options.sync), (1, "quick", vec![Sync::Always]));
    }
}
