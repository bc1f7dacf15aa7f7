//! The corpus: one file for every shape in which an event was ever written, as it stands in a log. `SHA256SUMS` names
//! them in the order of that log; lines are added at its end, and none is ever changed or taken out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::envelope::{Envelope, EventId, Origin};
use shared::events::{Event, upcast};
use shared::ids::ParticipantId;
use shared::log::Log;
use shared::sealing::Sealing;
use shared::subjects::Subject;
use tempfile::TempDir;
use tests::{Parts, System, command, root};

use super::{exported, write};
use crate::calls::admin;
use crate::contracts::assert_golden;
use crate::rebuild::{Operator, everything, indexed};
use crate::{ids, message};

/// A file of the corpus.
struct Written {
    subject: String,
    headers: BTreeMap<String, String>,
    /// Byte for byte.
    body: Vec<u8>,
}

fn folder() -> PathBuf {
    root().join("tests/golden/events")
}

/// Sums and names, in the order of the log.
fn listed() -> Vec<(String, String)> {
    let list = std::fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let line =
        |line: &str| line.split_once("  ").map(|(sum, name)| (sum.to_owned(), name.to_owned())).unwrap();
    list.lines().map(line).collect()
}

fn corpus() -> Vec<Written> {
    let read = |(_, name): (String, String)| {
        let text = std::fs::read_to_string(folder().join(&name)).unwrap();
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
        Written {
            subject: serde_json::from_str(fields["subject"].get()).unwrap(),
            headers: serde_json::from_str(fields["headers"].get()).unwrap(),
            body: fields["body"].get().into(),
        }
    };
    listed().into_iter().map(read).collect()
}

/// Every type that this version reads: those that it writes, and those that steps begin at.
fn types() -> BTreeSet<String> {
    let source = std::fs::read_to_string(root().join("shared/src/events.rs")).unwrap();
    let (_, reading) = source.split_once("fn from_json").unwrap();
    let literals = reading.split('"').skip(1).step_by(2).filter(|text| text.starts_with("turnlog."));
    let found: BTreeSet<_> =
        literals.chain(upcast::STEPS.iter().map(|step| step.from)).map(str::to_owned).collect();
    assert!(found.len() >= 26 && found.iter().all(|name| Event::is_known(name)), "{found:?}");
    found
}

#[test]
fn no_file_of_the_corpus_was_changed_or_taken_out_and_each_is_listed() {
    let mut named = BTreeSet::new();
    for (sum, name) in listed() {
        let file =
            std::fs::read(folder().join(&name)).unwrap_or_else(|error| panic!("{name} is gone: {error}"));
        assert_eq!(
            hex::encode(Sha256::digest(file)),
            sum,
            "{name}: what was written is never changed; add a file"
        );
        assert!(named.insert(name.clone()), "{name} is listed twice");
    }
    let folders =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files =
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let there: BTreeSet<_> =
        files.map(|file| file.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(there, named, "add new files at the end of SHA256SUMS, as sha256sum prints them");
}

#[test]
fn every_type_and_version_is_in_the_corpus() {
    let there: BTreeSet<_> =
        listed().into_iter().map(|(_, name)| name.split_once('/').unwrap().0.to_owned()).collect();
    assert_eq!(there, types());
}

/// Everything, in its order; sealed with one key, or as it stands.
async fn written(parts: &Parts, sealed: bool) -> Log {
    let log = Log::open(&parts.nats, "test").await.unwrap();
    let owner = Subject::participant(&ParticipantId::try_from("RID001".to_owned()).unwrap());
    for (file, wanted) in corpus().into_iter().zip(1..) {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in &file.headers {
            headers.insert(name.as_str(), value.as_str());
        }
        let mut body = file.body;
        if sealed {
            let Sealing::With(key) = log.keyring().to_seal(owner.token()).await.unwrap() else {
                panic!("no key")
            };
            let event = Event::from_json(&file.headers["ce-type"], &body).unwrap().unwrap();
            let random = EventId::random();
            let envelope =
                Envelope::wrap(event.subject(), random, &event, &Origin::default(), Utc::now()).unwrap();
            let envelope = Envelope { body: body.into(), ..envelope }.seal(owner.token(), &key).unwrap();
            (headers, body) = (envelope.headers, envelope.body.to_vec());
        }
        assert_eq!(write(&log, &file.subject, headers, body).await, wanted, "the order is that of the list");
    }
    log
}

/// Times at which something was stored are those of this run.
fn timeless(value: &mut Value) {
    match value {
        Value::String(text) => {
            let time = DateTime::parse_from_rfc3339(text).ok();
            if time.is_some_and(|time| (Utc::now() - time.to_utc()).abs() < TimeDelta::days(1)) {
                *text = "when it was stored".into();
            } else if let Ok(mut within @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(text) {
                let before = within.clone();
                timeless(&mut within);
                if within != before {
                    *text = within.to_string();
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(timeless),
        Value::Object(fields) => fields.values_mut().for_each(timeless),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What the tables hold; the checkpoints hold the log's epoch, and events have ids of their own when they are sealed.
async fn tables(system: &System) -> Value {
    let mut all = json!({});
    for (table, rows) in everything(&mut system.tables().await, "read_v1").await {
        let rows = rows.iter().map(|row| serde_json::from_str(row).unwrap());
        let mut rows: Vec<Value> = rows.collect();
        for row in &mut rows {
            timeless(row);
            row.as_object_mut().unwrap().retain(|name, _| !["epoch", "event_id"].contains(&name.as_str()));
        }
        all[table] = rows.into();
    }
    all
}

async fn export(parts: &Parts, out: &Path) -> Value {
    let run = command(parts, &["export", "--out", out.to_str().unwrap()], &[]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(!said.contains("cannot be read") && !said.contains("newer"), "{said}");
    let mut all = json!({});
    for table in ["messages", "conversations", "events"] {
        let mut rows = Value::from(exported(out, table));
        timeless(&mut rows);
        all[table] = rows;
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_that_was_ever_written_folds_to_what_it_always_did() {
    let parts = Parts::fresh().await;
    let log = written(&parts, false).await;
    let last = corpus().len() as u64;
    let mut sequence = 0;
    while sequence < last {
        sequence += 1;
        let entry = log.get(sequence).await.unwrap().unwrap();
        entry.decode().unwrap_or_else(|error| panic!("event {sequence}: {error}"));
    }
    let system = parts.start().await;
    indexed(&system, last).await;
    let live = tables(&system).await;
    let out = TempDir::new().unwrap();
    let data_set = export(&parts, &out.path().join("set")).await;
    // What feeds begin with.
    let whose = system.client.login("RID001").await;
    let watching = admin(&system, "admin_1", "acme");
    let mut feeds = json!({});
    for (caller, id) in [(&whose, "conv_abc123"), (&watching, "conv_call")] {
        let mut frame = caller.feed(id, None).await.expect("initial").await.data;
        timeless(&mut frame);
        feeds[id] = frame;
    }
    assert_golden("events/folded.json", &json!({"tables": live, "export": data_set, "feeds": feeds}));

    // The write edge knows all of them again: what is repeated is not stored, what goes on counts on.
    let repeated = message("RID001", "What is PAD?", ids("conv_abc123", "msg_xyz789"));
    let reply = whose.post("/api/v1/chat/message", &repeated).await;
    assert_eq!((reply.status, &reply.body["message_id"]), (200, &json!(4)), "{}", reply.text);
    let new = message("RID001", "And then?", ids("conv_abc123", "m9"));
    let reply = whose.post("/api/v1/chat/message", &new).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    indexed(&system, reply.sequence()).await;
    let said = "SELECT ordinal FROM read_v1.messages WHERE message_id = 'm9'";
    assert_eq!(system.rows(said).await, [json!({"ordinal": 3})]);
    let session = whose.get(&format!("/api/v1/conversations/elevenlabs/validate-session/{TALK}")).await;
    assert_eq!(session.body["data"]["valid"], false, "{}", session.text);
    let again = json!({"dreamId": DREAM, "rawTranscript": "I was flying, and then I fell.", "themes": [],
                       "recordedAt": "2025-01-08T07:30:00+05:30"});
    let reply = whose.post("/api/v1/dreams", &again).await;
    assert_eq!((reply.status, reply.sequence()), (200, 39), "{}", reply.text);

    // Made anew it is the same, and nothing differs.
    let operator = Operator::of(&parts).await;
    assert_eq!(operator.verify().await.1, []);
    let before = everything(&mut system.tables().await, "read_v1").await;
    operator.rebuild().await.unwrap();
    assert_eq!(everything(&mut system.tables().await, "read_v1").await, before);
}

const TALK: &str = "4b0c9d5e-2f6a-4c9e-8a37-1d2e3f405162";
const DREAM: &str = "7f3c1f6e-7c1c-4a3b-9f43-0a0f5f3d6a11";

#[tokio::test(flavor = "multi_thread")]
async fn sealed_they_fold_to_the_same() {
    let parts = Parts::fresh().await;
    written(&parts, true).await;
    let system = parts.start().await;
    indexed(&system, corpus().len() as u64).await;
    let golden = std::fs::read_to_string(folder().join("folded.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    assert_eq!(tables(&system).await, golden["tables"]);
}
