#![doc = include_str!("../README.md")]

mod cli;
mod commands;
mod console;
mod descriptors;
mod environment;
mod failure;
mod files;
mod instance;
mod operator;
mod progress;
mod signals;
mod target;
mod up;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::{Failure, OrFail};

/// Requests are many small allocations that move between threads: with the system's allocator a quarter of the
/// write edge's time went into it (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("turnlog: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    environment::load_dotenv()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail("start")?;
    runtime.block_on(cli.run())
}
