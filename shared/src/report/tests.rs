use super::*;

const TRANSCRIPTION: &str = include_str!("../../../tests/fixtures/elevenlabs/post_call_transcription.json");
const FAILURE: &str = include_str!("../../../tests/fixtures/elevenlabs/call_initiation_failure_twilio.json");

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn transcription(data: &str) -> Reading {
    read(kinds::TRANSCRIPTION, &raw(&format!(r#"{{"type":"post_call_transcription","data":{data}}}"#)))
        .unwrap()
}

#[test]
fn the_vendors_transcription_is_read_whole() {
    let body = raw(TRANSCRIPTION);
    let heading = heading(&body).unwrap();
    assert_eq!(heading.kind.as_deref(), Some("post_call_transcription"));
    assert_eq!(heading.conversation.unwrap().as_str(), "conv_6801kq9a2f7se8r9vw3m1xtpzd4b");
    assert_eq!(heading.reported_at.unwrap().timestamp(), 1_788_170_431);
    let Reading { turns, facts } = read(kinds::TRANSCRIPTION, &body).unwrap();
    assert_eq!(turns.len(), 7);
    let spoken: Vec<_> = turns.iter().map(|turn| (turn.role.as_str(), turn.text.is_some())).collect();
    let (user, agent) = ("user", "assistant");
    assert_eq!(
        spoken,
        [
            (agent, true),
            (user, true),
            (agent, false),
            (agent, false),
            (agent, true),
            (user, true),
            (agent, true)
        ]
    );
    assert_eq!(turns[0].said_as, "agent");
    assert_eq!(turns[2].detail["tool_calls"][0]["tool_name"], "renew_loan");
    assert_eq!(turns[3].detail["tool_results"][0]["is_error"], false);
    assert!(turns[4].interrupted && turns[4].original.as_deref().unwrap().ends_with("two days before?"));
    assert_eq!((turns[6].event_id, turns[6].seconds), (Some(28), Some(23)));
    assert_eq!(turns[1].at.unwrap().to_string(), "2026-08-31T10:00:05.217+00:00");
    assert_eq!(facts.outcome.as_deref(), Some("done"));
    assert_eq!((facts.cost, facts.duration_seconds, facts.failed), (Some(214), Some(26), false));
    assert_eq!(facts.ended_at().unwrap().timestamp(), 1_788_170_426);
    assert_eq!(facts.title.as_deref(), Some("Loan renewal"));
    assert_eq!(facts.call_successful.as_deref(), Some("success"));
    assert_eq!(facts.collected["renewed_title"]["value"], "Café am Rand der Welt");
    assert_eq!(facts.client_data["dynamic_variables"]["open_loans"], 3);
}

#[test]
fn a_call_that_did_not_come_about_has_a_reason_and_no_turns() {
    let Reading { turns, facts } = read(kinds::FAILURE, &raw(FAILURE)).unwrap();
    assert!(turns.is_empty() && facts.failed);
    assert_eq!(facts.outcome.as_deref(), Some("no-answer"));
    assert_eq!(facts.phone_call["body"]["CallStatus"], "no-answer");
}

#[test]
fn what_is_missing_null_or_of_another_shape_is_absent_and_stops_nothing() {
    for data in ["{}", r#"{"transcript":null,"metadata":null,"analysis":null}"#, r#"{"transcript":[]}"#] {
        assert_eq!(transcription(data), transcription("{}"), "{data}");
    }
    let odd = transcription(
        r#"{"transcript":[null,7,"x",{},{"role":"user","message":5},{"role":["a"],"message":{"a":1}},
            {"role":"narrator","message":"It rained.","tool_calls":null,"time_in_call_secs":"12"}],
            "metadata":{"start_time_unix_secs":"1700000000","call_duration_secs":9.9,"cost":1e400}}"#,
    );
    let texts: Vec<_> = odd.turns.iter().map(|turn| turn.text.as_deref()).collect();
    assert_eq!(texts, [None, None, None, None, Some("5"), None, Some("It rained.")]);
    assert_eq!(odd.turns[6].said_as, "narrator");
    assert_eq!(odd.turns[6].at.unwrap().instant().timestamp(), 1_700_000_012);
    assert_eq!((odd.facts.duration_seconds, odd.facts.cost), (Some(9), None));
}

#[test]
fn hostile_json_is_read_as_far_as_it_can_be() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let data = format!(
        r#"{{"deep":{deep},"status":"failed","status":"done","user_id":"a\u0000b","metadata":{{"big":{},"deep":{deep}}},
            "transcript":[{{"role":"user","message":"lone \ud800 surrogate","\ud800":{deep},"n":123456789012345678901234567890,
            "nul":"\u0000"}}]}}"#,
        "9".repeat(400)
    );
    let Reading { turns, facts } = transcription(&data);
    assert_eq!((facts.outcome.as_deref(), facts.failed), (Some("done"), false));
    assert_eq!(facts.user_id.as_deref(), Some("a\u{fffd}b"));
    assert!(turns[0].text.as_deref().unwrap().starts_with("lone \u{fffd}"));
    assert_eq!(turns[0].detail["nul"], "\u{fffd}");
    assert!(turns[0].detail["n"].is_number());
}

#[test]
fn times_beyond_reason_are_absent() {
    for seconds in ["-1", "1e300", "99999999999999", "\"NaN\"", "null"] {
        let reading = transcription(&format!(
            r#"{{"metadata":{{"start_time_unix_secs":{seconds},"call_duration_secs":9223372036854775807}},
                "transcript":[{{"role":"user","message":"x","time_in_call_secs":3}}]}}"#
        ));
        assert_eq!((reading.facts.started_at, reading.turns[0].at), (None, None), "{seconds}");
        assert_eq!(reading.facts.ended_at(), None);
    }
}

#[test]
fn a_kind_that_is_not_known_and_a_body_that_is_no_object_are_not_read() {
    assert_eq!(read("voice_removed", &raw("{}")), None);
    for body in ["[]", "7", "null", "\"x\""] {
        assert_eq!(heading(&raw(body)), None);
        assert_eq!(read(kinds::TRANSCRIPTION, &raw(body)), None);
    }
    for alien in
        [r#"{"data":7}"#, r#"{"data":{"transcript":{"turns":[]}}}"#, r#"{"data":{"transcript":"hi"}}"#]
    {
        assert_eq!(read(kinds::TRANSCRIPTION, &raw(alien)), None, "{alien}");
    }
    let bare = heading(&raw(r#"{"type":"x","data":{"conversation_id":"  "}}"#)).unwrap();
    assert_eq!(bare.conversation, None);
}

#[test]
fn a_text_is_cut_where_no_event_could_hold_it() {
    let long = "é".repeat(MAX_TEXT);
    assert_eq!(spoken(&long).unwrap().len(), MAX_TEXT);
    assert_eq!(spoken(" \n"), None);
}

#[test]
fn to_decide_the_same_words_are_read_and_no_values() {
    let (whole, skimmed) =
        (read(kinds::TRANSCRIPTION, &raw(TRANSCRIPTION)), skim(kinds::TRANSCRIPTION, &raw(TRANSCRIPTION)));
    let (mut whole, skimmed) = (whole.unwrap(), skimmed.unwrap());
    assert!(whole.turns.iter().all(|turn| turn.detail.is_object()));
    whole.turns.iter_mut().for_each(|turn| turn.detail = Value::Null);
    assert_eq!(skimmed.turns, whole.turns);
    assert_eq!(skimmed.facts.started_at, whole.facts.started_at);
    assert!(skimmed.facts.metadata.is_null() && whole.facts.metadata.is_object());
}
