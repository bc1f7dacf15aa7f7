//! A Postgres cluster of the bench's own, with its defaults: fsync on, synchronous commit on.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::process::{Program, accepts, free_address, run};

/// A running cluster.
pub struct Postgres {
    program: Program,
    address: SocketAddr,
    databases: u32,
    _dir: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(place: &Place) -> Result<Self> {
        let dir = place.fresh_dir()?;
        let data = dir.path().join("data");
        fs::create_dir(&data).doing("make Postgres' directory")?;
        let user = service_user()?;
        if let Some((uid, gid)) = user {
            chown(&data, Some(uid), Some(gid)).doing("hand Postgres its directory")?;
        }
        let program = |name: &str| {
            let mut command = Command::new(place.postgres_bin.join(name));
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            // The working directory may be one that Postgres' user cannot enter.
            command.current_dir(dir.path()).arg("-D").arg(&data);
            command
        };
        let mut initdb = program("initdb");
        initdb.args(["-U", "turnlog", "-A", "trust", "-E", "UTF8", "--locale", "C"]);
        run("initdb", initdb)?;
        let address = free_address()?;
        let mut command = program("postgres");
        command.args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories="]);
        let program = Program::start("postgres", command, dir.path(), "INT")?;
        let mut postgres = Self { program, address, databases: 0, _dir: dir };
        let url = postgres.url("postgres");
        postgres
            .program
            .wait_until(async || accepts(address).await && PgConnection::connect(&url).await.is_ok())
            .await?;
        Ok(postgres)
    }

    /// Drops the database made before and makes an empty one; gives its URL.
    ///
    /// # Errors
    /// When Postgres refuses.
    pub async fn fresh_database(&mut self) -> Result<String> {
        let mut owner = PgConnection::connect(&self.url("postgres")).await?;
        let before = format!("DROP DATABASE IF EXISTS bench_{} WITH (FORCE)", self.databases);
        sqlx::raw_sql(sqlx::AssertSqlSafe(before)).execute(&mut owner).await?;
        self.databases += 1;
        let name = format!("bench_{}", self.databases);
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut owner).await?;
        // What the run before left to be written must not be written during the next one.
        sqlx::raw_sql("CHECKPOINT").execute(&mut owner).await?;
        owner.close().await?;
        Ok(self.url(&name))
    }

    /// Its process.
    pub fn process(&self) -> (&'static str, u32) {
        ("postgres", self.program.id())
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://turnlog@{}/{database}", self.address)
    }
}

/// User and group to run Postgres as when this runs as root.
fn service_user() -> Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self").doing("read the own user")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string(Path::new("/etc/passwd")).doing("read the users")?;
    let ids = users.lines().find(|line| line.starts_with("postgres:")).and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let absent =
        || Error::Missing("Postgres does not run as root and there is no user `postgres`: add one".into());
    ids.ok_or_else(absent).map(Some)
}
