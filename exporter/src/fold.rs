//! Conversations folded from their events in bounded memory.
//!
//! What is known of a conversation from a stretch of the log can be joined with what is known from the next one. So
//! when too many are held, all of them go to a sorter, and come together again in the end.

mod state;

use std::collections::HashMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use shared::events::Event;
use shared::report::Reading;

use crate::error::{ExportError, Result};
use crate::limits::{FOLD_BYTES, SORT_BYTES};
use crate::sorter::{Sorted, Sorter};

pub(crate) use state::State;

/// Bytes that a conversation takes in memory beside its texts.
const STATE_BYTES: usize = 400;
/// Bytes of a key's second half: a sequence.
const SEQUENCE_BYTES: usize = size_of::<u64>();
/// The value of a record that says: here stands a message of a conversation whose participant was not known.
const UNOWNED: &[u8] = &[];

/// An event, and what goes with it.
#[derive(Debug)]
pub(crate) struct Fact<'a> {
    pub(crate) sequence: u64,
    /// Microseconds.
    pub(crate) stored_at: i64,
    /// The token of its aggregate.
    pub(crate) token: &'a str,
    pub(crate) event: &'a Event,
    /// What a report says.
    pub(crate) reading: Option<&'a Reading>,
}

impl Fact<'_> {
    /// When it was stored.
    pub(crate) fn stored(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.stored_at).unwrap_or_default()
    }
}

/// Folds facts, in the order of the log.
#[derive(Debug)]
pub(crate) struct Folding {
    held: HashMap<Box<str>, State>,
    bytes: usize,
    most: usize,
    sorter: Sorter,
}

impl Folding {
    /// With its temporary files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::holding(folder, FOLD_BYTES, SORT_BYTES)
    }

    fn holding(folder: &Path, most: usize, sorter: usize) -> Self {
        Self { held: HashMap::new(), bytes: 0, most, sorter: Sorter::holding(folder, sorter) }
    }

    /// Takes a fact; one that says nothing of a conversation is passed over.
    pub(crate) fn take(&mut self, fact: &Fact<'_>) -> Result<()> {
        if let Some(state) = self.held.get_mut(fact.token) {
            self.bytes += state.take(fact);
        } else {
            let mut state = State::default();
            let bytes = state.take(fact);
            if state == State::default() {
                return Ok(());
            }
            self.held.insert(fact.token.into(), state);
            self.bytes += STATE_BYTES + bytes;
        }
        if let Event::MessageRecorded(message) = fact.event
            && message.participant_id.is_none()
        {
            self.sorter.push(&key(fact.token, fact.sequence), UNOWNED)?;
        }
        if self.bytes < self.most { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> Result<()> {
        let mut value = Vec::new();
        for (token, state) in self.held.drain() {
            value.clear();
            value = postcard::to_extend(&state, value).map_err(ExportError::encode)?;
            self.sorter.push(&key(&token, state.earliest()), &value)?;
        }
        self.bytes = 0;
        Ok(())
    }

    /// Everything, conversation by conversation.
    pub(crate) fn finish(mut self) -> Result<Folded> {
        self.spill()?;
        Ok(Folded { records: self.sorter.sorted()?, ahead: None })
    }
}

fn key(token: &str, sequence: u64) -> Vec<u8> {
    [token.as_bytes(), &sequence.to_be_bytes()].concat()
}

/// A record: the conversation's token, the sequence, and what is known.
type Record = (Vec<u8>, u64, Option<State>);

/// Conversations, each once.
#[derive(Debug)]
pub(crate) struct Folded {
    records: Sorted,
    ahead: Option<Record>,
}

impl Folded {
    /// The next conversation, and where its messages stand that came before its participant was known.
    pub(crate) fn next(&mut self) -> Result<Option<(State, Vec<u64>)>> {
        let Some((token, sequence, first)) = self.record()? else { return Ok(None) };
        let (mut state, mut unowned) = (State::default(), Vec::new());
        let mut join = |sequence, known: Option<State>| match known {
            Some(known) => state.join(known),
            None => unowned.push(sequence),
        };
        join(sequence, first);
        while let Some((next, sequence, known)) = self.record()? {
            if next != token {
                self.ahead = Some((next, sequence, known));
                break;
            }
            join(sequence, known);
        }
        Ok(Some((state, unowned)))
    }

    fn record(&mut self) -> Result<Option<Record>> {
        if self.ahead.is_some() {
            return Ok(self.ahead.take());
        }
        let Some((key, value)) = self.records.next()? else { return Ok(None) };
        let (token, sequence) = key.split_at(key.len().saturating_sub(SEQUENCE_BYTES));
        let sequence = sequence.try_into().map(u64::from_be_bytes).map_err(ExportError::encode)?;
        let known = (value != UNOWNED).then(|| postcard::from_bytes(value)).transpose();
        Ok(Some((token.to_owned(), sequence, known.map_err(ExportError::encode)?)))
    }
}

#[cfg(test)]
mod tests;
