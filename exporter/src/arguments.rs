//! What is to be exported.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::cell::Table;
use crate::tables::{CONVERSATIONS, EVENTS, MESSAGES};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a head.
    Csv,
    /// Apache Parquet, compressed with Zstandard.
    Parquet,
}

impl Format {
    /// As file names end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// A table of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Turns in their newest version.
    Messages,
    /// Conversations as they stand.
    Conversations,
    /// The log's events as they stand.
    Events,
}

impl Part {
    pub(crate) fn table(self) -> &'static Table {
        match self {
            Self::Messages => &MESSAGES,
            Self::Conversations => &CONVERSATIONS,
            Self::Events => &EVENTS,
        }
    }
}

/// Until where the log is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// To where it reached at the start.
    End,
    /// To this sequence.
    Sequence(u64),
    /// To the last event that was stored then or before.
    Time(DateTime<Utc>),
}

impl FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        let time = DateTime::parse_from_rfc3339(text).map(|time| Self::Time(time.to_utc()));
        time.map_err(|_| "give a sequence, or RFC 3339 such as 2026-01-31T12:00:00Z".into())
    }
}

/// What a Data Package takes as a licence's name.
///
/// # Errors
/// A sentence that says what it takes.
pub fn licence(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if good {
        Ok(text.into())
    } else {
        Err("give an id of letters, digits, - . and _, such as CC-BY-4.0".into())
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How rows are written.
    pub format: Format,
    /// Which tables.
    pub include: BTreeSet<Part>,
    /// Until where the log is read.
    pub as_of: Option<AsOf>,
    /// Which rows of that.
    pub selection: Selection,
    /// The licence that the data set names: an SPDX or Open Definition id.
    pub licence: String,
}

/// Which rows are wanted. Everything that is absent or empty asks for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Rows that last changed at this sequence or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_sequence: Option<u64>,
    /// Rows that last changed before this sequence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_sequence: Option<u64>,
    /// Messages said, conversations that went on, events stored at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// The same, before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// Of these participants.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub participants: BTreeSet<String>,
    /// Through these frontends.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub providers: BTreeSet<String>,
    /// In these conversations.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub conversations: BTreeSet<String>,
}

impl Selection {
    /// Whether a row that last changed at this sequence is wanted.
    pub(crate) fn takes_sequence(&self, sequence: u64) -> bool {
        self.from_sequence.is_none_or(|from| sequence >= from)
            && self.to_sequence.is_none_or(|to| sequence < to)
    }

    /// Whether what went on from one time to another is wanted.
    pub(crate) fn takes_time(&self, began: i64, ended: i64) -> bool {
        self.from.is_none_or(|from| ended >= from.timestamp_micros())
            && self.to.is_none_or(|to| began < to.timestamp_micros())
    }

    /// Whether what is this participant's is wanted.
    pub(crate) fn takes_participant(&self, id: Option<&str>) -> bool {
        self.participants.is_empty() || id.is_some_and(|id| self.participants.contains(id))
    }

    /// Whether what came through this frontend is wanted.
    pub(crate) fn takes_provider(&self, provider: Option<&str>) -> bool {
        self.providers.is_empty() || provider.is_some_and(|name| self.providers.contains(name))
    }
}

/// What is asked for, with every choice made: what a manifest repeats, and what gives the same bytes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arguments {
    /// How rows are written.
    pub(crate) format: Format,
    /// Which tables.
    pub(crate) include: BTreeSet<Part>,
    /// The last sequence of the log that bears on the data set.
    pub(crate) as_of: u64,
    /// The licence that the data set names.
    pub(crate) licence: String,
    /// Which rows.
    #[serde(flatten)]
    pub(crate) selection: Selection,
}

impl Arguments {
    /// The first and the last sequence of the range that file names carry.
    pub(crate) fn range(&self) -> (u64, u64) {
        let last = self.selection.to_sequence.map_or(self.as_of, |to| self.as_of.min(to.saturating_sub(1)));
        (self.selection.from_sequence.unwrap_or(1), last)
    }

    /// The name of a table's file.
    pub(crate) fn file_of(&self, part: Part) -> String {
        let (first, last) = self.range();
        format!("{}-{first:010}-{last:010}.{}", part.table().name, self.format.extension())
    }
}
