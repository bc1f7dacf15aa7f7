//! Conversations that the vendor has and the log has not: found, fetched, recorded once.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};
use ingest::WebhookSettings;
use ingest::reconcile::{OnceSettings, ReconcileSettings, Reconciled, Tally, Wanted, Window, run_once};
use ingest::vendor::{Retry, VendorSettings};
use ingest::webhooks::signature::sign;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::envelope::{Entry, Envelope, EventId, Origin};
use shared::events::{Event, Payload, RawJson, Recording, Report, Source, StoredObject, Unread};
use shared::http::AnyError;
use shared::log::Log;
use shared::objects::{ObjectName, Objects};
use shared::subjects;
use tests::vendor::{Call, Fault, Route, VENDOR_KEY, Vendor};
use tests::{Client, Parts, WEBHOOK_SECRET, command, eventually, free_port};
use tokio::io::AsyncReadExt;

const AGENT: &str = "agent_1";

/// A call that began so many minutes ago.
fn call(id: &str, minutes: i64) -> Call {
    Call::new(id, AGENT, Utc::now().timestamp() - 60 * minutes)
}

fn settings(vendor: &Vendor) -> VendorSettings {
    VendorSettings { requests_per_second: NonZeroU32::new(5_000).unwrap(), ..vendor.settings() }
}

/// Compares all the time, and gives up quickly.
fn busily() -> ReconcileSettings {
    let retry = Retry { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
    ReconcileSettings { every: Some(Duration::from_millis(100)), retry, ..ReconcileSettings::default() }
}

async fn parts(vendor: &Vendor, reconcile: ReconcileSettings) -> Parts {
    Parts { vendor: Some(settings(vendor)), reconcile, ..Parts::fresh().await }
}

/// The command's work, for the calls of the last day.
async fn once(parts: &Parts, wanted: Wanted) -> Result<Reconciled, AnyError> {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let objects = Objects::open(&parts.nats, "test").await.unwrap();
    let settings = OnceSettings {
        vendor: parts.vendor.clone(),
        webhooks: WebhookSettings::default(),
        reconcile: parts.reconcile.clone(),
    };
    let window = Window { after: Utc::now() - Duration::from_secs(86_400), before: Utc::now() };
    Box::pin(run_once(&log, &objects, settings, window, wanted, &mut |_| ())).await
}

async fn post_call(client: &Client, body: &Value) {
    let body =
        json!({"type": "post_call_transcription", "event_timestamp": Utc::now().timestamp(), "data": body});
    let body = body.to_string();
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), body.as_bytes());
    let request = client.request(Method::POST, "/api/v1/webhooks/elevenlabs");
    let reply = client.send(request.header("ElevenLabs-Signature", signature).body(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// Everything in the log.
async fn entries(parts: &Parts) -> Vec<Entry> {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let (mut entries, mut after) = (Vec::new(), 0);
    loop {
        let page = log.page_of(subjects::ALL, after).await.unwrap();
        let Some(last) = page.last() else { return entries };
        after = last.sequence;
        entries.extend(page);
    }
}

async fn events(parts: &Parts) -> Vec<Event> {
    entries(parts).await.iter().map(|entry| entry.decode().unwrap()).collect()
}

fn reports<'e>(events: &'e [Event]) -> Vec<&'e Report> {
    let of =
        |event: &'e Event| if let Event::ConversationReported(report) = event { Some(report) } else { None };
    events.iter().filter_map(of).collect()
}

fn recordings<'e>(events: &'e [Event]) -> Vec<&'e Recording> {
    let of =
        |event: &'e Event| if let Event::AudioStored(recording) = event { Some(recording) } else { None };
    events.iter().filter_map(of).collect()
}

fn messages(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::MessageRecorded(_))).count()
}

/// Waits until so many reports are in the log.
async fn reported(parts: &Parts, count: usize) -> Vec<Event> {
    eventually("the conversations are reported", || async {
        let events = events(parts).await;
        (reports(&events).len() >= count).then_some(events)
    })
    .await
}

/// Waits until the vendor was asked for its list so many more times.
async fn rounds(vendor: &Vendor, more: usize) {
    let wanted = vendor.count(Route::List) + more;
    eventually("further rounds", || async { (vendor.count(Route::List) >= wanted).then_some(()) }).await;
}

#[tokio::test]
async fn a_missed_webhook_is_found_and_recorded_as_coming_from_the_api() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_missed", 5));
    let system = parts(&vendor, busily()).await.start().await;
    let found = reported(&system.parts, 1).await;
    let report = reports(&found)[0];
    assert_eq!((report.source, report.kind.as_str()), (Source::ElevenlabsApi, "post_call_transcription"));
    let entry = entries(&system.parts).await.pop().unwrap();
    assert!(entry.request_id().unwrap().starts_with("reconcile-"));
    let path = format!("/api/conversation/conv_missed?after={}", entry.sequence);
    let shown = system.service().get(&path).await;
    let messages = &shown.body["conversation"]["messages"];
    assert_eq!(
        (&messages[0]["content"], &messages[1]["content"]),
        (&json!("Hello"), &json!("Guten Tag, 你好"))
    );
    rounds(&vendor, 3).await;
    assert_eq!((events(&system.parts).await.len(), vendor.count(Route::Conversation)), (found.len(), 1));
    let metrics = system.client.get("/metrics").await.text;
    for name in [
        "turnlog_reconciled_total{outcome=\"fetched\"}",
        "turnlog_reconcile_last_round_timestamp",
        "turnlog_reconcile_round_seconds_count",
        "turnlog_webhook_last_received_timestamp{source=\"elevenlabs_api\"}",
    ] {
        assert!(metrics.contains(name), "{name} is not in the metrics");
    }
}

#[tokio::test]
async fn webhooks_and_two_reconcilers_at_once_make_one_set_of_messages() {
    let vendor = Vendor::start().await;
    let calls: Vec<_> = (0..12).map(|n| call(&format!("conv_{n}"), n)).collect();
    calls.iter().cloned().for_each(|call| vendor.hold(call));
    let parts = parts(&vendor, busily()).await;
    let first = parts.start().await;
    let second = parts.only(true, false, false).start().await;
    for call in calls.iter().rev().take(6) {
        post_call(&second.client, &call.body).await;
    }
    eventually("every conversation is reported", || async {
        let events = events(&parts).await;
        let told: HashSet<_> = reports(&events).iter().map(|report| report.conversation_id.clone()).collect();
        (told.len() == 12).then_some(())
    })
    .await;
    rounds(&vendor, 4).await;
    let events = events(&parts).await;
    assert_eq!(messages(&events), 24);
    let from_the_api =
        reports(&events).iter().filter(|report| report.source == Source::ElevenlabsApi).count();
    assert_eq!(reports(&events).len() - from_the_api, 6);
    assert!((6..=12).contains(&from_the_api), "{from_the_api}");
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_thousand_listed_with_three_missing_cost_ten_pages_and_three_conversations() {
    let vendor = Vendor::start().await;
    let calls: Vec<_> = (0..1_000).map(|n| call(&format!("conv_{n}"), n + 1)).collect();
    calls.iter().cloned().for_each(|call| vendor.hold(call));
    let off = ReconcileSettings { every: None, ..ReconcileSettings::default() };
    let parts = parts(&vendor, off).await.only(true, false, false);
    let system = parts.start().await;
    let known = calls.iter().enumerate().filter(|(n, _)| ![0, 500, 999].contains(n));
    let posts = known.map(|(_, call)| post_call(&system.client, &call.body));
    stream::iter(posts).buffer_unordered(64).collect::<()>().await;
    let dry = once(&parts, Wanted { dry_run: true, ..Wanted::default() }).await.unwrap();
    assert_eq!((dry.tally.missing, vendor.count(Route::List), vendor.count(Route::Conversation)), (3, 10, 0));
    let done = once(&parts, Wanted::default()).await.unwrap();
    let expected = Tally { seen: 1_000, present: 997, fetched: 3, ..Tally::default() };
    assert_eq!((done.tally, done.reread), (expected, 0));
    assert_eq!((vendor.count(Route::List), vendor.count(Route::Conversation)), (20, 3));
    let again = once(&parts, Wanted::default()).await.unwrap();
    assert_eq!((again.tally.present, vendor.count(Route::Conversation)), (1_000, 3));
}

#[tokio::test]
async fn a_pause_that_the_vendor_asks_for_is_kept_within_a_round() {
    let vendor = Vendor::start().await;
    (0..3).for_each(|n| vendor.hold(call(&format!("conv_{n}"), n + 1)));
    let parts = parts(&vendor, ReconcileSettings::default()).await;
    vendor.fail(Route::Conversation, 1, Fault::TooMany(Some("1")));
    let done = once(&parts, Wanted::default()).await.unwrap();
    assert_eq!((done.tally.fetched, done.tally.failed), (3, 0));
    let asked = vendor.asked();
    assert_eq!(asked.len(), 5);
    assert!(asked[2].at - asked[1].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_longer_one_ends_the_round_and_the_next_one_takes_up_the_rest() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_1", 1));
    vendor.hold(call("conv_2", 2));
    vendor.fail(Route::Conversation, 1, Fault::TooMany(Some("1")));
    let system = parts(&vendor, busily()).await.start().await;
    reported(&system.parts, 2).await;
    let asked = vendor.asked();
    let refused = asked.iter().position(|asked| asked.route == Route::Conversation).unwrap();
    assert_eq!(asked[refused + 1].route, Route::List);
    assert!(asked[refused + 1].at - asked[refused].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_call_in_progress_is_waited_for_also_when_it_began_long_before_the_last_round() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_long", 200).with_status("in-progress"));
    let system = parts(&vendor, busily()).await.start().await;
    rounds(&vendor, 3).await;
    assert_eq!(vendor.count(Route::Conversation), 0);
    vendor.hold(call("conv_long", 200));
    reported(&system.parts, 1).await;
    // Nothing is waited for any more: the window closes up to its overlap.
    rounds(&vendor, 2).await;
    let last = vendor.asked().pop().unwrap().uri;
    let after = last.split("call_start_after_unix=").nth(1).unwrap().split('&').next().unwrap();
    let after = DateTime::from_timestamp(after.parse().unwrap(), 0).unwrap();
    assert!((Utc::now() - after).num_minutes() <= 61, "{last}");
}

#[tokio::test]
async fn one_that_cannot_be_fetched_keeps_none_of_the_others() {
    let vendor = Vendor::start().await;
    (1..=4).for_each(|n| vendor.hold(call(&format!("conv_{n}"), n)));
    vendor.fail(Route::Conversation, 1, Fault::Truncated);
    vendor.fail(Route::Conversation, 1, Fault::NotFound);
    vendor.fail(Route::Conversation, 1, Fault::Unavailable(None));
    let parts = parts(&vendor, ReconcileSettings { every: None, ..busily() }).await;
    let done = once(&parts, Wanted::default()).await.unwrap();
    let expected = Tally { seen: 4, fetched: 1, gone: 1, failed: 2, ..Tally::default() };
    assert_eq!(done.tally, expected);
    assert_eq!(once(&parts, Wanted::default()).await.unwrap().tally.fetched, 3);
}

#[tokio::test]
async fn a_recording_is_fetched_when_asked_for_and_stored_before_the_log_names_it() {
    let vendor = Vendor::start().await;
    // Longer than what stays in memory.
    let sound: Vec<u8> = (0..1_500_000_u32).flat_map(u32::to_le_bytes).take(1_500_000).collect();
    let told = call("conv_told", 1).with_audio(sound.clone());
    vendor.hold(told.clone());
    vendor.hold(call("conv_missed", 2).with_audio(b"ID3 short".to_vec()));
    vendor.hold(call("conv_silent", 3));
    let system = parts(&vendor, ReconcileSettings { every: None, ..busily() }).await.start().await;
    post_call(&system.client, &told.body).await;
    let without = once(&system.parts, Wanted::default()).await.unwrap();
    assert_eq!((without.tally.audio, without.tally.fetched, vendor.count(Route::Audio)), (0, 2, 0));
    let with = Wanted { audio: true, ..Wanted::default() };
    assert_eq!(once(&system.parts, with).await.unwrap().tally.audio, 2);
    assert_eq!(once(&system.parts, with).await.unwrap().tally.audio, 0);
    let events = events(&system.parts).await;
    let stored = recordings(&events);
    assert_eq!((stored.len(), vendor.count(Route::Audio)), (2, 2));
    assert_eq!(stored[0].conversation_id.as_str(), "conv_told");
    assert_eq!((stored[0].source, stored[0].media_type.as_str()), (Source::ElevenlabsApi, "audio/mpeg"));
    assert_eq!((stored[0].audio.bytes, stored[0].agent_id.as_deref()), (1_500_000, Some(AGENT)));
    let objects = Objects::open(&system.parts.nats, "test").await.unwrap();
    let name = ObjectName::parse(&stored[0].audio.object).unwrap();
    let mut kept = Vec::new();
    objects.get(name).await.unwrap().unwrap().read(0).read_to_end(&mut kept).await.unwrap();
    assert!(kept == sound);
}

#[tokio::test]
async fn conversations_of_other_agents_are_left_alone() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_ours", 1));
    vendor.hold(Call::new("conv_theirs", "agent_2", Utc::now().timestamp() - 60));
    let agents = format!("jung={AGENT}").parse().unwrap();
    let parts = parts(&vendor, ReconcileSettings { agents, ..busily() }).await;
    let done = once(&parts, Wanted::default()).await.unwrap();
    assert_eq!((done.tally.fetched, done.tally.unwanted, vendor.count(Route::Conversation)), (1, 1, 1));
}

#[tokio::test]
async fn a_vendor_that_is_down_stops_no_start_and_is_asked_again() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_1", 1));
    vendor.fail(Route::List, 2, Fault::Broken);
    vendor.fail(Route::List, 1, Fault::Html(502, "<html>"));
    let system = parts(&vendor, busily()).await.start().await;
    reported(&system.parts, 1).await;
    let mut nowhere = system.parts.only(true, false, false);
    let base = format!("http://127.0.0.1:{}", free_port());
    nowhere.vendor = Some(VendorSettings { base_url: base.parse().unwrap(), ..settings(&vendor) });
    let alone = nowhere.start().await;
    post_call(&alone.client, &call("conv_2", 1).body).await;
    alone.stop().await.unwrap();
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_round_is_clean() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_1", 1));
    vendor.fail(Route::Conversation, 1, Fault::Hang);
    let system = parts(&vendor, busily()).await.start().await;
    let parts = system.parts.clone();
    eventually("it is asked", || async { (vendor.count(Route::Conversation) == 1).then_some(()) }).await;
    tokio::time::timeout(Duration::from_secs(3), system.stop()).await.expect("it stops at once").unwrap();
    assert!(events(&parts).await.is_empty());
    let again = parts.start().await;
    reported(&again.parts, 1).await;
}

/// As an older version would have stored it that did not know the kind.
async fn publish_unread(parts: &Parts, body: &Value, payload: Payload) -> u64 {
    let (sha256, text) = (hex::encode(Sha256::digest(body.to_string())), body.to_string());
    let event = Event::WebhookReceived(Unread {
        source: Source::ElevenlabsWebhook,
        kind: Some("post_call_transcription".into()),
        reason: "its kind or its form is not known".into(),
        sha256,
        bytes: text.len() as u64,
        received_at: DateTime::from_timestamp(1_760_000_000, 0).unwrap(),
        payload,
    });
    let envelope =
        Envelope::wrap(event.subject(), EventId::random(), &event, &Origin::default(), Utc::now()).unwrap();
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let context = async_nats::jetstream::new(log.client().clone());
    let subject = envelope.subject.as_str().to_owned();
    context
        .publish_with_headers(subject, envelope.headers, envelope.body)
        .await
        .unwrap()
        .await
        .unwrap()
        .sequence
}

#[tokio::test]
async fn webhooks_that_an_older_version_did_not_understand_are_read_again() {
    let parts = Parts::fresh().await;
    let body =
        |id: &str| json!({"type": "post_call_transcription", "event_timestamp": 1, "data": call(id, 1).body});
    let (inline, large) = (body("conv_inline"), body("conv_large"));
    let json = |body: &Value| Payload::Json(RawJson::new(body.to_string()).unwrap());
    let unread = publish_unread(&parts, &inline, json(&inline)).await;
    let objects = Objects::open(&parts.nats, "test").await.unwrap();
    let name = ObjectName::of(Sha256::digest(large.to_string()).into());
    let text = large.to_string();
    objects.put(name, text.len() as u64, "application/json", text.as_bytes()).await.unwrap();
    let object = name.to_string();
    let stored = StoredObject { sha256: object.clone(), object, bytes: text.len() as u64 };
    publish_unread(&parts, &large, Payload::Object(stored)).await;
    publish_unread(&parts, &json!({"type": "of_next_year"}), json(&json!({"type": "of_next_year"}))).await;

    let system = parts.start().await;
    let events = reported(&parts, 2).await;
    let found = reports(&events);
    assert_eq!(
        (found[0].conversation_id.as_str(), found[0].source),
        ("conv_inline", Source::ElevenlabsWebhook)
    );
    assert_eq!(found[0].sha256, hex::encode(Sha256::digest(inline.to_string())));
    assert_eq!((found[1].conversation_id.as_str(), messages(&events)), ("conv_large", 4));

    // An older projector had set it aside.
    let end = entries(&parts).await.len() as u64;
    system.projected(end).await;
    let sequence = i64::try_from(unread).unwrap();
    sqlx::query(
        "INSERT INTO turnlog.parked (sequence, subject, event_type, event_id, reason, attempts)
         VALUES ($1, 's', 'turnlog.webhook.received.v1', 'e', 'r', 1)",
    )
    .bind(sequence)
    .execute(&mut system.tables().await)
    .await
    .unwrap();
    let retried = command(&parts, &["parked", "retry", &unread.to_string()], &[]).output().unwrap();
    assert!(retried.status.success(), "{}", String::from_utf8_lossy(&retried.stderr));
    system.stop().await.unwrap();

    // Once is enough.
    let vendor = Vendor::start().await;
    let parts = Parts { vendor: Some(settings(&vendor)), ..parts };
    assert_eq!(once(&parts, Wanted::default()).await.unwrap().reread, 0);
    assert_eq!(entries(&parts).await.len() as u64, end);
}

#[tokio::test]
async fn an_operator_does_it_by_hand() {
    let vendor = Vendor::start().await;
    vendor.hold(call("conv_1", 5).with_audio(b"ID3".to_vec()));
    vendor.hold(call("conv_2", 10));
    let parts = Parts::fresh().await;
    let set = [("ELEVENLABS_API_KEY", VENDOR_KEY), ("ELEVENLABS_BASE_URL", vendor.base.as_str())];
    let run = async |more: &[&str]| {
        let arguments = [&["reconcile"], more].concat();
        let mut child = command(&parts, &arguments, &set);
        let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, error) = run(&["--since", "1h", "--dry-run"]).await;
    assert_eq!((code, out.as_str()), (Some(0), "conv_1\nconv_2\n2 seen, 0 present, 2 missing\n"), "{error}");
    vendor.fail(Route::Conversation, 1, Fault::BadRequest);
    let (code, out, error) = run(&["--since", "1h", "--audio"]).await;
    assert_eq!((code, out.as_str()), (Some(1), "2 seen, 0 present, 1 fetched, 0 recordings, 1 failed\n"));
    assert!(error.contains("conv_1") && error.lines().count() == 1, "{error}");
    let (code, out, _) = run(&["--since", "2020-01-01T00:00:00Z", "--audio", "--json"]).await;
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &done["fetched"], &done["audio"], &done["present"]),
        (Some(0), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(run(&["--since", "soon"]).await.0, Some(2));
    assert_eq!(run(&["--since", "1h", "--until", "2h"]).await.0, Some(2));
    assert_eq!(recordings(&events(&parts).await).len(), 1);

    vendor.fail(Route::List, 1, Fault::Hang);
    let before = vendor.count(Route::List);
    let child = command(&parts, &["reconcile", "--since", "1h"], &set).spawn().unwrap();
    eventually("it asks", || async { (vendor.count(Route::List) > before).then_some(()) }).await;
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let stopped = child.wait_with_output().unwrap();
    let line = String::from_utf8(stopped.stderr).unwrap();
    assert_eq!((stopped.status.code(), line.lines().count()), (Some(1), 1), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_webhook_was_missed_is_fetched_into_its_conversation_once() {
    let vendor = Vendor::start().await;
    let system = parts(&vendor, busily()).await.start().await;
    let caller = system.client.login("RID001").await;
    let dream = json!({"dreamId": "d1", "rawTranscript": "I fell.", "recordedAt": "2025-01-08T07:30:00Z"});
    assert_eq!(caller.post("/api/v1/dreams", &dream).await.status, 200);
    let init = json!({"dreamId": "d1", "interpreterId": "jung"});
    let begun = caller.post("/api/v1/conversations/elevenlabs/init", &init).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    let ours = begun.body["data"]["conversationId"].as_str().unwrap().to_owned();
    let url = begun.body["data"]["signedUrl"].as_str().unwrap();
    let named = url.split("&conversation_id=").nth(1).unwrap().to_owned();
    vendor.hold(call(&named, 5));
    let found = reported(&system.parts, 1).await;
    let report = reports(&found)[0];
    assert_eq!((report.conversation_id.as_str(), report.session), (ours.as_str(), 1));
    rounds(&vendor, 3).await;
    assert_eq!(vendor.count(Route::Conversation), 1);
    assert_eq!(events(&system.parts).await.len(), found.len());
    // The webhook comes after all.
    post_call(&system.client, &call(&named, 5).body).await;
    assert_eq!(messages(&events(&system.parts).await), 2);
}
