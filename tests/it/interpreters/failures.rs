//! What a vendor that fails, or a page in a loop, does to talks.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_of_the_vendor_has_its_problem_and_gives_nothing_away() {
    let vendor = Vendor::start().await;
    let settings = VendorSettings { timeout: Duration::from_millis(300), ..vendor.settings() };
    let parts = Parts { vendor: Some(settings), ..Parts::fresh().await };
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let cases = [
        (Fault::InvalidKey, 502),
        (Fault::MissingPermissions, 502),
        (Fault::NotFound, 502),
        (Fault::Unprocessable, 502),
        (Fault::Html(200, "<html>"), 502),
        (Fault::Without("signed_url"), 502),
        (Fault::Json(200, r#"{"signed_url": null}"#), 502),
        (Fault::Json(200, r#"{"signed_url": "wss://host/x?conversation_signature=cvtkn_leak"}"#), 502),
        (
            Fault::Json(
                200,
                r#"{"signed_url": "wss://host/x?conversation_id=standing.x&conversation_signature=cvtkn_leak"}"#,
            ),
            502,
        ),
        (Fault::TooMany(Some("60")), 503),
        (Fault::Unavailable(Some("60")), 503),
        (Fault::Hang, 503),
    ];
    for (fault, status) in cases {
        vendor.fail(Route::SignedUrl, 1, fault.clone());
        let reply = init(&caller, "d1", "jung").await;
        reply.assert_problem(status);
        for secret in [VENDOR_KEY, "cvtkn_", "agent_jung", "127.0.0.1"] {
            assert!(!reply.text.contains(secret), "{fault:?}: {}", reply.text);
        }
        let wait =
            reply.headers.get("retry-after").map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
        match (&fault, status) {
            (Fault::TooMany(_) | Fault::Unavailable(_), _) => assert_eq!(wait, Some(60), "{fault:?}"),
            (_, 503) => assert!(wait.is_some_and(|wait| wait > 0), "{fault:?}"),
            _ => assert_eq!(wait, None, "{fault:?}"),
        }
    }
    // Nothing of it is left behind: the talk begins as if nothing had been.
    let (data, _) = begin(&caller, "d1", "jung").await;
    assert_eq!((&data["isResumed"], &data["messageCount"]), (&json!(false), &json!(0)));
    assert_eq!(system.client.get("/api/v1/health").await.body["dependencies"]["elevenlabs"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_noticed_and_asked_no_more_until_it_is_over() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    vendor.fail(Route::SignedUrl, 5, Fault::Html(500, "away"));
    while vendor.count(Route::SignedUrl) < 5 {
        init(&caller, "d1", "jung").await.assert_problem(503);
    }
    let refused = init(&caller, "d1", "jung").await;
    refused.assert_problem(503);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(vendor.count(Route::SignedUrl), 5, "it is not asked");
    assert_eq!(system.client.get("/api/v1/health").await.body["dependencies"]["elevenlabs"], "disconnected");
    ok(&caller
        .post(MESSAGES, &json!({"conversationId": "conv_1", "role": "user", "content": "still"}))
        .await);
    tests::eventually("the vendor is asked again", || async {
        (init(&caller, "d1", "jung").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_conversation_that_was_given_before_is_no_session() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let (caller, other) = (system.client.login("RID001").await, system.client.login("RID002").await);
    tell(&caller, "d1", "I fell.").await;
    tell(&other, "d2", "I flew.").await;
    let url = r#"{"signed_url": "wss://host/x?conversation_id=conv_same&conversation_signature=cvtkn_x"}"#;
    vendor.fail(Route::SignedUrl, 2, Fault::Json(200, url));
    begin(&caller, "d1", "jung").await;
    init(&other, "d2", "jung").await.assert_problem(502);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_can_be_opened_and_the_rest_goes_on() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let reply = init(&caller, "d1", "jung").await;
    reply.assert_problem(503);
    assert!(text(&reply.body["detail"]).contains("ELEVENLABS_API_KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_loop_is_slowed_down() {
    let vendor = Vendor::start().await;
    let parts =
        Parts { vendor: Some(vendor.settings()), sessions_per_participant: 2, ..Parts::fresh().await };
    let system = parts.start().await;
    let (caller, other) = (system.client.login("RID001").await, system.client.login("RID002").await);
    tell(&caller, "d1", "I fell.").await;
    let (data, _) = begin(&caller, "d1", "jung").await;
    ok(&caller.post(REFRESH, &json!({"conversationId": data["conversationId"]})).await);
    let reply = init(&caller, "d1", "jung").await;
    reply.assert_problem(429);
    assert!(reply.headers.contains_key("retry-after") && reply.headers.contains_key("ratelimit-limit"));
    init(&other, "nothing", "jung").await.assert_problem(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_key_nor_a_signed_url_is_ever_logged() {
    let vendor = Vendor::start().await;
    let settings = [
        ("ELEVENLABS_API_KEY", VENDOR_KEY),
        ("ELEVENLABS_BASE_URL", &vendor.base),
        ("ELEVENLABS_AGENTS", "jung=agent_jung"),
        ("INTERPRETER_STYLES", r#"{"jung": "archetypes"}"#),
        ("LOG_LEVEL", "trace"),
    ];
    let ingest = Binary::serve_with("ingest", &Parts::fresh().await, &settings).await;
    let caller = ingest.client.login("RID001").await;
    tell(&caller, "d1", "I fell from the roof of my house.").await;
    let (data, _) = begin(&caller, "d1", "jung").await;
    assert_eq!(data["dynamicVariables"]["interpreter_style"], "archetypes");
    ok(&caller.post(REFRESH, &json!({"conversationId": data["conversationId"]})).await);
    let leaking = r#"{"detail": "no such conversation_signature=cvtkn_9 of sk_test_key_of_the_vendor"}"#;
    let malformed = r#"{"signed_url": "wss://host/x?conversation_signature=cvtkn_9"}"#;
    for fault in
        [Fault::InvalidKey, Fault::Json(500, leaking), Fault::Json(200, malformed), Fault::Html(503, "x")]
    {
        vendor.fail(Route::SignedUrl, 3, fault);
        assert!(init(&caller, "d1", "jung").await.status >= 500);
    }
    let log = ingest.log();
    assert!(log.contains("get-signed-url") || log.contains(INIT), "it logs something: {log}");
    for secret in [VENDOR_KEY, "conversation_signature=cvtkn_minted", "roof of my house"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
