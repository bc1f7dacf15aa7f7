//! What one record says.

use std::net::IpAddr;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::{Grant, Identity, KeyName, Who};
use crate::ids::{ConversationId, ParticipantId};
use crate::subjects::{self, Subject};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The whole conversation was read.
    Snapshot,
    /// What became of it, and what was told of it.
    Status,
    /// A feed began.
    FeedOpened,
    /// A feed ended. One that was killed has no such record: it may have shown anything since.
    FeedEnded,
    /// A conversation as a file.
    Export,
    /// A recording or an attachment.
    Media,
    /// A page of a list.
    List,
    /// What a search found.
    Search,
    /// A data set began to be made. One that was killed has no record of its end: it may have read anything.
    DataSetBegun,
    /// A data set was made, compared, or given up; `outcome` says which.
    DataSetEnded,
    /// A participant is erased: recorded before anything of theirs is destroyed.
    Erasure,
    /// A credential was made; `kind` says which, `to_role` and `to` for whom.
    TokenIssued,
    /// Somebody was turned away: `status`, `asked`, and `count` where one record stands for many.
    Refused,
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// A token.
    Token,
    /// A browser's session.
    Session,
    /// A ticket for one feed.
    Ticket,
    /// The vendor's URL for one call.
    SignedUrl,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Looker {
    /// `admin`, `researcher`, `service`, `participant`, `operator`, or `nobody` who is known.
    pub role: String,
    /// The person's id, or what tells an API key from others. A participant's is the token of their subject: nothing is
    /// ever taken out of here, and they may ask to be forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// An admin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
}

impl Looker {
    /// Whoever's looks are recorded; none for a participant, who sees nothing but their own. `key` is the API key of a
    /// service.
    pub fn of(identity: &Identity, key: Option<&KeyName>) -> Option<Self> {
        match identity {
            Identity::Person(Grant { who: Who::Participant(_), .. }) => None,
            Identity::Service | Identity::Person(_) => Some(Self::anyone(identity, key)),
        }
    }

    /// The same, participants too.
    pub fn anyone(identity: &Identity, key: Option<&KeyName>) -> Self {
        match identity {
            Identity::Service => Self::new("service", key.map(KeyName::as_str)),
            Identity::Person(grant) => Self::person(&grant.who),
        }
    }

    /// A person with a token.
    pub fn person(who: &Who) -> Self {
        match who {
            Who::Admin { id, company } => {
                Self { company: Some(company.as_str().to_owned()), ..Self::new("admin", Some(id.as_str())) }
            }
            Who::Researcher(id) => Self::new("researcher", Some(id)),
            Who::Participant(id) => Self::participant(id),
        }
    }

    /// The person who talks.
    pub fn participant(id: &ParticipantId) -> Self {
        Self::new("participant", Some(Subject::participant(id).token()))
    }

    /// Whoever runs a command: `user@host`.
    pub fn operator(name: &str) -> Self {
        Self::new("operator", Some(name))
    }

    /// Somebody without a good credential.
    pub fn nobody() -> Self {
        Self::new("nobody", None)
    }

    fn new(role: &str, id: Option<&str>) -> Self {
        Self { role: role.to_owned(), id: id.map(str::to_owned), company: None }
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: Looker,
    /// What.
    pub what: What,
    /// At which conversation; none for a list, and for what is about no conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
    /// What was shown of it lies from here, ...
    pub from_sequence: Option<u64>,
    /// ... to here in the log. Both are null where no message was shown.
    pub to_sequence: Option<u64>,
    /// Where the request came from; none for an operator's command, whose host is part of their name.
    pub address: Option<IpAddr>,
    /// The request's id; that of a feed's beginning and of its end is the same.
    pub request_id: String,
    /// More about it: what a list was asked for and how many it showed, why a feed ended.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Look {
    /// That this was done now.
    pub fn new(who: Looker, what: What, address: Option<IpAddr>, request_id: impl Into<String>) -> Self {
        Self {
            at: Utc::now(),
            who,
            what,
            conversation_id: None,
            from_sequence: None,
            to_sequence: None,
            address,
            request_id: request_id.into(),
            more: Map::new(),
        }
    }

    /// That an operator's command does this; its request id is made.
    pub fn by_operator(name: &str, what: What) -> Self {
        Self::new(Looker::operator(name), what, None, Uuid::now_v7().to_string())
    }

    /// This look, at a conversation, of which it shows what lies in this range.
    #[must_use]
    pub fn of(self, conversation: &ConversationId, shown: Option<(u64, u64)>) -> Self {
        Self { conversation_id: Some(conversation.as_str().to_owned()), ..self.range(shown) }
    }

    /// This record, of what lies in this range of the log.
    #[must_use]
    pub fn range(self, range: Option<(u64, u64)>) -> Self {
        let (from_sequence, to_sequence) = range.unzip();
        Self { from_sequence, to_sequence, ..self }
    }

    /// The same with something more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// What is said of a credential: whose, of which kind, under which id, until when. Never the credential.
    #[must_use]
    pub fn issued(self, kind: Credential, to: &Looker, id: Option<&str>, until: DateTime<Utc>) -> Self {
        let issued = self.with("kind", kind.as_str()).with("to_role", to.role.as_str());
        let issued = to.id.as_deref().map_or(issued.clone(), |to| issued.with("to", to));
        let issued = id.map_or(issued.clone(), |id| issued.with("token_id", id));
        issued.with("expires_at", until.to_rfc3339_opts(SecondsFormat::Secs, true))
    }

    /// That this is the manifest of the data set: its hash names the data set for good.
    #[must_use]
    pub fn manifest(self, manifest: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(manifest).into();
        self.with(
            "manifest_sha256",
            hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")),
        )
    }

    /// That this participant is erased. They are named as in [`Looker::participant`].
    #[must_use]
    pub fn erases(self, participant: &ParticipantId) -> Self {
        Self { what: What::Erasure, ..self.with("participant", Subject::participant(participant).token()) }
    }

    /// This record again, later and as something else: the end of what it began.
    #[must_use]
    pub fn then(&self, what: What) -> Self {
        Self { at: Utc::now(), what, ..self.clone() }
    }

    /// Whether it is about this participant: theirs, or something done to them.
    pub fn is_about(&self, participant: &ParticipantId) -> bool {
        let subject = Subject::participant(participant);
        let named = |name| self.more.get(name).and_then(Value::as_str) == Some(subject.token());
        (self.who.role == "participant" && self.who.id.as_deref() == Some(subject.token()))
            || ["participant", "to"].into_iter().any(named)
    }

    pub(super) fn subject(&self) -> String {
        let conversation = self.conversation_id.clone().and_then(|id| ConversationId::try_from(id).ok());
        match conversation {
            Some(id) => subjects::looks_at(&id),
            None => subjects::looks_of(&self.who.role, self.who.id.as_deref().unwrap_or_default()),
        }
    }

    pub(super) fn body(&self) -> Bytes {
        // Strings, numbers and times: this does not fail, and an empty record would be refused when it is read.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl What {
    /// Every one.
    pub const ALL: [Self; 13] = [
        Self::Snapshot,
        Self::Status,
        Self::FeedOpened,
        Self::FeedEnded,
        Self::Export,
        Self::Media,
        Self::List,
        Self::Search,
        Self::DataSetBegun,
        Self::DataSetEnded,
        Self::Erasure,
        Self::TokenIssued,
        Self::Refused,
    ];

    /// Its name, as records have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Status => "status",
            Self::FeedOpened => "feed_opened",
            Self::FeedEnded => "feed_ended",
            Self::Export => "export",
            Self::Media => "media",
            Self::List => "list",
            Self::Search => "search",
            Self::DataSetBegun => "data_set_begun",
            Self::DataSetEnded => "data_set_ended",
            Self::Erasure => "erasure",
            Self::TokenIssued => "token_issued",
            Self::Refused => "refused",
        }
    }

    /// Whether something of conversations was shown.
    pub fn is_look(self) -> bool {
        match self {
            Self::Snapshot
            | Self::Status
            | Self::FeedOpened
            | Self::FeedEnded
            | Self::Export
            | Self::Media
            | Self::List
            | Self::Search => true,
            Self::DataSetBegun | Self::DataSetEnded | Self::Erasure | Self::TokenIssued | Self::Refused => {
                false
            }
        }
    }
}

impl Credential {
    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Ticket => "ticket",
            Self::SignedUrl => "signed_url",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_as_it_was_written_and_holds_the_names_that_are_documented() {
        let who = Looker { role: "admin".into(), id: Some("a1".into()), company: Some("c1".into()) };
        let address = "10.0.0.1".parse().ok();
        let look = Look {
            at: DateTime::from_timestamp(1_760_000_000, 0).unwrap(),
            ..Look::new(who, What::FeedEnded, address, "r1")
        };
        let look = look.of(&"conv_1".to_owned().try_into().unwrap(), Some((3, 41))).with("reason", "left");
        assert_eq!(
            std::str::from_utf8(&look.body()).unwrap(),
            r#"{"at":"2025-10-09T08:53:20Z","who":{"role":"admin","id":"a1","company":"c1"},"what":"feed_ended","conversation_id":"conv_1","from_sequence":3,"to_sequence":41,"address":"10.0.0.1","request_id":"r1","reason":"left"}"#
        );
        assert_eq!(serde_json::from_slice::<Look>(&look.body()).unwrap(), look);
    }

    #[test]
    fn kinds_are_called_what_records_call_them() {
        for what in What::ALL {
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }

    #[test]
    fn a_participant_is_found_and_not_named() {
        let id = ParticipantId::try_from("RID001".to_owned()).unwrap();
        let other = ParticipantId::try_from("RID002".to_owned()).unwrap();
        let erasure = Look::by_operator("ada@host", What::Erasure).erases(&id);
        let until = DateTime::from_timestamp(1_760_000_000, 0).unwrap();
        let own = Look::new(Looker::participant(&id), What::TokenIssued, None, "r1");
        let issued = own.clone().issued(Credential::Token, &own.who, Some("t1"), until);
        for record in [erasure, own, issued] {
            assert!(record.is_about(&id) && !record.is_about(&other));
            assert!(!String::from_utf8_lossy(&record.body()).contains("RID001"));
        }
    }
}
