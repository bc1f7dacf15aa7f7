//! Lists of calls' conversations, page by page and live: who sees which, from when and until when.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::Utc;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::audit::What;
use shared::auth::{Tokens, Who};
use streamer::FeedCaps;
use tests::{Client, Feed, Parts, Postgres, Raw, Reply, System, account, eventually};

use crate::calls::admin;

const LIST: &str = "/api/conversations";
const STREAM: &str = "/api/conversations/stream";

fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
    text.to_owned().try_into().unwrap()
}

/// Two of `acme`, one of `other`.
fn admins(system: &System) -> [Client; 3] {
    [("admin_1", "acme"), ("admin_2", "acme"), ("admin_3", "other")]
        .map(|(id, company)| admin(system, id, company))
}

fn ok(reply: Reply) -> Reply {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

/// Opens a call of a worker; the sequence that it has in the log.
async fn open(system: &System, id: &str, worker: &str, urgency: &str) -> u64 {
    let call = json!({"conversation_id": id, "call_id": format!("call_{id}"), "worker_id": worker,
                      "mobile_no": "+919325590143", "urgency": urgency, "medium": "Voice",
                      "timestamp": "2025-10-03T11:58:04+05:30"});
    ok(system.service().post("/api/calls", &call).await).sequence()
}

/// A worker is of this company from now on.
async fn employ(system: &System, worker: &str, company: &str) -> u64 {
    let body = json!({"company_id": company, "mobile_no": "+919325590143"});
    ok(system.service().put(&format!("/api/workers/{worker}"), &body).await).sequence()
}

async fn act(caller: &Client, id: &str, what: &str) -> u64 {
    ok(caller.post(&format!("/api/conversation/{id}/{what}"), &json!({})).await).sequence()
}

/// Two companies with a worker each, `w_acme` and `w_other`, and their calls `a1`, `a2` and `o1`.
async fn two_companies() -> (System, u64) {
    let system = System::start().await;
    for company in ["acme", "other"] {
        employ(&system, &format!("w_{company}"), company).await;
    }
    open(&system, "a1", "w_acme", "HIGH").await;
    open(&system, "a2", "w_acme", "LOW").await;
    let last = open(&system, "o1", "w_other", "HIGH").await;
    (system, last)
}

fn ids(body: &Value) -> Vec<&str> {
    let all = body["conversations"].as_array().unwrap();
    all.iter().map(|one| one["conversation_id"].as_str().unwrap()).collect()
}

/// What a caller is listed, once the tables have come to `after`.
async fn listed(caller: &Client, query: &str, after: u64) -> Vec<String> {
    let reply = ok(caller.get(&format!("{LIST}?after={after}{query}")).await);
    ids(&reply.body).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_admin_is_listed_what_they_may_read_and_nothing_else() {
    let (system, last) = two_companies().await;
    let [one, two, other] = admins(&system);
    assert_eq!(listed(&one, "", last).await, ["a2", "a1"]);
    assert_eq!(listed(&other, "", last).await, ["o1"]);
    assert_eq!(listed(&system.service(), "", last).await, ["o1", "a2", "a1"]);

    let row = ok(one.get(&format!("{LIST}?limit=1")).await);
    let wanted = json!({
        "conversation_id": "a2", "call_id": "call_a2", "worker_id": "w_acme", "mobile_no": "+919325590143",
        "urgency": "LOW", "status": "ACTIVE", "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30",
        "admin_id": null, "total_messages": 0,
    });
    assert_eq!((&row.body["conversations"][0], &row.body["success"]), (&wanted, &json!(true)));

    let taken = act(&one, "a1", "takeover").await;
    assert_eq!(listed(&one, "", taken).await, ["a2", "a1"]);
    assert_eq!(listed(&two, "", taken).await, ["a2"]);
    let moved = employ(&system, "w_acme", "other").await;
    assert_eq!(listed(&one, "", moved).await, ["a1"], "what they hold stays theirs");
    assert_eq!(listed(&two, "", moved).await, Vec::<String>::new());
    assert_eq!(listed(&other, "", moved).await, ["o1", "a2"]);
    let released = act(&one, "a1", "release").await;
    assert_eq!(listed(&one, "", released).await, Vec::<String>::new());
    assert_eq!(listed(&other, "", released).await, ["o1", "a2", "a1"]);
    let ended = act(&system.service(), "o1", "end").await;
    assert_eq!(listed(&other, "", ended).await, ["o1", "a2", "a1"]);
    assert_eq!(listed(&other, "&status=ended", ended).await, ["o1"]);

    // Whoever is sent away, or is of another company than their token says.
    let request = system.service().request(Method::DELETE, "/api/admins/admin_3");
    let removed = ok(system.service().send(request).await).sequence();
    other.get(&format!("{LIST}?after={removed}")).await.assert_problem(403);
    let body = json!({"company_id": "acme"});
    let hired = ok(system.service().put("/api/admins/admin_3", &body).await).sequence();
    other.get(&format!("{LIST}?after={hired}")).await.assert_problem(403);
    assert_eq!(listed(&admin(&system, "admin_3", "acme"), "", hired).await, Vec::<String>::new());
}

#[tokio::test]
async fn only_admins_and_services_are_listed_calls() {
    let (system, _) = two_companies().await;
    let participant = system.client.login("RID001").await;
    let researcher = crate::person(&system, &Who::Researcher("r1".into()));
    for path in [LIST, STREAM] {
        participant.get(path).await.assert_problem(403);
        researcher.get(path).await.assert_problem(403);
        system.client.get(path).await.assert_problem(401);
        system.client.with("forged").get(path).await.assert_problem(401);
    }
}

#[tokio::test]
async fn filters_hold_together_and_bad_ones_are_named() {
    let (system, last) = two_companies().await;
    let one = admin(&system, "admin_1", "acme");
    let taken = act(&one, "a1", "takeover").await;
    let service = system.service();
    for (query, wanted) in [
        ("&urgency=HIGH", vec!["o1", "a1"]),
        ("&urgency=high", vec![]),
        ("&medium=Voice&urgency=LOW", vec!["a2"]),
        ("&worker_id=w_other", vec!["o1"]),
        ("&admin_id=admin_1", vec!["a1"]),
        ("&admin_id=admin_1&urgency=LOW", vec![]),
        ("&status=Active&worker_id=w_acme", vec!["a2", "a1"]),
        ("&status=ENDED", vec![]),
    ] {
        assert_eq!(listed(&service, query, taken).await, wanted, "{query}");
    }
    assert_eq!(
        listed(&admin(&system, "admin_3", "other"), "&worker_id=w_acme", last).await,
        Vec::<String>::new()
    );
    let bad = one.get(&format!("{LIST}?status=open&urgency=&limit=0&cursor=x&after=y")).await;
    bad.assert_problem(400);
    assert_eq!(bad.bad_fields(), ["after", "status", "urgency", "limit", "cursor"]);
    one.get(&format!("{LIST}?status=ACTIVE&status=ENDED")).await.assert_problem(400);

    let first = ok(one.get(&format!("{LIST}?limit=1&urgency=HIGH")).await);
    assert_eq!((ids(&first.body), &first.body["cursor"]), (vec!["a1"], &Value::Null));
    let first = ok(one.get(&format!("{LIST}?limit=1")).await);
    let cursor = first.body["cursor"].as_str().unwrap();
    let foreign = admin(&system, "admin_2", "acme").get(&format!("{LIST}?cursor={cursor}")).await;
    foreign.assert_problem(400);
    assert_eq!(foreign.bad_fields(), ["cursor"]);
    let of_s3 = ok(service.get("/api/v1/conversations?limit=1").await);
    let of_s3 = of_s3.body["cursor"].as_str().unwrap().to_owned();
    service.get(&format!("{LIST}?cursor={of_s3}")).await.assert_problem(400);
    let wrong = one.get(&format!("{LIST}?cursor={cursor}&urgency=HIGH&limit=2")).await;
    assert_eq!(wrong.bad_fields(), ["cursor", "limit"]);
}

#[tokio::test]
async fn a_walk_gives_each_call_once_while_others_are_opened() {
    let (system, _) = two_companies().await;
    let mut last = 0;
    for n in 0..25 {
        last = open(&system, &format!("old{n:02}"), "w_acme", "LOW").await;
    }
    let one = admin(&system, "admin_1", "acme");
    let (mut seen, mut cursor, mut page) = (Vec::new(), String::new(), 0);
    loop {
        let reply = ok(one
            .get(&format!("{LIST}?after={last}{cursor}{}", if page == 0 { "&limit=4" } else { "" }))
            .await);
        seen.extend(ids(&reply.body).into_iter().map(str::to_owned));
        let Some(next) = reply.body["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
        page += 1;
        last = open(&system, &format!("new{page:02}"), "w_acme", "LOW").await;
    }
    let mut wanted: Vec<_> = (0..25).rev().map(|n| format!("old{n:02}")).collect();
    wanted.extend(["a2".to_owned(), "a1".to_owned()]);
    assert_eq!(seen, wanted);
    assert_eq!(page, 6);
    let all: BTreeSet<_> = listed(&one, "&limit=100", last).await.into_iter().collect();
    assert_eq!(all.len(), 27 + page);
}

#[tokio::test]
async fn a_list_is_in_the_audit_log_with_what_was_asked() {
    let (system, last) = two_companies().await;
    let one = admin(&system, "admin_1", "acme");
    assert_eq!(listed(&one, "&status=ACTIVE&worker_id=w_acme", last).await.len(), 2);
    let looks = crate::audit::looks(&system.parts).await;
    let [look] = &looks[..] else { panic!("{looks:?}") };
    assert_eq!(
        (look.what, look.who.id.as_deref(), &look.more["count"]),
        (What::List, Some("admin_1"), &json!(2))
    );
    assert_eq!(look.more["asked"]["status"], "ACTIVE");
    assert!(
        look.more["asked"]["worker_id"].as_str().is_some_and(|hash| !hash.contains("w_acme")),
        "{look:?}"
    );
}

/// The feed of calls of a caller.
async fn watch(caller: &Client, after: u64) -> Feed {
    Feed::of(caller.request(Method::GET, &format!("{STREAM}?after={after}"))).await
}

/// Whether a caller gets a feed: the answer's status. A feed that they got is left.
async fn asked(caller: &Client) -> u16 {
    caller.request(Method::GET, STREAM).send().await.unwrap().status().as_u16()
}

/// Its first frame: the conversations in it.
async fn initial(feed: &mut Feed) -> Vec<String> {
    let frame = feed.expect("initial").await;
    assert!(frame.id.is_some());
    ids(&frame.data).into_iter().map(str::to_owned).collect()
}

/// The next frame must be of this event and conversation; its data.
async fn told(feed: &mut Feed, event: &str, id: &str) -> Value {
    let frame = feed.expect(event).await;
    assert_eq!(frame.data["conversation_id"], id, "{frame:?}");
    assert!(frame.id.is_some(), "{frame:?}");
    frame.data
}

/// Waits for the feed's error, which must be the next thing it says, and for its end.
async fn lost(mut feed: Feed, why: &str) {
    let error = feed.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().contains(why), "{}", error.data);
    assert_eq!((error.id, &error.data["conversation_id"]), (None, &Value::Null));
    assert!(feed.any().await.is_none(), "the feed went on");
}

#[tokio::test]
async fn a_feed_of_calls_adds_changes_and_drops_what_its_admin_sees() {
    let (system, last) = two_companies().await;
    let service = system.service();
    let one = admin(&system, "admin_1", "acme");
    // Who watches elsewhere is told as well.
    let second = system.parts.only(false, false, true).start().await;
    let (two, other) = (admin(&second, "admin_2", "acme"), admin(&second, "admin_3", "other"));
    let mut all = watch(&service, last).await;
    let [mut first, mut second, mut third] =
        [watch(&one, last).await, watch(&two, last).await, watch(&other, last).await];
    assert_eq!(initial(&mut all).await, ["o1", "a2", "a1"]);
    assert_eq!(initial(&mut first).await, ["a2", "a1"]);
    assert_eq!(initial(&mut second).await, ["a2", "a1"]);
    assert_eq!(initial(&mut third).await, ["o1"]);

    open(&system, "a3", "w_acme", "HIGH").await;
    let row = told(&mut first, "conversation", "a3").await;
    let listed = ok(service.get(&format!("{LIST}?limit=1")).await);
    assert_eq!(row, listed.body["conversations"][0], "a row of the feed is one of the list");
    told(&mut second, "conversation", "a3").await;

    act(&one, "a1", "takeover").await;
    assert_eq!(told(&mut first, "conversation", "a1").await["admin_id"], "admin_1");
    assert_eq!(told(&mut second, "removed", "a1").await, json!({"conversation_id": "a1"}));
    open(&system, "a1", "w_acme", "LOW").await;
    assert_eq!(told(&mut first, "conversation", "a1").await["urgency"], "LOW");
    act(&one, "a1", "release").await;
    assert_eq!(told(&mut first, "conversation", "a1").await["admin_id"], Value::Null);
    told(&mut second, "conversation", "a1").await;

    act(&one, "a2", "takeover").await;
    told(&mut first, "conversation", "a2").await;
    told(&mut second, "removed", "a2").await;
    employ(&system, "w_acme", "other").await;
    // What an admin holds stays theirs, and they are told of it still.
    told(&mut first, "removed", "a1").await;
    told(&mut first, "conversation", "a2").await;
    told(&mut first, "removed", "a3").await;
    told(&mut second, "removed", "a1").await;
    told(&mut second, "removed", "a3").await;
    told(&mut third, "conversation", "a1").await;
    told(&mut third, "conversation", "a3").await;
    open(&system, "a2", "w_acme", "HIGH").await;
    assert_eq!(told(&mut first, "conversation", "a2").await["urgency"], "HIGH");
    act(&one, "a2", "release").await;
    told(&mut first, "removed", "a2").await;
    told(&mut third, "conversation", "a2").await;

    let ended = act(&service, "a3", "end").await;
    let frame = told(&mut third, "ended", "a3").await;
    assert_eq!(frame["message"], "Conversation has ended");
    // Nobody else was told anything meanwhile.
    employ(&system, "w_new", "acme").await;
    open(&system, "a4", "w_new", "HIGH").await;
    told(&mut first, "conversation", "a4").await;
    told(&mut second, "conversation", "a4").await;

    // Whoever comes back gets the list as it is.
    let request = other.request(Method::GET, &format!("{STREAM}?after={ended}"));
    let mut again = Feed::of(request.header("Last-Event-ID", third.last_id.unwrap())).await;
    assert_eq!(initial(&mut again).await, ["o1", "a2", "a1"]);
    // Who sees all was told all.
    let said: Vec<_> = [
        ("conversation", "a3"),
        ("conversation", "a1"),
        ("conversation", "a1"),
        ("conversation", "a1"),
        ("conversation", "a2"),
        ("conversation", "a1"),
        ("conversation", "a2"),
        ("conversation", "a3"),
        ("conversation", "a2"),
        ("conversation", "a2"),
        ("ended", "a3"),
        ("conversation", "a4"),
    ]
    .into();
    for (event, id) in said {
        told(&mut all, event, id).await;
    }
}

#[tokio::test]
async fn a_feed_of_calls_ends_with_the_right_to_it() {
    let (system, last) = two_companies().await;
    let service = system.service();
    let [one, two, other] = admins(&system);
    let mut feeds = Vec::new();
    for caller in [&one, &two, &other] {
        let mut feed = watch(caller, last).await;
        feed.expect("initial").await;
        feeds.push(feed);
    }
    let [first, second, mut third] = <[Feed; 3]>::try_from(feeds).unwrap();
    ok(one.post("/api/v1/auth/logout", &json!({})).await);
    lost(first, "revoked").await;
    assert_eq!(asked(&one).await, 401);
    let removal = service.request(Method::DELETE, "/api/admins/admin_2");
    // Who was never in the directory is not known there: they are registered, then moved.
    ok(service.put("/api/admins/admin_2", &json!({"company_id": "acme"})).await);
    let removed = ok(service.send(removal).await).sequence();
    open(&system, "a3", "w_acme", "HIGH").await;
    lost(second, "Access denied").await;
    two.get(&format!("{STREAM}?after={removed}")).await.assert_problem(403);
    ok(service.put("/api/admins/admin_3", &json!({"company_id": "other"})).await);
    open(&system, "o2", "w_other", "HIGH").await;
    told(&mut third, "conversation", "o2").await;
    ok(service.put("/api/admins/admin_3", &json!({"company_id": "acme"})).await);
    open(&system, "o3", "w_other", "HIGH").await;
    lost(third, "Access denied").await;
}

#[tokio::test]
async fn a_feed_of_calls_warns_before_its_token_expires_and_ends_when_it_has() {
    let (system, last) = two_companies().await;
    let who = Who::Admin { id: id("admin_1"), company: id("acme") };
    let short = Duration::from_secs(3);
    let token = Tokens::new(&system.parts.auth()).issue(&who, short, Utc::now()).unwrap();
    let mut feed = watch(&system.client.with(&token), last).await;
    feed.expect("initial").await;
    let frame = feed.expect("expiring").await;
    assert_eq!((frame.id, &frame.data["conversation_id"]), (None, &Value::Null));
    lost(feed, "expired").await;
}

#[tokio::test]
async fn a_feed_of_calls_begins_with_the_newest_and_the_list_goes_on() {
    let (system, _) = two_companies().await;
    let names: Vec<_> = (0..510).map(|n| format!("n{n}")).collect();
    let last =
        join_all(names.iter().map(|id| open(&system, id, "w_acme", "LOW"))).await.into_iter().max().unwrap();
    let ended = act(&system.service(), "n7", "end").await.max(last);
    let [one, ..] = admins(&system);
    let mut feed = watch(&one, ended).await;
    let frame = feed.expect("initial").await;
    let mut seen: Vec<String> = ids(&frame.data).into_iter().map(str::to_owned).collect();
    assert_eq!(seen.len(), 500);
    let cursor = frame.data["cursor"].as_str().unwrap();
    seen.extend(listed(&one, &format!("&status=ACTIVE&cursor={cursor}"), 0).await);
    assert_eq!((seen.len(), seen.last().map(String::as_str)), (511, Some("a1")));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 511);
    assert!(!seen.contains(&"n7".to_owned()));
}

#[tokio::test]
async fn whoever_joins_while_calls_are_opened_is_told_each_once() {
    let (system, last) = two_companies().await;
    let [one, ..] = admins(&system);
    let opening = async {
        for round in 0..20 {
            let ids: Vec<_> = (0..5).map(|n| format!("r{round}_{n}")).collect();
            join_all(ids.iter().map(|id| open(&system, id, "w_acme", "LOW"))).await;
        }
    };
    let watching = join_all((0..20).map(|_| async {
        let mut feed = watch(&one, last).await;
        let mut seen = initial(&mut feed).await;
        while seen.len() < 102 {
            let frame = feed.expect("conversation").await;
            seen.push(frame.data["conversation_id"].as_str().unwrap().to_owned());
        }
        seen.into_iter().collect::<BTreeSet<_>>().len()
    }));
    let ((), counts) = tokio::join!(opening, watching);
    assert_eq!(counts, [102; 20]);
}

#[tokio::test]
async fn a_feed_of_calls_is_opened_by_ticket_counted_and_in_the_audit_log() {
    let one = NonZeroU32::new(1).unwrap();
    let feed_caps = FeedCaps { per_token: one, ..FeedCaps::default() };
    let parts = Parts { feed_caps, ..Parts::fresh().await };
    let system = parts.start().await;
    employ(&system, "w_acme", "acme").await;
    let last = open(&system, "a1", "w_acme", "HIGH").await;
    let [one, two, _] = admins(&system);
    let ticket = ok(one.post("/api/stream-tickets", &json!({})).await);
    let ticket = ticket.body["ticket"].as_str().unwrap();
    let path = format!("{STREAM}?after={last}&ticket={ticket}");
    let mut feed = Feed::of(system.client.request(Method::GET, &path)).await;
    assert_eq!(initial(&mut feed).await, ["a1"]);
    system.client.get(&path).await.assert_problem(401);
    let refused = one.get(STREAM).await;
    refused.assert_problem(429);
    assert!(refused.headers.contains_key("retry-after"));
    watch(&two, last).await.expect("initial").await;
    ok(one.post("/api/v1/auth/logout", &json!({})).await);
    lost(feed, "revoked").await;
    let ended = eventually("the end is recorded", || async {
        let looks = crate::audit::looks(&system.parts).await;
        let of = |what| {
            looks.iter().find(move |look| look.what == what && look.who.id.as_deref() == Some("admin_1"))
        };
        let (opened, ended) = (of(What::FeedOpened)?.clone(), of(What::FeedEnded)?.clone());
        assert_eq!((&opened.more["list"], &opened.more["count"]), (&json!("calls"), &json!(1)));
        assert_eq!((&opened.request_id, &opened.conversation_id), (&ended.request_id, &None));
        Some(ended)
    })
    .await;
    assert_eq!((&ended.more["reason"], &ended.conversation_id), (&json!("revoked"), &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_does_not_read_calls_is_told_so_and_the_others_see_everything() {
    const CALLS: usize = 300;
    let (system, _) = two_companies().await;
    let names: Vec<_> = (0..CALLS - 2).map(|n| format!("n{n}")).collect();
    let opened = join_all(names.iter().map(|id| open(&system, id, "w_acme", "LOW"))).await;
    let last = opened.into_iter().max().unwrap();
    let [one, two, _] = admins(&system);
    let mut slow = Raw::of(&system, &one, "HTTP/1.1", &format!("{STREAM}?after={last}")).await;
    slow.expect("initial").await;
    let mut quick = watch(&two, last).await;
    assert_eq!(initial(&mut quick).await.len(), CALLS);
    for round in 0..60 {
        let named =
            json!({"company_id": "acme", "mobile_no": "+919325590143", "name": format!("Asha {round}")});
        ok(system.service().put("/api/workers/w_acme", &named).await);
        let mut seen = BTreeSet::new();
        for _ in 0..CALLS {
            let frame = quick.expect("conversation").await;
            seen.insert(frame.data["conversation_id"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.len(), CALLS);
    }
    let mut told = String::new();
    while let Some(frame) = slow.next().await {
        told = frame;
    }
    assert!(told.starts_with("event: error\n") && told.contains("Too slow"), "{told:.60}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_of_calls_waits_for_a_database_that_is_away() {
    let mut postgres = Postgres::start().await;
    let system = Parts::on(account().await, postgres.database_url()).start().await;
    employ(&system, "w_acme", "acme").await;
    let last = open(&system, "a1", "w_acme", "HIGH").await;
    let [one, two, _] = admins(&system);
    let mut feed = watch(&one, last).await;
    assert_eq!(initial(&mut feed).await, ["a1"]);
    postgres.kill();
    act(&two, "a1", "takeover").await;
    open(&system, "a2", "w_acme", "HIGH").await;
    eventually("the loss is noticed", || async { (asked(&one).await == 503).then_some(()) }).await;
    postgres.restart().await;
    told(&mut feed, "removed", "a1").await;
    told(&mut feed, "conversation", "a2").await;
}

#[tokio::test]
async fn a_feed_of_calls_begins_where_the_log_is_even_if_the_tables_are_behind() {
    let parts = Parts::fresh().await;
    let writer = parts.only(true, false, false).start().await;
    employ(&writer, "w_acme", "acme").await;
    open(&writer, "a1", "w_acme", "HIGH").await;
    let reader = parts.only(false, false, true).start().await;
    let [one, ..] = admins(&reader);
    assert_eq!(asked(&one).await, 503);
    let _projector = parts.only(false, true, false).start().await;
    assert_eq!(initial(&mut watch(&one, 0).await).await, ["a1"]);
}
