//! The key of pseudonyms.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::{ExportError, Result};

/// Bytes that a key has at least: as many as the hash gives.
const MIN_BYTES: usize = 32;
/// Different bytes among them that a key has at least. Of 32 random ones fewer are out of the question; a key that was
/// typed, or is one byte over and over, has fewer.
const MIN_DIFFERENT: usize = 16;

/// What pseudonyms are made with. Whoever has it and an id can tell the id's pseudonym.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportKey(Vec<u8>);

impl fmt::Debug for ExportKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExportKey")
    }
}

impl ExportKey {
    /// Reads `EXPORT_KEY`.
    ///
    /// # Errors
    /// A sentence, which repeats nothing of it, when it is no base64, too short, or plainly not random.
    pub fn parse(text: &str) -> Result<Self> {
        let weak = || {
            let sentence =
                "EXPORT_KEY must be at least 32 random bytes in base64: openssl rand -base64 32 makes one";
            ExportError::arguments(sentence)
        };
        let text = text.trim();
        let bytes = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).map_err(|_| weak())?;
        let mut different = bytes.clone();
        different.sort_unstable();
        different.dedup();
        let strong = bytes.len() >= MIN_BYTES && different.len() >= MIN_DIFFERENT;
        strong.then_some(Self(bytes)).ok_or_else(weak)
    }

    /// One that nobody else has.
    pub(crate) fn random() -> Result<Self> {
        let mut bytes = vec![0; MIN_BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| ExportError::arguments("the system gives no random bytes"))?;
        Ok(Self(bytes))
    }

    /// As [`ExportKey::parse`] reads it, for the file that keeps it.
    pub(crate) fn text(&self) -> String {
        STANDARD.encode(&self.0)
    }

    /// For the one place that needs it.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_long_and_random_or_none() {
        let good = ExportKey::random().unwrap();
        assert_eq!(ExportKey::parse(&format!(" {}\n", good.text())).unwrap(), good);
        let short = STANDARD.encode((0..31).collect::<Vec<u8>>());
        let same = STANDARD.encode([7_u8; 64]);
        for weak in ["", "secret", "not base64 at all, not at all, not at all", &short, &same] {
            let told = ExportKey::parse(weak).unwrap_err().to_string();
            assert!(told.contains("at least 32 random bytes"), "{told}");
            assert!(weak.is_empty() || !told.contains(weak));
        }
        assert_eq!(format!("{good:?}"), "ExportKey");
    }
}
