//! `/openapi.json`, and the two pages that show it. Everything they need is in the binary.

use std::sync::{Arc, LazyLock};

use aide::redoc::Redoc;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderName;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::tags;
use crate::problem::{Kind, Problem};

/// The document as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Document(pub(super) Bytes);

const DOCUMENT_PATH: &str = "/openapi.json";

const SWAGGER_PAGE: &str = r#"<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>turnlog: API</title>
    <link rel="icon" href="data:,">
    <link rel="stylesheet" href="/docs/swagger-ui.css">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
"#;

/// Without `validatorUrl: null` the page would ask a validator on the internet.
const SWAGGER_START: &str = r##"SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
});
"##;

/// Both pages talk to their own origin alone, and nothing may frame them. The styles are made by their scripts.
const POLICY: &str = "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; ";

/// The one thing that Redoc fetches from elsewhere: its maker's logo.
const REDOC_LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";

const REDOC_HEAD: &str = r#"<head>
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <link rel="icon" href="data:,">
    <style>body { margin: 0 }</style>"#;

pub(super) fn routes() -> OpenApiRouter<Document> {
    let pages =
        OpenApiRouter::new().routes(routes!(document)).routes(routes!(swagger)).routes(routes!(redoc));
    pages.merge(Router::new().route("/docs/{file}", get(swagger_file)).into())
}

/// This document
///
/// OpenAPI 3.1 of the endpoints that this process serves.
#[utoipa::path(
    get, path = "/openapi.json", tag = tags::DEVELOPERS,
    responses((status = 200, description = "The document.", body = Object)),
)]
async fn document(State(Document(json)): State<Document>) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-cache")], json).into_response()
}

/// This document in Swagger UI
///
/// A page on which every endpoint can be tried.
#[utoipa::path(
    get, path = "/docs", tag = tags::DEVELOPERS,
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
async fn swagger() -> Response {
    (headers(&format!("{POLICY}script-src 'self'")), Html(SWAGGER_PAGE)).into_response()
}

/// This document in Redoc
///
/// A page to read.
#[utoipa::path(
    get, path = "/redoc", tag = tags::DEVELOPERS,
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")),
)]
async fn redoc() -> Response {
    static PAGE: LazyLock<(Bytes, String)> = LazyLock::new(|| {
        let html = Redoc::new(DOCUMENT_PATH).with_title("turnlog: API").html();
        let html = html.replace(REDOC_LOGO, "data:,").replace("<head>", REDOC_HEAD);
        let policy = format!("{POLICY}worker-src blob:; script-src '{}'", hash(script(&html)));
        (html.into(), policy)
    });
    (headers(&PAGE.1), Html(PAGE.0.clone())).into_response()
}

/// The files behind `/docs`.
async fn swagger_file(Path(file): Path<String>) -> Result<Response, Problem> {
    let kept = (CACHE_CONTROL, "max-age=3600");
    if file == "start.js" {
        return Ok(([kept, (CONTENT_TYPE, "text/javascript")], SWAGGER_START).into_response());
    }
    match utoipa_swagger_ui::serve(&file, Arc::default()).map_err(Problem::internal)? {
        Some(found) => {
            Ok(([kept, (CONTENT_TYPE, &found.content_type)], found.bytes.into_owned()).into_response())
        }
        None => Err(Problem::new(Kind::NotFound, "There is nothing at this path.")),
    }
}

fn headers(policy: &str) -> [(HeaderName, &str); 4] {
    [
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ]
}

/// The page's one script.
fn script(html: &str) -> &str {
    let rest = html.split_once("<script>").map_or("", |(_, rest)| rest);
    rest.rsplit_once("</script>").map_or("", |(script, _)| script)
}

/// As a policy names a script that stands in a page.
fn hash(script: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(script)))
}
