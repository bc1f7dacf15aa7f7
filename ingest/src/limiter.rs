//! Logins are limited by address and by id: an access code must not be found by trying.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shared::ids::ParticipantId;
use shared::problem::Problem;

use crate::settings::IngestSettings;

/// Keys past which those that are full again are forgotten.
const SWEEP_AT: usize = 50_000;

/// Counts logins. Clones share the counts.
#[derive(Clone)]
pub(crate) struct LoginLimiter {
    addresses: Arc<Limit<IpAddr>>,
    ids: Arc<Limit<u64>>,
}

struct Limit<K: Hash + Eq + Clone> {
    per_minute: NonZeroU32,
    limiter: DefaultKeyedRateLimiter<K>,
}

impl LoginLimiter {
    pub(crate) fn new(settings: &IngestSettings) -> Self {
        Self {
            addresses: Arc::new(Limit::new(settings.logins_per_address)),
            ids: Arc::new(Limit::new(settings.logins_per_id)),
        }
    }

    /// Counts one login.
    pub(crate) fn admit(&self, address: IpAddr, id: &ParticipantId) -> Result<(), Problem> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        self.addresses.admit(&address)?;
        self.ids.admit(&hasher.finish())
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self { per_minute, limiter: RateLimiter::keyed(Quota::per_minute(per_minute)) }
    }

    fn admit(&self, key: &K) -> Result<(), Problem> {
        if self.limiter.len() > SWEEP_AT {
            self.limiter.retain_recent();
        }
        let Err(refused) = self.limiter.check_key(key) else { return Ok(()) };
        let wait = refused.wait_time_from(DefaultClock::default().now());
        Err(Problem::rate_limited(self.per_minute.get(), wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_the_caller_learns_when_to_come_back() {
        let limit = Limit::new(2);
        assert!(limit.admit(&1_u64).is_ok());
        assert!(limit.admit(&1).is_ok());
        assert!(limit.admit(&2).is_ok());
        let problem = limit.admit(&1).unwrap_err();
        assert_eq!(problem.limit, Some(2));
        assert!(problem.retry_after.is_some_and(|wait| wait.as_secs() <= 30));
    }
}
