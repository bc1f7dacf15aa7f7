//! When a feed has to do something by itself: say that it is there, warn, end.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

use super::queue::Closing;
use crate::limits::{EXPIRY_NOTICE, LEASE_JITTER};

/// A moment, by both clocks: only the wall's says when a token expires, and it can be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Goes evenly.
    pub(crate) steady: Instant,
    /// Goes as the world's.
    pub(crate) wall: DateTime<Utc>,
}

impl Now {
    /// This one.
    pub(crate) fn read() -> Self {
        Self { steady: Instant::now(), wall: Utc::now() }
    }
}

/// How long feeds live, and how often an idle one says that it does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between heartbeats.
    pub(crate) heartbeat: Duration,
    /// After it the client is asked to come back.
    pub(crate) max_age: Duration,
}

/// The clock of one feed. Somebody has to look at it.
#[derive(Debug)]
pub(crate) struct Clock {
    beat_at: Instant,
    leave_at: Instant,
    token: Option<Life>,
}

#[derive(Debug)]
struct Life {
    expires_at: DateTime<Utc>,
    /// `None` once the client was warned.
    warn_at: Option<DateTime<Utc>>,
}

/// What a feed has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    Nothing,
    /// Say that it is there.
    Heartbeat,
    /// Say that its token expires then.
    Expiring(DateTime<Utc>),
    /// End.
    End(Closing),
}

impl Clock {
    /// For a feed that begins now. `dice`, from 0 to 1, keeps feeds that began together from beating and from
    /// ending together.
    pub(crate) fn new(pace: Pace, expires_at: Option<DateTime<Utc>>, now: Now, dice: f64) -> Self {
        let life = pace.max_age.mul_f64(1.0 - LEASE_JITTER * dice);
        Self {
            beat_at: now.steady + pace.heartbeat.mul_f64(1.0 - dice / 2.0),
            leave_at: now.steady + life,
            token: expires_at.map(|at| Life::new(at, now.wall)),
        }
    }

    /// What is due. Answers each warning and each heartbeat once.
    pub(crate) fn due(&mut self, now: Now, pace: Pace) -> Due {
        if let Some(token) = &mut self.token {
            if token.expires_at <= now.wall {
                return Due::End(Closing::Expired);
            }
            if token.warn_at.take_if(|at| *at <= now.wall).is_some() {
                return Due::Expiring(token.expires_at);
            }
        }
        if self.leave_at <= now.steady {
            return Due::End(Closing::Lease);
        }
        if self.beat_at > now.steady {
            return Due::Nothing;
        }
        // Where its own rhythm was missed by more than a beat, a new one begins.
        let next = self.beat_at + pace.heartbeat;
        self.beat_at = if next > now.steady { next } else { now.steady + pace.heartbeat };
        Due::Heartbeat
    }
}

impl Life {
    fn new(expires_at: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let left = (expires_at - now).max(TimeDelta::zero());
        let notice = TimeDelta::from_std(EXPIRY_NOTICE).unwrap_or(TimeDelta::zero()).min(left / 2);
        Self { expires_at, warn_at: Some(expires_at - notice) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { heartbeat: Duration::from_secs(30), max_age: Duration::from_secs(3600) };

    fn after(start: Now, seconds: u64) -> Now {
        let time = Duration::from_secs(seconds);
        Now { steady: start.steady + time, wall: start.wall + time }
    }

    fn expiring(start: Now, seconds: u64) -> Clock {
        Clock::new(PACE, Some(after(start, seconds).wall), start, 0.0)
    }

    #[test]
    fn it_beats_in_its_own_rhythm_also_when_it_is_looked_at_late() {
        let start = Now::read();
        let mut clock = Clock::new(PACE, None, start, 1.0);
        let mut due = |seconds| clock.due(after(start, seconds), PACE);
        assert_eq!(due(14), Due::Nothing);
        assert_eq!(due(16), Due::Heartbeat);
        assert_eq!((due(16), due(44)), (Due::Nothing, Due::Nothing));
        assert_eq!(due(45), Due::Heartbeat);
        assert_eq!((due(200), due(200), due(229)), (Due::Heartbeat, Due::Nothing, Due::Nothing));
        assert_eq!(due(230), Due::Heartbeat);
    }

    #[test]
    fn a_lease_ends_up_to_a_tenth_early() {
        let start = Now::read();
        for (dice, end) in [(0.0, 3600), (1.0, 3240)] {
            let mut clock = Clock::new(PACE, None, start, dice);
            assert_eq!(clock.due(after(start, end - 1), PACE), Due::Heartbeat);
            assert_eq!(clock.due(after(start, end), PACE), Due::End(Closing::Lease));
        }
    }

    #[test]
    fn a_token_is_warned_of_once_a_minute_before_or_at_half_of_what_is_left() {
        let start = Now::read();
        for (left, warned) in [(600, 540), (120, 60), (20, 10)] {
            let mut clock = expiring(start, left);
            let early = clock.due(after(start, warned - 1), PACE);
            assert!(matches!(early, Due::Nothing | Due::Heartbeat), "{early:?}");
            assert_eq!(clock.due(after(start, warned), PACE), Due::Expiring(after(start, left).wall));
            assert!(!matches!(clock.due(after(start, warned), PACE), Due::Expiring(_)));
            assert_eq!(clock.due(after(start, left), PACE), Due::End(Closing::Expired));
        }
    }

    #[test]
    fn a_wall_clock_that_jumps_counts_as_it_stands() {
        let start = Now::read();
        let mut clock = expiring(start, 600);
        let ahead = Now { wall: after(start, 601).wall, ..start };
        assert_eq!(clock.due(ahead, PACE), Due::End(Closing::Expired));
        assert_eq!(clock.due(after(start, 1), PACE), Due::Nothing);
    }
}
