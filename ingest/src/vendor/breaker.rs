//! Asks no more of a vendor that does not answer, until one request has found out that it does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::VendorError;
use super::limits::{FAILURES_TO_OPEN, FIRST_BREAK, LONGEST_BREAK, TRIAL_WAIT};
use super::retry::doubled;

/// Shared by all requests that it guards.
#[derive(Debug)]
pub(super) struct Breaker(Mutex<Course>);

/// Leave to ask. What the request learnt is to be [told](Self::tell); dropped before that, it has learnt nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    era: u64,
    learnt: Learnt,
}

/// What a request says of the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    /// It answers, whatever it says.
    Answers,
    /// It is not available.
    Away,
    /// Nobody waited for the answer.
    Nothing,
}

/// How it stands: plain data, to which time and chance are handed in.
#[derive(Debug)]
struct Course {
    state: State,
    /// Grows with every change of state. What a request learns counts only in the era in which it was let through:
    /// those that still wait when the breaker opens say nothing of the time after.
    era: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// All may ask; the last so many failed.
    Closed { failures: u32 },
    /// Nobody may; it has opened so often in a row.
    Open { until: Instant, times: u32 },
    /// One asks, and the others wait for what it learns.
    Trial { times: u32 },
}

impl Breaker {
    /// Closed.
    pub(super) fn new() -> Self {
        show(false);
        Self(Mutex::new(Course { state: State::Closed { failures: 0 }, era: 0 }))
    }

    /// Lets a request through, or says after which time to ask again.
    pub(super) fn enter(&self) -> Result<Pass<'_>, Duration> {
        let era = self.course(|course| course.enter(Instant::now()))?;
        Ok(Pass { breaker: self, era, learnt: Learnt::Nothing })
    }

    fn note(&self, era: u64, learnt: Learnt) {
        let jitter = rand::random_range(0.0..1.0);
        let changed = self.course(|course| {
            let before = course.state.is_open();
            course.note(era, learnt, Instant::now(), jitter);
            (course.state.is_open() != before).then_some(!before)
        });
        if let Some(open) = changed {
            show(open);
            if open {
                tracing::warn!("ElevenLabs does not answer: until it does, signed URLs are not asked for");
            } else {
                tracing::info!("ElevenLabs answers: signed URLs are asked for again");
            }
        }
    }

    fn course<T>(&self, change: impl FnOnce(&mut Course) -> T) -> T {
        // A change is whole or did not begin, so nothing is broken by a panic elsewhere.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pass<'_> {
    /// Says how the request went.
    pub(super) fn tell(mut self, failure: Option<&VendorError>) {
        self.learnt = match failure {
            Some(VendorError::Unavailable { .. }) => Learnt::Away,
            None
            | Some(
                VendorError::Unauthorized(_)
                | VendorError::NotFound(_)
                | VendorError::Invalid(_)
                | VendorError::RateLimited { .. }
                | VendorError::Malformed(_)
                | VendorError::TooLarge(_),
            ) => Learnt::Answers,
        };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.breaker.note(self.era, self.learnt);
    }
}

impl Course {
    fn enter(&mut self, now: Instant) -> Result<u64, Duration> {
        match self.state {
            State::Closed { .. } => {}
            State::Open { until, .. } if now < until => return Err(until - now),
            State::Open { times, .. } => self.become_state(State::Trial { times }),
            State::Trial { .. } => return Err(TRIAL_WAIT),
        }
        Ok(self.era)
    }

    fn note(&mut self, era: u64, learnt: Learnt, now: Instant, jitter: f64) {
        if era != self.era {
            return;
        }
        match (self.state, learnt) {
            (State::Closed { .. }, Learnt::Answers) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Learnt::Away) if failures + 1 < FAILURES_TO_OPEN => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, Learnt::Away) => self.open(1, now, jitter),
            (State::Trial { .. }, Learnt::Answers) => self.become_state(State::Closed { failures: 0 }),
            (State::Trial { times }, Learnt::Away) => self.open(times.saturating_add(1), now, jitter),
            // The next one tries.
            (State::Trial { times }, Learnt::Nothing) => self.become_state(State::Open { until: now, times }),
            // Nobody is let through while it is open.
            (State::Closed { .. }, Learnt::Nothing) | (State::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, times: u32, now: Instant, jitter: f64) {
        let until = now + doubled(FIRST_BREAK, LONGEST_BREAK, times, jitter);
        self.become_state(State::Open { until, times });
    }

    fn become_state(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

impl State {
    fn is_open(self) -> bool {
        match self {
            Self::Closed { .. } => false,
            Self::Open { .. } | Self::Trial { .. } => true,
        }
    }
}

fn show(open: bool) {
    metrics::gauge!("turnlog_vendor_breaker_open").set(f64::from(open));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed() -> Course {
        Course { state: State::Closed { failures: 0 }, era: 0 }
    }

    /// One that has just opened at this time, for `FIRST_BREAK`.
    fn opened(now: Instant) -> Course {
        let mut course = closed();
        for _ in 0..FAILURES_TO_OPEN {
            let era = course.enter(now).unwrap();
            course.note(era, Learnt::Away, now, 1.0);
        }
        course
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let (mut course, now) = (closed(), Instant::now());
        for _ in 0..3 {
            for learnt in [Learnt::Away, Learnt::Away, Learnt::Away, Learnt::Away, Learnt::Answers] {
                let era = course.enter(now).unwrap();
                course.note(era, learnt, now, 0.0);
            }
        }
        for learnt in [Learnt::Away, Learnt::Nothing, Learnt::Away, Learnt::Away, Learnt::Away] {
            let era = course.enter(now).unwrap();
            course.note(era, learnt, now, 0.0);
        }
        let era = course.enter(now).unwrap();
        course.note(era, Learnt::Away, now, 0.0);
        assert_eq!(course.enter(now), Err(FIRST_BREAK / 2), "the fifth, with the shortest pause");
    }

    #[test]
    fn while_it_is_open_the_time_left_is_told_and_then_one_may_try() {
        let now = Instant::now();
        let mut course = opened(now);
        assert_eq!(course.enter(now), Err(FIRST_BREAK));
        let second = Duration::from_secs(1);
        assert_eq!(course.enter(now + second), Err(FIRST_BREAK - second));
        let later = now + FIRST_BREAK;
        let trial = course.enter(later).unwrap();
        assert_eq!([course.enter(later), course.enter(later + LONGEST_BREAK)], [Err(TRIAL_WAIT); 2]);
        course.note(trial, Learnt::Answers, later, 1.0);
        assert_eq!(course.state, State::Closed { failures: 0 });
        assert!(course.enter(later).is_ok() && course.enter(later).is_ok());
    }

    #[test]
    fn pauses_double_with_every_trial_that_fails_and_begin_anew_after_one_that_does_not() {
        let mut now = Instant::now();
        let mut course = opened(now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let left = course.enter(now).unwrap_err();
            pauses.push(left.as_secs());
            now += left;
            let trial = course.enter(now).unwrap();
            course.note(trial, Learnt::Away, now, 1.0);
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        now += LONGEST_BREAK;
        let trial = course.enter(now).unwrap();
        course.note(trial, Learnt::Answers, now, 1.0);
        for _ in 0..FAILURES_TO_OPEN {
            let era = course.enter(now).unwrap();
            course.note(era, Learnt::Away, now, 1.0);
        }
        assert_eq!(course.enter(now), Err(FIRST_BREAK));
    }

    #[test]
    fn what_was_asked_before_it_opened_says_nothing_of_the_time_after() {
        let now = Instant::now();
        let mut course = closed();
        let early = course.enter(now).unwrap();
        for _ in 0..FAILURES_TO_OPEN {
            course.note(early, Learnt::Away, now, 1.0);
        }
        let open = course.state;
        for learnt in [Learnt::Away, Learnt::Answers, Learnt::Nothing] {
            course.note(early, learnt, now, 1.0);
            assert_eq!(course.state, open);
        }
        let trial = course.enter(now + FIRST_BREAK).unwrap();
        for learnt in [Learnt::Away, Learnt::Answers, Learnt::Nothing] {
            course.note(early, learnt, now, 1.0);
            assert_eq!(course.state, State::Trial { times: 1 });
        }
        course.note(trial, Learnt::Answers, now, 1.0);
        course.note(trial, Learnt::Away, now, 1.0);
        assert_eq!(course.state, State::Closed { failures: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_whose_caller_vanished_leaves_its_place_to_the_next() {
        let breaker = Breaker::new();
        let away = VendorError::Unavailable { message: String::new(), retry_after: None };
        for _ in 0..FAILURES_TO_OPEN {
            breaker.enter().unwrap().tell(Some(&away));
        }
        tokio::time::advance(breaker.enter().unwrap_err()).await;
        for _ in 0..3 {
            let trial = breaker.enter().unwrap();
            assert_eq!(breaker.enter().unwrap_err(), TRIAL_WAIT);
            drop(trial);
        }
        breaker.enter().unwrap().tell(None);
        assert!(breaker.enter().is_ok());
    }

    #[test]
    fn any_answer_of_the_vendor_is_one() {
        let breaker = Breaker::new();
        let rate_limited = VendorError::RateLimited { message: String::new(), retry_after: None };
        let text = String::new;
        for error in [
            VendorError::Unauthorized(text()),
            VendorError::NotFound(text()),
            VendorError::Invalid(text()),
            VendorError::Malformed(text()),
            VendorError::TooLarge(1),
            rate_limited,
        ] {
            for _ in 0..2 * FAILURES_TO_OPEN {
                breaker.enter().unwrap().tell(Some(&error));
            }
        }
    }
}
