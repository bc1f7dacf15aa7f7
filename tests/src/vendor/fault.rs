//! How the vendor fails: its error shapes, and what networks do.

use std::future::Future;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value, json};

/// One way to fail.
#[derive(Debug, Clone)]
pub enum Fault {
    /// 401: the key is unknown.
    InvalidKey,
    /// 401: the key has not this scope.
    MissingPermissions,
    /// 404, in the older shape.
    NotFound,
    /// 422: a list of bad fields.
    Unprocessable,
    /// 400, in the newer shape.
    BadRequest,
    /// Any status with `detail` as a text.
    Detail(u16, &'static str),
    /// 429 with `Retry-After` as given.
    TooMany(Option<&'static str>),
    /// 503 with `Retry-After` as given.
    Unavailable(Option<&'static str>),
    /// Any status with this body, as HTML.
    Html(u16, &'static str),
    /// Any status with this body, as JSON; it need not be any.
    Json(u16, &'static str),
    /// The right answer without a field at its top.
    Without(&'static str),
    /// The right answer, cut off in its middle, yet ended as if it were whole.
    Truncated,
    /// The right answer, and the connection closed in its middle.
    Broken,
    /// The beginning of the right answer, and then nothing.
    Stalled,
    /// Nothing at all.
    Hang,
    /// The right answer, late.
    Slow(Duration),
    /// A good answer that has no end.
    Endless(&'static str),
    /// 302 to this place.
    Redirect(String),
}

impl Fault {
    /// The answer, made of the right one where it takes that.
    pub(super) async fn answer(self, right: impl Future<Output = Response>) -> Response {
        let good = StatusCode::OK;
        match self {
            Self::InvalidKey => refuse(StatusCode::UNAUTHORIZED, "invalid_api_key", "Invalid API key"),
            Self::MissingPermissions => refuse(
                StatusCode::UNAUTHORIZED,
                "missing_permissions",
                "The API key you used is missing the permission convai_read to execute this operation.",
            ),
            Self::NotFound => refuse(StatusCode::NOT_FOUND, "not_found", "It was not found."),
            Self::Unprocessable => bad_field("page_size", "Input should be less than or equal to 100", "le"),
            Self::BadRequest => said(
                StatusCode::BAD_REQUEST,
                &json!({"type": "validation_error", "code": "invalid_parameters", "message": "A parameter is wrong.",
                       "status": "invalid_parameters", "param": "cursor"}),
            ),
            Self::Detail(status, text) => said(code(status), &json!(text)),
            Self::TooMany(after) => {
                let answer = refuse(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_concurrent_requests",
                    "Too many requests.",
                );
                with_retry_after(answer, after)
            }
            Self::Unavailable(after) => with_retry_after(
                refuse(StatusCode::SERVICE_UNAVAILABLE, "system_busy", "We are busy."),
                after,
            ),
            Self::Html(status, body) => typed(code(status), "text/html", Body::from(body)),
            Self::Json(status, body) => typed(code(status), "application/json", Body::from(body)),
            Self::Without(field) => {
                let mut body: Value = serde_json::from_slice(&whole(right.await).await).unwrap();
                body.as_object_mut().unwrap().remove(field).unwrap();
                Json(body).into_response()
            }
            Self::Truncated => {
                let whole = whole(right.await).await;
                typed(good, "application/json", Body::from(whole.slice(..whole.len() / 2)))
            }
            Self::Broken => half(right.await, true).await,
            Self::Stalled => half(right.await, false).await,
            Self::Hang => std::future::pending().await,
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                right.await
            }
            Self::Endless(kind) => {
                let zeros = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
                typed(good, kind, Body::from_stream(zeros))
            }
            Self::Redirect(place) => (StatusCode::FOUND, [(header::LOCATION, place)]).into_response(),
        }
    }
}

/// An error of the older, most common shape.
pub(super) fn refuse(status: StatusCode, word: &str, message: &str) -> Response {
    said(status, &json!({"status": word, "message": message}))
}

/// An error with any detail.
pub(super) fn said(status: StatusCode, detail: &Value) -> Response {
    (status, Json(json!({"detail": detail}))).into_response()
}

/// 422 as FastAPI words it.
pub(super) fn bad_field(name: &str, message: &str, kind: &str) -> Response {
    let entry = json!({"loc": ["query", name], "msg": message, "type": kind, "input": null});
    said(StatusCode::UNPROCESSABLE_ENTITY, &json!([entry]))
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap()
}

fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response {
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

fn with_retry_after(mut answer: Response, after: Option<&'static str>) -> Response {
    if let Some(after) = after {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(after));
    }
    answer
}

async fn whole(right: Response) -> axum::body::Bytes {
    to_bytes(right.into_body(), usize::MAX).await.unwrap()
}

/// Half of the right body, and then either a closed connection or silence.
async fn half(right: Response, close: bool) -> Response {
    let kind = right.headers().get(header::CONTENT_TYPE).cloned();
    let whole = whole(right).await;
    let first = whole.slice(..whole.len() / 2);
    let rest = futures::stream::once(async move {
        if !close {
            std::future::pending::<()>().await;
        }
        // The server sends what it has when it has to wait.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("scripted"))
    });
    let body = futures::stream::once(async move { Ok(first) }).chain(rest);
    let mut answer = Body::from_stream(body).into_response();
    answer.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    answer
}
