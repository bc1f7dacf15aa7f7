//! Somebody who talks about a dream: the requests of theirs, each rendered whole before it is sent.

use serde_json::{Value, json};

use super::request::{Sender, content, message_id};

/// Bytes of a dream as it was told, and of what an interpreter made of it.
const DREAM_BYTES: usize = 1_000;
/// When everything was said.
const TIMESTAMP: &str = "2025-01-08T12:00:00Z";
/// Whom dreams are talked about with.
pub const INTERPRETER: &str = "jung";

/// A participant with a dream.
pub struct Dreamer {
    sender: Sender,
    dream: String,
}

impl Dreamer {
    /// With a dream of their own.
    pub fn new(sender: Sender) -> Self {
        let dream = format!("dream_{}", sender.research_id);
        Self { sender, dream }
    }

    /// Says who they are.
    pub fn profile(&self) -> Vec<u8> {
        self.request("PUT", "/api/v1/profile", &json!({"name": "Ada", "age": 36, "location": "London"}))
    }

    /// Tells the dream.
    pub fn dream(&self) -> Vec<u8> {
        let body = json!({
            "dreamId": self.dream, "rawTranscript": content(DREAM_BYTES), "themes": ["legs", "shops"],
            "recordedAt": TIMESTAMP,
        });
        self.request("POST", "/api/v1/dreams", &body)
    }

    /// Says what the interpreter made of it.
    pub fn interpretation(&self) -> Vec<u8> {
        let body = json!({
            "interpreterId": INTERPRETER, "text": content(DREAM_BYTES),
            "emotionalTone": {"primary": "anxiety", "secondary": "curiosity", "intensity": 0.7},
        });
        self.request("POST", &format!("/api/v1/dreams/{}/interpretations", self.dream), &body)
    }

    /// Begins or resumes the talk.
    pub fn init(&self) -> Vec<u8> {
        let body = json!({"dreamId": self.dream, "interpreterId": INTERPRETER});
        self.request("POST", "/api/v1/conversations/elevenlabs/init", &body)
    }

    /// So many messages of the talk, in turn theirs and the interpreter's.
    pub fn messages(&self, conversation: &str, count: u64, content_bytes: usize) -> Vec<u8> {
        let message = |number: u64| {
            json!({
                "research_id": self.sender.research_id,
                "role": if number.is_multiple_of(2) { "user" } else { "assistant" },
                "content": content(content_bytes),
                "timestamp": TIMESTAMP,
                "provider": "elevenlabs",
                "elevenlabs_conversation_id": conversation,
                "elevenlabs_message_id": message_id(number),
            })
        };
        let messages: Vec<Value> = (0..count).map(message).collect();
        self.request("POST", "/api/v1/chat/messages", &json!({"messages": messages}))
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.sender.token,
            body.len(),
        )
        .into_bytes()
    }
}
