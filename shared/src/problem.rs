//! The one shape of an error answer: `application/problem+json` (RFC 9457).
//!
//! An error has two faces: a sentence for the caller, and the cause for the log. This is its one door: the answer is
//! rendered, and the cause logged, by [`crate::http`], once, with the request's id.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What went wrong, as a caller can tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The body is no JSON, or was cut off.
    BadJson,
    /// The path, the query or a header cannot be read.
    BadRequest,
    /// Fields are missing or wrong.
    InvalidFields,
    /// No credential, or one that is no good.
    Unauthenticated,
    /// A good credential, but not for this.
    Forbidden,
    /// Nothing there.
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// Contradicts what is stored.
    Conflict,
    /// The body or a part of it is too large.
    TooLarge,
    /// Of a media type that is not taken there.
    UnsupportedMediaType,
    /// The range that was asked for lies past the end.
    RangeNotSatisfiable,
    /// Too many requests.
    RateLimited,
    /// The body did not arrive in time.
    Timeout,
    /// A service of somebody else's that this needs refused, or gave an answer that cannot be used.
    BadGateway,
    /// The log takes no events for now, or the read tables cannot be read for now.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// Every kind, for documents and tests.
pub const KINDS: [Kind; 16] = [
    Kind::BadJson,
    Kind::BadRequest,
    Kind::InvalidFields,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::MethodNotAllowed,
    Kind::Conflict,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::RangeNotSatisfiable,
    Kind::RateLimited,
    Kind::Timeout,
    Kind::BadGateway,
    Kind::Unavailable,
    Kind::Internal,
];

impl Kind {
    /// Status, the last part of `type`, and `title`.
    pub fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadJson => (StatusCode::BAD_REQUEST, "bad-json", "The body is not valid JSON"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Self::InvalidFields => (StatusCode::BAD_REQUEST, "invalid-fields", "Fields are missing or wrong"),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid credential is needed")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not yours"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "Contradicts what is stored"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Send another media type")
            }
            Self::RangeNotSatisfiable => {
                (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable", "The range lies past the end")
            }
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request did not arrive in time"),
            Self::BadGateway => {
                (StatusCode::BAD_GATEWAY, "bad-gateway", "A service that this needs gave no good answer")
            }
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Try again in a moment"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "A fault of ours"),
        }
    }
}

/// One bad field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the field: `timestamp`, or `messages[3].role`.
    pub field: String,
    /// What it must be.
    pub message: String,
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// One sentence that the caller can act on.
    pub detail: String,
    /// Every bad field.
    pub errors: Vec<FieldError>,
    /// When to try again; also sent as `Retry-After`.
    pub retry_after: Option<Duration>,
    /// For the log alone.
    pub cause: Option<String>,
}

impl Problem {
    /// Of a kind, with a sentence for the caller.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, cause: None }
    }

    /// Bad fields; the sentence names the first few.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<_> = errors.iter().take(5).map(|error| error.field.as_str()).collect();
        let more = if errors.len() > names.len() { " and others" } else { "" };
        let detail = format!("Correct these fields and send again: {}{more}.", names.join(", "));
        Self { errors, ..Self::new(Kind::InvalidFields, detail) }
    }

    /// Too many requests: at most `limit` a minute, and `wait` until the next one.
    pub fn rate_limited(limit: u32, wait: Duration) -> Self {
        let detail = format!("At most {limit} of these requests a minute; wait and try again.");
        Self { retry_after: Some(wait), ..Self::new(Kind::RateLimited, detail) }
    }

    /// The log or the tables are away for now: 503 with `Retry-After`.
    pub fn unavailable(detail: &str, cause: impl std::fmt::Display) -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self { retry_after, cause: Some(cause.to_string()), ..Self::new(Kind::Unavailable, detail) }
    }

    /// A fault of ours; the caller learns nothing of it but the request's id.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let detail = "Something went wrong here; quote the request_id when you report it.";
        Self { cause: Some(cause.to_string()), ..Self::new(Kind::Internal, detail) }
    }

    /// The document as it is sent.
    pub fn document(&self, request_id: &str) -> ProblemDocument {
        let (status, slug, title) = self.kind.parts();
        ProblemDocument {
            success: false,
            kind: format!("urn:turnlog:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
            errors: self.errors.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

/// An error as it is sent (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// Always false.
    success: bool,
    /// What went wrong, to be told apart by programs: `urn:turnlog:problem:...`.
    #[serde(rename = "type")]
    kind: String,
    /// The same for people.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// One sentence that the caller can act on.
    detail: String,
    /// Every bad field.
    errors: Vec<FieldError>,
    /// The request's id: quote it when you report the problem.
    request_id: String,
}

impl IntoResponse for Problem {
    /// Hands the problem to the outermost layer, which knows the request's id and renders it.
    fn into_response(self) -> Response {
        let mut response = self.kind.parts().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
