//! Rows to SQL: one statement for each table, whatever the number of rows. Every statement gives the same
//! tables when it is run again, and older knowledge never replaces newer.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::rows::{Changes, ClaimRow, ConversationRow, MessageRow, ParkedRow, ParticipantRow};

mod calls;
pub(crate) mod counts;
mod erasures;
mod reports;
mod sessions;

use counts::{Begun, Counting};
pub(crate) use erasures::deleted_webhooks;

/// Writes everything but the checkpoint, and counts it. The caller holds the transaction.
pub(crate) async fn rows(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    counted(connection, changes, false).await
}

/// The same of what was set aside: events that are newer were written before it.
pub(crate) async fn late(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    counted(connection, changes, true).await
}

async fn counted(
    connection: &mut PgConnection,
    changes: &Changes<'_>,
    late: bool,
) -> Result<(), sqlx::Error> {
    let mut counting = Counting::begin(connection, changes, late).await?;
    write(connection, changes, Some(&mut counting)).await?;
    counting.finish(connection).await
}

/// The same, of which nothing is counted.
pub(crate) async fn uncounted(
    connection: &mut PgConnection,
    changes: &Changes<'_>,
) -> Result<(), sqlx::Error> {
    write(connection, changes, None).await
}

async fn write<'a>(
    connection: &mut PgConnection,
    changes: &'a Changes<'a>,
    mut counting: Option<&mut Counting<'a>>,
) -> Result<(), sqlx::Error> {
    if !changes.messages.is_empty() {
        messages(connection, &changes.messages).await?;
    }
    if !changes.corrections.is_empty() {
        corrected(connection, &changes.corrections, counting.as_deref_mut()).await?;
    }
    if !changes.details.is_empty() {
        calls::details(connection, &changes.details).await?;
    }
    if !changes.conversations.is_empty() {
        held(connection, &changes.conversations, counting).await?;
    }
    for once_each in runs(&changes.participants, |row| row.token) {
        participants(connection, once_each).await?;
    }
    for once_each in runs(&changes.reports, |row| (row.conversation, row.session, row.kind)) {
        reports::reports(connection, once_each).await?;
    }
    if !changes.recordings.is_empty() {
        reports::recordings(connection, &changes.recordings).await?;
    }
    calls::rows(connection, changes).await?;
    sessions::rows(connection, changes).await?;
    sessions::standing(connection, changes).await?;
    for claim in &changes.claims {
        reports::claim_messages(connection, claim).await?;
        reports::claim(connection, claim).await?;
    }
    if !changes.sources.is_empty() {
        reports::sources(connection, &changes.sources).await?;
    }
    if !changes.refused.is_empty() {
        reports::refused(connection, &changes.refused).await?;
    }
    if !changes.parked.is_empty() {
        parked(connection, &changes.parked).await?;
    }
    for row in &changes.erasures {
        erasures::erase(connection, row).await?;
    }
    Ok(())
}

/// Gives conversations to their participants, with everything that was told of them but their messages.
pub(crate) async fn claims_but_messages(
    connection: &mut PgConnection,
    claims: &[ClaimRow<'_>],
) -> Result<(), sqlx::Error> {
    for claim in claims {
        reports::claim(connection, claim).await?;
    }
    Ok(())
}

/// Counts a source's failures anew, where an event of it was not applied in its turn: how many there were since the last
/// good one is a matter of order.
pub(crate) async fn failures(connection: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
    reports::failures(connection, source).await
}

/// Moves the checkpoint, if it still stands where this projector left it; `false` when another one moved it.
pub(crate) async fn checkpoint(
    connection: &mut PgConnection,
    epoch: &str,
    from: i64,
    to: i64,
) -> Result<bool, sqlx::Error> {
    let moved = sqlx::query!(
        "UPDATE checkpoint SET last_sequence = $1, updated_at = now()
         WHERE name = 'read' AND last_sequence = $2 AND epoch = $3",
        to,
        from,
        epoch
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// One column of rows.
fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

async fn messages(connection: &mut PgConnection, rows: &[MessageRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO messages (sequence, version_sequence, ordinal, said_at, recorded_at, said_offset,
                               conversation, participant_id, message_id, role, provider, content, place)
         SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[],
                              $6::integer[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                              $12::text[], $13::bigint[])
         ON CONFLICT (sequence) DO NOTHING",
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.ordinal)[..],
        &column(rows, |row| row.said_at)[..],
        &column(rows, |row| row.recorded_at)[..],
        &column(rows, |row| row.said_offset)[..],
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.participant_id)[..] as &[Option<&str>],
        &column(rows, |row| row.message_id)[..] as &[Option<&str>],
        &column(rows, |row| row.role)[..] as &[&str],
        &column(rows, |row| row.provider)[..] as &[&str],
        &column(rows, |row| row.content)[..] as &[&str],
        &column(rows, |row| row.place)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn corrected(
    connection: &mut PgConnection,
    rows: &[MessageRow<'_>],
    counting: Option<&mut Counting<'_>>,
) -> Result<(), sqlx::Error> {
    let Some(counting) = counting else { return corrections(connection, rows).await };
    let touched = counting.before_corrections(connection, rows).await?;
    corrections(connection, rows).await?;
    counting.after_corrections(connection, &touched).await
}

async fn corrections(connection: &mut PgConnection, rows: &[MessageRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE messages AS m
         SET version_sequence = c.version_sequence, said_at = c.said_at, said_offset = c.said_offset,
             role = c.role, content = c.content, place = c.place, message_id = coalesce(c.message_id, m.message_id),
             participant_id = coalesce(m.participant_id, c.participant_id)
         FROM (SELECT DISTINCT ON (sequence, conversation) *
               FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::timestamptz[], $5::integer[],
                           $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[])
                    AS version (sequence, version_sequence, conversation, said_at, said_offset, role, content,
                                message_id, participant_id, place)
               ORDER BY sequence, conversation, version_sequence DESC) AS c
         WHERE m.sequence = c.sequence AND m.conversation = c.conversation
               AND m.version_sequence < c.version_sequence",
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.said_at)[..],
        &column(rows, |row| row.said_offset)[..],
        &column(rows, |row| row.role)[..] as &[&str],
        &column(rows, |row| row.content)[..] as &[&str],
        &column(rows, |row| row.message_id)[..] as &[Option<&str>],
        &column(rows, |row| row.participant_id)[..] as &[Option<&str>],
        &column(rows, |row| row.place)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What messages mean for their conversations; rows of one conversation may come in any order.
pub(crate) async fn conversations(
    connection: &mut PgConnection,
    rows: &[ConversationRow<'_>],
) -> Result<(), sqlx::Error> {
    held(connection, rows, None).await
}

async fn held<'a>(
    connection: &mut PgConnection,
    rows: &[ConversationRow<'a>],
    counting: Option<&mut Counting<'a>>,
) -> Result<(), sqlx::Error> {
    let written = begun(connection, rows).await?;
    let began: HashMap<&str, DateTime<Utc>> =
        written.iter().map(|begun| (begun.token.as_str(), begun.started_at)).collect();
    let earlier = rows.iter().filter(|row| began.get(row.token).is_some_and(|at| row.started_at < *at));
    let earlier: Vec<_> = earlier.collect();
    if let Some(counting) = counting {
        counting.begun(rows, &written);
        counting.before_earlier(connection, &earlier).await?;
    }
    if earlier.is_empty() { Ok(()) } else { began_earlier(connection, &earlier).await }
}

/// Everything but that a conversation began earlier than was known, which is rare, and counted.
async fn begun(
    connection: &mut PgConnection,
    rows: &[ConversationRow<'_>],
) -> Result<Vec<Begun>, sqlx::Error> {
    sqlx::query_as!(
        Begun,
        r#"WITH written AS (
         INSERT INTO conversations AS c (token, conversation_id, participant_id, provider, message_count,
                                         first_sequence, last_sequence, started_at, last_message_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::timestamptz[], $9::timestamptz[])
         ON CONFLICT (token) DO UPDATE SET
             participant_id = coalesce(c.participant_id, excluded.participant_id),
             provider = CASE WHEN excluded.first_sequence < c.first_sequence
                             THEN excluded.provider ELSE c.provider END,
             message_count = greatest(c.message_count, excluded.message_count),
             first_sequence = least(c.first_sequence, excluded.first_sequence),
             last_sequence = greatest(c.last_sequence, excluded.last_sequence),
             last_message_at = greatest(c.last_message_at, excluded.last_message_at)
         RETURNING token, xmax = 0 AS fresh, started_at),
         counted AS (
         UPDATE conversation_counts AS n SET conversations = n.conversations + began.now
         FROM (SELECT count(*) AS now FROM written WHERE fresh) AS began
         WHERE n.status = 'ACTIVE' AND began.now > 0)
         SELECT token, fresh AS "fresh!", started_at FROM written"#,
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.conversation_id)[..] as &[&str],
        &column(rows, |row| row.participant_id)[..] as &[Option<&str>],
        &column(rows, |row| row.provider)[..] as &[&str],
        &column(rows, |row| row.message_count)[..],
        &column(rows, |row| row.first_sequence)[..],
        &column(rows, |row| row.last_sequence)[..],
        &column(rows, |row| row.started_at)[..],
        &column(rows, |row| row.last_message_at)[..]
    )
    .fetch_all(connection)
    .await
}

async fn began_earlier(
    connection: &mut PgConnection,
    rows: &[&ConversationRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE conversations AS c SET started_at = n.started_at
         FROM unnest($1::text[], $2::timestamptz[]) AS n (token, started_at)
         WHERE c.token = n.token AND n.started_at < c.started_at",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.started_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn participants(connection: &mut PgConnection, rows: &[ParticipantRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO participants AS p (token, participant_id, name, age, location, enrolled_at, updated_at)
         SELECT *, said.at FROM unnest($1::text[], $2::text[], $3::text[], $4::integer[], $5::text[],
                                       $6::timestamptz[]) AS said (token, id, name, age, location, at)
         ON CONFLICT (token) DO UPDATE SET
             name = coalesce(excluded.name, p.name),
             age = coalesce(excluded.age, p.age),
             location = coalesce(excluded.location, p.location),
             enrolled_at = least(p.enrolled_at, excluded.enrolled_at),
             updated_at = greatest(p.updated_at, excluded.updated_at)",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.participant_id)[..] as &[&str],
        &column(rows, |row| row.name)[..] as &[Option<&str>],
        &column(rows, |row| row.age)[..] as &[Option<i32>],
        &column(rows, |row| row.location)[..] as &[Option<&str>],
        &column(rows, |row| row.stored_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Cuts rows so that none of the parts has a key twice: one statement cannot write a row twice, and the order matters.
fn runs<R, K: Eq + Hash + Copy>(rows: &[R], key: impl Fn(&R) -> K) -> Vec<&[R]> {
    let (mut runs, mut start, mut named) = (Vec::new(), 0, HashSet::new());
    for (index, row) in rows.iter().enumerate() {
        let key = key(row);
        if !named.insert(key) {
            runs.push(&rows[start..index]);
            start = index;
            named = HashSet::from([key]);
        }
    }
    if start < rows.len() {
        runs.push(&rows[start..]);
    }
    runs
}

async fn parked(connection: &mut PgConnection, rows: &[ParkedRow]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO parked AS p (sequence, subject, event_type, event_id, reason)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[])
         ON CONFLICT (sequence) DO UPDATE SET
             reason = excluded.reason, attempts = p.attempts + 1, state = 'parked', updated_at = now()",
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.subject.as_str())[..] as &[&str],
        &column(rows, |row| row.event_type.as_str())[..] as &[&str],
        &column(rows, |row| row.event_id.as_str())[..] as &[&str],
        &column(rows, |row| row.reason.as_str())[..] as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_run_has_a_key_twice_and_the_order_stays() {
        let rows: Vec<_> = ["a", "b", "a", "c", "b", "b"]
            .map(|token| ParticipantRow {
                token,
                participant_id: token,
                name: None,
                age: None,
                location: None,
                stored_at: DateTime::UNIX_EPOCH,
            })
            .into();
        let cut: Vec<String> = runs(&rows, |row| row.token)
            .into_iter()
            .map(|run| run.iter().map(|row| row.token).collect())
            .collect();
        assert_eq!(cut, ["ab", "acb", "b"]);
        assert!(runs(&[0; 0], |n| *n).is_empty());
    }
}
