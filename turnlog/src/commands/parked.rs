//! `turnlog parked`: events that could not be folded.

use clap::Subcommand;
use projector::parked::{self, Outcome, ParkedEvent};
use shared::config::DatabaseSettings;
use shared::envelope::Entry;

use crate::commands::tail::plain;
use crate::commands::{open_log, open_objects};
use crate::failure::Failure;
use crate::target::Target;

/// Events read from the database at once.
const PAGE: u32 = 500;

/// Arguments of `parked`.
#[derive(Debug, clap::Args)]
pub(crate) struct ParkedArgs {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists them, oldest first (the default)
    List,
    /// Shows one with its entry in the log, whose content may be personal
    Show {
        /// Its sequence
        sequence: u64,
    },
    /// Tries one again, or all that are not dropped
    Retry {
        /// Its sequence
        sequence: Option<u64>,
    },
    /// Gives one up: it is kept, but no longer counts as a fault
    Drop {
        /// Its sequence
        sequence: u64,
    },
}

/// Runs the command.
pub(crate) async fn run(args: ParkedArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    let database = environment.read(DatabaseSettings::from_env)?;
    match args.action.unwrap_or(Action::List) {
        Action::List => list(&database).await,
        Action::Show { sequence } => {
            let log = open_log(&environment).await?;
            let (event, entry) = parked::show(&database, &log, sequence).await.map_err(failure)?;
            print_one(&event, entry.as_ref());
            Ok(())
        }
        Action::Retry { sequence } => {
            let log = open_log(&environment).await?;
            let objects = open_objects(&environment).await?;
            let outcomes = match sequence {
                Some(sequence) => {
                    vec![(
                        sequence,
                        parked::retry(&database, &log, &objects, sequence).await.map_err(failure)?,
                    )]
                }
                None => parked::retry_all(&database, &log, &objects).await.map_err(failure)?,
            };
            report(&outcomes)
        }
        Action::Drop { sequence } => {
            parked::drop(&database, sequence).await.map_err(failure)?;
            println!("{sequence} dropped");
            Ok(())
        }
    }
}

async fn list(database: &DatabaseSettings) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let page = parked::list(database, after, PAGE).await.map_err(failure)?;
        for event in &page {
            let (kind, reason) = (plain(&event.event_type), plain(&event.reason));
            println!("{}  {}  {kind}  {reason}", event.sequence, state(event));
        }
        match page.last() {
            Some(last) => after = last.sequence,
            None if after == 0 => break println!("nothing is parked"),
            None => break,
        }
    }
    Ok(())
}

/// What waits for a newer version is no fault.
fn state(event: &ParkedEvent) -> &'static str {
    match (event.dropped, event.waiting) {
        (true, _) => "dropped",
        (false, true) => "waiting",
        (false, false) => "parked",
    }
}

fn print_one(event: &ParkedEvent, entry: Option<&Entry>) {
    println!("sequence    {}", event.sequence);
    println!("state       {}", state(event));
    println!("type        {}", plain(&event.event_type));
    println!("id          {}", plain(&event.event_id));
    println!("subject     {}", plain(&event.subject));
    println!("reason      {}", plain(&event.reason));
    println!("attempts    {}", event.attempts);
    println!("parked at   {}", event.parked_at.to_rfc3339());
    println!("last tried  {}", event.updated_at.to_rfc3339());
    match entry {
        Some(entry) => println!("data        {}", String::from_utf8_lossy(&entry.body).escape_debug()),
        None => println!("data        no longer in the log"),
    }
}

fn report(outcomes: &[(u64, Outcome)]) -> Result<(), Failure> {
    let mut left = 0;
    for (sequence, outcome) in outcomes {
        match outcome {
            Outcome::Applied => println!("{sequence}  applied"),
            Outcome::Erased => println!("{sequence}  erased meanwhile"),
            Outcome::StillParked(reason) => {
                left += 1;
                println!("{sequence}  still parked: {}", plain(reason));
            }
        }
    }
    if left > 0 {
        return Err(Failure::new(format!("{left} of {} events still cannot be folded", outcomes.len())));
    }
    if outcomes.is_empty() {
        println!("nothing is parked");
    }
    Ok(())
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
