//! Sealing: what an event says of somebody can be read as long as their data key exists, and never again after it, also
//! in backups and mirrors of the log.
//!
//! AES-256-GCM (NIST SP 800-38D), by `ring`, with a random nonce of 96 bits for each body: of one key's at most 2^32, which
//! is more than anybody says. Each owner has a data key; a master key from the environment wraps it. What is bound to a
//! body besides its content: the event's id, its type and its subject, so that no body can be put in another's place.

mod keyring;
mod master;
mod store;

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

pub use keyring::{Keyring, Sealing};
pub use master::{MasterKeys, NotUnwrapped, Wrapped, WrongMasterKeys};
pub use store::{Kept, KeyError, KeyStore, Plan};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// The first byte of what is sealed: how it is laid out. Then the nonce, the content, and the tag.
const LAYOUT: u8 = 1;

/// Why something sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// Another key, another place, or changed bytes.
    #[error("it was sealed with another key or for another place, or was changed since")]
    NotAuthentic,
    /// Written by a newer version.
    #[error("it is sealed in a way that this version does not know")]
    UnknownLayout,
}

/// A key, ready for use. Its bytes cannot be had back.
pub struct DataKey(LessSafeKey);

/// The bytes of a key, until they are wrapped.
pub struct KeyBytes([u8; KEY_BYTES]);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes")
    }
}

impl Drop for KeyBytes {
    fn drop(&mut self) {
        // Not left lying in memory. Whether the compiler keeps it, nobody promises; a core dump is no place for keys anyway.
        self.0 = std::hint::black_box([0; KEY_BYTES]);
    }
}

impl KeyBytes {
    /// A new one.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The key that they are.
    pub fn key(&self) -> DataKey {
        // The only error is another length.
        let unbound = UnboundKey::new(&AES_256_GCM, &self.0).unwrap_or_else(|_| unreachable!("32 bytes"));
        DataKey(LessSafeKey::new(unbound))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(crate) fn of(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl DataKey {
    /// Seals a content for one place.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn seal(&self, place: &[u8], content: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + content.len() + AES_256_GCM.tag_len());
        sealed.push(LAYOUT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(content);
        let (_, body) = sealed.split_at_mut(1 + NONCE_LEN);
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), body)
            .map_err(|_| SealError::NotAuthentic)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`SealError::NotAuthentic`], [`SealError::UnknownLayout`].
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (layout, rest) = sealed.split_first().ok_or(SealError::NotAuthentic)?;
        if *layout != LAYOUT {
            return Err(SealError::UnknownLayout);
        }
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotAuthentic)?;
        let mut content = body.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(place), &mut content);
        let length = opened.map_err(|_| SealError::NotAuthentic)?.len();
        content.truncate(length);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DataKey {
        KeyBytes::random().unwrap().key()
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_in_its_place_alone() {
        let (key, other) = (key(), key());
        for content in ["", "I fell.", &"é".repeat(100_000)] {
            let sealed = key.seal(b"place", content.as_bytes()).unwrap();
            assert_eq!(sealed.len(), content.len() + 29);
            assert_eq!(key.open(b"place", &sealed).unwrap(), content.as_bytes());
            assert_eq!(key.open(b"elsewhere", &sealed), Err(SealError::NotAuthentic));
            assert_eq!(other.open(b"place", &sealed), Err(SealError::NotAuthentic));
        }
    }

    #[test]
    fn the_same_content_never_looks_the_same_and_no_bit_can_be_changed() {
        let key = key();
        let (one, two) = (key.seal(b"p", b"I fell.").unwrap(), key.seal(b"p", b"I fell.").unwrap());
        assert_ne!(one, two);
        assert!(!one.windows(4).any(|part| part == b"fell"));
        for place in 1..one.len() {
            let mut changed = one.clone();
            changed[place] ^= 1;
            assert_eq!(key.open(b"p", &changed), Err(SealError::NotAuthentic), "byte {place}");
        }
        for cut in [&one[..0], &one[..1], &one[..12], &one[..28]] {
            assert_eq!(key.open(b"p", cut), Err(SealError::NotAuthentic));
        }
        let mut newer = one;
        newer[0] = 9;
        assert_eq!(key.open(b"p", &newer), Err(SealError::UnknownLayout));
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?} {:?}", KeyBytes::random().unwrap(), key()), "KeyBytes DataKey");
    }
}
