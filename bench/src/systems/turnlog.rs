//! The release binary, started as a container would start it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use chrono::Utc;
use shared::auth::{Tokens, Who};
use shared::config::{AuthSettings, Secret};
use tempfile::TempDir;

use crate::client::connection::once;
use crate::client::request::Sender;
use crate::error::{Error, Result};
use crate::fill::SEALING_KEYS;
use crate::place::Place;
use crate::process::{Program, free_address, run};

/// The secret that tokens are signed with: any that is long enough.
const JWT_SECRET: &str = "bench-secret-bench-secret-bench-secret";
/// The secret that ElevenLabs' webhooks are signed with.
pub const ELEVENLABS_SECRET: &str = "wsec_bench_secret";

/// A service's key: any that no service has by chance.
pub const API_KEY: &str = "bench-key-of-a-service";

/// How long tokens of [`token`] are good for: longer than any run.
const TOKEN_TTL: Duration = Duration::from_secs(6 * 3_600);

/// A setting: its name and its value.
pub type Setting = (&'static str, String);

/// Where a program finds its log and its tables.
pub struct Stores {
    /// `NATS_URL`.
    pub nats: String,
    /// `DATABASE_URL`.
    pub database: String,
}

/// A running `turnlog serve`.
pub struct Turnlog {
    program: Program,
    address: SocketAddr,
    _dir: TempDir,
}

impl Turnlog {
    /// Applies the migrations to an empty database.
    ///
    /// # Errors
    /// When `turnlog migrate` fails.
    pub fn migrate(place: &Place, stores: &Stores) -> Result<()> {
        let dir = place.fresh_dir()?;
        let mut command = command(place, stores, &dir);
        command.arg("migrate");
        run("turnlog migrate", command).map(drop)
    }

    /// Starts `turnlog serve ROLE` without waiting for anything.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(place: &Place, role: &str, stores: &Stores) -> Result<Self> {
        Self::spawn_with(place, role, stores, Vec::new())
    }

    fn spawn_with(place: &Place, role: &str, stores: &Stores, settings: Vec<Setting>) -> Result<Self> {
        let dir = place.fresh_dir()?;
        let address = free_address()?;
        let mut command = command(place, stores, &dir);
        // What the command line sets is the last word.
        command.envs(settings).envs(place.settings.iter().cloned());
        command.args(["serve", role]).env("LISTEN", address.to_string());
        let program = Program::start("turnlog", command, dir.path(), "TERM")?;
        Ok(Self { program, address, _dir: dir })
    }

    /// Starts `turnlog serve ROLE` and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(place: &Place, role: &str, stores: &Stores) -> Result<Self> {
        Self::start_with(place, role, stores, Vec::new()).await
    }

    /// The same with more settings than every role has.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_with(
        place: &Place,
        role: &str,
        stores: &Stores,
        settings: Vec<Setting>,
    ) -> Result<Self> {
        let mut turnlog = Self::spawn_with(place, role, stores, settings)?;
        let address = turnlog.address;
        let ready = async || matches!(once(address, "GET", "/health/ready", "").await, Ok((200, _)));
        turnlog.program.wait_until(ready).await?;
        Ok(turnlog)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> (&'static str, u32) {
        ("turnlog", self.program.id())
    }

    /// Fails when it has ended meanwhile.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn still_runs(&mut self) -> Result<()> {
        self.program.still_runs()
    }
}

/// `count` participants with tokens from `turnlog token`; good for every run of this bench.
///
/// # Errors
/// When the command fails.
pub fn senders(place: &Place, stores: &Stores, count: usize) -> Result<Vec<Sender>> {
    let dir = place.fresh_dir()?;
    (0..count)
        .map(|index| {
            let research_id = format!("RID{index:05}");
            let mut command = command(place, stores, &dir);
            command.args(["token", "participant", &research_id]);
            Ok(Sender { token: run("turnlog token", command)?, research_id })
        })
        .collect()
}

/// What signs the tokens of people, for those who need more of them than a command can print.
pub fn tokens() -> Tokens {
    Tokens::new(&AuthSettings {
        jwt_secret: Secret::new(JWT_SECRET),
        issuer: "turnlog".to_owned(),
        audience: "turnlog".to_owned(),
        api_keys: Vec::new(),
    })
}

/// A participant's token.
///
/// # Errors
/// When the id is none.
pub fn token(tokens: &Tokens, research_id: &str) -> Result<String> {
    let refused = |why: &dyn std::fmt::Display| Error::Missing(format!("no token could be made: {why}"));
    let id = research_id.to_owned().try_into().map_err(|error| refused(&error))?;
    tokens.issue(&Who::Participant(id), TOKEN_TTL, Utc::now()).map_err(|error| refused(&error))
}

/// A command of an operator's, for its arguments to be added.
pub fn operator(place: &Place, stores: &Stores, dir: &TempDir) -> Command {
    command(place, stores, dir)
}

/// The program with the settings of every role; in an empty directory, so that no `.env` is found.
fn command(place: &Place, stores: &Stores, dir: &TempDir) -> Command {
    let mut command = Command::new(&place.turnlog);
    command.current_dir(dir.path()).env("LOG_LEVEL", &place.log_level).envs([
        ("NATS_URL", stores.nats.as_str()),
        ("DATABASE_URL", stores.database.as_str()),
        ("JWT_SECRET", JWT_SECRET),
        ("API_SECRET_KEY", API_KEY),
        // What is measured is not how much is allowed.
        ("RATE_LIMIT_API_PER_MIN", "100000000"),
        ("RATE_LIMIT_SESSIONS_PER_MIN", "100000000"),
        ("ELEVENLABS_WEBHOOK_SECRET", ELEVENLABS_SECRET),
        ("LOGIN_MODE", "open"),
        ("SEALING_KEYS", SEALING_KEYS),
    ]);
    command.envs(place.settings.iter().cloned());
    command
}
