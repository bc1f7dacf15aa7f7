//! The edge: whose address counts, how much one caller may ask for, and which pages may call.

use axum::http::Method;
use serde_json::{Value, json};
use shared::http::Edge;
use tests::{API_KEY, Client, Parts, Reply, System, per_minute};

use crate::{ids, message};

const LOGIN: &str = "/api/v1/auth/login";
const OTHER_KEY: &str = "test-api-key-of-another-service";
const PAGE: &str = "https://app.example.org";

/// Callers are on 127.0.0.1 in every test.
async fn with_proxies(proxies: &str, logins_per_address: u32) -> System {
    let parts = Parts::fresh().await;
    let edge = Edge { proxies: proxies.parse().unwrap(), ..parts.edge.clone() };
    Parts { edge, logins_per_address, ..parts }.start().await
}

async fn with_budget(requests_per_key: u32) -> System {
    let parts = Parts::fresh().await;
    let edge = Edge { requests_per_key: per_minute(requests_per_key), ..parts.edge.clone() };
    Parts { edge, more_keys: vec![OTHER_KEY], ..parts }.start().await
}

async fn with_origins(origins: &str) -> System {
    let parts = Parts::fresh().await;
    let edge = Edge { origins: origins.parse().unwrap(), ..parts.edge.clone() };
    Parts { edge, ..parts }.start().await
}

/// A login that says, in so many lines, for whom it was forwarded.
async fn forwarded_login(client: &Client, lines: &[&str]) -> Reply {
    let body = json!({"research_id": "RID001"});
    let request = client.request(Method::POST, LOGIN).json(&body);
    client.send(lines.iter().fold(request, |request, line| request.header("X-Forwarded-For", *line))).await
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name).map(|value| value.to_str().unwrap())
}

fn number(reply: &Reply, name: &str) -> u64 {
    header(reply, name).unwrap_or_else(|| panic!("{name} is missing: {reply:?}")).parse().unwrap()
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_cannot_be_somebody_else() {
    for proxies in ["", "192.0.2.1"] {
        let system = with_proxies(proxies, 2).await;
        for address in ["198.51.100.1", "198.51.100.2"] {
            assert_eq!(forwarded_login(&system.client, &[address]).await.status, 200);
        }
        forwarded_login(&system.client, &["198.51.100.3"]).await.assert_problem(429);
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_is_counted_alone() {
    let system = with_proxies("127.0.0.1, 10.0.0.0/8", 2).await;
    let login = |lines| forwarded_login(&system.client, lines);
    assert_eq!(login(&["198.51.100.1"]).await.status, 200);
    assert_eq!(login(&["198.51.100.1:4711, 10.0.0.7"]).await.status, 200);
    login(&["198.51.100.1"]).await.assert_problem(429);
    // What the client itself wrote in front changes nothing, in one line or in several.
    login(&["203.0.113.1, 198.51.100.1"]).await.assert_problem(429);
    login(&["203.0.113.1", "198.51.100.1", "10.0.0.7"]).await.assert_problem(429);
    login(&["\u{fc}, 198.51.100.1"]).await.assert_problem(429);
    assert_eq!(login(&["198.51.100.2"]).await.status, 200);
    // One client has a /64 to itself.
    assert_eq!(login(&["2001:db8:0:1::1"]).await.status, 200);
    assert_eq!(login(&["[2001:db8:0:1::2]:4711"]).await.status, 200);
    login(&["2001:db8:0:1:ffff::3"]).await.assert_problem(429);
    assert_eq!(login(&["2001:db8:0:2::1"]).await.status, 200);
}

#[tokio::test]
async fn a_login_says_what_is_left_of_the_tighter_limit() {
    let system = with_proxies("", 5).await;
    let login = || forwarded_login(&system.client, &[]);
    let first = login().await;
    assert_eq!((number(&first, "ratelimit-limit"), number(&first, "ratelimit-remaining")), (5, 4));
    let second = login().await;
    assert_eq!((number(&second, "ratelimit-limit"), number(&second, "ratelimit-remaining")), (5, 3));
}

#[tokio::test]
async fn a_key_has_one_budget_for_writing_and_reading() {
    let system = with_budget(4).await;
    let service = system.service();
    let written = service.put("/api/v1/participants/RID001", &json!({})).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let read = service.get("/api/conversation/nowhere").await;
    read.assert_problem(404);
    let not_for_services = service.put("/api/v1/profile", &json!({})).await;
    not_for_services.assert_problem(403);
    let feed = service.try_feed("nowhere", None).await.unwrap_err();
    feed.assert_problem(404);
    for (reply, remaining) in [(&written, 3), (&read, 2), (&not_for_services, 1), (&feed, 0)] {
        assert_eq!((number(reply, "ratelimit-limit"), number(reply, "ratelimit-remaining")), (4, remaining));
        assert!((1..=60).contains(&number(reply, "ratelimit-reset")), "{reply:?}");
        assert_eq!(header(reply, "retry-after"), None);
    }
    let refused = [
        service.put("/api/v1/participants/RID002", &json!({})).await,
        service.get("/api/conversation/nowhere").await,
    ];
    for reply in &refused {
        reply.assert_problem(429);
        assert_eq!((number(reply, "ratelimit-limit"), number(reply, "ratelimit-remaining")), (4, 0));
        let wait = number(reply, "retry-after");
        assert_eq!(number(reply, "ratelimit-reset"), wait);
        assert!((1..=15).contains(&wait), "{wait} s");
    }
    // Whoever was refused did nothing.
    let other = system.client.with(OTHER_KEY);
    let mut tables = system.tables().await;
    system.projected(written.sequence()).await;
    let known: i64 =
        sqlx::query_scalar("SELECT count(*) FROM turnlog.participants").fetch_one(&mut tables).await.unwrap();
    assert_eq!(known, 1);
    // Another key, a person and probes have nothing to do with it.
    assert_eq!(number(&other.get("/api/conversation/nowhere").await, "ratelimit-remaining"), 3);
    let person = system.client.login("RID003").await;
    let stored = person.post("/api/v1/chat/message", &message("RID003", "Hello", ids("c", "m"))).await;
    assert_eq!((stored.status, header(&stored, "ratelimit-limit")), (200, None));
    for path in ["/health", "/health/live", "/health/ready", "/api/v1/health", "/metrics"] {
        let reply = service.get(path).await;
        assert_eq!((reply.status, header(&reply, "ratelimit-limit")), (200, None), "{path}");
    }
}

#[tokio::test]
async fn a_bad_key_spends_nothing_of_a_good_one() {
    let system = with_budget(2).await;
    for bad in [&API_KEY[1..], "test-api-key-of-a-servicX", "test-api-key-of-a-service2", "x"] {
        let reply = system.client.with(bad).get("/api/conversation/nowhere").await;
        reply.assert_problem(401);
        assert_eq!(header(&reply, "ratelimit-limit"), None);
    }
    let good = system.service().get("/api/conversation/nowhere").await;
    assert_eq!((good.status, number(&good, "ratelimit-remaining")), (404, 1));
}

/// What a browser asks before it sends `method` with a token for a page of `origin`.
async fn preflight(client: &Client, origin: &str, path: &str, method: &str) -> Reply {
    let request = client.request(Method::OPTIONS, path);
    let request = request.header("Origin", origin).header("Access-Control-Request-Method", method);
    client.send(request.header("Access-Control-Request-Headers", "authorization,content-type")).await
}

async fn get_from(client: &Client, origin: &str, path: &str) -> Reply {
    client.send(client.request(Method::GET, path).header("Origin", origin)).await
}

fn listed(reply: &Reply, name: &str) -> Vec<String> {
    header(reply, name).unwrap_or_default().split(',').map(|item| item.trim().to_lowercase()).collect()
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_route_without_credential_or_budget() {
    let system = with_origins(&format!("https://other.example.org,{PAGE}")).await;
    for (path, method) in [
        ("/api/v1/chat/message", "POST"),
        ("/api/v1/participants/RID001", "PUT"),
        ("/api/conversation/c/stream", "GET"),
        ("/api/v1/health", "GET"),
        ("/nowhere", "DELETE"),
    ] {
        let reply = preflight(&system.client, PAGE, path, method).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, ""), "{path}");
        assert_eq!(header(&reply, "access-control-allow-origin"), Some(PAGE));
        assert_eq!(header(&reply, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&reply, "access-control-max-age"), Some("600"));
        assert_eq!(listed(&reply, "vary"), ["origin"]);
        assert_eq!(
            listed(&reply, "access-control-allow-methods"),
            ["get", "post", "put", "delete", "options"]
        );
        let headers = listed(&reply, "access-control-allow-headers");
        for name in [
            "authorization",
            "content-type",
            "idempotency-key",
            "x-request-id",
            "last-event-id",
            "traceparent",
            "cache-control",
        ] {
            assert!(headers.iter().any(|allowed| allowed == name), "{name} is not in {headers:?}");
        }
        assert_eq!(header(&reply, "ratelimit-limit"), None);
        assert!(header(&reply, "x-request-id").is_some(), "{path} was not observed");
    }
    let foreign = preflight(&system.client, "https://evil.example.net", "/api/v1/chat/message", "POST").await;
    assert_eq!((foreign.status, header(&foreign, "access-control-allow-origin")), (200, None));
    assert_eq!(listed(&foreign, "vary"), ["origin"]);
}

#[tokio::test]
async fn a_page_can_read_answers_problems_and_feeds() {
    let system = with_origins(PAGE).await;
    let person = system.client.login("RID001").await;
    let stored = person.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    system.projected(stored.sequence()).await;
    let answer = get_from(&person, PAGE, "/api/conversation/conv_1").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let refused = get_from(&system.client, PAGE, "/api/conversation/conv_1").await;
    refused.assert_problem(401);
    assert_eq!(header(&refused, "www-authenticate"), Some("Bearer"));
    let unknown = get_from(&person, PAGE, "/nowhere").await;
    unknown.assert_problem(404);
    let feed = person.request(Method::GET, "/api/conversation/conv_1/stream").header("Origin", PAGE);
    let feed = feed.send().await.unwrap();
    let (status, headers) = (feed.status().as_u16(), feed.headers().clone());
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    let feed = Reply { status, headers, body: Value::Null, text: String::new() };
    for reply in [&answer, &refused, &unknown, &feed] {
        assert_eq!(header(reply, "access-control-allow-origin"), Some(PAGE));
        assert_eq!(header(reply, "access-control-allow-credentials"), Some("true"));
        assert_eq!(listed(reply, "vary"), ["origin"]);
        let exposed = listed(reply, "access-control-expose-headers");
        for name in [
            "turnlog-sequence",
            "x-request-id",
            "ratelimit-limit",
            "ratelimit-remaining",
            "ratelimit-reset",
            "retry-after",
            "content-range",
            "etag",
        ] {
            assert!(exposed.iter().any(|allowed| allowed == name), "{name} is not in {exposed:?}");
        }
    }
    let foreign = get_from(&person, "https://evil.example.net", "/api/conversation/conv_1").await;
    assert_eq!((foreign.status, header(&foreign, "access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn every_page_may_call_only_without_credentials_and_none_unless_it_is_set() {
    let open = with_origins("*").await;
    for reply in [
        get_from(&open.client, PAGE, "/api/v1/health").await,
        get_from(&open.client, PAGE, "/nowhere").await,
        preflight(&open.client, PAGE, "/api/v1/chat/message", "POST").await,
    ] {
        assert_eq!(header(&reply, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&reply, "access-control-allow-credentials"), None);
    }
    let closed = System::start().await;
    let answer = get_from(&closed.client, PAGE, "/api/v1/health").await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")));
    preflight(&closed.client, PAGE, "/api/v1/chat/message", "POST").await.assert_problem(405);
}
