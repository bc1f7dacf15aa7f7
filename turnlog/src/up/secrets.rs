//! Secrets of one data directory: random, made once, kept across restarts.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail};
use crate::files;

/// All of them. The file is its owner's alone.
#[derive(Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// Key of calling services.
    pub(crate) api_key: String,
    /// Signs tokens.
    pub(crate) jwt_secret: String,
    /// Signs webhooks, as the Standard Webhooks libraries want it.
    pub(crate) webhook_secret: String,
    /// Signs ElevenLabs' webhooks, in the form of theirs.
    pub(crate) elevenlabs_webhook_secret: String,
    /// Password of the log's one user.
    pub(crate) nats_password: String,
    /// Password of the read tables' owner.
    pub(crate) database_password: String,
    /// Password of Postgres' administrator, who only makes the owner and the database.
    pub(crate) postgres_password: String,
    /// What seals the data keys that seal content. A folder of an older version gets one at its next start.
    #[serde(default)]
    pub(crate) sealing_keys: Option<String>,
}

impl Secrets {
    /// Those of this folder; made when there are none yet.
    pub(crate) fn of(data_dir: &Path) -> Result<Self, Failure> {
        let path = data_dir.join("secrets.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let secrets: Self =
                    serde_json::from_str(&text).or_fail(format!("understand {}", path.display()))?;
                if secrets.sealing_keys.is_some() {
                    return Ok(secrets);
                }
                Self { sealing_keys: Some(sealing_key()), ..secrets }.write(&path)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::random().write(&path),
            Err(error) => Err(error).or_fail(format!("read {}", path.display())),
        }
    }

    fn write(self, path: &Path) -> Result<Self, Failure> {
        let text = serde_json::to_string_pretty(&self).or_fail("write the secrets")?;
        files::write_private(path, &(text + "\n"))?;
        Ok(self)
    }

    fn random() -> Self {
        Self {
            api_key: format!("key_{}", hex()),
            jwt_secret: hex(),
            webhook_secret: format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 32]>())),
            elevenlabs_webhook_secret: format!("wsec_{}", hex()),
            nats_password: hex(),
            database_password: hex(),
            postgres_password: hex(),
            sealing_keys: Some(sealing_key()),
        }
    }
}

fn sealing_key() -> String {
    format!("first={}", STANDARD.encode(rand::random::<[u8; 32]>()))
}

/// 256 random bits as 64 characters that need no quoting anywhere.
fn hex() -> String {
    rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_the_same_for_a_folder_and_differ_between_folders() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = Secrets::of(one.path()).unwrap();
        assert_eq!(Secrets::of(one.path()).unwrap().jwt_secret, first.jwt_secret);
        assert_ne!(Secrets::of(other.path()).unwrap().jwt_secret, first.jwt_secret);
        let key = first.webhook_secret.strip_prefix("whsec_").unwrap();
        assert_eq!(STANDARD.decode(key).unwrap().len(), 32);
        assert!(first.jwt_secret.len() >= 32);
    }
}
