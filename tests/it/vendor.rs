//! The client of ElevenLabs' API against a stand-in that fails in every way its facts name.

use std::time::{Duration, Instant};

use chrono::DateTime;
use futures::{StreamExt, TryStreamExt};
use ingest::vendor::{ListQuery, Page, Retry, Status, Vendor, VendorError, VendorSettings};
use serde_json::{Value, json};
use shared::config::Secret;
use tests::vendor::{Call, Fault, Route, VENDOR_KEY, Vendor as Stub};
use tests::{Parts, eventually};

/// As fast as the stand-in can answer, so that only the tests of pace take their time.
fn settings(stub: &Stub) -> VendorSettings {
    VendorSettings { requests_per_second: 10_000.try_into().unwrap(), ..stub.settings() }
}

fn client(stub: &Stub) -> Vendor {
    Vendor::new(settings(stub)).unwrap()
}

/// A client that loses patience soon.
fn hasty(stub: &Stub) -> Vendor {
    Vendor::new(VendorSettings { timeout: Duration::from_millis(200), ..settings(stub) }).unwrap()
}

async fn held() -> Stub {
    let stub = Stub::start().await;
    stub.hold(Call::new("conv_1", "agent_1", 1_760_000_000).with_audio(vec![7; 100_000]));
    stub
}

fn ids(page: &Page) -> Vec<&str> {
    page.conversations.iter().map(|one| one.conversation_id.as_str()).collect()
}

async fn recording(vendor: &Vendor, id: &str) -> Result<Vec<u8>, VendorError> {
    let audio = vendor.audio(id).await?;
    audio
        .bytes
        .try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
}

fn message(error: &VendorError) -> String {
    let text = error.to_string();
    assert!(!text.contains(VENDOR_KEY) && !text.contains("http://"), "{text}");
    text
}

#[tokio::test]
async fn the_list_comes_newest_first_page_by_page() {
    let stub = Stub::start().await;
    for n in 0..25 {
        stub.hold(Call::new(&format!("conv_{n:02}"), "agent_1", 1_760_000_000 + n));
    }
    stub.hold(Call::new("conv_talking", "agent_2", 1_760_000_030).with_status("in-progress"));
    let (vendor, mut found, mut pages) = (client(&stub), Vec::new(), 0);
    let mut query = ListQuery { page_size: 10, ..ListQuery::default() };
    loop {
        let page = vendor.list(&query).await.unwrap();
        found.extend(page.conversations);
        pages += 1;
        query.cursor = page.next_cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, found.len()), (3, 26));
    assert!(found.is_sorted_by_key(|one| std::cmp::Reverse(one.start_time)));
    assert_eq!((found[0].conversation_id.as_str(), &found[0].status), ("conv_talking", &Status::InProgress));
    assert_eq!(found[0].agent_id.as_deref(), Some("agent_2"));
    assert_eq!(found[1].message_count, Some(2));

    let time = |n: i64| DateTime::from_timestamp(1_760_000_000 + n, 0);
    let between = ListQuery { after: time(3), before: time(6), ..ListQuery::default() };
    assert_eq!(ids(&vendor.list(&between).await.unwrap()), ["conv_05", "conv_04"]);
    let wrong = ListQuery { cursor: Some("not a cursor".into()), ..ListQuery::default() };
    assert!(matches!(vendor.list(&wrong).await, Err(VendorError::Invalid(_))));
}

#[tokio::test]
async fn a_conversation_comes_as_it_is_and_its_audio_as_a_stream() {
    let stub = held().await;
    let odd = "conv/../1?x#y z";
    stub.hold(Call::new(odd, "agent_1", 1_760_000_001));
    let vendor = client(&stub);
    for id in ["conv_1", odd] {
        let body: Value = serde_json::from_slice(&vendor.conversation(id).await.unwrap()).unwrap();
        assert_eq!(body["conversation_id"], id);
        assert_eq!(body["transcript"][1]["message"], "Guten Tag, 你好");
    }
    assert_eq!(recording(&vendor, "conv_1").await.unwrap(), vec![7; 100_000]);
    assert_eq!(vendor.audio("conv_1").await.unwrap().content_type.as_deref(), Some("audio/mpeg"));
    assert!(matches!(vendor.audio(odd).await, Err(VendorError::NotFound(_))));
    assert!(matches!(vendor.conversation("conv_2").await, Err(VendorError::NotFound(_))));
    let asked = stub.asked();
    assert!(asked.iter().all(|one| one.headers["xi-api-key"] == VENDOR_KEY));
    assert!(asked.iter().all(|one| one.headers["user-agent"].to_str().unwrap().starts_with("turnlog/")));
}

#[tokio::test]
async fn every_error_of_the_vendor_is_told_apart() {
    let stub = held().await;
    let vendor = client(&stub);
    let cases = [
        (Fault::InvalidKey, "refuses the key", "401: Invalid API key"),
        (Fault::MissingPermissions, "refuses the key", "missing the permission convai_read"),
        (Fault::Detail(403, "Forbidden"), "refuses the key", "403: Forbidden"),
        (Fault::NotFound, "does not know it", "404: It was not found."),
        (Fault::Detail(404, "Not Found"), "does not know it", "404: Not Found"),
        (
            Fault::Unprocessable,
            "does not take",
            "422: query.page_size: Input should be less than or equal to 100",
        ),
        (Fault::BadRequest, "does not take", "400: A parameter is wrong."),
        (Fault::TooMany(None), "asks for fewer", "429: Too many requests."),
        (Fault::Unavailable(None), "is not available", "503: We are busy."),
        (Fault::Detail(500, "Internal Server Error"), "is not available", "500: Internal Server Error"),
        (Fault::Html(502, "<html>Bad Gateway</html>"), "is not available", "502: no reason given"),
        (Fault::Json(500, "{\"detail\": {\"mess"), "is not available", "500: no reason given"),
        (Fault::Html(200, "<html>Welcome</html>"), "cannot be read", "no "),
        (Fault::Json(200, "[]"), "cannot be read", "no "),
        (Fault::Json(200, ""), "cannot be read", "no "),
        (Fault::Truncated, "cannot be read", "no "),
        (Fault::Broken, "is not available", "error decoding response body"),
    ];
    for (fault, kind, reason) in cases {
        stub.fail(Route::List, 1, fault.clone());
        stub.fail(Route::Conversation, 1, fault.clone());
        let list = message(&vendor.list(&ListQuery::default()).await.unwrap_err());
        let one = message(&vendor.conversation("conv_1").await.unwrap_err());
        for text in [list, one] {
            assert!(text.contains(kind) && text.contains(reason), "{fault:?}: {text}");
        }
    }
    assert_eq!(ids(&vendor.list(&ListQuery::default()).await.unwrap()), ["conv_1"]);
}

#[tokio::test]
async fn a_field_that_is_missing_costs_no_more_than_it_must() {
    let stub = held().await;
    let vendor = client(&stub);
    stub.fail(Route::List, 1, Fault::Without("next_cursor"));
    stub.fail(Route::List, 1, Fault::Without("has_more"));
    stub.fail(Route::List, 1, Fault::Without("conversations"));
    assert_eq!(ids(&vendor.list(&ListQuery::default()).await.unwrap()), ["conv_1"]);
    assert_eq!(ids(&vendor.list(&ListQuery::default()).await.unwrap()), ["conv_1"]);
    assert!(matches!(vendor.list(&ListQuery::default()).await, Err(VendorError::Malformed(_))));
    stub.fail(Route::Conversation, 1, Fault::Without("transcript"));
    stub.fail(Route::Conversation, 1, Fault::Without("conversation_id"));
    assert!(vendor.conversation("conv_1").await.is_ok());
    assert!(matches!(vendor.conversation("conv_1").await, Err(VendorError::Malformed(_))));
    let body = Call::new("conv_9", "agent_1", 0).body;
    stub.hold(Call::new("conv_1", "agent_1", 0).with_body(body));
    assert!(matches!(vendor.conversation("conv_1").await, Err(VendorError::Malformed(_))));
}

#[tokio::test]
async fn a_vendor_that_is_silent_or_away_is_not_waited_for() {
    let stub = held().await;
    let vendor = hasty(&stub);
    let started = Instant::now();
    for fault in [Fault::Hang, Fault::Stalled, Fault::Slow(Duration::from_secs(60))] {
        for route in [Route::List, Route::Conversation, Route::Audio] {
            stub.fail(route, 1, fault.clone());
        }
        let errors = [
            vendor.list(&ListQuery::default()).await.unwrap_err(),
            vendor.conversation("conv_1").await.unwrap_err(),
            recording(&vendor, "conv_1").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, VendorError::Unavailable { .. }), "{error:?}");
            assert!(message(&error).contains("timed out"), "{error}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    drop(stub);
    let gone = eventually("the stand-in is gone", || async {
        vendor.list(&ListQuery::default()).await.err().filter(|error| message(error).contains("refused"))
    });
    assert!(matches!(gone.await, VendorError::Unavailable { .. }));
}

#[tokio::test]
async fn what_is_too_large_is_not_read_to_its_end() {
    let stub = held().await;
    stub.hold(Call::new("conv_2", "agent_1", 1).with_audio(vec![1; 5_000]));
    let small = VendorSettings { max_conversation_bytes: 500, max_audio_bytes: 50_000, ..settings(&stub) };
    let vendor = Vendor::new(small).unwrap();
    stub.fail(Route::List, 1, Fault::Endless("application/json"));
    let list = vendor.list(&ListQuery::default()).await.unwrap_err();
    assert_eq!(list, VendorError::TooLarge(ingest::vendor::limits::MAX_PAGE_BYTES as u64));
    assert_eq!(vendor.conversation("conv_1").await, Err(VendorError::TooLarge(500)));
    assert_eq!(recording(&vendor, "conv_1").await, Err(VendorError::TooLarge(50_000)));
    stub.fail(Route::Audio, 1, Fault::Endless("audio/mpeg"));
    assert_eq!(recording(&vendor, "conv_2").await, Err(VendorError::TooLarge(50_000)));
    assert_eq!(recording(&vendor, "conv_2").await.unwrap().len(), 5_000);
}

#[tokio::test]
async fn a_recording_that_breaks_is_an_error_and_never_a_short_one() {
    let stub = held().await;
    let vendor = client(&stub);
    stub.fail(Route::Audio, 1, Fault::Broken);
    let chunks: Vec<_> = vendor.audio("conv_1").await.unwrap().bytes.collect().await;
    let (last, before) = chunks.split_last().unwrap();
    assert!(matches!(last, Err(VendorError::Unavailable { .. })));
    assert!(!before.is_empty() && before.iter().all(Result::is_ok));
    for fault in [Fault::Html(200, "<html>"), Fault::Json(200, "{}")] {
        stub.fail(Route::Audio, 1, fault);
        assert!(matches!(recording(&vendor, "conv_1").await, Err(VendorError::Malformed(_))));
    }
    for (fault, word) in [(Fault::InvalidKey, "refuses the key"), (Fault::Unavailable(None), "not available")]
    {
        stub.fail(Route::Audio, 1, fault);
        assert!(message(&recording(&vendor, "conv_1").await.unwrap_err()).contains(word));
    }
}

#[tokio::test]
async fn the_key_goes_to_nobody_else() {
    let (stub, other) = (held().await, held().await);
    let vendor = client(&stub);
    let place = format!("{}/v1/convai/conversations?cursor=secret", other.base);
    stub.fail(Route::List, 1, Fault::Redirect(place));
    let error = vendor.list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, VendorError::Malformed(_)));
    assert!(!message(&error).contains("secret"));
    assert!(other.asked().is_empty());
    assert!(!format!("{vendor:?}").contains(VENDOR_KEY));

    let stranger = VendorSettings { api_key: Secret::new("sk_wrong"), ..settings(&stub) };
    let error = Vendor::new(stranger).unwrap().list(&ListQuery::default()).await.unwrap_err();
    assert!(matches!(error, VendorError::Unauthorized(_)));
    let echo = r#"{"detail": "unknown key sk_test_key_of_the_vendor"}"#;
    stub.fail(Route::List, 1, Fault::Json(401, echo));
    assert!(message(&vendor.list(&ListQuery::default()).await.unwrap_err()).contains("[key]"));
}

#[tokio::test]
async fn asking_again_waits_as_long_as_the_vendor_said() {
    let stub = held().await;
    let (vendor, query) = (client(&stub), ListQuery::default());
    let retry = Retry { first_pause: Duration::from_millis(1), ..Retry::default() };
    stub.fail(Route::List, 1, Fault::TooMany(Some("1")));
    stub.fail(Route::List, 1, Fault::Html(502, "<html>"));
    stub.fail(Route::List, 1, Fault::Broken);
    let page = retry.run(|| vendor.list(&query)).await.unwrap();
    assert_eq!(ids(&page), ["conv_1"]);
    let times: Vec<_> = stub.asked().iter().map(|one| one.at).collect();
    assert_eq!(times.len(), 4);
    assert!(times[1] - times[0] >= Duration::from_secs(1), "asked again before Retry-After");

    stub.fail(Route::List, 9, Fault::Unavailable(None));
    assert!(retry.run(|| vendor.list(&query)).await.is_err());
    assert_eq!(stub.count(Route::List), 4 + 4, "no more than its attempts");
}

#[tokio::test]
async fn asking_again_stops_where_it_is_of_no_use() {
    let stub = held().await;
    let vendor = client(&stub);
    let retry = Retry { first_pause: Duration::from_millis(1), ..Retry::default() };
    let lasting = [
        Fault::InvalidKey,
        Fault::NotFound,
        Fault::Unprocessable,
        Fault::Truncated,
        Fault::TooMany(Some("3600")),
        Fault::Unavailable(Some("Fri, 21 Nov 2036 09:00:00 GMT")),
    ];
    for (n, fault) in lasting.into_iter().enumerate() {
        stub.fail(Route::Conversation, 1, fault);
        let error = retry.run(|| vendor.conversation("conv_1")).await.unwrap_err();
        assert_eq!(stub.count(Route::Conversation), n + 1, "{error}");
        let asked = error.retry_after();
        assert_eq!(asked, error.is_transient().then_some(Duration::from_secs(3600)));
    }
}

#[tokio::test]
async fn requests_are_evenly_spaced_however_many_ask_at_once() {
    let stub = held().await;
    let settings = VendorSettings { requests_per_second: 20.try_into().unwrap(), ..settings(&stub) };
    let vendor = Vendor::new(settings).unwrap();
    let asking = (0..8).map(|_| vendor.conversation("conv_1"));
    futures::future::try_join_all(asking).await.unwrap();
    let times: Vec<_> = stub.asked().iter().map(|one| one.at).collect();
    let took = times[7] - times[0];
    // Seven gaps of 50 ms, less what one request may lag behind another.
    assert!(took >= Duration::from_millis(300), "8 requests in {took:?}");
}

#[tokio::test]
async fn health_shows_the_vendor_without_hammering_it_or_failing_with_it() {
    let stub = held().await;
    let parts = Parts { vendor: Some(stub.settings()), ..Parts::fresh().await };
    let system = parts.start().await;
    for _ in 0..5 {
        let health = system.client.get("/api/v1/health").await;
        assert_eq!((health.status, &health.body["dependencies"]["elevenlabs"]), (200, &json!("connected")));
    }
    assert_eq!(stub.count(Route::List), 1);
    assert!(stub.asked()[0].uri.ends_with("?page_size=1"));
    assert!(system.client.get("/metrics").await.text.contains("turnlog_vendor_breaker_open"));

    for fault in [Fault::InvalidKey, Fault::Hang, Fault::Html(502, "<html>")] {
        let stub = held().await;
        stub.fail(Route::List, 9, fault);
        let parts = Parts { vendor: Some(stub.settings()), ..Parts::fresh().await };
        let system = parts.only(true, false, false).start().await;
        for path in ["/api/v1/health", "/health/ready"] {
            assert_eq!(system.client.get(path).await.status, 200, "events are taken without the vendor");
        }
        let health = system.client.get("/api/v1/health").await;
        assert_eq!(health.body["dependencies"]["elevenlabs"], "disconnected");
        assert_eq!(stub.count(Route::List), 1);
    }
}
