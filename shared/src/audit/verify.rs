//! The audit log compared with its seals, in bounded memory: two readers, one of all records and one of the seals alone,
//! and an alignment that names what is no longer what it was.

mod align;
mod pages;

use async_nats::jetstream;
use chrono::{DateTime, TimeDelta, Utc};

use super::seal::{Digest, GONE, Head};
use super::{Audit, STREAM};
use crate::log::{Log, LogError, REQUEST_TIMEOUT};
use crate::subjects;

use align::{Aligner, Found};
use pages::{Pages, Stretch};

/// Something that is not what it was. Sequences of what is missing are those that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// These records are gone.
    Removed(u64, u64),
    /// These records were not there when their neighbours were sealed.
    Inserted(u64, u64),
    /// These records are not the ones that were sealed there.
    Changed(u64, u64),
    /// The record at the first sequence stood at the second one.
    Moved(u64, u64),
    /// These records were missing already when they were sealed: the server or its disk lost them.
    Lost(u64, u64),
    /// No seal covers these records, though a later one should go on from them.
    Uncovered(u64, u64),
    /// This seal cannot be read.
    Unreadable(u64),
    /// This seal does not go on from the one before it.
    Unchained(u64),
    /// The records that this seal covers are not those that it was made of.
    Unproven(u64),
    /// The seal that was kept elsewhere is not there, or is another one: the log was cut off, or made anew.
    Unexpected(u64),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records, without seals.
    pub records: u64,
    /// Seals.
    pub seals: u64,
    /// Newest records that no seal covers yet.
    pub unsealed: u64,
    /// When the oldest of these was stored.
    pub unsealed_since: Option<DateTime<Utc>>,
    /// The longest that a record waited for its seal: what it was before is not proven.
    pub longest_wait: TimeDelta,
    /// The newest seal, to be kept elsewhere.
    pub head: Option<Head>,
    /// Breaks that were named.
    pub breaks: u64,
}

/// How far a verification is, and what it finds.
pub trait Watch {
    /// So many records of so many were read.
    fn read(&mut self, done: u64, of: u64);
    /// Something is not what it was.
    fn found(&mut self, found: Break);
}

/// Compares the audit log with its seals, and with seals that were kept elsewhere.
///
/// # Errors
/// [`LogError::Unavailable`] when the server does not answer in time.
pub async fn run(log: &Log, expected: &[Head], watch: &mut impl Watch) -> Result<Verified, LogError> {
    let mut context = jetstream::new(log.client().clone());
    context.set_timeout(REQUEST_TIMEOUT);
    let stream = context.get_stream(STREAM).await.map_err(LogError::unavailable)?;
    let (end, of) = (stream.cached_info().state.last_sequence, stream.cached_info().state.messages);
    // What is sealed meanwhile is the next verification's.
    let newest = Audit::new(log).sealed().await.unwrap_or_default();
    let last_seal = newest.map_or(end, |newest| newest.head.sequence.min(end));
    let mut records = Pages::begin(log, subjects::AUDIT, end);
    let mut seals = Pages::begin(log, subjects::SEALS, last_seal);
    let mut aligner = Aligner::new(expected);
    let (mut read, mut all_seals) = (0, false);
    loop {
        // Seals first: a record is compared with what the seal after it says.
        while !all_seals && aligner.wants_seals() {
            let page = seals.next().await?;
            all_seals = page.is_none();
            let Stretch { found, seals } = page.unwrap_or_default();
            found.iter().zip(seals).for_each(|(found, seal)| aligner.seal(found.sequence, seal));
        }
        let Some(Stretch { found, .. }) = records.next().await? else { break };
        read += found.len() as u64;
        aligner.records(found);
        aligner.advance(false);
        if all_seals {
            aligner.leave();
        }
        aligner.breaks(false).into_iter().for_each(|found| watch.found(found));
        watch.read(read, of);
    }
    aligner.advance(true);
    aligner.leave();
    let verified = aligner.end();
    aligner.breaks(true).into_iter().for_each(|found| watch.found(found));
    Ok(verified)
}
