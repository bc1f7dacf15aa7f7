//! What happens to feeds by time or from outside, for all of them in one place: heartbeats, expiry, leases, revocations,
//! and the stop.

use std::time::Duration;

use shared::auth::Revocations;
use shared::http::Lifecycle;

use super::clock::{Now, Pace};
use super::hub::Hub;
use super::queue::Closing;
use super::sse;
use super::wakes::Wakes;
use crate::limits::{DRAIN_AT_ONCE, DRAIN_PAUSE, DRAIN_STEPS, SWEEP_ROUND, SWEEP_STEPS};

/// Looks at the clock of every feed, in turns, for ever.
pub(crate) async fn keep_time(hub: &Hub, pace: Pace) {
    let round = SWEEP_ROUND.min(pace.heartbeat / 4);
    let pause = round / u32::try_from(SWEEP_STEPS).unwrap_or(u32::MAX);
    for step in (0..SWEEP_STEPS).cycle() {
        tokio::time::sleep(pause).await;
        let now = Now::read();
        hub.tick(step, now, pace, &sse::heartbeat(now.wall)).spread().await;
    }
}

/// Closes the feeds of revoked tokens as they become known, until the stop; then all of them, some at a time: their
/// clients come back, and not all in the same instant.
pub(crate) async fn close_feeds(hub: &Hub, revocations: &Revocations, lifecycle: &Lifecycle) {
    let mut changes = revocations.changes();
    loop {
        tokio::select! {
            () = lifecycle.stopping.cancelled() => break,
            // Cannot fail: the sender lives as long as `revocations`.
            _ = changes.changed() => hub.close_revoked(|token_id| revocations.contains(token_id)),
        }
    }
    drain(hub, DRAIN_PAUSE).await;
    lifecycle.drained.cancelled().await;
}

async fn drain(hub: &Hub, pause: Duration) {
    let queues = hub.queues();
    let mut parts = queues.chunks(at_once(queues.len())).peekable();
    while let Some(part) = parts.next() {
        let mut wakes = Wakes::default();
        part.iter().for_each(|queue| queue.close(Closing::Stopping, &mut wakes));
        wakes.spread().await;
        if parts.peek().is_some() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// How many of so many feeds end in one step.
fn at_once(feeds: usize) -> usize {
    feeds.div_ceil(DRAIN_STEPS).max(DRAIN_AT_ONCE)
}

#[cfg(test)]
mod tests {
    use super::super::queue::tests::{next, terms};
    use super::*;

    #[tokio::test]
    async fn a_stop_ends_all_feeds_in_a_bounded_number_of_steps() {
        let hub = Hub::new(0);
        let seats: Vec<_> = (0..120).map(|n| hub.join(&format!("t{}", n % 7), terms(None))).collect();
        drain(&hub, Duration::ZERO).await;
        for seat in &seats {
            assert_eq!(next(seat.queue()), Some(Err(Closing::Stopping)));
        }
        for (feeds, steps) in [(1, 1), (DRAIN_AT_ONCE, 1), (1_000, 20), (10_000, 100), (100_001, 100)] {
            assert_eq!(feeds.div_ceil(at_once(feeds)), steps, "{feeds} feeds");
        }
    }
}
