//! Jobs whose instance is held, or killed, in the middle.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{Binary, Client, Nats, Parts, System, database, eventually};

use super::{ask, download, for_seconds, no_bytes, path, remove, researcher, sha256, until, watch};
use crate::exports::folders::{MANY, long};
use crate::exports::{export, files};

/// Whether anything is being written below this directory.
fn writes(dir: &Path) -> bool {
    let below = |path: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let sets = below(dir).into_iter().flat_map(|process| below(&process)).map(|job| job.join("set/.partial"));
    sets.flat_map(|partial| below(&partial)).any(|file| !file.ends_with("lock"))
}

/// A log that takes a while, and an instance that is held where it writes a data set of it.
struct Held {
    system: System,
    instance: Binary,
    dir: TempDir,
    job: Value,
}

async fn held(body: &Value) -> Held {
    held_on(Parts::fresh().await, body).await
}

async fn held_on(parts: Parts, body: &Value) -> Held {
    let writing = long(parts).await;
    let dir = TempDir::new().unwrap();
    let settings = [("EXPORTS_DIR", dir.path().to_str().unwrap()), ("EXPORT_JOBS_PER_RESEARCHER", "1")];
    let instance = Binary::serve_with("streamer", &writing.parts, &settings).await;
    let caller = instance.client.with(researcher(&writing, "r1").token());
    let job = ask(&caller, body).await;
    eventually("the job writes", || async { writes(dir.path()).then_some(()) }).await;
    instance.signal(Signal::SIGSTOP);
    Held { system: writing, instance, dir, job }
}

/// Another instance.
async fn beside(parts: &Parts) -> System {
    let mut parts = parts.only(false, false, true);
    let mut exports = parts.exports();
    exports.per_researcher = 1.try_into().unwrap();
    parts.exports = Some(exports);
    parts.start().await
}

#[tokio::test]
async fn one_under_way_counts_is_shown_by_any_instance_and_can_be_cancelled() {
    let Held { system, instance, dir, job } = held(&json!({"format": "csv"})).await;
    let beside = beside(&system.parts).await;
    let caller = researcher(&beside, "r1");
    let running = until(&caller, &job, "running").await;
    assert!(running["archive"].is_null());
    caller.get(&path(&job, "/download")).await.assert_problem(409);
    let refused = caller.post(super::EXPORTS, &json!({})).await;
    refused.assert_problem(429);
    assert!(refused.headers.contains_key("retry-after"));
    // Nobody else's quota.
    let theirs = ask(&researcher(&beside, "r2"), &json!({"include": ["conversations"]})).await;
    until(&researcher(&beside, "r2"), &theirs, "done").await;
    // A feed ends with its token.
    let mut expiring = watch(&for_seconds(&beside, "r1", 2), &job).await;
    expiring.expect("progress").await;
    let error = expiring.expect("error").await;
    assert!(error.data["error"].as_str().unwrap().contains("expired") && error.id.is_none(), "{error:?}");

    let mut feed = watch(&caller, &job).await;
    feed.expect("progress").await;
    assert_eq!(remove(&caller, &job).await.status, 204);
    let cancelled = feed.expect("cancelled").await;
    assert!(feed.next().await.is_none());
    assert_eq!(cancelled.data["state"], "cancelled");
    let next = ask(&caller, &json!({"include": ["events"]})).await;
    until(&caller, &next, "done").await;
    // The one that ran it lays it down.
    instance.signal(Signal::SIGCONT);
    eventually("its files are gone", || async {
        let left = std::fs::read_dir(dir.path()).unwrap().flatten();
        let left = left.flat_map(|process| std::fs::read_dir(process.path()).unwrap().flatten());
        left.into_iter().all(|entry| entry.file_name() == "lock").then_some(())
    })
    .await;
    assert_eq!(caller.get(&path(&job, "")).await.body["state"], "cancelled");
    for job in [&next, &job] {
        assert_eq!(remove(&caller, job).await.status, 204);
    }
    assert_eq!(remove(&researcher(&beside, "r2"), &theirs).await.status, 204);
    no_bytes(&system.parts).await;
}

/// Later messages change nothing of what was asked for.
async fn say_more(system: &System) {
    let later = system.client.login("RID1").await;
    let more = later.post("/api/v1/chat/message", &crate::message("RID1", "later", json!({}))).await;
    assert_eq!(more.status, 200, "{}", more.text);
}

async fn is_what_the_log_gives(system: &System, caller: &Client, done: &Value) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    let as_of = done["arguments"]["as_of"].to_string();
    export(&system.parts, &out, &["--format", "parquet", "--as-of", &as_of]).await;
    let expected = files(&out);
    let listed = done["files"].as_array().unwrap();
    assert_eq!(listed.len(), expected.len());
    for file in listed {
        let name = file["name"].as_str().unwrap();
        assert_eq!(file["sha256"], sha256(&expected[name]), "{name}");
        if name.starts_with("messages-") {
            assert_eq!(file["rows"], MANY);
        }
    }
    let archive = download(caller, done["archive"]["path"].as_str().unwrap(), &[], 200).await;
    assert_eq!(done["archive"]["sha256"], sha256(&archive));
}

#[tokio::test]
async fn one_that_is_killed_is_made_again_after_a_restart_with_the_same_bytes() {
    let Held { system, mut instance, dir, job } = held(&json!({"format": "parquet"})).await;
    say_more(&system).await;
    instance.kill();
    instance.restart().await;
    let caller = instance.client.with(researcher(&system, "r1").token());
    let mut feed = watch(&caller, &job).await;
    let (mut read, mut told) = (0, 0);
    let done = loop {
        let frame = feed.next().await.unwrap();
        if frame.event == "done" {
            break frame.data;
        }
        assert_eq!(frame.event, "progress");
        let progress = &frame.data["progress"];
        // It begins anew once, before anything was told of this run.
        let now = progress["read"].as_u64().unwrap();
        assert!(now >= read || frame.data["state"] == "queued" || now == 0, "{read} then {progress}");
        (read, told) = (now, told + 1);
    };
    assert!(told > 0 && feed.next().await.is_none());
    is_what_the_log_gives(&system, &caller, &done).await;
    eventually("what the killed one left is cleared away", || async {
        (std::fs::read_dir(dir.path()).unwrap().count() <= 1 && !writes(dir.path())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_whose_instance_dies_is_made_by_another() {
    let Held { system, instance, dir: _dir, job } = held(&json!({"format": "parquet"})).await;
    let beside = beside(&system.parts).await;
    let caller = researcher(&beside, "r1");
    until(&caller, &job, "running").await;
    say_more(&system).await;
    instance.kill();
    let done = until(&caller, &job, "done").await;
    is_what_the_log_gives(&system, &caller, &done).await;
}

#[tokio::test]
async fn one_whose_log_goes_away_goes_on_when_it_is_back() {
    let mut nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), database().await);
    let Held { system, instance, dir: _dir, job } = held_on(parts, &json!({"format": "parquet"})).await;
    nats.kill();
    nats.restart().await;
    instance.signal(Signal::SIGCONT);
    let caller = instance.client.with(researcher(&system, "r1").token());
    let done = until(&caller, &job, "done").await;
    is_what_the_log_gives(&system, &caller, &done).await;
}
