//! Children that end when this process does, however it ends.
//!
//! A shell stands between: it reads from a pipe that only this process holds open, and kills the child when the pipe
//! closes. (A parent-death signal would be tied to the thread that started the child, and tests end their threads.)

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server of the tests.
#[derive(Debug)]
pub(crate) struct Guarded {
    shell: Child,
    pid: i32,
}

const GUARD: &str = r#"
log=$1; scrap=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
child=$!
echo $child
exec >/dev/null
read -r _
kill -9 $child 2>/dev/null
wait $child 2>/dev/null
[ -z "$scrap" ] || rm -rf "$scrap"
"#;

impl Guarded {
    /// Starts a program; `scrap` is a directory that goes when the guard does.
    pub(crate) fn start(
        log: &Path,
        scrap: Option<&Path>,
        command: &[String],
        envs: &[(String, String)],
    ) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(log)
            .arg(scrap.unwrap_or(Path::new("")))
            .args(command)
            .envs(envs.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.take().unwrap()), &mut line)
            .unwrap();
        Self { shell, pid: line.trim().parse().unwrap() }
    }

    /// Sends a signal to the program.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), signal);
    }

    /// Bytes of memory that the program had at most.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Whether the program still runs.
    pub(crate) fn is_alive(&self) -> bool {
        std::fs::read_to_string(format!("/proc/{}/stat", self.pid))
            .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _gone = stdin.write_all(b"\n");
        }
        let _gone = self.shell.wait();
    }
}
