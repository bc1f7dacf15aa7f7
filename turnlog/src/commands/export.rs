//! `turnlog export`: a data set from the log, or one compared with it.

mod progress;
mod recorded;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use exporter::{AsOf, Deidentify, ExportKey, Exported, Format, Keys, Part, SafeHarbor, Selection, Wanted};
use serde_json::json;

use recorded::Recorded;

use super::reconcile::time;
use super::{open_log, open_objects};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::signals;
use crate::target::Target;

const AFTER_HELP: &str = "\
What is in a data set: messages, conversations and events as tables, CODEBOOK.md, croissant.json, and datapackage.json
(a Frictionless Data Package), which is written last: a folder without it is no data set. The same arguments and the same
--as-of give the same bytes. Messages are in the order of the log; a conversation is in order by place, then sequence.

Increments: --from-sequence and --to-sequence take every row that last changed in that range, as it stood at its end, or
at --as-of. Ranges that adjoin have no row in common and leave none out; of two rows with the same key the later one
replaces the earlier one.

To give it to others: --pseudonymize puts pseudonyms under EXPORT_KEY in place of ids, --redact masks addresses, numbers and
dates of birth in texts, --profile safe-harbor does both and all else of HIPAA's list that a program can do. What people say is
masked by its form alone, best effort: DEIDENTIFICATION.md beside the data says what was done.

It reads the log alone, never the database, in bounded memory. Temporary files go to the folder, about as large as what
was said, and leave with the program. --verify writes to the folder for temporary files (TMPDIR).

Examples:
  turnlog export --out study --format parquet
  turnlog export --out june --from 2026-06-01T00:00:00Z --to 2026-07-01T00:00:00Z
  turnlog export --out next --from-sequence 120001
  turnlog export --out shared --pseudonymize --redact
  turnlog export --out public --profile safe-harbor --k 5 --keep-mapping public.mapping.json
  turnlog export --verify study";

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExportArgs {
    /// The folder to make, or an empty one
    #[arg(long, value_name = "DIR", required_unless_present = "verify")]
    out: Option<PathBuf>,
    /// Makes the data set of this folder again in a temporary one and compares; exit code 1 names what differs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "format", "include", "as_of", "from_sequence",
          "to_sequence", "from", "to", "participant", "provider", "conversation", "licence", "pseudonymize", "redact",
          "profile", "k", "keep_mapping"])]
    verify: Option<PathBuf>,
    /// How tables are written
    #[arg(long, value_enum, default_value = "jsonl")]
    format: FormatArg,
    /// Which tables [default: messages,conversations,events; with --profile safe-harbor without events]
    #[arg(long, value_enum, value_delimiter = ',')]
    include: Vec<PartArg>,
    /// Until where the log is read: a sequence, or RFC 3339 such as 2026-01-31T12:00:00Z [default: its end]
    #[arg(long, value_name = "SEQ|TIME", value_parser = str::parse::<AsOf>)]
    as_of: Option<AsOf>,
    /// Rows that last changed at this sequence or later
    #[arg(long, value_name = "SEQ")]
    from_sequence: Option<u64>,
    /// Rows that last changed before this sequence
    #[arg(long, value_name = "SEQ")]
    to_sequence: Option<u64>,
    /// Messages said, conversations that went on, events stored at this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// The same, before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<DateTime<Utc>>,
    /// What is this participant's, or names them; may be given again for more
    #[arg(long, value_name = "ID")]
    participant: Vec<String>,
    /// What came through this frontend: elevenlabs, openai or call; may be given again. Of events, messages alone
    #[arg(long, value_name = "NAME", value_parser = ["elevenlabs", "openai", "call"])]
    provider: Vec<String>,
    /// What is in this conversation; may be given again for more
    #[arg(long, value_name = "ID")]
    conversation: Vec<String>,
    /// The licence that the data set names: an SPDX or Open Definition id
    #[arg(long, value_name = "NAME", default_value = "other-closed", value_parser = exporter::licence)]
    licence: String,
    /// Ids, e-mail addresses and numbers in fields of their own become pseudonyms under EXPORT_KEY; names and places are
    /// left out
    #[arg(long)]
    pseudonymize: bool,
    /// Masks addresses, numbers and dates of birth in what was said: best effort
    #[arg(long)]
    redact: bool,
    /// safe-harbor: de-identified after HIPAA's 45 CFR 164.514(b)(2) as far as a program can, with random surrogates
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    /// Under --profile safe-harbor, what fewer persons than this share is suppressed
    #[arg(long, value_name = "N", requires = "profile", default_value = "5")]
    k: NonZeroU32,
    /// Keeps what the random surrogates were made with, in a new file for its owner alone, outside of --out
    #[arg(long, value_name = "FILE", requires = "profile")]
    keep_mapping: Option<PathBuf>,
    /// With --verify: the file that --keep-mapping made
    #[arg(long, value_name = "FILE", requires = "verify")]
    mapping: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    /// JSON Lines
    Jsonl,
    /// CSV with a head
    Csv,
    /// Apache Parquet
    Parquet,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ProfileArg {
    /// HIPAA's eighteen identifiers
    SafeHarbor,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum PartArg {
    /// Turns in their newest version
    Messages,
    /// Conversations as they stand
    Conversations,
    /// The log's events as they stand
    Events,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Jsonl => Self::Jsonl,
            FormatArg::Csv => Self::Csv,
            FormatArg::Parquet => Self::Parquet,
        }
    }
}

impl From<PartArg> for Part {
    fn from(part: PartArg) -> Self {
        match part {
            PartArg::Messages => Self::Messages,
            PartArg::Conversations => Self::Conversations,
            PartArg::Events => Self::Events,
        }
    }
}

/// Runs the command until it is done or a stop is asked for.
pub(crate) async fn run(args: ExportArgs) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let environment = args.target.environment()?;
    let log = open_log(&environment).await?;
    let objects = open_objects(&environment).await?;
    let key = export_key(&environment)?;
    let progress = exporter::Progress::stopping(stop);
    // On the heap, as both are large.
    let done = if let Some(folder) = &args.verify {
        let record = Recorded::begin(&log, json!({"compares": true}), folder).await?;
        let keys = Keys { key: key.as_ref(), mapping: args.mapping.as_deref() };
        let verified = Box::pin(exporter::verify(&log, &objects, folder, keys, &progress));
        let verified = progress::shown(&progress, verified).await;
        record.end("compared", verified.as_ref().ok().map(|_| (None, folder.as_path()))).await?;
        verified.map(|verified| format!("{} files are what the log gives", verified.files.len()))
    } else {
        let (out, wanted) = args.wanted(key);
        let record = Recorded::begin(&log, wanted.asked(), &out).await?;
        let exported = Box::pin(exporter::export(&log, &objects, wanted, &out, &progress));
        let exported = progress::shown(&progress, exported).await;
        let made = exported.as_ref().ok().map(|made| (Some((made.range, made.as_of)), out.as_path()));
        record.end("made", made).await?;
        exported.map(|exported| summary(&exported, &out.display().to_string()))
    };
    objects.close().await;
    log.close().await;
    let done = done.map_err(|error| Failure::new(error.to_string()))?;
    println!("{done}");
    Ok(())
}

impl ExportArgs {
    fn wanted(self, key: Option<ExportKey>) -> (PathBuf, Wanted) {
        let selection = Selection {
            from_sequence: self.from_sequence,
            to_sequence: self.to_sequence,
            from: self.from,
            to: self.to,
            participants: self.participant.into_iter().collect(),
            providers: self.provider.into_iter().collect(),
            conversations: self.conversation.into_iter().collect(),
        };
        let safe_harbor = self.profile.map(|ProfileArg::SafeHarbor| SafeHarbor { k: self.k });
        let mut include: BTreeSet<Part> = self.include.into_iter().map(Part::from).collect();
        if include.is_empty() {
            include.extend([Part::Messages, Part::Conversations]);
            include.extend(safe_harbor.is_none().then_some(Part::Events));
        }
        let wanted = Wanted {
            format: self.format.into(),
            include,
            as_of: self.as_of,
            selection,
            licence: self.licence,
            deidentify: Deidentify { pseudonymize: self.pseudonymize, redact: self.redact, safe_harbor },
            key,
            keep_mapping: self.keep_mapping,
        };
        (self.out.unwrap_or_default(), wanted)
    }
}

/// `EXPORT_KEY`, where it is set.
fn export_key(environment: &Environment) -> Result<Option<ExportKey>, Failure> {
    let key = environment.get("EXPORT_KEY").filter(|text| !text.trim().is_empty());
    key.map(|text| ExportKey::parse(&text)).transpose().map_err(|error| Failure::new(error.to_string()))
}

/// `1200 messages and 31 conversations of the sequences 1 to 1931 in study, 1.2 MB`.
fn summary(exported: &Exported, out: &str) -> String {
    let rows: Vec<_> = exported.rows.iter().map(|(part, rows)| format!("{rows} {}", name(*part))).collect();
    let (first, last) = exported.range;
    let megabytes = exported.bytes as f64 / 1e6;
    let mut text =
        format!("{} of the sequences {first} to {last} in {out}, {megabytes:.1} MB", rows.join(", "));
    if exported.as_of != last {
        text = format!("{text}, as of {}", exported.as_of);
    }
    let (unknown, unreadable) = (exported.unknown.total(), exported.unreadable);
    if unknown > 0 {
        let types = &exported.unknown;
        text = format!("{text}; {unknown} events are of a newer version and only among the events ({types})");
    }
    if unreadable > unknown {
        text =
            format!("{text}; {} events cannot be read and are only among the events", unreadable - unknown);
    }
    text
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Messages => "messages",
        Part::Conversations => "conversations",
        Part::Events => "events",
        Part::Redactions => "redactions",
        Part::Participants => "participants",
    }
}

#[cfg(test)]
mod tests {
    use exporter::licence;

    use super::*;

    #[test]
    fn as_of_is_a_sequence_or_a_time() {
        assert_eq!("17".parse(), Ok(AsOf::Sequence(17)));
        let time = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        assert_eq!("2026-01-01T02:00:00+02:00".parse(), Ok(AsOf::Time(time)));
        for wrong in ["", "-1", "yesterday", "2026-01-01"] {
            assert!(wrong.parse::<AsOf>().is_err(), "{wrong}");
        }
        assert!(licence("CC-BY-4.0").is_ok() && licence("").is_err() && licence("my own").is_err());
    }
}
