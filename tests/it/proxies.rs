//! Feeds behind nginx, as it is out of the box and with the connection that its manual advises.

use futures::future::join_all;
use serde_json::json;
use tests::{Binary, Client, Nginx, Parts, System, eventually};

use crate::{ids, message};

/// HTTP/1.0 and an answer that is buffered: nginx's defaults. Then what is usual.
const MANNERS: [&str; 2] = ["", "proxy_http_version 1.1; proxy_set_header Connection '';"];

/// A writer in this process, and a streamer of its own, whose open feeds can be counted, behind nginx.
struct Scene {
    writer: System,
    streamer: Binary,
    nginx: Nginx,
    caller: Client,
}

impl Scene {
    async fn start(directives: &str) -> Self {
        let parts = Parts::fresh().await;
        let writer = parts.only(true, true, false).start().await;
        let streamer = Binary::serve_with("streamer", &parts, &[("HEARTBEAT_SECONDS", "1")]).await;
        let nginx = Nginx::before(streamer.client.base(), directives).await;
        let caller = writer.client.login("RID001").await;
        Self { writer, streamer, nginx, caller }
    }

    async fn say(&self, id: &str) {
        let body = message("RID001", "Hello", ids("conv_1", id));
        let reply = self.caller.post("/api/v1/chat/message", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }

    async fn feeds_are(&self, wanted: f64) {
        eventually("the streamer has so many feeds", || async {
            (self.streamer.client.metric("turnlog_feeds_open").await == Some(wanted)).then_some(())
        })
        .await;
    }
}

async fn follow(directives: &str) {
    let scene = Scene::start(directives).await;
    let through = scene.nginx.client.with(scene.caller.token());
    scene.say("m0").await;
    let mut feed = through.feed("conv_1", None).await;
    feed.expect("initial").await;
    scene.feeds_are(1.0).await;
    // Each is on the page before the next is written: nothing waits in a buffer.
    for n in 1..=5 {
        scene.say(&format!("m{n}")).await;
        let frame = feed.expect("new_messages").await;
        assert_eq!(frame.data["messages"][0]["message_id"], format!("m{n}"));
    }
    for _ in 0..2 {
        assert_eq!(feed.any().await.unwrap().event, "heartbeat");
    }
    // A client that goes is noticed behind the proxy.
    let id = feed.last_id.clone();
    drop(feed);
    scene.feeds_are(0.0).await;
    scene.say("m6").await;
    let mut feed = through.feed("conv_1", id.as_deref()).await;
    assert_eq!(feed.expect("new_messages").await.data["messages"][0]["message_id"], "m6");
    // And what the streamer ends, ends in front of it.
    let caller = scene.writer.client.login("RID001").await;
    let mut given_up = scene.nginx.client.with(caller.token()).feed("conv_1", None).await;
    given_up.expect("initial").await;
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    given_up.expect("error").await;
    assert_eq!(given_up.next().await, None);
    scene.streamer.kill();
    assert_eq!(feed.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_heartbeats_pass_nginx_at_once_and_ends_are_seen_on_both_sides() {
    join_all(MANNERS.map(follow)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_keep_a_proxy_from_giving_up() {
    let scene = Scene::start("proxy_read_timeout 2s;").await;
    scene.say("m0").await;
    let mut feed = scene.nginx.client.with(scene.caller.token()).feed("conv_1", None).await;
    feed.expect("initial").await;
    for _ in 0..4 {
        assert_eq!(feed.any().await.unwrap().event, "heartbeat");
    }
}
