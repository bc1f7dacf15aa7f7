//! Events to and from NATS messages: CloudEvents 1.0 in binary mode, metadata in headers, facts in the body.
//!
//! The only place that encodes or decodes. Nothing personal is in a header: ids are hashes or random, the
//! subject's token is a hash. `turnlog-key-id` names the owner of the key that a body is sealed with, by such a token.

use async_nats::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::events::{Event, Source, unknown};
use crate::sealing::{DataKey, SealError};
use crate::subjects::{self, Aggregate, Subject};

/// Names the key that a sealed body was sealed with.
pub const KEY_ID: &str = "turnlog-key-id";
const ID: &str = "ce-id";
const TYPE: &str = "ce-type";
const TOLD_BY: &str = "turnlog-told-by";
const REQUEST_ID: &str = "turnlog-request-id";
const TRACEPARENT: &str = "traceparent";
const SOURCE: &str = "turnlog/ingest";

/// An event's own name: unique, impersonal, and the server's dedupe id. 22 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(String);

impl EventId {
    /// For a fact without a natural key.
    pub fn random() -> Self {
        Self(URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes()))
    }

    /// For version `version` (0 is the first) of the thing that `key` names within `subject`: the same attempt
    /// gets the same id on every instance, another version another.
    pub fn natural(subject: &Subject, key: &[u8], version: u64) -> Self {
        let hash = Sha256::new()
            .chain_update(subject.as_str())
            .chain_update([0])
            .chain_update(key)
            .chain_update(version.to_be_bytes())
            .finalize();
        Self(URL_SAFE_NO_PAD.encode(&hash[..16]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where an event came from: carried from the request into the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `X-Request-Id` of the request.
    pub request_id: String,
    /// W3C `traceparent` of the request, where it had one.
    pub traceparent: Option<String>,
}

/// An event ready to be published.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Where to.
    pub subject: Subject,
    /// Its id, also in `headers`.
    pub id: EventId,
    /// CloudEvents attributes, dedupe id, origin.
    pub headers: HeaderMap,
    /// The data as JSON, sealed or not.
    pub body: Bytes,
}

impl Envelope {
    /// Wraps an event, in clear.
    ///
    /// # Errors
    /// Those of [`Event::to_json`].
    pub fn wrap(
        subject: Subject,
        id: EventId,
        event: &Event,
        origin: &Origin,
        now: DateTime<Utc>,
    ) -> Result<Self, serde_json::Error> {
        let body = event.to_json()?.into();
        let mut headers = HeaderMap::new();
        headers.insert("ce-specversion", "1.0");
        headers.insert(ID, id.as_str());
        headers.insert(TYPE, event.type_name());
        headers.insert("ce-source", SOURCE);
        headers.insert("ce-subject", subject.token());
        headers.insert("ce-time", now.to_rfc3339_opts(SecondsFormat::Micros, true));
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
        if let Some(source) = event.source() {
            headers.insert(TOLD_BY, source.as_str());
        }
        if !origin.request_id.is_empty() {
            headers.insert(REQUEST_ID, origin.request_id.as_str());
        }
        if let Some(traceparent) = &origin.traceparent {
            headers.insert(TRACEPARENT, traceparent.as_str());
        }
        Ok(Self { subject, id, headers, body })
    }

    /// Seals its body with the key of an owner: it can be read as long as that key exists.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn seal(mut self, owner: &str, key: &DataKey) -> Result<Self, SealError> {
        let type_name = self.headers.get(TYPE).map(|name| name.as_str()).unwrap_or_default();
        let mut bound = Vec::new();
        place(self.subject.as_str(), self.id.as_str(), type_name, &mut bound);
        self.body = key.seal(&bound, &self.body)?.into();
        self.headers.insert(KEY_ID, owner);
        Ok(self)
    }

    /// Has the server store this only if `sequence` is still the last one on its subject (0: nothing is there yet).
    pub fn expect_last(&mut self, sequence: u64) {
        self.headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
    }
}

/// An entry of the log as it was read, not yet understood. Of its headers it has what is asked for: a map of them is many
/// small allocations, which cost more the longer they live.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its sequence: the one number that names the fact everywhere.
    pub sequence: u64,
    /// When the server stored it.
    pub stored_at: DateTime<Utc>,
    /// The subject it stands on.
    pub subject: String,
    /// Its body, in clear; empty where it is closed.
    pub body: Bytes,
    headers: Headers,
    /// Why a sealed body could not be opened.
    pub(crate) closed: Option<Closed>,
}

/// What is looked at of an entry's headers.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    id: String,
    event_type: Option<String>,
    owner: Option<String>,
    told_by: Option<Source>,
    request_id: Option<String>,
}

impl Headers {
    /// Takes them from whatever has them by name.
    pub fn pick<'a>(named: impl Fn(&'static str) -> Option<&'a str>) -> Self {
        let owned = |name| named(name).map(str::to_owned);
        Self {
            id: owned(ID).unwrap_or_default(),
            event_type: owned(TYPE),
            owner: owned(KEY_ID),
            told_by: named(TOLD_BY).and_then(Source::parse),
            request_id: owned(REQUEST_ID),
        }
    }
}

impl From<&HeaderMap> for Headers {
    fn from(map: &HeaderMap) -> Self {
        Self::pick(|name| map.get(name).map(HeaderValue::as_str))
    }
}

/// Why a sealed body cannot be opened, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its owner's key was destroyed.
    Erased,
    /// It is not what was sealed there.
    Changed(SealError),
}

/// Why an entry could not be read as an event. It is kept as it is and parked, never dropped.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No `ce-type`: not written by turnlog.
    #[error("the entry has no ce-type header, so turnlog did not write it")]
    NoType,
    /// Written by a newer version.
    #[error("this version does not know the event type {0}; a newer one does")]
    UnknownType(String),
    /// Written by somebody else.
    #[error("the event type {0:?} is none of turnlog's")]
    ForeignType(String),
    /// Known type, wrong data. Says where and not what: the parser's own message may quote the content, and this one
    /// goes to log lines and tables.
    #[error("the data of {0} is not of its shape: {cause:?} error at line {line} column {column}",
        cause = .1.classify(), line = .1.line(), column = .1.column())]
    Malformed(String, serde_json::Error),
    /// Its owner's key was destroyed: what it said is gone for good.
    #[error("what it says was erased")]
    Erased,
    /// It is not what was sealed there.
    #[error("its body cannot be opened: {0}")]
    Sealed(SealError),
    /// A known event on the subject of another kind or another aggregate.
    #[error("the event {0} stands on a subject that is not its own")]
    Misplaced(String),
}

impl DecodeError {
    fn unknown(type_name: &str) -> Self {
        let name = type_name.to_owned();
        if unknown::is_ours(type_name) { Self::UnknownType(name) } else { Self::ForeignType(name) }
    }

    /// Whether a newer version reads the entry: it means something, and this version cannot know what.
    pub fn is_of_newer(&self) -> bool {
        matches!(self, Self::UnknownType(_) | Self::Sealed(SealError::UnknownLayout))
    }
}

impl Entry {
    /// As it was read.
    pub fn new(
        sequence: u64,
        stored_at: DateTime<Utc>,
        subject: String,
        headers: impl Into<Headers>,
        body: Bytes,
    ) -> Self {
        Self { sequence, stored_at, subject, body, headers: headers.into(), closed: None }
    }

    /// The event's id (`ce-id`), empty where it has none.
    pub fn event_id(&self) -> &str {
        &self.headers.id
    }

    /// Its sequence, when it was stored, its subject and its id, for who has read the rest.
    pub fn into_place(self) -> (u64, DateTime<Utc>, String, String) {
        (self.sequence, self.stored_at, self.subject, self.headers.id)
    }

    /// The event's type (`ce-type`), empty where it has none.
    pub fn event_type(&self) -> &str {
        self.headers.event_type.as_deref().unwrap_or_default()
    }

    /// The request that wrote it.
    pub fn request_id(&self) -> Option<&str> {
        self.headers.request_id.as_deref()
    }

    /// Where it came in, if it is a webhook: known also when its body cannot be opened any more.
    pub fn told_by(&self) -> Option<Source> {
        self.headers.told_by
    }

    /// Whether its body was erased.
    pub fn is_erased(&self) -> bool {
        self.closed == Some(Closed::Erased)
    }

    /// Whose key sealed its body; none where it is in clear.
    pub fn key_id(&self) -> Option<&str> {
        self.headers.owner.as_deref()
    }

    /// The token of its aggregate.
    pub fn token(&self) -> &str {
        subjects::token_of(&self.subject)
    }

    /// Whether it stands where erasures do.
    pub fn is_of_erasure(&self) -> bool {
        subjects::is_of(&self.subject, Aggregate::Erasure)
    }

    /// The data as the JSON text that was written; `None` where it is none. What was read as an event `is_known` to be
    /// JSON and is not looked at again.
    pub fn json(&self, is_known: bool) -> Option<&str> {
        let text = std::str::from_utf8(&self.body).ok()?;
        (is_known || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()).then_some(text)
    }

    /// Reads the event, whatever version it was written in.
    ///
    /// # Errors
    /// [`DecodeError`], which says what to park it with.
    pub fn decode(&self) -> Result<Event, DecodeError> {
        let type_name = self.headers.event_type.as_deref().ok_or(DecodeError::NoType)?;
        match self.closed {
            None => {}
            Some(Closed::Erased) => return Err(DecodeError::Erased),
            Some(Closed::Changed(why)) => return Err(DecodeError::Sealed(why)),
        }
        let event = Event::from_json(type_name, &self.body)
            .map_err(|error| DecodeError::Malformed(type_name.to_owned(), error))?
            .ok_or_else(|| DecodeError::unknown(type_name))?;
        if event.subject().as_str() != self.subject {
            return Err(DecodeError::Misplaced(type_name.to_owned()));
        }
        Ok(event)
    }

    /// Puts the content in the place of the sealed body; without a key it stays closed, as its owner was erased. Whatever
    /// reads the log does this before it hands an entry out. In `scratch` is written what comes.
    pub(crate) fn open(&mut self, key: Option<&DataKey>, scratch: &mut Vec<u8>) {
        scratch.clear();
        place(&self.subject, &self.headers.id, self.event_type(), scratch);
        let opened = match key {
            Some(key) => key.open(scratch, &self.body).map_err(Closed::Changed),
            None => Err(Closed::Erased),
        };
        match opened {
            Ok(content) => self.body = content.into(),
            Err(closed) => (self.body, self.closed) = (Bytes::new(), Some(closed)),
        }
    }
}

/// Appends what a sealed body is bound to.
fn place(subject: &str, id: &str, type_name: &str, to: &mut Vec<u8>) {
    for part in [subject, "\0", id, "\0", type_name] {
        to.extend_from_slice(part.as_bytes());
    }
}

impl Event {
    /// The subject this event belongs on.
    pub fn subject(&self) -> Subject {
        match self {
            Self::MessageRecorded(message) => Subject::conversation(&message.conversation_id),
            Self::MessageCorrected(correction) => Subject::conversation(&correction.message.conversation_id),
            Self::ParticipantEnrolled(data) | Self::ParticipantUpdated(data) => {
                Subject::participant(&data.participant_id)
            }
            Self::TokenRevoked(data) => Subject::of(Aggregate::Token, &data.token_id),
            Self::ConversationClaimed(data) => Subject::conversation(&data.conversation_id),
            Self::ConversationReported(data) => Subject::conversation(&data.conversation_id),
            Self::AudioStored(data) => Subject::conversation(&data.conversation_id),
            Self::WebhookReceived(data) => Subject::of(Aggregate::Webhook, &data.sha256),
            Self::WebhookRefused(data) => Subject::of(Aggregate::Source, data.source.as_str()),
            Self::CallOpened(call) | Self::CallChanged(call) => Subject::conversation(&call.conversation_id),
            Self::CallTakenOver(data) | Self::CallReleased(data) => {
                Subject::conversation(&data.call.conversation_id)
            }
            Self::ConversationEnded(data) => Subject::conversation(&data.conversation_id),
            Self::ConversationSeen(data) => Subject::conversation(&data.conversation_id),
            Self::WorkerRegistered(data) => Subject::worker(&data.worker_id),
            Self::WorkerRemoved(data) => Subject::worker(&data.worker_id),
            Self::AdminRegistered(data) => Subject::admin(&data.admin_id),
            Self::AdminRemoved(data) => Subject::admin(&data.admin_id),
            Self::DreamRecorded(data) | Self::DreamChanged(data) => Subject::dream(&data.dream_id),
            Self::DreamInterpreted(data) => Subject::dream(&data.dream_id),
            Self::DreamDiscussed(data) => Subject::dream(&data.dream_id),
            Self::SessionOpened(data) => Subject::conversation(&data.conversation_id),
            Self::ConversationLinked(data) => Subject::conversation(&data.conversation_id),
            Self::ParticipantErased(data) => Subject::erasure(&data.participant_id),
        }
    }
}
