//! ElevenLabs' part: once the call is over, its transcript comes as a signed webhook.

use chrono::Utc;
use ingest::webhooks::signature;
use serde_json::{Value, json};

use super::script::{LAST_HEARD, MISSED, SCRIPT, Turn};

/// Seconds between two turns.
const PACE: usize = 7;
/// What the call cost, in ElevenLabs' credits.
const COST: i64 = 412;

/// A body, and the signature that belongs to it.
pub(super) struct Webhook {
    pub(super) body: String,
    pub(super) signature: String,
}

/// The webhook of a call that has just ended. It tells more than was synced: a turn that the frontend missed, what was
/// really heard of one that was interrupted, and a tool call.
pub(super) fn post_call(conversation: &str, secret: &str) -> Webhook {
    let now = Utc::now().timestamp();
    let transcript = transcript();
    let duration = i64::try_from(PACE * transcript.len()).unwrap_or_default();
    let body = json!({
        "type": "post_call_transcription",
        "event_timestamp": now,
        "data": {
            "agent_id": "agent_demo",
            "conversation_id": conversation,
            "status": "done",
            "transcript": transcript,
            "metadata": {
                "start_time_unix_secs": now - duration,
                "call_duration_secs": duration,
                "cost": COST,
                "cost_fiat": null,
                "termination_reason": "end_call tool was called",
                "main_language": "en",
            },
            "analysis": {
                "call_successful": "success",
                "call_summary_title": "Cramps when walking",
                "transcript_summary": "The caller's walking distance has halved since spring. The agent explained \
                                       peripheral artery disease; the caller will ring the practice.",
                "evaluation_criteria_results": {},
                "data_collection_results": {},
            },
        },
    })
    .to_string();
    let signature = signature::sign(secret, now, body.as_bytes());
    Webhook { body, signature }
}

/// Every turn as it was heard in the end, each with the seconds since the call began.
fn transcript() -> Vec<Value> {
    let replaced = |turn: &&Turn| SCRIPT.iter().any(|other| other.corrects && other.number == turn.number);
    let heard = SCRIPT.iter().filter(|turn| turn.corrects || !replaced(turn));
    let mut turns: Vec<Value> = Vec::new();
    for turn in heard {
        if turn.number == LAST_HEARD.number {
            let interrupted = json!({"interrupted": true, "original_message": turn.content});
            turns.push(spoken(&LAST_HEARD, interrupted));
            turns.push(spoken(&MISSED, json!({})));
            turns.extend(tool_call());
        } else {
            turns.push(spoken(turn, json!({})));
        }
    }
    for (turn, seconds) in turns.iter_mut().zip((0..).step_by(PACE)) {
        turn["time_in_call_secs"] = json!(seconds);
    }
    turns
}

fn spoken(turn: &Turn, more: Value) -> Value {
    let role = if turn.role == "assistant" { "agent" } else { turn.role };
    let mut told = json!({"role": role, "message": turn.content});
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

/// A call of a tool and its result: two turns in which nothing is said.
fn tool_call() -> [Value; 2] {
    let call =
        json!({"request_id": "call_demo_1", "tool_name": "next_appointment", "tool_has_been_called": true});
    let (mut asked, mut answered) = (call.clone(), call);
    asked["params_as_json"] = json!(r#"{"practice": "Bremen-Mitte"}"#);
    answered["result_value"] = json!(r#"{"free": "2026-03-02"}"#);
    answered["is_error"] = json!(false);
    [
        json!({"role": "agent", "message": null, "tool_calls": [asked], "tool_results": []}),
        json!({"role": "agent", "message": null, "tool_calls": [], "tool_results": [answered]}),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcript_holds_what_was_heard_and_not_what_was_cut_off() {
        let turns = transcript();
        let said: Vec<_> = turns.iter().filter_map(|turn| turn["message"].as_str()).collect();
        let full = SCRIPT.iter().find(|turn| turn.number == LAST_HEARD.number).unwrap().content;
        assert!(full.starts_with(LAST_HEARD.content) && !said.contains(&full));
        assert!(said.contains(&LAST_HEARD.content) && said.contains(&MISSED.content));
        assert_eq!((said.len(), turns.len()), (9, 11));
        assert!(SCRIPT.iter().all(|turn| turn.content != MISSED.content));
    }
}
