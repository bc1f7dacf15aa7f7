//! Events of types that this version does not know, because a newer one wrote them: kept, passed over and counted.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Characters of a type's name.
const MAX_NAME: usize = 100;
/// Types that are counted by name. A newer version brings a few; of more, the rest is counted together.
const MAX_TYPES: usize = 32;
/// The name of the rest.
const OTHER: &str = "other";

/// Whether a type has the form of turnlog's, `turnlog.message.recorded.v1`: what has and is not known is of a newer version.
pub fn is_ours(type_name: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let version = |number: &str| {
        !number.starts_with('0')
            && (1..=9).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
    };
    let Some(rest) = type_name.strip_prefix("turnlog.") else { return false };
    let Some((what, number)) = rest.rsplit_once(".v") else { return false };
    type_name.len() <= MAX_NAME && what.contains('.') && what.split('.').all(word) && version(number)
}

/// How many there were of each type, in bounded memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts events of a type; answers the name that they are counted under, and whether it is new.
    pub fn add(&mut self, type_name: &str, events: u64) -> (&str, bool) {
        let room = self.0.len() < MAX_TYPES || self.0.contains_key(type_name);
        let name = if room && is_ours(type_name) { type_name } else { OTHER };
        let fresh = !self.0.contains_key(name);
        *self.0.entry(name.to_owned()).or_default() += events;
        let name = self.0.get_key_value(name).map_or(OTHER, |(name, _)| name.as_str());
        (name, fresh)
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Types, and how many there were of each.
    pub fn types(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, events)| (name.as_str(), *events))
    }
}

impl fmt::Display for Tally {
    /// `turnlog.message.annotated.v1: 2, turnlog.message.recorded.v9: 1`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, events)) in self.types().enumerate() {
            write!(f, "{}{name}: {events}", if place > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Counts an event that a part of this process passed over, and says so of the first one of its type.
pub fn passed_over(by: &'static str, type_name: &str) {
    static NAMES: Mutex<Tally> = Mutex::new(Tally(BTreeMap::new()));
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, fresh) = names.add(type_name, 1);
    metrics::counter!("turnlog_unknown_events_total", "by" => by, "type" => name.to_owned()).increment(1);
    if fresh {
        tracing::warn!(
            by,
            event_type = name,
            "the log holds events of a newer version, which this one passes over: upgrade it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_a_newer_version_are_told_from_what_somebody_else_wrote() {
        let ours =
            ["turnlog.message.annotated.v1", "turnlog.message.recorded.v9", "turnlog.call.taken_over.v123"];
        let foreign = [
            "",
            "turnlog",
            "turnlog.v1",
            "turnlog.message.v1.v",
            "turnlog.message.recorded",
            "turnlog.message.recorded.v0",
            "turnlog.message.recorded.v01",
            "turnlog.message.recorded.v1 ",
            "turnlog.message.\u{1b}[2J.v1",
            "turnlog..recorded.v1",
            "turnlog.Message.recorded.v1",
            "com.example.message.recorded.v1",
            "turnlog.message.recorded.v1234567890",
        ];
        assert!(ours.iter().all(|name| is_ours(name)));
        assert!(foreign.iter().all(|name| !is_ours(name)));
        assert!(!is_ours(&format!("turnlog.message.{}.v1", "x".repeat(MAX_NAME))));
    }

    #[test]
    fn a_hundred_thousand_types_are_a_few_names() {
        let mut tally = Tally::default();
        assert_eq!(tally.add("turnlog.message.annotated.v1", 1), ("turnlog.message.annotated.v1", true));
        for n in 0..100_000 {
            tally.add(&format!("turnlog.made.up_{n}.v1"), 1);
        }
        assert_eq!(tally.add("a\u{1b}[2J", 1), (OTHER, false));
        assert_eq!(tally.add("turnlog.message.annotated.v1", 2), ("turnlog.message.annotated.v1", false));
        assert_eq!((tally.total(), tally.types().count()), (100_004, MAX_TYPES + 1));
        assert!(tally.to_string().starts_with("other: 99970, turnlog.made.up_0.v1: 1, "), "{tally}");
    }
}
