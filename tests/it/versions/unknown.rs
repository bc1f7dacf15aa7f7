//! Events that a newer version wrote, seen by this one.

use async_nats::HeaderMap;
use chrono::Utc;
use serde_json::{Value, json};
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Event, Message};
use shared::ids::{ConversationId, ParticipantId, Provider, Speaker, Timestamp};
use shared::log::Log;
use shared::sealing::Sealing;
use shared::subjects::Subject;
use tempfile::TempDir;
use tests::{Parts, Program, System, command, eventually};

use super::upgrade::OF_NEWER;
use super::{exported, write};
use crate::rebuild::{Operator, indexed};
use crate::{ids, message, publish};

const OWNER: &str = "RID001";
const ANNOTATED: &str = "turnlog.message.annotated.v1";
const NINTH: &str = "turnlog.message.recorded.v9";

fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
    T::try_from(text.to_owned()).unwrap()
}

fn conversation(name: &str) -> String {
    Subject::conversation(&id::<ConversationId>(name)).as_str().to_owned()
}

fn said(conversation: &str, ordinal: u64) -> Event {
    Event::MessageRecorded(Message {
        conversation_id: id(conversation),
        participant_id: Some(id(OWNER)),
        ordinal,
        message_id: Some(id(&format!("m{ordinal}"))),
        idempotency_key: None,
        role: Speaker::User,
        content: format!("number {ordinal}"),
        timestamp: Timestamp::now(),
        provider: Provider::Elevenlabs,
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    })
}

/// Headers and body as a newer version writes them, sealed or not.
async fn newer(log: &Log, subject: &str, type_name: &str, body: Vec<u8>, sealed: bool) -> u64 {
    let event = said("any", 1);
    let (origin, now) = (Origin::default(), Utc::now());
    let mut envelope = Envelope::wrap(event.subject(), EventId::random(), &event, &origin, now).unwrap();
    envelope.headers.insert("ce-type", type_name);
    envelope.body = body.into();
    if sealed {
        let owner = Subject::participant(&id::<ParticipantId>(OWNER));
        let Sealing::With(key) = log.keyring().to_seal(owner.token()).await.unwrap() else {
            panic!("no key")
        };
        envelope.subject = Subject::conversation(&id::<ConversationId>("conv_1"));
        envelope = envelope.seal(owner.token(), &key).unwrap();
    }
    write(log, subject, envelope.headers, envelope.body.to_vec()).await
}

/// Three messages, and among them an annotation and a message of the ninth version, in clear and sealed; the last sequence.
async fn mixed(log: &Log) -> u64 {
    let subject = conversation("conv_1");
    let note = json!({"conversation_id": "conv_1", "first_sequence": 2, "note": "calm", "from": {"the": ["future"]}});
    let ninth = json!({"conversation": {"id": "conv_1"}, "ordinal": 2, "spoken": "number 2"});
    publish(log, &said("conv_1", 1)).await;
    newer(log, &subject, ANNOTATED, note.to_string().into(), false).await;
    newer(log, &subject, NINTH, ninth.to_string().into(), false).await;
    publish(log, &said("conv_1", 3)).await;
    newer(log, &subject, ANNOTATED, note.to_string().into(), true).await;
    newer(log, &subject, NINTH, ninth.to_string().into(), true).await;
    publish(log, &said("conv_1", 5)).await
}

fn ended(parts: &Parts, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(parts, arguments, &[]).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_wrote_is_kept_passed_over_and_counted() {
    let system = System::start().await;
    let caller = system.client.login(OWNER).await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let first = publish(&log, &said("conv_1", 0)).await;
    system.projected(first).await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let last = mixed(&log).await;
    indexed(&system, last).await;

    // A feed passes over it: nothing is missing, and its ids can be gone on from, wherever they were cut.
    let mut heard = Vec::new();
    let mut ids_after = vec![];
    while heard.len() < 3 {
        let frame = feed.expect("new_messages").await;
        let messages = frame.data["messages"].as_array().unwrap().clone();
        heard.extend(messages.iter().map(|message| message["message_id"].as_str().unwrap().to_owned()));
        ids_after.push((frame.id.unwrap(), heard.len()));
    }
    assert_eq!(heard, ["m1", "m3", "m5"]);
    for (last_id, count) in ids_after.iter().filter(|(_, count)| *count < 3) {
        let mut again = caller.feed("conv_1", Some(last_id)).await;
        let frame = again.expect("new_messages").await;
        assert_eq!(frame.data["messages"].as_array().unwrap()[0]["message_id"], heard[*count]);
    }
    let shown = caller.get("/api/conversation/conv_1").await;
    let messages = shown.body["conversation"]["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 4, "{}", shown.text);

    // It waits, and is no fault.
    let parked = system.rows("SELECT event_type, reason FROM turnlog.parked ORDER BY sequence").await;
    let row = |event_type: &str| json!({"event_type": event_type, "reason": OF_NEWER});
    assert_eq!(parked, [row(ANNOTATED), row(NINTH), row(ANNOTATED), row(NINTH)]);
    let (code, status) = ended(&system.parts, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    let waiting = json!({"events": 4, "types": {ANNOTATED: 2, NINTH: 2}});
    assert_eq!((code, &status["parked"], &status["waiting"]), (Some(0), &json!(0), &waiting));
    let (_, status) = ended(&system.parts, &["status"]);
    let types = format!("{ANNOTATED}: 2, {NINTH}: 2");
    assert!(status.contains(&format!("waiting    4 for a newer version of turnlog: {types}\n")), "{status}");
    let (_, list) = ended(&system.parts, &["parked"]);
    assert_eq!(list.matches("  waiting  turnlog.message.").count(), 4, "{list}");
    let metrics = system.client.get("/metrics").await.text;
    for by in ["projector", "streamer"] {
        let counted = format!("turnlog_unknown_events_total{{by=\"{by}\",type=\"{ANNOTATED}\"}}");
        assert!(metrics.contains(&counted), "{by}: {metrics}");
    }

    // Trying again changes nothing as long as the version is the same one.
    let (code, said) = ended(&system.parts, &["parked", "retry"]);
    assert_eq!((code, said.matches("still parked: unknown type").count()), (Some(1), 4), "{said}");

    // Compared, made anew, exported.
    let operator = Operator::of(&system.parts).await;
    let (verified, differences) = operator.verify().await;
    assert_eq!((differences.len(), verified.waiting.to_string()), (0, types.clone()));
    let (code, said) = ended(&system.parts, &["verify"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("4 events are of a newer version and were passed over: {types}\n")),
        "{said}"
    );
    let (code, said) = ended(&system.parts, &["rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("4 events are of a newer version and were passed over"), "{said}");
    assert_eq!(operator.verify().await.1, []);
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    let (code, said) = ended(&system.parts, &["export", "--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("4 events are of a newer version and only among the events ({types})")),
        "{said}"
    );
    let events = exported(&out, "events");
    let of_type = |name: &str| events.iter().filter(|row| row["type"] == name).collect::<Vec<_>>();
    assert_eq!((of_type(ANNOTATED).len(), of_type(NINTH).len()), (2, 2));
    assert!(
        of_type(ANNOTATED).iter().all(|row| row["data"].as_str().unwrap().contains("future")),
        "{events:?}"
    );
    assert_eq!(exported(&out, "messages").len(), 4);
    let manifest = std::fs::read_to_string(out.join("datapackage.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["turnlog"]["unknown_events"], 4);

    // Who follows the log sees that there is something.
    let mut tail = Program::start(command(&system.parts, &["tail", "--conversation", "conv_1"], &[]).into());
    tail.until(&format!("! this version does not know the event type {NINTH}; a newer one does")).await;
    tail.until("number 5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_on_what_is_not_understood() {
    let system = System::start().await;
    let (caller, other) = (system.client.login(OWNER).await, system.client.login("RID002").await);
    let say =
        |conversation: &str, number: u32| message(OWNER, "hello", ids(conversation, &format!("n{number}")));
    assert_eq!(caller.post("/api/v1/chat/message", &say("conv_1", 1)).await.status, 200);
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    newer(&log, &conversation("conv_1"), NINTH, b"{}".to_vec(), false).await;
    let before = log.extent().await.unwrap().last;
    for _ in 0..2 {
        let refused = caller.post("/api/v1/chat/message", &say("conv_1", 2)).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.text.contains("A newer version of turnlog wrote here"), "{}", refused.text);
        assert!(refused.headers.contains_key("retry-after"));
    }
    assert_eq!(log.extent().await.unwrap().last, before, "nothing was stored");
    assert_eq!(
        caller.post("/api/v1/chat/message", &say("conv_2", 3)).await.status,
        200,
        "nobody else is hindered"
    );
    // Whether somebody may still come in is decided as well.
    let participant = Subject::participant(&id::<ParticipantId>("RID002"));
    newer(&log, participant.as_str(), "turnlog.participant.suspended.v1", b"{}".to_vec(), false).await;
    let profile = other.put("/api/v1/profile", &json!({"name": "Ada"})).await;
    assert_eq!(profile.status, 503, "{}", profile.text);
    let refused = system.client.post("/api/v1/auth/login", &json!({"research_id": "RID002"})).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    // What somebody else wrote to the log means nothing, and hinders nobody.
    newer(&log, &conversation("conv_2"), "com.example.thing", b"{}".to_vec(), false).await;
    let taken = caller.post("/api/v1/chat/message", &say("conv_2", 4)).await;
    assert_eq!(taken.status, 200, "{}", taken.text);
    let metrics = system.client.get("/metrics").await.text;
    let counted = "turnlog_unknown_events_total{by=\"ingest\",type=\"turnlog.participant.suspended.v1\"}";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_are_made_up_by_the_thousand_or_meant_to_harm_cost_little() {
    let system = System::start().await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let subject = conversation("conv_1");
    let first = publish(&log, &said("conv_1", 1)).await;
    let large = vec![b'x'; 1024 * 1024];
    newer(&log, &subject, ANNOTATED, large, false).await;
    newer(&log, &subject, "turnlog.message.\u{1b}[2Jrecorded.v1", b"\xff\x00{".to_vec(), false).await;
    newer(&log, &subject, &format!("turnlog.{}.v1", "x.".repeat(2_000)), Vec::new(), false).await;
    let secret = json!({"participant_id": OWNER, "access_code_hash": "$argon2id$secret"}).to_string();
    let participant = Subject::participant(&id::<ParticipantId>(OWNER));
    newer(&log, participant.as_str(), "turnlog.participant.enrolled.v2", secret.into(), false).await;
    let many = 10_000;
    for n in 0..many {
        let mut headers = HeaderMap::new();
        headers.insert("ce-type", format!("turnlog.made.up_{n}.v1").as_str());
        log.client().publish_with_headers(subject.clone(), headers, "{}".into()).await.unwrap();
    }
    log.client().flush().await.unwrap();
    let wanted = first + 4 + many;
    eventually("all are stored", || async { (log.extent().await.unwrap().last >= wanted).then_some(()) })
        .await;
    let last = publish(&log, &said("conv_1", 2)).await;
    system.projected(last).await;
    let (_, status) = ended(&system.parts, &["status", "--json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    // Two are nobody's of ours, and therefore faults.
    assert_eq!((&status["parked"], &status["waiting"]["events"]), (&json!(2), &json!(many + 2)), "{status}");
    assert!(status["waiting"]["types"].as_object().unwrap().len() <= 33, "{status}");
    let metrics = system.client.get("/metrics").await.text;
    let named =
        metrics.lines().filter(|line| line.starts_with("turnlog_unknown_events_total{by=\"projector\""));
    assert!(named.count() <= 33, "{metrics}");
    let (_, list) = ended(&system.parts, &["parked", "list"]);
    assert!(!list.contains('\u{1b}') && list.lines().count() as u64 == many + 4);
    let mut tail = Program::start(command(&system.parts, &["tail", "--conversation", "conv_1"], &[]).into());
    assert!(!tail.until("is none of turnlog's").await.contains('\u{1b}'));
    // What a newer version says of a participant may hold a secret that this one cannot find.
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    let (code, said) =
        ended(&system.parts, &["export", "--out", out.to_str().unwrap(), "--include", "events"]);
    assert_eq!(code, Some(0), "{said}");
    let events = exported(&out, "events");
    let enrolled = events.iter().find(|row| row["type"] == "turnlog.participant.enrolled.v2").unwrap();
    assert!(enrolled["data"].is_null(), "{enrolled}");
    assert!(said.len() < 4_000 && said.contains("other: "), "{said}");
}
