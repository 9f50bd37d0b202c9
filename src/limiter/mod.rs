//! Per-host rate and concurrency limits: when a request may be sent to which host.
//!
//! [`Limiter`] hands out permits, within a limit for each host and one for the whole run. It knows nothing about HTTP:
//! a download holds a [`Permit`] for one attempt, reports how the attempt ended, and releases the permit before it
//! waits for a retry. [`Limiter::acquire`] waits for a permit, [`Limiter::try_acquire`] does not; after a refusal,
//! [`Limiter::freed`] returns when it is worth asking again (see [`crate::limiter::queue`]).
//!
//! With [`PerHost::Auto`] the limit of a host adapts to what it can serve (see `aimd`). All rows back off from a host
//! that answers "too many requests", for the time that it asks for or for a time that doubles while it answers nothing
//! else. A host that does not answer at all is probed by one request at a time until it does, and is given up in the
//! end (see `circuit_breaker`). If a request fails while others that began later succeed, the failure says something
//! about the page and nothing about the host (see `feedback`).

mod aimd;
pub mod bandwidth;
mod circuit_breaker;
mod feedback;
mod host;
mod latency;
mod permit;
pub mod queue;
mod rate;
mod unanswered;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use self::aimd::MAX_PER_HOST;
pub use self::circuit_breaker::{CircuitOpen, OpenAfter};
pub use self::feedback::Feedback;
use self::host::{Availability, HostState};
pub use self::permit::{BackingOff, Permit, RunPermit};
pub use self::unanswered::UnansweredHost;
use crate::util::lock;

/// Requests in flight per host (`--per-host`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PerHost {
    /// A limit that adapts to what the host can serve.
    #[default]
    Auto,
    /// A fixed limit.
    Fixed(usize),
}

/// The settings of a [`Limiter`].
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The limit on requests in flight at each host.
    pub per_host: PerHost,
    /// The limit on requests in flight at all hosts together.
    pub concurrency: NonZeroUsize,
    /// The shortest time between two requests to a host; `None` for no limit.
    pub request_interval: Option<Duration>,
    /// The first back-off from a host that asks for fewer requests without naming a time; it doubles from there.
    pub initial_backoff: Duration,
    /// When a host that does not answer is given up.
    pub open_after: OpenAfter,
    /// While fewer rows than this wait for a retry, new rows get permits before retries.
    pub new_rows_first_below: usize,
}

/// From this number of hosts on, the state of idle ones is dropped before another is added.
const MIN_HOSTS_TO_SWEEP: usize = 4096;

/// A host by name and port, as servers count it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(Arc<str>);

impl HostKey {
    /// The host of a URL.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        Self(url[url::Position::BeforeHost..url::Position::AfterPort].into())
    }

    /// No host: rows with this key need no permit, because they are done without a request. URLs without a host
    /// have it, too: `data:` and `file:`.
    #[must_use]
    pub fn none() -> Self {
        Self("".into())
    }

    /// Whether it is [`HostKey::none`].
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The host name, with the port if it is not the default of the URL's scheme.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A host that asked for fewer requests, or failed under the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overloaded {
    /// The host.
    pub host: HostKey,
    /// Requests that met the overload.
    pub times: u64,
    /// Those of them that were answered with 429 or 503.
    pub throttled: u64,
}

/// Hands out permits for requests to hosts. Clones share one state.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<LimiterState>);

/// The state of each host. It is looked up several times for each image, so the hash is a fast one, with a random seed.
type Hosts = HashMap<HostKey, HostState, RandomState>;

#[derive(Debug)]
struct LimiterState {
    options: Options,
    hosts: Mutex<Hosts>,
    run_permits: Arc<Semaphore>,
    /// Hosts at which a permit has become free since a new row was refused one.
    freed: Mutex<Vec<HostKey>>,
    changed: Notify,
    /// With this number of hosts, idle ones are dropped. Changed under the lock of the hosts.
    sweep_at: AtomicUsize,
    /// Rows that wait for a retry, at all hosts.
    backing_off: AtomicUsize,
}

/// Which attempt of a row asks for a permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The first attempt of a row.
    First,
    /// A later attempt, after its wait. When a host is down, it only waits for other probes to end and not for the
    /// probe interval, since the number of attempts is limited.
    Retry,
}

/// The result of asking for a permit without waiting.
#[derive(Debug)]
pub enum TryAcquire {
    /// A permit.
    Permit(Permit),
    /// The host is at its limit; [`Limiter::freed`] returns it when it is not.
    HostFull,
    /// The host must not be contacted before the given time.
    NotBefore(Instant),
    /// The host has not answered for long, and the row need not wait for it.
    CircuitOpen,
    /// The run is at its limit.
    RunFull,
}

impl Limiter {
    /// A limiter without any host.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(LimiterState {
            options,
            hosts: Mutex::default(),
            run_permits: Arc::new(Semaphore::new(options.concurrency.get().min(Semaphore::MAX_PERMITS))),
            freed: Mutex::default(),
            changed: Notify::new(),
            sweep_at: AtomicUsize::new(MIN_HOSTS_TO_SWEEP),
            backing_off: AtomicUsize::new(0),
        }))
    }

    /// Waits for a permit, at the host first and in the run last, so that a slow host does not hold permits of the run.
    ///
    /// # Errors
    /// If the circuit of the host is open.
    pub async fn acquire(&self, key: &HostKey, attempt: Attempt) -> Result<Permit, CircuitOpen> {
        loop {
            let mut permit = self.acquire_at_host(key, attempt).await?;
            // The semaphore is never closed: it lives as long as the limiter.
            permit.in_run = Arc::clone(&self.0.run_permits).acquire_owned().await.ok();
            // The slot is taken last: slots taken before the wait would be used one right after the other. If another
            // task has taken it first, the permits are not held until the next slot.
            if permit.take_slot() {
                return Ok(permit);
            }
        }
    }

    /// Exchanges the permit for one of another host, to which a redirect has led. The present one is given back before
    /// the wait for the other: otherwise two hosts that redirect to each other could wait for each other. Meanwhile the
    /// row is counted as backing off at the present host, of which no more rows are begun when many wait elsewhere.
    ///
    /// # Errors
    /// If the circuit of the other host is open.
    pub async fn exchange(&self, mut permit: Permit, key: &HostKey, attempt: Attempt) -> Result<Permit, CircuitOpen> {
        let taken = {
            let mut hosts = lock(&self.0.hosts);
            let host = self.0.host(&mut hosts, key);
            let is_free = host.waiters.is_empty() && matches!(host.availability(attempt, &self.0), Availability::Free);
            (is_free && host.due().is_ok()).then(|| {
                host.take_slot();
                let mut taken = host.permit(key, &self.0);
                // The permit of the run goes along, so that the row keeps its turn.
                taken.in_run = permit.in_run.take();
                taken
            })
        };
        if let Some(taken) = taken {
            permit.release(Feedback::Success);
            return Ok(taken);
        }
        let _backing_off = permit.back_off(Feedback::Success);
        self.acquire(key, attempt).await
    }

    async fn acquire_at_host(&self, key: &HostKey, attempt: Attempt) -> Result<Permit, CircuitOpen> {
        loop {
            let (receiver, until) = {
                let mut hosts = lock(&self.0.hosts);
                let host = self.0.host(&mut hosts, key);
                let until = match host.availability(attempt, &self.0) {
                    Availability::Free
                        if attempt == Attempt::Retry && host.new_row_notified && self.0.prefers_new_rows() =>
                    {
                        None
                    }
                    Availability::Free => match host.due() {
                        Ok(()) => return Ok(host.permit(key, &self.0)),
                        Err(until) => Some(until),
                    },
                    Availability::NotBefore(until) => Some(until),
                    Availability::Full => None,
                    Availability::CircuitOpen(open) => return Err(open),
                };
                let (sender, receiver) = oneshot::channel();
                host.waiters.push_back((attempt, sender));
                (receiver, until)
            };
            // A dropped sender means that the state has changed, and the task asks again.
            let permit = match until {
                Some(until) => timeout_at(until, receiver).await.ok().and_then(Result::ok),
                None => receiver.await.ok(),
            };
            if let Some(permit) = permit {
                return Ok(permit);
            }
        }
    }

    /// Takes a permit for a new row if one is available now. `is_last`: no further row of the host is at hand.
    #[must_use]
    pub fn try_acquire(&self, key: &HostKey, is_last: bool) -> TryAcquire {
        let Ok(in_run) = Arc::clone(&self.0.run_permits).try_acquire_owned() else { return TryAcquire::RunFull };
        let mut hosts = lock(&self.0.hosts);
        let host = self.0.host(&mut hosts, key);
        let availability = host.availability(Attempt::First, &self.0);
        // Tasks that waited for a time may have been cancelled.
        host.waiters.retain(|(_, sender)| !sender.is_closed());
        // Only a row that is refused now waits, and asks again when notified.
        (host.new_row_waits, host.new_row_notified) = (false, false);
        let result = match availability {
            // New rows stay in the list while this host has many rows that wait for a retry.
            Availability::Free
                if self.0.prefers_new_rows() || (host.waiters.is_empty() && host.backing_off < MAX_PER_HOST) =>
            {
                match host.due() {
                    Ok(()) => {
                        let mut permit = host.permit(key, &self.0);
                        host.take_slot();
                        permit.in_run = Some(in_run);
                        TryAcquire::Permit(permit)
                    }
                    Err(until) => TryAcquire::NotBefore(until),
                }
            }
            Availability::NotBefore(until) => {
                // A host that is down may be back earlier.
                host.new_row_waits = host.streak.is_some();
                TryAcquire::NotBefore(until)
            }
            Availability::CircuitOpen(_) => TryAcquire::CircuitOpen,
            Availability::Free | Availability::Full => {
                host.new_row_waits = true;
                TryAcquire::HostFull
            }
        };
        // A permit that was reserved for new rows and is not taken by one goes to the retries.
        if is_last || !matches!(result, TryAcquire::Permit(_)) {
            host.grant(key, &self.0, false);
        }
        result
    }

    /// Waits until a permit has become free, in the run or at a host where [`Limiter::try_acquire`] found none, and
    /// returns those hosts.
    pub async fn freed(&self) -> Vec<HostKey> {
        self.0.changed.notified().await;
        std::mem::take(&mut *lock(&self.0.freed))
    }

    /// The hosts that asked for fewer requests or failed under the load, the most often overloaded first.
    #[must_use]
    pub fn overloaded(&self) -> Vec<Overloaded> {
        let hosts = lock(&self.0.hosts);
        let overloaded = hosts.iter().filter(|(_, host)| host.overloads > 0);
        let mut overloaded = overloaded
            .map(|(key, host)| Overloaded { host: key.clone(), times: host.overloads, throttled: host.throttled })
            .collect::<Vec<_>>();
        overloaded.sort_by(|one, other| other.times.cmp(&one.times).then_with(|| one.host.cmp(&other.host)));
        overloaded
    }
}

impl Limiter {
    /// The hosts in back-off, and those whose limit was reduced within the last `recent`: how often they were
    /// overloaded, and how long the back-off still lasts. The longest back-off comes first.
    #[must_use]
    pub fn throttled(&self, recent: Duration) -> Vec<(HostKey, u64, Option<Duration>)> {
        let now = Instant::now();
        let hosts = lock(&self.0.hosts);
        let throttled = hosts.iter().filter(|(_, host)| host.overloads > 0).filter_map(|(key, host)| {
            let backoff = host.not_before.and_then(|until| until.checked_duration_since(now)).filter(|t| !t.is_zero());
            let is_recent = host.last_decrease.is_some_and(|last_decrease| now.duration_since(last_decrease) < recent);
            (backoff.is_some() || is_recent).then(|| (key.clone(), host.overloads, backoff))
        });
        let mut throttled = throttled.collect::<Vec<_>>();
        drop(hosts);
        throttled.sort_by(|left, right| (right.2, right.1).cmp(&(left.2, left.1)).then_with(|| left.0.cmp(&right.0)));
        throttled
    }
}

impl LimiterState {
    /// Whether new rows get permits before retries. A page that stalls would otherwise delay the others with each of
    /// its retries; but the number of rows that wait for a retry must stay small.
    fn prefers_new_rows(&self) -> bool {
        self.backing_off.load(Ordering::Relaxed) < self.options.new_rows_first_below
    }

    /// The state of the host, new if there is none.
    fn host<'a>(&self, hosts: &'a mut Hosts, key: &HostKey) -> &'a mut HostState {
        if hosts.len() >= self.sweep_at.load(Ordering::Relaxed) && !hosts.contains_key(key) {
            let now = Instant::now();
            hosts.retain(|_, host| !host.is_forgettable(now, self));
            // The cost of a sweep stays proportional to the hosts added since the last one.
            self.sweep_at.store(MIN_HOSTS_TO_SWEEP.max(2 * hosts.len()), Ordering::Relaxed);
        }
        hosts.entry(key.clone()).or_insert_with(|| HostState::new(self))
    }
}

#[cfg(test)]
mod testing {
    use super::*;
    use crate::record::ErrorKind;

    pub(super) fn key(host: &str) -> HostKey {
        HostKey::of(&Url::parse(&format!("http://{host}/a.png")).expect("a URL"))
    }

    pub(super) const SECOND: Duration = Duration::from_secs(1);
    pub(super) const BUSY: Feedback = Feedback::Busy(ErrorKind::HttpStatus(503));
    pub(super) const REFUSED: Feedback = Feedback::Unanswered(ErrorKind::Connect);

    pub(super) const fn throttled(asked: Option<Duration>) -> Feedback {
        Feedback::Throttled(ErrorKind::HttpStatus(429), asked)
    }

    pub(super) fn options(per_host: PerHost) -> Options {
        Options {
            per_host,
            concurrency: NonZeroUsize::new(100).expect("not zero"),
            request_interval: None,
            initial_backoff: Duration::from_millis(500),
            open_after: OpenAfter { attempts: 4, unconnected: 40 * SECOND, unanswered: 80 * SECOND },
            new_rows_first_below: 0,
        }
    }

    pub(super) fn limiter(per_host: PerHost) -> Limiter {
        Limiter::new(options(per_host))
    }

    impl Limiter {
        pub(super) async fn retry(&self, key: &HostKey) -> Permit {
            self.acquire(key, Attempt::Retry).await.expect("it has not been given up")
        }

        pub(super) fn is_idle(&self, host: &str) -> bool {
            lock(&self.0.hosts)[&key(host)].is_forgettable(Instant::now(), &self.0)
        }

        pub(super) fn permits(&self, host: &str) -> Option<(usize, usize)> {
            lock(&self.0.hosts).get(&key(host)).map(|host| (host.in_flight, host.limit.permits()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{SECOND, key, limiter, options};
    use super::*;
    use crate::record::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn a_fixed_number_is_never_exceeded_and_other_hosts_are_free() {
        let limiter = limiter(PerHost::Fixed(2));
        let there = key("a");
        let first = limiter.retry(&there).await;
        let _second = limiter.retry(&there).await;
        let mut third = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.retry(&key("b")).await;
        first.release(Feedback::Success);
        let _third = third.await;
        assert_eq!(limiter.permits("a"), Some((2, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_rows_in_back_off_gets_no_new_ones() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let mut backing_off = Vec::new();
        for _ in 0..MAX_PER_HOST {
            backing_off.push(limiter.retry(&there).await.back_off(Feedback::Unclear));
        }
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::HostFull));
        drop(limiter.retry(&there).await);
        assert!(
            matches!(limiter.try_acquire(&there, false), TryAcquire::HostFull),
            "rows in back-off may come back at any time"
        );
        let _ = futures::poll!(Box::pin(limiter.freed()));
        drop(backing_off.pop());
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::Permit(_)));
        drop(backing_off);
        assert!(limiter.is_idle("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn new_rows_go_before_retries_while_these_are_few() {
        let limiter = Limiter::new(Options { new_rows_first_below: 2, ..options(PerHost::Fixed(1)) });
        let there = key("a");
        let backing_off = limiter.retry(&there).await.back_off(Feedback::Unclear);
        let permit = limiter.retry(&there).await;
        let mut again = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut again).is_pending());
        for last in [false, true] {
            assert!(matches!(limiter.try_acquire(&there, last), TryAcquire::HostFull));
        }
        drop(permit);
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        let mut barging = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut barging).is_pending(), "the permit is reserved");
        let TryAcquire::Permit(new) = limiter.try_acquire(&there, true) else { panic!("the new one goes first") };
        assert!(futures::poll!(&mut again).is_pending());
        drop(new);
        drop(again.await);
        drop(barging.await);
        // As many rows wait for a retry as may.
        let _another = limiter.retry(&there).await.back_off(Feedback::Unclear);
        let permit = limiter.retry(&there).await;
        let mut again = Box::pin(limiter.retry(&there));
        assert!(futures::poll!(&mut again).is_pending());
        assert!(matches!(limiter.try_acquire(&there, true), TryAcquire::HostFull));
        drop(permit);
        drop(again.await);
        drop(backing_off);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_rate_holds_for_both_ways_to_a_permit() {
        let request_interval = Some(Duration::from_millis(30));
        let limiter = Limiter::new(Options { request_interval, ..options(PerHost::Fixed(9)) });
        let begin = Instant::now();
        for _ in 0..4 {
            drop(limiter.retry(&key("a")).await);
        }
        assert_eq!(begin.elapsed(), Duration::from_millis(90));
        assert!(matches!(limiter.try_acquire(&key("a"), false), TryAcquire::NotBefore(_)));
        assert!(matches!(limiter.try_acquire(&key("b"), false), TryAcquire::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_not_saved_up_while_the_run_is_full() {
        let concurrency = NonZeroUsize::MIN;
        let limiter =
            Limiter::new(Options { concurrency, request_interval: Some(SECOND), ..options(PerHost::Fixed(9)) });
        let other = limiter.retry(&key("b")).await;
        let begin = Instant::now();
        let request = || async {
            drop(limiter.retry(&key("a")).await);
            begin.elapsed().as_secs()
        };
        let run_is_full = async {
            tokio::time::sleep(10 * SECOND).await;
            drop(other);
        };
        let (one, two, three, ()) = tokio::join!(request(), request(), request(), run_is_full);
        let mut times = [one, two, three];
        times.sort_unstable();
        assert_eq!(times, [10, 11, 12]);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_hosts_are_dropped_when_there_are_many() {
        for request_interval in [None, Some(SECOND)] {
            let limiter = Limiter::new(Options { request_interval, ..options(PerHost::Auto) });
            for number in 0..5 * MIN_HOSTS_TO_SWEEP {
                let there = key(&format!("h{number}"));
                limiter.retry(&there).await.release(Feedback::Unanswered(ErrorKind::Dns));
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            let remembered = lock(&limiter.0.hosts).len();
            assert!(remembered <= 2 * MIN_HOSTS_TO_SWEEP, "{remembered}");
            // Dropped before its next slot, the host would get a request too soon.
            limiter.retry(&key("last")).await.release(Feedback::Success);
            assert_eq!(limiter.is_idle("last"), request_interval.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_is_exchanged_for_one_of_another_host() {
        let concurrency = NonZeroUsize::new(2).expect("not zero");
        let limiter = Limiter::new(Options { concurrency, ..options(PerHost::Fixed(1)) });
        let (a, b) = (key("a"), key("b"));
        let permit = limiter.retry(&a).await;
        let at_b = limiter.exchange(permit, &b, Attempt::First).await.expect("b is not given up");
        assert_eq!((limiter.permits("a"), limiter.permits("b")), (Some((0, 1)), Some((1, 1))));
        // The host is full: nothing is held while the row waits for it.
        let another = limiter.retry(&a).await;
        let mut waiting = Box::pin(limiter.exchange(another, &b, Attempt::First));
        assert!(futures::poll!(&mut waiting).is_pending());
        let back = limiter.exchange(at_b, &a, Attempt::First).await.expect("a is not given up");
        assert!(waiting.await.is_ok(), "two hosts that redirect to each other do not wait for each other");
        drop(back);
        assert!(limiter.is_idle("a") && limiter.is_idle("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_wait_for_another_host_hold_up_new_ones_when_they_are_many() {
        let limiter = limiter(PerHost::Fixed(1));
        let (a, b) = (key("a"), key("b"));
        let _busy = limiter.retry(&b).await;
        let mut waiting = Vec::new();
        for _ in 0..MAX_PER_HOST {
            let permit = limiter.retry(&a).await;
            let mut exchange = Box::pin(limiter.exchange(permit, &b, Attempt::First));
            assert!(futures::poll!(&mut exchange).is_pending());
            waiting.push(exchange);
        }
        assert!(matches!(limiter.try_acquire(&a, false), TryAcquire::HostFull));
        drop(waiting.pop());
        assert!(matches!(limiter.try_acquire(&a, false), TryAcquire::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_in_back_off_and_a_rate_hold_for_rows_that_are_led_there() {
        let request_interval = Some(SECOND);
        let limiter = Limiter::new(Options { request_interval, ..options(PerHost::Fixed(9)) });
        let (begin, b) = (Instant::now(), key("b"));
        for row in 0..3 {
            let permit = limiter.retry(&key(&format!("front{row}"))).await;
            drop(limiter.exchange(permit, &b, Attempt::First).await);
        }
        assert_eq!(begin.elapsed(), 2 * SECOND);
        tokio::time::advance(SECOND).await;
        limiter.retry(&b).await.release(super::testing::throttled(Some(8 * SECOND)));
        let permit = limiter.retry(&key("front")).await;
        drop(limiter.exchange(permit, &b, Attempt::First).await);
        assert_eq!(begin.elapsed(), 11 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_row_that_works_on_its_answer_holds_up_the_run_and_not_the_host() {
        let concurrency = NonZeroUsize::new(2).expect("not zero");
        let limiter = Limiter::new(Options { concurrency, ..options(PerHost::Fixed(1)) });
        let there = key("a");
        let working = limiter.retry(&there).await.leave_host(Feedback::Success);
        assert_eq!(limiter.permits("a"), Some((0, 1)));
        let TryAcquire::Permit(next) = limiter.try_acquire(&there, false) else { panic!("the host is free") };
        let _also_working = next.leave_host(Feedback::Success);
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::RunFull));
        let _ = futures::poll!(Box::pin(limiter.freed()));
        let mut freed = Box::pin(limiter.freed());
        assert!(futures::poll!(&mut freed).is_pending());
        drop(working);
        freed.await;
        assert!(matches!(limiter.try_acquire(&there, false), TryAcquire::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_has_a_limit_of_its_own() {
        let concurrency = NonZeroUsize::new(2).expect("not zero");
        let limiter = Limiter::new(Options { concurrency, ..options(PerHost::Auto) });
        let one = limiter.retry(&key("a")).await;
        let _two = limiter.retry(&key("b")).await;
        assert!(matches!(limiter.try_acquire(&key("c"), false), TryAcquire::RunFull));
        drop(one);
        assert!(limiter.freed().await.is_empty());
        assert!(matches!(limiter.try_acquire(&key("c"), false), TryAcquire::Permit(_)));
    }
}
