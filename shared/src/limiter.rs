//! How often something may be asked for: budgets of requests a minute, and what a caller is told of them.

use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::problem::Problem;

/// Requests after which keys that have their whole budget again are forgotten: seldom enough to cost nothing, often
/// enough that the keys of a minute are about all that is kept.
const SWEEP_EVERY: u32 = 50_000;

/// Gives each key a budget of requests a minute. It may be spent at once, and comes back evenly. Clones share the
/// counts.
pub struct Limiter<K: Hash + Eq + Clone>(Arc<Inner<K>>);

struct Inner<K: Hash + Eq + Clone> {
    per_minute: NonZeroU32,
    admitted: AtomicU32,
    counts: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Of this many requests a minute for each key.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let counts = RateLimiter::keyed(Quota::per_minute(per_minute)).with_middleware();
        Self(Arc::new(Inner { per_minute, admitted: AtomicU32::new(0), counts }))
    }

    /// Counts one request of `key`, and notes in `allowances` what is left.
    ///
    /// # Errors
    /// 429 when nothing is left.
    pub fn admit(&self, key: &K, allowances: &Allowances) -> Result<(), Problem> {
        let Inner { per_minute, admitted, counts } = &*self.0;
        if admitted.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            counts.retain_recent();
        }
        let (left, remaining, reset) = match counts.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                // Where nothing is left the next request is what a caller waits for, else the whole budget.
                let missing = if remaining == 0 { 1 } else { per_minute.get().saturating_sub(remaining) };
                (Ok(()), remaining, state.quota().replenish_interval() * missing)
            }
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                (Err(Problem::rate_limited(per_minute.get(), wait)), 0, wait)
            }
        };
        allowances.note(Allowance { limit: per_minute.get(), remaining, reset });
        left
    }
}

impl<K: Hash + Eq + Clone> Clone for Limiter<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq + Clone> fmt::Debug for Limiter<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Limiter({} a minute)", self.0.per_minute)
    }
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// Until the whole budget is back; where nothing is left, until the next request is let in.
    pub reset: Duration,
}

/// What limits say about one request, on its way to the answer's `RateLimit-*` headers. Clones are of the same request.
#[derive(Debug, Clone, Default)]
pub struct Allowances(Arc<Mutex<Option<Allowance>>>);

impl Allowances {
    /// Of the budgets that this request drew on, the one with the least left.
    pub fn tightest(&self) -> Option<Allowance> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, new: Allowance) {
        let mut tightest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two with as much left the later one counts: what refuses a request is what came last.
        if tightest.is_none_or(|old| new.remaining <= old.remaining) {
            *tightest = Some(new);
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Allowances {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let allowances = parts.extensions.get::<Self>();
        allowances.cloned().ok_or_else(|| Problem::internal("served without a place for limits"))
    }
}

/// Whom an address belongs to, as far as counting goes: one IPv4 address, or a /64 of IPv6, which is what a single
/// client has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        const INTERFACE: u128 = u64::MAX as u128;
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !INTERFACE).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: u32) -> Limiter<u64> {
        Limiter::new(NonZeroU32::new(per_minute).unwrap())
    }

    /// What one request of `key` is told.
    fn ask(limiter: &Limiter<u64>, key: u64) -> (Result<(), Problem>, Allowance) {
        let allowances = Allowances::default();
        (limiter.admit(&key, &allowances), allowances.tightest().unwrap())
    }

    #[test]
    fn past_the_limit_the_caller_learns_when_to_come_back() {
        let limiter = limiter(2);
        assert!(ask(&limiter, 1).0.is_ok());
        assert!(ask(&limiter, 1).0.is_ok());
        assert!(ask(&limiter, 2).0.is_ok());
        let (refused, allowance) = ask(&limiter, 1);
        let wait = refused.unwrap_err().retry_after.unwrap();
        assert!(wait.as_secs() <= 30 && !wait.is_zero(), "{wait:?}");
        assert_eq!(allowance, Allowance { limit: 2, remaining: 0, reset: wait });
    }

    #[test]
    fn the_whole_budget_may_be_spent_at_once_and_is_counted_down() {
        let limiter = limiter(3);
        let told: Vec<_> = std::iter::repeat_with(|| ask(&limiter.clone(), 1).1).take(3).collect();
        assert_eq!(told.iter().map(|told| told.remaining).collect::<Vec<_>>(), [2, 1, 0]);
        assert_eq!(told.iter().map(|told| told.reset.as_secs()).collect::<Vec<_>>(), [20, 40, 20]);
        assert!(ask(&limiter, 1).0.is_err());
    }

    #[test]
    fn of_two_budgets_the_tighter_one_is_told() {
        let (wide, tight) = (limiter(1_000), limiter(2));
        for order in [[&wide, &tight], [&tight, &wide]] {
            let allowances = Allowances::default();
            for limiter in order {
                limiter.admit(&1, &allowances).unwrap();
            }
            assert_eq!(allowances.tightest().unwrap().limit, 2);
        }
        let (first, last) = (limiter(1), limiter(1));
        let allowances = Allowances::default();
        ask(&last, 1).0.unwrap();
        first.admit(&1, &allowances).unwrap();
        let refused = last.admit(&1, &allowances).unwrap_err();
        assert_eq!(allowances.tightest().unwrap().reset, refused.retry_after.unwrap());
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_network() {
        let network = |text: &str| Network::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
    }

    #[test]
    fn keys_that_have_their_budget_again_are_forgotten() {
        let limiter = limiter(u32::MAX);
        for key in 0..u64::from(SWEEP_EVERY) + 1 {
            ask(&limiter, key).0.unwrap();
        }
        assert!(limiter.0.counts.len() < 100, "{} are kept", limiter.0.counts.len());
    }
}
