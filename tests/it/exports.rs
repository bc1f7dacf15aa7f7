//! Data sets from the log: what they hold, that they are the same again, and what becomes of those that break off.

pub(crate) mod deid;
pub(crate) mod filled;
pub(crate) mod folders;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Nats, Parts, command, database, run_python};

use self::filled::{HOSTILE, filled};

pub(crate) const TABLES: [&str; 3] = ["messages", "conversations", "events"];

/// Runs the command to its end.
async fn run(parts: &Parts, arguments: &[&str]) -> Output {
    let command = command(parts, &[&["export"][..], arguments].concat(), &[]);
    tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
}

fn failed(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn done(status: ExitStatus, stderr: &[u8]) {
    assert!(status.success(), "{}", String::from_utf8_lossy(stderr));
}

/// A data set that must come about.
pub(crate) async fn export(parts: &Parts, out: &Path, arguments: &[&str]) {
    let output = run(parts, &[&["--out", out.to_str().unwrap()][..], arguments].concat()).await;
    done(output.status, &output.stderr);
}

/// The files of a folder, by name.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.filter(|path| path.is_file()).map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}

/// The rows of a table that was written as JSON Lines.
pub(crate) fn rows(folder: &Path, table: &str) -> Vec<Value> {
    let files = files(folder);
    let (_, text) = files.iter().find(|(name, _)| name.split(['-', '.']).next() == Some(table)).unwrap();
    // Not `lines()`, which would take a `\r` away.
    let text = std::str::from_utf8(text).unwrap();
    text.split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn column<'r>(rows: &'r [Value], name: &str) -> Vec<&'r str> {
    rows.iter().map(|row| row[name].as_str().unwrap_or("–")).collect()
}

/// What a query over the read tables finds, in the words of a data set.
fn as_exported(rows: Vec<Value>) -> Vec<Value> {
    let instant = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text).ok()?.to_utc();
        Some(json!(time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)))
    };
    let cell = |(name, value): (String, Value)| {
        let time = value.as_str().filter(|_| name.ends_with("_at")).and_then(instant);
        (name, time.unwrap_or(value))
    };
    let row = |row: Value| {
        let Value::Object(cells) = row else { panic!("not a row: {row}") };
        Value::Object(cells.into_iter().map(cell).collect())
    };
    rows.into_iter().map(row).collect()
}

/// The same columns of exported rows as those of the other rows.
fn like(rows: &[Value], other: &[Value]) -> Vec<Value> {
    let names: Vec<_> = other[0].as_object().unwrap().keys().cloned().collect();
    let row = |row: &Value| names.iter().map(|name| (name.clone(), row[name].clone())).collect();
    rows.iter().map(row).map(Value::Object).collect()
}

#[tokio::test]
async fn a_data_set_holds_what_the_read_tables_hold_and_leaves_secrets_out() {
    let (system, last) = filled(Parts::fresh().await).await;
    system.projected(last).await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    export(&system.parts, &out, &[]).await;

    let messages = rows(&out, "messages");
    let query =
        "SELECT sequence, conversation_id, place, ordinal, research_id AS participant_id, role, provider,
                        content, said_at, said_offset, message_id, late, sources
                 FROM turnlog.messages ORDER BY sequence";
    let expected = as_exported(system.rows(query).await);
    similar(&like(&messages, &expected), &expected);
    assert!(messages.iter().any(|row| row["corrections"] == 2));
    let attached = messages.iter().find(|row| !row["attachments"].is_null()).unwrap();
    let attached: Value = serde_json::from_str(attached["attachments"].as_str().unwrap()).unwrap();
    assert_eq!(attached[0]["kind"], "location");

    let conversations = rows(&out, "conversations");
    let query = "SELECT c.conversation_id, c.participant_id, c.provider, c.status, c.message_count, c.first_sequence,
                        c.started_at, c.last_message_at, c.ended_at, c.duration_seconds, c.agent_id, c.account_id,
                        c.email_id, k.call_id, k.worker_id, k.mobile_no, k.urgency, k.medium, k.admin_id, k.opened_at,
                        k.opened_offset, r.outcome, r.title, r.summary, r.call_successful, r.termination_reason
                 FROM turnlog.conversations c
                 LEFT JOIN turnlog.calls k ON k.conversation = c.token
                 LEFT JOIN turnlog.reports r ON r.conversation = c.token
                 ORDER BY c.first_sequence";
    let expected = as_exported(system.rows(query).await);
    similar(&like(&conversations, &expected), &expected);
    let statuses = column(&conversations, "status");
    assert!(statuses.contains(&"ACTIVE") && statuses.contains(&"ENDED"), "{statuses:?}");

    let events = rows(&out, "events");
    let sequences: Vec<_> = events.iter().map(|row| row["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=last).collect::<Vec<_>>());
    let enrolled = events
        .iter()
        .find(|row| row["participant_id"] == "RID7" && row["type"] == "turnlog.participant.enrolled.v1");
    let enrolled = enrolled.unwrap();
    let data: Value = serde_json::from_str(enrolled["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, json!({"participant_id": "RID7", "name": "Ada"}));
    assert!(files(&out).values().all(|file| !String::from_utf8_lossy(file).contains("argon2")));
}

fn similar(found: &[Value], expected: &[Value]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn other_peoples_tools_read_the_same_from_every_format() {
    let (system, last) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let mut whole: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for format in ["jsonl", "csv", "parquet"] {
        let out = folder.path().join(format);
        export(&system.parts, &out, &["--format", format, "--as-of", &last.to_string()]).await;
        if format == "jsonl" {
            whole = TABLES.into_iter().map(|table| (table, rows(&out, table))).collect();
        }
        let told = run_python("data_set.py", &json!({"folder": out.to_str(), "tables": TABLES})).await;
        let frictionless = &told["frictionless"];
        assert_eq!(frictionless["valid"], true, "{format}: {frictionless:#}");
        assert_eq!(frictionless["checked"].as_array().unwrap().len(), 5, "{frictionless}");
        assert_eq!(told["croissant"]["errors"], json!([]), "{format}");
        assert_eq!(told["croissant"]["warnings"], json!([]), "{format}");
        for table in TABLES {
            assert_eq!(told["croissant"]["records"][table], whole[table].len(), "{format} {table}");
            let types = types(&out, table);
            for (tool, read) in told["readers"].as_object().unwrap() {
                assert_eq!(read[table]["types"], types, "{tool} {format} {table}");
                similar(read[table]["rows"].as_array().unwrap(), &whole[table]);
            }
        }
    }
    // What was said hostilely is among it, to the byte.
    let said = column(&whole["messages"], "content");
    let long = "x".repeat(65_536);
    for hostile in HOSTILE.iter().copied().chain([long.as_str()]) {
        assert!(said.contains(&hostile), "{hostile:?}");
    }
}

/// The types that the manifest promises.
fn types(folder: &Path, table: &str) -> Value {
    let manifest: Value = serde_json::from_slice(&files(folder)["datapackage.json"]).unwrap();
    let resources = manifest["resources"].as_array().unwrap();
    let resource = resources.iter().find(|resource| resource["name"] == table).unwrap();
    let fields = resource["schema"]["fields"].as_array().unwrap().iter();
    fields.map(|field| (field["name"].as_str().unwrap().to_owned(), field["type"].clone())).collect()
}

#[tokio::test]
async fn the_same_arguments_give_the_same_bytes_across_a_restart_and_later_events() {
    let mut nats = Nats::start().await;
    let (system, last) = filled(Parts::on(nats.settings(), database().await)).await;
    let (parts, folder, last) = (system.parts.clone(), TempDir::new().unwrap(), last.to_string());
    let formats = ["jsonl", "csv", "parquet"];
    for format in formats {
        export(&parts, &folder.path().join(format), &["--format", format, "--as-of", &last]).await;
    }
    let caller = system.client.login("RID8").await;
    let later = caller.post("/api/v1/chat/message", &crate::message("RID8", "later", json!({}))).await;
    assert_eq!(later.status, 200);
    drop(system);
    nats.kill();
    nats.restart().await;
    for format in formats {
        let again = folder.path().join(format!("{format}-again"));
        export(&parts, &again, &["--format", format, "--as-of", &last]).await;
        let (first, again) = (files(&folder.path().join(format)), files(&again));
        assert!(first.keys().eq(again.keys()), "{format}");
        for (name, content) in &first {
            assert!(*content == again[name], "{format}: {name} is another one");
        }
    }
}

#[tokio::test]
async fn increments_have_no_row_in_common_and_leave_none_out() {
    let (system, last) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole");
    export(&system.parts, &whole, &["--as-of", &last.to_string()]).await;
    let cuts = [1, last / 4, last / 2, last - 2, last + 1];
    let (mut at_once, mut one_by_one): (BTreeMap<_, Vec<Value>>, BTreeMap<_, BTreeMap<String, Value>>) =
        (BTreeMap::new(), BTreeMap::new());
    for cut in cuts.windows(2) {
        let (from, to, end) = (cut[0].to_string(), cut[1].to_string(), last.to_string());
        let range = ["--from-sequence", &from, "--to-sequence", &to];
        let (out, as_it_stood) = (folder.path().join(&from), folder.path().join(format!("{from}-then")));
        export(&system.parts, &out, &[&range[..], &["--as-of", &end]].concat()).await;
        export(&system.parts, &as_it_stood, &range).await;
        for (table, key) in TABLES.into_iter().zip(["sequence", "conversation_id", "sequence"]) {
            at_once.entry(table).or_default().extend(rows(&out, table));
            let rows = rows(&as_it_stood, table).into_iter().map(|row| (row[key].to_string(), row));
            one_by_one.entry(table).or_default().extend(rows);
        }
    }
    let order = |row: &Value| row["sequence"].as_u64().or(row["first_sequence"].as_u64());
    for table in TABLES {
        let expected = rows(&whole, table);
        at_once.get_mut(table).unwrap().sort_by_key(order);
        similar(&at_once[table], &expected);
        let mut kept: Vec<_> = one_by_one[table].values().cloned().collect();
        kept.sort_by_key(order);
        similar(&kept, &expected);
    }
}

#[tokio::test]
async fn a_selection_takes_what_it_names_and_nothing_else() {
    let (system, _) = filled(Parts::fresh().await).await;
    let (parts, folder) = (&system.parts, TempDir::new().unwrap());
    let selected = async |name: &str, arguments: &[&str]| {
        let out = folder.path().join(name);
        export(parts, &out, arguments).await;
        TABLES.map(|table| rows(&out, table))
    };
    let [messages, conversations, events] = selected("participant", &["--participant", "RID2"]).await;
    assert!(!messages.is_empty() && !conversations.is_empty() && !events.is_empty());
    for row in messages.iter().chain(&conversations).chain(&events) {
        assert_eq!(row["participant_id"], "RID2", "{row}");
    }
    // One of the messages was said before anybody knew that it is theirs.
    assert!(messages.iter().any(|row| row["reported"] == true));

    let [messages, conversations, events] = selected("call", &["--provider", "call"]).await;
    assert_eq!(column(&messages, "content"), ["Help!", "Where are you?"]);
    assert_eq!(column(&conversations, "provider"), ["call"]);
    assert!(column(&events, "type").iter().all(|name| name.starts_with("turnlog.message.")));

    let [messages, conversations, events] = selected("one", &["--conversation", "conv_1"]).await;
    for row in messages.iter().chain(&conversations).chain(&events) {
        assert_eq!(row["conversation_id"], "conv_1");
    }
    let [two, ..] = selected("two", &["--conversation", "conv_1", "--conversation", "conv_2"]).await;
    assert!(two.len() > messages.len());

    let range = ["--from", "2025-10-03T06:28:04Z", "--to", "2025-10-03T06:28:19Z"];
    let [messages, conversations, _] = selected("time", &range).await;
    assert_eq!(column(&messages, "content"), ["Help!"]);
    // The first has a message before that, and one after it.
    assert_eq!(column(&conversations, "conversation_id"), ["conv_1", "conv_call"]);

    let out = folder.path().join("events");
    export(parts, &out, &["--include", "events", "--from-sequence", "3"]).await;
    assert_eq!(rows(&out, "events")[0]["sequence"], 3);
    assert!(!files(&out).keys().any(|name| name.starts_with("messages")));
}

#[tokio::test]
async fn as_of_a_time_is_what_had_been_stored_by_then() {
    let (system, last) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole");
    export(&system.parts, &whole, &[]).await;
    let events = rows(&whole, "events");
    let middle = &events[events.len() / 2];
    let time = middle["recorded_at"].as_str().unwrap();
    let out = folder.path().join("half");
    // To the microsecond, and the log is finer.
    export(&system.parts, &out, &["--as-of", &time.replace('Z', "999Z")]).await;
    let half = rows(&out, "events");
    let expected = events.iter().filter(|row| row["recorded_at"].as_str() <= Some(time)).count();
    assert_eq!(half.len(), expected);
    assert!(half.len() < events.len() && last > 0);
    for (arguments, sentence) in [
        (["--as-of", "2199-01-01T00:00:00Z"], "--as-of lies in the future"),
        (["--as-of", "999999"], "cannot be exported as of 999999 yet"),
        (["--from-sequence", "999999"], "there is nothing from 999999 on"),
    ] {
        let out = folder.path().join("refused");
        let output =
            run(&system.parts, &[&["--out", out.to_str().unwrap()][..], &arguments[..]].concat()).await;
        assert!(failed(&output, 1).contains(sentence), "{arguments:?}");
        assert!(!out.exists());
    }
}
