//! A program of somebody else's as a child: what it prints is read line by line.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{PATIENCE, tools};

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Lines<BufReader<pipe::Receiver>>,
    said: Vec<String>,
}

impl Program {
    /// Starts it. What it prints as an error is read with the rest.
    pub fn start(mut command: Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        command.stdin(Stdio::piped()).stdout(writer.try_clone().unwrap()).stderr(writer).kill_on_drop(true);
        let child = command.spawn().unwrap();
        // With the command go our ends of the pipe: it ends when the program does.
        drop(command);
        let lines = BufReader::new(pipe::Receiver::from_owned_fd(reader.into()).unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Reads on until a line holds this, and answers that line; fails when none does.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            let line = timeout(PATIENCE, self.lines.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{wanted:?} was not said, only {:#?}", self.said));
            let line = line.unwrap().unwrap_or_else(|| panic!("ended without {wanted:?}: {:#?}", self.said));
            self.said.push(line.clone());
            if line.contains(wanted) {
                return line;
            }
        }
    }

    /// Writes a line to it.
    pub async fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// Waits until it ends by itself; answers how, and everything that it printed.
    pub async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        while let Some(line) =
            timeout(PATIENCE, self.lines.next_line()).await.expect("still running").unwrap()
        {
            self.said.push(line);
        }
        (self.child.wait().await.unwrap(), self.said)
    }
}

/// Node.js with the packages of `tests/clients/`.
///
/// # Panics
/// When `make test`'s set-up did not run.
pub fn node() -> Command {
    let home = tools().join("node");
    assert!(
        home.join("node").exists(),
        "Node.js is missing: run `scripts/setup.sh tests`, as `make test` does"
    );
    let mut command = Command::new(home.join("node"));
    command.env("NODE_PATH", home.join("node_modules"));
    command
}

/// The library that sets the clock of a process which is started with it.
///
/// # Panics
/// When `make test`'s set-up did not run.
pub fn faketime() -> PathBuf {
    let library = tools().join("lib/libfaketime.so.1");
    assert!(library.exists(), "libfaketime is missing: run `scripts/setup.sh tests`, as `make test` does");
    library
}

/// A file of `tests/clients/`.
pub fn client_file(name: &str) -> PathBuf {
    crate::root().join("tests/clients").join(name)
}
