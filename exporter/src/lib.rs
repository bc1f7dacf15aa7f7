#![doc = include_str!("../README.md")]

mod arguments;
mod cell;
mod describe;
mod error;
mod fold;
mod gather;
mod jobs;
mod limits;
mod manifest;
mod merge;
mod named;
mod progress;
mod run;
mod sorter;
mod staging;
mod tables;
mod verify;
mod write;

pub use arguments::{AsOf, Format, Part, Selection, Wanted, licence};
pub use error::ExportError;
pub use jobs::{JobsSettings, start};
pub use progress::{Progress, Step};
pub use run::{Exported, export};
pub use verify::{Verified, verify};
