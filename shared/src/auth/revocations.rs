//! Tokens that were given up: folded from the log, kept until they would have expired anyway.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::events::Event;
use crate::log::{Log, LogError, Tail};
use crate::subjects;

/// Entries handled at once.
const BATCH: usize = 1_000;
/// Stands between a token's id and that of what was derived from it.
pub(super) const DERIVED: char = '/';
/// Size past which expired revocations are swept out.
const SWEEP_AT: usize = 10_000;

/// The set of revoked tokens. Clones share it.
#[derive(Debug, Clone)]
pub struct Revocations {
    revoked: Arc<RwLock<HashMap<String, DateTime<Utc>>>>,
    changes: watch::Sender<u64>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { revoked: Arc::default(), changes: watch::Sender::new(0) }
    }
}

impl Revocations {
    /// Whether the token was revoked, or the one that it was derived from.
    pub fn contains(&self, token_id: &str) -> bool {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        let is_in = |id: &str| revoked.contains_key(id);
        is_in(token_id) || token_id.match_indices(DERIVED).any(|(end, _)| is_in(&token_id[..end]))
    }

    /// Changes whenever a token was revoked; what holds a feed open looks again then.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Reads every revocation there is, so that the first request already meets them, and answers the tail to go on
    /// with in [`Self::follow`].
    ///
    /// # Errors
    /// [`LogError::Replaced`].
    pub async fn load(&self, log: &Log, name: &str) -> Result<Tail, LogError> {
        let mut tail = log.tail(&format!("{name}-tokens"), 0, Some(subjects::TOKENS));
        tail.attach().await?;
        while tail.pending() > 0 {
            self.take(&mut tail).await?;
        }
        Ok(tail)
    }

    /// Goes on reading, for ever.
    ///
    /// # Errors
    /// [`LogError::Replaced`].
    pub async fn follow(self, mut tail: Tail) -> Result<(), LogError> {
        loop {
            self.take(&mut tail).await?;
        }
    }

    async fn take(&self, tail: &mut Tail) -> Result<(), LogError> {
        for entry in tail.next_batch(BATCH).await? {
            let event = entry.decode();
            // Only events of tokens come in here: the tail reads their subjects alone.
            if let Ok(Event::TokenRevoked(revocation)) = event {
                self.add(revocation.token_id, revocation.expires_at, Utc::now());
            } else if let Err(error) = event {
                // The projector parks it; a token event that cannot be read revokes nothing.
                tracing::warn!(sequence = entry.sequence, %error, "a token event cannot be read");
            }
        }
        Ok(())
    }

    /// Takes in one revocation; whoever writes it to the log need not wait to read it there.
    pub fn add(&self, token_id: String, expires_at: DateTime<Utc>, now: DateTime<Utc>) {
        if expires_at < now {
            return;
        }
        let mut revoked = self.revoked.write().unwrap_or_else(PoisonError::into_inner);
        if revoked.len() >= SWEEP_AT && revoked.len().is_power_of_two() {
            revoked.retain(|_, expires| *expires >= now);
        }
        revoked.insert(token_id, expires_at);
        drop(revoked);
        self.changes.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_holds_until_the_token_would_have_expired() {
        let revocations = Revocations::default();
        let now = Utc::now();
        revocations.add("gone".into(), now - chrono::TimeDelta::seconds(1), now);
        revocations.add("good".into(), now + chrono::TimeDelta::seconds(1), now);
        assert!(!revocations.contains("gone"));
        assert!(revocations.contains("good"));
    }

    #[test]
    fn a_session_ends_with_its_token_and_a_token_not_with_its_session() {
        let revocations = Revocations::default();
        let now = Utc::now();
        revocations.add("token".into(), now + chrono::TimeDelta::seconds(1), now);
        revocations.add("other/session".into(), now + chrono::TimeDelta::seconds(1), now);
        let gone = ["token", "token/session", "other/session"];
        let good = ["other", "other/second", "tok", "token2/session", "session", ""];
        assert!(gone.iter().all(|id| revocations.contains(id)));
        assert!(!good.iter().any(|id| revocations.contains(id)));
    }
}
