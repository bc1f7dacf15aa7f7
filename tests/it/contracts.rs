//! Contracts are files: one golden payload for each event type and version, the list of problems.

use std::path::PathBuf;

use chrono::DateTime;
use serde_json::{Value, json};
use shared::envelope::{Entry, Envelope, EventId, Origin};
use shared::events::{
    Admin, AdminRemoval, Call, Claim, Correction, Discussion, Dream, EmotionalTone, Ending, Enrolment,
    Erasure, Event, Handover, Interpretation, Link, Message, Payload, RawJson, Recording, Refusal, Report,
    Revocation, Session, Sighting, Source, StoredObject, Unread, Viewer, Worker, WorkerRemoval,
};
use shared::ids::{Provider, Speaker, Timestamp};
use shared::problem::KINDS;
use shared::subjects::Subject;

/// Compares with the file in `tests/golden/`; `UPDATE_GOLDEN=1` writes it, to be read in the diff.
pub(crate) fn assert_golden(name: &str, value: &Value) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        text, golden,
        "{name} is not what it was (UPDATE_GOLDEN=1 writes it; a written event is never changed, add a version)"
    );
}

fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
    T::try_from(text.to_owned()).unwrap()
}

fn events() -> Vec<Event> {
    let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let message = Message {
        conversation_id: id("conv_abc123"),
        participant_id: Some(id("RID001")),
        ordinal: 1,
        message_id: Some(id("msg_xyz789")),
        idempotency_key: None,
        role: Speaker::User,
        content: "What is peripheral artery disease?".into(),
        timestamp: Timestamp::parse("2025-01-08T12:00:00+05:30", now).unwrap(),
        provider: Provider::Elevenlabs,
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    };
    let corrected = Message { content: "What is PAD?".into(), ..message.clone() };
    let enrolment = Enrolment {
        participant_id: id("RID001"),
        access_code_hash: Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".into()),
        name: Some("Ada".into()),
        age: Some(36),
        location: Some("London".into()),
    };
    let updated = Enrolment { access_code_hash: None, name: None, location: None, ..enrolment.clone() };
    vec![
        erased(now),
        Event::MessageRecorded(message),
        Event::MessageCorrected(Correction { first_sequence: 7, message: corrected, sent: None }),
        Event::ParticipantEnrolled(enrolment),
        Event::ParticipantUpdated(updated),
        Event::TokenRevoked(Revocation {
            token_id: "6a1fc27a-e9b7-734b-14ae-1f589a2f518a".into(),
            expires_at: now,
        }),
    ]
    .into_iter()
    .chain(told())
    .chain(called())
    .chain(dreamt())
    .collect()
}

/// The tombstone.
fn erased(now: DateTime<chrono::Utc>) -> Event {
    let participant_id = id("RID001");
    let key = Subject::participant(&participant_id).token().to_owned();
    Event::ParticipantErased(Erasure {
        participant_id,
        by: "ada".into(),
        erased_at: now,
        conversations: vec![Subject::conversation(&id("conv_abc123")).token().to_owned()],
        dreams: vec![Subject::dream(&id("7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11")).token().to_owned()],
        keys: vec![key],
        first_sequence: 3,
        last_sequence: 41,
        deleted_events: 0,
        deleted_webhooks: Vec::new(),
        deleted_objects: 2,
    })
}

/// Dreams, what is made of them, and the sessions in which they are talked about.
fn dreamt() -> Vec<Event> {
    let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let dream_id = || id("7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11");
    let conversation_id = || id("4b0c9d5e-2f6a-4c9e-8a37-1d2e3f405162");
    let dream = Dream {
        dream_id: dream_id(),
        participant_id: id("RID001"),
        raw_transcript: "I was flying over the sea, and then I fell.".into(),
        themes: vec!["flying".into(), "falling".into()],
        recorded_at: Timestamp::parse("2025-01-08T07:30:00+05:30", now).unwrap(),
    };
    vec![
        Event::DreamRecorded(dream.clone()),
        Event::DreamChanged(Dream { themes: Vec::new(), ..dream }),
        Event::DreamInterpreted(Interpretation {
            dream_id: dream_id(),
            participant_id: id("RID001"),
            interpreter_id: id("jung"),
            emotional_tone: EmotionalTone {
                primary: "anxiety".into(),
                secondary: Some("fear".into()),
                intensity: Some(0.8),
            },
            text: "Falling is a loss of control.".into(),
        }),
        Event::DreamDiscussed(Discussion {
            dream_id: dream_id(),
            participant_id: id("RID001"),
            interpreter_id: id("jung"),
            conversation_id: conversation_id(),
        }),
        Event::SessionOpened(Session {
            conversation_id: conversation_id(),
            participant_id: id("RID001"),
            number: 1,
            vendor_conversation_id: id("conv_01k0abc"),
            dream_id: dream_id(),
            interpreter_id: id("jung"),
            agent_id: "agent_1".into(),
            opened_at: now,
            expires_at: now + chrono::TimeDelta::minutes(15),
        }),
        Event::ConversationLinked(Link {
            conversation_id: id("conv_01k0abc"),
            continues: conversation_id(),
            participant_id: id("RID001"),
        }),
    ]
}

/// What happens to calls, and to those who work them.
fn called() -> Vec<Event> {
    let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let call = Call {
        conversation_id: id("conv_919325590143_20251003_115804"),
        call_id: id("call_919325590143_20251003_115804"),
        worker_id: id("worker_919325590143"),
        mobile_no: "+919325590143".into(),
        urgency: "CRITICAL".into(),
        medium: "Voice".into(),
        opened_at: Timestamp::parse("2025-10-03T11:58:04+05:30", now).unwrap(),
        admin_id: None,
    };
    let held = Call { admin_id: Some(id("admin_1")), ..call.clone() };
    let conversation_id = || id("conv_919325590143_20251003_115804");
    vec![
        Event::CallOpened(call.clone()),
        Event::CallChanged(Call { urgency: "LOW".into(), ..held.clone() }),
        Event::CallTakenOver(Handover { call: held.clone(), by: id("admin_1") }),
        Event::CallReleased(Handover { call, by: id("admin_1") }),
        Event::ConversationEnded(Ending {
            conversation_id: conversation_id(),
            call: Some(held),
            ended_at: Timestamp::from_parts(now, 0),
            by: Some(id("admin_1")),
        }),
        Event::ConversationSeen(Sighting {
            conversation_id: conversation_id(),
            by: Viewer::Admin(id("admin_1")),
            sequence: 7,
        }),
        Event::WorkerRegistered(Worker {
            worker_id: id("worker_919325590143"),
            company_id: id("acme"),
            mobile_no: "+919325590143".into(),
            name: Some("Asha".into()),
        }),
        Event::WorkerRemoved(WorkerRemoval { worker_id: id("worker_919325590143") }),
        Event::AdminRegistered(Admin {
            admin_id: id("admin_1"),
            company_id: id("acme"),
            name: Some("Ravi".into()),
        }),
        Event::AdminRemoved(AdminRemoval { admin_id: id("admin_1") }),
    ]
}

/// What others tell of conversations, and what they send that becomes none of them.
fn told() -> Vec<Event> {
    let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
    let sha256 = || "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    let object = |name: &str| StoredObject { object: name.into(), bytes: 2_097_152, sha256: sha256() };
    let body = r#"{"type": "post_call_transcription", "data":  {"status":"done"}}"#;
    vec![
        Event::ConversationClaimed(Claim {
            conversation_id: id("conv_abc123"),
            participant_id: id("RID001"),
        }),
        Event::ConversationReported(Report {
            conversation_id: id("conv_abc123"),
            participant_id: Some(id("RID001")),
            session: 0,
            source: Source::ElevenlabsWebhook,
            kind: "post_call_transcription".into(),
            reported_at: Some(now),
            sha256: sha256(),
            superseded: false,
            turns: vec![Some(1), None, Some(2)],
            payload: Payload::Json(RawJson::new(body.into()).unwrap()),
        }),
        Event::AudioStored(Recording {
            conversation_id: id("conv_abc123"),
            participant_id: Some(id("RID001")),
            session: 0,
            source: Source::ElevenlabsWebhook,
            agent_id: Some("agent_1".into()),
            reported_at: Some(now),
            audio: object("audio/e3b0c442"),
            media_type: "audio/mpeg".into(),
        }),
        Event::WebhookReceived(Unread {
            source: Source::ElevenlabsWebhook,
            kind: Some("voice_removed".into()),
            reason: "its type is not known".into(),
            sha256: sha256(),
            bytes: 2_097_152,
            received_at: now,
            payload: Payload::Object(object("body/e3b0c442")),
        }),
        Event::WebhookRefused(Refusal {
            source: Source::ConversationWebhook,
            reason: "bad_signature".into(),
            bytes: 0,
            sha256: sha256(),
            address: "192.0.2.7".into(),
        }),
    ]
}

#[test]
fn every_event_type_is_written_as_it_always_was_and_read_again() {
    let now = DateTime::parse_from_rfc3339("2026-01-02T03:04:05.678901Z").unwrap().to_utc();
    let origin = Origin {
        request_id: "req-1".into(),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    };
    for event in events() {
        let subject = event.subject();
        let event_id = EventId::natural(&subject, b"golden", 0);
        let envelope = Envelope::wrap(subject, event_id, &event, &origin, now).unwrap();
        let mut headers: Vec<_> = envelope
            .headers
            .iter()
            .map(|(name, values)| (name.to_string(), values[0].as_str().to_owned()))
            .collect();
        headers.sort();
        let data: Value = serde_json::from_slice(&envelope.body).unwrap();
        let headers: serde_json::Map<_, _> =
            headers.into_iter().map(|(name, value)| (name, json!(value))).collect();
        let golden = json!({"subject": envelope.subject.as_str(), "headers": headers, "data": data});
        assert_golden(&format!("{}.json", event.type_name()), &golden);
        let subject = envelope.subject.as_str().to_owned();
        let entry = Entry::new(1, now, subject, &envelope.headers, envelope.body);
        assert_eq!(entry.decode().unwrap(), event);
    }
}

#[test]
fn nothing_personal_is_in_subjects_ids_or_headers() {
    let now = DateTime::UNIX_EPOCH;
    for event in events() {
        let envelope =
            Envelope::wrap(event.subject(), EventId::random(), &event, &Origin::default(), now).unwrap();
        let outside = format!("{} {:?}", envelope.subject.as_str(), envelope.headers);
        for personal in
            ["RID001", "conv_abc123", "msg_xyz789", "artery", "Ada", "London", "argon2", "192.0.2.7"]
        {
            assert!(!outside.contains(personal), "{personal} in {outside}");
        }
    }
}

#[test]
fn unknown_fields_and_types_are_kept_apart() {
    let entry = |type_name: &str, subject: &Subject, data: Value| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("ce-type", type_name);
        let subject = subject.as_str().to_owned();
        Entry::new(1, DateTime::UNIX_EPOCH, subject, &headers, data.to_string().into())
    };
    let revoked = Event::TokenRevoked(Revocation { token_id: "t".into(), expires_at: DateTime::UNIX_EPOCH });
    let data = json!({"token_id": "t", "expires_at": "1970-01-01T00:00:00Z", "from_the_future": [1]});
    assert_eq!(
        entry("turnlog.token.revoked.v1", &revoked.subject(), data.clone()).decode().unwrap(),
        revoked
    );
    assert!(entry("turnlog.token.revoked.v9", &revoked.subject(), data.clone()).decode().is_err());
    assert!(entry("turnlog.token.revoked.v1", &Subject::conversation(&id("c")), data).decode().is_err());
}

#[test]
fn why_an_event_cannot_be_read_is_told_without_its_content() {
    let subject = Subject::conversation(&id("conv_abc123"));
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("ce-type", "turnlog.message.recorded.v1");
    let body =
        json!({"conversation_id": "conv_abc123", "ordinal": "my calves cramp", "role": "user"}).to_string();
    let subject = subject.as_str().to_owned();
    let entry = Entry::new(1, DateTime::UNIX_EPOCH, subject, &headers, body.into());
    let told = entry.decode().unwrap_err().to_string();
    assert!(told.contains("turnlog.message.recorded.v1") && told.contains("column"), "{told}");
    assert!(!told.contains("calves"), "{told}");
}

#[test]
fn the_list_of_problems_is_what_it_was() {
    let list: Vec<_> = KINDS
        .iter()
        .map(|kind| {
            let (status, slug, title) = kind.parts();
            json!({"type": format!("urn:turnlog:problem:{slug}"), "status": status.as_u16(), "title": title})
        })
        .collect();
    assert_golden("problems.json", &json!(list));
}
