//! An object read from any place, a few chunks at a time: JetStream's direct get, in batches (ADR-31).

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use async_nats::{Client, StatusCode};
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use super::{Found, ObjectName, StoredObject};
use crate::subjects;

/// Chunks asked for at once.
const PAGE: u64 = 4;
/// How long the next chunk of a page may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often chunks that are missing are asked for, and how long between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// A stored object, ready to be read, as often as wanted.
#[derive(Debug, Clone)]
pub struct Object {
    /// What is known of it.
    pub stored: StoredObject,
    client: Client,
    subject: String,
    first: u64,
    chunks: u64,
    chunk_bytes: u64,
    page: u64,
}

impl Object {
    pub(super) fn new(client: Client, name: ObjectName, found: &Found) -> Self {
        let (stored, first) = (found.stored(name), found.first_chunk());
        let subject = subjects::object_chunks(&found.meta.nuid);
        let chunk_bytes = (found.meta.options.max_chunk_size as u64).max(1);
        Self { stored, client, subject, first, chunks: found.meta.chunks, chunk_bytes, page: PAGE }
    }

    /// The same, asked for one chunk at a time: for a reader that may be slow.
    #[must_use]
    pub fn sparing(self) -> Self {
        Self { page: 1, ..self }
    }

    /// Its bytes from `offset` on. Read from 0 to the end they are checked against its name. An error of kind
    /// `InvalidData` means that it is damaged or was deleted meanwhile, any other that the server does not answer.
    pub fn read(self, offset: u64) -> impl AsyncRead {
        StreamReader::new(self.stream(offset))
    }

    /// The same as a stream of parts.
    pub fn stream(self, offset: u64) -> impl Stream<Item = io::Result<Bytes>> + Unpin {
        let next = offset / self.chunk_bytes;
        let skip = usize::try_from(offset % self.chunk_bytes).unwrap_or(usize::MAX);
        let hash = (offset == 0).then(Sha256::new);
        let reading = Reading { object: self, next, skip, hash, ready: VecDeque::new() };
        Box::pin(stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.part().await?.map(|part| (part, reading)))
        }))
    }
}

struct Reading {
    object: Object,
    /// Place of the next chunk to ask for.
    next: u64,
    skip: usize,
    hash: Option<Sha256>,
    ready: VecDeque<Bytes>,
}

impl Reading {
    async fn part(&mut self) -> io::Result<Option<Bytes>> {
        if self.ready.is_empty() && self.next < self.object.chunks {
            self.next_page().await?;
        }
        let Some(mut part) = self.ready.pop_front() else { return self.end().map(|()| None) };
        if let Some(hash) = &mut self.hash {
            hash.update(&part);
        }
        part.advance(std::mem::take(&mut self.skip).min(part.len()));
        Ok(Some(part))
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(hash) = self.hash.take() else { return Ok(()) };
        let good = hash.finalize().as_slice() == self.object.stored.name.0;
        if good { Ok(()) } else { Err(damaged()) }
    }

    /// With replicas, one that lags behind may answer, and not have yet what was just stored.
    async fn next_page(&mut self) -> io::Result<()> {
        for _ in 1..TRIES {
            match self.page().await {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => self.ready.clear(),
                outcome => return outcome,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.page().await
    }

    async fn page(&mut self) -> io::Result<()> {
        let Object { client, subject, first, chunks, page, .. } = &self.object;
        let batch = (*page).min(chunks - self.next);
        let inbox = client.new_inbox();
        let mut replies = client.subscribe(inbox.clone()).await.map_err(io::Error::other)?;
        let ask = serde_json::json!({"batch": batch, "seq": first + self.next, "next_by_subj": subject});
        let api = format!("$JS.API.DIRECT.GET.OBJ_{}", subjects::BUCKET);
        client.publish_with_reply(api, inbox, ask.to_string().into()).await.map_err(io::Error::other)?;
        while (self.ready.len() as u64) < batch {
            let reply = tokio::time::timeout(PATIENCE, replies.next())
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
            match reply.status {
                None | Some(StatusCode::OK) => self.ready.push_back(reply.payload),
                // End of the page, or nothing there: chunks are missing.
                Some(status) if status.as_u16() == 204 || status.as_u16() == 404 => return Err(damaged()),
                Some(status) => return Err(io::Error::other(format!("status {status}"))),
            }
        }
        self.next += batch;
        Ok(())
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the object is damaged or was deleted meanwhile")
}
