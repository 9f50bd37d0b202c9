//! When a host that serves nobody is left in peace, and when it is given up.
//!
//! After [`FAILURE_THRESHOLD`] visits in a row that came to nothing (no connection, no answer in time, nothing but "too many
//! requests") a host is down: one new row at a time tries it, after pauses that grow with the time it has been down. It
//! gets the patience that the attempts of one row get, deadlines and waits included. When that has passed it is given
//! up: rows need not be tried one by one to learn the same, and ten thousand of them end in a minute instead of a day.
//! Now and then one of them still tries, and an answer ends all of this at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::record::ErrorKind;

/// After so many visits in a row that came to nothing, one at a time is enough to learn that the host is back.
pub const FAILURE_THRESHOLD: u32 = 8;

/// Pauses between two tries grow from here ...
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// ... to here.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a host may serve nobody: as long as one row would keep trying.
#[derive(Clone, Copy, Debug)]
pub struct OpenAfter {
    /// Attempts of a row.
    pub attempts: u32,
    /// What they take when none gets a connection, with the waits between them.
    pub unconnected: Duration,
    /// What they take when none gets an answer.
    pub unanswered: Duration,
}

impl OpenAfter {
    const fn with(&self, kind: ErrorKind) -> Duration {
        match kind {
            ErrorKind::Stalled => self.unanswered,
            _ => self.unconnected,
        }
    }
}

/// A host has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// How the last visit failed.
    pub kind: ErrorKind,
    /// How long it has served nobody.
    pub down_for: Duration,
}

/// Visits in a row that came to nothing.
#[derive(Clone, Copy, Debug)]
pub struct FailureStreak {
    failures: u32,
    /// How often all were asked to come later.
    backoffs: u32,
    /// When the first of them began.
    began: Instant,
    /// How the last of them ended, whether it asked all to come later, and when that was.
    kind: ErrorKind,
    asks_to_wait: bool,
    last_failure: Instant,
    /// No new row enters before.
    next_probe: Instant,
}

/// What that means for a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is a host like any other.
    Closed,
    /// One at a time, and new rows not before that time, when there is something to try or to learn.
    HalfOpen(Instant),
    /// Only a new row after that time tries.
    Open(CircuitOpen, Instant),
}

impl FailureStreak {
    /// The first visit of them.
    pub const fn new(kind: ErrorKind, began: Instant) -> Self {
        Self { failures: 0, backoffs: 0, began, kind, asks_to_wait: false, last_failure: began, next_probe: began }
    }

    /// Another visit came to nothing. `asks`: everybody was asked to come later.
    pub fn note(&mut self, kind: ErrorKind, asks: bool, began: Instant, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.began = self.began.min(began);
        (self.kind, self.asks_to_wait, self.last_failure) = (kind, asks, now);
        // Those that were on their way already have not been tries.
        if began >= self.next_probe {
            self.next_probe = now + now.duration_since(self.began).clamp(MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL);
        }
    }

    /// All have been left waiting because of that.
    pub const fn note_backoff(&mut self) {
        self.backoffs = self.backoffs.saturating_add(1);
    }

    /// How often that was since somebody was served.
    pub const fn backoffs(&self) -> u32 {
        self.backoffs
    }

    pub fn state(&self, now: Instant, open_after: &OpenAfter) -> BreakerState {
        if self.failures < FAILURE_THRESHOLD {
            return BreakerState::Closed;
        }
        let end = self.began + open_after.with(self.kind);
        // A host that asks for time gets it as often as a row would give it, as long as it asks.
        let is_asking = self.asks_to_wait && (1..open_after.attempts).contains(&self.backoffs);
        if is_asking || now < end {
            let learn = if is_asking { self.next_probe } else { self.next_probe.min(end) };
            return BreakerState::HalfOpen(learn);
        }
        let open = CircuitOpen { kind: self.kind, down_for: now.duration_since(self.began) };
        BreakerState::Open(open, self.last_failure + MAX_PROBE_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const OPEN_AFTER: OpenAfter = OpenAfter { attempts: 4, unconnected: SECOND.saturating_mul(40), unanswered: SECOND };

    fn streak(kind: ErrorKind, visits: u32, at: Instant) -> FailureStreak {
        let mut streak = FailureStreak::new(kind, at);
        let asks = kind == ErrorKind::HttpStatus(429);
        (0..visits).for_each(|_| streak.note(kind, asks, at, at));
        streak
    }

    #[test]
    fn a_host_is_down_after_some_failures_and_given_up_after_its_patience() {
        let start = Instant::now();
        assert_eq!(
            streak(ErrorKind::Connect, FAILURE_THRESHOLD - 1, start).state(start, &OPEN_AFTER),
            BreakerState::Closed
        );
        let streak = streak(ErrorKind::Connect, FAILURE_THRESHOLD, start);
        assert_eq!(streak.state(start, &OPEN_AFTER), BreakerState::HalfOpen(start + SECOND));
        let open = CircuitOpen { kind: ErrorKind::Connect, down_for: 40 * SECOND };
        let at_last = streak.state(start + 40 * SECOND, &OPEN_AFTER);
        assert_eq!(at_last, BreakerState::Open(open, start + MAX_PROBE_INTERVAL));
    }

    #[test]
    fn pauses_grow_with_the_time_it_is_down_and_end_with_its_patience() {
        let start = Instant::now();
        let mut streak = streak(ErrorKind::Connect, FAILURE_THRESHOLD, start);
        let mut pauses = Vec::new();
        let mut now = start;
        while let BreakerState::HalfOpen(next) = streak.state(now, &OPEN_AFTER) {
            pauses.push((next - now).as_secs());
            now = next;
            streak.note(ErrorKind::Connect, false, now, now);
        }
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 8]);
        let BreakerState::Open(_, next) = streak.state(now, &OPEN_AFTER) else { panic!("{streak:?}") };
        assert_eq!(next - now, MAX_PROBE_INTERVAL);
    }

    #[test]
    fn a_host_that_asks_for_time_gets_it_as_often_as_a_row_would_give_it() {
        let start = Instant::now();
        let mut streak = streak(ErrorKind::HttpStatus(429), FAILURE_THRESHOLD, start);
        (0..3).for_each(|_| streak.note_backoff());
        assert!(matches!(streak.state(start + 3600 * SECOND, &OPEN_AFTER), BreakerState::HalfOpen(_)));
        let mut busy = streak;
        busy.note(ErrorKind::HttpStatus(503), false, start, start);
        assert!(matches!(busy.state(start + 39 * SECOND, &OPEN_AFTER), BreakerState::HalfOpen(_)));
        assert!(matches!(busy.state(start + 40 * SECOND, &OPEN_AFTER), BreakerState::Open(..)), "it asks no more");
        streak.note_backoff();
        assert!(matches!(streak.state(start + 3600 * SECOND, &OPEN_AFTER), BreakerState::Open(..)));
    }

    #[test]
    fn silence_has_a_patience_of_its_own() {
        let start = Instant::now();
        let streak = streak(ErrorKind::Stalled, FAILURE_THRESHOLD, start);
        assert!(matches!(streak.state(start + SECOND, &OPEN_AFTER), BreakerState::Open(..)));
    }
}
