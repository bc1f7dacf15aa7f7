//! A log with something of everything, by real requests.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Client, Parts, Reply, System};

use crate::webhooks::{post_call, transcription};
use crate::{ids, message};

/// What people may say.
pub(super) const HOSTILE: [&str; 9] = [
    "=HYPERLINK(\"http://evil\", \"click\")",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "a \"quoted\", 'text';\twith\nlines\r\nand\rreturns",
    "NA",
    "null",
    "007",
    "\u{feff}é 🙂 \u{2028} \u{1} \u{202e}אבג",
    "\\N \\\" {\"a\": [1, 2]}",
    "<script>alert(1)</script> | `x` ${y}",
];

pub(super) fn ok(reply: Reply) -> Reply {
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply
}

async fn say(caller: &Client, participant: &str, content: &str, more: Value) -> Reply {
    ok(caller.post("/api/v1/chat/message", &message(participant, content, more)).await)
}

/// All services, and the last sequence of their log.
pub(crate) async fn filled(parts: Parts) -> (System, u64) {
    let system = parts.start().await;
    let (one, two) = (system.client.login("RID1").await, system.client.login("RID2").await);
    let service = system.service();
    let profile = json!({"access_code": "a code that is long", "name": "Ada"});
    ok(service.put("/api/v1/participants/RID7", &profile).await);
    for (number, hostile) in HOSTILE.iter().enumerate() {
        let mut more = ids("conv_1", &format!("m{number}"));
        more["timestamp"] = json!(format!("2025-01-08T12:00:{number:02}.123456+05:30"));
        say(&one, "RID1", hostile, more).await;
    }
    say(&one, "RID1", &"x".repeat(65_536), ids("conv_2", "long")).await;
    // In the standing conversation, without any id.
    say(&one, "RID1", "Good morning", json!({"provider": "openai"})).await;
    for content in ["You should rest and then", "You should rest and", "You should rest"] {
        say(&one, "RID1", content, ids("conv_2", "corrected")).await;
    }
    let report = transcription();
    let vendors = report["data"]["conversation_id"].as_str().unwrap().to_owned();
    ok(post_call(&system.client, report.to_string()).await);
    // It was nobody's until now.
    say(&two, "RID2", "That was me", ids(&vendors, "claims")).await;
    with_call(&service).await;
    let whole = json!({
        "emailId": "user@example.com", "accountId": "acc123", "conversationId": "conv_abc123",
        "transcript": [{"timestamp": "2024-01-15T10:30:00Z", "speaker": "user", "content": "I need help",
                        "messageId": "msg_123"}],
        "metadata": {"sessionId": "s", "agentId": "agent_1", "duration": 300, "messageCount": 1, "platform": "web",
                     "userAgent": "Mozilla/5.0..."},
    });
    ok(service.post("/api/v1/webhook/conversation", &whole).await);
    let last = say(&one, "RID1", "Good night", ids("conv_1", "last")).await.sequence();
    (system, last)
}

async fn with_call(service: &Client) {
    let worker = json!({"company_id": "acme", "mobile_no": "+919325590143", "name": "Asha"});
    ok(service.put("/api/workers/worker_1", &worker).await);
    let call = json!({"worker_id": "worker_1", "conversation_id": "conv_call", "mobile_no": "+919325590143",
                      "urgency": "CRITICAL", "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30"});
    ok(service.post("/api/calls", &call).await);
    let place = json!([{"kind": "location", "latitude": 52.5, "longitude": 13.4}]);
    let turns = [
        json!({"role": "user", "content": "Help!", "timestamp": "2025-10-03T11:58:18+05:30", "attachments": place}),
        json!({"role": "assistant", "content": "Where are you?", "timestamp": "2025-10-03T11:58:20+05:30",
               "sources": "OSHA"}),
    ];
    for turn in turns {
        ok(service.post("/api/conversation/conv_call/messages", &turn).await);
    }
    let end = service.request(Method::POST, "/api/conversation/conv_call/end").json(&json!({}));
    ok(service.send(end).await);
}
