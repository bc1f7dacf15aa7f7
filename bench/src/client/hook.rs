//! Signed webhooks: the fixture of a transcription, patched in place and signed anew for each conversation.

use chrono::Utc;
use ingest::webhooks::signature::sign;
use serde_json::Value;

use super::request::{Requests, digits};
use crate::error::{Doing, Result};

/// Digits of the conversation's number in its id.
const DIGITS: usize = 12;

/// A `POST /api/v1/webhooks/elevenlabs` ready to be written but for its signature.
pub struct Hook {
    bytes: Vec<u8>,
    body_at: usize,
    signature_at: usize,
    conversation_at: usize,
    secret: &'static str,
}

impl Hook {
    /// Renders the request from the text of a payload.
    ///
    /// # Errors
    /// When the payload is no JSON.
    pub fn new(payload: &str, secret: &'static str) -> Result<Self> {
        let json: Value =
            serde_json::from_str(payload).map_err(std::io::Error::from).doing("read the payload")?;
        let conversation = format!("conv_{:0DIGITS$}", 0);
        let given = json["data"]["conversation_id"].as_str().unwrap_or_default();
        // The member alone: other texts may name the conversation before it.
        let member = |id: &str| format!("\"conversation_id\": \"{id}\"");
        let body = payload.replacen(&member(given), &member(&conversation), 1);
        let signature = sign(secret, Utc::now().timestamp(), body.as_bytes());
        let head = format!(
            "POST /api/v1/webhooks/elevenlabs HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             ElevenLabs-Signature: {signature}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len(),
        );
        let id_at = body.find(&conversation).unwrap_or_default();
        Ok(Self {
            signature_at: head.find(&signature).unwrap_or_default(),
            conversation_at: head.len() + id_at + conversation.len() - DIGITS,
            body_at: head.len(),
            bytes: [head, body].concat().into_bytes(),
            secret,
        })
    }

    /// Bytes of the body.
    pub fn body_bytes(&self) -> usize {
        self.bytes.len() - self.body_at
    }
}

impl Requests for Hook {
    /// Every message is a conversation of its own.
    fn request(&mut self, _: u64, message: u64) -> &[u8] {
        digits(&mut self.bytes[self.conversation_at..][..DIGITS], message);
        let signature = sign(self.secret, Utc::now().timestamp(), &self.bytes[self.body_at..]);
        self.bytes[self.signature_at..][..signature.len()].copy_from_slice(signature.as_bytes());
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patched_webhook_is_whole_and_rightly_signed() {
        let payload = r#"{"type": "x", "data": {"other": "y", "conversation_id": "y", "z": 1}}"#;
        let text = String::from_utf8(Hook::new(payload, "s").unwrap().request(0, 77).to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let json: Value = serde_json::from_str(body).unwrap();
        assert_eq!(json["data"]["conversation_id"], "conv_000000000077");
        let signature = head.split_once("ElevenLabs-Signature: ").unwrap().1.split_once("\r\n").unwrap().0;
        let time = signature.strip_prefix("t=").unwrap().split_once(',').unwrap().0;
        assert_eq!(signature, sign("s", time.parse().unwrap(), body.as_bytes()));
    }
}
