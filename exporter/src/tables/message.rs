//! Messages: every turn, in its newest version.

use serde::{Deserialize, Serialize};
use shared::events;

use crate::cell::{Cell, table};
use crate::deid::{Class, Of, rules};

/// A message as it stands; also what waits in temporary files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message<'a> {
    pub(crate) sequence: u64,
    pub(crate) version_sequence: u64,
    pub(crate) corrections: u64,
    /// Microseconds.
    pub(crate) recorded_at: i64,
    pub(crate) said_at: i64,
    pub(crate) said_offset: i32,
    pub(crate) session: u32,
    pub(crate) place: u64,
    pub(crate) ordinal: u64,
    pub(crate) reported: bool,
    pub(crate) late: bool,
    pub(crate) event_id: Option<u64>,
    pub(crate) conversation_id: &'a str,
    #[serde(borrow)]
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) provider: &'a str,
    pub(crate) role: &'a str,
    pub(crate) content: &'a str,
    #[serde(borrow)]
    pub(crate) message_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) original: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) sent: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) sources: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) attachments: Option<&'a str>,
}

impl<'a> Message<'a> {
    /// What an event at `version_sequence` says of the message that the one at `sequence` recorded.
    pub(crate) fn of(
        message: &'a events::Message,
        (sequence, version_sequence): (u64, u64),
        recorded_at: i64,
        sent: Option<&'a str>,
        attachments: Option<&'a str>,
    ) -> Self {
        Self {
            sequence,
            version_sequence,
            corrections: u64::from(sequence != version_sequence),
            recorded_at,
            said_at: message.timestamp.instant().timestamp_micros(),
            said_offset: message.timestamp.offset_seconds(),
            session: message.session,
            place: message.place(),
            ordinal: message.ordinal,
            reported: message.reported,
            late: message.late,
            event_id: message.event_id,
            conversation_id: message.conversation_id.as_str(),
            participant_id: message.participant_id.as_ref().map(|id| id.as_str()),
            provider: message.provider.as_str(),
            role: message.role.as_str(),
            content: &message.content,
            message_id: message.message_id.as_ref().map(|id| id.as_str()),
            original: message.original.as_deref(),
            sent,
            sources: message.sources.as_deref(),
            attachments,
        }
    }

    /// Takes a newer version, as the read tables do: what names it and whose it is stays, once known.
    pub(crate) fn correct(&mut self, newer: &Self) {
        *self = Self {
            corrections: self.corrections + newer.corrections,
            recorded_at: self.recorded_at,
            ordinal: self.ordinal,
            provider: self.provider,
            message_id: newer.message_id.or(self.message_id),
            participant_id: self.participant_id.or(newer.participant_id),
            ..newer.clone()
        };
    }
}

table! {
    /// See [`Message`].
    MESSAGES of Message, "messages" by "sequence":
        "One row for each turn of a conversation, in its newest version. Rows are in the order in which the log recorded the turns first; a conversation is in order by place, then sequence.";
    sequence: Integer required as Class::Plain, |m| Cell::number(m.sequence),
        "Names the message for ever: the log's sequence of the event that recorded it first; the message_id of the API's replies.";
    version_sequence: Integer required as Class::Plain, |m| Cell::number(m.version_sequence),
        "Sequence of the event that this row last changed with: its newest version, or the claim that told whose conversation it is of.";
    corrections: Integer required as Class::Plain, |m| Cell::number(m.corrections),
        "How often its content was corrected; 0 for most.";
    conversation_id: Text required as Class::Id(Of::Conversation), |m| Cell::Text(m.conversation_id),
        "The conversation that it is a turn of.";
    session: Integer required as Class::Plain, |m| Cell::Integer(m.session.into()),
        "The session of the conversation that it was said in, from 1; 0 where there are none.";
    place: Integer required as Class::Plain, |m| Cell::number(m.place),
        "Where it stands in its conversation: order by it, then by sequence. A turn that a transcript completed later stands between its neighbours.";
    ordinal: Integer required as Class::Plain, |m| Cell::number(m.ordinal),
        "Counts the messages of the conversation as they were stored, from 1.";
    participant_id: Text optional as Class::Id(Of::Participant), |m| Cell::text_if(m.participant_id),
        "Whose conversation it is; null where no participant is known.";
    role: Text required as Class::Plain, |m| Cell::Text(m.role),
        "Who spoke: user or assistant.";
    provider: Text required as Class::Plain, |m| Cell::Text(m.provider),
        "Through which frontend it came: elevenlabs, openai, or call for a call that a service told of.";
    content: Text required as Class::Text, |m| Cell::Text(m.content),
        "What was said, in its newest version.";
    said_at: Instant required as Class::Plain, |m| Cell::Instant(m.said_at),
        "When it was said, by its sender's clock, in UTC.";
    said_offset: Integer required as Class::Plain, |m| Cell::Integer(m.said_offset.into()),
        "Offset of the sender's clock in seconds east of UTC, as it was given with the time.";
    recorded_at: Instant required as Class::Plain, |m| Cell::Instant(m.recorded_at),
        "When the log stored its first version, in UTC.";
    message_id: Text optional as Class::Id(Of::Message), |m| Cell::text_if(m.message_id),
        "The id that it came with; null where it came without.";
    event_id: Integer optional as Class::Plain, |m| Cell::number_if(m.event_id),
        "The vendor's number of the utterance.";
    reported: Boolean required as Class::Plain, |m| Cell::Boolean(m.reported),
        "It is known from a report alone; no frontend has sent it.";
    late: Boolean required as Class::Plain, |m| Cell::Boolean(m.late),
        "It came after the conversation had ended.";
    original: Text optional as Class::Text, |m| Cell::text_if(m.original),
        "What was about to be said when the speaker was interrupted.";
    sent: Text optional as Class::Text, |m| Cell::text_if(m.sent),
        "What a frontend sent, where the vendor's final text stands against it and holds.";
    sources: Text optional as Class::Text, |m| Cell::text_if(m.sources),
        "What an answer is based on, as its sender lists it.";
    attachments: Json optional as Class::Json(&rules::ATTACHMENTS), |m| Cell::text_if(m.attachments),
        "What came with it besides words, as a JSON array: kind and url or media_id, media_type, bytes, latitude, longitude, name.";
}
