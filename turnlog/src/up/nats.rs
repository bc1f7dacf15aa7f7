//! The private nats-server: the log's home.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use super::data_dir::DataDir;
use super::probe::Probe;
use super::process::stop_stray;
use super::program::Program;
use super::tools;
use crate::failure::Failure;
use crate::files;

/// The configuration of every deployment; ours only adds what differs by place.
const SHIPPED: &str = include_str!("../../../nats.conf");
/// What the services must not be able to do to the audit log, which they write; also in `deploy/nats.conf`.
const DENIED: [&str; 5] = [
    "$JS.API.STREAM.DELETE.AUDIT",
    "$JS.API.STREAM.MSG.DELETE.AUDIT",
    "$JS.API.STREAM.PURGE.AUDIT",
    "$JS.API.STREAM.RESTORE.AUDIT",
    // Limits take out, too.
    "$JS.API.STREAM.UPDATE.AUDIT",
];
const STOP: Signal = Signal::SIGTERM;

/// A private nats-server, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Nats {
    program: PathBuf,
    folder: PathBuf,
    password: String,
}

impl Nats {
    /// Finds the program, writes what it needs into the data directory, stops one that was left behind.
    pub(crate) async fn prepare(dir: &DataDir, password: &str) -> Result<Self, Failure> {
        let program = tools::nats_server()?;
        let folder = dir.folder("nats")?;
        files::write_private(&folder.join("shipped.conf"), SHIPPED)?;
        let nats = Self { program, folder, password: password.to_owned() };
        stop_stray(&nats.pid_file(), &nats.config().to_string_lossy(), STOP).await?;
        Ok(nats)
    }

    /// How to run it on this port.
    pub(crate) fn on_port(&self, port: u16) -> Result<Program, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let name = format!("turnlog-{port}");
        let config = self.config();
        let text = format!(
            "# Written by `turnlog up` at every start. Loopback only, one user.\n\
             include \"shipped.conf\"\n\
             listen: \"{address}\"\n\
             server_name: \"{name}\"\n\
             authorization {{ users: [{{user: \"turnlog\", password: \"{}\", \
             permissions: {{publish: {{deny: {DENIED:?}}}}}}}] }}\n",
            self.password
        );
        files::write_private(&config, &text)?;
        let (program, store) = (self.program.clone(), self.folder.clone());
        let command = move || {
            let mut command = Command::new(&program);
            command.arg("-c").arg(&config).arg("-sd").arg(&store);
            command.stdin(Stdio::null()).current_dir("/").env_clear();
            Ok(command)
        };
        Ok(Program {
            name: "nats-server",
            port,
            command: Box::new(command),
            log: self.folder.join("nats-server.log"),
            pid_file: self.pid_file(),
            stop_signal: STOP,
            probe: Probe::Nats { address, name },
        })
    }

    /// Its address with the user's rights.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("nats://turnlog:{}@127.0.0.1:{port}", self.password)
    }

    fn config(&self) -> PathBuf {
        self.folder.join("server.conf")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("nats-server.pid")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_deny_the_same() {
        let deployed = include_str!("../../../deploy/nats.conf");
        let denied = deployed.matches("$JS.API.").count();
        assert!(denied == DENIED.len() && DENIED.iter().all(|subject| deployed.contains(subject)));
    }
}
