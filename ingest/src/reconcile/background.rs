//! The loops beside the write edge: neither delays a start, and nothing that the vendor does ends them.

use std::time::{Duration, Instant};

use chrono::Utc;
use rand::RngExt;
use shared::http::AnyError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::memory::Memory;
use super::round::{Round, Trouble};
use super::{Desk, Reconciler, Wanted, Window};
use crate::vendor::VendorError;

/// Longest wait before the first round: instances that are started together must not ask together.
const LATEST_START: Duration = Duration::from_secs(10);
/// How much longer it waits while the key is refused: that takes a person to change.
const REFUSED_FACTOR: u32 = 6;
/// How long until webhooks are read again where the log did not answer.
const REREAD_PAUSE: Duration = Duration::from_secs(30);

/// Waits for a loop that ends only when it is stopped; answers when it ends in any other way.
pub(crate) async fn supervise(name: &'static str, task: JoinHandle<()>) -> AnyError {
    match task.await {
        Ok(()) => std::future::pending().await,
        Err(error) => format!("{name} ended: {error}").into(),
    }
}

/// Compares the vendor's list with the log at once and every so often, until it is stopped.
pub(crate) async fn keep_reconciling(reconciler: Reconciler, every: Duration, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds(&reconciler, every) => {}
    }
}

/// Reads webhooks again that were not understood, once, as soon as the log answers.
pub(crate) async fn keep_rereading(desk: std::sync::Arc<Desk>, stop: CancellationToken) {
    let reading = async {
        while let Err(error) = desk.reread().await {
            tracing::warn!(%error, "webhooks that were not understood cannot be read again yet");
            tokio::time::sleep(REREAD_PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = reading => {}
    }
}

async fn rounds(reconciler: &Reconciler, every: Duration) {
    let mut memory = Memory::new(Utc::now(), reconciler.settings.lookback);
    let mut last = "";
    let jitter = rand::rng().random_range(0.0..1.0);
    tokio::time::sleep((every / 10).min(LATEST_START).mul_f64(jitter)).await;
    loop {
        let outcome = round(reconciler, &mut memory).await;
        let word = outcome.as_ref().err().map_or("", word);
        // Said when it changes, not every time.
        match &outcome {
            Err(error) if word != last => {
                tracing::warn!(%error, "a comparison with ElevenLabs' list broke off");
            }
            Err(error) => tracing::debug!(%error, "a comparison with ElevenLabs' list broke off again"),
            Ok(()) if !last.is_empty() => tracing::info!("ElevenLabs' list is compared again"),
            Ok(()) => {}
        }
        last = word;
        let jitter = rand::rng().random_range(0.0..1.0);
        tokio::time::sleep(pause(every, outcome.err().as_ref(), jitter)).await;
    }
}

async fn round(reconciler: &Reconciler, memory: &mut Memory) -> Result<(), Trouble> {
    let (began, started) = (Utc::now(), Instant::now());
    let wanted = Wanted { audio: reconciler.settings.audio, dry_run: false };
    let window = Window { after: memory.window(), before: began };
    let outcome = Round::new(reconciler, wanted, memory, &mut |_| ()).run(window).await;
    metrics::histogram!("turnlog_reconcile_round_seconds").record(started.elapsed().as_secs_f64());
    // What is too much for one round is too much for the next: it is said, and left to a person.
    if matches!(outcome, Ok(_) | Err(Trouble::TooMany(_))) {
        let given_up = memory.covered(began);
        if given_up > 0 {
            tracing::warn!(conversations = given_up, "conversations that never became complete are given up");
        }
    }
    let tally = outcome?;
    metrics::gauge!("turnlog_reconcile_last_round_timestamp").set(began.timestamp() as f64);
    if tally.fetched + tally.audio + tally.gone + tally.failed > 0 {
        let (seen, fetched, audio, failed) = (tally.seen, tally.fetched, tally.audio, tally.failed);
        tracing::info!(
            seen,
            fetched,
            audio,
            failed,
            "conversations were missing and are fetched from ElevenLabs"
        );
    }
    Ok(())
}

fn word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Vendor(error) => error.word(),
        Trouble::Log(_) => "log",
        Trouble::TooMany(_) => "too_many",
    }
}

/// How long until the next round; `jitter` is from 0 to 1. Never less than the vendor asked for.
fn pause(every: Duration, trouble: Option<&Trouble>, jitter: f64) -> Duration {
    let usual = every.mul_f64(0.9 + jitter / 5.0);
    match trouble {
        Some(Trouble::Vendor(VendorError::Unauthorized(_))) => usual * REFUSED_FACTOR,
        Some(Trouble::Vendor(error)) => {
            usual.max(error.retry_after().unwrap_or_default().mul_f64(1.0 + jitter / 5.0))
        }
        Some(Trouble::Log(_) | Trouble::TooMany(_)) | None => usual,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendors_own_pause_is_never_cut_short_and_a_refused_key_is_asked_for_rarely() {
        let every = Duration::from_secs(300);
        let busy = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Trouble::Vendor(VendorError::RateLimited { message: String::new(), retry_after })
        };
        let seconds = |trouble: Option<&Trouble>, jitter| pause(every, trouble, jitter).as_secs_f64().round();
        assert_eq!((seconds(None, 0.0), seconds(None, 1.0)), (270.0, 330.0));
        assert_eq!(seconds(Some(&busy(10)), 0.0), 270.0);
        assert_eq!((seconds(Some(&busy(3600)), 0.0), seconds(Some(&busy(3600)), 1.0)), (3600.0, 4320.0));
        let refused = Trouble::Vendor(VendorError::Unauthorized(String::new()));
        assert_eq!(seconds(Some(&refused), 0.5), 1800.0);
    }

    #[tokio::test]
    async fn a_loop_that_panics_is_told_and_one_that_was_stopped_is_not() {
        let told = supervise("it", tokio::spawn(async { panic!("on purpose") })).await;
        assert!(told.to_string().contains("it ended"), "{told}");
        let stopped = supervise("it", tokio::spawn(async {}));
        assert!(tokio::time::timeout(Duration::from_millis(50), stopped).await.is_err());
    }
}
