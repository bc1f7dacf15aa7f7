//! Asking again, politely.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use super::VendorError;

/// How often the same thing is asked, and with what pauses.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Requests in all.
    pub attempts: u32,
    /// Pause after the first failure where the vendor names none; it doubles with every further one.
    pub first_pause: Duration,
    /// Longest pause. Where the vendor asks for a longer one, its error is handed on at once.
    pub longest_pause: Duration,
}

impl Default for Retry {
    /// Four requests within some seconds: what lasts longer is left to the next round.
    fn default() -> Self {
        Self { attempts: 4, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(60) }
    }
}

impl Retry {
    /// Asks until there is an answer, an error that lasts, or too many attempts. Dropping it ends it at once, pauses
    /// included.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn run<T, F>(&self, ask: impl FnMut() -> F) -> Result<T, VendorError>
    where
        F: Future<Output = Result<T, VendorError>>,
    {
        self.run_until(None, ask).await
    }

    /// The same, without a pause that would go past `deadline`. How long one attempt takes is the caller's to bound.
    pub(super) async fn run_until<T, F>(
        &self,
        deadline: Option<Instant>,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, VendorError>
    where
        F: Future<Output = Result<T, VendorError>>,
    {
        let mut attempt = 1;
        loop {
            let error = match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let jitter = rand::rng().random_range(0.0..1.0);
            let Some(pause) = self.pause(&error, attempt, jitter) else { return Err(error) };
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                return Err(error);
            }
            tracing::debug!(attempt, ?pause, %error, "ElevenLabs is asked again");
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// The pause after a failed attempt; `None` when there is no use in another one. `jitter` is from 0 to 1: several
    /// callers that failed together must not come back together.
    fn pause(&self, error: &VendorError, attempt: u32, jitter: f64) -> Option<Duration> {
        if attempt >= self.attempts || !error.is_transient() {
            return None;
        }
        match error.retry_after() {
            // Never before the vendor said.
            Some(asked) => (asked <= self.longest_pause).then(|| asked.mul_f64(1.0 + jitter / 5.0)),
            None => Some(doubled(self.first_pause, self.longest_pause, attempt, jitter)),
        }
    }
}

/// The pause after the `nth` failure in a row, from 1: it doubles up to the longest, and by `jitter` is up to half
/// shorter.
pub(super) fn doubled(first: Duration, longest: Duration, nth: u32, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1 << nth.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.5 + jitter / 2.0)
}

#[cfg(test)]
mod tests {
    use std::future;

    use super::*;

    const RETRY: Retry =
        Retry { attempts: 9, first_pause: Duration::from_secs(1), longest_pause: Duration::from_secs(60) };

    fn busy(seconds: Option<u64>) -> VendorError {
        VendorError::RateLimited { message: String::new(), retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_vary_by_half() {
        let pauses =
            |jitter| [1, 2, 3, 6, 7, 8].map(|n| RETRY.pause(&busy(None), n, jitter).unwrap().as_millis());
        assert_eq!(pauses(1.0), [1000, 2000, 4000, 32_000, 60_000, 60_000]);
        assert_eq!(pauses(0.0), [500, 1000, 2000, 16_000, 30_000, 30_000]);
        assert_eq!(RETRY.pause(&busy(None), 9, 1.0), None);
        let patient = Retry { attempts: u32::MAX, ..RETRY };
        assert_eq!(patient.pause(&busy(None), u32::MAX - 1, 1.0), Some(RETRY.longest_pause));
    }

    #[test]
    fn the_vendors_own_pause_is_never_cut_short() {
        assert_eq!(RETRY.pause(&busy(Some(7)), 1, 0.0), Some(Duration::from_secs(7)));
        assert_eq!(RETRY.pause(&busy(Some(10)), 1, 1.0), Some(Duration::from_secs(12)));
        assert_eq!(RETRY.pause(&busy(Some(61)), 1, 0.0), None);
    }

    #[tokio::test]
    async fn only_what_passes_is_asked_again() {
        let quick = Retry { attempts: 3, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };
        let lasting = VendorError::NotFound(String::new());
        for (error, expected) in [(busy(None), 3), (lasting, 1)] {
            let mut asked = 0;
            let answer: Result<(), _> = quick
                .run(|| {
                    asked += 1;
                    future::ready(Err(error.clone()))
                })
                .await;
            assert_eq!((answer, asked), (Err(error), expected));
        }
    }
}
