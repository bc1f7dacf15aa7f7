//! How a command fails: one line that says what went wrong and what to do.

use std::fmt::Display;

/// The line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(String);

impl Failure {
    /// From a sentence of our own.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

/// Turns errors of libraries into failures.
pub(crate) trait OrFail<T> {
    /// `cannot WHAT: the error`.
    fn or_fail(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure(one_line(&format!("cannot {what}: {error}"))))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
