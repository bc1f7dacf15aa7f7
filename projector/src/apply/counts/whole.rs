//! What a log comes to that is stored from its beginning, kept by conversation while it is: counted afterwards, all
//! messages would have to be sorted.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::{Key, Tally, asks, of_message};
use crate::rows::MessageRow;

/// Bytes that may be kept, about: those of a few hundred thousand conversations.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// What a conversation takes, and each of its numbers.
const CONVERSATION: usize = 128;
const NUMBER: usize = size_of::<Number>();

/// What a number is of, but for its company: that is looked up last, as calls change theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    day: NaiveDate,
    provider: &'static str,
    measure: &'static str,
    bucket: i32,
}

impl Kind {
    fn of(&self, company: &str) -> Key<'static> {
        let Self { day, provider, measure, bucket } = *self;
        let company = company.to_owned().into();
        Key { day, company, provider: provider.into(), measure: measure.into(), bucket }
    }
}

#[derive(Debug)]
struct Number {
    /// Which of the kinds.
    kind: u32,
    count: u32,
    total: i64,
}

/// What was said in a conversation so far.
#[derive(Debug, Default)]
struct Said {
    /// When a user spoke, if that was the last that was said.
    asked_at: Option<DateTime<Utc>>,
    numbers: Vec<Number>,
}

impl Said {
    /// The next message; answers how many numbers it adds.
    fn add(&mut self, row: &MessageRow<'_>, kinds: &mut HashMap<Kind, u32>) -> usize {
        let asked_at = std::mem::replace(&mut self.asked_at, asks(row));
        let before = self.numbers.len();
        for (measure, bucket, total) in of_message(row, asked_at) {
            let kind = Kind { day: row.said_at.date_naive(), provider: row.provider, measure, bucket };
            let next = u32::try_from(kinds.len()).unwrap_or(u32::MAX);
            let kind = *kinds.entry(kind).or_insert(next);
            match self.numbers.iter_mut().find(|number| number.kind == kind) {
                Some(number) => (number.count, number.total) = (number.count + 1, number.total + total),
                None => self.numbers.push(Number { kind, count: 1, total }),
            }
        }
        self.numbers.len() - before
    }
}

/// Counts messages that are stored for the first time, in the order of the log.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    kinds: HashMap<Kind, u32>,
    conversations: HashMap<String, Said>,
    numbers: usize,
    /// Messages of these were changed, so they are counted by the database.
    changed: HashSet<String>,
    /// It would have taken too much memory, or something was stored in another way: the database counts everything.
    is_given_up: bool,
}

impl Whole {
    /// Messages were stored.
    pub(crate) fn said(&mut self, rows: &[MessageRow<'_>]) {
        if self.is_given_up {
            return;
        }
        for row in rows {
            match self.conversations.get_mut(row.conversation) {
                Some(said) => self.numbers += said.add(row, &mut self.kinds),
                None if self.changed.contains(row.conversation) => {}
                None => {
                    let mut said = Said::default();
                    self.numbers += said.add(row, &mut self.kinds);
                    self.conversations.insert(row.conversation.to_owned(), said);
                }
            }
        }
        let held = self.conversations.len() + self.changed.len() + self.kinds.len();
        if held * CONVERSATION + self.numbers * NUMBER > MAX_BYTES {
            self.give_up();
        }
    }

    /// Messages of this conversation were changed after they were stored.
    pub(crate) fn changed(&mut self, conversation: &str) {
        if self.is_given_up || self.changed.contains(conversation) {
            return;
        }
        let said = self.conversations.remove(conversation).unwrap_or_default();
        self.numbers -= said.numbers.len();
        self.changed.insert(conversation.to_owned());
    }

    /// Something was stored that this knows nothing of.
    pub(crate) fn give_up(&mut self) {
        *self = Self { is_given_up: true, ..Self::default() };
    }

    /// Puts what everything comes to in the place of what was counted. The caller holds the transaction.
    pub(crate) async fn write(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        // Where messages are counted, sorting them by conversation is most of it; next is to read them, which several
        // workers may do where nothing is written by the same statement. They are few for the planner's taste.
        sqlx::raw_sql(
            "SET LOCAL work_mem = '64MB'; SET LOCAL parallel_tuple_cost = 0; SET LOCAL parallel_setup_cost = 0;
             DELETE FROM day_counts",
        )
        .execute(&mut *connection)
        .await?;
        let mut tally = self.tally(connection).await?;
        let changed: Vec<_> = self.changed.iter().map(String::as_str).collect();
        tally.of_messages(connection, (!self.is_given_up).then_some(&changed), 1).await?;
        tally.of_heads(connection, None, 1).await?;
        tally.write(connection).await
    }

    /// What was kept, each conversation's for its company.
    async fn tally(&mut self, connection: &mut PgConnection) -> Result<Tally<'static>, sqlx::Error> {
        let mut kinds: Vec<_> = std::mem::take(&mut self.kinds).into_iter().collect();
        kinds.sort_by_key(|(_, number)| *number);
        let mut tally = Tally::default();
        let mut add = |said: Said, company: &str| {
            for Number { kind, count, total } in said.numbers {
                // Numbers name no kind that is not there.
                let Some((kind, _)) = kinds.get(kind as usize) else { continue };
                tally.add(kind.of(company), count.into(), total);
            }
        };
        let calls =
            "SELECT conversation, turnlog.company_key(company_id) FROM calls WHERE company_id IS NOT NULL";
        let mut calls = sqlx::query_as::<_, (String, String)>(calls).fetch(connection);
        while let Some((conversation, company)) = calls.try_next().await? {
            if let Some(said) = self.conversations.remove(&conversation) {
                add(said, &company);
            }
        }
        std::mem::take(&mut self.conversations).into_values().for_each(|said| add(said, ""));
        Ok(tally)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(conversation: &'a str, role: &'static str, second: u32) -> MessageRow<'a> {
        let said_at = DateTime::from_timestamp(1_700_000_000 + i64::from(second), 0).unwrap();
        MessageRow {
            sequence: second.into(),
            version_sequence: second.into(),
            ordinal: 1,
            place: 1,
            said_at,
            said_offset: 0,
            recorded_at: said_at,
            conversation,
            participant_id: None,
            message_id: None,
            role,
            provider: "openai",
            content: "déjà",
        }
    }

    /// What is kept of a conversation: measure, bucket, count, total.
    fn kept(whole: &Whole, conversation: &str) -> Vec<(&'static str, i32, u32, i64)> {
        let said = whole.conversations.get(conversation).map_or(&[][..], |said| &said.numbers);
        let kind = |number: &Number| whole.kinds.iter().find(|(_, kind)| **kind == number.kind).unwrap().0;
        let mut kept: Vec<_> = said
            .iter()
            .map(|number| (kind(number).measure, kind(number).bucket, number.count, number.total))
            .collect();
        kept.sort_unstable();
        kept
    }

    #[test]
    fn what_is_asked_in_one_batch_is_answered_in_the_next_and_not_by_who_speaks_between() {
        let mut whole = Whole::default();
        whole.said(&[row("a", "user", 0), row("b", "assistant", 1)]);
        whole.said(&[row("a", "assistant", 2), row("a", "assistant", 3), row("a", "user", 4)]);
        let of_a = [("answers", 6, 1, 2_000), ("messages.assistant", 0, 2, 8), ("messages.user", 0, 2, 8)];
        assert_eq!(kept(&whole, "a"), of_a);
        assert_eq!(kept(&whole, "b"), [("messages.assistant", 0, 1, 4)]);
    }

    #[test]
    fn nothing_is_kept_of_what_was_changed_or_given_up() {
        let mut whole = Whole::default();
        whole.said(&[row("a", "user", 0), row("b", "user", 1)]);
        whole.changed("a");
        whole.said(&[row("a", "user", 2)]);
        assert_eq!((kept(&whole, "a").len(), kept(&whole, "b").len(), whole.numbers), (0, 1, 1));
        assert!(whole.changed.contains("a"));
        whole.give_up();
        whole.said(&[row("b", "user", 3)]);
        whole.changed("b");
        assert!(whole.is_given_up && whole.conversations.is_empty() && whole.changed.is_empty());
    }

    #[test]
    fn more_than_may_be_kept_is_given_up() {
        let names: Vec<_> = (0..=MAX_BYTES / CONVERSATION).map(|number| number.to_string()).collect();
        let rows: Vec<_> = names.iter().map(|name| row(name, "user", 0)).collect();
        let mut whole = Whole::default();
        whole.said(&rows[..1_000]);
        assert!(!whole.is_given_up);
        whole.said(&rows);
        assert!(whole.is_given_up);
    }
}
