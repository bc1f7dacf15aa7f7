//! Conversations that go on in several sessions of the vendor's, each of which is told of by itself.

use chrono::{DateTime, TimeDelta};
use shared::events::{Ending, Link, Recording, Session, Source, StoredObject};
use shared::report::Turn as Told;

use super::reports::{Story, agent, at, record, told, user};
use super::*;
use crate::command::{Deed, OnCall, ReportConversation};

fn vendor(session: u32) -> ConversationId {
    id(&format!("vendor_{session}"))
}

fn session(number: u32) -> Session {
    Session {
        conversation_id: id("conv_1"),
        participant_id: id("RID001"),
        number: 0,
        vendor_conversation_id: vendor(number),
        dream_id: id("d1"),
        interpreter_id: id("jung"),
        agent_id: "agent_1".into(),
        opened_at: at(0).instant(),
        expires_at: at(900).instant(),
    }
}

fn open(number: u32) -> Command {
    Command::OpenSession(session(number).into())
}

fn report(session: u32, turns: Vec<Told>) -> Command {
    let sha256 = format!("{session} {turns:?}");
    Command::Report(Box::new(ReportConversation { session, ..told(&sha256, turns) }))
}

fn say(session: u32, role: Speaker, event_id: Option<u64>, text: &str) -> Command {
    let own = event_id.map(|number| format!("{session}:{number}:{}", role.as_str()));
    record(RecordMessage { role, event_id, session, ..message("RID001", own.as_deref(), text) })
}

fn hear(session: u32, role: Speaker, text: &str) -> Command {
    say(session, role, None, text)
}

fn sessions(story: &Story) -> Vec<(String, u32)> {
    story.messages().into_iter().map(|message| (message.content, message.session)).collect()
}

fn lines(lines: &[(&str, u32)]) -> Vec<(String, u32)> {
    lines.iter().map(|(text, session)| ((*text).to_owned(), *session)).collect()
}

use Speaker::{Assistant, User};

#[test]
fn sessions_are_numbered_and_make_the_conversation_their_participants() {
    let story = Story::of(&[open(1), open(2)]);
    let numbers: Vec<_> = story.state.conversation.sessions.iter().map(|one| one.opened.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(story.state.conversation.session(&vendor(2)), Some(2));
    assert_eq!(story.state.conversation.session(&vendor(3)), None);
    let other = Session { participant_id: id("RID002"), ..session(3) };
    let refused = decide(&Command::OpenSession(other.into()), &story.state, 0, 2);
    assert_eq!(refused, Err(Refusal::NotOwner));
    let theirs = record(message("RID002", None, "hello"));
    assert_eq!(decide(&theirs, &story.state, 0, 2), Err(Refusal::NotOwner));
}

#[test]
fn a_vendors_conversation_is_linked_once_and_takes_nothing_itself() {
    let link =
        |to: &str| Link { conversation_id: id("conv_1"), continues: id(to), participant_id: id("RID001") };
    let event = Event::ConversationLinked(link("ours"));
    assert_eq!(given(&[]).when(&Command::Link(link("ours"))).unwrap(), append(event.clone()));
    let past = given(&[event]);
    let again = past.when(&Command::Link(link("ours"))).unwrap();
    assert_eq!(again, Decision::Already { first: 10, sequence: 10 });
    assert_eq!(past.when(&Command::Link(link("another"))), Err(Refusal::Linked));
    let begun = given(&[recorded(Some("m1"), "hello", 1)]);
    assert_eq!(begun.when(&Command::Link(link("ours"))), Err(Refusal::Linked));
    let end = Deed::End(None, Timestamp::now());
    let on_call = Command::Call(OnCall { conversation: id("conv_1"), deed: end });
    for command in [record(message("RID001", None, "hello")), report(0, vec![agent("Hello")]), on_call] {
        assert_eq!(past.when(&command), Err(Refusal::Moved));
    }
}

#[test]
fn what_names_no_session_belongs_to_the_newest() {
    let story =
        Story::of(&[open(1), hear(0, User, "one"), open(2), hear(0, User, "two"), hear(1, User, "late")]);
    assert_eq!(sessions(&story), lines(&[("one", 1), ("two", 2), ("late", 1)]));
}

#[test]
fn each_session_is_told_of_by_itself_and_doubles_nothing() {
    let mut story = Story::of(&[
        open(1),
        say(1, Assistant, Some(1), "Hello"),
        say(1, User, Some(2), "I fell"),
        report(1, vec![agent("Hello"), user("I fell"), agent("Where?")]),
        open(2),
        say(2, Assistant, Some(1), "Hello"),
        say(2, User, Some(2), "I fell"),
    ]);
    let said = lines(&[("Hello", 1), ("I fell", 1), ("Where?", 1), ("Hello", 2), ("I fell", 2)]);
    assert_eq!(sessions(&story), said, "the same words in another session are another message");
    story.tell(&report(2, vec![agent("Hello"), user("I fell"), user("From a roof")]));
    let mut said = said;
    said.push(("From a roof".to_owned(), 2));
    assert_eq!(sessions(&story), said);
    assert_eq!(story.newest_report().turns, [Some(4), Some(5), Some(6)]);
    assert_eq!(story.newest_report().session, 2);
}

#[test]
fn what_a_late_report_completes_stands_within_its_session() {
    let story = Story::of(&[
        open(1),
        hear(1, Assistant, "Hello"),
        open(2),
        hear(2, Assistant, "Again"),
        hear(2, User, "Yes"),
        report(1, vec![agent("Hello"), user("One"), agent("Two")]),
    ]);
    assert_eq!(sessions(&story), lines(&[("Hello", 1), ("One", 1), ("Two", 1), ("Again", 2), ("Yes", 2)]));
}

#[test]
fn a_session_that_nobody_synced_stands_between_its_neighbours() {
    let story = Story::of(&[
        open(1),
        hear(1, User, "first"),
        open(2),
        open(3),
        hear(3, User, "third"),
        report(2, vec![agent("Hello"), user("second")]),
    ]);
    assert_eq!(sessions(&story), lines(&[("first", 1), ("Hello", 2), ("second", 2), ("third", 3)]));
    let nothing_before =
        Story::of(&[open(1), open(2), hear(2, User, "second"), report(1, vec![user("first")])]);
    assert_eq!(sessions(&nothing_before), lines(&[("first", 1), ("second", 2)]));
}

#[test]
fn what_comes_after_its_sessions_report_is_that_turn_of_it() {
    let reported = [open(1), report(1, vec![agent("Hello"), user("I fell")]), open(2)];
    let mut named = Story::of(&reported);
    named.tell(&hear(1, User, "I fell"));
    assert_eq!(sessions(&named), lines(&[("Hello", 1), ("I fell", 1)]));
    let mut unnamed = Story::of(&reported);
    unnamed.tell(&record(RecordMessage {
        role: User,
        timestamp: at(-1),
        ..message("RID001", None, "I fell")
    }));
    assert_eq!(sessions(&unnamed), lines(&[("Hello", 1), ("I fell", 1)]), "kept while it was offline");
    unnamed.tell(&hear(0, User, "I fell"));
    assert_eq!(sessions(&unnamed), lines(&[("Hello", 1), ("I fell", 1), ("I fell", 2)]));
    let mut another = Story::of(&reported);
    another.tell(&hear(2, User, "I fell"));
    assert_eq!(sessions(&another), lines(&[("Hello", 1), ("I fell", 1), ("I fell", 2)]));
}

#[test]
fn the_vendors_numbers_mean_nothing_in_another_session() {
    let mut story = Story::of(&[
        open(1),
        report(1, vec![Told { event_id: Some(1), ..user("I was falling down") }]),
        open(2),
    ]);
    let numbered = record(RecordMessage {
        role: User,
        event_id: Some(1),
        timestamp: at(-1),
        ..message("RID001", Some("x"), "I was up in the air, flying")
    });
    story.tell(&numbered);
    assert_eq!(sessions(&story).len(), 2, "{:?}", sessions(&story));
}

#[test]
fn a_browsers_own_id_does_not_keep_a_reworded_turn_apart_from_the_vendors() {
    let turn = Told { message_id: Some(id("turn_1")), ..agent("We go on, later.") };
    let own =
        record(RecordMessage { role: Assistant, session: 1, ..message("RID001", Some("b1"), "We go on") });
    let story = Story::of(&[open(1), own, report(1, vec![turn])]);
    assert_eq!(sessions(&story), lines(&[("We go on, later.", 1)]));
}

#[test]
fn a_report_of_the_whole_conversation_meets_every_session() {
    let story = Story::of(&[
        open(1),
        hear(1, User, "one"),
        open(2),
        hear(2, User, "two"),
        report(0, vec![user("one"), user("two"), user("three")]),
    ]);
    assert_eq!(story.texts(), ["one", "two", "three"]);
    assert!(story.state.conversation.sessions.iter().all(|session| session.over));
}

#[test]
fn a_session_is_open_until_its_time_is_over_or_it_is_told_of() {
    let now = |second: i64| at(second).instant();
    let is_open = |story: &Story, at: DateTime<Utc>| story.state.conversation.sessions[0].is_open(at);
    let fresh = Story::of(&[open(1)]);
    assert!(is_open(&fresh, now(899)) && !is_open(&fresh, now(900)));
    let begun = Story::of(&[open(1), hear(1, User, "one")]);
    assert!(is_open(&begun, now(900) + TimeDelta::hours(2)), "a call that began goes on");
    let over = Story::of(&[open(1), hear(1, User, "one"), report(1, vec![user("one")])]);
    assert!(!is_open(&over, now(1)));
    let elsewhere = Story::of(&[open(1), open(2), report(2, vec![user("one")])]);
    assert!(is_open(&elsewhere, now(1)));
}

#[test]
fn a_conversation_that_had_ended_goes_on_in_a_new_session() {
    let ended = Event::ConversationEnded(Ending {
        conversation_id: id("conv_1"),
        call: None,
        ended_at: at(1),
        by: None,
    });
    let first = Event::SessionOpened(Session { number: 1, ..session(1) });
    let past = given(&[first.clone(), ended.clone()]);
    let late = |past: &Given| {
        let Decision::Append { events, .. } = past.when(&record(message("RID001", None, "hello"))).unwrap()
        else {
            panic!("nothing new")
        };
        matches!(&events[0], Event::MessageRecorded(message) if message.late)
    };
    assert!(late(&past) && past.state.conversation.sessions[0].over);
    assert!(!late(&given(&[first, ended, Event::SessionOpened(Session { number: 2, ..session(2) })])));
}

#[test]
fn each_session_has_a_sound() {
    let sound = |session: u32| {
        Command::StoreAudio(Recording {
            conversation_id: id("conv_1"),
            participant_id: None,
            session,
            source: Source::ElevenlabsWebhook,
            agent_id: None,
            reported_at: None,
            audio: StoredObject { object: "a".into(), bytes: 1, sha256: "a".into() },
            media_type: "audio/mpeg".into(),
        })
    };
    let mut story = Story::of(&[open(1), open(2), sound(1)]);
    assert!(matches!(story.decide(&sound(2)), Decision::Append { .. }));
    assert!(matches!(story.decide(&sound(1)), Decision::Already { sequence: 3, .. }));
}
