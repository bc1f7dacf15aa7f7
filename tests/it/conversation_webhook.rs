//! S3's conversation webhook: to the letter, by key or by signature, limited, and never doubling what was synced.

use chrono::{DateTime, Utc};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use shared::config::Secret;
use shared::http::Edge;
use standardwebhooks::Webhook;
use tests::{Client, Parts, Reply, STANDARD_SECRET, System, eventually, per_minute, run_python};

use crate::webhooks::{entries, told};

const PATH: &str = "/api/v1/webhook/conversation";
const OTHER_SECRET: &str = "whsec_c29tZSBvdGhlciBzZWNyZXQgb2Ygb3Vycw==";

/// The seed's example, as it is printed there.
fn example() -> Value {
    json!({
        "emailId": "user@example.com", "accountId": "acc123", "conversationId": "conv_abc123",
        "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "Hello, I need help",
                        "messageId": "msg_123"}],
        "metadata": {"sessionId": "sess_456", "agentId": "agent_01jxn7fwb2eyq8p6k4m3en4xtm", "duration": 300,
                     "messageCount": 10, "platform": "web", "userAgent": "Mozilla/5.0..."},
    })
}

fn turn(id: &str, speaker: &str, content: &str) -> Value {
    json!({"timestamp": "2024-01-15T10:31:00Z", "speaker": speaker, "content": content, "messageId": id})
}

fn signed_at(client: &Client, secret: &str, time: i64, body: &str) -> RequestBuilder {
    let signature = Webhook::new(secret).unwrap().sign("msg_1", time, body.as_bytes()).unwrap();
    with_signature(client, time, &signature, body)
}

fn with_signature(client: &Client, time: i64, signature: &str, body: &str) -> RequestBuilder {
    let request = client.request(Method::POST, PATH).header("webhook-id", "msg_1");
    let request =
        request.header("webhook-timestamp", time.to_string()).header("webhook-signature", signature);
    request.header("content-type", "application/json").body(body.to_owned())
}

async fn taken(caller: &Client, body: &Value) -> Reply {
    let reply = caller.post(PATH, body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn number(reply: &Reply, name: &str) -> u64 {
    let value = reply.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {reply:?}"));
    value.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_seeds_example_is_answered_as_it_is_printed_there() {
    let system = System::start().await;
    let reply = taken(&system.service(), &example()).await;
    let data = &reply.body["data"];
    let processed_at = data["processedAt"].as_str().unwrap();
    assert!(
        Utc::now().signed_duration_since(DateTime::parse_from_rfc3339(processed_at).unwrap()).num_seconds()
            < 60
    );
    assert!(data["webhookId"].as_str().unwrap().starts_with("webhook_"));
    let printed = json!({"success": true, "message": "Conversation data received successfully",
        "data": {"conversationId": "conv_abc123", "processedAt": processed_at, "status": "processed",
                 "webhookId": data["webhookId"]}});
    assert_eq!(reply.body, printed);
    let messages = told(&system, "conv_abc123", reply.sequence()).await;
    assert_eq!(messages, [("user".to_owned(), "Hello, I need help".to_owned())]);
    let rows = system
        .rows("SELECT participant_id, account_id, email_id, agent_id, duration_seconds, status FROM turnlog.conversations")
        .await;
    let row = json!({"participant_id": "acc123", "account_id": "acc123", "email_id": "user@example.com",
        "agent_id": "agent_01jxn7fwb2eyq8p6k4m3en4xtm", "duration_seconds": 300, "status": "ENDED"});
    assert_eq!(rows, [row]);
    let again = taken(&system.service(), &example()).await;
    assert_eq!(again.sequence(), reply.sequence());
    assert_eq!(again.body["data"]["webhookId"], data["webhookId"]);
}

#[tokio::test]
async fn who_may_not_is_refused_and_noted() {
    let system = System::start().await;
    system.client.post(PATH, &example()).await.assert_problem(401);
    system.client.with("wrong").post(PATH, &example()).await.assert_problem(401);
    let person = system.client.login("acc123").await;
    person.post(PATH, &example()).await.assert_problem(403);
    let refused = eventually("the refusals are in the table", || async {
        let query = "SELECT reason, address FROM turnlog.refused WHERE source = 'conversation_webhook'";
        Some(system.rows(query).await).filter(|rows| rows.len() == 3)
    })
    .await;
    assert!(refused.iter().all(|row| row["address"] == "127.0.0.1"), "{refused:?}");
    assert_eq!(system.rows("SELECT 1 FROM turnlog.conversations").await.len(), 0);
    let log = entries(&system.parts).await;
    assert!(log.iter().all(|entry| !String::from_utf8_lossy(&entry.body).contains("I need help")));
}

#[tokio::test]
async fn every_bad_field_is_named() {
    let system = System::start().await;
    let service = system.service();
    let mut cases = Vec::new();
    for name in ["emailId", "accountId", "conversationId", "transcript", "metadata"] {
        for bad in [Value::Null, json!(7), json!(true)] {
            cases.push((format!("/{name}"), bad, name.to_owned()));
        }
    }
    for name in ["timestamp", "speaker", "content", "messageId"] {
        cases.push((format!("/transcript/0/{name}"), json!(7), format!("transcript[0].{name}")));
    }
    for name in ["agentId", "duration", "messageCount", "platform", "userAgent"] {
        cases.push((format!("/metadata/{name}"), json!({}), format!("metadata.{name}")));
        cases.push((format!("/metadata/{name}"), Value::Null, format!("metadata.{name}")));
    }
    for (pointer, bad) in [
        ("/emailId", json!("nobody")),
        ("/accountId", json!("")),
        ("/conversationId", json!("standing.openai.acc123")),
        ("/conversationId", json!("a\0b")),
        ("/transcript/0/speaker", json!("narrator")),
        ("/transcript/0/timestamp", json!("yesterday")),
        ("/transcript/0/content", json!("x".repeat(70_000))),
        ("/metadata/duration", json!(-1)),
        ("/metadata/duration", json!(1.5)),
        ("/metadata/messageCount", json!(9_999_999_999_u64)),
    ] {
        let field = pointer[1..].replace("/0/", "[0].").replace('/', ".");
        cases.push((pointer.to_owned(), bad, field));
    }
    for (pointer, bad, field) in cases {
        let mut body = example();
        *body.pointer_mut(&pointer).unwrap() = bad;
        let reply = service.post(PATH, &body).await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), [field.as_str()], "{}", reply.text);
    }
    service.post(PATH, &json!([])).await.assert_problem(400);
    let all = service.post(PATH, &json!({})).await;
    assert_eq!(all.bad_fields(), ["emailId", "accountId", "conversationId", "transcript", "metadata"]);
    let text = service.request(Method::POST, PATH).header("content-type", "text/plain").body("{}");
    service.send(text).await.assert_problem(415);
    let mut unknown = example();
    unknown["fromTheFuture"] = json!({"a": 1});
    taken(&service, &unknown).await;
}

#[tokio::test]
async fn standard_webhooks_signatures_are_taken_from_any_active_secret() {
    let mut parts = Parts::fresh().await;
    parts.webhooks.conversation_secrets.push(Secret::new(OTHER_SECRET));
    let system = parts.start().await;
    let (client, now, body) = (&system.client, Utc::now().timestamp(), example().to_string());
    let mut first = None;
    for secret in [STANDARD_SECRET, OTHER_SECRET] {
        let reply = client.send(signed_at(client, secret, now, &body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert_eq!(reply.sequence(), *first.get_or_insert(reply.sequence()));
    }
    let asked = json!([{"secret": STANDARD_SECRET, "id": "msg_1", "timestamp": now, "body": body}]);
    let theirs = run_python("standard_webhooks.py", &asked).await;
    let theirs = theirs[0]["signature"].as_str().unwrap();
    for signature in [theirs.to_owned(), format!("v1,c29tZXRoaW5n {theirs}")] {
        assert_eq!(
            client.send(with_signature(client, now, &signature, &body)).await.status,
            200,
            "{signature}"
        );
    }
    let refused = [
        signed_at(client, STANDARD_SECRET, now - 400, &body),
        signed_at(client, STANDARD_SECRET, now + 400, &body),
        signed_at(client, "whsec_bm90IG91cnM=", now, &body),
        with_signature(client, now, theirs, &format!("{body} ")),
        with_signature(client, now, "v1,", &body),
        with_signature(client, now, "nonsense", &body),
    ];
    for request in refused {
        client.send(request).await.assert_problem(401);
    }
    let reasons = eventually("the refusals are in the table", || async {
        let rows = system.rows("SELECT reason FROM turnlog.refused ORDER BY sequence").await;
        (rows.len() == 6).then_some(rows)
    })
    .await;
    assert!(
        reasons.contains(&json!({"reason": "expired"})) && reasons.contains(&json!({"reason": "future"}))
    );
    // A key that is wrong is not made good by a signature.
    let both = signed_at(&client.with("wrong"), STANDARD_SECRET, now, &body);
    client.send(both).await.assert_problem(401);
}

#[tokio::test]
async fn keys_rotate_and_limits_hold_for_addresses_and_for_keys() {
    let parts = Parts::fresh().await;
    let more_keys = vec!["test-api-key-of-another-service"];
    let edge = Edge { requests_per_key: per_minute(3), ..parts.edge.clone() };
    let by_key = Parts { edge, more_keys: more_keys.clone(), ..parts.clone() }.start().await;
    let service = by_key.service();
    for left in [2, 1, 0] {
        let reply = taken(&service, &example()).await;
        assert_eq!((number(&reply, "ratelimit-limit"), number(&reply, "ratelimit-remaining")), (3, left));
    }
    let limited = service.post(PATH, &example()).await;
    limited.assert_problem(429);
    assert!((1..=60).contains(&number(&limited, "retry-after")));
    taken(&by_key.client.with(more_keys[0]), &example()).await;
    by_key.stop().await.unwrap();
    let by_address = Parts { webhooks_per_address: 2, more_keys, ..parts }.start().await;
    for left in [1, 0] {
        let reply = taken(&by_address.service(), &example()).await;
        assert_eq!((number(&reply, "ratelimit-limit"), number(&reply, "ratelimit-remaining")), (2, left));
    }
    let limited = by_address.client.with("test-api-key-of-another-service").post(PATH, &example()).await;
    limited.assert_problem(429);
    assert_eq!(number(&limited, "ratelimit-limit"), 2);
    for _ in 0..10 {
        assert_eq!(by_address.client.get("/api/v1/health").await.status, 200);
    }
}

#[tokio::test]
async fn what_was_synced_is_completed_and_a_changed_repeat_corrects() {
    let system = System::start().await;
    let caller = system.client.login("acc123").await;
    for (id, role, content) in [("m1", "user", "I cannot sleep"), ("m3", "user", "since May")] {
        let mut body = crate::message("acc123", content, crate::ids("conv_abc123", id));
        body["role"] = json!(role);
        assert_eq!(caller.post("/api/v1/chat/message", &body).await.status, 200);
    }
    let mut body = example();
    body["transcript"] = json!([
        turn("m1", "user", "I cannot sleep"),
        turn("m2", "agent", "Since when?"),
        turn("m3", "user", "Since May.")
    ]);
    let reply = taken(&system.service(), &body).await;
    let texts = |told: Vec<(String, String)>| told.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    let found = texts(told(&system, "conv_abc123", reply.sequence()).await);
    assert_eq!(found, ["I cannot sleep", "Since when?", "Since May."]);
    body["transcript"][1]["content"] = json!("Since when, exactly?");
    let changed = taken(&system.service(), &body).await;
    assert!(changed.sequence() > reply.sequence());
    let found = texts(told(&system, "conv_abc123", changed.sequence()).await);
    assert_eq!(found, ["I cannot sleep", "Since when, exactly?", "Since May."]);
    let late = crate::message("acc123", "Since when?", crate::ids("conv_abc123", "m2"));
    let late = caller.post("/api/v1/chat/message", &late).await;
    assert_eq!(late.status, 200, "{}", late.text);
    assert_eq!(texts(told(&system, "conv_abc123", late.sequence()).await), found);
}

#[tokio::test]
async fn the_first_participant_stays_the_owner() {
    let system = System::start().await;
    let (first, account) = (system.client.login("RID001").await, system.client.login("acc123").await);
    let mut greeting = crate::message("RID001", "Good morning", crate::ids("conv_abc123", "m1"));
    greeting["role"] = json!("assistant");
    assert_eq!(first.post("/api/v1/chat/message", &greeting).await.status, 200);
    let reply = taken(&system.service(), &example()).await;
    let path = format!("/api/conversation/conv_abc123?after={}", reply.sequence());
    assert_eq!(first.get(&path).await.body["conversation"]["total_messages"], 2);
    account.get(&path).await.assert_problem(403);
    let mut own = example();
    own["conversationId"] = json!("conv_own");
    let reply = taken(&system.service(), &own).await;
    let path = format!("/api/conversation/conv_own?after={}", reply.sequence());
    assert_eq!(account.get(&path).await.status, 200);
    first.get(&path).await.assert_problem(403);
}
