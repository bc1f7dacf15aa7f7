//! `turnlog rebuild`: the read tables made anew from the log.

use std::time::Instant;

use projector::rebuild::{self, Options, Rebuilt, Stage, Step};
use shared::config::DatabaseSettings;
use shared::events::unknown::Tally;

use super::{open_log, open_objects};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::signals;
use crate::target::Target;

/// Arguments of `rebuild`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "May run beside a running system: reads, writes and feeds go on. Broken off at any point, the tables\n\
                        that are read are as they were, and the next run starts over. Those of before are kept until --drop."
)]
pub(crate) struct RebuildArgs {
    /// Puts the tables of before the last rebuild back, brought to where the log is now
    #[arg(long, conflicts_with_all = ["drop", "another_log", "keep_search", "full_speed"])]
    back: bool,
    /// Drops the tables of before the last rebuild
    #[arg(long, conflicts_with_all = ["another_log", "keep_search", "full_speed"])]
    drop: bool,
    /// Leaves the search index as it is, which otherwise is made anew after the tables
    #[arg(long)]
    keep_search: bool,
    /// Does not stand aside for reads and live projection
    #[arg(long)]
    full_speed: bool,
    /// Also from a log that was made anew, or that lacks events that the tables have
    #[arg(long)]
    another_log: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command.
pub(crate) async fn run(args: RebuildArgs) -> Result<(), Failure> {
    let environment = args.target.environment()?;
    let database = environment.read(DatabaseSettings::from_env)?;
    if args.drop {
        rebuild::drop_kept(&database).await.map_err(failure)?;
        println!("the tables of before the last rebuild are dropped");
        return Ok(());
    }
    let stop = signals::stop()?;
    let (log, objects) = (open_log(&environment).await?, open_objects(&environment).await?);
    let options =
        Options { unhindered: args.full_speed, another_log: args.another_log, keep_search: args.keep_search };
    let mut progress = Progress::new();
    let started = Instant::now();
    let mut tables = None;
    let mut each = |step: Step| {
        if step.stage == Stage::Search {
            tables.get_or_insert_with(|| started.elapsed());
        }
        show(&mut progress, step);
    };
    let done = tokio::select! {
        () = stop.cancelled() => Err(Failure::new("stopped; the tables that are read are as they were, or made anew")),
        done = async {
            if args.back {
                rebuild::back(&database, &log, &objects, &mut each).await
            } else {
                rebuild::run(&database, &log, &objects, options, &mut each).await
            }
        } => done.map_err(failure),
    };
    progress.clear();
    objects.close().await;
    log.close().await;
    let Rebuilt { events, waiting } = done?;
    let seconds = tables.unwrap_or_else(|| started.elapsed()).as_secs_f64();
    if args.back {
        println!(
            "the tables of before are read again, up to event {events}; the others are kept until --drop"
        );
    } else {
        let rate = events as f64 / seconds;
        println!(
            "{events} events folded into fresh tables in {seconds:.1} s, {rate:.0}/s; they are read now"
        );
        println!("the tables of before are kept: turnlog rebuild --back goes back, --drop drops them");
        if let Some(tables) = tables {
            let search = started.elapsed().saturating_sub(tables).as_secs_f64();
            println!("the search index was made anew after that, in {search:.1} s");
        }
    }
    passed_over(&waiting);
    Ok(())
}

/// Says what a newer version wrote, if there is any of it.
pub(super) fn passed_over(waiting: &Tally) {
    if waiting.total() > 0 {
        println!("{} events are of a newer version and were passed over: {waiting}", waiting.total());
    }
}

/// Shows how far a rebuild or a verification is.
pub(super) fn show(progress: &mut Progress, step: Step) {
    let (stage, unit) = match step.stage {
        Stage::Events => ("folding", "events"),
        Stage::Indexes => ("indexes", "steps"),
        Stage::CatchUp => ("catching up", "events"),
        Stage::Search => ("search index", "events"),
        Stage::Compare => ("comparing", "tables"),
    };
    progress.show(stage, unit, step.done, step.of);
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
