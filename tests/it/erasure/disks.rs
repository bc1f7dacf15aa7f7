//! Every file of both servers is searched for what somebody said who was erased.

use std::path::Path;

use base64::Engine;
use ingest::webhooks::signature::sign;
use serde_json::json;
use tests::{Client, Up, operate};

use crate::webhooks::{ELEVENLABS, transcript};
use crate::{ids, message};

/// What is looked for stands in each of these, whichever way it came in.
const MARK: &str = "unmistakablewords";
const SOUND: &[u8] = b"ID3 unmistakablesound";

/// Files below a folder that hold these bytes.
fn holding(folder: &Path, bytes: &[u8]) -> Vec<String> {
    let (mut found, mut places) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(place) = places.pop() {
        if place.is_dir() {
            let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
            places.extend(entries.map(|entry| entry.path()));
        } else if std::fs::read(&place).is_ok_and(|file| file.windows(bytes.len()).any(|part| part == bytes))
        {
            found.push(place.strip_prefix(folder).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

async fn hook(client: &Client, secret: &str, body: serde_json::Value) -> u64 {
    let body = body.to_string().into_bytes();
    let signature = sign(secret, chrono::Utc::now().timestamp(), &body);
    let request = client.request(reqwest::Method::POST, ELEVENLABS).header("ElevenLabs-Signature", signature);
    let reply = client.send(request.body(body)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.sequence()
}

/// Says it by every way in; answers the last event.
async fn say_everywhere(client: &Client, secret: &str) -> u64 {
    let caller = client.login("RID001").await;
    let ok = |reply: tests::Reply| {
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.sequence()
    };
    for n in 0..50 {
        let said = message("RID001", &format!("{MARK} {n}"), ids("conv_1", &format!("m{n}")));
        ok(caller.post("/api/v1/chat/message", &said).await);
    }
    ok(caller
        .post("/api/v1/chat/message", &message("RID001", &format!("{MARK} corrected"), ids("conv_1", "m3")))
        .await);
    // Kept beside its row, since it is long.
    let long = format!("{MARK} {}", "0123456789abcdefghij".repeat(2_000));
    ok(caller.post("/api/v1/chat/message", &message("RID001", &long, ids("conv_1", "long"))).await);
    ok(caller.put("/api/v1/profile", &json!({"name": MARK, "location": MARK})).await);
    let dream = json!({"dreamId": "d1", "rawTranscript": MARK, "themes": [MARK], "recordedAt": "2025-01-08T07:30:00Z"});
    ok(caller.post("/api/v1/dreams", &dream).await);
    let tone = json!({"interpreterId": "jung", "emotionalTone": {"primary": "fear"}, "text": MARK});
    ok(caller.post("/api/v1/dreams/d1/interpretations", &tone).await);
    // Told before it is known whose it is.
    let turns: Vec<(&str, String)> = (0..20).map(|n| ("user", format!("{MARK} told {n}"))).collect();
    let turns: Vec<_> = turns.iter().map(|(role, text)| (*role, text.as_str())).collect();
    hook(client, secret, transcript("conv_told", 1_788_170_434, &turns)).await;
    let text = format!("{MARK} {}", "x".repeat(3_000));
    let large: Vec<(&str, &str)> = (0..300).map(|_| ("user", text.as_str())).collect();
    hook(client, secret, transcript("conv_1", 1_788_170_435, &large)).await;
    let sound = base64::engine::general_purpose::STANDARD.encode(SOUND);
    hook(
        client,
        secret,
        json!({"type": "post_call_audio", "event_timestamp": 1_788_170_436, "data": {
        "agent_id": "agent_1", "conversation_id": "conv_told", "full_audio": sound}}),
    )
    .await;
    ok(caller.post("/api/v1/chat/message", &message("RID001", MARK, ids("conv_told", "mine"))).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_either_server_holds_what_was_said() {
    let folder = tempfile::TempDir::new().unwrap();
    let data = folder.path().join("data");
    let up = Up::start(&data).await;
    let client = up.client();
    let instance = up.instance();
    let last = say_everywhere(&client, instance["elevenlabs_webhook_secret"].as_str().unwrap()).await;
    let other = client.login("RID002").await;
    let words = message("RID002", "what others say", ids("conv_2", "m1"));
    assert_eq!(other.post("/api/v1/chat/message", &words).await.status, 200);
    let token = operate(&data, &["token", "researcher", "r1"]).stdout;
    let researcher = client.with(String::from_utf8(token).unwrap().trim());
    tests::eventually("it can be searched for", || async {
        let found = researcher.get(&format!("/api/v1/search?q={MARK}&after={last}")).await;
        (found.status == 200 && !found.body["hits"].as_array()?.is_empty()).then_some(())
    })
    .await;
    assert!(!holding(&data.join("postgres"), MARK.as_bytes()).is_empty());
    assert!(!holding(&data.join("nats"), SOUND).is_empty());

    let erased = operate(&data, &["erase", "participant", "RID001", "--yes"]);
    let told = String::from_utf8_lossy(&erased.stdout).into_owned();
    assert!(erased.status.success(), "{told}{}", String::from_utf8_lossy(&erased.stderr));
    assert!(told.contains("began a new write-ahead log"), "{told}");
    for bytes in [MARK.as_bytes(), SOUND] {
        assert_eq!(holding(&data, bytes), [""; 0], "{told}");
    }
    let shown = other.get("/api/conversation/conv_2").await;
    assert_eq!(shown.body["conversation"]["messages"][0]["content"], "what others say");
    up.stop();
    assert_eq!(holding(&data, MARK.as_bytes()), [""; 0]);
}
