//! One keep-alive connection: write a request, read exactly its response.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::error::{Doing, Error, Result};

/// Bytes read at once; a response to a message is about 250.
const READ_BYTES: usize = 4_096;
/// Headers of a response at most.
const MAX_HEADERS: usize = 48;

/// An open connection and the bytes read from it so far.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that belong to the response given out last.
    given: usize,
}

/// A response within the connection's buffer.
pub struct Response<'a> {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: &'a [u8],
}

struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.doing(format!("connect to {address}"))?;
        stream.set_nodelay(true).doing("set TCP_NODELAY")?;
        Ok(Self { stream, buffer: Vec::with_capacity(READ_BYTES), given: 0 })
    }

    /// Sends a request and waits for the response.
    ///
    /// # Errors
    /// When the connection breaks, or what comes back is not HTTP with a content length.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.buffer.drain(..self.given);
        self.given = 0;
        self.stream.write_all(request).await.doing("send a request")?;
        let head = loop {
            if let Some(head) = parse(&self.buffer)? {
                break head;
            }
            self.read_more().await?;
        };
        self.given = head.bytes + head.body_bytes;
        while self.buffer.len() < self.given {
            self.read_more().await?;
        }
        Ok(Response { status: head.status, body: &self.buffer[head.bytes..self.given] })
    }

    async fn read_more(&mut self) -> Result<()> {
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await.doing("read a response")? {
            0 => Err(Error::Answer("the connection was closed before the response was complete".into())),
            _ => Ok(()),
        }
    }
}

/// One request on a connection of its own: status and body.
///
/// # Errors
/// As [`Connection::exchange`].
pub async fn once(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = Connection::open(address).await?;
    let response = connection.exchange(request.as_bytes()).await?;
    Ok((response.status, String::from_utf8_lossy(response.body).into_owned()))
}

/// A page that is read until the server closes: its body, however it would be framed for others.
///
/// # Errors
/// When the connection breaks.
pub async fn page(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.doing(format!("connect to {address}"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.doing("ask for a page")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.doing("read a page")?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn parse(buffer: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(buffer).map_err(|error| Error::Answer(format!("not HTTP/1.1: {error}")))?;
    let httparse::Status::Complete(bytes) = parsed else { return Ok(None) };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body_bytes = length
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or_else(|| Error::Answer("a response has no Content-Length".into()))?;
    Ok(Some(Head { status: response.code.unwrap_or_default(), bytes, body_bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_taken_only_when_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert!(parse(&whole[..30]).unwrap().is_none());
        let head = parse(whole).unwrap().unwrap();
        assert_eq!((head.status, head.bytes, head.body_bytes), (200, whole.len() - 2, 2));
    }

    #[test]
    fn a_response_without_a_length_is_an_error() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
