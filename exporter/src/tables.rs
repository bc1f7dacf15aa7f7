//! The tables of a data set: what a row is, column by column.

mod conversation;
mod event;
mod message;
mod redaction;
mod safe;

pub(crate) use conversation::{CONVERSATIONS, Conversation, Texts};
pub(crate) use event::{EVENTS, EventRow};
pub(crate) use message::{MESSAGES, Message};
pub(crate) use redaction::{REDACTIONS, Redaction};
pub(crate) use safe::{
    PARTICIPANTS, Participant, ParticipantRow, SAFE_CONVERSATIONS, SAFE_MESSAGES, SafeConversation,
    SafeMessage,
};

use crate::cell::Table;

/// Every table, in the order of files and pages.
pub(crate) const TABLES: [&Table; 7] =
    [&MESSAGES, &CONVERSATIONS, &EVENTS, &REDACTIONS, &PARTICIPANTS, &SAFE_CONVERSATIONS, &SAFE_MESSAGES];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own_and_says_what_it_means() {
        for table in TABLES {
            let names: BTreeSet<_> = table.columns.iter().map(|column| column.name).collect();
            assert_eq!(names.len(), table.columns.len());
            let key = table.columns.iter().find(|column| column.name == table.key).unwrap();
            assert!(key.required && table.columns[0].name == table.key, "{}", table.name);
            assert!(table.columns.iter().all(|column| column.about.ends_with('.')), "{}", table.name);
        }
    }
}
