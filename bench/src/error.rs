//! What can go wrong while measuring: one sentence that says what, and what to do.

use std::io;

/// Why a measurement could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The refusal.
        source: io::Error,
    },
    /// Something that has to be there is not.
    #[error("{0}")]
    Missing(String),
    /// A program ended, or did not get ready in time.
    #[error("{name} {what}; the end of its output:\n{output}")]
    Program {
        /// Which program.
        name: String,
        /// What it did.
        what: String,
        /// The last lines it wrote.
        output: String,
    },
    /// A system under test answered something else than it should.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// Postgres refused something.
    #[error("Postgres: {0}")]
    Sql(#[from] sqlx::Error),
    /// NATS refused something.
    #[error("NATS: {0}")]
    Nats(String),
    /// Results could not be read or written as JSON.
    #[error("results are not readable JSON ({0}); delete bench/results/*.json and run again")]
    Json(#[from] serde_json::Error),
    /// The person at the keyboard stopped it.
    #[error("stopped; sections that were complete are written, nothing else")]
    Interrupted,
}

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when the operating system refused.
pub trait Doing<T> {
    /// Names the action.
    ///
    /// # Errors
    /// The one it names.
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io { doing: what.into(), source })
    }
}
