//! How many feeds may be open at once for whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::auth::{Grant, Identity, KeyName, Who};
use shared::problem::{Kind, Problem};

use crate::FeedCaps;
use crate::limits::CAP_RETRY;

/// Counts the open feeds of this process.
#[derive(Debug)]
pub(crate) struct Caps {
    limits: FeedCaps,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open(Mutex<HashMap<Arc<Holder>, u32>>);

/// Whose feeds are counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Holder {
    Token(Box<str>),
    Company(Box<str>),
    Key(Option<KeyName>),
}

/// One counted feed; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Open>,
    holder: Arc<Holder>,
    /// A token's company has its own count.
    within: Option<Arc<Holder>>,
}

impl Caps {
    /// With nothing open.
    pub(crate) fn new(limits: FeedCaps) -> Self {
        Self { limits, open: Arc::default() }
    }

    /// Counts one more feed of a caller; `key` says which, where it is a service.
    ///
    /// # Errors
    /// 429, when it has as many as it may.
    pub(crate) fn admit(&self, identity: &Identity, key: Option<&KeyName>) -> Result<Place, Problem> {
        let (holder, within) = match identity {
            Identity::Service => (Holder::Key(key.cloned()), None),
            Identity::Person(Grant { who, token_id, .. }) => {
                let company = match who {
                    Who::Admin { company, .. } => Some(Holder::Company(company.as_str().into())),
                    Who::Participant(_) | Who::Researcher(_) => None,
                };
                (Holder::Token(token_id.as_str().into()), company)
            }
        };
        let mut open = self.open.lock();
        for holder in [Some(&holder), within.as_ref()].into_iter().flatten() {
            let limit = self.limit(holder);
            if open.get(holder).is_some_and(|count| *count >= limit) {
                return Err(too_many(holder, limit));
            }
        }
        let mut count = |holder: Holder| {
            let shared = open.get_key_value(&holder).map(|(shared, _)| Arc::clone(shared));
            let shared = shared.unwrap_or_else(|| Arc::new(holder));
            *open.entry(Arc::clone(&shared)).or_default() += 1;
            shared
        };
        let (holder, within) = (count(holder), within.map(count));
        Ok(Place { open: Arc::clone(&self.open), holder, within })
    }

    fn limit(&self, holder: &Holder) -> u32 {
        let limit = match holder {
            Holder::Token(_) => self.limits.per_token,
            Holder::Company(_) => self.limits.per_company,
            Holder::Key(_) => self.limits.per_key,
        };
        limit.get()
    }
}

fn too_many(holder: &Holder, limit: u32) -> Problem {
    let whose = match holder {
        Holder::Token(_) => "with one token",
        Holder::Company(_) => "for one company",
        Holder::Key(_) => "with one API key",
    };
    let detail = format!("At most {limit} feeds may be open {whose}; close one, then try again.");
    Problem { retry_after: Some(CAP_RETRY), ..Problem::new(Kind::RateLimited, detail) }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Holder>, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        for holder in [Some(&self.holder), self.within.as_ref()].into_iter().flatten() {
            let Some(count) = open.get_mut(holder) else { continue };
            *count -= 1;
            if *count == 0 {
                open.remove(holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use chrono::Utc;

    use super::*;

    fn caps(per_token: u32, per_company: u32, per_key: u32) -> Caps {
        let [per_token, per_company, per_key] =
            [per_token, per_company, per_key].map(|n| NonZeroU32::new(n).unwrap());
        Caps::new(FeedCaps { per_token, per_company, per_key })
    }

    fn admin(token_id: &str, company: &str) -> Identity {
        let who = Who::Admin {
            id: "a".to_owned().try_into().unwrap(),
            company: company.to_owned().try_into().unwrap(),
        };
        Identity::Person(Grant { who, token_id: token_id.into(), expires_at: Utc::now() })
    }

    #[test]
    fn a_token_has_its_own_count_and_gives_back_what_it_no_longer_holds() {
        let caps = caps(2, 10, 10);
        let one = caps.admit(&admin("t1", "c1"), None).unwrap();
        let _two = caps.admit(&admin("t1", "c1"), None).unwrap();
        let refused = caps.admit(&admin("t1", "c1"), None).unwrap_err();
        assert_eq!(refused.kind, Kind::RateLimited);
        assert!(refused.retry_after.is_some());
        let _other = caps.admit(&admin("t2", "c1"), None).unwrap();
        drop(one);
        assert!(caps.admit(&admin("t1", "c1"), None).is_ok());
    }

    #[test]
    fn the_tokens_of_a_company_share_its_count_and_a_refusal_counts_nothing() {
        let caps = caps(10, 2, 10);
        let held = [caps.admit(&admin("t1", "c1"), None), caps.admit(&admin("t2", "c1"), None)];
        for _ in 0..3 {
            assert!(caps.admit(&admin("t3", "c1"), None).is_err());
        }
        assert!(caps.admit(&admin("t4", "c2"), None).is_ok());
        drop(held);
        assert!(caps.open.lock().is_empty());
        assert!(caps.admit(&admin("t3", "c1"), None).is_ok());
    }

    #[test]
    fn services_are_counted_by_key() {
        let caps = caps(10, 10, 1);
        let _held = caps.admit(&Identity::Service, None).unwrap();
        assert!(caps.admit(&Identity::Service, None).is_err());
        assert!(caps.admit(&admin("t1", "c1"), None).is_ok());
    }
}
