//! Who signed a webhook, and when: every case of the vendor's two libraries, decided.

use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::config::Secret;
use shared::events::Event;
use tests::{Parts, Reply, System, WEBHOOK_SECRET, eventually, run_python};

use super::{entries, signed_as, taken, transcript};

fn v0(secret: &str, time: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let mac = mac.chain_update(time).chain_update(".").chain_update(body);
    hex::encode(mac.finalize().into_bytes())
}

fn body() -> String {
    transcript("conv_1", 1_788_170_431, &[("agent", "a marker that no refusal keeps")]).to_string()
}

async fn send(system: &System, signature: &str, body: &str) -> Reply {
    system.client.send(signed_as(&system.client, signature, body.to_owned())).await
}

/// How often a webhook was refused for this reason, by all tests of this process.
async fn counted(system: &System, reason: &str) -> u64 {
    let text = system.client.get("/metrics").await.text;
    let wanted = format!("reason=\"{reason}\"");
    let found = text.lines().find(|line| {
        line.starts_with("turnlog_webhooks_refused_total")
            && line.contains("source=\"elevenlabs_webhook\"")
            && line.contains(&wanted)
    });
    found.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

#[tokio::test]
async fn every_signature_that_is_good_is_taken() {
    let system = System::start().await;
    let (body, now) = (body(), Utc::now().timestamp());
    let (good, bad, other) = (v0(WEBHOOK_SECRET, &now.to_string(), &body), "0".repeat(64), "00ff");
    let mut first = None;
    for signature in [
        format!("t={now},v0={good}"),
        format!("v0={good},t={now}"),
        format!("t={now},v1={other},v0={good}"),
        format!("t={now}, v0={good}"),
        format!("t={now},v0={bad},v0={good}"),
        format!("t={now},v0={good},v0={bad}"),
        format!("t={now},v0={good},v0={other}"),
        format!("t={now},v0={}", good.to_uppercase()),
    ] {
        let reply = send(&system, &signature, &body).await;
        assert_eq!(reply.status, 200, "{signature}: {}", reply.text);
        assert_eq!(reply.sequence(), *first.get_or_insert(reply.sequence()));
    }
    for age in [30 * 60 + 5, 59 * 60, -4 * 60] {
        let time = (now - age).to_string();
        let reply = send(&system, &format!("t={time},v0={}", v0(WEBHOOK_SECRET, &time, &body)), &body).await;
        assert_eq!(reply.status, 200, "{age} s old: {}", reply.text);
    }
}

#[tokio::test]
async fn every_other_signature_is_refused_told_apart_and_noted_without_the_body() {
    let system = System::start().await;
    let (body, now) = (body(), Utc::now().timestamp());
    let time = now.to_string();
    let good = v0(WEBHOOK_SECRET, &time, &body);
    let at = |time: &str| format!("t={time},v0={}", v0(WEBHOOK_SECRET, time, &body));
    let spaced = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&body).unwrap()).unwrap();
    let cases = [
        (at(&(now - 3_700).to_string()), body.clone(), "expired"),
        (at(&(now + 400).to_string()), body.clone(), "future"),
        (at(&(now + 365 * 86_400).to_string()), body.clone(), "future"),
        (at(&(now * 1_000).to_string()), body.clone(), "future"),
        (at("soon"), body.clone(), "bad_timestamp"),
        (at("-1"), body.clone(), "bad_timestamp"),
        (at("99999999999999999999"), body.clone(), "bad_timestamp"),
        (format!("t=1,t={time},v0={good}"), body.clone(), "bad_timestamp"),
        (format!("t={time},t={time},v0={good}"), body.clone(), "bad_timestamp"),
        (format!("v0={good}"), body.clone(), "bad_timestamp"),
        (format!("t={time}"), body.clone(), "no_hash"),
        (format!("t={time},v1={good}"), body.clone(), "no_hash"),
        (format!("t={time},v0={good}"), spaced, "bad_signature"),
        (format!("t={time},v0={good}"), format!("{body}\n"), "bad_signature"),
        (format!("t={time},v0={}", &good[..63]), body.clone(), "bad_signature"),
        (format!("t={time},v0={}", v0("wsec_another", &time, &body)), body.clone(), "bad_signature"),
        (format!("t={},v0={good}", now - 1), body.clone(), "bad_signature"),
        (format!("t={time},v0={good},{}", "v0=00,".repeat(40)), body.clone(), "malformed"),
    ];
    for (signature, body, reason) in &cases {
        let before = counted(&system, reason).await;
        let reply = send(&system, signature, body).await;
        reply.assert_problem(401);
        assert!(!reply.headers.contains_key("turnlog-sequence"), "{signature}");
        assert!(counted(&system, reason).await > before, "{reason} is not counted");
    }
    let bare =
        system.client.post(super::ELEVENLABS, &json!({"type": "a marker that no refusal keeps"})).await;
    bare.assert_problem(401);
    let noted = eventually("all refusals are in the table", || async {
        let rows = system.rows("SELECT * FROM turnlog.refused").await;
        (rows.len() == cases.len() + 1).then_some(rows)
    })
    .await;
    for (_, body, reason) in &cases {
        let hash = hex::encode(Sha256::digest(body));
        let found = noted.iter().any(|row| {
            row["reason"] == *reason
                && row["bytes"] == body.len()
                && row["sha256"] == hash.as_str()
                && row["source"] == "elevenlabs_webhook"
                && row["address"] == "127.0.0.1"
        });
        assert!(found, "{reason} of {} bytes is not in {noted:?}", body.len());
    }
    assert_eq!(noted.iter().filter(|row| row["reason"] == "missing").count(), 1);
    let entries = entries(&system.parts).await;
    assert_eq!(entries.len(), cases.len() + 1);
    for entry in entries {
        assert!(matches!(entry.decode().unwrap(), Event::WebhookRefused(_)));
        assert!(!String::from_utf8_lossy(&entry.body).contains("marker"), "a refusal holds the body");
    }
    let sources = system.rows("SELECT received, refused, failures FROM turnlog.sources").await;
    // The one without a signature is no delivery of the vendor's.
    assert_eq!(sources, [json!({"received": 0, "refused": 19, "failures": 18})]);
    let reply = taken(&system.client, body).await;
    system.projected(reply.sequence()).await;
    let sources = system.rows("SELECT received, refused, failures FROM turnlog.sources").await;
    assert_eq!(sources, [json!({"received": 1, "refused": 19, "failures": 0})]);
}

#[tokio::test]
async fn a_good_signature_over_what_is_no_json_is_400() {
    let system = System::start().await;
    let now = Utc::now().timestamp().to_string();
    for body in ["", "{", "not json", "{} {}", "{\"type\":\"x\",}"] {
        let reply = send(&system, &format!("t={now},v0={}", v0(WEBHOOK_SECRET, &now, body)), body).await;
        reply.assert_problem(400);
        let unsigned = send(&system, &format!("t={now},v0={}", "0".repeat(64)), body).await;
        unsigned.assert_problem(401);
    }
}

#[tokio::test]
async fn secrets_rotate_and_without_one_nothing_is_taken() {
    let parts = Parts::fresh().await;
    let (body, now) = (body(), Utc::now().timestamp().to_string());
    let of = |secret: &str| format!("t={now},v0={}", v0(secret, &now, &body));
    let mut rotating = parts.clone();
    rotating.webhooks.secrets = vec![Secret::new("wsec_old"), Secret::new("wsec_new")];
    let system = rotating.start().await;
    for (secret, status) in [("wsec_old", 200), ("wsec_new", 200), (WEBHOOK_SECRET, 401), ("", 401)] {
        assert_eq!(send(&system, &of(secret), &body).await.status, status, "{secret}");
    }
    system.stop().await.unwrap();
    let mut none = parts;
    none.webhooks.secrets = Vec::new();
    let system = none.start().await;
    for secret in ["wsec_old", ""] {
        send(&system, &of(secret), &body).await.assert_problem(401);
    }
    assert!(counted(&system, "not_configured").await >= 2);
}

#[tokio::test]
async fn what_the_vendors_sdk_takes_is_taken_here() {
    let system = System::start().await;
    let (body, now) = (super::transcription().to_string(), Utc::now().timestamp().to_string());
    let header = format!("t={now},v0={}", v0(WEBHOOK_SECRET, &now, &body));
    let case = json!([{"body": body, "header": header, "secret": WEBHOOK_SECRET}]);
    let answers = run_python("elevenlabs_sdk.py", &case).await;
    assert_eq!(answers[0]["event"], serde_json::from_str::<Value>(&body).unwrap(), "{answers}");
    assert_eq!(send(&system, &header, &body).await.status, 200);
}
