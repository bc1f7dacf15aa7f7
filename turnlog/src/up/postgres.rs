//! The private Postgres: the read tables' home.

use std::fs;
use std::io;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::account::Quarters;
use super::data_dir::DataDir;
use super::probe::Probe;
use super::process::stop_stray;
use super::program::Program;
use super::secrets::Secrets;
use super::tools::{self, PostgresTools};
use crate::failure::{Failure, OrFail};
use crate::files;

/// Fast shutdown: open sessions are ended, everything is written.
const STOP: Signal = Signal::SIGINT;
const ADMINISTRATOR: &str = "postgres";
/// Owner of the database; no administrator, so that nothing that gets at its sessions gets at the machine.
const OWNER: &str = "turnlog";
/// Loopback alone, no sockets in the file system, and sizes for one machine that runs other things too. The tables can
/// be rebuilt from the log, so nothing is kept for replicas.
const SETTINGS: [&str; 10] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "wal_level=minimal",
    "max_wal_senders=0",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    // What was written and is not needed any more goes, and does not wait under another name: who is erased is gone.
    "wal_recycle=off",
    "checkpoint_timeout=10min",
    "jit=off",
    "log_min_messages=warning",
];

/// A private Postgres, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Postgres {
    tools: PostgresTools,
    quarters: Quarters,
    /// Names this cluster in its processes' titles.
    title: String,
    log: PathBuf,
    pid_file: PathBuf,
    owner_password: String,
    administrator_password: String,
}

impl Postgres {
    /// Finds the programs, makes the cluster where there is none, stops one that was left behind.
    pub(crate) async fn prepare(dir: &DataDir, secrets: &Secrets) -> Result<Self, Failure> {
        let quarters = Quarters::in_folder(dir.folder("postgres")?)?;
        let postgres = Self {
            tools: tools::postgres(made_by(&quarters))?,
            quarters,
            title: title(dir),
            log: dir.path().join("postgres.log"),
            pid_file: dir.path().join("postgres.pid"),
            owner_password: secrets.database_password.clone(),
            administrator_password: secrets.postgres_password.clone(),
        };
        stop_stray(&postgres.pid_file, &postgres.title, STOP).await?;
        if made_by(&postgres.quarters).is_none() {
            postgres.make_cluster().await?;
        }
        Ok(postgres)
    }

    /// How to run it on this port.
    pub(crate) fn on_port(&self, port: u16) -> Result<Program, Failure> {
        let postgres = self.clone();
        let command = move || {
            let mut command = postgres.quarters.command(&postgres.tools.bin.join("postgres"))?;
            command.arg("-D").arg(postgres.quarters.inner_path("cluster"));
            command.args(["-c", &format!("port={port}"), "-c", &format!("cluster_name={}", postgres.title)]);
            command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
            Ok(command)
        };
        Ok(Program {
            name: "postgres",
            port,
            command: Box::new(command),
            log: self.log.clone(),
            pid_file: self.pid_file.clone(),
            stop_signal: STOP,
            probe: Probe::Postgres(Box::new(self.administrator(port))),
        })
    }

    /// Makes the owner and the database on a running server, where they are not there.
    pub(crate) async fn make_database(&self, port: u16) -> Result<(), Failure> {
        let what = "make the database";
        let mut connection = self.administrator(port).connect().await.or_fail(what)?;
        let exists = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        let made: bool =
            sqlx::query_scalar(exists).bind(OWNER).fetch_one(&mut connection).await.or_fail(what)?;
        if !made {
            // A password of our own making: letters and digits, so it needs no quoting.
            let role = format!(
                "DROP ROLE IF EXISTS {OWNER}; CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{}'",
                self.owner_password
            );
            sqlx::raw_sql(AssertSqlSafe(role)).execute(&mut connection).await.or_fail(what)?;
            let database = format!("CREATE DATABASE {OWNER} OWNER {OWNER}");
            sqlx::raw_sql(AssertSqlSafe(database)).execute(&mut connection).await.or_fail(what)?;
        }
        PgConnection::close(connection).await.or_fail(what)?;
        self.let_owner_scrub(port).await.or_fail(what)
    }

    /// What an erasure needs so that nothing stays in the write-ahead log.
    async fn let_owner_scrub(&self, port: u16) -> Result<(), sqlx::Error> {
        let mut connection = self.administrator(port).database(OWNER).connect().await?;
        let grants = format!(
            "GRANT pg_checkpoint TO {OWNER}; GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO {OWNER}"
        );
        sqlx::raw_sql(AssertSqlSafe(grants)).execute(&mut connection).await?;
        connection.close().await
    }

    /// Its address with the owner's rights.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("postgres://{OWNER}:{}@127.0.0.1:{port}/{OWNER}", self.owner_password)
    }

    fn administrator(&self, port: u16) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(port)
            .username(ADMINISTRATOR)
            .password(&self.administrator_password)
            .database("postgres")
            .disable_statement_logging()
    }

    /// Made beside its place and moved there when it is whole, so that a stop in between leaves nothing half made.
    async fn make_cluster(&self) -> Result<(), Failure> {
        tracing::info!("making the Postgres cluster");
        let (draft, password) = (self.quarters.path("cluster.new"), self.quarters.path("password"));
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).or_fail(format!("remove {}", draft.display()));
            }
            _ => {}
        }
        files::write_private(&password, &self.administrator_password)?;
        self.quarters.own(&password)?;
        let made = self.initdb().await;
        files::remove(&password)?;
        made?;
        fs::rename(&draft, self.quarters.path("cluster")).or_fail("put the Postgres cluster in its place")
    }

    async fn initdb(&self) -> Result<(), Failure> {
        let mut command = self.quarters.command(&self.tools.bin.join("initdb"))?;
        command.arg("-D").arg(self.quarters.inner_path("cluster.new"));
        command.arg("--pwfile").arg(self.quarters.inner_path("password"));
        command.args([
            "--username",
            ADMINISTRATOR,
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]);
        command.args(["--data-checksums", "--no-instructions"]);
        let output =
            tokio::process::Command::from(command).kill_on_drop(true).output().await.or_fail("run initdb")?;
        if output.status.success() {
            return Ok(());
        }
        Err(Failure::new(String::from_utf8_lossy(&output.stderr).trim())).or_fail("make the Postgres cluster")
    }
}

/// The major version that made the cluster; `None` where there is no cluster.
fn made_by(quarters: &Quarters) -> Option<u32> {
    fs::read_to_string(quarters.path("cluster/PG_VERSION")).ok()?.trim().parse().ok()
}

/// One for each data directory, within the 63 bytes that Postgres keeps of it.
fn title(dir: &DataDir) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    dir.path().hash(&mut hasher);
    format!("turnlog-{:016x}", hasher.finish())
}
