//! What is to be written: rows as the tables have them, borrowed from the events.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::events::{Call, Dream, Erasure, Interpretation, Session};
use shared::report::{Facts, Turn};

use crate::intake::Item;

/// Characters of a header that are kept with a parked event.
const MAX_PARKED_TEXT: usize = 300;

/// What a run of entries does to the tables. Rows are borrowed from the entries.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes<'a> {
    /// The last entry's sequence.
    pub(crate) last: u64,
    /// Messages that are new, in the order of their sequence.
    pub(crate) messages: Vec<MessageRow<'a>>,
    /// Newer versions of messages, in the order of their version; the table takes each message's newest.
    pub(crate) corrections: Vec<MessageRow<'a>>,
    /// What the messages mean for their conversations, one row for each.
    pub(crate) conversations: Vec<ConversationRow<'a>>,
    /// What was said of participants, in order.
    pub(crate) participants: Vec<ParticipantRow<'a>>,
    /// Messages with what few have, or that were corrected: what they have of it now.
    pub(crate) details: Vec<DetailRow<'a>>,
    /// Calls as they stand, one row for each.
    pub(crate) calls: Vec<CallRow<'a>>,
    /// Conversations that ended.
    pub(crate) endings: Vec<EndingRow<'a>>,
    /// Who has seen what, one row for each.
    pub(crate) receipts: Vec<ReceiptRow<'a>>,
    /// Workers as they stand, one row for each.
    pub(crate) workers: Vec<WorkerRow<'a>>,
    /// Admins as they stand, one row for each.
    pub(crate) admins: Vec<AdminRow<'a>>,
    /// Conversations whose participant became known.
    pub(crate) claims: Vec<ClaimRow<'a>>,
    /// Reports, in order.
    pub(crate) reports: Vec<ReportRow<'a>>,
    /// The newest sound of each session of each conversation.
    pub(crate) recordings: Vec<RecordingRow<'a>>,
    /// Sessions that were opened, one row for each.
    pub(crate) sessions: Vec<SessionRow<'a>>,
    /// Dreams as they stand, one row for each.
    pub(crate) dreams: Vec<DreamRow<'a>>,
    /// What interpreters make of dreams, one row for each of both.
    pub(crate) interpretations: Vec<InterpretationRow<'a>>,
    /// What came in by webhooks, one row for each way in.
    pub(crate) sources: Vec<SourceRow>,
    /// Webhooks that were turned away.
    pub(crate) refused: Vec<RefusedRow<'a>>,
    /// What could not be read.
    pub(crate) parked: Vec<ParkedRow>,
    /// Participants that were erased. Each stands alone.
    pub(crate) erasures: Vec<ErasureRow<'a>>,
}

/// A message as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MessageRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) version_sequence: i64,
    pub(crate) ordinal: i64,
    pub(crate) place: i64,
    pub(crate) said_at: DateTime<Utc>,
    pub(crate) said_offset: i32,
    pub(crate) recorded_at: DateTime<Utc>,
    pub(crate) conversation: &'a str,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) message_id: Option<&'a str>,
    pub(crate) role: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) content: &'a str,
}

/// What is known of a conversation from these entries alone; the table joins it with what it knew.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConversationRow<'a> {
    pub(crate) token: &'a str,
    pub(crate) conversation_id: &'a str,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) provider: &'static str,
    pub(crate) message_count: i64,
    pub(crate) first_sequence: i64,
    pub(crate) last_sequence: i64,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) last_message_at: DateTime<Utc>,
}

/// What one event says of a participant; absent means unchanged.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParticipantRow<'a> {
    pub(crate) token: &'a str,
    pub(crate) participant_id: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) age: Option<i32>,
    pub(crate) location: Option<&'a str>,
    pub(crate) stored_at: DateTime<Utc>,
}

/// What few messages have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DetailRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) version_sequence: i64,
    pub(crate) conversation: &'a str,
    pub(crate) sources: Option<&'a str>,
    pub(crate) attachments: Option<Value>,
    pub(crate) late: bool,
}

/// A call as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallRow<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) first_sequence: i64,
    pub(crate) version_sequence: i64,
    pub(crate) worker: String,
    pub(crate) call: &'a Call,
    pub(crate) ended_at: Option<DateTime<Utc>>,
}

/// The end of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EndingRow<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) sequence: i64,
    pub(crate) ended_at: DateTime<Utc>,
}

/// Up to where somebody has seen a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReceiptRow<'a> {
    pub(crate) conversation: &'a str,
    pub(crate) viewer: String,
    pub(crate) version_sequence: i64,
    pub(crate) sequence: i64,
    pub(crate) role: &'static str,
    pub(crate) viewer_id: &'a str,
    pub(crate) seen_at: DateTime<Utc>,
}

/// A worker as they stand; without a company once they have left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkerRow<'a> {
    pub(crate) token: &'a str,
    pub(crate) version_sequence: i64,
    pub(crate) worker_id: &'a str,
    pub(crate) company_id: Option<&'a str>,
    pub(crate) mobile_no: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// An admin as they stand; without a company once they have left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdminRow<'a> {
    pub(crate) token: &'a str,
    pub(crate) version_sequence: i64,
    pub(crate) admin_id: &'a str,
    pub(crate) company_id: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// A conversation's participant, who was not known when it began.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClaimRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) conversation: &'a str,
    pub(crate) participant_id: &'a str,
}

/// A report, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReportRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) conversation: &'a str,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) source: &'static str,
    pub(crate) kind: &'a str,
    pub(crate) session: i32,
    pub(crate) reported_at: Option<DateTime<Utc>>,
    pub(crate) recorded_at: DateTime<Utc>,
    /// When the session ended, as far as the report tells.
    pub(crate) ended_at: DateTime<Utc>,
    pub(crate) facts: &'a Facts,
    /// Every turn, with the ordinal of its message.
    pub(crate) turns: Vec<(&'a Turn, Option<i64>)>,
}

/// The sound of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RecordingRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) conversation: &'a str,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) session: i32,
    pub(crate) source: &'static str,
    pub(crate) object: &'a str,
    pub(crate) bytes: i64,
    pub(crate) sha256: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) reported_at: Option<DateTime<Utc>>,
    pub(crate) recorded_at: DateTime<Utc>,
}

/// A session that was opened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) conversation: &'a str,
    pub(crate) number: i32,
    /// What the vendor's conversation is looked up by.
    pub(crate) vendor: String,
    pub(crate) session: &'a Session,
}

/// A dream as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DreamRow<'a> {
    pub(crate) token: &'a str,
    pub(crate) version_sequence: i64,
    pub(crate) themes: Value,
    pub(crate) dream: &'a Dream,
}

/// What an interpreter makes of a dream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InterpretationRow<'a> {
    pub(crate) dream: &'a str,
    pub(crate) version_sequence: i64,
    pub(crate) tone: Value,
    pub(crate) interpreted_at: DateTime<Utc>,
    pub(crate) interpretation: &'a Interpretation,
}

/// A participant that was erased.
#[derive(Debug, Clone)]
pub(crate) struct ErasureRow<'a> {
    pub(crate) erasure: &'a Erasure,
    /// The participant's token.
    pub(crate) participant: String,
    /// What is left of what it touches.
    pub(crate) left: &'a [Item],
}

impl PartialEq for ErasureRow<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.erasure == other.erasure
    }
}

/// What these entries say of a way in for webhooks; the table adds it to what it knew.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceRow {
    pub(crate) source: &'static str,
    pub(crate) received: i64,
    pub(crate) refused: i64,
    /// Turned away since the last good one among these.
    pub(crate) failures: i64,
    pub(crate) last_received: Option<DateTime<Utc>>,
    pub(crate) last_refused: Option<DateTime<Utc>>,
}

/// A webhook that was turned away.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RefusedRow<'a> {
    pub(crate) sequence: i64,
    pub(crate) source: &'static str,
    pub(crate) reason: &'a str,
    pub(crate) bytes: i64,
    pub(crate) sha256: &'a str,
    pub(crate) address: &'a str,
    pub(crate) refused_at: DateTime<Utc>,
}

/// An event that is set aside.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ParkedRow {
    pub(crate) sequence: i64,
    pub(crate) subject: String,
    pub(crate) event_type: String,
    pub(crate) event_id: String,
    pub(crate) reason: String,
}

impl ParkedRow {
    /// Sets an event aside.
    pub(crate) fn of(item: &Item, reason: &str) -> Self {
        // Whoever wrote the event chose these: they must not make the parking fail as well.
        let sane = |text: &str| text.chars().filter(|c| *c != '\0').take(MAX_PARKED_TEXT).collect();
        Self {
            sequence: number(item.sequence),
            subject: sane(&item.subject),
            event_type: sane(item.event_type()),
            event_id: sane(&item.event_id),
            reason: sane(reason),
        }
    }
}

/// The number of a session as Postgres holds it. None reaches the limit: each costs its participant a call.
pub(crate) fn ordinal(session: u32) -> i32 {
    i32::try_from(session).unwrap_or(i32::MAX)
}

/// A sequence or count as Postgres holds it. The log cannot reach the limit: it is 9 quintillion.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
