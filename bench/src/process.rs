//! Programs that the bench starts: each in its own process group, its output in a file, stopped when dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Doing, Error, Result};

/// How long a program may take to get ready.
const READY: Duration = Duration::from_secs(60);
/// How long a program may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// How much of a program's output an error shows.
const SHOWN_BYTES: usize = 2_000;

/// A running program.
pub struct Program {
    name: String,
    child: Child,
    output: PathBuf,
    stop_signal: &'static str,
}

impl Program {
    /// Starts `command`; its output goes to `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command, dir: &Path, stop_signal: &'static str) -> Result<Self> {
        let output = dir.join(format!("{name}.log"));
        let log = File::create(&output).doing(format!("create the log of {name}"))?;
        let errors = log.try_clone().doing(format!("open the log of {name}"))?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().doing(format!("start {name}"))?;
        Ok(Self { name: name.to_owned(), child, output, stop_signal })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the program ends first, or takes too long; with the end of its output.
    pub async fn wait_until(&mut self, mut ready: impl AsyncFnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY;
        while !ready().await {
            if let Some(status) = self.child.try_wait().doing(format!("look after {}", self.name))? {
                return Err(self.failed(format!("ended ({status}) before it was ready")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("was not ready after {} s", READY.as_secs())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails when the program has ended meanwhile.
    ///
    /// # Errors
    /// With the end of its output.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().doing(format!("look after {}", self.name))? {
            Some(status) => Err(self.failed(format!("ended ({status}) while it was measured"))),
            None => Ok(()),
        }
    }

    /// An error about this program, with the end of its output.
    pub fn failed(&self, what: String) -> Error {
        Error::Program { name: self.name.clone(), what, output: tail(&self.output) }
    }

    fn signal_group(&self, signal: &str) {
        let target = format!("-{}", self.child.id());
        // A program that has already gone is what we want: the exit code of `kill` says nothing more.
        let _gone = Command::new("kill").args(["-s", signal, "--", &target]).stderr(Stdio::null()).status();
    }

    fn wait_for_end(&mut self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal_group(self.stop_signal);
        if !self.wait_for_end(STOP) {
            self.signal_group("KILL");
            self.wait_for_end(STOP);
        }
    }
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started, or says that it failed.
pub fn run(name: &str, mut command: Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().doing(format!("run {name}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let output = String::from_utf8_lossy(&out.stderr).into_owned();
    Err(Error::Program { name: name.to_owned(), what: format!("failed ({})", out.status), output })
}

/// A loopback address that was free a moment ago.
///
/// # Errors
/// When the system has none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").doing("find a free port")?;
    listener.local_addr().doing("read the free port")
}

/// Whether something takes connections there.
pub async fn accepts(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}

/// A program's path: the first of `places` that exists, else the first directory on `PATH` that has `name`.
pub fn find(name: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).map(|dir| dir.join(name)).collect::<Vec<_>>();
    places.iter().chain(&on_path).find(|path| path.is_file()).cloned()
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let from = text.len().saturating_sub(SHOWN_BYTES);
    String::from_utf8_lossy(&text[from..]).into_owned()
}
