//! What is to be exported.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::events::Erasure;
use shared::ids::ConversationId;
use shared::subjects::Subject;

use crate::cell::Table;
use crate::deid::ExportKey;
use crate::tables::{
    CONVERSATIONS, EVENTS, MESSAGES, PARTICIPANTS, REDACTIONS, SAFE_CONVERSATIONS, SAFE_MESSAGES,
};

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
    /// What was masked in them: there of itself where anything is, and not asked for.
    Redactions,
    /// Whom conversations are of: there of itself under Safe Harbor, and not asked for.
    Participants,
}

impl Part {
    /// Its table, in a data set under Safe Harbor or in any other.
    pub(crate) fn table(self, safe: bool) -> &'static Table {
        match self {
            Self::Messages if safe => &SAFE_MESSAGES,
            Self::Conversations if safe => &SAFE_CONVERSATIONS,
            Self::Messages => &MESSAGES,
            Self::Conversations => &CONVERSATIONS,
            Self::Participants => &PARTICIPANTS,
            Self::Events => &EVENTS,
            Self::Redactions => &REDACTIONS,
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

/// What is done so that a data set does not tell whom it is of. Nothing, where nothing is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deidentify {
    /// Ids become pseudonyms under a key, and of JSON known fields alone stay.
    pub pseudonymize: bool,
    /// Addresses, numbers and days of birth in texts are masked, as far as their form gives them away.
    pub redact: bool,
    /// Both, and all else that 45 CFR 164.514(b)(2) names, as far as a program can do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safe_harbor: Option<SafeHarbor>,
}

/// The profile of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafeHarbor {
    /// What fewer persons than this share is suppressed.
    pub k: NonZeroU32,
}

impl Deidentify {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
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
    /// What is done so that it does not tell whom it is of.
    pub deidentify: Deidentify,
    /// What pseudonyms are made with; without them it is not looked at.
    pub key: Option<ExportKey>,
    /// Where to keep what the surrogates of Safe Harbor were made with; without it nobody can make them again.
    pub keep_mapping: Option<PathBuf>,
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
    /// The last sequence of the log that bears on the data set; a manifest under Safe Harbor does not tell it.
    #[serde(default)]
    pub(crate) as_of: u64,
    /// The licence that the data set names.
    pub(crate) licence: String,
    /// What is done so that it does not tell whom it is of.
    #[serde(default, skip_serializing_if = "Deidentify::is_nothing")]
    pub(crate) deidentify: Deidentify,
    /// Which rows. Under pseudonyms it names participants and conversations by theirs.
    #[serde(flatten)]
    pub(crate) selection: Selection,
}

impl Arguments {
    /// What a manifest repeats. Sequences, times and whom was asked for would lead back from under Safe Harbor.
    pub(crate) fn told(&self) -> Value {
        if !self.is_safe() {
            return json!(self);
        }
        let Self { format, include, licence, deidentify, .. } = self;
        json!({"format": format, "include": include, "licence": licence, "deidentify": deidentify})
    }

    /// Whether the data set is one under Safe Harbor.
    pub(crate) fn is_safe(&self) -> bool {
        self.deidentify.safe_harbor.is_some()
    }

    /// A part's table.
    pub(crate) fn table(&self, part: Part) -> &'static Table {
        part.table(self.is_safe())
    }

    /// The first and the last sequence of the range that file names carry.
    pub(crate) fn range(&self) -> (u64, u64) {
        let last = self.selection.to_sequence.map_or(self.as_of, |to| self.as_of.min(to.saturating_sub(1)));
        (self.selection.from_sequence.unwrap_or(1), last)
    }

    /// Whether a data set of these arguments may hold somebody who was erased at this sequence.
    pub(crate) fn may_hold(&self, sequence: u64, erasure: &Erasure) -> bool {
        let Selection { participants, conversations, .. } = &self.selection;
        let theirs = |id: &String| {
            ConversationId::try_from(id.clone()).is_ok_and(|id| {
                let subject = Subject::conversation(&id);
                erasure.conversations.iter().any(|token| token == subject.token())
            })
        };
        // What is said of a conversation may bear on a row of it that changed later.
        self.as_of < sequence
            && self.range().1 >= erasure.first_sequence
            && (participants.is_empty() || participants.contains(erasure.participant_id.as_str()))
            && (conversations.is_empty() || conversations.iter().any(theirs))
    }

    /// The name of a table's file.
    pub(crate) fn file_of(&self, part: Part) -> String {
        let (name, ending) = (self.table(part).name, self.format.extension());
        if self.is_safe() {
            return format!("{name}.{ending}");
        }
        let (first, last) = self.range();
        format!("{name}-{first:010}-{last:010}.{ending}")
    }
}
