//! The whole system on one machine: started, killed, started again, stopped without a trace.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::Utc;
use ingest::webhooks::signature::sign;
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
    let researcher = operate(&data_dir, &["token", "researcher", "r1"]);
    let researcher = up.client().with(String::from_utf8(researcher.stdout).unwrap().trim());
    assert_eq!(researcher.get("/api/conversation/conv_1").await.status, 200);
    let audit = operate(&data_dir, &["audit", "--conversation", "conv_1", "--who", "r1", "--from", "1h"]);
    let audit = String::from_utf8(audit.stdout).unwrap();
    assert!(audit.contains("researcher r1  read conv_1 ") && audit.lines().count() == 1, "{audit}");
    let audit = operate(&data_dir, &["audit", "--json", "--what", "snapshot"]);
    let audit: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(audit["look"]["what"], "snapshot");
    let console = up.client().get("/console").await;
    assert!(console.status == 200 && console.text.contains("<title>turnlog console</title>"));
    assert!(console.headers["content-security-policy"].to_str().unwrap().contains("connect-src 'self'"));

    let demo = operate(&data_dir, &["demo"]);
    let shown = String::from_utf8(demo.stdout).unwrap();
    assert!(demo.status.success(), "{}", String::from_utf8_lossy(&demo.stderr));
    let webhook =
        ["turnlog.reports", "Sooner than my check-up in March?", "cost 412 credits", "ENDED (success)"];
    for wanted in ["message_corrected", "paco_conversations", "msg_demo_8"].iter().chain(&webhook) {
        assert!(shown.contains(wanted), "{wanted} is not in: {shown}");
    }
    let again = operate(&data_dir, &["demo"]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    up.stop();
    let alone = operate(&data_dir, &["demo"]);
    assert_eq!(alone.status.code(), Some(1));
}

/// Status and reason of the answer to a webhook that is signed with this secret.
async fn deliver(up: &Up, secret: &str) -> (u16, String) {
    let body = json!({"type": "call_initiation_failure", "event_timestamp": 1_739_537_297,
                      "data": {"agent_id": "agent_1", "conversation_id": "conv_1", "failure_reason": "busy"}});
    let (client, body) = (up.client(), body.to_string());
    let signature = sign(secret, Utc::now().timestamp(), body.as_bytes());
    let request = client.request(reqwest::Method::POST, "/api/v1/webhooks/elevenlabs");
    let reply = client.send(request.header("ElevenLabs-Signature", signature).body(body)).await;
    (reply.status, reply.text)
}

/// The webhooks in `status --json`, once the tables say what is wanted of the first source.
async fn webhooks(data_dir: &Path, field: &str, wanted: u64) -> serde_json::Value {
    eventually("the tables have it", || async {
        let status = operate(data_dir, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).ok()?;
        (status["webhooks"][0][field] == json!(wanted)).then_some(status)
    })
    .await
}

#[tokio::test]
async fn webhooks_are_signed_with_its_own_secrets_and_failures_in_a_row_are_told() {
    let (_folder, data_dir) = place();
    let up = Up::start(&data_dir).await;
    assert!(data_dir.join("spool").is_dir());
    let secret = up.instance()["elevenlabs_webhook_secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("wsec_"));
    let (status, answer) = deliver(&up, &secret).await;
    assert_eq!(status, 200, "{answer}");
    for _ in 0..5 {
        assert_eq!(deliver(&up, "wsec_of_somebody_else").await.0, 401);
    }
    let client = up.client();
    let unsigned = client.request(reqwest::Method::POST, "/api/v1/webhooks/elevenlabs").body("{}");
    assert_eq!(client.send(unsigned).await.status, 401);
    let status = webhooks(&data_dir, "refused", 6).await;
    let source = &status["webhooks"][0];
    assert_eq!(source["source"], "elevenlabs_webhook");
    assert_eq!((&source["received"], &source["failures_in_a_row"]), (&json!(1), &json!(5)), "{source}");
    let refused = json!([
        {"source": "elevenlabs_webhook", "reason": "bad_signature", "count": 5},
        {"source": "elevenlabs_webhook", "reason": "missing", "count": 1},
    ]);
    assert_eq!(status["refused_last_24h"], refused);
    let text = String::from_utf8(operate(&data_dir, &["status"]).stdout).unwrap();
    assert!(text.contains("WARNING: ElevenLabs switches a webhook off"), "{text}");
    assert_eq!(deliver(&up, &secret).await.0, 200);
    up.stop();
}

#[tokio::test]
async fn secrets_of_the_operator_hold_and_what_is_printed_can_be_pasted() {
    let (_folder, data_dir) = place();
    let standard = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let settings = [("ELEVENLABS_WEBHOOK_SECRET", "wsec_new, wsec_old"), ("WEBHOOK_SECRET", standard)];
    let up = Up::start_with(&data_dir, &settings).await;
    let instance = up.instance();
    let secrets = (&instance["elevenlabs_webhook_secret"], &instance["webhook_secret"]);
    assert_eq!(secrets, (&json!("wsec_new"), &json!(standard)));
    assert_eq!((deliver(&up, "wsec_new").await.0, deliver(&up, "wsec_old").await.0), (200, 200));
    let made = std::fs::read_to_string(data_dir.join("secrets.json")).unwrap();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert_eq!(deliver(&up, made["elevenlabs_webhook_secret"].as_str().unwrap()).await.0, 401);

    let printed = eventually("the lines are printed", || async {
        up.log()
            .split_once("Try it in another terminal:")
            .map(|(_, lines)| lines.to_owned())
            .filter(|lines| lines.contains("Ctrl-C"))
    })
    .await;
    // Without the feed, which does not end, and what is no command.
    let commands: Vec<_> = printed
        .lines()
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .filter(|line| line.starts_with("  ") && !line.contains("curl -N"))
        .collect();
    let ran = std::process::Command::new("bash").arg("-euc").arg(commands.join("\n")).output().unwrap();
    let answers = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(answers.matches(r#""success":true"#).count(), 3, "{answers}");
    up.stop();
}
