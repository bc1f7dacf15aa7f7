//! What others send: ElevenLabs' post-call webhooks, over HTTP.

mod audio;
mod folding;
mod hostile;
mod kills;
mod large;
mod signatures;

use chrono::Utc;
use ingest::webhooks::signature::sign;
use reqwest::Method;
use serde_json::{Value, json};
use shared::envelope::Entry;
use shared::events::{Event, Payload, Unread};
use shared::log::Log;
use tests::{Client, Parts, Reply, System, WEBHOOK_SECRET, fixture, per_minute};

pub(crate) const ELEVENLABS: &str = "/api/v1/webhooks/elevenlabs";
pub(crate) const CONVERSATION: &str = "conv_6801kq9a2f7se8r9vw3m1xtpzd4b";

/// A webhook ready to be sent, with this signature.
fn signed_as(client: &Client, signature: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    let request = client.request(Method::POST, ELEVENLABS).header("ElevenLabs-Signature", signature);
    request.header("content-type", "application/json").body(body)
}

/// A webhook ready to be sent, as ElevenLabs would.
fn signed(client: &Client, body: Vec<u8>) -> reqwest::RequestBuilder {
    signed_as(client, &sign(WEBHOOK_SECRET, Utc::now().timestamp(), &body), body)
}

/// Sends a body as ElevenLabs would.
pub(crate) async fn post_call(client: &Client, body: impl Into<Vec<u8>>) -> Reply {
    client.send(signed(client, body.into())).await
}

/// The same, where it must be taken.
async fn taken(client: &Client, body: impl Into<Vec<u8>>) -> Reply {
    let reply = post_call(client, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.body["success"], true);
    assert!(reply.body["webhookId"].as_str().unwrap().starts_with("webhook_"), "{}", reply.text);
    reply
}

pub(crate) fn transcription() -> Value {
    serde_json::from_str(&fixture("elevenlabs/post_call_transcription.json")).unwrap()
}

/// A transcription of few fields: who said what.
pub(crate) fn transcript(conversation: &str, at: i64, turns: &[(&str, &str)]) -> Value {
    let turns: Vec<_> = (0..)
        .zip(turns)
        .map(|(n, (role, text))| json!({"role": role, "message": text, "time_in_call_secs": n}))
        .collect();
    json!({"type": "post_call_transcription", "event_timestamp": at, "data": {
        "agent_id": "agent_1", "conversation_id": conversation, "status": "done", "transcript": turns,
        "metadata": {"start_time_unix_secs": 1_788_170_400, "call_duration_secs": 60}, "analysis": null}})
}

/// Role and content of every message, in the order of the snapshot.
pub(crate) async fn told(system: &System, conversation: &str, sequence: u64) -> Vec<(String, String)> {
    let path = format!("/api/conversation/{conversation}?after={sequence}");
    let reply = system.service().get(&path).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let messages = reply.body["conversation"]["messages"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    messages.map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

/// What stands at this sequence.
pub(crate) async fn entry(parts: &Parts, sequence: u64) -> Entry {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    log.get(sequence).await.unwrap().unwrap()
}

/// Everything in the log.
pub(crate) async fn entries(parts: &Parts) -> Vec<Entry> {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let last = log.extent().await.unwrap().last;
    let mut entries = Vec::new();
    for sequence in 1..=last {
        entries.extend(log.get(sequence).await.unwrap());
    }
    entries
}

/// What is stored at this sequence of a webhook that was not understood.
async fn unread(parts: &Parts, sequence: u64) -> Unread {
    let event = entry(parts, sequence).await.decode().unwrap();
    let Event::WebhookReceived(unread) = event else { panic!("{event:?}") };
    unread
}

fn text(payload: &Payload) -> &str {
    match payload {
        Payload::Json(json) => json.text(),
        Payload::Object(stored) => panic!("{stored:?}"),
    }
}

/// Why the event at this sequence is parked.
async fn parked(system: &System, sequence: u64) -> String {
    system.projected(sequence).await;
    let rows = system.rows(&format!("SELECT reason FROM turnlog.parked WHERE sequence = {sequence}")).await;
    assert_eq!(rows.len(), 1, "sequence {sequence} is not parked");
    rows[0]["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_signed_transcription_becomes_a_conversation() {
    let system = System::start().await;
    let reply = taken(&system.client, transcription().to_string()).await;
    let messages = told(&system, CONVERSATION, reply.sequence()).await;
    assert_eq!(messages.len(), 5);
    assert_eq!(messages[0].0, "assistant");
    assert_eq!(messages[3].1, "Perfekt, danke 🙏 — that is all.");
    let again = taken(&system.client, transcription().to_string()).await;
    assert_eq!((again.sequence(), &again.body), (reply.sequence(), &reply.body));
    assert_eq!(told(&system, CONVERSATION, reply.sequence()).await, messages);
}

#[tokio::test]
async fn each_kind_of_webhook_is_taken_and_its_payload_kept_as_it_came() {
    let system = System::start().await;
    let otel = json!({"type": "post_call_transcription_otel", "event_timestamp": 1_788_170_431, "data": {
        "conversation_id": "conv_otel", "agent_id": "agent_1", "otlp_traces": {"resourceSpans": []}}});
    let mut without = transcription();
    without["data"].as_object_mut().unwrap().remove("transcript");
    without["data"]["conversation_id"] = json!("conv_without");
    let mut failed = transcript("conv_failed", 1_788_170_431, &[("agent", "Hello")]);
    failed["data"]["status"] = json!("failed");
    failed["data"]["transcript"][0]["tool_calls"] = Value::Null;
    failed["data"]["transcript"][0]["tool_results"] = Value::Null;
    failed["data"]["from_next_year"] = json!({"kept": [1, 2]});
    let bodies = [
        fixture("elevenlabs/post_call_transcription.json"),
        fixture("elevenlabs/call_initiation_failure_twilio.json"),
        otel.to_string(),
        without.to_string(),
        format!(" {failed}\n"),
    ];
    let mut last = 0;
    for body in &bodies {
        let reply = taken(&system.client, body.as_str()).await;
        last = reply.sequence();
        let Event::ConversationReported(report) = entry(&system.parts, last).await.decode().unwrap() else {
            panic!("{}", reply.text)
        };
        assert_eq!(text(&report.payload), body.trim());
    }
    system.projected(last).await;
    let rows = system.rows("SELECT kind, outcome FROM turnlog.reports ORDER BY sequence").await;
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["kind"].as_str().unwrap(), row["outcome"].as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("post_call_transcription", Some("done")),
            ("call_initiation_failure", Some("no-answer")),
            ("post_call_transcription_otel", None),
            ("post_call_transcription", Some("done")),
            ("post_call_transcription", Some("failed")),
        ]
    );
    assert_eq!(told(&system, "conv_failed", last).await, [("assistant".to_owned(), "Hello".to_owned())]);
    assert_eq!(told(&system, "conv_without", last).await, []);
    let statuses = system
        .rows("SELECT conversation_id, status FROM turnlog.conversations ORDER BY first_sequence")
        .await;
    let statuses: Vec<_> = statuses.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ENDED", "FAILED", "ENDED", "ENDED", "FAILED"]);
}

#[tokio::test]
async fn what_is_not_understood_is_taken_kept_byte_for_byte_and_parked() {
    let system = System::start().await;
    let standing = transcript("standing.openai.RID001", 1, &[("user", "Hello")]);
    let mut blank = transcript("", 1, &[("user", "Hello")]);
    let nul = transcript("conv\0x", 1, &[("user", "Hello")]);
    let odd =
        json!({"type": "post_call_transcription", "data": {"conversation_id": "c", "transcript": "none"}});
    let mut cases = vec![
        (
            "{ \"type\" : \"voice_removed\",\t\"data\": {\"x\": 1.50}}".to_owned(),
            Some("voice_removed"),
            "known",
        ),
        (standing.to_string(), Some("post_call_transcription"), "no conversation"),
        (blank.to_string(), Some("post_call_transcription"), "no conversation"),
        (nul.to_string(), Some("post_call_transcription"), "no conversation"),
        (odd.to_string(), Some("post_call_transcription"), "known"),
        (
            json!({"type": "conversation", "conversationId": "c", "transcript": []}).to_string(),
            Some("conversation"),
            "known",
        ),
        ("[1, 2]".to_owned(), None, "known"),
        ("null".to_owned(), None, "known"),
        ("{}".to_owned(), None, "known"),
    ];
    blank["data"].as_object_mut().unwrap().remove("conversation_id");
    cases.push((blank.to_string(), Some("post_call_transcription"), "no conversation"));
    for (body, kind, why) in cases {
        let reply = taken(&system.client, body.as_str()).await;
        let stored = unread(&system.parts, reply.sequence()).await;
        assert_eq!((text(&stored.payload), stored.kind.as_deref()), (body.as_str(), kind), "{body}");
        assert_eq!(stored.bytes, body.len() as u64);
        assert!(stored.reason.contains(why), "{body}: {}", stored.reason);
        let again = taken(&system.client, body.as_str()).await;
        assert_eq!((again.sequence(), &again.body), (reply.sequence(), &reply.body), "{body}");
        assert!(!parked(&system, reply.sequence()).await.is_empty());
    }
    assert_eq!(system.rows("SELECT 1 FROM turnlog.conversations").await.len(), 0);
}

#[tokio::test]
async fn a_good_signature_is_never_rate_limited() {
    let parts = Parts::fresh().await;
    let edge = shared::http::Edge { requests_per_key: per_minute(5), ..parts.edge.clone() };
    let system = Parts { webhooks_per_address: 5, edge, ..parts }.start().await;
    for n in 0..300 {
        taken(&system.client, transcript(&format!("conv_{n}"), 1, &[("agent", "Hello")]).to_string()).await;
    }
}
