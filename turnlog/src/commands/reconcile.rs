//! `turnlog reconcile`: the vendor's list compared with the log by hand.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use clap::error::ErrorKind;
use ingest::reconcile::{OnceSettings, Outcome, Reconciled, Step, Tally, Wanted, Window, run_once};
use serde_json::json;

use super::token::parse_ttl;
use super::{open_log, open_objects};
use crate::failure::Failure;
use crate::signals;
use crate::target::Target;

/// How often the progress line changes.
const REFRESH: Duration = Duration::from_millis(100);

/// Arguments of `reconcile`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Needs ELEVENLABS_API_KEY. Compares what ELEVENLABS_AGENTS names, or else every agent's calls.\n\
                        May run beside a running system, as often as wanted."
)]
pub(crate) struct ReconcileArgs {
    /// Calls that began since then: RFC 3339 such as 2026-01-31T12:00:00Z, or how long ago, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: DateTime<Utc>,
    /// Calls that began before then, in the same form [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<DateTime<Utc>>,
    /// Fetches recordings that are missing, too
    #[arg(long)]
    audio: bool,
    /// Fetches nothing, and prints the ids of the conversations that are missing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command until it is done or a stop is asked for.
pub(crate) async fn run(args: ReconcileArgs) -> Result<(), Failure> {
    let window = Window { after: args.since, before: args.until.unwrap_or_else(Utc::now) };
    if window.after >= window.before {
        clap::Error::raw(ErrorKind::ValueValidation, "--since must be before --until, and before now\n")
            .exit();
    }
    let stop = signals::stop()?;
    let environment = args.target.environment()?;
    let settings = environment.read(OnceSettings::from_env)?;
    if settings.vendor.is_none() {
        let what = "ELEVENLABS_API_KEY is not set: set it to the key to ElevenLabs' API, here or in .env";
        return Err(Failure::new(what));
    }
    let log = open_log(&environment).await?;
    let objects = open_objects(&environment).await?;
    let wanted = Wanted { audio: args.audio, dry_run: args.dry_run };
    let mut progress = Progress::new(args.dry_run && !args.json);
    let mut each = |step: Step<'_>| progress.show(&step);
    let outcome = tokio::select! {
        () = stop.cancelled() => None,
        outcome = run_once(&log, &objects, settings, window, wanted, &mut each) => Some(outcome),
    };
    progress.clear();
    objects.close().await;
    log.close().await;
    match outcome {
        None => Err(Failure::new(format!("stopped {}", progress.rest()))),
        Some(Err(error)) => Err(Failure::new(format!("{error} ({})", progress.rest()))),
        Some(Ok(done)) => {
            println!("{}", if args.json { as_json(&done) } else { as_text(&done, args.dry_run) });
            progress.failure.map_or(Ok(()), |first| {
                let failed = done.tally.failed;
                Err(Failure::new(format!("{failed} could not be fetched, {first}; run it again for these")))
            })
        }
    }
}

/// What is shown meanwhile.
struct Progress {
    names: bool,
    line: bool,
    shown: Option<Instant>,
    tally: Tally,
    /// The first conversation that could not be fetched.
    failure: Option<String>,
}

impl Progress {
    fn new(names: bool) -> Self {
        let line = std::io::stderr().is_terminal();
        Self { names, line, shown: None, tally: Tally::default(), failure: None }
    }

    fn show(&mut self, step: &Step<'_>) {
        self.tally = step.tally;
        let id = || step.conversation.escape_debug();
        if let (Some(why), None) = (step.why, &self.failure) {
            self.failure = Some(format!("the first {}: {why}", id()));
        }
        if self.names && step.outcome == Outcome::Missing {
            self.clear();
            println!("{}", id());
        }
        if self.line && self.shown.is_none_or(|shown| shown.elapsed() >= REFRESH) {
            let Tally { seen, fetched, audio, failed, .. } = self.tally;
            eprint!("\r{seen} seen, {fetched} fetched, {audio} recordings, {failed} failed\x1b[K");
            let _gone = std::io::stderr().flush();
            self.shown = Some(Instant::now());
        }
    }

    /// What to do about a comparison that broke off.
    fn rest(&self) -> String {
        let seen = self.tally.seen;
        format!("after {seen} conversations; what was fetched is stored, run it again for the rest")
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn as_text(done: &Reconciled, dry_run: bool) -> String {
    let Tally { seen, present, fetched, audio, missing, not_final, gone, failed, unwanted } = done.tally;
    let mut parts = vec![format!("{seen} seen"), format!("{present} present")];
    if dry_run {
        parts.push(format!("{missing} missing"));
    } else {
        parts.push(format!("{fetched} fetched"));
        parts.push(format!("{audio} recordings"));
        parts.push(format!("{failed} failed"));
    }
    let rare = [
        (not_final, "not final"),
        (gone, "gone"),
        (unwanted, "of other agents"),
        (done.reread, "webhooks of an older version read again"),
    ];
    parts.extend(
        rare.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
    );
    parts.join(", ")
}

fn as_json(done: &Reconciled) -> String {
    let Tally { seen, present, fetched, audio, missing, not_final, gone, failed, unwanted } = done.tally;
    json!({
        "seen": seen, "present": present, "fetched": fetched, "audio": audio, "missing": missing,
        "not_final": not_final, "gone": gone, "failed": failed, "unwanted": unwanted, "reread": done.reread,
    })
    .to_string()
}

/// An instant, or how long ago it was.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    // A bare number could be anything.
    let ago = text.ends_with(|c: char| c.is_ascii_alphabetic()).then(|| parse_ttl(text).ok()).flatten();
    ago.map(|ago| Utc::now() - ago).ok_or_else(|| {
        "give RFC 3339 such as 2026-01-31T12:00:00Z, or how long ago, such as 90m, 24h or 7d".into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_or_how_long_ago() {
        assert_eq!(time("2026-01-31T12:00:00+02:00").unwrap().to_rfc3339(), "2026-01-31T10:00:00+00:00");
        for (text, seconds) in [("1s", 1), ("90m", 5_400), ("24h", 86_400), ("7d", 604_800)] {
            let then = time(text).unwrap();
            assert!((seconds..seconds + 60).contains(&(Utc::now() - then).num_seconds()), "{text}");
        }
        for wrong in [
            "",
            "d",
            "7",
            "-1d",
            "7 d",
            "yesterday",
            "2026-01-31",
            "9223372036854775807d",
            "99999999999999d",
            "7é",
        ] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
