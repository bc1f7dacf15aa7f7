//! One conversation as the vendor has it: what is said, and what is known of it afterwards.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::Call;
use crate::fixture;

/// What a test lets be said.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// The vendor has understood a person's speech.
    User(&'a str),
    /// The agent speaks.
    Agent(&'a str),
    /// The person has interrupted the agent: of what it was to say, this much was heard.
    Correct { original: &'a str, corrected: &'a str },
}

/// What goes to the client.
#[derive(Debug)]
pub(super) enum Out {
    Frame(Value),
    HangUp,
}

/// A conversation that has begun.
#[derive(Debug)]
pub(super) struct Talk {
    pub(super) id: String,
    agent: String,
    began: SystemTime,
    /// What the client told at the beginning.
    pub(super) told: Value,
    /// Everything that the client said since, but sound.
    pub(super) heard: Vec<Value>,
    turns: Vec<Value>,
    last_event: u64,
    to_client: UnboundedSender<Out>,
    pub(super) over: bool,
}

impl Talk {
    pub(super) fn begin(id: String, agent: String, told: Value, to_client: UnboundedSender<Out>) -> Self {
        let (heard, turns) = (Vec::new(), Vec::new());
        let began = SystemTime::now();
        Self { id, agent, began, told, heard, turns, last_event: 0, to_client, over: false }
    }

    /// Says a line, and answers the number of its event.
    pub(super) fn say(&mut self, line: Line<'_>) -> u64 {
        assert!(!self.over, "{} is over: {line:?} cannot be said", self.id);
        let (event, frame) = match line {
            Line::User(text) => {
                let event = self.turn("user", text);
                let said = json!({"user_transcript": text, "event_id": event});
                (event, json!({"type": "user_transcript", "user_transcription_event": said}))
            }
            Line::Agent(text) => {
                let event = self.turn("agent", text);
                let said = json!({"agent_response": text, "event_id": event});
                (event, json!({"type": "agent_response", "agent_response_event": said}))
            }
            Line::Correct { original, corrected } => {
                let event = self.correct(original, corrected);
                let said = json!({
                    "original_agent_response": original, "corrected_agent_response": corrected, "event_id": event,
                });
                (event, json!({"type": "agent_response_correction", "agent_response_correction_event": said}))
            }
        };
        self.send(frame);
        event
    }

    /// Asks the client whether it is there.
    pub(super) fn ping(&mut self) {
        let event = self.next_event();
        self.send(json!({"type": "ping", "ping_event": {"event_id": event, "ping_ms": null}}));
    }

    pub(super) fn hang_up(&self) {
        self.to_client.send(Out::HangUp).expect("the conversation is not over");
    }

    /// Takes what the client says. Typed text becomes a turn, and is not sent back.
    pub(super) fn hear(&mut self, frame: Value) {
        if frame.get("user_audio_chunk").is_some() {
            return;
        }
        if frame["type"] == "user_message" {
            self.turn("user", frame["text"].as_str().unwrap_or_default());
            self.turns.last_mut().unwrap()["source_medium"] = json!("text");
        }
        self.heard.push(frame);
    }

    /// How it is told of by the API while it goes on: without a word of it.
    pub(super) fn running(&self) -> Call {
        let call = Call::new(&self.id, &self.agent, seconds(self.since_epoch())).with_status("in-progress");
        let mut body = call.body.clone();
        body["transcript"] = json!([]);
        body["analysis"] = Value::Null;
        call.with_body(body)
    }

    /// How it is told of by the API and by the webhook once it is over: the fixture with this one's content, so that
    /// no field of the real shape is missing.
    pub(super) fn finished(&self, reason: &str) -> Call {
        let fixture: Value =
            serde_json::from_str(&fixture("elevenlabs/post_call_transcription.json")).unwrap();
        let mut body = fixture["data"].clone();
        let count = |role: &str| self.turns.iter().filter(|turn| turn["role"] == role).count();
        let (started, lasted) = (seconds(self.since_epoch()), self.began.elapsed().unwrap().as_secs());
        put(
            &mut body,
            json!({
                "agent_id": self.agent, "agent_name": "An agent", "conversation_id": self.id,
                "user_id": self.told["user_id"], "transcript": self.turns,
                "has_audio": false, "has_user_audio": false, "has_response_audio": false,
                "user_message_count": count("user"), "agent_message_count": count("agent"),
                "visited_agents": [{"agent_id": self.agent, "branch_id": null}],
            }),
        );
        let source = &self.told["source_info"];
        put(
            &mut body["metadata"],
            json!({
                "start_time_unix_secs": started, "accepted_time_unix_secs": started,
                "call_duration_secs": lasted, "termination_reason": reason, "text_only": self.is_text(),
                "initiator_id": self.told["user_id"], "conversation_initiation_source": source["source"],
                "conversation_initiation_source_version": source["version"],
            }),
        );
        put(
            &mut body["analysis"],
            json!({
                "evaluation_criteria_results": {}, "data_collection_results": {},
                "transcript_summary": format!("{} turns were taken.", self.turns.len()),
                "call_summary_title": "A conversation",
            }),
        );
        let mut variables = json!({
            "system__agent_id": self.agent, "system__current_agent_id": self.agent,
            "system__conversation_id": self.id, "system__call_duration_secs": lasted,
        });
        put(&mut variables, self.dynamic_variables());
        put(
            &mut body["conversation_initiation_client_data"],
            json!({"user_id": self.told["user_id"], "source_info": source, "dynamic_variables": variables}),
        );
        Call::new(&self.id, &self.agent, started).with_body(body)
    }

    pub(super) fn dynamic_variables(&self) -> Value {
        self.told.get("dynamic_variables").cloned().unwrap_or_else(|| json!({}))
    }

    fn turn(&mut self, role: &str, text: &str) -> u64 {
        let event = self.next_event();
        let fixture: Value =
            serde_json::from_str(&fixture("elevenlabs/post_call_transcription.json")).unwrap();
        let turns = fixture["data"]["transcript"].as_array().unwrap();
        let mut turn = turns.iter().find(|turn| turn["role"] == role).unwrap().clone();
        let at = self.began.elapsed().unwrap();
        put(
            &mut turn,
            json!({
                "message": text, "source_event_id": event, "id": format!("turn_{:04}", self.turns.len() + 1),
                "time_in_call_secs": at.as_secs(), "created_at_unix_ms": seconds(self.since_epoch() + at) * 1000,
            }),
        );
        if role == "agent" {
            turn["agent_metadata"]["agent_id"] = json!(self.agent);
        }
        self.turns.push(turn);
        event
    }

    fn correct(&mut self, original: &str, corrected: &str) -> u64 {
        let said = |turn: &&mut Value| turn["role"] == "agent" && turn["message"] == original;
        let turn = self.turns.iter_mut().rev().find(said).expect("the agent said it");
        put(turn, json!({"message": corrected, "original_message": original, "interrupted": true}));
        turn["source_event_id"].as_u64().unwrap()
    }

    fn next_event(&mut self) -> u64 {
        self.last_event += 1;
        self.last_event
    }

    /// A client that has just left hears nothing.
    fn send(&self, frame: Value) {
        let _gone = self.to_client.send(Out::Frame(frame));
    }

    /// The browser's client says it where the API has it, the Python one beside that.
    fn is_text(&self) -> bool {
        let said = &self.told["conversation_config_override"];
        [&said["conversation"]["text_only"], &said["text_only"]].into_iter().any(|one| *one == true)
    }

    fn since_epoch(&self) -> Duration {
        self.began.duration_since(UNIX_EPOCH).unwrap()
    }
}

/// Whole seconds.
pub(super) fn seconds(time: Duration) -> i64 {
    time.as_secs().cast_signed()
}

/// Puts fields over those of an object.
fn put(object: &mut Value, fields: Value) {
    let (Value::Object(object), Value::Object(fields)) = (object, fields) else { panic!("no objects") };
    object.extend(fields);
}
