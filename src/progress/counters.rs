//! What has happened so far, in numbers that downloads add to.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use url::Url;

use super::in_flight::{Place, UnderWay};
use crate::record::ErrorKind;

/// What has happened so far in this pass over the list.
#[derive(Debug, Default)]
pub struct Counters {
    /// Rows that ended as files.
    pub saved: AtomicU64,
    /// Rows that failed.
    pub failed: AtomicU64,
    /// Rows that needed nothing.
    pub skipped: AtomicU64,
    /// Bytes of bodies that have come, no byte counted twice when an attempt covers old ground.
    pub bytes: AtomicU64,
    /// The failed rows by what failed.
    by_kind: Mutex<BTreeMap<ErrorKind, u64>>,
    alive: AtomicU64,
    most_alive: AtomicU64,
    /// Which downloads are under way. Nowhere, when nobody will look.
    pub(super) under_way: Option<UnderWay>,
}

impl Counters {
    /// Counters that somebody will look at, who wants to see the downloads under way as well: about so many at once.
    #[must_use]
    pub fn watched(at_once: NonZeroUsize) -> Self {
        Self { under_way: Some(UnderWay::new(at_once)), ..Self::default() }
    }

    /// A download begins, or another attempt at it; it ends when the guard is dropped.
    pub fn begin(&self, url: &Url, attempt: u32) -> Alive<'_> {
        let now = self.alive.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_alive.fetch_max(now, Ordering::Relaxed);
        Alive { counters: self, place: self.under_way.as_ref().and_then(|under_way| under_way.enter(url, attempt)) }
    }

    /// A row failed.
    pub fn fail(&self, kind: Option<ErrorKind>) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        if let Some(kind) = kind {
            *self.by_kind.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        }
    }

    /// What failed and how often, the most frequent first.
    #[must_use]
    pub fn failures(&self) -> Vec<(ErrorKind, u64)> {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failures = by_kind.iter().map(|(kind, count)| (*kind, *count)).collect::<Vec<_>>();
        drop(by_kind);
        failures.sort_by_key(|(kind, count)| (std::cmp::Reverse(*count), *kind));
        failures
    }

    /// Downloads under way.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }

    /// The most downloads that were alive at once.
    #[must_use]
    pub fn most_alive(&self) -> u64 {
        self.most_alive.load(Ordering::Relaxed)
    }
}

/// A download under way.
#[derive(Debug)]
pub struct Alive<'a> {
    counters: &'a Counters,
    place: Option<Place<'a>>,
}

impl Alive<'_> {
    /// So much of its body is here, of so much.
    pub fn reach(&self, position: u64, of: Option<u64>) {
        if let Some(place) = &self.place {
            place.reach(position, of);
        }
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.counters.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How far one image has got, over all its attempts.
#[derive(Debug, Default)]
pub struct HighWater(u64);

impl HighWater {
    /// Bytes newly reached: none while a retry covers old ground.
    pub fn reach(&mut self, position: u64) -> u64 {
        let new = position.saturating_sub(self.0);
        self.0 += new;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_does_not_count_old_ground() {
        let mut water = HighWater::default();
        let reached = [10, 25, 5, 25, 30].map(|position| water.reach(position));
        assert_eq!(reached, [10, 15, 0, 0, 5]);
    }

    #[test]
    fn the_most_alive_at_once_is_remembered() {
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        for counters in [Counters::default(), Counters::watched(NonZeroUsize::MIN)] {
            let one = counters.begin(&url, 1);
            drop(counters.begin(&url, 1));
            drop(one);
            drop(counters.begin(&url, 2));
            assert_eq!((counters.alive(), counters.most_alive()), (0, 2));
        }
    }

    #[test]
    fn what_fails_most_comes_first() {
        let counters = Counters::default();
        for kind in [ErrorKind::Dns, ErrorKind::HttpStatus(404), ErrorKind::HttpStatus(503), ErrorKind::HttpStatus(404)]
        {
            counters.fail(Some(kind));
        }
        let failures = [(ErrorKind::HttpStatus(404), 2), (ErrorKind::Dns, 1), (ErrorKind::HttpStatus(503), 1)];
        assert_eq!(counters.failures(), failures);
        assert_eq!(counters.failed.load(Ordering::Relaxed), 4);
    }
}
