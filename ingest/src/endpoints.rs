//! Handlers: extract, call one function, shape the answer.

mod bodies;
pub(crate) mod browsers;
pub(crate) mod calls;
pub(crate) mod directory;
pub(crate) mod dreams;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod participants;
pub(crate) mod said;
pub(crate) mod sessions;
pub(crate) mod talks;
pub(crate) mod webhooks;

use axum::Json;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use shared::problem::{FieldError, Kind, Problem};

use crate::committer::Failure;
use crate::decide::Refusal;

static SEQUENCE: HeaderName = HeaderName::from_static("turnlog-sequence");

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Unavailable(cause) => {
                let detail =
                    "The log takes no events just now; nothing was acknowledged. Send it again in a moment.";
                Self::unavailable(detail, cause)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::Erased | Refusal::NotOwner | Refusal::NotHolder | Refusal::NotDreamer => Kind::Forbidden,
            Refusal::Unknown(_) => Kind::NotFound,
            Refusal::Held(_) | Refusal::Ended | Refusal::OtherCall(_) | Refusal::Linked => Kind::Conflict,
            Refusal::Moved => return Self::unavailable(&refusal.to_string(), "it was linked meanwhile"),
            // Another instance may be of that version already.
            Refusal::Newer => {
                return Self::unavailable(
                    &refusal.to_string(),
                    "the log holds events of a newer version: upgrade this one",
                );
            }
            Refusal::Ahead(_) => {
                let message = refusal.to_string();
                return Self::fields(vec![FieldError { field: "sequence".into(), message }]);
            }
        };
        Self::new(kind, refusal.to_string())
    }
}

/// An id from the path.
fn named<T: TryFrom<String, Error: ToString>>(text: String) -> Result<T, Problem> {
    T::try_from(text)
        .map_err(|error| Problem::fields(vec![FieldError { field: "id".into(), message: error.to_string() }]))
}

/// 200 with the body, and the event's sequence beside it.
fn stored(sequence: u64, body: impl Serialize) -> Response {
    ([(SEQUENCE.clone(), HeaderValue::from(sequence))], Json(body)).into_response()
}
