//! What is recorded beside looks: who was turned away.

use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use shared::audit::{Look, Looker, What};
use shared::auth::{Tokens, Who};
use shared::config::{AuthSettings, Secret};
use tests::{Parts, System, eventually};

use super::{SNAPSHOT, records, say};
use crate::calls::{admin, with_call};
use crate::person;

async fn refused(parts: &Parts) -> Vec<Look> {
    records(parts).await.into_iter().filter(|record| record.what == What::Refused).collect()
}

/// The record of the request of this id.
async fn of(system: &System, id: &str) -> Look {
    eventually("the refusal is recorded", || async {
        refused(&system.parts).await.into_iter().find(|record| record.request_id == id)
    })
    .await
}

#[tokio::test]
async fn whoever_is_known_and_turned_away_is_recorded() {
    let system = with_call().await;
    let call = "/api/conversation/conv_919325590143_20251003_115804";
    let stranger = admin(&system, "admin_3", "other");
    let request = stranger.request(Method::GET, call).header("X-Request-Id", "other-company");
    stranger.send(request).await.assert_problem(403);
    let record = of(&system, "other-company").await;
    assert_eq!((record.who.role.as_str(), record.who.id.as_deref()), ("admin", Some("admin_3")));
    assert_eq!(record.conversation_id.as_deref(), Some("conv_919325590143_20251003_115804"));
    assert_eq!(
        (&record.more["status"], &record.more["asked"]),
        (&json!(403), &json!("GET /api/conversation/{id}"))
    );
    assert_eq!(record.address, "127.0.0.1".parse().ok());

    // A participant, by the token of their subject.
    let own = system.client.login("RID001").await;
    say(&own, "m1", "secret words").await;
    let other = system.client.login("RID002").await;
    let request = other.request(Method::POST, "/api/v1/chat/message").header("X-Request-Id", "not-theirs");
    let body = crate::message("RID001", "hello", json!({}));
    other.send(request.json(&body)).await.assert_problem(403);
    let record = of(&system, "not-theirs").await;
    assert_eq!(record.who, Looker::participant(&"RID002".to_owned().try_into().unwrap()));

    let researcher = person(&system, &Who::Researcher("r1".into()));
    assert_eq!(researcher.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    eventually("the token is dead", || async {
        let request = researcher.request(Method::GET, SNAPSHOT).header("X-Request-Id", "revoked");
        (researcher.send(request).await.status == 401).then_some(())
    })
    .await;
    assert_eq!(of(&system, "revoked").await.who.id.as_deref(), Some("r1"));
}

#[tokio::test]
async fn a_flood_of_strangers_is_one_record() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let forged =
        AuthSettings { jwt_secret: Secret::new("another secret of 32 bytes or more"), ..parts.auth() };
    let who = Who::Researcher("r1".into());
    let forged = Tokens::new(&forged).issue(&who, Duration::from_secs(60), Utc::now()).unwrap();
    let callers = [system.client.clone(), system.client.with("nonsense"), system.client.with(&forged)];
    let all = join_all((0..300).map(|n| {
        let caller = &callers[n % 3];
        async move { caller.get(SNAPSHOT).await.status }
    }));
    assert!(all.await.iter().all(|status| *status == 401));
    assert!(refused(&parts).await.is_empty(), "not before the minute is over");
    system.stop().await.unwrap();
    let recorded = refused(&parts).await;
    let [record] = &recorded[..] else { panic!("{recorded:?}") };
    assert_eq!((&record.who, &record.more["count"]), (&Looker::nobody(), &json!(300)));
    assert_eq!((record.address, &record.conversation_id), ("127.0.0.1".parse().ok(), &None));
}
