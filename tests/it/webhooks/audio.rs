//! Sounds: in chunks, of any size, stored before they are acknowledged, and referenced by an event.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use ingest::webhooks::signature::sign;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::events::{Event, Recording};
use shared::objects::{ObjectName, Objects};
use tests::{Nats, Parts, Reply, System, WEBHOOK_SECRET, fixture};
use tokio::io::AsyncReadExt;

use super::{entries, entry, parked, signed, signed_as, taken, text, unread};

/// Bytes that differ everywhere.
fn sound(bytes: usize) -> Vec<u8> {
    let words = (0..bytes as u64 / 8 + 1).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    words.take(bytes).collect()
}

fn body(conversation: &str, base64: &str) -> Value {
    json!({"type": "post_call_audio", "event_timestamp": 1_788_170_431,
           "data": {"agent_id": "agent_1", "conversation_id": conversation, "full_audio": base64}})
}

/// Sends a body in chunks, without a length, as the vendor does.
async fn chunked(system: &System, body: Vec<u8>) -> Reply {
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), &body);
    let chunks: Vec<_> = body.chunks(60_000).map(|chunk| std::io::Result::Ok(chunk.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    system.client.send(signed_as(&system.client, &signature, body)).await
}

async fn recording(parts: &Parts, sequence: u64) -> Recording {
    let event = entry(parts, sequence).await.decode().unwrap();
    let Event::AudioStored(recording) = event else { panic!("{event:?}") };
    recording
}

/// What the object store has under this name.
async fn stored(parts: &Parts, object: &str) -> Vec<u8> {
    let objects = Objects::open(&parts.nats, "test").await.unwrap();
    let object = objects.get(ObjectName::parse(object).unwrap()).await.unwrap().expect("the object is there");
    let mut found = Vec::new();
    object.read(0).read_to_end(&mut found).await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_of_thirty_megabytes_is_stored_as_it_was() {
    let system = System::start().await;
    let sound = sound(30 * 1024 * 1024);
    let reply = chunked(&system, body("conv_1", &STANDARD.encode(&sound)).to_string().into_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let Recording { audio, media_type, agent_id, conversation_id, .. } =
        recording(&system.parts, reply.sequence()).await;
    let sha256 = hex::encode(Sha256::digest(&sound));
    assert_eq!((audio.bytes, audio.sha256.as_str()), (sound.len() as u64, sha256.as_str()));
    assert_eq!((media_type.as_str(), agent_id.as_deref()), ("audio/mpeg", Some("agent_1")));
    assert_eq!(conversation_id.as_str(), "conv_1");
    assert!(stored(&system.parts, &audio.object).await == sound, "another sound is stored");
    system.projected(reply.sequence()).await;
    let rows = system.rows("SELECT bytes, sha256, media_type, source FROM turnlog.recordings").await;
    let row = json!({"bytes": sound.len(), "sha256": sha256, "media_type": "audio/mpeg", "source": "elevenlabs_webhook"});
    assert_eq!(rows, [row]);
}

#[tokio::test]
async fn a_sound_before_its_transcript_and_twice_is_one_sound_of_one_conversation() {
    let system = System::start().await;
    let first = taken(&system.client, fixture("elevenlabs/post_call_audio.json")).await;
    let again = taken(&system.client, fixture("elevenlabs/post_call_audio.json")).await;
    assert_eq!((again.sequence(), again.body), (first.sequence(), first.body.clone()));
    let mut otherwise: Value = serde_json::from_str(&fixture("elevenlabs/post_call_audio.json")).unwrap();
    otherwise["event_timestamp"] = json!(1_788_170_999);
    let again = taken(&system.client, otherwise.to_string()).await;
    assert_eq!(again.sequence(), first.sequence());
    let conversation = otherwise["data"]["conversation_id"].as_str().unwrap();
    let mut transcript = super::transcription();
    transcript["data"]["conversation_id"] = json!(conversation);
    let reply = taken(&system.client, transcript.to_string()).await;
    system.projected(reply.sequence()).await;
    let sounds = entries(&system.parts).await;
    let sounds = sounds.iter().filter(|entry| matches!(entry.decode(), Ok(Event::AudioStored(_)))).count();
    assert_eq!(sounds, 1);
    let rows = system
        .rows(
            "SELECT c.conversation_id, c.status, c.message_count, r.bytes FROM turnlog.conversations c \
             JOIN turnlog.recordings r ON r.conversation = c.token",
        )
        .await;
    let row = json!({"conversation_id": conversation, "status": "ENDED", "message_count": 5, "bytes": 218});
    assert_eq!(rows, [row]);
}

#[tokio::test]
async fn a_sound_that_breaks_off_is_kept_whole_and_parked() {
    let system = System::start().await;
    let good = STANDARD.encode(sound(3_000));
    let broken = format!("{}*{}", &good[..2_000], &good[2_001..]);
    let long = STANDARD.encode(sound(900_000));
    let broken_long = format!("{}*{}", &long[..1_000_000], &long[1_000_001..]);
    for (base64, reason) in [
        (broken.as_str(), "not base64"),
        (&good[..good.len() - 3], "not base64"),
        ("", "no sound"),
        ("====", "not base64"),
        (&broken_long, "not base64"),
    ] {
        let body = body("conv_1", base64).to_string();
        let reply = taken(&system.client, body.as_str()).await;
        let kept = unread(&system.parts, reply.sequence()).await;
        assert!(kept.reason.contains(reason), "{}", kept.reason);
        match &kept.payload {
            shared::events::Payload::Object(object) => {
                assert!(stored(&system.parts, &object.object).await == body.as_bytes());
            }
            shared::events::Payload::Json(_) => assert_eq!(text(&kept.payload), body),
        }
        parked(&system, reply.sequence()).await;
    }
    let mut nowhere = body("conv_1", &good);
    nowhere["data"].as_object_mut().unwrap().remove("conversation_id");
    let mut standing = body("standing.openai.RID001", &good);
    for body in [&mut nowhere, &mut standing] {
        let reply = taken(&system.client, body.to_string()).await;
        assert_eq!(text(&unread(&system.parts, reply.sequence()).await.payload), body.to_string());
    }
    assert_eq!(system.rows("SELECT 1 FROM turnlog.recordings").await.len(), 0);
}

#[tokio::test]
async fn base64_of_other_encoders_is_read() {
    let system = System::start().await;
    let sound = sound(1_000);
    let plain = STANDARD.encode(&sound);
    let bare = plain.trim_end_matches('=').to_owned();
    let escaped = body("conv_escaped", &plain).to_string().replace('/', "\\/").replace('+', "\\u002b");
    for body in [body("conv_bare", &bare).to_string(), escaped] {
        let reply = taken(&system.client, body).await;
        let recording = recording(&system.parts, reply.sequence()).await;
        assert!(stored(&system.parts, &recording.audio.object).await == sound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_store_is_away() {
    let mut nats = Nats::start().await;
    let parts = Parts::on(nats.settings(), tests::database().await);
    let system = parts.start().await;
    let sound = sound(700_000);
    let request = signed(&system.client, body("conv_1", &STANDARD.encode(&sound)).to_string().into_bytes());
    nats.kill();
    let client = system.client.clone();
    let mut sending = tokio::spawn(async move { client.send(request).await });
    let early = tokio::time::timeout(Duration::from_millis(700), &mut sending).await;
    assert!(early.is_err(), "{early:?}");
    nats.restart().await;
    let reply = sending.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    let recording = recording(&parts, reply.sequence()).await;
    assert!(stored(&parts, &recording.audio.object).await == sound);
}
