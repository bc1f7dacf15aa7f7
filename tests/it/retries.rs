//! Exactly once in effect: retries, races, lost acks, a log made anew.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use futures::future::join_all;
use serde_json::json;
use sqlx::Row;
use tests::{Nats, Parts, System, eventually};

use crate::{ids, message};

async fn rows(system: &System) -> Vec<(i64, String)> {
    let query = "SELECT id, content FROM paco_conversations ORDER BY id";
    let rows = sqlx::query(query).fetch_all(&mut system.tables().await).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_retries_of_one_message_are_one_row_and_one_id() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let body = message("RID001", "Hello", ids("conv_1", "m1"));
    let replies = join_all((0..100).map(|_| caller.post("/api/v1/chat/message", &body))).await;
    let id = replies[0].body["message_id"].clone();
    for reply in &replies {
        assert_eq!((reply.status, &reply.body["message_id"]), (200, &id), "{}", reply.text);
    }
    system.projected(replies[0].sequence()).await;
    assert_eq!(rows(&system).await, [(id.as_i64().unwrap(), "Hello".to_owned())]);
}

#[tokio::test]
async fn an_idempotency_key_serves_where_a_message_has_no_id() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let body = message("RID001", "Hello", json!({"provider": "openai"}));
    let mut found = Vec::new();
    for key in ["a", "a", "b"] {
        let request =
            caller.request(reqwest::Method::POST, "/api/v1/chat/message").header("Idempotency-Key", key);
        found.push(caller.send(request.json(&body)).await.body["message_id"].as_u64().unwrap());
    }
    assert_eq!(found[0], found[1]);
    assert_ne!(found[1], found[2]);
    // With neither, every POST is a new message.
    let one = caller.post("/api/v1/chat/message", &body).await.body;
    let two = caller.post("/api/v1/chat/message", &body).await.body;
    assert_ne!(one["message_id"], two["message_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_writer_owns_a_conversation_also_when_two_instances_race() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(true, false, false).start().await);
    let (a, b) = (one.client.login("RID001").await, two.client.login("RID002").await);
    for round in 0..20 {
        let conversation = format!("conv_{round}");
        let (mine, theirs) = (
            message("RID001", "mine", ids(&conversation, "m1")),
            message("RID002", "theirs", ids(&conversation, "m2")),
        );
        let (first, second) =
            tokio::join!(a.post("/api/v1/chat/message", &mine), b.post("/api/v1/chat/message", &theirs));
        let mut statuses = [first.status, second.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 403], "{} {}", first.text, second.text);
        let (loser, body) = if first.status == 403 { (&a, &mine) } else { (&b, &theirs) };
        loser.post("/api/v1/chat/message", body).await.assert_problem(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_share_a_conversation_agree_on_ids_corrections_and_places() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(true, false, false).start().await);
    let a = one.client.login("RID001").await;
    let b = two.client.with(a.token());
    let mut firsts = Vec::new();
    for n in 0..30 {
        let id = format!("m{n}");
        let (here, there) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let first = here.post("/api/v1/chat/message", &message("RID001", "before", ids("conv_1", &id))).await;
        let repeat =
            there.post("/api/v1/chat/message", &message("RID001", "before", ids("conv_1", &id))).await;
        let corrected =
            there.post("/api/v1/chat/message", &message("RID001", "after", ids("conv_1", &id))).await;
        assert_eq!(first.body["message_id"], repeat.body["message_id"]);
        assert_eq!(first.body["message_id"], corrected.body["message_id"]);
        assert!(corrected.sequence() > first.sequence());
        firsts.push((first.sequence() as i64, "after".to_owned()));
    }
    let burst =
        join_all((0..200).map(|n| {
            let (caller, id) = (if n % 2 == 0 { &a } else { &b }, format!("burst{n}"));
            async move {
                caller.post("/api/v1/chat/message", &message("RID001", "burst", ids("conv_1", &id))).await
            }
        }))
        .await;
    assert!(burst.iter().all(|reply| reply.status == 200));
    let last = burst.iter().map(tests::Reply::sequence).max().unwrap();
    one.projected(last).await;
    assert_eq!(rows(&one).await[..30], firsts);
    let mut tables = one.tables().await;
    let places: Vec<i64> = sqlx::query_scalar("SELECT ordinal FROM turnlog.messages ORDER BY sequence")
        .fetch_all(&mut tables)
        .await
        .unwrap();
    assert_eq!(places, (1..=230).collect::<Vec<_>>());
}

/// The stream as an operator sees it.
async fn stream(parts: &Parts) -> (jetstream::Context, stream::Config) {
    let nats = &parts.nats;
    let mut options = async_nats::ConnectOptions::new();
    if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    let context = jetstream::new(options.connect(nats.urls[0].expose()).await.unwrap());
    let config = context.get_stream("EVENTS").await.unwrap().cached_info().config.clone();
    (context, config)
}

/// Sends `count` messages at once and answers the ids once every one was acknowledged.
async fn burst(caller: &tests::Client, count: usize) -> Vec<u64> {
    let replies = join_all((0..count).map(|n| {
        let body = message("RID001", "burst", ids(&format!("conv_{}", n % 7), &format!("m{n}")));
        async move { caller.post("/api/v1/chat/message", &body).await }
    }))
    .await;
    replies.iter().for_each(|reply| assert_eq!(reply.status, 200, "{}", reply.text));
    replies.iter().map(|reply| reply.body["message_id"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_ack_costs_a_short_time_out_and_doubles_nothing() {
    for count in [1, 60] {
        let parts = Parts::fresh().await;
        let system = parts.start().await;
        let caller = system.client.login("RID001").await;
        // The conversations are there, so that the burst goes as one batch.
        let mut known = burst(&caller, 7).await;
        let (context, config) = stream(&parts).await;
        // The server stores and says nothing: every ack is lost.
        context.update_stream(stream::Config { no_ack: true, ..config.clone() }).await.unwrap();
        let sender = {
            let caller = caller.clone();
            tokio::spawn(async move {
                let started = Instant::now();
                let replies = join_all((0..count).map(|n| {
                    let body =
                        message("RID001", "kept", ids(&format!("conv_{}", n % 7), &format!("kept{n}")));
                    let caller = caller.clone();
                    async move { caller.post("/api/v1/chat/message", &body).await }
                }))
                .await;
                (replies, started.elapsed())
            })
        };
        eventually("the log has stored something without an ack", || async {
            let state = context.get_stream("EVENTS").await.ok()?;
            (state.cached_info().state.last_sequence as usize > known.len() + 1).then_some(())
        })
        .await;
        context.update_stream(config).await.unwrap();
        let (replies, took) = sender.await.unwrap();
        assert!(took < Duration::from_secs(6), "took {took:?}");
        for reply in &replies {
            assert_eq!(reply.status, 200, "{}", reply.text);
            known.push(reply.body["message_id"].as_u64().unwrap());
        }
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), 7 + count);
        system.projected(*known.last().unwrap()).await;
        let stored: Vec<_> = rows(&system).await.into_iter().map(|(id, _)| id as u64).collect();
        assert_eq!(stored, known);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_anew_under_load_answers_every_request_within_its_bound() {
    let parts = Parts::fresh().await.only(true, false, false);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let (context, config) = stream(&parts).await;
    let load = {
        let caller = caller.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let mut slowest = Duration::ZERO;
            while started.elapsed() < Duration::from_secs(3) {
                let sent = Instant::now();
                join_all((0..64).map(|n| {
                    let body = message("RID001", "x", ids(&format!("conv_{n}"), &format!("{:?}", sent)));
                    let caller = caller.clone();
                    async move {
                        let reply = caller.post("/api/v1/chat/message", &body).await;
                        assert!([200, 503].contains(&reply.status), "{}", reply.text);
                    }
                }))
                .await;
                slowest = slowest.max(sent.elapsed());
            }
            slowest
        })
    };
    for _ in 0..5 {
        context.delete_stream("EVENTS").await.unwrap();
        eventually("the stream is there again", || async {
            context.create_stream(config.clone()).await.ok()
        })
        .await;
    }
    let slowest = load.await.unwrap();
    assert!(slowest < Duration::from_secs(14), "one took {slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_does_not_answer_gets_503_with_retry_after_and_acknowledges_nothing() {
    let nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), String::new()).only(true, false, false);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let body = message("RID001", "Hello", ids("conv_1", "m1"));
    assert_eq!(caller.post("/api/v1/chat/message", &body).await.status, 200);
    nats.freeze();
    let started = Instant::now();
    let refused = caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m2"))).await;
    refused.assert_problem(503);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(started.elapsed() < Duration::from_secs(16));
    nats.thaw();
    let again = eventually("writes are taken again", || async {
        let reply = caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m2"))).await;
        (reply.status == 200).then_some(reply)
    })
    .await;
    let repeat = caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m2"))).await;
    assert_eq!(repeat.body["message_id"], again.body["message_id"]);
}
