//! `turnlog tail`: the log followed, as readable lines or JSON.

use std::io::{self, ErrorKind, Write};

use serde_json::value::RawValue;
use serde_json::{Value, json};
use shared::envelope::Entry;
use shared::events::{Call, Event, Message};
use shared::ids::{ConversationId, DreamId, ParticipantId};
use shared::subjects::Subject;

use super::open_log;
use crate::failure::{Failure, OrFail};
use crate::signals;
use crate::target::Target;

/// Entries that are shown of what was there before, unless `--from` says more.
const LOOK_BACK: u64 = 10;
/// Entries taken at once.
const BATCH: usize = 500;

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct TailArgs {
    /// Only this conversation, from its beginning
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// From this sequence on [default: the newest ten, or the whole conversation]
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Runs the command until a stop is asked for, or nobody reads any more.
pub(crate) async fn run(args: TailArgs) -> Result<(), Failure> {
    let stop = signals::stop()?;
    let log = open_log(&args.target.environment()?).await?;
    let subject = match args.conversation {
        Some(id) => {
            let id = ConversationId::try_from(id).map_err(|error| Failure::new(error.to_string()))?;
            Some(Subject::conversation(&id))
        }
        None => None,
    };
    let after = match args.from {
        Some(from) => from.saturating_sub(1),
        None if subject.is_some() => 0,
        None => {
            let extent = log.extent().await.or_fail("look at the log")?;
            extent.last.saturating_sub(LOOK_BACK)
        }
    };
    let mut tail = log.tail("operator", after, subject.as_ref().map(Subject::as_str));
    loop {
        let batch = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            batch = tail.next_batch(BATCH) => batch.or_fail("follow the log")?,
        };
        match print(&batch, args.json) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            printed => printed.or_fail("print an entry")?,
        }
    }
}

fn print(entries: &[Entry], as_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for entry in entries {
        writeln!(out, "{}", if as_json { json_line(entry) } else { text_line(entry) })?;
    }
    out.flush()
}

/// The body of an entry. What is not JSON is shown as text: the log may hold what turnlog did not write.
pub(super) fn json_body(entry: &Entry) -> Value {
    let text = String::from_utf8_lossy(&entry.body);
    let data = RawValue::from_string(text.to_string()).ok();
    data.map_or_else(|| json!(text), |raw| json!(raw))
}

fn json_line(entry: &Entry) -> String {
    json!({
        "sequence": entry.sequence,
        "stored_at": entry.stored_at.to_rfc3339(),
        "type": entry.event_type(),
        "id": entry.event_id(),
        "subject": entry.subject,
        "request_id": entry.request_id(),
        "erased": entry.is_erased(),
        "data": if entry.is_erased() { Value::Null } else { json_body(entry) },
    })
    .to_string()
}

fn text_line(entry: &Entry) -> String {
    let about = match entry.decode() {
        Ok(event) => describe(&event),
        // It may repeat a type that somebody else made up.
        Err(error) => format!("! {}", plain(&error.to_string())),
    };
    format!("{:>8}  {}  {about}", entry.sequence, entry.stored_at.format("%Y-%m-%d %H:%M:%S%.3f"))
}

fn describe(event: &Event) -> String {
    match event {
        Event::MessageRecorded(message) => format!("recorded   {}", spoken(message)),
        Event::MessageCorrected(correction) => {
            format!("corrected  {} (was {})", spoken(&correction.message), correction.first_sequence)
        }
        Event::ParticipantEnrolled(data) => format!("enrolled   {}", plain(data.participant_id.as_str())),
        Event::ParticipantUpdated(data) => format!("updated    {}", plain(data.participant_id.as_str())),
        Event::TokenRevoked(data) => format!("revoked    token {}", plain(&data.token_id)),
        Event::ConversationClaimed(data) => format!(
            "claimed    {} by {}",
            plain(data.conversation_id.as_str()),
            plain(data.participant_id.as_str())
        ),
        Event::ConversationReported(data) => format!(
            "reported   {} {} from {}, {} turns{}",
            plain(data.conversation_id.as_str()),
            plain(&data.kind),
            data.source.as_str(),
            data.turns.len(),
            if data.superseded { ", older than what is known" } else { "" }
        ),
        Event::AudioStored(data) => format!(
            "audio      {} {} bytes of {}",
            plain(data.conversation_id.as_str()),
            data.audio.bytes,
            plain(&data.media_type)
        ),
        Event::WebhookReceived(data) => format!(
            "unread     {} of {} bytes from {}: {}",
            plain(data.kind.as_deref().unwrap_or("webhook")),
            data.bytes,
            data.source.as_str(),
            plain(&data.reason)
        ),
        Event::WebhookRefused(data) => format!(
            "refused    {} bytes at {} from {}: {}",
            data.bytes,
            data.source.as_str(),
            plain(&data.address),
            plain(&data.reason)
        ),
        Event::CallOpened(call) => format!("opened     {}", called(call)),
        Event::CallChanged(call) => format!("changed    {}", called(call)),
        Event::CallTakenOver(data) => {
            format!("taken over {} by {}", called(&data.call), plain(data.by.as_str()))
        }
        Event::CallReleased(data) => {
            format!("released   {} by {}", called(&data.call), plain(data.by.as_str()))
        }
        Event::ConversationEnded(data) => format!(
            "ended      {} by {}",
            plain(data.conversation_id.as_str()),
            data.by.as_ref().map_or_else(|| "a service".into(), |admin| plain(admin.as_str()))
        ),
        Event::ConversationSeen(data) => format!(
            "seen       {} up to {} by {} {}",
            plain(data.conversation_id.as_str()),
            data.sequence,
            data.by.role(),
            plain(data.by.id())
        ),
        Event::WorkerRegistered(data) => {
            format!("worker     {} of {}", plain(data.worker_id.as_str()), plain(data.company_id.as_str()))
        }
        Event::WorkerRemoved(data) => format!("worker     {} left", plain(data.worker_id.as_str())),
        Event::AdminRegistered(data) => {
            format!("admin      {} of {}", plain(data.admin_id.as_str()), plain(data.company_id.as_str()))
        }
        Event::AdminRemoved(data) => format!("admin      {} left", plain(data.admin_id.as_str())),
        Event::DreamRecorded(data) => format!("dream      {}", dreamt(&data.dream_id, &data.participant_id)),
        Event::DreamChanged(data) => {
            format!("dream      {} changed", dreamt(&data.dream_id, &data.participant_id))
        }
        Event::DreamInterpreted(data) => format!(
            "dream      {} interpreted by {}",
            dreamt(&data.dream_id, &data.participant_id),
            plain(data.interpreter_id.as_str())
        ),
        Event::DreamDiscussed(data) => format!(
            "dream      {} discussed with {} in {}",
            dreamt(&data.dream_id, &data.participant_id),
            plain(data.interpreter_id.as_str()),
            plain(data.conversation_id.as_str())
        ),
        Event::SessionOpened(data) => format!(
            "session    {} #{} with {} as {}",
            plain(data.conversation_id.as_str()),
            data.number,
            plain(data.interpreter_id.as_str()),
            plain(data.vendor_conversation_id.as_str())
        ),
        Event::ParticipantErased(data) => format!(
            "erased     {} by {}, {} conversations",
            plain(data.participant_id.as_str()),
            plain(&data.by),
            data.conversations.len()
        ),
        Event::ConversationLinked(data) => format!(
            "linked     {} continues {}",
            plain(data.conversation_id.as_str()),
            plain(data.continues.as_str())
        ),
    }
}

fn dreamt(dream: &DreamId, by: &ParticipantId) -> String {
    format!("{} of {}", plain(dream.as_str()), plain(by.as_str()))
}

fn called(call: &Call) -> String {
    format!(
        "{} call {} of {}, {}",
        plain(call.conversation_id.as_str()),
        plain(call.call_id.as_str()),
        plain(call.worker_id.as_str()),
        plain(&call.urgency)
    )
}

fn spoken(message: &Message) -> String {
    format!(
        "{} #{} {}: {}",
        plain(message.conversation_id.as_str()),
        message.ordinal,
        message.role.as_str(),
        plain(&message.content)
    )
}

/// Text from outside on one line, without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_obeys_nothing_that_was_said() {
        assert_eq!(plain("a\r\nb\u{1b}[2Jc\u{9b}d é 🙂"), "a  b [2Jc d é 🙂");
    }
}
