//! A piece of a body on its way into a socket that may take it in parts.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;
use shared::http::Framing;
use tokio::net::TcpStream;

/// Digits of a length, and a line end.
const MOST_HEAD: usize = usize::BITS as usize / 4 + 2;

/// Bytes with what their framing puts around them. Only what goes over the wire is shared between feeds; the few bytes
/// around it are made as they are sent.
pub(super) struct Chunk {
    bytes: Bytes,
    framing: Framing,
    sent: usize,
}

impl Chunk {
    /// For these bytes, of which there must be some: an empty chunk is the last.
    pub(super) fn new(bytes: Bytes, framing: Framing) -> Self {
        Self { bytes, framing, sent: 0 }
    }

    /// What ends a body, if anything but the end of the connection does.
    pub(super) fn last(framing: Framing) -> Option<Self> {
        match framing {
            Framing::Chunked => Some(Self::new(Bytes::new(), framing)),
            Framing::UntilClose => None,
        }
    }

    /// Sends what the socket takes; `true` when that was the rest.
    pub(super) fn send(&mut self, socket: &TcpStream) -> io::Result<bool> {
        self.send_by(|slices| socket.try_write_vectored(slices))
    }

    fn send_by(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<bool> {
        let mut room = [0; MOST_HEAD];
        let (head, tail) = match self.framing {
            Framing::Chunked => (head(self.bytes.len(), &mut room), b"\r\n".as_slice()),
            Framing::UntilClose => ([].as_slice(), [].as_slice()),
        };
        let whole = head.len() + self.bytes.len() + tail.len();
        while self.sent < whole {
            let mut parts = [IoSlice::new(head), IoSlice::new(&self.bytes), IoSlice::new(tail)];
            let mut left = parts.as_mut_slice();
            IoSlice::advance_slices(&mut left, self.sent);
            match write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The first line of a chunk.
fn head(length: usize, room: &mut [u8; MOST_HEAD]) -> &[u8] {
    let mut rest = room.as_mut_slice();
    let written = write!(rest, "{length:x}\r\n");
    debug_assert!(written.is_ok(), "there is room for every length");
    let left = rest.len();
    &room[..MOST_HEAD - left]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes over the wire when it takes so many bytes at a time, and blocks after each.
    fn sent(chunk: &mut Chunk, at_once: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        loop {
            let mut taken = false;
            let done = chunk.send_by(|slices| {
                if std::mem::replace(&mut taken, true) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                let part = &all[..all.len().min(at_once)];
                wire.extend_from_slice(part);
                Ok(part.len())
            });
            if done.unwrap() {
                return wire;
            }
        }
    }

    #[test]
    fn it_is_framed_the_same_however_the_socket_takes_it() {
        let text = "x".repeat(300);
        for at_once in [1, 2, 3, 4, 5, 299, 300, 306, 307, 1000] {
            let mut chunked = Chunk::new(text.clone().into(), Framing::Chunked);
            assert_eq!(sent(&mut chunked, at_once), format!("12c\r\n{text}\r\n").as_bytes(), "{at_once}");
            let mut bare = Chunk::new(text.clone().into(), Framing::UntilClose);
            assert_eq!(sent(&mut bare, at_once), text.as_bytes(), "{at_once}");
        }
    }

    #[test]
    fn a_body_ends_with_an_empty_chunk_or_with_its_connection() {
        let mut last = Chunk::last(Framing::Chunked).unwrap();
        assert_eq!(sent(&mut last, 2), b"0\r\n\r\n");
        assert!(Chunk::last(Framing::UntilClose).is_none());
    }

    #[test]
    fn any_length_has_room() {
        let mut room = [0; MOST_HEAD];
        assert_eq!(head(usize::MAX, &mut room), format!("{:x}\r\n", usize::MAX).as_bytes());
    }
}
