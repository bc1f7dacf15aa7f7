//! Parameters of queries: read once, and everything that is wrong named at once.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use shared::ids::no_nul;
use shared::problem::{FieldError, Kind, Problem};

/// The parameters that are there; others are ignored.
///
/// # Errors
/// 400 where one is there twice.
pub(crate) async fn read<P: DeserializeOwned, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
) -> Result<P, Problem> {
    let query: Result<Query<P>, QueryRejection> = Query::from_request_parts(parts, state).await;
    let Query(parameters) = query.map_err(|error| {
        let problem =
            Problem::new(Kind::InvalidFields, "The query cannot be read; send each parameter once.");
        Problem { cause: Some(error.to_string()), ..problem }
    })?;
    Ok(parameters)
}

/// The parameters that a handler takes, as they came.
pub(crate) struct Queried<P>(pub(crate) P);

impl<P: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Queried<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        read(parts, state).await.map(Self)
    }
}

/// Remembers what was wrong.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<FieldError>);

impl Wrong {
    /// Remembers that a parameter is wrong.
    pub(crate) fn reject(&mut self, field: &str, message: impl Into<String>) {
        self.0.push(FieldError { field: field.to_owned(), message: message.into() });
    }

    /// `after`, or 0 where it is absent or wrong.
    pub(crate) fn after(&mut self, text: Option<&str>) -> u64 {
        let given = text.map(str::parse);
        if let Some(Err(_)) = given {
            self.reject("after", "must be a sequence: a whole number, as in message_id or Turnlog-Sequence");
        }
        given.and_then(Result::ok).unwrap_or_default()
    }

    /// A text that something is looked up by, or `None` where it is absent or wrong.
    pub(crate) fn key(&mut self, field: &str, text: Option<String>) -> Option<String> {
        let text = text?;
        if text.is_empty() {
            self.reject(field, "must not be empty; leave it out to get all");
            return None;
        }
        no_nul(text).map_err(|error| self.reject(field, error.to_string())).ok()
    }

    /// A whole number within `range`, or `None` where it is absent or wrong.
    pub(crate) fn number(
        &mut self,
        field: &str,
        text: Option<&str>,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let number = text?.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let message = match (*range.start(), *range.end()) {
                (least, u64::MAX) => format!("must be a whole number of at least {least}"),
                (least, most) => format!("must be a whole number from {least} to {most}"),
            };
            self.reject(field, message);
        }
        number
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// The problem that names everything that was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.0.is_empty() { Ok(value) } else { Err(Problem::fields(self.0)) }
    }
}
