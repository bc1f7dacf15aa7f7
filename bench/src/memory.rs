//! Memory of process trees and of the kernel, from `/proc`.

use std::fs;

use serde::{Deserialize, Serialize};

use crate::cpu::tree;

/// What processes hold of user space, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident.
    pub rss_kib: f64,
    /// Resident, pages that are shared with others by halves, thirds and so on.
    pub pss_kib: f64,
}

/// What the kernel holds on the whole machine, in KiB: of both ends of every connection, and of everything else that
/// runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// TCP buffers, as `/proc/net/sockstat` says.
    pub tcp_kib: f64,
    /// Its own structures: sockets, descriptors, epoll entries.
    pub slab_kib: f64,
}

impl Memory {
    /// Of a process and everything that it started.
    pub fn of(root: u32) -> Self {
        tree(root).into_iter().fold(Self::default(), |sum, id| {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
            Self { rss_kib: sum.rss_kib + kib(&text, "Rss:"), pss_kib: sum.pss_kib + kib(&text, "Pss:") }
        })
    }
}

impl Kernel {
    /// Now.
    pub fn now() -> Self {
        /// KiB of a page on every machine that this was run on.
        const PAGE_KIB: f64 = 4.0;
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
        let pages = tcp.split_whitespace().skip_while(|word| *word != "mem").nth(1);
        let pages: f64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { tcp_kib: pages * PAGE_KIB, slab_kib: kib(&memory, "Slab:") }
    }
}

fn kib(text: &str, name: &str) -> f64 {
    let value =
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_and_the_kernel_hold_something() {
        let own = Memory::of(std::process::id());
        assert!(own.rss_kib > 100.0 && own.pss_kib > 0.0 && own.pss_kib <= own.rss_kib);
        assert!(Kernel::now().slab_kib > 0.0);
    }
}
