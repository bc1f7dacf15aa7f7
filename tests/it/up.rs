//! The whole system on one machine: started, killed, started again, stopped without a trace.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tempfile::TempDir;
use tests::{Client, Up, eventually, operate};

use crate::{ids, message};

/// A data directory to be, below a folder that nobody else may enter.
fn place() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    (folder, data_dir)
}

fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/cmdline")).exists()
        && !std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty()
}

async fn say(caller: &Client, id: &str) -> Option<u64> {
    let body = message("RID001", "hello", ids("conv_1", id));
    let request = caller.request(reqwest::Method::POST, "/api/v1/chat/message").json(&body);
    let reply = caller.try_send(request).await.ok()?;
    (reply.status == 200).then(|| reply.body["message_id"].as_u64().unwrap())
}

#[tokio::test]
async fn a_killed_up_starts_again_on_what_it_had_and_a_stopped_one_leaves_only_its_data() {
    let (_folder, data_dir) = place();
    let up = Up::start(&data_dir).await;
    let (before, servers) = (up.instance(), up.servers());
    let mode = |name: &str| std::fs::metadata(data_dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("up.json"), mode("secrets.json")), (0o700, 0o600, 0o600));
    let said = say(&up.client().login("RID001").await, "m1").await.unwrap();
    up.kill();
    assert!(servers.into_iter().all(is_alive), "a kill takes nothing along");

    let up = Up::start(&data_dir).await;
    assert!(!servers.into_iter().any(is_alive), "the servers that were left behind are stopped");
    assert_eq!(up.instance()["api_key"], before["api_key"]);
    let caller = up.client().login("RID001").await;
    assert_eq!(say(&caller, "m1").await, Some(said), "what was acknowledged is still there");

    let servers = up.servers();
    up.stop();
    assert!(!servers.into_iter().any(is_alive));
    assert!(!data_dir.join("up.json").exists());
}

#[tokio::test]
async fn servers_that_are_killed_come_back_where_they_were() {
    let (_folder, data_dir) = place();
    let up = Up::start(&data_dir).await;
    let caller = up.client().login("RID001").await;
    let servers = up.servers();
    for pid in servers {
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    let said = eventually("messages are taken again", || say(&caller, "m1")).await;
    eventually("the conversation is read again", || async {
        let path = format!("/api/conversation/conv_1?after={said}");
        let reply = caller.try_send(caller.request(reqwest::Method::GET, &path)).await.ok()?;
        (reply.status == 200 && reply.body["conversation"]["messages"][0]["sequence"] == json!(said))
            .then_some(())
    })
    .await;
    assert!(servers.iter().zip(up.servers()).all(|(before, now)| *before != now));
}

#[tokio::test]
async fn operators_find_it_and_a_second_one_is_refused() {
    let (_folder, data_dir) = place();
    let up = Up::start(&data_dir).await;
    let refused = operate(&data_dir, &["up", "--listen", "127.0.0.1:0"]);
    let line = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(line.contains("another turnlog up") && line.contains("--data-dir"), "{line}");

    let token = operate(&data_dir, &["token", "participant", "RID001"]);
    let token = String::from_utf8(token.stdout).unwrap();
    let said = say(&up.client().with(token.trim()), "m1").await.unwrap();
    let status = eventually("the tables have it", || async {
        let status = operate(&data_dir, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
        (status["projector"]["last_sequence"] == json!(said)).then_some(status)
    })
    .await;
    assert_eq!((&status["parked"], &status["feeds"]), (&json!(0), &json!(0)));
    let console = up.client().get("/console").await;
    assert!(console.status == 200 && console.text.contains("<title>turnlog console</title>"));
    assert!(console.headers["content-security-policy"].to_str().unwrap().contains("connect-src 'self'"));

    let demo = operate(&data_dir, &["demo"]);
    let shown = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    for wanted in ["message_corrected", "paco_conversations", "msg_demo_8"] {
        assert!(shown.contains(wanted), "{wanted} is not in: {shown}");
    }
    up.stop();
    let alone = operate(&data_dir, &["demo"]);
    assert_eq!(alone.status.code(), Some(1));
}
