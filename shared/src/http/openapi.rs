//! The document of the endpoints (OpenAPI 3.1), made from the code.
//!
//! An endpoint is added like this, and cannot be served undocumented:
//! 1. Put `#[utoipa::path(method, path = "...", tag = tags::..., ...)]` above its handler. The handler's doc comment
//!    is the text: its first line the summary.
//! 2. Name the credentials: `security(("participant" = []), ("service" = []))`; see [`security`] for the names.
//! 3. Name the body by a struct that derives `ToSchema`, with an example that works, and give a reply a struct that
//!    derives `Serialize` and `ToSchema`.
//! 4. End `responses(...)` with the problems of its kind: [`ReadProblems`], [`BytesProblems`], [`DocumentProblems`],
//!    [`ListProblems`], [`WriteProblems`], [`OpenWriteProblems`], [`CommandProblems`], [`CallWriteProblems`] or
//!    [`CallCommandProblems`], and of jobs [`JobProblems`] and
//!    [`JobBytesProblems`]. Request ids and 500 are added to all.
//! 5. Register it with `.routes(routes!(handler))`. `UPDATE_GOLDEN=1 cargo test -p tests --test it openapi` writes the
//!    snapshot, to be read in the diff.

mod pages;
mod problems;
pub mod tags;

use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{Components, ComponentsBuilder, Object, ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Header, InfoBuilder, OpenApi, Ref, RefOr, Required};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

pub use problems::{
    BytesProblems, CallCommandProblems, CallWriteProblems, CommandProblems, DocumentProblems,
    JobBytesProblems, JobProblems, ListProblems, NamedWriteProblems, OpenWriteProblems, ReadProblems,
    SessionProblems, WriteProblems,
};

const DESCRIPTION: &str = "\
Conversations as an ordered log: messages are written once, acknowledged when they are stored, and read as snapshots \
and live feeds.

Every error is `application/problem+json` with one sentence in `detail` that a caller can act on; `errors` names every \
bad field at once. Any path answers a method it does not take with 405, and `Allow`. Unknown fields of a body are \
ignored. Timestamps are RFC 3339 and come back with the offset they were given in.";

/// Adds what all endpoints share to the document of the ones that are served, and the pages that show it.
pub(super) fn with_pages(routes: OpenApiRouter) -> axum::Router {
    let (routes, mut document) = routes.split_for_parts();
    let (pages, described) = pages::routes().split_for_parts();
    document.merge(described);
    finish(&mut document);
    let json = document.to_json().expect("a document of strings and numbers serialises");
    routes.merge(pages.with_state(pages::Document(json.into())))
}

/// A body that is bytes, as documents describe one.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub struct RawBytes(());

/// The same endpoint under another path; `name` tells the two operations apart.
pub fn alias<S: Clone>(
    path: &str,
    name: &str,
    (schemas, mut paths, handler): UtoipaMethodRouter<S>,
) -> UtoipaMethodRouter<S> {
    let items = std::mem::take(&mut paths.paths);
    for mut item in items.into_values() {
        operations(&mut item).for_each(|operation| operation.operation_id = Some(name.to_owned()));
        paths.paths.insert(path.to_owned(), item);
    }
    (schemas, paths, handler)
}

fn finish(document: &mut OpenApi) {
    document.info = InfoBuilder::new()
        .title("turnlog")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .build();
    let mut used = Vec::new();
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        complete(operation);
        used.extend(operation.tags.iter().flatten().cloned());
    }
    document.tags = Some(tags::all().into_iter().filter(|tag| used.contains(&tag.name)).collect());
    let components = document.components.take().unwrap_or_default();
    document.components = Some(shared_components(components));
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

/// What every operation takes and answers.
fn complete(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for name in ["RequestId", "TraceParent"] {
        parameters.push(RefOr::Ref(Ref::new(format!("#/components/parameters/{name}"))));
    }
    let (status, response) = problems::internal();
    operation.responses.responses.insert(status, response);
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.insert("X-Request-Id".into(), RefOr::T(request_id()));
        }
    }
    // An operation without any credential says so; otherwise readers take the document's default.
    operation.security.get_or_insert_with(|| vec![SecurityRequirement::default()]);
}

fn shared_components(components: Components) -> Components {
    let request_id = "The caller's own id for the request, at most 128 visible ASCII characters; otherwise one is \
                      made. It is answered, logged, and stored with what the request writes.";
    let trace = "W3C trace context; carried on when it is well formed.";
    let all = ComponentsBuilder::from(components)
        .parameter("RequestId", header_parameter("X-Request-Id", request_id))
        .parameter("TraceParent", header_parameter("traceparent", trace));
    let all = problems::components(all);
    security().into_iter().fold(all, |all, (name, scheme)| all.security_scheme(name, scheme)).build()
}

fn header_parameter(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(text()))
        .build()
}

/// The credentials, by the names that operations call them.
fn security() -> [(&'static str, SecurityScheme); 8] {
    let bearer = |format: &str, description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format(format);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    let signature = |header: &str, description: &str| {
        SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(header, description)))
    };
    [
        ("participant", bearer("JWT", "A participant's token, from `POST /api/v1/auth/login`.")),
        ("admin", bearer("JWT", "An admin's token: sees calls of one company.")),
        ("researcher", bearer("JWT", "A researcher's token: reads everything.")),
        ("service", bearer("API key", "A program's key, one of `API_SECRET_KEY`.")),
        (
            "session",
            SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                crate::auth::COOKIE,
                "A browser's session, from `POST /api/session`: for what names it. A request with `Authorization` does not \
                 use it, and one from a page of another origin gets 403 unless `CORS_ORIGINS` names that.",
            ))),
        ),
        (
            "ticket",
            SecurityScheme::ApiKey(ApiKey::Query(ApiKeyValue::with_description(
                "ticket",
                "From `POST /api/stream-tickets`: opens one feed within 30 seconds. A ticket that was used, has expired \
                 or was forged gets 401, which says so; where it cannot be checked for now, 503.",
            ))),
        ),
        (
            "elevenlabs",
            signature(
                "ElevenLabs-Signature",
                "`t=<unix seconds>,v0=<hex>`: HMAC-SHA256 of `<t>.<raw body>` under one of \
                 `ELEVENLABS_WEBHOOK_SECRET`.",
            ),
        ),
        (
            "standardWebhooks",
            signature(
                "webhook-signature",
                "Standard Webhooks: `v1,<base64>` under `WEBHOOK_SECRET`, with `webhook-id` and \
                 `webhook-timestamp`.",
            ),
        ),
    ]
}

fn request_id() -> Header {
    header(text(), "The request's id: quote it when you report a problem.")
}

fn header(schema: Object, description: &str) -> Header {
    HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

fn number() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build()
}
