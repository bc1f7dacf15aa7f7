//! Status and lists of conversations (S3): shapes, filters, pages, cursors, and who sees which.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::auth::{Tokens, Who};
use shared::events::{Event, Payload, RawJson, Recording, Report, Source, StoredObject};
use shared::log::Log;
use shared::report::kinds;
use tests::{Client, Reply, System, encode, root};

use crate::{ids, message, publish};

const LIST: &str = "/api/v1/conversations";

/// What the seed's page posts.
const S3_BODY: &str = r#"{
  "emailId": "user@example.com",
  "accountId": "acc123",
  "conversationId": "conv_abc123",
  "transcript": [
    {
      "timestamp": "2024-01-15T10:30:00Z",
      "speaker": "user",
      "content": "Hello, I need help",
      "messageId": "msg_123"
    }
  ],
  "metadata": {
    "sessionId": "sess_456",
    "agentId": "agent_01jxn7fwb2eyq8p6k4m3en4xtm",
    "duration": 300,
    "messageCount": 10,
    "platform": "web",
    "userAgent": "Mozilla/5.0..."
  }
}"#;

/// What the seed's status answers, less `processedAt`.
const S3_STATUS: &str = r#"{
  "conversationId": "conv_abc123",
  "emailId": "user@example.com",
  "accountId": "acc123",
  "status": "completed",
  "startTime": "2024-01-15T10:30:00Z",
  "endTime": "2024-01-15T10:35:00Z",
  "duration": 300,
  "messageCount": 10
}"#;

/// A system, its log, and somebody to write there what webhooks would.
struct Scene {
    system: System,
    log: Log,
    service: Client,
}

impl Scene {
    async fn start() -> Self {
        let system = System::start().await;
        let log = Log::open(&system.parts.nats, "test").await.unwrap();
        let service = system.service();
        Self { system, log, service }
    }

    async fn publish(&self, event: &Event) -> u64 {
        publish(&self.log, event).await
    }

    /// A report of a conversation, as its webhook would leave it in the log.
    async fn report(
        &self,
        owner: &str,
        id: &str,
        kind: &str,
        payload: String,
        turns: Vec<Option<u64>>,
    ) -> u64 {
        let webhook = kind == kinds::CONVERSATION;
        let source = if webhook { Source::ConversationWebhook } else { Source::ElevenlabsWebhook };
        let payload = Payload::Json(RawJson::new(payload).unwrap());
        self.publish(&Event::ConversationReported(Report {
            conversation_id: id.to_owned().try_into().unwrap(),
            participant_id: Some(owner.to_owned().try_into().unwrap()),
            session: 0,
            source,
            kind: kind.to_owned(),
            reported_at: None,
            sha256: "0".repeat(64),
            superseded: false,
            turns,
            payload,
        }))
        .await
    }

    async fn ended(&self, id: &str, account: &str, email: &str) -> u64 {
        self.ended_of("RID001", id, account, email).await
    }

    /// S3's report of a conversation of this account and address.
    async fn ended_of(&self, owner: &str, id: &str, account: &str, email: &str) -> u64 {
        let mut body: Value = serde_json::from_str(S3_BODY).unwrap();
        (body["accountId"], body["emailId"]) = (json!(account), json!(email));
        self.report(owner, id, kinds::CONVERSATION, body.to_string(), vec![None]).await
    }

    async fn failed(&self, id: &str) -> u64 {
        let payload =
            json!({"type": kinds::FAILURE, "data": {"conversation_id": id, "failure_reason": "busy"}});
        self.report("RID001", id, kinds::FAILURE, payload.to_string(), Vec::new()).await
    }

    fn person(&self, who: &Who) -> Client {
        let tokens = Tokens::new(&self.system.parts.auth());
        self.system.client.with(&tokens.issue(who, Duration::from_secs(60), Utc::now()).unwrap())
    }
}

/// Begins conversations, one message each; answers the last sequence.
async fn begin(caller: &Client, research_id: &str, conversations: &[&str]) -> u64 {
    let messages: Vec<_> =
        conversations.iter().map(|id| message(research_id, "Hello", ids(id, "m1"))).collect();
    let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

async fn list(caller: &Client, query: &str) -> Value {
    let reply = caller.get(&format!("{LIST}?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {}", reply.text);
    reply.body
}

fn found(list: &Value) -> Vec<&str> {
    let conversations = list["conversations"].as_array().unwrap();
    conversations.iter().map(|one| one["conversationId"].as_str().unwrap()).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn bad(reply: &Reply) -> Vec<&str> {
    reply.assert_problem(400);
    reply.bad_fields()
}

#[tokio::test]
async fn the_seeds_status_is_answered_to_the_letter() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let messages: Vec<_> = (0..10)
        .map(|n| {
            let mut body = message("RID001", "Hello, I need help", ids("conv_abc123", &format!("msg_12{n}")));
            body["timestamp"] = json!(format!("2024-01-15T10:30:{n:02}Z"));
            body
        })
        .collect();
    caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
    let began = Utc::now();
    let sequence =
        scene.report("RID001", "conv_abc123", kinds::CONVERSATION, S3_BODY.to_owned(), vec![Some(1)]).await;

    let path = format!("{LIST}/conv_abc123?after={sequence}");
    let status = scene.service.get(&path).await.body;
    let expected: Value = serde_json::from_str(S3_STATUS).unwrap();
    let seed = keys(&expected);
    assert_eq!(keys(&status)[..9], [&seed[..], &["processedAt"]].concat());
    for name in seed {
        assert_eq!(status[name], expected[name], "{name}");
    }
    let processed = status["processedAt"].as_str().unwrap();
    assert!(processed.ends_with('Z'), "{processed}");
    let processed: DateTime<Utc> = processed.parse().unwrap();
    assert!((processed - began).num_seconds().abs() < 30, "{processed}");
    // The list has the same nine fields and nothing else; the participant sees the same.
    let listed = list(&scene.service, "").await["conversations"][0].clone();
    assert_eq!(keys(&listed), keys(&status)[..9]);
    assert!(keys(&listed).iter().all(|name| listed[name] == status[name]), "{listed}");
    assert_eq!(caller.get(&path).await.body, status);

    let told: Value = serde_json::from_str(S3_BODY).unwrap();
    assert_eq!(status["metadata"], told["metadata"]);
    assert_eq!(status["agentId"], told["metadata"]["agentId"]);
    assert_eq!(status["lastMessageAt"], "2024-01-15T10:30:09Z");
    assert_eq!((&status["audio"], &status["cost"], status.get("turns")), (&Value::Null, &Value::Null, None));
}

#[tokio::test]
async fn what_is_not_known_is_null() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let last = begin(&caller, "RID001", &["conv_1"]).await;
    let status = caller.get(&format!("{LIST}/conv_1?after={last}")).await.body;
    assert_eq!((&status["status"], &status["messageCount"]), (&json!("active"), &json!(1)));
    for name in [
        "emailId",
        "accountId",
        "endTime",
        "duration",
        "processedAt",
        "agentId",
        "summary",
        "audio",
        "metadata",
    ] {
        assert_eq!(status.get(name), Some(&Value::Null), "{name}");
    }
    let status = caller.get(&format!("{LIST}/conv_1?include=turns")).await.body;
    assert_eq!(status["turns"], json!([]));
}

#[tokio::test]
async fn a_status_tells_what_the_vendor_told() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let file = root().join("tests/fixtures/elevenlabs/post_call_transcription.json");
    let payload = std::fs::read_to_string(file).unwrap();
    let body: Value = serde_json::from_str(&payload).unwrap();
    let data = &body["data"];
    let id = data["conversation_id"].as_str().unwrap();
    let first = begin(&caller, "RID001", &[id]).await;
    let turns = (0..7).map(|n| (n == 1).then_some(1)).collect();
    scene.report("RID001", id, kinds::TRANSCRIPTION, payload.clone(), turns).await;
    let audio = StoredObject { object: "o".into(), bytes: 1_234, sha256: "ab".repeat(32) };
    let sequence = scene
        .publish(&Event::AudioStored(Recording {
            conversation_id: id.to_owned().try_into().unwrap(),
            participant_id: None,
            session: 0,
            source: Source::ElevenlabsWebhook,
            agent_id: None,
            reported_at: None,
            audio: audio.clone(),
            media_type: "audio/mpeg".into(),
        }))
        .await;
    let status = scene.service.get(&format!("{LIST}/{id}?include=turns&after={sequence}")).await.body;
    let (metadata, analysis) = (&data["metadata"], &data["analysis"]);
    for (name, told) in [
        ("agentId", &data["agent_id"]),
        ("userId", &data["user_id"]),
        ("outcome", &data["status"]),
        ("duration", &metadata["call_duration_secs"]),
        ("cost", &metadata["cost"]),
        ("terminationReason", &metadata["termination_reason"]),
        ("language", &metadata["main_language"]),
        ("phoneCall", &metadata["phone_call"]),
        ("callSuccessful", &analysis["call_successful"]),
        ("title", &analysis["call_summary_title"]),
        ("summary", &analysis["transcript_summary"]),
        ("evaluation", &analysis["evaluation_criteria_results"]),
        ("collected", &analysis["data_collection_results"]),
        ("metadata", metadata),
        ("analysis", analysis),
        ("audio", &json!({"bytes": 1_234, "mediaType": "audio/mpeg", "sha256": audio.sha256})),
    ] {
        assert_eq!(&status[name], told, "{name}");
    }
    let turns = status["turns"].as_array().unwrap();
    assert_eq!(turns.len(), 7);
    let names = ["turn", "sequence", "saidAs", "seconds", "interrupted", "original", "detail"];
    assert!(turns.iter().enumerate().all(|(n, turn)| turn["turn"] == n && keys(turn) == names), "{turns:?}");
    assert_eq!(turns[1]["sequence"], first);
    assert_eq!((&turns[1]["saidAs"], &turns[1]["seconds"]), (&json!("user"), &json!(5)));
    assert_eq!(turns[2]["sequence"], Value::Null);
    assert_eq!(turns[2]["detail"]["tool_calls"], data["transcript"][2]["tool_calls"]);
    assert_eq!(turns[4]["interrupted"], true);
    assert_eq!(turns[4]["original"], data["transcript"][4]["original_message"]);
}

#[tokio::test]
async fn filters_narrow_and_go_together() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    begin(&caller, "RID001", &["c1", "c2", "c3", "c4", "c5", "c6"]).await;
    scene.ended("c1", "acc1", "a@example.com").await;
    scene.ended("c2", "acc1", "b@example.com").await;
    scene.ended("c3", "acc2", "a@example.com").await;
    let last = scene.failed("c4").await;
    let after = format!("after={last}");
    for (query, expected) in [
        (after.as_str(), &["c6", "c5", "c4", "c3", "c2", "c1"][..]),
        ("account_id=acc1", &["c2", "c1"]),
        ("email_id=a%40example.com", &["c3", "c1"]),
        ("email_id=a%40example.com&account_id=acc2", &["c3"]),
        ("email_id=b%40example.com&account_id=acc2", &[]),
        ("email_id=A%40example.com", &[]),
        ("status=active", &["c6", "c5"]),
        ("status=Completed", &["c3", "c2", "c1"]),
        ("status=FAILED", &["c4"]),
        ("status=completed&account_id=acc1", &["c2", "c1"]),
        ("status=active&account_id=acc1", &[]),
        ("unknown=parameter&status=failed", &["c4"]),
    ] {
        for who in [&scene.service, &caller] {
            let page = list(who, query).await;
            assert_eq!(found(&page), expected, "{query}");
            assert_eq!(page["total"], expected.len(), "{query}");
            assert_eq!(page["pages"], usize::from(!expected.is_empty()), "{query}");
            assert_eq!(page["cursor"], Value::Null, "{query}");
        }
    }
    let failed = scene.service.get(&format!("{LIST}/c4")).await.body;
    assert_eq!((&failed["status"], &failed["outcome"]), (&json!("failed"), &json!("busy")));
}

#[tokio::test]
async fn pages_are_numbered_and_end() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let names: Vec<_> = (0..21).map(|n| format!("c{n:02}")).collect();
    let last = begin(&caller, "RID001", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let first = list(&scene.service, &format!("after={last}")).await;
    assert_eq!(keys(&first), ["conversations", "page", "limit", "total", "pages", "cursor"]);
    let newest: Vec<_> = names.iter().rev().map(String::as_str).collect();
    assert_eq!(found(&first), newest[..20]);
    assert_eq!((&first["page"], &first["limit"], &first["pages"]), (&json!(1), &json!(20), &json!(2)));
    for (query, expected, page, pages) in [
        ("page=2", &newest[20..], 2, 2),
        ("page=3&limit=7", &newest[14..], 3, 3),
        ("page=2&limit=7", &newest[7..14], 2, 3),
        ("page=4&limit=7", &[], 4, 3),
        ("page=9223372036854775807&limit=100", &[], i64::MAX.unsigned_abs(), 1),
        ("limit=100", &newest[..], 1, 1),
    ] {
        let found_page = list(&scene.service, query).await;
        assert_eq!(found(&found_page), expected, "{query}");
        assert_eq!((&found_page["page"], &found_page["pages"]), (&json!(page), &json!(pages)), "{query}");
        assert_eq!(found_page["total"], 21, "{query}");
        let more = query == "page=2&limit=7";
        assert_eq!(found_page["cursor"].is_string(), more, "{query}");
    }
    // A numbered page and the cursor of the one before are the same page.
    let second = list(&scene.service, "page=2&limit=7").await;
    let cursor = second["cursor"].as_str().unwrap();
    let third = list(&scene.service, "page=3&limit=7").await;
    assert_eq!(list(&scene.service, &format!("cursor={cursor}")).await, third);
}

#[tokio::test]
async fn a_cursor_passes_every_conversation_once_while_others_begin() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let names: Vec<_> = (0..33).map(|n| format!("c{n:02}")).collect();
    begin(&caller, "RID001", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut last = 0;
    for name in names.iter().step_by(2) {
        last = scene.ended(name, "acc1", "a@example.com").await;
    }
    for (filter, expected) in [
        ("", names.clone()),
        ("account_id=acc1&status=completed&", names.iter().step_by(2).cloned().collect()),
    ] {
        let mut seen = Vec::new();
        let mut query = format!("{filter}limit=5&after={last}");
        for number in 1.. {
            let page = list(&scene.service, &query).await;
            seen.extend(found(&page).into_iter().map(str::to_owned));
            assert_eq!((&page["page"], &page["limit"]), (&json!(number), &json!(5)), "{query}");
            let new = format!("new{}{number}", filter.len());
            begin(&caller, "RID001", &[&new]).await;
            last = scene.ended(&new, "acc1", "a@example.com").await;
            let Some(cursor) = page["cursor"].as_str() else { break };
            query = format!("{filter}cursor={cursor}&after={last}");
        }
        assert_eq!(seen.iter().filter(|id| id.starts_with('c')).count(), expected.len(), "{seen:?}");
        let seen: BTreeSet<_> = seen.into_iter().filter(|id| id.starts_with('c')).collect();
        assert_eq!(seen, expected.into_iter().collect());
    }
}

#[tokio::test]
async fn nobody_lists_or_counts_what_is_not_theirs() {
    let scene = Scene::start().await;
    let (mine, theirs) =
        (scene.system.client.login("RID001").await, scene.system.client.login("RID002").await);
    begin(&mine, "RID001", &["c1", "c2", "c3"]).await;
    begin(&theirs, "RID002", &["d1"]).await;
    scene.ended("c1", "acc1", "a@example.com").await;
    let last = scene.ended_of("RID002", "d1", "acc1", "a@example.com").await;
    let own = list(&mine, &format!("limit=2&after={last}")).await;
    assert_eq!((found(&own), &own["total"], &own["pages"]), (vec!["c3", "c2"], &json!(3), &json!(2)));
    for query in ["account_id=acc1", "email_id=a%40example.com", "status=completed"] {
        let narrowed = list(&mine, query).await;
        assert_eq!((found(&narrowed), &narrowed["total"]), (vec!["c1"], &json!(1)), "{query}");
        assert_eq!(list(&scene.service, query).await["total"], 2, "{query}");
    }
    assert_eq!(list(&mine, "status=active").await["total"], 2);
    mine.get(&format!("{LIST}/d1")).await.assert_problem(403);
    theirs.get(&format!("{LIST}/c1")).await.assert_problem(403);
    for unknown in ["c9", &encode("\0"), &"x".repeat(20_000)] {
        mine.get(&format!("{LIST}/{unknown}")).await.assert_problem(404);
    }
    scene.system.client.get(LIST).await.assert_problem(401);
    scene.system.client.get(&format!("{LIST}/c1")).await.assert_problem(401);
    let admin =
        Who::Admin { id: "a".to_owned().try_into().unwrap(), company: "c".to_owned().try_into().unwrap() };
    for other in [admin, Who::Researcher("r".into())] {
        let other = scene.person(&other);
        for path in [LIST.to_owned(), format!("{LIST}/c1")] {
            let refused = other.get(&path).await;
            refused.assert_problem(403);
            assert!(refused.body["detail"].as_str().unwrap().contains("services and participants"));
        }
    }
    // A cursor is good for whom it was given to.
    let cursor = own["cursor"].as_str().unwrap();
    assert_eq!(found(&list(&mine, &format!("cursor={cursor}")).await), ["c1"]);
    for other in [&theirs, &scene.service] {
        assert_eq!(bad(&other.get(&format!("{LIST}?cursor={cursor}")).await), ["cursor"]);
    }
}

#[tokio::test]
async fn the_database_itself_hides_what_is_not_theirs() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    begin(&caller, "RID001", &["c1"]).await;
    let last = scene.ended("c1", "acc1", "a@example.com").await;
    scene.system.projected(last).await;
    let mut tables = scene.system.tables().await;
    sqlx::query("SET ROLE turnlog_reader").execute(&mut tables).await.unwrap();
    for (role, participant, seen) in [
        ("", "", 0),
        ("participant", "RID002", 0),
        ("participant", "RID001", 1),
        ("admin", "RID001", 0),
        ("service", "", 1),
    ] {
        sqlx::query(
            "SELECT set_config('turnlog.role', $1, false), set_config('turnlog.participant', $2, false)",
        )
        .bind(role)
        .bind(participant)
        .execute(&mut tables)
        .await
        .unwrap();
        let query =
            "SELECT count(*) FROM turnlog.conversations WHERE account_hash = hashtextextended('acc1', 0)";
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut tables).await.unwrap();
        assert_eq!(count, seen, "{role} {participant}");
    }
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let scene = Scene::start().await;
    let caller = scene.system.client.login("RID001").await;
    let last = begin(&caller, "RID001", &["c1", "c2"]).await;
    let page = list(&scene.service, &format!("limit=1&after={last}")).await;
    let cursor = page["cursor"].as_str().unwrap();
    let mut forged = cursor.to_owned();
    forged.replace_range(10..11, if &cursor[10..11] == "A" { "B" } else { "A" });
    for (query, fields) in [
        ("page=0", &["page"][..]),
        ("page=-1&limit=0", &["limit", "page"]),
        ("limit=101", &["limit"]),
        ("limit=ten&page=2.0&status=ended&after=x", &["after", "status", "limit", "page"]),
        ("status=", &["status"]),
        ("email_id=", &["email_id"]),
        ("account_id=a%00b", &["account_id"]),
        ("cursor=", &["cursor"]),
        ("cursor=nonsense", &["cursor"]),
        (&format!("cursor={forged}"), &["cursor"]),
        (&format!("cursor={cursor}&page=2"), &["page"]),
        (&format!("cursor={cursor}&limit=2"), &["limit"]),
        (&format!("cursor={cursor}&status=active"), &["cursor"]),
        (&format!("cursor={cursor}&account_id=acc1"), &["cursor"]),
    ] {
        assert_eq!(bad(&scene.service.get(&format!("{LIST}?{query}")).await), fields, "{query}");
    }
    scene.service.get(&format!("{LIST}?page=1&page=2")).await.assert_problem(400);
    assert_eq!(
        bad(&scene.service.get(&format!("{LIST}/c1?include=messages&after=x")).await),
        ["after", "include"]
    );
    for path in [format!("{LIST}?after=9000000"), format!("{LIST}/c1?after=9000000")] {
        scene.service.get(&path).await.assert_problem(503);
    }
}

/// However the statements are planned, they must not read what they skip.
#[tokio::test]
async fn each_filter_walks_its_own_index() {
    let scene = Scene::start().await;
    let mut tables = scene.system.tables().await;
    for statement in [
        "INSERT INTO read_v1.conversations (token, conversation_id, participant_id, provider, status, message_count,
                                            first_sequence, last_sequence, started_at, last_message_at, account_id,
                                            email_id)
         SELECT n, n, 'RID' || n % 50, 'elevenlabs', CASE WHEN n < 9000 THEN 'ACTIVE' ELSE 'ENDED' END, 1, n, n,
                now(), now(), CASE WHEN n < 5000 THEN 'old' ELSE 'acc' || n % 5 END, 'a' || n % 50
         FROM generate_series(1, 20000) n",
        "ANALYZE read_v1.conversations",
        "SET ROLE turnlog_reader",
        "SET turnlog.role = 'service'",
        "SET plan_cache_mode = force_custom_plan",
    ] {
        sqlx::query(statement).execute(&mut tables).await.unwrap();
    }
    let source = std::fs::read_to_string(root().join("streamer/src/list.rs")).unwrap();
    let (_, rows) = source.split_once("async fn rows(").unwrap();
    let statement = rows.split("r#\"").nth(1).unwrap().split("\"#").next().unwrap();
    let prepare = format!("PREPARE page (bigint, text, text, text, text, bigint, bigint) AS {statement}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut tables).await.unwrap();
    for (filters, index) in [
        ("NULL, NULL, NULL, NULL", "conversations_newest"),
        ("'ACTIVE', NULL, NULL, NULL", "conversations_status"),
        ("NULL, 'old', NULL, NULL", "conversations_account"),
        ("'ENDED', 'acc1', NULL, NULL", "conversations_account"),
        ("NULL, NULL, 'a1', NULL", "conversations_email"),
        ("NULL, NULL, NULL, 'RID1'", "conversations_participant"),
    ] {
        for before in ["9223372036854775807", "15000"] {
            let explain = format!("EXPLAIN EXECUTE page({before}, {filters}, 26, 0)");
            let plan: Vec<String> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(explain)).fetch_all(&mut tables).await.unwrap();
            let plan = plan.join("\n");
            assert!(plan.contains(&format!("Index Scan using {index} ")), "{filters}:\n{plan}");
            assert!(plan.contains("Index Cond") && !plan.contains("Sort"), "{filters}:\n{plan}");
        }
    }
}
