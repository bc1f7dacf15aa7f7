//! Events: every entry of the log, as it stands.

use crate::cell::{Cell, table};
use crate::deid::{Class, Of};

/// An entry of the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EventRow<'a> {
    pub(crate) sequence: u64,
    /// Microseconds.
    pub(crate) recorded_at: i64,
    pub(crate) id: Option<&'a str>,
    pub(crate) kind: Option<&'a str>,
    pub(crate) subject: &'a str,
    pub(crate) conversation_id: Option<&'a str>,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) data: Option<&'a str>,
}

table! {
    /// See [`EventRow`].
    EVENTS of EventRow, "events" by "sequence":
        "One row for each event of the log, in the order of the log. Events are immutable facts; what they say is described in docs/EVENTS.md of turnlog.";
    sequence: Integer required as Class::Plain, |e| Cell::number(e.sequence),
        "Its place in the log; the one number that names it everywhere.";
    recorded_at: Instant required as Class::Plain, |e| Cell::Instant(e.recorded_at),
        "When the log stored it, in UTC.";
    event_id: Text optional as Class::Id(Of::Event), |e| Cell::text_if(e.id),
        "Its CloudEvents id; null where something other than turnlog wrote it.";
    type: Text optional as Class::Plain, |e| Cell::text_if(e.kind),
        "What happened, and the version of its data: turnlog.message.recorded.v1. Null where something other than turnlog wrote it.";
    subject: Text required as Class::Subject, |e| Cell::Text(e.subject),
        "The aggregate that it is of; the last part is a hash of its id.";
    conversation_id: Text optional as Class::Id(Of::Conversation), |e| Cell::text_if(e.conversation_id),
        "The conversation that it is of, where it is of one.";
    participant_id: Text optional as Class::Id(Of::Participant), |e| Cell::text_if(e.participant_id),
        "The participant whom it names, where it names one.";
    data: Json optional as Class::Event, |e| Cell::text_if(e.data),
        "What it says, as a JSON object. Hashes of access codes are left out. Null where it cannot be read as JSON, and where a newer version says something of a participant.";
}
