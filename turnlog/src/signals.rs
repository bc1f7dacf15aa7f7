//! When the operator wants a stop: Ctrl-C, SIGTERM, or a terminal that was closed.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{Failure, OrFail};

/// A token that is cancelled when a stop is asked for.
pub(crate) fn stop() -> Result<CancellationToken, Failure> {
    let what = "listen for signals";
    let mut interrupt = signal(SignalKind::interrupt()).or_fail(what)?;
    let mut terminate = signal(SignalKind::terminate()).or_fail(what)?;
    let mut hangup = signal(SignalKind::hangup()).or_fail(what)?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        asked.cancel();
    });
    Ok(stop)
}
