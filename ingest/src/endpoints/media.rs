//! Uploads of what comes with a turn besides words.

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::Response;
use serde::Serialize;
use shared::auth::AsService;
use shared::http::created;
use shared::http::openapi::{RawBytes, WriteProblems, tags};
use shared::problem::Problem;
use utoipa::ToSchema;

use super::webhooks::announced;
use crate::App;

/// An upload is kept.
#[derive(Serialize, ToSchema)]
struct Uploaded {
    success: bool,
    /// What attachments name it by; the same bytes always have the same.
    media_id: String,
    bytes: u64,
    /// What it is, as its bytes tell.
    media_type: String,
    /// Of its bytes, hexadecimal.
    sha256: String,
}

/// Upload an attachment
///
/// Takes the bytes as they are, up to `MAX_MEDIA_BYTES` (32 MiB). Pictures, sound, films, PDFs, office documents and plain
/// text are taken; their bytes tell which, and a `Content-Type` that says otherwise is 415. It is stored when this answers,
/// and is seen once a turn names its `media_id`. The same bytes again are the same upload.
#[utoipa::path(
    post, path = "/api/media", tag = tags::SERVICES, security(("service" = [])),
    request_body(content = RawBytes, content_type = "application/octet-stream", description = "The bytes."),
    responses((status = 201, description = "Stored.", body = Uploaded), WriteProblems),
)]
pub(crate) async fn upload(
    State(app): State<App>,
    _service: AsService,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (announced, declared) = (announced(&parts.headers), parts.headers.get(header::CONTENT_TYPE));
    let kept = app.media.keep(announced, declared, body).await?;
    let (media_id, sha256) = (kept.name.to_string(), kept.name.to_string());
    Ok(created(Uploaded { success: true, media_id, bytes: kept.bytes, media_type: kept.media_type, sha256 }))
}
