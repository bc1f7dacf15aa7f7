//! What is acknowledged is never lost: processes are killed in the middle of a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Event, Revocation};
use shared::log::Log;
use tests::{Binary, Client, Nats, Parts, Postgres, System, account, eventually};
use tokio::task::JoinSet;

use crate::{ids, message};

const MESSAGES: usize = 10_000;
const SENDERS: usize = 32;

/// Sends [`MESSAGES`] messages, each again until it is acknowledged; answers what was acknowledged, by id.
async fn load(caller: &Client, done: Arc<AtomicUsize>) -> Vec<(u64, String)> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (caller, done) = (caller.clone(), Arc::clone(&done));
        senders.spawn(async move {
            let mut acknowledged = Vec::new();
            for n in (sender..MESSAGES).step_by(SENDERS) {
                let body = message(
                    "RID001",
                    &format!("content {n}"),
                    ids(&format!("conv_{}", n % 100), &format!("m{n}")),
                );
                let reply = eventually("the message is acknowledged", || async {
                    let request = caller.request(reqwest::Method::POST, "/api/v1/chat/message").json(&body);
                    caller.try_send(request).await.ok().filter(|reply| reply.status == 200)
                })
                .await;
                acknowledged.push((reply.body["message_id"].as_u64().unwrap(), format!("content {n}")));
                done.fetch_add(1, Ordering::Relaxed);
            }
            acknowledged
        });
    }
    let mut all: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    all.sort();
    all
}

async fn after(done: &AtomicUsize, count: usize) {
    eventually("the load is under way", || async { (done.load(Ordering::Relaxed) >= count).then_some(()) })
        .await;
}

/// Every acknowledged message stands in the tables once, under its id, with its content.
async fn assert_all_found(parts: &Parts, acknowledged: &[(u64, String)]) {
    let mut ids: Vec<_> = acknowledged.iter().map(|(id, _)| *id).collect();
    ids.dedup();
    assert_eq!(ids.len(), MESSAGES, "two messages were given one id");
    let rows = eventually("all messages are in the tables", || async {
        let mut tables = <sqlx::PgConnection as sqlx::Connection>::connect(&parts.database_url).await.ok()?;
        let query = "SELECT id, content FROM paco_conversations ORDER BY id";
        let rows: Vec<(i64, String)> = sqlx::query_as(query).fetch_all(&mut tables).await.ok()?;
        (rows.len() >= MESSAGES).then_some(rows)
    })
    .await;
    let rows: Vec<_> = rows.into_iter().map(|(id, content)| (id as u64, content)).collect();
    assert_eq!(rows, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_nats_in_the_middle_of_a_load_loses_nothing() {
    let mut nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), tests::database().await);
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let done = Arc::new(AtomicUsize::new(0));
    let (client, count) = (caller.clone(), Arc::clone(&done));
    let loading = tokio::spawn(async move { load(&client, count).await });
    for part in 1..=3 {
        after(&done, part * MESSAGES / 5).await;
        nats.kill();
        nats.restart().await;
    }
    assert_all_found(&parts, &loading.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_postgres_in_the_middle_of_a_load_loses_nothing() {
    let mut postgres = Postgres::start().await;
    let parts = Parts::on(account().await, postgres.database_url());
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let done = Arc::new(AtomicUsize::new(0));
    let (client, count) = (caller.clone(), Arc::clone(&done));
    let loading = tokio::spawn(async move { load(&client, count).await });
    for part in 1..=2 {
        after(&done, part * MESSAGES / 4).await;
        postgres.kill();
        postgres.restart().await;
    }
    assert_all_found(&parts, &loading.await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_roles_in_the_middle_of_a_load_loses_nothing() {
    let parts = Parts::fresh().await;
    let mut ingest = Binary::serve("ingest", &parts).await;
    let mut projector = Binary::serve("projector", &parts).await;
    let standby = Binary::serve("projector", &parts).await;
    let caller = ingest.client.login("RID001").await;
    let done = Arc::new(AtomicUsize::new(0));
    let (client, count) = (caller.clone(), Arc::clone(&done));
    let loading = tokio::spawn(async move { load(&client, count).await });
    after(&done, MESSAGES / 5).await;
    projector.kill();
    after(&done, 2 * MESSAGES / 5).await;
    ingest.kill();
    ingest.restart().await;
    after(&done, 3 * MESSAGES / 5).await;
    projector.restart().await;
    standby.kill();
    let acknowledged = loading.await.unwrap();
    assert_all_found(&parts, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_event_is_parked_and_stops_nothing() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let first = caller.post("/api/v1/chat/message", &message("RID001", "before", ids("conv_1", "m1"))).await;
    // Postgres text cannot hold NUL, JSON can: an event that decodes and cannot be applied.
    let envelope = Envelope::wrap(
        Event::TokenRevoked(Revocation { token_id: "t".into(), expires_at: chrono::Utc::now() }).subject(),
        EventId::random(),
        &Event::TokenRevoked(Revocation { token_id: "t".into(), expires_at: chrono::Utc::now() }),
        &Origin::default(),
        chrono::Utc::now(),
    )
    .unwrap();
    let stored = log.get(first.sequence()).await.unwrap().unwrap();
    let nul = String::from_utf8(stored.body.to_vec()).unwrap().replace("before", "a\\u0000b");
    let publish = |subject: String, headers, body: String| {
        let client = log.client().clone();
        async move { client.request_with_headers(subject, headers, body.into()).await.unwrap() }
    };
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-type", stored.event_type());
    publish(stored.subject.clone(), headers, nul).await;
    publish(envelope.subject.as_str().into(), envelope.headers.clone(), "{not json".into()).await;
    publish("evt.conversation.unknown".into(), async_nats::HeaderMap::new(), "{}".into()).await;
    let last = caller.post("/api/v1/chat/message", &message("RID001", "after", ids("conv_1", "m2"))).await;
    assert_eq!(last.status, 200, "{}", last.text);
    system.projected(last.sequence()).await;
    let mut tables = system.tables().await;
    let parked: Vec<(i64, String)> =
        sqlx::query_as("SELECT sequence, reason FROM turnlog.parked ORDER BY sequence")
            .fetch_all(&mut tables)
            .await
            .unwrap();
    let sequences: Vec<_> = parked.iter().map(|(sequence, _)| *sequence as u64).collect();
    assert_eq!(sequences, (first.sequence() + 1..last.sequence()).collect::<Vec<_>>(), "{parked:?}");
    assert!(parked.iter().all(|(_, reason)| !reason.is_empty()));
    let contents: Vec<String> = sqlx::query_scalar("SELECT content FROM paco_conversations ORDER BY id")
        .fetch_all(&mut tables)
        .await
        .unwrap();
    assert_eq!(contents, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_made_anew_is_refused_by_a_projector_that_knows_the_old_one() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let reply = caller.post("/api/v1/chat/message", &message("RID001", "Hello", json!({}))).await;
    system.projected(reply.sequence()).await;
    system.stop().await.unwrap();
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let context = async_nats::jetstream::new(log.client().clone());
    context.delete_stream("EVENTS").await.unwrap();
    let fault = parts.only(false, true, false).start().await.ended().await.unwrap_err().to_string();
    assert!(fault.contains("projector ended") && fault.contains("rebuilt"), "{fault}");
}

#[tokio::test]
async fn a_clean_stop_answers_what_is_under_way() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let requests = (0..50).map(|n| {
        let (caller, body) = (caller.clone(), message("RID001", "x", ids("conv_1", &format!("m{n}"))));
        tokio::spawn(async move {
            let request = caller.request(reqwest::Method::POST, "/api/v1/chat/message").json(&body);
            caller.try_send(request).await
        })
    });
    let requests: Vec<_> = requests.collect();
    let parts = system.parts.clone();
    let log = Log::open(&parts.nats, "test").await.unwrap();
    // The enrolment is the first event: from the second on, answers are under way.
    let stored = || async { log.extent().await.ok().map(|extent| extent.last) };
    eventually("the first message is stored", || async { stored().await.filter(|last| *last > 1) }).await;
    system.stop().await.unwrap();
    let mut acknowledged = 0;
    for request in requests {
        // A connection that was not accepted any more is an error of the connection, never a lost acknowledgement.
        if let Ok(reply) = request.await.unwrap() {
            assert_eq!(reply.status, 200, "{}", reply.text);
            acknowledged += 1;
        }
    }
    // Each has an id of its own, so what is stored and what was answered are the same, and neither is nothing.
    assert!(acknowledged > 0);
    assert_eq!(stored().await, Some(acknowledged + 1));
}
