//! What a report says: the one reader of what others tell of a conversation, for deciding, folding and showing alike.
//!
//! Vendors add fields, leave some out and change their types without notice. So nothing here is required but that the
//! payload is a JSON object: what is missing or of another shape is absent, and what is unknown stays in the payload.

mod elevenlabs;
mod lenient;
mod webhook;

use chrono::{DateTime, TimeZone, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ids::{ConversationId, MessageId, Speaker, Timestamp};

pub use lenient::Object;

/// Kinds of reports that this version understands, by the sender's name.
pub mod kinds {
    /// A call's transcript and facts.
    pub const TRANSCRIPTION: &str = "post_call_transcription";
    /// The same as OpenTelemetry traces.
    pub const TRACES: &str = "post_call_transcription_otel";
    /// A call's sound.
    pub const AUDIO: &str = "post_call_audio";
    /// A call that did not come about.
    pub const FAILURE: &str = "call_initiation_failure";
    /// S3's conversation webhook.
    pub const CONVERSATION: &str = "conversation";
}

/// Most bytes of a turn's text that become a message. Sixfold, as escaped JSON, it still fits one event, together with
/// what was about to be said. What is longer is cut, and stands whole in the payload.
pub const MAX_TEXT: usize = 128 * 1024;
/// Most bytes of what was about to be said.
const MAX_ORIGINAL: usize = 16 * 1024;

/// What stands around a webhook's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// The sender's name for its kind.
    pub kind: Option<String>,
    /// Which conversation it is of, where that is an id, and none of those that turnlog keeps for itself.
    pub conversation: Option<ConversationId>,
    /// When it was made, by the sender's clock.
    pub reported_at: Option<DateTime<Utc>>,
}

/// A report, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Every turn, in the order of the transcript.
    pub turns: Vec<Turn>,
    /// What it says of the conversation as a whole.
    pub facts: Facts,
}

/// One turn of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who spoke.
    pub role: Speaker,
    /// The sender's own word for who spoke.
    pub said_as: String,
    /// What was said; absent in a turn that only calls tools.
    pub text: Option<String>,
    /// What was about to be said when the speaker was interrupted.
    pub original: Option<String>,
    /// Whether the speaker was interrupted.
    pub interrupted: bool,
    /// Its own id.
    pub message_id: Option<MessageId>,
    /// The vendor's number of the utterance.
    pub event_id: Option<u64>,
    /// When it was said.
    pub at: Option<Timestamp>,
    /// Seconds into the call.
    pub seconds: Option<i64>,
    /// Everything else that it says, as it came.
    pub detail: Value,
}

/// What a report says of a conversation as a whole. Texts from outside; all optional.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// How it ended, in the sender's word: `done`, `failed`, a failure's reason.
    pub outcome: Option<String>,
    /// It did not come about, or broke.
    pub failed: bool,
    /// The agent that was talked to.
    pub agent_id: Option<String>,
    /// What the browser called its user. Proves nothing.
    pub user_id: Option<String>,
    /// Whose account a service says it is of.
    pub account_id: Option<String>,
    /// Whose e-mail address a service says it is of.
    pub email_id: Option<String>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// How long it was.
    pub duration_seconds: Option<i64>,
    /// In the vendor's credits.
    pub cost: Option<i64>,
    /// The vendor's judgement: `success`, `failure`, `unknown`.
    pub call_successful: Option<String>,
    /// A few words for it.
    pub title: Option<String>,
    /// A few sentences for it.
    pub summary: Option<String>,
    /// Why it ended.
    pub termination_reason: Option<String>,
    /// Main language, as a code.
    pub language: Option<String>,
    /// The telephone's side of it.
    pub phone_call: Value,
    /// Results of the evaluation criteria.
    pub evaluation: Value,
    /// Results of the data collection.
    pub collected: Value,
    /// What the browser gave at the start, dynamic variables included. Proves nothing.
    pub client_data: Value,
    /// The metadata as it came.
    pub metadata: Value,
    /// The analysis as it came.
    pub analysis: Value,
}

impl Facts {
    /// When the conversation ended.
    pub fn ended_at(&self) -> Option<DateTime<Utc>> {
        let duration = chrono::Duration::try_seconds(self.duration_seconds?.max(0))?;
        self.started_at?.checked_add_signed(duration).filter(sane)
    }
}

/// Reads the heading of a vendor's webhook; `None` when the body is no JSON object.
pub fn heading(body: &RawValue) -> Option<Heading> {
    let body = Object::read(body)?;
    let data = body.object("data");
    let conversation = data.as_ref().and_then(|data| data.text("conversation_id"));
    let conversation = conversation.and_then(|id| ConversationId::try_from(id).ok());
    Some(Heading {
        kind: body.text("type"),
        conversation: conversation.filter(|id| !id.is_standing()),
        reported_at: body.number("event_timestamp").and_then(instant),
    })
}

/// Reads a payload of this kind; `None` when this version does not know the kind or the payload is no object of it.
pub fn read(kind: &str, payload: &RawValue) -> Option<Reading> {
    read_to(kind, payload, Depth::Everything)
}

/// The same for deciding: who said what, and when. Details and facts that are values are null.
pub fn skim(kind: &str, payload: &RawValue) -> Option<Reading> {
    read_to(kind, payload, Depth::Words)
}

fn read_to(kind: &str, payload: &RawValue, depth: Depth) -> Option<Reading> {
    let payload = Object::read(payload)?;
    match kind {
        kinds::TRANSCRIPTION => elevenlabs::transcription(&data(payload)?, depth),
        kinds::TRACES => elevenlabs::traces(&data(payload)?, depth),
        kinds::FAILURE => elevenlabs::failure(&data(payload)?, depth),
        kinds::CONVERSATION => webhook::conversation(&payload, depth),
        _ => None,
    }
}

/// How much of a payload is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Texts and numbers.
    Words,
    /// Values of any shape, too.
    Everything,
}

impl Depth {
    /// A value, if values are read.
    fn value(self, read: impl FnOnce() -> Value) -> Value {
        match self {
            Self::Words => Value::Null,
            Self::Everything => read(),
        }
    }
}

/// What stands in a webhook's envelope; the vendor's API answers the same without one.
fn data(payload: Object<'_>) -> Option<Object<'_>> {
    if payload.raw("conversation_id").is_some() { Some(payload) } else { payload.object("data") }
}

/// A text as a message's content: cut to what an event holds, and without NUL, which Postgres cannot hold. `None` when
/// nothing was said.
fn spoken(text: &str) -> Option<String> {
    cut(text, MAX_TEXT)
}

fn cut(text: &str, most: usize) -> Option<String> {
    if text.trim().is_empty() {
        return None;
    }
    let end = text.floor_char_boundary(most);
    Some(text[..end].replace('\0', "\u{fffd}"))
}

/// An instant of unix seconds, where it is one that tables can hold.
fn instant(seconds: f64) -> Option<DateTime<Utc>> {
    let micros = (seconds * 1e6).round();
    let whole = micros.is_finite().then_some(micros as i64)?;
    Utc.timestamp_micros(whole).single().filter(sane)
}

/// From 1970 to 2200: what is outside is a mistake, and Postgres and RFC 3339 have ends.
fn sane(instant: &DateTime<Utc>) -> bool {
    (0..7_258_118_400).contains(&instant.timestamp())
}

#[cfg(test)]
mod tests;
