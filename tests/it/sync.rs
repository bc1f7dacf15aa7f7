//! Message sync: what a frontend sends stands in the log, the tables and the feed, once and in order.

use serde_json::{Value, json};
use sqlx::Row;
use tests::System;

use crate::{ids, message};

#[tokio::test]
async fn a_message_goes_from_http_to_log_to_table_to_feed() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let first = caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    let mut feed = caller.feed("conv_1", None).await;
    let initial = feed.expect("initial").await;
    assert_eq!(initial.data["messages"][0]["content"], "Hello");
    assert_eq!(initial.data["total_messages"], 1);
    let second = caller.post("/api/v1/chat/message", &message("RID001", "Hi", ids("conv_1", "m2"))).await;
    let frame = feed.expect("new_messages").await;
    assert_eq!(frame.data["messages"][0]["message_id"], "m2");
    assert_eq!(frame.data["messages"][0]["sequence"], second.sequence());
    assert_eq!(frame.data["total_messages"], 2);
    let path = format!("/api/conversation/conv_1?after={}", second.sequence());
    let snapshot = caller.get(&path).await.body;
    let sequences: Vec<_> =
        snapshot["conversation"]["messages"].as_array().unwrap().iter().map(|m| &m["sequence"]).collect();
    assert_eq!(sequences, [first.sequence(), second.sequence()]);
    assert_eq!(first.body["message_id"], first.sequence());
}

#[tokio::test]
async fn a_correction_replaces_the_content_and_keeps_the_id() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let post = |content: &'static str, id: &'static str| {
        let caller = caller.clone();
        async move {
            let more = json!({"role": "assistant", "elevenlabs_conversation_id": "conv_1", "elevenlabs_message_id": id});
            caller.post("/api/v1/chat/message", &message("RID001", content, more)).await
        }
    };
    let first = post("You should rest and then", "m1").await;
    post("another", "m2").await;
    let mut feed = caller.feed("conv_1", None).await;
    feed.expect("initial").await;
    let correction = post("You should rest", "m1").await;
    assert_eq!(correction.status, 200);
    assert_eq!(correction.body["message_id"], first.body["message_id"]);
    assert!(correction.sequence() > first.sequence());
    let frame = feed.expect("message_corrected").await;
    assert_eq!(frame.data["message"]["content"], "You should rest");
    assert_eq!(frame.data["message"]["message_id"], "m1");
    assert_eq!(frame.data["total_messages"], 2);
    // A late retry of the old version changes nothing and is told the first one's id.
    let late = post("You should rest and then", "m1").await;
    assert_eq!((late.status, &late.body["message_id"]), (200, &first.body["message_id"]));

    system.projected(correction.sequence()).await;
    let mut tables = system.tables().await;
    let rows =
        sqlx::query("SELECT id, content FROM conversation_messages ORDER BY id").fetch_all(&mut tables).await;
    let rows: Vec<(i64, String)> = rows.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows[0], (first.sequence() as i64, "You should rest".to_owned()));
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn messages_without_a_conversation_go_to_the_participants_standing_one() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let mut last = 0;
    for content in ["one", "two"] {
        last = caller
            .post("/api/v1/chat/message", &message("RID001", content, json!({"provider": "openai"})))
            .await
            .sequence();
    }
    let snapshot = caller.get(&format!("/api/conversation/standing.openai.RID001?after={last}")).await.body;
    let messages = snapshot["conversation"]["messages"].as_array().unwrap().clone();
    assert_eq!(messages.iter().map(|m| m["content"].as_str().unwrap()).collect::<Vec<_>>(), ["one", "two"]);
    // Without an id of their own they get one as in S4.
    assert_eq!(messages[1]["message_id"], "msg_standing.openai.RID001_0002");
    let mut tables = system.tables().await;
    let named: i64 = sqlx::query_scalar("SELECT count(elevenlabs_conversation_id) FROM paco_conversations")
        .fetch_one(&mut tables)
        .await
        .unwrap();
    assert_eq!(named, 0);
}

#[tokio::test]
async fn a_frontend_that_was_offline_sends_up_to_500_at_once() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let messages: Vec<Value> =
        (0..500).map(|n| message("RID001", &format!("n{n}"), ids("conv_1", &format!("m{n}")))).collect();
    let reply = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let results = reply.body["results"].as_array().unwrap();
    let sequences: Vec<_> = results.iter().map(|result| result["message_id"].as_u64().unwrap()).collect();
    assert_eq!(sequences.len(), 500);
    assert!(sequences.is_sorted_by(|a, b| a < b));
    assert_eq!(reply.sequence(), sequences[499]);
    // Sent again, as after a lost answer: the same ids, nothing new.
    let again = caller.post("/api/v1/chat/messages", &json!({"messages": messages})).await;
    assert_eq!(again.body["results"], reply.body["results"]);
    let snapshot = caller.get(&format!("/api/conversation/conv_1?after={}", reply.sequence())).await.body;
    let contents: Vec<_> = snapshot["conversation"]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["content"].clone())
        .collect();
    assert_eq!(contents, (0..500).map(|n| json!(format!("n{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn in_a_batch_bad_messages_are_named_and_good_ones_stored() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let messages = json!({"messages": [
        message("RID001", "good", ids("conv_1", "m1")),
        message("RID001", " ", ids("conv_1", "m2")),
        message("RID002", "not mine", ids("conv_1", "m3")),
        7,
        message("RID001", "good too", ids("conv_1", "m4")),
    ]});
    let reply = caller.post("/api/v1/chat/messages", &messages).await;
    assert_eq!((reply.status, &reply.body["success"]), (207, &json!(false)));
    let statuses: Vec<_> =
        reply.body["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64()).collect();
    assert_eq!(statuses, [None, Some(400), Some(403), Some(400), None]);
    assert_eq!(reply.body["results"][1]["errors"][0]["field"], "messages[1].content");
    system.projected(reply.sequence()).await;
    let mut tables = system.tables().await;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM paco_conversations").fetch_one(&mut tables).await.unwrap();
    assert_eq!(count, 2);
}

#[tokio::test]
async fn timestamps_keep_their_offset_everywhere() {
    let system = System::start().await;
    let caller = system.client.login("RID001").await;
    let mut body = message("RID001", "Hello", ids("conv_1", "m1"));
    body["timestamp"] = json!("2025-10-03T11:58:04.25+05:30");
    let reply = caller.post("/api/v1/chat/message", &body).await;
    assert_eq!(reply.body["timestamp"], "2025-10-03T11:58:04.250+05:30");
    let snapshot = caller.get(&format!("/api/conversation/conv_1?after={}", reply.sequence())).await.body;
    assert_eq!(snapshot["conversation"]["messages"][0]["timestamp"], "2025-10-03T11:58:04.250+05:30");
}

#[tokio::test]
async fn writes_go_on_with_postgres_never_there() {
    let mut parts = tests::Parts::fresh().await.only(true, false, false);
    parts.database_url = "postgres://nobody@127.0.0.1:1/nothing".into();
    let system = parts.start().await;
    let caller = system.client.login("RID001").await;
    let reply = caller.post("/api/v1/chat/message", &message("RID001", "Hello", ids("conv_1", "m1"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(system.client.get("/health/ready").await.status, 200);
}
