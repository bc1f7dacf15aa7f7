use async_nats::HeaderMap;
use chrono::{DateTime, Utc};
use shared::envelope::{Entry, Envelope, EventId, Origin};
use shared::ids::{Provider, Speaker, Timestamp};

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_736_337_600 + second, 0).unwrap()
}

fn message(conversation: &str, ordinal: u64, content: &str) -> Message {
    Message {
        conversation_id: conversation.to_owned().try_into().unwrap(),
        participant_id: Some("RID001".to_owned().try_into().unwrap()),
        ordinal,
        message_id: Some(format!("m{ordinal}").try_into().unwrap()),
        idempotency_key: None,
        role: Speaker::User,
        content: content.to_owned(),
        timestamp: Timestamp::from_parts(at(ordinal as i64), 19_800),
        provider: Provider::Elevenlabs,
        inserted_at: None,
        event_id: None,
        reported: false,
        original: None,
        sources: None,
        attachments: Vec::new(),
        late: false,
        session: 0,
    }
}

fn correction(first_sequence: u64, message: Message) -> Event {
    Event::MessageCorrected(Correction { first_sequence, message, sent: None })
}

fn enrolment(name: Option<&str>, age: Option<u16>) -> Enrolment {
    let participant_id = "RID001".to_owned().try_into().unwrap();
    Enrolment { participant_id, access_code_hash: None, name: name.map(str::to_owned), age, location: None }
}

/// An event as the log would hand it out at this sequence.
fn stored(sequence: u64, event: &Event) -> Entry {
    let sealed =
        Envelope::wrap(event.subject(), EventId::random(), event, &Origin::default(), at(0)).unwrap();
    let subject = sealed.subject.as_str().to_owned();
    let stored_at = at(100 + sequence as i64);
    Entry::new(sequence, stored_at, subject, &sealed.headers, sealed.body)
}

fn given(events: &[(u64, Event)]) -> Vec<Item> {
    events.iter().map(|(sequence, event)| stored(*sequence, event).into()).collect()
}

/// Folds the items once and, with every one of them doubled, again: it must make no difference.
fn folded(items: &[Item]) -> Changes<'_> {
    let mut folding = Folding::default();
    for item in items {
        folding.take(item);
        folding.take(item);
    }
    for item in items {
        folding.take(item);
    }
    let once = fold(items);
    assert_eq!(folding.changes, once);
    once
}

#[test]
fn messages_become_rows_and_each_conversation_one_row() {
    let items = given(&[
        (3, Event::MessageRecorded(message("a", 1, "hello"))),
        (4, Event::MessageRecorded(message("b", 7, "other"))),
        (9, Event::MessageRecorded(message("a", 2, "world"))),
    ]);
    let changes = folded(&items);
    assert_eq!(changes.last, 9);
    let rows: Vec<_> = changes.messages.iter().map(|m| (m.sequence, m.version_sequence, m.content)).collect();
    assert_eq!(rows, [(3, 3, "hello"), (4, 4, "other"), (9, 9, "world")]);
    let first = &changes.messages[0];
    assert_eq!((first.said_at, first.said_offset, first.recorded_at), (at(1), 19_800, at(103)));
    assert_eq!((first.role, first.provider), ("user", "elevenlabs"));
    assert_eq!((first.participant_id, first.message_id), (Some("RID001"), Some("m1")));
    let [a, b] = &changes.conversations[..] else { panic!("two conversations") };
    assert_eq!((a.conversation_id, a.message_count, a.first_sequence, a.last_sequence), ("a", 2, 3, 9));
    assert_eq!((a.started_at, a.last_message_at), (at(1), at(2)));
    assert_eq!((b.conversation_id, b.message_count), ("b", 7));
    assert_eq!(a.token, changes.messages[2].conversation);
}

#[test]
fn a_correction_is_a_version_of_the_first_row_and_counts_for_its_conversation() {
    let items = given(&[
        (3, Event::MessageRecorded(message("a", 1, "helo"))),
        (4, Event::MessageRecorded(message("a", 2, "next"))),
        (5, correction(3, message("a", 1, "hello"))),
        (6, correction(3, message("a", 1, "hello!"))),
    ]);
    let changes = folded(&items);
    let versions = |rows: &[MessageRow<'_>]| -> Vec<_> {
        rows.iter().map(|row| (row.sequence, row.version_sequence, row.content.to_owned())).collect()
    };
    assert_eq!(versions(&changes.messages), [(3, 3, "helo".into()), (4, 4, "next".into())]);
    assert_eq!(versions(&changes.corrections), [(3, 5, "hello".into()), (3, 6, "hello!".into())]);
    let [row] = &changes.conversations[..] else { panic!("one conversation") };
    assert_eq!((row.message_count, row.first_sequence, row.last_sequence), (2, 3, 6));
}

#[test]
fn what_is_absent_of_a_participant_is_absent_in_its_row() {
    let items = given(&[
        (1, Event::ParticipantEnrolled(enrolment(Some("Asha"), None))),
        (2, Event::ParticipantUpdated(enrolment(None, Some(71)))),
    ]);
    let changes = folded(&items);
    let [enrolled, updated] = &changes.participants[..] else { panic!("two rows") };
    assert_eq!((enrolled.participant_id, enrolled.name, enrolled.age), ("RID001", Some("Asha"), None));
    assert_eq!((updated.name, updated.age, updated.stored_at), (None, Some(71), at(102)));
    assert_eq!(enrolled.token, updated.token);
}

#[test]
fn a_revoked_token_moves_the_checkpoint_alone() {
    let revocation = shared::events::Revocation { token_id: "t".into(), expires_at: at(0) };
    let items = given(&[(4, Event::TokenRevoked(revocation))]);
    assert_eq!(folded(&items), Changes { last: 4, ..Changes::default() });
}

#[test]
fn what_cannot_be_read_is_parked_without_its_content() {
    let mut broken = stored(5, &Event::MessageRecorded(message("a", 1, "hello")));
    broken.body = br#"{"conversation_id": "a", "role": "a secret", "content": "a secret"}"#.as_slice().into();
    let (subject, body) = (broken.subject.clone(), broken.body.clone());
    let foreign = Entry::new(6, at(106), subject, &HeaderMap::new(), body);
    let items = [broken.into(), foreign.into()];
    let changes = folded(&items);
    let [broken, foreign] = &changes.parked[..] else { panic!("two parked") };
    assert_eq!((broken.sequence, broken.event_type.as_str()), (5, "turnlog.message.recorded.v1"));
    assert!(
        broken.reason.contains("line 1 column") && !broken.reason.contains("secret"),
        "{}",
        broken.reason
    );
    assert_eq!((foreign.sequence, foreign.event_type.as_str()), (6, ""));
    assert!(foreign.reason.contains("no ce-type header"));
    assert_eq!(changes.last, 6);
    assert!(changes.messages.is_empty() && changes.conversations.is_empty());
}

#[test]
fn failures_in_a_row_are_those_that_the_sender_may_count_and_end_with_a_good_one() {
    let refused = |reason: &str| {
        let source = Source::ElevenlabsWebhook;
        let (sha256, address) = (String::new(), "192.0.2.7".into());
        Event::WebhookRefused(Refusal { source, reason: reason.into(), bytes: 2, sha256, address })
    };
    let recording = Event::AudioStored(Recording {
        conversation_id: "a".to_owned().try_into().unwrap(),
        participant_id: None,
        session: 0,
        source: Source::ElevenlabsWebhook,
        agent_id: None,
        reported_at: None,
        audio: shared::events::StoredObject { object: "o".into(), bytes: 1, sha256: String::new() },
        media_type: "audio/mpeg".into(),
    });
    let counts = |events: &[(u64, Event)]| {
        let items = given(events);
        let changes = folded(&items);
        let [row] = &changes.sources[..] else { panic!("one source") };
        (row.received, row.refused, row.failures, row.last_received, row.last_refused)
    };
    let mut events = vec![(1, refused("bad_signature")), (2, refused("missing")), (3, refused("expired"))];
    assert_eq!(counts(&events), (0, 3, 2, None, Some(at(103))));
    events.extend([(4, recording), (5, refused("missing"))]);
    assert_eq!(counts(&events), (1, 4, 0, Some(at(104)), Some(at(105))));
}

fn session(number: u32, second: i64) -> Event {
    let id = |text: &str| text.to_owned();
    Event::SessionOpened(Session {
        conversation_id: id("ours").try_into().unwrap(),
        participant_id: id("RID001").try_into().unwrap(),
        number,
        vendor_conversation_id: format!("conv_{number}").try_into().unwrap(),
        dream_id: id("d1").try_into().unwrap(),
        interpreter_id: id("jung").try_into().unwrap(),
        agent_id: id("agent_1"),
        opened_at: at(second),
        expires_at: at(second + 900),
    })
}

#[test]
fn a_session_makes_the_row_of_its_conversation_and_is_known_by_the_vendors_name() {
    let items = given(&[(3, session(1, 7)), (5, session(2, 50))]);
    let changes = folded(&items);
    let [row] = &changes.conversations[..] else { panic!("one conversation") };
    assert_eq!((row.conversation_id, row.participant_id), ("ours", Some("RID001")));
    assert_eq!((row.provider, row.message_count, row.last_sequence), ("elevenlabs", 0, 5));
    assert_eq!((row.started_at, row.last_message_at), (at(7), at(7)), "nothing was said in the second");
    let sessions: Vec<_> = changes.sessions.iter().map(|row| (row.sequence, row.number)).collect();
    assert_eq!(sessions, [(3, 1), (5, 2)]);
    let vendor = "conv_2".to_owned().try_into().unwrap();
    assert_eq!(changes.sessions[1].vendor, Subject::conversation(&vendor).token());
    assert_eq!(changes.sessions[1].conversation, row.token);
}

#[test]
fn what_a_later_session_says_does_not_move_the_last_message() {
    let items = given(&[(3, Event::MessageRecorded(message("ours", 1, "hello"))), (5, session(2, 50))]);
    assert_eq!(folded(&items).conversations[0].last_message_at, at(1));
}

fn dream(transcript: &str, themes: &[&str]) -> Dream {
    Dream {
        dream_id: "d1".to_owned().try_into().unwrap(),
        participant_id: "RID001".to_owned().try_into().unwrap(),
        raw_transcript: transcript.to_owned(),
        themes: themes.iter().map(|theme| (*theme).to_owned()).collect(),
        recorded_at: Timestamp::from_parts(at(1), 19_800),
    }
}

fn interpretation(by: &str, text: &str) -> Event {
    let primary = "anxiety".to_owned();
    Event::DreamInterpreted(Interpretation {
        dream_id: "d1".to_owned().try_into().unwrap(),
        participant_id: "RID001".to_owned().try_into().unwrap(),
        interpreter_id: by.to_owned().try_into().unwrap(),
        emotional_tone: shared::events::EmotionalTone { primary, secondary: None, intensity: Some(0.5) },
        text: text.to_owned(),
    })
}

#[test]
fn of_a_dream_and_of_what_each_interpreter_makes_of_it_the_newest_counts() {
    let items = given(&[
        (1, Event::DreamRecorded(dream("I fell", &["falling"]))),
        (2, interpretation("jung", "a fall")),
        (3, interpretation("freud", "a wish")),
        (4, Event::DreamChanged(dream("I fell and flew", &["falling", "flying"]))),
        (5, interpretation("jung", "a rise")),
    ]);
    let changes = folded(&items);
    let [row] = &changes.dreams[..] else { panic!("one dream") };
    assert_eq!((row.version_sequence, row.dream.raw_transcript.as_str()), (4, "I fell and flew"));
    assert_eq!(row.themes, json!(["falling", "flying"]));
    let made: Vec<_> = changes
        .interpretations
        .iter()
        .map(|row| (row.version_sequence, row.interpretation.text.as_str(), row.interpreted_at))
        .collect();
    assert_eq!(made, [(3, "a wish", at(103)), (5, "a rise", at(105))]);
    assert_eq!(changes.interpretations[1].tone, json!({"primary": "anxiety", "intensity": 0.5}));
    assert!(changes.interpretations.iter().all(|made| made.dream == row.token));
    assert!(changes.conversations.is_empty());
}

#[test]
fn sounds_are_kept_apart_by_their_session() {
    let recording = |session, object: &str| {
        Event::AudioStored(Recording {
            conversation_id: "ours".to_owned().try_into().unwrap(),
            participant_id: None,
            session,
            source: Source::ElevenlabsWebhook,
            agent_id: None,
            reported_at: None,
            audio: shared::events::StoredObject { object: object.into(), bytes: 1, sha256: String::new() },
            media_type: "audio/mpeg".into(),
        })
    };
    let items = given(&[(1, recording(1, "a")), (2, recording(2, "b")), (3, recording(1, "c"))]);
    let changes = folded(&items);
    let kept: Vec<_> = changes.recordings.iter().map(|row| (row.session, row.object)).collect();
    assert_eq!(kept, [(2, "b"), (1, "c")]);
}
