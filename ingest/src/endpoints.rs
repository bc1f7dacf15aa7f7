//! Handlers: extract, call one function, shape the answer.

mod bodies;
pub(crate) mod messages;
pub(crate) mod participants;
pub(crate) mod sessions;
pub(crate) mod webhooks;

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::problem::{Kind, Problem};

use crate::committer::Failure;
use crate::decide::Refusal;

static SEQUENCE: HeaderName = HeaderName::from_static("turnlog-sequence");

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(Refusal::NotOwner) => Self::new(Kind::Forbidden, Refusal::NotOwner.to_string()),
            Failure::Unavailable(cause) => {
                let detail =
                    "The log takes no events just now; nothing was acknowledged. Send it again in a moment.";
                Self::unavailable(detail, cause)
            }
        }
    }
}

/// 200 with the body, and the event's sequence beside it.
fn stored(sequence: u64, body: impl Serialize) -> Response {
    ([(SEQUENCE.clone(), HeaderValue::from(sequence))], Json(body)).into_response()
}
