//! Counters of a pass over the list, which downloads update and the display reads.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use url::Url;

use super::failures::FailureGroups;
use super::in_flight::{InFlight, SlotGuard};
use crate::record::{ErrorKind, Failed, Record};
use crate::util::lock;

/// Counters of one pass over the list.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows whose image was saved.
    pub saved: AtomicU64,
    /// Those of them whose image was downloaded, and not made anew from its stored file.
    pub downloaded: AtomicU64,
    /// Rows that failed.
    pub failed: AtomicU64,
    /// Rows that were skipped.
    pub skipped: AtomicU64,
    /// Rows whose image the options exclude.
    pub refused: AtomicU64,
    /// Bytes of bodies that were received. A byte that a retry receives again is not counted again.
    pub bytes: AtomicU64,
    /// Rows that failed after a request.
    pub failed_requests: AtomicU64,
    /// The failed rows by kind of error.
    by_kind: Mutex<BTreeMap<ErrorKind, u64>>,
    /// The failed rows by host and kind; `None` if there is no display.
    groups: Option<Mutex<FailureGroups>>,
    in_flight: AtomicU64,
    peak_in_flight: AtomicU64,
    /// The single downloads in flight; `None` if there is no display.
    pub(super) downloads: Option<InFlight>,
}

impl Counters {
    /// Counters for a display, which also shows single downloads. About `at_once` downloads are in flight at the same time.
    #[must_use]
    pub fn watched(at_once: NonZeroUsize) -> Self {
        Self { downloads: Some(InFlight::new(at_once)), groups: Some(Mutex::default()), ..Self::default() }
    }

    /// Counters for the lines that tell of failures at the end of a pass.
    #[must_use]
    pub fn grouping() -> Self {
        Self { groups: Some(Mutex::default()), ..Self::default() }
    }

    /// Counts an attempt at a download as in flight until the guard is dropped. `attempt` is its number, from 1.
    pub fn begin(&self, url: &Url, attempt: u32) -> DownloadGuard<'_> {
        let now = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak_in_flight.fetch_max(now, Ordering::Relaxed);
        let slot = self.downloads.as_ref().and_then(|downloads| downloads.enter(url, attempt));
        DownloadGuard { counters: self, slot }
    }

    /// Counts a failed row.
    pub fn fail(&self, record: &Record, failed: &Failed) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failed_requests.fetch_add(u64::from(failed.attempts > 0), Ordering::Relaxed);
        let Some(kind) = ErrorKind::by_name(&failed.error, failed.http_status) else { return };
        *lock(&self.by_kind).entry(kind).or_default() += 1;
        // A run that ends says so once.
        if let Some(groups) = self.groups.as_ref().filter(|_| kind != ErrorKind::Interrupted) {
            lock(groups).add(record, failed, kind);
        }
    }

    /// Reads the failures by host and kind, if there is a display.
    pub(super) fn groups<T: Default>(&self, read: impl FnOnce(&FailureGroups) -> T) -> T {
        self.groups.as_ref().map_or_else(T::default, |groups| read(&lock(groups)))
    }

    /// The failures by kind, the most frequent first.
    #[must_use]
    pub fn failures(&self) -> Vec<(ErrorKind, u64)> {
        let by_kind = lock(&self.by_kind);
        let mut failures = by_kind.iter().map(|(kind, count)| (*kind, *count)).collect::<Vec<_>>();
        drop(by_kind);
        failures.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        failures
    }

    /// Downloads that are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The most downloads that were in flight at the same time.
    #[must_use]
    pub fn peak_in_flight(&self) -> u64 {
        self.peak_in_flight.load(Ordering::Relaxed)
    }
}

/// An attempt at a download, which counts as in flight until this is dropped.
#[derive(Debug)]
pub struct DownloadGuard<'a> {
    counters: &'a Counters,
    slot: Option<SlotGuard<'a>>,
}

impl DownloadGuard<'_> {
    /// Sets how many bytes of the body there are, and its length if that is known.
    pub fn reach(&self, position: u64, length: Option<u64>) {
        if let Some(slot) = &self.slot {
            slot.reach(position, length);
        }
    }
}

impl Drop for DownloadGuard<'_> {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The highest position that the body of one image has reached, over all attempts.
#[derive(Debug, Default)]
pub struct HighWaterMark(u64);

impl HighWaterMark {
    /// Raises the mark to `position` and returns by how many bytes: none while a retry receives bytes again.
    pub fn reach(&mut self, position: u64) -> u64 {
        let new = position.saturating_sub(self.0);
        self.0 += new;
        new
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::record::{Extra, FetchError, Outcome};

    /// Counts a row that failed in its only attempt.
    pub fn fail(counters: &Counters, kind: ErrorKind) {
        let failed = Failed::new(&FetchError::new(kind, "no luck"), 1, None);
        let (url, outcome) = ("http://a.example/a.png".into(), Outcome::Failed(failed.clone()));
        counters.fail(&Record { index: 0, url, url_hash: None, outcome, extra: Extra::default() }, &failed);
    }

    #[test]
    fn bytes_that_a_retry_receives_again_are_not_counted() {
        let mut mark = HighWaterMark::default();
        let reached = [10, 25, 5, 25, 30].map(|position| mark.reach(position));
        assert_eq!(reached, [10, 15, 0, 0, 5]);
    }

    #[test]
    fn the_peak_of_downloads_in_flight_is_remembered() {
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        for counters in [Counters::default(), Counters::watched(NonZeroUsize::MIN)] {
            let one = counters.begin(&url, 1);
            drop(counters.begin(&url, 1));
            drop(one);
            drop(counters.begin(&url, 2));
            assert_eq!((counters.in_flight(), counters.peak_in_flight()), (0, 2));
        }
    }

    #[test]
    fn the_most_frequent_failure_comes_first() {
        let counters = Counters::default();
        for kind in [ErrorKind::Dns, ErrorKind::HttpStatus(404), ErrorKind::HttpStatus(503), ErrorKind::HttpStatus(404)]
        {
            fail(&counters, kind);
        }
        let failures = [(ErrorKind::HttpStatus(404), 2), (ErrorKind::Dns, 1), (ErrorKind::HttpStatus(503), 1)];
        assert_eq!(counters.failures(), failures);
        assert_eq!(counters.failed.load(Ordering::Relaxed), 4);
    }
}
