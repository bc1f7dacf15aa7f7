//! Frames as they stand on the wire (`text/event-stream`), and the headers of the answer that carries them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::json;
use shared::ids::{AdminId, ConversationId};
use shared::live::Typing;

use super::id::Lost;
use crate::limits::RETRY_MILLISECONDS;
use crate::view::{ConversationView, ListedView, MessageView, SeenView};

/// Writes frames whose ids name the log's epoch.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    epoch: Arc<str>,
}

#[derive(Serialize)]
struct NewMessages<'a> {
    conversation_id: &'a str,
    messages: &'a [MessageView],
    total_messages: u64,
}

#[derive(Serialize)]
struct Corrected<'a> {
    conversation_id: &'a str,
    message: &'a MessageView,
    total_messages: u64,
}

#[derive(Serialize)]
struct InitialCalls<'a> {
    conversations: &'a [ListedView],
    cursor: Option<&'a str>,
}

#[derive(Serialize)]
struct Heartbeat {
    timestamp: String,
    status: &'static str,
}

impl Wire {
    /// For a log's epoch.
    pub(crate) fn new(epoch: &str) -> Self {
        Self { epoch: epoch.into() }
    }

    /// The log's epoch.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The whole conversation.
    pub(crate) fn initial(&self, id: u64, conversation: &ConversationView) -> Bytes {
        self.event("initial", id, conversation)
    }

    /// Says that the client must forget what it has. The id is the log's beginning: a client that is cut off
    /// before it got the fresh `initial` is sent everything.
    pub(crate) fn reset(&self, conversation_id: &str, lost: Lost) -> Bytes {
        let data = json!({"conversation_id": conversation_id, "reason": lost.as_str()});
        self.event("reset", 0, &data)
    }

    /// Messages that came.
    pub(crate) fn new_messages(
        &self,
        id: u64,
        conversation_id: &str,
        messages: &[MessageView],
        total: u64,
    ) -> Bytes {
        self.event("new_messages", id, &NewMessages { conversation_id, messages, total_messages: total })
    }

    /// A message whose content was replaced.
    pub(crate) fn corrected(
        &self,
        id: u64,
        conversation_id: &str,
        message: &MessageView,
        total: u64,
    ) -> Bytes {
        self.event("message_corrected", id, &Corrected { conversation_id, message, total_messages: total })
    }

    /// What changed of the conversation besides its messages: of its call, or of how it stands without one.
    pub(crate) fn conversation(&self, id: u64, changed: &impl Serialize) -> Bytes {
        self.event("conversation", id, changed)
    }

    /// Somebody has seen the conversation.
    pub(crate) fn seen(&self, id: u64, conversation_id: &str, seen: &SeenView) -> Bytes {
        let SeenView { role, id: who, sequence, version: _ } = seen;
        let data = json!({"conversation_id": conversation_id, "role": role, "id": who, "sequence": sequence});
        self.event("seen", id, &data)
    }

    /// The conversation has ended.
    pub(crate) fn ended(&self, id: u64, conversation_id: &str) -> Bytes {
        let data = json!({"message": "Conversation has ended", "conversation_id": conversation_id});
        self.event("ended", id, &data)
    }

    /// A replay has come to where the log is, and the conversation has not ended.
    pub(crate) fn replayed(&self, id: u64, conversation_id: &str) -> Bytes {
        let data = json!({"message": "Everything so far was replayed", "conversation_id": conversation_id});
        self.event("replayed", id, &data)
    }

    /// The newest of the calls that are open; the cursor goes on where this ends.
    pub(crate) fn initial_calls(&self, id: u64, conversations: &[ListedView], cursor: Option<&str>) -> Bytes {
        self.event("initial", id, &InitialCalls { conversations, cursor })
    }

    /// One call's conversation, as a list shows it.
    pub(crate) fn listed(&self, id: u64, conversation: &ListedView) -> Bytes {
        self.event("conversation", id, conversation)
    }

    /// The client's list has it no longer.
    pub(crate) fn removed(&self, id: u64, conversation_id: &str) -> Bytes {
        self.event("removed", id, &json!({"conversation_id": conversation_id}))
    }

    fn event(&self, name: &str, id: u64, data: &impl Serialize) -> Bytes {
        frame(&format!("event: {name}\nid: {}-{id}\ndata: ", self.epoch), data)
    }
}

/// What every answer begins with.
pub(crate) fn preamble() -> Bytes {
    format!("retry: {RETRY_MILLISECONDS}\n\n").into()
}

/// How a heartbeat begins.
const HEARTBEAT: &str = "event: heartbeat\ndata: ";

/// Whether these bytes are a heartbeat.
pub(crate) fn is_heartbeat(bytes: &[u8]) -> bool {
    bytes.starts_with(HEARTBEAT.as_bytes())
}

/// Says that the connection is alive. Has no id: it is no fact.
pub(crate) fn heartbeat(now: DateTime<Utc>) -> Bytes {
    let timestamp = now.to_rfc3339_opts(SecondsFormat::Secs, false);
    frame(HEARTBEAT, &Heartbeat { timestamp, status: "connected" })
}

/// Says that the token is about to expire. Has no id: it is no fact.
pub(crate) fn expiring(conversation_id: Option<&str>, expires_at: DateTime<Utc>) -> Bytes {
    let expires_at = expires_at.to_rfc3339_opts(SecondsFormat::Secs, false);
    let data = json!({"conversation_id": conversation_id, "expires_at": expires_at});
    frame("event: expiring\ndata: ", &data)
}

/// Somebody types. Has no id: it is no fact.
pub(crate) fn typing(typing: &Typing) -> Bytes {
    let Typing { conversation_id, by, is_typing } = typing;
    let data = json!({
        "conversation_id": conversation_id, "role": by.role(), "id": by.id(), "is_typing": is_typing,
    });
    frame("event: typing\ndata: ", &data)
}

/// Who watches, of admins. Has no id: it is no fact.
pub(crate) fn presence(conversation_id: &ConversationId, admins: &[AdminId]) -> Bytes {
    frame("event: presence\ndata: ", &json!({"conversation_id": conversation_id, "admins": admins}))
}

/// Says why the server closes now. Has no id: the client resumes with the last one it got.
pub(crate) fn error(conversation_id: Option<&str>, why: &str) -> Bytes {
    frame("event: error\ndata: ", &json!({"error": why, "conversation_id": conversation_id}))
}

/// JSON escapes line ends, so the data is one line whatever the content.
fn frame(head: &str, data: &impl Serialize) -> Bytes {
    let mut bytes = head.as_bytes().to_vec();
    serde_json::to_writer(&mut bytes, data)
        .expect("text and numbers always serialise, and memory takes them");
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}

/// The answer that carries a feed.
pub(crate) fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // A feed has its connection for itself, and ends with it.
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    // nginx and those that follow it: pass every frame on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_line_of_each_field() {
        let reset = Wire::new("abc").reset("conv\r\n\u{2028}x", Lost::Future);
        let text = "event: reset\nid: abc-0\n\
            data: {\"conversation_id\":\"conv\\r\\n\u{2028}x\",\"reason\":\"future_id\"}\n\n";
        assert_eq!(reset, text);
    }

    #[test]
    fn heartbeats_and_errors_have_no_id() {
        let beat = heartbeat(DateTime::from_timestamp(0, 5).unwrap());
        let text = "event: heartbeat\n\
            data: {\"timestamp\":\"1970-01-01T00:00:00+00:00\",\"status\":\"connected\"}\n\n";
        assert_eq!(beat, text);
        let error = error(Some("conv_1"), "Access denied.");
        assert!(error.starts_with(b"event: error\ndata: {") && !error.windows(3).any(|w| w == b"id:"));
    }
}
