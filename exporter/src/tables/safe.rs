//! What a data set under Safe Harbor holds: named one by one, so that nothing else can come along.

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, table};
use crate::deid::{Class, Of};

/// A person, as far as they may be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Participant {
    /// In clear: the writer makes the surrogate.
    pub(crate) participant_id: String,
    pub(crate) age_group: Option<String>,
    pub(crate) providers: Option<String>,
    pub(crate) language: Option<String>,
    pub(crate) years: Option<String>,
    pub(crate) conversations: u64,
}

/// [`Participant`] as the table's macro wants it.
#[derive(Debug)]
pub(crate) struct ParticipantRow<'a>(pub(crate) &'a Participant);

table! {
    /// See [`Participant`].
    PARTICIPANTS of ParticipantRow, "participants" by "participant_id":
        "One row for each participant with a conversation in the data set, in the order of their surrogates.";
    participant_id: Text required as Class::Id(Of::Participant), |p| Cell::Text(&p.0.participant_id),
        "Names the participant in this data set, and nowhere else.";
    age_group: Text optional as Class::Plain, |p| Cell::text_if(p.0.age_group.as_deref()),
        "Ten years of age, such as 30-39, or 90+; null where not known or suppressed.";
    providers: Text optional as Class::Plain, |p| Cell::text_if(p.0.providers.as_deref()),
        "Through which frontends, with commas between; null where suppressed.";
    language: Text optional as Class::Plain, |p| Cell::text_if(p.0.language.as_deref()),
        "Main language as a code of two or three letters; null where not known or suppressed.";
    years: Text optional as Class::Plain, |p| Cell::text_if(p.0.years.as_deref()),
        "The years in which their conversations began, with commas between; null where suppressed.";
    conversations: Integer required as Class::Plain, |p| Cell::number(p.0.conversations),
        "How many conversations of theirs are in the data set.";
}

/// A conversation.
#[derive(Debug)]
pub(crate) struct SafeConversation<'a> {
    pub(crate) conversation_id: &'a str,
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
    pub(crate) language: Option<&'a str>,
    pub(crate) year: Option<i64>,
    pub(crate) status: &'a str,
    pub(crate) message_count: u64,
    pub(crate) session_count: u64,
    pub(crate) hours: i64,
    pub(crate) title: Option<&'a str>,
    pub(crate) summary: Option<&'a str>,
}

table! {
    /// See [`SafeConversation`].
    SAFE_CONVERSATIONS of SafeConversation, "conversations" by "conversation_id":
        "One row for each conversation, in the order of their surrogates, which is no order in time.";
    conversation_id: Text required as Class::Id(Of::Conversation), |c| Cell::Text(c.conversation_id),
        "Names the conversation in this data set, and nowhere else.";
    participant_id: Text optional as Class::Id(Of::Participant), |c| Cell::text_if(c.participant_id),
        "Whose it is; null where no participant is known.";
    provider: Text optional as Class::Plain, |c| Cell::text_if(c.provider),
        "Through which frontend it began: elevenlabs, openai, or call; null where suppressed.";
    language: Text optional as Class::Plain, |c| Cell::text_if(c.language),
        "Main language as a code of two or three letters; null where not known or suppressed.";
    year: Integer optional as Class::Plain, |c| c.year.map_or(Cell::Null, Cell::Integer),
        "The year in which it began; null where suppressed.";
    status: Text required as Class::Plain, |c| Cell::Text(c.status),
        "ACTIVE, ENDED or FAILED.";
    message_count: Integer required as Class::Plain, |c| Cell::number(c.message_count),
        "How many messages it has.";
    session_count: Integer required as Class::Plain, |c| Cell::number(c.session_count),
        "How many sessions were opened for it; 0 where it was not begun by one.";
    hours: Integer required as Class::Plain, |c| Cell::Integer(c.hours),
        "Whole hours from its beginning to what was said or told in it last.";
    title: Text optional as Class::Text, |c| Cell::text_if(c.title),
        "The reporter's few words for it.";
    summary: Text optional as Class::Text, |c| Cell::text_if(c.summary),
        "The reporter's few sentences for it.";
}

/// A message.
#[derive(Debug)]
pub(crate) struct SafeMessage<'a> {
    /// The log's, in clear: the writer makes the surrogate.
    pub(crate) sequence: &'a str,
    pub(crate) conversation_id: &'a str,
    pub(crate) number: u64,
    pub(crate) session: u32,
    pub(crate) hours: i64,
    pub(crate) role: &'a str,
    pub(crate) content: &'a str,
    pub(crate) original: Option<&'a str>,
    pub(crate) corrections: u64,
    pub(crate) reported: bool,
    pub(crate) late: bool,
}

table! {
    /// See [`SafeMessage`].
    SAFE_MESSAGES of SafeMessage, "messages" by "message":
        "One row for each turn of a conversation, in its newest version: conversation by conversation, each in order.";
    message: Text required as Class::Id(Of::Sequence), |m| Cell::Text(m.sequence),
        "Names the message in this data set, and nowhere else: a sequence of the log would lead back to it.";
    conversation_id: Text required as Class::Id(Of::Conversation), |m| Cell::Text(m.conversation_id),
        "The conversation that it is a turn of; what is known of it and whose it is stands there.";
    number: Integer required as Class::Plain, |m| Cell::number(m.number),
        "Its place among those of the conversation that are in the data set, from 1.";
    session: Integer required as Class::Plain, |m| Cell::Integer(m.session.into()),
        "The session of the conversation that it was said in, from 1; 0 where there are none.";
    hours: Integer required as Class::Plain, |m| Cell::Integer(m.hours),
        "Whole hours from the beginning of the conversation to when it was said.";
    role: Text required as Class::Plain, |m| Cell::Text(m.role),
        "Who spoke: user or assistant.";
    content: Text required as Class::Text, |m| Cell::Text(m.content),
        "What was said, in its newest version.";
    original: Text optional as Class::Text, |m| Cell::text_if(m.original),
        "What was about to be said when the speaker was interrupted.";
    corrections: Integer required as Class::Plain, |m| Cell::number(m.corrections),
        "How often its content was corrected; 0 for most.";
    reported: Boolean required as Class::Plain, |m| Cell::Boolean(m.reported),
        "It is known from a report alone; no frontend has sent it.";
    late: Boolean required as Class::Plain, |m| Cell::Boolean(m.late),
        "It came after the conversation had ended.";
}
