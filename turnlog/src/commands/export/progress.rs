//! A line that says how far an export is, on a terminal alone.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use exporter::{Progress, Step};

/// How often the line changes.
const REFRESH: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: u64 = 24;

/// Waits for the work and shows meanwhile how far it is.
pub(super) async fn shown<T>(progress: &Progress, work: impl Future<Output = T>) -> T {
    if !std::io::stderr().is_terminal() {
        return work.await;
    }
    let (started, mut ticks) = (Instant::now(), tokio::time::interval(REFRESH));
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = ticks.tick() => {
                eprint!("\r{}\x1b[K", line(progress.step(), started.elapsed()));
                let _gone = std::io::stderr().flush();
            }
        }
    };
    eprint!("\r\x1b[K");
    done
}

fn line(Step { total, read, wrote }: Step, elapsed: Duration) -> String {
    if total == 0 {
        return "looking at the log".into();
    }
    let filled = read.min(total) * WIDTH / total;
    let bar: String = (0..WIDTH).map(|place| if place < filled { '=' } else { ' ' }).collect();
    let percent = read.min(total) * 100 / total;
    let rate = (read as f64 / elapsed.as_secs_f64().max(0.001)).round();
    let rest = if wrote > 0 {
        format!("{wrote} rows written")
    } else {
        let left = (total - read.min(total)) as f64 / rate.max(1.0);
        format!("{rate} events/s, about {left:.0} s of reading left")
    };
    format!("[{bar}] {percent} % of {total} events read, {rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_it_is() {
        let shown = line(Step { total: 1_000, read: 250, wrote: 0 }, Duration::from_secs(1));
        assert_eq!(
            shown,
            "[======                  ] 25 % of 1000 events read, 250 events/s, about 3 s of reading left"
        );
        assert!(line(Step { total: 10, read: 20, wrote: 4 }, Duration::ZERO).ends_with("4 rows written"));
    }
}
