//! Full text search: the newest matches, the best of them first.

mod cursor;
mod query;
mod snippet;
mod wanted;

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::auth::Identity;
use shared::ids::Timestamp;
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::access::Rule;
use crate::limits::{SEARCH_CANDIDATES, SEARCH_GROUP};
use crate::tables::{ReadError, Tables};
use crate::view::made_id;

pub(crate) use cursor::{Cursor, PURPOSE};
use snippet::Snippet;
pub(crate) use wanted::{Parameters, Wanted};

/// A page of what was found.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct SearchResults {
    /// Of the newest 500 matches the best first, of equally good ones the newest; then of the 500 before these.
    pub(crate) hits: Vec<Hit>,
    /// Gets the next page; null where nothing is left. A page may be shorter than `limit` all the same.
    pub(crate) cursor: Option<String>,
}

/// A message that was found.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SearchHit)]
pub(crate) struct Hit {
    pub(crate) conversation_id: String,
    /// As in the snapshot of the conversation.
    pub(crate) message_id: String,
    /// Log position of its first version.
    pub(crate) sequence: u64,
    /// `user` or `assistant`.
    pub(crate) role: String,
    /// With the offset that it was given in.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) timestamp: Timestamp,
    /// How well it matches: more and closer words count more, in short messages most. Only to be compared within one
    /// search.
    pub(crate) rank: f32,
    pub(crate) snippet: Snippet,
}

impl SearchResults {
    /// What the audit log says was shown: a part of each of these messages.
    pub(crate) fn shown(&self) -> Value {
        let of = |hit: &Hit| json!({"conversation_id": hit.conversation_id, "sequence": hit.sequence});
        self.hits.iter().map(of).collect()
    }
}

/// A match of the index.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Match {
    rank: f32,
    sequence: i64,
}

struct Row {
    sequence: i64,
    conversation_id: String,
    ordinal: i64,
    message_id: Option<String>,
    role: String,
    content: String,
    said_at: DateTime<Utc>,
    said_offset: i32,
}

/// What one caller may search, as it was at one position of the log.
#[derive(Debug)]
pub(crate) struct Searching {
    transaction: Transaction<'static, Postgres>,
    /// The token of the one conversation that is searched.
    conversation: Option<String>,
    position: u64,
}

impl Tables {
    /// Opens what a caller may search, of one conversation where `token` names one and `rule` allows it, once the index
    /// has come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn search_at(
        &self,
        identity: &Identity,
        token: Option<&str>,
        rule: Rule,
        at_least: u64,
        deadline: Instant,
    ) -> Result<Searching, ReadError> {
        self.searched.at(at_least, deadline, || self.open_search(identity, token, rule)).await?
    }

    async fn open_search(
        &self,
        identity: &Identity,
        token: Option<&str>,
        rule: Rule,
    ) -> Result<(Result<Searching, ReadError>, u64), ReadError> {
        let opened = match token {
            None => Ok((self.begin(identity).await?, None)),
            Some(token) => {
                let opened = self.open(identity, token, rule).await?.0;
                opened.map(|reading| (reading.transaction, Some(reading.token)))
            }
        };
        let (mut transaction, conversation) = match opened {
            Ok(opened) => opened,
            Err(error) => return Ok((Err(error), u64::MAX)),
        };
        let row = sqlx::query!(
            r#"SELECT epoch AS "epoch!", last_sequence AS "last_sequence!"
               FROM turnlog.checkpoint WHERE name = 'search'"#,
        )
        .fetch_one(&mut *transaction)
        .await?;
        let position = self.searched.seen(&row.epoch, row.last_sequence);
        Ok((Ok(Searching { transaction, conversation, position }), position))
    }
}

impl Searching {
    /// The page that is wanted. `seal` makes the text of the cursor of the next one.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn page(
        &mut self,
        wanted: &Wanted,
        seal: impl FnOnce(&Cursor) -> String,
    ) -> Result<SearchResults, ReadError> {
        let start = wanted.start.unwrap_or(Cursor::new(wanted, self.position.saturating_add(1), None));
        let matches = self.matches(wanted, start.before).await?;
        let older = (matches.len() >= SEARCH_CANDIDATES)
            .then(|| matches.iter().map(|found| found.sequence).min())
            .flatten();
        let mut left = after(matches, &start);
        let mut hits = Vec::new();
        let mut last = None;
        while hits.len() < wanted.limit.into() && !left.is_empty() {
            let group: Vec<_> = left.drain(..SEARCH_GROUP.min(left.len())).collect();
            let mut rows = self.rows(&group).await?;
            for (index, found) in group.iter().enumerate() {
                if hits.len() == usize::from(wanted.limit) {
                    left.splice(..0, group[index..].iter().copied());
                    break;
                }
                last = Some(*found);
                hits.extend(rows.remove(&found.sequence).and_then(|row| row.hit(wanted, found.rank)));
            }
        }
        let next = match (left.is_empty(), last, older) {
            (false, Some(Match { rank, sequence }), _) => {
                Some(Cursor::new(wanted, start.before, Some((rank, sequence.unsigned_abs()))))
            }
            (_, _, Some(older)) => Some(Cursor::new(wanted, older.unsigned_abs(), None)),
            (true, _, None) | (false, None, None) => None,
        };
        Ok(SearchResults { hits, cursor: next.as_ref().map(seal) })
    }

    /// The newest matches before a sequence.
    async fn matches(&mut self, wanted: &Wanted, before: u64) -> Result<Vec<Match>, ReadError> {
        let matches = sqlx::query_as!(
            Match,
            r#"SELECT sequence AS "sequence!", rank AS "rank!"
               FROM turnlog.search($1::text::tsquery, $2, $3, $4, coalesce($5::timestamptz, '-infinity'),
                                   coalesce($6::timestamptz, 'infinity'), $7, $8)"#,
            wanted.query.tsquery(),
            wanted.query.has_prefixes(),
            self.conversation.as_deref(),
            wanted.role.map(|role| role.as_str()),
            wanted.from,
            wanted.to,
            i64::try_from(before).unwrap_or(i64::MAX),
            i32::try_from(SEARCH_CANDIDATES).unwrap_or(i32::MAX),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(matches)
    }

    /// What was found, through the views: row level security is asked once more.
    async fn rows(&mut self, group: &[Match]) -> Result<HashMap<i64, Row>, ReadError> {
        let sequences: Vec<_> = group.iter().map(|found| found.sequence).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT sequence AS "sequence!", conversation_id AS "conversation_id!", ordinal AS "ordinal!", message_id,
                      role AS "role!", content AS "content!", said_at AS "said_at!", said_offset AS "said_offset!"
               FROM turnlog.messages WHERE sequence = ANY($1)"#,
            &sequences[..],
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows.into_iter().map(|row| (row.sequence, row)).collect())
    }
}

/// Best first, and only what comes after the last one of the page before.
fn after(mut matches: Vec<Match>, start: &Cursor) -> Vec<Match> {
    let key = |found: &Match| (found.rank, found.sequence);
    let order = |a: (f32, i64), b: (f32, i64)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
    if let Some((rank, sequence)) = start.last {
        let last = (rank, i64::try_from(sequence).unwrap_or(i64::MAX));
        matches.retain(|found| order(key(found), last).is_gt());
    }
    matches.sort_unstable_by(|a, b| order(key(a), key(b)));
    matches
}

impl Row {
    /// `None` where the query is not true of the text: it was corrected a moment ago, or its index does not know where
    /// all of its words stand.
    fn hit(self, wanted: &Wanted, rank: f32) -> Option<Hit> {
        let marks: Vec<Range<usize>> = wanted.query.find(&self.content)?;
        let ordinal = self.ordinal.unsigned_abs();
        Some(Hit {
            snippet: Snippet::of(&self.content, &marks),
            message_id: self.message_id.unwrap_or_else(|| made_id(&self.conversation_id, ordinal)),
            conversation_id: self.conversation_id,
            sequence: self.sequence.unsigned_abs(),
            role: self.role,
            timestamp: Timestamp::from_parts(self.said_at, self.said_offset),
            rank,
        })
    }
}
