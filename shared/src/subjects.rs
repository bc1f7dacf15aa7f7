//! Subjects of the log: `evt.<aggregate>.<token>`; of the audit log: `audit.<kind>.<token>`; and of the object store.
//! The only place that builds one.
//!
//! A token is a hash, never an id: ids from outside may hold `*`, `>` or a phone number, and subjects show up in logs
//! and monitoring. One subject is one aggregate, so that one conversation can be read alone.

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::ids::{AdminId, ConversationId, DreamId, ParticipantId, WorkerId};

/// Everything that is a fact lives below this.
pub const ALL: &str = "evt.>";
/// Every revoked token.
pub const TOKENS: &str = "evt.token.>";
/// Every webhook that was not understood.
pub const UNREAD: &str = "evt.webhook.>";

/// Every participant that was erased.
pub const ERASURES: &str = "evt.erasure.>";

/// Bytes of the hash that make a token: 144 bits, beyond reach of a found collision, 24 characters.
const TOKEN_BYTES: usize = 18;

/// Which kind of thing an event is about: the second token of its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// A conversation and its messages.
    Conversation,
    /// A participant: enrolment, profile, access code.
    Participant,
    /// An access token that was revoked.
    Token,
    /// A webhook that was not understood; its id is the SHA-256 of its body.
    Webhook,
    /// A way in for webhooks, and what was turned away there.
    Source,
    /// A person who calls.
    Worker,
    /// A person who watches calls.
    Admin,
    /// A dream, and what is made of it.
    Dream,
    /// That a participant was erased.
    Erasure,
}

impl Aggregate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Participant => "participant",
            Self::Token => "token",
            Self::Webhook => "webhook",
            Self::Source => "source",
            Self::Worker => "worker",
            Self::Admin => "admin",
            Self::Dream => "dream",
            Self::Erasure => "erasure",
        }
    }
}

/// The subject of one aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// The subject of the aggregate of this kind and id.
    pub fn of(aggregate: Aggregate, id: &str) -> Self {
        let kind = aggregate.as_str();
        // Made for every event that is read; put together by formatting, it takes twice as long.
        let mut subject = String::with_capacity(48);
        for part in ["evt.", kind, "."] {
            subject.push_str(part);
        }
        URL_SAFE_NO_PAD.encode_string(&hash(kind, id)[..TOKEN_BYTES], &mut subject);
        Self(subject)
    }

    /// A conversation's subject.
    pub fn conversation(id: &ConversationId) -> Self {
        Self::of(Aggregate::Conversation, id.as_str())
    }

    /// A participant's subject.
    pub fn participant(id: &ParticipantId) -> Self {
        Self::of(Aggregate::Participant, id.as_str())
    }

    /// A worker's subject.
    pub fn worker(id: &WorkerId) -> Self {
        Self::of(Aggregate::Worker, id.as_str())
    }

    /// An admin's subject.
    pub fn admin(id: &AdminId) -> Self {
        Self::of(Aggregate::Admin, id.as_str())
    }

    /// A dream's subject.
    pub fn dream(id: &DreamId) -> Self {
        Self::of(Aggregate::Dream, id.as_str())
    }

    /// The subject of a participant's erasure.
    pub fn erasure(id: &ParticipantId) -> Self {
        Self::of(Aggregate::Erasure, id.as_str())
    }

    /// The subject of the aggregate of this kind and token.
    pub fn of_token(aggregate: Aggregate, token: &str) -> Self {
        Self(format!("evt.{}.{token}", aggregate.as_str()))
    }

    /// The whole subject.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last token: the bounded, impersonal name of the aggregate, also the key of its rows and rooms.
    pub fn token(&self) -> &str {
        token_of(&self.0)
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> String {
        subject.0
    }
}

/// What a subject below [`LIVE`] shows, and the token of the conversation that it is of.
pub fn shown(subject: &str) -> Option<(Shown, &str)> {
    let (kind, token) = subject.strip_prefix("live.")?.split_once('.')?;
    match kind {
        "typing" => Some((Shown::Typing, token)),
        "watching" => Some((Shown::Watching, token)),
        _ => None,
    }
}

/// Kinds of what is shown live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Who types.
    Typing,
    /// Who watches.
    Watching,
}

/// Whether a subject as it came from the log is of an aggregate of this kind.
pub fn is_of(subject: &str, aggregate: Aggregate) -> bool {
    subject.split('.').nth(1) == Some(aggregate.as_str())
}

/// The aggregate's token within a subject as it came from the log.
pub fn token_of(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

/// What is shown live and never kept: who types in a conversation, who watches it. Outside of every stream.
pub const LIVE: &str = "live.>";

/// Where the write edge is asked to record what was seen.
pub const ASK_SEEN: &str = "ask.seen";

/// Somebody types in the conversation of this token.
pub fn typing(token: &str) -> String {
    format!("live.typing.{token}")
}

/// Who watches the conversation of this token, as one streamer has it.
pub fn watching(token: &str) -> String {
    format!("live.watching.{token}")
}

/// Everything in the audit log.
pub const AUDIT: &str = "audit.>";

/// Seals over what was recorded, in the audit log.
pub const SEALS: &str = "audit.seal";

/// Looks at one conversation, in the audit log. Its token is that of the conversation's subject.
pub fn looks_at(id: &ConversationId) -> String {
    format!("audit.conversation.{}", Subject::conversation(id).token())
}

/// Looks at many conversations at once, in the audit log, by who looked.
pub fn looks_of(role: &str, id: &str) -> String {
    format!("audit.list.{}", token("reader", &format!("{role}:{id}")))
}

/// What the audit log says instead of an address or an account that was searched for: it cannot be taken out again.
pub fn masked(text: &str) -> String {
    token("asked", text)
}

/// Every ticket that was used.
pub const USED_TICKETS: &str = "ticket.>";

/// That this ticket was used.
pub fn used_ticket(id: &str) -> String {
    format!("ticket.{}", token("ticket", id))
}

/// The data keys of all owners.
pub const KEYS: &str = "key.>";

/// The data key of the owner of this token.
pub fn key_of(owner: &str) -> String {
    format!("key.{owner}")
}

/// What is known of every export job.
pub const EXPORT_JOBS: &str = "export.job.>";

/// What is known of this export job.
pub fn export_job(id: &str) -> String {
    format!("export.job.{}", token("export", id))
}

/// The data sets of all export jobs.
pub const EXPORT_PARTS: &str = "export.part.>";

/// The data set of this export job, in parts.
pub fn export_parts(id: &str) -> String {
    format!("export.part.{}.*", token("export", id))
}

/// One part of it.
pub fn export_part(id: &str, number: u64) -> String {
    format!("export.part.{}.{number}", token("export", id))
}

/// Where an instance that runs export jobs is asked whether it is there; `instance` is one that was made at random.
pub fn ask_exporter(instance: &str) -> String {
    format!("ask.exporter.{}", token("exporter", instance))
}

/// The bucket of large contents: parts of its subjects, and of its stream's name.
pub const BUCKET: &str = "turnlog-objects";

/// Everything in the bucket: contents in chunks, and what is known of each.
pub fn objects() -> Vec<String> {
    vec![format!("$O.{BUCKET}.C.>"), format!("$O.{BUCKET}.M.>")]
}

/// The chunks of one content; `nuid` is random for each time it is stored.
pub fn object_chunks(nuid: &str) -> String {
    format!("$O.{BUCKET}.C.{nuid}")
}

/// What is known of one content (ADR-20 of the server's architecture decisions).
pub fn object_meta(name: &str) -> String {
    format!("$O.{BUCKET}.M.{}", URL_SAFE.encode(name))
}

fn token(kind: &str, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(&hash(kind, id)[..TOKEN_BYTES])
}

fn hash(kind: &str, id: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update("turnlog:")
        .chain_update(kind)
        .chain_update(":")
        .chain_update(id)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_holds_nothing_of_a_hostile_id() {
        for id in ["*", ">", "a.b", "évt\r\n", &"x".repeat(10_000), "+919325590143"] {
            let subject = Subject::of(Aggregate::Conversation, id);
            assert_eq!(subject.as_str().len(), "evt.conversation.".len() + 24);
            assert!(subject.token().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
    }

    #[test]
    fn aggregates_of_one_id_are_told_apart() {
        let subjects =
            [Aggregate::Conversation, Aggregate::Participant, Aggregate::Token].map(|a| Subject::of(a, "x"));
        assert_ne!(subjects[0].token(), subjects[1].token());
        assert_ne!(subjects[1].token(), subjects[2].token());
    }

    #[test]
    fn objects_lie_where_the_servers_own_tools_look_for_them() {
        assert_eq!(object_meta("ab?>"), "$O.turnlog-objects.M.YWI_Pg==");
        assert_eq!(object_chunks("n1"), "$O.turnlog-objects.C.n1");
        assert_eq!(objects(), ["$O.turnlog-objects.C.>", "$O.turnlog-objects.M.>"]);
    }

    #[test]
    fn looks_are_filed_by_what_was_looked_at_or_by_who_looked() {
        let id = ConversationId::try_from("conv_abc123".to_owned()).unwrap();
        assert_eq!(looks_at(&id), "audit.conversation.fKGRAc9PzAIy2r72qeGgRV1J");
        assert!(
            looks_of("service", "*.>").strip_prefix("audit.list.").is_some_and(|token| token.len() == 24)
        );
        assert_ne!(masked("ada@example.org"), masked("bo@example.org"));
    }

    #[test]
    fn a_token_stays_what_it_was_in_the_first_release() {
        let subject = Subject::of(Aggregate::Conversation, "conv_abc123");
        assert_eq!(subject.as_str(), "evt.conversation.fKGRAc9PzAIy2r72qeGgRV1J");
    }
}
