//! A request that is rendered once and patched in place: only the digits of its ids change from send to send.

use serde_json::json;

/// Digits of the conversation's number in its id.
const CONVERSATION_DIGITS: usize = 8;
/// Digits of the message's number in its id.
const MESSAGE_DIGITS: usize = 12;
/// When the messages were said, by their own clock.
const TIMESTAMP: &str = "2025-01-08T12:00:00Z";

/// Whose messages are sent: an id and the token that proves it.
#[derive(Clone)]
pub struct Sender {
    /// The participant.
    pub research_id: String,
    /// Its bearer token.
    pub token: String,
}

/// Requests of one connection.
pub trait Requests {
    /// The request for message number `message` of conversation number `conversation`.
    fn request(&mut self, conversation: u64, message: u64) -> &[u8];
}

/// A `POST /api/v1/chat/message` ready to be written.
pub struct Post {
    bytes: Vec<u8>,
    conversation_at: usize,
    message_at: usize,
}

impl Post {
    /// Renders the request for one sender with content of `content_bytes` bytes.
    pub fn new(sender: &Sender, content_bytes: usize) -> Self {
        let conversation = conversation_id(0);
        let message = format!("msg_{:0MESSAGE_DIGITS$}", 0);
        let body = json!({
            "research_id": sender.research_id,
            "role": "user",
            "content": content(content_bytes),
            "timestamp": TIMESTAMP,
            "provider": "elevenlabs",
            "elevenlabs_conversation_id": conversation,
            "elevenlabs_message_id": message,
        })
        .to_string();
        let head = format!(
            "POST /api/v1/chat/message HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            sender.token,
            body.len(),
        );
        let at = |id: &str, digits: usize| {
            let start = body.rfind(id).unwrap_or_default();
            head.len() + start + id.len() - digits
        };
        let conversation_at = at(&conversation, CONVERSATION_DIGITS);
        let message_at = at(&message, MESSAGE_DIGITS);
        Self { bytes: [head, body].concat().into_bytes(), conversation_at, message_at }
    }
}

/// One for each connection, with the senders in turn.
pub fn posts(senders: &[Sender], connections: usize, content_bytes: usize) -> Vec<Post> {
    senders.iter().cycle().take(connections).map(|sender| Post::new(sender, content_bytes)).collect()
}

impl Requests for Post {
    fn request(&mut self, conversation: u64, message: u64) -> &[u8] {
        digits(&mut self.bytes[self.conversation_at..][..CONVERSATION_DIGITS], conversation);
        digits(&mut self.bytes[self.message_at..][..MESSAGE_DIGITS], message);
        &self.bytes
    }
}

/// The id of conversation number `number`.
pub fn conversation_id(number: u64) -> String {
    format!("conv_{number:0CONVERSATION_DIGITS$}")
}

/// The id of message number `number`.
pub fn message_id(number: u64) -> String {
    format!("msg_{number:0MESSAGE_DIGITS$}")
}

/// Text of exactly `bytes` bytes, of the kind people say.
pub fn content(bytes: usize) -> String {
    const TALK: &str =
        "My leg hurts when I walk to the shop and it stops when I rest for a while, is that normal? ";
    TALK.chars().cycle().take(bytes).collect()
}

pub(crate) fn digits(slot: &mut [u8], mut number: u64) {
    for digit in slot.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_request_is_whole_and_names_what_it_was_told() {
        let sender = Sender { research_id: "RID1".into(), token: "t".into() };
        let text = String::from_utf8(Post::new(&sender, 30).request(7, 123).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let json: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                || head.ends_with(&body.len().to_string())
        );
        assert_eq!(json["elevenlabs_conversation_id"], conversation_id(7));
        assert_eq!(json["elevenlabs_message_id"], message_id(123));
        assert_eq!(json["content"].as_str().unwrap().len(), 30);
    }
}
