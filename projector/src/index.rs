//! What is searched: a document for each message, written beside the tables, with a checkpoint of its own. Writing an
//! index of all words takes longer than folding, and nobody who reads a conversation should wait for it.

mod document;

use std::convert::Infallible;

use shared::log::LogError;
use sqlx::{Connection, PgConnection};
use tokio::sync::watch;

use crate::rows::number;
use crate::run::Ending;

pub(crate) use document::{BLOCK_BITS, Source};

/// Sequences that are indexed at once: 64 MB of the longest messages. More make a transaction no cheaper.
const MAX_SEQUENCES: i64 = 1_000;

/// How far the tables are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reached {
    pub(crate) position: u64,
    /// Whether the log is far ahead. The tables go first then.
    pub(crate) behind: bool,
}

/// Follows the tables.
pub(crate) struct Indexer {
    connection: PgConnection,
    epoch: String,
    position: i64,
}

impl Indexer {
    /// Finds out where to go on.
    pub(crate) async fn new(mut connection: PgConnection, epoch: &str) -> Result<Self, Ending> {
        let row = sqlx::query!("SELECT epoch, last_sequence FROM checkpoint WHERE name = 'search'")
            .fetch_one(&mut connection)
            .await?;
        if !row.epoch.is_empty() && row.epoch != epoch {
            return Err(LogError::Replaced.into());
        }
        Ok(Self { connection, epoch: epoch.to_owned(), position: row.last_sequence })
    }

    /// Indexes what the tables have, until something ends it.
    pub(crate) async fn follow(mut self, mut tables: watch::Receiver<Reached>) -> Result<Infallible, Ending> {
        loop {
            let reached = tables.wait_for(|now| !now.behind && number(now.position) > self.position).await;
            let reached = reached.map(|now| number(now.position)).map_err(|_| Ending::Stopped)?;
            let to = reached.min(self.position + MAX_SEQUENCES);
            if !self.step(to).await? {
                return Err(Ending::Passing("the search checkpoint was moved by somebody else".into()));
            }
            metrics::counter!("turnlog_indexed_events_total").increment((to - self.position).unsigned_abs());
            self.position = to;
            let left = number(tables.borrow().position) - to;
            metrics::gauge!("turnlog_index_lag_events").set(left as f64);
        }
    }

    /// Documents and checkpoint, together or not at all.
    async fn step(&mut self, to: i64) -> Result<bool, sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        let moved = sqlx::query!(
            "UPDATE checkpoint SET last_sequence = $1, epoch = $3, updated_at = now()
             WHERE name = 'search' AND last_sequence = $2 AND epoch IN ('', $3)",
            to,
            self.position,
            self.epoch
        )
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        range(&mut transaction, self.position, to).await?;
        transaction.commit().await?;
        Ok(true)
    }
}

/// Writes the documents of all messages that the events after `from` up to `to` recorded, corrected or gave to their
/// participant, as the messages stand now.
pub(crate) async fn range(connection: &mut PgConnection, from: i64, to: i64) -> Result<(), sqlx::Error> {
    let messages = sqlx::query_as!(
        Source,
        r#"SELECT sequence AS "sequence!", conversation AS "conversation!", participant_id, content AS "content!",
                  said_at AS "said_at!"
           FROM messages WHERE sequence > $1 AND sequence <= $2
           UNION
           SELECT sequence, conversation, participant_id, content, said_at FROM messages
           WHERE version_sequence > sequence AND version_sequence > $1 AND version_sequence <= $2
           UNION
           SELECT m.sequence, m.conversation, m.participant_id, m.content, m.said_at
           FROM conversations AS c JOIN messages AS m ON m.conversation = c.token
           WHERE c.claim_sequence > $1 AND c.claim_sequence <= $2
           ORDER BY 1"#,
        from,
        to
    )
    .fetch_all(&mut *connection)
    .await?;
    if messages.is_empty() {
        return Ok(());
    }
    // Cutting a batch of long texts takes tens of milliseconds: not on a thread that others wait for.
    let cut = tokio::task::spawn_blocking(move || {
        messages
            .iter()
            .map(|message| (message.sequence, message.document(), message.said_at))
            .collect::<Vec<_>>()
    });
    let Ok(cut) = cut.await else {
        return Err(sqlx::Error::WorkerCrashed);
    };
    write(connection, &cut).await
}

async fn write(
    connection: &mut PgConnection,
    rows: &[(i64, String, chrono::DateTime<chrono::Utc>)],
) -> Result<(), sqlx::Error> {
    let sequences: Vec<_> = rows.iter().map(|row| row.0).collect();
    let documents: Vec<_> = rows.iter().map(|row| row.1.as_str()).collect();
    let said: Vec<_> = rows.iter().map(|row| row.2).collect();
    sqlx::query!(
        "INSERT INTO message_search (sequence, document)
         SELECT sequence, document::tsvector FROM unnest($1::bigint[], $2::text[]) AS cut (sequence, document)
         ON CONFLICT (sequence) DO UPDATE SET document = excluded.document",
        &sequences[..],
        &documents[..] as &[&str]
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "INSERT INTO search_blocks AS b (block, earliest, latest)
         SELECT sequence >> $3, min(said), max(said) FROM unnest($1::bigint[], $2::timestamptz[]) AS cut (sequence, said)
         GROUP BY 1
         ON CONFLICT (block) DO UPDATE SET
             earliest = least(b.earliest, excluded.earliest), latest = greatest(b.latest, excluded.latest)",
        &sequences[..],
        &said[..],
        BLOCK_BITS
    )
    .execute(connection)
    .await?;
    Ok(())
}
