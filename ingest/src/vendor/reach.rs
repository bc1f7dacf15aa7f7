//! Whether the vendor answers, as it was last seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::watch;

use super::VendorError;
use super::limits::HEALTH_TTL;

/// What was last seen, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) up: bool,
    at: Instant,
}

/// Remembers how requests went.
#[derive(Debug)]
pub(super) struct Reach {
    seen: watch::Sender<Option<Seen>>,
    asking: AtomicBool,
}

impl Default for Reach {
    fn default() -> Self {
        Self { seen: watch::Sender::new(None), asking: AtomicBool::new(false) }
    }
}

impl Reach {
    /// Notes how a request went. An answer about one conversation, good or bad, says that the vendor is there.
    pub(super) fn note(&self, failure: Option<&VendorError>) {
        let up = match failure {
            None
            | Some(
                VendorError::NotFound(_)
                | VendorError::Invalid(_)
                | VendorError::RateLimited { .. }
                | VendorError::TooLarge(_),
            ) => true,
            Some(
                VendorError::Unauthorized(_) | VendorError::Unavailable { .. } | VendorError::Malformed(_),
            ) => false,
        };
        let before = self.seen.send_replace(Some(Seen { up, at: Instant::now() }));
        // Said once, not at every request.
        match (before.is_none_or(|seen| seen.up), failure) {
            (true, Some(error)) if !up => tracing::warn!(%error, "ElevenLabs cannot be used"),
            (false, _) if up => tracing::info!("ElevenLabs can be used again"),
            _ => {}
        }
    }

    /// What was last seen, where that is not too long ago.
    pub(super) fn fresh(&self) -> Option<Seen> {
        self.last().filter(|seen| seen.at.elapsed() < HEALTH_TTL)
    }

    /// What was last seen, however long ago.
    pub(super) fn last(&self) -> Option<Seen> {
        *self.seen.borrow()
    }

    /// Follows what is seen from now on.
    pub(super) fn follow(&self) -> watch::Receiver<Option<Seen>> {
        self.seen.subscribe()
    }

    /// Whether the caller is the one to ask; it must say when it is [`Self::done`].
    pub(super) fn begin(&self) -> bool {
        !self.asking.swap(true, Ordering::AcqRel)
    }

    /// Ends what [`Self::begin`] began.
    pub(super) fn done(&self) {
        self.asking.store(false, Ordering::Release);
    }
}
