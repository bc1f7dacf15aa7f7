//! Finds the servers that `up` runs: on PATH, in the tools folder that `make setup` fills, where distributions put them.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// Oldest nats-server that keeps the log's promises.
const OLDEST_NATS: [u32; 3] = [2, 14, 6];
/// Oldest Postgres that the read tables are written for.
const OLDEST_POSTGRES: u32 = 15;
/// Folders that hold one folder of programs for each version of Postgres.
const POSTGRES_HOMES: [&str; 3] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt"];

/// The programs of one version of Postgres.
#[derive(Debug, Clone)]
pub(crate) struct PostgresTools {
    /// The folder they are in.
    pub(crate) bin: PathBuf,
    /// The major version.
    pub(crate) major: u32,
}

/// The nats-server to run.
pub(crate) fn nats_server() -> Result<PathBuf, Failure> {
    let mut too_old = String::new();
    for dir in path_folders().chain(tools_folders().map(|dir| dir.join("bin"))) {
        let program = dir.join("nats-server");
        match version(&program) {
            Some(found) if found >= OLDEST_NATS => return Ok(program),
            Some([major, minor, patch]) => {
                too_old = format!(" ({} is {major}.{minor}.{patch})", program.display());
            }
            None => {}
        }
    }
    Err(Failure::new(format!(
        "nats-server 2.14.6 or newer is missing{too_old}: run make setup in turnlog's sources, or put one on PATH"
    )))
}

/// The Postgres to run: of the major version `made_by` where there is a cluster already, else the first of PATH, else
/// the newest.
pub(crate) fn postgres(made_by: Option<u32>) -> Result<PostgresTools, Failure> {
    let mut found: Vec<_> = postgres_folders().into_iter().filter_map(|bin| postgres_at(&bin)).collect();
    if let Some(major) = made_by {
        found.retain(|tools| tools.major == major);
        return found.into_iter().next().ok_or_else(|| {
            Failure::new(format!(
                "the data directory was made by Postgres {major}, which is missing: install it again"
            ))
        });
    }
    found.into_iter().find(|tools| tools.major >= OLDEST_POSTGRES).ok_or_else(|| {
        Failure::new(
            "Postgres 15 or newer is missing: run make setup in turnlog's sources, or install postgresql",
        )
    })
}

fn postgres_at(bin: &Path) -> Option<PostgresTools> {
    // A link on PATH may stand alone; its neighbours are where it points.
    let bin = fs::canonicalize(bin.join("postgres")).ok()?.parent()?.to_owned();
    let [major, ..] = version(&bin.join("postgres"))?;
    bin.join("initdb").is_file().then_some(PostgresTools { bin, major })
}

fn postgres_folders() -> Vec<PathBuf> {
    let mut installed: Vec<_> = POSTGRES_HOMES
        .iter()
        .filter_map(|home| fs::read_dir(home).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    installed.sort_by_key(|bin| std::cmp::Reverse(numbers(&bin.to_string_lossy())));
    path_folders().chain(installed).collect()
}

fn path_folders() -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).filter(|dir| dir.is_absolute()).collect::<Vec<_>>().into_iter()
}

/// `$TURNLOG_TOOLS`, then `.tools` beside the program and above: a build in `target/` finds its source tree's.
fn tools_folders() -> impl Iterator<Item = PathBuf> {
    let named = env::var_os("TURNLOG_TOOLS").map(PathBuf::from);
    let program = env::current_exe().and_then(fs::canonicalize).unwrap_or_default();
    let above: Vec<_> = program.ancestors().skip(1).map(|dir| dir.join(".tools")).collect();
    named.into_iter().chain(above)
}

/// The fonts of the set-up, where they are.
pub(crate) fn fonts() -> Option<PathBuf> {
    tools_folders().map(|dir| dir.join("fonts")).find(|dir| dir.is_dir())
}

/// What the program says of itself with `--version`; `None` where it is not there or does not run.
fn version(program: &Path) -> Option<[u32; 3]> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").output().ok()?;
    let numbers = numbers(&String::from_utf8_lossy(&output.stdout));
    let part = |index| numbers.get(index).copied().unwrap_or(0);
    (!numbers.is_empty()).then(|| [part(0), part(1), part(2)])
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(dir: &Path, says: &str) -> PathBuf {
        let path = dir.join("program");
        fs::write(&path, format!("#!/bin/sh\necho '{says}'\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn versions_are_read_as_programs_say_them() {
        let dir = tempfile::tempdir().unwrap();
        for (says, wanted) in [
            ("nats-server: v2.15.1", Some([2, 15, 1])),
            ("nats-server: v2.15.0-RC.1", Some([2, 15, 0])),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some([15, 18, 15])),
            ("postgres (PostgreSQL) 18beta1", Some([18, 1, 0])),
            ("no such luck", None),
        ] {
            assert_eq!(version(&program(dir.path(), says)), wanted, "{says}");
        }
        assert_eq!(version(&dir.path().join("absent")), None);
    }
}
