//! Folders of data sets: complete or nothing, compared with the log, never mixed with anything else.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tests::{Parts, System, command, eventually};
use tokio::process::Child;

use super::{done, export, failed, files, filled, rows, run};

/// Messages of a log that takes a while to be exported.
pub(crate) const MANY: usize = 15_000;

pub(crate) async fn long(parts: Parts) -> System {
    let system = parts.only(true, false, false).start().await;
    let caller = system.client.login("RID1").await;
    for _ in 0..MANY / 500 {
        let messages = vec![crate::message("RID1", &"x".repeat(300), json!({})); 500];
        let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    system
}

/// The command, held where it writes.
async fn writing(parts: &Parts, out: &std::path::Path) -> Child {
    let mut command = command(parts, &["export", "--out", out.to_str().unwrap()], &[]);
    command.stdout(Stdio::null());
    let child = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    eventually("the export writes", || async {
        let mut entries = std::fs::read_dir(out.join(".partial")).ok()?;
        entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock")).then_some(())
    })
    .await;
    signal(&child, Signal::SIGSTOP);
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().unwrap().cast_signed()), signal).unwrap();
}

#[tokio::test]
async fn one_that_is_killed_is_no_data_set_and_the_next_one_succeeds() {
    let system = long(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    let mut killed = writing(&system.parts, &out).await;
    let busy = run(&system.parts, &["--out", out.to_str().unwrap()]).await;
    assert!(failed(&busy, 1).contains("another export is writing to"), "{busy:?}");
    killed.kill().await.unwrap();
    assert_eq!(files(&out).len(), 0, "something looks complete");
    let verified = run(&system.parts, &["--verify", out.to_str().unwrap()]).await;
    assert!(failed(&verified, 1).contains("holds no data set"));
    export(&system.parts, &out, &[]).await;
    assert_eq!(rows(&out, "messages").len(), MANY);
    assert!(!out.join(".partial").exists());
}

#[tokio::test]
async fn one_that_is_asked_to_stop_leaves_nothing() {
    let system = long(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    for stop in [Signal::SIGINT, Signal::SIGTERM] {
        let out = folder.path().join("set");
        let child = writing(&system.parts, &out).await;
        signal(&child, stop);
        signal(&child, Signal::SIGCONT);
        let output = child.wait_with_output().await.unwrap();
        assert!(failed(&output, 1).contains("stopped; nothing is left in the folder"));
        assert!(!out.exists());
    }
}

#[tokio::test]
async fn a_data_set_is_compared_with_the_log_file_by_file() {
    let (system, _) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    export(&system.parts, &out, &["--format", "parquet", "--participant", "RID1", "--from-sequence", "2"])
        .await;
    let verify = async || run(&system.parts, &["--verify", out.to_str().unwrap()]).await;
    let verified = verify().await;
    done(verified.status, &verified.stderr);
    assert_eq!(String::from_utf8_lossy(&verified.stdout), "5 files are what the log gives\n");
    // One bit of one byte.
    let name = files(&out).into_keys().find(|name| name.starts_with("messages-")).unwrap();
    let whole = std::fs::read(out.join(&name)).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    std::fs::write(out.join(&name), &flipped).unwrap();
    let sentence = failed(&verify().await, 1);
    assert_eq!(sentence, format!("turnlog: {name}: it was changed since it was made\n"));
    // A manifest that lies for it.
    std::fs::write(out.join(&name), &whole).unwrap();
    let manifest = out.join("datapackage.json");
    let honest = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, honest.replace("\"RID1\"", "\"RID2\"")).unwrap();
    assert!(failed(&verify().await, 1).contains(&format!("{name}: the log gives another content now")));
    std::fs::write(&manifest, honest.replace("CODEBOOK.md", "../../etc/passwd")).unwrap();
    assert!(failed(&verify().await, 1).contains("no name of a file of a data set"));
    let other = filled(Parts::fresh().await).await.0;
    std::fs::write(&manifest, honest).unwrap();
    let elsewhere = run(&other.parts, &["--verify", out.to_str().unwrap()]).await;
    assert!(failed(&elsewhere, 1).contains("was made from another log"));
}

#[tokio::test]
async fn a_folder_that_holds_anything_is_refused_and_wrong_usage_is_told() {
    let (system, _) = filled(Parts::fresh().await).await;
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("set");
    export(&system.parts, &out, &["--format", "csv"]).await;
    let before = files(&out);
    let again = run(&system.parts, &["--out", out.to_str().unwrap()]).await;
    assert!(failed(&again, 1).contains("holds a data set: name another folder with --out"));
    let full = run(&system.parts, &["--out", folder.path().to_str().unwrap()]).await;
    assert!(failed(&full, 1).contains("is not empty: name another folder with --out"));
    assert_eq!(files(&out), before);
    for wrong in [
        &[][..],
        &["--out", "x", "--format", "xlsx"],
        &["--out", "x", "--as-of", "yesterday"],
        &["--out", "x", "--include", "dreams"],
        &["--out", "x", "--verify", "y"],
    ] {
        failed(&run(&system.parts, wrong).await, 2);
    }
}
