//! Tickets: what opens one feed, once, for clients that cannot set a header.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use shared::auth::{Identity, Tokens, Who};
use tests::{Client, Feed, Nats, Parts, Reply, System, database};

use crate::{ids, message, person};

const STREAM: &str = "/api/conversation/conv_1/stream";

/// A participant that has said something in `conv_1`.
async fn speaker(system: &System) -> Client {
    let caller = system.client.login("RID001").await;
    let stored = caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    system.projected(stored.sequence()).await;
    caller
}

async fn ticket(caller: &Client) -> String {
    let reply = caller.post("/api/stream-tickets", &json!({})).await;
    assert_eq!((reply.status, &reply.body["expires_in"]), (200, &json!(30)), "{}", reply.text);
    assert_eq!(reply.headers["cache-control"], "no-store");
    reply.body["ticket"].as_str().unwrap().to_owned()
}

async fn open(client: &Client, ticket: &str) -> Feed {
    Feed::of(client.request(Method::GET, &format!("{STREAM}?ticket={ticket}"))).await
}

async fn refused(client: &Client, ticket: &str) -> Reply {
    let reply = client.get(&format!("{STREAM}?ticket={ticket}")).await;
    reply.assert_problem(401);
    reply
}

fn says(reply: &Reply, word: &str) {
    assert!(reply.body["detail"].as_str().unwrap().contains(word), "{}", reply.text);
}

#[tokio::test]
async fn a_ticket_opens_one_feed_on_whichever_instance_is_first() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(false, false, true).start().await);
    let speaker = speaker(&one).await;
    for caller in [speaker, one.service(), person(&one, &Who::Researcher("r1".into()))] {
        let ticket = ticket(&caller).await;
        let mut feed = open(&two.client, &ticket).await;
        assert_eq!(feed.expect("initial").await.data["total_messages"], 1);
        for instance in [&one, &two] {
            says(&refused(&instance.client, &ticket).await, "used before");
        }
    }
    // Also when many try at once.
    let ticket = ticket(&one.service()).await;
    let tries = [&one, &two].repeat(4).into_iter().map(|instance| {
        let request = instance.client.request(Method::GET, &format!("{STREAM}?ticket={ticket}"));
        async move { request.send().await.unwrap().status().as_u16() }
    });
    let mut statuses = join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[401; 7]].concat());
}

#[tokio::test]
async fn a_ticket_is_no_token_and_nothing_else_is_a_ticket() {
    let system = System::start().await;
    let caller = speaker(&system).await;
    let first = ticket(&caller).await;
    // Neither where a token belongs, nor on an endpoint that is no feed, nor for another conversation's owner.
    let bearer = system.client.with(&first);
    for path in ["/api/conversation/conv_1", STREAM] {
        says(&bearer.get(path).await, "not valid");
    }
    bearer.post("/api/stream-tickets", &json!({})).await.assert_problem(401);
    system.client.get(&format!("/api/conversation/conv_1?ticket={first}")).await.assert_problem(401);
    system.client.post(&format!("/api/stream-tickets?ticket={first}"), &json!({})).await.assert_problem(401);
    let other = ticket(&system.client.login("RID002").await).await;
    system.client.get(&format!("{STREAM}?ticket={other}")).await.assert_problem(403);
    // None of that used it up.
    open(&system.client, &first).await.expect("initial").await;

    says(&refused(&system.client, caller.token()).await, "not valid");
    says(&refused(&system.client, tests::API_KEY).await, "not valid");
    let changed = ticket(&caller).await + "x";
    for forged in ["", "x", "a.b.c", &changed, "%00", "%ff"] {
        says(&refused(&system.client, forged).await, "not valid");
    }
    let tokens = Tokens::new(&system.parts.auth());
    let made = |at: DateTime<Utc>| tokens.ticket(&Identity::Service, None, at).unwrap().0;
    says(&refused(&system.client, &made(Utc::now() - TimeDelta::seconds(31))).await, "expired");
    system.client.get(&format!("{STREAM}?ticket=a&ticket=b")).await.assert_problem(400);
    // A header goes first, good or not.
    let spare = ticket(&caller).await;
    system.client.with("x").get(&format!("{STREAM}?ticket={spare}")).await.assert_problem(401);
    open(&system.client, &spare).await.expect("initial").await;
}

#[tokio::test]
async fn a_ticketed_feed_lives_and_dies_with_the_token() {
    let system = System::start().await;
    let caller = speaker(&system).await;
    let (used, kept) = (ticket(&caller).await, ticket(&caller).await);
    let mut feed = open(&system.client, &used).await;
    feed.expect("initial").await;
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    assert!(feed.expect("error").await.data["error"].as_str().unwrap().contains("revoked"));
    assert_eq!(feed.next().await, None);
    says(&refused(&system.client, &kept).await, "revoked");

    let tokens = Tokens::new(&system.parts.auth());
    let short = tokens.issue(&Who::Researcher("r1".into()), Duration::from_secs(3), Utc::now()).unwrap();
    let reply = system.client.with(&short).post("/api/stream-tickets", &json!({})).await;
    assert!(reply.body["expires_in"].as_u64().unwrap() <= 3, "{}", reply.text);
    let mut feed = open(&system.client, reply.body["ticket"].as_str().unwrap()).await;
    feed.expect("initial").await;
    feed.expect("expiring").await;
    assert!(feed.expect("error").await.data["error"].as_str().unwrap().contains("expired"));
}

#[tokio::test]
async fn a_ticket_that_cannot_be_checked_opens_nothing() {
    let mut nats = Nats::start().await;
    let system = Parts::on(nats.settings(), database().await).start().await;
    let caller = speaker(&system).await;
    let (first, second) = (ticket(&caller).await, ticket(&caller).await);
    open(&system.client, &first).await.expect("initial").await;
    nats.kill();
    system.client.get(&format!("{STREAM}?ticket={second}")).await.assert_problem(503);
    // What was used stays used.
    nats.restart().await;
    tests::eventually("the server answers again", || async {
        let reply = system.client.get(&format!("{STREAM}?ticket={first}")).await;
        (reply.status != 503).then(|| says(&reply, "used before"))
    })
    .await;
}
