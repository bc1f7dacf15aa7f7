//! The feed: whole at the start, exact after a reconnect, honest about what it cannot continue.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Client, Frame, Parts, Postgres, System, account, eventually};

use crate::{ids, message};

async fn say(caller: &Client, conversation: &str, id: &str, content: &str) -> u64 {
    let reply = caller.post("/api/v1/chat/message", &message("RID001", content, ids(conversation, id))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

/// The ids of the messages that a frame shows.
fn shown(frame: &Frame) -> Vec<String> {
    frame.data["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["message_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_first_frame_has_the_shape_of_the_seed_and_proxies_are_kept_from_buffering() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m1", "Hello").await;
    let mut feed = caller.feed("conv_1", None).await;
    let initial = feed.expect("initial").await;
    assert_eq!(feed.retry, Some(2000));
    assert!(feed.headers["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    assert_eq!(feed.headers["x-accel-buffering"], "no");
    assert!(feed.headers["cache-control"].to_str().unwrap().contains("no-transform"));
    let keys = [
        "conversation_id",
        "call_id",
        "worker_id",
        "mobile_no",
        "urgency",
        "status",
        "medium",
        "timestamp",
        "messages",
        "total_messages",
    ];
    for key in keys {
        assert!(initial.data.get(key).is_some(), "{key} is missing: {}", initial.data);
    }
    for key in ["message_id", "role", "content", "timestamp", "sources", "sequence"] {
        assert!(initial.data["messages"][0].get(key).is_some(), "{key} is missing");
    }
    assert_eq!(initial.data["status"], "ACTIVE");
    let snapshot = caller.get("/api/conversation/conv_1").await.body;
    assert_eq!(snapshot["success"], true);
    assert_eq!(snapshot["conversation"]["messages"], initial.data["messages"]);
    assert_eq!(snapshot["conversation"]["admin_id"], Value::Null);
}

#[tokio::test]
async fn an_idle_feed_says_that_it_is_there() {
    let parts = Parts { heartbeat: Duration::from_millis(200), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m1", "Hello").await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    for _ in 0..3 {
        let frame = feed.any().await.unwrap();
        assert_eq!((frame.event.as_str(), frame.id), ("heartbeat", None));
        assert_eq!(frame.data["status"], "connected");
        assert!(frame.data["timestamp"].is_string());
    }
}

#[tokio::test]
async fn a_reconnect_brings_exactly_what_came_after_the_last_id() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m1", "one").await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let id = feed.last_id.clone();
    drop(feed);
    say(&caller, "conv_1", "m2", "two").await;
    say(&caller, "conv_1", "m1", "one, corrected").await;
    say(&caller, "conv_1", "m3", "three").await;
    let mut feed = caller.feed("conv_1", id.as_deref()).await;
    let (mut new, mut corrected) = (Vec::new(), Vec::new());
    while new.len() + corrected.len() < 3 {
        let frame = feed.next().await.unwrap();
        match frame.event.as_str() {
            "new_messages" => new.extend(shown(&frame)),
            "message_corrected" => corrected.push(frame.data["message"]["content"].clone()),
            other => panic!("{other}"),
        }
    }
    assert_eq!((new, corrected), (vec!["m2".into(), "m3".into()], vec![json!("one, corrected")]));
    let id = feed.last_id.clone();
    drop(feed);
    let mut feed = caller.feed("conv_1", id.as_deref()).await;
    assert!(feed.is_quiet(Duration::from_millis(300)).await);
    say(&caller, "conv_1", "m4", "four").await;
    assert_eq!(shown(&feed.expect("new_messages").await), ["m4"]);
    // A client that cannot set the header names the id in the query.
    let path = format!("/api/conversation/conv_1/stream?last_event_id={}", id.unwrap());
    let response = caller.request(reqwest::Method::GET, &path).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn an_id_that_cannot_be_continued_gets_a_reset_and_everything_afresh() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let last = say(&caller, "conv_1", "m1", "one").await;
    let mut feed = caller.feed("conv_1", None).await;
    let good = feed.expect("initial").await.id.unwrap();
    let (epoch, _) = good.rsplit_once('-').unwrap();
    let long = "9".repeat(400);
    let bad = [
        "nonsense".to_owned(),
        "0".into(),
        "-".into(),
        format!("{epoch}-{}", last + 1_000_000),
        format!("{epoch}-{long}"),
        format!("another-{last}"),
        format!("{epoch}-x"),
        "🦀".into(),
    ];
    for id in bad {
        let request = caller.request(
            reqwest::Method::GET,
            &format!("/api/conversation/conv_1/stream?last_event_id={}", tests::encode(&id)),
        );
        let mut feed = tests::Feed::of(request).await;
        feed.expect("reset").await;
        assert_eq!(shown(&feed.expect("initial").await), ["m1"], "{id}");
        say(&caller, "conv_1", "m1", "one").await;
    }
}

/// Reads a feed until it was given everything, cutting it `cuts` times on the way.
async fn read_all(caller: Client, total: usize, cuts: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut id: Option<String> = None;
    let mut cut = 0;
    loop {
        let mut feed = caller.feed("conv_1", id.as_deref()).await;
        let until = if cut < cuts { total * (cut + 1) / (cuts + 1) } else { total };
        cut += 1;
        while seen.len() < until {
            let frame = feed.next().await.expect("the feed ended");
            match frame.event.as_str() {
                "initial" if id.is_none() => seen.extend(shown(&frame)),
                "new_messages" => {
                    seen.extend(shown(&frame));
                    assert_eq!(frame.data["total_messages"], seen.len());
                }
                other => panic!("{other} after {} messages", seen.len()),
            }
            id.clone_from(&feed.last_id);
        }
        if seen.len() >= total {
            assert!(feed.is_quiet(Duration::from_millis(200)).await);
            return seen;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_reconnects_fifty_times_under_load_sees_every_message_once() {
    const MESSAGES: usize = 2_000;
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let wanted: Vec<String> = (0..MESSAGES).map(|n| format!("m{n}")).collect();
    say(&caller, "conv_1", "m0", "first").await;
    let readers: Vec<_> =
        [50, 50, 0].map(|cuts| tokio::spawn(read_all(caller.clone(), MESSAGES, cuts))).into();
    // In order, so that the wanted order is known; eight at once per step would shuffle it.
    for chunk in wanted[1..].chunks(20) {
        let messages: Vec<_> = chunk.iter().map(|id| message("RID001", "x", ids("conv_1", id))).collect();
        let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for seen in join_all(readers).await {
        assert_eq!(seen.unwrap(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_moves_between_streamers_without_gap_or_double() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let other = parts.only(false, false, true).start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m0", "first").await;
    let mut feed = caller.feed("conv_1", None).await;
    let mut seen = shown(&feed.expect("initial").await);
    for n in 1..40 {
        let id = format!("m{n}");
        say(&caller, "conv_1", &id, "x").await;
        seen.extend(shown(&feed.expect("new_messages").await));
        let next = if n % 2 == 0 { &system } else { &other };
        feed = next.client.with(caller.token()).feed("conv_1", feed.last_id.clone().as_deref()).await;
    }
    assert_eq!(seen, (0..40).map(|n| format!("m{n}")).collect::<Vec<_>>());
    assert!(feed.is_quiet(Duration::from_millis(300)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_cut_off_and_nobody_else_notices() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m0", "first").await;
    let mut slow = caller.feed("conv_1", None).await;
    slow.expect("initial").await;
    let mut quick = caller.feed("conv_1", None).await;
    quick.expect("initial").await;
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 6_000 {
            seen += shown(&quick.expect("new_messages").await).len();
        }
    });
    // 6,000 messages of 4 kB are more than sockets and queues hold for a reader that does not read.
    let content = "x".repeat(4_000);
    for batch in 0..60 {
        let messages: Vec<_> =
            (0..100).map(|n| message("RID001", &content, ids("conv_1", &format!("b{batch}_{n}")))).collect();
        let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    reader.await.unwrap();
    let mut seen = 0;
    let mut last = None;
    while let Some(frame) = slow.next().await {
        if frame.event == "new_messages" {
            seen += shown(&frame).len();
        }
        last = Some(frame);
    }
    assert_eq!(last.unwrap().event, "error");
    assert!(seen < 6_000);
    // And it goes on where it was.
    let mut again = caller.feed("conv_1", slow.last_id.as_deref()).await;
    while seen < 6_000 {
        seen += shown(&again.expect("new_messages").await).len();
    }
    assert_eq!(seen, 6_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_down_open_feeds_go_on_and_new_ones_get_503() {
    let mut postgres = Postgres::start().await;
    let parts = Parts::on(account().await, postgres.database_url());
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m1", "one").await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    postgres.kill();
    say(&caller, "conv_1", "m2", "two").await;
    assert_eq!(shown(&feed.expect("new_messages").await), ["m2"]);
    let refused = caller.try_feed("conv_1", None).await.unwrap_err();
    refused.assert_problem(503);
    assert!(refused.headers.contains_key("retry-after"));
    postgres.restart().await;
    let again = eventually("feeds open again", || async { caller.try_feed("conv_1", None).await.ok() }).await;
    let mut again = again;
    assert_eq!(shown(&again.expect("initial").await), ["m1", "m2"]);
    eventually("healthy again", || async {
        (system.client.get("/health/ready").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_feeds() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    say(&caller, "conv_1", "m1", "one").await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let stopping = std::time::Instant::now();
    system.stop().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5), "took {:?}", stopping.elapsed());
    assert_eq!(feed.next().await, None);
}
