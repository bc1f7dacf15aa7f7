//! The examples of the seeds, as printed: the two curl lines and the analysis queries.

use std::process::Command;

use serde_json::{Value, json};
use sqlx::{Connection, Row};
use tests::System;

use crate::{ids, message};

const S0_MESSAGE: &str = r#"curl -X POST http://localhost:8000/api/v1/chat/message \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer YOUR_TOKEN" \
  -d '{
    "research_id": "RID001",
    "role": "user",
    "content": "What is peripheral artery disease?",
    "timestamp": "2025-01-08T12:00:00Z",
    "provider": "elevenlabs",
    "elevenlabs_conversation_id": "conv_abc123",
    "elevenlabs_message_id": "msg_xyz789"
  }'"#;

const S1_LOGIN: &str = r#"curl -X POST http://localhost:8000/api/v1/auth/login \
  -H "Content-Type: application/json" \
  -d '{"research_id": "RID001"}'"#;

const S1_MESSAGE: &str = r#"curl -X POST http://localhost:8000/api/v1/chat/save-message \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer YOUR_TOKEN_HERE" \
  -d '{
    "research_id": "RID001",
    "role": "user",
    "content": "Test message from ElevenLabs",
    "timestamp": "2025-01-08T16:00:00Z",
    "provider": "elevenlabs",
    "elevenlabs_conversation_id": "conv_test123",
    "elevenlabs_message_id": "msg_test456"
  }'"#;

const S1_BY_PROVIDER: &str = "-- Count messages by provider
SELECT provider, COUNT(*) as message_count
FROM paco_conversations
GROUP BY provider;";

const S1_CONVERSATIONS: &str = "-- Get all ElevenLabs conversations
SELECT DISTINCT elevenlabs_conversation_id, COUNT(*) as message_count
FROM paco_conversations
WHERE provider = 'elevenlabs'
GROUP BY elevenlabs_conversation_id;";

const S1_LENGTHS: &str = "-- Compare message lengths by provider
SELECT
  provider,
  AVG(LENGTH(content)) as avg_length,
  COUNT(*) as total_messages
FROM paco_conversations
GROUP BY provider;";

/// Runs a line as printed, but for the port and the token.
async fn run(line: &str, system: &System, token: &str) -> Value {
    let line = line
        .replace("http://localhost:8000", &system.base)
        .replace("YOUR_TOKEN_HERE", token)
        .replace("YOUR_TOKEN", token);
    let output = tokio::task::spawn_blocking(move || Command::new("sh").args(["-c", &line]).output());
    let output = output.await.unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[tokio::test]
async fn the_curl_lines_of_both_seeds_run_as_printed() {
    let system = System::start().await;
    let login = run(S1_LOGIN, &system, "").await;
    assert_eq!(login["token_type"], "bearer");
    assert_eq!(login["research_id"], "RID001");
    assert!(login["expires_in"].as_u64().is_some_and(|seconds| seconds > 0));
    let token = login["access_token"].as_str().unwrap();
    let first = run(S0_MESSAGE, &system, token).await;
    let id = first["message_id"].as_u64().unwrap();
    assert_eq!(first, json!({"success": true, "message_id": id, "timestamp": "2025-01-08T12:00:00+00:00"}));
    let second = run(S1_MESSAGE, &system, token).await;
    assert!(second["message_id"].as_u64().unwrap() > id);
    assert_eq!(second["timestamp"], "2025-01-08T16:00:00+00:00");

    system.projected(second["message_id"].as_u64().unwrap()).await;
    let mut tables = system.tables().await;
    let rows = sqlx::query("SELECT * FROM paco_conversations ORDER BY id DESC LIMIT 5;")
        .fetch_all(&mut tables)
        .await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 2);
    let text = |name| rows[1].get::<String, _>(name);
    assert_eq!(rows[1].get::<i64, _>("id") as u64, id);
    assert_eq!(text("provider"), "elevenlabs");
    assert_eq!(text("elevenlabs_conversation_id"), "conv_abc123");
    assert_eq!(text("elevenlabs_message_id"), "msg_xyz789");
    assert_eq!((text("research_id"), text("role")), ("RID001".into(), "user".into()));
    assert_eq!(text("content"), "What is peripheral artery disease?");
}

#[tokio::test]
async fn the_analysis_queries_run_as_printed() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let mut last = 0;
    for (place, (provider, content)) in [
        ("elevenlabs", "four"),
        ("elevenlabs", "sixsix"),
        ("openai", "ab"),
        ("openai", "abcd"),
        ("openai", "abcdef"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut more = json!({"provider": provider});
        if provider == "elevenlabs" {
            more = ids("conv_1", &format!("m{place}"));
        }
        let reply = caller.post("/api/v1/chat/message", &message("RID001", content, more)).await;
        last = reply.sequence();
    }
    system.projected(last).await;
    let mut tables = system.tables().await;
    let mut rows = sqlx::query(S1_BY_PROVIDER).fetch_all(&mut tables).await.unwrap();
    rows.sort_by_key(|row| row.get::<String, _>("provider"));
    let counts: Vec<(String, i64)> =
        rows.iter().map(|row| (row.get("provider"), row.get("message_count"))).collect();
    assert_eq!(counts, [("elevenlabs".into(), 2), ("openai".into(), 3)]);
    let row = sqlx::query(S1_CONVERSATIONS).fetch_one(&mut tables).await.unwrap();
    assert_eq!(row.get::<Option<String>, _>("elevenlabs_conversation_id").as_deref(), Some("conv_1"));
    assert_eq!(row.get::<i64, _>("message_count"), 2);
    let mut rows = sqlx::raw_sql(S1_LENGTHS).fetch_all(&mut tables).await.unwrap();
    rows.sort_by_key(|row| row.get::<String, _>("provider"));
    assert_eq!(rows.iter().map(|row| row.get::<i64, _>("total_messages")).collect::<Vec<_>>(), [2, 3]);
    let exact = "SELECT AVG(LENGTH(content))::float8 FROM paco_conversations WHERE provider = 'elevenlabs'";
    assert!((sqlx::query_scalar::<_, f64>(exact).fetch_one(&mut tables).await.unwrap() - 5.0).abs() < 1e-9);
    tables.close().await.unwrap();
}
