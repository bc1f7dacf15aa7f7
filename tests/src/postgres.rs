//! A Postgres: one for all tests with a database for each, cloned from a migrated template, or one of a test's own.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use shared::config::{DatabaseSettings, Secret};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::{eventually, free_port, tool};

/// A server of a test's own.
#[derive(Debug)]
pub struct Postgres {
    port: u16,
    directory: PathBuf,
    server: Option<Guarded>,
}

impl Postgres {
    /// Starts one with a migrated database `turnlog`.
    pub async fn start() -> Self {
        let directory = TempDir::with_prefix("turnlog-postgres-").unwrap().keep();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let data = directory.join("data");
        std::fs::create_dir(&data).unwrap();
        if let Some((user, group)) = other_user() {
            chown(&data, Some(user), Some(group)).unwrap();
        }
        let arguments = ["-U", "turnlog", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        let made = as_other_user(&tool("initdb")).arg("-D").arg(&data).args(arguments).output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = Self { port: free_port(), directory, server: None };
        postgres.restart().await;
        let mut admin = connect(&postgres.url("postgres")).await;
        admin.execute("CREATE DATABASE turnlog").await.unwrap();
        let database = DatabaseSettings { url: Secret::new(postgres.database_url()) };
        projector::migrate::run(&database).await.unwrap();
        postgres
    }

    /// Starts it again on the same port with the same data, after a kill.
    pub async fn restart(&mut self) {
        self.server = None;
        let data = self.directory.join("data");
        // Orphans of a killed postmaster hold its shared memory until they notice.
        let settings = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=400",
        ];
        let mut command: Vec<String> = prefix();
        command.push(tool("postgres").to_str().unwrap().to_owned());
        command.extend([
            "-D".to_owned(),
            data.to_str().unwrap().to_owned(),
            "-p".to_owned(),
            self.port.to_string(),
        ]);
        command.extend(settings.map(str::to_owned));
        eventually("Postgres answers", || {
            if self.server.as_ref().is_none_or(|server| !server.is_alive()) {
                self.server = Some(Guarded::start(&self.directory.join("log"), None, &command, &[]));
            }
            let url = self.url("postgres");
            async move { PgConnection::connect(&url).await.ok() }
        })
        .await;
    }

    /// `kill -9` of the postmaster.
    pub fn kill(&self) {
        self.server.as_ref().unwrap().signal(Signal::SIGKILL);
    }

    /// Its address, of the migrated database.
    pub fn database_url(&self) -> String {
        self.url("turnlog")
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://turnlog@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
        self.server = None;
        let _left = std::fs::remove_dir_all(&self.directory);
    }
}

/// A fresh, migrated database on the server that all tests share.
pub async fn database() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let url = tokio::task::spawn_blocking(shared_server).await.unwrap();
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut admin = connect(&sibling(&url, "postgres")).await;
    let create = format!("CREATE DATABASE {name} TEMPLATE turnlog");
    admin.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    sibling(&url, &name)
}

/// How the schemas of a database look, as Postgres' own tool says it.
pub fn schema_of(url: &str) -> String {
    let output = Command::new(tool("pg_dump")).args(["--schema-only", "--dbname", url]).output().unwrap();
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    // A word against meddling, other in each dump.
    let restricts = |line: &&str| !line.starts_with('\\');
    String::from_utf8(output.stdout).unwrap().lines().filter(restricts).collect::<Vec<_>>().join("\n")
}

/// The address of another database on the same server.
fn sibling(url: &str, database: &str) -> String {
    format!("{}/{database}", url.rsplit_once('/').unwrap().0)
}

fn shared_server() -> String {
    static SERVER: OnceLock<(String, Guarded)> = OnceLock::new();
    let start = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut postgres = runtime.block_on(Postgres::start());
        let server = postgres.server.take().unwrap();
        let url = postgres.database_url();
        std::mem::forget(postgres);
        (url, server)
    };
    SERVER.get_or_init(|| std::thread::spawn(start).join().unwrap()).0.clone()
}

async fn connect(url: &str) -> PgConnection {
    eventually("a connection to Postgres", || async { PgConnection::connect(url).await.ok() }).await
}

/// Postgres refuses to run as root: user and group of `postgres`, or else of `nobody`.
fn other_user() -> Option<(u32, u32)> {
    if id("-u", "") != Some(0) {
        return None;
    }
    ["postgres", "nobody"].iter().find_map(|name| Some((id("-u", name)?, id("-g", name)?)))
}

fn id(flag: &str, user: &str) -> Option<u32> {
    let arguments = [flag, user].into_iter().filter(|argument| !argument.is_empty());
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn prefix() -> Vec<String> {
    other_user().map_or_else(Vec::new, |(user, group)| {
        vec!["setpriv".into(), format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]
    })
}

fn as_other_user(program: &Path) -> Command {
    let mut words = prefix();
    words.push(program.to_str().unwrap().to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/");
    command
}
