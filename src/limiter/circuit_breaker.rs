//! Per-host circuit breaker: when to stop sending, when to probe, and when to give up.
//!
//! After [`FAILURE_THRESHOLD`] failures in a row (no connection, no response in time, nothing but "too many requests")
//! the circuit is half-open: one new row at a time probes the host, at intervals that grow with the time it has been
//! down. The circuit opens after the time that the attempts of one row would take, deadlines and waits included. From
//! then on rows fail at once instead of learning the same one by one, and ten thousand of them end in a minute instead
//! of a day. One row still probes now and then, and one response closes the circuit. Unlike in the classic pattern,
//! the half-open state comes first: no row fails before the host has had as much time as one row gives it.

use std::time::Duration;

use tokio::time::Instant;

use crate::record::ErrorKind;

/// Failures in a row after which a single probe at a time is enough to learn that the host is back.
pub const FAILURE_THRESHOLD: u32 = 8;

/// The shortest interval between two probes.
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The longest interval between two probes.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// When the circuit of a host opens: after the time that one row would keep trying.
#[derive(Clone, Copy, Debug)]
pub struct OpenAfter {
    /// Attempts of a row.
    pub attempts: u32,
    /// The time that they take when none gets a connection, with the waits between them.
    pub unconnected: Duration,
    /// The time that they take when none gets a response.
    pub unanswered: Duration,
}

impl OpenAfter {
    const fn for_failure(&self, kind: ErrorKind) -> Duration {
        match kind {
            ErrorKind::Stalled => self.unanswered,
            _ => self.unconnected,
        }
    }
}

/// Why a row gets no permit: the circuit of its host is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpen {
    /// How the last request failed.
    pub kind: ErrorKind,
    /// The time since the first of the failures in a row began.
    pub down_for: Duration,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug)]
pub struct FailureStreak {
    failures: u32,
    /// How often the host went into back-off.
    backoffs: u32,
    /// When the first failed request began.
    began: Instant,
    /// The last failure: its kind, whether the host asked for time, and when it came.
    kind: ErrorKind,
    asks_to_wait: bool,
    last_failure: Instant,
    /// No new row is admitted before.
    next_probe: Instant,
}

/// What the failures mean for a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests are sent as usual.
    Closed,
    /// One request at a time, and no new row before the given time.
    HalfOpen(Instant),
    /// Requests are not sent; only a new row after the given time probes the host.
    Open(CircuitOpen, Instant),
}

impl FailureStreak {
    /// A streak without failures yet; the request that is about to fail first began at `began`.
    pub const fn new(kind: ErrorKind, began: Instant) -> Self {
        Self { failures: 0, backoffs: 0, began, kind, asks_to_wait: false, last_failure: began, next_probe: began }
    }

    /// Another request failed. `asks_to_wait`: the host asked for time, from all rows.
    pub fn note(&mut self, kind: ErrorKind, asks_to_wait: bool, began: Instant, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.began = self.began.min(began);
        (self.kind, self.asks_to_wait, self.last_failure) = (kind, asks_to_wait, now);
        // Requests that were in flight already were no probes.
        if began >= self.next_probe {
            self.next_probe = now + now.duration_since(self.began).clamp(MIN_PROBE_INTERVAL, MAX_PROBE_INTERVAL);
        }
    }

    /// The host goes into back-off because of these failures.
    pub const fn note_backoff(&mut self) {
        self.backoffs = self.backoffs.saturating_add(1);
    }

    /// How often the host went into back-off since its last success.
    pub const fn backoffs(&self) -> u32 {
        self.backoffs
    }

    /// When the first of the failed requests began.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// How the last request failed.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// When the circuit opens, if the failures go on; `None` while the host asks for time. It gets that as often as a single
    /// row would give it, while it keeps asking.
    pub fn opens_at(&self, open_after: &OpenAfter) -> Option<Instant> {
        let is_asking = self.asks_to_wait && (1..open_after.attempts).contains(&self.backoffs);
        (!is_asking).then(|| self.began + open_after.for_failure(self.kind))
    }

    pub fn state(&self, now: Instant, open_after: &OpenAfter) -> BreakerState {
        if self.failures < FAILURE_THRESHOLD {
            return BreakerState::Closed;
        }
        match self.opens_at(open_after) {
            None => return BreakerState::HalfOpen(self.next_probe),
            Some(opens_at) if now < opens_at => return BreakerState::HalfOpen(self.next_probe.min(opens_at)),
            Some(_) => {}
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

    fn streak(kind: ErrorKind, failures: u32, at: Instant) -> FailureStreak {
        let mut streak = FailureStreak::new(kind, at);
        let asks_to_wait = kind == ErrorKind::HttpStatus(429);
        (0..failures).for_each(|_| streak.note(kind, asks_to_wait, at, at));
        streak
    }

    #[test]
    fn the_circuit_is_half_open_after_some_failures_and_open_after_its_time() {
        let start = Instant::now();
        assert_eq!(
            streak(ErrorKind::Connect, FAILURE_THRESHOLD - 1, start).state(start, &OPEN_AFTER),
            BreakerState::Closed
        );
        let streak = streak(ErrorKind::Connect, FAILURE_THRESHOLD, start);
        assert_eq!(streak.state(start, &OPEN_AFTER), BreakerState::HalfOpen(start + SECOND));
        let open = CircuitOpen { kind: ErrorKind::Connect, down_for: 40 * SECOND };
        let later = streak.state(start + 40 * SECOND, &OPEN_AFTER);
        assert_eq!(later, BreakerState::Open(open, start + MAX_PROBE_INTERVAL));
    }

    #[test]
    fn probe_intervals_grow_and_end_when_the_circuit_opens() {
        let start = Instant::now();
        let mut streak = streak(ErrorKind::Connect, FAILURE_THRESHOLD, start);
        let mut intervals = Vec::new();
        let mut now = start;
        while let BreakerState::HalfOpen(next) = streak.state(now, &OPEN_AFTER) {
            intervals.push((next - now).as_secs());
            now = next;
            streak.note(ErrorKind::Connect, false, now, now);
        }
        assert_eq!(intervals, [1, 1, 2, 4, 8, 16, 8]);
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
    fn silence_has_a_time_of_its_own() {
        let start = Instant::now();
        let streak = streak(ErrorKind::Stalled, FAILURE_THRESHOLD, start);
        assert!(matches!(streak.state(start + SECOND, &OPEN_AFTER), BreakerState::Open(..)));
    }
}
