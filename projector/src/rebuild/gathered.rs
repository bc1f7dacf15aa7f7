//! What messages mean for their conversations, gathered over many batches, so that a conversation's row is written a few
//! times and not with each batch.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use crate::rows::{Changes, ConversationRow};

/// Conversations that are gathered at most: some tens of megabytes.
const MAX_CONVERSATIONS: usize = 100_000;
/// Bytes of their ids at most: an id from outside may be long.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// A row that outlives its batch.
#[derive(Debug)]
struct Held {
    conversation_id: String,
    participant_id: Option<String>,
    provider: &'static str,
    message_count: i64,
    first_sequence: i64,
    last_sequence: i64,
    started_at: DateTime<Utc>,
    last_message_at: DateTime<Utc>,
}

/// What is not written yet.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    held: HashMap<String, Held>,
    bytes: usize,
}

impl Gathered {
    /// Whether it is time to write everything.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() >= MAX_CONVERSATIONS || self.bytes >= MAX_BYTES
    }

    /// Adds the rows of a batch that comes after those before.
    pub(super) fn add(&mut self, rows: &[ConversationRow<'_>]) {
        for row in rows {
            match self.held.get_mut(row.token) {
                Some(held) => held.join(row),
                None => {
                    self.bytes += row.conversation_id.len() + row.participant_id.map_or(0, str::len);
                    self.held.insert(row.token.to_owned(), Held::of(row));
                }
            }
        }
    }

    /// The rows of these conversations, as far as there are any.
    pub(super) fn of<'s>(&'s self, tokens: &BTreeSet<&str>) -> Vec<ConversationRow<'s>> {
        tokens
            .iter()
            .filter_map(|token| self.held.get_key_value(*token))
            .map(|(token, held)| held.row(token))
            .collect()
    }

    /// All rows.
    pub(super) fn all(&self) -> Vec<ConversationRow<'_>> {
        self.held.iter().map(|(token, held)| held.row(token)).collect()
    }

    /// These were written.
    pub(super) fn forget(&mut self, tokens: &BTreeSet<&str>) {
        for token in tokens {
            if let Some(held) = self.held.remove(*token) {
                let participant = held.participant_id.map_or(0, |id| id.len());
                self.bytes = self.bytes.saturating_sub(held.conversation_id.len() + participant);
            }
        }
    }

    /// Everything was written.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Held {
    fn of(row: &ConversationRow<'_>) -> Self {
        Self {
            conversation_id: row.conversation_id.to_owned(),
            participant_id: row.participant_id.map(str::to_owned),
            provider: row.provider,
            message_count: row.message_count,
            first_sequence: row.first_sequence,
            last_sequence: row.last_sequence,
            started_at: row.started_at,
            last_message_at: row.last_message_at,
        }
    }

    /// As the table joins rows.
    fn join(&mut self, row: &ConversationRow<'_>) {
        if self.participant_id.is_none() {
            self.participant_id = row.participant_id.map(str::to_owned);
        }
        self.message_count = self.message_count.max(row.message_count);
        self.last_sequence = self.last_sequence.max(row.last_sequence);
        self.started_at = self.started_at.min(row.started_at);
        self.last_message_at = self.last_message_at.max(row.last_message_at);
    }

    fn row<'s>(&'s self, token: &'s str) -> ConversationRow<'s> {
        ConversationRow {
            token,
            conversation_id: &self.conversation_id,
            participant_id: self.participant_id.as_deref(),
            provider: self.provider,
            message_count: self.message_count,
            first_sequence: self.first_sequence,
            last_sequence: self.last_sequence,
            started_at: self.started_at,
            last_message_at: self.last_message_at,
        }
    }
}

/// The conversations of which something is told that has to find their rows written.
pub(super) fn told<'a>(changes: &Changes<'a>) -> BTreeSet<&'a str> {
    let reported = changes.reports.iter().map(|row| row.conversation);
    let ended = changes.endings.iter().map(|row| row.conversation);
    let opened = changes.sessions.iter().map(|row| row.conversation);
    let claimed = changes.claims.iter().map(|row| row.conversation);
    reported.chain(ended).chain(opened).chain(claimed).collect()
}
