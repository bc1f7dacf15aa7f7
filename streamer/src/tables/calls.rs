//! Calls' conversations, many at once: a page of those that a caller may see, and how some that changed stand now.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};
use shared::auth::Identity;
use shared::ids::Timestamp;
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use super::{ReadError, Tables, admin_token};
use crate::access::{CallFacts, CallScope, Directory, call_scope, may_watch_calls};
use crate::status::Status;
use crate::view::{CallView, ListedView};

/// What one caller may list of calls' conversations, as the tables were at one position of the log. Only made where
/// the access rule said yes.
#[derive(Debug)]
pub(crate) struct CallListing {
    transaction: Transaction<'static, Postgres>,
    /// What the caller sees.
    pub(crate) scope: CallScope,
    position: u64,
    /// What the directory says of the caller, which the rule said yes to.
    pub(crate) directory: Directory,
}

/// Which calls' conversations are listed: those that all of it is true of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CallFilter {
    pub(crate) status: Option<Status>,
    pub(crate) urgency: Option<String>,
    pub(crate) medium: Option<String>,
    /// Who called.
    pub(crate) worker: Option<String>,
    /// Who holds it.
    pub(crate) holder: Option<String>,
}

/// A call's conversation as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallNow {
    /// Of the conversation's subject.
    pub(crate) token: String,
    /// Where its call began in the log: what lists are ordered by.
    pub(crate) first_sequence: u64,
    pub(crate) view: ListedView,
    /// Who may see it.
    pub(crate) facts: CallFacts,
}

struct Row {
    token: String,
    conversation_id: String,
    status: String,
    message_count: i64,
    first_sequence: i64,
    call_id: String,
    worker_id: String,
    mobile_no: String,
    urgency: String,
    medium: String,
    opened_at: DateTime<Utc>,
    opened_offset: i32,
    admin_id: Option<String>,
    company_id: Option<String>,
}

impl From<Row> for CallNow {
    fn from(row: Row) -> Self {
        let facts = CallFacts {
            worker: row.worker_id.clone(),
            holder: row.admin_id.clone(),
            company: row.company_id,
        };
        let call = CallView {
            conversation_id: row.conversation_id,
            call_id: row.call_id,
            worker_id: row.worker_id,
            mobile_no: row.mobile_no,
            urgency: row.urgency,
            status: row.status,
            medium: row.medium,
            timestamp: Timestamp::from_parts(row.opened_at, row.opened_offset),
            admin_id: row.admin_id,
        };
        let view = ListedView { call, total_messages: row.message_count.unsigned_abs() };
        Self { token: row.token, first_sequence: row.first_sequence.unsigned_abs(), view, facts }
    }
}

impl Tables {
    /// Opens what a caller may list of calls, once the tables have come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn calls_at(
        &self,
        identity: &Identity,
        at_least: u64,
        deadline: Instant,
    ) -> Result<CallListing, ReadError> {
        let scope = call_scope(identity)?;
        let open = || async {
            let (transaction, position) = self.open_list(identity).await?;
            Ok(((transaction, position), position))
        };
        let (mut transaction, position) = self.checkpoint.at(at_least, deadline, open).await?;
        let directory = directory(&mut transaction, identity).await?;
        may_watch_calls(identity, &directory)?;
        Ok(CallListing { transaction, scope, position, directory })
    }

    /// Opens the counts for a caller, with what the directory says of them, once the tables have come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn counts_at(
        &self,
        identity: &Identity,
        at_least: u64,
        deadline: Instant,
    ) -> Result<(Transaction<'static, Postgres>, Directory), ReadError> {
        let mut transaction = self.checkpoint.at(at_least, deadline, || self.open_list(identity)).await?;
        let directory = directory(&mut transaction, identity).await?;
        Ok((transaction, directory))
    }

    /// How these conversations' calls, and the open ones of these workers, stand once the tables have come to
    /// `at_least`, at most `limit` of them; beside them the position that it is true at.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn calls_now(
        &self,
        conversations: &[&str],
        workers: &[&str],
        limit: usize,
        at_least: u64,
        deadline: Instant,
    ) -> Result<(Vec<CallNow>, u64), ReadError> {
        let open = || async {
            let (transaction, position) = self.open_list(&Identity::Service).await?;
            Ok(((transaction, position), position))
        };
        let (mut transaction, position) = self.checkpoint.at(at_least, deadline, open).await?;
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT c.token AS "token!", c.conversation_id AS "conversation_id!", c.status AS "status!",
                      c.message_count AS "message_count!", k.first_sequence AS "first_sequence!",
                      k.call_id AS "call_id!", k.worker_id AS "worker_id!", k.mobile_no AS "mobile_no!",
                      k.urgency AS "urgency!", k.medium AS "medium!", k.opened_at AS "opened_at!",
                      k.opened_offset AS "opened_offset!", k.admin_id, k.company_id
               FROM turnlog.calls k JOIN turnlog.conversations c ON c.token = k.conversation
               WHERE k.conversation = ANY($1) OR k.worker = ANY($2) AND k.ended_at IS NULL
               ORDER BY k.first_sequence LIMIT $3"#,
            conversations as &[&str],
            workers as &[&str],
            i64::try_from(limit).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *transaction)
        .await?;
        Ok((rows.into_iter().map(CallNow::from).collect(), position))
    }
}

/// What the directory says of a caller.
async fn directory(
    transaction: &mut Transaction<'static, Postgres>,
    identity: &Identity,
) -> Result<Directory, ReadError> {
    let said = sqlx::query!("SELECT company_id FROM turnlog.company_of($1)", admin_token(identity))
        .fetch_optional(&mut **transaction)
        .await?;
    Ok(Directory::of(said.is_some(), said.and_then(|row| row.company_id)))
}

impl CallListing {
    /// How far the log was folded into what this reads.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// At most `limit` of them that began before a position of the log, newest first, and where the list goes on if there
    /// are more.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn first(
        &mut self,
        filter: &CallFilter,
        before: u64,
        limit: usize,
    ) -> Result<(Vec<CallNow>, Option<u64>), ReadError> {
        let mut rows = Vec::new();
        for part in self.scope.clone().parts() {
            // One more tells whether there are.
            rows.extend(self.rows(part, filter, before, limit + 1).await?);
        }
        rows.sort_unstable_by_key(|row| Reverse(row.first_sequence));
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.first_sequence);
        Ok((rows, next))
    }

    /// At most `limit` of one part, newest first.
    ///
    /// What is absent is no part of the plan, which has the values at hand: it walks one index in order, so that a page
    /// costs what is on it; row level security asks the same of each row again. A conversation that is active has no end,
    /// so what has one is left out before its conversation is looked up. The planner takes the question for its status as
    /// it is written for true of every other row: it is of most that are left.
    async fn rows(
        &mut self,
        (admin, company): (Option<&str>, Option<&str>),
        filter: &CallFilter,
        before: u64,
        limit: usize,
    ) -> Result<Vec<CallNow>, ReadError> {
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT c.token AS "token!", c.conversation_id AS "conversation_id!", c.status AS "status!",
                      c.message_count AS "message_count!", k.first_sequence AS "first_sequence!",
                      k.call_id AS "call_id!", k.worker_id AS "worker_id!", k.mobile_no AS "mobile_no!",
                      k.urgency AS "urgency!", k.medium AS "medium!", k.opened_at AS "opened_at!",
                      k.opened_offset AS "opened_offset!", k.admin_id, k.company_id
               FROM turnlog.calls k JOIN turnlog.conversations c ON c.token = k.conversation
               WHERE ($1::text IS NULL OR k.admin_id = $1)
                 AND ($2::text IS NULL OR k.admin_id IS NULL AND k.company_id = $2)
                 AND k.first_sequence < $3
                 AND coalesce(c.status = $4, $4::text IS NULL)
                 AND ($4::text IS DISTINCT FROM 'ACTIVE' OR k.ended_at IS NULL)
                 AND ($5::text IS NULL OR k.urgency = $5)
                 AND ($6::text IS NULL OR k.medium = $6)
                 AND ($7::text IS NULL OR k.worker_id = $7)
                 AND ($8::text IS NULL OR k.admin_id = $8)
               ORDER BY k.first_sequence DESC LIMIT $9"#,
            admin,
            company,
            i64::try_from(before).unwrap_or(i64::MAX),
            filter.status.map(Status::stored),
            filter.urgency.as_deref(),
            filter.medium.as_deref(),
            filter.worker.as_deref(),
            filter.holder.as_deref(),
            i64::try_from(limit).unwrap_or(i64::MAX),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows.into_iter().map(CallNow::from).collect())
    }
}
