//! Jobs as they are answered.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::record::{Job, Made, Progressed, State};

/// An export job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExportJob {
    /// Its id.
    id: String,
    /// How it stands.
    #[schema(pattern = "^(queued|running|done|failed|cancelled|expired)$")]
    state: &'static str,
    /// Why there is no data set, or no more.
    reason: Option<String>,
    /// What it holds, with every choice made, as its manifest has it: the same give the same bytes.
    #[schema(value_type = Object)]
    arguments: Value,
    /// When it was asked for.
    #[schema(format = DateTime)]
    asked_at: String,
    /// When it was begun with.
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// When it was made, or failed.
    #[schema(format = DateTime)]
    finished_at: Option<String>,
    /// Until when it can be downloaded.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    progress: Progressed,
    /// All of it in one file; none before it is done, and once it has expired.
    archive: Option<ExportArchive>,
    /// Its files, which can be downloaded one by one.
    files: Vec<ExportFile>,
}

/// A data set as one file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExportArchive {
    /// What it is called.
    name: String,
    bytes: u64,
    /// Of its bytes; also the `ETag` of its download.
    sha256: String,
    /// Where it is downloaded.
    path: String,
}

/// A file of a data set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExportFile {
    /// What it is called.
    name: String,
    bytes: u64,
    /// Of its bytes; also the `ETag` of its download.
    sha256: String,
    /// Rows of a table.
    rows: Option<u64>,
    media_type: String,
    /// Where it is downloaded.
    path: String,
}

/// Export jobs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExportJobs {
    /// The newest first.
    pub(crate) exports: Vec<ExportJob>,
}

impl ExportJob {
    pub(crate) fn of(job: &Job) -> Self {
        let told = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, false);
        let made = job.made.as_ref().filter(|_| job.state == State::Done);
        let path = format!("{}/download", path_of(&job.id));
        Self {
            id: job.id.clone(),
            state: job.state.as_str(),
            reason: job.reason.clone(),
            arguments: json!(job.arguments),
            asked_at: told(job.asked_at),
            started_at: job.started_at.map(told),
            finished_at: job.finished_at.map(told),
            expires_at: job.expires_at.map(told),
            progress: job.progress,
            archive: made.map(|Made { name, bytes, sha256, .. }| ExportArchive {
                name: name.clone(),
                bytes: *bytes,
                sha256: sha256.clone(),
                path: path.clone(),
            }),
            files: made
                .map_or(&[][..], |made| &made.files)
                .iter()
                .map(|file| ExportFile {
                    name: file.path.clone(),
                    bytes: file.bytes,
                    sha256: file.sha256.clone(),
                    rows: file.rows,
                    media_type: file.media_type.clone(),
                    path: format!("{path}?file={}", file.path),
                })
                .collect(),
        }
    }
}

/// Where a job is asked for.
pub(crate) fn path_of(id: &str) -> String {
    format!("/api/v1/exports/{id}")
}
