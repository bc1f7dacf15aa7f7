//! Where a request came from, for its record.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{Look, Looker, What};
use crate::auth::{Identity, KeyName};
use crate::envelope::Origin;
use crate::http::Caller;
use crate::problem::Problem;

/// Where a request came from, and with which key. Goes after the caller among a handler's parameters.
#[derive(Debug, Clone)]
pub struct Trail {
    address: IpAddr,
    request_id: String,
    key: Option<KeyName>,
}

impl<S: Sync> FromRequestParts<S> for Trail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Caller(address) = Caller::from_request_parts(parts, state).await?;
        let origin: Option<&Origin> = parts.extensions.get();
        let request_id = origin.map(|origin| origin.request_id.clone()).unwrap_or_default();
        Ok(Self { address, request_id, key: parts.extensions.get().cloned() })
    }
}

impl Trail {
    /// The request's id.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The API key of a service.
    pub fn key(&self) -> Option<&KeyName> {
        self.key.as_ref()
    }

    /// A look of this caller, if it is one that is recorded.
    pub fn look(&self, identity: &Identity, what: What) -> Option<Look> {
        Some(self.of(Looker::of(identity, self.key())?, what))
    }

    /// What anybody did by this request, participants too.
    pub fn act(&self, identity: &Identity, what: What) -> Look {
        self.of(Looker::anyone(identity, self.key()), what)
    }

    /// What somebody did by this request.
    pub fn of(&self, who: Looker, what: What) -> Look {
        Look::new(who, what, Some(self.address), self.request_id.as_str())
    }
}
