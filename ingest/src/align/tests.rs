use shared::ids::{Provider, Timestamp};

use super::*;

fn message(role: Speaker, content: &str) -> Message {
    Message {
        conversation_id: "c".to_owned().try_into().unwrap(),
        participant_id: None,
        ordinal: 1,
        message_id: None,
        idempotency_key: None,
        role,
        content: content.into(),
        timestamp: Timestamp::from_parts(chrono::DateTime::UNIX_EPOCH, 0),
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

fn turn(role: Speaker, text: &str) -> report::Turn {
    report::Turn {
        role,
        said_as: String::new(),
        text: Some(text.into()).filter(|text: &String| !text.is_empty()),
        original: None,
        interrupted: false,
        message_id: None,
        event_id: None,
        at: None,
        seconds: None,
        detail: serde_json::Value::Null,
    }
}

/// One letter for the role, then what was said: `uHello`.
fn matched(known: &[&str], turns: &[&str]) -> Vec<Match> {
    let role = |text: &str| if text.starts_with('u') { Speaker::User } else { Speaker::Assistant };
    let known: Vec<_> = known.iter().map(|text| message(role(text), &text[1..])).collect();
    let turns: Vec<_> = turns.iter().map(|text| turn(role(text), &text[1..])).collect();
    align(&known.iter().collect::<Vec<_>>(), &turns)
}

fn alike(a: &str, b: &str) -> f32 {
    likeness(a, b, Instant::now() + PATIENCE)
}

use Match::{Differs, Missing, Same, Silent};

#[test]
fn the_same_words_of_the_same_speaker_are_the_same_turn() {
    assert_eq!(matched(&["aHello", "uHi"], &["aHello", "a", "uHi"]), [Same(0), Silent, Same(1)]);
    assert_eq!(matched(&["aHello"], &["uHello"]), [Missing]);
    assert_eq!(matched(&[], &["aHello", "uHi"]), [Missing, Missing]);
}

#[test]
fn case_and_punctuation_do_not_make_another_turn() {
    assert_eq!(matched(&["uperfekt danke"], &["aWell?", "uPerfekt, danke!"]), [Missing, Differs(0)]);
}

#[test]
fn a_gap_of_the_same_shape_is_the_same_in_other_words() {
    let known = ["aHello", "uabc", "adef", "uBye"];
    assert_eq!(
        matched(&known, &["aHello", "uxyz", "auvw", "uBye"]),
        [Same(0), Differs(1), Differs(2), Same(3)]
    );
}

#[test]
fn in_a_gap_of_another_shape_the_words_have_to_be_alike() {
    let known = ["aHello", "uI have pain in my left leg", "aBye"];
    let turns = ["aHello", "uHm", "uI've pain in the left leg", "aOh", "aBye"];
    assert_eq!(matched(&known, &turns), [Same(0), Missing, Differs(1), Missing, Same(2)]);
}

#[test]
fn an_own_id_tells_it_whatever_was_said_and_wherever_it_stands() {
    let with_id = |mut message: Message, id: &str| {
        message.message_id = Some(id.to_owned().try_into().unwrap());
        message
    };
    let known = [with_id(message(Speaker::User, "a"), "1"), with_id(message(Speaker::User, "b"), "2")];
    let told = |text: &str, id: &str| {
        let message_id = Some(id.to_owned().try_into().unwrap());
        report::Turn { message_id, ..turn(Speaker::User, text) }
    };
    let known: Vec<_> = known.iter().collect();
    assert_eq!(align(&known, &[told("c", "2"), told("a", "1")]), [Differs(1), Same(0)]);
}

#[test]
fn the_vendors_number_counts_only_where_the_words_do_not_speak_against_it() {
    let known = Message { event_id: Some(4), ..message(Speaker::Assistant, "Your appointment is on Monday") };
    let numbered = |text: &str| report::Turn { event_id: Some(4), ..turn(Speaker::Assistant, text) };
    let turns = [turn(Speaker::User, "x"), numbered("Your appointment's Monday at nine")];
    assert_eq!(align(&[&known], &turns), [Missing, Differs(0)]);
    assert_eq!(align(&[&known], &[turn(Speaker::User, "x"), numbered("Zzz qqq")]), [Missing, Missing]);
}

#[test]
fn long_transcripts_take_no_time() {
    let known: Vec<_> = (0..10_000).map(|n| message(Speaker::User, &format!("live {n}"))).collect();
    let turns: Vec<_> = (0..9_000).map(|n| turn(Speaker::User, &format!("final {n}"))).collect();
    let found = align(&known.iter().collect::<Vec<_>>(), &turns);
    assert_eq!(found.len(), 9_000);
}

#[test]
fn texts_in_other_scripts_are_compared_too() {
    assert_eq!(plain("नमस्ते, दुनिया!"), plain("नमस्ते दुनिया"));
    assert_eq!(plain("🙏"), "🙏");
    assert!(alike("你好，我的腿很痛", "你好我的腿很疼") > ALIKE);
}

#[test]
fn what_overtook_on_its_way_is_the_same_all_the_same() {
    assert_eq!(matched(&["uHi", "aHello"], &["aHello", "uHi"]), [Same(1), Same(0)]);
    assert_eq!(
        matched(&["uperfekt danke", "aBye", "uHi", "aHello"], &["aHello", "uHi", "uPerfekt, danke!", "aBye"]),
        [Same(3), Same(2), Differs(0), Same(1)]
    );
}

#[test]
fn comparing_many_long_texts_takes_no_longer_than_others_can_wait() {
    let text = |n: usize, word: &str| format!("u{}", format!("{word}{n} ").repeat(20_000));
    let known: Vec<_> = (0..100).map(|n| text(n, "ab")).collect();
    let turns: Vec<_> = (0..99).map(|n| text(n, "xyz")).collect();
    let (known, turns): (Vec<_>, Vec<_>) =
        (known.iter().map(String::as_str).collect(), turns.iter().map(String::as_str).collect());
    let started = Instant::now();
    assert_eq!(matched(&known, &turns).len(), 99);
    // All pairs letter by letter would be some 10^13 steps; how loaded the machine is, is not asked here.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn two_ids_are_two_messages_unless_the_words_are_the_same() {
    let known =
        Message { message_id: Some("m1".to_owned().try_into().unwrap()), ..message(Speaker::User, "Hello") };
    let told = |text: &str| report::Turn {
        message_id: Some("msg_1".to_owned().try_into().unwrap()),
        ..turn(Speaker::User, text)
    };
    assert_eq!(align(&[&known], &[told("Hello, I need help")]), [Missing]);
    assert_eq!(align(&[&known], &[told("hello!")]), [Differs(0)]);
    assert_eq!(align(&[&known], &[told("Hello")]), [Same(0)]);
}
