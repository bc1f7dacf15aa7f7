#![doc = include_str!("../README.md")]

mod arguments;
mod cell;
mod deid;
mod describe;
mod error;
mod fold;
mod gather;
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

pub use arguments::{AsOf, Deidentify, Format, Part, Selection, Wanted};
pub use deid::ExportKey;
pub use error::ExportError;
pub use progress::{Progress, Step};
pub use run::{Exported, export};
pub use verify::{Verified, verify};
