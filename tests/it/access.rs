//! Who may do what: login modes, enrolment, logout, and whose conversation it is.

use std::time::Instant;

use ingest::LoginMode;
use serde_json::json;
use tests::{Parts, System, eventually};

use crate::{ids, message};

const LOGIN: &str = "/api/v1/auth/login";

async fn system(mode: LoginMode) -> System {
    Parts { login_mode: mode, ..Parts::fresh().await }.start().await
}

#[tokio::test]
async fn enrolled_mode_takes_known_ids_alone() {
    let system = system(LoginMode::Enrolled).await;
    let body = json!({"research_id": "RID001"});
    system.client.post(LOGIN, &body).await.assert_problem(401);
    let enrolled =
        system.service().put("/api/v1/participants/RID001", &json!({"name": "Ada", "age": 36})).await;
    assert_eq!(enrolled.status, 200, "{}", enrolled.text);
    assert_eq!(system.client.post(LOGIN, &body).await.status, 200);
    let mut tables = system.tables().await;
    system.projected(enrolled.sequence()).await;
    let (name, age): (String, i32) = sqlx::query_as("SELECT name, age::int FROM turnlog.participants")
        .fetch_one(&mut tables)
        .await
        .unwrap();
    assert_eq!((name.as_str(), age), ("Ada", 36));
}

#[tokio::test]
async fn code_mode_wants_the_right_code() {
    let system = system(LoginMode::Code).await;
    let service = system.service();
    let first = service.put("/api/v1/participants/RID001", &json!({"access_code": "correct horse"})).await;
    assert_eq!(first.status, 200, "{}", first.text);
    system.client.post(LOGIN, &json!({"research_id": "RID001"})).await.assert_problem(400);
    for (id, code) in [("RID001", "wrong horse"), ("RID002", "correct horse")] {
        system.client.post(LOGIN, &json!({"research_id": id, "access_code": code})).await.assert_problem(401);
    }
    let login = json!({"research_id": "RID001", "access_code": "correct horse"});
    assert_eq!(system.client.post(LOGIN, &login).await.status, 200);
    service.put("/api/v1/participants/RID001", &json!({"access_code": "battery staple"})).await;
    system.client.post(LOGIN, &login).await.assert_problem(401);
}

#[tokio::test]
async fn an_id_that_is_tried_too_often_has_to_wait() {
    let system = system(LoginMode::Code).await;
    let login = json!({"research_id": "RID001", "access_code": "guess"});
    let limited = loop {
        let reply = system.client.post(LOGIN, &login).await;
        if reply.status != 401 {
            break reply;
        }
    };
    limited.assert_problem(429);
    for name in ["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"] {
        assert!(limited.headers.contains_key(name), "{name} is missing");
    }
}

#[tokio::test]
async fn a_token_that_was_given_up_is_dead_on_every_instance_within_a_second() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(true, false, true).start().await);
    let here = one.client.login("RID001").await;
    let there = two.client.with(here.token());
    let body = message("RID001", "Hello", ids("conv_1", "m1"));
    let stored = there.post("/api/v1/chat/message", &body).await;
    one.projected(stored.sequence()).await;
    let mut feed = there.feed("conv_1", None).await;
    feed.expect("initial").await;
    assert_eq!(here.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    let given_up = Instant::now();
    let error = feed.expect("error").await;
    assert_eq!(error.data["conversation_id"], "conv_1");
    assert_eq!(feed.next().await, None);
    eventually("the token is dead elsewhere", || async {
        (there.post("/api/v1/chat/message", &body).await.status == 401).then_some(())
    })
    .await;
    assert!(given_up.elapsed().as_millis() < 1_000, "took {:?}", given_up.elapsed());
    here.post("/api/v1/chat/message", &body).await.assert_problem(401);
    // Also after a restart: it is a fact in the log.
    let three = parts.only(true, false, false).start().await;
    three.client.with(here.token()).post("/api/v1/chat/message", &body).await.assert_problem(401);
}

#[tokio::test]
async fn nobody_reads_or_writes_what_is_not_theirs() {
    let system = System::start().await;
    let (mine, theirs) = (system.client.login("RID001").await, system.client.login("RID002").await);
    let stored = mine.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    system.projected(stored.sequence()).await;
    theirs
        .post("/api/v1/chat/message", &message("RID002", "Hi", ids("conv_1", "m2")))
        .await
        .assert_problem(403);
    theirs.get("/api/conversation/conv_1").await.assert_problem(403);
    theirs.try_feed("conv_1", None).await.unwrap_err().assert_problem(403);
    theirs.get("/api/conversation/conv_2").await.assert_problem(404);
    theirs.try_feed("conv_2", None).await.unwrap_err().assert_problem(404);
    system.client.get("/api/conversation/conv_1").await.assert_problem(401);
    assert_eq!(system.service().get("/api/conversation/conv_1").await.status, 200);
    // A participant enrols nobody, and sets no code of its own.
    theirs.put("/api/v1/participants/RID003", &json!({})).await.assert_problem(403);
    theirs.put("/api/v1/profile", &json!({"access_code": "1234"})).await.assert_problem(400);
    assert_eq!(theirs.put("/api/v1/profile", &json!({"name": "Bo", "age": 40})).await.status, 200);
}
