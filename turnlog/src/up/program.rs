//! A server as a child process: started, watched until it is ready, stopped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::probe::Probe;
use super::process::{STOP_WITHIN, signal};
use crate::failure::{Failure, OrFail};
use crate::files;

/// How long a server may take to become ready: it may have a long log to recover.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// Bytes of a server's log past which it is set aside at the next start.
const LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Makes the command line anew for each start.
type MakeCommand = Box<dyn Fn() -> Result<Command, Failure> + Send + Sync>;

/// How to run one server.
pub(crate) struct Program {
    /// What it is called in messages.
    pub(crate) name: &'static str,
    /// The port it listens on.
    pub(crate) port: u16,
    /// Its command line.
    pub(crate) command: MakeCommand,
    /// Where its output goes. A file, not a pipe: it must outlive us if we are killed.
    pub(crate) log: PathBuf,
    /// Where its process id is kept.
    pub(crate) pid_file: PathBuf,
    /// Asks it to stop.
    pub(crate) stop_signal: Signal,
    /// Tells whether it is ready.
    pub(crate) probe: Probe,
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Its process id.
    pub(crate) pid: u32,
    /// When it was started.
    pub(crate) since: Instant,
}

impl Program {
    /// Starts it and waits until it is ready; `None` when `stop` came first, after it has ended.
    pub(crate) async fn start(&self, stop: &CancellationToken) -> Result<Option<Running>, Failure> {
        let mut running = self.spawn()?;
        tokio::select! {
            () = self.probe.wait() => Ok(Some(running)),
            why = running.ended() => Err(self.failure(&why)),
            () = stop.cancelled() => running.stop(self).await.map(|()| None),
            () = tokio::time::sleep(READY_WITHIN) => {
                running.stop(self).await?;
                Err(self.failure(&format!("was not ready after {READY_WITHIN:?}")))
            }
        }
    }

    fn spawn(&self) -> Result<Running, Failure> {
        let what = format!("start {}", self.name);
        let output = open_log(&self.log).or_fail(format!("write {}", self.log.display()))?;
        let mut command = tokio::process::Command::from((self.command)()?);
        command.stdout(Stdio::from(output.try_clone().or_fail(&what)?)).stderr(Stdio::from(output));
        // Its own group: Ctrl-C in a terminal is for us, and we stop the servers in order.
        let child = command.process_group(0).spawn().or_fail(&what)?;
        let pid = child.id().ok_or_else(|| Failure::new(format!("{} ended as it was started", self.name)))?;
        files::write_private(&self.pid_file, &format!("{pid}\n"))?;
        Ok(Running { child, pid, since: Instant::now() })
    }

    /// What happened to it, with the last words of its log.
    pub(crate) fn failure(&self, why: &str) -> Failure {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing");
        Failure::new(format!(
            "{} {why}; it said last: {last} (all of it is in {})",
            self.name,
            self.log.display()
        ))
    }
}

impl Running {
    /// Waits until it ends by itself; says how.
    pub(crate) async fn ended(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => format!("ended by itself ({status})"),
            Err(error) => format!("cannot be waited for ({error})"),
        }
    }

    /// Asks it to stop and waits for its end; kills it when it takes too long.
    pub(crate) async fn stop(&mut self, program: &Program) -> Result<(), Failure> {
        signal(self.pid, program.stop_signal)?;
        let what = format!("wait for {}", program.name);
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(ended) => ended.or_fail(&what)?,
            Err(_) => {
                tracing::warn!(
                    "{} (pid {}) did not stop within {STOP_WITHIN:?}; it is killed",
                    program.name,
                    self.pid
                );
                self.child.start_kill().or_fail(format!("kill {}", program.name))?;
                self.child.wait().await.or_fail(&what)?
            }
        };
        files::remove(&program.pid_file)
    }
}

fn open_log(path: &Path) -> std::io::Result<fs::File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES) {
        fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
