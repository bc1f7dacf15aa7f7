//! What people wait for: asked for within their time, by so many at once, and not at all of a vendor that is away.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::limits::{FULL_RETRY_AFTER, MAX_WAITING};
use super::{Retry, VendorError};

/// A failure that came quickly is often over at once: after about 0.2 and 0.4 s. Where the vendor asks for more than
/// a second, the person is told.
const RETRY: Retry =
    Retry { attempts: 3, first_pause: Duration::from_millis(200), longest_pause: Duration::from_secs(1) };

/// Stands before requests that people wait for.
#[derive(Debug)]
pub(super) struct Gate {
    places: Semaphore,
    breaker: Breaker,
}

impl Gate {
    /// Open to all.
    pub(super) fn new() -> Self {
        Self { places: Semaphore::new(MAX_WAITING), breaker: Breaker::new() }
    }

    /// Asks, perhaps several times, and ends within `time`: each request is told how much of it is left.
    pub(super) async fn through<T, F>(
        &self,
        time: Duration,
        ask: impl Fn(Duration) -> F,
    ) -> Result<T, VendorError>
    where
        F: Future<Output = Result<T, VendorError>>,
    {
        let deadline = Instant::now() + time;
        let Ok(_place) = self.places.try_acquire() else {
            return Err(refused("too many requests wait for its answer", FULL_RETRY_AFTER));
        };
        let attempt = async || {
            let pass = match self.breaker.enter() {
                Ok(pass) => pass,
                // As an answer: a refusal must not wait for its time to be over.
                Err(left) => return Ok(Err(refused("it did not answer several times in a row", left))),
            };
            let answer = ask(deadline.saturating_duration_since(Instant::now())).await;
            pass.tell(answer.as_ref().err());
            answer.map(Ok)
        };
        RETRY.run_until(Some(deadline), attempt).await.flatten()
    }
}

fn refused(why: &str, retry_after: Duration) -> VendorError {
    VendorError::Unavailable { message: why.to_owned(), retry_after: Some(retry_after) }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future;

    use futures::FutureExt;
    use futures::future::join_all;
    use tokio::time::sleep;

    use super::super::limits::{FAILURES_TO_OPEN, FIRST_BREAK};
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn away() -> VendorError {
        VendorError::Unavailable { message: "away".into(), retry_after: None }
    }

    fn busy(after: Duration) -> VendorError {
        VendorError::RateLimited { message: String::new(), retry_after: Some(after) }
    }

    /// Asks of a vendor that answers after so long; when each request came, and the outcome with its time.
    async fn asked(
        gate: &Gate,
        late: Duration,
        answer: Result<(), VendorError>,
    ) -> (Vec<Duration>, Result<(), VendorError>, Duration) {
        let (start, times) = (Instant::now(), RefCell::new(Vec::new()));
        let outcome = gate
            .through(TIME, async |left| {
                times.borrow_mut().push(start.elapsed());
                assert_eq!(left, TIME - start.elapsed());
                // As the client does.
                tokio::time::timeout(left, sleep(late)).await.map_err(|_| away())?;
                answer.clone()
            })
            .await;
        (times.into_inner(), outcome, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_quickly_is_asked_again_twice() {
        let (times, outcome, took) = asked(&Gate::new(), Duration::from_millis(10), Err(away())).await;
        assert_eq!((times.len(), outcome), (3, Err(away())));
        assert!(took < Duration::from_secs(1), "{took:?}");
        let (times, outcome, _) = asked(&Gate::new(), Duration::from_millis(10), Ok(())).await;
        assert_eq!((times.len(), outcome), (1, Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_timed_out_has_used_the_time_up() {
        let (times, outcome, took) = asked(&Gate::new(), Duration::from_secs(60), Ok(())).await;
        assert_eq!((times.len(), outcome, took), (1, Err(away()), TIME));
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_goes_past_the_deadline() {
        // Fails twice after 2.4 s, and then there is no time for another pause.
        let (times, outcome, took) = asked(&Gate::new(), Duration::from_millis(2_400), Err(away())).await;
        assert_eq!((times.len(), outcome), (2, Err(away())));
        assert!(took <= TIME, "{took:?}");
        let slow = Duration::from_millis(4_500);
        let (times, outcome, took) = asked(&Gate::new(), slow, Err(busy(Duration::from_secs(1)))).await;
        assert_eq!((times.len(), took), (1, slow), "there was no time for the vendor's own pause");
        assert!(outcome.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_vendors_own_pause_is_kept_where_it_is_short() {
        let second = Duration::from_secs(1);
        let (times, _, took) = asked(&Gate::new(), Duration::ZERO, Err(busy(second))).await;
        assert_eq!(times.len(), 3);
        assert!(times[1] >= second && times[2] - times[1] >= second && took <= TIME, "{times:?}");
        let (times, outcome, _) = asked(&Gate::new(), Duration::ZERO, Err(busy(2 * second))).await;
        assert_eq!((times.len(), outcome), (1, Err(busy(2 * second))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_refuses_at_once_also_between_the_requests_of_one_call() {
        let gate = Gate::new();
        let (first, _, _) = asked(&gate, Duration::ZERO, Err(away())).await;
        let (second, refused, _) = asked(&gate, Duration::ZERO, Err(away())).await;
        assert_eq!(first.len() + second.len(), FAILURES_TO_OPEN as usize);
        for _ in 0..3 {
            let (times, outcome, took) = asked(&gate, Duration::ZERO, Ok(())).await;
            assert_eq!((times.len(), took), (0, Duration::ZERO));
            let left = outcome.unwrap_err().retry_after().unwrap();
            assert!(left <= refused.as_ref().unwrap_err().retry_after().unwrap() && left <= FIRST_BREAK);
            // The less is left, the more it looks like a short pause of the vendor's.
            tokio::time::advance(left * 3 / 4).await;
        }
        tokio::time::advance(FIRST_BREAK).await;
        assert_eq!(asked(&gate, Duration::ZERO, Ok(())).await.1, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_when_it_opens_may_finish() {
        let gate = Gate::new();
        let slow = asked(&gate, Duration::from_secs(3), Ok(()));
        let failing = async {
            join_all((0..2).map(|_| asked(&gate, Duration::ZERO, Err(away())))).await;
            assert!(gate.breaker.enter().is_err(), "it is open");
        };
        let ((_, outcome, _), ()) = tokio::join!(slow, failing);
        assert_eq!(outcome, Ok(()));
    }

    #[tokio::test]
    async fn only_so_many_wait_at_once() {
        let gate = Gate::new();
        let began = Cell::new(0);
        let hang = || {
            gate.through::<(), _>(TIME, |_| {
                began.set(began.get() + 1);
                future::pending()
            })
        };
        let mut waiting: Vec<_> = (0..MAX_WAITING).map(|_| Box::pin(hang())).collect();
        assert!(waiting.iter_mut().all(|call| call.now_or_never().is_none()));
        let refused = hang().now_or_never().unwrap().unwrap_err();
        assert_eq!((refused.retry_after(), began.get()), (Some(FULL_RETRY_AFTER), MAX_WAITING));
        waiting.pop();
        assert!(hang().now_or_never().is_none(), "a place is free again");
    }
}
