//! The answer to one feed, taken apart as it comes: head, chunks, frames. Nothing is copied that came whole.

use memchr::{memchr, memmem};

/// Headers of an answer at most.
const MAX_HEADERS: usize = 48;
/// Digits of a chunk's size at most: more than any chunk has.
const MAX_SIZE_DIGITS: u8 = 8;
/// Memory that is kept for the next frame that comes in parts.
const KEPT_BYTES: usize = 4_096;

/// Why a feed cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// It was answered something else than 200, with what `Retry-After` says.
    Refused {
        /// The status.
        status: u16,
        /// Seconds, where they are given.
        retry_after: Option<u64>,
    },
    /// The server ended it.
    Ended,
    /// It is not HTTP/1.1, or its chunks are not.
    Malformed(&'static str),
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its `event:`; empty where it has none.
    pub event: &'a [u8],
    /// Its `id:`.
    pub id: Option<&'a [u8]>,
    /// Its `data:`; empty where it has none.
    pub data: &'a [u8],
}

/// Reads one answer.
#[derive(Debug, Default)]
pub struct Answer {
    state: State,
    /// What is not whole yet: of the head, then of a frame.
    held: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Head,
    /// Until the connection closes.
    Plain,
    Chunked(Chunk),
}

#[derive(Debug, Clone, Copy)]
enum Chunk {
    Size { so_far: usize, digits: u8 },
    Extension { size: usize },
    SizeEnd { size: usize },
    Data { left: usize },
    DataReturn,
    DataEnd,
}

const SIZE: Chunk = Chunk::Size { so_far: 0, digits: 0 };

impl Answer {
    /// Takes bytes as they came and gives every frame that is whole with them.
    ///
    /// # Errors
    /// When the feed cannot be read on; what was whole before was given.
    pub fn take(&mut self, bytes: &[u8], each: &mut impl FnMut(&Frame<'_>)) -> Result<(), Broken> {
        match &mut self.state {
            State::Head => self.head(bytes, each),
            State::Plain => {
                split(&mut self.held, bytes, each);
                Ok(())
            }
            State::Chunked(chunk) => dechunk(chunk, bytes, |piece| split(&mut self.held, piece, each)),
        }
    }

    fn head(&mut self, bytes: &[u8], each: &mut impl FnMut(&Frame<'_>)) -> Result<(), Broken> {
        self.held.extend_from_slice(bytes);
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(&self.held).map_err(|_| Broken::Malformed("the head is not HTTP/1.1"))?;
        let httparse::Status::Complete(end) = parsed else { return Ok(()) };
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let status = head.code.unwrap_or_default();
        if status != 200 {
            let retry_after = header("retry-after").and_then(|seconds| seconds.parse().ok());
            return Err(Broken::Refused { status, retry_after });
        }
        let chunked = header("transfer-encoding").is_some_and(|how| how.eq_ignore_ascii_case("chunked"));
        self.state = if chunked { State::Chunked(SIZE) } else { State::Plain };
        let rest = self.held.split_off(end);
        self.held.clear();
        self.take(&rest, each)
    }
}

fn dechunk(chunk: &mut Chunk, mut bytes: &[u8], mut piece: impl FnMut(&[u8])) -> Result<(), Broken> {
    while let Some((&byte, rest)) = bytes.split_first() {
        *chunk = match (*chunk, byte) {
            (Chunk::Data { left }, _) => {
                let (now, later) = bytes.split_at(left.min(bytes.len()));
                piece(now);
                bytes = later;
                *chunk = if now.len() == left {
                    Chunk::DataReturn
                } else {
                    Chunk::Data { left: left - now.len() }
                };
                continue;
            }
            (Chunk::Size { so_far, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_SIZE_DIGITS => {
                let digit = (byte as char).to_digit(16).unwrap_or_default() as usize;
                Chunk::Size { so_far: so_far * 16 + digit, digits: digits + 1 }
            }
            (Chunk::Size { so_far, digits: 1.. }, b'\r') => Chunk::SizeEnd { size: so_far },
            (Chunk::Size { so_far, digits: 1.. }, b';') => Chunk::Extension { size: so_far },
            (Chunk::Extension { size }, b'\r') => Chunk::SizeEnd { size },
            (Chunk::Extension { size }, _) => Chunk::Extension { size },
            (Chunk::SizeEnd { size: 0 }, b'\n') => return Err(Broken::Ended),
            (Chunk::SizeEnd { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::DataReturn, b'\r') => Chunk::DataEnd,
            (Chunk::DataEnd, b'\n') => SIZE,
            (Chunk::Size { .. } | Chunk::SizeEnd { .. } | Chunk::DataReturn | Chunk::DataEnd, _) => {
                return Err(Broken::Malformed("the chunks are not HTTP/1.1"));
            }
        };
        bytes = rest;
    }
    Ok(())
}

/// Splits what came at its blank lines; what is left over is held.
fn split(held: &mut Vec<u8>, mut bytes: &[u8], each: &mut impl FnMut(&Frame<'_>)) {
    if !held.is_empty() {
        let end = match (held.last(), bytes.first()) {
            // The blank line itself came in two parts.
            (Some(b'\n'), Some(b'\n')) => Some(1),
            _ => memmem::find(bytes, b"\n\n").map(|at| at + 2),
        };
        let Some(end) = end else { return held.extend_from_slice(bytes) };
        held.extend_from_slice(&bytes[..end]);
        bytes = &bytes[end..];
        each(&fields(held));
        held.clear();
        held.shrink_to(KEPT_BYTES);
    }
    while let Some(at) = memmem::find(bytes, b"\n\n") {
        each(&fields(&bytes[..at]));
        bytes = &bytes[at + 2..];
    }
    held.extend_from_slice(bytes);
}

/// The fields of a block. A frame of ours has one line of each.
fn fields(mut block: &[u8]) -> Frame<'_> {
    let mut frame = Frame { event: b"", id: None, data: b"" };
    while !block.is_empty() {
        let end = memchr(b'\n', block).unwrap_or(block.len());
        let line = block[..end].strip_suffix(b"\r").unwrap_or(&block[..end]);
        block = &block[(end + 1).min(block.len())..];
        let value = |name: &[u8]| {
            let value = line.strip_prefix(name)?;
            Some(value.strip_prefix(b" ").unwrap_or(value))
        };
        if let Some(data) = value(b"data:") {
            frame.data = data;
        } else if let Some(id) = value(b"id:") {
            frame.id = Some(id);
        } else if let Some(event) = value(b"event:") {
            frame.event = event;
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
        d\r\nretry: 2000\n\n\r\n\
        1e;x=y\r\nevent: new_messages\nid: e-7\nda\r\n\
        b\r\nta: {\"a\"}\n\n\r\n\
        16\r\n: comment\n\ndata: last\n\r\n1\r\n\n\r\n0\r\n\r\n";

    fn read(parts: impl Iterator<Item = impl AsRef<[u8]>>) -> (Vec<String>, Result<(), Broken>) {
        let (mut answer, mut frames) = (Answer::default(), Vec::new());
        for part in parts {
            let taken = answer.take(part.as_ref(), &mut |frame| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                frames
                    .push([text(frame.event), frame.id.map_or("-".into(), text), text(frame.data)].join("|"));
            });
            if taken.is_err() {
                return (frames, taken);
            }
        }
        (frames, Ok(()))
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_come() {
        let expected = (
            ["|-|", "new_messages|e-7|{\"a\"}", "|-|", "|-|last"].map(str::to_owned).to_vec(),
            Err(Broken::Ended),
        );
        for size in 1..=WHOLE.len() {
            assert_eq!(read(WHOLE.chunks(size)), expected, "in parts of {size} bytes");
        }
    }

    #[test]
    fn an_answer_without_chunks_is_read_to_its_end() {
        let plain = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nid: 12:0\ndata: x\n\n";
        for size in 1..=plain.len() {
            assert_eq!(read(plain.chunks(size)), (vec!["|12:0|x".to_owned()], Ok(())));
        }
    }

    #[test]
    fn a_refusal_says_its_status_and_when_to_come_back() {
        let refused = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n";
        let expected = Broken::Refused { status: 503, retry_after: Some(2) };
        assert_eq!(read([refused].iter()), (vec![], Err(expected)));
    }

    #[test]
    fn bad_chunks_are_not_guessed_at() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for bad in ["x\r\n", "\r\n", "1\n", "1\r\nab\r\n", "123456789\r\n"] {
            let (_, result) = read([format!("{head}{bad}")].iter());
            assert!(matches!(result, Err(Broken::Malformed(_))), "{bad:?}: {result:?}");
        }
    }
}
