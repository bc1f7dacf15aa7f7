//! ElevenLabs' post-call webhooks (`data` is the model of `GET /v1/convai/conversations/{id}`) and the answers of that
//! endpoint.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::{Depth, Facts, MAX_ORIGINAL, Object, Reading, Turn, cut, instant, spoken};
use crate::ids::{Speaker, Timestamp};

/// `post_call_transcription`. The transcript may be left out; one that is no list is of a format that is not known.
pub(super) fn transcription(data: &Object<'_>, depth: Depth) -> Option<Reading> {
    let facts = facts(data, depth);
    let turns = data.list("transcript")?.into_iter().map(|raw| turn(raw, facts.started_at, depth)).collect();
    Some(Reading { turns, facts })
}

/// `post_call_transcription_otel`: neither transcript nor metadata; the traces stay in the payload.
pub(super) fn traces(data: &Object<'_>, depth: Depth) -> Option<Reading> {
    Some(Reading { turns: Vec::new(), facts: facts(data, depth) })
}

/// `call_initiation_failure`: nobody talked.
pub(super) fn failure(data: &Object<'_>, depth: Depth) -> Option<Reading> {
    let reason = data.word("failure_reason");
    let facts = Facts {
        outcome: reason.clone(),
        failed: true,
        agent_id: data.word("agent_id"),
        termination_reason: reason,
        phone_call: depth.value(|| data.value("metadata")),
        ..Facts::default()
    };
    Some(Reading { turns: Vec::new(), facts })
}

fn facts(data: &Object<'_>, depth: Depth) -> Facts {
    let metadata = data.object("metadata");
    let analysis = data.object("analysis");
    let of = |object: &Option<Object<'_>>, name: &str| object.as_ref().and_then(|found| found.word(name));
    let inner = |object: &Option<Object<'_>>, name: &str| {
        object.as_ref().map(|found| found.value(name)).unwrap_or_default()
    };
    let whole = |name: &str| metadata.as_ref().and_then(|found| found.integer(name));
    let started = metadata.as_ref().and_then(|found| found.number("start_time_unix_secs"));
    let status = data.word("status");
    let initiation = data.object("conversation_initiation_client_data");
    Facts {
        failed: status.as_deref() == Some("failed"),
        outcome: status,
        agent_id: data.word("agent_id"),
        user_id: data.word("user_id").or_else(|| of(&initiation, "user_id")),
        account_id: None,
        email_id: None,
        started_at: started.and_then(instant),
        duration_seconds: whole("call_duration_secs"),
        cost: whole("cost"),
        call_successful: of(&analysis, "call_successful"),
        title: of(&analysis, "call_summary_title"),
        summary: analysis
            .as_ref()
            .and_then(|found| found.text("transcript_summary"))
            .and_then(|s| spoken(&s)),
        termination_reason: of(&metadata, "termination_reason"),
        language: of(&metadata, "main_language"),
        phone_call: depth.value(|| inner(&metadata, "phone_call")),
        evaluation: depth.value(|| inner(&analysis, "evaluation_criteria_results")),
        collected: depth.value(|| inner(&analysis, "data_collection_results")),
        client_data: depth.value(|| data.value("conversation_initiation_client_data")),
        metadata: depth.value(|| data.value("metadata")),
        analysis: depth.value(|| data.value("analysis")),
    }
}

/// What is no object is a turn in which nothing was said: the others keep their places.
fn turn(raw: &RawValue, started: Option<DateTime<Utc>>, depth: Depth) -> Turn {
    let Some(turn) = Object::read(raw) else {
        return Turn {
            role: Speaker::Assistant,
            said_as: String::new(),
            text: None,
            original: None,
            interrupted: false,
            message_id: None,
            event_id: None,
            at: None,
            seconds: None,
            detail: serde_json::Value::Null,
        };
    };
    let said_as = turn.word("role").unwrap_or_default();
    let seconds = turn.integer("time_in_call_secs");
    Turn {
        role: if said_as == "user" { Speaker::User } else { Speaker::Assistant },
        text: turn.text("message").and_then(|text| spoken(&text)),
        original: turn.text("original_message").and_then(|text| cut(&text, MAX_ORIGINAL)),
        interrupted: turn.flag("interrupted"),
        message_id: None,
        event_id: turn.integer("source_event_id").and_then(|id| u64::try_from(id).ok()),
        at: said_at(&turn, started, seconds),
        seconds,
        detail: depth.value(|| {
            turn.rest(&["role", "message", "original_message", "interrupted", "time_in_call_secs"])
        }),
        said_as,
    }
}

/// To the millisecond where the vendor says so, else to the second.
fn said_at(turn: &Object<'_>, started: Option<DateTime<Utc>>, seconds: Option<i64>) -> Option<Timestamp> {
    let exact = turn.number("created_at_unix_ms").and_then(|ms| instant(ms / 1e3));
    let counted = || {
        let offset = chrono::Duration::try_seconds(seconds?.max(0))?;
        started?.checked_add_signed(offset).filter(super::sane)
    };
    exact.or_else(counted).map(|at| Timestamp::from_parts(at, 0))
}
