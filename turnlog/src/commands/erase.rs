//! `turnlog erase`: a participant is gone, and stays gone.

mod recall;

use std::io::{BufRead, IsTerminal, Write};

use clap::Subcommand;
use ingest::erase::{self, Erased, Found};
use projector::scrub::{Scrub, Wal};
use shared::audit::{Audit, Look, What};
use shared::config::DatabaseSettings;
use shared::ids::ParticipantId;
use shared::log::Log;
use shared::objects::Objects;

use super::tail::plain;
use super::{open_log, open_objects};
use crate::environment::Environment;
use crate::failure::{Failure, OrFail};
use crate::operator;
use crate::progress::Progress;
use crate::signals;
use crate::target::Target;

const AFTER_HELP: &str = "\
Destroys the participant's data key, so that nothing they said can be read any more, also in backups and mirrors of the
log; deletes their recordings, uploads and large payloads; records it in the log; waits until the read tables have taken
everything of theirs out; and writes the tables anew, so that no file of Postgres holds it, while reads wait for moments
(of millions of messages, for minutes: see --without-vacuum). Nothing further is taken of them from then on.

Broken off at any point, the next run finishes it. May run beside a running system; the read tables need a projector.
Lists the data sets that may hold the participant: call them back, and backups of the streams KEYS and OBJ_turnlog-objects.";

/// Arguments of `erase`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EraseArgs {
    #[command(subcommand)]
    whom: Whom,
    /// Who has it done, as the tombstone names them [default: the user that runs this]
    #[arg(long, value_name = "NAME", global = true)]
    by: Option<String>,
    /// Does not ask
    #[arg(long, global = true)]
    yes: bool,
    /// Changes nothing, and says what would go
    #[arg(long, global = true)]
    dry_run: bool,
    /// Does not write the tables anew: their bytes stay in Postgres' files until VACUUM FULL, or turnlog rebuild and --drop
    #[arg(long, global = true)]
    without_vacuum: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Whom {
    /// The person who talks
    Participant {
        /// The participant's id (research_id)
        id: String,
    },
}

/// Runs the command.
pub(crate) async fn run(args: EraseArgs) -> Result<(), Failure> {
    let Whom::Participant { id } = &args.whom;
    let id = ParticipantId::try_from(id.clone()).or_fail("erase this participant")?;
    let environment = args.target.environment()?;
    let by = args.by.clone().unwrap_or_else(operator::name);
    let stop = signals::stop()?;
    let (log, objects) = (open_log(&environment).await?, open_objects(&environment).await?);
    let work = Work { args: &args, environment: &environment, log: &log, objects: &objects, id, by };
    // On the heap, as it is large.
    let done = tokio::select! {
        () = stop.cancelled() => Err(Failure::new("stopped; run it again to finish what it began")),
        done = Box::pin(work.run()) => done,
    };
    objects.close().await;
    log.close().await;
    done
}

/// What it takes.
struct Work<'a> {
    args: &'a EraseArgs,
    environment: &'a Environment,
    log: &'a Log,
    objects: &'a Objects,
    id: ParticipantId,
    by: String,
}

impl Work<'_> {
    async fn run(self) -> Result<(), Failure> {
        let before = erase::recorded(self.log, &self.id).await.map_err(failure)?;
        if let Some(erased) = &before {
            println!("{}", tombstone(&self.id, erased));
        }
        if self.args.dry_run {
            return if before.is_some() { Ok(()) } else { self.look().await };
        }
        // Asked first: what cannot be finished had better not begin.
        let database = self.environment.read(DatabaseSettings::from_env)?;
        let mut scrub = Scrub::begin(&database).await.map_err(failure)?;
        let erased = match before {
            Some(erased) => erased,
            None => self.erase().await?,
        };
        self.scrub(&mut scrub, erased.sequence).await?;
        recall::list(self.log, &self.id, &erased).await
    }

    async fn look(&self) -> Result<(), Failure> {
        let mut progress = Progress::new();
        let mut show = |done, of| progress.show("reading", "events", done, of);
        let found = erase::look(self.log, &self.id, &mut show).await;
        progress.clear();
        println!("{}", would_go(&found.map_err(failure)?));
        Ok(())
    }

    async fn erase(&self) -> Result<Erased, Failure> {
        if !self.args.yes {
            self.look_unless_begun().await?;
            confirm(&self.id)?;
        }
        let look =
            Look::by_operator(&operator::name(), What::Erasure).erases(&self.id).with("by", self.by.as_str());
        Audit::new(self.log).record(&look).await.or_fail("record the erasure in the audit log")?;
        let mut progress = Progress::new();
        let mut show = |done, of| progress.show("reading", "events", done, of);
        let erased = erase::run(self.log, self.objects, &self.id, &self.by, &mut show).await;
        progress.clear();
        let erased = erased.map_err(failure)?;
        println!("{}", gone(&erased));
        Ok(erased)
    }

    /// What was begun cannot be counted any more.
    async fn look_unless_begun(&self) -> Result<(), Failure> {
        match self.look().await {
            Err(_) if erase::is_begun(self.log, &self.id).await.map_err(failure)? => {
                println!("an erasure of {} was broken off; it is finished now", plain(self.id.as_str()));
                Ok(())
            }
            looked => looked,
        }
    }

    /// The tables and their files.
    async fn scrub(&self, scrub: &mut Scrub, sequence: u64) -> Result<(), Failure> {
        if !scrub.reach(sequence).await.map_err(failure)? {
            return Err(Failure::new(format!(
                "the log and the object store hold nothing of it any more, but the read tables have not come to event \
                 {sequence}: start the projector and run this again"
            )));
        }
        println!("the read tables and the search index hold nothing of it any more");
        if scrub.drop_kept().await.map_err(failure)? {
            println!("the tables of before the last rebuild are dropped, since they held it");
        }
        if self.args.without_vacuum {
            println!(
                "bytes of deleted rows stay in Postgres' files: run VACUUM FULL, or turnlog rebuild and --drop"
            );
            return Ok(());
        }
        let mut progress = Progress::new();
        let mut show = |done, of| progress.show("writing anew", "tables", done, of);
        let vacuumed = scrub.vacuum(&mut show).await;
        progress.clear();
        vacuumed.map_err(failure)?;
        match scrub.turn_wal().await.map_err(failure)? {
            Wal::Turned => println!("the tables were written anew, and Postgres began a new write-ahead log"),
            Wal::NotAllowed => println!(
                "the tables were written anew; the write-ahead log still holds what was written to them: the role may \
                 not CHECKPOINT and pg_switch_wal(), see docs/OPERATIONS.md"
            ),
        }
        Ok(())
    }
}

/// Has the id typed, on a terminal.
fn confirm(id: &ParticipantId) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new("this cannot be undone: say --yes, or run it on a terminal"));
    }
    print!("This cannot be undone. Type the id again to erase it: ");
    std::io::stdout().flush().or_fail("ask")?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).or_fail("read the answer")?;
    if typed.trim_end_matches(['\r', '\n']) == id.as_str() {
        Ok(())
    } else {
        Err(Failure::new("that is another id; nothing was changed"))
    }
}

fn tombstone(id: &ParticipantId, erased: &Erased) -> String {
    let Erased { sequence, erasure, .. } = erased;
    let (id, by, at) = (plain(id.as_str()), plain(&erasure.by), erasure.erased_at.to_rfc3339());
    format!("{id} was erased by {by} on {at}, event {sequence} of the log")
}

fn would_go(found: &Found) -> String {
    let Found { plan, events, elsewhere, shared_objects } = found;
    let mut lines = vec![
        format!("{events} events, {} conversations, {} dreams", plan.conversations.len(), plan.dreams.len()),
        format!("{} recordings, uploads and large payloads", plan.objects.len()),
        format!("{} keys", plan.keys.len() + 1),
    ];
    let deleted = found.deleted_events();
    if deleted > 0 {
        lines.push(format!(
            "{deleted} events that no key of theirs has sealed: they are deleted from the log"
        ));
    }
    if *elsewhere > 0 {
        lines.push(format!("{elsewhere} of the conversations are others'; the rest of these stays"));
    }
    if *shared_objects > 0 {
        lines.push(format!("{shared_objects} objects stay, since others' conversations name them, too"));
    }
    lines.join("\n")
}

fn gone(erased: &Erased) -> String {
    let Erased { sequence, erasure, .. } = erased;
    let mut text = format!(
        "erased, event {sequence} of the log: {} keys destroyed, {} conversations and {} dreams gone, {} objects deleted",
        erasure.keys.len(),
        erasure.conversations.len(),
        erasure.dreams.len(),
        erasure.deleted_objects
    );
    if erasure.deleted_events > 0 {
        text.push_str(&format!("\n{} events were deleted from the log", erasure.deleted_events));
    }
    text
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}
