//! A conversation told of twice, by its frontend and by the vendor, in any order: the same tables, the same feeds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tests::{Client, Reply, System, fixture};

use super::{CONVERSATION, post_call, taken, told, transcript, transcription};

const GREETING: &str = "Hello, this is Finch at the Harborview library desk. What can I do for you?";
const RENEW: &str = "Hi could you renew Café am Rand der Welt for me my card ends in 4471";
const DONE: &str = "Done! It is renewed until the twenty-first of September. Would you like me to email you a reminder two \
                    days before?";
const THANKS: &str = "Perfekt danke, that is all";

/// One thing that comes in.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Live(usize),
    Transcript,
    Audio,
}

use Part::{Audio, Live, Transcript};

async fn say(caller: &Client, conversation: &str, number: usize) -> Reply {
    let (role, content) =
        [("assistant", GREETING), ("user", RENEW), ("assistant", DONE), ("user", THANKS)][number];
    let body = json!({"research_id": "RID_MARA", "role": role, "content": content, "provider": "elevenlabs",
                      "timestamp": format!("2026-08-31T10:00:{:02}+00:00", 10 * number + 1),
                      "elevenlabs_conversation_id": conversation, "elevenlabs_message_id": format!("m{number}")});
    let reply = caller.post("/api/v1/chat/message", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

fn of(conversation: &str, fixture: Value) -> String {
    let mut body = fixture;
    body["data"]["conversation_id"] = json!(conversation);
    body.to_string()
}

async fn send(system: &System, caller: &Client, conversation: &str, part: Part) -> u64 {
    let audio = || serde_json::from_str(&fixture("elevenlabs/post_call_audio.json")).unwrap();
    match part {
        Live(number) => say(caller, conversation, number).await.sequence(),
        Transcript => taken(&system.client, of(conversation, transcription())).await.sequence(),
        Audio => taken(&system.client, of(conversation, audio())).await.sequence(),
    }
}

/// Everything that the tables say of a conversation, but where it stands in the log.
async fn tables(system: &System, conversation: &str) -> [Vec<Value>; 4] {
    let messages = format!(
        "SELECT role, content, message_id, said_at, research_id, provider FROM turnlog.messages \
         WHERE conversation_id = '{conversation}' ORDER BY place, sequence"
    );
    let turns = format!(
        "SELECT t.turn, m.content, t.said_as, t.seconds, t.interrupted, t.original, t.detail, t.participant_id \
         FROM turnlog.turns t JOIN turnlog.conversations c ON c.token = t.conversation \
         LEFT JOIN turnlog.messages m ON m.conversation = t.conversation AND m.ordinal = t.ordinal \
         WHERE c.conversation_id = '{conversation}' ORDER BY turn"
    );
    let reports = format!(
        "SELECT r.kind, r.source, r.participant_id, r.outcome, r.summary, r.cost, r.evaluation, r.collected, \
         r.phone_call, r.call_successful, r.user_id, r.termination_reason, r.language FROM turnlog.reports r \
         JOIN turnlog.conversations c ON c.token = r.conversation WHERE c.conversation_id = '{conversation}'"
    );
    let conversations = format!(
        "SELECT c.participant_id, c.provider, c.status, c.message_count, c.started_at, c.ended_at, c.agent_id, \
         c.duration_seconds, r.sha256 FROM turnlog.conversations c \
         LEFT JOIN turnlog.recordings r ON r.conversation = c.token WHERE c.conversation_id = '{conversation}'"
    );
    [
        system.rows(&messages).await,
        system.rows(&turns).await,
        system.rows(&reports).await,
        system.rows(&conversations).await,
    ]
}

async fn assert_counts(system: &System) {
    let counted = system
        .rows("SELECT status, conversations AS n FROM turnlog.conversation_counts WHERE conversations <> 0 ORDER BY 1")
        .await;
    let found =
        system.rows("SELECT status, count(*) AS n FROM turnlog.conversations GROUP BY 1 ORDER BY 1").await;
    assert_eq!(counted, found);
}

#[tokio::test]
async fn arrivals_in_any_order_end_in_the_same_tables() {
    let system = System::start().await;
    let caller = system.client.login("RID_MARA").await;
    let orders: [&[Part]; 9] = [
        &[Live(0), Live(1), Live(2), Live(3), Transcript, Audio],
        &[Audio, Transcript, Live(0), Live(1), Live(2), Live(3)],
        &[Live(0), Transcript, Live(1), Live(2), Audio, Live(3)],
        &[Live(0), Live(1), Live(2), Transcript, Live(3), Transcript, Audio, Audio],
        &[Transcript, Live(3), Live(2), Live(1), Live(0), Audio],
        &[Live(3), Live(0), Transcript, Live(2), Live(1), Audio],
        &[Live(1), Live(0), Live(3), Live(2), Transcript, Audio],
        &[Live(3), Live(2), Live(1), Live(0), Transcript, Audio],
        &[Live(2), Transcript, Audio, Live(0), Live(3), Live(2), Live(1)],
    ];
    let mut expected = None;
    for (n, order) in orders.into_iter().enumerate() {
        let (conversation, mut last) = (format!("conv_{n}"), 0);
        for part in order {
            last = last.max(send(&system, &caller, &conversation, *part).await);
        }
        system.projected(last).await;
        let found = tables(&system, &conversation).await;
        let expected = expected.get_or_insert_with(|| found.clone());
        for (found, expected) in found.iter().zip(&*expected) {
            assert_eq!(found, expected, "{order:?}");
        }
        let path = format!("/api/conversation/{conversation}?after={last}");
        assert_eq!(caller.get(&path).await.body["conversation"]["total_messages"], 5, "{order:?}");
    }
    assert_counts(&system).await;
    let [messages, turns, reports, conversation] = expected.unwrap();
    let texts: Vec<_> = messages.iter().map(|row| row["content"].as_str().unwrap()).collect();
    assert_eq!(texts[2], "Done! It is renewed until the twenty-first of September.");
    let ids: Vec<_> = messages.iter().map(|row| row["message_id"].as_str()).collect();
    assert_eq!(ids, [Some("m0"), Some("m1"), Some("m2"), Some("m3"), None]);
    assert_eq!(turns.len(), 7);
    assert_eq!(turns[2]["content"], Value::Null);
    assert_eq!(turns[2]["detail"]["tool_calls"][0]["tool_name"], "renew_loan");
    assert_eq!(turns[3]["detail"]["tool_results"][0]["request_id"], "toolu_renew_01HZ9Q");
    let interrupted: Vec<_> = turns.iter().filter(|turn| turn["interrupted"] == true).collect();
    assert_eq!(interrupted.len(), 1);
    assert!(interrupted[0]["original"].as_str().unwrap().ends_with("two days before?"));
    assert_eq!(
        turns[0]["detail"]["conversation_turn_metrics"]["metrics"]["convai_tts_service_ttfb"]["elapsed_time"],
        0.151
    );
    let data = &transcription()["data"];
    assert_eq!(reports[0]["cost"], data["metadata"]["cost"]);
    assert_eq!(reports[0]["summary"], data["analysis"]["transcript_summary"]);
    assert_eq!(reports[0]["evaluation"], data["analysis"]["evaluation_criteria_results"]);
    assert_eq!(reports[0]["collected"], data["analysis"]["data_collection_results"]);
    assert_eq!(reports[0]["phone_call"], data["metadata"]["phone_call"]);
    assert_eq!(conversation[0]["status"], "ENDED");
    assert_eq!(conversation[0]["agent_id"], data["agent_id"]);
    assert_eq!(conversation[0]["duration_seconds"], data["metadata"]["call_duration_secs"]);
    assert_eq!(conversation[0]["participant_id"], "RID_MARA");
}

#[tokio::test]
async fn the_newest_version_of_a_transcript_holds_also_when_an_older_one_comes_late() {
    let system = System::start().await;
    let first = transcript("conv_1", 1_000, &[("agent", "Hello"), ("user", "I sleep bad")]);
    let second =
        transcript("conv_1", 2_000, &[("agent", "Hello"), ("user", "I sleep badly"), ("agent", "Why?")]);
    let mut third = transcript("conv_1", 1_500, &[("agent", "Hullo"), ("user", "something else")]);
    third["data"]["status"] = json!("failed");
    taken(&system.client, first.to_string()).await;
    let newest = taken(&system.client, second.to_string()).await;
    let late = taken(&system.client, third.to_string()).await;
    assert!(late.sequence() > newest.sequence());
    let again = taken(&system.client, first.to_string()).await;
    assert!(again.sequence() < newest.sequence());
    let texts: Vec<_> =
        told(&system, "conv_1", late.sequence()).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["Hello", "I sleep badly", "Why?"]);
    let rows = system.rows("SELECT status, message_count FROM turnlog.conversations").await;
    assert_eq!(rows, [json!({"status": "ENDED", "message_count": 3})]);
    let turns = system.rows("SELECT turn FROM turnlog.turns").await;
    assert_eq!(turns.len(), 3);
    assert_counts(&system).await;
}

#[tokio::test]
async fn a_variant_that_says_less_takes_nothing_back() {
    let system = System::start().await;
    let otel = |conversation: &str| {
        json!({"type": "post_call_transcription_otel", "event_timestamp": 1_788_170_500, "data": {
            "conversation_id": conversation, "agent_id": "agent_1", "otlp_traces": {"resourceSpans": []}}})
    };
    let failed = |conversation: &str| {
        let mut body = transcript(conversation, 1_788_170_431, &[("agent", "Hello")]);
        body["data"]["status"] = json!("failed");
        body
    };
    taken(&system.client, failed("conv_1").to_string()).await;
    taken(&system.client, otel("conv_1").to_string()).await;
    taken(&system.client, otel("conv_2").to_string()).await;
    let last = taken(&system.client, failed("conv_2").to_string()).await.sequence();
    system.projected(last).await;
    let rows = system
        .rows("SELECT status, ended_at, duration_seconds, agent_id FROM turnlog.conversations ORDER BY conversation_id")
        .await;
    assert_eq!(rows[0], rows[1]);
    assert_eq!((&rows[0]["status"], &rows[0]["duration_seconds"]), (&json!("FAILED"), &json!(60)));
    assert_counts(&system).await;
}

/// How many rows of each table this participant's session sees.
async fn seen_by(system: &System, participant: &str) -> Vec<i64> {
    let mut session = PgConnection::connect(&system.parts.database_url).await.unwrap();
    session.execute("SET ROLE turnlog_reader").await.unwrap();
    let set = "SELECT set_config('turnlog.role', 'participant', false), set_config('turnlog.participant', $1, false)";
    sqlx::query(set).bind(participant).execute(&mut session).await.unwrap();
    let mut counts = Vec::new();
    for table in ["conversations", "messages", "turns", "reports", "recordings", "refused"] {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM turnlog.{table}"));
        counts.push(sqlx::query_scalar(count).fetch_one(&mut session).await.unwrap());
    }
    counts
}

#[tokio::test]
async fn a_conversation_of_nobody_becomes_its_first_participants_and_nobody_elses() {
    let system = System::start().await;
    post_call(&system.client, "unsigned, so to speak").await;
    send(&system, &system.client, CONVERSATION, Audio).await;
    let last = send(&system, &system.client, CONVERSATION, Transcript).await;
    system.projected(last).await;
    let (mara, other) = (system.client.login("RID_MARA").await, system.client.login("RID_OTHER").await);
    let path = format!("/api/conversation/{CONVERSATION}?after={last}");
    assert_eq!(mara.get(&path).await.status, 403);
    for who in ["RID_MARA", "RID_OTHER", "usr_01J8ZK3M5Q"] {
        assert_eq!(seen_by(&system, who).await, [0; 6], "{who}");
    }
    let reply = say(&mara, CONVERSATION, 3).await;
    system.projected(reply.sequence()).await;
    assert_eq!(seen_by(&system, "RID_MARA").await, [1, 5, 7, 1, 1, 0]);
    assert_eq!(seen_by(&system, "RID_OTHER").await, [0; 6]);
    let own = mara.get(&format!("/api/conversation/{CONVERSATION}?after={}", reply.sequence())).await;
    assert_eq!(own.body["conversation"]["total_messages"], 5, "{}", own.text);
    let mut theirs = crate::message("RID_OTHER", "mine now", crate::ids(CONVERSATION, "x"));
    theirs["role"] = json!("user");
    other.post("/api/v1/chat/message", &theirs).await.assert_problem(403);
    other.get(&path).await.assert_problem(403);
    // What comes later is the participant's from the start.
    let mut changed = transcription();
    changed["event_timestamp"] = json!(1_788_180_000);
    changed["data"]["transcript"][1]["message"] = json!("Hi — could you renew a book for me?");
    let reply = taken(&system.client, changed.to_string()).await;
    system.projected(reply.sequence()).await;
    assert_eq!(seen_by(&system, "RID_MARA").await, [1, 5, 7, 1, 1, 0]);
    assert_eq!(seen_by(&system, "RID_OTHER").await, [0; 6]);
    assert_counts(&system).await;
}

/// What a watcher has built of a conversation: messages by their sequence.
type Built = BTreeMap<u64, Value>;

fn take(built: &mut Built, messages: &Value) {
    for message in messages.as_array().unwrap() {
        built.insert(message["sequence"].as_u64().unwrap(), message.clone());
    }
}

fn in_order(built: &Built) -> Vec<Value> {
    let mut messages: Vec<_> = built.values().cloned().collect();
    messages.sort_by_key(|message| (message["place"].as_u64(), message["sequence"].as_u64()));
    messages
}

#[tokio::test]
async fn a_feed_builds_what_the_snapshot_shows_also_when_it_resumes_across_a_webhook() {
    let system = System::start().await;
    let mara = system.client.login("RID_MARA").await;
    say(&mara, CONVERSATION, 3).await;
    say(&mara, CONVERSATION, 0).await;
    say(&mara, CONVERSATION, 2).await;
    let mut feed = mara.feed(CONVERSATION, None).await;
    let initial = feed.expect("initial").await;
    let mut built = Built::new();
    take(&mut built, &initial.data["messages"]);
    let (mut resumed, last_id) = (built.clone(), initial.id);
    taken(&system.client, transcription().to_string()).await;
    let late = say(&mara, CONVERSATION, 1).await;
    let path = format!("/api/conversation/{CONVERSATION}?after={}", late.sequence());
    let snapshot = mara.get(&path).await;
    let snapshot = snapshot.body["conversation"]["messages"].as_array().unwrap();
    assert_eq!(snapshot.len(), 5);
    let mut again = mara.feed(CONVERSATION, last_id.as_deref()).await;
    for (feed, built) in [(&mut feed, &mut built), (&mut again, &mut resumed)] {
        let mut names = BTreeSet::new();
        // A frame that stays away fails by itself.
        while &in_order(built) != snapshot {
            let frame = feed.next().await.unwrap();
            match frame.event.as_str() {
                "new_messages" => take(built, &frame.data["messages"]),
                "message_corrected" => take(built, &json!([frame.data["message"]])),
                other => panic!("{other}"),
            }
            names.insert(frame.event);
        }
        assert_eq!(Vec::from_iter(names), ["message_corrected", "new_messages"]);
    }
}
