//! What one feed has been given, and what is wrong with it: a gap, a double, an id that is not the message's.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::mark::Mark;

/// What the `id:` of a frame has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// `<epoch>-<sequence>`: the sequence of the frame's last message, as its writer was told it.
    Sequence,
    /// `<seconds>:<count>`: only that it rises can be checked.
    Time,
    /// There is none.
    None,
}

/// What went wrong on feeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Messages that a feed was not given.
    pub missing: u64,
    /// Messages that a feed was given again.
    pub doubled: u64,
    /// Messages of a conversation that the feed does not watch.
    pub strays: u64,
    /// Frames whose id is absent, does not rise, or is not their last message's.
    pub wrong_ids: u64,
    /// Feeds that ended unasked.
    pub ended: u64,
    /// Frames `error` and `reset`.
    pub errors: u64,
    /// Answers other than 200; the client comes back as it is told, so that this is shown and fails nothing.
    pub refused: u64,
}

impl Faults {
    /// Whether every message came once and in order, with its id, on every feed. A refusal loses nothing.
    pub fn is_clean(&self) -> bool {
        Self { refused: 0, ..*self } == Self::default()
    }

    /// In words; empty where there are none.
    pub fn words(&self) -> String {
        let Self { missing, doubled, strays, wrong_ids, ended, errors, refused } = *self;
        let all = [
            (missing, "missing"),
            (doubled, "doubled"),
            (strays, "strays"),
            (wrong_ids, "wrong ids"),
            (ended, "feeds ended"),
            (errors, "error frames"),
            (refused, "refused"),
        ];
        let named = all.iter().filter(|(count, _)| *count > 0);
        named.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.missing += other.missing;
        self.doubled += other.doubled;
        self.strays += other.strays;
        self.wrong_ids += other.wrong_ids;
        self.ended += other.ended;
        self.errors += other.errors;
        self.refused += other.refused;
    }
}

/// What the frames of all feeds say the id of each message is, by its number; 0 where none has said it.
#[derive(Debug, Default)]
pub struct Agreed(Vec<u64>);

impl Agreed {
    /// Whether this is what the others said.
    fn agrees(&mut self, number: u32, id: u64) -> bool {
        let at = number as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        if self.0[at] == 0 {
            self.0[at] = id;
        }
        self.0[at] == id
    }

    /// How many of them are not what the writers were told.
    pub fn differing(&self, told: &[u64]) -> u64 {
        let pairs = self.0.iter().zip(told);
        pairs.filter(|(said, told)| **said != 0 && **told != 0 && said != told).count() as u64
    }
}

/// One feed.
#[derive(Debug)]
pub struct Track {
    conversation: u32,
    ids: Ids,
    /// Place of the message that comes next.
    next: u32,
    last_id: Option<(u64, u64)>,
    /// What comes first after the opening is read from tables, up to a sequence that may be past its last message.
    opening: bool,
    faults: Faults,
}

impl Track {
    /// Of a feed that starts at the conversation's beginning.
    pub fn new(conversation: u32, ids: Ids) -> Self {
        Self { conversation, ids, next: 0, last_id: None, opening: true, faults: Faults::default() }
    }

    /// The feed was opened again with its last id.
    pub fn reopened(&mut self) {
        self.opening = true;
    }

    /// Takes the messages and the id of one frame; gives each message that is new.
    pub fn frame(
        &mut self,
        id: Option<&[u8]>,
        marks: impl Iterator<Item = Mark>,
        agreed: &mut Agreed,
        mut each: impl FnMut(Mark),
    ) {
        let mut last = None;
        for mark in marks {
            last = Some(mark);
            if self.message(mark) {
                each(mark);
            }
        }
        self.id(id, last, agreed);
    }

    fn message(&mut self, mark: Mark) -> bool {
        if mark.conversation != self.conversation {
            self.faults.strays += 1;
            return false;
        }
        if mark.place < self.next {
            self.faults.doubled += 1;
            return false;
        }
        self.faults.missing += u64::from(mark.place - self.next);
        self.next = mark.place + 1;
        true
    }

    fn id(&mut self, id: Option<&[u8]>, last: Option<Mark>, agreed: &mut Agreed) {
        let id = match (self.ids, id.and_then(numbers)) {
            (Ids::None, _) => return,
            // Heartbeats have none.
            (_, None) => {
                self.faults.wrong_ids += u64::from(last.is_some());
                return;
            }
            (_, Some(id)) => id,
        };
        let rises = self.last_id.replace(id).is_none_or(|before| before < id);
        let exact = match last {
            Some(mark) if self.ids == Ids::Sequence && !self.opening => agreed.agrees(mark.number, id.1),
            _ => true,
        };
        self.opening &= last.is_none();
        self.faults.wrong_ids += u64::from(!(rises && exact));
    }

    /// A frame that says that something went wrong.
    pub fn told_of_an_error(&mut self) {
        self.faults.errors += 1;
    }

    /// The feed ended unasked.
    pub fn ended(&mut self) {
        self.faults.ended += 1;
    }

    /// The feed was answered something else than 200.
    pub fn refused(&mut self) {
        self.faults.refused += 1;
    }

    /// The number of its conversation.
    pub fn conversation(&self) -> usize {
        self.conversation as usize
    }

    /// Its faults, once as many messages as `written` of its conversation should have come.
    pub fn faults(&self, written: u32) -> Faults {
        let missing = self.faults.missing + u64::from(written.saturating_sub(self.next));
        Faults { missing, ..self.faults }
    }
}

/// The numbers of an id: `abc-7` is (0, 7), `12:3` is (12, 3).
fn numbers(id: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(id).ok()?;
    if let Some((seconds, count)) = text.split_once(':') {
        return Some((seconds.parse().ok()?, count.parse().ok()?));
    }
    Some((0, text.rsplit_once('-')?.1.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults after frames of (sequence, places), each message's number being its place.
    fn given(frames: &[(u64, &[u32])], written: u32) -> Faults {
        let (mut track, mut agreed) = (Track::new(3, Ids::Sequence), Agreed::default());
        for (sequence, places) in frames {
            let marks = places.iter().map(|&place| Mark { conversation: 3, place, number: place });
            track.frame(Some(format!("e-{sequence}").as_bytes()), marks, &mut agreed, |_| ());
        }
        track.faults(written)
    }

    #[test]
    fn every_message_once_is_clean() {
        assert!(given(&[(9, &[0]), (12, &[1, 2]), (15, &[3])], 4).is_clean());
    }

    #[test]
    fn a_gap_is_a_fault() {
        let faults = given(&[(9, &[0]), (12, &[2])], 3);
        assert_eq!(faults, Faults { missing: 1, ..Faults::default() });
        assert_eq!(faults.words(), "1 missing");
    }

    #[test]
    fn a_gap_within_a_frame_is_a_fault() {
        assert_eq!(given(&[(9, &[0, 1, 4])], 5).missing, 2);
    }

    #[test]
    fn what_never_came_is_a_fault() {
        assert_eq!(given(&[(9, &[0])], 5).missing, 4);
        assert_eq!(given(&[], 5).missing, 5);
    }

    #[test]
    fn a_double_is_a_fault() {
        assert_eq!(given(&[(9, &[0]), (12, &[1]), (13, &[1])], 2).doubled, 1);
    }

    #[test]
    fn a_frame_that_comes_twice_is_two_faults() {
        let faults = given(&[(9, &[0]), (12, &[1]), (12, &[1])], 2);
        assert_eq!((faults.doubled, faults.wrong_ids), (1, 1));
    }

    #[test]
    fn an_order_that_is_not_the_logs_is_a_gap_and_a_double() {
        let faults = given(&[(9, &[0]), (12, &[2]), (13, &[1])], 3);
        assert_eq!((faults.missing, faults.doubled), (1, 1));
    }

    #[test]
    fn a_message_of_another_conversation_is_a_stray() {
        let (mut track, mut agreed) = (Track::new(3, Ids::None), Agreed::default());
        let stray = Mark { conversation: 4, place: 0, number: 0 };
        track.frame(None, [stray].into_iter(), &mut agreed, |_| panic!("it is not this feed's"));
        assert_eq!(track.faults(0), Faults { strays: 1, ..Faults::default() });
    }

    #[test]
    fn an_id_has_to_be_there_and_to_be_the_same_on_every_feed() {
        let mut agreed = Agreed::default();
        let faults = [Some(b"e-12".as_slice()), Some(b"e-13"), None].map(|id| {
            let mut track = Track::new(3, Ids::Sequence);
            for (place, id) in [(0, Some(b"e-9".as_slice())), (1, id)] {
                let mark = Mark { conversation: 3, place, number: place };
                track.frame(id, [mark].into_iter(), &mut agreed, |_| ());
            }
            track.faults(2).wrong_ids
        });
        assert_eq!(faults, [0, 1, 1]);
        assert_eq!((agreed.differing(&[8, 12]), agreed.differing(&[8, 13])), (0, 1));
    }

    #[test]
    fn a_feed_that_was_opened_again_goes_on_where_it_was() {
        let (mut track, mut agreed) = (Track::new(3, Ids::Time), Agreed::default());
        let mut say = |track: &mut Track, id: &[u8], place| {
            let mark = Mark { conversation: 3, place, number: place };
            track.frame(Some(id), [mark].into_iter(), &mut agreed, |_| ());
        };
        say(&mut track, b"1700000000:0", 0);
        track.reopened();
        say(&mut track, b"1700000000:1", 1);
        say(&mut track, b"1700000001:0", 2);
        assert!(track.faults(3).is_clean());
        track.reopened();
        say(&mut track, b"1700000001:0", 2);
        assert_eq!(track.faults(3).doubled, 1);
    }
}
