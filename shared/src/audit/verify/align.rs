//! What seals say side by side with what is there. As long as both agree it costs nothing; where they do not, it looks
//! around for where they agree again, and so tells what happened between.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::{Break, Digest, GONE, Head, Verified};
use crate::audit::seal::{MOST, Mark, Seal, begin, mark as mark_of};

/// How far it looks around: what one seal covers.
const WINDOW: usize = MOST as usize;

/// A record that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) stored_at: DateTime<Utc>,
    pub(super) digest: Digest,
    pub(super) mark: Mark,
    pub(super) is_seal: bool,
    /// Of a seal: the last record that it covers.
    pub(super) covers_to: Option<u64>,
}

/// A record that a seal says was there.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Sealed {
        position: u64,
        mark: Mark,
    },
    /// What no seal tells about, up to this position.
    Unknown {
        to: u64,
    },
}

/// A seal whose records are being compared.
#[derive(Debug)]
struct Cover {
    sequence: u64,
    from: u64,
    to: u64,
    at: DateTime<Utc>,
    hash: Digest,
    hasher: Sha256,
    left: u64,
    /// Nothing of it was named yet.
    whole: bool,
}

/// Both sides, and what came of it.
#[derive(Debug)]
pub(super) struct Aligner {
    expected: VecDeque<Expected>,
    found: VecDeque<Found>,
    covers: VecDeque<Cover>,
    /// The last position that a seal covers, and that seal's hash.
    covered: u64,
    chain: Digest,
    /// How far sequences are from the positions that were sealed: other than 0 in a copy that lacks some.
    shift: i128,
    kept: Vec<(Head, bool)>,
    breaks: Vec<Break>,
    verified: Verified,
}

impl Aligner {
    /// Nothing was read yet; these seals must turn up.
    pub(super) fn new(kept: &[Head]) -> Self {
        Self {
            expected: VecDeque::new(),
            found: VecDeque::new(),
            covers: VecDeque::new(),
            covered: 0,
            chain: GONE,
            shift: 0,
            kept: kept.iter().map(|head| (*head, false)).collect(),
            breaks: Vec::new(),
            verified: Verified::default(),
        }
    }

    /// Whether what is expected does not reach far enough to look around.
    pub(super) fn wants_seals(&self) -> bool {
        self.expected.len() < self.found.len() + 2 * WINDOW
    }

    /// The next seal.
    pub(super) fn seal(&mut self, sequence: u64, seal: Option<Seal>) {
        self.verified.seals += 1;
        let Some(seal) = seal else { return self.name(Break::Unreadable(sequence)) };
        let Seal { from, to, hash, before, at, marks } = seal;
        if before != self.chain || from <= self.covered {
            self.name(Break::Unchained(sequence));
        }
        for (head, seen) in &mut self.kept {
            *seen |= *head == Head { sequence, hash };
        }
        self.chain = hash;
        self.verified.head = Some(Head { sequence, hash });
        // A seal that begins before the one before it ends says nothing new until there.
        if from <= self.covered {
            return;
        }
        if from > self.covered + 1 {
            self.name(Break::Uncovered(self.covered + 1, from - 1));
            self.expected.push_back(Expected::Unknown { to: from - 1 });
        }
        self.covered = to;
        let (hasher, left) = (begin(before, from, to), marks.len() as u64);
        self.covers.push_back(Cover { sequence, from, to, at, hash, hasher, left, whole: true });
        let marks = (from..).zip(marks).map(|(position, mark)| Expected::Sealed { position, mark });
        self.expected.extend(marks);
    }

    /// The next records.
    pub(super) fn records(&mut self, found: VecDeque<Found>) {
        self.verified.records += found.iter().filter(|found| !found.is_seal).count() as u64;
        self.found.extend(found);
    }

    /// Compares as far as can be seen; `ended` when nothing more comes.
    pub(super) fn advance(&mut self, ended: bool) {
        while let Some(expected) = self.expected.front().copied() {
            let (position, mark) = match expected {
                Expected::Sealed { position, mark } => (position, mark),
                Expected::Unknown { to } => {
                    match self.found.front() {
                        Some(found) if i128::from(found.sequence) - self.shift <= i128::from(to) => {
                            self.found.pop_front();
                        }
                        None if !ended => return,
                        _ => drop(self.expected.pop_front()),
                    }
                    continue;
                }
            };
            if mark == mark_of(&GONE) {
                self.expected.pop_front();
                self.settle(position, Some(GONE), None);
                self.name(Break::Lost(position, position));
                continue;
            }
            match self.found.front().copied() {
                Some(found) if found.mark == mark => {
                    self.expected.pop_front();
                    self.found.pop_front();
                    self.shift = i128::from(found.sequence) - i128::from(position);
                    self.settle(position, Some(found.digest), Some(found.stored_at));
                }
                _ if self.found.len() < WINDOW && !ended => return,
                None => self.removed(position),
                Some(found) => self.differ(position, mark, found),
            }
        }
    }

    /// There are no more seals: what is left is not sealed yet.
    pub(super) fn leave(&mut self) {
        if !self.expected.is_empty() {
            return;
        }
        for found in self.found.drain(..).filter(|found| !found.is_seal) {
            self.verified.unsealed += 1;
            self.verified.unsealed_since.get_or_insert(found.stored_at);
        }
    }

    /// They do not agree: what happened?
    fn differ(&mut self, position: u64, mark: Mark, found: Found) {
        // A hole in the sequences, or a seal over the very record that is looked for, which stood before it.
        let hole = i128::from(found.sequence) - self.shift > i128::from(position);
        if hole || found.covers_to.is_some_and(|to| to >= position) {
            return self.removed(position);
        }
        let later = self.found.iter().take(WINDOW).any(|later| later.mark == mark);
        let stood =
            self.expected.iter().take(WINDOW).position(
                |expected| matches!(expected, Expected::Sealed { mark, .. } if *mark == found.mark),
            );
        match (later, stood) {
            (false, Some(_)) => self.removed(position),
            (false, None) => {
                self.expected.pop_front();
                self.found.pop_front();
                self.settle(position, None, None);
                self.name(Break::Changed(found.sequence, found.sequence));
            }
            (true, None) => {
                self.found.pop_front();
                self.name(Break::Inserted(found.sequence, found.sequence));
            }
            (true, Some(stood)) => {
                self.found.pop_front();
                if let Some(Expected::Sealed { position, .. }) = self.expected.remove(stood) {
                    self.settle(position, None, None);
                    self.name(Break::Moved(found.sequence, position));
                }
            }
        }
    }

    fn removed(&mut self, position: u64) {
        self.expected.pop_front();
        self.settle(position, None, None);
        self.name(Break::Removed(position, position));
    }

    /// One record less that its seal waits for; none where it is not there as it was.
    fn settle(&mut self, position: u64, digest: Option<Digest>, stored_at: Option<DateTime<Utc>>) {
        let Some(cover) = self.covers.iter_mut().find(|cover| (cover.from..=cover.to).contains(&position))
        else {
            return;
        };
        cover.left -= 1;
        match digest {
            Some(digest) => cover.hasher.update(digest),
            None => cover.whole = false,
        }
        if let Some(stored_at) = stored_at {
            self.verified.longest_wait = self.verified.longest_wait.max(cover.at - stored_at);
        }
        // What was taken out of order may leave one behind that is done.
        while self.covers.front().is_some_and(|cover| cover.left == 0) {
            let Some(cover) = self.covers.pop_front() else { return };
            let hash: Digest = cover.hasher.finalize().into();
            if cover.whole && hash != cover.hash {
                self.name(Break::Unproven(cover.sequence));
            }
        }
    }

    /// Runs of the same become one.
    fn name(&mut self, found: Break) {
        let joined = match (self.breaks.last_mut(), found) {
            (Some(Break::Removed(_, to)), Break::Removed(from, end))
            | (Some(Break::Inserted(_, to)), Break::Inserted(from, end))
            | (Some(Break::Changed(_, to)), Break::Changed(from, end))
            | (Some(Break::Lost(_, to)), Break::Lost(from, end))
                if from == *to + 1 =>
            {
                *to = end;
                true
            }
            _ => false,
        };
        if !joined {
            self.verified.breaks += 1;
            self.breaks.push(found);
        }
    }

    /// What was found and is not told yet; the last one may still grow until all is compared.
    pub(super) fn breaks(&mut self, all: bool) -> Vec<Break> {
        let told = self.breaks.len().saturating_sub(usize::from(!all));
        self.breaks.drain(..told).collect()
    }

    /// All was compared; seals that were kept elsewhere and did not turn up are named.
    pub(super) fn end(&mut self) -> Verified {
        let missing: Vec<_> =
            self.kept.iter().filter(|(_, seen)| !seen).map(|(head, _)| head.sequence).collect();
        missing.into_iter().for_each(|sequence| self.name(Break::Unexpected(sequence)));
        self.verified.clone()
    }
}

#[cfg(test)]
mod tests;
