//! What the audit log says of export jobs: who asked for a data set, what became of it, and each download.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use shared::audit::{Look, Looker, What};
use shared::auth::Who;
use shared::http::{Caller, RequestOrigin};
use shared::problem::Problem;

use super::record::Job;
use super::view::path_of;

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
        Look { address: Some(self.address), request_id: self.request_id.clone(), ..look_of(job, step) }
    }
}

/// The record of what became of a job, in the name of who asked for it.
pub(crate) fn look_of(job: &Job, step: Step) -> Look {
    let what = match step {
        Step::Asked => What::DataSetBegun,
        Step::Made | Step::Failed => What::DataSetEnded,
        Step::Downloaded | Step::Removed => What::Export,
    };
    let who = Looker::person(&Who::Researcher(job.owner.clone()));
    let look =
        Look::new(who, what, Some(job.address), job.request_id.clone()).range(Some(job.arguments.range()));
    let look = look.with("export_id", job.id.clone()).with("asked", job.arguments.asked());
    look.with("as_of", job.arguments.as_of).with("outcome", step.as_str()).with("out", path_of(&job.id))
}
