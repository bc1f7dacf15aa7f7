//! Why an export did not come about: sentences that its caller can act on.

use std::io;
use std::path::PathBuf;

use shared::log::LogError;

/// Why there is no data set, or why one is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Log(#[from] LogError),
    /// A report's payload cannot be fetched.
    #[error("{0}; run the export again once it does")]
    Objects(#[from] shared::objects::ObjectError),
    /// A file or folder cannot be written or read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A temporary file cannot be written or read.
    #[error("a temporary file cannot be used: {0}; is the disk full?")]
    Spill(#[from] io::Error),
    /// What is asked for cannot be answered.
    #[error("{0}")]
    Arguments(String),
    /// One of the arguments cannot be answered.
    #[error("--{} {why}", name.replace('_', "-"))]
    Argument {
        /// Which one, as manifests call it.
        name: &'static str,
        /// What of it.
        why: String,
    },
    /// A row cannot be written.
    #[error("a row cannot be encoded: {0}")]
    Encode(String),
    /// A stop was asked for.
    #[error("stopped; nothing is left in the folder")]
    Stopped,
    /// A data set differs from what the log gives.
    #[error("{0}")]
    Differs(String),
}

impl ExportError {
    pub(crate) fn file<P: Into<PathBuf>>(path: P) -> impl FnOnce(io::Error) -> Self + use<P> {
        let path = path.into();
        |cause| Self::File { path, cause }
    }

    pub(crate) fn encode(error: impl std::fmt::Display) -> Self {
        Self::Encode(error.to_string())
    }

    pub(crate) fn arguments(sentence: impl Into<String>) -> Self {
        Self::Arguments(sentence.into())
    }
}

pub(crate) type Result<T> = std::result::Result<T, ExportError>;
