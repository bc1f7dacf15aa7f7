//! The seeds' own design: FastAPI, SQLAlchemy and Postgres, in a virtual environment of the bench's own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::client::connection::once;
use crate::client::request::Sender;
use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::process::{Program, find, free_address, run};

/// Variants: module and worker processes.
pub const VARIANTS: [Variant; 4] = [
    Variant {
        module: "documented",
        workers: 1,
        words: "FastAPI as printed (`async def`, psycopg2), 1 worker",
    },
    Variant {
        module: "documented",
        workers: 2,
        words: "FastAPI as printed (`async def`, psycopg2), 2 workers",
    },
    Variant { module: "threaded", workers: 2, words: "the same with `def` (thread pool), 2 workers" },
    Variant { module: "tuned", workers: 2, words: "FastAPI tuned (asyncpg), 2 workers" },
];

/// The tuned one, with the seed's stream.
pub const STREAMING: Variant =
    Variant { module: "stream", workers: 2, words: "FastAPI tuned, polling each second, 2 workers" };

/// One way to run the peer.
pub struct Variant {
    /// Its Python module.
    pub module: &'static str,
    /// Its worker processes.
    pub workers: u32,
    /// As it stands in the table.
    pub words: &'static str,
}

/// A running peer.
pub struct FastApi {
    program: Program,
    address: SocketAddr,
    _dir: TempDir,
}

impl FastApi {
    /// Creates the tables and starts the peer.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(place: &Place, venv: &Path, variant: &Variant, database: &str) -> Result<Self> {
        let dir = place.fresh_dir()?;
        let address = free_address()?;
        let python = |arguments: &[&str]| {
            let mut command = Command::new(venv.join("bin/python"));
            command.args(arguments).current_dir(sources(place));
            command
                .envs([("DATABASE_URL", database), ("JWT_SECRET", "bench-secret-bench-secret-bench-secret")]);
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command
        };
        run("the peer's table set-up", python(&["documented.py"]))?;
        let (app, port) = (format!("{}:app", variant.module), address.port().to_string());
        let workers = variant.workers.to_string();
        let serve = ["-m", "uvicorn", &app, "--port", &port, "--workers", &workers, "--no-access-log"];
        let mut program = Program::start("uvicorn", python(&serve), dir.path(), "TERM")?;
        let ready = async || matches!(once(address, "GET", "/openapi.json", "").await, Ok((200, _)));
        program.wait_until(ready).await?;
        Ok(Self { program, address, _dir: dir })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> (&'static str, u32) {
        ("fastapi", self.program.id())
    }

    /// Fails when it has ended meanwhile.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn still_runs(&mut self) -> Result<()> {
        self.program.still_runs()
    }

    /// `count` participants that have logged in.
    ///
    /// # Errors
    /// When a login fails.
    pub async fn senders(&self, count: usize) -> Result<Vec<Sender>> {
        let mut senders = Vec::with_capacity(count);
        for index in 0..count {
            let research_id = format!("RID{index:05}");
            let body = format!("{{\"research_id\":\"{research_id}\"}}");
            let (status, answer) = once(self.address, "POST", "/api/v1/auth/login", &body).await?;
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
            let token = answer["access_token"].as_str();
            let token = token.ok_or_else(|| Error::Answer(format!("the peer's login: {status} {answer}")))?;
            senders.push(Sender { token: token.to_owned(), research_id });
        }
        Ok(senders)
    }
}

/// The virtual environment `.tools/bench-venv`, made when it is not there or not of these requirements.
///
/// # Errors
/// When there is no Python, or a package cannot be installed.
pub fn virtual_environment(place: &Place) -> Result<PathBuf> {
    let venv = place.tools.join("bench-venv");
    let wanted = sources(place).join("requirements.txt");
    let installed = venv.join("installed.txt");
    let text = fs::read(&wanted).doing("read the peers' requirements.txt")?;
    if fs::read(&installed).is_ok_and(|present| present == text) {
        return Ok(venv);
    }
    let absent =
        || Error::Missing("python3 was not found: install it, with its venv module, to measure peers".into());
    let mut create = Command::new(find("python3", &[]).ok_or_else(absent)?);
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run("python3 -m venv", create)?;
    let mut install = Command::new(venv.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&wanted);
    run("pip install", install)?;
    fs::write(installed, text).doing("note what is installed")?;
    Ok(venv)
}

fn sources(place: &Place) -> PathBuf {
    place.root.join("bench/peers/fastapi")
}
