//! The state of one host: its limit, the requests in flight, and the tasks that wait for a permit.
//!
//! A waiting task is sent a permit, instead of being woken to ask for one: a task that has just arrived would often be
//! quicker. When the task must wait for something else than a permit, or no longer, its sender is dropped, and it asks
//! again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::aimd::{AdaptiveLimit, INITIAL_PERMITS, MAX_PER_HOST};
use super::circuit_breaker::{BreakerState, CircuitOpen, FailureStreak};
use super::feedback::Feedback;
use super::latency::Latency;
use super::permit::Permit;
use super::rate::RequestRate;
use super::{Attempt, HostKey, LimiterState, PerHost};
use crate::util::lock;

/// The state of one host.
#[derive(Debug)]
pub(super) struct HostState {
    /// The limit on requests in flight.
    pub(super) limit: AdaptiveLimit,
    /// How long requests usually take.
    pub(super) latency: Latency,
    /// Requests in flight: permits taken.
    pub(super) in_flight: usize,
    /// Those of them that are probably lost: the host has been silent for long, and has served later requests meanwhile.
    pub(super) lost: usize,
    /// The most of them at once so far.
    peak_in_flight: usize,
    /// Those of them that probe whether the host is back.
    probes: usize,
    /// Downloads that have released their permit to try again later.
    pub(super) backing_off: usize,
    /// No permit is given before this time.
    pub(super) not_before: Option<Instant>,
    /// When the limit was last reduced; a request that began before says nothing new about the load.
    pub(super) last_decrease: Option<Instant>,
    /// The latest beginning of a request that succeeded.
    pub(super) last_success: Option<Instant>,
    /// When the host last answered anything but that it was overloaded.
    pub(super) last_heard: Option<Instant>,
    /// Since when it owes an answer: the time of the first request since it last answered, or of that answer if others are
    /// still in flight.
    pub(super) asked: Option<Instant>,
    /// The failures since then.
    pub(super) streak: Option<FailureStreak>,
    /// Requests that met an overload.
    pub(super) overloads: u64,
    /// Those of them that were answered with 429 or 503.
    pub(super) throttled: u64,
    /// The slots by `--rate`.
    rate: Option<RequestRate>,
    /// Tasks that wait for a permit, in the order of their arrival.
    pub(super) waiters: VecDeque<(Attempt, oneshot::Sender<Permit>)>,
    /// A new row was refused a permit, and its queue must be notified when there is one.
    pub(super) new_row_waits: bool,
    /// The queue has been notified, and the permit is reserved until it asks.
    pub(super) new_row_notified: bool,
    /// Rows in the queue, where the host was ever at its limit: the queue counts them there.
    pub(super) queued: Option<Arc<AtomicUsize>>,
}

/// Whether a permit is available.
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
            lost: 0,
            peak_in_flight: 0,
            probes: 0,
            backing_off: 0,
            not_before: None,
            last_decrease: None,
            last_success: None,
            last_heard: None,
            asked: None,
            streak: None,
            overloads: 0,
            throttled: 0,
            rate: shared.options.request_interval.map(RequestRate::new),
            waiters: VecDeque::new(),
            new_row_waits: false,
            new_row_notified: false,
            queued: None,
        }
    }

    /// The host has answered: the silence, if there was one, is over.
    pub(super) fn note_heard(&mut self, now: Instant) {
        self.asked = (self.in_flight > 0).then_some(now);
    }

    /// Whether a request may be sent now by `--rate`, or when.
    pub(super) fn due(&self) -> Result<(), Instant> {
        self.rate.map_or(Ok(()), |rate| rate.due(Instant::now()))
    }

    /// Takes the next slot by `--rate`, and returns its time.
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
        let backoff_until = self.not_before.filter(|until| *until > now);
        let is_full = self.working_on() >= self.limit.permits();
        match self.breaker_state(now, shared) {
            BreakerState::Open(open, next) => {
                let may_probe = attempt == Attempt::First && now >= next && backoff_until.is_none();
                if may_probe && !is_full && self.probes == 0 {
                    Availability::Free
                } else {
                    Availability::CircuitOpen(open)
                }
            }
            state => match (state, backoff_until) {
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

    /// Issues a permit, without a check that one is available.
    pub(super) fn permit(&mut self, key: &HostKey, shared: &Arc<LimiterState>) -> Permit {
        let began = Instant::now();
        let is_probe = self.is_down(began, shared);
        self.in_flight += 1;
        self.asked.get_or_insert(began);
        self.peak_in_flight = self.peak_in_flight.max(self.in_flight);
        self.probes += usize::from(is_probe);
        Permit {
            shared: Arc::clone(shared),
            key: key.clone(),
            began,
            in_flight: self.working_on(),
            is_probe,
            is_lost: false,
            is_slow_start: self.limit.is_slow_start(),
            feedback: Feedback::Unclear,
            in_run: None,
            is_counted: true,
        }
    }

    pub(super) fn take_back(&mut self, permit: &Permit) {
        self.in_flight -= 1;
        self.probes -= usize::from(permit.is_probe);
        self.lost -= usize::from(permit.is_lost);
    }

    /// Requests that the host seems to work on. Of those that are probably lost, no more are left out than there are
    /// permits, or than any host gets at first, and none beyond the largest limit: a host that is only slow gets little
    /// more than its limit. A limit that the user has set holds for all of them.
    fn working_on(&self) -> usize {
        let max_lost = self.limit.permits().max(INITIAL_PERMITS);
        let lost = if self.limit.is_fixed() { 0 } else { self.lost.min(max_lost) };
        if self.in_flight >= MAX_PER_HOST { self.in_flight } else { self.in_flight - lost }
    }

    /// Whether a request that began then, and after which the host has been silent, is probably lost: the host answers
    /// others. Without that, a few lost requests hold all permits of a host with a small limit, and the others wait until
    /// they are given up.
    pub(super) fn has_lost(&self, began: Instant, silence: Duration) -> bool {
        let Some(suspicious) = self.latency.suspicious_silence().filter(|suspicious| silence >= *suspicious) else {
            return false;
        };
        let has_served_later = self.last_success.is_some_and(|served| served > began);
        // A host with a limit of one has nothing else to answer meanwhile.
        has_served_later || self.last_heard.is_some_and(|heard| heard.elapsed() <= 2 * suspicious)
    }

    /// The head of a good answer came quickly.
    pub(super) fn note_quick_answer(&mut self) {
        self.note_heard(Instant::now());
        self.limit.on_quick_answer(self.peak_in_flight);
    }

    /// Gives available permits to the tasks and the queue that wait for them.
    pub(super) fn offer(&mut self, key: &HostKey, shared: &Arc<LimiterState>) {
        let is_reserved = (self.new_row_waits || self.new_row_notified) && shared.prefers_new_rows();
        self.grant(key, shared, is_reserved);
        self.notify_new_row(key, shared);
    }

    /// Gives available permits to waiting tasks, unless they are reserved for new rows.
    pub(super) fn grant(&mut self, key: &HostKey, shared: &Arc<LimiterState>, is_reserved: bool) {
        while let Some((attempt, _)) = self.waiters.front() {
            let availability = self.availability(*attempt, shared);
            if matches!(availability, Availability::Full) || (is_reserved && matches!(availability, Availability::Free))
            {
                return;
            }
            let Some((_, next)) = self.waiters.pop_front() else { return };
            if !matches!(availability, Availability::Free) || self.due().is_err() {
                // The task must now wait for a time, or no longer; the dropped sender makes it ask again.
                continue;
            }
            if let Err(mut permit) = next.send(self.permit(key, shared)) {
                // The task is gone. The permit must not take the lock again when it is dropped.
                self.take_back(&permit);
                permit.is_counted = false;
            }
        }
    }

    /// Adds the host to those with a free permit if a new row was refused one and would now be answered differently.
    pub(super) fn notify_new_row(&mut self, key: &HostKey, shared: &LimiterState) {
        if self.new_row_waits && !matches!(self.availability(Attempt::First, shared), Availability::Full) {
            (self.new_row_waits, self.new_row_notified) = (false, true);
            lock(&shared.freed).push(key.clone());
        }
    }

    /// Whether the state may be dropped, so that the host starts anew when it comes again.
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
    async fn lost_requests_do_not_hold_the_permits_of_a_host_that_answers_others() {
        const SILENCE: Duration = Duration::from_millis(300);
        let there = key("a");
        let taken = |limiter: &Limiter| {
            let mut permits = Vec::new();
            while let TryAcquire::Permit(permit) = limiter.try_acquire(&there, false) {
                permits.push(permit);
            }
            permits
        };
        for (per_host, pause, replaced) in [
            (PerHost::Auto, Duration::ZERO, 2),
            // The host has answered nothing for longer than it usually takes: it may have stopped.
            (PerHost::Auto, SECOND, 0),
            (PerHost::Fixed(6), Duration::ZERO, 0),
        ] {
            let limiter = limiter(per_host);
            for _ in 0..20 {
                let permit = limiter.retry(&there).await;
                tokio::time::advance(Duration::from_millis(1)).await;
                permit.release(Feedback::Success);
            }
            tokio::time::advance(pause).await;
            let mut permits = taken(&limiter);
            assert!(permits.len() >= 6, "{} permits", permits.len());
            tokio::time::advance(SILENCE).await;
            for permit in &mut permits[..2] {
                assert!(!permit.exceeds_usual_latency(SILENCE), "it is too early to give it up");
                assert!(!permit.exceeds_usual_latency(SILENCE), "and it counts once");
            }
            let more = taken(&limiter);
            assert_eq!(more.len(), replaced, "{per_host:?} after {pause:?}");
            drop((permits, more));
            assert!(limiter.is_idle("a"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_wait_takes_no_slot() {
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
    async fn waiting_rows_fail_at_once_when_a_host_is_given_up() {
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
    async fn a_cancelled_wait_takes_no_permit() {
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
