//! `turnlog up` as a child, with the servers that it starts itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::binary::program;
use crate::{Client, eventually, root};

/// A running `turnlog up`. It is asked to stop when this goes, so that its servers go with it.
#[derive(Debug)]
pub struct Up {
    child: Child,
    data_dir: PathBuf,
}

impl Up {
    /// Starts it on a data directory and a free port, and waits until it is ready.
    pub async fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[]).await
    }

    /// The same with settings of the operator's.
    pub async fn start_with(data_dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut up = Self { child: spawn(data_dir, settings), data_dir: data_dir.to_owned() };
        let pid = u64::from(up.child.id());
        eventually("turnlog up is ready", || {
            let ended = up.child.try_wait().unwrap();
            assert!(ended.is_none(), "turnlog up ended ({ended:?}): {}", up.log());
            let ready = up.read().is_some_and(|instance| instance["pid"] == pid);
            async move { ready.then_some(()) }
        })
        .await;
        up
    }

    /// What `up.json` says.
    pub fn instance(&self) -> Value {
        self.read().unwrap()
    }

    /// A caller of it.
    pub fn client(&self) -> Client {
        Client::new(self.instance()["base_url"].as_str().unwrap())
    }

    /// Process ids of its nats-server and its Postgres.
    pub fn servers(&self) -> [i32; 2] {
        ["nats/nats-server.pid", "postgres.pid"]
            .map(|file| fs::read_to_string(self.data_dir.join(file)).unwrap().trim().parse().unwrap())
    }

    /// Kills it, and leaves its servers behind.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits for its end, which has to be a good one.
    pub fn stop(mut self) {
        let ended = self.terminate();
        assert!(ended.success(), "turnlog up ended with {ended}: {}", self.log());
    }

    fn terminate(&mut self) -> ExitStatus {
        if self.child.try_wait().unwrap().is_none() {
            kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        }
        self.child.wait().unwrap()
    }

    fn read(&self) -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(self.data_dir.join("up.json")).ok()?).ok()
    }

    /// What it printed and logged.
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(&self.data_dir)).unwrap_or_default()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// Runs a command of the program to its end, for the instance on a data directory.
pub fn operate(data_dir: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(program());
    command.args(arguments).arg("--data-dir").arg(data_dir).env("TURNLOG_TOOLS", root().join(".tools"));
    command.stdin(Stdio::null()).output().unwrap()
}

fn spawn(data_dir: &Path, settings: &[(&str, &str)]) -> Child {
    let log = File::create(log_of(data_dir)).unwrap();
    let tools = std::env::var_os("TURNLOG_TOOLS").map_or_else(|| root().join(".tools"), PathBuf::from);
    Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data_dir)
        .env("TURNLOG_TOOLS", tools)
        .env_remove("NATS_URL")
        .env_remove("DATABASE_URL")
        .envs(settings.iter().copied())
        // No `.env` of whoever runs the tests.
        .current_dir(data_dir.parent().unwrap())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log_of(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}
