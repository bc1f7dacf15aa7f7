//! Processor time of whole process trees, from `/proc`: who used the machine while it was measured.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::Instant;

/// Clock ticks a second in `/proc/*/stat`: 100 on every Linux that Rust's standard library runs on.
const TICKS: f64 = 100.0;
/// Fields of `/proc/PID/stat`, counted after the closing parenthesis of the name.
const PARENT: usize = 1;
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// Processor time used so far by named process trees.
pub struct Meter {
    roots: Vec<(&'static str, u32)>,
    started: Instant,
    before: BTreeMap<&'static str, f64>,
}

impl Meter {
    /// Starts to count for these trees, and for this program as `client`.
    pub fn start(programs: &[(&'static str, u32)]) -> Self {
        let mut roots = programs.to_vec();
        roots.push(("client", std::process::id()));
        let before = used(&roots);
        Self { roots, started: Instant::now(), before }
    }

    /// Percent of one core that each tree used since the start.
    pub fn percent(&self) -> BTreeMap<String, f64> {
        let seconds = self.started.elapsed().as_secs_f64();
        used(&self.roots)
            .into_iter()
            .map(|(name, now)| {
                let before = self.before.get(name).copied().unwrap_or_default();
                (name.to_owned(), ((now - before).max(0.0) / seconds * 100.0).round())
            })
            .collect()
    }
}

/// A process and everything that it started.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let processes = processes();
    processes.keys().copied().filter(|id| top_of(*id, &[root], &processes).is_some()).collect()
}

/// Seconds used by each tree. The client's tree is itself alone: the others are its children.
fn used(roots: &[(&'static str, u32)]) -> BTreeMap<&'static str, f64> {
    let processes = processes();
    let tops: Vec<u32> = roots.iter().map(|(_, id)| *id).collect();
    let mut sums: BTreeMap<&'static str, f64> = roots.iter().map(|(name, _)| (*name, 0.0)).collect();
    for (id, (_, seconds)) in &processes {
        let Some(top) = top_of(*id, &tops, &processes) else { continue };
        let Some((name, _)) = roots.iter().find(|(_, root)| *root == top) else { continue };
        *sums.entry(name).or_default() += seconds;
    }
    sums
}

fn top_of(mut id: u32, tops: &[u32], processes: &HashMap<u32, (u32, f64)>) -> Option<u32> {
    while !tops.contains(&id) {
        id = processes.get(&id)?.0;
    }
    Some(id)
}

/// Parent and seconds used of every process.
fn processes() -> HashMap<u32, (u32, f64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, stat(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

fn stat(line: &str) -> Option<(u32, f64)> {
    // The name is in parentheses and may hold anything, so fields are counted from the last one.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let total = ticks(USER_TIME)? + ticks(SYSTEM_TIME)?;
    Some((fields.get(PARENT)?.parse().ok()?, total as f64 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name_holds() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(stat(line), Some((7, 2.0)));
    }

    #[test]
    fn a_process_counts_for_its_nearest_root() {
        let processes = HashMap::from([(2, (1, 0.0)), (3, (2, 0.0)), (9, (0, 0.0))]);
        assert_eq!(top_of(3, &[1, 2], &processes), Some(2));
        assert_eq!(top_of(9, &[1, 2], &processes), None);
    }
}
