//! A nats-server with the shipped `nats.conf`, or with that file less its `sync_interval`.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::client::connection::page;
use crate::error::{Doing, Error, Result};
use crate::place::Place;
use crate::process::{Program, accepts, free_address};

/// When the server calls a message stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    /// As shipped: once it is on the disk.
    Always,
    /// The server's own default: once it is in the page cache; fsync every two minutes.
    Default,
}

impl Sync {
    /// As it stands in the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Always => "on disk (`sync_interval: always`)",
            Self::Default => "in page cache (server's default)",
        }
    }
}

/// A running server.
pub struct Nats {
    program: Program,
    address: SocketAddr,
    monitor: SocketAddr,
    _dir: TempDir,
}

impl Nats {
    /// Starts one with an empty store.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(place: &Place, sync: Sync) -> Result<Self> {
        let dir = place.fresh_dir()?;
        let address = free_address()?;
        let monitor = free_address()?;
        let shipped = fs::read_to_string(place.root.join("nats.conf")).doing("read nats.conf")?;
        let config = dir.path().join("nats.conf");
        fs::write(&config, configured(&shipped, sync)).doing("write the server's configuration")?;
        let mut command = Command::new(&place.nats_server);
        command.arg("-c").arg(&config).arg("-sd").arg(dir.path().join("store"));
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string()]);
        command.args(["-m", &monitor.port().to_string()]);
        let mut program = Program::start("nats-server", command, dir.path(), "TERM")?;
        program.wait_until(async || accepts(address).await).await?;
        Ok(Self { program, address, monitor, _dir: dir })
    }

    /// Where it listens, as `NATS_URL`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// A number that its monitoring page `path` names.
    ///
    /// # Errors
    /// When there is none.
    pub async fn count(&self, path: &str, name: &str) -> Result<u64> {
        let page = page(self.monitor, path).await?;
        let page: serde_json::Value = serde_json::from_str(&page)?;
        page[name].as_u64().ok_or_else(|| Error::Answer(format!("nats-server's {path} names no {name}")))
    }

    /// Its process.
    pub fn process(&self) -> (&'static str, u32) {
        ("nats", self.program.id())
    }
}

fn configured(shipped: &str, sync: Sync) -> String {
    let keep = |line: &&str| sync == Sync::Always || !line.trim_start().starts_with("sync_interval");
    shipped.lines().filter(keep).collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sync_interval_differs() {
        let shipped = "jetstream {\n  sync_interval: always\n}\nmax_payload: 2MB\n";
        assert_eq!(configured(shipped, Sync::Always), shipped);
        assert_eq!(configured(shipped, Sync::Default), "jetstream {\n}\nmax_payload: 2MB\n");
    }
}
