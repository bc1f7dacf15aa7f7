#![doc = include_str!("../README.md")]

pub mod client;
pub mod cpu;
pub mod error;
pub mod fill;
pub mod machine;
pub mod memory;
pub mod options;
pub mod place;
pub mod process;
pub mod report;
pub mod scenario;
pub mod systems;
