//! What became of a conversation (S3's shape), and what was told of it.

mod sessions;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::problem::Problem;
use utoipa::ToSchema;

use crate::query::Wrong;
use crate::tables::{ReadError, Reading};
use sessions::SessionView;

/// How a conversation stands, in S3's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Nobody told that it ended.
    Active,
    /// It ended.
    Completed,
    /// It did not come about, or broke.
    Failed,
}

impl Status {
    /// As callers write it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// As the tables hold it.
    pub(crate) fn stored(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Completed => "ENDED",
            Self::Failed => "FAILED",
        }
    }

    /// Of a caller's word, in any case.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        let all = [Self::Active, Self::Completed, Self::Failed];
        all.into_iter().find(|status| status.word().eq_ignore_ascii_case(word))
    }

    /// Of the word that the tables hold, in any case.
    pub(crate) fn of_stored_word(word: &str) -> Option<Self> {
        let all = [Self::Active, Self::Completed, Self::Failed];
        all.into_iter().find(|status| status.stored().eq_ignore_ascii_case(word))
    }

    /// Of what the tables hold.
    pub(crate) fn of_stored(stored: &str) -> Self {
        let ended = [Self::Completed, Self::Failed];
        ended.into_iter().find(|status| status.stored() == stored).unwrap_or(Self::Active)
    }
}

/// A conversation in short. Times are in UTC; null is what is not known.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConversationStatus {
    pub(crate) conversation_id: String,
    pub(crate) email_id: Option<String>,
    pub(crate) account_id: Option<String>,
    pub(crate) status: Status,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) start_time: DateTime<Utc>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) end_time: Option<DateTime<Utc>>,
    /// In seconds.
    pub(crate) duration: Option<i64>,
    pub(crate) message_count: u64,
    /// When the newest report of it was stored.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) processed_at: Option<DateTime<Utc>>,
}

/// A conversation, and what webhooks told of it; null is what nobody told.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusDetail {
    #[serde(flatten)]
    pub(crate) conversation: ConversationStatus,
    /// When the last message of those that are known was said.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) last_message_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    pub(crate) told: Told,
    /// Its sound; of several sessions the newest one's.
    pub(crate) audio: Option<Audio>,
    /// The calls of ElevenLabs' that it went on in, the first one first; absent where it was not opened for any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) sessions: Vec<SessionView>,
    /// Every turn of the newest transcript of each session, in their order; only where `include=turns` asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turns: Option<Vec<TurnView>>,
}

/// What reports said, each field as the newest one has it that says anything of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    /// The agent that was talked to.
    pub(crate) agent_id: Option<String>,
    /// What the browser called its user. Proves nothing.
    pub(crate) user_id: Option<String>,
    /// How it ended, in the sender's word.
    pub(crate) outcome: Option<String>,
    /// The vendor's judgement: `success`, `failure`, `unknown`.
    pub(crate) call_successful: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    /// Why it ended.
    pub(crate) termination_reason: Option<String>,
    /// Main language, as a code.
    pub(crate) language: Option<String>,
    /// In the vendor's credits, of all sessions together.
    pub(crate) cost: Option<i64>,
    /// The telephone's side of it.
    pub(crate) phone_call: Option<Value>,
    /// Results of the evaluation criteria.
    pub(crate) evaluation: Option<Value>,
    /// Results of the data collection.
    pub(crate) collected: Option<Value>,
    /// The metadata as it came.
    pub(crate) metadata: Option<Value>,
    /// The analysis as it came.
    pub(crate) analysis: Option<Value>,
}

/// The sound of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Audio {
    pub(crate) bytes: u64,
    pub(crate) media_type: String,
    /// Hexadecimal.
    pub(crate) sha256: String,
}

/// One turn of a transcript, also one in which nothing was said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnView {
    /// The number of the session that it is of; absent where it is of none.
    #[serde(skip_serializing_if = "is_none")]
    #[schema(required = false)]
    pub(crate) session: u32,
    /// Its place in the transcript, from 0.
    pub(crate) turn: u32,
    /// Log position of the message that it is, as in the conversation's snapshot; null where nothing was said.
    pub(crate) sequence: Option<u64>,
    /// The sender's own word for who spoke.
    pub(crate) said_as: String,
    /// Seconds into the call.
    pub(crate) seconds: Option<i64>,
    /// Whether the speaker was interrupted.
    pub(crate) interrupted: bool,
    /// What was about to be said then.
    pub(crate) original: Option<String>,
    /// Everything else that it says, as it came.
    pub(crate) detail: Value,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it out so")]
fn is_none(session: &u32) -> bool {
    *session == 0
}

/// Parts of a status that are read only where they are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Included {
    pub(crate) turns: bool,
}

/// The parameters of a status, as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    after: Option<String>,
    include: Option<String>,
}

impl Parameters {
    /// How far the tables must be, and what is included.
    ///
    /// # Errors
    /// 400, naming every bad parameter.
    pub(crate) fn parse(self) -> Result<(u64, Included), Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let turns = self.include.is_some_and(|include| {
            if include != "turns" {
                wrong.reject("include", "must be \"turns\", or be left out");
            }
            include == "turns"
        });
        wrong.finish((after, Included { turns }))
    }
}

/// A conversation as the tables have it.
pub(crate) struct Row {
    pub(crate) conversation_id: String,
    pub(crate) email_id: Option<String>,
    pub(crate) account_id: Option<String>,
    pub(crate) status: String,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) duration_seconds: Option<i64>,
    pub(crate) message_count: i64,
    pub(crate) reported_at: Option<DateTime<Utc>>,
    pub(crate) first_sequence: i64,
    pub(crate) last_message_at: DateTime<Utc>,
    pub(crate) session: i32,
}

impl From<Row> for ConversationStatus {
    fn from(row: Row) -> Self {
        Self {
            conversation_id: row.conversation_id,
            email_id: row.email_id,
            account_id: row.account_id,
            status: Status::of_stored(&row.status),
            start_time: row.started_at,
            end_time: row.ended_at,
            duration: row.duration_seconds,
            message_count: row.message_count.unsigned_abs(),
            processed_at: row.reported_at,
        }
    }
}

impl Told {
    /// Fills what is missing with what an older report says.
    fn or(self, older: Self) -> Self {
        Self {
            agent_id: self.agent_id.or(older.agent_id),
            user_id: self.user_id.or(older.user_id),
            outcome: self.outcome.or(older.outcome),
            call_successful: self.call_successful.or(older.call_successful),
            title: self.title.or(older.title),
            summary: self.summary.or(older.summary),
            termination_reason: self.termination_reason.or(older.termination_reason),
            language: self.language.or(older.language),
            cost: self.cost.or(older.cost),
            phone_call: self.phone_call.or(older.phone_call),
            evaluation: self.evaluation.or(older.evaluation),
            collected: self.collected.or(older.collected),
            metadata: self.metadata.or(older.metadata),
            analysis: self.analysis.or(older.analysis),
        }
    }
}

impl Reading {
    /// What became of the conversation, and what was told of it.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn status(&mut self, included: Included) -> Result<StatusDetail, ReadError> {
        let row = self.status_row().await?;
        // Where there is no message yet, the column says when the conversation began.
        let last_message_at = Some(row.last_message_at).filter(|_| row.message_count > 0);
        let reports = self.reports().await?;
        let sessions = if row.session > 0 { self.sessions(&reports).await? } else { Vec::new() };
        let told = sessions::told(&reports);
        let audio = self.audio().await?;
        let turns = if included.turns { Some(self.turns().await?) } else { None };
        Ok(StatusDetail { conversation: row.into(), last_message_at, told, audio, sessions, turns })
    }

    async fn status_row(&mut self) -> Result<Row, ReadError> {
        sqlx::query_as!(
            Row,
            r#"SELECT conversation_id AS "conversation_id!", email_id, account_id, status AS "status!",
                      started_at AS "started_at!", ended_at, duration_seconds, message_count AS "message_count!",
                      reported_at, first_sequence AS "first_sequence!", last_message_at AS "last_message_at!",
                      session AS "session!"
               FROM turnlog.conversations WHERE token = $1"#,
            self.token,
        )
        .fetch_optional(&mut *self.transaction)
        .await?
        .ok_or(ReadError::Hidden)
    }

    async fn audio(&mut self) -> Result<Option<Audio>, ReadError> {
        let row = sqlx::query!(
            r#"SELECT bytes AS "bytes!", media_type AS "media_type!", sha256 AS "sha256!"
               FROM turnlog.recordings WHERE conversation = $1 ORDER BY session DESC LIMIT 1"#,
            self.token,
        )
        .fetch_optional(&mut *self.transaction)
        .await?;
        Ok(row.map(|row| Audio {
            bytes: row.bytes.unsigned_abs(),
            media_type: row.media_type,
            sha256: row.sha256,
        }))
    }

    async fn turns(&mut self) -> Result<Vec<TurnView>, ReadError> {
        let sequences = self.sequences().await?;
        let rows = sqlx::query!(
            r#"SELECT session AS "session!", turn AS "turn!", ordinal, said_as AS "said_as!", seconds, interrupted AS "interrupted!",
                      original, detail AS "detail!"
               FROM turnlog.turns WHERE conversation = $1 ORDER BY session, turn"#,
            self.token,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        let turns = rows.into_iter().map(|row| TurnView {
            session: row.session.unsigned_abs(),
            turn: row.turn.unsigned_abs(),
            sequence: row.ordinal.and_then(|ordinal| sequences.get(&ordinal).copied()),
            said_as: row.said_as,
            seconds: row.seconds,
            interrupted: row.interrupted,
            original: row.original,
            detail: row.detail,
        });
        Ok(turns.collect())
    }

    /// Where each message stands in the log, by its ordinal. Not joined in the database: one that does not know how
    /// long the conversation is goes through all messages for each turn.
    async fn sequences(&mut self) -> Result<HashMap<i64, u64>, ReadError> {
        let rows = sqlx::query!(
            r#"SELECT ordinal AS "ordinal!", sequence AS "sequence!" FROM turnlog.messages WHERE conversation = $1"#,
            self.token,
        )
        .fetch_all(&mut *self.transaction)
        .await?;
        Ok(rows.into_iter().map(|row| (row.ordinal, row.sequence.unsigned_abs())).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_reads_the_same_in_words_and_in_tables() {
        for status in [Status::Active, Status::Completed, Status::Failed] {
            assert_eq!(Status::of_word(status.word()), Some(status));
            assert_eq!(Status::of_stored(status.stored()), status);
            assert_eq!(json!(status), status.word());
        }
        assert_eq!(Status::of_word("ended"), None);
    }

    #[test]
    fn only_turns_can_be_included() {
        let parse = |include: Option<&str>| {
            Parameters { after: None, include: include.map(str::to_owned) }
                .parse()
                .map_err(|p| p.errors.len())
        };
        assert_eq!(parse(None), Ok((0, Included { turns: false })));
        assert_eq!(parse(Some("turns")), Ok((0, Included { turns: true })));
        for bad in ["", "messages", "turns,messages"] {
            assert_eq!(parse(Some(bad)), Err(1), "{bad}");
        }
    }
}
