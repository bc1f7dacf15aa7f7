//! The machine in a few words: figures without it mean nothing.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Result};
use crate::report::{Latency, histogram};

/// Appends of the disk probe: enough for a p99, done within seconds on a slow disk.
const PROBES: usize = 500;
/// Bytes of each append: one page, as a log's tail is written.
const PROBE_BYTES: usize = 4_096;

/// What the figures were taken on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, as it names itself.
    pub processor: String,
    /// Cores.
    pub cores: usize,
    /// Memory in GB.
    pub memory_gb: f64,
    /// Kernel release.
    pub kernel: String,
    /// File system that the data is on.
    pub filesystem: String,
    /// One append of 4 KiB and its fsync, there.
    pub fsync: Latency,
    /// Versions of the servers used.
    pub servers: String,
}

impl Machine {
    /// Describes this machine, probing the disk under `data`.
    ///
    /// # Errors
    /// When the probe cannot write there.
    pub fn describe(data: &Path, servers: String) -> Result<Self> {
        Ok(Self {
            processor: field("/proc/cpuinfo", "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().doing("count cores")?.get(),
            memory_gb: memory_gb(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            filesystem: filesystem(data),
            fsync: probe(data)?,
            servers,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores ({}), {:.0} GB, Linux {}, {}: append and fsync of 4 KiB p50 {:.2} ms, p99 {:.2} ms. \
             {}. Everything on this machine, client included.",
            self.cores,
            self.processor,
            self.memory_gb,
            self.kernel,
            self.filesystem,
            self.fsync.p50_ms,
            self.fsync.p99_ms,
            self.servers,
        )
    }
}

fn probe(dir: &Path) -> Result<Latency> {
    let path = dir.join("fsync-probe");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).doing("open the fsync probe")?;
    let mut latency = histogram();
    for _ in 0..PROBES {
        let started = Instant::now();
        file.write_all(&[7; PROBE_BYTES]).doing("write the fsync probe")?;
        file.sync_data().doing("sync the fsync probe")?;
        latency.saturating_record(started.elapsed().as_micros() as u64);
    }
    fs::remove_file(&path).doing("remove the fsync probe")?;
    Ok(Latency::of(&latency))
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gb() -> f64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib: f64 = total.trim_end_matches(" kB").parse().unwrap_or_default();
    (kib * 1_024.0 / 1e8).round() / 10.0
}

/// Type of the file system that holds `path`: the mount with the longest matching directory.
fn filesystem(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let holding = fields.filter(|(place, _)| path.starts_with(place));
    holding
        .max_by_key(|(place, _)| place.len())
        .map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
