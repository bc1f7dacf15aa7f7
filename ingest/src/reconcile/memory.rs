//! What the reconciler remembers between its rounds: how far it has come, what was not ready, what needs no look.
//!
//! Only memory: after a restart it looks further back, and finds in the log what it knew.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Complete conversations that are remembered: those of a day, at one every four seconds.
const MOST_COMPLETE: usize = 20_000;
/// Conversations that are waited for.
const MOST_OPEN: usize = 1_000;
/// How far a round reaches behind the beginning of the one before. A call that the list shows is remembered however long
/// it takes; this is for calls that it shows late.
const OVERLAP: Duration = Duration::from_secs(3600);

/// What is remembered.
#[derive(Debug)]
pub(super) struct Memory {
    lookback: Duration,
    /// Calls that began before this have been seen.
    from: DateTime<Utc>,
    complete: Recent,
    /// Not final or not fetched, with their beginnings.
    open: HashMap<String, DateTime<Utc>>,
    /// More were open than can be remembered.
    overflowed: bool,
}

impl Memory {
    /// Of nothing but that it is to begin so far back.
    pub(super) fn new(now: DateTime<Utc>, lookback: Duration) -> Self {
        let (complete, open) = (Recent::default(), HashMap::new());
        Self { lookback, from: now - lookback, complete, open, overflowed: false }
    }

    /// From where on the next round has to look.
    pub(super) fn window(&self) -> DateTime<Utc> {
        self.open.values().copied().min().unwrap_or(self.from).min(self.from)
    }

    /// Whether this conversation needs no look.
    pub(super) fn is_complete(&self, id: &str) -> bool {
        self.complete.ids.contains(id)
    }

    /// Nothing more will come of it.
    pub(super) fn settle(&mut self, id: &str) {
        self.open.remove(id);
        self.complete.insert(id);
    }

    /// There is more to come of a call that began then.
    pub(super) fn wait_for(&mut self, id: &str, started: DateTime<Utc>) {
        if self.open.len() < MOST_OPEN || self.open.contains_key(id) {
            self.open.insert(id.to_owned(), started);
        } else {
            self.overflowed = true;
        }
    }

    /// A round that began then has seen all of its window. Answers how many conversations are given up, because they were
    /// waited for as long as a first round looks back.
    pub(super) fn covered(&mut self, began: DateTime<Utc>) -> usize {
        let (before, oldest) = (self.open.len(), began - self.lookback);
        self.open.retain(|_, started| *started >= oldest);
        // What could not be remembered is found again by a window that stays.
        if !std::mem::take(&mut self.overflowed) {
            self.from = self.from.max(began - OVERLAP.min(self.lookback));
        }
        before - self.open.len()
    }
}

/// Ids, the oldest of which are forgotten.
#[derive(Debug, Default)]
struct Recent {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Recent {
    fn insert(&mut self, id: &str) {
        if !self.ids.insert(id.to_owned()) {
            return;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > MOST_COMPLETE
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_760_000_000 + hour * 3600, 0).unwrap()
    }

    #[test]
    fn a_window_begins_where_the_last_complete_round_began_less_an_overlap() {
        let mut memory = Memory::new(at(0), DAY);
        assert_eq!(memory.window(), at(-24));
        // A round that broke off moves nothing; the next complete one does.
        assert_eq!(memory.window(), at(-24));
        assert_eq!((memory.covered(at(3)), memory.window()), (0, at(2)));
    }

    #[test]
    fn a_window_reaches_back_to_the_oldest_that_is_open_until_that_is_too_long_ago() {
        let mut memory = Memory::new(at(0), DAY);
        memory.wait_for("a", at(-5));
        memory.wait_for("b", at(-9));
        assert_eq!((memory.covered(at(0)), memory.window()), (0, at(-9)));
        memory.settle("b");
        assert_eq!((memory.covered(at(1)), memory.window()), (0, at(-5)));
        assert!(memory.is_complete("b") && !memory.is_complete("a"));
        assert_eq!((memory.covered(at(20)), memory.window()), (1, at(19)));
    }

    #[test]
    fn what_cannot_be_remembered_holds_the_window() {
        let mut memory = Memory::new(at(0), DAY);
        for n in 0..=MOST_OPEN {
            memory.wait_for(&n.to_string(), at(-1));
        }
        assert_eq!((memory.open.len(), memory.covered(at(0)), memory.window()), (MOST_OPEN, 0, at(-24)));
        for n in 0..=MOST_COMPLETE {
            memory.settle(&n.to_string());
        }
        assert!(!memory.is_complete("0") && memory.is_complete("1"));
        assert_eq!((memory.covered(at(0)), memory.window()), (0, at(-1)));
    }
}
