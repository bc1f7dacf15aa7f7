//! A body of ElevenLabs' to what it means: a report, a sound, or something to be kept until it is understood.

use std::io::{self, Read};

use chrono::{DateTime, Utc};
use shared::events::{Payload, RawJson, Recording, Source, StoredObject, Unread};
use shared::limits::MAX_REPORT_BYTES;
use shared::objects::{ObjectError, ObjectName, Objects};
use shared::problem::{Kind, Problem};
use shared::report::{self, Heading, Reading, kinds};
use tokio::sync::Semaphore;

use super::audio::{self, NotAudio};
use super::outline::{NoOutline, Outline, scan};
use super::spool::{Content, Spooled};
use crate::command::{Command, ReportConversation};

/// Bytes of a payload that stand in its event; a larger one goes to the object store.
const MAX_INLINE: usize = 512 * 1024;
/// Bytes of the largest event that a report makes: itself with its payload and the ordinals of ten thousand turns, or a
/// turn with what was about to be said, each byte of which may take six.
pub(crate) const MAX_REPORT_EVENT_BYTES: usize = 6 * (report::MAX_TEXT + 32 * 1024);
const _: () = assert!(MAX_INLINE + 256 * 1024 <= MAX_REPORT_EVENT_BYTES, "a report fits with its payload");
/// Large reports that are in memory at once.
const LARGE_AT_ONCE: usize = 2;

/// Why a good body was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It is not JSON.
    #[error("The body is not valid JSON.")]
    NotJson,
    /// It could not be read again.
    #[error("the spooled body cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The object store does not take it.
    #[error("the object store does not take the body: {0}")]
    NotStored(#[from] ObjectError),
}

impl NotTaken {
    /// Its name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::Unreadable(_) => "disk",
            Self::NotStored(_) => "not_stored",
        }
    }
}

impl From<NotTaken> for Problem {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::NotJson => Self::new(Kind::BadJson, why.to_string()),
            NotTaken::Unreadable(_) | NotTaken::NotStored(_) => {
                let detail = "The body cannot be stored just now; nothing was acknowledged. Send it again in a moment.";
                Self::unavailable(detail, why)
            }
        }
    }
}

impl From<NoOutline> for NotTaken {
    fn from(why: NoOutline) -> Self {
        match why {
            NoOutline::NotJson(_) => Self::NotJson,
            NoOutline::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

/// Makes commands of bodies; what is too large for an event is in the object store before its command is there.
#[derive(Debug)]
pub(crate) struct Reader {
    objects: Objects,
    large: Semaphore,
}

impl Reader {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, large: Semaphore::new(LARGE_AT_ONCE) }
    }

    /// Where large contents go.
    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    /// Reads a body that came in with a good signature.
    ///
    /// # Errors
    /// [`NotTaken`]. Whatever is JSON is taken.
    pub(crate) async fn read(
        &self,
        spooled: &Spooled,
        received_at: DateTime<Utc>,
    ) -> Result<Command, NotTaken> {
        let sha256 = hex::encode(spooled.sha256);
        let body = Body { spooled, sha256, received_at };
        if let Content::Memory(bytes) = &spooled.content {
            let json = json(bytes.to_vec())?;
            let heading = report::heading(json.raw());
            if kind_of(heading.as_ref()) != Some(kinds::AUDIO) {
                return Ok(body.told(heading, json, None));
            }
        }
        let outline = scan(spooled).await?;
        if kind_of(outline.heading.as_ref()) == Some(kinds::AUDIO) {
            return self.audio(&body, outline).await;
        }
        if spooled.bytes > MAX_REPORT_BYTES {
            return self.unread(&body, outline.heading, "larger than this version reads").await;
        }
        // Waits rather than refuses: the vendor does not send it again. It cannot be closed.
        let _turn = self.large.acquire().await.map_err(io::Error::other)?;
        let mut text = Vec::new();
        let mut reader = spooled.read_from(0);
        let text = tokio::task::spawn_blocking(move || reader.read_to_end(&mut text).map(|_| text));
        let json = json(text.await.map_err(io::Error::other)??)?;
        let stored = self.keep(spooled).await?;
        Ok(body.told(outline.heading, json, Some(stored)))
    }

    async fn audio(&self, body: &Body<'_>, outline: Outline) -> Result<Command, NotTaken> {
        let conversation = outline.heading.as_ref().and_then(|heading| heading.conversation.clone());
        let Some(conversation_id) = conversation else {
            return self.unread(body, outline.heading, "it names no conversation").await;
        };
        let audio = match audio::measure(body.spooled, &outline).await {
            Ok(audio) => audio,
            Err(NotAudio::Unreadable(error)) => return Err(error.into()),
            Err(NotAudio::Missing) => return self.unread(body, outline.heading, "it holds no sound").await,
            Err(NotAudio::NotBase64(_)) => {
                return self.unread(body, outline.heading, "its sound is not base64").await;
            }
        };
        let stored = audio::store(body.spooled, &audio, &self.objects).await?;
        Ok(Command::StoreAudio(Recording {
            conversation_id,
            participant_id: None,
            session: 0,
            source: Source::ElevenlabsWebhook,
            agent_id: outline.agent_id,
            reported_at: outline.heading.and_then(|heading| heading.reported_at),
            media_type: stored.media_type,
            audio: StoredObject {
                object: stored.name.to_string(),
                bytes: stored.bytes,
                sha256: stored.name.to_string(),
            },
        }))
    }

    async fn unread(
        &self,
        body: &Body<'_>,
        heading: Option<Heading>,
        reason: &str,
    ) -> Result<Command, NotTaken> {
        let payload = match &body.spooled.content {
            Content::Memory(bytes) => Payload::Json(json(bytes.to_vec())?),
            Content::File(_) => Payload::Object(self.keep(body.spooled).await?),
        };
        Ok(body.unread(heading, reason, payload))
    }

    /// Puts a body as it came into the object store.
    async fn keep(&self, spooled: &Spooled) -> Result<StoredObject, NotTaken> {
        let name = ObjectName::of(spooled.sha256);
        let content = audio::in_background(spooled.read_from(0));
        let stored = self.objects.put(name, spooled.bytes, "application/json", content).await?;
        let object = name.to_string();
        Ok(StoredObject { sha256: object.clone(), object, bytes: stored.bytes })
    }

    /// Puts a text into the object store, if it is too large for an event.
    ///
    /// # Errors
    /// [`NotTaken::NotStored`], and [`NotTaken::NotJson`] where it is none.
    pub(crate) async fn payload(&self, bytes: Vec<u8>, sha256: [u8; 32]) -> Result<Payload, NotTaken> {
        if bytes.len() <= MAX_INLINE {
            return Ok(Payload::Json(json(bytes)?));
        }
        let (name, size) = (ObjectName::of(sha256), bytes.len() as u64);
        let stored = self.objects.put(name, size, "application/json", io::Cursor::new(bytes)).await?;
        let object = name.to_string();
        Ok(Payload::Object(StoredObject { sha256: object.clone(), object, bytes: stored.bytes }))
    }
}

fn kind_of(heading: Option<&Heading>) -> Option<&str> {
    heading.and_then(|heading| heading.kind.as_deref())
}

fn json(bytes: Vec<u8>) -> Result<RawJson, NotTaken> {
    let text = String::from_utf8(bytes).map_err(|_| NotTaken::NotJson)?;
    RawJson::new(text).map_err(|_| NotTaken::NotJson)
}

/// What is known of a body besides what it says.
struct Body<'a> {
    spooled: &'a Spooled,
    sha256: String,
    received_at: DateTime<Utc>,
}

impl Body<'_> {
    /// A report, if this version can read it.
    fn told(&self, heading: Option<Heading>, json: RawJson, stored: Option<StoredObject>) -> Command {
        let kind = kind_of(heading.as_ref());
        // What services send to the conversation webhook is none of the vendor's.
        let known = kind.filter(|kind| *kind != kinds::CONVERSATION);
        let reading = known.and_then(|kind| report::skim(kind, json.raw()));
        let conversation = heading.as_ref().and_then(|heading| heading.conversation.clone());
        let payload = stored.map_or(Payload::Json(json), Payload::Object);
        let (reason, payload) = match (heading, conversation, reading) {
            (Some(Heading { kind: Some(kind), reported_at, .. }), Some(conversation), Some(reading)) => {
                let Reading { turns, facts } = reading;
                return Command::Report(Box::new(ReportConversation {
                    conversation,
                    session: 0,
                    participant: None,
                    source: Source::ElevenlabsWebhook,
                    kind,
                    reported_at,
                    received_at: self.received_at,
                    sha256: self.sha256.clone(),
                    turns,
                    started_at: facts.started_at,
                    payload,
                }));
            }
            (heading, None, Some(_)) => return self.unread(heading, "it names no conversation", payload),
            (heading, _, _) => (heading, payload),
        };
        self.unread(reason, "its kind or its form is not known", payload)
    }

    fn unread(&self, heading: Option<Heading>, reason: &str, payload: Payload) -> Command {
        Command::Receive(Unread {
            source: Source::ElevenlabsWebhook,
            kind: heading.and_then(|heading| heading.kind).map(|kind| short(&kind)),
            reason: reason.to_owned(),
            sha256: self.sha256.clone(),
            bytes: self.spooled.bytes,
            received_at: self.received_at,
            payload,
        })
    }
}

/// A name of a kind as it can stand in a table.
fn short(kind: &str) -> String {
    let end = kind.floor_char_boundary(256);
    kind[..end].replace('\0', "\u{fffd}")
}
