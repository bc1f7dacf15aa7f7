//! Sessions of a conversation, and what reports told of each and of all of them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::Told;
use crate::tables::{ReadError, Reading};

/// One call of ElevenLabs' within the conversation; null is what nobody told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConversationSession)]
pub(crate) struct SessionView {
    /// Its number in the conversation, from 1.
    pub(crate) number: u32,
    /// What ElevenLabs calls it.
    pub(crate) elevenlabs_conversation_id: String,
    pub(crate) interpreter_id: String,
    pub(crate) dream_id: String,
    /// When its signed URL was handed out.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) opened_at: DateTime<Utc>,
    /// When the newest report of it was stored.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) reported_at: Option<DateTime<Utc>>,
    /// In seconds.
    pub(crate) duration: Option<i64>,
    /// In the vendor's credits.
    pub(crate) cost: Option<i64>,
    pub(crate) summary: Option<String>,
}

/// A report as the tables have it.
pub(super) struct Report {
    session: u32,
    recorded_at: DateTime<Utc>,
    duration: Option<i64>,
    told: Told,
}

/// What is told of the whole conversation. `reports` are the newest first; what a call cost is added up.
pub(super) fn told(reports: &[Report]) -> Told {
    let told = reports.iter().map(|report| report.told.clone()).fold(Told::default(), Told::or);
    Told { cost: cost(reports), ..told }
}

/// Of its sessions together, each as its newest report has it that says anything of it; where it has none, of all of it.
fn cost(reports: &[Report]) -> Option<i64> {
    let mut costs = BTreeMap::new();
    for report in reports {
        if let Some(cost) = report.told.cost {
            costs.entry(report.session).or_insert(cost);
        }
    }
    let whole = costs.remove(&0);
    costs.into_values().reduce(i64::saturating_add).or(whole)
}

impl SessionView {
    /// With what `reports`, the newest first, say of it.
    fn told(mut self, reports: &[Report]) -> Self {
        for report in reports.iter().filter(|report| report.session == self.number) {
            self.reported_at = self.reported_at.max(Some(report.recorded_at));
            self.duration = self.duration.or(report.duration);
            self.cost = self.cost.or(report.told.cost);
            self.summary = self.summary.or_else(|| report.told.summary.clone());
        }
        self
    }
}

impl Reading {
    /// What was reported, the newest first.
    pub(super) async fn reports(&mut self) -> Result<Vec<Report>, ReadError> {
        let rows = sqlx::query!(
            r#"SELECT session AS "session!", recorded_at AS "recorded_at!", duration_seconds, agent_id, user_id, outcome,
                      call_successful, title, summary, termination_reason, language, cost, phone_call, evaluation,
                      collected, metadata, analysis
               FROM turnlog.reports WHERE conversation = $1 ORDER BY sequence DESC"#,
            self.token,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let reports = rows.into_iter().map(|row| Report {
            session: row.session.unsigned_abs(),
            recorded_at: row.recorded_at,
            duration: row.duration_seconds,
            told: Told {
                agent_id: row.agent_id,
                user_id: row.user_id,
                outcome: row.outcome,
                call_successful: row.call_successful,
                title: row.title,
                summary: row.summary,
                termination_reason: row.termination_reason,
                language: row.language,
                cost: row.cost,
                phone_call: row.phone_call,
                evaluation: row.evaluation,
                collected: row.collected,
                metadata: row.metadata,
                analysis: row.analysis,
            },
        });
        Ok(reports.collect())
    }

    /// The conversation's sessions, the first one first.
    pub(super) async fn sessions(&mut self, reports: &[Report]) -> Result<Vec<SessionView>, ReadError> {
        let rows = sqlx::query!(
            r#"SELECT number AS "number!", vendor_conversation_id AS "vendor_conversation_id!",
                      interpreter_id AS "interpreter_id!", dream_id AS "dream_id!", opened_at AS "opened_at!"
               FROM turnlog.sessions WHERE conversation = $1 ORDER BY number"#,
            self.token,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let sessions = rows.into_iter().map(|row| {
            let session = SessionView {
                number: row.number.unsigned_abs(),
                elevenlabs_conversation_id: row.vendor_conversation_id,
                interpreter_id: row.interpreter_id,
                dream_id: row.dream_id,
                opened_at: row.opened_at,
                reported_at: None,
                duration: None,
                cost: None,
                summary: None,
            };
            session.told(reports)
        });
        Ok(sessions.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(session: u32, cost: Option<i64>, title: Option<&str>) -> Report {
        let told = Told { cost, title: title.map(str::to_owned), ..Told::default() };
        Report { session, recorded_at: DateTime::UNIX_EPOCH, duration: None, told }
    }

    #[test]
    fn what_sessions_cost_is_added_up_and_of_the_rest_the_newest_counts() {
        let told = |reports: &[Report]| {
            let told = told(reports);
            (told.cost, told.title)
        };
        let title = |text: &str| Some(text.to_owned());
        assert_eq!(told(&[]), (None, None));
        let whole = [report(0, None, Some("new")), report(0, Some(7), Some("old")), report(0, Some(3), None)];
        assert_eq!(told(&whole), (Some(7), title("new")));
        let sessions = [
            report(2, Some(5), None),
            report(1, Some(4), Some("of the first")),
            report(2, Some(100), Some("older")),
            report(0, Some(1_000), None),
        ];
        assert_eq!(told(&sessions), (Some(9), title("of the first")));
    }
}
