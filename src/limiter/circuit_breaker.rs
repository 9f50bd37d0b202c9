//! When a host that serves nobody is left in peace, and when it is given up.
//!
//! After [`REFUSALS`] visits in a row that came to nothing (no connection, no answer in time, nothing but "too many
//! requests") a host is down: one new row at a time tries it, after pauses that grow with the time it has been down. It
//! gets the patience that the attempts of one row get, deadlines and waits included. When that has passed it is given
//! up: rows need not be tried one by one to learn the same, and ten thousand of them end in a minute instead of a day.
//! Now and then one of them still tries, and an answer ends all of this at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::record::ErrorKind;

/// After so many visits in a row that came to nothing, one at a time is enough to learn that the host is back.
pub const REFUSALS: u32 = 8;

/// Pauses between two tries grow from here ...
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// ... to here.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a host may serve nobody: as long as one row would keep trying.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts of a row.
    pub tries: u32,
    /// What they take when none gets a connection, with the waits between them.
    pub connecting: Duration,
    /// What they take when none gets an answer.
    pub answering: Duration,
}

impl Patience {
    const fn with(&self, kind: ErrorKind) -> Duration {
        match kind {
            ErrorKind::Stalled => self.answering,
            _ => self.connecting,
        }
    }
}

/// A host has been given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// How the last visit failed.
    pub kind: ErrorKind,
    /// How long it has served nobody.
    pub time: Duration,
}

/// Visits in a row that came to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    visits: u32,
    /// How often all were asked to come later.
    pauses: u32,
    /// When the first of them began.
    since: Instant,
    /// How the last of them ended, whether it asked all to come later, and when that was.
    kind: ErrorKind,
    asks: bool,
    last: Instant,
    /// No new row enters before.
    next: Instant,
}

/// What that means for a new row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a host like any other.
    Up,
    /// One at a time, and new rows not before that time, when there is something to try or to learn.
    Down(Instant),
    /// Only a new row after that time tries.
    GivenUp(GivenUp, Instant),
}

impl Failing {
    /// The first visit of them.
    pub const fn new(kind: ErrorKind, began: Instant) -> Self {
        Self { visits: 0, pauses: 0, since: began, kind, asks: false, last: began, next: began }
    }

    /// Another visit came to nothing. `asks`: everybody was asked to come later.
    pub fn note(&mut self, kind: ErrorKind, asks: bool, began: Instant, now: Instant) {
        self.visits = self.visits.saturating_add(1);
        self.since = self.since.min(began);
        (self.kind, self.asks, self.last) = (kind, asks, now);
        // Those that were on their way already have not been tries.
        if began >= self.next {
            self.next = now + now.duration_since(self.since).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        }
    }

    /// All have been left waiting because of that.
    pub const fn paused(&mut self) {
        self.pauses = self.pauses.saturating_add(1);
    }

    /// How often that was since somebody was served.
    pub const fn pauses(&self) -> u32 {
        self.pauses
    }

    pub fn standing(&self, now: Instant, patience: &Patience) -> Standing {
        if self.visits < REFUSALS {
            return Standing::Up;
        }
        let end = self.since + patience.with(self.kind);
        // A host that asks for time gets it as often as a row would give it, as long as it asks.
        let is_asking = self.asks && (1..patience.tries).contains(&self.pauses);
        if is_asking || now < end {
            let learn = if is_asking { self.next } else { self.next.min(end) };
            return Standing::Down(learn);
        }
        let given_up = GivenUp { kind: self.kind, time: now.duration_since(self.since) };
        Standing::GivenUp(given_up, self.last + LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience { tries: 4, connecting: SECOND.saturating_mul(40), answering: SECOND };

    fn failing(kind: ErrorKind, visits: u32, at: Instant) -> Failing {
        let mut failing = Failing::new(kind, at);
        let asks = kind == ErrorKind::HttpStatus(429);
        (0..visits).for_each(|_| failing.note(kind, asks, at, at));
        failing
    }

    #[test]
    fn a_host_is_down_after_some_failures_and_given_up_after_its_patience() {
        let start = Instant::now();
        assert_eq!(failing(ErrorKind::Connect, REFUSALS - 1, start).standing(start, &PATIENCE), Standing::Up);
        let failing = failing(ErrorKind::Connect, REFUSALS, start);
        assert_eq!(failing.standing(start, &PATIENCE), Standing::Down(start + SECOND));
        let given_up = GivenUp { kind: ErrorKind::Connect, time: 40 * SECOND };
        let at_last = failing.standing(start + 40 * SECOND, &PATIENCE);
        assert_eq!(at_last, Standing::GivenUp(given_up, start + LONGEST_PAUSE));
    }

    #[test]
    fn pauses_grow_with_the_time_it_is_down_and_end_with_its_patience() {
        let start = Instant::now();
        let mut failing = failing(ErrorKind::Connect, REFUSALS, start);
        let mut pauses = Vec::new();
        let mut now = start;
        while let Standing::Down(next) = failing.standing(now, &PATIENCE) {
            pauses.push((next - now).as_secs());
            now = next;
            failing.note(ErrorKind::Connect, false, now, now);
        }
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 8]);
        let Standing::GivenUp(_, next) = failing.standing(now, &PATIENCE) else { panic!("{failing:?}") };
        assert_eq!(next - now, LONGEST_PAUSE);
    }

    #[test]
    fn a_host_that_asks_for_time_gets_it_as_often_as_a_row_would_give_it() {
        let start = Instant::now();
        let mut failing = failing(ErrorKind::HttpStatus(429), REFUSALS, start);
        (0..3).for_each(|_| failing.paused());
        assert!(matches!(failing.standing(start + 3600 * SECOND, &PATIENCE), Standing::Down(_)));
        let mut busy = failing;
        busy.note(ErrorKind::HttpStatus(503), false, start, start);
        assert!(matches!(busy.standing(start + 39 * SECOND, &PATIENCE), Standing::Down(_)));
        assert!(matches!(busy.standing(start + 40 * SECOND, &PATIENCE), Standing::GivenUp(..)), "it asks no more");
        failing.paused();
        assert!(matches!(failing.standing(start + 3600 * SECOND, &PATIENCE), Standing::GivenUp(..)));
    }

    #[test]
    fn silence_has_a_patience_of_its_own() {
        let start = Instant::now();
        let failing = failing(ErrorKind::Stalled, REFUSALS, start);
        assert!(matches!(failing.standing(start + SECOND, &PATIENCE), Standing::GivenUp(..)));
    }
}
