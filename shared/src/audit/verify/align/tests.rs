use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::audit::seal::digest;

/// Records and the seals over them, as they were written.
#[derive(Clone, Default)]
struct Written {
    records: Vec<Found>,
    seals: Vec<(u64, Seal)>,
}

fn at(second: u64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000 + i64::try_from(second).unwrap(), 0).unwrap()
}

fn record(sequence: u64, text: &str) -> Found {
    let digest = digest("a.subject", text.as_bytes());
    Found {
        sequence,
        stored_at: at(sequence),
        digest,
        mark: mark_of(&digest),
        is_seal: false,
        covers_to: None,
    }
}

impl Written {
    /// So many seals over so many records each, and then some that are not sealed yet.
    fn of(seals: u64, each: u64, more: u64) -> Self {
        let mut written = Self::default();
        for _ in 0..seals {
            (0..each).for_each(|_| written.record());
            written.seal();
        }
        (0..more).for_each(|_| written.record());
        written
    }

    fn next(&self) -> u64 {
        self.records.len() as u64 + 1
    }

    fn record(&mut self) {
        let sequence = self.next();
        self.records.push(record(sequence, &format!("record {sequence}")));
    }

    fn seal(&mut self) {
        let last = self.seals.last().map(|(_, seal)| seal.clone());
        let (covered, before) = last.map_or((0, GONE), |seal| (seal.to, seal.hash));
        let digests: Vec<_> = self.records[covered as usize..].iter().map(|found| found.digest).collect();
        let sequence = self.next();
        let seal = Seal::over(covered + 1, &digests, before, at(sequence + 5));
        let covers_to = Some(seal.to);
        self.records.push(Found {
            is_seal: true,
            covers_to,
            ..record(sequence, &format!("seal {sequence}"))
        });
        self.seals.push((sequence, seal));
    }

    /// A copy made by publishing everything again: new sequences.
    fn renumbered(mut self) -> Self {
        for (found, sequence) in self.records.iter_mut().zip(1..) {
            let is_it = |(place, _): &&mut (u64, Seal)| found.is_seal && *place == found.sequence;
            if let Some((place, _)) = self.seals.iter_mut().find(is_it) {
                *place = sequence;
            }
            found.sequence = sequence;
        }
        self
    }

    fn verified(&self, kept: &[Head]) -> (Verified, Vec<Break>) {
        let mut aligner = Aligner::new(kept);
        let (mut seals, mut records) = (self.seals.iter().cloned(), self.records.chunks(3));
        let mut breaks = Vec::new();
        let mut all = false;
        loop {
            while !all && aligner.wants_seals() {
                match seals.next() {
                    Some((sequence, seal)) => aligner.seal(sequence, Some(seal)),
                    None => all = true,
                }
            }
            let Some(page) = records.next() else { break };
            aligner.records(page.iter().copied().collect());
            aligner.advance(false);
            if all {
                aligner.leave();
            }
            breaks.extend(aligner.breaks(false));
        }
        aligner.advance(true);
        aligner.leave();
        let verified = aligner.end();
        breaks.extend(aligner.breaks(true));
        assert_eq!(breaks.len() as u64, verified.breaks);
        (verified, breaks)
    }

    fn breaks(&self) -> Vec<Break> {
        self.verified(&[]).1
    }

    fn head(&self, seal: usize) -> Head {
        let (sequence, seal) = &self.seals[seal];
        Head { sequence: *sequence, hash: seal.hash }
    }
}

#[test]
fn what_is_as_it_was_has_no_break_and_a_head_to_keep() {
    let written = Written::of(4, 7, 2);
    let heads: Vec<_> = (0..4).map(|seal| written.head(seal)).collect();
    let (verified, breaks) = written.verified(&heads);
    assert_eq!(breaks, []);
    assert_eq!((verified.records, verified.seals, verified.unsealed), (30, 4, 2));
    assert_eq!(verified.head, Some(heads[3]));
    assert_eq!(verified.unsealed_since, Some(at(33)));
    // The seal that stands at 8 was itself sealed at 16, by one that says 5 seconds later.
    assert_eq!(verified.longest_wait, TimeDelta::seconds(13));
    assert_eq!(Written::default().verified(&[]), (Verified::default(), vec![]));
}

#[test]
fn a_record_that_was_changed_is_named() {
    for place in [0, 6, 10, 29] {
        let mut written = Written::of(4, 7, 2);
        let named = place as u64 + 1;
        written.records[place] = record(named, "forged");
        assert_eq!(written.breaks(), [Break::Changed(named, named)]);
    }
}

#[test]
fn a_record_that_was_taken_out_is_named_whether_it_leaves_a_hole_or_not() {
    for place in [0, 6, 10, 29] {
        let mut written = Written::of(4, 7, 2);
        written.records.remove(place);
        let named = place as u64 + 1;
        assert_eq!(written.breaks(), [Break::Removed(named, named)], "a hole at {place}");
        assert_eq!(written.renumbered().breaks(), [Break::Removed(named, named)], "closed up at {place}");
    }
    let mut written = Written::of(4, 7, 2);
    written.records.drain(2..6);
    assert_eq!(written.breaks(), [Break::Removed(3, 6)]);
    assert_eq!(written.renumbered().breaks(), [Break::Removed(3, 6)]);
    // The oldest, with their seals.
    let mut written = Written::of(4, 7, 2);
    written.records.drain(..20);
    written.seals.drain(..2);
    assert!(written.breaks().contains(&Break::Uncovered(1, 15)), "{:?}", written.breaks());
}

#[test]
fn records_that_were_moved_or_put_in_between_are_named() {
    let mut written = Written::of(4, 7, 2);
    written.records.swap(9, 10);
    assert_eq!(written.clone().renumbered().breaks(), [Break::Moved(10, 11)]);
    let mut written = Written::of(4, 7, 2);
    written.records.insert(9, record(0, "forged"));
    assert_eq!(written.renumbered().breaks(), [Break::Inserted(10, 10)]);
    // Behind the last seal there is nothing yet that could tell.
    let mut written = Written::of(4, 7, 2);
    written.records.insert(33, record(0, "forged"));
    assert_eq!(written.renumbered().breaks(), []);
}

#[test]
fn a_seal_that_was_taken_out_changed_or_forged_is_named() {
    let mut written = Written::of(4, 7, 2);
    written.records.remove(15);
    written.seals.remove(1);
    let named = [Break::Unchained(24), Break::Uncovered(8, 15), Break::Removed(16, 16)];
    assert_eq!(written.breaks(), named);

    let mut written = Written::of(4, 7, 2);
    written.records[15] = Found { is_seal: true, ..record(16, "forged") };
    written.seals[1].1.hash = digest("x", b"y");
    let named = [Break::Unchained(24), Break::Unproven(16), Break::Changed(16, 16)];
    assert_eq!(written.breaks(), named);

    // All marks are right, and yet the hash is not of these records.
    let mut written = Written::of(1, 7, 0);
    written.records[3].digest[31] ^= 1;
    assert_eq!(written.breaks(), [Break::Unproven(8)]);
}

#[test]
fn a_cut_end_shows_to_whoever_kept_a_head() {
    let whole = Written::of(4, 7, 2);
    let mut cut = whole.clone();
    cut.records.truncate(24);
    cut.seals.truncate(3);
    assert_eq!(cut.breaks(), [], "nothing within can tell");
    assert_eq!(cut.verified(&[whole.head(3)]).1, [Break::Unexpected(32)]);
    // Made anew from something else, with seals that are right among themselves.
    let mut forged = Written::default();
    forged.records.push(record(1, "forged"));
    (1..7).for_each(|_| forged.record());
    forged.seal();
    assert_eq!(forged.breaks(), []);
    assert_eq!(forged.verified(&[whole.head(0)]).1, [Break::Unexpected(8)]);
}

#[test]
fn what_was_lost_before_it_was_sealed_stays_lost() {
    let mut written = Written::of(1, 7, 0);
    let mut digests: Vec<_> = written.records[..7].iter().map(|found| found.digest).collect();
    digests[2] = GONE;
    written.seals[0].1 = Seal::over(1, &digests, GONE, at(9));
    let mut lost = written.clone();
    lost.records.remove(2);
    assert_eq!(lost.breaks(), [Break::Lost(3, 3)]);
    // Whatever takes its place did not stand there.
    assert_eq!(written.breaks(), [Break::Lost(3, 3), Break::Inserted(3, 3)]);
}

#[test]
fn nothing_that_is_broken_makes_it_grow() {
    let mut written = Written::of(40, 1_000, 5_000);
    written.records.drain(100..35_000);
    let breaks = written.clone().renumbered().breaks();
    assert!(!breaks.is_empty() && breaks.len() < 60_000, "{}", breaks.len());
    assert_eq!(written.breaks()[0], Break::Removed(101, 35_000));
}
