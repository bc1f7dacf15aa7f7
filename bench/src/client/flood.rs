//! Large webhooks at once, each in chunks without a length, as the vendor sends sound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use chrono::Utc;
use ingest::webhooks::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::error::{Doing, Result};

/// Bytes of one chunk.
const CHUNK: usize = 64 * 1024;
/// Where the number of a sound stands in its text, so that no two are the same.
const DIGITS: usize = 8;

/// How a flood went.
pub struct Flooded {
    /// From the first byte to the last answer.
    pub seconds: f64,
    /// Answers other than 200.
    pub not_200: u64,
}

/// Sends `count` webhooks with sounds of `bytes` bytes each, all at once. They are signed before the clock starts.
///
/// # Errors
/// When a connection cannot be opened, or breaks.
pub async fn flood(address: SocketAddr, secret: &str, count: usize, bytes: usize) -> Result<Flooded> {
    let base64: Arc<Vec<u8>> =
        Arc::new(b"TURNLOGs".iter().copied().cycle().take(bytes.div_ceil(3) * 4 - DIGITS).collect());
    let mut waiting = Vec::with_capacity(count);
    for number in 0..count {
        let before = format!(
            r#"{{"type":"post_call_audio","event_timestamp":1788170431,"data":{{"agent_id":"agent_1","conversation_id":"conv_{number}","full_audio":"{number:0DIGITS$}"#
        );
        let body = [before.as_bytes(), &base64, br#""}}"#].concat();
        let signature = sign(secret, Utc::now().timestamp(), &body);
        let head = format!(
            "POST /api/v1/webhooks/elevenlabs HTTP/1.1\r\nHost: 127.0.0.1\r\nElevenLabs-Signature: {signature}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        waiting.push((TcpStream::connect(address).await.doing("connect")?, head, before));
    }
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for (stream, head, before) in waiting {
        senders.spawn_local(send(stream, head, before, Arc::clone(&base64)));
    }
    let mut not_200 = 0;
    while let Some(answered) = senders.join_next().await {
        not_200 += u64::from(!answered.map_err(std::io::Error::other).doing("send a webhook")??);
    }
    Ok(Flooded { seconds: started.elapsed().as_secs_f64(), not_200 })
}

/// Whether it was answered 200.
async fn send(mut stream: TcpStream, head: String, before: String, base64: Arc<Vec<u8>>) -> Result<bool> {
    stream.write_all(head.as_bytes()).await.doing("send a head")?;
    for part in [before.as_bytes()].into_iter().chain(base64.chunks(CHUNK)).chain([br#""}}"#.as_slice()]) {
        stream.write_all(format!("{:x}\r\n", part.len()).as_bytes()).await.doing("send a chunk")?;
        stream.write_all(part).await.doing("send a chunk")?;
        stream.write_all(b"\r\n").await.doing("send a chunk")?;
    }
    stream.write_all(b"0\r\n\r\n").await.doing("send the end")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.doing("read a response")?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
