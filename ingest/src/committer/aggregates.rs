//! The cache of aggregates: folded from the log on the first use, kept within a bound of bytes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use shared::events::unknown;
use shared::log::{Log, LogError};
use shared::subjects::Subject;

use super::plan::Planned;
use super::{Job, Receipt};
use crate::state::State;

/// Bytes that cached aggregates may take, by their own estimate: what was said in some thousands of conversations.
const CACHE_BYTES: u64 = 256 * 1024 * 1024;
/// How long an aggregate is kept that nobody asks for: calls are over by then.
const CACHE_IDLE: Duration = Duration::from_secs(30 * 60);
/// Pause between tries to read an aggregate while the log is away.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One aggregate, folded as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    folded: Mutex<Folded>,
    stale: AtomicBool,
}

/// What is folded.
#[derive(Debug, Default)]
pub(super) struct Folded {
    /// Its state.
    pub(super) state: State,
    /// Sequence of its newest event; 0 when it has none.
    pub(super) last_sequence: u64,
    /// A newer version wrote to it: nothing can be decided on what is known of it.
    pub(super) newer: bool,
    /// Ids of events that were found by reading again after a commit was in doubt: how a retry finds its own event.
    pub(super) found: HashMap<String, u64>,
    /// Weight at which the cache was told of it.
    weighed: usize,
}

pub(super) fn lock(aggregate: &Aggregate) -> MutexGuard<'_, Folded> {
    aggregate.folded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Aggregate {
    /// Whether it may have moved on without us.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    /// Marks that it may have moved on without us.
    pub(super) fn doubt(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// Reads what the log has beyond what is folded.
    pub(super) async fn refresh(&self, log: &Log, subject: &Subject) -> Result<(), LogError> {
        let after = lock(self).last_sequence;
        log.read(subject, after, |entry| {
            let folded = &mut *lock(self);
            // The committer, or another reader, may have been faster.
            if entry.sequence <= folded.last_sequence {
                return;
            }
            folded.last_sequence = entry.sequence;
            folded.found.insert(entry.event_id().to_owned(), entry.sequence);
            match entry.decode() {
                Ok(event) => folded.state.fold(event, entry.sequence),
                Err(error) if error.is_of_newer() => {
                    unknown::passed_over("ingest", entry.event_type());
                    folded.newer = true;
                }
                // The projector parks it. For deciding it counts as a move of the aggregate and nothing else.
                Err(error) => tracing::warn!(sequence = entry.sequence, %error, "an event cannot be folded"),
            }
        })
        .await?;
        self.stale.store(false, Ordering::Release);
        Ok(())
    }
}

/// All aggregates in use. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Aggregates {
    log: Log,
    cache: Cache<String, Arc<Aggregate>>,
}

impl Aggregates {
    pub(super) fn new(log: Log) -> Self {
        let weigher = |_: &String, aggregate: &Arc<Aggregate>| {
            u32::try_from(lock(aggregate).weight()).unwrap_or(u32::MAX)
        };
        let cache =
            Cache::builder().max_capacity(CACHE_BYTES).weigher(weigher).time_to_idle(CACHE_IDLE).build();
        Self { log, cache }
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// The aggregate, read from the log if it is not cached. Concurrent first uses share one read.
    pub(super) async fn get(&self, subject: &Subject) -> Result<Arc<Aggregate>, LogError> {
        if let Some(cached) = self.cache.get(subject.as_str()).await {
            return Ok(cached);
        }
        let load = async {
            let aggregate = Aggregate::default();
            aggregate.refresh(&self.log, subject).await?;
            lock(&aggregate).found = HashMap::new();
            Ok::<_, LogError>(Arc::new(aggregate))
        };
        let loaded = self.cache.try_get_with_by_ref(subject.as_str(), load).await;
        loaded.map_err(|error| LogError::Unavailable(error.to_string()))
    }

    /// The same, waiting for the log as long as the caller does.
    pub(super) async fn get_patiently(&self, subject: &Subject) -> Arc<Aggregate> {
        loop {
            match self.get(subject).await {
                Ok(aggregate) => return aggregate,
                Err(error) => tracing::debug!(%error, "an aggregate cannot be read yet"),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Folds the events that were just stored, the last one at `sequence`, and answers their caller; gives the job back
    /// when there is more of it.
    pub(super) fn stored(&self, planned: Planned, sequence: u64) -> Option<Job> {
        let Planned { job, events, first, more } = planned;
        let grown = {
            let folded = &mut *lock(&job.aggregate);
            let before = sequence - events.len() as u64;
            for (event, sequence) in events.into_iter().zip(before + 1..) {
                if sequence > folded.last_sequence {
                    folded.state.fold(event, sequence);
                    folded.last_sequence = sequence;
                    folded.found.clear();
                }
            }
            let weight = folded.weight();
            let grown = weight > 2 * folded.weighed.max(1_024);
            if grown {
                folded.weighed = weight;
            }
            grown
        };
        if grown {
            self.weigh_again(&job.subject, &job.aggregate);
        }
        if more {
            return Some(job);
        }
        job.answer(Ok(Receipt { first: first.unwrap_or(sequence), sequence }));
        None
    }

    /// The cache weighs what is put in, not what grows inside: an aggregate that doubled is put in again.
    fn weigh_again(&self, subject: &Subject, aggregate: &Arc<Aggregate>) {
        let (cache, key, aggregate) =
            (self.cache.clone(), subject.as_str().to_owned(), Arc::clone(aggregate));
        tokio::spawn(async move { cache.insert(key, aggregate).await });
    }
}

impl Folded {
    fn weight(&self) -> usize {
        self.state.weight() + self.found.len() * 64
    }
}
