//! How fast it goes lately.
//!
//! What happened a minute ago says little about the rest: ten thousand rows may have needed nothing at the start, a host
//! may ask for less since. What happened in the last tenth of a second says nothing. So a rate is that of the last ten
//! seconds, or of longer when little happened in them, but no higher than what did happen in them allows.

use std::collections::VecDeque;
use std::time::Duration;

/// A rate is that of so long ...
const SHORT: Duration = Duration::from_secs(10);
/// ... or of longer, until so many images are in it ...
const ENOUGH: u64 = 20;
/// ... or it is that of so long.
const LONG: Duration = Duration::from_secs(60);

/// Looks are remembered when they are so far from each other.
const APART: Duration = Duration::from_millis(200);

/// How far a pass had got at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Since its beginning.
    pub at: Duration,
    /// Rows that have ended.
    pub ended: u64,
    /// Bytes that have come.
    pub bytes: u64,
}

/// Rows and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Rows that end in a second.
    pub rows: f64,
    /// Bytes that come in a second.
    pub bytes: f64,
}

/// The looks of the last minute.
#[derive(Debug)]
pub struct Lately(VecDeque<Look>);

impl Default for Lately {
    /// At the beginning nothing had happened.
    fn default() -> Self {
        Self(VecDeque::from([Look::default()]))
    }
}

impl Lately {
    /// The rates as of this look.
    pub fn rates(&mut self, now: Look) -> Rates {
        let age = |look: &Look| now.at.saturating_sub(look.at);
        // One that is older stays, so that what is remembered is never shorter than it should be.
        while self.0.get(1).is_some_and(|second| age(second) >= LONG) {
            self.0.pop_front();
        }
        let since = |is_long_enough: &dyn Fn(&&Look) -> bool| {
            self.0.iter().rev().find(is_long_enough).or_else(|| self.0.front()).copied().unwrap_or_default()
        };
        let short = since(&|look| age(look) >= SHORT);
        let long = since(&|look| age(look) >= SHORT && now.ended - look.ended >= ENOUGH);
        if self.0.back().is_none_or(|last| age(last) >= APART) {
            self.0.push_back(now);
        }
        // When most hosts are done, the last one may be far slower than the whole minute was. One more row may be about to
        // end.
        let at_most = short.until(Look { ended: now.ended + 1, ..now }).rows;
        Rates { rows: long.until(now).rows.min(at_most), bytes: short.until(now).bytes }
    }
}

impl Look {
    /// The rates from here to there.
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    pub fn until(self, later: Self) -> Rates {
        let seconds = later.at.saturating_sub(self.at).as_secs_f64().max(0.001);
        Rates { rows: (later.ended - self.ended) as f64 / seconds, bytes: (later.bytes - self.bytes) as f64 / seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate of rows after each of so many tenths of a second, of which each brings so many rows.
    fn rates(rows: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let (mut lately, mut ended) = (Lately::default(), 0);
        let each = rows.into_iter().zip(1..).map(|(rows, tenths)| {
            ended += rows;
            lately.rates(Look { at: Duration::from_millis(100 * tenths), ended, bytes: 0 }).rows
        });
        each.collect()
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        // Rows that need nothing, then others.
        let rates = rates([100_000].into_iter().chain([2; 300]));
        assert!(rates[0] > 999_999.0, "{}", rates[0]);
        assert!(rates[50] > 10_000.0);
        assert!((19.0..21.0).contains(&rates[110]), "{}", rates[110]);
        assert!((19.0..21.0).contains(&rates[300]), "{}", rates[300]);
    }

    #[test]
    fn where_little_happens_a_rate_is_that_of_a_minute() {
        // One row in four seconds.
        let rates = rates((0..1200).map(|tenth| u64::from(tenth % 40 == 0)));
        assert!(rates[700..].iter().all(|rate| (0.23..0.27).contains(rate)), "{:?}", &rates[700..]);
    }

    #[test]
    fn what_has_become_slow_is_not_taken_for_fast() {
        let rates = rates((0..300).map(|tenth| if tenth < 150 { 10 } else { u64::from(tenth % 40 == 0) }));
        assert!((99.0..101.0).contains(&rates[149]), "{}", rates[149]);
        assert!(rates[260..].iter().all(|rate| *rate < 0.5), "{:?}", &rates[260..]);
    }
}
