//! Where a search goes on.

use sha2::{Digest, Sha256};
use shared::auth::Identity;

use super::Wanted;
use crate::list::Cursors;

/// Sets these cursors apart from those of lists, and this layout from later ones.
pub(crate) const PURPOSE: &[u8] = b"turnlog search cursor 1";
/// What is sealed, in bytes: where the matches end, the last one's rank and sequence, what is searched for.
const PLAIN: usize = 8 + 4 + 8 + 8;

/// Where a search goes on: among the newest matches before a sequence, after one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cursor {
    pub(crate) before: u64,
    /// Rank and sequence of the last match that was looked at; none at the beginning.
    pub(crate) last: Option<(f32, u64)>,
    wanted: [u8; 8],
}

impl Cursor {
    pub(crate) fn new(wanted: &Wanted, before: u64, last: Option<(f32, u64)>) -> Self {
        Self { before, last, wanted: fingerprint(wanted) }
    }

    /// Whether it goes on with the same search.
    pub(crate) fn is_of(&self, wanted: &Wanted) -> bool {
        self.wanted == fingerprint(wanted)
    }

    /// Its text, good for this caller alone.
    pub(crate) fn seal(&self, cursors: &Cursors, caller: &Identity) -> String {
        let mut plain = [0; PLAIN];
        // No message has the sequence 0.
        let (rank, sequence) = self.last.unwrap_or_default();
        plain[..8].copy_from_slice(&self.before.to_be_bytes());
        plain[8..12].copy_from_slice(&rank.to_be_bytes());
        plain[12..20].copy_from_slice(&sequence.to_be_bytes());
        plain[20..].copy_from_slice(&self.wanted);
        cursors.seal_plain(caller, &plain)
    }

    /// The cursor of a text; `None` where we did not make it for this caller.
    pub(crate) fn open(cursors: &Cursors, caller: &Identity, text: &str) -> Option<Self> {
        let plain: [u8; PLAIN] = cursors.open_plain(caller, text)?;
        let before = u64::from_be_bytes(plain[..8].try_into().ok()?);
        let rank = f32::from_be_bytes(plain[8..12].try_into().ok()?);
        let sequence = u64::from_be_bytes(plain[12..20].try_into().ok()?);
        let last = Some((rank, sequence)).filter(|_| sequence > 0);
        Some(Self { before, last, wanted: plain[20..].try_into().ok()? })
    }
}

/// Tells searches apart.
fn fingerprint(wanted: &Wanted) -> [u8; 8] {
    let mut hash = Sha256::new();
    let instant = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(|at| at.to_rfc3339());
    let (from, to) = (instant(wanted.from), instant(wanted.to));
    let query = wanted.query.tsquery();
    for part in [
        Some(query.as_str()),
        wanted.token(),
        wanted.role.map(|role| role.as_str()),
        from.as_deref(),
        to.as_deref(),
    ] {
        let length = part.map_or(0, |part| part.len() as u64 + 1);
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    first
}
