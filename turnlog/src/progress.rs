//! How far a long command is: one line that changes, on a terminal alone.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the line changes.
const REFRESH: Duration = Duration::from_millis(200);
/// Columns of the bar.
const WIDTH: u64 = 24;

/// The line.
pub(crate) struct Progress {
    terminal: bool,
    shown: Option<Instant>,
    /// What is done at the moment, since when, and how much of it was done then.
    stage: Option<(&'static str, Instant, u64)>,
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), shown: None, stage: None }
    }

    /// So much is done of this stage, counted in these units.
    pub(crate) fn show(&mut self, stage: &'static str, unit: &str, done: u64, of: u64) {
        let now = Instant::now();
        let (_, began, before) = match self.stage {
            Some(running) if running.0 == stage => running,
            _ => *self.stage.insert((stage, now, done)),
        };
        let due = self.shown.is_none_or(|shown| now.duration_since(shown) >= REFRESH);
        if self.terminal && (due || done >= of) {
            let line = line(unit, done, of, done.saturating_sub(before), now.duration_since(began));
            eprint!("\r{stage} {line}\x1b[K");
            let _gone = std::io::stderr().flush();
            self.shown = Some(now);
        }
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

/// `[#####-----] 1200/5000 events, 400/s, 10 s left`
fn line(unit: &str, done: u64, of: u64, since: u64, elapsed: Duration) -> String {
    let filled = if of == 0 { WIDTH } else { (done.min(of) * WIDTH).div_euclid(of) };
    let bar = "#".repeat(filled as usize) + &"-".repeat((WIDTH - filled) as usize);
    let rate = since as f64 / elapsed.as_secs_f64();
    let left = of.saturating_sub(done) as f64 / rate;
    let pace = if left.is_finite() { format!(", {rate:.0}/s, {left:.0} s left") } else { String::new() };
    format!("[{bar}] {done}/{of} {unit}{pace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_rate_and_the_time_left() {
        let two = Duration::from_secs(2);
        let half = line("events", 1_500, 3_000, 1_000, two);
        assert_eq!(half, "[############------------] 1500/3000 events, 500/s, 3 s left");
        assert_eq!(line("events", 0, 0, 0, two), "[########################] 0/0 events");
        assert_eq!(line("events", 5, 10, 0, two), "[############------------] 5/10 events");
    }
}
