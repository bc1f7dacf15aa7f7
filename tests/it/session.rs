//! Browsers' sessions: a cookie out of reach of scripts, which other pages cannot use.

use std::time::Instant;

use reqwest::Method;
use serde_json::json;
use shared::auth::Who;
use shared::http::Edge;
use tests::{Client, Feed, Parts, Reply, System, eventually};

use crate::{ids, message, person};

const SESSION: &str = "/api/session";
const SNAPSHOT: &str = "/api/conversation/conv_1";
const OURS: (&str, &str) = ("Sec-Fetch-Site", "same-origin");

async fn speaker(system: &System) -> Client {
    let caller = system.client.login("RID001").await;
    let stored = caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    system.projected(stored.sequence()).await;
    caller
}

/// Begins a session; answers the cookie as a browser sends it.
async fn begin(caller: &Client) -> String {
    let reply = caller.post(SESSION, &json!({})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

/// A request with a cookie and more headers, and without a token.
async fn send(client: &Client, method: Method, path: &str, cookie: &str, more: &[(&str, &str)]) -> Reply {
    let request = client.request(method, path).header("Cookie", cookie);
    client.send(more.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn a_session_reads_until_it_is_ended_and_is_then_dead_on_every_instance_within_a_second() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(false, false, true).start().await);
    let caller = speaker(&one).await;
    let begun = caller.post(SESSION, &json!({})).await;
    assert_eq!((&begun.body["role"], &begun.body["id"]), (&json!("participant"), &json!("RID001")));
    assert!(begun.body["expires_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{}", begun.text);
    let set = begun.headers["set-cookie"].to_str().unwrap().to_owned();
    for part in ["turnlog_session=", "HttpOnly", "SameSite=Strict", "Path=/api", "Max-Age=3"] {
        assert!(set.contains(part), "{part} is missing: {set}");
    }
    assert!(!set.contains("Secure"), "{set}");
    let cookie = set.split(';').next().unwrap();
    for instance in [&one, &two] {
        assert_eq!(send(&instance.client, Method::GET, SNAPSHOT, cookie, &[]).await.status, 200);
    }
    let stream = two.client.request(Method::GET, "/api/conversation/conv_1/stream");
    let mut feed = Feed::of(stream.header("Cookie", cookie).header("Origin", &two.base)).await;
    feed.expect("initial").await;

    let ended = send(&one.client, Method::DELETE, SESSION, cookie, &[OURS]).await;
    assert_eq!(ended.status, 200, "{}", ended.text);
    assert!(ended.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let at = Instant::now();
    feed.expect("error").await;
    assert_eq!(feed.next().await, None);
    eventually("the session is dead elsewhere", || async {
        (send(&two.client, Method::GET, SNAPSHOT, cookie, &[]).await.status == 401).then_some(())
    })
    .await;
    assert!(at.elapsed().as_millis() < 1_000, "took {:?}", at.elapsed());
    // Again: nothing to end, and still forgotten. The token goes on, and may begin another.
    let again = send(&one.client, Method::DELETE, SESSION, cookie, &[OURS]).await;
    again.assert_problem(401);
    assert!(again.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(send(&one.client, Method::GET, SNAPSHOT, &begin(&caller).await, &[]).await.status, 200);
}

#[tokio::test]
async fn a_session_dies_with_its_token() {
    let parts = Parts::fresh().await;
    let (one, two) = (parts.start().await, parts.only(false, false, true).start().await);
    let caller = speaker(&one).await;
    let (first, second) = (begin(&caller).await, begin(&caller).await);
    let stream = two.client.request(Method::GET, "/api/conversation/conv_1/stream").header("Cookie", &first);
    let mut feed = Feed::of(stream).await;
    feed.expect("initial").await;
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).await.status, 200);
    feed.expect("error").await;
    for (instance, cookie) in [(&one, &first), (&one, &second), (&two, &second)] {
        eventually("the session is dead", || async {
            (send(&instance.client, Method::GET, SNAPSHOT, cookie, &[]).await.status == 401).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_cookie_changes_nothing_for_other_pages_and_passes_as_nothing_else() {
    let named = "https://app.example.org";
    let edge = Edge { origins: named.parse().unwrap(), ..Parts::fresh().await.edge };
    let system = Parts { edge, ..Parts::fresh().await }.start().await;
    let caller = speaker(&system).await;
    let (client, cookie) = (&system.client, &begin(&caller).await);
    let foreign = [
        &[("Origin", "https://evil.example.org"), ("Sec-Fetch-Site", "cross-site")][..],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "same-site")],
        &[],
    ];
    for page in foreign {
        let refused = send(client, Method::DELETE, SESSION, cookie, page).await;
        refused.assert_problem(403);
        assert!(!refused.headers.contains_key("set-cookie"), "{page:?}");
    }
    // A feed, or what will be a WebSocket: it says where it is from, and nobody else reads along.
    send(client, Method::GET, "/api/conversation/conv_1/stream", cookie, foreign[0])
        .await
        .assert_problem(403);
    // It writes nothing at all, also from our own page.
    let body = message("RID001", "Hi", ids("conv_1", "m2"));
    let request = client.request(Method::POST, "/api/v1/chat/message").header("Cookie", cookie);
    client.send(request.header(OURS.0, OURS.1).json(&body)).await.assert_problem(401);
    for path in [SESSION, "/api/stream-tickets", "/api/v1/auth/logout"] {
        send(client, Method::POST, path, cookie, &[OURS]).await.assert_problem(401);
    }
    // A header goes first, good or not; garbage beside it is nothing.
    let bad = client.with("x");
    send(&bad, Method::GET, SNAPSHOT, cookie, &[]).await.assert_problem(401);
    assert_eq!(send(&caller, Method::GET, SNAPSHOT, "turnlog_session=x; ;=;\"", &[]).await.status, 200);
    assert_eq!(send(client, Method::GET, SNAPSHOT, &format!("a; =;{cookie};;\""), &[]).await.status, 200);
    // One does not pass as another.
    let session = cookie.strip_prefix("turnlog_session=").unwrap();
    client.with(session).get(SNAPSHOT).await.assert_problem(401);
    let token = format!("turnlog_session={}", caller.token());
    for wrong in [&token, "turnlog_session=", "turnlog_session=a.b.c", "turnlog=x"] {
        send(client, Method::GET, SNAPSHOT, wrong, &[]).await.assert_problem(401);
    }
    system.service().post(SESSION, &json!({})).await.assert_problem(403);
    // Through all of this it lives, and a page that is named may end it.
    assert_eq!(send(client, Method::GET, SNAPSHOT, cookie, &[("Origin", named)]).await.status, 200);
    assert_eq!(send(client, Method::DELETE, SESSION, cookie, &[("Origin", named)]).await.status, 200);
    // The read edge hears of it by the log.
    eventually("the session is over", || async {
        (send(client, Method::GET, SNAPSHOT, cookie, &[]).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_came_over_tls_stays_on_tls() {
    let fresh = Parts::fresh().await;
    let edge = Edge { proxies: "127.0.0.1".parse().unwrap(), ..fresh.edge.clone() };
    let system = Parts { edge, ..fresh }.start().await;
    let admin = person(
        &system,
        &Who::Admin { id: "a1".to_owned().try_into().unwrap(), company: "c1".to_owned().try_into().unwrap() },
    );
    let begun = admin.request(Method::POST, SESSION).header("X-Forwarded-Proto", "https");
    let begun = admin.send(begun).await;
    assert!(begun.headers["set-cookie"].to_str().unwrap().contains("Secure"));
    assert_eq!((&begun.body["role"], &begun.body["company"]), (&json!("admin"), &json!("c1")));
}
