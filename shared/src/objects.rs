//! The object store: contents too large for an event, in a JetStream object store bucket (ADR-20 of the server's
//! architecture decisions, so that its own tools can read it). An event names one by its SHA-256.
//!
//! An object is stored as one atomic batch, its chunks and then what is known of it. So it is there as a whole or not
//! at all, whatever dies in between; nothing has to be cleaned up; a batch costs a few fsyncs however long it is; and
//! its chunks lie at consecutive sequences, which is what makes reading from the middle and deleting cheap.

mod batch;
mod read;

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream::{DeleteMessageErrorKind, LastRawMessageErrorKind};
use async_nats::jetstream::{self, stream};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::BytesMut;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::config::NatsSettings;
use crate::limits::{MAX_OBJECT_BYTES, MAX_OBJECTS_UNDER_WAY, OBJECT_CHUNK_BYTES};
use crate::log::{CONNECT_PATIENCE, LogError, REQUEST_TIMEOUT, connect};
use crate::subjects;

use batch::{Batch, NotCommitted};

pub use read::Object;

/// Why an object could not be stored, read or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The server does not answer or refuses for now. Nothing of the object can be seen; the same call may be made
    /// again.
    #[error("the object store does not answer: {0}")]
    Unavailable(String),
    /// The content could not be read to its end.
    #[error("the content cannot be read: {0}")]
    Content(#[from] std::io::Error),
    /// The content is not what its name says.
    #[error("the content does not have the SHA-256 or the size that were announced")]
    WrongDigest,
    /// More than [`MAX_OBJECT_BYTES`].
    #[error("an object may have at most {MAX_OBJECT_BYTES} bytes")]
    TooLarge,
}

impl ObjectError {
    fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The name of an object: the SHA-256 of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectName([u8; 32]);

impl ObjectName {
    /// Of the content with this SHA-256.
    pub fn of(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// From 64 hexadecimal digits, as it prints.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        (Self(bytes).to_string() == text).then_some(Self(bytes))
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of a stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// SHA-256 of the content.
    pub name: ObjectName,
    /// Bytes of the content.
    pub bytes: u64,
    /// For example `audio/mpeg`.
    pub media_type: String,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

/// The last message of an object, in the words of ADR-20.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    name: String,
    bucket: String,
    nuid: String,
    size: u64,
    chunks: u64,
    digest: String,
    mtime: DateTime<Utc>,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    metadata: Metadata,
    options: Options,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default, rename = "media-type")]
    media_type: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Options {
    max_chunk_size: usize,
}

/// An object as it was found: what is known of it, and the sequence of that.
#[derive(Debug)]
struct Found {
    meta: Meta,
    sequence: u64,
}

impl Found {
    fn stored(&self, name: ObjectName) -> StoredObject {
        let Meta { size, mtime, metadata, .. } = &self.meta;
        StoredObject { name, bytes: *size, media_type: metadata.media_type.clone(), stored_at: *mtime }
    }

    fn first_chunk(&self) -> u64 {
        self.sequence.saturating_sub(self.meta.chunks)
    }
}

/// The store, over a connection of its own: a large object under way must not hold up the publishes of events.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
    stream: stream::Stream,
    under_way: Arc<Semaphore>,
}

impl Objects {
    /// Connects as `name` and makes the bucket if it is not there, with as many replicas as the log.
    ///
    /// # Errors
    /// [`LogError::Connect`], or [`LogError::Stream`] when the bucket cannot be made.
    pub async fn open(settings: &NatsSettings, name: &str) -> Result<Self, LogError> {
        let (client, _) = connect(settings, name).await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        let stream = ensure_bucket(&context, settings.replicas).await?;
        Ok(Self { client, stream, under_way: Arc::new(Semaphore::new(MAX_OBJECTS_UNDER_WAY)) })
    }

    /// Stores a content of `bytes` bytes under its name. When this answers, it is on disk as durably as an event.
    /// A content that is there already is not written again, nor read.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`] when the server does not take it (nothing of it can be seen then; call again),
    /// [`ObjectError::Content`], [`ObjectError::WrongDigest`] and [`ObjectError::TooLarge`] for the content.
    pub async fn put(
        &self,
        name: ObjectName,
        bytes: u64,
        media_type: &str,
        content: impl AsyncRead + Unpin,
    ) -> Result<StoredObject, ObjectError> {
        if bytes > MAX_OBJECT_BYTES as u64 {
            return Err(ObjectError::TooLarge);
        }
        let _turn = self.under_way.acquire().await.map_err(ObjectError::unavailable)?;
        if let Some(found) = self.find(name).await? {
            if self.is_whole(&found).await? {
                return Ok(found.stored(name));
            }
            // What is left of a deletion that was cut off.
            self.discard(name, &found).await?;
        }
        let meta = Meta {
            name: name.to_string(),
            bucket: subjects::BUCKET.into(),
            nuid: Uuid::new_v4().simple().to_string(),
            size: bytes,
            chunks: bytes.div_ceil(OBJECT_CHUNK_BYTES as u64),
            digest: format!("SHA-256={}", URL_SAFE.encode(name.0)),
            mtime: Utc::now(),
            deleted: false,
            metadata: Metadata { media_type: media_type.to_owned() },
            options: Options { max_chunk_size: OBJECT_CHUNK_BYTES },
        };
        match self.write(name, &meta, content).await {
            Ok(()) => Ok(Found { meta, sequence: 0 }.stored(name)),
            // Somebody else stored the same content meanwhile.
            Err(NotCommitted::Conflict(why)) => {
                let found = self.find(name).await?.ok_or(ObjectError::Unavailable(why))?;
                Ok(found.stored(name))
            }
            Err(NotCommitted::Refused(why)) => Err(ObjectError::Unavailable(why)),
            Err(NotCommitted::Content(why)) => Err(why),
        }
    }

    async fn write(
        &self,
        name: ObjectName,
        meta: &Meta,
        mut content: impl AsyncRead + Unpin,
    ) -> Result<(), NotCommitted> {
        let subject = subjects::object_chunks(&meta.nuid);
        let mut batch = Batch::begin(&self.client).await?;
        let mut hash = Sha256::new();
        let mut left = meta.size;
        while left > 0 {
            let wanted = left.min(OBJECT_CHUNK_BYTES as u64);
            let mut chunk = BytesMut::with_capacity(OBJECT_CHUNK_BYTES);
            let mut part = (&mut content).take(wanted);
            while part.read_buf(&mut chunk).await.map_err(ObjectError::Content)? > 0 {}
            if (chunk.len() as u64) < wanted {
                return Err(ObjectError::WrongDigest.into());
            }
            hash.update(&chunk);
            left -= wanted;
            batch.add(&subject, chunk.freeze()).await?;
        }
        let more = content.read(&mut [0]).await.map_err(ObjectError::Content)?;
        if more > 0 || hash.finalize().as_slice() != name.0 {
            return Err(ObjectError::WrongDigest.into());
        }
        let meta = serde_json::to_vec(meta).map_err(NotCommitted::refused)?;
        batch.commit(&subjects::object_meta(&name.to_string()), meta.into()).await
    }

    /// The object of this name, ready to be read; none where there is none.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn get(&self, name: ObjectName) -> Result<Option<Object>, ObjectError> {
        let found = self.find(name).await?.filter(|found| !found.meta.deleted);
        Ok(found.map(|found| Object::new(self.client.clone(), name, &found)))
    }

    /// A small object as a text; none where there is none of this size, or it is no text.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn text(&self, name: ObjectName, bytes: u64) -> Result<Option<String>, ObjectError> {
        let Some(object) = self.get(name).await?.filter(|object| object.stored.bytes == bytes) else {
            return Ok(None);
        };
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
        object.read(0).read_to_end(&mut content).await.map_err(ObjectError::unavailable)?;
        Ok(String::from_utf8(content).ok())
    }

    /// Deletes an object; its bytes on disk are overwritten at once. One that is not there is no error. What was cut
    /// off in the middle is finished by the next call.
    ///
    /// # Errors
    /// [`ObjectError::Unavailable`] while anything of it may still be there.
    pub async fn delete(&self, name: ObjectName) -> Result<(), ObjectError> {
        match self.find(name).await? {
            Some(found) => self.discard(name, &found).await,
            None => Ok(()),
        }
    }

    /// Deletes the object that was found and not one that was stored meanwhile.
    async fn discard(&self, name: ObjectName, found: &Found) -> Result<(), ObjectError> {
        for sequence in found.first_chunk()..found.sequence {
            self.overwrite(sequence).await?;
        }
        // Where another program stored the object its chunks may lie elsewhere.
        let chunks = subjects::object_chunks(&found.meta.nuid);
        self.stream.purge().filter(&chunks).await.map_err(ObjectError::unavailable)?;
        // Last, because as long as it is there the next call knows what to delete.
        self.overwrite(found.sequence).await?;
        let meta = subjects::object_meta(&name.to_string());
        let earlier = self.stream.purge().sequence(found.sequence + 1).filter(&meta);
        earlier.await.map_err(ObjectError::unavailable)?;
        Ok(())
    }

    async fn overwrite(&self, sequence: u64) -> Result<(), ObjectError> {
        match self.stream.delete_message(sequence).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                // Not there any more.
                DeleteMessageErrorKind::JetStream(why) if why.error_code().0 == NO_MESSAGE => Ok(()),
                DeleteMessageErrorKind::JetStream(_)
                | DeleteMessageErrorKind::Request
                | DeleteMessageErrorKind::TimedOut => Err(ObjectError::unavailable(error)),
            },
        }
    }

    async fn find(&self, name: ObjectName) -> Result<Option<Found>, ObjectError> {
        // Asks the leader: with replicas a direct get might not see yet what was just stored.
        let subject = subjects::object_meta(&name.to_string());
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => return Ok(None),
                LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::Other => return Err(ObjectError::unavailable(error)),
            },
        };
        let meta = serde_json::from_slice(&message.payload).map_err(ObjectError::unavailable)?;
        Ok(Some(Found { meta, sequence: message.sequence }))
    }

    /// Whether all of its chunks are there.
    async fn is_whole(&self, found: &Found) -> Result<bool, ObjectError> {
        let subject = subjects::object_chunks(&found.meta.nuid);
        let mut counts = self.stream.info_with_subjects(subject).await.map_err(ObjectError::unavailable)?;
        let mut chunks = 0;
        while let Some(count) = counts.next().await {
            chunks += count.map_err(ObjectError::unavailable)?.1 as u64;
        }
        Ok(!found.meta.deleted && chunks == found.meta.chunks)
    }

    /// Sends what is still buffered and closes the connection.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::debug!(%error, "the connection to the object store was already closed");
        }
    }
}

/// The server's code for a message that is not there (`JSNoMessageFoundErr`, or the cause of a failed deletion).
const NO_MESSAGE: u64 = 10_057;

async fn ensure_bucket(context: &jetstream::Context, replicas: usize) -> Result<stream::Stream, LogError> {
    let wanted = stream::Config {
        name: format!("OBJ_{}", subjects::BUCKET),
        description: Some("turnlog: contents too large for an event".into()),
        subjects: subjects::objects(),
        storage: stream::StorageType::File,
        num_replicas: replicas,
        discard: stream::DiscardPolicy::New,
        allow_rollup: true,
        allow_direct: true,
        allow_atomic_publish: true,
        ..stream::Config::default()
    };
    let started = tokio::time::Instant::now();
    let found = loop {
        match context.get_or_create_stream(wanted.clone()).await {
            Ok(found) => break found,
            Err(error) if started.elapsed() > CONNECT_PATIENCE => {
                return Err(LogError::Stream(format!("of the object store: {error}")));
            }
            Err(error) => tracing::debug!(%error, "the bucket is not there yet"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let mut config = found.cached_info().config.clone();
    (config.num_replicas, config.allow_direct, config.allow_atomic_publish) = (replicas, true, true);
    if config != found.cached_info().config {
        let updated = context.update_stream(&config).await;
        updated.map_err(|error| LogError::Stream(format!("of the object store: {error}")))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_64_lower_case_hexadecimal_digits() {
        let name = ObjectName::of(Sha256::digest("a").into());
        assert_eq!(name.to_string(), "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb");
        assert_eq!(ObjectName::parse(&name.to_string()), Some(name));
        for wrong in ["", "ca", &name.to_string().to_uppercase(), &"+a".repeat(32), &"é".repeat(32)] {
            assert_eq!(ObjectName::parse(wrong), None, "{wrong}");
        }
    }
}
