//! A conversation that the vendor holds.

use serde_json::{Value, json};

/// A conversation, with the body that the vendor answers for it.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub agent: String,
    /// Unix seconds.
    pub started: i64,
    pub status: String,
    pub body: Value,
    pub audio: Option<Vec<u8>>,
}

impl Call {
    /// A call of two turns that is done.
    pub fn new(id: &str, agent: &str, started: i64) -> Self {
        let turn = |role: &str, at: u32, message: &str| {
            json!({
                "role": role, "time_in_call_secs": at, "message": message, "interrupted": false,
                "tool_calls": [], "tool_results": [], "source_medium": null,
            })
        };
        let body = json!({
            "agent_id": agent, "conversation_id": id, "status": "done", "user_id": null,
            "has_audio": false, "has_user_audio": false, "has_response_audio": false,
            "has_auxiliary_audio": false,
            "transcript": [turn("agent", 0, "Hello"), turn("user", 3, "Guten Tag, 你好")],
            "metadata": {
                "start_time_unix_secs": started, "call_duration_secs": 7, "cost": 12, "cost_fiat": null,
                "termination_reason": "", "text_only": false,
            },
            "analysis": {"call_successful": "success", "transcript_summary": "They greet each other."},
            "conversation_initiation_client_data": {"dynamic_variables": {"system__conversation_id": id}},
        });
        let (id, agent, status) = (id.to_owned(), agent.to_owned(), "done".to_owned());
        Self { id, agent, started, status, body, audio: None }
    }

    /// The same in another state.
    pub fn with_status(mut self, status: &str) -> Self {
        self.body["status"] = json!(status);
        status.clone_into(&mut self.status);
        self
    }

    /// The same with a recording.
    pub fn with_audio(mut self, audio: impl Into<Vec<u8>>) -> Self {
        for name in ["has_audio", "has_user_audio", "has_response_audio"] {
            self.body[name] = json!(true);
        }
        self.audio = Some(audio.into());
        self
    }

    /// The same with another body.
    pub fn with_body(self, body: Value) -> Self {
        Self { body, ..self }
    }

    /// What the list says of it.
    pub(super) fn summary(&self) -> Value {
        let turns = self.body["transcript"].as_array().map_or(0, Vec::len);
        json!({
            "agent_id": self.agent, "agent_name": "An agent", "conversation_id": self.id,
            "start_time_unix_secs": self.started,
            "call_duration_secs": self.body["metadata"]["call_duration_secs"].as_i64().unwrap_or(0),
            "message_count": turns, "status": self.status, "call_successful": "success",
            "direction": null, "rating": null,
        })
    }
}
