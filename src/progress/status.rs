//! The status of a pass at one moment, as plain values, with the time that the rest will take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::facts::{DownHost, Facts, FactsOf, ThrottledHost, Total};
use super::failures::FailureGroup;
use super::in_flight::SlowDownload;
use super::rate::{RateSample, RateWindow, Rates};
use crate::record::ErrorKind;

/// The status of a pass at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The name of the pass; empty if there is only one.
    pub title: &'static str,
    /// Rows that have ended: saved, failed, refused or skipped.
    pub ended: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that were skipped.
    pub skipped: u64,
    /// Rows whose image the options exclude.
    pub refused: u64,
    /// Bytes that have been received.
    pub bytes: u64,
    /// Downloads that are in flight.
    pub in_flight: u64,
    /// The number of rows in the lists.
    pub total: Total,
    /// Time since the pass began.
    pub elapsed: Duration,
    /// The current rates.
    pub rates: Rates,
    /// Failures by kind, the most frequent first.
    pub failures: Vec<(ErrorKind, u64)>,
    /// Failures by host and kind, the most frequent first, at most three.
    pub groups: Vec<FailureGroup>,
    /// The number of all groups.
    pub all_groups: usize,
    /// The hosts that do not answer, those with the most rows first.
    pub down: Vec<DownHost>,
    /// The hosts that have throttled, the worst first.
    pub throttled: Vec<ThrottledHost>,
    /// The slowest downloads in flight, the slowest first.
    pub slowest: Vec<SlowDownload>,
    /// Shards that are open, and those that are complete, if images go into shards.
    pub shards: Option<(u64, u64)>,
}

/// The number of groups of failures in a status.
const MAX_GROUPS: usize = 3;
/// The number of slow downloads in a status.
const MAX_SLOWEST: usize = 3;
/// Downloads that have been in flight for less time than this are not shown one by one.
const MIN_SLOW_TIME: Duration = Duration::from_secs(1);

/// With fewer rows that have ended, the time for the rest is not estimated.
const MIN_ROWS_FOR_ESTIMATE: u64 = 10;

/// Longer estimates are not shown: about three years, in seconds.
const MAX_ESTIMATE_SECONDS: f64 = 1e8;

impl Status {
    /// The number of rows that have not ended, if it is known.
    pub fn rest(&self) -> Option<u64> {
        let (Total::Known(total) | Total::About(total)) = self.total else { return None };
        Some(total.saturating_sub(self.ended))
    }

    /// The number of rows that have not ended, if all of them are in flight. They take as long as the slowest of them, which
    /// cannot be estimated from a rate.
    pub fn last_in_flight(&self) -> Option<u64> {
        self.rest().filter(|rest| (1..=self.in_flight).contains(rest))
    }

    /// The time that the rest will take at the current rate, if it can be estimated. It is no shorter than the time for which
    /// no request is sent to a host that has throttled, and than the time until a host that does not answer is given up. The
    /// rows that wait for such a host end then, all at once. If that time is not known, nothing is estimated.
    pub fn time_left(&self) -> Option<Duration> {
        let rest = self.rest().filter(|rest| *rest > self.in_flight)?;
        if self.ended < MIN_ROWS_FOR_ESTIMATE {
            return None;
        }
        let (mut behind, mut deadline) = (0, Duration::ZERO);
        for host in &self.down {
            behind += host.rows;
            deadline = deadline.max(host.given_up_in?);
        }
        #[expect(clippy::cast_precision_loss, reason = "shown")]
        let seconds = match rest.saturating_sub(behind) {
            0 => 0.0,
            rest => rest as f64 / self.rates.requested,
        };
        let left = (seconds < MAX_ESTIMATE_SECONDS).then(|| Duration::from_secs_f64(seconds))?;
        let backoff = self.throttled.iter().filter_map(|host| host.backoff_left).max().unwrap_or_default();
        Some(left.max(backoff).max(deadline)).filter(|left| *left >= Duration::from_secs(1))
    }
}

/// Reads the status of a pass again and again.
pub struct Observer {
    title: &'static str,
    counters: Arc<Counters>,
    facts: FactsOf,
    begin: Instant,
    window: RateWindow,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("title", &self.title).field("begin", &self.begin).finish_non_exhaustive()
    }
}

impl Observer {
    /// An observer of a pass that begins now.
    pub fn new(title: &'static str, counters: Arc<Counters>, facts: FactsOf) -> Self {
        Self { title, counters, facts, begin: Instant::now(), window: RateWindow::default() }
    }

    /// The current status, with the rates of the last seconds.
    pub fn status(&mut self) -> Status {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let (failed, skipped, bytes) = (read(&counters.failed), read(&counters.skipped), read(&counters.bytes));
        let refused = read(&counters.refused);
        let (saved, failed_requests) = (read(&counters.saved), read(&counters.failed_requests));
        let ended = saved + failed + skipped + refused;
        let elapsed = self.begin.elapsed();
        let Facts { total, throttled, mut down, shards } = (self.facts)();
        if let Some(downloads) = &counters.downloads {
            // A host that sends a large image is not silent.
            down.retain(|host| host.kind.is_some() || !downloads.is_receiving_from(&host.host));
        }
        let (groups, all_groups) = counters.groups(|groups| groups.worst(MAX_GROUPS));
        Status {
            title: self.title,
            ended,
            failed,
            skipped,
            refused,
            bytes,
            in_flight: counters.in_flight(),
            // More rows than the estimate may have ended already.
            total: if let Total::About(total) = total { Total::About(total.max(ended)) } else { total },
            elapsed,
            rates: self.window.rates(RateSample {
                at: elapsed,
                saved: read(&counters.downloaded),
                requested: saved + failed_requests,
                bytes,
            }),
            failures: counters.failures(),
            groups,
            all_groups,
            down,
            throttled,
            shards,
            slowest: counters
                .downloads
                .as_ref()
                .map_or_else(Vec::new, |downloads| downloads.slowest(MAX_SLOWEST, MIN_SLOW_TIME)),
        }
    }

    /// The status at the end of the pass, with the mean rates of the whole pass.
    pub fn final_status(&mut self) -> Status {
        let status = self.status();
        let saved = self.counters.downloaded.load(Ordering::Relaxed);
        let whole = RateSample { at: status.elapsed, saved, requested: saved, bytes: status.bytes };
        Status { rates: RateSample::default().until(whole), ..status }
    }

    /// The lines that tell of the failures of the pass.
    pub fn failure_lines(&self) -> Vec<String> {
        self.counters.groups(|groups| groups.lines(self.title))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::counters::tests::fail;

    #[test]
    fn the_time_left_follows_from_the_current_rate() {
        let rates = Rates { saved: 20.0, requested: 50.0, bytes: 0.0 };
        let status = |ended, total| Status { ended, total, rates, in_flight: 64, ..Status::default() };
        let left = |ended, total| status(ended, total).time_left();
        assert_eq!(left(500, Total::Known(1000)), Some(Duration::from_secs(10)));
        assert_eq!(left(500, Total::About(1000)), Some(Duration::from_secs(10)));
        assert_eq!(left(500, Total::Unknown), None);
        assert_eq!(left(9, Total::Known(1000)), None, "too few rows have ended");
        assert_eq!(left(900, Total::Known(1000)), Some(Duration::from_secs(2)));
        assert_eq!(left(936, Total::Known(1000)), None, "all of them are in flight");
        assert_eq!(
            [935, 936, 1000].map(|ended| status(ended, Total::Known(1000)).last_in_flight()),
            [None, Some(64), None]
        );
        assert_eq!(status(936, Total::Unknown).last_in_flight(), None);
        let host = ThrottledHost { host: "a.example".into(), times: 1, backoff_left: Some(Duration::from_secs(30)) };
        let paused = Status { throttled: vec![host], ..status(500, Total::Known(1000)) };
        assert_eq!(paused.time_left(), Some(Duration::from_secs(30)));
        let down = |rows, given_up_in: Option<u64>| {
            let (kind, silent_for) = (Some(ErrorKind::Connect), Duration::from_secs(9));
            let given_up_in = given_up_in.map(Duration::from_secs);
            let host = DownHost { host: "b.example".into(), kind, silent_for, rows, given_up_in };
            Status { down: vec![host], ..status(500, Total::Known(1000)) }.time_left()
        };
        assert_eq!(down(450, Some(31)), Some(Duration::from_secs(31)), "its rows end with its deadline");
        assert_eq!(down(300, Some(1)), Some(Duration::from_secs(4)), "the others take longer");
        assert_eq!(down(500, Some(0)), None);
        assert_eq!(down(450, None), None, "it is not known");
        let still = Status { ended: 10, total: Total::Known(11), ..Status::default() };
        assert_eq!(still.time_left(), None, "the rate is zero");
    }

    #[test]
    fn a_status_has_the_values_of_the_counters_and_the_facts() {
        let counters = Arc::new(Counters::default());
        let facts = || Facts { total: Total::About(2), ..Facts::default() };
        let mut observer = Observer::new("concurrent", Arc::clone(&counters), Arc::new(facts));
        counters.saved.store(3, Ordering::Relaxed);
        counters.downloaded.store(3, Ordering::Relaxed);
        counters.bytes.store(700, Ordering::Relaxed);
        fail(&counters, ErrorKind::Dns);
        counters.refused.store(2, Ordering::Relaxed);
        counters.skipped.store(100, Ordering::Relaxed);
        let status = observer.status();
        assert_eq!((status.ended, status.failed, status.bytes, status.total), (106, 1, 700, Total::About(106)));
        assert_eq!(status.refused, 2);
        assert_eq!(status.failures, [(ErrorKind::Dns, 1)]);
        let rates = observer.final_status().rates;
        assert!(rates.saved > 0.0);
        let Rates { saved, requested, .. } = status.rates;
        assert!((requested / saved - 4.0 / 3.0).abs() < 1e-9, "what was skipped took no time: {saved} and {requested}");
    }
}
