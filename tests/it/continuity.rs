//! One conversation over several sessions of the vendor's: how it stands, what is told of each, its sounds and feeds, and
//! the vendor's own names for it.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::Who;
use shared::events::{
    Dream, EmotionalTone, Ending, Event, Interpretation, Message, Payload, RawJson, Recording, Report,
    Session, Source, StoredObject,
};
use shared::ids::{Provider, Speaker, Timestamp};
use shared::log::Log;
use shared::report::kinds;
use tests::{Client, Parts, Socket, System};

use crate::{person, publish};

/// What turnlog calls it.
const OURS: &str = "6f2b9c1e-5a37-4f0e-9d53-0c1f6a1b2c3d";
pub(crate) const OWNER: &str = "RID001";

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_736_337_600 + second, 0).unwrap()
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_parts(at(second), 19_800)
}

/// A participant's conversation with an interpreter, as the log has it.
pub(crate) struct Talk<'a> {
    pub(crate) owner: &'a str,
    pub(crate) id: &'a str,
    pub(crate) dream: &'a str,
    /// What the vendor's ids begin with.
    pub(crate) vendor: &'a str,
}

const TALK: Talk<'static> = Talk { owner: OWNER, id: OURS, dream: "d1", vendor: "conv_v" };

impl Talk<'_> {
    pub(crate) fn dream(&self, transcript: &str) -> Event {
        Event::DreamRecorded(Dream {
            dream_id: self.dream.to_owned().try_into().unwrap(),
            participant_id: self.owner.to_owned().try_into().unwrap(),
            raw_transcript: transcript.to_owned(),
            themes: vec!["falling".into(), "\"water\", {light}".into()],
            recorded_at: time(0),
        })
    }

    pub(crate) fn interpretation(&self, text: &str) -> Event {
        let primary = "anxiety".to_owned();
        Event::DreamInterpreted(Interpretation {
            dream_id: self.dream.to_owned().try_into().unwrap(),
            participant_id: self.owner.to_owned().try_into().unwrap(),
            interpreter_id: "jung".to_owned().try_into().unwrap(),
            emotional_tone: EmotionalTone { primary, secondary: None, intensity: Some(0.7) },
            text: text.to_owned(),
        })
    }

    pub(crate) fn opened(&self, number: u32) -> Event {
        Event::SessionOpened(Session {
            conversation_id: self.id.to_owned().try_into().unwrap(),
            participant_id: self.owner.to_owned().try_into().unwrap(),
            number,
            vendor_conversation_id: format!("{}{number}", self.vendor).try_into().unwrap(),
            dream_id: self.dream.to_owned().try_into().unwrap(),
            interpreter_id: "jung".to_owned().try_into().unwrap(),
            agent_id: "agent_1".into(),
            opened_at: at(i64::from(number) * 1_000),
            expires_at: at(i64::from(number) * 1_000 + 900),
        })
    }

    pub(crate) fn said(&self, session: u32, ordinal: u64, content: &str) -> Event {
        Event::MessageRecorded(Message {
            conversation_id: self.id.to_owned().try_into().unwrap(),
            participant_id: Some(self.owner.to_owned().try_into().unwrap()),
            ordinal,
            message_id: Some(format!("m{ordinal}").try_into().unwrap()),
            idempotency_key: None,
            role: Speaker::User,
            content: content.to_owned(),
            timestamp: Timestamp::from_parts(at(i64::from(session) * 1_000 + 10), 0),
            provider: Provider::Elevenlabs,
            inserted_at: None,
            event_id: None,
            reported: false,
            original: None,
            sources: None,
            attachments: Vec::new(),
            late: false,
            session,
        })
    }

    /// What the vendor tells of a session: how long it took, what it cost, and one turn.
    pub(crate) fn reported(&self, session: u32, status: Option<&str>, seconds: Option<i64>) -> Event {
        let start = seconds.map(|_| at(i64::from(session) * 1_000).timestamp());
        let body = json!({"type": kinds::TRANSCRIPTION, "data": {
            "conversation_id": format!("{}{session}", self.vendor), "agent_id": "agent_1", "status": status,
            "metadata": {"start_time_unix_secs": start, "call_duration_secs": seconds,
                         "cost": seconds.map(|seconds| seconds * 2), "of": self.owner},
            "analysis": {"transcript_summary": format!("of session {session}")},
            "transcript": [{"role": "user", "message": "Hello", "time_in_call_secs": session, "of": self.owner}],
        }});
        Event::ConversationReported(Report {
            conversation_id: self.id.to_owned().try_into().unwrap(),
            participant_id: Some(self.owner.to_owned().try_into().unwrap()),
            source: Source::ElevenlabsWebhook,
            kind: kinds::TRANSCRIPTION.into(),
            session,
            reported_at: Some(at(i64::from(session) * 1_000 + 500)),
            sha256: "0".repeat(64),
            superseded: false,
            turns: vec![None],
            payload: Payload::Json(RawJson::new(body.to_string()).unwrap()),
        })
    }

    pub(crate) fn sound(&self, session: u32, object: &str) -> Event {
        Event::AudioStored(Recording {
            conversation_id: self.id.to_owned().try_into().unwrap(),
            participant_id: Some(self.owner.to_owned().try_into().unwrap()),
            session,
            source: Source::ElevenlabsWebhook,
            agent_id: None,
            reported_at: None,
            audio: StoredObject { object: object.into(), bytes: 9, sha256: object.into() },
            media_type: "audio/mpeg".into(),
        })
    }

    pub(crate) fn ended(&self, second: i64) -> Event {
        Event::ConversationEnded(Ending {
            conversation_id: self.id.to_owned().try_into().unwrap(),
            call: None,
            ended_at: time(second),
            by: None,
        })
    }
}

/// Everything that is folded of conversations and dreams, but for the times at which it was.
async fn tables(system: &System) -> Vec<Value> {
    let mut held = Vec::new();
    for (table, order) in [
        ("conversations", "token"),
        ("conversation_counts", "status"),
        ("reports", "conversation, session, kind"),
        ("turns", "conversation, session, turn"),
        ("recordings", "conversation, session"),
        ("sessions", "conversation, number"),
        ("dreams", "token"),
        ("interpretations", "dream, interpreter_id"),
        ("messages", "sequence"),
    ] {
        let rows = system.rows(&format!("SELECT * FROM read_v1.{table} ORDER BY {order}")).await;
        held.push(json!({"table": table, "rows": rows}));
    }
    held
}

async fn standing(system: &System) -> (String, Option<String>, Option<i64>, i64) {
    let rows =
        system.rows("SELECT status, ended_at, duration_seconds, session FROM turnlog.conversations").await;
    let [row] = &rows[..] else { panic!("one conversation: {rows:?}") };
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    (
        text("status").unwrap(),
        text("ended_at"),
        row["duration_seconds"].as_i64(),
        row["session"].as_i64().unwrap(),
    )
}

async fn counts(system: &System) -> Vec<i64> {
    let rows = system.rows("SELECT conversations FROM turnlog.conversation_counts ORDER BY status").await;
    rows.iter().map(|row| row["conversations"].as_i64().unwrap()).collect()
}

/// Status, the second in which it ended, seconds in all, newest session.
type Standing = (&'static str, Option<i64>, Option<i64>, i64);

/// What happens, and how the conversation stands after it.
fn story() -> Vec<(Event, Standing)> {
    let (active, ended, failed) = ("ACTIVE", "ENDED", "FAILED");
    vec![
        (TALK.opened(1), (active, None, None, 1)),
        (TALK.said(1, 1, "I fell"), (active, None, None, 1)),
        (TALK.reported(1, Some("done"), Some(30)), (ended, Some(1_030), Some(30), 1)),
        // Goes on; a correction of the first session does not end the second.
        (TALK.opened(2), (active, None, Some(30), 2)),
        (TALK.reported(1, Some("done"), Some(40)), (active, None, Some(40), 2)),
        (TALK.reported(2, None, None), (ended, Some(2_500), Some(40), 2)),
        (TALK.reported(2, Some("failed"), Some(5)), (failed, Some(2_005), Some(45), 2)),
        // Ended twice over: by whom it was ended, and by what was told of it, which says more.
        (TALK.opened(3), (active, None, Some(45), 3)),
        (TALK.ended(3_100), (ended, Some(3_100), Some(45), 3)),
        (TALK.reported(3, Some("done"), Some(90)), (ended, Some(3_090), Some(135), 3)),
        // The end that was is none of what goes on since, nor is a session that another one came after.
        (TALK.opened(4), (active, None, Some(135), 4)),
        (TALK.opened(5), (active, None, Some(135), 5)),
        (TALK.reported(4, Some("done"), Some(1)), (active, None, Some(136), 5)),
        // A report of the whole ends it, and is no session of its own.
        (TALK.reported(0, Some("done"), Some(7)), (ended, Some(7), Some(136), 5)),
        (TALK.opened(6), (active, None, Some(136), 6)),
        (TALK.ended(6_100), (ended, Some(6_100), Some(136), 6)),
    ]
}

#[tokio::test]
async fn a_conversation_ends_with_its_newest_session_and_goes_on_with_the_next() {
    let parts = Parts::fresh().await;
    let system = parts.start().await;
    let log = Log::open(&parts.nats, "test").await.unwrap();
    for (event, (status, ended_at, seconds, session)) in story() {
        let sequence = publish(&log, &event).await;
        system.projected(sequence).await;
        let (known, ended, duration, newest) = standing(&system).await;
        let ended: Option<DateTime<Utc>> = ended.map(|time| time.parse().unwrap());
        let wanted = (status, ended_at.map(at), seconds, session);
        assert_eq!((known.as_str(), ended, duration, newest), wanted, "after {sequence}: {event:?}");
        let of = |word: &str| i64::from(word == status);
        assert_eq!(counts(&system).await, [of("ACTIVE"), of("ENDED"), of("FAILED")], "after {sequence}");
    }
    for more in [TALK.dream("I fell"), TALK.interpretation("a fall"), TALK.interpretation("a rise")] {
        publish(&log, &more).await;
    }
    let object = "a".repeat(64);
    let last = publish(&log, &TALK.sound(2, &object)).await;
    system.projected(last).await;

    // All at once, into other tables.
    let other = Parts { database_url: tests::database().await, ..parts.only(false, true, false) };
    let other = other.start().await;
    other.projected(last).await;
    let (one_by_one, at_once) = (tables(&system).await, tables(&other).await);
    for (one, other) in one_by_one.iter().zip(&at_once) {
        assert_eq!(one, other);
    }
    let dream = &one_by_one[6]["rows"][0];
    assert_eq!(dream["themes"], json!(["falling", "\"water\", {light}"]));
    assert_eq!((&dream["recorded_offset"], &dream["raw_transcript"]), (&json!(19_800), &json!("I fell")));
    let made = &one_by_one[7]["rows"][0];
    assert_eq!(made["emotional_tone"], json!({"primary": "anxiety", "intensity": 0.7}));
    assert_eq!(made["text"], "a rise");
}

/// A system with two sessions, the first of which is over.
async fn with_sessions() -> (System, Log, Client, u64) {
    let system = System::start().await;
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let owner = system.client.login(OWNER).await;
    let mut last = 0;
    for event in [
        TALK.opened(1),
        TALK.said(1, 1, "I fell"),
        TALK.reported(1, Some("done"), Some(30)),
        TALK.opened(2),
        TALK.said(2, 2, "I flew"),
    ] {
        last = publish(&log, &event).await;
    }
    system.projected(last).await;
    (system, log, owner, last)
}

#[tokio::test]
async fn the_status_tells_of_every_session_and_adds_up_what_they_took() {
    let (system, log, owner, _) = with_sessions().await;
    let path = format!("/api/v1/conversations/{OURS}");
    let status = owner.get(&path).await.body;
    assert_eq!(
        (&status["status"], &status["duration"], &status["cost"]),
        (&json!("active"), &json!(30), &json!(60))
    );
    let last = publish(&log, &TALK.reported(2, Some("done"), Some(12))).await;
    let status = owner.get(&format!("{path}?include=turns&after={last}")).await.body;
    assert_eq!(
        (&status["status"], &status["duration"], &status["cost"]),
        (&json!("completed"), &json!(42), &json!(84))
    );
    assert_eq!(status["summary"], "of session 2");
    assert_eq!(status["lastMessageAt"], "2025-01-08T12:33:30Z");
    let sessions = status["sessions"].as_array().unwrap();
    let told = |name: &str| sessions.iter().map(|session| session[name].clone()).collect::<Vec<_>>();
    assert_eq!(told("number"), [1, 2]);
    assert_eq!(told("elevenlabsConversationId"), ["conv_v1", "conv_v2"]);
    assert_eq!(told("duration"), [30, 12]);
    assert_eq!(told("cost"), [60, 24]);
    assert_eq!(told("summary"), ["of session 1", "of session 2"]);
    assert_eq!((&sessions[0]["dreamId"], &sessions[0]["interpreterId"]), (&json!("d1"), &json!("jung")));
    assert_eq!(sessions[1]["openedAt"], "2025-01-08T12:33:20Z");
    assert!(sessions.iter().all(|session| session["reportedAt"].is_string()), "{sessions:?}");
    let turns = status["turns"].as_array().unwrap();
    let turns: Vec<_> =
        turns.iter().map(|turn| (&turn["session"], &turn["turn"], &turn["seconds"])).collect();
    assert_eq!(turns, [(&json!(1), &json!(0), &json!(1)), (&json!(2), &json!(0), &json!(2))]);
    let export = owner.get(&format!("/api/conversation/{OURS}/export")).await.body;
    assert_eq!(
        (&export["report"]["duration_seconds"], &export["as_of_sequence"]),
        (&json!(42), &json!(last))
    );
    drop(system);
}

#[tokio::test]
async fn the_vendors_id_opens_the_conversation_that_it_is_a_session_of() {
    let (system, _, owner, last) = with_sessions().await;
    let other = system.client.login("RID002").await;
    for vendor in ["conv_v1", "conv_v2"] {
        let snapshot = owner.get(&format!("/api/conversation/{vendor}")).await.body;
        assert_eq!(snapshot["conversation"]["conversation_id"], OURS);
        assert_eq!(snapshot["conversation"]["total_messages"], 2);
        assert_eq!(owner.get(&format!("/api/v1/conversations/{vendor}")).await.body["conversationId"], OURS);
        let export = owner.get(&format!("/api/conversation/{vendor}/export?format=csv")).await;
        assert!(export.headers["content-disposition"].to_str().unwrap().contains(OURS));
        let found = format!("/api/v1/search?q=flew&conversation_id={vendor}&after={last}");
        let found = owner.get(&found).await.body;
        assert_eq!(found["hits"].as_array().map(Vec::len), Some(1), "{found}");
        let mut feed = owner.feed(vendor, None).await;
        assert_eq!(feed.expect("initial").await.data["conversation_id"], OURS);
        for path in ["", "/stream", "/export", "/audio"] {
            other.get(&format!("/api/conversation/{vendor}{path}")).await.assert_problem(403);
            owner.get(&format!("/api/conversation/conv_v3{path}")).await.assert_problem(404);
        }
        other.get(&format!("/api/v1/conversations/{vendor}")).await.assert_problem(403);
        person(&system, &admin()).get(&format!("/api/conversation/{vendor}")).await.assert_problem(403);
    }
    // A look by the vendor's name is one at the conversation itself.
    system.service().get("/api/conversation/conv_v1").await;
    let looks = crate::audit::looks(&system.parts).await;
    assert!(
        looks.iter().any(|look| look.conversation_id.as_ref().is_some_and(|id| id.as_str() == OURS)),
        "{looks:?}"
    );
}

fn admin() -> Who {
    let id = |text: &str| text.to_owned();
    Who::Admin { id: id("admin_1").try_into().unwrap(), company: id("acme").try_into().unwrap() }
}

#[tokio::test]
async fn feeds_by_any_of_its_names_are_told_that_it_goes_on() {
    let (system, log, owner, _) = with_sessions().await;
    let last = publish(&log, &TALK.reported(2, Some("done"), Some(12))).await;
    system.projected(last).await;
    let mut by_own = owner.feed(OURS, None).await;
    let mut by_vendors = owner.feed("conv_v1", None).await;
    let mut socket = Socket::open(&owner, "conv_v2", "", &[]).await;
    for feed in [&mut by_own, &mut by_vendors] {
        assert_eq!(feed.expect("initial").await.data["status"], "ENDED");
    }
    socket.expect("initial").await;
    let before = by_own.last_id.clone().unwrap();
    let opened = publish(&log, &TALK.opened(3)).await;
    let wanted = json!({"conversation_id": OURS, "status": "ACTIVE", "session": 3});
    for feed in [&mut by_own, &mut by_vendors] {
        let frame = feed.expect("conversation").await;
        assert_eq!(frame.data, wanted);
        assert!(frame.id.unwrap().ends_with(&format!("-{opened}")));
    }
    assert_eq!(socket.expect("conversation").await.data, wanted);
    // What is said by the socket is said of the conversation itself.
    socket.say(&json!({"type": "seen", "sequence": opened})).await;
    let seen = by_own.expect("seen").await;
    assert_eq!((&seen.data["conversation_id"], &seen.data["id"]), (&json!(OURS), &json!(OWNER)));
    // Who was away is told the same, once.
    let mut resumed = owner.feed(OURS, Some(&before)).await;
    assert_eq!(resumed.expect("conversation").await.data, wanted);
    resumed.expect("seen").await;
    // An end that somebody put to it ends the feeds; the next session opens it for new ones.
    publish(&log, &TALK.ended(3_100)).await;
    by_own.expect("ended").await;
    assert!(by_own.any().await.is_none());
    let opened = publish(&log, &TALK.opened(4)).await;
    system.projected(opened).await;
    let mut feed = owner.feed(OURS, None).await;
    assert_eq!(feed.expect("initial").await.data["status"], "ACTIVE");
    publish(&log, &TALK.said(4, 3, "I landed")).await;
    feed.expect("new_messages").await;
}

#[tokio::test]
async fn each_session_has_a_sound_of_its_own() {
    let (system, log, owner, _) = with_sessions().await;
    let mut objects = Vec::new();
    for sound in [&b"ID3 first"[..], b"ID3 other"] {
        let service = system.service();
        let request = service.request(Method::POST, "/api/media").header("Content-Type", "audio/mpeg");
        let reply = service.send(request.body(sound)).await;
        assert_eq!(reply.status, 201, "{}", reply.text);
        objects.push(reply.body["media_id"].as_str().unwrap().to_owned());
    }
    let audio = |name: &str, query: &str| format!("/api/conversation/{name}/audio{query}");
    owner.get(&audio(OURS, "")).await.assert_problem(404);
    let first = publish(&log, &TALK.sound(1, &objects[0])).await;
    assert_eq!(owner.get(&audio(OURS, &format!("?after={first}"))).await.text, "ID3 first");
    let second = publish(&log, &TALK.sound(2, &objects[1])).await;
    assert_eq!(owner.get(&audio(OURS, &format!("?after={second}"))).await.text, "ID3 other");
    assert_eq!(owner.get(&audio("conv_v1", "?session=1")).await.text, "ID3 first");
    assert_eq!(owner.get(&audio(OURS, "?session=2")).await.text, "ID3 other");
    let part = owner.request(Method::GET, &audio(OURS, "?session=1")).header("Range", "bytes=4-8");
    let part = owner.send(part).await;
    assert_eq!((part.status, part.text.as_str()), (206, "first"));
    for none in ["?session=0", "?session=3"] {
        owner.get(&audio(OURS, none)).await.assert_problem(404);
    }
    for bad in ["?session=-1", "?session=x", "?session=9000000000", "?session="] {
        let reply = owner.get(&audio(OURS, bad)).await;
        reply.assert_problem(400);
        assert_eq!(reply.bad_fields(), ["session"], "{bad}");
    }
    let status = system.service().get(&format!("/api/v1/conversations/{OURS}")).await.body;
    assert_eq!(status["audio"]["sha256"], objects[1]);
}
