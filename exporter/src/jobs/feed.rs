//! The feed of a job: how it stands, whenever that changes, until nothing more becomes of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use futures::stream;
use serde::Serialize;
use serde_json::json;
use shared::auth::{Grant, Revocations};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::record::State;
use super::view::ExportJob;

/// What every feed begins with: how long a client waits before it reconnects, in milliseconds.
const PREAMBLE: &[u8] = b"retry: 2000\n\n";

/// An open feed.
pub(crate) struct Feed {
    pub(crate) board: Board,
    pub(crate) id: String,
    pub(crate) epoch: Arc<str>,
    pub(crate) grant: Grant,
    pub(crate) revocations: Revocations,
    pub(crate) heartbeat: Duration,
    pub(crate) stopping: CancellationToken,
    pub(crate) place: OwnedSemaphorePermit,
}

/// How far a feed is.
struct Open {
    feed: Feed,
    changes: watch::Receiver<u64>,
    revoked: watch::Receiver<u64>,
    expires: Instant,
    beats: Instant,
    /// The revision that was told last.
    told: u64,
    begun: bool,
    ended: bool,
}

impl Feed {
    /// The answer that carries it.
    pub(crate) fn answer(self) -> Response {
        let left = (self.grant.expires_at - Utc::now()).to_std().unwrap_or_default();
        let open = Open {
            changes: self.board.changes(),
            revoked: self.revocations.changes(),
            expires: Instant::now() + left,
            beats: Instant::now() + self.heartbeat,
            told: 0,
            begun: false,
            ended: false,
            feed: self,
        };
        let frames = stream::unfold(open, |mut open| async move {
            let frame = open.next().await?;
            Some((Ok::<_, std::convert::Infallible>(frame), open))
        });
        let mut response = Response::new(Body::from_stream(frames));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
        // nginx and those that follow it: pass every frame on at once.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        response
    }
}

impl Open {
    /// The next frame; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(Bytes::from_static(PREAMBLE));
        }
        loop {
            if self.ended || self.feed.stopping.is_cancelled() {
                return None;
            }
            if self.feed.revocations.contains(&self.feed.grant.token_id) {
                return self.fail("The token was revoked; log in again.");
            }
            if let Some(frame) = self.standing() {
                return Some(frame);
            }
            tokio::select! {
                () = self.feed.stopping.cancelled() => return None,
                () = sleep_until(self.expires) => return self.fail("The token has expired; log in again."),
                () = sleep_until(self.beats) => {
                    self.beats = Instant::now() + self.feed.heartbeat;
                    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, false);
                    let data = json!({"timestamp": timestamp, "status": "connected"});
                    return Some(frame("event: heartbeat\ndata: ", &data));
                }
                _ = self.changes.changed() => {}
                _ = self.revoked.changed() => {}
            }
        }
    }

    /// How the job stands, where that was not told yet.
    fn standing(&mut self) -> Option<Bytes> {
        let held = self.feed.board.known(&self.feed.id).filter(|held| held.job.state != State::Removed);
        let Some(held) = held else {
            return self.fail("The export was removed.");
        };
        if held.revision <= self.told {
            return None;
        }
        self.told = held.revision;
        self.ended = !held.job.state.is_open();
        let name = if self.ended { held.job.state.as_str() } else { "progress" };
        let head = format!("event: {name}\nid: {}-{}\ndata: ", self.feed.epoch, held.revision);
        Some(frame(&head, &ExportJob::of(&held.job)))
    }

    fn fail(&mut self, why: &str) -> Option<Bytes> {
        self.ended = true;
        Some(frame("event: error\ndata: ", &json!({"error": why, "export_id": self.feed.id})))
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("id", &self.id).field("place", &self.place).finish_non_exhaustive()
    }
}

/// JSON escapes line ends, so the data is one line.
fn frame(head: &str, data: &impl Serialize) -> Bytes {
    let mut text = head.to_owned();
    text.push_str(&serde_json::to_string(data).expect("text and numbers always serialise"));
    text.push_str("\n\n");
    text.into()
}
