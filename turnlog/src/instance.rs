//! `up.json`: how other commands, and the operator's own tools, find a running `turnlog up`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, OrFail};
use crate::files;

/// Where a running system is and the secrets it uses. Holds credentials: the file is its owner's alone.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    /// Process id of `turnlog up`.
    pub(crate) pid: u32,
    /// Where its endpoints are.
    pub(crate) base_url: String,
    /// The log, with the owner's rights.
    pub(crate) nats_url: String,
    /// The read tables, with the owner's rights.
    pub(crate) database_url: String,
    /// Key of calling services.
    pub(crate) api_key: String,
    /// Signs tokens.
    pub(crate) jwt_secret: String,
    /// Signs webhooks (Standard Webhooks).
    pub(crate) webhook_secret: String,
    /// Signs ElevenLabs' webhooks.
    pub(crate) elevenlabs_webhook_secret: String,
}

impl Instance {
    /// The file within a data directory.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("up.json")
    }

    /// The instance that runs on this data directory, or `None`.
    pub(crate) fn find(data_dir: &Path) -> Result<Option<Self>, Failure> {
        let path = Self::path(data_dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).or_fail(format!("read {}", path.display())),
        };
        let instance: Self = serde_json::from_str(&text).or_fail(format!("understand {}", path.display()))?;
        Ok(instance.runs().then_some(instance))
    }

    /// The file outlives a `turnlog up` that was killed.
    fn runs(&self) -> bool {
        let pid = i32::try_from(self.pid).map(Pid::from_raw);
        pid.is_ok_and(|pid| !matches!(kill(pid, None), Err(Errno::ESRCH)))
    }

    /// Writes it, all at once.
    pub(crate) fn publish(&self, data_dir: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).or_fail("write up.json")?;
        files::write_private(&Self::path(data_dir), &(text + "\n"))
    }

    /// Removes it; nothing happens where there is none.
    pub(crate) fn withdraw(data_dir: &Path) -> Result<(), Failure> {
        files::remove(&Self::path(data_dir))
    }
}

/// The base URL of what listens on this address of this machine: an address that stands for all is reached by loopback.
pub(crate) fn reachable(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => listen.ip(),
    };
    format!("http://{}", SocketAddr::new(ip, listen.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_reached() {
        for (listen, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()), url);
        }
    }
}
