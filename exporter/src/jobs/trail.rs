//! What the audit log says of export jobs: who asked for a data set, what became of it, and each download.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::Utc;
use serde_json::{Map, Value, json};
use shared::audit::{Look, Looker, What};
use shared::http::{Caller, RequestOrigin};
use shared::problem::Problem;
use shared::subjects::masked;

use super::record::Job;

/// Where a request came from.
#[derive(Debug, Clone)]
pub(crate) struct Trail {
    pub(crate) address: IpAddr,
    pub(crate) request_id: String,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Somebody asked for it.
    Asked,
    /// It can be downloaded.
    Made,
    /// It could not be made.
    Failed,
    /// It, or a file of it, was downloaded, at least in part.
    Downloaded,
    /// Its owner took it back.
    Removed,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Made => "made",
            Self::Failed => "failed",
            Self::Downloaded => "downloaded",
            Self::Removed => "removed",
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Trail {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Caller(address) = Caller::from_request_parts(parts, state).await?;
        let RequestOrigin(origin) = RequestOrigin::from_request_parts(parts, state).await?;
        Ok(Self { address, request_id: origin.request_id })
    }
}

impl Trail {
    /// What this request's record of a job is.
    pub(crate) fn look(&self, job: &Job, step: Step) -> Look {
        Look { address: self.address, request_id: self.request_id.clone(), ..look_of(job, step) }
    }
}

/// The record of what became of a job, in the name of who asked for it.
pub(crate) fn look_of(job: &Job, step: Step) -> Look {
    let (first, last) = job.arguments.range();
    let look = Look {
        at: Utc::now(),
        who: Looker { role: "researcher".into(), id: Some(job.owner.clone()), company: None },
        what: What::Export,
        conversation_id: None,
        from_sequence: Some(first),
        to_sequence: Some(last),
        address: job.address,
        request_id: job.request_id.clone(),
        more: Map::new(),
    };
    look.with("export_id", job.id.clone()).with("step", step.as_str()).with("arguments", arguments(job))
}

/// What was asked for, without the names of people: nothing can be taken out of the audit log again.
fn arguments(job: &Job) -> Value {
    let mut arguments = json!(job.arguments);
    for list in ["participants", "conversations"] {
        for name in arguments.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            *name = json!(masked(name.as_str().unwrap_or_default()));
        }
    }
    arguments
}
