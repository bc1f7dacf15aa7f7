//! The vendors' own libraries as independent parties: what we sign they accept, and what they sign we accept.

use axum::http::{HeaderMap, HeaderValue};
use chrono::Utc;
use ingest::webhooks::signature::sign;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tests::{fixture, run_python};

const ELEVENLABS_SECRET: &str = "wsec_0123456789abcdef0123456789abcdef";
const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn case(body: &str, header: &str) -> Value {
    json!({"body": body, "header": header, "secret": ELEVENLABS_SECRET})
}

#[tokio::test]
async fn the_vendors_sdk_accepts_what_is_signed_here_and_knows_every_field() {
    let names = ["post_call_transcription", "post_call_audio", "call_initiation_failure_twilio"];
    let now = Utc::now().timestamp();
    let bodies: Vec<_> = names.iter().map(|name| fixture(&format!("elevenlabs/{name}.json"))).collect();
    let cases = bodies.iter().map(|body| {
        let header = sign(ELEVENLABS_SECRET, now, body.as_bytes());
        case(body, &header)
    });
    let answers = run_python("elevenlabs_sdk.py", &cases.collect()).await;
    for (body, answer) in bodies.iter().zip(answers.as_array().unwrap()) {
        assert_eq!(answer["event"], serde_json::from_str::<Value>(body).unwrap(), "{answer}");
    }
    assert_eq!(answers[0]["unknown"], json!([]));
}

#[tokio::test]
async fn the_vendors_sdk_refuses_a_flipped_byte_another_secret_and_an_old_timestamp() {
    let now = Utc::now().timestamp();
    let body = fixture("elevenlabs/post_call_transcription.json");
    let good = sign(ELEVENLABS_SECRET, now, body.as_bytes());
    let old = sign(ELEVENLABS_SECRET, now - 1_801, body.as_bytes());
    let flipped = body.replacen("agent", "agenu", 1);
    let mut unknown: Value = serde_json::from_str(&body).unwrap();
    unknown["data"]["transcript"][0]["from_the_future"] = json!(1);
    let unknown = unknown.to_string();
    let cases = json!([
        case(&flipped, &good),
        case(&body, &sign("wsec_another", now, body.as_bytes())),
        case(&body, &old),
        case(&unknown, &sign(ELEVENLABS_SECRET, now, unknown.as_bytes())),
    ]);
    let answers = run_python("elevenlabs_sdk.py", &cases).await;
    for (place, why) in [(0, "does not match"), (1, "does not match"), (2, "tolerance zone")] {
        let refused = answers[place]["refused"].as_str().unwrap_or_default();
        assert!(refused.contains(why), "{place}: {}", answers[place]);
    }
    assert_eq!(answers[3]["unknown"], json!(["data.transcript[0].from_the_future"]));
}

#[tokio::test]
async fn standard_webhooks_signed_there_are_accepted_here_and_the_other_way_round() {
    let ours = Webhook::new(STANDARD_SECRET).unwrap();
    let (id, now) = ("msg_1", Utc::now().timestamp());
    let body = r#"{"conversationId": "conv_abc123", "text": "ünïcode \u0000 🦀"}"#;
    let here = ours.sign(id, now, body.as_bytes()).unwrap();
    let asked = |body: &str, timestamp: i64, signature: Option<&str>| {
        let mut asked = json!({"secret": STANDARD_SECRET, "id": id, "timestamp": timestamp, "body": body});
        if let Some(signature) = signature {
            asked["signature"] = json!(signature);
        }
        asked
    };
    let rotated = format!("v1,c29tZXRoaW5nIGVsc2U= {here}");
    let old = ours.sign(id, now - 3_600, body.as_bytes()).unwrap();
    let answers = run_python(
        "standard_webhooks.py",
        &json!([
            asked(body, now, None),
            asked(body, now, Some(&here)),
            asked(body, now, Some(&rotated)),
            asked(&body.replacen("conv", "cont", 1), now, Some(&here)),
            asked(body, now - 3_600, Some(&old)),
        ]),
    )
    .await;
    let there = answers[0]["signature"].as_str().unwrap();
    assert_eq!(there, here);
    assert!(ours.verify(body.as_bytes(), &headers(id, now, there)).is_ok());
    assert!(ours.verify(body.replacen("conv", "cont", 1).as_bytes(), &headers(id, now, there)).is_err());
    assert_eq!((&answers[1]["verified"], &answers[2]["verified"]), (&json!(true), &json!(true)), "{answers}");
    assert!(answers[3]["refused"].is_string() && answers[4]["refused"].is_string(), "{answers}");
}

fn headers(id: &str, timestamp: i64, signature: &str) -> HeaderMap {
    let pairs =
        [("webhook-id", id), ("webhook-timestamp", &timestamp.to_string()), ("webhook-signature", signature)];
    pairs
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect()
}
