//! What was told of whole conversations.

use serde_json::Value;
use shared::events::Refusal;
use sqlx::PgConnection;

use super::column;
use crate::rows::{ClaimRow, RecordingRow, RefusedRow, ReportRow, SourceRow};

/// Reports, their turns, and what they say of their conversations.
pub(super) async fn reports(
    connection: &mut PgConnection,
    rows: &[ReportRow<'_>],
) -> Result<(), sqlx::Error> {
    let newer = sqlx::query!(
        r#"INSERT INTO reports AS r (conversation, kind, sequence, source, participant_id, reported_at, recorded_at,
                                     outcome, agent_id, user_id, started_at, duration_seconds, cost, call_successful,
                                     title, summary, termination_reason, language, phone_call, evaluation, collected,
                                     client_data, metadata, analysis, session, failed, ended_at)
           SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[],
                                $7::timestamptz[], $8::text[], $9::text[], $10::text[], $11::timestamptz[],
                                $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[],
                                $18::text[], $19::jsonb[], $20::jsonb[], $21::jsonb[], $22::jsonb[], $23::jsonb[],
                                $24::jsonb[], $25::integer[], $26::boolean[], $27::timestamptz[])
           ON CONFLICT (conversation, session, kind) DO UPDATE SET
               sequence = excluded.sequence, source = excluded.source,
               participant_id = coalesce(r.participant_id, excluded.participant_id),
               reported_at = excluded.reported_at, recorded_at = excluded.recorded_at,
               outcome = excluded.outcome, agent_id = excluded.agent_id, user_id = excluded.user_id,
               started_at = excluded.started_at, duration_seconds = excluded.duration_seconds,
               cost = excluded.cost, call_successful = excluded.call_successful, title = excluded.title,
               summary = excluded.summary, termination_reason = excluded.termination_reason,
               language = excluded.language, phone_call = excluded.phone_call,
               evaluation = excluded.evaluation, collected = excluded.collected,
               client_data = excluded.client_data, metadata = excluded.metadata, analysis = excluded.analysis,
               failed = excluded.failed, ended_at = excluded.ended_at
           WHERE r.sequence < excluded.sequence
           RETURNING sequence"#,
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.kind)[..] as &[&str],
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.source)[..] as &[&str],
        &column(rows, |row| row.participant_id)[..] as &[Option<&str>],
        &column(rows, |row| row.reported_at)[..] as &[Option<chrono::DateTime<chrono::Utc>>],
        &column(rows, |row| row.recorded_at)[..],
        &column(rows, |row| row.facts.outcome.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.agent_id.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.user_id.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.started_at)[..] as &[Option<chrono::DateTime<chrono::Utc>>],
        &column(rows, |row| row.facts.duration_seconds)[..] as &[Option<i64>],
        &column(rows, |row| row.facts.cost)[..] as &[Option<i64>],
        &column(rows, |row| row.facts.call_successful.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.title.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.summary.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.termination_reason.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| row.facts.language.as_deref())[..] as &[Option<&str>],
        &column(rows, |row| present(&row.facts.phone_call))[..] as &[Option<&Value>],
        &column(rows, |row| present(&row.facts.evaluation))[..] as &[Option<&Value>],
        &column(rows, |row| present(&row.facts.collected))[..] as &[Option<&Value>],
        &column(rows, |row| present(&row.facts.client_data))[..] as &[Option<&Value>],
        &column(rows, |row| present(&row.facts.metadata))[..] as &[Option<&Value>],
        &column(rows, |row| present(&row.facts.analysis))[..] as &[Option<&Value>],
        &column(rows, |row| row.session)[..],
        &column(rows, |row| row.facts.failed)[..],
        &column(rows, |row| row.ended_at)[..]
    )
    .fetch_all(&mut *connection)
    .await?;
    let newer: Vec<_> = newer.into_iter().map(|row| row.sequence).collect();
    for row in rows.iter().filter(|row| newer.contains(&row.sequence)) {
        // A report without a transcript says nothing of turns.
        if !row.turns.is_empty() {
            turns(connection, row).await?;
        }
        conversation(connection, row).await?;
    }
    Ok(())
}

/// `null` in JSON says no more than no value.
fn present(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null())
}

async fn turns(connection: &mut PgConnection, row: &ReportRow<'_>) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM turns WHERE conversation = $1 AND session = $2", row.conversation, row.session)
        .execute(&mut *connection)
        .await?;
    let turns = &row.turns;
    let numbers: Vec<i32> = (0..).take(turns.len()).collect();
    sqlx::query!(
        "INSERT INTO turns (conversation, participant_id, session, turn, ordinal, said_as, seconds, interrupted,
                            original, detail)
         SELECT $1, $2, $3, * FROM unnest($4::integer[], $5::bigint[], $6::text[], $7::bigint[], $8::boolean[],
                                          $9::text[], $10::jsonb[])",
        row.conversation,
        row.participant_id,
        row.session,
        &numbers[..],
        &column(turns, |(_, ordinal)| *ordinal)[..] as &[Option<i64>],
        &column(turns, |(turn, _)| turn.said_as.as_str())[..] as &[&str],
        &column(turns, |(turn, _)| turn.seconds)[..] as &[Option<i64>],
        &column(turns, |(turn, _)| turn.interrupted)[..],
        &column(turns, |(turn, _)| turn.original.as_deref())[..] as &[Option<&str>],
        &column(turns, |(turn, _)| &turn.detail)[..] as &[&Value]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a report says of its conversation, beside how it stands with it.
async fn conversation(connection: &mut PgConnection, row: &ReportRow<'_>) -> Result<(), sqlx::Error> {
    let facts = row.facts;
    sqlx::query!(
        "UPDATE conversations SET
             report_sequence = $2, reported_at = $3, agent_id = coalesce($4, agent_id),
             account_id = coalesce($5, account_id), email_id = coalesce($6, email_id)
         WHERE token = $1 AND coalesce(report_sequence, 0) < $2",
        row.conversation,
        row.sequence,
        row.recorded_at,
        facts.agent_id.as_deref(),
        facts.account_id.as_deref(),
        facts.email_id.as_deref()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The sounds of conversations.
pub(super) async fn recordings(
    connection: &mut PgConnection,
    rows: &[RecordingRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO recordings AS r (conversation, sequence, source, participant_id, object, bytes, sha256, media_type,
                                      reported_at, recorded_at, session)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
                              $8::text[], $9::timestamptz[], $10::timestamptz[], $11::integer[])
         ON CONFLICT (conversation, session) DO UPDATE SET
             sequence = excluded.sequence, source = excluded.source,
             participant_id = coalesce(r.participant_id, excluded.participant_id),
             object = excluded.object, bytes = excluded.bytes, sha256 = excluded.sha256,
             media_type = excluded.media_type, reported_at = excluded.reported_at,
             recorded_at = excluded.recorded_at
         WHERE r.sequence < excluded.sequence",
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.source)[..] as &[&str],
        &column(rows, |row| row.participant_id)[..] as &[Option<&str>],
        &column(rows, |row| row.object)[..] as &[&str],
        &column(rows, |row| row.bytes)[..],
        &column(rows, |row| row.sha256)[..] as &[&str],
        &column(rows, |row| row.media_type)[..] as &[&str],
        &column(rows, |row| row.reported_at)[..] as &[Option<chrono::DateTime<chrono::Utc>>],
        &column(rows, |row| row.recorded_at)[..],
        &column(rows, |row| row.session)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives what was said in a conversation before to its participant.
pub(super) async fn claim_messages(
    connection: &mut PgConnection,
    row: &ClaimRow<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE messages SET participant_id = $2 WHERE conversation = $1 AND participant_id IS NULL",
        row.conversation,
        row.participant_id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a conversation, and everything that was told of it before, to its participant.
pub(super) async fn claim(connection: &mut PgConnection, row: &ClaimRow<'_>) -> Result<(), sqlx::Error> {
    let ClaimRow { sequence, conversation, participant_id } = row;
    sqlx::query!(
        "WITH of_turns AS (
             UPDATE turns SET participant_id = $2 WHERE conversation = $1 AND participant_id IS NULL),
         of_reports AS (
             UPDATE reports SET participant_id = $2 WHERE conversation = $1 AND participant_id IS NULL),
         of_recordings AS (
             UPDATE recordings SET participant_id = $2 WHERE conversation = $1 AND participant_id IS NULL)
         UPDATE conversations SET participant_id = coalesce(participant_id, $2), claim_sequence = $3
         WHERE token = $1",
        conversation,
        participant_id,
        sequence
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What came in by webhooks.
pub(super) async fn sources(connection: &mut PgConnection, rows: &[SourceRow]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO sources AS s (source, received, refused, failures, last_received, last_refused)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[],
                              $6::timestamptz[])
         ON CONFLICT (source) DO UPDATE SET
             received = s.received + excluded.received,
             refused = s.refused + excluded.refused,
             failures = excluded.failures + CASE WHEN excluded.received > 0 THEN 0 ELSE s.failures END,
             last_received = greatest(s.last_received, excluded.last_received),
             last_refused = greatest(s.last_refused, excluded.last_refused)",
        &column(rows, |row| row.source)[..] as &[&str],
        &column(rows, |row| row.received)[..],
        &column(rows, |row| row.refused)[..],
        &column(rows, |row| row.failures)[..],
        &column(rows, |row| row.last_received)[..] as &[Option<chrono::DateTime<chrono::Utc>>],
        &column(rows, |row| row.last_refused)[..] as &[Option<chrono::DateTime<chrono::Utc>>]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A source's failures since the last good one, from what is in the tables.
pub(super) async fn failures(connection: &mut PgConnection, source: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE sources AS s
         SET failures = (SELECT count(*) FROM refused AS r
                         WHERE r.source = s.source AND r.reason <> $2
                               AND r.refused_at > coalesce(s.last_received, '-infinity'))
         WHERE s.source = $1",
        source,
        Refusal::MISSING
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Webhooks that were turned away.
pub(super) async fn refused(
    connection: &mut PgConnection,
    rows: &[RefusedRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO refused (sequence, source, reason, bytes, sha256, address, refused_at)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                              $7::timestamptz[])
         ON CONFLICT (sequence) DO NOTHING",
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.source)[..] as &[&str],
        &column(rows, |row| row.reason)[..] as &[&str],
        &column(rows, |row| row.bytes)[..],
        &column(rows, |row| row.sha256)[..] as &[&str],
        &column(rows, |row| row.address)[..] as &[&str],
        &column(rows, |row| row.refused_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}
