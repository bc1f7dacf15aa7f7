//! Bodies that would break a parser, a database or a server's memory: each a clear answer, nothing half-stored.

use std::time::{Duration, Instant};

use chrono::Utc;
use ingest::webhooks::signature::sign;
use serde_json::json;
use shared::events::Event;
use tests::{Parts, System, WEBHOOK_SECRET, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ELEVENLABS, entries, parked, post_call, signed_as, taken, told, unread};

/// A connection on which a request was begun: its body is the caller's to write.
async fn begun(system: &System, signature: &str, length: &str) -> TcpStream {
    let address = system.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {ELEVENLABS} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         ElevenLabs-Signature: {signature}\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// What is answered, up to where the server closes or falls silent.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut part = [0; 4096];
    while !text.ends_with(b"}") {
        let reading = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut part)).await;
        match reading.expect("nothing is answered") {
            Ok(0) | Err(_) => break,
            Ok(read) => text.extend_from_slice(&part[..read]),
        }
    }
    String::from_utf8(text).unwrap()
}

async fn noted(system: &System, reason: &str) {
    eventually(reason, || async {
        let rows = system.rows(&format!("SELECT bytes FROM turnlog.refused WHERE reason = '{reason}'")).await;
        (!rows.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn json_that_is_strange_is_taken_whole() {
    let system = System::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let turns = r#"[{"role":"user","message":"a\u0000b","time_in_call_secs":99999999999999999999999},
        {"role":"agent","message":"lone \ud800 half","message_x":1e999,"source_event_id":-1},
        7, {"role":["x"],"message":{"deep":1}}]"#;
    let body = format!(
        r#"{{"type":"old","type":"post_call_transcription","event_timestamp":1788170431,"deep":{deep},
        "data":{{"conversation_id":"gone","conversation_id":"conv_strange","agent_id":"\ud800","deep":{deep},
        "metadata":{{"cost":18446744073709551616,"call_duration_secs":1e400,"start_time_unix_secs":-5,"x\u0000":"\u0000",
        "deep":{deep}}},"analysis":{{"data_collection_results":{deep}}},"transcript":{turns}}}}}"#
    );
    let reply = taken(&system.client, body.as_str()).await;
    let messages = told(&system, "conv_strange", reply.sequence()).await;
    let texts: Vec<_> = messages.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["a\u{fffd}b", "lone \u{fffd}\u{fffd}\u{fffd} half"]);
    assert_eq!(system.rows("SELECT reason FROM turnlog.parked").await, Vec::<serde_json::Value>::new());
    let Event::ConversationReported(report) =
        super::entry(&system.parts, reply.sequence()).await.decode().unwrap()
    else {
        panic!("no report")
    };
    assert!(super::text(&report.payload) == body, "the payload is another one");
}

#[tokio::test]
async fn strange_json_that_is_not_understood_is_kept_whole() {
    let system = System::start().await;
    let deep = format!("{}{}", r#"{"a":"#.repeat(10_000), "1".to_owned() + &"}".repeat(10_000));
    let large = format!(r#"{{"type":"brand_new","data":"{}"}}"#, "x".repeat(600 * 1024));
    for body in [
        deep.as_str(),
        &"[".repeat(10_000).chars().chain("]".repeat(10_000).chars()).collect::<String>(),
        r#"{"type":"\ud800","data":"\u0000"}"#,
        r#"{"type":"a\u0000b","data":1e999}"#,
        r#"{"type":123456789012345678901234567890}"#,
        "18446744073709551617",
    ] {
        let reply = taken(&system.client, body).await;
        assert!(super::text(&unread(&system.parts, reply.sequence()).await.payload) == body);
        parked(&system, reply.sequence()).await;
    }
    let reply = taken(&system.client, large.as_str()).await;
    let kept = unread(&system.parts, reply.sequence()).await;
    let shared::events::Payload::Object(stored) = kept.payload else { panic!("{kept:?}") };
    assert_eq!((stored.bytes, kept.sha256), (large.len() as u64, stored.sha256));
    parked(&system, reply.sequence()).await;
}

#[tokio::test]
async fn what_is_not_utf_8_or_cut_off_is_400_and_leaves_nothing() {
    let system = System::start().await;
    let mut wrong = br#"{"type":"post_call_transcription","data":{"conversation_id":"c","x":""#.to_vec();
    wrong.extend([0xff, 0xfe]);
    wrong.extend(br#""}}"#);
    let mut large = br#"{"type":"post_call_transcription","x":""#.to_vec();
    large.extend(std::iter::repeat_n(b'x', 600 * 1024));
    large.extend([0xff]);
    large.extend(br#"","data":{"conversation_id":"c"}}"#);
    let zeros = vec![0; 100_000];
    let audio = br#"{"type":"post_call_audio","data":{"conversation_id":"c","full_audio":"QUJD"#.to_vec();
    for body in [wrong, large, zeros, audio] {
        post_call(&system.client, body).await.assert_problem(400);
    }
    let log = entries(&system.parts).await;
    assert!(log.iter().all(|entry| matches!(entry.decode(), Ok(Event::WebhookRefused(_)))));
}

#[tokio::test]
async fn a_hundred_megabytes_of_zeros_are_413_and_not_read_to_their_end() {
    let system = System::start().await;
    let all = 100 * 1024 * 1024;
    let (now, zeros) = (Utc::now().timestamp(), vec![0; 64 * 1024]);
    let announced = format!("Content-Length: {all}");
    let signature = sign(WEBHOOK_SECRET, now, b"");
    let mut stream = begun(&system, &signature, &announced).await;
    let (mut reader, mut writer) = stream.split();
    let writing = async {
        let mut written = 0;
        while written < all && writer.write_all(&zeros).await.is_ok() {
            written += zeros.len();
        }
        written
    };
    let mut first = [0; 12];
    let written = tokio::select! {
        written = writing => written,
        read = reader.read_exact(&mut first) => {
            read.unwrap();
            assert_eq!(&first, b"HTTP/1.1 413");
            0
        }
    };
    assert!(written < 32 * 1024 * 1024, "{written} bytes were taken");
    noted(&system, "too_large").await;
    // The edge is as it was.
    taken(&system.client, json!({"type": "after"}).to_string()).await;
}

#[tokio::test]
async fn a_body_without_a_length_is_taken_in_chunks_and_refused_where_it_passes_the_limit() {
    let mut parts = Parts::fresh().await;
    parts.webhooks.max_bytes = 1024 * 1024;
    let system = parts.start().await;
    let body = super::transcription().to_string().into_bytes();
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), &body);
    let chunks: Vec<_> = body.chunks(100).map(|chunk| std::io::Result::Ok(chunk.to_vec())).collect();
    let chunked = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let reply = system.client.send(signed_as(&system.client, &signature, chunked)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(told(&system, super::CONVERSATION, reply.sequence()).await.len(), 5);
    let mut stream = begun(&system, &signature, "Transfer-Encoding: chunked").await;
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..17 {
        // The server may answer, and close, before all of it is written.
        if stream.write_all(&chunk).await.is_err() {
            break;
        }
    }
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 413"));
    noted(&system, "too_large").await;
}

#[tokio::test]
async fn a_body_that_stops_or_drips_is_given_up() {
    let mut parts = Parts::fresh().await;
    parts.webhooks.body_timeout = Duration::from_millis(300);
    let system = parts.start().await;
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), b"");
    let started = Instant::now();
    let mut stopped = begun(&system, &signature, "Content-Length: 1000").await;
    stopped.write_all(b"{\"type\":").await.unwrap();
    let answered = answer(&mut stopped).await;
    assert!(answered.starts_with("HTTP/1.1 408") && answered.contains("stopped arriving"), "{answered}");
    let mut unsigned = begun(&system, "nothing", "Content-Length: 1000").await;
    assert!(answer(&mut unsigned).await.starts_with("HTTP/1.1 408"));
    let dripping = begun(&system, &signature, "Content-Length: 1000").await;
    let (mut reader, mut writer) = dripping.into_split();
    let drip = tokio::spawn(async move {
        while writer.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut first = [0; 12];
    tokio::time::timeout(Duration::from_secs(10), reader.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 408");
    drip.abort();
    assert!(started.elapsed() < Duration::from_secs(10));
    noted(&system, "stalled").await;
}

#[tokio::test]
async fn a_connection_that_ends_in_the_middle_leaves_nothing() {
    let system = System::start().await;
    let body = super::transcription().to_string();
    let signature = sign(WEBHOOK_SECRET, Utc::now().timestamp(), body.as_bytes());
    let mut stream = begun(&system, &signature, &format!("Content-Length: {}", body.len())).await;
    stream.write_all(&body.as_bytes()[..body.len() / 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    noted(&system, "cut_off").await;
    drop(stream);
    let log = entries(&system.parts).await;
    assert!(log.iter().all(|entry| matches!(entry.decode(), Ok(Event::WebhookRefused(_)))));
    let reply = taken(&system.client, body).await;
    assert_eq!(told(&system, super::CONVERSATION, reply.sequence()).await.len(), 5);
}
