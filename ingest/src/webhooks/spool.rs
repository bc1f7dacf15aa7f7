//! Where a body of any length waits while nobody knows yet whether it may be trusted or kept: in memory as long as it is
//! short, in an unlinked file past that. Memory is bounded for each, files are bounded in number, and both end with the
//! body.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use shared::limits::{MAX_SPOOL_FILES, MIN_SPOOL_RATE, SPOOL_MEMORY_BYTES, SPOOL_PATIENCE};
use shared::problem::{Kind, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::settings::WebhookSettings;

/// Why a body was not taken. What is left of it was not read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Longer than the limit in bytes, or said to be.
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
    /// It stopped coming, or came too slowly.
    #[error("the body stopped arriving")]
    Stalled,
    /// The connection ended before the body did.
    #[error("the body was cut off: {0}")]
    CutOff(axum::Error),
    /// Too many long bodies at once, for too long.
    #[error("too many large bodies are under way")]
    Busy,
    /// The disk does not take it.
    #[error("the body cannot be written to SPOOL_DIR: {0}")]
    Disk(#[from] io::Error),
}

impl SpoolError {
    /// Its name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::Stalled => "stalled",
            Self::CutOff(_) => "cut_off",
            Self::Busy => "busy",
            Self::Disk(_) => "disk",
        }
    }
}

impl From<SpoolError> for Problem {
    fn from(error: SpoolError) -> Self {
        match &error {
            SpoolError::TooLarge(limit) => {
                Self::new(Kind::TooLarge, format!("The body may be at most {limit} bytes."))
            }
            SpoolError::Stalled => {
                Self::new(Kind::Timeout, "The body stopped arriving; send the request again.")
            }
            SpoolError::CutOff(_) => {
                Self::new(Kind::BadRequest, "The body was cut off; send the request again.")
            }
            SpoolError::Busy => {
                Self::unavailable("Too many large bodies are arriving at once; send it again.", error)
            }
            SpoolError::Disk(_) => {
                Self::unavailable("There is no room for the body just now; send it again.", error)
            }
        }
    }
}

/// The place for bodies of one process.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    limit: u64,
    files: Arc<Semaphore>,
    /// How long the next bytes of a body may take.
    idle: Duration,
    /// How long a body may wait for a file.
    patience: Duration,
}

/// A body that came whole.
#[derive(Debug)]
pub struct Spooled {
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the body as it came.
    pub sha256: [u8; 32],
    /// The body.
    pub content: Content,
    /// Its place among the files, given back with them.
    _place: Option<OwnedSemaphorePermit>,
}

/// Where a body is.
#[derive(Debug, Clone)]
pub enum Content {
    /// As it came.
    Memory(Bytes),
    /// In a file that has no name and is gone when this is dropped and nobody reads it any more.
    File(Arc<File>),
}

impl Spooled {
    /// A reader of its own from this place on. It may block: not for the async runtime unless the body is in memory.
    pub fn read_from(&self, place: u64) -> SpoolReader {
        SpoolReader { content: self.content.clone(), place }
    }
}

/// Reads a body, as often as wanted and by several at once.
#[derive(Debug, Clone)]
pub struct SpoolReader {
    content: Content,
    place: u64,
}

impl SpoolReader {
    /// Another one from this place on.
    pub fn at(&self, place: u64) -> Self {
        Self { content: self.content.clone(), place }
    }
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &self.content {
            Content::Memory(bytes) => {
                let place = usize::try_from(self.place).unwrap_or(usize::MAX);
                bytes.get(place..).unwrap_or_default().read(buffer)?
            }
            Content::File(file) => file.read_at(buffer, self.place)?,
        };
        self.place += read as u64;
        Ok(read)
    }
}

impl Spool {
    /// With the limits of these settings.
    pub fn new(settings: &WebhookSettings) -> Self {
        Self {
            directory: settings.spool_dir.clone().unwrap_or_else(std::env::temp_dir),
            limit: settings.max_bytes as u64,
            files: Arc::new(Semaphore::new(MAX_SPOOL_FILES)),
            idle: settings.body_timeout,
            patience: SPOOL_PATIENCE,
        }
    }

    /// The same place, for bodies of another kind: they share the number of files.
    pub fn for_bodies_of(&self, limit: usize) -> Self {
        let Self { directory, limit: _, files, idle, patience } = self;
        let (directory, files) = (directory.clone(), Arc::clone(files));
        Self { directory, limit: limit as u64, files, idle: *idle, patience: *patience }
    }

    /// Reads a body to its end and hands every part of it to `each` as it comes. `announced` is its `Content-Length`,
    /// where there is one.
    ///
    /// # Errors
    /// [`SpoolError`], as soon as it is clear.
    pub async fn take(
        &self,
        announced: Option<u64>,
        body: Body,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Spooled, SpoolError> {
        if announced.is_some_and(|bytes| bytes > self.limit) {
            return Err(SpoolError::TooLarge(self.limit));
        }
        let mut parts = Parts { body: body.into_data_stream(), started: Instant::now(), idle: self.idle };
        let mut writing = Writing { buffer: BytesMut::new(), file: None };
        let (mut bytes, mut hash) = (0, Sha256::new());
        while let Some(part) = parts.next(bytes).await? {
            bytes += part.len() as u64;
            if bytes > self.limit {
                return Err(SpoolError::TooLarge(self.limit));
            }
            each(&part);
            hash.update(&part);
            if writing.buffer.len() + part.len() > SPOOL_MEMORY_BYTES {
                let before = Instant::now();
                self.write_out(&mut writing).await?;
                // Time that was spent here is none of the sender's.
                parts.started += before.elapsed();
            }
            writing.buffer.extend_from_slice(&part);
        }
        let sha256 = hash.finalize().into();
        if writing.file.is_some() {
            self.write_out(&mut writing).await?;
        }
        let (content, place) = match writing.file {
            Some((file, place)) => (Content::File(Arc::new(file)), Some(place)),
            None => (Content::Memory(writing.buffer.freeze()), None),
        };
        Ok(Spooled { bytes, sha256, content, _place: place })
    }

    /// Reads what fits into memory of a body that nobody will trust, and keeps none of it.
    ///
    /// # Errors
    /// [`SpoolError::Stalled`] and [`SpoolError::CutOff`].
    pub async fn glance(&self, body: Body, mut each: impl FnMut(&[u8])) -> Result<(), SpoolError> {
        let mut parts = Parts { body: body.into_data_stream(), started: Instant::now(), idle: self.idle };
        let mut bytes = 0;
        while let Some(part) = parts.next(bytes).await? {
            bytes += part.len() as u64;
            each(&part);
            if bytes >= SPOOL_MEMORY_BYTES as u64 {
                break;
            }
        }
        Ok(())
    }

    /// Writes what is in the buffer to the file, and makes one first if there is none.
    async fn write_out(&self, writing: &mut Writing) -> Result<(), SpoolError> {
        let file = match writing.file.take() {
            Some((file, place)) => (Some(file), place),
            None => (None, self.place().await?),
        };
        let (file, place) = file;
        let (mut buffer, directory) = (std::mem::take(&mut writing.buffer), self.directory.clone());
        let writing_out = tokio::task::spawn_blocking(move || {
            let mut file = file.map_or_else(|| tempfile::tempfile_in(directory), Ok)?;
            io::Write::write_all(&mut file, &buffer)?;
            buffer.clear();
            Ok::<_, io::Error>((file, buffer))
        });
        let (file, buffer) = writing_out.await.map_err(io::Error::other)??;
        *writing = Writing { buffer, file: Some((file, place)) };
        Ok(())
    }

    /// Waits for a place. Its sender is held back meanwhile, because nothing is read.
    async fn place(&self) -> Result<OwnedSemaphorePermit, SpoolError> {
        let waiting = tokio::time::timeout(self.patience, Arc::clone(&self.files).acquire_owned());
        waiting.await.ok().and_then(Result::ok).ok_or(SpoolError::Busy)
    }
}

/// What came and is not yet in the file, and the file.
struct Writing {
    buffer: BytesMut,
    file: Option<(File, OwnedSemaphorePermit)>,
}

/// The parts of a body, each with a bound in time.
struct Parts {
    body: BodyDataStream,
    started: Instant,
    idle: Duration,
}

impl Parts {
    /// The next part of a body of which so many bytes are here.
    async fn next(&mut self, bytes: u64) -> Result<Option<Bytes>, SpoolError> {
        // Whoever sends a byte now and then is not idle, so there is a slowest pace too.
        let pace = self.started + self.idle + Duration::from_secs(bytes / MIN_SPOOL_RATE);
        let until = pace.min(Instant::now() + self.idle);
        match tokio::time::timeout_at(until, self.body.next()).await {
            Ok(Some(Ok(part))) => Ok(Some(part)),
            Ok(Some(Err(error))) => Err(SpoolError::CutOff(error)),
            Ok(None) => Ok(None),
            Err(_) => Err(SpoolError::Stalled),
        }
    }
}

#[cfg(test)]
mod tests;
