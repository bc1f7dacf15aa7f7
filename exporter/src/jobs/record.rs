//! What is stored of a job, and how it goes on.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shared::exports::PART_BYTES;
use utoipa::ToSchema;

use crate::arguments::Arguments;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It waits for its turn.
    Queued,
    /// It is being made.
    Running,
    /// It can be downloaded.
    Done,
    /// It could not be made; `reason` says why.
    Failed,
    /// Its owner took it back.
    Cancelled,
    /// It could be downloaded, and no more.
    Expired,
    /// Its owner removed it: it is only there until its data set is deleted.
    Removed,
}

impl State {
    /// Whether something will still become of it.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    /// As it stands in bodies, and what its frame is called.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Removed => "removed",
        }
    }
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// The researcher who asked.
    pub(crate) owner: String,
    pub(crate) asked_at: DateTime<Utc>,
    /// SHA-256 of what was asked for, to tell whether the same key of a repeat means the same.
    pub(crate) asked: String,
    /// For the audit log.
    pub(crate) address: IpAddr,
    /// The same.
    pub(crate) request_id: String,
    /// With every choice made: these give the same bytes, whoever runs them and whenever.
    pub(crate) arguments: Arguments,
    pub(crate) state: State,
    /// The instance that runs it.
    pub(crate) runner: Option<String>,
    /// How often the log could not be read while it ran.
    pub(crate) failures: u32,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// Until when it can be downloaded.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    pub(crate) progress: Progressed,
    /// Why there is no data set.
    pub(crate) reason: Option<String>,
    /// Parts of the data set that may be stored.
    pub(crate) parts: u64,
    pub(crate) made: Option<Made>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ExportProgress)]
pub(crate) struct Progressed {
    /// Entries of the log that it goes through; 0 while that is not known.
    pub(crate) total: u64,
    /// How many of them were read.
    pub(crate) read: u64,
    /// Rows that were written after all was read.
    pub(crate) wrote: u64,
    /// Entries read in a second so far.
    pub(crate) per_second: u64,
    /// Seconds until all is read, as far as can be told.
    pub(crate) seconds_left: Option<u64>,
}

/// A data set as it is stored: one archive, in which its files lie as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) files: Vec<MadeFile>,
}

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MadeFile {
    pub(crate) path: String,
    /// Where it begins in the archive.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// None of a page.
    pub(crate) rows: Option<u64>,
    pub(crate) media_type: String,
}

impl Job {
    /// It is this instance's to run.
    pub(crate) fn is_run_by(&self, instance: &str) -> bool {
        self.state == State::Running && self.runner.as_deref() == Some(instance)
    }

    /// The same, as an instance begins with it.
    pub(crate) fn started(&self, instance: &str, now: DateTime<Utc>) -> Self {
        Self {
            state: State::Running,
            runner: Some(instance.to_owned()),
            started_at: Some(now),
            progress: Progressed::default(),
            ..self.clone()
        }
    }

    /// The same, to be run by whoever is next.
    pub(crate) fn queued(&self) -> Self {
        Self {
            state: State::Queued,
            runner: None,
            started_at: None,
            progress: Progressed::default(),
            ..self.clone()
        }
    }

    /// The same at its end.
    pub(crate) fn ended(&self, state: State, reason: Option<String>, now: DateTime<Utc>) -> Self {
        let finished_at = self.finished_at.or(Some(now));
        Self { state, runner: None, finished_at, reason, ..self.clone() }
    }

    /// Bytes of its data set that may be stored.
    pub(crate) fn stored(&self) -> u64 {
        self.made.as_ref().map_or(self.parts * PART_BYTES, |made| made.bytes)
    }
}
