//! Access codes: Argon2id with the library's recommended cost, off the async threads, few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use shared::problem::Problem;
use tokio::sync::Semaphore;

/// Hashes at the same time: each takes 19 MiB and some 20 ms of a core.
const AT_ONCE: usize = 2;

/// Hashes and checks access codes. Clones share the bound.
#[derive(Debug, Clone)]
pub(crate) struct AccessCodes(Arc<Semaphore>);

impl Default for AccessCodes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl AccessCodes {
    /// The PHC string of a code.
    pub(crate) async fn hash(&self, code: String) -> Result<String, Problem> {
        let hashed =
            self.run(move || Argon2::default().hash_password(code.as_bytes()).map(|hash| hash.to_string()));
        hashed.await?.map_err(Problem::internal)
    }

    /// Whether `code` is the one that was hashed; takes as long when nothing was, so that ids cannot be told apart.
    pub(crate) async fn matches(&self, code: String, hash: Option<String>) -> Result<bool, Problem> {
        self.run(move || match hash.as_deref().map(PasswordHash::new) {
            Some(Ok(hash)) => Argon2::default().verify_password(code.as_bytes(), &hash).is_ok(),
            Some(Err(_)) | None => {
                let _same_time = Argon2::default().hash_password(code.as_bytes());
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _place = self.0.acquire().await.map_err(Problem::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Problem::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_code_matches_its_own_hash_alone() {
        let codes = AccessCodes::default();
        let hash = codes.hash("1234".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(codes.matches("1234".into(), Some(hash.clone())).await.unwrap());
        assert!(!codes.matches("1235".into(), Some(hash)).await.unwrap());
        assert!(!codes.matches("1234".into(), None).await.unwrap());
    }
}
