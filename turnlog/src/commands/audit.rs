//! `turnlog audit`: who looked at which conversation, as readable lines or JSON.

use std::io::{self, ErrorKind, Write};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::audit::{Audit, Look, What};
use shared::envelope::Entry;
use shared::ids::ConversationId;

use super::open_log;
use super::reconcile::time;
use super::tail::{json_body, plain};
use crate::failure::{Failure, OrFail};
use crate::target::Target;

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    /// Only looks at this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Only looks of this admin, researcher or API key, by the id that the lines show
    #[arg(long, value_name = "ID")]
    who: Option<String>,
    /// Only since then: RFC 3339 such as 2026-01-31T12:00:00Z, or how long ago, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<DateTime<Utc>>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command until all is printed, or nobody reads any more.
pub(crate) async fn run(args: AuditArgs) -> Result<(), Failure> {
    let conversation = args.conversation.map(ConversationId::try_from).transpose();
    let conversation = conversation.map_err(|error| Failure::new(error.to_string()))?;
    let log = open_log(&args.target.environment()?).await?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let audit = Audit::new(&log);
    let read = audit.read(conversation.as_ref(), args.from, |entry| {
        let look = serde_json::from_slice(&entry.body).ok();
        if printed.is_err() || !is_of(look.as_ref(), args.who.as_deref()) {
            return;
        }
        let line = if args.json { json_line(&entry) } else { text_line(&entry, look) };
        printed = writeln!(out, "{line}");
    });
    read.await.or_fail("read the audit log")?;
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed.or_fail("print a record"),
    }
}

/// What cannot be read is nobody's, and shown where everybody's is.
fn is_of(look: Option<&Look>, who: Option<&str>) -> bool {
    who.is_none_or(|who| look.is_some_and(|look| look.who.id.as_deref() == Some(who)))
}

fn json_line(entry: &Entry) -> String {
    json!({"sequence": entry.sequence, "stored_at": entry.stored_at.to_rfc3339(), "look": json_body(entry)})
        .to_string()
}

fn text_line(entry: &Entry, look: Option<Look>) -> String {
    let about = look.map_or_else(|| "! a record that this version cannot read; see --json".into(), describe);
    format!("{:>8}  {}  {about}", entry.sequence, entry.stored_at.format("%Y-%m-%d %H:%M:%S%.3f"))
}

fn describe(look: Look) -> String {
    let Look { who, what, conversation_id, from_sequence, to_sequence, address, request_id, more, .. } = look;
    let company = who.company.map(|company| format!(" of {}", plain(&company))).unwrap_or_default();
    let id = who.id.map(|id| format!(" {}", plain(&id))).unwrap_or_default();
    let at = conversation_id.map(|id| format!(" {}", plain(&id))).unwrap_or_default();
    let shown = match from_sequence.zip(to_sequence) {
        Some((from, to)) => format!(" {from}..{to}"),
        None => String::new(),
    };
    let more: Vec<_> = more.iter().map(|(name, value)| format!(" {}={}", plain(name), bare(value))).collect();
    let (role, what, more) = (plain(&who.role), word(what), more.concat());
    format!("{role}{id}{company}  {what}{at}{shown}{more}  from {address}, request {}", plain(&request_id))
}

/// Text without its quotes.
fn bare(value: &Value) -> String {
    plain(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn word(what: What) -> &'static str {
    match what {
        What::Snapshot => "read",
        What::Status => "asked the status of",
        What::FeedOpened => "follows",
        What::FeedEnded => "followed",
        What::Export => "exported",
        What::Media => "fetched media of",
        What::List => "listed",
        What::Search => "searched",
        What::DataSetEnded => "made a data set of",
        What::Erasure => "erased",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_looked_at_what_and_obeys_nothing() {
        let look = json!({
            "at": "2025-10-09T08:53:20Z", "who": {"role": "admin", "id": "a\u{1b}1", "company": "c1"},
            "what": "feed_ended", "conversation_id": "conv_1", "from_sequence": 3, "to_sequence": 41,
            "address": "10.0.0.1", "request_id": "r1", "reason": "left",
        });
        let line = describe(serde_json::from_value(look).unwrap());
        assert_eq!(line, "admin a 1 of c1  followed conv_1 3..41 reason=left  from 10.0.0.1, request r1");
    }
}
