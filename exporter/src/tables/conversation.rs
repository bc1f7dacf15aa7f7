//! Conversations: as they stand at the end of the data set.

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, table};
use crate::deid::{Class, Of, rules};

/// A conversation as it stands; also what waits in temporary files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conversation<'a> {
    pub(crate) first_sequence: u64,
    pub(crate) last_sequence: u64,
    pub(crate) message_count: u64,
    /// Microseconds, as are the other times.
    pub(crate) started_at: i64,
    pub(crate) last_message_at: i64,
    pub(crate) ended_at: Option<i64>,
    pub(crate) opened_at: Option<i64>,
    pub(crate) opened_offset: Option<i32>,
    pub(crate) duration_seconds: Option<i64>,
    pub(crate) cost: Option<i64>,
    pub(crate) session_count: u64,
    pub(crate) conversation_id: &'a str,
    #[serde(borrow)]
    pub(crate) participant_id: Option<&'a str>,
    pub(crate) provider: &'a str,
    pub(crate) status: &'a str,
    /// The texts of its reports and its call, in the order of [`Texts`].
    #[serde(borrow)]
    pub(crate) texts: Texts<'a>,
}

/// What few conversations have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Texts<'a> {
    #[serde(borrow)]
    pub(crate) agent_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) account_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) email_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) outcome: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) call_successful: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) title: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) summary: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) termination_reason: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) language: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) evaluation: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) collected: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) call_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) worker_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) mobile_no: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) urgency: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) medium: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) admin_id: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) sessions: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) reports: Option<&'a str>,
    #[serde(borrow)]
    pub(crate) recordings: Option<&'a str>,
}

table! {
    /// See [`Conversation`].
    CONVERSATIONS of Conversation, "conversations" by "conversation_id":
        "One row for each conversation, as it stands at the end of the data set, in the order in which they began in the log.";
    conversation_id: Text required as Class::Id(Of::Conversation), |c| Cell::Text(c.conversation_id),
        "Names the conversation.";
    participant_id: Text optional as Class::Id(Of::Participant), |c| Cell::text_if(c.participant_id),
        "Whose it is; null where no participant is known.";
    provider: Text required as Class::Plain, |c| Cell::Text(c.provider),
        "Through which frontend it began: elevenlabs, openai, or call for a call that a service told of.";
    status: Text required as Class::Plain, |c| Cell::Text(c.status),
        "ACTIVE, ENDED or FAILED, as far as its reports and its end tell.";
    message_count: Integer required as Class::Plain, |c| Cell::number(c.message_count),
        "How many messages it has.";
    session_count: Integer required as Class::Plain, |c| Cell::number(c.session_count),
        "How many sessions were opened for it; 0 where it was not begun by one.";
    first_sequence: Integer required as Class::Plain, |c| Cell::number(c.first_sequence),
        "Sequence of its first event in the log.";
    last_sequence: Integer required as Class::Plain, |c| Cell::number(c.last_sequence),
        "Sequence of the event that this row last changed with.";
    started_at: Instant required as Class::Plain, |c| Cell::Instant(c.started_at),
        "When it began, in UTC: the earliest time that anything told.";
    last_message_at: Instant required as Class::Plain, |c| Cell::Instant(c.last_message_at),
        "When something was last said or told in it, in UTC.";
    ended_at: Instant optional as Class::Plain, |c| Cell::instant_if(c.ended_at),
        "When it ended, in UTC; null while it goes on.";
    duration_seconds: Integer optional as Class::Plain, |c| c.duration_seconds.map_or(Cell::Null, Cell::Integer),
        "How long its sessions were, by their newest reports.";
    cost: Integer optional as Class::Plain, |c| c.cost.map_or(Cell::Null, Cell::Integer),
        "What its sessions cost, in the vendor's credits, by their newest reports.";
    agent_id: Text optional as Class::Id(Of::Agent), |c| Cell::text_if(c.texts.agent_id),
        "The vendor's agent that was talked to, by the newest report that names one.";
    account_id: Text optional as Class::Id(Of::Account), |c| Cell::text_if(c.texts.account_id),
        "Whose account a service says it is of.";
    email_id: Text optional as Class::Id(Of::Email), |c| Cell::text_if(c.texts.email_id),
        "Whose e-mail address a service says it is of.";
    outcome: Text optional as Class::Text, |c| Cell::text_if(c.texts.outcome),
        "How it ended, in the reporter's word: done, failed, the reason of a failure.";
    call_successful: Text optional as Class::Text, |c| Cell::text_if(c.texts.call_successful),
        "The vendor's judgement: success, failure, unknown.";
    title: Text optional as Class::Text, |c| Cell::text_if(c.texts.title),
        "The reporter's few words for it.";
    summary: Text optional as Class::Text, |c| Cell::text_if(c.texts.summary),
        "The reporter's few sentences for it.";
    termination_reason: Text optional as Class::Text, |c| Cell::text_if(c.texts.termination_reason),
        "Why it ended, in the reporter's words.";
    language: Text optional as Class::Text, |c| Cell::text_if(c.texts.language),
        "Main language, as a code.";
    evaluation: Json optional as Class::Json(&rules::JUDGED), |c| Cell::text_if(c.texts.evaluation),
        "Results of the vendor's evaluation criteria, as JSON.";
    collected: Json optional as Class::Json(&rules::JUDGED), |c| Cell::text_if(c.texts.collected),
        "Results of the vendor's data collection, as JSON.";
    call_id: Text optional as Class::Id(Of::Call), |c| Cell::text_if(c.texts.call_id),
        "The call that it carries; the columns from here to opened_offset are the call's.";
    worker_id: Text optional as Class::Id(Of::Worker), |c| Cell::text_if(c.texts.worker_id),
        "Who called.";
    mobile_no: Text optional as Class::Id(Of::Phone), |c| Cell::text_if(c.texts.mobile_no),
        "From which number.";
    urgency: Text optional as Class::Text, |c| Cell::text_if(c.texts.urgency),
        "How urgent it is, in the caller's system's words.";
    medium: Text optional as Class::Text, |c| Cell::text_if(c.texts.medium),
        "How it is held, in the caller's system's words.";
    admin_id: Text optional as Class::Id(Of::Admin), |c| Cell::text_if(c.texts.admin_id),
        "The admin who holds it.";
    opened_at: Instant optional as Class::Plain, |c| Cell::instant_if(c.opened_at),
        "When the call began, in UTC.";
    opened_offset: Integer optional as Class::Plain, |c| c.opened_offset.map_or(Cell::Null, |offset| Cell::Integer(offset.into())),
        "Offset of that time in seconds east of UTC, as it was given.";
    sessions: Json optional as Class::Json(&rules::SESSIONS), |c| Cell::text_if(c.texts.sessions),
        "Its sessions as a JSON array: number, sequence, vendor_conversation_id, dream_id, interpreter_id, agent_id, opened_at, expires_at.";
    reports: Json optional as Class::Json(&rules::REPORTS), |c| Cell::text_if(c.texts.reports),
        "The newest report of each session and kind, as a JSON array: session, kind, sequence, source, reported_at, recorded_at, what the columns above say, and user_id, started_at, phone_call, client_data, metadata, analysis.";
    recordings: Json optional as Class::Json(&rules::RECORDINGS), |c| Cell::text_if(c.texts.recordings),
        "The newest recording of each session, as a JSON array: session, sequence, source, object, sha256, bytes, media_type, reported_at, recorded_at. The sound itself is not in the data set.";
}
