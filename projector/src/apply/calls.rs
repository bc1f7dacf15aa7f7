//! Calls, who works them, who has seen what.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;

use super::column;
use crate::rows::{AdminRow, CallRow, Changes, DetailRow, EndingRow, ReceiptRow, WorkerRow};

/// Everything but what belongs to messages.
pub(super) async fn rows(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<(), sqlx::Error> {
    // Workers first: a call takes its company from the worker's row.
    if !changes.workers.is_empty() {
        workers(connection, &changes.workers).await?;
    }
    if !changes.admins.is_empty() {
        admins(connection, &changes.admins).await?;
    }
    if !changes.calls.is_empty() {
        calls(connection, &changes.calls).await?;
    }
    if !changes.endings.is_empty() {
        endings(connection, &changes.endings).await?;
    }
    if !changes.receipts.is_empty() {
        receipts(connection, &changes.receipts).await?;
    }
    Ok(())
}

/// What few messages have, for the version that the table holds.
pub(super) async fn details(
    connection: &mut PgConnection,
    rows: &[DetailRow<'_>],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE messages AS m SET sources = d.sources, attachments = d.attachments, late = d.late
         FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::jsonb[], $6::boolean[])
              AS d (sequence, version_sequence, conversation, sources, attachments, late)
         WHERE m.sequence = d.sequence AND m.conversation = d.conversation
               AND m.version_sequence = d.version_sequence",
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.sources)[..] as &[Option<&str>],
        &column(rows, |row| row.attachments.as_ref())[..] as &[Option<&Value>],
        &column(rows, |row| row.late)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn calls(connection: &mut PgConnection, rows: &[CallRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO calls AS k (conversation, version_sequence, first_sequence, opened_at, ended_at, opened_offset,
                                 worker, call_id, worker_id, mobile_no, urgency, medium, admin_id, company_id)
         SELECT c.conversation, c.version, c.first, c.opened_at, c.ended_at, c.opened_offset, c.worker, c.call_id,
                c.worker_id, c.mobile_no, c.urgency, c.medium, c.admin_id, w.company_id
         FROM unnest($1::text[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::text[],
                     $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[])
              AS c (conversation, version, opened_at, ended_at, opened_offset, worker, call_id, worker_id, mobile_no,
                    urgency, medium, admin_id, first)
         LEFT JOIN workers w ON w.token = c.worker
         ON CONFLICT (conversation) DO UPDATE SET
             version_sequence = greatest(k.version_sequence, excluded.version_sequence),
             first_sequence = least(k.first_sequence, excluded.first_sequence),
             ended_at = CASE WHEN k.version_sequence < excluded.version_sequence
                             THEN coalesce(excluded.ended_at, k.ended_at)
                             ELSE coalesce(k.ended_at, excluded.ended_at) END,
             urgency = CASE WHEN k.version_sequence < excluded.version_sequence THEN excluded.urgency ELSE k.urgency END,
             medium = CASE WHEN k.version_sequence < excluded.version_sequence THEN excluded.medium ELSE k.medium END,
             admin_id = CASE WHEN k.version_sequence < excluded.version_sequence THEN excluded.admin_id ELSE k.admin_id END",
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.call.opened_at.instant())[..],
        &column(rows, |row| row.ended_at)[..] as &[Option<DateTime<Utc>>],
        &column(rows, |row| row.call.opened_at.offset_seconds())[..],
        &column(rows, |row| row.worker.as_str())[..] as &[&str],
        &column(rows, |row| row.call.call_id.as_str())[..] as &[&str],
        &column(rows, |row| row.call.worker_id.as_str())[..] as &[&str],
        &column(rows, |row| row.call.mobile_no.as_str())[..] as &[&str],
        &column(rows, |row| row.call.urgency.as_str())[..] as &[&str],
        &column(rows, |row| row.call.medium.as_str())[..] as &[&str],
        &column(rows, |row| row.call.admin_id.as_ref().map(|id| id.as_str()))[..] as &[Option<&str>],
        &column(rows, |row| row.first_sequence)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The newest end of each conversation; what it means follows with the rest.
async fn endings(connection: &mut PgConnection, rows: &[EndingRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE conversations AS c SET ended_sequence = e.sequence, ending_at = e.ended_at
         FROM (SELECT DISTINCT ON (conversation) conversation, sequence, ended_at
               FROM unnest($1::text[], $2::bigint[], $3::timestamptz[]) AS told (conversation, sequence, ended_at)
               ORDER BY conversation, sequence DESC) AS e
         WHERE c.token = e.conversation AND coalesce(c.ended_sequence, 0) < e.sequence",
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.ended_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn receipts(connection: &mut PgConnection, rows: &[ReceiptRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO receipts AS r (conversation, viewer, version_sequence, sequence, role, viewer_id, seen_at)
         SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[],
                              $7::timestamptz[])
         ON CONFLICT (conversation, viewer) DO UPDATE SET
             version_sequence = excluded.version_sequence, sequence = excluded.sequence, seen_at = excluded.seen_at
         WHERE r.version_sequence < excluded.version_sequence",
        &column(rows, |row| row.conversation)[..] as &[&str],
        &column(rows, |row| row.viewer.as_str())[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.sequence)[..],
        &column(rows, |row| row.role)[..] as &[&str],
        &column(rows, |row| row.viewer_id)[..] as &[&str],
        &column(rows, |row| row.seen_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Workers, and whose admins see their calls from here on.
async fn workers(connection: &mut PgConnection, rows: &[WorkerRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH newer AS (
             INSERT INTO workers AS w (token, version_sequence, worker_id, company_id, mobile_no, name, updated_at)
             SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[],
                                  $7::timestamptz[])
             ON CONFLICT (token) DO UPDATE SET
                 version_sequence = excluded.version_sequence, company_id = excluded.company_id,
                 mobile_no = excluded.mobile_no, name = excluded.name, updated_at = excluded.updated_at
             WHERE w.version_sequence < excluded.version_sequence
             RETURNING token, company_id)
         UPDATE calls AS k SET company_id = n.company_id
         FROM newer n WHERE k.worker = n.token AND k.company_id IS DISTINCT FROM n.company_id",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.worker_id)[..] as &[&str],
        &column(rows, |row| row.company_id)[..] as &[Option<&str>],
        &column(rows, |row| row.mobile_no)[..] as &[Option<&str>],
        &column(rows, |row| row.name)[..] as &[Option<&str>],
        &column(rows, |row| row.updated_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn admins(connection: &mut PgConnection, rows: &[AdminRow<'_>]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO admins AS a (token, version_sequence, admin_id, company_id, name, updated_at)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
         ON CONFLICT (token) DO UPDATE SET
             version_sequence = excluded.version_sequence, company_id = excluded.company_id, name = excluded.name,
             updated_at = excluded.updated_at
         WHERE a.version_sequence < excluded.version_sequence",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.version_sequence)[..],
        &column(rows, |row| row.admin_id)[..] as &[&str],
        &column(rows, |row| row.company_id)[..] as &[Option<&str>],
        &column(rows, |row| row.name)[..] as &[Option<&str>],
        &column(rows, |row| row.updated_at)[..]
    )
    .execute(connection)
    .await?;
    Ok(())
}
