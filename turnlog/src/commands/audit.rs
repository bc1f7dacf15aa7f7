//! `turnlog audit`: who did what, as readable lines or JSON; and whether all of that is what was recorded.

mod line;
mod verify;

use std::io::{self, ErrorKind, Write};

use chrono::{DateTime, Utc};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use shared::audit::{Audit, Look, What};
use shared::envelope::Entry;
use shared::ids::{ConversationId, ParticipantId};

use self::verify::VerifyArgs;
use super::open_log;
use super::reconcile::time;
use super::tail::json_body;
use crate::failure::{Failure, OrFail};
use crate::target::Target;

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares the audit log with its seals: names what was changed, taken out, moved or put in between
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only what was done to this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Only what is about this participant: done by them or to them. Looks at conversations are about these
    #[arg(long, value_name = "ID")]
    participant: Option<String>,
    /// Only what this admin, researcher, API key or operator did, by the id that the lines show; or all of this role
    #[arg(long, value_name = "ID|ROLE")]
    who: Option<String>,
    /// Only this; may be given again for more
    #[arg(long, value_name = "WHAT", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(What::ALL.map(What::as_str)))]
    what: Vec<String>,
    /// Only since then: RFC 3339 such as 2026-01-31T12:00:00Z, or how long ago, such as 90m, 24h or 7d
    #[arg(long, visible_alias = "from", value_name = "TIME", value_parser = time)]
    since: Option<DateTime<Utc>>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What records are asked for.
struct Filter {
    conversation: Option<ConversationId>,
    participant: Option<ParticipantId>,
    who: Option<String>,
    what: Vec<String>,
}

/// Runs the command until all is printed, or nobody reads any more.
pub(crate) async fn run(args: AuditArgs) -> Result<(), Failure> {
    match args.command {
        Some(Command::Verify(wanted)) => verify::run(wanted, &args.target).await,
        None => list(args.list, &args.target).await,
    }
}

async fn list(args: ListArgs, target: &Target) -> Result<(), Failure> {
    let (since, as_json) = (args.since, args.json);
    let filter = Filter::of(args)?;
    let log = open_log(&target.environment()?).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let audit = Audit::new(&log);
    let read = audit.read(filter.conversation.as_ref(), since, |entry| {
        let look = serde_json::from_slice(&entry.body).ok();
        if printed.is_err() || !filter.takes(look.as_ref()) {
            return;
        }
        let line = if as_json { json_line(&entry) } else { line::text(&entry, look) };
        printed = writeln!(out, "{line}");
    });
    read.await.or_fail("read the audit log")?;
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.or_fail("print a record"),
    }
}

impl Filter {
    fn of(args: ListArgs) -> Result<Self, Failure> {
        let named = |error: String| Failure::new(error);
        let conversation = args.conversation.map(ConversationId::try_from).transpose();
        let participant = args.participant.map(ParticipantId::try_from).transpose();
        Ok(Self {
            conversation: conversation.map_err(|error| named(error.to_string()))?,
            participant: participant.map_err(|error| named(error.to_string()))?,
            who: args.who,
            what: args.what,
        })
    }

    /// What cannot be read is shown where everything is.
    fn takes(&self, look: Option<&Look>) -> bool {
        let Some(look) = look else {
            return self.participant.is_none() && self.who.is_none() && self.what.is_empty();
        };
        let who = |who: &String| look.who.id.as_ref() == Some(who) || look.who.role == *who;
        self.participant.as_ref().is_none_or(|participant| look.is_about(participant))
            && self.who.as_ref().is_none_or(who)
            && (self.what.is_empty() || self.what.iter().any(|what| look.what.as_str() == what))
    }
}

fn json_line(entry: &Entry) -> String {
    json!({"sequence": entry.sequence, "stored_at": entry.stored_at.to_rfc3339(), "look": json_body(entry)})
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_who_what_and_whom() {
        let participant = ParticipantId::try_from("RID001".to_owned()).unwrap();
        let erasure = Look::by_operator("ada@host", What::Erasure).erases(&participant);
        let takes = |participant: Option<&str>, who: Option<&str>, what: &[&str]| {
            let filter = Filter {
                conversation: None,
                participant: participant.map(|id| id.to_owned().try_into().unwrap()),
                who: who.map(str::to_owned),
                what: what.iter().map(|what| (*what).to_owned()).collect(),
            };
            filter.takes(Some(&erasure))
        };
        assert!(takes(None, None, &[]) && takes(Some("RID001"), Some("ada@host"), &["erasure", "list"]));
        assert!(takes(None, Some("operator"), &[]));
        assert!(!takes(Some("RID002"), None, &[]) && !takes(None, Some("bo@host"), &[]));
        assert!(!takes(None, None, &["list"]));
    }
}
