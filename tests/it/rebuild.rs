//! The read tables made anew from the log while people read and write, and compared with it.

use std::process::Output;
use std::time::Duration;

use projector::rebuild::{self, Options, RebuildError};
use projector::verify::{self, Difference, Verified, What};
use reqwest::Method;
use serde_json::{Value, json};
use shared::config::{DatabaseSettings, Secret};
use shared::events::{Claim, Event};
use shared::log::Log;
use shared::objects::Objects;
use shared::subjects::{Aggregate, Subject};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tests::{Client, Parts, Reply, System, command, eventually, fixture, schema_of};
use tokio::sync::{mpsc, watch};

use crate::calls::{admin, of, open_call, turn};
use crate::continuity::Talk;
use crate::webhooks::{post_call, transcription};
use crate::{ids, message, publish, rls};

const OWNER: &str = "RID001";
/// A conversation that is told of before anybody speaks in it under their name.
const TOLD: &str = crate::webhooks::CONVERSATION;
const TABLES: &str = "SELECT relname::text FROM pg_class
                      WHERE relnamespace = 'read_v1'::regnamespace AND relkind = 'r' ORDER BY 1";

fn ok(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

async fn say(caller: &Client, id: &str, content: &str) -> u64 {
    ok(&caller.post("/api/v1/chat/message", &message(OWNER, content, ids("conv_1", id))).await)
}

/// What people and services do, of every kind; answers the last event.
pub(crate) async fn busy(system: &System) -> u64 {
    let caller = system.client.login(OWNER).await;
    let profile =
        caller.put("/api/v1/profile", &json!({"name": "Ada", "age": 36, "location": "London"})).await;
    assert_eq!(profile.status, 200, "{}", profile.text);
    for n in 0..30 {
        say(&caller, &format!("m{n}"), &format!("hello number {n}")).await;
    }
    for (id, content) in [("m3", "corrected"), ("m3", "corrected again"), ("m29", "the last one")] {
        say(&caller, id, content).await;
    }
    let standing = json!({"provider": "openai"});
    ok(&caller.post("/api/v1/chat/message", &message(OWNER, "to nobody in particular", standing)).await);
    // Told of by the vendor first; its participant shows up later.
    ok(&post_call(&system.client, transcription().to_string()).await);
    ok(&post_call(&system.client, fixture("elevenlabs/post_call_audio.json")).await);
    ok(&caller.post("/api/v1/chat/message", &message(OWNER, "it was me", ids(TOLD, "mine"))).await);
    let again = json!({"type": "post_call_transcription", "event_timestamp": 1_788_170_999, "data": {
        "agent_id": "agent_1", "conversation_id": "conv_1", "status": "done",
        "transcript": [{"role": "user", "message": "hello number 0", "time_in_call_secs": 1},
                       {"role": "agent", "message": "never synced", "time_in_call_secs": 2}],
        "metadata": {"start_time_unix_secs": 1_788_170_400, "call_duration_secs": 60}, "analysis": null}});
    ok(&post_call(&system.client, again.to_string()).await);
    call(system).await;
    stories(system).await
}

/// A call from its opening to its end.
async fn call(system: &System) {
    open_call(system).await;
    let (service, holder) = (system.service(), admin(system, "admin_1", "acme"));
    let registered = json!({"company_id": "acme", "name": "Bo"});
    ok(&service.put("/api/admins/admin_1", &registered).await);
    let mut late = turn("assistant", "Hold on.");
    late["attachments"] = json!([{"kind": "location", "latitude": 18.5, "longitude": 73.8}]);
    let last = ok(&service.post(&of("/messages"), &late).await);
    system.projected(last).await;
    ok(&holder.post(&of("/takeover"), &json!({})).await);
    ok(&holder.post(&of("/seen"), &json!({"sequence": last})).await);
    ok(&holder.post(&of("/end"), &json!({})).await);
    ok(&service.post(&of("/messages"), &turn("user", "Thank you.")).await);
    let moved = json!({"company_id": "umbrella", "mobile_no": "+919325590143", "name": "Asha"});
    ok(&service.put("/api/workers/worker_919325590143", &moved).await);
}

/// What a vendor would have to be there for, and what goes wrong.
async fn stories(system: &System) -> u64 {
    let log = Log::open(&system.parts.nats, "test").await.unwrap();
    let talk = Talk { owner: OWNER, id: "talk", dream: "d1", vendor: "conv_v" };
    let later = Talk { id: "claimed", ..talk };
    let whose = Claim {
        conversation_id: "claimed".to_owned().try_into().unwrap(),
        participant_id: OWNER.to_owned().try_into().unwrap(),
    };
    let events = [
        // Whose it is becomes known when it was talked in, and told of.
        rls::of_nobody(later.said(0, 1, "who am I")),
        rls::of_nobody(later.reported(0, Some("done"), Some(3))),
        rls::of_nobody(later.sound(0, &"b".repeat(64))),
        Event::ConversationClaimed(whose),
        later.said(0, 2, "me"),
        talk.dream("I fell"),
        talk.interpretation("a fall"),
        talk.opened(1),
        talk.said(1, 1, "falling"),
        talk.reported(1, Some("done"), Some(30)),
        talk.opened(2),
        talk.sound(1, &"a".repeat(64)),
        talk.reported(2, Some("failed"), Some(5)),
        talk.interpretation("a rise"),
        // No text of Postgres' holds this.
        talk.said(2, 2, "\0"),
    ];
    for event in events {
        publish(&log, &event).await;
    }
    let refused = post_call(&system.client.with("nobody"), "{}").await;
    assert_ne!(refused.status, 500, "{}", refused.text);
    let unsigned = system.client.request(Method::POST, "/api/v1/webhooks/elevenlabs").body("{}");
    assert_eq!(system.client.send(unsigned).await.status, 401);
    // It is noted after it was answered.
    eventually("it is noted", || async { system.rows("SELECT FROM turnlog.refused").await.pop() }).await;
    let subject: String = Subject::of(Aggregate::Token, "x").into();
    let ack = log.client().request(subject, "{".into()).await.unwrap();
    let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
    let last = ack["seq"].as_u64().unwrap();
    indexed(system, last).await;
    last
}

/// Waits until tables and search are there.
pub(crate) async fn indexed(system: &System, last: u64) {
    system.projected(last).await;
    eventually("the search index reaches the sequence", || async {
        let found = system.rows("SELECT last_sequence FROM turnlog.checkpoint WHERE name = 'search'").await;
        (found[0]["last_sequence"].as_u64()? >= last).then_some(())
    })
    .await;
}

/// Everything that the tables hold, by table.
pub(crate) async fn everything(
    connection: &mut PgConnection,
    generation: &str,
) -> Vec<(String, Vec<String>)> {
    let names: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut *connection).await.unwrap();
    let mut all = Vec::new();
    for name in names {
        let rows = format!("SELECT to_jsonb(t)::text FROM {generation}.{name} AS t ORDER BY 1");
        let rows = sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut *connection).await.unwrap();
        all.push((name, rows));
    }
    all
}

/// Fails naming the table.
pub(crate) fn assert_same(one: &[(String, Vec<String>)], other: &[(String, Vec<String>)], but: &[&str]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other).filter(|(one, _)| !but.contains(&one.0.as_str())) {
        assert_eq!(one, other, "{}", one.0);
    }
}

/// What an operator's commands need.
pub(crate) struct Operator {
    pub(crate) database: DatabaseSettings,
    pub(crate) log: Log,
    pub(crate) objects: Objects,
}

impl Operator {
    pub(crate) async fn of(parts: &Parts) -> Self {
        let database = DatabaseSettings { url: Secret::new(parts.database_url.clone()) };
        let log = Log::open(&parts.nats, "test").await.unwrap();
        let objects = Objects::open(&parts.nats, "test").await.unwrap();
        Self { database, log, objects }
    }

    async fn rebuild_with(&self, options: Options) -> Result<u64, RebuildError> {
        let mut show = |_| ();
        let run = rebuild::run(&self.database, &self.log, &self.objects, options, &mut show);
        Box::pin(run).await.map(|done| done.events)
    }

    pub(crate) async fn rebuild(&self) -> Result<u64, RebuildError> {
        self.rebuild_with(Options::default()).await
    }

    async fn back(&self) -> Result<u64, RebuildError> {
        let mut show = |_| ();
        let back = rebuild::back(&self.database, &self.log, &self.objects, &mut show);
        Box::pin(back).await.map(|done| done.events)
    }

    pub(crate) async fn verify(&self) -> (Verified, Vec<Difference>) {
        let (mut found, mut show) = (Vec::new(), |_| ());
        let mut each = |difference| found.push(difference);
        let run = verify::run(&self.database, &self.log, &self.objects, false, &mut show, &mut each);
        let verified = Box::pin(run).await.unwrap();
        (verified, found)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_comes_out_as_it_was_in_form_rights_and_rows() {
    let system = System::start().await;
    let last = busy(&system).await;
    let operator = Operator::of(&system.parts).await;
    let mut tables = system.tables().await;
    // What operators did with parked events is kept.
    assert_eq!(system.rows("SELECT sequence FROM turnlog.parked").await.len(), 3);
    projector::parked::drop(&operator.database, last).await.unwrap();
    let (rows, schema) = (everything(&mut tables, "read_v1").await, schema_of(&system.parts.database_url));
    for (table, rows) in &rows {
        assert!(!rows.is_empty(), "{table} is empty, so this says nothing of it");
    }

    assert_eq!(operator.rebuild().await.unwrap(), last);
    assert_same(&rows, &everything(&mut tables, "read_v1").await, &[]);
    assert!(matches!(operator.rebuild().await, Err(RebuildError::Kept)));
    rebuild::drop_kept(&operator.database).await.unwrap();
    assert_eq!(schema_of(&system.parts.database_url), schema);
    assert!(matches!(operator.back().await, Err(RebuildError::NothingKept)));

    // The projector goes on where it was, in the new tables, without having noticed.
    let caller = system.client.login(OWNER).await;
    let sequence = say(&caller, "after", "still there").await;
    indexed(&system, sequence).await;
    let snapshot = caller.get(&format!("/api/v1/search?q=there&after={sequence}")).await;
    assert_eq!(snapshot.body["hits"].as_array().map(Vec::len), Some(1), "{}", snapshot.text);
    assert_eq!(operator.verify().await.1, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_more_after_a_rebuild_than_before() {
    let system = rls::filled().await;
    let operator = Operator::of(&system.parts).await;
    operator.rebuild().await.unwrap();
    let mut owner = system.tables().await;
    let mut reader = rls::reader(&system).await;
    assert_eq!(rls::faults(&mut owner).await, [""; 0]);
    assert_eq!(rls::leaks(&mut owner, &mut reader).await, [""; 0]);
}

/// Writes until it is told to stop; answers what was said, in order.
async fn writer(caller: Client, mut stop: watch::Receiver<bool>) -> (Vec<String>, u64) {
    let (mut said, mut last) = (Vec::new(), 0);
    while !*stop.borrow_and_update() {
        let id = format!("w{}", said.len());
        last = say(&caller, &id, "said meanwhile").await;
        said.push(id);
    }
    (said, last)
}

/// Reads the way everybody does, until it is told to stop; each answer must be right.
async fn reader(caller: Client, mut stop: watch::Receiver<bool>) -> u64 {
    let (mut before, mut count) = (0, 0);
    while !*stop.borrow_and_update() {
        let reply = caller.get("/api/conversation/conv_1").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let now = reply.body["conversation"]["messages"].as_array().unwrap().len();
        assert!(now >= before, "{now} messages after {before}");
        let found = caller.get("/api/v1/search?q=number").await;
        assert_eq!((found.status, found.body["hits"].is_array()), (200, true), "{}", found.text);
        (before, count) = (now, count + 1);
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_writes_and_feeds_go_on_while_the_tables_are_exchanged_back_and_forth() {
    let system = System::start().await;
    busy(&system).await;
    let operator = Operator::of(&system.parts).await;
    let caller = system.client.login(OWNER).await;
    let (stop, stopped) = watch::channel(false);
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    // Somebody has to read: who does not for long is cut off.
    let (hear, mut hearing) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(frame) = feed.next().await {
            if frame.event == "new_messages" {
                let ids = frame.data["messages"].as_array().unwrap().iter();
                ids.for_each(|message| {
                    hear.send(message["message_id"].as_str().unwrap().to_owned()).unwrap();
                });
            }
        }
    });
    let writing = tokio::spawn(writer(caller.clone(), stopped.clone()));
    let reading = tokio::spawn(reader(caller.clone(), stopped));
    for round in 0..3 {
        operator.rebuild().await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        operator.back().await.unwrap();
        operator.back().await.unwrap();
        assert_eq!(operator.verify().await.1, [], "round {round}");
        rebuild::drop_kept(&operator.database).await.unwrap();
    }
    stop.send_replace(true);
    let (said, last) = writing.await.unwrap();
    assert!(reading.await.unwrap() > 3);
    indexed(&system, last).await;
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        heard.push(hearing.recv().await.expect("the feed goes on"));
    }
    assert_eq!(heard, said);

    // As if it had been projected once, from the beginning.
    let mut tables = system.tables().await;
    let here = everything(&mut tables, "read_v1").await;
    let parts = Parts { database_url: tests::database().await, ..system.parts.only(false, true, false) };
    let other = parts.start().await;
    indexed(&other, last).await;
    let there = everything(&mut other.tables().await, "read_v1").await;
    // What is not of the log: when it was written, and when parked.
    assert_same(&here, &there, &["checkpoint", "parked", "search_blocks"]);
}

fn end_of(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_it_leaves_all_as_it_was_and_the_next_run_is_whole() {
    let system = System::start().await;
    let last = busy(&system).await;
    let mut tables = system.tables().await;
    let rows = everything(&mut tables, "read_v1").await;
    // Each time a bit later, from before it began to after it was done.
    let mut ended = false;
    for tenth in 0.. {
        let mut child = command(&system.parts, &["rebuild"], &[]).spawn().unwrap();
        let done = tokio::task::spawn_blocking(move || {
            let deadline = std::time::Instant::now() + Duration::from_millis(tenth * 60);
            while std::time::Instant::now() < deadline && child.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            child.kill().unwrap();
            child.wait().unwrap().code()
        });
        let code = done.await.unwrap();
        assert!(matches!(code, None | Some(0)), "it ended by itself with {code:?}");
        ended = code.is_some();
        if ended {
            break;
        }
        assert_same(&rows, &everything(&mut tables, "read_v1").await, &[]);
        let kept = system.rows("SELECT FROM pg_namespace WHERE nspname = 'read_v1_before'").await;
        if !kept.is_empty() {
            // It was killed after the exchange, while the search index was made.
            break;
        }
    }
    let dropped = command(&system.parts, &["rebuild", "--drop"], &[]).output().unwrap();
    let (code, _, why) = end_of(&dropped);
    assert_eq!(code, Some(0), "{why} (the last one ended: {ended})");
    let (code, said, why) = end_of(&command(&system.parts, &["rebuild"], &[]).output().unwrap());
    assert_eq!((code, why.as_str()), (Some(0), ""), "{said}");
    assert!(said.starts_with(&format!("{last} events folded into fresh tables in ")), "{said}");
    assert_same(&rows, &everything(&mut tables, "read_v1").await, &[]);
    let left = system.rows("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'read\\_%' ORDER BY 1").await;
    assert_eq!(left, [json!({"nspname": "read_v1"}), json!({"nspname": "read_v1_before"})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_changed_in_the_tables_is_found_and_named() {
    let system = System::start().await;
    let last = busy(&system).await;
    let operator = Operator::of(&system.parts).await;
    let (verified, found) = operator.verify().await;
    assert_eq!((verified.events, verified.differences, found), (last, 0, vec![]));
    let mut tables = system.tables().await;
    for statement in [
        "UPDATE read_v1.messages SET content = 'never said' WHERE content = 'corrected again'",
        "DELETE FROM read_v1.messages WHERE content = 'to nobody in particular'",
        "INSERT INTO read_v1.participants VALUES ('x', 'x', NULL, NULL, NULL, now(), now())",
        "UPDATE read_v1.conversations SET message_count = message_count + 1, status = 'FAILED'
         WHERE conversation_id = 'conv_1'",
        "UPDATE read_v1.sources SET failures = 9 WHERE source = 'elevenlabs_webhook'",
        "DELETE FROM read_v1.message_search WHERE sequence = (SELECT max(sequence) FROM read_v1.messages)",
    ] {
        let done = tables.execute(statement).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{statement}");
    }
    let (verified, found) = operator.verify().await;
    assert_eq!((verified.differences, found.len()), (6, 6), "{found:#?}");
    let named: Vec<_> = found
        .iter()
        .map(|difference| match &difference.what {
            What::Missing => format!("{} missing", difference.table),
            What::Surplus => format!("{} surplus", difference.table),
            What::Changed(columns) => {
                let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
                format!("{} {}", difference.table, names.join(" "))
            }
        })
        .collect();
    let mut sorted = named.clone();
    sorted.sort();
    let wanted = [
        "conversations message_count status",
        "message_search missing",
        "messages content",
        "messages missing",
        "participants surplus",
        "sources failures",
    ];
    let mut counted: Vec<_> = sorted.iter().map(String::as_str).collect();
    counted.sort_unstable();
    // jsonb has its own order of columns.
    let counted: Vec<_> = counted
        .iter()
        .map(|name| if *name == "conversations status message_count" { wanted[0] } else { *name })
        .collect();
    assert_eq!(counted, wanted);

    // The command says so, without what was said, unless it is asked to.
    let (code, said, why) = end_of(&command(&system.parts, &["verify"], &[]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(why.starts_with("turnlog: 6 rows are not what the log makes them"), "{why}");
    assert!(said.contains("): content differs\n") && !said.contains("never said"), "{said}");
    let (_, shown, _) = end_of(&command(&system.parts, &["verify", "--show"], &[]).output().unwrap());
    let values = "content is \"never said\" in the tables, \"corrected again\" in the log";
    assert!(shown.contains(values), "{shown}");

    // A rebuild mends all of it.
    operator.rebuild().await.unwrap();
    assert_eq!(operator.verify().await.1, []);
    let (code, said, _) = end_of(&command(&system.parts, &["verify"], &[]).output().unwrap());
    assert_eq!(code, Some(0));
    assert!(said.ends_with("the tables are what the log makes them\n"), "{said}");
}

/// No other test of this process has anything sampled.
#[tokio::test(flavor = "multi_thread")]
async fn one_conversation_after_another_is_compared_all_the_time() {
    let every = Some(Duration::from_millis(20));
    let system = Parts { verify_sample: every, ..Parts::fresh().await }.start().await;
    let last = busy(&system).await;
    let counted = async |name: &str| system.client.metric(name).await.unwrap_or_default();
    let before = counted("turnlog_verify_samples_total").await;
    // Five conversations, many times over, while one of them is talked in.
    let caller = system.client.login(OWNER).await;
    let mut said = 0;
    while counted("turnlog_verify_samples_total").await < before + 30.0 {
        say(&caller, &format!("s{said}"), "said meanwhile").await;
        said += 1;
    }
    assert_eq!(counted("turnlog_verify_differences").await, 0.0);
    let told = format!(
        "UPDATE read_v1.turns SET said_as = 'nobody' WHERE conversation IN
                        (SELECT conversation FROM read_v1.messages WHERE sequence <= {last}) AND turn = 0"
    );
    system.tables().await.execute(AssertSqlSafe(told)).await.unwrap();
    eventually("it is told", || async { (counted("turnlog_verify_differences").await > 0.0).then_some(()) })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lacks_something_is_refused_in_one_sentence() {
    let system = System::start().await;
    let caller = system.client.login(OWNER).await;
    let mut last = 0;
    for n in 0..5 {
        last = say(&caller, &format!("m{n}"), "hello").await;
    }
    indexed(&system, last).await;
    let operator = Operator::of(&system.parts).await;
    let rows = everything(&mut system.tables().await, "read_v1").await;
    let jetstream = async_nats::jetstream::new(operator.log.client().clone());
    let stream = jetstream.get_stream(shared::log::STREAM).await.unwrap();

    stream.delete_message(last - 1).await.unwrap();
    assert!(matches!(operator.rebuild().await, Err(RebuildError::Incomplete { missing: 1, .. })));
    stream.purge().sequence(last - 1).await.unwrap();
    assert!(matches!(operator.rebuild().await, Err(RebuildError::Truncated(first)) if first == last));
    let (code, said, why) = end_of(&command(&system.parts, &["rebuild"], &[]).output().unwrap());
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(why.starts_with(&format!("turnlog: the log begins at event {last}, not at 1")), "{why}");
    assert_eq!(why.lines().count(), 1, "{why}");
    assert_same(&rows, &everything(&mut system.tables().await, "read_v1").await, &[]);

    // Made anew: what runs ends by itself, and only who means it gets tables of the new one.
    jetstream.delete_stream(shared::log::STREAM).await.unwrap();
    let operator = Operator::of(&system.parts).await;
    assert!(matches!(operator.rebuild().await, Err(RebuildError::Another { last: 0, .. })));
    assert_same(&rows, &everything(&mut system.tables().await, "read_v1").await, &[]);
    let another_log = Options { another_log: true, ..Options::default() };
    assert_eq!(operator.rebuild_with(another_log).await.unwrap(), 0);
    assert!(system.rows("SELECT FROM turnlog.messages").await.is_empty());
    assert!(matches!(operator.back().await, Err(RebuildError::Another { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_is_made_at_a_time() {
    let system = System::start().await;
    let operator = Operator::of(&system.parts).await;
    let mut other = system.tables().await;
    sqlx::query("SELECT pg_advisory_lock(8391739299265996672)").execute(&mut other).await.unwrap();
    assert!(matches!(operator.rebuild().await, Err(RebuildError::Busy)));
    drop(other);
    operator.rebuild().await.unwrap();
}
