//! The read tables: who reads says so to the database, reads what the rule allows, and may wait for the
//! projection.

pub(crate) mod calls;
mod checkpoint;

use std::str::FromStr;

use shared::auth::{Grant, Identity, Who};
use shared::config::DatabaseSettings;
use shared::ids::ConversationId;
use shared::problem::{Kind, Problem};
use shared::subjects::Subject;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool, Postgres, Transaction};
use tokio::time::Instant;

use crate::access::{CallFacts, Denied, Directory, Facts, ListRule, Rule, Scope, session_of};
use crate::limits::{ACQUIRE_TIMEOUT, POOL, STATEMENT_TIMEOUT};

pub(crate) use checkpoint::Checkpoint;

/// The read tables, through a role that row level security holds. Clones share the connections.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pool: PgPool,
    checkpoint: Checkpoint,
    /// How far the tables are searched, which is never further than they are.
    pub(crate) searched: Checkpoint,
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// There is no such conversation.
    #[error("There is no such conversation.")]
    NotFound,
    /// There is, but not for this caller.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The projection did not come as far as was asked for, in time.
    #[error("The read tables have not come that far yet; try again in a moment.")]
    Behind,
    /// The rule said yes and row level security said no.
    #[error("row level security hides what the access rule shows")]
    Hidden,
    /// The database could not be asked.
    #[error("the database could not be read: {0}")]
    Database(#[from] sqlx::Error),
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => Self::new(Kind::NotFound, error.to_string()),
            ReadError::Denied(denied) => denied.into(),
            ReadError::Behind => Self::unavailable(&error.to_string(), "the projection is behind"),
            ReadError::Database(ref cause) if passes(cause) => {
                Self::unavailable("The read tables cannot be read for now; try again in a moment.", error)
            }
            ReadError::Hidden | ReadError::Database(_) => Self::internal(error),
        }
    }
}

/// Whether it is the database that is away, rather than us who asked for nonsense.
fn passes(error: &sqlx::Error) -> bool {
    match error.as_database_error().and_then(|error| error.code()) {
        // Connection lost, out of resources, shut down or starting, migrations not applied yet or just being
        // applied.
        Some(code) => ["08", "53", "57", "3F", "42P01", "42883", "22023", "55P03", "40"]
            .iter()
            .any(|c| code.starts_with(c)),
        None => matches!(
            error,
            sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
        ),
    }
}

/// What one caller may read of one conversation, as the tables were at one position of the log. Only made
/// where the access rule said yes; reading without one is not possible.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) transaction: Transaction<'static, Postgres>,
    /// Of the conversation itself, whichever id it was asked for by.
    pub(crate) token: String,
    /// Its own id, where it was asked for by that of a conversation of the vendor's which is a session of it.
    pub(crate) own_id: Option<ConversationId>,
    position: u64,
    /// What the rule said yes to.
    pub(crate) facts: Facts,
}

/// What one caller may read of many conversations, as [`Reading`] is of one.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) transaction: Transaction<'static, Postgres>,
    pub(crate) scope: Scope,
}

impl Reading {
    /// How far the log was folded into what this reads.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The conversation's own id; `asked` is what it was asked for by.
    pub(crate) fn id(&self, asked: ConversationId) -> ConversationId {
        self.own_id.clone().unwrap_or(asked)
    }
}

impl Tables {
    /// Prepares to read; connections are made when they are needed, so Postgres may come later.
    ///
    /// # Errors
    /// When the address is none.
    pub(crate) fn connect(settings: &DatabaseSettings, epoch: &str) -> Result<Self, sqlx::Error> {
        let options = PgConnectOptions::from_str(settings.url.expose())?
            .application_name("turnlog streamer")
            .options([("statement_timeout", STATEMENT_TIMEOUT)]);
        let pool = PgPoolOptions::new()
            .max_connections(POOL)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute("SET ROLE turnlog_reader").await.map(drop) })
            })
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            checkpoint: Checkpoint::new(epoch, "read"),
            searched: Checkpoint::new(epoch, "search"),
        })
    }

    /// Asks how far the projection is while somebody waits for it, for ever.
    pub(crate) async fn poll_checkpoint(self) {
        tokio::join!(self.checkpoint.poll(&self.pool), self.searched.poll(&self.pool));
    }

    /// Whether the database answers.
    pub(crate) async fn answers(&self) -> bool {
        self.pool.execute("SELECT 1").await.is_ok()
    }

    /// Closes the connections.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Like [`Self::open`], once the tables have come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn open_at(
        &self,
        identity: &Identity,
        token: &str,
        rule: Rule,
        at_least: u64,
        deadline: Instant,
    ) -> Result<Reading, ReadError> {
        self.checkpoint.at(at_least, deadline, || self.open(identity, token, rule)).await?
    }

    /// Opens what a caller may list, once the tables have come to `at_least`.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Behind`] at the deadline.
    pub(crate) async fn list_at(
        &self,
        identity: &Identity,
        rule: ListRule,
        at_least: u64,
        deadline: Instant,
    ) -> Result<Listing, ReadError> {
        let scope = rule(identity)?;
        let transaction = self.checkpoint.at(at_least, deadline, || self.open_list(identity)).await?;
        Ok(Listing { transaction, scope })
    }

    /// One transaction under the caller's name, so that all it reads is of one moment.
    pub(crate) async fn begin(
        &self,
        identity: &Identity,
    ) -> Result<Transaction<'static, Postgres>, ReadError> {
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let (role, participant, company, admin) = session_of(identity);
        sqlx::query!(
            "SELECT set_config('turnlog.role', $1, true) AS role,
                    set_config('turnlog.participant', $2, true) AS who,
                    set_config('turnlog.company', $3, true) AS company,
                    set_config('turnlog.admin', $4, true) AS admin",
            role,
            participant,
            company,
            admin,
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok(transaction)
    }

    /// Which filters are there decides which index is right, so what lists is planned with the values at hand.
    async fn open_list(
        &self,
        identity: &Identity,
    ) -> Result<(Transaction<'static, Postgres>, u64), ReadError> {
        let mut transaction = self.begin(identity).await?;
        let row = sqlx::query!(
            r#"SELECT epoch AS "epoch!", last_sequence AS "last_sequence!",
                      set_config('plan_cache_mode', 'force_custom_plan', true) AS plans
               FROM turnlog.checkpoint WHERE name = 'read'"#,
        )
        .fetch_one(&mut *transaction)
        .await?;
        Ok((transaction, self.checkpoint.seen(&row.epoch, row.last_sequence)))
    }

    /// Opens a conversation for a caller, by its own token or by that of a conversation of the vendor's which is a session
    /// of it. Beside the reading, or the reason why there is none, stands the position
    /// that it is true at.
    pub(crate) async fn open(
        &self,
        identity: &Identity,
        token: &str,
        rule: Rule,
    ) -> Result<(Result<Reading, ReadError>, u64), ReadError> {
        let mut transaction = self.begin(identity).await?;
        let row = sqlx::query!(
            r#"SELECT epoch AS "epoch!", last_sequence AS "last_sequence!", facts.participant_id,
                      facts.token, facts.has_call, facts.worker_id, facts.holder,
                      facts.company_id, facts.admin_known, facts.admin_company
               FROM turnlog.checkpoint
               LEFT JOIN turnlog.access_of($1, $2) facts ON true
               WHERE name = 'read'"#,
            token,
            admin_token(identity),
        )
        .fetch_one(&mut *transaction)
        .await?;
        let position = self.checkpoint.seen(&row.epoch, row.last_sequence);
        let Some(known) = row.token else { return Ok((Err(ReadError::NotFound), position)) };
        let call = row.has_call.unwrap_or_default().then(|| CallFacts {
            worker: row.worker_id.unwrap_or_default(),
            holder: row.holder,
            company: row.company_id,
        });
        let directory = Directory::of(row.admin_known.unwrap_or_default(), row.admin_company);
        let facts = Facts { owner: row.participant_id, call, directory };
        if let Err(denied) = rule(identity, &facts) {
            return Ok((Err(denied.into()), position));
        }
        let own_id = if known == token { None } else { Some(own_id(&mut transaction, &known).await?) };
        Ok((Ok(Reading { transaction, token: known, own_id, position, facts }), position))
    }
}

async fn own_id(
    transaction: &mut Transaction<'static, Postgres>,
    token: &str,
) -> Result<ConversationId, ReadError> {
    let id = sqlx::query_scalar!(
        r#"SELECT conversation_id AS "conversation_id!" FROM turnlog.conversations WHERE token = $1"#,
        token,
    )
    .fetch_optional(&mut **transaction)
    .await?;
    id.and_then(|id| ConversationId::try_from(id).ok()).ok_or(ReadError::Hidden)
}

/// What the directory is asked about; nothing for those who are not in it.
fn admin_token(identity: &Identity) -> Option<String> {
    match identity {
        Identity::Person(Grant { who: Who::Admin { id, .. }, .. }) => {
            Some(Subject::admin(id).token().to_owned())
        }
        Identity::Person(_) | Identity::Service => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_away_is_503_and_a_fault_of_ours_500() {
        let kind = |error: ReadError| Problem::from(error).kind;
        assert_eq!(kind(ReadError::Database(sqlx::Error::PoolTimedOut)), Kind::Unavailable);
        assert_eq!(kind(ReadError::Database(sqlx::Error::RowNotFound)), Kind::Internal);
        assert_eq!(kind(ReadError::Behind), Kind::Unavailable);
        assert_eq!(kind(ReadError::Hidden), Kind::Internal);
        assert_eq!(kind(ReadError::NotFound), Kind::NotFound);
        assert_eq!(kind(ReadError::Denied(Denied::NotYours)), Kind::Forbidden);
    }
}
