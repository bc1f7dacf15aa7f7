//! Logins are limited by address and by id: an access code must not be found by trying.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use shared::ids::ParticipantId;
use shared::limiter::{Allowances, Limiter, Network};
use shared::problem::Problem;

use crate::settings::IngestSettings;

/// Counts logins.
pub(crate) struct LoginLimiter {
    addresses: Limiter<Network>,
    ids: Limiter<u64>,
}

impl LoginLimiter {
    pub(crate) fn new(settings: &IngestSettings) -> Self {
        let (addresses, ids) = (settings.logins_per_address, settings.logins_per_id);
        Self { addresses: Limiter::new(addresses), ids: Limiter::new(ids) }
    }

    /// Counts one login.
    pub(crate) fn admit(
        &self,
        address: IpAddr,
        id: &ParticipantId,
        allowances: &Allowances,
    ) -> Result<(), Problem> {
        self.addresses.admit(&address.into(), allowances)?;
        self.ids.admit(&short(id), allowances)
    }
}

/// Ids may be long: what is counted by them is kept by a hash.
pub(crate) fn short(id: &ParticipantId) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
