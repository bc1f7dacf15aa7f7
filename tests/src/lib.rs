#![doc = include_str!("../README.md")]
// A harness may fail loudly: a test that cannot start its parts has failed.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, reason = "a harness for tests")]

mod binary;
mod browser;
mod client;
mod guarded;
mod nats;
mod nginx;
mod postgres;
mod program;
mod python;
mod raw;
mod sse;
mod system;
mod talk;
mod up;
pub mod vendor;
mod websocket;

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use binary::{Binary, command};
pub use browser::Browser;
pub use client::{Client, Reply, encode};
pub use nats::{Nats, account};
pub use nginx::Nginx;
pub use postgres::{Postgres, database, schema_of};
pub use program::{Program, client_file, faketime, node};
pub use python::{python, run_python};
pub use raw::Raw;
pub use sse::{Feed, Frame};
pub use system::{API_KEY, JWT_SECRET, Parts, STANDARD_SECRET, System, WEBHOOK_SECRET, per_minute};
pub use talk::{Page, Talk};
pub use up::{Up, operate};
pub use websocket::Socket;

/// How long a condition may take to come true: generous, because it is only waited out by a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `check` answers something; fails naming `what` after [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "did not come true within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of `tests/fixtures/`, byte for byte.
pub fn fixture(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/fixtures").join(name)).unwrap()
}

/// Where the set-up puts what it fetches.
pub(crate) fn tools() -> PathBuf {
    std::env::var_os("TURNLOG_TOOLS").map_or_else(|| root().join(".tools"), PathBuf::from)
}

/// A program of the set-up: from `.tools/bin`, from PATH, or where Debian keeps Postgres.
pub(crate) fn tool(name: &str) -> PathBuf {
    find_tool(name).unwrap_or_else(|| panic!("{name} is not installed: run `make setup`"))
}

/// The same, where there may be none.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = vec![tools().join("bin")];
    places.extend(std::env::split_paths(&path));
    for version in (15..=20).rev() {
        places.push(format!("/usr/lib/postgresql/{version}/bin").into());
    }
    places.into_iter().map(|place| place.join(name)).find(|file| file.is_file())
}

/// A port that was free a moment ago, below the range that the system gives to outgoing connections: one of those
/// must not sit on the port of a server that is killed and started again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id();
    let ports = std::iter::repeat_with(|| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000);
    let mut ports = ports.take(12_000).filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
