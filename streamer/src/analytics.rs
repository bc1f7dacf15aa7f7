//! Numbers for dashboards and studies, by UTC day and provider, read from the counts that the projector keeps: however much
//! was said, a question costs a few rows for each day.

mod numbers;

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::{Days, NaiveDate, Utc};
use serde::Deserialize;
use shared::auth::{AnyCaller, Identity};
use shared::http::openapi::{ListProblems, tags};
use shared::ids::Provider;
use shared::limits::READ_WAIT;
use shared::measures::names;
use shared::problem::Problem;
use sqlx::{Postgres, Transaction};
use tokio::time::Instant;

use crate::access::may_count;
use crate::limits::{COUNTED_DAYS, MAX_COUNTED_DAYS};
use crate::query::{Queried, Wrong};
use crate::router::Edge;
use crate::tables::{ReadError, Tables};
use numbers::{Answers, Conversations, Counted, Messages};

/// The parameters as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    from: Option<String>,
    to: Option<String>,
    provider: Option<String>,
    company: Option<String>,
    after: Option<String>,
}

/// What is asked of the counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// The first day.
    from: NaiveDate,
    /// The last day.
    to: NaiveDate,
    provider: Option<&'static str>,
    company: Option<String>,
    after: u64,
}

impl Parameters {
    fn parse(self, today: NaiveDate) -> Result<Wanted, Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let provider = self.provider.and_then(|text| {
            let provider = [Provider::Elevenlabs, Provider::Openai, Provider::Call].map(Provider::as_str);
            let provider = provider.into_iter().find(|provider| *provider == text);
            if provider.is_none() {
                wrong.reject("provider", "must be \"elevenlabs\", \"openai\" or \"call\"");
            }
            provider
        });
        let company = wrong.key("company", self.company);
        let to = day(&mut wrong, "to", self.to.as_deref()).unwrap_or(today);
        let from = day(&mut wrong, "from", self.from.as_deref());
        let from = from.unwrap_or_else(|| to - Days::new(COUNTED_DAYS - 1));
        if from > to {
            wrong.reject("to", "must not be before from");
        } else if to.signed_duration_since(from).num_days() >= MAX_COUNTED_DAYS {
            wrong.reject("from", format!("must lie less than {MAX_COUNTED_DAYS} days before to"));
        }
        wrong.finish(Wanted { from, to, provider, company, after })
    }
}

/// A day of this era, which dates of Postgres and of JSON have room for.
fn day(wrong: &mut Wrong, field: &str, text: Option<&str>) -> Option<NaiveDate> {
    let text = text?;
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    // Parsers take more than they write.
    let day = day.filter(|day| text.len() == 10 && *day >= NaiveDate::default());
    if day.is_none() {
        wrong.reject(field, "must be a day in UTC, not before 1970, for example 2025-10-03");
    }
    day
}

/// What one caller may be told of the counts. Only made where the access rule said yes.
struct Counts {
    transaction: Transaction<'static, Postgres>,
    wanted: Wanted,
}

impl Tables {
    async fn counts(&self, identity: &Identity, wanted: Wanted) -> Result<Counts, ReadError> {
        let deadline = Instant::now() + READ_WAIT;
        let (transaction, directory) = self.counts_at(identity, wanted.after, deadline).await?;
        may_count(identity, &directory)?;
        Ok(Counts { transaction, wanted })
    }
}

impl Counts {
    /// What was counted of these, by day and provider.
    async fn of(&mut self, measures: &[&str]) -> Result<Vec<Counted>, ReadError> {
        let Wanted { from, to, provider, company, .. } = &self.wanted;
        let rows = sqlx::query_as!(
            Counted,
            r#"SELECT day AS "day!", provider AS "provider!", measure AS "measure!", bucket AS "bucket!",
                      sum(count)::bigint AS "count!", sum(total)::bigint AS "total!"
               FROM turnlog.day_counts
               WHERE day BETWEEN $1 AND $2 AND measure = ANY ($3) AND ($4::text IS NULL OR provider = $4)
                     AND ($5::text IS NULL OR company = turnlog.company_key($5))
               GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"#,
            from,
            to,
            measures as &[&str],
            *provider,
            company.as_deref(),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows)
    }

    /// Conversations that have begun and not ended, by provider, whenever they began.
    async fn active(&mut self) -> Result<BTreeMap<String, i64>, ReadError> {
        let Wanted { provider, company, .. } = &self.wanted;
        let rows = sqlx::query!(
            r#"SELECT provider AS "provider!",
                      sum(CASE measure WHEN 'conversations' THEN count ELSE -count END)::bigint AS "active!"
               FROM turnlog.day_counts
               WHERE measure IN ('conversations', 'ended', 'failed') AND ($1::text IS NULL OR provider = $1)
                     AND ($2::text IS NULL OR company = turnlog.company_key($2))
               GROUP BY 1"#,
            *provider,
            company.as_deref(),
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows.into_iter().map(|row| (row.provider, row.active)).collect())
    }
}

/// Messages by day
///
/// How many there were and how long they are on average, in characters, by UTC day and provider; by the time that each was
/// said. A corrected message counts as it stands now. Researchers are told of everything, an admin of the calls of their
/// company's workers, whoever holds them.
#[utoipa::path(
    get, path = "/api/v1/analytics/messages", tag = tags::READERS,
    security(("admin" = []), ("researcher" = []), ("session" = [])),
    params(
        ("from" = Option<String>, Query, description = "The first day in UTC; 29 days before `to` when it is left out.", example = "2025-10-01"),
        ("to" = Option<String>, Query, description = "The last day, at most 366 days in all; today when it is left out.", example = "2025-10-03"),
        ("provider" = Option<String>, Query, description = "Only what came through this frontend."),
        ("company" = Option<String>, Query, description = "Only calls of this company's workers."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer counts it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "The numbers.", body = Messages), ListProblems),
)]
pub(crate) async fn messages(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    Queried(parameters): Queried<Parameters>,
) -> Result<Json<Messages>, Problem> {
    let wanted = parameters.parse(Utc::now().date_naive())?;
    let (from, to) = (wanted.from, wanted.to);
    let mut counts = edge.tables.counts(&identity, wanted).await?;
    let rows = counts.of(&[names::OF_USERS, names::OF_ASSISTANTS]).await?;
    Ok(Json(Messages::of(from, to, &rows)))
}

/// Conversations by day
///
/// How many began, how many of those are over, and how long they took, by the UTC day on which they began and the provider
/// that they began with. `active` are those that have begun and not ended, whenever they began. A conversation takes as long
/// as a report says, or else from its beginning to its end; percentiles are estimated within buckets. Who is told what:
/// as for messages.
#[utoipa::path(
    get, path = "/api/v1/analytics/conversations", tag = tags::READERS,
    security(("admin" = []), ("researcher" = []), ("session" = [])),
    params(
        ("from" = Option<String>, Query, description = "The first day in UTC; 29 days before `to` when it is left out.", example = "2025-10-01"),
        ("to" = Option<String>, Query, description = "The last day, at most 366 days in all; today when it is left out.", example = "2025-10-03"),
        ("provider" = Option<String>, Query, description = "Only what came through this frontend."),
        ("company" = Option<String>, Query, description = "Only calls of this company's workers."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer counts it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "The numbers.", body = Conversations), ListProblems),
)]
pub(crate) async fn conversations(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    Queried(parameters): Queried<Parameters>,
) -> Result<Json<Conversations>, Problem> {
    let wanted = parameters.parse(Utc::now().date_naive())?;
    let (from, to) = (wanted.from, wanted.to);
    let mut counts = edge.tables.counts(&identity, wanted).await?;
    let rows = counts.of(&[names::CONVERSATIONS, names::ENDED, names::FAILED, names::DURATIONS]).await?;
    let active = counts.active().await?;
    Ok(Json(Conversations::of(from, to, &rows, active)))
}

/// Response times by day
///
/// How long users waited for an answer: from a user's message to the assistant's that stands directly after it in the order
/// of the log, by the times that both were said; by the UTC day of the answer, and its provider. Percentiles are estimated
/// within the buckets that are given beside them. Who is told what: as for messages.
#[utoipa::path(
    get, path = "/api/v1/analytics/answers", tag = tags::READERS,
    security(("admin" = []), ("researcher" = []), ("session" = [])),
    params(
        ("from" = Option<String>, Query, description = "The first day in UTC; 29 days before `to` when it is left out.", example = "2025-10-01"),
        ("to" = Option<String>, Query, description = "The last day, at most 366 days in all; today when it is left out.", example = "2025-10-03"),
        ("provider" = Option<String>, Query, description = "Only what came through this frontend."),
        ("company" = Option<String>, Query, description = "Only calls of this company's workers."),
        ("after" = Option<u64>, Query, description = "The sequence of a write: the answer counts it, or is 503 in 2 s."),
    ),
    responses((status = 200, description = "The numbers.", body = Answers), ListProblems),
)]
pub(crate) async fn answers(
    State(edge): State<Edge>,
    AnyCaller(identity): AnyCaller,
    Queried(parameters): Queried<Parameters>,
) -> Result<Json<Answers>, Problem> {
    let wanted = parameters.parse(Utc::now().date_naive())?;
    let (from, to) = (wanted.from, wanted.to);
    let mut counts = edge.tables.counts(&identity, wanted).await?;
    let rows = counts.of(&[names::ANSWERS]).await?;
    Ok(Json(Answers::of(from, to, &rows)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(from: Option<&str>, to: Option<&str>) -> Result<(String, String), Vec<String>> {
        let (from, to) = (from.map(str::to_owned), to.map(str::to_owned));
        let today = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap();
        let wanted = Parameters { from, to, ..Parameters::default() }.parse(today);
        wanted
            .map(|wanted| (wanted.from.to_string(), wanted.to.to_string()))
            .map_err(|problem| problem.errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn days_are_bounded_and_thirty_unless_said_otherwise() {
        let days = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        assert_eq!(parsed(None, None), days("2026-01-31", "2026-03-01"));
        assert_eq!(parsed(Some("2026-02-01"), None), days("2026-02-01", "2026-03-01"));
        assert_eq!(parsed(None, Some("1970-01-01")), days("1969-12-03", "1970-01-01"));
        assert_eq!(parsed(Some("2025-03-01"), None), days("2025-03-01", "2026-03-01"));
        assert_eq!(parsed(Some("2025-02-28"), None), Err(vec!["from".into()]));
        assert_eq!(parsed(Some("2026-03-02"), None), Err(vec!["to".into()]));
        for wrong in ["", "2026-3-1", "2026-02-30", "+262142-12-31", "1969-12-31", "2026-03-01T00:00:00Z"] {
            assert_eq!(parsed(Some("2026-01-01"), Some(wrong)), Err(vec!["to".into()]), "{wrong}");
        }
    }
}
