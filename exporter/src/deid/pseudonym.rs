//! Ids to pseudonyms: HMAC-SHA-256 under the key, apart by what the id is of, 128 bits of it.
//!
//! The same id of the same thing has the same pseudonym under one key; without the key nothing leads from one to the
//! other, nor from a pseudonym under one key to that under another.

use ring::hmac::{self, HMAC_SHA256};
use shared::subjects::{Aggregate, Subject, token_of};

use super::ExportKey;
use super::shadow::digit_of;

/// Begins every message that is signed, so that the key can serve nothing else by accident.
const DOMAIN: &[u8] = b"turnlog pseudonym v1\0";
/// Begins what a key's fingerprint is of.
const FINGERPRINT: &[u8] = b"turnlog fingerprint v1\0";
/// Bytes of a signature that make a pseudonym: two among a billion ids are the same once in 10^20 data sets.
const BYTES: usize = 16;
/// Bytes of a fingerprint: enough to tell keys apart.
const FINGERPRINT_BYTES: usize = 8;

/// What an id is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// A person who talks.
    Participant,
    /// A conversation, ours or a vendor's.
    Conversation,
    /// A message, by the id that it came with.
    Message,
    /// An account at somebody else's.
    Account,
    /// An e-mail address.
    Email,
    /// A telephone number.
    Phone,
    /// A person who calls.
    Worker,
    /// A person who watches.
    Admin,
    /// Whom both work for.
    Company,
    /// A call, ours or a telephone provider's.
    Call,
    /// A dream.
    Dream,
    /// A vendor's agent.
    Agent,
    /// A browser's session.
    Session,
    /// An event.
    Event,
    /// Stored bytes, by name or hash.
    Object,
    /// A token of ours.
    Token,
    /// An address on the network.
    Address,
    /// A place in the log.
    Sequence,
    /// An aggregate of no other kind.
    Other,
}

impl Of {
    /// What a pseudonym begins with.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Participant => "p_",
            Self::Conversation => "c_",
            Self::Message => "m_",
            Self::Account => "acc_",
            Self::Email => "mail_",
            Self::Phone => "tel_",
            Self::Worker => "w_",
            Self::Admin => "adm_",
            Self::Company => "co_",
            Self::Call => "call_",
            Self::Dream => "d_",
            Self::Agent => "ag_",
            Self::Session => "s_",
            Self::Event => "ev_",
            Self::Object => "obj_",
            Self::Token => "tok_",
            Self::Address => "ip_",
            Self::Sequence => "seq_",
            Self::Other => "x_",
        }
    }

    /// Whose subjects are named by its ids: there the token stands for the id.
    fn aggregate(self) -> Option<Aggregate> {
        match self {
            Self::Participant => Some(Aggregate::Participant),
            Self::Conversation => Some(Aggregate::Conversation),
            Self::Worker => Some(Aggregate::Worker),
            Self::Admin => Some(Aggregate::Admin),
            Self::Dream => Some(Aggregate::Dream),
            Self::Message
            | Self::Account
            | Self::Email
            | Self::Phone
            | Self::Company
            | Self::Call
            | Self::Agent
            | Self::Session
            | Self::Event
            | Self::Object
            | Self::Token
            | Self::Address
            | Self::Sequence
            | Self::Other => None,
        }
    }

    /// What the second part of a subject says that it is of.
    fn named(kind: &str) -> Self {
        match kind {
            "participant" => Self::Participant,
            "conversation" => Self::Conversation,
            "worker" => Self::Worker,
            "admin" => Self::Admin,
            "dream" => Self::Dream,
            _ => Self::Other,
        }
    }
}

/// Makes pseudonyms.
#[derive(Clone)]
pub(crate) struct Pseudonyms {
    key: hmac::Key,
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pseudonyms")
    }
}

impl Pseudonyms {
    /// Under this key.
    pub(crate) fn under(key: &ExportKey) -> Self {
        Self { key: hmac::Key::new(HMAC_SHA256, key.expose()) }
    }

    /// Tells keys apart and tells nothing else of them.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(&hmac::sign(&self.key, FINGERPRINT).as_ref()[..FINGERPRINT_BYTES])
    }

    /// The pseudonym of what this id names. Two ways to write one address or number give one pseudonym.
    pub(crate) fn of(&self, of: Of, id: &str) -> String {
        if let Some(aggregate) = of.aggregate() {
            return self.of_token(of, Subject::of(aggregate, id).token());
        }
        match of {
            Of::Email => self.of_token(of, &id.trim().to_lowercase()),
            Of::Phone => self.of_token(of, &phone(id)),
            Of::Participant
            | Of::Conversation
            | Of::Message
            | Of::Account
            | Of::Worker
            | Of::Admin
            | Of::Company
            | Of::Call
            | Of::Dream
            | Of::Agent
            | Of::Session
            | Of::Event
            | Of::Object
            | Of::Token
            | Of::Address
            | Of::Sequence
            | Of::Other => self.of_token(of, id),
        }
    }

    /// The subject of an aggregate with its pseudonym in place of the token.
    pub(crate) fn subject(&self, subject: &str) -> String {
        let mut parts = subject.split('.');
        let (root, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        format!("{root}.{kind}.{}", self.of_subject(subject))
    }

    /// The pseudonym of what a subject is of: the same as that of its id.
    pub(crate) fn of_subject(&self, subject: &str) -> String {
        let kind = subject.split('.').nth(1).unwrap_or_default();
        self.of_token(Of::named(kind), token_of(subject))
    }

    fn of_token(&self, of: Of, token: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(DOMAIN);
        context.update(of.prefix().as_bytes());
        // No prefix holds one, so that what follows cannot be taken for a part of it.
        context.update(&[0]);
        context.update(token.as_bytes());
        let mut text = String::with_capacity(of.prefix().len() + 2 * BYTES);
        text.push_str(of.prefix());
        for byte in &context.sign().as_ref()[..BYTES] {
            text.extend(
                [byte >> 4, byte & 15].map(|half| char::from(b"0123456789abcdef"[usize::from(half)])),
            );
        }
        text
    }
}

/// Its digits, in whatever script; `+49` and `0049` are one.
fn phone(number: &str) -> String {
    let digits: String = number.chars().filter_map(digit_of).map(|digit| char::from(b'0' + digit)).collect();
    digits.strip_prefix("00").map(str::to_owned).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn under(byte: u8) -> Pseudonyms {
        Pseudonyms { key: hmac::Key::new(HMAC_SHA256, &[byte; 32]) }
    }

    #[test]
    fn a_pseudonym_is_stable_for_a_key_and_apart_by_key_and_kind() {
        let (one, other) = (under(1), under(2));
        assert_eq!(one.of(Of::Participant, "RID1"), under(1).of(Of::Participant, "RID1"));
        assert_eq!(one.fingerprint(), under(1).fingerprint());
        let kinds = [Of::Participant, Of::Account, Of::Email, Of::Worker, Of::Message, Of::Token];
        let mut seen = BTreeSet::from([one.fingerprint(), other.fingerprint()]);
        for names in [&one, &other] {
            for of in kinds {
                let name = names.of(of, "RID1");
                let hidden = name.strip_prefix(of.prefix()).unwrap().to_owned();
                assert_eq!(hidden.len() * 4, 128);
                assert!(seen.insert(hidden));
            }
        }
        assert_eq!(seen.len(), 2 + 2 * kinds.len());
        assert_eq!(format!("{one:?}"), "Pseudonyms");
    }

    /// They are the promise to those who join data sets of two versions.
    #[test]
    fn pseudonyms_are_the_same_in_every_version() {
        let names = under(7);
        assert_eq!(names.of(Of::Participant, "RID1"), "p_0af8b41fdf81629966073da4db570c5a");
        assert_eq!(names.of(Of::Message, "m1"), "m_9fa497e63ff9fa20bec3ab24b26dd813");
    }

    #[test]
    fn one_address_or_number_has_one_pseudonym_however_it_is_written() {
        let names = under(1);
        let mail = |text| names.of(Of::Email, text);
        assert_eq!(mail("User@Example.com "), mail("user@example.com"));
        assert_ne!(mail("user@example.com"), mail("other@example.com"));
        let phone = |text| names.of(Of::Phone, text);
        for same in ["0091 93255-90143", "+91 (93255) 90143", "＋９１９３２５５９０１４３"] {
            assert_eq!(phone(same), phone("+919325590143"), "{same}");
        }
        assert_ne!(phone("+919325590143"), phone("+919325590144"));
    }

    #[test]
    fn a_subject_bears_the_pseudonym_of_what_it_is_of() {
        let names = under(1);
        for (aggregate, of) in
            [(Aggregate::Conversation, Of::Conversation), (Aggregate::Participant, Of::Participant)]
        {
            let subject = names.subject(Subject::of(aggregate, "it").as_str());
            assert!(subject.ends_with(&format!(".{}", names.of(of, "it"))), "{subject}");
        }
        let token = names.subject(Subject::of(Aggregate::Token, "it").as_str());
        assert!(token.ends_with(&names.of_token(Of::Other, Subject::of(Aggregate::Token, "it").token())));
    }
}
