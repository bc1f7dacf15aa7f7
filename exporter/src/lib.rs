#![doc = include_str!("../README.md")]

mod arguments;
mod asked;
mod cell;
mod deid;
mod describe;
mod error;
mod fold;
mod gather;
mod jobs;
mod limits;
mod manifest;
mod mapping;
mod merge;
mod named;
mod progress;
mod run;
mod safe;
mod sorter;
mod staging;
mod tables;
mod verify;
mod write;

pub use arguments::{AsOf, Deidentify, Format, Part, SafeHarbor, Selection, Wanted, licence};
pub use deid::ExportKey;
pub use error::ExportError;
pub use jobs::{JobsSettings, start};
pub use progress::{Progress, Step};
pub use run::{Exported, export};
pub use staging::MANIFEST;
pub use verify::{Keys, Verified, verify};
