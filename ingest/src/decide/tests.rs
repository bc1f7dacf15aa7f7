//! Given what happened, when a command comes, then this is decided.

use chrono::Utc;
use shared::events::Enrolment;
use shared::ids::{ConversationId, MessageId, Provider, Speaker, Timestamp};

use super::*;

mod dreams;
mod reports;
mod sessions;

/// An aggregate with a past, to be asked for decisions.
struct Given {
    state: State,
    last: u64,
}

fn given(events: &[Event]) -> Given {
    let mut state = State::default();
    let mut last = 0;
    for event in events {
        // Sequences of one aggregate are not consecutive in the log.
        last += 10;
        state.fold(event.clone(), last);
    }
    Given { state, last }
}

impl Given {
    fn when(&self, command: &Command) -> Result<Decision, Refusal> {
        decide(command, &self.state, 0, self.last)
    }
}

fn id<T: TryFrom<String, Error: std::fmt::Debug>>(text: &str) -> T {
    T::try_from(text.to_owned()).unwrap()
}

fn message(participant: &str, message_id: Option<&str>, content: &str) -> RecordMessage {
    RecordMessage {
        participant: Some(id(participant)),
        conversation: id::<ConversationId>("conv_1"),
        message_id: message_id.map(id::<MessageId>),
        idempotency_key: None,
        role: Speaker::Assistant,
        content: content.into(),
        timestamp: Timestamp::parse("2025-01-08T12:00:00Z", Utc::now()).unwrap(),
        provider: Provider::Elevenlabs,
        event_id: None,
        sources: None,
        attachments: Vec::new(),
        session: 0,
    }
}

fn say(participant: &str, message_id: Option<&str>, content: &str) -> Command {
    Command::Record(message(participant, message_id, content))
}

fn recorded(message_id: Option<&str>, content: &str, ordinal: u64) -> Event {
    Event::MessageRecorded(fact(&message("RID001", message_id, content), &Conversation::default(), ordinal))
}

fn corrected(message_id: &str, content: &str, ordinal: u64, first: u64) -> Event {
    let message = fact(&message("RID001", Some(message_id), content), &Conversation::default(), ordinal);
    Event::MessageCorrected(Correction { first_sequence: first, message, sent: None })
}

fn append(event: Event) -> Decision {
    Decision::append(event)
}

fn profile(name: Option<&str>, age: Option<u16>) -> Enrolment {
    Enrolment {
        participant_id: id("RID001"),
        access_code_hash: None,
        name: name.map(Into::into),
        age,
        location: None,
    }
}

#[test]
fn the_first_message_opens_the_conversation_and_is_its_first() {
    let decision = given(&[]).when(&say("RID001", Some("m1"), "Hello")).unwrap();
    assert_eq!(decision, append(recorded(Some("m1"), "Hello", 1)));
}

#[test]
fn the_next_message_gets_the_next_place_whether_it_has_an_id_or_not() {
    let past = given(&[recorded(Some("m1"), "Hello", 1), recorded(None, "Hi", 2)]);
    for own_id in [Some("m3"), None] {
        let decision = past.when(&say("RID001", own_id, "Hello")).unwrap();
        assert_eq!(decision, append(recorded(own_id, "Hello", 3)));
    }
}

#[test]
fn places_go_on_behind_what_is_planned_but_not_yet_stored() {
    let past = given(&[recorded(None, "Hello", 1)]);
    let decision = decide(&say("RID001", None, "Hi"), &past.state, 4, past.last).unwrap();
    assert_eq!(decision, append(recorded(None, "Hi", 6)));
}

#[test]
fn nobody_else_writes_into_a_conversation_that_has_an_owner() {
    let past = given(&[recorded(None, "Hello", 1)]);
    assert_eq!(past.when(&say("RID002", None, "Hi")), Err(Refusal::NotOwner));
}

#[test]
fn a_repeat_is_answered_with_the_first_ones_sequence() {
    let past = given(&[recorded(Some("m1"), "Hello", 1), recorded(Some("m2"), "Hi", 2)]);
    let repeat = past.when(&say("RID001", Some("m1"), "Hello")).unwrap();
    assert_eq!(repeat, Decision::Already { first: 10, sequence: 10 });
}

#[test]
fn the_same_id_with_another_content_corrects_and_keeps_its_place() {
    let past = given(&[recorded(Some("m1"), "Hello", 1), recorded(Some("m2"), "Hi", 2)]);
    let decision = past.when(&say("RID001", Some("m1"), "Hel-")).unwrap();
    let event = corrected("m1", "Hel-", 1, 10);
    assert_eq!(decision, Decision::Append { events: vec![event], first: Some(10), more: false });
}

#[test]
fn a_late_retry_of_an_old_version_does_not_undo_the_correction() {
    let past = given(&[recorded(Some("m1"), "Hello", 1), corrected("m1", "Hel-", 1, 10)]);
    assert_eq!(
        past.when(&say("RID001", Some("m1"), "Hello")),
        Ok(Decision::Already { first: 10, sequence: 10 })
    );
    assert_eq!(
        past.when(&say("RID001", Some("m1"), "Hel-")),
        Ok(Decision::Already { first: 10, sequence: 20 })
    );
}

#[test]
fn enrolling_twice_is_enrolling_once() {
    let enrol = Command::Enrol(id("RID001"));
    let first = given(&[]).when(&enrol).unwrap();
    let event = Event::ParticipantEnrolled(profile(None, None));
    assert_eq!(first, append(event.clone()));
    assert_eq!(given(&[event]).when(&enrol).unwrap(), Decision::Already { first: 10, sequence: 10 });
}

#[test]
fn a_profile_changes_only_what_is_given_and_only_when_it_changes() {
    let enrolled = Event::ParticipantEnrolled(profile(Some("Ada"), Some(36)));
    let past = given(&[enrolled, Event::ParticipantUpdated(profile(None, Some(37)))]);
    assert_eq!(past.state.participant, Some(profile(Some("Ada"), Some(37))));
    let same = past.when(&Command::Update(profile(Some("Ada"), None))).unwrap();
    assert_eq!(same, Decision::Already { first: 20, sequence: 20 });
    let changed = past.when(&Command::Update(profile(Some("Ada L."), None))).unwrap();
    let event = Event::ParticipantUpdated(profile(Some("Ada L."), None));
    assert_eq!(changed, append(event));
}

#[test]
fn a_token_is_given_up_once() {
    let revocation = Revocation { token_id: "t".into(), expires_at: Utc::now() };
    let revoke = Command::Revoke(revocation.clone());
    let event = Event::TokenRevoked(revocation);
    assert_eq!(given(&[]).when(&revoke).unwrap(), append(event.clone()));
    assert_eq!(given(&[event]).when(&revoke).unwrap(), Decision::Already { first: 10, sequence: 10 });
}
