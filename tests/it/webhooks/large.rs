//! Transcripts that are longer than anybody talks.

use serde_json::json;
use shared::events::Event;
use shared::log::Log;
use tests::{Binary, Parts, System, eventually};

use super::{entries, signed, taken, transcript};

const TURNS: usize = 10_000;

/// Turn by turn another text, with one that is said again and again.
fn said(turn: usize) -> String {
    if turn.is_multiple_of(7) { "Yes.".into() } else { format!("This is turn {turn}.") }
}

fn body(conversation: &str) -> String {
    let texts: Vec<_> = (0..TURNS).map(said).collect();
    let roles = ["agent", "user"].into_iter().cycle();
    let turns: Vec<_> = roles.zip(texts.iter().map(String::as_str)).collect();
    transcript(conversation, 1_788_170_431, &turns).to_string()
}

/// Every message of the snapshot is the turn at its place, and one report says so.
async fn assert_complete(system: &System, sequence: u64) {
    let path = format!("/api/conversation/conv_long?after={sequence}");
    system.projected(sequence).await;
    let reply = system.service().get(&path).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let messages = reply.body["conversation"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), TURNS);
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message["content"], said(n).as_str());
    }
    let counted =
        system.rows("SELECT count(*) AS turns, count(DISTINCT ordinal) AS messages FROM turnlog.turns").await;
    assert_eq!(counted, [json!({"turns": TURNS, "messages": TURNS})]);
    let reports = system.rows("SELECT sequence FROM turnlog.reports").await;
    assert_eq!(reports, [json!({"sequence": sequence})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_turns_are_ten_thousand_messages_and_one_report() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let sending = tokio::spawn({
        let client = system.client.clone();
        async move { taken(&client, body("conv_long")).await }
    });
    // Nobody else waits for it.
    let mut slowest = std::time::Duration::ZERO;
    while !sending.is_finished() {
        let started = std::time::Instant::now();
        let message = crate::message("RID001", "Hello", json!({}));
        assert_eq!(caller.post("/api/v1/chat/message", &message).await.status, 200);
        slowest = slowest.max(started.elapsed());
    }
    let reply = sending.await.unwrap();
    assert!(slowest < std::time::Duration::from_secs(3), "a message waited {slowest:?}");
    assert_complete(&system, reply.sequence()).await;
    let again = taken(&system.client, body("conv_long")).await;
    assert_eq!((again.sequence(), again.body), (reply.sequence(), reply.body));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_killed_in_the_middle_is_completed_when_it_comes_again() {
    let parts = Parts::fresh().await;
    let mut ingest = Binary::serve("ingest", &parts).await;
    let request = signed(&ingest.client, body("conv_long").into_bytes());
    let client = ingest.client.clone();
    let sending = tokio::spawn(async move { client.try_send(request).await });
    let log = Log::open(&parts.nats, "test").await.unwrap();
    eventually("part of it is stored", || async {
        log.extent().await.ok().filter(|extent| extent.last >= 900).map(drop)
    })
    .await;
    ingest.kill();
    let killed = sending.await.unwrap();
    assert!(killed.is_err(), "it was done before it was killed: {killed:?}");
    let stored = log.extent().await.unwrap().last as usize;
    assert!(stored < TURNS, "{stored} events are stored");
    ingest.restart().await;
    let reply = taken(&ingest.client, body("conv_long")).await;
    let system = parts.only(false, true, true).start().await;
    assert_complete(&system, reply.sequence()).await;
    let log = entries(&parts).await;
    let recorded = log.iter().filter(|entry| matches!(entry.decode(), Ok(Event::MessageRecorded(_)))).count();
    assert_eq!((recorded, log.len()), (TURNS, TURNS + 1));
}
