//! Conversations that are told of twice: by their frontend, turn by turn, and by a report.

use chrono::DateTime;
use shared::events::{Message, Payload, RawJson, Report, Source};
use shared::report::Turn as Told;
use shared::subjects::Subject;

use super::*;
use crate::command::ReportConversation;

const KIND: &str = "post_call_transcription";

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_parts(DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap(), 0)
}

fn turn(role: Speaker, text: Option<&str>) -> Told {
    Told {
        role,
        said_as: String::new(),
        text: text.map(Into::into),
        original: None,
        interrupted: false,
        message_id: None,
        event_id: None,
        at: Some(at(100)),
        seconds: None,
        detail: serde_json::Value::Null,
    }
}

pub(super) fn user(text: &str) -> Told {
    turn(Speaker::User, Some(text))
}

pub(super) fn agent(text: &str) -> Told {
    turn(Speaker::Assistant, Some(text))
}

pub(super) fn tool() -> Told {
    turn(Speaker::Assistant, None)
}

pub(super) fn told(sha256: &str, turns: Vec<Told>) -> ReportConversation {
    ReportConversation {
        conversation: id("conv_1"),
        session: 0,
        participant: None,
        source: Source::ElevenlabsWebhook,
        kind: KIND.into(),
        reported_at: Some(at(1_000).instant()),
        received_at: at(2_000).instant(),
        sha256: sha256.into(),
        turns,
        started_at: None,
        payload: Payload::Json(RawJson::new("{}".into()).unwrap()),
    }
}

fn live(role: Speaker, message_id: Option<&str>, content: &str) -> RecordMessage {
    RecordMessage { role, timestamp: at(50), ..message("RID001", message_id, content) }
}

fn said_by_user(message_id: Option<&str>, content: &str) -> RecordMessage {
    live(Speaker::User, message_id, content)
}

fn said_by_agent(message_id: Option<&str>, content: &str) -> RecordMessage {
    live(Speaker::Assistant, message_id, content)
}

/// A conversation as the log has it, with what folds of it say.
#[derive(Default)]
pub(super) struct Story {
    pub(super) events: Vec<(u64, Event)>,
    pub(super) state: State,
}

impl Story {
    pub(super) fn of(commands: &[Command]) -> Self {
        let mut story = Self::default();
        commands.iter().for_each(|command| story.tell(command));
        story
    }

    /// Decides until it is done, as the committer does; answers the last decision.
    pub(super) fn decide(&mut self, command: &Command) -> Decision {
        loop {
            let last = self.events.last().map_or(0, |(sequence, _)| *sequence);
            assert_eq!(command.subject(), Subject::conversation(&id("conv_1")));
            let decision = decide(command, &self.state, 0, last).unwrap();
            let Decision::Append { events, first, more } = decision else { return decision };
            for (event, sequence) in events.iter().zip(last + 1..) {
                self.events.push((sequence, event.clone()));
                self.state.fold(event.clone(), sequence);
            }
            if !more {
                return Decision::Append { events, first, more };
            }
        }
    }

    pub(super) fn tell(&mut self, command: &Command) {
        self.decide(command);
    }

    /// The newest version of every message, in the conversation's order: what tables show.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut shown: Vec<(u64, Message)> = Vec::new();
        for (sequence, event) in &self.events {
            match event {
                Event::MessageRecorded(message) => shown.push((*sequence, message.clone())),
                Event::MessageCorrected(correction) => {
                    let found = shown.iter_mut().find(|(first, _)| *first == correction.first_sequence);
                    found.unwrap().1 = correction.message.clone();
                }
                Event::ConversationClaimed(claim) => {
                    let owner = Some(claim.participant_id.clone());
                    shown.iter_mut().for_each(|(_, message)| message.participant_id.clone_from(&owner));
                }
                Event::ConversationReported(_) | Event::SessionOpened(_) => {}
                Event::ParticipantEnrolled(_)
                | Event::ParticipantUpdated(_)
                | Event::TokenRevoked(_)
                | Event::AudioStored(_)
                | Event::WebhookReceived(_)
                | Event::WebhookRefused(_)
                | Event::CallOpened(_)
                | Event::CallChanged(_)
                | Event::CallTakenOver(_)
                | Event::CallReleased(_)
                | Event::ConversationEnded(_)
                | Event::ConversationSeen(_)
                | Event::WorkerRegistered(_)
                | Event::WorkerRemoved(_)
                | Event::AdminRegistered(_)
                | Event::AdminRemoved(_)
                | Event::DreamRecorded(_)
                | Event::DreamChanged(_)
                | Event::DreamInterpreted(_)
                | Event::DreamDiscussed(_)
                | Event::ConversationLinked(_)
                | Event::ParticipantErased(_) => panic!("not of a story's messages"),
            }
        }
        shown.sort_by_key(|(sequence, message)| (message.place(), *sequence));
        shown.into_iter().map(|(_, message)| message).collect()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.content).collect()
    }

    pub(super) fn newest_report(&self) -> &Report {
        let reports = self.events.iter().rev();
        let mut reports = reports.filter_map(|(_, event)| {
            if let Event::ConversationReported(report) = event { Some(report) } else { None }
        });
        reports.next().unwrap()
    }
}

fn report(turns: Vec<Told>) -> Command {
    Command::Report(Box::new(told("a", turns)))
}

pub(super) fn record(message: RecordMessage) -> Command {
    Command::Record(message)
}

#[test]
fn a_call_that_nobody_synced_becomes_its_turns_in_their_order() {
    let story = Story::of(&[report(vec![agent("Hello"), user("Yes?"), tool(), tool(), agent("Done")])]);
    assert_eq!(story.texts(), ["Hello", "Yes?", "Done"]);
    assert_eq!(story.newest_report().turns, [Some(1), Some(2), None, None, Some(3)]);
    assert_eq!(story.newest_report().participant_id, None);
    assert!(story.messages().iter().all(|message| message.reported && message.timestamp == at(100)));
}

#[test]
fn what_was_synced_is_completed_in_its_place_and_not_doubled() {
    let story = Story::of(&[
        record(said_by_agent(Some("m1"), "Hello")),
        record(said_by_user(Some("m2"), "I want this")),
        record(said_by_agent(Some("m3"), "Bye")),
        report(vec![
            agent("Hello"),
            agent("Are you there?"),
            user("I want this"),
            tool(),
            agent("Here it is"),
            user("Thanks"),
            agent("Bye"),
            user("Bye bye"),
        ]),
    ]);
    assert_eq!(
        story.texts(),
        ["Hello", "Are you there?", "I want this", "Here it is", "Thanks", "Bye", "Bye bye"]
    );
    assert_eq!(
        story.newest_report().turns,
        [Some(1), Some(4), Some(2), None, Some(5), Some(6), Some(3), Some(7)]
    );
    let owners = story.messages().into_iter().map(|message| message.participant_id.unwrap());
    assert!(owners.into_iter().all(|owner| owner.as_str() == "RID001"));
}

#[test]
fn where_the_final_text_differs_it_is_a_correction_and_keeps_the_messages_id_and_time() {
    let interrupted = Told {
        original: Some("Done! Shall I remind you two days before?".into()),
        interrupted: true,
        ..agent("Done!")
    };
    let story = Story::of(&[
        record(said_by_agent(Some("m1"), "Done! Shall I remind you two days before?")),
        record(said_by_user(Some("m2"), "no thank you")),
        report(vec![interrupted, user("No, thank you.")]),
    ]);
    let messages = story.messages();
    assert_eq!(story.texts(), ["Done!", "No, thank you."]);
    assert_eq!(messages[0].message_id.as_ref().unwrap().as_str(), "m1");
    assert_eq!(messages[0].original.as_deref(), Some("Done! Shall I remind you two days before?"));
    assert!(messages.iter().all(|message| message.timestamp == at(50) && !message.reported));
}

#[test]
fn something_else_that_was_said_is_not_overwritten() {
    let story = Story::of(&[
        record(said_by_agent(None, "Hello")),
        record(said_by_user(None, "My leg hurts when I walk")),
        record(said_by_agent(None, "Bye")),
        report(vec![agent("Hello"), user("What is the weather?"), agent("Sunny."), agent("Bye")]),
    ]);
    assert_eq!(story.texts(), ["Hello", "My leg hurts when I walk", "What is the weather?", "Sunny.", "Bye"]);
}

#[test]
fn the_same_words_many_times_are_as_many_turns() {
    let story = Story::of(&[
        record(said_by_user(None, "yes")),
        record(said_by_user(None, "yes")),
        report(vec![user("yes"), agent("Sure?"), user("yes"), user("yes")]),
    ]);
    assert_eq!(story.texts(), ["yes", "Sure?", "yes", "yes"]);
}

#[test]
fn a_report_again_is_a_repeat_and_a_changed_one_a_new_version() {
    let mut story = Story::of(&[report(vec![agent("Hello"), user("Helo")])]);
    let sequence = story.events.last().unwrap().0;
    let again = story.decide(&report(vec![agent("Hello"), user("Helo")]));
    assert_eq!(again, Decision::Already { first: sequence, sequence });
    story.tell(&Command::Report(Box::new(told("b", vec![agent("Hello"), user("Hello"), agent("Hi")]))));
    assert_eq!(story.texts(), ["Hello", "Hello", "Hi"]);
    assert_eq!(story.newest_report().turns, [Some(1), Some(2), Some(3)]);
}

#[test]
fn an_older_report_that_comes_late_changes_nothing_and_is_kept() {
    let mut story = Story::of(&[report(vec![agent("Hello")])]);
    let older =
        ReportConversation { reported_at: Some(at(1).instant()), ..told("old", vec![agent("Hallo")]) };
    story.tell(&Command::Report(Box::new(older)));
    assert_eq!(story.texts(), ["Hello"]);
    assert!(story.newest_report().superseded);
}

#[test]
fn whoever_writes_first_owns_what_was_reported_before() {
    let story =
        Story::of(&[report(vec![agent("Hello"), user("Hi")]), record(said_by_user(Some("m1"), "Hi"))]);
    let (_, claim) = &story.events[3];
    assert!(matches!(claim, Event::ConversationClaimed(claim) if claim.participant_id.as_str() == "RID001"));
    assert_eq!(story.texts(), ["Hello", "Hi"]);
    assert_eq!(story.messages()[1].message_id.as_ref().unwrap().as_str(), "m1");
    let other = Command::Record(message("RID002", None, "Hello"));
    assert_eq!(decide(&other, &story.state, 0, 5), Err(Refusal::NotOwner));
}

#[test]
fn whose_it_is_a_service_may_say_and_a_participant_who_was_first_stays() {
    let by_service = |sha256: &str, turns| {
        let participant = Some(id("acc123"));
        Command::Report(Box::new(ReportConversation { participant, ..told(sha256, turns) }))
    };
    let unknown = Story::of(&[report(vec![agent("Hello")]), by_service("b", vec![agent("Hello")])]);
    assert_eq!(unknown.state.conversation.owner.as_ref().unwrap().as_str(), "acc123");
    assert!(unknown.events.iter().any(|(_, event)| matches!(event, Event::ConversationClaimed(_))));
    let owned = Story::of(&[record(said_by_user(None, "Hi")), by_service("b", vec![user("Hi")])]);
    assert_eq!(owned.newest_report().participant_id.as_ref().unwrap().as_str(), "RID001");
}

#[test]
fn a_live_retry_after_the_report_is_a_repeat_and_does_not_bring_the_first_text_back() {
    let first = said_by_user(Some("m1"), "helo there");
    let mut story = Story::of(&[record(first.clone()), report(vec![user("Hello there.")])]);
    assert_eq!(story.decide(&record(first.clone())), Decision::Already { first: 1, sequence: 1 });
    // Late: the report was there before its frontend's message.
    let mut late = Story::of(&[report(vec![user("Hello there.")]), record(first.clone())]);
    assert_eq!(late.texts(), ["Hello there."]);
    assert!(matches!(late.decide(&record(first)), Decision::Already { first: 1, .. }));
}

#[test]
fn ten_thousand_turns_are_decided_in_commits_that_a_batch_can_hold() {
    let turns =
        (0..10_000).map(|n| if n % 2 == 0 { user(&format!("u{n}")) } else { agent(&format!("a{n}")) });
    let turns: Vec<_> = turns.collect();
    let texts: Vec<_> = turns.iter().map(|turn| turn.text.clone().unwrap()).collect();
    let command = report(turns);
    let (mut story, mut commits) = (Story::default(), 0);
    story.tell(&record(said_by_user(Some("m"), "u5000")));
    loop {
        let last = story.events.last().map_or(0, |(sequence, _)| *sequence);
        let Decision::Append { events, more, .. } = decide(&command, &story.state, 0, last).unwrap() else {
            panic!("repeat")
        };
        assert!(events.len() <= 500);
        for (event, sequence) in events.into_iter().zip(last + 1..) {
            story.events.push((sequence, event.clone()));
            story.state.fold(event, sequence);
        }
        commits += 1;
        if !more {
            break;
        }
    }
    assert!(commits > 20);
    assert_eq!(story.texts(), texts);
    assert_eq!(story.newest_report().turns.len(), 10_000);
}

/// Every order in which these can arrive.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, place: usize| {
        let mut longer = order.clone();
        longer.insert(place, count - 1);
        longer
    };
    shorter.iter().flat_map(|order| (0..count).map(move |place| insert(order, place))).collect()
}

#[test]
fn in_whatever_order_they_arrive_the_conversation_is_the_same() {
    let interrupted =
        Told { original: Some("Fine. Shall I also call a taxi for you?".into()), ..agent("Fine.") };
    let turns =
        vec![agent("Hello"), user("My name is Mara"), tool(), interrupted, user("Yes, yes."), agent("Bye")];
    let arrivals = [
        record(said_by_agent(Some("m1"), "Hello")),
        record(said_by_user(Some("m2"), "my name is mara")),
        record(said_by_agent(Some("m3"), "Fine. Shall I also call a taxi for you?")),
        record(said_by_user(Some("m4"), "Yes yes")),
        report(turns.clone()),
        report(turns),
    ];
    let shown = |order: &[usize]| -> Vec<_> {
        let mut story = Story::default();
        order.iter().for_each(|place| story.tell(&arrivals[*place]));
        let shown = story.messages().into_iter();
        shown
            .map(|m| (m.role, m.content, m.message_id.map(String::from), m.timestamp, m.participant_id))
            .collect()
    };
    // A frontend's own messages keep their order; the reports come whenever they come.
    let lawful = |order: &Vec<usize>| {
        let live: Vec<_> = order.iter().filter(|place| **place < 4).collect();
        live.is_sorted()
    };
    let expected = shown(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(expected.len(), 5);
    let all: Vec<_> = orders(arrivals.len()).into_iter().filter(lawful).collect();
    assert_eq!(all.len(), 30);
    for order in all {
        assert_eq!(shown(&order), expected, "{order:?}");
    }
}
