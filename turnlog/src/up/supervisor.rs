//! Keeps one server running: started on a free port, started again when it dies, given up on when it cannot come back.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::program::{Program, Running};
use crate::failure::{Failure, OrFail};

/// Tries at the first start, each on another port: one that was free a moment ago may be taken, and what a killed
/// server left behind may need a moment to go.
const FIRST_TRIES: u32 = 8;
/// Failures in a row after which a server is given up.
const MOST_FAILURES: u32 = 10;
/// A server that ran this long has come back: its next end is a new story.
const STEADY: Duration = Duration::from_secs(60);
/// The pause before the first restart; it doubles with each failure in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A server that is kept running by a task of its own.
#[derive(Debug)]
pub(crate) struct Supervised {
    stop: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Supervised {
    /// Starts a server, made for a port by `make`. The receiver gets the port when the server is ready; it is dropped
    /// when the server cannot be started.
    pub(crate) fn launch<F>(make: F) -> (Self, oneshot::Receiver<u16>)
    where
        F: Fn(u16) -> Result<Program, Failure> + Send + Sync + 'static,
    {
        let stop = CancellationToken::new();
        let (ready, port) = oneshot::channel();
        let task = tokio::spawn(keep(make, stop.clone(), ready));
        (Self { stop, task }, port)
    }

    /// Waits for the end that must not come; says why it came. Cancel safe.
    pub(crate) async fn fault(&mut self) -> Failure {
        match (&mut self.task).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => Failure::new("a server was stopped although nobody asked for it"),
            Err(error) => Failure::new(format!("the watch over a server broke: {error}")),
        }
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        // After a fault the task is done and was asked already.
        if self.task.is_finished() { Ok(()) } else { self.task.await.or_fail("stop a server")? }
    }
}

async fn keep<F>(make: F, stop: CancellationToken, ready: oneshot::Sender<u16>) -> Result<(), Failure>
where
    F: Fn(u16) -> Result<Program, Failure> + Send + Sync,
{
    let Some((program, mut running)) = first_start(make, &stop).await? else { return Ok(()) };
    if ready.send(program.port).is_err() {
        return running.stop(&program).await;
    }
    let mut failures = 0;
    loop {
        let why = tokio::select! {
            why = running.ended() => why,
            () = stop.cancelled() => return running.stop(&program).await,
        };
        if running.since.elapsed() > STEADY {
            failures = 0;
        }
        let failure = program.failure(&format!("(pid {}) {why}", running.pid));
        running = match come_back(&program, failure, &mut failures, &stop).await? {
            Some(running) => running,
            None => return Ok(()),
        };
    }
}

async fn first_start<F>(make: F, stop: &CancellationToken) -> Result<Option<(Program, Running)>, Failure>
where
    F: Fn(u16) -> Result<Program, Failure>,
{
    let mut tries = 0;
    loop {
        tries += 1;
        let program = make(free_port()?)?;
        match program.start(stop).await {
            Ok(None) => return Ok(None),
            Ok(Some(running)) => return Ok(Some((program, running))),
            Err(failure) if tries == FIRST_TRIES => return Err(failure),
            Err(failure) => tracing::info!("{failure}; it is tried again"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause(tries)) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

/// Starts the server again, with growing pauses; `None` when a stop came first.
async fn come_back(
    program: &Program,
    mut failure: Failure,
    failures: &mut u32,
    stop: &CancellationToken,
) -> Result<Option<Running>, Failure> {
    loop {
        *failures += 1;
        if *failures > MOST_FAILURES {
            return Err(Failure::new(format!("{} does not come back: {failure}", program.name)));
        }
        let pause = pause(*failures);
        tracing::warn!("{failure}; it is started again in {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Ok(None),
        }
        match program.start(stop).await {
            Ok(Some(running)) => {
                tracing::info!("{} runs again (pid {})", program.name, running.pid);
                return Ok(Some(running));
            }
            Ok(None) => return Ok(None),
            Err(next) => failure = next,
        }
    }
}

fn pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE)
}

/// Below the range that systems give to outgoing connections: one of those must not sit on the port of a server that
/// comes back.
const PORTS: Range<u16> = 20_000..32_000;

/// A port that is free now.
fn free_port() -> Result<u16, Failure> {
    let listener = (0..100)
        .find_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, rand::random_range(PORTS))).ok())
        .map_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)), Ok)
        .or_fail("find a free port")?;
    Ok(listener.local_addr().or_fail("find a free port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(pause(1), Duration::from_millis(100));
        assert_eq!(pause(4), Duration::from_millis(800));
        assert_eq!(pause(9), LONGEST_PAUSE);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
