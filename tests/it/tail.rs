//! The log followed from a sequence: everything once, in order, by one consumer however much comes.

use async_nats::jetstream;
use futures::{FutureExt, StreamExt, stream};
use shared::log::Log;
use tests::account;

/// Entries that many requests bring.
const MANY: u64 = 12_000;
/// Entries of 1 MiB, more than a request may bring.
const LARGE: u64 = 40;

/// A log with entries that say nothing: so many small ones, then so many large ones.
async fn filled(small: u64, large: u64) -> Log {
    let log = Log::open(&account().await, "test").await.unwrap();
    let context = jetstream::new(log.client().clone());
    let bodies = (0..small).map(|_| vec![]).chain((0..large).map(|_| vec![b' '; 1024 * 1024]));
    let stored = stream::iter(bodies.enumerate()).then(async |(number, body)| {
        context.publish(format!("evt.test.{number}"), body.into()).await.unwrap()
    });
    // Not all at once: the client has so many under way, and waits for the first to be asked for.
    stored.for_each_concurrent(100, async |ack| drop(ack.await.unwrap())).await;
    log
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
        found.extend(tail.next_batch(500).await.unwrap().iter().map(|entry| entry.sequence));
    }
    assert!(found == all, "not everything once and in order");
    let mut ahead = log.ahead("test", 0, None).await.unwrap();
    assert_eq!((ahead.position(), ahead.pending()), (0, MANY + LARGE));
    found.clear();
    while ahead.pending() > 0 {
        found.extend(ahead.next_batch().await.unwrap().iter().map(|entry| entry.sequence));
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
        read.extend(ahead.next_batch().await.unwrap().iter().map(|entry| entry.sequence));
    }
    assert_eq!(read, [2, 3]);
    let context = jetstream::new(log.client().clone());
    context.publish("evt.other", "".into()).await.unwrap().await.unwrap();
    context.publish("evt.test.later", "".into()).await.unwrap().await.unwrap();
    let later = ahead.next_batch().await.unwrap();
    assert_eq!(later.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [5]);
    drop(ahead);
    tests::eventually("nobody reads the log any more", async || {
        let stream = context.get_stream("EVENTS").await.unwrap();
        let names: Vec<_> = stream.consumer_names().collect().await;
        names.is_empty().then_some(())
    })
    .await;
}
