//! Dreams, and what is made of them.

use shared::events::{Discussion, Dream, EmotionalTone, Interpretation};

use super::*;
use crate::command::{OnDream, Told};

fn dream(by: &str, words: &str) -> Dream {
    Dream {
        dream_id: id("d1"),
        participant_id: id(by),
        raw_transcript: words.into(),
        themes: Vec::new(),
        recorded_at: Timestamp::parse("2025-01-08T12:00:00Z", Utc::now()).unwrap(),
    }
}

fn tone(primary: &str) -> EmotionalTone {
    EmotionalTone { primary: primary.into(), secondary: None, intensity: None }
}

fn says(by: Option<&str>, told: Told) -> Command {
    Command::Dream(OnDream { dream: id("d1"), by: by.map(id), told })
}

fn tells(by: &str, words: &str) -> Command {
    says(Some(by), Told::Dream(dream(by, words)))
}

fn interprets(by: Option<&str>, interpreter: &str, primary: &str) -> Command {
    let (tone, text) = (tone(primary), "…".into());
    says(by, Told::Interpretation { interpreter: id(interpreter), tone, text })
}

fn interpreted(interpreter: &str, primary: &str) -> Event {
    Event::DreamInterpreted(Interpretation {
        dream_id: id("d1"),
        participant_id: id("RID001"),
        interpreter_id: id(interpreter),
        emotional_tone: tone(primary),
        text: "…".into(),
    })
}

fn discussed(conversation: &str) -> Event {
    Event::DreamDiscussed(Discussion {
        dream_id: id("d1"),
        participant_id: id("RID001"),
        interpreter_id: id("jung"),
        conversation_id: id(conversation),
    })
}

#[test]
fn a_dream_is_told_once_and_changes_with_its_words() {
    let told = Event::DreamRecorded(dream("RID001", "I fell."));
    assert_eq!(given(&[]).when(&tells("RID001", "I fell.")).unwrap(), append(told.clone()));
    let past = given(&[told]);
    let again = past.when(&tells("RID001", "I fell.")).unwrap();
    assert_eq!(again, Decision::Already { first: 10, sequence: 10 });
    let changed = Event::DreamChanged(dream("RID001", "I flew."));
    assert_eq!(past.when(&tells("RID001", "I flew.")).unwrap(), append(changed));
}

#[test]
fn nobody_else_tells_interprets_or_discusses_a_dream() {
    let past = given(&[Event::DreamRecorded(dream("RID001", "I fell."))]);
    let discuss = says(Some("RID002"), Told::Discussion(id("jung"), id("c")));
    for other in [tells("RID002", "I fell."), interprets(Some("RID002"), "jung", "joy"), discuss] {
        assert_eq!(past.when(&other), Err(Refusal::NotDreamer));
    }
    let given_away = says(None, Told::Dream(dream("RID002", "I fell.")));
    assert_eq!(past.when(&given_away), Err(Refusal::NotDreamer), "not by a service either");
    assert!(past.when(&interprets(None, "jung", "joy")).is_ok(), "a service may interpret");
    assert_eq!(given(&[]).when(&interprets(None, "jung", "joy")), Err(Refusal::Unknown("dream")));
}

#[test]
fn an_interpreters_newest_word_counts() {
    let past = given(&[
        Event::DreamRecorded(dream("RID001", "I fell.")),
        interpreted("jung", "fear"),
        interpreted("freud", "joy"),
    ]);
    let same = past.when(&interprets(Some("RID001"), "jung", "fear")).unwrap();
    assert_eq!(same, Decision::Already { first: 30, sequence: 30 });
    let other = past.when(&interprets(Some("RID001"), "jung", "awe")).unwrap();
    assert_eq!(other, append(interpreted("jung", "awe")));
    let tones = |state: &State| -> Vec<_> {
        let known = &state.dream.as_ref().unwrap().interpretations;
        known.iter().map(|one| one.emotional_tone.primary.clone()).collect()
    };
    assert_eq!(tones(&past.state), ["fear", "joy"]);
    let then = given(&[
        Event::DreamRecorded(dream("RID001", "I fell.")),
        interpreted("jung", "fear"),
        interpreted("freud", "joy"),
        interpreted("jung", "awe"),
    ]);
    assert_eq!(tones(&then.state), ["joy", "awe"]);
}

#[test]
fn a_dream_is_discussed_with_one_interpreter_in_one_conversation() {
    let told = Event::DreamRecorded(dream("RID001", "I fell."));
    let discuss = |conversation: &str| says(Some("RID001"), Told::Discussion(id("jung"), id(conversation)));
    assert_eq!(given(std::slice::from_ref(&told)).when(&discuss("c1")).unwrap(), append(discussed("c1")));
    let past = given(&[told, discussed("c1")]);
    assert_eq!(past.when(&discuss("c2")).unwrap(), Decision::Already { first: 20, sequence: 20 });
    assert_eq!(past.state.dream.unwrap().discussion(&id("jung")), Some(&id("c1")));
}
