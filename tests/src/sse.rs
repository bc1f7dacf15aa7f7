//! A reader of Server-Sent Events, after the WHATWG's parsing rules.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

/// What comes by itself, whatever a test does.
pub(crate) const PASSING: [&str; 2] = ["heartbeat", "presence"];

/// One event of a feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    pub event: String,
    pub id: Option<String>,
    pub data: Value,
}

/// An open feed.
pub struct Feed {
    bytes: BoxStream<'static, Option<Vec<u8>>>,
    buffer: Vec<u8>,
    /// The last id that was seen: what a reconnect sends.
    pub last_id: Option<String>,
    /// The reconnection time that the server asked for.
    pub retry: Option<u64>,
    pub headers: reqwest::header::HeaderMap,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Feed(last id {:?})", self.last_id)
    }
}

impl Feed {
    pub(crate) fn new(response: reqwest::Response) -> Self {
        let headers = response.headers().clone();
        let bytes = response.bytes_stream().map(|chunk| chunk.ok().map(|bytes| bytes.to_vec())).boxed();
        Self { bytes, buffer: Vec::new(), last_id: None, retry: None, headers }
    }

    /// Sends a request that must be answered with a feed.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self::new(response)
    }

    /// The next event that is no heartbeat, and does not say who watches; `None` when the server ended the feed.
    pub async fn next(&mut self) -> Option<Frame> {
        let telling = async {
            loop {
                let frame = self.any().await;
                if frame.as_ref().is_none_or(|frame| !PASSING.contains(&&*frame.event)) {
                    return frame;
                }
            }
        };
        // Heartbeats are no answer, however many come.
        tokio::time::timeout(crate::PATIENCE, telling).await.expect("no frame came")
    }

    /// The next event of this name; others before it are a failure.
    pub async fn expect(&mut self, event: &str) -> Frame {
        let frame = self.next().await.unwrap_or_else(|| panic!("the feed ended before {event}"));
        assert_eq!(frame.event, event, "{frame:?}");
        frame
    }

    /// Whether nothing but heartbeats comes for this long.
    pub async fn is_quiet(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.next()).await.is_err()
    }

    /// The next event of any kind.
    pub async fn any(&mut self) -> Option<Frame> {
        let mut frame = Frame { event: "message".into(), id: None, data: Value::Null };
        let mut data = String::new();
        loop {
            let line = self.line().await?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                _ if line.is_empty() => {
                    if data.is_empty() {
                        continue;
                    }
                    frame.data = serde_json::from_str(&data).unwrap();
                    // Only now: of a frame that was cut off nothing was seen, its id neither.
                    if frame.id.is_some() {
                        self.last_id.clone_from(&frame.id);
                    }
                    return Some(frame);
                }
                "event" => value.clone_into(&mut frame.event),
                "data" => data.push_str(value),
                "retry" => self.retry = value.parse().ok(),
                "id" => frame.id = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end_matches(['\n', '\r']).to_owned());
            }
            self.buffer.extend(self.bytes.next().await??);
        }
    }
}
