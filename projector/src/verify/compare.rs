//! Rows of two generations, table by table, in one snapshot.

use std::sync::{Mutex, PoisonError};

use futures::TryStreamExt;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, FromRow, PgConnection};

use super::{Column, Difference, Verified, What};
use crate::generation::{BUILDING, LIVE, SEARCH};
use crate::rebuild::{RebuildError, Stage, Step};
use crate::status::waiting;

/// Where the projector is, which both know already.
const POSITION: &str = "checkpoint";
/// What operators did with parked events, and when: it is not in the log.
const NOT_IN_LOG: [&str; 4] = ["attempts", "state", "parked_at", "updated_at"];
const PARKED: &str = "parked";

/// Each table with its key and its columns. $1: those that are not compared, $2 and $3: columns that are not, and of which.
const SHAPES: &str = "
    SELECT c.relname::text AS name,
           (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum = ANY (i.indkey)) AS key,
           (SELECT array_agg(quote_ident(a.attname) ORDER BY a.attnum) FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  AND NOT (c.relname = $2 AND a.attname = ANY ($3))) AS columns
    FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.relnamespace = 'read_v1'::regnamespace AND c.relkind = 'r' AND c.relname <> ALL ($1)
    ORDER BY pg_relation_size(c.oid) DESC, 1";

/// How a table looks.
#[derive(Debug, FromRow)]
pub(super) struct Shape {
    name: String,
    key: Vec<String>,
    columns: Vec<String>,
}

/// A pair of rows that is not one.
#[derive(Debug, FromRow)]
struct Pair {
    key: String,
    tables: Option<Value>,
    log: Option<Value>,
}

/// What is to be compared: a table or a part of one.
struct Task {
    table: String,
    statement: String,
    /// Says how many rows of the tables that is; absent for the search index, which is not the log's.
    count: Option<String>,
}

/// What was found so far, by whoever looks.
struct Findings<'a> {
    tasks: std::vec::IntoIter<Task>,
    of: u64,
    rows: u64,
    differences: u64,
    show: &'a mut (dyn FnMut(Step) + Send),
    found: &'a mut (dyn FnMut(Difference) + Send),
}

impl Findings<'_> {
    fn next(&mut self) -> Option<Task> {
        let done = self.of - self.tasks.len() as u64;
        (self.show)(Step { stage: Stage::Compare, done, of: self.of });
        self.tasks.next()
    }
}

/// Compares all tables, and whether every message can be searched for. Both connections see the same, and share the work.
pub(super) async fn all(
    [one, other]: [&mut PgConnection; 2],
    events: u64,
    show: &mut (dyn FnMut(Step) + Send),
    found: &mut (dyn FnMut(Difference) + Send),
) -> Result<Verified, RebuildError> {
    let waiting = waiting(one, BUILDING).await?;
    let mut tasks: Vec<_> = shapes(one).await?.iter().flat_map(|shape| shape.tasks(events / 2)).collect();
    tasks.push(Task { table: SEARCH[0].to_owned(), statement: searchable(), count: None });
    let of = tasks.len() as u64;
    let tasks = tasks.into_iter();
    let findings = Mutex::new(Findings { tasks, of, rows: 0, differences: 0, show, found });
    tokio::try_join!(look(one, &findings), look(other, &findings))?;
    let Findings { rows, differences, .. } = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Verified { events, rows, differences, waiting })
}

/// Takes one task after the other.
async fn look(connection: &mut PgConnection, findings: &Mutex<Findings<'_>>) -> Result<(), RebuildError> {
    let held = || findings.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(Task { table, statement, count }) = held().next() else { return Ok(()) };
        let mut found = |difference| {
            let mut held = held();
            held.differences += 1;
            (held.found)(difference);
        };
        pairs(connection, &statement, &table, &mut found).await?;
        if let Some(count) = count {
            let rows: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut *connection).await?;
            held().rows += rows.unsigned_abs();
        }
    }
}

/// Every table that is compared, the largest first.
pub(super) async fn shapes(connection: &mut PgConnection) -> Result<Vec<Shape>, sqlx::Error> {
    let [documents, blocks] = SEARCH;
    sqlx::query_as(SHAPES)
        .bind([documents, blocks, POSITION].as_slice())
        .bind(PARKED)
        .bind(NOT_IN_LOG.as_slice())
        .fetch_all(connection)
        .await
}

impl Shape {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The same without this column, if it has it.
    pub(super) fn without(mut self, column: &str) -> Self {
        self.columns.retain(|name| name != column);
        self
    }

    /// Its comparison in both generations: what grows with the log in two parts, before and after a sequence.
    fn tasks(&self, middle: u64) -> Vec<Task> {
        let name = &self.name;
        let of = |condition: &str| {
            let [tables, log] =
                [LIVE, BUILDING].map(|schema| format!("(SELECT * FROM {schema}.{name}{condition})"));
            let count = Some(format!("SELECT count(*) FROM {tables} AS t"));
            Task { table: name.clone(), statement: self.statement(&tables, &log), count }
        };
        if self.key != ["sequence"] {
            return vec![of("")];
        }
        ["<=", ">"].map(|side| of(&format!(" WHERE sequence {side} {middle}"))).into()
    }

    /// The pairs of rows of two relations of this shape that differ, by key.
    pub(super) fn statement(&self, tables: &str, log: &str) -> String {
        let Self { key, columns, .. } = self;
        let list =
            |of: &str| columns.iter().map(|name| format!("{of}.{name}")).collect::<Vec<_>>().join(", ");
        let same = key.iter().map(|name| format!("t.{name} = l.{name}")).collect::<Vec<_>>().join(" AND ");
        let named = key.iter().map(|name| format!("'{name} ' || coalesce(t.{name}, l.{name})"));
        let (first, named) = (&key[0], named.collect::<Vec<_>>().join(", "));
        let (of_tables, of_log) = (list("t"), list("l"));
        format!(
            "SELECT concat_ws(', ', {named}) AS key,
                    CASE WHEN t.{first} IS NOT NULL THEN to_jsonb(t) END AS tables,
                    CASE WHEN l.{first} IS NOT NULL THEN to_jsonb(l) END AS log
             FROM (SELECT {of_tables} FROM {tables} AS t) AS t
             FULL JOIN (SELECT {of_log} FROM {log} AS l) AS l ON {same}
             WHERE t.{first} IS NULL OR l.{first} IS NULL OR ROW({of_tables}) IS DISTINCT FROM ROW({of_log})"
        )
    }
}

/// Messages that should have a document and have none, and documents of no message.
fn searchable() -> String {
    let documents = SEARCH[0];
    format!(
        "SELECT 'sequence ' || coalesce(d.sequence, m.sequence) AS key,
                CASE WHEN d.sequence IS NOT NULL THEN '{{}}'::jsonb END AS tables,
                CASE WHEN m.sequence IS NOT NULL THEN '{{}}'::jsonb END AS log
         FROM {LIVE}.{documents} AS d
         FULL JOIN (SELECT sequence FROM {BUILDING}.messages
                    WHERE sequence <= (SELECT last_sequence FROM {LIVE}.checkpoint WHERE name = 'search')) AS m
              ON m.sequence = d.sequence
         WHERE d.sequence IS NULL OR m.sequence IS NULL"
    )
}

/// Hands over what a statement finds.
pub(super) async fn pairs(
    connection: &mut PgConnection,
    statement: &str,
    table: &str,
    found: &mut (dyn FnMut(Difference) + Send),
) -> Result<(), sqlx::Error> {
    let mut rows = sqlx::query_as::<_, Pair>(AssertSqlSafe(statement.to_owned())).fetch(connection);
    while let Some(Pair { key, tables, log }) = rows.try_next().await? {
        let what = match (tables, log) {
            (None, _) => What::Missing,
            (_, None) => What::Surplus,
            (Some(tables), Some(log)) => What::Changed(changed(tables, log)),
        };
        found(Difference { table: table.to_owned(), key, what });
    }
    Ok(())
}

fn changed(tables: Value, log: Value) -> Vec<Column> {
    let (Value::Object(tables), Value::Object(mut log)) = (tables, log) else { return Vec::new() };
    let other = |(name, tables): (String, Value), log: &mut Map<String, Value>| {
        let log = log.remove(&name).unwrap_or_default();
        (tables != log).then_some(Column { name, tables, log })
    };
    tables.into_iter().filter_map(|column| other(column, &mut log)).collect()
}
