//! How far an export is, for whoever watches it; and whether it is to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::error::{ExportError, Result};

/// How far an export is. Clones tell of the same one.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    total: AtomicU64,
    read: AtomicU64,
    wrote: AtomicU64,
    stop: CancellationToken,
}

/// How far an export is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Sequences of the log that it goes through; 0 while that is not known.
    pub total: u64,
    /// How many of them were read.
    pub read: u64,
    /// Rows of messages or conversations that were gone through after that.
    pub wrote: u64,
}

impl Progress {
    /// That ends when `stop` is cancelled.
    pub fn stopping(stop: CancellationToken) -> Self {
        Self(Arc::new(Counters { stop, ..Counters::default() }))
    }

    /// How far it is.
    pub fn step(&self) -> Step {
        let Counters { total, read, wrote, .. } = &*self.0;
        let [total, read, wrote] = [total, read, wrote].map(|count| count.load(Ordering::Relaxed));
        Step { total, read, wrote }
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    pub(crate) fn begin(&self, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, sequences: u64) {
        self.0.read.store(sequences, Ordering::Relaxed);
    }

    /// Counts rows, and looks for a stop each `every` of them.
    pub(crate) fn wrote(&self, rows: u64, every: u64) -> Result<()> {
        if rows.is_multiple_of(every) {
            self.0.wrote.store(rows, Ordering::Relaxed);
        }
        self.look(rows, every)
    }

    /// Looks for a stop each `every` rows.
    pub(crate) fn look(&self, rows: u64, every: u64) -> Result<()> {
        if rows.is_multiple_of(every) && self.0.stop.is_cancelled() {
            return Err(ExportError::Stopped);
        }
        Ok(())
    }
}
