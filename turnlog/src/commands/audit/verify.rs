//! `turnlog audit verify`: the audit log compared with its seals.

use std::time::Instant;

use chrono::Utc;
use serde_json::{Value, json};
use shared::audit::seal::Head;
use shared::audit::verify::{self, Break, Verified, Watch};

use crate::commands::open_log;
use crate::failure::{Failure, OrFail};
use crate::progress::Progress;
use crate::signals;
use crate::target::Target;

/// Breaks that are printed one by one; of a log that is another one there may be millions.
const MOST_SHOWN: u64 = 100;
/// Records are sealed each second: what is older than this and not sealed is worth a word.
const LATE_SECONDS: i64 = 60;

const AFTER_HELP: &str = "\
Each second what was recorded is sealed: a seal says what the records since the last one are, and what that one said. So
nothing before the newest seal can be changed without this naming it. That the end was cut off, or all of it made anew,
shows only to whoever kept a head elsewhere: this prints the newest one, and so do the services' logs, once a minute.

Example:
  turnlog audit verify --expect 1931:0d6f...";

/// Arguments of `audit verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct VerifyArgs {
    /// A head that was kept: it must still be there; may be given again for more
    #[arg(long, value_name = "SEQ:HASH")]
    expect: Vec<Head>,
    /// One JSON object a line: each break, then what was found
    #[arg(long)]
    json: bool,
}

/// What is shown while it runs.
struct Shown {
    progress: Progress,
    json: bool,
    breaks: u64,
}

impl Watch for Shown {
    fn read(&mut self, done: u64, of: u64) {
        self.progress.show("verifying", "records", done, of);
    }

    fn found(&mut self, found: Break) {
        self.breaks += 1;
        self.progress.clear();
        match self.breaks {
            _ if self.json => println!("{}", json!({"break": name(found), "sentence": sentence(found)})),
            ..=MOST_SHOWN => println!("{}", sentence(found)),
            _ => {}
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: VerifyArgs, target: &Target) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let log = open_log(&target.environment()?).await?;
    let mut shown = Shown { progress: Progress::new(), json: args.json, breaks: 0 };
    let started = Instant::now();
    let done = tokio::select! {
        () = stop.cancelled() => Err(Failure::new("stopped; run it again")),
        done = verify::run(&log, &args.expect, &mut shown) => done.or_fail("read the audit log"),
    };
    shown.progress.clear();
    log.close().await;
    let verified = done?;
    if args.json {
        println!("{}", as_json(&verified));
    } else {
        if shown.breaks > MOST_SHOWN {
            println!("and {} more", shown.breaks - MOST_SHOWN);
        }
        print!("{}", as_text(&verified, started.elapsed().as_secs_f64()));
    }
    if verified.breaks == 0 {
        return Ok(());
    }
    let breaks = verified.breaks;
    Err(Failure::new(format!(
        "{breaks} breaks: the audit log is not what was recorded; keep it, and its backups, as it is"
    )))
}

fn sentence(found: Break) -> String {
    let records = |from: u64, to: u64| {
        if from == to { format!("record {from} ") } else { format!("records {from} to {to} ") }
    };
    match found {
        Break::Removed(from, to) => records(from, to) + "taken out",
        Break::Inserted(from, to) => records(from, to) + "put in later",
        Break::Changed(from, to) => records(from, to) + "changed: not what was sealed there",
        Break::Moved(now, then) => format!("record {now} moved: it stood at {then}"),
        Break::Lost(from, to) => records(from, to) + "missing since before they were sealed",
        Break::Uncovered(from, to) => records(from, to) + "covered by no seal: theirs is gone",
        Break::Unreadable(seal) => format!("seal {seal} cannot be read"),
        Break::Unchained(seal) => format!("seal {seal} does not go on from the seal before it"),
        Break::Unproven(seal) => format!("seal {seal} is not the one of the records that it covers"),
        Break::Unexpected(seal) => {
            format!("seal {seal} is not there as it was kept: the end was cut off, or the log made anew")
        }
    }
}

fn name(found: Break) -> Value {
    let (name, from, to) = match found {
        Break::Removed(from, to) => ("removed", from, to),
        Break::Inserted(from, to) => ("inserted", from, to),
        Break::Changed(from, to) => ("changed", from, to),
        Break::Moved(now, _) => ("moved", now, now),
        Break::Lost(from, to) => ("lost", from, to),
        Break::Uncovered(from, to) => ("uncovered", from, to),
        Break::Unreadable(seal) => ("unreadable_seal", seal, seal),
        Break::Unchained(seal) => ("unchained_seal", seal, seal),
        Break::Unproven(seal) => ("unproven_seal", seal, seal),
        Break::Unexpected(seal) => ("unexpected_head", seal, seal),
    };
    json!({"what": name, "from_sequence": from, "to_sequence": to})
}

fn as_json(verified: &Verified) -> Value {
    json!({
        "records": verified.records,
        "seals": verified.seals,
        "breaks": verified.breaks,
        "unsealed": verified.unsealed,
        "unsealed_since": verified.unsealed_since,
        "longest_wait_seconds": verified.longest_wait.as_seconds_f64(),
        "head": verified.head.map(|head| head.to_string()),
    })
}

fn as_text(verified: &Verified, seconds: f64) -> String {
    let Verified { records, seals, unsealed, .. } = verified;
    let rate = (records + seals) as f64 / seconds;
    let wait = verified.longest_wait.as_seconds_f64();
    let mut text = format!(
        "{records} records, {seals} seals compared in {seconds:.1} s, {rate:.0}/s; \
         a record waited at most {wait:.1} s for its seal\n"
    );
    if let Some(since) = verified.unsealed_since {
        text += &format!("the newest {unsealed} are not sealed yet");
        let late = (Utc::now() - since).num_seconds() > LATE_SECONDS;
        text += if late { ", some for long: is a streamer running?\n" } else { "\n" };
    }
    match verified.head {
        Some(head) => text += &format!("head {head}: keep it elsewhere, for --expect\n"),
        None => text += "nothing is sealed yet\n",
    }
    text
}
