//! Talks with interpreters: sessions of the vendor's within one conversation of ours.

mod failures;

use chrono::{DateTime, Utc};
use ingest::vendor::VendorSettings;
use ingest::webhooks::signature::sign;
use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::Who;
use shared::events::Event;
use shared::log::Log;
use shared::subjects::Subject;
use tests::vendor::{Call, Fault, Route, VENDOR_KEY, Vendor};
use tests::{Binary, Client, Parts, Reply, System, WEBHOOK_SECRET};

use crate::person;

const INIT: &str = "/api/v1/conversations/elevenlabs/init";
const REFRESH: &str = "/api/v1/conversations/elevenlabs/refresh-token";
const MESSAGES: &str = "/api/v1/conversations/messages";

async fn start(vendor: &Vendor) -> System {
    Parts { vendor: Some(vendor.settings()), ..Parts::fresh().await }.start().await
}

fn ok(reply: &Reply) -> &Value {
    assert_eq!(reply.status, 200, "{}", reply.text);
    &reply.body
}

async fn tell(caller: &Client, dream: &str, words: &str) {
    let body = json!({"dreamId": dream, "rawTranscript": words, "themes": ["flying"],
                      "recordedAt": "2025-01-08T07:30:00+05:30"});
    let reply = caller.post("/api/v1/dreams", &body).await;
    assert_eq!(ok(&reply)["data"]["dreamId"], dream);
}

async fn init(caller: &Client, dream: &str, interpreter: &str) -> Reply {
    caller.post(INIT, &json!({"dreamId": dream, "interpreterId": interpreter})).await
}

/// A session that was opened: its reply's `data`, and what the vendor calls it.
async fn begin(caller: &Client, dream: &str, interpreter: &str) -> (Value, String) {
    let reply = init(caller, dream, interpreter).await;
    let data = ok(&reply)["data"].clone();
    let id = vendor_id(&data);
    (data, id)
}

fn vendor_id(data: &Value) -> String {
    let url: reqwest::Url = data["signedUrl"].as_str().unwrap().parse().unwrap();
    url.query_pairs().find(|(name, _)| name == "conversation_id").unwrap().1.into_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn said(caller: &Client, conversation: &str, role: &str, content: &str, more: Value) -> Reply {
    let mut body = json!({"conversationId": conversation, "role": role, "content": content});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = caller.post(MESSAGES, &body).await;
    ok(&reply);
    reply
}

/// The vendor's webhook after a call of these turns: role, text, number.
async fn post_call(system: &System, id: &str, turns: &[(&str, &str, u64)]) -> u64 {
    let turns: Vec<_> = turns
        .iter()
        .map(|(role, text, number)| json!({"role": role, "message": text, "source_event_id": number, "time_in_call_secs": 1}))
        .collect();
    let mut body = Call::new(id, "agent_jung", Utc::now().timestamp() - 60).body;
    body["transcript"] = json!(turns);
    post(
        system,
        &json!({"type": "post_call_transcription", "event_timestamp": Utc::now().timestamp(), "data": body}),
    )
    .await
}

async fn post(system: &System, webhook: &Value) -> u64 {
    let body = webhook.to_string();
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), body.as_bytes());
    let request = system.client.request(Method::POST, "/api/v1/webhooks/elevenlabs");
    let reply = system.client.send(request.header("ElevenLabs-Signature", signature).body(body)).await;
    ok(&reply);
    reply.sequence()
}

/// What a conversation says: role and content, in its order.
async fn lines(caller: &Client, conversation: &str, after: u64) -> Vec<(String, String)> {
    let reply = caller.get(&format!("/api/conversation/{conversation}?after={after}")).await;
    let messages = ok(&reply)["conversation"]["messages"].as_array().unwrap();
    messages.iter().map(|one| (text(&one["role"]).to_owned(), text(&one["content"]).to_owned())).collect()
}

/// When sessions were opened, and until when, as tables have it.
async fn times_of_tables(system: &System) -> Vec<[DateTime<Utc>; 2]> {
    let rows = system.rows("SELECT opened_at, expires_at FROM turnlog.sessions ORDER BY number").await;
    rows.iter().map(|row| ["opened_at", "expires_at"].map(|name| text(&row[name]).parse().unwrap())).collect()
}

/// The same as the log has it, to the last digit.
async fn times_of_log(system: &System, conversation: &str) -> Vec<[DateTime<Utc>; 2]> {
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let subject = Subject::conversation(&conversation.to_owned().try_into().unwrap());
    let mut times = Vec::new();
    let read = log.read(&subject, 0, |entry| {
        if let Ok(Event::SessionOpened(session)) = entry.decode() {
            times.push([session.opened_at, session.expires_at]);
        }
    });
    read.await.unwrap();
    times
}

fn expected(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talk_begins_with_what_is_known_of_dreamer_and_dream() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    ok(&caller.put("/api/v1/profile", &json!({"name": "Ada", "age": 36, "location": "London"})).await);
    tell(&caller, "d1", "I was flying over the sea.").await;
    let tone = json!({"interpreterId": "jung", "text": "Flight.",
                      "emotionalTone": {"primary": "anxiety", "secondary": "fear", "intensity": 0.8}});
    ok(&caller.post("/api/v1/dreams/d1/interpretations", &tone).await);

    let reply = init(&caller, "d1", "jung").await;
    let body = ok(&reply);
    assert!(reply.sequence() > 0);
    let data = &body["data"];
    assert_eq!(body["success"], true);
    uuid::Uuid::parse_str(text(&data["conversationId"])).expect("it is a uuid");
    let variables = json!({
        "user_name": "Ada", "user_profile": "36 years old, from London",
        "dream_content": "I was flying over the sea.", "dream_emotions": ["anxiety", "fear"],
        "conversation_context": "", "interpreter_style": "archetypes, and the shadow",
    });
    assert_eq!(data["dynamicVariables"], variables);
    assert_eq!((&data["isResumed"], &data["messageCount"]), (&json!(false), &json!(0)));
    let names: Vec<_> = data.as_object().unwrap().keys().collect();
    assert_eq!(names, ["conversationId", "signedUrl", "dynamicVariables", "isResumed", "messageCount"]);
    let asked = &vendor.asked()[0];
    assert_eq!(
        asked.uri,
        "/v1/convai/conversation/get-signed-url?agent_id=agent_jung&include_conversation_id=true"
    );
    assert_eq!(asked.headers["xi-api-key"], VENDOR_KEY);

    let (other, _) = begin(&caller, "d1", "freud").await;
    assert_ne!(other["conversationId"], data["conversationId"], "another interpreter is another talk");
    assert_eq!(other["dynamicVariables"]["interpreter_style"], "");
    assert_eq!(other["dynamicVariables"]["dream_emotions"], json!(["anxiety", "fear"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_empty_and_never_null_or_a_refusal() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let (data, _) = begin(&caller, "d1", "freud").await;
    let empty = json!({"user_name": "", "user_profile": "", "dream_content": "I fell.", "dream_emotions": [],
                       "conversation_context": "", "interpreter_style": ""});
    assert_eq!(data["dynamicVariables"], empty);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talk_is_resumed_with_its_history_and_goes_on_in_one_conversation() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let (data, first) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]).to_owned();
    let mut feed = caller.feed(&id, None).await;
    assert_eq!(feed.expect("initial").await.data["messages"], json!([]));
    said(&caller, &id, "agent", "What did you dream?", json!({"eventId": 1})).await;
    said(&caller, &id, "user", "I fell.", json!({"eventId": 2})).await;
    let over = post_call(
        &system,
        &first,
        &[("agent", "What did you dream?", 1), ("user", "I fell.", 2), ("agent", "Where?", 3)],
    )
    .await;
    assert_eq!(feed.expect("new_messages").await.data["messages"][0]["content"], "What did you dream?");
    let validity = |id: String| {
        let caller = caller.clone();
        async move {
            ok(&caller.get(&format!("/api/v1/conversations/elevenlabs/validate-session/{id}")).await)["data"]
                .clone()
        }
    };
    assert_eq!(validity(id.clone()).await["reason"], "ended");
    assert_eq!(
        caller.get(&format!("/api/v1/conversations/{id}?after={over}")).await.body["status"],
        "completed"
    );

    let (data, second) = begin(&caller, "d1", "jung").await;
    assert_eq!((text(&data["conversationId"]), &data["isResumed"]), (id.as_str(), &json!(true)));
    assert_eq!(data["messageCount"], 3);
    assert_eq!(
        data["dynamicVariables"]["conversation_context"],
        "Interpreter: What did you dream?\nUser: I fell.\nInterpreter: Where?"
    );
    assert_ne!(first, second);
    assert_eq!(
        (&validity(id.clone()).await["valid"], &validity(id.clone()).await["reason"]),
        (&json!(true), &Value::Null)
    );
    said(&caller, &id, "agent", "Welcome back.", json!({"eventId": 1})).await;
    said(&caller, &id, "user", "I fell.", json!({"eventId": 2})).await;
    let last = post_call(
        &system,
        &second,
        &[("agent", "Welcome back.", 1), ("user", "I fell.", 2), ("agent", "Again?", 3)],
    )
    .await;
    let whole = expected(&[
        ("assistant", "What did you dream?"),
        ("user", "I fell."),
        ("assistant", "Where?"),
        ("assistant", "Welcome back."),
        ("user", "I fell."),
        ("assistant", "Again?"),
    ]);
    assert_eq!(lines(&caller, &id, last).await, whole);
    let sessions = system
        .rows("SELECT number, vendor_conversation_id AS id FROM turnlog.sessions ORDER BY number")
        .await;
    assert_eq!(sessions, [json!({"number": 1, "id": first}), json!({"number": 2, "id": second})]);
    assert_eq!(times_of_tables(&system).await, times_of_log(&system, &id).await);
    let reports = system.rows("SELECT session FROM turnlog.reports ORDER BY session").await;
    assert_eq!(reports, [json!({"session": 1}), json!({"session": 2})]);
    let mut told = 1;
    while told < 6 {
        let frame = feed.next().await.unwrap();
        match frame.event.as_str() {
            "new_messages" => told += frame.data["messages"].as_array().unwrap().len(),
            "conversation" => {
                assert_eq!((&frame.data["status"], &frame.data["session"]), (&json!("ACTIVE"), &json!(2)));
            }
            other => assert!(["heartbeat", "presence"].contains(&other), "{other}"),
        }
    }
    assert_eq!(told, 6, "each came over the feed, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_dreamer_talks_about_a_dream_and_only_with_an_interpreter_that_there_is() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let (caller, other) = (system.client.login("RID001").await, system.client.login("RID002").await);
    tell(&caller, "d1", "I fell.").await;
    let reply = init(&caller, "d1", "adler").await;
    reply.assert_problem(400);
    assert_eq!(
        reply.body["errors"][0],
        json!({"field": "interpreterId", "message": "must be one of freud, jung"})
    );
    let reply = caller.post(INIT, &json!({"dreamId": 7})).await;
    reply.assert_problem(400);
    assert_eq!(reply.bad_fields(), ["dreamId", "interpreterId"]);
    init(&other, "d1", "jung").await.assert_problem(403);
    init(&other, "d2", "jung").await.assert_problem(404);
    system.client.post(INIT, &json!({})).await.assert_problem(401);
    system.service().post(INIT, &json!({})).await.assert_problem(403);
    person(&system, &Who::Researcher("r".into())).post(INIT, &json!({})).await.assert_problem(403);
    assert_eq!(vendor.count(Route::SignedUrl), 0, "the vendor was asked nothing");

    let (data, named) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]);
    let last = said(&caller, id, "user", "Hello", json!({})).await.sequence();
    for id in [id, named.as_str()] {
        other.post(REFRESH, &json!({"conversationId": id})).await.assert_problem(403);
        other
            .get(&format!("/api/v1/conversations/elevenlabs/validate-session/{id}"))
            .await
            .assert_problem(403);
        other
            .post(MESSAGES, &json!({"conversationId": id, "role": "user", "content": "me"}))
            .await
            .assert_problem(403);
        other.get(&format!("/api/conversation/{id}?after={last}")).await.assert_problem(403);
    }
    caller.post(REFRESH, &json!({"conversationId": "nothing"})).await.assert_problem(404);
    caller.get("/api/v1/conversations/elevenlabs/validate-session/nothing").await.assert_problem(404);
    for (path, body) in [
        (
            "/api/v1/dreams",
            json!({"dreamId": "d1", "rawTranscript": "mine", "recordedAt": "2025-01-08T07:30:00Z"}),
        ),
        (
            "/api/v1/dreams/d1/interpretations",
            json!({"interpreterId": "jung", "text": "x", "emotionalTone": {"primary": "joy"}}),
        ),
    ] {
        other.post(path, &body).await.assert_problem(403);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_refreshed_while_the_talk_goes_on() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let (data, first) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]);
    let refreshed = caller.post(REFRESH, &json!({"conversationId": id})).await;
    let again = &ok(&refreshed)["data"];
    let second = vendor_id(again);
    assert_eq!(text(&again["conversationId"]), id);
    assert_ne!(first, second);
    let expires: DateTime<Utc> = text(&again["expiresAt"]).parse().unwrap();
    let left = expires - Utc::now();
    assert!(left.num_minutes() == 14 || left.num_minutes() == 15, "{left}");
    let validate = format!("/api/v1/conversations/elevenlabs/validate-session/{id}");
    let reply = caller.get(&validate).await;
    let whole = json!({"conversationId": id, "valid": true, "expiresAt": again["expiresAt"], "reason": null});
    assert_eq!(ok(&reply)["data"], whole);
    said(&caller, &second, "user", "Hello", json!({})).await;
    post_call(&system, &second, &[("user", "Hello", 1)]).await;
    caller.post(REFRESH, &json!({"conversationId": id})).await.assert_problem(409);

    let synced = crate::message("RID001", "Hello", crate::ids("conv_synced", "m1"));
    ok(&caller.post("/api/v1/chat/message", &synced).await);
    caller.post(REFRESH, &json!({"conversationId": "conv_synced"})).await.assert_problem(409);
    let reply = caller.get("/api/v1/conversations/elevenlabs/validate-session/conv_synced").await;
    let data =
        json!({"conversationId": "conv_synced", "valid": false, "expiresAt": null, "reason": "no_session"});
    assert_eq!(ok(&reply)["data"], data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talk_that_a_service_ended_is_resumed_by_init() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let (data, _) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]);
    said(&caller, id, "user", "Hello", json!({})).await;
    ok(&system.service().post(&format!("/api/conversation/{id}/end"), &json!({})).await);
    let validate = format!("/api/v1/conversations/elevenlabs/validate-session/{id}");
    assert_eq!(ok(&caller.get(&validate).await)["data"]["reason"], "ended");
    caller.post(REFRESH, &json!({"conversationId": id})).await.assert_problem(409);
    let late = said(&caller, id, "user", "Wait", json!({})).await.sequence();
    let late_of = |shown: &Reply| -> Vec<bool> {
        let messages = shown.body["conversation"]["messages"].as_array().unwrap();
        messages.iter().map(|message| message["late"] == true).collect()
    };
    let shown = caller.get(&format!("/api/conversation/{id}?after={late}")).await;
    assert_eq!(shown.body["conversation"]["status"], "ENDED");
    assert_eq!(late_of(&shown), [false, true]);

    let (data, _) = begin(&caller, "d1", "jung").await;
    assert_eq!((text(&data["conversationId"]), &data["isResumed"]), (id, &json!(true)));
    assert_eq!(ok(&caller.get(&validate).await)["data"]["valid"], true);
    let last = said(&caller, id, "user", "Here I am", json!({})).await.sequence();
    let shown = caller.get(&format!("/api/conversation/{id}?after={last}")).await;
    assert_eq!(shown.body["conversation"]["status"], "ACTIVE");
    assert_eq!(late_of(&shown), [false, true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_known_by_its_number_and_corrected_by_it() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let caller = system.client.login("RID001").await;
    tell(&caller, "d1", "I fell.").await;
    let (data, named) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]);
    let numbered = |number: u64| json!({"eventId": number, "timestamp": "2025-01-08T12:00:00+05:30"});
    let first = said(&caller, id, "agent", "What did you dream, and when?", numbered(1)).await;
    let own = text(&first.body["data"]["messageId"]).to_owned();
    assert_eq!(
        first.body["data"],
        json!({"conversationId": id, "messageId": own, "timestamp": "2025-01-08T12:00:00+05:30"})
    );
    let again = said(&caller, id, "agent", "What did you dream, and when?", numbered(1)).await;
    assert_eq!((again.sequence(), &again.body["data"]), (first.sequence(), &first.body["data"]));
    let by_session = said(&caller, &named, "assistant", "What did you dream,", json!({"event_id": 1})).await;
    assert_eq!(by_session.body["data"]["messageId"], own, "a correction, under the vendor's own id");
    assert!(by_session.sequence() > first.sequence());
    let user = said(&caller, id, "user", "Of the sea", numbered(1)).await;
    assert_ne!(user.body["data"]["messageId"], own, "the same number of another speaker");
    let free = said(&caller, id, "user", "Of ships", json!({})).await;
    let other = said(&caller, id, "user", "Of ships", json!({})).await;
    assert_ne!(free.body["data"]["messageId"], other.body["data"]["messageId"]);
    let given = said(&caller, id, "user", "Of home", json!({"messageId": "m-1", "eventId": 4})).await;
    assert_eq!(given.body["data"]["messageId"], "m-1");
    let last = post_call(
        &system,
        &named,
        &[
            ("agent", "What did you dream,", 1),
            ("user", "Of the sea", 2),
            ("user", "Of ships", 3),
            ("user", "Of ships", 3),
            ("user", "Of home.", 4),
            ("agent", "Good.", 5),
        ],
    )
    .await;
    let whole = expected(&[
        ("assistant", "What did you dream,"),
        ("user", "Of the sea"),
        ("user", "Of ships"),
        ("user", "Of ships"),
        ("user", "Of home."),
        ("assistant", "Good."),
    ]);
    assert_eq!(lines(&caller, id, last).await, whole);
    assert_eq!(lines(&caller, &named, last).await, whole, "the vendor's id opens the same conversation");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_a_repeat_where_there_is_neither_id_nor_number() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let send = |key: &'static str| {
        let body = json!({"conversationId": "conv_1", "role": "user", "content": "Hello"});
        let request = caller.request(Method::POST, MESSAGES).header("Idempotency-Key", key).json(&body);
        caller.send(request)
    };
    let (first, again, other) = (send("k1").await, send("k1").await, send("k2").await);
    assert_eq!(ok(&first)["data"]["messageId"], ok(&again)["data"]["messageId"]);
    assert_eq!(first.sequence(), again.sequence());
    assert_ne!(first.body["data"]["messageId"], ok(&other)["data"]["messageId"]);
    assert_eq!(lines(&caller, "conv_1", other.sequence()).await.len(), 2);
    let bad = caller
        .post(
            MESSAGES,
            &json!({"conversationId": "", "role": "system", "content": " ", "eventId": -1, "timestamp": "x"}),
        )
        .await;
    bad.assert_problem(400);
    assert_eq!(bad.bad_fields(), ["conversationId", "role", "content", "timestamp", "eventId"]);
    let theirs = json!({"conversationId": "standing.elevenlabs.RID002", "role": "user", "content": "x"});
    caller.post(MESSAGES, &theirs).await.assert_problem(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn inits_at_the_same_moment_are_sessions_of_one_conversation() {
    let vendor = Vendor::start().await;
    let parts = Parts { vendor: Some(vendor.settings()), ..Parts::fresh().await };
    let (one, two) = (parts.start().await, parts.only(true, false, false).start().await);
    let caller = one.client.login("RID001").await;
    let elsewhere = two.client.with(caller.token());
    tell(&caller, "d1", "I fell.").await;
    let all = (0..10).map(|turn| {
        let caller = if turn % 2 == 0 { &caller } else { &elsewhere };
        begin(caller, "d1", "jung")
    });
    let begun = futures::future::join_all(all).await;
    let first = &begun[0].0["conversationId"];
    assert!(begun.iter().all(|(data, _)| data["conversationId"] == *first));
    let last = said(&elsewhere, text(first), "user", "Hello", json!({"eventId": 1})).await;
    one.projected(last.sequence()).await;
    let numbers = one.rows("SELECT number FROM turnlog.sessions ORDER BY number").await;
    assert_eq!(numbers, (1..=10).map(|number| json!({"number": number})).collect::<Vec<_>>());
    // Told of at the other instance, which need not have opened it.
    let named = one
        .rows("SELECT vendor_conversation_id AS id FROM turnlog.sessions WHERE number < 3 ORDER BY number")
        .await;
    let (first_session, second_session) = (text(&named[0]["id"]), text(&named[1]["id"]));
    post_call(&two, first_session, &[("user", "One", 1)]).await;
    post_call(&one, second_session, &[("user", "Two", 1)]).await;
    let last = post_call(&two, second_session, &[("user", "Two", 1), ("agent", "Three", 2)]).await;
    let whole = [("user", "One"), ("user", "Two"), ("assistant", "Three"), ("user", "Hello")];
    assert_eq!(lines(&caller, text(first), last).await, expected(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn dreams_are_told_by_their_dreamers_and_by_services() {
    let system = System::start().await;
    let (caller, service) = (system.client.login("RID001").await, system.service());
    let dream = |more: Value| {
        let mut body = json!({"rawTranscript": "I flew.", "themes": ["flying"], "recordedAt": "2025-01-08T07:30:00+05:30"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let own = caller.post("/api/v1/dreams", &dream(json!({}))).await;
    let id = text(&ok(&own)["data"]["dreamId"]).to_owned();
    let request = |key: &str| caller.request(Method::POST, "/api/v1/dreams").header("Idempotency-Key", key);
    let first = caller.send(request("k").json(&dream(json!({})))).await;
    let again = caller.send(request("k").json(&dream(json!({})))).await;
    assert_ne!(first.body["data"]["dreamId"], id);
    assert_eq!((ok(&first), first.sequence()), (ok(&again), again.sequence()));
    let by_service =
        service.post("/api/v1/dreams", &dream(json!({"dreamId": "s1", "participantId": "RID001"}))).await;
    ok(&by_service);
    let nobody = service.post("/api/v1/dreams", &dream(json!({}))).await;
    nobody.assert_problem(400);
    assert_eq!(nobody.bad_fields(), ["participantId"]);
    caller.post("/api/v1/dreams", &dream(json!({"participantId": "RID002"}))).await.assert_problem(403);
    let bad =
        caller.post("/api/v1/dreams", &json!({"dreamId": "", "themes": ["", 7], "recordedAt": "x"})).await;
    bad.assert_problem(400);
    assert_eq!(bad.bad_fields(), ["dreamId", "rawTranscript", "themes[0]", "themes[1]", "recordedAt"]);
    let tone = |tone: Value| json!({"interpreterId": "jung", "text": "Flight.", "emotionalTone": tone});
    let path = format!("/api/v1/dreams/{id}/interpretations");
    let last = service.post(&path, &tone(json!({"primary": "joy", "intensity": 1}))).await;
    assert_eq!(ok(&last)["data"]["interpreterId"], "jung");
    let bad = caller.post(&path, &tone(json!({"primary": 1, "intensity": 1.5}))).await;
    bad.assert_problem(400);
    assert_eq!(bad.bad_fields(), ["emotionalTone.primary", "emotionalTone.intensity"]);
    service
        .post("/api/v1/dreams/nothing/interpretations", &tone(json!({"primary": "joy"})))
        .await
        .assert_problem(404);
    let changed =
        caller.post("/api/v1/dreams", &dream(json!({"dreamId": id, "rawTranscript": "I fell."}))).await;
    system.projected(changed.sequence()).await;
    let told = system
        .rows("SELECT raw_transcript, themes, participant_id FROM turnlog.dreams ORDER BY raw_transcript")
        .await;
    let row =
        |words: &str| json!({"raw_transcript": words, "themes": ["flying"], "participant_id": "RID001"});
    assert_eq!(told, [row("I fell."), row("I flew."), row("I flew.")]);
    let tones = system.rows("SELECT emotional_tone, text FROM turnlog.interpretations").await;
    assert_eq!(tones, [json!({"emotional_tone": {"primary": "joy", "intensity": 1.0}, "text": "Flight."})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_ways_in_bring_under_the_vendors_id_joins_the_talk() {
    let vendor = Vendor::start().await;
    let system = start(&vendor).await;
    let (caller, other) = (system.client.login("RID001").await, system.client.login("RID002").await);
    tell(&caller, "d1", "I fell.").await;
    let (data, named) = begin(&caller, "d1", "jung").await;
    let id = text(&data["conversationId"]);
    let synced = |who: &str, text: &str, own: &str| crate::message(who, text, crate::ids(&named, own));
    ok(&caller.post("/api/v1/chat/message", &synced("RID001", "One", "m1")).await);
    other.post("/api/v1/chat/message", &synced("RID002", "Mine", "m2")).await.assert_problem(403);
    let batch = json!({"messages": [synced("RID001", "Two", "m2"), synced("RID001", "One", "m1")]});
    let last = caller.post("/api/v1/chat/messages", &batch).await;
    assert_eq!(ok(&last)["success"], true);
    let told = json!({
        "emailId": "user@example.com", "accountId": "RID001", "conversationId": named,
        "transcript": [
            {"timestamp": "2025-01-08T12:00:00Z", "speaker": "user", "content": "One", "messageId": "m1"},
            {"timestamp": "2025-01-08T12:00:01Z", "speaker": "user", "content": "Two", "messageId": "m2"},
            {"timestamp": "2025-01-08T12:00:02Z", "speaker": "agent", "content": "Three", "messageId": "m3"},
        ],
        "metadata": {"agentId": "agent_jung", "duration": 9, "messageCount": 3, "platform": "web", "userAgent": "curl"},
    });
    let last = system.service().post("/api/v1/webhook/conversation", &told).await;
    ok(&last);
    let whole = expected(&[("user", "One"), ("user", "Two"), ("assistant", "Three")]);
    assert_eq!(lines(&caller, id, last.sequence()).await, whole);
    assert_eq!(system.rows("SELECT count(*)::int AS n FROM turnlog.conversations").await, [json!({"n": 1})]);
}
