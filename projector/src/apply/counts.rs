//! Numbers by day, company and provider: what the rows of messages and conversations add up to.
//!
//! They are a function of the other tables, so it does not matter in what order, how often or in which batches events came.
//! What is new is counted as it comes, in memory. Where rows that were counted change, what they came to is taken off
//! before, and what they come to is added after.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, NaiveDate, Utc};
use shared::ids::Speaker;
use shared::measures::{ANSWER_BOUNDS, DURATION_BOUNDS, bucket, names};
use sqlx::{AssertSqlSafe, FromRow, PgConnection};

use super::{column, erasures};
use crate::rows::{Changes, ConversationRow, MessageRow};

mod whole;

pub(crate) use whole::Whole;

/// What messages come to. Each source names its messages, how long they are, and when they were asked for, where a user's
/// message stands before them. $1: [`ANSWER_BOUNDS`].
const OF_MESSAGES: &str = "
    SELECT g.day, coalesce(turnlog.company_key(g.company_id), '') AS company, g.provider, c.measure, c.bucket,
           sum(g.count)::bigint AS count, sum(c.total)::bigint AS total
    FROM (SELECT (m.said_at AT TIME ZONE 'UTC')::date AS day, k.company_id, m.provider, m.role,
                 width_bucket(m.waited, $1::bigint[]) AS bucket, count(*) AS count, sum(m.characters) AS characters,
                 sum(m.waited) AS waited
          FROM (SELECT s.conversation, s.said_at, s.provider, s.role, s.characters,
                       CASE WHEN s.role = 'assistant' AND s.asked_at <= s.said_at
                            THEN (extract(epoch FROM s.said_at - s.asked_at) * 1000000)::bigint / 1000 END AS waited
                FROM (%SOURCE%) AS s) AS m
          LEFT JOIN calls AS k ON k.conversation = m.conversation
          GROUP BY 1, 2, 3, 4, 5) AS g
    CROSS JOIN LATERAL (
        SELECT 'messages.' || g.role, 0, g.characters
        UNION ALL SELECT 'answers', g.bucket, g.waited WHERE g.bucket IS NOT NULL) AS c (measure, bucket, total)
    GROUP BY 1, 2, 3, 4, 5";
/// Whole conversations; all of them where the condition is left out. Lengths are taken first, so that no texts are sorted.
const WHOLE: &str = "
    SELECT conversation, said_at, provider, role, characters,
           lag(CASE role WHEN 'user' THEN said_at END) OVER log AS asked_at
    FROM (SELECT conversation, sequence, said_at, provider, role, length(content) AS characters
          FROM messages %WHERE% OFFSET 0) AS m
    WINDOW log AS (PARTITION BY conversation ORDER BY sequence)";
/// Single messages, $2.
const SINGLE: &str = "
    SELECT n.conversation, n.said_at, n.provider, n.role, length(n.content) AS characters,
           CASE b.role WHEN 'user' THEN b.said_at END AS asked_at
    FROM messages AS n LEFT JOIN LATERAL (
        SELECT role, said_at FROM messages AS b WHERE b.conversation = n.conversation AND b.sequence < n.sequence
        ORDER BY b.sequence DESC LIMIT 1) AS b ON true
    WHERE n.sequence = ANY ($2)";
/// What conversations come to. $1: [`DURATION_BOUNDS`].
const OF_CONVERSATIONS: &str = "
    SELECT (c.started_at AT TIME ZONE 'UTC')::date AS day, coalesce(turnlog.company_key(k.company_id), '') AS company,
           c.provider, n.measure, n.bucket, count(*) AS count, sum(n.total)::bigint AS total
    FROM conversations AS c LEFT JOIN calls AS k ON k.conversation = c.token
    CROSS JOIN LATERAL (
        SELECT coalesce(c.duration_seconds, extract(epoch FROM c.ended_at - c.started_at)::bigint) AS seconds) AS d
    CROSS JOIN LATERAL (
        SELECT 'conversations', 0, 0::bigint
        UNION ALL SELECT lower(c.status), 0, 0::bigint WHERE c.status <> 'ACTIVE'
        UNION ALL SELECT 'durations', width_bucket(d.seconds, $1::bigint[]), d.seconds
        WHERE c.status <> 'ACTIVE' AND d.seconds >= 0) AS n (measure, bucket, total)
    %WHERE% GROUP BY 1, 2, 3, 4, 5";

/// What a number is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key<'a> {
    day: NaiveDate,
    company: Cow<'a, str>,
    provider: Cow<'a, str>,
    measure: Cow<'a, str>,
    bucket: i32,
}

#[derive(Debug, FromRow)]
struct Row {
    day: NaiveDate,
    company: String,
    provider: String,
    measure: String,
    bucket: i32,
    count: i64,
    total: i64,
}

/// By how much numbers change.
#[derive(Debug, Default)]
struct Tally<'a>(HashMap<Key<'a>, (i64, i64)>);

impl<'a> Tally<'a> {
    fn add(&mut self, key: Key<'a>, count: i64, total: i64) {
        let held = self.0.entry(key).or_default();
        *held = (held.0 + count, held.1 + total);
    }

    fn add_rows(&mut self, rows: Vec<Row>, sign: i64) {
        for Row { day, company, provider, measure, bucket, count, total } in rows {
            let (company, provider, measure) = (company.into(), provider.into(), measure.into());
            self.add(Key { day, company, provider, measure, bucket }, sign * count, sign * total);
        }
    }

    /// Everything that these conversations come to as they are now.
    async fn of_whole(
        &mut self,
        connection: &mut PgConnection,
        tokens: &[&str],
        sign: i64,
    ) -> Result<(), sqlx::Error> {
        self.of_messages(connection, Some(tokens), sign).await?;
        self.of_heads(connection, Some(tokens), sign).await
    }

    /// What the messages of these conversations, or all, come to as they are now.
    async fn of_messages(
        &mut self,
        connection: &mut PgConnection,
        tokens: Option<&[&str]>,
        sign: i64,
    ) -> Result<(), sqlx::Error> {
        let source = WHOLE.replace("%WHERE%", tokens.map_or("", |_| "WHERE conversation = ANY ($2)"));
        let statement = OF_MESSAGES.replace("%SOURCE%", &source);
        self.of_statement(connection, statement, &ANSWER_BOUNDS, tokens, sign).await
    }

    /// What these conversations, or all, come to as they are now, without their messages.
    async fn of_heads(
        &mut self,
        connection: &mut PgConnection,
        tokens: Option<&[&str]>,
        sign: i64,
    ) -> Result<(), sqlx::Error> {
        let statement =
            OF_CONVERSATIONS.replace("%WHERE%", tokens.map_or("", |_| "WHERE c.token = ANY ($2)"));
        self.of_statement(connection, statement, &DURATION_BOUNDS, tokens, sign).await
    }

    async fn of_statement(
        &mut self,
        connection: &mut PgConnection,
        statement: String,
        bounds: &[i64],
        tokens: Option<&[&str]>,
        sign: i64,
    ) -> Result<(), sqlx::Error> {
        let rows = sqlx::query_as(AssertSqlSafe(statement)).bind(bounds);
        let rows = match tokens {
            Some([]) => return Ok(()),
            Some(tokens) => rows.bind(tokens),
            None => rows,
        };
        self.add_rows(rows.fetch_all(connection).await?, sign);
        Ok(())
    }

    /// What these messages come to as they are now.
    async fn of_single(
        &mut self,
        connection: &mut PgConnection,
        sequences: &[i64],
        sign: i64,
    ) -> Result<(), sqlx::Error> {
        let statement = OF_MESSAGES.replace("%SOURCE%", SINGLE);
        let rows = sqlx::query_as(AssertSqlSafe(statement)).bind(ANSWER_BOUNDS.as_slice()).bind(sequences);
        self.add_rows(rows.fetch_all(connection).await?, sign);
        Ok(())
    }

    /// Changes the numbers; what comes to nothing goes.
    async fn write(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let rows: Vec<_> = self.0.into_iter().filter(|(_, by)| *by != (0, 0)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let days = column(&rows, |(key, _)| key.day);
        let companies = column(&rows, |(key, _)| &*key.company);
        let providers = column(&rows, |(key, _)| &*key.provider);
        let measures = column(&rows, |(key, _)| &*key.measure);
        let buckets = column(&rows, |(key, _)| key.bucket);
        sqlx::query!(
            "INSERT INTO day_counts AS d (day, company, provider, measure, bucket, count, total)
             SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::bigint[],
                                  $7::bigint[])
             ON CONFLICT (day, company, provider, measure, bucket) DO UPDATE SET
                 count = d.count + excluded.count, total = d.total + excluded.total",
            &days[..],
            &companies[..] as &[&str],
            &providers[..] as &[&str],
            &measures[..] as &[&str],
            &buckets[..],
            &column(&rows, |(_, by)| by.0)[..],
            &column(&rows, |(_, by)| by.1)[..]
        )
        .execute(&mut *connection)
        .await?;
        if rows.iter().all(|(_, by)| by.0 >= 0) {
            return Ok(());
        }
        sqlx::query!(
            "DELETE FROM day_counts AS d
             USING unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::integer[])
                   AS n (day, company, provider, measure, bucket)
             WHERE d.day = n.day AND d.company = n.company AND d.provider = n.provider AND d.measure = n.measure
                   AND d.bucket = n.bucket AND d.count = 0",
            &days[..],
            &companies[..] as &[&str],
            &providers[..] as &[&str],
            &measures[..] as &[&str],
            &buckets[..]
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// When a message was said, if it asks for an answer.
fn asks(row: &MessageRow<'_>) -> Option<DateTime<Utc>> {
    (row.role == Speaker::User.as_str()).then_some(row.said_at)
}

/// What a message comes to that stands after what was asked then, as [`OF_MESSAGES`] has it: measures, buckets, totals.
fn of_message(
    row: &MessageRow<'_>,
    asked_at: Option<DateTime<Utc>>,
) -> impl Iterator<Item = (&'static str, i32, i64)> {
    let characters = i64::try_from(row.content.chars().count()).unwrap_or(i64::MAX);
    let of_user = asks(row).is_some();
    let measure = if of_user { names::OF_USERS } else { names::OF_ASSISTANTS };
    let answer = asked_at.filter(|at| !of_user && *at <= row.said_at).map(|at| {
        let waited = (row.said_at - at).num_microseconds().unwrap_or(i64::MAX) / 1_000;
        (names::ANSWERS, bucket(&ANSWER_BOUNDS, waited), waited)
    });
    [(measure, 0, characters)].into_iter().chain(answer)
}

/// What the tables know, before a batch, of a conversation with a call, or in which somebody spoke before.
#[derive(Debug)]
struct Known {
    token: String,
    has_call: bool,
    company: String,
    /// When a user spoke, if that was the last that was said; known only where an answer comes first.
    asked_at: Option<DateTime<Utc>>,
}

/// A conversation whose row was written.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) token: String,
    /// It was not there before.
    pub(super) fresh: bool,
    pub(super) started_at: DateTime<Utc>,
}

/// How a batch is counted.
#[derive(Debug, Default)]
pub(super) struct Counting<'a> {
    tally: Tally<'a>,
    known: HashMap<String, Known>,
    /// Counted as a whole, before and after.
    whole: HashSet<String>,
    /// Counted without their messages, before and after.
    heads: HashSet<&'a str>,
}

impl<'a> Counting<'a> {
    /// Looks at what is there before anything of the batch is written. What comes `late` is not in the order of the log.
    pub(super) async fn begin(
        connection: &mut PgConnection,
        changes: &'a Changes<'a>,
        late: bool,
    ) -> Result<Self, sqlx::Error> {
        let known = known(connection, changes).await?;
        let known = known.into_iter().map(|known| (known.token.clone(), known)).collect();
        let mut counting = Self { known, ..Self::default() };
        counting.whole.extend(moved(connection, changes).await?);
        for row in &changes.erasures {
            counting.whole.extend(erasures::conversations(connection, row).await?);
        }
        // A call was opened: its messages are of its company from here on, also those of before.
        let called = changes.calls.iter().map(|row| row.conversation);
        let called = called.filter(|token| !counting.known.get(*token).is_some_and(|known| known.has_call));
        counting.whole.extend(called.map(str::to_owned));
        if late {
            counting.whole.extend(changes.conversations.iter().map(|row| row.token.to_owned()));
        }
        let told = changes.endings.iter().map(|row| row.conversation);
        let told = told.chain(changes.reports.iter().map(|row| row.conversation));
        let told = told.chain(changes.sessions.iter().map(|row| row.conversation));
        counting.heads.extend(told.filter(|token| !counting.whole.contains(*token)));
        counting.said(&changes.messages);
        counting.rows(connection, -1).await?;
        Ok(counting)
    }

    fn company(&self, token: &str) -> String {
        self.known.get(token).map_or_else(String::new, |known| known.company.clone())
    }

    /// Rows of conversations were written: those that are new.
    pub(super) fn begun(&mut self, rows: &[ConversationRow<'a>], written: &[Begun]) {
        let fresh = written.iter().filter(|begun| begun.fresh).map(|begun| begun.token.as_str());
        let fresh: HashSet<&str> = fresh.collect();
        for row in rows.iter().filter(|row| fresh.contains(row.token)) {
            if self.whole.contains(row.token) || self.heads.contains(row.token) {
                continue;
            }
            let key = Key {
                day: row.started_at.date_naive(),
                company: self.company(row.token).into(),
                provider: row.provider.into(),
                measure: names::CONVERSATIONS.into(),
                bucket: 0,
            };
            self.tally.add(key, 1, 0);
        }
    }

    /// Before conversations turn out to have begun earlier.
    pub(super) async fn before_earlier(
        &mut self,
        connection: &mut PgConnection,
        rows: &[&ConversationRow<'a>],
    ) -> Result<(), sqlx::Error> {
        let (whole, heads) = (&self.whole, &self.heads);
        let more = rows.iter().map(|row| row.token);
        let more = more.filter(|token| !whole.contains(*token) && !heads.contains(token));
        let more: Vec<&'a str> = more.collect();
        self.tally.of_heads(connection, Some(&more), -1).await?;
        self.heads.extend(more);
        Ok(())
    }

    /// Messages that are new, in the order of the log, as the database counts them.
    fn said(&mut self, rows: &[MessageRow<'a>]) {
        let mut asked: HashMap<&str, Option<DateTime<Utc>>> = HashMap::new();
        for row in rows.iter().filter(|row| !self.whole.contains(row.conversation)) {
            let before = asked.insert(row.conversation, asks(row));
            let known = self.known.get(row.conversation);
            let asked_at = before.unwrap_or_else(|| known?.asked_at);
            for (measure, bucket, total) in of_message(row, asked_at) {
                let company = self.company(row.conversation).into();
                let (day, provider) = (row.said_at.date_naive(), row.provider.into());
                self.tally.add(Key { day, company, provider, measure: measure.into(), bucket }, 1, total);
            }
        }
    }

    /// What is counted before and after, as it is now.
    async fn rows(&mut self, connection: &mut PgConnection, sign: i64) -> Result<(), sqlx::Error> {
        let whole: Vec<&str> = self.whole.iter().map(String::as_str).collect();
        self.tally.of_whole(connection, &whole, sign).await?;
        let heads: Vec<&str> = self.heads.iter().copied().collect();
        self.tally.of_heads(connection, Some(&heads), sign).await
    }

    /// Before the versions of messages are replaced: which of them, and of those after them, are counted anew.
    pub(super) async fn before_corrections(
        &mut self,
        connection: &mut PgConnection,
        rows: &[MessageRow<'_>],
    ) -> Result<Vec<i64>, sqlx::Error> {
        let single = rows.iter().filter(|row| !self.whole.contains(row.conversation));
        let single: Vec<i64> = single.map(|row| row.sequence).collect();
        if single.is_empty() {
            return Ok(single);
        }
        let touched = sqlx::query_scalar!(
            r#"WITH corrected AS (SELECT conversation, sequence FROM messages WHERE sequence = ANY ($1))
               SELECT sequence AS "sequence!" FROM corrected
               UNION
               SELECT n.sequence FROM corrected AS c CROSS JOIN LATERAL (
                   SELECT m.sequence FROM messages AS m
                   WHERE m.conversation = c.conversation AND m.sequence > c.sequence
                   ORDER BY m.sequence LIMIT 1) AS n"#,
            &single[..]
        )
        .fetch_all(&mut *connection)
        .await?;
        self.tally.of_single(connection, &touched, -1).await?;
        Ok(touched)
    }

    /// After they were.
    pub(super) async fn after_corrections(
        &mut self,
        connection: &mut PgConnection,
        touched: &[i64],
    ) -> Result<(), sqlx::Error> {
        if touched.is_empty() {
            return Ok(());
        }
        self.tally.of_single(connection, touched, 1).await
    }

    /// After everything of the batch is written.
    pub(super) async fn finish(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.rows(connection, 1).await?;
        self.tally.write(connection).await
    }
}

/// What the tables know of the conversations of a batch. Who spoke before is looked for only where an answer comes first.
async fn known(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<Vec<Known>, sqlx::Error> {
    if changes.conversations.is_empty() {
        return Ok(Vec::new());
    }
    let mut first: HashMap<&str, (i64, &str)> = HashMap::new();
    for row in &changes.messages {
        first.entry(row.conversation).or_insert((row.sequence, row.role));
    }
    let answer = |row: &ConversationRow<'_>| {
        let answer = first.get(row.token).filter(|(_, role)| *role == Speaker::Assistant.as_str());
        answer.map(|(sequence, _)| *sequence)
    };
    sqlx::query_as!(
        Known,
        r#"SELECT n.token AS "token!", k.conversation IS NOT NULL AS "has_call!",
                  coalesce(turnlog.company_key(k.company_id), '') AS "company!",
                  CASE b.role WHEN 'user' THEN b.said_at END AS "asked_at?"
           FROM unnest($1::text[], $2::bigint[]) AS n (token, answer)
           LEFT JOIN calls AS k ON k.conversation = n.token
           LEFT JOIN LATERAL (
               SELECT m.role, m.said_at FROM messages AS m
               WHERE m.conversation = n.token AND m.sequence < n.answer
               ORDER BY m.sequence DESC LIMIT 1) AS b ON true
           WHERE k.conversation IS NOT NULL OR b.role = 'user'"#,
        &column(&changes.conversations, |row| row.token)[..] as &[&str],
        &column(&changes.conversations, answer)[..] as &[Option<i64>]
    )
    .fetch_all(connection)
    .await
}

/// The conversations of calls whose workers change their company.
async fn moved(connection: &mut PgConnection, changes: &Changes<'_>) -> Result<Vec<String>, sqlx::Error> {
    let rows = &changes.workers;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        "SELECT k.conversation FROM unnest($1::text[], $2::text[]) AS w (token, company_id)
         JOIN calls AS k ON k.worker = w.token AND k.company_id IS DISTINCT FROM w.company_id",
        &column(rows, |row| row.token)[..] as &[&str],
        &column(rows, |row| row.company_id)[..] as &[Option<&str>]
    )
    .fetch_all(connection)
    .await
}
