//! A participant who was erased is gone: from the log, the tables, the search index, the object store, feeds, reads,
//! exports and whatever is made of the log later.

mod broken_off;
mod disks;

use std::process::Output;

use serde_json::{Value, json};
use shared::auth::Who;
use sqlx::PgConnection;
use tests::{Client, Nats, Parts, System, command, database, fixture};

use crate::rebuild::{Operator, assert_same, busy, everything, indexed};
use crate::webhooks::post_call;
use crate::{ids, message, person};

const OWNER: &str = "RID001";
const OTHER: &str = "RID002";

/// Runs `turnlog` to its end.
async fn turnlog(parts: &Parts, arguments: &[&str]) -> Output {
    let command = command(parts, arguments, &[]);
    tokio::process::Command::from(command).kill_on_drop(true).output().await.unwrap()
}

/// The same where it must succeed; answers what it printed.
async fn done(parts: &Parts, arguments: &[&str]) -> String {
    let output = turnlog(parts, arguments).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

pub(crate) async fn erase(parts: &Parts, id: &str) -> String {
    done(parts, &["erase", "participant", id, "--yes", "--by", "Ada the operator", "--without-vacuum"]).await
}

async fn say(caller: &Client, id: &str, conversation: &str, content: &str) -> u64 {
    let reply = caller.post("/api/v1/chat/message", &message(id, content, ids(conversation, content))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

/// Tables that hold something of this participant, and how many rows.
async fn rows_of(tables: &mut PgConnection, id: &str) -> Vec<(String, usize)> {
    let all = everything(tables, "read_v1").await;
    let named = format!("\"{id}\"");
    let count = |rows: Vec<String>| rows.iter().filter(|row| row.contains(&named)).count();
    all.into_iter().map(|(name, rows)| (name, count(rows))).filter(|(_, rows)| *rows > 0).collect()
}

/// That the tables are what the log makes them, now and after a rebuild.
async fn assert_agreement(system: &System) {
    let operator = Operator::of(&system.parts).await;
    assert_eq!(operator.verify().await.1, []);
    let mut tables = system.tables().await;
    let before = everything(&mut tables, "read_v1").await;
    operator.rebuild().await.unwrap();
    // Where nothing is left to be searched, a block may still say that there was something.
    assert_same(
        &before,
        &everything(&mut tables, "read_v1").await,
        &["search_blocks", "parked", "checkpoint"],
    );
    assert_eq!(operator.verify().await.1, []);
    projector::rebuild::drop_kept(&operator.database).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_erased_is_gone_from_tables_reads_feeds_and_whatever_is_made_of_the_log() {
    let nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), database().await);
    let system = parts.start().await;
    let other = system.client.login(OTHER).await;
    say(&other, OTHER, "conv_other", "what others say about numbers").await;
    // Of every kind, sealed and in clear, with a call that carries no participant.
    let last = busy(&system).await;
    let caller = system.client.login(OWNER).await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let mut tables = system.tables().await;
    assert!(rows_of(&mut tables, OWNER).await.len() > 7);
    let calls = system.rows("SELECT * FROM turnlog.calls").await;
    let looked = done(&parts, &["erase", "participant", OWNER, "--dry-run"]).await;
    assert!(looked.contains("conversations") && looked.contains("deleted from the log"), "{looked}");
    assert_eq!(
        system.rows("SELECT last_sequence FROM turnlog.checkpoint WHERE name = 'read'").await[0]["last_sequence"],
        last
    );

    let told = erase(&parts, OWNER).await;
    assert!(told.contains("objects deleted") && told.contains("search index"), "{told}");
    assert_eq!(rows_of(&mut tables, OWNER).await, []);
    assert_eq!(system.rows("SELECT * FROM turnlog.calls").await, calls, "a call is its worker's");
    let error = feed.expect("error").await;
    assert_eq!(error.data["error"], "The conversation was erased.");
    assert_eq!(feed.next().await, None);
    // Nobody reads it, and nothing more is taken.
    let service = system.service();
    for path in
        ["/api/conversation/conv_1", "/api/v1/conversations/conv_1", "/api/conversation/conv_1/stream"]
    {
        assert_eq!(service.get(path).await.status, 404, "{path}");
    }
    let researcher = person(&system, &Who::Researcher("r1".into()));
    let found = researcher.get("/api/v1/search?q=number").await;
    assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(0), "{}", found.text);
    let found = researcher.get("/api/v1/search?q=numbers").await;
    assert_eq!(found.body["hits"].as_array().map(Vec::len), Some(1), "{}", found.text);
    let login = system.client.post("/api/v1/auth/login", &json!({"research_id": OWNER})).await;
    assert_eq!(login.status, 403, "{}", login.text);
    let again = caller.post("/api/v1/chat/message", &message(OWNER, "still here", ids("conv_9", "m"))).await;
    assert_eq!(again.status, 403, "{}", again.text);
    let resent = post_call(&system.client, fixture("elevenlabs/post_call_transcription.json")).await;
    assert_eq!(resent.status, 403, "{}", resent.text);
    for said in ["hello number", "corrected again", "London", "never synced", "I fell", "a rise", "falling"] {
        assert!(!nats.stored(said.as_bytes()), "{said} is in the log");
    }
    // Those who are there stay as they were.
    let last = say(&other, OTHER, "conv_other", "and more").await;
    indexed(&system, last).await;
    let shown = other.get(&format!("/api/conversation/conv_other?after={last}")).await;
    assert_eq!(shown.body["conversation"]["total_messages"], 2);
    assert_agreement(&system).await;

    let again = erase(&parts, OWNER).await;
    assert!(again.starts_with("RID001 was erased by Ada the operator on 20"), "{again}");
    let audit = done(&parts, &["audit", "--json"]).await;
    assert_eq!(audit.matches("\"erasure\"").count(), 1, "{audit}");
    assert!(audit.contains("Ada the operator") && !audit.contains(OWNER));
    let unknown = turnlog(&parts, &["erase", "participant", "nobody", "--yes"]).await;
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("knows nothing"));
    let unasked = turnlog(&parts, &["erase", "participant", OTHER]).await;
    assert!(String::from_utf8_lossy(&unasked.stderr).contains("say --yes"));
}

/// What a service told of somebody's conversation under another's account lies under that one's key.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_anothers_conversation_goes_with_whom_it_was_said_of() {
    let system = System::start().await;
    let (first, second) = (system.client.login(OWNER).await, system.client.login(OTHER).await);
    let told = |conversation: &str, account: &str| {
        json!({
            "emailId": "user@example.com", "accountId": account, "conversationId": conversation,
            "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "of another",
                            "messageId": "msg_other"}],
            "metadata": {"sessionId": "s", "agentId": "a", "duration": 300, "messageCount": 1, "platform": "web",
                         "userAgent": "x"},
        })
    };
    say(&first, OWNER, "conv_a", "mine alone").await;
    say(&second, OTHER, "conv_b", "theirs alone").await;
    for (conversation, account) in [("conv_a", OTHER), ("conv_b", OWNER)] {
        let reply = system.service().post("/api/v1/webhook/conversation", &told(conversation, account)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        indexed(&system, reply.sequence()).await;
    }
    let contents = || system.rows("SELECT conversation_id, content FROM turnlog.messages ORDER BY 1, 2");
    assert_eq!(contents().await.len(), 4);
    // Of their own conversation all goes; of the other's what was told of them.
    erase(&system.parts, OTHER).await;
    assert_eq!(contents().await, [json!({"conversation_id": "conv_a", "content": "mine alone"})]);
    let shown = first.get("/api/conversation/conv_a").await;
    assert_eq!(shown.body["conversation"]["total_messages"], 1);
    assert_agreement(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_sets_show_nothing_of_the_erased_list_them_and_are_called_back() {
    let system = System::start().await;
    let parts = &system.parts;
    let other = system.client.login(OTHER).await;
    let begun = say(&other, OTHER, "conv_2", "before").await;
    let caller = system.client.login(OWNER).await;
    say(&caller, OWNER, "conv_1", "unmistakable").await;
    let folder = tempfile::TempDir::new().unwrap();
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let before = (begun + 1).to_string();
    for arguments in [
        ["export", "--out", &out("all")].as_slice(),
        &["export", "--out", &out("early"), "--to-sequence", "2"],
        &["export", "--out", &out("theirs"), "--participant", OTHER],
        &["export", "--out", &out("late"), "--from-sequence", &before],
    ] {
        done(parts, arguments).await;
    }
    let told = erase(parts, OWNER).await;
    assert!(told.contains("2 data sets may hold them"), "{told}");
    assert!(told.contains(&out("all")) && told.contains(&out("late")), "{told}");
    done(parts, &["export", "--out", &out("after")]).await;
    let read = |name: &str| {
        let files =
            std::fs::read_dir(folder.path().join("after")).unwrap().map(|entry| entry.unwrap().path());
        let path = files.into_iter().find(|path| path.to_str().unwrap().contains(name)).unwrap();
        std::fs::read_to_string(path).unwrap()
    };
    assert!(!read("messages-").contains(OWNER) && !read("conversations-").contains(OWNER));
    assert!(!read("events-").contains("unmistakable") && read("messages-").contains("before"));
    let manifest: Value = serde_json::from_str(&read("datapackage")).unwrap();
    assert_eq!(manifest["turnlog"]["erased"][0]["participant_id"], OWNER);
    assert_eq!(manifest["turnlog"]["unreadable_events"], 0);
    let verified = turnlog(parts, &["export", "--verify", &out("after")]).await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let outdated = turnlog(parts, &["export", "--verify", &out("all")]).await;
    assert_eq!(outdated.status.code(), Some(1));
}
