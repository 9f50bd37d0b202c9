//! What is known of one host: its permits, who has them, and who waits for them.
//!
//! Whoever waits is sent a permit, and not merely woken to ask for one: somebody who has just come would often be
//! quicker. When there is something else to wait for than a permit, or nothing any more, the sender is dropped instead,
//! and they ask again.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::aimd::AdaptiveLimit;
use super::circuit_breaker::{BreakerState, CircuitOpen, FailureStreak};
use super::feedback::Feedback;
use super::latency::Latency;
use super::permit::Permit;
use super::rate::RequestRate;
use super::{Attempt, HostKey, LimiterState, PerHost, lock};

/// One host.
#[derive(Debug)]
pub(super) struct HostState {
    /// Seats there are.
    pub(super) limit: AdaptiveLimit,
    /// How long visits take.
    pub(super) latency: Latency,
    /// Seats taken.
    pub(super) in_flight: usize,
    /// Those of them that were taken to see whether the host is back.
    probes: usize,
    /// Downloads that have left their permit to try again later, and have none yet.
    pub(super) backing_off: usize,
    /// Nobody enters before.
    pub(super) not_before: Option<Instant>,
    /// Seats were last taken away; visits that began before say nothing new about the host.
    pub(super) last_decrease: Option<Instant>,
    /// When the latest of the visits began that went well.
    pub(super) last_success: Option<Instant>,
    /// When something was last heard from it but that it is overloaded.
    pub(super) last_heard: Option<Instant>,
    /// What has come to nothing since.
    pub(super) streak: Option<FailureStreak>,
    /// How often the host asked for less, or broke.
    pub(super) overloads: u64,
    /// How often it said so with 429 or 503.
    pub(super) throttled: u64,
    /// What `--rate` leaves to it.
    rate: Option<RequestRate>,
    /// Who waits, first come first served.
    pub(super) waiters: VecDeque<(Attempt, oneshot::Sender<Permit>)>,
    /// Somebody has been refused a permit, and wants to know when there is one.
    pub(super) new_row_waits: bool,
    /// They have been told, and will come.
    pub(super) new_row_notified: bool,
}

/// Whether there is a permit.
pub(super) enum Availability {
    Free,
    Full,
    NotBefore(Instant),
    CircuitOpen(CircuitOpen),
}

impl HostState {
    pub(super) fn new(shared: &LimiterState) -> Self {
        let limit = match shared.options.per_host {
            PerHost::Auto => AdaptiveLimit::new(),
            PerHost::Fixed(permits) => AdaptiveLimit::fixed(permits),
        };
        Self {
            limit,
            latency: Latency::default(),
            in_flight: 0,
            probes: 0,
            backing_off: 0,
            not_before: None,
            last_decrease: None,
            last_success: None,
            last_heard: None,
            streak: None,
            overloads: 0,
            throttled: 0,
            rate: shared.options.request_interval.map(RequestRate::new),
            waiters: VecDeque::new(),
            new_row_waits: false,
            new_row_notified: false,
        }
    }

    /// Whether a request may be made now by `--rate`, or when.
    pub(super) fn due(&self) -> Result<(), Instant> {
        self.rate.map_or(Ok(()), |rate| rate.due(Instant::now()))
    }

    /// Takes the next slot by `--rate`, and says when it comes.
    pub(super) fn take_slot(&mut self) -> Instant {
        let now = Instant::now();
        self.rate.as_mut().map_or(now, |rate| rate.take_slot(now))
    }

    fn breaker_state(&self, now: Instant, shared: &LimiterState) -> BreakerState {
        self.streak.map_or(BreakerState::Closed, |streak| streak.state(now, &shared.options.open_after))
    }

    pub(super) fn is_down(&self, now: Instant, shared: &LimiterState) -> bool {
        self.breaker_state(now, shared) != BreakerState::Closed
    }

    pub(super) fn availability(&self, attempt: Attempt, shared: &LimiterState) -> Availability {
        let now = Instant::now();
        let paused = self.not_before.filter(|until| *until > now);
        let is_full = self.in_flight >= self.limit.permits();
        match self.breaker_state(now, shared) {
            BreakerState::Open(open, next) => {
                let may_try = attempt == Attempt::First && now >= next && paused.is_none();
                if may_try && !is_full && self.probes == 0 {
                    Availability::Free
                } else {
                    Availability::CircuitOpen(open)
                }
            }
            state => match (state, paused) {
                (_, Some(until)) => Availability::NotBefore(until),
                _ if is_full => Availability::Full,
                (BreakerState::HalfOpen(_), _) if self.probes > 0 => Availability::Full,
                (BreakerState::HalfOpen(next), _) if attempt == Attempt::First && now < next => {
                    Availability::NotBefore(next)
                }
                _ => Availability::Free,
            },
        }
    }

    /// A permit, whether there is one or not.
    pub(super) fn permit(&mut self, key: &HostKey, shared: &Arc<LimiterState>) -> Permit {
        let began = Instant::now();
        let is_probe = self.is_down(began, shared);
        self.in_flight += 1;
        self.probes += usize::from(is_probe);
        Permit {
            shared: Arc::clone(shared),
            key: key.clone(),
            began,
            in_flight: self.in_flight,
            is_probe,
            feedback: Feedback::Unclear,
            run_permit: None,
            is_counted: true,
        }
    }

    pub(super) fn take_back(&mut self, permit: &Permit) {
        self.in_flight -= 1;
        self.probes -= usize::from(permit.is_probe);
    }

    /// Gives the free permits to those who wait, unless they are kept for new rows.
    pub(super) fn grant(&mut self, key: &HostKey, shared: &Arc<LimiterState>, is_kept: bool) {
        while let Some((attempt, _)) = self.waiters.front() {
            let availability = self.availability(*attempt, shared);
            if matches!(availability, Availability::Full) || (is_kept && matches!(availability, Availability::Free)) {
                return;
            }
            let Some((_, next)) = self.waiters.pop_front() else { return };
            if !matches!(availability, Availability::Free) || self.due().is_err() {
                // Whoever waits for a permit waits for a time instead, or no longer, as a dropped sender tells.
                continue;
            }
            if let Err(mut permit) = next.send(self.permit(key, shared)) {
                // Whoever waited is gone. The permit must not take the lock again on its way out.
                self.take_back(&permit);
                permit.is_counted = false;
            }
        }
    }

    /// Puts the host in_flight the freed if somebody was refused a permit and would hear something else now.
    pub(super) fn notify_new_row(&mut self, key: &HostKey, shared: &LimiterState) {
        if self.new_row_waits && !matches!(self.availability(Attempt::First, shared), Availability::Full) {
            (self.new_row_waits, self.new_row_notified) = (false, true);
            lock(&shared.freed).push(key.clone());
        }
    }

    /// Whether a host that is met again may begin as new.
    pub(super) fn is_forgettable(&self, now: Instant, shared: &LimiterState) -> bool {
        let is_idle = self.in_flight == 0 && self.backing_off == 0 && self.waiters.is_empty() && !self.new_row_waits;
        is_idle && self.overloads == 0 && !self.is_down(now, shared) && self.due().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{REFUSED, SECOND, key, limiter, options};
    use super::super::{Limiter, Options, TryAcquire, circuit_breaker};
    use super::*;
    use crate::record::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_slot_along() {
        let interval = Duration::from_millis(100);
        let limiter = Limiter::new(Options { request_interval: Some(interval), ..options(PerHost::Fixed(2)) });
        let there = key("a");
        let permit = limiter.retry(&there).await;
        let mut gone = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        tokio::time::sleep(interval).await;
        drop(permit);
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_hear_at_once_that_a_host_is_given_up() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        for _ in 1..circuit_breaker::FAILURE_THRESHOLD {
            limiter.retry(&there).await.release(REFUSED);
        }
        let permit = limiter.retry(&there).await;
        let mut queued = Box::pin(limiter.acquire(&there, Attempt::Retry));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::HostFull));
        tokio::time::advance(40 * SECOND).await;
        permit.release(REFUSED);
        assert_eq!(queued.await.err().map(|open| open.kind), Some(ErrorKind::Connect));
        assert_eq!(limiter.freed().await, [there]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_seat_along() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let permit = limiter.retry(&there).await;
        let mut gone = Box::pin(limiter.retry(&there));
        let mut stays = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        drop(permit);
        drop(stays.await);
        assert!(limiter.is_idle("a"));
    }
}
