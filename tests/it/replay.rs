//! Replays: a past conversation over the protocol of feeds, paced by its own times.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use shared::audit::What;
use shared::events::{Correction, Event, Message};
use shared::ids::Timestamp;
use shared::log::Log;
use tests::{Client, Feed, Frame, Parts, Socket, System, eventually};

use crate::audit::looks;
use crate::calls::{CONVERSATION, admin, of, ok, open_call, turn};
use crate::continuity::{OWNER, Talk};
use crate::publish;

const TALK: Talk<'static> = Talk { owner: OWNER, id: "talk", dream: "d1", vendor: "conv_v" };

async fn replay(caller: &Client, id: &str, query: &str, last_id: Option<&str>) -> Feed {
    let request = caller.request(Method::GET, &format!("/api/conversation/{id}/stream?{query}"));
    Feed::of(match last_id {
        Some(last_id) => request.header("Last-Event-ID", last_id),
        None => request,
    })
    .await
}

/// A message that was said so many seconds into the conversation.
fn said(ordinal: u64, second: i64) -> Event {
    let Event::MessageRecorded(message) = TALK.said(0, ordinal, &format!("number {ordinal}")) else {
        panic!("not a message")
    };
    let at = chrono::DateTime::from_timestamp(1_736_337_600 + second, 0).unwrap();
    Event::MessageRecorded(Message { timestamp: Timestamp::from_parts(at, 0), ..message })
}

fn corrected(first_sequence: u64, ordinal: u64, second: i64) -> Event {
    let Event::MessageRecorded(message) = said(ordinal, second) else { panic!("not a message") };
    let message = Message { content: format!("corrected {ordinal}"), ..message };
    Event::MessageCorrected(Correction { first_sequence, message, sent: None })
}

/// All frames to the end.
async fn all(mut feed: Feed) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = feed.next().await {
        frames.push(frame);
    }
    frames
}

/// What a client has that takes frames in: the conversation's messages, as `(sequence, content)`.
fn held(frames: &[Frame]) -> Vec<(u64, String)> {
    let mut held: Vec<(u64, String)> = Vec::new();
    let one = |message: &Value| {
        (message["sequence"].as_u64().unwrap(), message["content"].as_str().unwrap().to_owned())
    };
    for Frame { event, data, .. } in frames {
        match event.as_str() {
            "initial" => held = data["messages"].as_array().unwrap().iter().map(one).collect(),
            "new_messages" => held.extend(data["messages"].as_array().unwrap().iter().map(one)),
            "message_corrected" => {
                let (sequence, content) = one(&data["message"]);
                held.iter_mut().find(|(of, _)| *of == sequence).unwrap().1 = content;
            }
            _ => {}
        }
    }
    held
}

fn names(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

/// A conversation of five messages, one of them corrected; answers where each event stands.
async fn told(log: &Log) -> Vec<u64> {
    let mut at = Vec::new();
    for (ordinal, second) in [(1, 0), (2, 40), (3, 20), (4, 100)] {
        at.push(publish(log, &said(ordinal, second)).await);
    }
    at.push(publish(log, &corrected(at[0], 1, 0)).await);
    at.push(publish(log, &said(5, 100_000)).await);
    at
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_paced_by_the_times_of_its_messages_and_ends_where_the_log_does() {
    let system = System::start().await;
    let (service, log) = (system.service(), Log::open(&system.parts.nats, "test").await.unwrap());
    let at = told(&log).await;
    let query = format!("from=0&speed=40&max_gap=1.5&after={}", at[5]);
    // Before it is asked for: nothing comes earlier than it may, however late this looks.
    let started = Instant::now();
    let mut feed = replay(&service, "talk", &query, None).await;
    let (mut frames, mut came) = (Vec::new(), Vec::new());
    while let Some(frame) = feed.next().await {
        frames.push(frame);
        came.push(started.elapsed());
    }
    let wanted = ["initial", "new_messages", "new_messages", "message_corrected", "new_messages", "replayed"];
    assert_eq!(names(&frames), wanted);
    assert_eq!(frames[0].data["total_messages"], 1);
    // What was said before the one before it comes at once with that; the last one no later than was asked.
    assert_eq!(frames[1].data["messages"].as_array().unwrap().len(), 2);
    let least = [0.0, 1.0, 2.5, 2.5, 4.0, 4.0].map(Duration::from_secs_f64);
    assert!(came.iter().zip(least).all(|(came, least)| *came >= least), "{came:?}");
    let now = service.get("/api/conversation/talk").await.body;
    let wanted: Vec<_> = now["conversation"]["messages"].as_array().unwrap().iter().collect();
    let mut shown = held(&frames);
    shown.sort_by_key(|(sequence, _)| *sequence);
    assert_eq!(shown.len(), wanted.len());
    for ((sequence, content), message) in shown.iter().zip(wanted) {
        assert_eq!(
            (json!(sequence), json!(content)),
            (message["sequence"].clone(), message["content"].clone())
        );
    }
    // A live feed goes on with its last id.
    let last_id = frames.last().unwrap().id.clone().unwrap();
    let mut live = service.feed("talk", Some(&last_id)).await;
    let next = publish(&log, &said(6, 100_001)).await;
    assert_eq!(live.expect("new_messages").await.data["messages"][0]["sequence"], next);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_any_of_its_frames() {
    let system = System::start().await;
    let (service, log) = (system.service(), Log::open(&system.parts.nats, "test").await.unwrap());
    let at = told(&log).await;
    let query = format!("from={}&speed=1000&max_gap=0&after={}", at[1], at[5]);
    let whole = all(replay(&service, "talk", &query, None).await).await;
    assert_eq!(whole[0].data["total_messages"], 2, "as it stood then");
    for seen in 1..whole.len() {
        let id = whole[seen - 1].id.as_deref();
        let rest = all(replay(&service, "talk", &query, id).await).await;
        assert!(!names(&rest).contains(&"initial"), "{:?}", names(&rest));
        let rest: Vec<_> = whole[..seen].iter().cloned().chain(rest).collect();
        assert_eq!(held(&rest), held(&whole), "after {id:?}");
    }
    let lost = all(replay(&service, "talk", &query, Some("nonsense")).await).await;
    assert_eq!(names(&lost)[..2], ["reset", "initial"]);
    // By a time, and by the vendor's name of a session.
    publish(&log, &TALK.opened(1)).await;
    let last = publish(&log, &TALK.ended(9)).await;
    let late = publish(&log, &said(6, 0)).await;
    let query = format!("from=2020-01-01T00:00:00Z&max_gap=0&after={late}");
    let frames = all(replay(&service, "conv_v1", &query, None).await).await;
    assert_eq!(names(&frames).last(), Some(&"ended"), "{last}");
    let shown = held(&frames);
    assert_eq!(shown.len(), 6, "what came late is shown, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_closes_for_whoever_may_not_read_any_more() {
    let system = Parts { heartbeat: Duration::from_millis(200), ..Parts::fresh().await }.start().await;
    open_call(&system).await;
    let service = system.service();
    // A silence of twenty minutes.
    let mut late = turn("assistant", "Hold on.");
    late["timestamp"] = json!("2025-10-03T23:58:18+05:30");
    let last = ok(service.post(&of("/messages"), &late).await).sequence();
    let (own, other) = (admin(&system, "admin_1", "acme"), admin(&system, "admin_2", "acme"));
    let query = format!("from=0&after={last}");
    let mut lost = replay(&other, CONVERSATION, &query, None).await;
    let mut goes_on = replay(&own, CONVERSATION, &query, None).await;
    for feed in [&mut lost, &mut goes_on] {
        feed.expect("initial").await;
        feed.expect("new_messages").await;
    }
    ok(own.post(&of("/takeover"), &json!({})).await);
    let error = lost.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().starts_with("Access denied"), "{}", error.data);
    assert!(lost.any().await.is_none());
    // What happens now is not shown before its turn, but that the feed is there.
    service.post(&of("/messages"), &turn("user", "now")).await;
    assert_eq!(goes_on.any().await.unwrap().event, "heartbeat");
    own.post("/api/v1/auth/logout", &json!({})).await;
    let error = goes_on.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().contains("revoked"), "{}", error.data);
    let ends = eventually("both ends are recorded", || async {
        let looks = looks(&system.parts).await;
        let ends: Vec<_> = looks.into_iter().filter(|look| look.what == What::FeedEnded).collect();
        (ends.len() == 2).then_some(ends)
    })
    .await;
    let mut reasons: Vec<_> = ends.iter().map(|look| look.more["reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["denied", "revoked"]);
    assert!(ends.iter().all(|look| look.more["replay_from"] == 0 && look.more["speed"] == 1.0));
    admin(&system, "a", "umbrella").get(&of(&format!("/stream?{query}"))).await.assert_problem(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_replays_the_same_and_takes_nothing() {
    let system = System::start().await;
    let (own, log) = (system.client.login(OWNER).await, Log::open(&system.parts.nats, "test").await.unwrap());
    let at = told(&log).await;
    let query = format!("from={}&speed=1000&max_gap=0&after={}", at[0], at[5]);
    let stream = all(replay(&own, "talk", &query, None).await).await;
    let mut socket = Socket::open(&own, "talk", &query, &[]).await;
    for wanted in stream {
        let frame = socket.next().await.unwrap();
        assert_eq!((frame.event, frame.id, frame.data), (wanted.event, wanted.id, wanted.data));
    }
    assert_eq!(socket.is_closed().await, 1000);
    let mut socket = Socket::open(&own, "talk", &format!("from={}", at[0]), &[]).await;
    socket.expect("initial").await;
    socket.say(&json!({"type": "typing", "is_typing": true})).await;
    assert!(socket.expect("rejected").await.data["detail"].as_str().unwrap().contains("live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_holds_up_its_own_replay_alone_and_gets_all_of_it() {
    let system = System::start().await;
    let (service, log) = (system.service(), Log::open(&system.parts.nats, "test").await.unwrap());
    let mut last = 0;
    let large = "x".repeat(60_000);
    for ordinal in 1..=200 {
        let Event::MessageRecorded(message) = said(ordinal, 0) else { panic!("not a message") };
        last = publish(&log, &Event::MessageRecorded(Message { content: large.clone(), ..message })).await;
    }
    let query = format!("from=0&after={last}");
    let slow = replay(&service, "talk", &query, None).await;
    let quick = all(replay(&service, "talk", &query, None).await).await;
    assert_eq!(names(&quick).last(), Some(&"replayed"));
    // It took nothing until the other one had everything.
    let frames = all(slow).await;
    assert_eq!(held(&frames).len(), 200);
    assert_eq!(frames.last().unwrap().event, "replayed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_cannot_do_is_named() {
    let system = System::start().await;
    let (own, log) = (system.client.login(OWNER).await, Log::open(&system.parts.nats, "test").await.unwrap());
    let at = told(&log).await;
    system.projected(at[5]).await;
    for path in ["stream", "ws"] {
        for (query, fields) in [
            ("speed=4", vec!["speed"]),
            ("from=1&speed=0&max_gap=-1", vec!["speed", "max_gap"]),
            ("from=yesterday", vec!["from"]),
            ("from=99999", vec!["from"]),
        ] {
            let mut request = own.request(Method::GET, &format!("/api/conversation/talk/{path}?{query}"));
            if path == "ws" {
                request = request
                    .header("Connection", "Upgrade")
                    .header("Upgrade", "websocket")
                    .header("Sec-WebSocket-Version", "13")
                    .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
            }
            let reply = own.send(request).await;
            reply.assert_problem(400);
            assert_eq!(reply.bad_fields(), fields, "{path} {query}");
        }
    }
    own.get("/api/conversation/none/stream?from=1").await.assert_problem(404);
}
