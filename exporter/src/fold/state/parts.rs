//! What a conversation's state is made of.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::events::{Call, Recording, Report, Session};
use shared::report::Facts;

use crate::fold::Fact;
use crate::write::instant_text;

/// That something was said or told in it. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) conversation_id: String,
    pub(super) provider: String,
    pub(super) first_sequence: u64,
    pub(super) message_count: u64,
    pub(super) started_at: i64,
    pub(super) last_message_at: Option<i64>,
}

impl Begun {
    pub(super) fn join(&mut self, later: &Self) {
        self.message_count = self.message_count.max(later.message_count);
        self.started_at = self.started_at.min(later.started_at);
        self.last_message_at = self.last_message_at.max(later.last_message_at);
    }
}

/// The call that it carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Called {
    pub(super) call_id: String,
    pub(super) worker_id: String,
    pub(super) mobile_no: String,
    pub(super) urgency: String,
    pub(super) medium: String,
    pub(super) admin_id: Option<String>,
    pub(super) opened_at: i64,
    pub(super) opened_offset: i32,
}

impl Called {
    pub(super) fn of(call: &Call) -> Self {
        Self {
            call_id: call.call_id.as_str().to_owned(),
            worker_id: call.worker_id.as_str().to_owned(),
            mobile_no: call.mobile_no.clone(),
            urgency: call.urgency.clone(),
            medium: call.medium.clone(),
            admin_id: call.admin_id.as_ref().map(|id| id.as_str().to_owned()),
            opened_at: call.opened_at.instant().timestamp_micros(),
            opened_offset: call.opened_at.offset_seconds(),
        }
    }
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Opened {
    pub(super) sequence: u64,
    pub(super) json: String,
}

impl Opened {
    pub(super) fn of(fact: &Fact<'_>, session: &Session) -> Self {
        let json = json!({
            "number": session.number, "sequence": fact.sequence,
            "vendor_conversation_id": session.vendor_conversation_id.as_str(),
            "dream_id": session.dream_id.as_str(), "interpreter_id": session.interpreter_id.as_str(),
            "agent_id": session.agent_id, "opened_at": time(session.opened_at),
            "expires_at": time(session.expires_at),
        });
        Self { sequence: fact.sequence, json: json.to_string() }
    }
}

/// The newest report of a session and kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) sequence: u64,
    pub(super) failed: bool,
    pub(super) ended_at: i64,
    pub(super) duration_seconds: Option<i64>,
    pub(super) cost: Option<i64>,
    pub(super) outcome: Option<String>,
    pub(super) call_successful: Option<String>,
    pub(super) title: Option<String>,
    pub(super) summary: Option<String>,
    pub(super) termination_reason: Option<String>,
    pub(super) language: Option<String>,
    pub(super) evaluation: Option<String>,
    pub(super) collected: Option<String>,
    /// All of it.
    pub(super) json: String,
}

impl Told {
    pub(super) fn of(fact: &Fact<'_>, report: &Report, facts: &Facts, ended_at: i64) -> Self {
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let json = json!({
            "session": report.session, "kind": report.kind, "sequence": fact.sequence,
            "source": report.source.as_str(), "reported_at": report.reported_at.map(time),
            "recorded_at": time(fact.stored()), "outcome": facts.outcome, "failed": facts.failed,
            "agent_id": facts.agent_id, "user_id": facts.user_id, "account_id": facts.account_id,
            "email_id": facts.email_id, "started_at": facts.started_at.map(time),
            "ended_at": instant_text(ended_at), "duration_seconds": facts.duration_seconds, "cost": facts.cost,
            "call_successful": facts.call_successful, "title": facts.title, "summary": facts.summary,
            "termination_reason": facts.termination_reason, "language": facts.language,
            "phone_call": facts.phone_call, "evaluation": facts.evaluation, "collected": facts.collected,
            "client_data": facts.client_data, "metadata": facts.metadata, "analysis": facts.analysis,
        });
        Self {
            sequence: fact.sequence,
            failed: facts.failed,
            ended_at,
            duration_seconds: facts.duration_seconds,
            cost: facts.cost,
            outcome: facts.outcome.clone(),
            call_successful: facts.call_successful.clone(),
            title: facts.title.clone(),
            summary: facts.summary.clone(),
            termination_reason: facts.termination_reason.clone(),
            language: facts.language.clone(),
            evaluation: text(&facts.evaluation),
            collected: text(&facts.collected),
            json: json.to_string(),
        }
    }
}

/// A recording as JSON.
pub(super) fn recording_json(fact: &Fact<'_>, recording: &Recording) -> String {
    json!({
        "session": recording.session, "sequence": fact.sequence, "source": recording.source.as_str(),
        "object": recording.audio.object, "sha256": recording.audio.sha256, "bytes": recording.audio.bytes,
        "media_type": recording.media_type, "reported_at": recording.reported_at.map(time),
        "recorded_at": time(fact.stored()),
    })
    .to_string()
}

fn time(instant: DateTime<Utc>) -> String {
    instant_text(instant.timestamp_micros())
}
