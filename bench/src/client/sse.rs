//! A bare reader of one event stream: dechunks, splits frames, and says when each came.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Doing, Error, Result};

/// One frame of the stream.
pub struct Frame {
    /// Its `event:`.
    pub event: String,
    /// Its `data:`.
    pub data: String,
    /// When its last byte was read.
    pub received: Instant,
}

/// An open feed.
pub struct Feed {
    stream: TcpStream,
    raw: Vec<u8>,
    text: Vec<u8>,
}

impl Feed {
    /// Opens the feed at `path` and checks that the answer is 200.
    ///
    /// # Errors
    /// When it is not, with the answer.
    pub async fn open(address: SocketAddr, path: &str, token: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await.doing(format!("connect to {address}"))?;
        stream.set_nodelay(true).doing("set TCP_NODELAY")?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.doing("open a feed")?;
        let mut feed = Self { stream, raw: Vec::new(), text: Vec::new() };
        let head = loop {
            feed.read_more().await?;
            if let Some(end) = find(&feed.raw, b"\r\n\r\n") {
                break feed.raw.drain(..end + 4).collect::<Vec<u8>>();
            }
        };
        if !head.starts_with(b"HTTP/1.1 200 ") {
            let answer = [head, feed.raw].concat();
            return Err(Error::Answer(format!("the feed: {}", String::from_utf8_lossy(&answer))));
        }
        Ok(feed)
    }

    /// Waits for the next frame. Comments and frames without data are passed over.
    ///
    /// # Errors
    /// When the feed ends.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            dechunk(&mut self.raw, &mut self.text)?;
            while let Some(end) = find(&self.text, b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                if let Some((event, data)) = fields(&String::from_utf8_lossy(&block)) {
                    return Ok(Frame { event, data, received: Instant::now() });
                }
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.raw).await.doing("read a feed")? {
            0 => Err(Error::Answer("the feed was closed".into())),
            _ => Ok(()),
        }
    }
}

/// Moves the content of every complete chunk from `raw` to `text`.
fn dechunk(raw: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<()> {
    while let Some(line) = find(raw, b"\r\n") {
        let size =
            std::str::from_utf8(&raw[..line]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let size = size.ok_or_else(|| Error::Answer("the feed is not chunked as HTTP/1.1 asks".into()))?;
        let whole = line + 2 + size + 2;
        if raw.len() < whole {
            return Ok(());
        }
        if size == 0 {
            return Err(Error::Answer("the feed has ended".into()));
        }
        text.extend_from_slice(&raw[line + 2..line + 2 + size]);
        raw.drain(..whole);
    }
    Ok(())
}

/// Event name and data of a block; `None` where it has no data.
fn fields(block: &str) -> Option<(String, String)> {
    let value = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim_start().to_owned())
    };
    Some((value("event:").unwrap_or_default(), value("data:")?))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_only_when_complete() {
        let (mut raw, mut text) = (b"5\r\nhello\r\n3\r\nab".to_vec(), Vec::new());
        dechunk(&mut raw, &mut text).unwrap();
        assert_eq!(text, b"hello");
        raw.extend_from_slice(b"c\r\n");
        dechunk(&mut raw, &mut text).unwrap();
        assert_eq!(text, b"helloabc");
    }

    #[test]
    fn a_block_gives_event_and_data_and_a_comment_nothing() {
        let block = "id: 1\nevent: new_messages\ndata: {\"a\":1}\n\n";
        assert_eq!(fields(block), Some(("new_messages".into(), "{\"a\":1}".into())));
        assert_eq!(fields(": hello\n\n"), None);
        assert_eq!(fields("retry: 2000\n\n"), None);
    }
}
