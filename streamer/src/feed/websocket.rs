//! A feed over a WebSocket: the same frames as JSON texts, and what the watcher says back.

use std::future::poll_fn;
use std::num::NonZeroU64;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Deserialize;
use serde_json::json;
use shared::events::{Sighting, Viewer};
use shared::ids::ConversationId;
use shared::live::{Answer, Ask, Channel, Typing};
use tokio::time::{Instant, timeout};

use super::{Feed, sse};
use crate::limits::{CLOSE_PATIENCE, MAX_SAID_BYTES, SAID_AHEAD, SAID_AT_ONCE, SAID_EVERY};

/// What a watcher may say, told to one who said something else.
const USAGE: &str =
    "Say {\"type\": \"seen\", \"sequence\": 1} or {\"type\": \"typing\", \"is_typing\": true}, as a text.";

/// Who watches by a WebSocket, and what they may do there.
#[derive(Debug, Clone)]
pub(crate) struct Watching {
    /// `None` for those who only look.
    pub(crate) viewer: Option<Viewer>,
    pub(crate) conversation: ConversationId,
    pub(crate) request_id: String,
    pub(crate) channel: Channel,
}

/// What a watcher may say.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said {
    Seen { sequence: NonZeroU64 },
    Typing { is_typing: bool },
}

/// Why a socket is done.
enum Done {
    /// We close it.
    Close(CloseFrame),
    /// The peer has closed it.
    Closed,
    /// The peer is not there, or takes nothing any more.
    Gone,
}

/// Sends the feed's frames, and does what the watcher says, until one of them ends.
pub(crate) async fn serve(socket: WebSocket, mut feed: Feed, watching: Watching) {
    let mut wire = Wire { socket, patience: feed.peer_timeout, heard: true };
    let done = converse(&mut wire, &mut feed, &watching).await;
    // Its place is free before its peer is waited for.
    drop(feed);
    wire.end(done).await;
}

async fn converse(wire: &mut Wire, feed: &mut Feed, watching: &Watching) -> Done {
    // Frames go on while what was said is under way.
    let mut under_way = FuturesUnordered::new();
    let mut pace = Pace(Instant::now());
    loop {
        let sent = tokio::select! {
            next = poll_fn(|context| feed.poll_next(context)) => match next {
                Some(bytes) => wire.show(&bytes).await,
                None => return Done::Close(end_of(feed.ended())),
            },
            Some(done) = under_way.next() => {
                let done: Result<(), String> = done;
                match done {
                    Ok(()) => Ok(()),
                    Err(detail) => wire.reject(&detail).await,
                }
            }
            said = wire.hear() => match said {
                Heard::Text(_) if under_way.len() >= SAID_AT_ONCE || !pace.admits(Instant::now()) => {
                    wire.reject("Too much at once: say less, or wait a little.").await
                }
                Heard::Text(text) => {
                    under_way.push(watching.clone().obey(text));
                    Ok(())
                }
                Heard::Bytes => wire.reject(USAGE).await,
                Heard::Nothing => Ok(()),
                Heard::Done(done) => return done,
            },
        };
        if let Err(Lost) = sent {
            return Done::Gone;
        }
    }
}

/// What a close says of how a feed ended.
fn end_of(ended: &'static str) -> CloseFrame {
    let code = match ended {
        "ended" | "replayed" => close_code::NORMAL,
        // The client has only to come back.
        "lease" | "stopping" | "too_slow" => close_code::AWAY,
        _ => close_code::POLICY,
    };
    close(code, ended)
}

fn close(code: u16, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

/// A socket whose peer is expected to be there.
struct Wire {
    socket: WebSocket,
    /// How long what is sent may wait.
    patience: Duration,
    /// Anything, since the last heartbeat.
    heard: bool,
}

/// The peer is gone.
struct Lost;

/// What came.
enum Heard {
    Text(Utf8Bytes),
    Bytes,
    Nothing,
    Done(Done),
}

impl Wire {
    /// Sends frames. With each heartbeat goes a ping, and a peer that did not answer the one before is gone.
    async fn show(&mut self, frames: &Bytes) -> Result<(), Lost> {
        for text in texts(frames) {
            self.send(Message::Text(text.into())).await?;
        }
        if sse::is_heartbeat(frames) {
            if !std::mem::take(&mut self.heard) {
                return Err(Lost);
            }
            self.send(Message::Ping(Bytes::new())).await?;
        }
        Ok(())
    }

    /// Says that what was said is not done.
    async fn reject(&mut self, detail: &str) -> Result<(), Lost> {
        let rejected = json!({"event": "rejected", "id": null, "data": {"detail": detail}});
        self.send(Message::Text(rejected.to_string().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        match timeout(self.patience, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Lost),
        }
    }

    /// What comes next. Pings are answered by the library.
    async fn hear(&mut self) -> Heard {
        let message = self.socket.recv().await;
        self.heard = true;
        match message {
            Some(Ok(Message::Text(text))) if text.len() > MAX_SAID_BYTES => {
                Heard::Done(Done::Close(close(close_code::SIZE, "more was said at once than is taken")))
            }
            Some(Ok(Message::Text(text))) => Heard::Text(text),
            Some(Ok(Message::Binary(_))) => Heard::Bytes,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Nothing,
            Some(Ok(Message::Close(_))) | None => Heard::Done(Done::Closed),
            Some(Err(_)) => {
                let reason = "what came is no message, or far too large";
                Heard::Done(Done::Close(close(close_code::POLICY, reason)))
            }
        }
    }

    /// Closes: the peer has a moment to take what was sent and to close, too. What it says is dropped; left unread it
    /// would turn our end into a reset.
    async fn end(mut self, done: Done) {
        match done {
            Done::Gone => return,
            Done::Closed => {}
            Done::Close(frame) => {
                if self.send(Message::Close(Some(frame))).await.is_err() {
                    return;
                }
            }
        }
        let rest = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        let _still_there = timeout(CLOSE_PATIENCE, rest).await;
    }
}

/// How much is said: so much ahead of an even flow.
struct Pace(Instant);

impl Pace {
    fn admits(&mut self, now: Instant) -> bool {
        let due = self.0.max(now);
        let admitted = due - now <= SAID_AHEAD;
        if admitted {
            self.0 = due + SAID_EVERY;
        }
        admitted
    }
}

impl Watching {
    /// Does what was said; what the watcher can do about it, if it cannot be done.
    async fn obey(self, text: Utf8Bytes) -> Result<(), String> {
        let said: Said = serde_json::from_str(&text).map_err(|_| USAGE)?;
        let by = self.viewer.ok_or(
            "Only participants and admins who watch live say what they have seen or that they type.",
        )?;
        let conversation_id = self.conversation;
        match said {
            Said::Typing { is_typing } => {
                let typing = Typing { conversation_id, by, is_typing };
                let shown = self.channel.typing(&typing).await;
                shown.map_err(|_| "It cannot be shown just now; go on without.".into())
            }
            Said::Seen { sequence } => {
                let sighting = Sighting { conversation_id, by, sequence: sequence.get() };
                match self.channel.ask(&Ask { sighting, request_id: self.request_id }).await {
                    Ok(Answer(recorded)) => recorded.map(drop),
                    Err(_) => Err("It cannot be recorded just now; say it again in a moment.".into()),
                }
            }
        }
    }
}

/// Frames as they stand on the wire of an event stream, each as a text `{event, id, data}`.
fn texts(bytes: &Bytes) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.split("\n\n").filter_map(text_of).collect()
}

fn text_of(frame: &str) -> Option<String> {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let (event, data) = (field("event")?, field("data")?);
    let id = field("id").map_or_else(|| "null".into(), |id| json!(id).to_string());
    // The data is JSON already: it goes on as it is.
    Some(format!("{{\"event\":{},\"id\":{id},\"data\":{data}}}", json!(event)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_one_text() {
        let stream = "retry: 2000\n\nevent: initial\nid: e-7\ndata: {\"a\":\"x: y\"}\n\nevent: heartbeat\ndata: {}\n\n";
        let wanted = [
            r#"{"event":"initial","id":"e-7","data":{"a":"x: y"}}"#,
            r#"{"event":"heartbeat","id":null,"data":{}}"#,
        ];
        assert_eq!(texts(&stream.into()), wanted);
    }

    #[test]
    fn what_is_said_is_read_and_nothing_else() {
        let said = |text: &str| serde_json::from_str::<Said>(text).ok();
        let sequence = NonZeroU64::new(7).unwrap();
        assert_eq!(said(r#"{"type":"seen","sequence":7}"#), Some(Said::Seen { sequence }));
        assert_eq!(
            said(r#"{"type":"typing","is_typing":false,"x":1}"#),
            Some(Said::Typing { is_typing: false })
        );
        let seen =
            [r#"{"type":"seen"}"#, r#"{"type":"seen","sequence":0}"#, r#"{"type":"seen","sequence":-1}"#];
        for bad in ["", "[]", r#"{"type":"end"}"#, "null", "\"seen\""].iter().chain(&seen) {
            assert_eq!(said(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_burst_is_heard_and_a_flood_is_not() {
        let start = Instant::now();
        let mut pace = Pace(start);
        let burst = (0..1_000).take_while(|_| pace.admits(start)).count();
        assert!((20..40).contains(&burst), "{burst}");
        assert!(pace.admits(start + SAID_EVERY) && !pace.admits(start + SAID_EVERY));
    }
}
