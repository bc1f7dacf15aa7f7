//! Feeds on a bare socket: what HTTP promised still holds, and whoever leaves, floods or sleeps costs nobody else.

use std::time::Duration;

use serde_json::json;
use shared::auth::{Tokens, Who};
use streamer::FeedCaps;
use tests::{Binary, Client, Parts, Raw, System, eventually};

use crate::{ids, message};

async fn say(caller: &Client, id: &str, content: &str) {
    let reply = caller.post("/api/v1/chat/message", &message("RID001", content, ids("conv_1", id))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// A caller whose conversation has one message.
async fn caller(system: &System) -> Client {
    let caller = system.client.login("RID001").await;
    say(&caller, "m0", "first").await;
    caller
}

/// A feed that has said all there was.
async fn opened(system: &System, caller: &Client, version: &str) -> Raw {
    let mut feed = Raw::feed(system, caller, version, "conv_1").await;
    assert!(feed.head.contains("connection: close"), "{}", feed.head);
    feed.expect("initial").await;
    feed
}

fn caps(per_token: u32, per_key: u32) -> FeedCaps {
    let [per_token, per_key] = [per_token, per_key].map(tests::per_minute);
    FeedCaps { per_token, per_key, ..FeedCaps::default() }
}

#[tokio::test]
async fn chunks_stay_whole_over_many_frames_and_the_last_one_is_empty() {
    let parts = Parts { heartbeat: Duration::from_millis(50), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = caller(&system).await;
    let mut feed = opened(&system, &caller, "HTTP/1.1").await;
    assert!(feed.head.contains("transfer-encoding: chunked"), "{}", feed.head);
    for n in 1..100 {
        let id = format!("m{n}");
        say(&caller, &id, &"x".repeat(n * 20)).await;
        assert!(feed.expect("new_messages").await.contains(&format!("\"{id}\"")));
    }
    say(&caller, "m1", "corrected").await;
    assert!(feed.expect("message_corrected").await.contains("\"corrected\""));
    feed.expect("heartbeat").await;
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    assert!(feed.expect("error").await.contains("revoked"));
    assert_eq!(feed.next().await, None);
    assert!(feed.ended, "without its last chunk a body is cut off");
    assert!(feed.is_closed().await);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_body_that_ends_with_the_connection() {
    let system = System::start().await;
    let caller = caller(&system).await;
    let mut feed = opened(&system, &caller, "HTTP/1.0").await;
    assert!(!feed.head.contains("transfer-encoding"), "{}", feed.head);
    for n in 1..20 {
        say(&caller, &format!("m{n}"), "hello").await;
        assert!(feed.next().await.unwrap().starts_with("event: new_messages\n"));
    }
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    assert!(feed.next().await.unwrap().starts_with("event: error\n"));
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn what_a_peer_sends_on_is_not_heard_and_one_that_does_not_stop_is_closed() {
    let parts = Parts { feed_caps: caps(1, 1), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = caller(&system).await;
    let mut feed = opened(&system, &caller, "HTTP/1.1").await;
    feed.send(b"GET /health/live HTTP/1.1\r\nHost: turnlog\r\n\r\n").await.unwrap();
    for n in 1..10 {
        feed.send(b"\0\xffgarbage\r\n\r\n").await.unwrap();
        say(&caller, &format!("m{n}"), "hello").await;
        assert!(feed.next().await.unwrap().starts_with("event: new_messages\n"));
    }
    while feed.send(&[b'x'; 16 * 1024]).await.is_ok() {}
    eventually("its seat is free", || async { caller.try_feed("conv_1", None).await.ok() }).await;
}

#[tokio::test]
async fn a_peer_that_leaves_in_whatever_way_gives_its_place_back() {
    let parts = Parts { feed_caps: caps(1, 1), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = caller(&system).await;
    let feed = opened(&system, &caller, "HTTP/1.1").await;
    let refused = caller.try_feed("conv_1", None).await.unwrap_err();
    refused.assert_problem(429);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(refused.text.contains("At most 1 feeds may be open with one token"), "{}", refused.text);
    drop(feed);
    let free = || async { caller.try_feed("conv_1", None).await.ok() };
    let feed = eventually("the place of one that closed", free).await;
    drop(feed);
    eventually("the place of one that a library closed", free).await;
    let mut feed = eventually("a place", || async {
        let feed = Raw::feed(&system, &caller, "HTTP/1.1", "conv_1").await;
        feed.head.starts_with("http/1.1 200 ").then_some(feed)
    })
    .await;
    feed.expect("initial").await;
    feed.shut_down().await;
    eventually("the place of one that closed its half", free).await;
}

#[tokio::test]
async fn feeds_of_a_service_are_counted_by_its_key() {
    let parts =
        Parts { feed_caps: caps(10, 1), more_keys: vec!["another key of a service"], ..Parts::fresh().await };
    let system = parts.start().await;
    caller(&system).await;
    let _open = system.service().feed("conv_1", None).await;
    let refused = system.service().try_feed("conv_1", None).await.unwrap_err();
    refused.assert_problem(429);
    assert!(refused.text.contains("with one API key"), "{}", refused.text);
    system.client.with("another key of a service").feed("conv_1", None).await.expect("initial").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_frames_that_a_socket_takes_in_parts_arrive_whole() {
    let system = System::start().await;
    let caller = caller(&system).await;
    let mut feed = opened(&system, &caller, "HTTP/1.1").await;
    let mut other = caller.feed("conv_1", None).await;
    other.expect("initial").await;
    // More than a socket takes at once, less than may wait.
    for n in 1..=12 {
        say(&caller, &format!("m{n}"), &n.to_string().repeat(60_000 / n.to_string().len())).await;
        other.expect("new_messages").await;
    }
    for n in 1..=12 {
        let frame = feed.expect("new_messages").await;
        assert!(frame.contains(&format!("\"m{n}\"")) && frame.len() > 60_000);
    }
    say(&caller, "last", "hello").await;
    assert!(feed.expect("new_messages").await.contains("\"last\""));
}

/// The opening has to be on the wire before the socket is taken out of the server that writes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_larger_than_sockets_hold_arrives_whole_however_late_it_is_read() {
    let system = System::start().await;
    let caller = caller(&system).await;
    let content = "x".repeat(60_000);
    for batch in 0..6 {
        let id = |n: u32| ids("conv_1", &format!("b{batch}_{n}"));
        let messages: Vec<_> = (0..20).map(|n| message("RID001", &content, id(n))).collect();
        let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let mut late = Raw::feed(&system, &caller, "HTTP/1.1", "conv_1").await;
    let mut other = caller.feed("conv_1", None).await;
    other.expect("initial").await;
    say(&caller, "after", "hello").await;
    other.expect("new_messages").await;
    assert!(late.expect("initial").await.len() > 120 * content.len());
    assert!(late.next().await.unwrap().contains("\"after\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_read_is_told_so_and_the_others_see_everything() {
    let system = System::start().await;
    let caller = caller(&system).await;
    let mut slow = opened(&system, &caller, "HTTP/1.1").await;
    let mut quick = opened(&system, &caller, "HTTP/1.1").await;
    let content = "x".repeat(60_000);
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 200 {
            let frame = quick.expect("new_messages").await;
            for told in frame.split("\"message_id\":\"m").skip(1) {
                seen += 1;
                assert!(told.starts_with(&format!("{seen}\"")), "{told:.20} is not number {seen}");
            }
        }
    });
    for n in 1..=200 {
        say(&caller, &format!("m{n}"), &content).await;
    }
    reader.await.unwrap();
    let mut last = String::new();
    while let Some(frame) = slow.next().await {
        last = frame;
    }
    assert!(last.starts_with("event: error\n") && last.contains("Too slow"), "{last:.60}");
    assert!(slow.ended && slow.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_ends_without_an_error_and_the_client_goes_on_without_gap_or_double() {
    let parts = Parts { feed_max_age: Duration::from_secs(1), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = caller(&system).await;
    let (writer, base) = (caller.clone(), system.client.clone());
    let (stop, mut stopped) = tokio::sync::watch::channel(());
    let writing = tokio::spawn(async move {
        let mut said = 0;
        while stopped.has_changed().is_ok_and(|changed| !changed) {
            said += 1;
            say(&writer, &format!("m{said}"), "hello").await;
        }
        stopped.mark_unchanged();
        said
    });
    let (mut seen, mut leases, mut id) = (Vec::new(), 0, None::<String>);
    let read = |frame: &tests::Frame, seen: &mut Vec<String>| {
        assert_ne!(frame.event, "error", "{}", frame.data);
        let messages = frame.data["messages"].as_array().unwrap();
        seen.extend(messages.iter().map(|message| message["message_id"].as_str().unwrap().to_owned()));
    };
    while leases < 3 {
        let mut feed = base.with(caller.token()).feed("conv_1", id.as_deref()).await;
        while let Some(frame) = feed.next().await {
            read(&frame, &mut seen);
        }
        leases += 1;
        id.clone_from(&feed.last_id);
    }
    stop.send(()).unwrap();
    let said = writing.await.unwrap();
    while seen.len() <= said {
        let mut feed = caller.feed("conv_1", id.as_deref()).await;
        read(&feed.next().await.unwrap(), &mut seen);
        id.clone_from(&feed.last_id);
    }
    assert_eq!(seen, (0..=said).map(|n| format!("m{n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_is_warned_before_its_token_expires_and_then_told() {
    let system = System::start().await;
    caller(&system).await;
    let tokens = Tokens::new(&system.parts.auth());
    let who = Who::Participant("RID001".to_owned().try_into().unwrap());
    let token = tokens.issue(&who, Duration::from_secs(4), chrono::Utc::now()).unwrap();
    let expires_at = tokens.check(&token).unwrap().expires_at;
    let mut feed = system.client.with(&token).feed("conv_1", None).await;
    feed.expect("initial").await;
    let warning = feed.expect("expiring").await;
    assert_eq!((warning.id, &warning.data["conversation_id"]), (None, &json!("conv_1")));
    let said = warning.data["expires_at"].as_str().unwrap();
    assert_eq!(chrono::DateTime::parse_from_rfc3339(said).unwrap(), expires_at);
    assert!(feed.expect("error").await.data["error"].as_str().unwrap().contains("expired"));
    assert_eq!(feed.next().await, None);
    assert!(chrono::Utc::now() >= expires_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_feed_as_http_says() {
    let parts = Parts { feed_caps: caps(300, 1), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = caller(&system).await;
    let mut feeds = Vec::new();
    for _ in 0..120 {
        feeds.push(opened(&system, &caller, "HTTP/1.1").await);
    }
    let reading = feeds.into_iter().map(|mut feed| {
        tokio::spawn(async move {
            assert_eq!(feed.next().await, None);
            assert!(feed.ended && feed.is_closed().await);
        })
    });
    let reading: Vec<_> = reading.collect();
    system.stop().await.unwrap();
    for reader in reading {
        reader.await.unwrap();
    }
}

/// Alone in its process, so that its metrics are of these feeds.
#[tokio::test]
async fn an_idle_feed_stands_on_its_bare_socket_and_is_counted_until_it_ends() {
    let parts = Parts::fresh().await;
    let binary = Binary::serve("all", &parts).await;
    let caller = binary.client.login("RID001").await;
    say(&caller, "m0", "first").await;
    let metrics = async |wanted: &'static [&'static str]| {
        eventually("the metrics say so", || async {
            let page = binary.client.get("/metrics").await.text;
            wanted.iter().all(|line| page.lines().any(|found| found == *line)).then_some(())
        })
        .await;
    };
    let mut feeds = [caller.feed("conv_1", None).await, caller.feed("conv_1", None).await];
    for feed in &mut feeds {
        feed.expect("initial").await;
    }
    metrics(&["turnlog_feeds_open 2", "turnlog_feeds_standing 2"]).await;
    let [mut revoked, left] = feeds;
    drop(left);
    metrics(&[
        "turnlog_feeds_open 1",
        "turnlog_feeds_standing 1",
        "turnlog_feeds_ended_total{reason=\"left\"} 1",
    ])
    .await;
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    revoked.expect("error").await;
    metrics(&[
        "turnlog_feeds_open 0",
        "turnlog_feeds_standing 0",
        "turnlog_feeds_ended_total{reason=\"revoked\"} 1",
    ])
    .await;
}
