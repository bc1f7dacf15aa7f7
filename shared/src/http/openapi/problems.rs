//! The problems that kinds of endpoints can answer: one response for each status, listing every type behind it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, Object};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use super::{header, number, request_id, text};
use crate::problem::{FieldError, KINDS, Kind, Problem, ProblemDocument};

macro_rules! problems {
    ($(#[$doc:meta])* $name:ident: $($kind:ident)+) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(Kind::$kind),+].into_iter().map(by_status).collect()
            }
        }
    };
}

problems! {
    /// Of reading one thing that the path names.
    ReadProblems: BadRequest Unauthenticated Forbidden NotFound RateLimited Unavailable
}

problems! {
    /// Of reading one thing that may be too large for the form that is asked for.
    DocumentProblems: BadRequest Unauthenticated Forbidden NotFound TooLarge RateLimited Unavailable
}

problems! {
    /// Of reading bytes, whole or in part.
    BytesProblems: BadRequest Unauthenticated Forbidden NotFound RangeNotSatisfiable RateLimited Unavailable
}

problems! {
    /// Of reading a list.
    ListProblems: BadRequest Unauthenticated Forbidden RateLimited Unavailable
}

problems! {
    /// Of storing a body.
    WriteProblems: BadRequest Unauthenticated Forbidden Timeout TooLarge UnsupportedMediaType RateLimited Unavailable
}

problems! {
    /// Of storing a body about a conversation.
    CallWriteProblems: BadRequest Unauthenticated Forbidden NotFound Timeout Conflict TooLarge UnsupportedMediaType
        RateLimited Unavailable
}

problems! {
    /// Of storing something about a conversation without a body.
    CallCommandProblems: BadRequest Unauthenticated Forbidden NotFound Conflict RateLimited Unavailable
}

problems! {
    /// Of a body that is its own credential: a login, a signed webhook.
    OpenWriteProblems: BadRequest Unauthenticated Timeout TooLarge UnsupportedMediaType RateLimited Unavailable
}

problems! {
    /// Of storing something without a body.
    CommandProblems: Unauthenticated Forbidden RateLimited Unavailable
}

problems! {
    /// Of asking for something that takes a while.
    JobProblems: BadRequest Unauthenticated Forbidden Timeout Conflict TooLarge UnsupportedMediaType RateLimited
        Unavailable
}

problems! {
    /// Of reading bytes, whole or in part, that may not be there yet.
    JobBytesProblems: BadRequest Unauthenticated Forbidden NotFound Conflict RangeNotSatisfiable RateLimited Unavailable
}

problems! {
    /// Of opening a session of the vendor's.
    SessionProblems: BadRequest Unauthenticated Forbidden NotFound Timeout Conflict TooLarge UnsupportedMediaType
        RateLimited BadGateway Unavailable
}

problems! {
    /// Of storing a body about a thing that the path or the body names.
    NamedWriteProblems: BadRequest Unauthenticated Forbidden NotFound Timeout TooLarge UnsupportedMediaType RateLimited
        Unavailable
}

/// What any endpoint can answer.
pub(super) fn internal() -> (String, RefOr<Response>) {
    by_status(Kind::Internal)
}

fn by_status(kind: Kind) -> (String, RefOr<Response>) {
    let status = kind.parts().0;
    (status.as_str().to_owned(), RefOr::Ref(Ref::from_response_name(name(status))))
}

/// `Payload Too Large` is `PayloadTooLarge`.
fn name(status: StatusCode) -> String {
    status.canonical_reason().unwrap_or_default().replace(' ', "")
}

/// The schema of problems, and a response for each status they have.
pub(super) fn components(all: ComponentsBuilder) -> ComponentsBuilder {
    let all = all
        .schema(ProblemDocument::name(), ProblemDocument::schema())
        .schema(FieldError::name(), FieldError::schema());
    KINDS.iter().fold(all, |all, kind| {
        let status = kind.parts().0;
        all.response(name(status), response(status))
    })
}

fn response(status: StatusCode) -> Response {
    let kinds: Vec<_> = KINDS.into_iter().filter(|kind| kind.parts().0 == status).collect();
    let titles: Vec<_> = kinds.iter().map(|kind| kind.parts().2).collect();
    let examples = kinds.iter().map(|kind| {
        let (_, slug, title) = kind.parts();
        let document =
            Problem::new(*kind, format!("{title}.")).document("0198c0de-0000-7000-8000-000000000000");
        (slug, ExampleBuilder::new().summary(title).value(Some(json!(document))).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(ProblemDocument::name())))
        .examples_from_iter(examples)
        .build();
    headers(status)
        .into_iter()
        .fold(ResponseBuilder::new(), |response, (name, schema, description)| {
            response.header(name, header(schema, description))
        })
        .header("X-Request-Id", request_id())
        .description(titles.join(". ") + ".")
        .content("application/problem+json", content)
        .build()
}

fn headers(status: StatusCode) -> Vec<(&'static str, Object, &'static str)> {
    let retry = ("Retry-After", number(), "Seconds to wait before the next try.");
    if status == Kind::Unauthenticated.parts().0 {
        vec![("WWW-Authenticate", text(), "`Bearer`.")]
    } else if status == Kind::MethodNotAllowed.parts().0 {
        vec![("Allow", text(), "The methods that this path takes.")]
    } else if status == Kind::RangeNotSatisfiable.parts().0 {
        vec![("Content-Range", text(), "`bytes */N`: there are N bytes.")]
    } else if status == Kind::Unavailable.parts().0 {
        vec![retry]
    } else if status == Kind::RateLimited.parts().0 {
        vec![
            retry,
            ("RateLimit-Limit", number(), "Requests a minute."),
            ("RateLimit-Remaining", number(), "Requests left."),
            ("RateLimit-Reset", number(), "Seconds until there are more."),
        ]
    } else {
        Vec::new()
    }
}
