//! Lists of conversations (S3): newest first, by filters, page by page or from a cursor on.

mod cursor;
mod wanted;

use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Scope;
use crate::status::{ConversationStatus, Row, Status};
use crate::tables::{Listing, ReadError};

pub(crate) use cursor::{Cursor, Cursors, Filtering};
pub(crate) use wanted::{Parameters, Start, Wanted, go_on};

/// Which conversations are listed: those that all of it is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) email: Option<String>,
    pub(crate) account: Option<String>,
    pub(crate) status: Option<Status>,
}

impl Filtering for Filter {
    fn parts(&self) -> impl IntoIterator<Item = Option<&str>> {
        [self.account.as_deref(), self.email.as_deref(), self.status.map(Status::word)]
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ConversationList {
    /// Newest first, by when they began.
    pub(crate) conversations: Vec<ConversationStatus>,
    /// Number of this page, from 1.
    pub(crate) page: u64,
    /// Conversations on a page.
    pub(crate) limit: u8,
    /// How many there are on all pages.
    pub(crate) total: u64,
    /// How many pages there are.
    pub(crate) pages: u64,
    /// Gets the next page, however deep, at the cost of the first; null on the last one.
    pub(crate) cursor: Option<String>,
}

/// What is looked up, as the statements take it.
struct Keys<'a> {
    status: Option<&'static str>,
    account: Option<&'a str>,
    email: Option<&'a str>,
    participant: Option<&'a str>,
}

impl<'a> Keys<'a> {
    fn of(scope: &'a Scope, filter: &'a Filter) -> Self {
        Self {
            status: filter.status.map(Status::stored),
            account: filter.account.as_deref(),
            email: filter.email.as_deref(),
            participant: match scope {
                Scope::All => None,
                Scope::Of(participant) => Some(participant.as_str()),
            },
        }
    }
}

impl Listing {
    /// The page that is wanted. `seal` makes the text of the cursor of the next one.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn page(
        &mut self,
        wanted: &Wanted,
        seal: impl FnOnce(&Cursor) -> String,
    ) -> Result<ConversationList, ReadError> {
        let limit = u64::from(wanted.limit);
        let total = self.total(&wanted.filter).await?;
        let (page, before, offset) = match wanted.start {
            Start::Page(page) => (page, i64::MAX, (page - 1).saturating_mul(limit)),
            Start::Before { sequence, page } => (page, i64::try_from(sequence).unwrap_or(i64::MAX), 0),
        };
        // Skipping everything takes as long as reading everything.
        let beyond = offset >= total;
        let mut rows =
            if beyond { Vec::new() } else { self.rows(&wanted.filter, before, limit, offset).await? };
        let more = rows.len() > usize::from(wanted.limit);
        rows.truncate(wanted.limit.into());
        let last = rows.last().filter(|_| more).map(|row| row.first_sequence.unsigned_abs());
        let cursor = last.map(|last| seal(&Cursor::new(&wanted.filter, wanted.limit, page + 1, last)));
        let conversations = rows.into_iter().map(ConversationStatus::from).collect();
        let pages = total.div_ceil(limit);
        Ok(ConversationList { conversations, page, limit: wanted.limit, total, pages, cursor })
    }

    /// How many there are: kept where everything is asked for, counted where it is somebody's.
    async fn total(&mut self, filter: &Filter) -> Result<u64, ReadError> {
        let Keys { status, account, email, participant } = Keys::of(&self.scope, filter);
        if account.or(email).or(participant).is_none() {
            return self.kept_total(status).await;
        }
        let total = sqlx::query_scalar!(
            r#"SELECT count(*) AS "total!" FROM turnlog.conversations
               WHERE ($1::text IS NULL OR status = $1)
                 AND ($2::text IS NULL OR account_hash = hashtextextended($2, 0))
                 AND coalesce(account_id = $2, $2 IS NULL)
                 AND ($3::text IS NULL OR email_hash = hashtextextended($3, 0))
                 AND coalesce(email_id = $3, $3 IS NULL)
                 AND ($4::text IS NULL OR participant_hash = hashtextextended($4, 0))
                 AND coalesce(participant_id = $4, $4 IS NULL)"#,
            status,
            account,
            email,
            participant,
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        Ok(total.unsigned_abs())
    }

    async fn kept_total(&mut self, status: Option<&str>) -> Result<u64, ReadError> {
        let total = sqlx::query_scalar!(
            r#"SELECT coalesce(sum(conversations), 0)::bigint AS "total!" FROM turnlog.conversation_counts
               WHERE $1::text IS NULL OR status = $1"#,
            status,
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        Ok(total.unsigned_abs())
    }

    /// One more than a page, which tells whether there is another one.
    ///
    /// Each filter is there twice. The first time it picks the index: somebody's conversations before those of a
    /// status, since they are counted too. The second time it is checked, because hashes collide: in a way that the
    /// planner takes for true of every other row and not of hardly one, so it walks the index in order and stops.
    async fn rows(
        &mut self,
        filter: &Filter,
        before: i64,
        limit: u64,
        offset: u64,
    ) -> Result<Vec<Row>, ReadError> {
        let Keys { status, account, email, participant } = Keys::of(&self.scope, filter);
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT conversation_id AS "conversation_id!", email_id, account_id, status AS "status!",
                      started_at AS "started_at!", ended_at, duration_seconds, message_count AS "message_count!",
                      reported_at, first_sequence AS "first_sequence!", last_message_at AS "last_message_at!",
                      session AS "session!"
               FROM turnlog.conversations
               WHERE first_sequence < $1
                 AND (coalesce($2, $3, $4, $5) IS NOT NULL OR first_sequence > 0)
                 AND ($2::text IS NULL OR coalesce($3, $4, $5) IS NOT NULL OR status = $2)
                 AND coalesce(status = $2, $2 IS NULL)
                 AND ($3::text IS NULL OR account_hash = hashtextextended($3, 0))
                 AND coalesce(account_id = $3, $3 IS NULL)
                 AND ($4::text IS NULL OR email_hash = hashtextextended($4, 0))
                 AND coalesce(email_id = $4, $4 IS NULL)
                 AND ($5::text IS NULL OR participant_hash = hashtextextended($5, 0))
                 AND coalesce(participant_id = $5, $5 IS NULL)
               ORDER BY first_sequence DESC LIMIT $6 OFFSET $7"#,
            before,
            status,
            account,
            email,
            participant,
            i64::try_from(limit + 1).unwrap_or(i64::MAX),
            i64::try_from(offset).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows)
    }
}
