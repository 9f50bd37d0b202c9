//! One look at a pass: plain values, whatever is made of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::in_flight::Slow;
use super::rate::{Lately, Look, Rates};
use crate::record::ErrorKind;

/// The number of rows in the lists, as far as it can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Known(u64),
    /// About so many, if the rest of the lists is like what has been read of them.
    About(u64),
    /// Nobody can tell: a pipe, say, whose end has not come.
    #[default]
    Unknown,
}

/// A host that asked for less lately, or broke under the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Its name, and its port where that is not the usual one.
    pub host: String,
    /// How often it did, in this pass.
    pub times: u64,
    /// How long it is left alone still.
    pub left_alone: Option<Duration>,
}

/// What others than the counters tell.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The number of rows.
    pub total: Total,
    /// The hosts to be spared, the worst first.
    pub throttled: Vec<Throttled>,
}

/// One look.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// What the pass is called, where there is more than one.
    pub title: &'static str,
    /// Rows that have ended, in whatever way.
    pub ended: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that needed nothing.
    pub skipped: u64,
    /// Bytes that have come.
    pub bytes: u64,
    /// Downloads under way.
    pub alive: u64,
    /// Rows in all.
    pub total: Total,
    /// Since the beginning.
    pub elapsed: Duration,
    /// How fast it goes.
    pub rates: Rates,
    /// What failed, the most frequent first.
    pub failures: Vec<(ErrorKind, u64)>,
    /// Hosts to be spared, the worst first.
    pub throttled: Vec<Throttled>,
    /// The slowest downloads under way, the slowest first.
    pub slowest: Vec<Slow>,
}

/// So many of the slowest downloads are told ...
const SLOWEST: usize = 3;
/// ... when they have taken longer than that. A run whose images come quickly has nothing to say about single ones.
const SLOW: Duration = Duration::from_secs(1);

/// A handful of images says little about the rest.
const HANDFUL: u64 = 10;

/// So long a time is as good as none: three years.
const ENDLESS: f64 = 1e8;

impl Status {
    /// How many rows there are still, if that can be told.
    fn rest(&self) -> Option<u64> {
        let (Total::Known(total) | Total::About(total)) = self.total else { return None };
        Some(total.saturating_sub(self.ended))
    }

    /// The rest, when all of it is under way. It takes as long as the slowest of it, which no rate tells.
    pub fn last(&self) -> Option<u64> {
        self.rest().filter(|rest| (1..=self.alive).contains(rest))
    }

    /// How long the rest will take at the present rate, if that can be told. Hosts that are left alone are waited for.
    pub fn left(&self) -> Option<Duration> {
        let rest = self.rest().filter(|rest| *rest > self.alive)?;
        if self.ended < HANDFUL {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "shown")]
        let seconds = rest as f64 / self.rates.rows;
        let left = (seconds < ENDLESS).then(|| Duration::from_secs_f64(seconds))?;
        let pause = self.throttled.iter().filter_map(|host| host.left_alone).max().unwrap_or_default();
        Some(left.max(pause)).filter(|left| *left >= Duration::from_secs(1))
    }
}

/// Looks at a pass again and again.
pub struct Observer<F> {
    title: &'static str,
    counters: Arc<Counters>,
    facts: F,
    begin: Instant,
    lately: Lately,
}

impl<F: Fn() -> Facts> Observer<F> {
    /// The pass begins now.
    pub fn new(title: &'static str, counters: Arc<Counters>, facts: F) -> Self {
        Self { title, counters, facts, begin: Instant::now(), lately: Lately::default() }
    }

    /// The pass as it is now, with the rates of the last seconds.
    pub fn look(&mut self) -> Status {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let (failed, skipped, bytes) = (read(&counters.failed), read(&counters.skipped), read(&counters.bytes));
        let ended = read(&counters.saved) + failed + skipped;
        let elapsed = self.begin.elapsed();
        let Facts { total, throttled } = (self.facts)();
        Status {
            title: self.title,
            ended,
            failed,
            skipped,
            bytes,
            alive: counters.alive(),
            // More than were expected may have come already.
            total: if let Total::About(total) = total { Total::About(total.max(ended)) } else { total },
            elapsed,
            rates: self.lately.rates(Look { at: elapsed, ended, bytes }),
            failures: counters.failures(),
            throttled,
            slowest: counters.under_way.as_ref().map_or_else(Vec::new, |all| all.slowest(SLOWEST, SLOW)),
        }
    }

    /// The pass at its end, with the rates of all of it.
    pub fn last_look(&mut self) -> Status {
        let status = self.look();
        let whole = Look { at: status.elapsed, ended: status.ended, bytes: status.bytes };
        Status { rates: Look::default().until(whole), ..status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_what_the_present_rate_tells() {
        let rates = Rates { rows: 50.0, bytes: 0.0 };
        let status = |ended, total| Status { ended, total, rates, alive: 64, ..Status::default() };
        let left = |ended, total| status(ended, total).left();
        assert_eq!(left(500, Total::Known(1000)), Some(Duration::from_secs(10)));
        assert_eq!(left(500, Total::About(1000)), Some(Duration::from_secs(10)));
        assert_eq!(left(500, Total::Unknown), None);
        assert_eq!(left(9, Total::Known(1000)), None, "a handful");
        assert_eq!(left(900, Total::Known(1000)), Some(Duration::from_secs(2)));
        assert_eq!(left(936, Total::Known(1000)), None, "all of it is under way");
        assert_eq!([935, 936, 1000].map(|ended| status(ended, Total::Known(1000)).last()), [None, Some(64), None]);
        assert_eq!(status(936, Total::Unknown).last(), None);
        let pause = Throttled { host: "a.example".into(), times: 1, left_alone: Some(Duration::from_secs(30)) };
        let paused = Status { throttled: vec![pause], ..status(500, Total::Known(1000)) };
        assert_eq!(paused.left(), Some(Duration::from_secs(30)));
        let still = Status { ended: 10, total: Total::Known(11), ..Status::default() };
        assert_eq!(still.left(), None, "nothing comes");
    }

    #[test]
    fn a_look_is_what_the_counters_and_the_facts_tell() {
        let counters = Arc::new(Counters::default());
        let facts = || Facts { total: Total::About(2), throttled: Vec::new() };
        let mut observer = Observer::new("concurrent", Arc::clone(&counters), facts);
        counters.saved.store(3, Ordering::Relaxed);
        counters.bytes.store(700, Ordering::Relaxed);
        counters.fail(Some(ErrorKind::Dns));
        let status = observer.look();
        assert_eq!((status.ended, status.failed, status.bytes, status.total), (4, 1, 700, Total::About(4)));
        assert_eq!(status.failures, [(ErrorKind::Dns, 1)]);
        assert!(observer.last_look().rates.rows > 0.0);
    }
}
