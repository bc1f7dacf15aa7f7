//! Leave to talk, as ElevenLabs gives and refuses it: people wait for it, and an outage must not pile them up.

use std::time::Duration;

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use ingest::vendor::limits::{
    FAILURES_TO_OPEN, FULL_RETRY_AFTER, LONGEST_BREAK, MAX_SIGNED_URL_BYTES, MAX_WAITING,
};
use ingest::vendor::{ListQuery, Vendor, VendorError, VendorSettings};
use tests::eventually;
use tests::vendor::{Fault, Route, VENDOR_KEY, Vendor as Stub};

const ANSWER_WITHOUT_AN_ID: &str =
    r#"{"signed_url": "wss://host/v1/convai/conversation?agent_id=a&conversation_signature=cvtkn_1"}"#;

fn client(stub: &Stub) -> Vendor {
    Vendor::new(stub.settings()).unwrap()
}

/// What an error says in a log, after a look at what it must not say.
fn text(error: &VendorError) -> String {
    let text = format!("{error} {error:?}");
    for secret in [VENDOR_KEY, "cvtkn", "://", "signed-url?"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[tokio::test]
async fn the_url_is_for_this_agent_and_says_its_conversation() {
    let stub = Stub::start().await;
    let vendor = client(&stub);
    let signed = vendor.signed_url("agent_1&x=é").await.unwrap();
    let asked = stub.asked().pop().unwrap();
    let query = asked.uri.strip_prefix("/v1/convai/conversation/get-signed-url?").unwrap();
    assert_eq!(query, "agent_id=agent_1%26x%3D%C3%A9&include_conversation_id=true");
    assert_eq!(asked.headers["xi-api-key"], VENDOR_KEY);
    assert!(signed.url.expose().ends_with(&format!("&conversation_id={}", signed.conversation_id)));
    assert!(signed.conversation_id.starts_with("conv_"));
    let shown = format!("{signed:?} {vendor:?}");
    assert!(!shown.contains("cvtkn") && !shown.contains(VENDOR_KEY), "{shown}");
    assert_ne!(vendor.signed_url("agent_1").await.unwrap().conversation_id, signed.conversation_id);
    assert!(vendor.is_up().await, "it was seen just now");
    assert_eq!(stub.count(Route::List), 0);
}

#[tokio::test]
async fn every_failure_is_told_apart_and_only_what_may_pass_is_asked_again() {
    let null = Fault::Json(200, r#"{"signed_url": null}"#);
    let cases = [
        ("refuses the key", 1, Fault::InvalidKey),
        ("refuses the key", 1, Fault::MissingPermissions),
        ("does not know", 1, Fault::NotFound),
        ("does not take", 1, Fault::Unprocessable),
        ("does not take", 1, Fault::BadRequest),
        ("cannot be read", 1, Fault::Html(200, "<html>")),
        ("cannot be read", 1, Fault::Truncated),
        ("cannot be read", 1, Fault::Without("signed_url")),
        ("cannot be read", 1, null),
        ("cannot be read", 1, Fault::Json(200, ANSWER_WITHOUT_AN_ID)),
        ("cannot be read", 1, Fault::Redirect("https://host/?secret=cvtkn".into())),
        ("more than", 1, Fault::Endless("application/json")),
        ("fewer requests", 1, Fault::TooMany(Some("3600"))),
        ("fewer requests", 3, Fault::TooMany(None)),
        ("not available", 1, Fault::Unavailable(Some("3600"))),
        ("not available", 3, Fault::Unavailable(None)),
        ("not available", 3, Fault::Html(500, "<html>")),
        ("not available", 3, Fault::Broken),
    ];
    let found = cases.map(|(words, requests, fault)| async move {
        let (stub, name) = (Stub::start().await, format!("{fault:?}"));
        stub.fail(Route::SignedUrl, 9, fault);
        let error = client(&stub).signed_url("agent_1").await.unwrap_err();
        assert!(text(&error).contains(words), "{name}: {error}");
        assert_eq!(stub.count(Route::SignedUrl), requests, "{name}");
        assert_eq!(error.retry_after(), name.contains("3600").then_some(Duration::from_secs(3600)), "{name}");
        assert_eq!(error.is_transient(), name.contains("3600") || requests > 1, "{name}");
        if let VendorError::TooLarge(bytes) = error {
            assert_eq!(bytes, MAX_SIGNED_URL_BYTES as u64);
        }
    });
    join_all(found).await;
}

#[tokio::test]
async fn a_failure_that_passes_is_not_noticed() {
    let stub = Stub::start().await;
    let vendor = client(&stub);
    stub.fail(Route::SignedUrl, 1, Fault::Html(502, "<html>"));
    stub.fail(Route::SignedUrl, 1, Fault::TooMany(Some("1")));
    vendor.signed_url("agent_1").await.unwrap();
    let times: Vec<_> = stub.asked().iter().map(|one| one.at).collect();
    assert_eq!(times.len(), 3);
    assert!(times[2] - times[1] >= Duration::from_secs(1), "asked again before Retry-After");
}

#[tokio::test]
async fn a_vendor_that_hangs_is_asked_once_and_no_longer_than_the_time_allows() {
    let stub = Stub::start().await;
    let vendor =
        Vendor::new(VendorSettings { timeout: Duration::from_millis(200), ..stub.settings() }).unwrap();
    for fault in [Fault::Hang, Fault::Stalled, Fault::Slow(Duration::from_secs(60))] {
        let before = stub.count(Route::SignedUrl);
        stub.fail(Route::SignedUrl, 1, fault);
        let error = vendor.signed_url("agent_1").await.unwrap_err();
        assert!(text(&error).contains("timed out"), "{error}");
        assert_eq!(stub.count(Route::SignedUrl), before + 1);
    }
    assert!(!vendor.is_up().await, "it was seen just now");
    assert_eq!(stub.count(Route::List), 0);
    let gone = stub.settings();
    drop(stub);
    let gone = eventually("the stand-in is gone", || async {
        let error = Vendor::new(gone.clone()).unwrap().signed_url("agent_1").await.err()?;
        Some(text(&error)).filter(|text| text.contains("refused"))
    });
    assert!(gone.await.contains("not available"));
}

#[tokio::test]
async fn people_do_not_wait_for_the_pace_of_the_reconciler() {
    let stub = Stub::start().await;
    let slow = VendorSettings { requests_per_second: 1.try_into().unwrap(), ..stub.settings() };
    let vendor = Vendor::new(slow).unwrap();
    vendor.list(&ListQuery::default()).await.unwrap();
    let asking = (0..20).map(|_| vendor.signed_url("agent_1"));
    assert!(join_all(asking).await.iter().all(Result::is_ok));
    let took = stub.asked()[0].at.elapsed();
    assert!(took < Duration::from_secs(10), "20 requests at one a second would take 20 s, not {took:?}");
}

#[tokio::test]
async fn a_vendor_that_is_away_is_left_alone_until_one_trial_finds_it_back() {
    let stub = Stub::start().await;
    let vendor = client(&stub);
    stub.fail(Route::SignedUrl, FAILURES_TO_OPEN as usize, Fault::Unavailable(None));
    for _ in 0..2 {
        assert!(vendor.signed_url("agent_1").await.is_err());
    }
    assert_eq!(stub.count(Route::SignedUrl), FAILURES_TO_OPEN as usize, "three, and two until it opened");
    let refused = join_all((0..1_000).map(|_| vendor.signed_url("agent_1"))).await;
    for error in refused.into_iter().map(Result::unwrap_err) {
        assert!(text(&error).contains("not available"), "{error}");
        assert!(error.retry_after().is_some_and(|left| left <= LONGEST_BREAK), "{error:?}");
    }
    assert_eq!(stub.count(Route::SignedUrl), FAILURES_TO_OPEN as usize);
    assert!(vendor.list(&ListQuery::default()).await.is_ok(), "the reconciler has its own patience");

    // The trial hangs; whoever comes meanwhile is refused, and when its caller leaves the next one tries.
    stub.fail(Route::SignedUrl, 1, Fault::Hang);
    let trial = eventually("the pause is over", || async {
        let mut trial = Box::pin(vendor.signed_url("agent_1"));
        tokio::select! {
            _refused = &mut trial => None,
            () = asked(&stub, FAILURES_TO_OPEN as usize + 1) => Some(trial),
        }
    })
    .await;
    assert!(vendor.signed_url("agent_1").await.is_err());
    drop(trial);
    assert!(vendor.signed_url("agent_1").await.is_ok());
    assert!(join_all((0..10).map(|_| vendor.signed_url("agent_1"))).await.iter().all(Result::is_ok));
    assert_eq!(stub.count(Route::SignedUrl), FAILURES_TO_OPEN as usize + 12);
}

#[tokio::test]
async fn an_outage_piles_up_no_more_than_so_many_requests() {
    let stub = Stub::start().await;
    let patient = VendorSettings { timeout: Duration::from_secs(600), ..stub.settings() };
    let vendor = Vendor::new(patient).unwrap();
    stub.fail(Route::SignedUrl, MAX_WAITING, Fault::Hang);
    let mut waiting: FuturesUnordered<_> = (0..300).map(|_| vendor.signed_url("agent_1")).collect();
    for _ in MAX_WAITING..300 {
        let error = waiting.next().await.unwrap().unwrap_err();
        assert_eq!(error.retry_after(), Some(FULL_RETRY_AFTER), "{}", text(&error));
    }
    tokio::select! {
        answer = waiting.next() => panic!("{answer:?}"),
        () = asked(&stub, MAX_WAITING) => {}
    }
    assert_eq!((waiting.len(), waiting.next().now_or_never()), (MAX_WAITING, None));
    assert!(vendor.list(&ListQuery::default()).await.is_ok(), "the reconciler goes on");
    drop(waiting);
    vendor.signed_url("agent_1").await.unwrap();
    assert_eq!(stub.count(Route::SignedUrl), MAX_WAITING + 1);
}

/// Waits until the stand-in was asked so often.
async fn asked(stub: &Stub, times: usize) {
    eventually("it is asked", || async { (stub.count(Route::SignedUrl) >= times).then_some(()) }).await;
}
