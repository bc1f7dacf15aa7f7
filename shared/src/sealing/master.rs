//! Master keys: they wrap data keys, and can be changed without touching what data keys have sealed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{DataKey, KEY_BYTES, KeyBytes, SealError};

/// Bytes of a master key's name.
const MAX_NAME: usize = 64;

/// What `SEALING_KEYS` says: `2026=…,2025=…`, each 32 bytes in base64. The first wraps; the others open what they wrapped.
#[derive(Debug)]
pub struct MasterKeys(Vec<(String, DataKey)>);

/// Not of that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be name=key with commas between, each name once and each key 32 bytes in base64; the first is used"
)]
pub struct WrongMasterKeys;

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// The master key that wraps it.
    pub master: String,
    /// The data key, sealed, in base64.
    pub key: String,
    /// Its owner is being erased: it still opens, and seals nothing any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

/// Why a wrapped key cannot be unwrapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotUnwrapped {
    /// No such master key is set.
    #[error("it is wrapped by the master key {0}, which SEALING_KEYS does not name")]
    NoMaster(String),
    /// Another key under the same name, or changed bytes.
    #[error("the master key {0} does not open it: SEALING_KEYS has another key under this name")]
    WrongMaster(String),
}

impl MasterKeys {
    /// Reads the setting.
    ///
    /// # Errors
    /// [`WrongMasterKeys`], which repeats nothing of it.
    pub fn parse(text: &str) -> Result<Self, WrongMasterKeys> {
        let mut keys: Vec<(String, DataKey)> = Vec::new();
        for pair in text.split(',') {
            let (name, key) = pair.trim().split_once('=').ok_or(WrongMasterKeys)?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain);
            if !fits || keys.iter().any(|(known, _)| known == name) {
                return Err(WrongMasterKeys);
            }
            let bytes = STANDARD.decode(key).map_err(|_| WrongMasterKeys)?;
            let bytes: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| WrongMasterKeys)?;
            keys.push((name.to_owned(), KeyBytes::of(bytes).key()));
        }
        Ok(Self(keys))
    }

    /// The name of the one that wraps.
    pub fn current(&self) -> &str {
        self.0.first().map_or("", |(name, _)| name)
    }

    /// Wraps the key of an owner.
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn wrap(&self, owner: &str, key: &KeyBytes) -> Result<Wrapped, SealError> {
        let (name, master) = self.0.first().ok_or(SealError::NotAuthentic)?;
        let sealed = master.seal(&place(owner), key.expose())?;
        Ok(Wrapped { master: name.clone(), key: STANDARD.encode(sealed), closed: false })
    }

    /// Unwraps the key of an owner.
    ///
    /// # Errors
    /// [`NotUnwrapped`].
    pub fn unwrap(&self, owner: &str, wrapped: &Wrapped) -> Result<KeyBytes, NotUnwrapped> {
        let found = self.0.iter().find(|(name, _)| *name == wrapped.master);
        let (name, master) = found.ok_or_else(|| NotUnwrapped::NoMaster(wrapped.master.clone()))?;
        let wrong = || NotUnwrapped::WrongMaster(name.clone());
        let sealed = STANDARD.decode(&wrapped.key).map_err(|_| wrong())?;
        let bytes = master.open(&place(owner), &sealed).map_err(|_| wrong())?;
        bytes.try_into().map(KeyBytes::of).map_err(|_| wrong())
    }
}

/// A wrapped key is one owner's alone.
fn place(owner: &str) -> Vec<u8> {
    format!("turnlog key of {owner}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(names: &[(&str, u8)]) -> String {
        let one = |(name, byte): &(&str, u8)| format!("{name}={}", STANDARD.encode([*byte; KEY_BYTES]));
        names.iter().map(one).collect::<Vec<_>>().join(",")
    }

    fn masters(names: &[(&str, u8)]) -> MasterKeys {
        MasterKeys::parse(&setting(names)).unwrap()
    }

    #[test]
    fn a_master_key_is_changed_without_touching_what_was_sealed() {
        let old = masters(&[("2025", 1)]);
        let key = KeyBytes::random().unwrap();
        let sealed = key.key().seal(b"p", b"I fell.").unwrap();
        let wrapped = old.wrap("owner", &key).unwrap();
        let both = masters(&[("2026", 2), ("2025", 1)]);
        let again = both.wrap("owner", &both.unwrap("owner", &wrapped).unwrap()).unwrap();
        assert_eq!((again.master.as_str(), both.current()), ("2026", "2026"));
        let new = masters(&[("2026", 2)]);
        assert_eq!(new.unwrap("owner", &again).unwrap().key().open(b"p", &sealed).unwrap(), b"I fell.");
        assert_eq!(new.unwrap("owner", &wrapped).unwrap_err(), NotUnwrapped::NoMaster("2025".into()));
    }

    #[test]
    fn a_wrapped_key_is_of_its_owner_and_its_master_alone() {
        let masters_one = masters(&[("a", 1)]);
        let wrapped = masters_one.wrap("owner", &KeyBytes::random().unwrap()).unwrap();
        let wrong = NotUnwrapped::WrongMaster("a".into());
        assert_eq!(masters_one.unwrap("another", &wrapped).unwrap_err(), wrong);
        assert_eq!(masters(&[("a", 2)]).unwrap("owner", &wrapped).unwrap_err(), wrong);
        for key in ["", "?", "AAAA"] {
            let broken = Wrapped { key: key.into(), ..wrapped.clone() };
            assert_eq!(masters_one.unwrap("owner", &broken).unwrap_err(), wrong, "{key}");
        }
    }

    #[test]
    fn what_is_no_list_of_keys_is_refused_and_not_repeated() {
        let short = format!("a={}", STANDARD.encode([1; 31]));
        for wrong in ["", "a", "a=", "=AAAA", "a=hunter2", short.as_str(), &setting(&[("a", 1), ("a", 2)])] {
            let error = MasterKeys::parse(wrong).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{wrong}");
        }
        assert_eq!(masters(&[("k-1", 1), ("k_2", 2)]).current(), "k-1");
    }
}
