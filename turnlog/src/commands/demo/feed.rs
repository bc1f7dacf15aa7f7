//! A reader of one feed (`text/event-stream`).

use std::time::Instant;

use serde_json::Value;

use crate::failure::{Failure, OrFail};

/// One event of the feed.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// Its name.
    pub(super) event: String,
    /// Its id.
    pub(super) id: String,
    /// Its data.
    pub(super) data: Value,
    /// When it came.
    pub(super) at: Instant,
}

/// An open feed.
pub(super) struct Feed {
    answer: reqwest::Response,
    buffer: Vec<u8>,
}

impl Feed {
    /// Opens the feed at this address.
    pub(super) async fn open(url: &str, token: &str) -> Result<Self, Failure> {
        let client = shared::http::client::local().build().or_fail("make an HTTP client")?;
        let answer = client.get(url).bearer_auth(token).send().await.or_fail("open the feed")?;
        let answer = answer.error_for_status().or_fail("open the feed")?;
        Ok(Self { answer, buffer: Vec::new() })
    }

    /// Waits for an event of this name whose data is as wanted; others are passed over.
    pub(super) async fn wait_for(
        &mut self,
        event: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Frame, Failure> {
        loop {
            let frame = self.next().await?;
            if frame.event == event && wanted(&frame.data) {
                return Ok(frame);
            }
            if frame.event == "error" {
                return Err(Failure::new(format!("the feed was closed: {}", frame.data)));
            }
        }
    }

    async fn next(&mut self) -> Result<Frame, Failure> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(frame) = parse(&String::from_utf8_lossy(&block)) {
                    return Ok(frame);
                }
                continue;
            }
            match self.answer.chunk().await.or_fail("read the feed")? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(Failure::new("the feed ended before the conversation did")),
            }
        }
    }
}

/// One block of lines; `None` for one without data, such as `retry:` alone.
fn parse(block: &str) -> Option<Frame> {
    let field = |name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.strip_prefix(' ').unwrap_or(value))
    };
    let data = serde_json::from_str(field("data")?).ok()?;
    let text = |name| field(name).unwrap_or_default().to_owned();
    Some(Frame { event: text("event"), id: text("id"), data, at: Instant::now() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_and_those_without_data_passed_over() {
        let frame = parse("event: new_messages\nid: abc-7\ndata: {\"total_messages\": 1}\n\n").unwrap();
        assert_eq!((frame.event.as_str(), frame.id.as_str()), ("new_messages", "abc-7"));
        assert_eq!(frame.data["total_messages"], 1);
        assert_eq!(parse("retry: 2000\n\n"), None);
    }
}
