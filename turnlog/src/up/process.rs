//! Processes by id: signals, and what was left behind by a `turnlog up` that was killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::failure::{Failure, OrFail};
use crate::files;

/// How long a server may take to stop before it is killed: the largest has to write its tables to disk.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Sends a signal; a process that is gone already is none the worse for it.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), Failure> {
    let pid = i32::try_from(pid).or_fail("use a process id")?;
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).or_fail(format!("send {signal} to process {pid}")),
    }
}

/// Stops the process that a pid file names, if it still runs and is the one meant: `marker` is in its command line.
/// Process ids are used again, so the file alone proves nothing.
pub(crate) async fn stop_stray(pid_file: &Path, marker: &str, how: Signal) -> Result<(), Failure> {
    let pid = fs::read_to_string(pid_file).ok().and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid
        && is_marked(pid, marker)
    {
        tracing::warn!(
            pid,
            "a server of a turnlog up that was killed still runs ({}); it is stopped",
            marker
        );
        signal(pid, how)?;
        let started = Instant::now();
        while is_marked(pid, marker) {
            if started.elapsed() > STOP_WITHIN {
                signal(pid, Signal::SIGKILL)?;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    files::remove(pid_file)
}

/// Whether the process runs and has `marker` in its command line. One that has ended but was not waited for has none.
fn is_marked(pid: u32, marker: &str) -> bool {
    let line = if Path::new("/proc/self").exists() {
        fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
    } else {
        let output = Command::new("ps").args(["-ww", "-o", "command=", "-p", &pid.to_string()]).output();
        output.map(|output| output.stdout).unwrap_or_default()
    };
    String::from_utf8_lossy(&line).contains(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stray_is_stopped_and_a_stranger_with_its_pid_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let mut child =
            tokio::process::Command::new("sleep").arg("1234.5").kill_on_drop(true).spawn().unwrap();
        let pid = child.id().unwrap();
        // A process that was just started has no command line until its program is loaded.
        while !is_marked(pid, "1234.5") {
            tokio::task::yield_now().await;
        }
        fs::write(&pid_file, pid.to_string()).unwrap();

        stop_stray(&pid_file, "another command", Signal::SIGTERM).await.unwrap();
        assert!(child.try_wait().unwrap().is_none());
        assert!(!pid_file.exists());

        fs::write(&pid_file, pid.to_string()).unwrap();
        stop_stray(&pid_file, "1234.5", Signal::SIGTERM).await.unwrap();
        let ended = tokio::time::timeout(STOP_WITHIN, child.wait()).await.expect("the stray still runs");
        assert!(!ended.unwrap().success());
        stop_stray(&pid_file, "1234.5", Signal::SIGTERM).await.unwrap();
    }
}
