//! One conversation as a file: JSON, CSV, text or PDF.

mod fonts;
mod lines;
mod pages;
mod table;
mod text;
mod typesetter;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::problem::Problem;
use utoipa::ToSchema;

use crate::limits::FILE_NAME;
use crate::query::Wrong;
use crate::tables::{ReadError, Reading};
use crate::view::ConversationView;

pub use fonts::Fonts;
pub(crate) use typesetter::Typesetter;

/// What a conversation can be written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Csv,
    Text,
    Pdf,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Pdf, Self::Csv, Self::Text];

    /// As callers write it; also how the file's name ends.
    fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Text => "txt",
            Self::Pdf => "pdf",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Text => "text/plain; charset=utf-8",
            Self::Pdf => "application/pdf",
        }
    }
}

/// The parameters of an export, as they came.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Parameters {
    after: Option<String>,
    format: Option<String>,
}

impl Parameters {
    /// How far the tables must be, and what is written.
    ///
    /// # Errors
    /// 400, naming every bad parameter.
    pub(crate) fn parse(self) -> Result<(u64, Format), Problem> {
        let mut wrong = Wrong::default();
        let after = wrong.after(self.after.as_deref());
        let named = self.format.map(|word| Format::ALL.into_iter().find(|format| format.word() == word));
        if named == Some(None) {
            wrong.reject("format", "must be json, pdf, csv or txt; json when it is left out");
        }
        wrong.finish((after, named.flatten().unwrap_or_default()))
    }
}

/// A conversation with all that is told of it, as it was at one position of the log.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ConversationDocument)]
pub(crate) struct Document {
    pub(crate) success: bool,
    /// Log position of the newest fact in it: the same conversation as of the same sequence is the same file.
    pub(crate) as_of_sequence: u64,
    pub(crate) conversation: ConversationView,
    pub(crate) report: Report,
}

/// What webhooks told of a conversation; null is what nobody told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = ConversationReport)]
pub(crate) struct Report {
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) duration_seconds: Option<i64>,
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    /// How it ended, in the sender's word.
    pub(crate) outcome: Option<String>,
    /// The vendor's judgement: `success`, `failure`, `unknown`.
    pub(crate) call_successful: Option<String>,
    /// Why it ended.
    pub(crate) termination_reason: Option<String>,
    /// Main language, as a code.
    pub(crate) language: Option<String>,
}

impl Document {
    /// Writes it as a file.
    ///
    /// # Errors
    /// 413 where it is too long for a PDF, 503 where too many are waiting for theirs.
    pub(crate) async fn write(self, format: Format, typesetter: &Typesetter) -> Result<File, Problem> {
        let name = file_name(&self.conversation.conversation_id, format);
        let body = match format {
            Format::Json => serde_json::to_vec(&self).map_err(Problem::internal)?,
            Format::Csv => table::write(&self).map_err(Problem::internal)?,
            Format::Text => text::write(&self).into_bytes(),
            Format::Pdf => typesetter.pdf(&self).await?,
        };
        Ok(File { name, format, body })
    }
}

impl Reading {
    /// The whole conversation, and what is told of it.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub(crate) async fn document(&mut self) -> Result<Document, ReadError> {
        let conversation = self.conversation().await?;
        let (report, reported) = self.report().await?;
        let messages = conversation.messages.iter().map(|message| message.version);
        let receipts = conversation.seen.iter().map(|seen| seen.version);
        let as_of_sequence = messages.chain(receipts).max().unwrap_or_default().max(reported);
        Ok(Document { success: true, as_of_sequence, conversation, report })
    }

    /// Each field as the newest report has it that says anything of it, and the sequence of the newest fact beside messages
    /// and receipts.
    async fn report(&mut self) -> Result<(Report, u64), ReadError> {
        let row = sqlx::query!(
            r#"SELECT greatest(max(r.sequence), max(k.version_sequence), max(c.ended_sequence),
                               max(c.opened_sequence), 0) AS "sequence!",
                      max(c.ended_at) AS ended_at,
                      max(c.duration_seconds) AS duration_seconds,
                      (array_agg(title ORDER BY sequence DESC) FILTER (WHERE title IS NOT NULL))[1] AS title,
                      (array_agg(summary ORDER BY sequence DESC) FILTER (WHERE summary IS NOT NULL))[1] AS summary,
                      (array_agg(outcome ORDER BY sequence DESC) FILTER (WHERE outcome IS NOT NULL))[1] AS outcome,
                      (array_agg(call_successful ORDER BY sequence DESC)
                         FILTER (WHERE call_successful IS NOT NULL))[1] AS call_successful,
                      (array_agg(termination_reason ORDER BY sequence DESC)
                         FILTER (WHERE termination_reason IS NOT NULL))[1] AS termination_reason,
                      (array_agg(language ORDER BY sequence DESC) FILTER (WHERE language IS NOT NULL))[1] AS language
               FROM turnlog.conversations c LEFT JOIN turnlog.reports r ON r.conversation = c.token
                    LEFT JOIN turnlog.calls k ON k.conversation = c.token
               WHERE c.token = $1"#,
            self.token,
        )
        .fetch_one(&mut *self.transaction)
        .await?;
        let report = Report {
            ended_at: row.ended_at,
            duration_seconds: row.duration_seconds,
            title: row.title,
            summary: row.summary,
            outcome: row.outcome,
            call_successful: row.call_successful,
            termination_reason: row.termination_reason,
            language: row.language,
        };
        Ok((report, row.sequence.unsigned_abs()))
    }
}

/// A file on its way to the caller.
#[derive(Debug)]
pub(crate) struct File {
    name: String,
    format: Format,
    body: Vec<u8>,
}

impl IntoResponse for File {
    fn into_response(self) -> Response {
        let headers = [
            (CONTENT_TYPE, self.format.media_type().to_owned()),
            (CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.name)),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            // It is somebody's, and the next one may say more.
            (CACHE_CONTROL, "private, no-cache".to_owned()),
        ];
        (headers, Body::from(self.body)).into_response()
    }
}

/// A name that every system takes, whatever the id: nothing in it leads out of a folder, hides, or ends a header.
fn file_name(conversation_id: &str, format: Format) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let id: String = conversation_id.chars().take(FILE_NAME).map(safe).collect();
    format!("conversation-{id}.{}", format.word())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::message;

    /// Of these messages, at a place and time of its own.
    pub(super) fn document(contents: &[&str]) -> Document {
        let messages: Vec<_> = contents
            .iter()
            .zip(1..)
            .map(|(content, n)| {
                let message = message(n, n, n);
                crate::view::MessageView { content: (*content).to_owned(), ..message }
            })
            .collect();
        let conversation = ConversationView {
            conversation_id: "conv_1".into(),
            call_id: None,
            worker_id: None,
            mobile_no: Some("+919325590143".into()),
            urgency: None,
            status: "ACTIVE".into(),
            medium: None,
            timestamp: shared::ids::Timestamp::from_parts(DateTime::UNIX_EPOCH, 19_800),
            total_messages: messages.len() as u64,
            messages,
            admin_id: None,
            seen: Vec::new(),
        };
        Document { success: true, as_of_sequence: 7, conversation, report: Report::default() }
    }

    #[test]
    fn the_format_is_json_unless_it_is_named() {
        let parse = |format: Option<&str>| {
            let parsed = Parameters { after: None, format: format.map(str::to_owned) }.parse();
            parsed.map_err(|problem| problem.errors[0].field.clone())
        };
        assert_eq!(parse(None), Ok((0, Format::Json)));
        for format in Format::ALL {
            assert_eq!(parse(Some(format.word())), Ok((0, format)));
        }
        for bad in ["", "PDF", "docx", "json,pdf"] {
            assert_eq!(parse(Some(bad)), Err("format".to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_file_is_named_safely() {
        assert_eq!(file_name("conv_1", Format::Pdf), "conversation-conv_1.pdf");
        assert_eq!(file_name("../a\"b\r\nc;é", Format::Text), "conversation-.._a_b__c__.txt");
        assert_eq!(file_name(&"x".repeat(1_000), Format::Csv).len(), "conversation-.csv".len() + FILE_NAME);
    }
}
