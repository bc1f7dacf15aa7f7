//! A client that speaks HTTP by hand: to see what stands on the wire, and to be a peer that no library would be.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{Client, PATIENCE, System, encode};

/// A connection with one request on it.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    raw: Vec<u8>,
    body: Vec<u8>,
    /// The answer's head.
    pub head: String,
    chunked: bool,
    /// The last chunk, or where there are none the end of the connection, was seen.
    pub ended: bool,
}

impl Raw {
    /// Asks for a feed in this version of HTTP, and reads the answer's head.
    pub async fn feed(system: &System, caller: &Client, version: &str, conversation: &str) -> Self {
        let path = format!("/api/conversation/{}/stream", encode(conversation));
        Self::of(system, caller, version, &path).await
    }

    /// The same, of any feed.
    pub async fn of(system: &System, caller: &Client, version: &str, path: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that what a reader leaves is soon felt by the server.
        socket.set_recv_buffer_size(4096).unwrap();
        let address = system.base.strip_prefix("http://").unwrap().parse().unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = format!(
            "GET {path} {version}\r\nHost: turnlog\r\nAuthorization: Bearer {}\r\n\r\n",
            caller.token()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let (head, chunked) = (String::new(), false);
        let mut raw = Self { stream, raw: Vec::new(), body: Vec::new(), head, chunked, ended: false };
        let end = loop {
            if let Some(end) = find(&raw.raw, b"\r\n\r\n") {
                break end + 4;
            }
            assert!(raw.read().await, "the answer has no head");
        };
        raw.head = String::from_utf8(raw.raw.drain(..end).collect()).unwrap().to_lowercase();
        raw.chunked = raw.head.contains("transfer-encoding: chunked");
        raw
    }

    /// Sends more on the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Says that nothing more will be sent.
    pub async fn shut_down(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next frame, as text; `None` at the end of the body.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.body, b"\n\n") {
                return Some(String::from_utf8(self.body.drain(..end + 2).collect()).unwrap());
            }
            if self.ended {
                assert!(self.body.is_empty(), "the body ends within a frame");
                return None;
            }
            if self.chunked {
                self.chunk().await?;
            } else if !self.read().await {
                self.ended = true;
            } else {
                self.body.append(&mut self.raw);
            }
        }
    }

    /// The next frame of this name.
    pub async fn expect(&mut self, event: &str) -> String {
        loop {
            let frame = self.next().await.unwrap_or_else(|| panic!("the feed ended before {event}"));
            if frame.starts_with(&format!("event: {event}\n")) {
                return frame;
            }
        }
    }

    /// Whether the server closes the connection without a word more.
    pub async fn is_closed(&mut self) -> bool {
        !self.read().await && self.raw.is_empty()
    }

    /// Reads one chunk, exactly as RFC 9112 has it; `None` when the connection ends instead.
    async fn chunk(&mut self) -> Option<()> {
        let line = self.until(|raw| find(raw, b"\r\n")).await?;
        let size = usize::from_str_radix(std::str::from_utf8(&self.raw[..line]).unwrap(), 16).unwrap();
        let whole = line + 2 + size + 2;
        self.until(|raw| (raw.len() >= whole).then_some(0)).await?;
        let chunk: Vec<u8> = self.raw.drain(..whole).collect();
        assert!(chunk.ends_with(b"\r\n"), "a chunk is longer than it says");
        self.body.extend_from_slice(&chunk[line + 2..whole - 2]);
        self.ended = size == 0;
        Some(())
    }

    async fn until(&mut self, found: impl Fn(&[u8]) -> Option<usize>) -> Option<usize> {
        loop {
            if let Some(place) = found(&self.raw) {
                return Some(place);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    async fn read(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.raw)).await;
        // A connection that was reset has ended, too.
        read.expect("nothing came").is_ok_and(|bytes| bytes > 0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
