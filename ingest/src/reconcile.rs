//! Conversations that the vendor has and the log has not: found by comparing the vendor's list with the log, fetched, and
//! recorded as coming from there. A webhook that is missed is lost otherwise: the vendor does not send it again by default.
//!
//! Everything here may be done again, by several at once, and broken off anywhere: whether something is missing is asked of
//! the log, and what is recorded twice is decided to be a repeat.

mod background;
mod desk;
mod memory;
mod once;
mod reread;
mod round;
mod settings;
mod tally;
mod visit;

use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::vendor::Vendor;

pub(crate) use background::{keep_reconciling, keep_rereading, supervise};
pub(crate) use desk::Desk;
pub use once::{OnceSettings, Reconciled, run_once};
pub use round::Trouble;
pub use settings::ReconcileSettings;
pub use tally::{Outcome, Step, Tally};

/// Compares, fetches and records.
#[derive(Debug, Clone)]
pub(crate) struct Reconciler {
    pub(crate) vendor: Vendor,
    pub(crate) settings: ReconcileSettings,
    pub(crate) desk: Arc<Desk>,
}

/// Calls that began at `after` or later, and before `before`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The oldest.
    pub after: DateTime<Utc>,
    /// Past the newest. Fixed while pages are read, so that they do not shift.
    pub before: DateTime<Utc>,
}

/// What is to be done with what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Fetch recordings, too.
    pub audio: bool,
    /// Fetch nothing; only name what is missing.
    pub dry_run: bool,
}
