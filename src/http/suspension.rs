//! Notices that the program was not running for a while: it was stopped by a signal, or its machine slept.
//!
//! Deadlines pass meanwhile, though none of them could have been kept: what has arrived lies unread in the sockets, and what
//! has not is late through no fault of the server. So time counts from the moment at which the program went on.

use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant, SystemTime};

use crate::util::lock;

/// How often the clocks are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A shorter gap may be one of a busy machine. It moves deadlines, which does no harm, and excuses no failure.
const MIN_SLEEP: Duration = Duration::from_secs(2);

/// For this time after the program went on, failures to reach a host say nothing: a machine that slept has to find its
/// network again.
const NETWORK_RETURN_TIME: Duration = Duration::from_secs(10);

/// Watches the clocks from the first request on.
#[derive(Debug)]
pub(super) struct Suspensions {
    /// A tick that is late by more than this time was held up.
    max_delay: Duration,
    started: Once,
    clocks: Arc<Mutex<Clocks>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clocks {
    /// When they were looked at last. On most systems the monotonic clock stands still while the machine sleeps.
    seen: Option<(Instant, SystemTime)>,
    /// When the program went on after the last suspension.
    resumed: Option<Instant>,
    /// The same, after the last one of [`MIN_SLEEP`] at least.
    woke: Option<Instant>,
}

impl Suspensions {
    /// `stall_timeout`: the deadline that must not count a suspension. A far shorter one does no harm to it.
    pub(super) fn new(stall_timeout: Duration) -> Self {
        let max_delay = (stall_timeout / 2).clamp(TICK, Duration::from_secs(1));
        Self { max_delay, started: Once::new(), clocks: Arc::default() }
    }

    /// Starts to watch, unless that is done. The task ends with the owner of this.
    pub(super) fn watch(&self) {
        self.started.call_once(|| {
            self.last_resumed();
            let (clocks, max_delay) = (Arc::downgrade(&self.clocks), self.max_delay);
            tokio::spawn(async move {
                while let Some(clocks) = clocks.upgrade() {
                    lock(&clocks).look(max_delay, (Instant::now(), SystemTime::now()));
                    drop(clocks);
                    tokio::time::sleep(TICK).await;
                }
            });
        });
    }

    /// When the program went on after the last suspension, if there was one.
    pub(super) fn last_resumed(&self) -> Option<Instant> {
        self.look().resumed
    }

    /// Whether an attempt that began then and has failed now was suspended, or made before the network was back.
    pub(super) fn disturbed(&self, began: Instant) -> bool {
        self.look().woke.is_some_and(|woke| began < woke + NETWORK_RETURN_TIME)
    }

    fn look(&self) -> Clocks {
        lock(&self.clocks).look(self.max_delay, (Instant::now(), SystemTime::now()))
    }
}

impl Clocks {
    fn look(&mut self, max_delay: Duration, now: (Instant, SystemTime)) -> Self {
        if let Some((instant, time)) = self.seen.replace(now) {
            let passed = now.0.saturating_duration_since(instant).max(now.1.duration_since(time).unwrap_or_default());
            if passed > TICK + max_delay {
                self.resumed = Some(now.0);
            }
            if passed > TICK + MIN_SLEEP {
                self.woke = Some(now.0);
            }
        }
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_either_clock_is_a_suspension_and_a_late_tick_is_none() {
        let (start, time) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clocks = Clocks::default();
        let mut look = |instant, wall| {
            let now = (start + Duration::from_millis(instant), time + Duration::from_millis(wall));
            let clocks = clocks.look(second, now);
            (clocks.resumed, clocks.woke)
        };
        let after = |millis| Some(start + Duration::from_millis(millis));
        assert_eq!(look(0, 0), (None, None));
        assert_eq!(look(250, 250), (None, None));
        assert_eq!(look(1_400, 1_400), (None, None), "a busy machine");
        assert_eq!(look(1_650, 0), (None, None), "a clock that was set back");
        assert_eq!(look(3_000, 0), (after(3_000), None), "a very busy one, or stopped for a moment");
        assert_eq!(look(3_250, 250), (after(3_000), None));
        assert_eq!(look(6_000, 500), (after(6_000), after(6_000)), "stopped by a signal");
        assert_eq!(look(6_250, 60_000), (after(6_250), after(6_250)), "the machine slept");
        assert_eq!(look(6_500, 60_250), (after(6_250), after(6_250)));
    }
}
