//! Every field of every type is judged, and none that is not goes out.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::events::{
    Admin, AdminRemoval, Attachment, AttachmentKind, Call, Claim, Correction, DeletedWebhooks, Discussion,
    Dream, EmotionalTone, Ending, Enrolment, Erasure, Event, Handover, Interpretation, Link, Message,
    Payload, RawJson, Recording, Refusal, Report, Revocation, Session, Sighting, Source, StoredObject,
    Unread, Viewer, Worker, WorkerRemoval,
};
use shared::ids::{Provider, Speaker, Timestamp};
use shared::report::Reading;

use super::*;
use crate::deid::{Disguise, ExportKey, Pseudonyms, walk};
use crate::fold::{Fact, State};

/// Stands in every text, so that a raw one shows.
const RAW: &str = "RAW7";

fn id<T: TryFrom<String>>() -> T {
    T::try_from(RAW.to_owned()).unwrap_or_else(|_| panic!("no id"))
}

fn text() -> String {
    RAW.to_owned()
}

fn time() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600, 0).unwrap()
}

fn said() -> Timestamp {
    Timestamp::from_parts(time(), 19_800)
}

fn stored() -> StoredObject {
    StoredObject { object: text(), bytes: 1, sha256: text() }
}

fn message() -> Message {
    let attachment = Attachment {
        kind: AttachmentKind::Image,
        url: Some(text()),
        media_id: Some(text()),
        bytes: Some(1),
        media_type: Some("image/jpeg".into()),
        latitude: Some(52.5),
        longitude: Some(13.4),
        name: Some(text()),
    };
    Message {
        conversation_id: id(),
        participant_id: Some(id()),
        ordinal: 1,
        message_id: Some(id()),
        idempotency_key: Some(id()),
        role: Speaker::User,
        content: "said".into(),
        timestamp: said(),
        provider: Provider::Elevenlabs,
        inserted_at: Some(1),
        event_id: Some(1),
        reported: true,
        original: Some("said".into()),
        sources: Some("said".into()),
        attachments: vec![attachment],
        late: true,
        session: 1,
    }
}

fn call() -> Call {
    Call {
        conversation_id: id(),
        call_id: id(),
        worker_id: id(),
        mobile_no: text(),
        urgency: "LOW".into(),
        medium: "Voice".into(),
        opened_at: said(),
        admin_id: Some(id()),
    }
}

fn report() -> Report {
    let payload = json!({
        "type": "post_call_transcription", "event_timestamp": 1,
        "data": {
            "agent_id": RAW, "conversation_id": RAW, "user_id": RAW, "status": "done", "transcript": [
                {"role": "user", "message": "said", "time_in_call_secs": 1},
            ],
            "metadata": {"start_time_unix_secs": 1, "phone_call": {"external_number": RAW}},
            "conversation_initiation_client_data": {"dynamic_variables": {"user_name": RAW, "dream_id": RAW}},
        },
    });
    Report {
        conversation_id: id(),
        participant_id: Some(id()),
        source: Source::ElevenlabsWebhook,
        kind: "post_call_transcription".into(),
        session: 1,
        reported_at: Some(time()),
        sha256: text(),
        superseded: false,
        turns: vec![Some(1), None],
        payload: Payload::Json(RawJson::new(payload.to_string()).unwrap()),
    }
}

fn recording() -> Recording {
    Recording {
        conversation_id: id(),
        participant_id: Some(id()),
        session: 1,
        source: Source::ElevenlabsWebhook,
        agent_id: Some(text()),
        reported_at: Some(time()),
        audio: stored(),
        media_type: "audio/mpeg".into(),
    }
}

fn session() -> Session {
    Session {
        conversation_id: id(),
        participant_id: id(),
        number: 1,
        vendor_conversation_id: id(),
        dream_id: id(),
        interpreter_id: "jung".to_owned().try_into().unwrap(),
        agent_id: text(),
        opened_at: time(),
        expires_at: time(),
    }
}

/// Every type with every field set. A field that joins a type does not compile here until it is set, and then fails the
/// test until it has a rule.
fn everything() -> Vec<Event> {
    let dream = Dream {
        dream_id: id(),
        participant_id: id(),
        raw_transcript: "said".into(),
        themes: vec!["falling".into()],
        recorded_at: said(),
    };
    let enrolment = Enrolment {
        participant_id: id(),
        access_code_hash: Some(text()),
        name: Some(text()),
        age: Some(36),
        location: Some(text()),
    };
    let tone = EmotionalTone { primary: "fear".into(), secondary: Some("joy".into()), intensity: Some(0.5) };
    let sighting = |by| Event::ConversationSeen(Sighting { conversation_id: id(), by, sequence: 1 });
    let unread = |payload| {
        Event::WebhookReceived(Unread {
            source: Source::ElevenlabsWebhook,
            kind: Some("voice_removed".into()),
            reason: text(),
            sha256: text(),
            bytes: 1,
            received_at: time(),
            payload,
        })
    };
    let raw = Payload::Json(RawJson::new(json!({"anything": RAW}).to_string()).unwrap());
    vec![
        Event::MessageRecorded(message()),
        Event::MessageCorrected(Correction {
            first_sequence: 1,
            message: message(),
            sent: Some("said".into()),
        }),
        Event::ParticipantEnrolled(enrolment.clone()),
        Event::ParticipantUpdated(enrolment),
        Event::TokenRevoked(Revocation { token_id: text(), expires_at: time() }),
        Event::ConversationClaimed(Claim { conversation_id: id(), participant_id: id() }),
        Event::ConversationReported(report()),
        Event::ConversationReported(Report {
            payload: Payload::Object(stored()),
            superseded: true,
            ..report()
        }),
        Event::AudioStored(recording()),
        unread(raw),
        unread(Payload::Object(stored())),
        Event::WebhookRefused(Refusal {
            source: Source::ConversationWebhook,
            reason: "bad_signature".into(),
            bytes: 1,
            sha256: text(),
            address: text(),
        }),
        Event::CallOpened(call()),
        Event::CallChanged(call()),
        Event::CallTakenOver(Handover { call: call(), by: id() }),
        Event::CallReleased(Handover { call: call(), by: id() }),
        Event::ConversationEnded(Ending {
            conversation_id: id(),
            call: Some(call()),
            ended_at: said(),
            by: Some(id()),
        }),
        sighting(Viewer::Admin(id())),
        sighting(Viewer::Participant(id())),
        Event::WorkerRegistered(Worker {
            worker_id: id(),
            company_id: id(),
            mobile_no: text(),
            name: Some(text()),
        }),
        Event::WorkerRemoved(WorkerRemoval { worker_id: id() }),
        Event::AdminRegistered(Admin { admin_id: id(), company_id: id(), name: Some(text()) }),
        Event::AdminRemoved(AdminRemoval { admin_id: id() }),
        Event::DreamRecorded(dream.clone()),
        Event::DreamChanged(dream),
        Event::DreamInterpreted(Interpretation {
            dream_id: id(),
            participant_id: id(),
            interpreter_id: "jung".to_owned().try_into().unwrap(),
            emotional_tone: tone,
            text: "said".into(),
        }),
        Event::DreamDiscussed(Discussion {
            dream_id: id(),
            participant_id: id(),
            interpreter_id: "jung".to_owned().try_into().unwrap(),
            conversation_id: id(),
        }),
        Event::SessionOpened(session()),
        Event::ConversationLinked(Link { conversation_id: id(), continues: id(), participant_id: id() }),
        Event::ParticipantErased(Erasure {
            participant_id: id(),
            by: text(),
            erased_at: time(),
            conversations: vec![text()],
            dreams: vec![text()],
            keys: vec![text()],
            first_sequence: 1,
            last_sequence: 2,
            deleted_events: 1,
            deleted_webhooks: vec![DeletedWebhooks {
                source: Source::ElevenlabsWebhook,
                events: 1,
                last_at: time(),
            }],
            deleted_objects: 1,
        }),
    ]
}

/// Paths that nobody judged.
fn unjudged(rule: Option<Rule>, value: &Value, path: &str) -> Vec<String> {
    match (rule, value) {
        (Some(Drop), _) | (Some(_), Value::Null) => Vec::new(),
        (Some(List(rule)), Value::Array(items)) => {
            items.iter().flat_map(|item| unjudged(Some(*rule), item, &format!("{path}[]"))).collect()
        }
        (Some(rule @ (Fields(_) | TextOr(_) | Each(_))), Value::Object(fields)) => {
            let judge = |(name, value): (&String, &Value)| {
                unjudged(rule.field(name), value, &format!("{path}.{name}"))
            };
            fields.iter().flat_map(judge).collect()
        }
        (Some(Fields(_) | Each(_) | List(_)), _) | (None, _) | (_, Value::Array(_) | Value::Object(_)) => {
            vec![path.to_owned()]
        }
        (Some(_), _) => Vec::new(),
    }
}

fn disguise() -> Disguise {
    let names = Some(Pseudonyms::under(&ExportKey::random().unwrap()));
    Disguise { names, detector: None, found: Vec::new(), path: String::new(), left_out: 0 }
}

#[test]
fn every_field_of_every_event_is_judged_and_no_id_goes_out_raw() {
    for event in everything() {
        let (name, json) = (event.type_name(), String::from_utf8(event.to_json().unwrap()).unwrap());
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(unjudged(Some(rule_of(&event)), &value, name), Vec::<String>::new());
        let shown = walk::rewrite(&mut disguise(), Some(rule_of(&event)), &json).unwrap();
        assert!(!shown.contains(RAW), "{name}: {shown}");
        assert!(serde_json::from_str::<Value>(&shown).is_ok(), "{name}: {shown}");
    }
}

#[test]
fn every_golden_event_is_judged() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut types = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("turnlog.") {
            continue;
        }
        let golden: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = golden["headers"]["ce-type"].as_str().unwrap();
        let event = Event::from_json(name, golden["data"].to_string().as_bytes()).unwrap().unwrap();
        assert_eq!(unjudged(Some(rule_of(&event)), &golden["data"], name), Vec::<String>::new());
        types.insert(name.to_owned());
    }
    let filled: std::collections::BTreeSet<_> =
        everything().iter().map(|event| event.type_name().to_owned()).collect();
    assert_eq!(types, filled, "a type is in tests/golden or here, and not in both");
}

#[test]
fn every_field_of_the_columns_of_conversations_is_judged() {
    let (mut state, reading) = (State::default(), Reading::default());
    let events = [
        Event::SessionOpened(session()),
        Event::ConversationReported(report()),
        Event::AudioStored(recording()),
    ];
    for (event, sequence) in events.iter().zip(1..) {
        let reading = Some(&reading);
        state.take(&Fact { sequence, stored_at: 1, token: "t", event, reading });
    }
    let judged = state.row_of(|row| {
        let columns = [
            (row.texts.sessions, SESSIONS),
            (row.texts.reports, REPORTS),
            (row.texts.recordings, RECORDINGS),
        ];
        for (text, rule) in columns {
            let value: Value = serde_json::from_str(text.unwrap()).unwrap();
            assert_eq!(unjudged(Some(rule), &value, ""), Vec::<String>::new());
        }
    });
    assert!(judged.is_some());
}

#[test]
fn what_nobody_judged_is_left_out_and_counted() {
    let rule = Fields(&[
        ("known", Plain),
        ("word", Word),
        ("number", Number),
        ("said", Text),
        ("list", List(&Plain)),
    ]);
    let json = r#"{"known": 1, "word": "RAW7", "number": "RAW7", "said": {"RAW7": 1}, "list": {"RAW7": "RAW7"},
                   "RAW7": 1, "new": ["RAW7"], "known": "x"}"#;
    let mut disguise = disguise();
    let shown = walk::rewrite(&mut disguise, Some(rule), json).unwrap();
    assert_eq!(shown, r#"{"known":1,"word":null,"number":null,"said":null,"list":null,"known":"x"}"#);
    assert_eq!(disguise.left_out, 6);
    assert_eq!(walk::rewrite(&mut disguise, Some(rule), r#"{"known": "#), None);
    // Nested beyond what anybody means.
    let deep = "[".repeat(100_000);
    assert_eq!(walk::rewrite(&mut disguise, Some(rule), &deep), None);
}

#[test]
fn without_pseudonyms_nothing_is_left_out_and_every_text_that_nobody_knows_is_masked() {
    let detector = Some(crate::deid::detect::Detector::new(false));
    let mut disguise = Disguise { names: None, detector, ..disguise() };
    let json = r#"{"known":1.5,"new":{"a@example.com":["b@example.com",null,true,9325590143]},"id":"c@example.com"}"#;
    let rule = Fields(&[("known", Plain), ("id", Id(Of::Email))]);
    let shown = walk::rewrite(&mut disguise, Some(rule), json).unwrap();
    assert_eq!(
        shown,
        r#"{"known":1.5,"new":{"[EMAIL]":["[EMAIL]",null,true,"[PHONE]"]},"id":"c@example.com"}"#
    );
    let paths: Vec<_> = disguise.found.iter().map(|found| found.path.as_str()).collect();
    assert_eq!(paths, ["*", "*.*", "*.*"]);
}
