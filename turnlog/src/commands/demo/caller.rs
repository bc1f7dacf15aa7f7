//! The frontend's part: logs in and sends.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use ingest::webhooks::signature;
use serde::Deserialize;
use serde_json::{Value, json};

use super::script::Turn;
use super::webhook::Webhook;
use crate::failure::{Failure, OrFail};
use crate::instance::Instance;

const PATIENCE: Duration = Duration::from_secs(15);
const PARTICIPANT: &str = "RID-DEMO";

/// A participant who is logged in, in one conversation.
pub(super) struct Caller {
    client: reqwest::Client,
    base_url: String,
    token: String,
    /// Who talks.
    pub(super) participant: &'static str,
    /// The conversation, another one for each demo.
    pub(super) conversation: String,
}

/// What a write is answered with.
#[derive(Debug)]
pub(super) struct Receipt {
    /// The row's id: the sequence of the message's first version.
    pub(super) message_id: i64,
    /// The sequence of the event that was stored.
    pub(super) sequence: u64,
}

#[derive(Deserialize)]
struct Login {
    access_token: String,
}

#[derive(Deserialize)]
struct Saved {
    message_id: i64,
}

impl Caller {
    /// Enrols the participant, as a service would, and logs in, as the participant would.
    pub(super) async fn log_in(instance: &Instance) -> Result<Self, Failure> {
        let client =
            shared::http::client::local().timeout(PATIENCE).build().or_fail("make an HTTP client")?;
        let base_url = instance.base_url.clone();
        // In whatever LOGIN_MODE the system runs.
        let code = format!("{:016x}", rand::random::<u64>());
        let enrol = client
            .put(format!("{base_url}/api/v1/participants/{PARTICIPANT}"))
            .bearer_auth(&instance.api_key);
        let body = json!({"access_code": code, "name": "Maria", "age": 67, "location": "Bremen"});
        answer(enrol.json(&body), "enrol the participant").await?;
        let login = client.post(format!("{base_url}/api/v1/auth/login"));
        let body = json!({"research_id": PARTICIPANT, "access_code": code});
        let login: Login =
            answer(login.json(&body), "log in").await?.json().await.or_fail("read the token")?;
        let conversation = format!("conv_demo_{:016x}", rand::random::<u64>());
        Ok(Self { client, base_url, token: login.access_token, participant: PARTICIPANT, conversation })
    }

    /// Sends one turn by message sync.
    pub(super) async fn send(&self, turn: &Turn) -> Result<Receipt, Failure> {
        let request =
            self.client.post(format!("{}/api/v1/chat/message", self.base_url)).bearer_auth(&self.token);
        let answer = answer(request.json(&self.body(turn)), "send a message").await?;
        let sequence = sequence(&answer)?;
        let Saved { message_id } = answer.json().await.or_fail("read the answer to a message")?;
        Ok(Receipt { message_id, sequence })
    }

    /// Sends what ElevenLabs would; the sequence of what it became.
    pub(super) async fn deliver(&self, webhook: Webhook) -> Result<u64, Failure> {
        let request = self
            .client
            .post(format!("{}/api/v1/webhooks/elevenlabs", self.base_url))
            .header(signature::HEADER, webhook.signature)
            .header("content-type", "application/json")
            .body(webhook.body);
        sequence(&answer(request, "send a webhook").await?)
    }

    /// Where the conversation's feed is.
    pub(super) fn stream_url(&self) -> String {
        format!("{}/api/conversation/{}/stream", self.base_url, self.conversation)
    }

    /// The participant's token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    fn body(&self, turn: &Turn) -> Value {
        json!({
            "research_id": self.participant,
            "role": turn.role,
            "content": turn.content,
            "timestamp": Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
            "provider": "elevenlabs",
            "elevenlabs_conversation_id": self.conversation,
            "elevenlabs_message_id": message_id(turn),
        })
    }
}

/// A turn's own id: a correction has that of what it corrects.
pub(super) fn message_id(turn: &Turn) -> String {
    format!("msg_demo_{}", turn.number)
}

fn sequence(answer: &reqwest::Response) -> Result<u64, Failure> {
    let named = answer.headers().get("turnlog-sequence").and_then(|value| value.to_str().ok()?.parse().ok());
    named.ok_or_else(|| Failure::new("the answer to a write names no sequence"))
}

async fn answer(request: reqwest::RequestBuilder, what: &str) -> Result<reqwest::Response, Failure> {
    let answer = request.send().await.or_fail(what)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.text().await.or_fail(what)?;
    Err(Failure::new(format!("cannot {what}: it was answered {status}: {body}")))
}
