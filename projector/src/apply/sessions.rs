//! Dreams, what is made of them, the sessions in which they are talked about, and how conversations stand with all that
//! is known of their sessions.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::column;
use crate::rows::{Changes, DreamRow, InterpretationRow, SessionRow};

/// Everything but how conversations stand.
pub(super) async fn rows(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    if !changes.dreams.is_empty() {
        dreams(connection, &changes.dreams).await?;
    }
    if !changes.interpretations.is_empty() {
        interpretations(connection, &changes.interpretations).await?;
    }
    if !changes.sessions.is_empty() {
        sessions(connection, &changes.sessions).await?;
    }
    Ok(())
}

/// How the conversations stand of which something was told that bears on it, and how many there are of each status then.
///
/// It follows from what the tables hold, whichever order it came in: the reports of the newest session and of the whole
/// conversation, and the newest end, as far as they are newer than the newest session. A report that tells how it ended
/// counts before one that does not: traces take nothing back.
pub(super) async fn standing(
    connection: &mut PgConnection,
    changes: &Changes<'_>,
) -> Result<(), sqlx::Error> {
    let reported = changes.reports.iter().map(|row| row.conversation);
    let ended = changes.endings.iter().map(|row| row.conversation);
    let opened = changes.sessions.iter().map(|row| row.conversation);
    let told: BTreeSet<&str> = reported.chain(ended).chain(opened).collect();
    if told.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "WITH stands AS (
             SELECT c.token, c.status AS before, o.session, o.opened, d.seconds,
                    CASE WHEN r.outcome IS NULL AND c.ended_sequence > coalesce(o.opened, 0) THEN 'ENDED'
                         WHEN r.failed THEN 'FAILED'
                         WHEN NOT r.failed THEN 'ENDED'
                         ELSE 'ACTIVE' END AS status,
                    CASE WHEN r.outcome IS NULL AND c.ended_sequence > coalesce(o.opened, 0) THEN c.ending_at
                         ELSE r.ended_at END AS ended_at
             FROM conversations AS c
             LEFT JOIN LATERAL (
                 SELECT s.number AS session, s.sequence AS opened FROM sessions AS s
                 WHERE s.conversation = c.token ORDER BY s.number DESC LIMIT 1) AS o ON true
             LEFT JOIN LATERAL (
                 SELECT p.outcome, p.failed, p.ended_at FROM reports AS p
                 WHERE p.conversation = c.token AND p.session IN (0, coalesce(o.session, 0))
                       AND p.sequence > coalesce(o.opened, 0)
                 ORDER BY p.outcome IS NULL, p.sequence DESC LIMIT 1) AS r ON true
             LEFT JOIN LATERAL (
                 SELECT coalesce(sum(n.duration_seconds) FILTER (WHERE n.session > 0),
                                 sum(n.duration_seconds))::bigint AS seconds
                 FROM (SELECT DISTINCT ON (p.session) p.session, p.duration_seconds FROM reports AS p
                       WHERE p.conversation = c.token AND p.duration_seconds IS NOT NULL
                       ORDER BY p.session, p.sequence DESC) AS n) AS d ON true
             WHERE c.token = ANY ($1)),
         after AS (
             UPDATE conversations AS c
             SET status = s.status, ended_at = s.ended_at, duration_seconds = s.seconds,
                 session = coalesce(s.session, 0), opened_sequence = s.opened
             FROM stands AS s WHERE c.token = s.token
             RETURNING s.before, c.status),
         moved AS (SELECT before AS status, -1 AS by FROM after UNION ALL SELECT status, 1 FROM after)
         UPDATE conversation_counts AS n SET conversations = n.conversations + m.by
         FROM (SELECT status, sum(by) AS by FROM moved GROUP BY status HAVING sum(by) <> 0) AS m
         WHERE n.status = m.status",
        &told.into_iter().collect::<Vec<_>>()[..] as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn sessions(connection: &mut PgConnection, rows: &[SessionRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO sessions AS s (conversation, number, sequence, opened_at, expires_at, vendor, participant_id,
                                    vendor_conversation_id, dream_id, interpreter_id, agent_id)
         SELECT * FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::timestamptz[], $5::timestamptz[],
                              $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[])
         ON CONFLICT (conversation, number) DO NOTHING",
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.number)[..],
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.session.opened_at)[..],
        &column(rows, |row| row.session.expires_at)[..],
        &column(rows, |row| row.vendor.as_str())[..] as &[&str],
        &column(rows, |row| row.session.participant_id.as_str())[..] as &[&str],
        &column(rows, |row| row.session.vendor_conversation_id.as_str())[..] as &[&str],
        &column(rows, |row| row.session.dream_id.as_str())[..] as &[&str],
        &column(rows, |row| row.session.interpreter_id.as_str())[..] as &[&str],
        &column(rows, |row| row.session.agent_id.as_str())[..] as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn dreams(connection: &mut PgConnection, rows: &[DreamRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO dreams AS d (token, version_sequence, recorded_at, recorded_offset, dream_id, participant_id,
                                  raw_transcript, themes)
         SELECT n.token, n.version_sequence, n.recorded_at, n.recorded_offset, n.dream_id, n.participant_id,
                n.raw_transcript, ARRAY(SELECT jsonb_array_elements_text(n.themes))
         FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::integer[], $5::text[], $6::text[], $7::text[],
                     $8::jsonb[])
              AS n (token, version_sequence, recorded_at, recorded_offset, dream_id, participant_id, raw_transcript,
                    themes)
         ON CONFLICT (token) DO UPDATE SET
             version_sequence = excluded.version_sequence, recorded_at = excluded.recorded_at,
             recorded_offset = excluded.recorded_offset, raw_transcript = excluded.raw_transcript,
             themes = excluded.themes
         WHERE d.version_sequence < excluded.version_sequence",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.dream.recorded_at.instant())[..] as &[DateTime<Utc>],
        &column(rows, |row| row.dream.recorded_at.offset_seconds())[..],
        &column(rows, |row| row.dream.dream_id.as_str())[..] as &[&str],
        &column(rows, |row| row.dream.participant_id.as_str())[..] as &[&str],
        &column(rows, |row| row.dream.raw_transcript.as_str())[..] as &[&str],
        &column(rows, |row| &row.themes)[..] as &[&Value]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn interpretations(
    connection: &mut PgConnection,
    rows: &[InterpretationRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO interpretations AS i (dream, interpreter_id, version_sequence, interpreted_at, participant_id,
                                           emotional_tone, text)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::jsonb[],
                              $7::text[])
         ON CONFLICT (dream, interpreter_id) DO UPDATE SET
             version_sequence = excluded.version_sequence, interpreted_at = excluded.interpreted_at,
             emotional_tone = excluded.emotional_tone, text = excluded.text
         WHERE i.version_sequence < excluded.version_sequence",
        &column(rows, |row| row.dream)[..] as &[&str],
        &column(rows, |row| row.interpretation.interpreter_id.as_str())[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.interpreted_at)[..],
        &column(rows, |row| row.interpretation.participant_id.as_str())[..] as &[&str],
        &column(rows, |row| &row.tone)[..] as &[&Value],
        &column(rows, |row| row.interpretation.text.as_str())[..] as &[&str]
    )
    .execute(connection)
    .await?;
    Ok(())
}
