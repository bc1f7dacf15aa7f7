//! Sounds and attachments: kept as they came, shown in any part, to whoever may read their conversation and to nobody else.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::audit::What;
use tests::{API_KEY, Binary, Client, Nats, Parts, Reply, System, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::audit::looks;
use crate::calls::{admin, with_call};
use crate::objects::messages;
use crate::webhooks::post_call;

const CONVERSATION: &str = "conv_919325590143_20251003_115804";

/// A picture to all that looks at its beginning, different everywhere.
fn picture(bytes: usize) -> Vec<u8> {
    let words = (0..bytes as u64 / 8).flat_map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
    b"\x89PNG\r\n\x1a\n".iter().copied().chain(words).take(bytes).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

async fn upload(client: &Client, declared: &str, body: impl Into<reqwest::Body>) -> Reply {
    let request = client.request(Method::POST, "/api/media").header("Content-Type", declared);
    client.send(request.body(body)).await
}

/// Uploads what must be taken, and answers its id.
async fn kept(client: &Client, declared: &str, body: Vec<u8>) -> String {
    let reply = upload(client, declared, body).await;
    assert_eq!(reply.status, 201, "{}", reply.text);
    reply.body["media_id"].as_str().unwrap().to_owned()
}

/// Tells a turn with these attachments.
async fn tell(system: &System, conversation: &str, attachments: Value) -> Reply {
    let turn = json!({"role": "user", "timestamp": "2025-10-03T11:58:18+05:30", "attachments": attachments});
    system.service().post(&format!("/api/conversation/{conversation}/messages"), &turn).await
}

async fn told(system: &System, conversation: &str, attachments: Value) {
    let reply = tell(system, conversation, attachments).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    system.projected(reply.sequence()).await;
}

fn of(id: &str) -> String {
    format!("/api/conversation/{CONVERSATION}/media/{id}")
}

/// An answer with its bytes.
struct Answer {
    status: u16,
    headers: HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn fetch(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = client.request(Method::GET, path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, bytes: response.bytes().await.unwrap().to_vec() }
}

/// A system with the seed's call, and a picture of some chunks that a turn of it names.
async fn with_picture() -> (System, Vec<u8>, String) {
    let system = with_call().await;
    let picture = picture(1_300_001);
    let id = kept(&system.service(), "image/png", picture.clone()).await;
    told(&system, CONVERSATION, json!([{"kind": "image", "media_id": id, "name": "Gerüst \"3\".png"}])).await;
    (system, picture, id)
}

#[tokio::test]
async fn an_upload_is_read_back_as_it_was_and_shown_with_its_size_and_type() {
    let (system, picture, id) = with_picture().await;
    let one = admin(&system, "admin_1", "acme");
    let shown = one.get(&format!("/api/conversation/{CONVERSATION}")).await;
    let attachment = &shown.body["conversation"]["messages"][1]["attachments"][0];
    assert_eq!(attachment["media_id"], id);
    assert_eq!((&attachment["bytes"], &attachment["media_type"]), (&json!(1_300_001), &json!("image/png")));
    let whole = fetch(&one, &of(&id), &[]).await;
    assert_eq!(whole.status, 200);
    assert!(whole.bytes == picture, "other bytes came back");
    for (name, value) in [
        ("content-type", "image/png"),
        ("content-length", "1300001"),
        ("content-disposition", "inline; filename*=UTF-8''Ger%C3%BCst%20%223%22%2Epng"),
        ("accept-ranges", "bytes"),
        ("etag", &format!("\"{}\"", sha256(&picture))),
        ("cache-control", "private, no-store"),
        ("content-security-policy", "sandbox"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let head = one.request(Method::HEAD, &of(&id)).header("Range", "bytes=0-1").send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (200, &whole.headers["content-length"])
    );
    assert!(head.bytes().await.unwrap().is_empty());
    // What is not for a browser to show is saved.
    let note = kept(&system.service(), "text/plain", b"note: <b>not a page</b>".to_vec()).await;
    told(&system, CONVERSATION, json!([{"kind": "file", "media_id": note}])).await;
    let note = fetch(&one, &of(&note), &[]).await;
    assert_eq!(note.header("content-disposition"), "attachment");
    assert_eq!(note.header("content-type"), "text/plain; charset=utf-8");
}

#[tokio::test]
async fn any_range_is_answered_with_just_these_bytes() {
    let (system, picture, id) = with_picture().await;
    let one = admin(&system, "admin_1", "acme");
    let last = picture.len() - 1;
    // First, across a border of chunks, in the last chunk, a suffix, open-ended, more than there is.
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=0-99".to_owned(), 0, 99),
        ("bytes=524200-524400".to_owned(), 524_200, 524_400),
        ("bytes=524288-1048575".to_owned(), 524_288, 1_048_575),
        ("bytes=-100".to_owned(), last - 99, last),
        ("bytes=1299000-".to_owned(), 1_299_000, last),
        (format!("bytes={last}-9999999"), last, last),
        ("bytes=0-".to_owned(), 0, last),
    ] {
        let part = fetch(&one, &of(&id), &[("Range", &range)]).await;
        assert_eq!(part.status, 206, "{range}");
        assert!(part.bytes == picture[from..=to], "{range}: other bytes");
        assert_eq!(part.header("content-range"), format!("bytes {from}-{to}/1300001"), "{range}");
        assert_eq!(part.header("etag"), format!("\"{id}\""));
    }
    let past = one.request(Method::GET, &of(&id)).header("Range", "bytes=1300001-");
    let past = one.send(past).await;
    past.assert_problem(416);
    assert_eq!(past.headers["content-range"], "bytes */1300001");
    for range in ["bytes=0-1,5-6", "bytes=9-1", "pages=1-2"] {
        let whole = fetch(&one, &of(&id), &[("Range", range)]).await;
        assert_eq!((whole.status, whole.bytes.len()), (200, picture.len()), "{range}");
    }
    let tag = format!("\"{id}\"");
    for (tag, status) in [(tag.as_str(), 206), ("\"another\"", 200)] {
        let answer = fetch(&one, &of(&id), &[("Range", "bytes=1-2"), ("If-Range", tag)]).await;
        assert_eq!(answer.status, status, "{tag}");
    }
}

#[tokio::test]
async fn only_who_may_read_the_conversation_gets_what_is_in_it() {
    let (system, _, id) = with_picture().await;
    let service = system.service();
    let one = admin(&system, "admin_1", "acme");
    one.get(&of(&"0".repeat(64))).await.assert_problem(404);
    one.get(&of("..%2F..%2Fetc")).await.assert_problem(404);
    system.client.get(&of(&id)).await.assert_problem(401);
    admin(&system, "admin_3", "other").get(&of(&id)).await.assert_problem(403);
    let stranger = system.client.login("RID002").await;
    stranger.get(&of(&id)).await.assert_problem(403);
    // Kept, and of no conversation yet.
    let loose = kept(&service, "image/png", picture(100)).await;
    service.get(&of(&loose)).await.assert_problem(404);
    // Of a conversation of the stranger's own: it is read there, and nowhere else.
    let said = crate::message("RID002", "Hello", crate::ids("conv_2", "m1"));
    assert_eq!(stranger.post("/api/v1/chat/message", &said).await.status, 200);
    let call = json!({"conversation_id": "conv_2", "worker_id": "worker_2", "mobile_no": "+2", "urgency": "LOW",
                      "medium": "Voice", "timestamp": "2025-10-03T11:58:04+05:30"});
    assert_eq!(service.post("/api/calls", &call).await.status, 200);
    told(&system, "conv_2", json!([{"kind": "image", "media_id": loose}])).await;
    let own = |id: &str| format!("/api/conversation/conv_2/media/{id}");
    assert_eq!(fetch(&stranger, &own(&loose), &[]).await.bytes, picture(100));
    stranger.get(&own(&id)).await.assert_problem(404);
    // Not even by somebody who may read both.
    service.get(&own(&id)).await.assert_problem(404);
    service.get(&of(&loose)).await.assert_problem(404);
    one.get(&own(&loose)).await.assert_problem(403);
    service.get("/api/conversation/nowhere/media/x").await.assert_problem(404);
    // A colleague takes the call over.
    let taken = admin(&system, "admin_2", "acme");
    let taken = taken.post(&format!("/api/conversation/{CONVERSATION}/takeover"), &json!({})).await;
    one.get(&format!("{}?after={}", of(&id), taken.sequence())).await.assert_problem(403);
    one.get(&format!("/api/conversation/{CONVERSATION}/audio")).await.assert_problem(403);
    // Of all these, only the stranger saw something, and nobody's look at their own is recorded.
    assert!(looks(&system.parts).await.is_empty());
}

#[tokio::test]
async fn every_look_is_recorded_and_a_ticket_serves_for_one() {
    let (system, picture, id) = with_picture().await;
    let one = admin(&system, "admin_1", "acme");
    let ticket = one.post("/api/stream-tickets", &json!({})).await;
    let path = format!("{}?ticket={}", of(&id), ticket.body["ticket"].as_str().unwrap());
    let part = fetch(&system.client, &path, &[("Range", "bytes=1-3")]).await;
    assert_eq!((part.status, part.bytes), (206, picture[1..4].to_vec()));
    system.client.get(&path).await.assert_problem(401);
    let found = looks(&system.parts).await;
    let [look] = &found[..] else { panic!("{found:?}") };
    assert_eq!((look.what, look.who.id.as_deref()), (What::Media, Some("admin_1")));
    assert_eq!((look.conversation_id.as_deref(), &look.more["media_id"]), (Some(CONVERSATION), &json!(id)));
    let turn = one.get(&format!("/api/conversation/{CONVERSATION}")).await;
    let turn = turn.body["conversation"]["messages"][1]["sequence"].as_u64();
    assert_eq!((look.from_sequence, look.to_sequence), (turn, turn));
}

#[tokio::test]
async fn what_might_run_or_lies_about_itself_is_not_kept() {
    let system = System::start().await;
    let service = system.service();
    let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>"#;
    for (declared, body) in [
        ("image/png", b"<!DOCTYPE html><script>alert(1)</script>".to_vec()),
        ("text/plain", b"  <html><body onload=x()>".to_vec()),
        ("image/svg+xml", svg.into()),
        ("image/png", format!("<?xml version=\"1.0\"?>{svg}").into()),
        ("application/octet-stream", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff".to_vec()),
        ("image/jpeg", b"\x7fELF\x02\x01\x01".iter().copied().chain([0; 60]).collect()),
        ("text/plain", b"#!/bin/sh\nreboot\n".to_vec()),
        ("audio/mpeg", picture(5_000)),
        ("text/html", picture(5_000)),
        ("application/octet-stream", vec![0; 700_000]),
    ] {
        let reply = upload(&service, declared, body).await;
        reply.assert_problem(415);
        assert!(reply.body["detail"].as_str().unwrap().contains("send"), "{}", reply.text);
    }
    upload(&service, "image/png", "").await.assert_problem(400);
    upload(&system.client, "image/png", picture(100)).await.assert_problem(401);
    upload(&system.client.login("RID001").await, "image/png", picture(100)).await.assert_problem(403);
    upload(&admin(&system, "admin_1", "acme"), "image/png", picture(100)).await.assert_problem(403);
    assert_eq!(messages(&system.parts.nats).await, 0, "something was kept");
}

#[tokio::test]
async fn a_turn_names_only_uploads_and_says_what_they_are() {
    let system = with_call().await;
    let id = kept(&system.service(), "image/png", picture(100)).await;
    let unknown = "a".repeat(64);
    let reply = tell(
        &system,
        CONVERSATION,
        json!([
            {"kind": "image", "media_id": id},
            {"kind": "file", "media_id": unknown},
            {"kind": "audio", "media_id": id},
        ]),
    )
    .await;
    reply.assert_problem(400);
    assert_eq!(reply.bad_fields(), ["attachments[1].media_id", "attachments[2].kind"]);
    told(&system, CONVERSATION, json!([{"kind": "file", "media_id": id, "media_type": "text/html"}])).await;
    let shown = system.service().get(&format!("/api/conversation/{CONVERSATION}")).await;
    let attachment = json!({"kind": "file", "media_id": id, "bytes": 100, "media_type": "image/png"});
    assert_eq!(shown.body["conversation"]["messages"][1]["attachments"], json!([attachment]));
    // What a webhook left in the store is not to be had through a turn.
    let body = json!({"type": "unheard_of", "filling": "x".repeat(700_000)}).to_string();
    let payload = sha256(body.as_bytes());
    assert_eq!(post_call(&system.client, body).await.status, 200);
    let reply = tell(&system, CONVERSATION, json!([{"kind": "file", "media_id": payload}])).await;
    assert_eq!(reply.bad_fields(), ["attachments[0].media_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_kept_once_also_when_they_come_at_once() {
    let system = System::start().await;
    let (service, picture) = (system.service(), picture(1_200_000));
    let replies = join_all((0..5).map(|_| upload(&service, "image/png", picture.clone()))).await;
    for reply in &replies {
        assert_eq!(reply.status, 201, "{}", reply.text);
        let wanted = json!({"success": true, "media_id": sha256(&picture), "bytes": 1_200_000,
                            "media_type": "image/png", "sha256": sha256(&picture)});
        assert_eq!(reply.body, wanted);
    }
    // Three chunks, and what is known of them.
    assert_eq!(messages(&system.parts.nats).await, 4);
}

/// A connection on which an upload was begun.
async fn begun(system: &System, length: &str) -> TcpStream {
    let address = system.base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/media HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {API_KEY}\r\n\
         Content-Type: image/png\r\n{length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of what is answered.
async fn status(stream: &mut TcpStream) -> String {
    let mut first = [0; 12];
    let reading = tokio::time::timeout(tests::PATIENCE, stream.read_exact(&mut first)).await;
    reading.expect("nothing is answered").unwrap();
    String::from_utf8(first.to_vec()).unwrap()
}

#[tokio::test]
async fn what_is_too_large_cut_off_or_stalled_leaves_nothing() {
    let mut parts = Parts { max_media_bytes: 1024 * 1024, ..Parts::fresh().await };
    parts.webhooks.body_timeout = Duration::from_millis(500);
    let system = parts.start().await;
    // It says so, or it turns out: both are 413.
    let mut announced = begun(&system, "Content-Length: 1048577").await;
    assert_eq!(status(&mut announced).await, "HTTP/1.1 413");
    let mut chunked = begun(&system, "Transfer-Encoding: chunked").await;
    let chunk = [b"10000\r\n".as_slice(), &picture(0x10000), b"\r\n"].concat();
    for _ in 0..17 {
        // The server may answer, and close, before all of it is written.
        if chunked.write_all(&chunk).await.is_err() {
            break;
        }
    }
    assert_eq!(status(&mut chunked).await, "HTTP/1.1 413");
    let mut stalled = begun(&system, "Content-Length: 900000").await;
    stalled.write_all(&picture(800_000)).await.unwrap();
    assert_eq!(status(&mut stalled).await, "HTTP/1.1 408");
    let mut half = begun(&system, "Content-Length: 900000").await;
    half.write_all(&picture(800_000)).await.unwrap();
    half.shutdown().await.unwrap();
    let mut answered = Vec::new();
    let reading = tokio::time::timeout(tests::PATIENCE, half.read_to_end(&mut answered)).await;
    assert!(reading.expect("the connection is kept").is_ok());
    assert!(!answered.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answered));
    assert_eq!(messages(&system.parts.nats).await, 0, "something was kept");
    // What just fits is taken.
    let whole = kept(&system.service(), "image/png", picture(1024 * 1024)).await;
    assert_eq!(whole, sha256(&picture(1024 * 1024)));
}

/// Needs the program, as all that measures or kills a process does.
#[tokio::test(flavor = "multi_thread")]
async fn ten_uploads_of_thirty_megabytes_at_once_take_little_memory() {
    let parts = Parts::fresh().await;
    let edge = Binary::serve("ingest", &parts).await;
    let service = edge.client.with(API_KEY);
    kept(&service, "image/png", picture(100)).await;
    let before = edge.peak_memory();
    let sending = (0..10_u64).map(|n| {
        let mut body = picture(30 * 1024 * 1024);
        body.extend(n.to_le_bytes());
        let name = sha256(&body);
        async { (name, kept(&service, "image/png", body).await) }
    });
    for (name, id) in join_all(sending).await {
        assert_eq!(name, id);
    }
    let grown = edge.peak_memory().saturating_sub(before) / (1024 * 1024);
    println!("{grown} MiB more at the peak");
    assert!(grown < 120, "{grown} MiB more for 300 MiB of uploads");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_store_is_away() {
    let mut nats = Nats::start().await;
    let system = Parts::on(nats.settings(), tests::database().await).start().await;
    let picture = picture(700_000);
    nats.kill();
    let refused = upload(&system.service(), "image/png", picture.clone()).await;
    refused.assert_problem(503);
    assert!(refused.headers.contains_key("retry-after"));
    nats.restart().await;
    eventually("it is taken again", || async {
        let reply = upload(&system.service(), "image/png", picture.clone()).await;
        (reply.status == 201).then_some(())
    })
    .await;
    // Two chunks, and what is known of them.
    assert_eq!(messages(&nats.settings()).await, 3);
}

#[tokio::test]
async fn the_sound_of_a_call_is_heard_from_any_place() {
    let system = with_call().await;
    let one = admin(&system, "admin_1", "acme");
    let path = format!("/api/conversation/{CONVERSATION}/audio");
    one.get(&path).await.assert_problem(404);
    let sound: Vec<u8> = b"ID3\x04".iter().copied().chain(picture(700_000)).collect();
    let body = json!({"type": "post_call_audio", "event_timestamp": 1_788_170_431, "data": {
        "agent_id": "agent_1", "conversation_id": CONVERSATION, "full_audio": STANDARD.encode(&sound)}});
    let stored = post_call(&system.client, body.to_string()).await;
    assert_eq!(stored.status, 200, "{}", stored.text);
    let whole = fetch(&one, &format!("{path}?after={}", stored.sequence()), &[]).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "audio/mpeg"));
    assert!(whole.bytes == sound);
    admin(&system, "admin_2", "other").get(&path).await.assert_problem(403);
    // As a player seeks, and a download goes on where it broke off.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sound.mp3");
    std::fs::write(&file, &sound[..600_000]).unwrap();
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-fsS", "-H", &format!("Authorization: Bearer {}", one.token())]);
        command.args(arguments).arg(format!("{}{path}", system.base)).kill_on_drop(true);
        command
    };
    let part = curl(&["-r", "524280-524295"]).output().await.unwrap();
    assert_eq!(part.stdout, sound[524_280..=524_295], "{}", String::from_utf8_lossy(&part.stderr));
    let rest = curl(&["-C", "-", "-o", file.to_str().unwrap()]).output().await.unwrap();
    assert!(rest.status.success(), "{}", String::from_utf8_lossy(&rest.stderr));
    assert!(std::fs::read(&file).unwrap() == sound);
    // A reader that leaves in the middle gives its place back: there are more of them than places.
    for _ in 0..150 {
        let response = one.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response);
    }
    eventually("the places are free", || async {
        (fetch(&one, &path, &[("Range", "bytes=0-3")]).await.bytes == sound[..4]).then_some(())
    })
    .await;
}
