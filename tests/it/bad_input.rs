//! Bad input: a problem document that names every bad field, and nothing stored.

use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, JWT_SECRET, System};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{ids, message};

const PATHS: [&str; 2] = ["/api/v1/chat/message", "/api/v1/chat/save-message"];

/// Fails when anything but the enrolment by login stands in the log.
async fn assert_nothing_stored(caller: &Client) {
    let reply = caller.post(PATHS[0], &message("RID001", "the first", json!({}))).await;
    assert_eq!(reply.sequence(), 2, "something was stored before");
}

#[tokio::test]
async fn each_bad_field_is_named_and_nothing_is_stored() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let large = "x".repeat(65_537);
    let cases = [
        ("research_id", json!(null)),
        ("research_id", json!("")),
        ("research_id", json!(["RID001"])),
        ("research_id", json!("x".repeat(16_385))),
        ("role", json!("system")),
        ("role", json!(1)),
        ("role", json!(null)),
        ("content", json!("")),
        ("content", json!(" \n\t\u{2003}")),
        ("content", json!({"text": "Hello"})),
        ("content", json!(large)),
        ("content", json!("a\0b")),
        ("content", json!(null)),
        ("timestamp", json!("2025-01-08T12:00:00")),
        ("timestamp", json!("2025-13-08T12:00:00Z")),
        ("timestamp", json!("9999-01-08T12:00:00Z")),
        ("timestamp", json!(1_736_337_600)),
        ("timestamp", json!(null)),
        ("provider", json!("google")),
        ("provider", json!(null)),
        ("elevenlabs_conversation_id", json!("")),
        ("elevenlabs_conversation_id", json!(5)),
        ("elevenlabs_message_id", json!({})),
        ("elevenlabs_message_id", json!("x".repeat(16_385))),
    ];
    for (field, value) in cases {
        for path in PATHS {
            let reply = caller.post(path, &message("RID001", "Hello", json!({field: value}))).await;
            reply.assert_problem(400);
            assert_eq!(reply.bad_fields(), [field], "{}", reply.text);
        }
    }
    let all_bad = caller.post(PATHS[0], &json!({"role": 1, "content": ""})).await;
    assert_eq!(all_bad.bad_fields(), ["research_id", "role", "content", "timestamp", "provider"]);
    let others = caller.post(PATHS[0], &message("RID002", "Hello", json!({}))).await;
    others.assert_problem(403);
    assert_nothing_stored(&caller).await;
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let whole = message("RID001", "Hello", ids("conv_1", "m1")).to_string();
    let deep = "[".repeat(10_000);
    let cut = &whole[..whole.len() / 2];
    let not_utf8 = [b"{\"content\": \"\xff\xfe\"}".to_vec()].concat();
    for body in [
        b"".to_vec(),
        b"nonsense".to_vec(),
        cut.into(),
        deep.into(),
        not_utf8,
        br#"{"a": "\ud800"}"#.to_vec(),
    ] {
        let request =
            caller.request(Method::POST, PATHS[0]).header("Content-Type", "application/json").body(body);
        caller.send(request).await.assert_problem(400);
    }
    caller.post(PATHS[0], &json!([1, 2])).await.assert_problem(400);
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let request =
            caller.request(Method::POST, PATHS[0]).header("Content-Type", content_type).body(whole.clone());
        caller.send(request).await.assert_problem(415);
    }
    let huge = json!({"content": "x".repeat(5 * 1024 * 1024)});
    caller.post(PATHS[0], &huge).await.assert_problem(413);
    caller.get(PATHS[0]).await.assert_problem(405);
    caller.post("/api/v1/chat", &json!({})).await.assert_problem(404);
    for wrong in
        [json!({}), json!({"messages": []}), json!({"messages": {}}), json!({"messages": vec![1; 501]})]
    {
        let reply = caller.post("/api/v1/chat/messages", &wrong).await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), ["messages"]);
    }
    assert_nothing_stored(&caller).await;
}

#[tokio::test]
async fn a_body_that_ends_in_the_middle_stores_nothing() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let body = message("RID001", "Hello", ids("conv_1", "m1")).to_string();
    let address = system.base.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        PATHS[0],
        caller.token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_nothing_stored(&caller).await;
}

fn signed(claims: &Value, secret: &str, algorithm: Algorithm) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
        .unwrap()
}

#[tokio::test]
async fn tokens_that_are_no_good_are_told_apart_from_none_and_store_nothing() {
    let system = System::start().await;
    let good = system.client.login("RID001").await;
    let now = Utc::now().timestamp();
    let claims = |issuer: &str, audience: &str, expires: i64| {
        json!({"sub": "RID001", "role": "participant", "iss": issuer, "aud": audience, "iat": now, "exp": expires,
               "jti": "test"})
    };
    let fine = claims("turnlog", "turnlog", now + 60);
    let unsigned = |claims: &Value| {
        let signed = signed(claims, "x", Algorithm::HS256);
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", signed.split('.').nth(1).unwrap())
    };
    let mut no_role = fine.clone();
    no_role["role"] = json!("root");
    let bad = [
        signed(&claims("turnlog", "turnlog", now - 1), JWT_SECRET, Algorithm::HS256),
        signed(&claims("another", "turnlog", now + 60), JWT_SECRET, Algorithm::HS256),
        signed(&claims("turnlog", "another", now + 60), JWT_SECRET, Algorithm::HS256),
        signed(&fine, "another secret, as long as the right one is", Algorithm::HS256),
        signed(&fine, JWT_SECRET, Algorithm::HS512),
        signed(&no_role, JWT_SECRET, Algorithm::HS256),
        unsigned(&fine),
        "x".into(),
        "a.b.c".into(),
    ];
    let body = message("RID001", "Hello", json!({}));
    for token in &bad {
        let reply = system.client.with(token).post(PATHS[0], &body).await;
        reply.assert_problem(401);
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    system.client.post(PATHS[0], &body).await.assert_problem(401);
    assert!(
        system.client.with(&bad[0]).post(PATHS[0], &body).await.body["detail"]
            .as_str()
            .unwrap()
            .contains("expired")
    );
    let accepted = system.client.with(&signed(&fine, JWT_SECRET, Algorithm::HS256));
    assert_nothing_stored(&accepted).await;
    drop(good);
}
