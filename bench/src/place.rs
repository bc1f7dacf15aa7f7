//! Where things are: the project, the programs, and a directory for the data of this run.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::error::{Doing, Error, Result};
use crate::machine::Machine;
use crate::process::{find, run};

/// What a measurement finds around itself.
pub struct Place {
    /// The project's root.
    pub root: PathBuf,
    /// Where fetched tools are kept.
    pub tools: PathBuf,
    /// The program under test.
    pub turnlog: PathBuf,
    /// The log's server.
    pub nats_server: PathBuf,
    /// The directory of Postgres' programs.
    pub postgres_bin: PathBuf,
    /// `LOG_LEVEL` of the program under test.
    pub log_level: String,
    /// More of its settings.
    pub settings: Vec<(String, String)>,
    data: TempDir,
}

impl Place {
    /// Looks for everything, from the working directory upwards.
    ///
    /// # Errors
    /// When something is missing, with what to do about it.
    pub fn find(turnlog: Option<PathBuf>, data: Option<PathBuf>, log_level: String) -> Result<Self> {
        let root = root()?;
        let beside = std::env::current_exe().doing("find this program")?.with_file_name("turnlog");
        let built = root.join("target/release/turnlog");
        let turnlog = turnlog.or_else(|| find("turnlog", &[beside, built]));
        let tools = std::env::var_os("TURNLOG_TOOLS").map_or_else(|| root.join(".tools"), PathBuf::from);
        let nats_server = find("nats-server", &[tools.join("bin/nats-server")]);
        let postgres = find("postgres", &installed_postgres());
        let data = data.unwrap_or_else(std::env::temp_dir);
        Ok(Self {
            turnlog: turnlog.ok_or_else(|| missing("turnlog", "run `make build`"))?,
            nats_server: nats_server.ok_or_else(|| missing("nats-server", "run `make setup`"))?,
            postgres_bin: postgres
                .and_then(|program| Some(program.parent()?.to_owned()))
                .ok_or_else(|| missing("postgres", "install your distribution's package `postgresql`"))?,
            root,
            tools,
            log_level,
            settings: Vec::new(),
            data: readable_by_all(&data)?,
        })
    }

    /// A fresh directory for one server or one run; gone when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh_dir(&self) -> Result<TempDir> {
        readable_by_all(self.data.path())
    }

    /// Describes the machine, its disk and the servers' versions.
    ///
    /// # Errors
    /// When a server does not say its version, or the disk cannot be written.
    pub fn machine(&self) -> Result<Machine> {
        let version = |program: &Path| {
            let mut command = Command::new(program);
            command.arg("--version");
            run("a server's --version", command)
        };
        let nats = version(&self.nats_server)?;
        let postgres = version(&self.postgres_bin.join("postgres"))?;
        Machine::describe(self.data.path(), format!("{nats}; {postgres}"))
    }
}

/// The nearest directory upwards that is the project's root.
fn root() -> Result<PathBuf> {
    let here = std::env::current_dir().doing("read the working directory")?;
    let found =
        here.ancestors().find(|dir| dir.join("nats.conf").is_file() && dir.join("bench/peers").is_dir());
    found.map(Path::to_owned).ok_or_else(|| missing("the project's root", "run this from within it"))
}

/// Postgres where Debian keeps it, the newest first.
fn installed_postgres() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()));
    versions.iter().rev().map(|version| version.join("bin/postgres")).collect()
}

/// A directory that also Postgres' own user can enter: it refuses to run as root.
fn readable_by_all(within: &Path) -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("turnlog-bench-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(within)
        .doing("make a directory for the data; name another with --data")
}

fn missing(what: &str, remedy: &str) -> Error {
    Error::Missing(format!("{what} was not found: {remedy}"))
}
