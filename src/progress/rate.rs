//! The current rates of downloads and bytes, over a sliding window of time.
//!
//! The mean of a whole pass says little about its rest: a host may have begun to throttle. A tenth of a second is too short
//! to say anything. So a rate is the mean of the last ten seconds, or of up to a minute if few rows ended in them. It is
//! never higher than the last ten seconds allow.
//!
//! Rows that were skipped, or that failed without a request because their host is given up, took no time, so they count in
//! no rate. Rows that failed after a request are no downloads, but took the time of one: they count where the time for the
//! rest is estimated.

use std::collections::VecDeque;
use std::time::Duration;

/// The window of a rate ...
const MIN_WINDOW: Duration = Duration::from_secs(10);
/// ... which is extended until this number of rows ended in it ...
const MIN_ROWS_IN_WINDOW: u64 = 20;
/// ... but to no more than this.
const MAX_WINDOW: Duration = Duration::from_secs(60);

/// The shortest time between two samples that are kept.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// The progress of a pass at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateSample {
    /// Time since the pass began.
    pub at: Duration,
    /// Rows whose image was downloaded and saved.
    pub saved: u64,
    /// Rows that ended after some work: those that were saved, and those that failed after a request.
    pub requested: u64,
    /// Bytes that have been received.
    pub bytes: u64,
}

/// Downloads and bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Rows that are saved per second.
    pub saved: f64,
    /// Rows that end after a request, per second.
    pub requested: f64,
    /// Bytes that are received per second.
    pub bytes: f64,
}

/// The samples of the last minute.
#[derive(Debug)]
pub struct RateWindow(VecDeque<RateSample>);

impl Default for RateWindow {
    /// A window with the sample of the beginning, when nothing had ended.
    fn default() -> Self {
        Self(VecDeque::from([RateSample::default()]))
    }
}

impl RateWindow {
    /// Adds a sample and returns the rates at its time.
    pub fn rates(&mut self, now: RateSample) -> Rates {
        let age = |sample: &RateSample| now.at.saturating_sub(sample.at);
        // One sample older than the window is kept, so that the samples always cover the whole window.
        while self.0.get(1).is_some_and(|second| age(second) >= MAX_WINDOW) {
            self.0.pop_front();
        }
        let since = |is_long_enough: &dyn Fn(&&RateSample) -> bool| {
            self.0.iter().rev().find(is_long_enough).or_else(|| self.0.front()).copied().unwrap_or_default()
        };
        let short = since(&|sample| age(sample) >= MIN_WINDOW);
        let long = |rows: fn(&RateSample) -> u64| {
            since(&|sample| age(sample) >= MIN_WINDOW && rows(&now) - rows(sample) >= MIN_ROWS_IN_WINDOW)
        };
        let (saved, requested) = (long(|sample| sample.saved), long(|sample| sample.requested));
        if self.0.back().is_none_or(|last| age(last) >= SAMPLE_INTERVAL) {
            self.0.push_back(now);
        }
        // When most hosts are done, the remaining one may be far slower than the mean of the minute. One row is added,
        // because one may be about to end.
        let at_most = short.until(RateSample { saved: now.saved + 1, requested: now.requested + 1, ..now });
        Rates {
            saved: saved.until(now).saved.min(at_most.saved),
            requested: requested.until(now).requested.min(at_most.requested),
            bytes: short.until(now).bytes,
        }
    }
}

impl RateSample {
    /// The mean rates from this sample to a later one.
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    pub fn until(self, later: Self) -> Rates {
        let seconds = later.at.saturating_sub(self.at).as_secs_f64().max(0.001);
        let rate = |before: u64, after: u64| (after - before) as f64 / seconds;
        Rates {
            saved: rate(self.saved, later.saved),
            requested: rate(self.requested, later.requested),
            bytes: rate(self.bytes, later.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate of rows after each tenth of a second; `rows` are the numbers of rows that end in each of them.
    fn rates(rows: impl IntoIterator<Item = u64>) -> Vec<f64> {
        let (mut window, mut saved) = (RateWindow::default(), 0);
        let each = rows.into_iter().zip(1..).map(|(rows, tenths)| {
            saved += rows;
            let at = Duration::from_millis(100 * tenths);
            let rates = window.rates(RateSample { at, saved, requested: 3 * saved, bytes: 0 });
            assert!(rates.requested >= rates.saved, "{rates:?}");
            rates.saved
        });
        each.collect()
    }

    #[test]
    fn a_rate_is_the_mean_of_the_last_seconds() {
        // Many rows at once, then few.
        let rates = rates([100_000].into_iter().chain([2; 300]));
        assert!(rates[0] > 999_999.0, "{}", rates[0]);
        assert!(rates[50] > 10_000.0);
        assert!((19.0..21.0).contains(&rates[110]), "{}", rates[110]);
        assert!((19.0..21.0).contains(&rates[300]), "{}", rates[300]);
    }

    #[test]
    fn a_rate_is_the_mean_of_a_minute_if_few_rows_end() {
        // One row every four seconds.
        let rates = rates((0..1200).map(|tenth| u64::from(tenth % 40 == 0)));
        assert!(rates[700..].iter().all(|rate| (0.23..0.27).contains(rate)), "{:?}", &rates[700..]);
    }

    #[test]
    fn a_pass_that_has_become_slow_is_not_shown_as_fast() {
        let rates = rates((0..300).map(|tenth| if tenth < 150 { 10 } else { u64::from(tenth % 40 == 0) }));
        assert!((99.0..101.0).contains(&rates[149]), "{}", rates[149]);
        assert!(rates[260..].iter().all(|rate| *rate < 0.5), "{:?}", &rates[260..]);
    }
}
