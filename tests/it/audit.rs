//! The audit log: every look of an admin, a researcher or a service, and nothing of what was seen.

mod chain;
mod classes;
mod others;

use async_nats::jetstream;
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use shared::audit::{Audit, Look, What};
use shared::auth::Who;
use shared::log::Log;
use tests::{Client, Nats, Parts, System, database, eventually};

use crate::calls::{admin, with_call};
use crate::{ids, message, person};

const SNAPSHOT: &str = "/api/conversation/conv_1";

async fn say(caller: &Client, id: &str, content: &str) -> u64 {
    let stored = caller.post("/api/v1/chat/message", &message("RID001", content, ids("conv_1", id))).await;
    assert_eq!(stored.status, 200, "{}", stored.text);
    stored.sequence()
}

/// Every look that was recorded, and nothing else.
pub(crate) async fn looks(parts: &Parts) -> Vec<Look> {
    records(parts).await.into_iter().filter(|record| record.what.is_look()).collect()
}

/// Everything that was recorded.
pub(crate) async fn records(parts: &Parts) -> Vec<Look> {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let mut looks = Vec::new();
    let audit = Audit::new(&log);
    let read = audit.read(None, None, |entry| {
        assert!(!String::from_utf8_lossy(&entry.body).contains("secret words"));
        looks.push(serde_json::from_slice(&entry.body).unwrap());
    });
    read.await.unwrap();
    looks
}

/// The record of a feed's end.
async fn end(parts: &Parts) -> Look {
    eventually("the end is recorded", || async {
        looks(parts).await.into_iter().find(|look| look.what == What::FeedEnded)
    })
    .await
}

#[tokio::test]
async fn every_look_of_others_is_recorded_with_what_it_showed() {
    let system = System::start().await;
    let own = system.client.login("RID001").await;
    let (first, second) = (say(&own, "m1", "secret words").await, say(&own, "m2", "secret words").await);
    system.projected(second).await;
    for path in [SNAPSHOT, "/api/v1/conversations/conv_1", "/api/v1/conversations"] {
        assert_eq!(own.get(path).await.status, 200);
    }
    own.feed("conv_1", None).await.expect("initial").await;
    // Nor a look that showed nothing.
    system.client.login("RID002").await.get(SNAPSHOT).await.assert_problem(403);
    system.service().get("/api/conversation/conv_2").await.assert_problem(404);
    assert!(looks(&system.parts).await.is_empty());

    let researcher = person(&system, &Who::Researcher("r1".into()));
    let request = researcher.request(Method::GET, SNAPSHOT).header("X-Request-Id", "req-1");
    assert_eq!(researcher.send(request).await.status, 200);
    assert_eq!(system.service().get("/api/v1/conversations/conv_1").await.status, 200);
    let list = "/api/v1/conversations?email_id=ada@example.org&status=active&limit=5";
    assert_eq!(system.service().get(list).await.status, 200);
    let found = looks(&system.parts).await;
    let [snapshot, status, list] = &found[..] else { panic!("{found:?}") };
    assert_eq!((snapshot.what, status.what, list.what), (What::Snapshot, What::Status, What::List));
    assert_eq!((snapshot.who.role.as_str(), snapshot.who.id.as_deref()), ("researcher", Some("r1")));
    assert_eq!(snapshot.conversation_id.as_deref(), Some("conv_1"));
    assert_eq!((snapshot.from_sequence, snapshot.to_sequence), (Some(first), Some(second)));
    assert_eq!((snapshot.request_id.as_str(), snapshot.address), ("req-1", "127.0.0.1".parse().ok()));
    assert_eq!(status.who.role, "service");
    assert!(status.who.id.as_deref().is_some_and(|id| id.starts_with("key_")), "{status:?}");
    assert_eq!((&list.conversation_id, &list.more["count"]), (&None, &json!(0)));
    let asked = list.more["asked"].as_object().unwrap();
    assert_eq!((&asked["status"], &asked["limit"]), (&json!("active"), &json!(5)));
    assert!(asked["email_id"].as_str().is_some_and(|hash| hash.len() == 24), "{asked:?}");
}

#[tokio::test]
async fn every_look_of_an_admin_is_recorded_with_its_range() {
    let system = with_call().await;
    let call = "conv_919325590143_20251003_115804";
    let asha = admin(&system, "admin_1", "acme");
    let snapshot = asha.get(&format!("/api/conversation/{call}")).await;
    let shown = snapshot.body["conversation"]["messages"][0]["sequence"].as_u64().unwrap();
    assert_eq!(asha.get(&format!("/api/conversation/{call}/export?format=pdf")).await.status, 200);
    let found = asha.get(&format!("/api/v1/search?q=falling&after={shown}")).await;
    assert_eq!(found.body["hits"][0]["conversation_id"], call, "{}", found.text);
    let mut feed = asha.feed(call, None).await;
    feed.expect("initial").await;
    // One of another company sees nothing, and what was not shown is no look.
    admin(&system, "admin_3", "other").get(&format!("/api/conversation/{call}")).await.assert_problem(403);
    let all = looks(&system.parts).await;
    let kinds: Vec<_> = all.iter().map(|look| look.what).collect();
    assert_eq!(kinds, [What::Snapshot, What::Export, What::Search, What::FeedOpened]);
    for look in &all {
        assert_eq!((look.who.role.as_str(), look.who.id.as_deref()), ("admin", Some("admin_1")));
    }
    for look in [&all[0], &all[1], &all[3]] {
        assert_eq!(look.conversation_id.as_deref(), Some(call));
        assert_eq!((look.from_sequence, look.to_sequence), (Some(shown), Some(shown)));
    }
    let search = &all[2].more;
    assert_eq!(search["shown"], json!([{"conversation_id": call, "sequence": shown}]));
    assert!(!search["asked"].to_string().contains("falling"), "{search:?}");
}

#[tokio::test]
async fn a_feed_is_recorded_when_it_begins_and_when_it_ends() {
    let system = System::start().await;
    let own = system.client.login("RID001").await;
    let first = say(&own, "m1", "secret words").await;
    system.projected(first).await;
    let researcher = person(&system, &Who::Researcher("r1".into()));
    let mut feed = researcher.feed("conv_1", None).await;
    feed.expect("initial").await;
    let opened = looks(&system.parts).await;
    assert_eq!((opened.len(), opened[0].what), (1, What::FeedOpened));
    assert_eq!((opened[0].from_sequence, opened[0].to_sequence), (Some(first), Some(first)));
    let last = say(&own, "m2", "secret words").await;
    feed.expect("new_messages").await;
    assert_eq!(researcher.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    feed.expect("error").await;
    drop(feed);
    let ended = end(&system.parts).await;
    assert_eq!((ended.to_sequence, &ended.more["reason"]), (Some(last), &json!("revoked")));
    assert!(ended.from_sequence.is_some_and(|from| from > first), "{ended:?}");
    assert_eq!((&ended.request_id, &ended.who), (&opened[0].request_id, &opened[0].who));
}

#[tokio::test]
async fn a_feed_that_its_client_left_or_that_a_stop_ended_says_so() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let own = system.client.login("RID001").await;
    system.projected(say(&own, "m1", "secret words").await).await;
    let mut feed = system.service().feed("conv_1", None).await;
    feed.expect("initial").await;
    drop(feed);
    let left = end(&parts).await;
    assert_eq!((left.from_sequence, &left.more["reason"]), (None, &json!("left")));
    let mut feeds = Vec::new();
    for _ in 0..20 {
        let mut feed = system.service().feed("conv_1", None).await;
        feed.expect("initial").await;
        feeds.push(feed);
    }
    system.stop().await.unwrap();
    let stopped =
        looks(&parts).await.into_iter().filter(|look| look.more.get("reason") == Some(&json!("stopping")));
    assert_eq!(stopped.count(), feeds.len());
}

#[tokio::test]
async fn many_looks_at_once_are_each_recorded_once() {
    let system = System::start().await;
    let own = system.client.login("RID001").await;
    system.projected(say(&own, "m1", "secret words").await).await;
    let service = system.service();
    let all = join_all((0..200).map(|n| {
        let request = service.request(Method::GET, SNAPSHOT).header("X-Request-Id", format!("req-{n}"));
        service.send(request)
    }));
    assert!(all.await.iter().all(|reply| reply.status == 200));
    let mut recorded: Vec<_> = looks(&system.parts).await.into_iter().map(|look| look.request_id).collect();
    recorded.sort_unstable();
    recorded.dedup();
    assert_eq!(recorded.len(), 200);
}

#[tokio::test]
async fn nothing_is_taken_out_of_the_audit_log() {
    let system = System::start().await;
    let own = system.client.login("RID001").await;
    system.projected(say(&own, "m1", "secret words").await).await;
    assert_eq!(system.service().get(SNAPSHOT).await.status, 200);
    // With the rights of the services themselves.
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let stream = jetstream::new(log.client().clone()).get_stream("AUDIT").await.unwrap();
    assert!(stream.delete_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
    let mut config = stream.cached_info().config.clone();
    (config.deny_delete, config.deny_purge) = (false, false);
    assert!(jetstream::new(log.client().clone()).update_stream(&config).await.is_err());
    assert_eq!(looks(&system.parts).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_shown() {
    let mut nats = Nats::start().await;
    let system = Parts::on(nats.settings(), database().await).start().await;
    let own = system.client.login("RID001").await;
    system.projected(say(&own, "m1", "secret words").await).await;
    nats.kill();
    for path in
        [SNAPSHOT, "/api/v1/conversations/conv_1", "/api/v1/conversations", "/api/conversation/conv_1/stream"]
    {
        system.service().get(path).await.assert_problem(503);
    }
    // Nobody else's look is anybody's business.
    assert_eq!(own.get(SNAPSHOT).await.status, 200);
    nats.restart().await;
    eventually("it can be recorded again", || async {
        (system.service().get(SNAPSHOT).await.status == 200).then_some(())
    })
    .await;
}
