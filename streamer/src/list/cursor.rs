//! The cursor of a list: where its next page begins, sealed so that nobody else can make one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use shared::auth::Identity;
use shared::config::Secret;

use crate::access::session_of;

/// What is sealed, in bytes: the limit, the page, the sequence, the filter.
const PLAIN: usize = 1 + 8 + 8 + 8;
/// Bytes of the seal: nobody guesses 128 bits.
const SEAL: usize = 16;
/// Sets this use of the secret apart from others, and this layout from later ones.
const PURPOSE: &[u8] = b"turnlog list cursor 1";

/// What tells a filter of a list from others, of other lists too.
pub(crate) trait Filtering {
    /// Its parts, in an order and a number of its own.
    fn parts(&self) -> impl IntoIterator<Item = Option<&str>>;
}

/// Where a list goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Conversations on a page.
    pub(crate) limit: u8,
    /// Number of the page that begins here.
    pub(crate) page: u64,
    /// Where the last conversation of the page before began in the log.
    pub(crate) before: u64,
    filter: [u8; 8],
}

/// Seals and opens cursors. Every instance with the same secret and log opens what another one sealed.
#[derive(Debug, Clone)]
pub(crate) struct Cursors(Hmac<Sha256>);

impl Cursor {
    /// Of a list with this filter.
    pub(crate) fn new(filter: &impl Filtering, limit: u8, page: u64, before: u64) -> Self {
        Self { limit, page, before, filter: fingerprint(filter) }
    }

    /// Whether it was made with this filter.
    pub(crate) fn is_of(&self, filter: &impl Filtering) -> bool {
        self.filter == fingerprint(filter)
    }

    fn plain(&self) -> [u8; PLAIN] {
        let mut bytes = [0; PLAIN];
        bytes[0] = self.limit;
        bytes[1..9].copy_from_slice(&self.page.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.before.to_be_bytes());
        bytes[17..].copy_from_slice(&self.filter);
        bytes
    }

    fn of_plain(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let filter = bytes.get(17..)?.try_into().ok()?;
        Some(Self { limit: *bytes.first()?, page: number(1)?, before: number(9)?, filter })
    }
}

impl Cursors {
    /// For the log of this epoch: in another one sequences mean something else.
    pub(crate) fn new(secret: &Secret, epoch: &str) -> Self {
        Self::with(PURPOSE, secret, epoch)
    }

    /// The same for another use, whose cursors are none here.
    pub(crate) fn with(purpose: &[u8], secret: &Secret, epoch: &str) -> Self {
        let keyed = Hmac::new_from_slice(secret.expose().as_bytes());
        let mut keyed: Hmac<Sha256> = keyed.expect("HMAC takes keys of any length");
        put(&mut keyed, purpose);
        put(&mut keyed, epoch.as_bytes());
        Self(keyed)
    }

    /// The text of a cursor, good for this caller alone.
    pub(crate) fn seal(&self, caller: &Identity, cursor: &Cursor) -> String {
        self.seal_plain(caller, &cursor.plain())
    }

    /// The same of what another use has in it.
    pub(crate) fn seal_plain(&self, caller: &Identity, plain: &[u8]) -> String {
        let seal = self.mac(caller, plain).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([plain, &seal[..SEAL]].concat())
    }

    /// The cursor of a text; `None` where we did not make it for this caller.
    pub(crate) fn open(&self, caller: &Identity, text: &str) -> Option<Cursor> {
        self.open_plain(caller, text).as_ref().and_then(|plain: &[u8; PLAIN]| Cursor::of_plain(plain))
    }

    /// What [`Self::seal_plain`] put in, if it was as long as this.
    pub(crate) fn open_plain<const N: usize>(&self, caller: &Identity, text: &str) -> Option<[u8; N]> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == N + SEAL)?;
        let (plain, seal) = bytes.split_at(N);
        self.mac(caller, plain).verify_truncated_left(seal).ok()?;
        plain.try_into().ok()
    }

    fn mac(&self, caller: &Identity, plain: &[u8]) -> Hmac<Sha256> {
        let (role, participant, company, admin) = session_of(caller);
        let mut mac = self.0.clone();
        for part in [role.as_bytes(), participant.as_bytes(), company.as_bytes(), admin.as_bytes(), plain] {
            put(&mut mac, part);
        }
        mac
    }
}

/// Adds a part with its length, so that no two lists of parts look the same.
fn put(mac: &mut Hmac<Sha256>, part: &[u8]) {
    mac.update(&(part.len() as u64).to_be_bytes());
    mac.update(part);
}

/// Tells filters apart. A filter is no secret, and who makes two that look alike betrays only itself.
fn fingerprint(filter: &impl Filtering) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in filter.parts() {
        let length = part.map_or(0, |part| part.len() as u64 + 1);
        hash.update(length.to_be_bytes());
        hash.update(part.unwrap_or_default());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    first
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use shared::auth::{Grant, Who};

    use super::super::{Filter, Status};
    use super::*;

    fn cursors(secret: &str, epoch: &str) -> Cursors {
        Cursors::new(&Secret::new(secret), epoch)
    }

    fn participant(id: &str) -> Identity {
        let who = Who::Participant(id.to_owned().try_into().unwrap());
        Identity::Person(Grant { who, token_id: "t".into(), expires_at: Utc::now() })
    }

    fn account(id: &str) -> Filter {
        Filter { account: Some(id.into()), ..Filter::default() }
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_on_every_instance() {
        let cursor = Cursor::new(&account("acc123"), 25, 40_000, u64::MAX);
        let text = cursors("secret", "e").seal(&Identity::Service, &cursor);
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
        assert_eq!(cursors("secret", "e").open(&Identity::Service, &text), Some(cursor));
    }

    #[test]
    fn what_we_did_not_make_for_this_caller_is_none() {
        let own = cursors("secret", "e");
        let cursor = Cursor::new(&Filter::default(), 20, 2, 7);
        let text = own.seal(&participant("RID001"), &cursor);
        assert_eq!(own.open(&participant("RID001"), &text), Some(cursor));
        for caller in [participant("RID002"), Identity::Service] {
            assert_eq!(own.open(&caller, &text), None);
        }
        for other in [cursors("other", "e"), cursors("secret", "f")] {
            assert_eq!(other.open(&participant("RID001"), &text), None);
        }
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(own.open(&participant("RID001"), &forged), None, "{forged}");
        }
        for nonsense in ["", "AAAA", "=", "🦀", &text[1..], &format!("{text}A"), &"A".repeat(100_000)] {
            assert_eq!(own.open(&participant("RID001"), nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_cursor_knows_its_filter() {
        let email = |id: &str| Filter { email: Some(id.into()), ..Filter::default() };
        let status = Filter { status: Some(Status::Active), ..Filter::default() };
        let both = Filter { email: Some("y".into()), ..account("x") };
        let filters = [Filter::default(), account("x"), account(""), email("x"), status, both, account("xy")];
        for (at, filter) in filters.iter().enumerate() {
            let cursor = Cursor::new(filter, 20, 2, 7);
            let same: Vec<_> = (0..filters.len()).filter(|other| cursor.is_of(&filters[*other])).collect();
            assert_eq!(same, [at], "{filter:?}");
        }
    }
}
