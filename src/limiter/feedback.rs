//! What the end of a request says about its host.
//!
//! Requests overlap, and a slow one ends long after it met what it reports; so each counts as of the moment it began.
//! If it began before the limit was last reduced, it met the same overload and does not reduce the limit again. A host
//! that answered another request while this one failed is not down. If a request that began later has succeeded, the
//! failure is blamed on the page.

use std::time::Duration;

use tokio::time::Instant;

use super::LimiterState;
use super::aimd::INITIAL_PERMITS;
use super::circuit_breaker::FailureStreak;
use super::host::HostState;
use super::permit::Permit;
use crate::record::ErrorKind;

/// The longest back-off from a host that asks for fewer requests without naming a time.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// How a request ended, for the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// The host keeps up.
    Success,
    /// The host asked for fewer requests (429, or a 503 with `Retry-After`), perhaps for a given time.
    Throttled(ErrorKind, Option<Duration>),
    /// The host said that it was overloaded (503).
    Busy(ErrorKind),
    /// The response had begun, and the connection broke.
    Broken,
    /// The response had begun, and nothing more came.
    Silent,
    /// No response came.
    Unanswered(ErrorKind),
    /// Nothing was learned about the host.
    Unclear,
}

impl HostState {
    /// Applies the feedback of a permit that has been given back.
    pub(super) fn apply(&mut self, shared: &LimiterState, permit: &Permit) {
        let (began, in_flight, feedback) = (permit.began, permit.in_flight, permit.feedback);
        let now = Instant::now();
        let was_down = self.is_down(now, shared);
        let kind = match feedback {
            Feedback::Unclear => return,
            Feedback::Success => {
                if was_down {
                    // What the limit learned about the host before it was down no longer holds.
                    self.limit = self.limit.restarted();
                }
                self.last_heard = Some(now);
                self.note_heard(now);
                self.last_success = self.last_success.max(Some(began));
                self.streak = None;
                self.latency.observe(now.saturating_duration_since(began));
                self.limit.on_success(in_flight);
                return;
            }
            Feedback::Broken | Feedback::Silent => {
                self.last_heard = Some(now);
                self.note_heard(now);
                self.streak = None;
                None
            }
            Feedback::Throttled(kind, _) | Feedback::Busy(kind) => {
                self.note_heard(now);
                Some(kind)
            }
            Feedback::Unanswered(kind) => Some(kind),
        };
        let was_heard_meanwhile = self.last_heard.is_some_and(|heard| heard > began);
        let is_explicit = matches!(feedback, Feedback::Throttled(..));
        if let Some(kind) = kind.filter(|_| !was_heard_meanwhile) {
            self.streak.get_or_insert_with(|| FailureStreak::new(kind, began)).note(kind, is_explicit, began, now);
        }
        let is_page_fault = !is_explicit && self.last_success.is_some_and(|served| served > began);
        // A host that has never answered is not overloaded; it is unreachable.
        let is_unreachable =
            matches!(feedback, Feedback::Unanswered(kind) if kind == ErrorKind::Dns || self.last_heard.is_none());
        let is_overload = !is_page_fault && !is_unreachable;
        self.overloads += u64::from(is_overload);
        self.throttled += u64::from(is_overload && matches!(kind, Some(ErrorKind::HttpStatus(429 | 503))));
        // All requests in flight meet the same overload; it halves the limit once.
        let is_new = self.last_decrease.is_none_or(|last_decrease| began > last_decrease);
        if is_overload && !was_down {
            // A request that gets no answer costs the host little and takes long, so a few of them are no burden.
            let is_silent =
                matches!(feedback, Feedback::Silent | Feedback::Unanswered(ErrorKind::Timeout | ErrorKind::Stalled));
            let floor = if is_silent { INITIAL_PERMITS } else { 1 };
            if !is_new {
                self.limit.on_same_overload(in_flight);
            } else if self.limit.on_overload(in_flight, floor, is_explicit) {
                self.last_decrease = Some(now);
            }
        }
        self.limit.end_slow_start();
        let Feedback::Throttled(_, asked) = feedback else { return };
        let streak = self.streak.get_or_insert_with(|| FailureStreak::new(kind.unwrap_or(ErrorKind::Internal), began));
        if is_new {
            streak.note_backoff();
            self.last_decrease = Some(now);
        }
        let backoff = match asked {
            Some(asked) => asked,
            None if is_new => {
                let doublings = streak.backoffs().saturating_sub(1).min(16);
                shared.options.initial_backoff.saturating_mul(1 << doublings).min(MAX_BACKOFF)
            }
            None => return,
        };
        let until = now + backoff;
        self.not_before = Some(self.not_before.map_or(until, |earlier| earlier.max(until)));
        // Tasks that wait for a permit must wait for the time instead: their senders are dropped.
        self.waiters.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;
    use tokio::task::JoinSet;
    use tokio::time::sleep;

    use super::super::Overloaded;
    use super::super::aimd::MAX_PER_HOST;
    use super::super::testing::{BUSY, REFUSED, SECOND, key, limiter, throttled};
    use super::super::{Attempt, CircuitOpen, Limiter, PerHost, TryAcquire, circuit_breaker};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn auto_grows_with_success_and_halves_once_for_one_overload() {
        let limiter = limiter(PerHost::Auto);
        let mut permits = Vec::new();
        for _ in 0..INITIAL_PERMITS {
            permits.push(limiter.retry(&key("a")).await);
        }
        // The first two began with few others in flight, and prove nothing.
        for permit in permits.drain(..4).rev() {
            permit.release(Feedback::Success);
        }
        assert_eq!(limiter.permits("a"), Some((2, INITIAL_PERMITS + 1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        for permit in permits.drain(..) {
            permit.release(BUSY);
        }
        assert_eq!(limiter.permits("a"), Some((0, 3)));
        assert_eq!(limiter.overloaded(), [Overloaded { host: key("a"), times: 2, throttled: 2 }]);
        crowd(&limiter, 3000, MAX_PER_HOST).await;
        assert_eq!(limiter.permits("a"), Some((0, MAX_PER_HOST)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_answer_to_a_host_without_a_failure_raises_the_limit_at_once() {
        for (latency, failure, limit) in [
            (Duration::from_millis(50), None, 6 * INITIAL_PERMITS),
            (2 * SECOND, None, INITIAL_PERMITS),
            (Duration::from_millis(50), Some(Feedback::Broken), INITIAL_PERMITS / 2),
        ] {
            let limiter = limiter(PerHost::Auto);
            let mut permits = Vec::new();
            for _ in 0..INITIAL_PERMITS {
                permits.push(limiter.retry(&key("a")).await);
            }
            tokio::time::advance(latency).await;
            if let Some(failure) = failure {
                permits.pop().expect("six").release(failure);
            }
            permits.iter().for_each(Permit::note_answer);
            let reached = limiter.permits("a").map_or(0, |(_, permits)| permits);
            assert_eq!(reached, limit, "after {latency:?}");
        }
    }

    /// Sends requests to "a", which serves `limit` at once and answers all others with 503. Returns the number refused.
    async fn crowd(limiter: &Limiter, requests: usize, limit: usize) -> usize {
        let (mut sent, mut refused) = (0, 0);
        while sent < requests {
            let mut permits = Vec::new();
            while let TryAcquire::Permit(permit) = limiter.try_acquire(&key("a"), false) {
                permits.push(permit);
            }
            sent += permits.len();
            let rest = permits.split_off(limit.min(permits.len()));
            refused += rest.len();
            for permit in rest {
                permit.release(BUSY);
            }
            tokio::time::advance(Duration::from_millis(20)).await;
            for permit in permits {
                permit.release(Feedback::Success);
            }
        }
        refused
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_a_limit_refuses_few() {
        for limit in [1, 4, 8, 20] {
            let limiter = limiter(PerHost::Auto);
            let refused = crowd(&limiter, 2000, limit).await;
            assert!(refused <= 60, "{refused} of 2000 with a limit of {limit}");
            let begin = Instant::now();
            crowd(&limiter, 100 * limit, limit).await;
            let took = begin.elapsed().as_millis();
            assert!(took <= 2000 * 12 / 10, "{took} ms instead of 2000 with a limit of {limit}");
        }
    }

    /// Sends requests to "a", which serves `limit` at once, for ten milliseconds each. Requests and responses travel
    /// for `way` on average, exponentially distributed. Returns the number refused.
    async fn crowd_from_afar(requests: usize, limit: usize, way: Duration, seed: u64) -> usize {
        let (limiter, server) = (limiter(PerHost::Auto), Arc::new(Semaphore::new(limit)));
        // The numbers are the same in every run, so the result is, too.
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let travel = move || {
            let share = random.lock().expect("not poisoned").f64();
            sleep(way.mul_f64(-(1.0 - share).ln()))
        };
        let mut in_flight = JoinSet::new();
        for _ in 0..requests {
            let (limiter, server, travel) = (limiter.clone(), Arc::clone(&server), travel.clone());
            in_flight.spawn(async move {
                let permit = limiter.retry(&key("a")).await;
                travel().await;
                let slot = server.try_acquire();
                let is_refused = slot.is_err();
                if !is_refused {
                    sleep(Duration::from_millis(10)).await;
                }
                drop(slot);
                travel().await;
                permit.release(if is_refused { BUSY } else { Feedback::Success });
                usize::from(is_refused)
            });
        }
        in_flight.join_all().await.into_iter().sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_remembered_though_an_increase_succeeds_at_times() {
        for limit in [3, 8, 20] {
            let mut refused = 0;
            for seed in 0..3 {
                refused += crowd_from_afar(4000, limit, Duration::from_millis(3), seed).await;
            }
            assert!(refused <= 300, "{refused} of 12000 with a limit of {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_rows_wait_for_a_retry_after() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let permit = limiter.retry(&there).await;
        let begin = Instant::now();
        let mut queued = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::HostFull));
        permit.release(throttled(Some(Duration::from_secs(7))));
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there), "the refused row is notified");
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::NotBefore(_)));
        let backoff = Duration::from_secs(7);
        assert_eq!(limiter.throttled(SECOND), [(there.clone(), 1, Some(backoff))]);
        let _permit = queued.await;
        assert_eq!(begin.elapsed().as_secs(), 7);
        assert_eq!(limiter.throttled(8 * SECOND), [(there, 1, None)]);
        assert!(limiter.throttled(SECOND).is_empty(), "that was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn the_back_off_after_too_many_requests_doubles() {
        let limiter = limiter(PerHost::Auto);
        let mut waited = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let (one, two) = (limiter.retry(&key("a")).await, limiter.try_acquire(&key("a"), false));
            waited.push(begin.elapsed().as_millis());
            tokio::time::advance(Duration::from_millis(1)).await;
            one.release(throttled(None));
            // A request that was in flight meets the same refusal, which is not counted again.
            if let TryAcquire::Permit(two) = two {
                two.release(throttled(None));
            }
        }
        assert_eq!(waited, [0, 500, 1000]);
        limiter.retry(&key("a")).await.release(Feedback::Success);
        limiter.retry(&key("a")).await.release(throttled(None));
        let begin = Instant::now();
        drop(limiter.retry(&key("a")).await);
        assert_eq!(begin.elapsed().as_millis(), 500, "there was a success in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_connections_is_probed_by_one_request_at_a_time() {
        let limiter = limiter(PerHost::Fixed(20));
        let mut permits = Vec::new();
        for _ in 0..circuit_breaker::FAILURE_THRESHOLD {
            permits.push(limiter.retry(&key("a")).await);
        }
        permits.drain(..).for_each(|permit| permit.release(REFUSED));
        // A retry only waits for other retries.
        let probe = limiter.retry(&key("a")).await;
        assert!(futures::poll!(Box::pin(limiter.retry(&key("a")))).is_pending());
        probe.release(REFUSED);
        // New rows probe at growing intervals.
        let mut waited = Vec::new();
        for _ in 0..4 {
            let begin = Instant::now();
            let probe = limiter.acquire(&key("a"), Attempt::First).await.expect("it has not been given up");
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::HostFull));
            waited.push(begin.elapsed().as_secs());
            probe.release(REFUSED);
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::NotBefore(_)));
        }
        assert_eq!(waited, [1, 1, 2, 4]);
        let there = key("a");
        let mut waiting = Box::pin(limiter.acquire(&there, Attempt::First));
        assert!(futures::poll!(&mut waiting).is_pending());
        let _ = futures::poll!(Box::pin(limiter.freed()));
        limiter.retry(&key("a")).await.release(Feedback::Success);
        assert_eq!(limiter.freed().await, [key("a")], "rows that were to come later may come now");
        let (TryAcquire::Permit(_one), TryAcquire::Permit(_two)) =
            (limiter.try_acquire(&key("a"), false), limiter.try_acquire(&key("a"), false))
        else {
            panic!("the host is back");
        };
        assert_eq!(begin_of(waiting).await, Duration::ZERO);
    }

    async fn begin_of(waiting: impl Future<Output = Result<Permit, CircuitOpen>>) -> Duration {
        let begin = Instant::now();
        drop(waiting.await.expect("a permit"));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_does_not_answer_is_given_up_and_may_come_back() {
        for (feedback, patience) in [(REFUSED, 40), (BUSY, 40), (Feedback::Unanswered(ErrorKind::Stalled), 80)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let open = loop {
                match limiter.acquire(&key("a"), Attempt::First).await {
                    Ok(permit) => permit.release(feedback),
                    Err(open) => break open,
                }
            };
            assert_eq!((begin.elapsed().as_secs(), open.down_for.as_secs()), (patience, patience), "{feedback:?}");
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::CircuitOpen));
            assert!(limiter.acquire(&key("a"), Attempt::Retry).await.is_err());
            tokio::time::advance(30 * SECOND).await;
            let TryAcquire::Permit(probe) = limiter.try_acquire(&key("a"), false) else {
                panic!("one row still probes, now and then")
            };
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::CircuitOpen), "one");
            probe.release(Feedback::Success);
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::Permit(_)), "an answer brings it back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_too_many_requests_and_nothing_else_is_given_up() {
        for (asked, patience) in [(None, 40..62), (Some(60 * SECOND), 420..421)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            while let Ok(permit) = limiter.acquire(&key("a"), Attempt::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                permit.release(throttled(asked));
            }
            assert!(patience.contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_429_does_not_keep_a_busy_host_half_open_for_ever() {
        for asked in [None, Some(60 * SECOND)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let mut feedback = throttled(asked);
            while let Ok(permit) = limiter.acquire(&key("a"), Attempt::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                permit.release(feedback);
                feedback = BUSY;
                assert!(begin.elapsed() < 120 * SECOND, "asked for {asked:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_pages_of_a_host_that_serves_others_do_not_count_against_it() {
        for feedback in [Feedback::Unanswered(ErrorKind::Stalled), Feedback::Silent, Feedback::Broken] {
            let limiter = limiter(PerHost::Auto);
            crowd(&limiter, 1000, MAX_PER_HOST).await;
            let mut silent = Vec::new();
            for _ in 0..50 {
                silent.push(limiter.retry(&key("a")).await);
            }
            tokio::time::advance(SECOND).await;
            limiter.retry(&key("a")).await.release(Feedback::Success);
            silent.drain(..).for_each(|permit| permit.release(feedback));
            assert_eq!(limiter.permits("a"), Some((0, MAX_PER_HOST)), "{feedback:?}");
            assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::Permit(_)));
            assert_eq!(limiter.overloaded(), [], "{feedback:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_falls_silent_keeps_a_few_permits_until_it_is_down() {
        let limiter = limiter(PerHost::Auto);
        crowd(&limiter, 1000, MAX_PER_HOST).await;
        for _ in 0..circuit_breaker::FAILURE_THRESHOLD - 1 {
            let permit = limiter.retry(&key("a")).await;
            tokio::time::advance(SECOND).await;
            permit.release(Feedback::Unanswered(ErrorKind::Timeout));
        }
        let permits = limiter.permits("a").map_or(0, |(_, permits)| permits);
        assert!((INITIAL_PERMITS..MAX_PER_HOST / 2).contains(&permits), "{permits}");
    }
}
