//! The real program as a child.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::guarded::Guarded;
use crate::nats::SEALING_KEYS;
use crate::system::{API_KEY, JWT_SECRET, Parts, STANDARD_SECRET, WEBHOOK_SECRET};
use crate::{Client, eventually, free_port};

/// `turnlog serve ROLE` as a process of its own.
#[derive(Debug)]
pub struct Binary {
    pub client: Client,
    role: String,
    envs: Vec<(String, String)>,
    directory: TempDir,
    process: Option<Guarded>,
}

/// Starts a command of an operator with the settings of these parts, and `more`.
pub fn command(parts: &Parts, arguments: &[&str], more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    // No `.env` and no `.turnlog` of whoever runs the tests.
    command.args(arguments).current_dir(std::env::temp_dir());
    command.envs(settings(parts)).envs(more.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The settings that name these parts.
fn settings(parts: &Parts) -> Vec<(String, String)> {
    let nats = &parts.nats;
    let mut envs = vec![
        ("NATS_URL".to_owned(), nats.urls[0].expose().to_owned()),
        ("DATABASE_URL".to_owned(), parts.database_url.clone()),
        ("JWT_SECRET".to_owned(), JWT_SECRET.to_owned()),
        ("API_SECRET_KEY".to_owned(), API_KEY.to_owned()),
        ("LOGIN_MODE".to_owned(), "open".to_owned()),
        ("ELEVENLABS_WEBHOOK_SECRET".to_owned(), WEBHOOK_SECRET.to_owned()),
        ("WEBHOOK_SECRET".to_owned(), STANDARD_SECRET.to_owned()),
        ("SEALING_KEYS".to_owned(), SEALING_KEYS.to_owned()),
    ];
    if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        envs.push(("NATS_USER".to_owned(), user.clone()));
        envs.push(("NATS_PASSWORD".to_owned(), password.expose().to_owned()));
    }
    envs
}

/// Where the program was built: beside this test, or where `TURNLOG_BIN` says.
pub(crate) fn program() -> PathBuf {
    let beside = || {
        let test = std::env::current_exe().unwrap();
        test.parent().unwrap().parent().unwrap().join("turnlog")
    };
    let program = std::env::var_os("TURNLOG_BIN").map_or_else(beside, PathBuf::from);
    assert!(program.is_file(), "{} is not built: run `cargo build` first", program.display());
    program
}

impl Binary {
    /// Starts a role on a free port and waits until it is live.
    pub async fn serve(role: &str, parts: &Parts) -> Self {
        Self::serve_with(role, parts, &[]).await
    }

    /// The same with settings of the operator's.
    pub async fn serve_with(role: &str, parts: &Parts, more: &[(&str, &str)]) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let mut envs = settings(parts);
        envs.push(("LISTEN".to_owned(), listen.clone()));
        envs.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (client, directory) = (Client::new(&format!("http://{listen}")), TempDir::new().unwrap());
        let mut binary = Self { client, role: role.to_owned(), envs, directory, process: None };
        binary.restart().await;
        binary
    }

    /// Starts it again, after a kill.
    pub async fn restart(&mut self) {
        self.process = None;
        let command = [program().to_str().unwrap().to_owned(), "serve".into(), self.role.clone()];
        self.process = Some(Guarded::start(&self.directory.path().join("log"), None, &command, &self.envs));
        eventually("the role is live", || async {
            let request = self.client.request(reqwest::Method::GET, "/health/live");
            self.client.try_send(request).await.ok().filter(|reply| reply.status == 200)
        })
        .await;
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process.as_ref().unwrap().signal(Signal::SIGKILL);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Guarded::is_alive)
    }

    /// Bytes of memory that it had at most.
    pub fn peak_memory(&self) -> u64 {
        self.process.as_ref().unwrap().peak_memory()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
