//! Where a tail's entries come from: the client that says everything else, or a line of their own.

use async_nats::{HeaderValue, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use watermelon_proto::headers::HeaderName;
use watermelon_proto::{MessageBase, ServerMessage};

use super::line::Line;
use super::{Log, LogError};
use crate::envelope::Headers;

/// Says in the end of a request how many entries it did not bring (ADR-37).
const NOT_BROUGHT: &str = "Nats-Pending-Messages";

/// Brings what the server sends to one inbox.
#[derive(Debug)]
pub(super) enum Source {
    Client(Subscriber),
    Line(Box<Line>),
}

/// What the server sent: an entry, or word of the request.
#[derive(Debug)]
pub(super) struct Sent {
    /// Absent with an entry.
    pub(super) status: Option<Status>,
    /// Absent without an entry.
    pub(super) position: Option<Position>,
    pub(super) subject: String,
    pub(super) headers: Headers,
    pub(super) body: Bytes,
}

/// Word of the request.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) said: String,
    /// Entries that a request which is over did not bring.
    pub(super) not_brought: Option<usize>,
}

impl Source {
    /// Listens at `inbox`: on a line of its own where one is wanted and can be had.
    pub(super) async fn open(log: &Log, name: &str, inbox: &str, lined: bool) -> Result<Self, LogError> {
        if lined && let Some(line) = Line::open(&log.settings, name, inbox).await {
            return Ok(Self::Line(Box::new(line)));
        }
        let subscriber = log.client.subscribe(inbox.to_owned()).await.map_err(LogError::unavailable)?;
        Ok(Self::Client(subscriber))
    }

    /// The next message; `Err` says why there will be none. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Sent, &'static str> {
        match self {
            Self::Client(subscriber) => {
                Ok(subscriber.next().await.ok_or("the connection was closed")?.into())
            }
            Self::Line(line) => line.next().await.map(Sent::from),
        }
    }

    /// The next message if it is there already.
    pub(super) fn next_now(&mut self) -> Option<Result<Sent, &'static str>> {
        self.next().now_or_never()
    }

    /// Publishes a request whose answers come to `inbox`.
    pub(super) async fn ask(
        &mut self,
        log: &Log,
        subject: String,
        inbox: &str,
        request: String,
    ) -> Result<(), LogError> {
        match self {
            Self::Client(_) => {
                let published = log.client.publish_with_reply(subject, inbox.to_owned(), request.into());
                published.await.map_err(LogError::unavailable)
            }
            Self::Line(line) => line.ask(subject, request).await.map_err(LogError::unavailable),
        }
    }
}

impl From<Message> for Sent {
    fn from(message: Message) -> Self {
        let Message { subject, reply, payload, headers, status, description, .. } = message;
        let named = |name| headers.as_ref()?.get(name).map(HeaderValue::as_str);
        let status = status.map(|status| Status {
            code: status.as_u16(),
            said: description.unwrap_or_default(),
            not_brought: named(NOT_BROUGHT).and_then(|count| count.parse().ok()),
        });
        let headers = Headers::pick(named);
        let position = reply.and_then(|reply| Position::of(&reply));
        Self { status, position, subject: subject.into_string(), headers, body: payload }
    }
}

impl From<ServerMessage> for Sent {
    fn from(message: ServerMessage) -> Self {
        let ServerMessage { status_code, status_description, base, .. } = message;
        let MessageBase { subject, reply_subject, headers, payload } = base;
        let named = |name| std::str::from_utf8(headers.get(&HeaderName::from_static(name))?.as_bytes()).ok();
        let status = status_code.map(|code| Status {
            code: code.into(),
            said: status_description.map(String::from).unwrap_or_default(),
            not_brought: named(NOT_BROUGHT).and_then(|count| count.parse().ok()),
        });
        let position = reply_subject.and_then(|reply| Position::of(&reply));
        let headers = Headers::pick(named);
        Self { status, position, subject: subject.as_str().to_owned(), headers, body: payload }
    }
}

/// Where an entry stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) sequence: u64,
    /// Counts what this consumer brought, from 1.
    pub(super) of_consumer: u64,
    /// Nanoseconds.
    pub(super) stored_at: i64,
    /// Entries behind it.
    pub(super) pending: u64,
}

impl Position {
    /// From the subject that an entry is acknowledged at (ADR-15). The client library reads it, too, but in 128 bits and
    /// from a message alone.
    fn of(reply: &str) -> Option<Self> {
        let mut tokens = [""; 9];
        let mut found = 0;
        for (slot, token) in tokens.iter_mut().zip(reply.strip_prefix("$JS.ACK.")?.split('.')) {
            *slot = token;
            found += 1;
        }
        // Newer servers put their domain and a hash of the account before the stream, and may put more at the end.
        let tokens = if found == 7 { tokens.first_chunk::<7>()?.as_slice() } else { &tokens };
        let [.., sequence, of_consumer, stored_at, pending] = tokens else { return None };
        Some(Self {
            sequence: sequence.parse().ok()?,
            of_consumer: of_consumer.parse().ok()?,
            stored_at: stored_at.parse().ok()?,
            pending: pending.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_its_position_in_the_old_form_and_the_new() {
        let expected =
            Position { sequence: 7, of_consumer: 3, stored_at: 1_700_000_000_123_456_789, pending: 9 };
        for head in ["EVENTS.me", "_.hash.EVENTS.me", "hub.hash.EVENTS.me"] {
            let place = format!("$JS.ACK.{head}.1.7.3.1700000000123456789.9");
            assert_eq!(Position::of(&place).as_ref(), Some(&expected), "{place}");
        }
        let more = "$JS.ACK._.hash.EVENTS.me.1.7.3.1700000000123456789.9.token.more";
        assert_eq!(Position::of(more), Some(expected));
        for wrong in [
            "",
            "_INBOX.x",
            "$JS.ACK.EVENTS.me.1.7.3",
            "$JS.ACK.EVENTS.me.1.-7.3.17.9",
            "$JS.ACK.EVENTS.me.1.x.3.17.9",
        ] {
            assert_eq!(Position::of(wrong), None, "{wrong}");
        }
    }
}
