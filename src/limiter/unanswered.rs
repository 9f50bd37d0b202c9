//! Hosts that owe an answer: those that are down, and those that have been silent for some time. For the display.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit_breaker::{BreakerState, FAILURE_THRESHOLD, FailureStreak, OpenAfter};
use super::host::HostState;
use super::{HostKey, Limiter, LimiterState};
use crate::record::ErrorKind;
use crate::util::lock;

/// A host that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnansweredHost {
    /// The host.
    pub host: HostKey,
    /// How the last request failed; `None` while none has.
    pub kind: Option<ErrorKind>,
    /// Since when it has not answered.
    pub silent_for: Duration,
    /// Rows that wait for it: those in flight, those that wait for a retry, and those in the queue.
    pub rows: usize,
    /// The time until it is given up; zero if it is given up, `None` if it asks for time and gets it.
    pub given_up_in: Option<Duration>,
}

impl Limiter {
    /// The hosts for which rows wait and that are down, or have been silent for longer than `min_silence`; those with the
    /// most rows come first.
    #[must_use]
    pub fn unanswered(&self, min_silence: Duration) -> Vec<UnansweredHost> {
        let now = Instant::now();
        let hosts = lock(&self.0.hosts);
        let mut found =
            hosts.iter().filter_map(|(key, host)| host.unanswered(key, now, min_silence, &self.0)).collect::<Vec<_>>();
        drop(hosts);
        found.sort_by(|one, other| other.rows.cmp(&one.rows).then_with(|| one.host.cmp(&other.host)));
        found
    }

    /// The counter in which the queue keeps the number of its rows for this host.
    pub(super) fn queued(&self, key: &HostKey) -> Arc<AtomicUsize> {
        let mut hosts = lock(&self.0.hosts);
        Arc::clone(self.0.host(&mut hosts, key).queued.get_or_insert_default())
    }
}

impl HostState {
    fn unanswered(
        &self,
        key: &HostKey,
        now: Instant,
        min_silence: Duration,
        shared: &LimiterState,
    ) -> Option<UnansweredHost> {
        let open_after = &shared.options.open_after;
        let state = self.streak.map_or(BreakerState::Closed, |streak| streak.state(now, open_after));
        // An answer with a 503 is one. It matters only when there have been many of them and nothing else.
        let is_answer = |streak: &FailureStreak| matches!(streak.kind(), ErrorKind::HttpStatus(_));
        let streak = self.streak.filter(|streak| state != BreakerState::Closed || !is_answer(streak));
        let asked = self.asked.unwrap_or(now);
        let since = streak.map_or(asked, |streak| streak.began().min(asked));
        let silent_for = now.saturating_duration_since(since);
        if state == BreakerState::Closed && silent_for <= min_silence {
            return None;
        }
        let queued = self.queued.as_ref().map_or(0, |queued| queued.load(Ordering::Relaxed));
        let rows = self.in_flight + self.backing_off + queued;
        let kind = streak.map(|streak| streak.kind());
        let opens_at = streak.map_or(Some(since + open_after.unanswered), |streak| streak.opens_at(open_after));
        let given_up_in = match state {
            BreakerState::Open(..) => Some(Duration::ZERO),
            BreakerState::HalfOpen(_) => opens_at.map(|at| at.saturating_duration_since(now)),
            BreakerState::Closed => opens_at
                .map(|at| at.max(since + self.time_to_fail(at.saturating_duration_since(since), rows, open_after)))
                .and_then(|at| at.checked_duration_since(now)),
        };
        (rows > 0).then(|| UnansweredHost { host: key.clone(), kind, silent_for, rows, given_up_in })
    }
}

impl HostState {
    /// The time until enough requests have failed for the circuit to open, or all rows have, if none is answered. `row`:
    /// the time for which one row tries.
    fn time_to_fail(&self, row: Duration, rows: usize, open_after: &OpenAfter) -> Duration {
        let attempts = open_after.attempts.max(1);
        let at_once = self.limit.permits().min(rows).max(1);
        let failures = rows.saturating_mul(attempts as usize).min(FAILURE_THRESHOLD as usize);
        let rounds = u32::try_from(failures.div_ceil(at_once)).unwrap_or(attempts);
        row / attempts * rounds
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{REFUSED, SECOND, key, limiter, throttled};
    use super::super::{Attempt, Feedback, PerHost, circuit_breaker};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_owes_an_answer_from_its_first_request_on() {
        let limiter = limiter(PerHost::Fixed(2));
        let there = key("a");
        let one = limiter.retry(&there).await;
        tokio::time::advance(4 * SECOND).await;
        let two = limiter.retry(&there).await;
        limiter.queued(&there).store(7, Ordering::Relaxed);
        assert_eq!(limiter.unanswered(5 * SECOND), []);
        tokio::time::advance(2 * SECOND).await;
        let silent = UnansweredHost {
            host: there.clone(),
            kind: None,
            silent_for: 6 * SECOND,
            rows: 9,
            // Eight requests have to fail, two at once, each after a fourth of the time that a row has.
            given_up_in: Some(74 * SECOND),
        };
        assert_eq!(limiter.unanswered(5 * SECOND), [silent]);
        one.release(Feedback::Success);
        assert_eq!(limiter.unanswered(5 * SECOND), [], "it has answered");
        tokio::time::advance(6 * SECOND).await;
        assert_eq!(limiter.unanswered(5 * SECOND)[0].silent_for, 6 * SECOND, "since it did");
        two.release(Feedback::Success);
        limiter.queued(&there).store(0, Ordering::Relaxed);
        tokio::time::advance(9 * SECOND).await;
        assert_eq!(limiter.unanswered(5 * SECOND), [], "nothing is asked of it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_asked_by_one_row_at_a_time_is_given_up_later() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let _one = limiter.retry(&there).await;
        limiter.queued(&there).store(7, Ordering::Relaxed);
        tokio::time::advance(10 * SECOND).await;
        assert_eq!(limiter.unanswered(5 * SECOND)[0].given_up_in, Some(150 * SECOND), "eight times twenty seconds");
        tokio::time::advance(151 * SECOND).await;
        assert_eq!(limiter.unanswered(5 * SECOND)[0].given_up_in, None, "it should have been given up");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_down_is_known_with_the_time_that_it_gets() {
        let limiter = limiter(PerHost::Fixed(20));
        let there = key("a");
        let mut permits = Vec::new();
        for _ in 0..circuit_breaker::FAILURE_THRESHOLD {
            permits.push(limiter.retry(&there).await);
        }
        tokio::time::advance(SECOND).await;
        let waiting = permits.drain(..).map(|permit| permit.back_off(REFUSED)).collect::<Vec<_>>();
        let found = limiter.unanswered(5 * SECOND);
        assert_eq!((found[0].kind, found[0].rows), (Some(ErrorKind::Connect), 8), "{found:?}");
        assert_eq!((found[0].silent_for, found[0].given_up_in), (SECOND, Some(39 * SECOND)));
        tokio::time::advance(39 * SECOND).await;
        assert_eq!(limiter.unanswered(5 * SECOND)[0].given_up_in, Some(Duration::ZERO));
        drop(waiting);
        assert_eq!(limiter.unanswered(5 * SECOND), [], "no row waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_asks_for_time_has_no_deadline() {
        let limiter = limiter(PerHost::Fixed(20));
        let there = key("a");
        let mut permits = Vec::new();
        for _ in 0..=circuit_breaker::FAILURE_THRESHOLD {
            permits.push(limiter.acquire(&there, Attempt::Retry).await.expect("a permit"));
        }
        let kept = permits.pop();
        tokio::time::advance(SECOND).await;
        permits.drain(..).for_each(|permit| permit.release(throttled(Some(SECOND))));
        assert_eq!(limiter.unanswered(5 * SECOND)[0].given_up_in, None);
        drop(kept);
    }
}
