//! Ids that would break a subject, a header, a path or an index: stored as they are, and found again.

use tests::{System, encode};

use crate::{ids, message};

#[tokio::test]
async fn hostile_ids_are_stored_as_they_are_and_found_again() {
    let system = System::start().await;
    let long = "x".repeat(10_000);
    let hostile = [
        "*",
        ">",
        ".",
        "..",
        "a.b.>",
        "two words",
        " padded ",
        "🦀\u{202e}",
        "\r\nce-type: forged",
        "%2F/../",
        "'; --",
        &long,
    ];
    let mut last = 0;
    for id in hostile {
        let caller = system.client.login(id).await;
        let conversation = format!("c{id}");
        let reply = caller.post("/api/v1/chat/message", &message(id, id, ids(&conversation, id))).await;
        assert_eq!(reply.status, 200, "{id:?}: {}", reply.text);
        let path = format!("/api/conversation/{}?after={}", encode(&conversation), reply.sequence());
        let found = caller.get(&path).await;
        assert_eq!(found.status, 200, "{id:?}: {}", found.text);
        let conversation_found = &found.body["conversation"];
        assert_eq!(conversation_found["conversation_id"], conversation.as_str());
        assert_eq!(conversation_found["messages"].as_array().unwrap().len(), 1);
        assert_eq!(conversation_found["messages"][0]["message_id"], id);
        let mut feed = caller.feed(&conversation, None).await;
        assert_eq!(feed.expect("initial").await.data["conversation_id"], conversation.as_str());
        last = reply.sequence();
    }
    system.projected(last).await;
    let mut tables = system.tables().await;
    let rows: Vec<String> = sqlx::query_scalar("SELECT research_id FROM paco_conversations ORDER BY id")
        .fetch_all(&mut tables)
        .await
        .unwrap();
    assert_eq!(rows, hostile);
    // A wildcard as an id is one conversation, not all of them.
    let star: i64 =
        sqlx::query_scalar("SELECT count(*) FROM paco_conversations WHERE elevenlabs_conversation_id = 'c*'")
            .fetch_one(&mut tables)
            .await
            .unwrap();
    assert_eq!(star, 1);
}
