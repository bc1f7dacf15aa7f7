//! The log followed from a sequence: everything once, in order, by one consumer however much comes.

use async_nats::jetstream;
use futures::{FutureExt, StreamExt, stream};
use shared::config::NatsSettings;
use shared::envelope::Entry;
use shared::log::Log;
use tests::{Client, Nats, account, eventually, free_port};

/// Entries that many requests bring.
const MANY: u64 = 12_000;
/// Entries of 1 MiB, more than a request may bring.
const LARGE: u64 = 40;

/// A log with entries that say nothing: so many small ones, then so many large ones.
async fn filled(small: u64, large: u64) -> Log {
    filled_on(&account().await, small, large).await
}

async fn filled_on(settings: &NatsSettings, small: u64, large: u64) -> Log {
    let log = Log::open(settings, "test").await.unwrap();
    let context = jetstream::new(log.client().clone());
    let bodies = (0..small).map(|_| vec![]).chain((0..large).map(|_| vec![b' '; 1024 * 1024]));
    let stored = stream::iter(bodies.enumerate()).then(async |(number, body)| {
        context.publish(format!("evt.test.{number}"), body.into()).await.unwrap()
    });
    // Not all at once: the client has so many under way, and waits for the first to be asked for.
    stored.for_each_concurrent(100, async |ack| drop(ack.await.unwrap())).await;
    log
}

fn sequences(entries: Vec<Entry>) -> Vec<u64> {
    entries.into_iter().map(|entry| entry.sequence).collect()
}

#[tokio::test]
async fn a_long_log_is_read_by_one_consumer() {
    let log = filled(MANY, LARGE).await;
    let made = "$JS.EVENT.ADVISORY.CONSUMER.CREATED.EVENTS.>";
    let mut consumers = log.client().subscribe(made).await.unwrap();
    let all: Vec<u64> = (1..=MANY + LARGE).collect();
    let mut tail = log.tail("test", 0, None);
    let mut found = Vec::new();
    while found.len() < all.len() {
        found.extend(sequences(tail.next_batch(500).await.unwrap()));
    }
    assert!(found == all, "not everything once and in order");
    let mut ahead = log.ahead("test", 0, None).await.unwrap();
    assert_eq!((ahead.position(), ahead.pending()), (0, MANY + LARGE));
    found.clear();
    while ahead.pending() > 0 {
        found.extend(sequences(ahead.next_batch().await.unwrap()));
    }
    assert!(found == all, "not everything once and in order");
    for reader in ["the tail", "who reads ahead"] {
        assert!(consumers.next().await.is_some(), "{reader} made a consumer");
    }
    log.extent().await.unwrap();
    let more = std::iter::from_fn(|| consumers.next().now_or_never().flatten());
    assert_eq!(more.count(), 0, "consumers that were made besides");
}

#[tokio::test]
async fn who_reads_ahead_meets_what_comes_later_and_stops_when_dropped() {
    let log = filled(3, 0).await;
    let mut ahead = log.ahead("test", 1, Some("evt.test.>")).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 2 {
        read.extend(sequences(ahead.next_batch().await.unwrap()));
    }
    assert_eq!(read, [2, 3]);
    let context = jetstream::new(log.client().clone());
    context.publish("evt.other", "".into()).await.unwrap().await.unwrap();
    context.publish("evt.test.later", "".into()).await.unwrap().await.unwrap();
    let later = ahead.next_batch().await.unwrap();
    assert_eq!(sequences(later), [5]);
    drop(ahead);
    eventually("nobody reads the log any more", async || {
        let stream = context.get_stream("EVENTS").await.unwrap();
        let names: Vec<_> = stream.consumer_names().collect().await;
        names.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_reads_ahead_has_a_line_of_its_own_and_misses_nothing_when_the_server_dies() {
    let monitor = free_port();
    let mut nats = Nats::start_with(&format!("http: 127.0.0.1:{monitor}")).await;
    // More than is under way to a reader who does not take it.
    let log = filled_on(&nats.settings(), 100, LARGE).await;
    let mut ahead = log.ahead("who", 0, None).await.unwrap();
    let mut found: Vec<_> = sequences(ahead.next_batch().await.unwrap());
    let seen = Client::new(&format!("http://127.0.0.1:{monitor}")).get("/connz").await.body;
    let names: Vec<_> = seen["connections"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert!(names.iter().any(|name| name.as_str().unwrap().starts_with("turnlog who-")), "{names:?}");
    nats.kill();
    nats.restart().await;
    let all: Vec<u64> = (1..=100 + LARGE).collect();
    while found.len() < all.len() {
        found.extend(sequences(ahead.next_batch().await.unwrap()));
    }
    assert_eq!(found, all);
}
