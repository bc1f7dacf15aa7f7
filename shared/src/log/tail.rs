//! The log followed from a sequence: every entry once, in order, without a gap, across restarts of the server.
//!
//! An own pull loop rather than the library's ordered consumer: that one starts over at the beginning when it is
//! recreated before its first message, and takes half a minute to notice a consumer that died with its server.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, pull};
use chrono::DateTime;
use tokio::sync::watch;

use super::source::{Sent, Source, Status};
use super::{Log, LogError, STREAM};
use crate::envelope::Entry;

/// Entries asked for at once; another request goes out when half of them have come. Fewer take the server longer.
const PULL: usize = 10_000;
/// Pause before keys are asked for again.
const KEY_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that one request may bring: with two requests under way, the most that waits in memory is twice this.
const PULL_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of bodies after which a batch is handed out, however few entries it has.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long a request waits at the server for entries.
const EXPIRES: Duration = Duration::from_secs(10);
/// How often the server says that it is there while nothing comes.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which the consumer is taken for dead.
const SILENCE: Duration = Duration::from_millis(2_500);
/// The server forgets a consumer that nobody pulls from.
const INACTIVE: Duration = Duration::from_secs(30);

/// Follows the log.
#[derive(Debug)]
pub struct Tail {
    log: Log,
    name: String,
    filter: Option<String>,
    /// Whether entries come over a connection of their own, where one can be had.
    lined: bool,
    position: u64,
    pending: u64,
    reconnects: watch::Receiver<u64>,
    attached: Option<Attached>,
}

#[derive(Debug)]
struct Attached {
    inbox: String,
    source: Source,
    consumer: Consumer<pull::Config>,
    consumer_sequence: u64,
    outstanding: usize,
}

impl Log {
    /// Opens what is sealed in entries that are taken from the server already, so whatever stands in the way is waited out.
    async fn unseal_patiently(&self, batch: &mut [Entry]) {
        while let Err(error) = self.unseal(batch).await {
            let position = batch.last().map(|entry| entry.sequence);
            tracing::warn!(%error, position, "what is sealed cannot be opened yet");
            tokio::time::sleep(KEY_PAUSE).await;
        }
    }

    /// Follows the log after the sequence `after`: all of it, or only subjects that match `filter`.
    /// `name` is who follows, as it shows in the server's list of consumers.
    pub fn tail(&self, name: &str, after: u64, filter: Option<&str>) -> Tail {
        Tail {
            log: self.clone(),
            name: format!("{name}-{}", nuid()),
            filter: filter.map(str::to_owned),
            lined: false,
            position: after,
            pending: 0,
            reconnects: self.reconnects(),
            attached: None,
        }
    }
}

fn nuid() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Tail {
    /// Has entries come over a connection of their own, which costs less for each: for who reads long stretches.
    pub(super) fn lined(self) -> Self {
        Self { lined: true, ..self }
    }

    /// Sequence of the last entry that was handed out, or where it started.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Entries that waited at the server when the last one was sent.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Waits until the consumer stands, so that [`Self::pending`] says what is there already.
    ///
    /// # Errors
    /// [`LogError::Replaced`] when the stream is another one. Failures that pass are waited out.
    pub async fn attach(&mut self) -> Result<(), LogError> {
        let mut pause = Duration::from_millis(20);
        while self.attached.is_none() {
            match self.try_attach().await {
                Ok(attached) => self.attached = Some(attached),
                Err(LogError::Replaced) => return Err(LogError::Replaced),
                Err(error) => {
                    tracing::debug!(%error, position = self.position, "the tail waits for the log");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
                }
            }
        }
        Ok(())
    }

    /// Waits for at least one entry and hands out what has come, at most `most`.
    ///
    /// Not cancel safe: entries taken before the future is dropped are lost. Give a tail a task of its own.
    ///
    /// # Errors
    /// [`LogError::Replaced`] when the stream is another one. Anything else is waited out.
    pub async fn next_batch(&mut self, most: usize) -> Result<Vec<Entry>, LogError> {
        loop {
            self.attach().await?;
            let mut batch = Vec::new();
            // Unconstrained, as the runtime would end a batch after 128 entries; `most` ends it, too.
            if let Err(why) = tokio::task::unconstrained(self.receive(&mut batch, most)).await {
                tracing::debug!(why, position = self.position, "the tail attaches again");
                self.attached = None;
            }
            if !batch.is_empty() {
                self.log.unseal_patiently(&mut batch).await;
                return Ok(batch);
            }
        }
    }

    /// Has the server forget the consumer at once, and not when nobody has asked for long.
    pub(super) async fn leave(&mut self) {
        if self.attached.take().is_some()
            && let Ok(stream) = self.log.context.get_stream_no_info(STREAM).await
        {
            let _gone = stream.delete_consumer(&self.name).await;
        }
    }

    async fn try_attach(&mut self) -> Result<Attached, LogError> {
        self.reconnects.mark_unchanged();
        if self.log.extent().await?.last < self.position {
            return Err(LogError::Replaced);
        }
        let stream = self.log.context.get_stream_no_info(STREAM).await.map_err(LogError::unavailable)?;
        // The one before, if it still stands, would only idle until the server forgets it.
        let _gone = stream.delete_consumer(&self.name).await;
        let config = pull::Config {
            name: Some(self.name.clone()),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.position + 1 },
            ack_policy: AckPolicy::None,
            filter_subject: self.filter.clone().unwrap_or_default(),
            inactive_threshold: INACTIVE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(LogError::unavailable)?;
        self.pending = consumer.cached_info().num_pending;
        let inbox = self.log.client.new_inbox();
        let source = Source::open(&self.log, &self.name, &inbox, self.lined).await?;
        let (consumer_sequence, outstanding) = (0, 0);
        Ok(Attached { inbox, source, consumer, consumer_sequence, outstanding })
    }

    /// Fills `batch`; an `Err` says why this consumer is no longer to be trusted. What is in `batch` is good.
    async fn receive(&mut self, batch: &mut Vec<Entry>, most: usize) -> Result<(), &'static str> {
        let attached = self.attached.as_mut().ok_or("not attached")?;
        attached.pull(&self.log).await?;
        let first = tokio::select! {
            sent = tokio::time::timeout(SILENCE, attached.source.next()) => sent.map_err(|_| "silence")??,
            _ = self.reconnects.changed() => return Err("reconnected"),
        };
        let mut next = Some(first);
        let mut bytes = 0;
        while let Some(sent) = next {
            bytes += sent.body.len();
            self.take(sent, batch)?;
            let attached = self.attached.as_mut().ok_or("not attached")?;
            attached.pull(&self.log).await?;
            let more = batch.len() < most && bytes < BATCH_BYTES;
            next = if more { attached.source.next_now().transpose()? } else { None };
        }
        Ok(())
    }

    fn take(&mut self, sent: Sent, batch: &mut Vec<Entry>) -> Result<(), &'static str> {
        let attached = self.attached.as_mut().ok_or("not attached")?;
        match sent.status {
            None | Some(Status { code: 200, .. }) => {}
            Some(Status { code: 100, .. }) => return Ok(()),
            Some(status) if ends_request(&status) => {
                attached.ended(&status);
                return Ok(());
            }
            Some(_) => return Err("the server ended the consumer"),
        }
        let position = sent.position.ok_or("an entry came without its position")?;
        if position.of_consumer != attached.consumer_sequence + 1 || position.sequence <= self.position {
            return Err("an entry is missing");
        }
        attached.consumer_sequence += 1;
        attached.outstanding = attached.outstanding.saturating_sub(1);
        (self.position, self.pending) = (position.sequence, position.pending);
        let stored_at = DateTime::from_timestamp_nanos(position.stored_at);
        batch.push(Entry::new(self.position, stored_at, sent.subject, sent.headers, sent.body));
        Ok(())
    }
}

/// Whether a status says that a request is over, and no more: 408 that it ran out, 409 that its bytes did, or that all of
/// it came. Any other 409 is the consumer's end.
fn ends_request(Status { code, said, .. }: &Status) -> bool {
    *code == 408 || *code == 409 && (said.contains("MaxBytes") || said == "Batch Completed")
}

impl Attached {
    /// A request is over: what it did not bring is not to be waited for.
    fn ended(&mut self, status: &Status) {
        self.outstanding = self.outstanding.saturating_sub(status.not_brought.unwrap_or(self.outstanding));
    }

    async fn pull(&mut self, log: &Log) -> Result<(), &'static str> {
        if self.outstanding > PULL / 2 {
            return Ok(());
        }
        let ask = serde_json::json!({
            "batch": PULL, "max_bytes": PULL_BYTES,
            "expires": EXPIRES.as_nanos() as u64, "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{}", self.consumer.cached_info().name);
        self.outstanding += PULL;
        self.source
            .ask(log, subject, &self.inbox, ask.to_string())
            .await
            .map_err(|_| "the connection was closed")
    }
}
