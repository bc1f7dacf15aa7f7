//! `turnlog verify`: the read tables compared with the log.

use std::time::Instant;

use projector::rebuild::Step;
use projector::verify::{self, Difference, What};
use shared::config::DatabaseSettings;

use super::rebuild::{passed_over, show};
use super::{open_log, open_objects};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;
use crate::target::Target;

/// Characters of a value that are shown.
const MAX_SHOWN: usize = 60;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Needs as much room in the database as the read tables have, for as long as it runs.")]
pub(crate) struct VerifyArgs {
    /// Shows the values that differ, too, shortened: they may be personal
    #[arg(long)]
    show: bool,
    /// Does not stand aside for reads and live projection
    #[arg(long)]
    full_speed: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub(crate) async fn run(args: VerifyArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    let database = environment.read(DatabaseSettings::from_env)?;
    let stop = signals::stop()?;
    let (log, objects) = (open_log(&environment).await?, open_objects(&environment).await?);
    let mut progress = Progress::new();
    let started = Instant::now();
    let mut each = |step: Step| show(&mut progress, step);
    let mut found = |difference: Difference| print(&difference, args.show);
    let done = tokio::select! {
        () = stop.cancelled() => Err(Failure::new("stopped; run it again")),
        done = verify::run(&database, &log, &objects, args.full_speed, &mut each, &mut found) => {
            done.map_err(|error| Failure::new(error.to_string()))
        }
    };
    progress.clear();
    objects.close().await;
    log.close().await;
    let verified = done?;
    let seconds = started.elapsed().as_secs_f64();
    let rate = verified.events as f64 / seconds;
    println!(
        "{} events, {} rows compared in {seconds:.1} s, {rate:.0} events/s",
        verified.events, verified.rows
    );
    passed_over(&verified.waiting);
    if verified.differences > 0 {
        return Err(Failure::new(format!(
            "{} rows are not what the log makes them: turnlog rebuild makes them anew",
            verified.differences
        )));
    }
    println!("the tables are what the log makes them");
    Ok(())
}

fn print(difference: &Difference, values: bool) {
    let Difference { table, key, what } = difference;
    match what {
        What::Missing => println!("{table} ({key}): missing in the tables"),
        What::Surplus => println!("{table} ({key}): in the tables, not in the log"),
        What::Changed(columns) => {
            for column in columns {
                let name = &column.name;
                if values {
                    let (tables, log) = (shortened(&column.tables), shortened(&column.log));
                    println!("{table} ({key}): {name} is {tables} in the tables, {log} in the log");
                } else {
                    println!("{table} ({key}): {name} differs");
                }
            }
        }
    }
}

fn shortened(value: &serde_json::Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
