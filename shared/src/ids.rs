//! Ids, roles, providers and timestamps: text from outside, parsed once into types that cannot be wrong.

use std::fmt;

use chrono::{DateTime, FixedOffset, SubsecRound, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::{MAX_FUTURE, MAX_ID_BYTES, MAX_SHORT_ID_BYTES};

/// Why a piece of text is no id, role, provider or timestamp: one sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

fn id(text: String) -> Result<String, Invalid> {
    if text.trim().is_empty() {
        return Err(Invalid("must not be empty".into()));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Invalid(format!("must be at most {MAX_ID_BYTES} bytes")));
    }
    no_nul(text)
}

/// Refuses NUL, the one character that Postgres text cannot hold.
pub fn no_nul(text: String) -> Result<String, Invalid> {
    if text.contains('\0') {
        return Err(Invalid("must not contain NUL characters".into()));
    }
    Ok(text)
}

/// An id of the directory: short enough for an index.
fn short_id(text: String) -> Result<String, Invalid> {
    if text.len() > MAX_SHORT_ID_BYTES {
        return Err(Invalid(format!("must be at most {MAX_SHORT_ID_BYTES} bytes")));
    }
    id(text)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        text_id! { $(#[$doc])* $name by id }
    };
    ($(#[$doc:meta])* $name:ident by $parse:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                $parse(text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id! {
    /// The person who talks (S0's `research_id`): one id, one log owner. Any text but blank, at most 16 KiB.
    ParticipantId
}

text_id! {
    /// An ordered list of messages. Either the vendor's id as given, or a participant's standing conversation.
    ConversationId
}

text_id! {
    /// What makes a message the same message when it is sent again: its own id, or the caller's `Idempotency-Key`.
    MessageId
}

text_id! {
    /// A call of an emergency line. At most 256 bytes, as the other ids of the directory.
    CallId by short_id
}

text_id! {
    /// A person who calls.
    WorkerId by short_id
}

text_id! {
    /// A person who watches calls.
    AdminId by short_id
}

text_id! {
    /// What workers and admins belong to.
    CompanyId by short_id
}

text_id! {
    /// A dream that somebody told of. At most 256 bytes.
    DreamId by short_id
}

text_id! {
    /// Who talks with a dreamer: `jung`. At most 256 bytes.
    InterpreterId by short_id
}

/// Prefix of the ids that turnlog itself gives to conversations which came without one.
const STANDING: &str = "standing.";

impl ConversationId {
    /// The conversation that takes a participant's messages for `provider` when they name none.
    pub fn standing(provider: Provider, participant: &ParticipantId) -> Self {
        Self(format!("{STANDING}{}.{participant}", provider.as_str()))
    }

    /// Whether this id is of the reserved form of [`Self::standing`]; such an id belongs to its participant alone.
    pub fn is_standing(&self) -> bool {
        self.0.starts_with(STANDING)
    }
}

/// Who spoke a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    /// The person.
    User,
    /// The agent.
    Assistant,
}

impl Speaker {
    /// As it stands in bodies, tables and frames.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

impl TryFrom<&str> for Speaker {
    type Error = Invalid;
    fn try_from(text: &str) -> Result<Self, Invalid> {
        match text {
            "user" => Ok(Self::User),
            "assistant" => Ok(Self::Assistant),
            _ => Err(Invalid("must be \"user\" or \"assistant\"".into())),
        }
    }
}

/// Which frontend a message came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// ElevenLabs' conversational agents.
    Elevenlabs,
    /// OpenAI chat.
    Openai,
    /// A call that a service tells of, turn by turn; no frontend may say so.
    Call,
}

impl Provider {
    /// As it stands in bodies and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Elevenlabs => "elevenlabs",
            Self::Openai => "openai",
            Self::Call => "call",
        }
    }
}

impl TryFrom<&str> for Provider {
    type Error = Invalid;
    fn try_from(text: &str) -> Result<Self, Invalid> {
        match text {
            "elevenlabs" => Ok(Self::Elevenlabs),
            "openai" => Ok(Self::Openai),
            _ => Err(Invalid("must be \"elevenlabs\" or \"openai\"".into())),
        }
    }
}

/// An instant with the offset it was given in, to the microsecond (what Postgres holds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(DateTime<FixedOffset>);

impl Timestamp {
    /// Parses RFC 3339 with an offset. Refuses instants before 1970 and more than a day after `now`.
    pub fn parse(text: &str, now: DateTime<Utc>) -> Result<Self, Invalid> {
        let bad = || Invalid("must be RFC 3339 with an offset, for example 2025-01-08T12:00:00Z".into());
        let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| bad())?;
        if parsed.timestamp() < 0 {
            return Err(Invalid("must not lie before 1970".into()));
        }
        if parsed.to_utc() > now + MAX_FUTURE {
            return Err(Invalid("must not lie more than a day in the future".into()));
        }
        Ok(Self(parsed.trunc_subsecs(6)))
    }

    /// From a stored instant and its offset in seconds east of UTC; an impossible offset falls back to UTC.
    pub fn from_parts(instant: DateTime<Utc>, offset_seconds: i32) -> Self {
        let utc = instant.fixed_offset();
        Self(FixedOffset::east_opt(offset_seconds).map_or(utc, |offset| instant.with_timezone(&offset)))
    }

    /// The instant in UTC.
    pub fn instant(&self) -> DateTime<Utc> {
        self.0.to_utc()
    }

    /// Now, in UTC.
    pub fn now() -> Self {
        Self(Utc::now().fixed_offset().trunc_subsecs(6))
    }

    /// Date and time of day at its own offset, as ids hold it: `20251003_115804`.
    pub fn compact(&self) -> String {
        self.0.format("%Y%m%d_%H%M%S").to_string()
    }

    /// Seconds east of UTC, as given.
    pub fn offset_seconds(&self) -> i32 {
        self.0.offset().local_minus_utc()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with the offset as given; `Z` is written `+00:00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DateTime::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Result<String, Invalid> {
        let now = DateTime::parse_from_rfc3339("2026-01-01T00:00:00Z").unwrap().to_utc();
        Timestamp::parse(text, now).map(|t| t.to_string())
    }

    #[test]
    fn a_timestamp_keeps_its_instant_and_offset() {
        assert_eq!(at("2025-01-08T12:00:00Z").unwrap(), "2025-01-08T12:00:00+00:00");
        assert_eq!(at("2025-10-03T11:58:04+05:30").unwrap(), "2025-10-03T11:58:04+05:30");
        assert_eq!(at("2025-10-03T11:58:04.123456789-03:00").unwrap(), "2025-10-03T11:58:04.123456-03:00");
    }

    #[test]
    fn a_timestamp_without_offset_or_out_of_range_is_refused() {
        for bad in
            ["2025-01-08T12:00:00", "2027-01-08T12:00:00Z", "1969-12-31T23:59:59Z", "yesterday", "", "0"]
        {
            assert!(at(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn an_id_takes_what_people_and_attackers_write_but_not_blank_or_nul() {
        for good in ["RID001", "*", ">", ".", "a b", "\r\nx", "🦀", &"x".repeat(10_000)] {
            assert_eq!(ParticipantId::try_from(good.to_owned()).unwrap().as_str(), good);
        }
        for bad in ["", "  ", "\0", &"x".repeat(MAX_ID_BYTES + 1)] {
            assert!(ParticipantId::try_from(bad.to_owned()).is_err());
        }
    }

    #[test]
    fn stored_parts_give_the_same_timestamp_again() {
        let now = Utc::now();
        let given = Timestamp::parse("2025-10-03T11:58:04.5+05:30", now).unwrap();
        assert_eq!(Timestamp::from_parts(given.instant(), given.offset_seconds()), given);
    }
}
