//! What an erasure does to the tables: everything that it touches goes, and what the log still says of it comes back.
//! So the tables are what they would be had the rest never been said, which is what a rebuild makes of the log.

use std::collections::HashSet;

use shared::events::Event;
use shared::subjects::{Aggregate, Subject};
use sqlx::PgConnection;

use crate::fold::fold;
use crate::index;
use crate::intake::Item;
use crate::rows::{Changes, ErasureRow, number};

/// Applies one. The caller holds the transaction.
pub(super) async fn erase(connection: &mut PgConnection, row: &ErasureRow<'_>) -> Result<(), sqlx::Error> {
    let searched = is_searched(connection).await?;
    let conversations = conversations(connection, row).await?;
    let parked = parked(connection, row, &conversations).await?;
    let messages = sqlx::query_scalar!(
        "DELETE FROM messages WHERE conversation = ANY ($1) RETURNING sequence",
        &conversations[..]
    )
    .fetch_all(&mut *connection)
    .await?;
    delete_conversations(connection, &conversations).await?;
    delete_persons(connection, row).await?;
    let left = |item: &&Item| !parked.contains(&number(item.sequence));
    for item in row.left.iter().filter(left) {
        // One by one: each is there already or not, whichever others there are.
        let again = fold(std::slice::from_ref(item));
        // How much came in by which way was counted when it came.
        let again = Changes { sources: Vec::new(), refused: Vec::new(), ..again };
        Box::pin(super::uncounted(connection, &again)).await?;
    }
    if searched {
        forget_documents(connection, &messages).await?;
        for item in row.left.iter().filter(|item| matches!(item.event, Ok(Event::MessageRecorded(_)))) {
            let sequence = number(item.sequence);
            index::range(connection, sequence - 1, sequence).await?;
        }
    }
    Ok(())
}

/// Whether these tables are searched; those that are made beside them are not. Where they are, whoever writes the index
/// waits from here on, so that nothing of what goes comes back.
async fn is_searched(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let there = sqlx::query_scalar!(r#"SELECT to_regclass('message_search') IS NOT NULL AS "there!""#)
        .fetch_one(&mut *connection)
        .await?;
    if there {
        sqlx::query!("SELECT name FROM checkpoint WHERE name = 'search' FOR UPDATE")
            .fetch_one(connection)
            .await?;
    }
    Ok(there)
}

/// The conversations that it names, and whatever else is the participant's.
pub(super) async fn conversations(
    connection: &mut PgConnection,
    row: &ErasureRow<'_>,
) -> Result<Vec<String>, sqlx::Error> {
    let mut tokens = sqlx::query_scalar!(
        "SELECT token FROM conversations
         WHERE participant_hash = hashtextextended($1, 0) AND participant_id = $1",
        row.erasure.participant_id.as_str()
    )
    .fetch_all(connection)
    .await?;
    tokens.extend(row.erasure.conversations.iter().cloned());
    tokens.sort_unstable();
    tokens.dedup();
    Ok(tokens)
}

/// Events that were set aside stay so as long as the log has them; answers those.
async fn parked(
    connection: &mut PgConnection,
    row: &ErasureRow<'_>,
    conversations: &[String],
) -> Result<HashSet<i64>, sqlx::Error> {
    let of = |aggregate| move |token: &String| String::from(Subject::of_token(aggregate, token));
    let mut subjects: Vec<String> = conversations.iter().map(of(Aggregate::Conversation)).collect();
    subjects.extend(row.erasure.dreams.iter().map(of(Aggregate::Dream)));
    subjects.extend(row.erasure.keys.iter().map(of(Aggregate::Webhook)));
    subjects.push(Subject::of_token(Aggregate::Participant, &row.participant).into());
    let left: Vec<i64> = row.left.iter().map(|item| number(item.sequence)).collect();
    sqlx::query!(
        "DELETE FROM parked WHERE subject = ANY ($1) AND sequence <> ALL ($2)",
        &subjects[..],
        &left[..]
    )
    .execute(&mut *connection)
    .await?;
    let parked = sqlx::query_scalar!("SELECT sequence FROM parked WHERE sequence = ANY ($1)", &left[..])
        .fetch_all(connection)
        .await?;
    Ok(parked.into_iter().collect())
}

async fn delete_conversations(connection: &mut PgConnection, tokens: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH gone AS (DELETE FROM conversations WHERE token = ANY ($1) RETURNING status),
              counted AS (SELECT status, count(*) AS gone FROM gone GROUP BY status)
         UPDATE conversation_counts AS n SET conversations = n.conversations - c.gone
         FROM counted AS c WHERE n.status = c.status",
        tokens
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "WITH of_calls AS (DELETE FROM calls WHERE conversation = ANY ($1)),
              of_reports AS (DELETE FROM reports WHERE conversation = ANY ($1)),
              of_turns AS (DELETE FROM turns WHERE conversation = ANY ($1)),
              of_recordings AS (DELETE FROM recordings WHERE conversation = ANY ($1)),
              of_sessions AS (DELETE FROM sessions WHERE conversation = ANY ($1))
         DELETE FROM receipts WHERE conversation = ANY ($1)",
        tokens
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete_persons(connection: &mut PgConnection, row: &ErasureRow<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH of_dreams AS (DELETE FROM dreams WHERE token = ANY ($1) OR participant_id = $2),
              of_interpretations AS (DELETE FROM interpretations WHERE dream = ANY ($1) OR participant_id = $2)
         DELETE FROM participants WHERE token = $3",
        &row.erasure.dreams[..],
        row.erasure.participant_id.as_str(),
        row.participant
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn forget_documents(connection: &mut PgConnection, messages: &[i64]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM message_search AS d WHERE d.sequence = ANY ($1)
         AND NOT EXISTS (SELECT FROM messages AS m WHERE m.sequence = d.sequence)",
        messages
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How much came in by which way is as it was, also where what came in was deleted: for tables that are made anew.
pub(crate) async fn deleted_webhooks(
    connection: &mut PgConnection,
    rows: &[ErasureRow<'_>],
) -> Result<(), sqlx::Error> {
    for deleted in rows.iter().flat_map(|row| &row.erasure.deleted_webhooks) {
        sqlx::query!(
            "INSERT INTO sources AS s (source, received, refused, failures, last_received) VALUES ($1, $2, 0, 0, $3)
             ON CONFLICT (source) DO UPDATE SET received = s.received + excluded.received,
                 last_received = greatest(s.last_received, excluded.last_received)",
            deleted.source.as_str(),
            number(deleted.events),
            deleted.last_at
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
