//! A nats-server: one for all tests with an account for each, or one of a test's own that it may kill.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::sys::signal::Signal;
use shared::config::{NatsSettings, Secret};
use shared::sealing::MasterKeys;
use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::{eventually, free_port, root, tool};

/// Accounts on the shared server; a test takes one and nobody else gets it.
const ACCOUNTS: usize = 400;

/// What seals the data keys of every test.
pub(crate) const SEALING_KEYS: &str = "test=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A server of a test's own.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    directory: PathBuf,
    server: Option<Guarded>,
}

impl Nats {
    /// Starts one with the shipped configuration.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// With more in its configuration.
    pub async fn start_with(extra: &str) -> Self {
        let directory = TempDir::with_prefix("turnlog-nats-").unwrap().keep();
        let port = free_port();
        let shipped = std::fs::read_to_string(root().join("nats.conf")).unwrap();
        std::fs::write(directory.join("nats.conf"), format!("{shipped}\n{extra}")).unwrap();
        let mut nats = Self { port, directory, server: None };
        nats.restart().await;
        nats
    }

    /// Starts it again on the same port with the same data, after a kill.
    pub async fn restart(&mut self) {
        self.server = None;
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let command = [
            text(tool("nats-server")),
            "-c".into(),
            text(self.directory.join("nats.conf")),
            "-a".into(),
            "127.0.0.1".into(),
            "-p".into(),
            self.port.to_string(),
            "-sd".into(),
            text(self.directory.join("store")),
        ];
        let envs = [("NATS_STORE_DIR".to_owned(), text(self.directory.join("store")))];
        self.server = Some(Guarded::start(&self.directory.join("log"), None, &command, &envs));
        eventually("nats-server listens", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGKILL);
    }

    /// Stops it from answering without closing anything; `thaw` lets it go on.
    pub fn freeze(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGCONT);
    }

    /// Whether these bytes stand anywhere in its files.
    pub fn stored(&self, bytes: &[u8]) -> bool {
        let mut places = vec![self.directory.join("store")];
        while let Some(place) = places.pop() {
            // A file may go away meanwhile.
            if place.is_dir() {
                let entries = std::fs::read_dir(&place).into_iter().flatten().flatten();
                places.extend(entries.map(|entry| entry.path()));
            } else if std::fs::read(&place)
                .is_ok_and(|file| file.windows(bytes.len()).any(|part| part == bytes))
            {
                return true;
            }
        }
        false
    }

    /// How to connect.
    pub fn settings(&self) -> NatsSettings {
        settings(format!("nats://127.0.0.1:{}", self.port), None)
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.server = None;
        let _left = std::fs::remove_dir_all(&self.directory);
    }
}

fn settings(url: String, user: Option<String>) -> NatsSettings {
    NatsSettings {
        urls: vec![Secret::new(url)],
        credentials: None,
        password: user.as_ref().map(|_| Secret::new("test")),
        user,
        replicas: 1,
        dedupe_window: Duration::from_secs(120),
        sealing: Some(Arc::new(MasterKeys::parse(SEALING_KEYS).unwrap())),
    }
}

/// An account of its own on the server that all tests share.
pub async fn account() -> NatsSettings {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(number < ACCOUNTS, "more tests than accounts: raise ACCOUNTS");
    settings(shared_server().await, Some(format!("a{number}")))
}

async fn shared_server() -> String {
    // Started on a thread of its own: a test's runtime ends with the test, the server stays.
    static SERVER: OnceLock<(String, Guarded)> = OnceLock::new();
    let start = || {
        let mut accounts = String::from("accounts {\n");
        for number in 0..ACCOUNTS {
            writeln!(
                accounts,
                "  A{number} {{ jetstream: enabled, users: [ {{user: a{number}, password: test}} ] }}"
            )
            .unwrap();
        }
        accounts.push('}');
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut nats = runtime.block_on(Nats::start_with(&accounts));
        (nats.url(), nats.server.take().unwrap())
    };
    let started = tokio::task::spawn_blocking(move || {
        SERVER.get_or_init(|| std::thread::spawn(start).join().unwrap()).0.clone()
    });
    started.await.unwrap()
}
