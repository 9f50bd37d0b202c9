//! Who may visit which host, and when.
//!
//! [`Limiter`] hands out permits: so many per host, so many in the run. It knows nothing about HTTP: a download holds a
//! [`Permit`] for one attempt, says how the attempt went, and gives the permit back before it waits for another try.
//! There are two ways to a permit: [`Limiter::enter`] waits for it, and [`Limiter::try_enter`] does not; whoever is
//! refused by the latter is told by [`Limiter::freed`] when asking again is worth it (see [`crate::limiter::queue`]).
//!
//! With [`PerHost::Auto`] the number of permits follows what the host bears (see `aimd`). A host that says "too many
//! requests" is left alone by everybody for the time it asks for, or for a while that grows as long as it says nothing
//! else. A host that serves nobody is visited by one at a time until it answers again, and in the end given up (see
//! `circuit_breaker`). A visit that came to nothing while others, begun since, were served well says something about its page
//! and nothing about the host (see `feedback`).

mod aimd;
pub mod bandwidth;
mod circuit_breaker;
mod feedback;
mod host;
mod latency;
mod permit;
pub mod queue;
mod rate;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use url::Url;

pub use self::aimd::MOST;
pub use self::circuit_breaker::{GivenUp, Patience};
pub use self::feedback::Feedback;
use self::host::{Host, Room};
pub use self::permit::{BackingOff, Permit};

/// Downloads at once per host (`--per-host`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PerHost {
    /// As many as the host bears.
    #[default]
    Auto,
    /// So many.
    Fixed(usize),
}

/// What the limiter goes by.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seats at each host.
    pub per_host: PerHost,
    /// Seats over all hosts.
    pub in_run: NonZeroUsize,
    /// The shortest time between two requests to a host.
    pub pace: Option<Duration>,
    /// How long a host that asks for fewer requests is left alone the first time; it doubles from there.
    pub pause: Duration,
    /// How long a host may serve nobody.
    pub patience: Patience,
    /// While fewer rows than that wait for another try, new ones go before them.
    pub at_rest: usize,
}

/// From so many hosts on, those that nobody visits are forgotten before another is added.
const MANY: usize = 4096;

/// A host as servers count it: name and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(Arc<str>);

impl HostKey {
    /// The host of a URL.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        Self(url[url::Position::BeforeHost..url::Position::AfterPort].into())
    }

    /// The host and its port, if it is not the usual one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A host that asked for less, or broke under the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overloaded {
    /// Which.
    pub host: HostKey,
    /// How many visits met that.
    pub times: u64,
    /// How many of them were answered with 429 or 503.
    pub throttled: u64,
}

/// Seats at hosts and in the run. Clones share them.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Shared>);

/// The hosts met. They are looked up several times for each image, so with a quick hash, whose seed is random.
type Hosts = HashMap<HostKey, Host, RandomState>;

#[derive(Debug)]
struct Shared {
    options: Options,
    hosts: Mutex<Hosts>,
    run: Arc<Semaphore>,
    /// Hosts at which a permit has become free since somebody was refused one.
    freed: Mutex<Vec<HostKey>>,
    changed: Notify,
    /// With so many hosts, those that nobody visits are forgotten. Changed under the lock of the hosts.
    sweep_at: AtomicUsize,
    /// Rows that wait for another try, at all hosts.
    resting: AtomicUsize,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A row that has not visited the host yet.
    First,
    /// A row that has, and has waited since. When a host is down it need not wait for more than the one before it: its
    /// attempts are numbered.
    Retry,
}

/// What comes of asking for a permit without waiting.
#[derive(Debug)]
pub enum Entry {
    /// Here it is.
    Permit(Permit),
    /// The host is full; it will be among the [`Limiter::freed`] when it is not.
    HostFull,
    /// The host wants nobody before that time.
    NotBefore(Instant),
    /// The host has served nobody for long; rows need not wait for it.
    GivenUp,
    /// The run is full.
    RunFull,
}

impl Limiter {
    /// A limiter that has met no host yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self(Arc::new(Shared {
            options,
            hosts: Mutex::default(),
            run: Arc::new(Semaphore::new(options.in_run.get().min(Semaphore::MAX_PERMITS))),
            freed: Mutex::default(),
            changed: Notify::new(),
            sweep_at: AtomicUsize::new(MANY),
            resting: AtomicUsize::new(0),
        }))
    }

    /// Waits for a permit, at the host first and in the run last, so that a slow host keeps nobody else from working.
    ///
    /// # Errors
    /// When the host has been given up.
    pub async fn enter(&self, key: &HostKey, turn: Attempt) -> Result<Permit, GivenUp> {
        loop {
            let mut permit = self.at_host(key, turn).await?;
            // Closed never: the semaphore lives as long as the limiter.
            permit.in_run = Arc::clone(&self.0.run).acquire_owned().await.ok();
            // Last: slots that were taken before the wait would be used one right after the other. When somebody else
            // has been quicker, the permits are not held until the next slot comes.
            if permit.take_slot() {
                return Ok(permit);
            }
        }
    }

    async fn at_host(&self, key: &HostKey, turn: Attempt) -> Result<Permit, GivenUp> {
        loop {
            let (receiver, until) = {
                let mut hosts = lock(&self.0.hosts);
                let host = self.0.host(&mut hosts, key);
                let until = match host.room(turn, &self.0) {
                    Room::Free if turn == Attempt::Retry && host.promised && self.0.has_new_first() => None,
                    Room::Free => match host.due() {
                        Ok(()) => return Ok(host.permit(key, &self.0)),
                        Err(until) => Some(until),
                    },
                    Room::NotBefore(until) => Some(until),
                    Room::Full => None,
                    Room::GivenUp(given_up) => return Err(given_up),
                };
                let (sender, receiver) = oneshot::channel();
                host.queue.push_back((turn, sender));
                (receiver, until)
            };
            // A sender that is dropped means that things have changed: it is asked again.
            let permit = match until {
                Some(until) => timeout_at(until, receiver).await.ok().and_then(Result::ok),
                None => receiver.await.ok(),
            };
            if let Some(permit) = permit {
                return Ok(permit);
            }
        }
    }

    /// Takes a permit for a new row, the `last` one at hand, if there is one now.
    #[must_use]
    pub fn try_enter(&self, key: &HostKey, last: bool) -> Entry {
        let Ok(in_run) = Arc::clone(&self.0.run).try_acquire_owned() else { return Entry::RunFull };
        let mut hosts = lock(&self.0.hosts);
        let host = self.0.host(&mut hosts, key);
        let room = host.room(Attempt::First, &self.0);
        // Whoever waited for a time and not for a permit may have gone.
        host.queue.retain(|(_, sender)| !sender.is_closed());
        // Only whoever is refused now has a row that waits, and will come when told.
        (host.wanted, host.promised) = (false, false);
        let entry = match room {
            // New rows stay in the list when so many of the host's wait for another try.
            Room::Free if self.0.has_new_first() || (host.queue.is_empty() && host.resting < MOST) => {
                match host.due() {
                    Ok(()) => {
                        let mut permit = host.permit(key, &self.0);
                        host.take_slot();
                        permit.in_run = Some(in_run);
                        Entry::Permit(permit)
                    }
                    Err(until) => Entry::NotBefore(until),
                }
            }
            Room::NotBefore(until) => {
                // A host that is down may be back before.
                host.wanted = host.failing.is_some();
                Entry::NotBefore(until)
            }
            Room::GivenUp(_) => Entry::GivenUp,
            Room::Free | Room::Full => {
                host.wanted = true;
                Entry::HostFull
            }
        };
        // What was kept for new rows and is not taken by one goes to the others.
        if last || !matches!(entry, Entry::Permit(_)) {
            host.serve(key, &self.0, false);
        }
        entry
    }

    /// Waits until a permit has become free, in the run or at a host that [`Limiter::try_enter`] found full, and says
    /// which hosts.
    pub async fn freed(&self) -> Vec<HostKey> {
        self.0.changed.notified().await;
        std::mem::take(&mut *lock(&self.0.freed))
    }

    /// The hosts that asked for less or broke under the load, and how often, the worst first.
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
    /// The hosts that are left alone, or have lost permits within the `lately` last time: how often they were overloaded,
    /// and how long they are left alone still. Those that are for longest come first.
    #[must_use]
    pub fn throttled(&self, lately: Duration) -> Vec<(HostKey, u64, Option<Duration>)> {
        let now = Instant::now();
        let hosts = lock(&self.0.hosts);
        let throttled = hosts.iter().filter(|(_, host)| host.overloads > 0).filter_map(|(key, host)| {
            let left_alone =
                host.not_before.and_then(|until| until.checked_duration_since(now)).filter(|t| !t.is_zero());
            let is_news = host.halved.is_some_and(|halved| now.duration_since(halved) < lately);
            (left_alone.is_some() || is_news).then(|| (key.clone(), host.overloads, left_alone))
        });
        let mut throttled = throttled.collect::<Vec<_>>();
        drop(hosts);
        throttled.sort_by(|left, right| (right.2, right.1).cmp(&(left.2, left.1)).then_with(|| left.0.cmp(&right.0)));
        throttled
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held leaves numbers that are off by one permit at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Whether new rows go before those that try again. A page that stalls would otherwise keep others waiting once for
    /// each of its tries; but those that have tried must not become too many.
    fn has_new_first(&self) -> bool {
        self.resting.load(Ordering::Relaxed) < self.options.at_rest
    }

    /// What is known about the host.
    fn host<'a>(&self, hosts: &'a mut Hosts, key: &HostKey) -> &'a mut Host {
        if hosts.len() >= self.sweep_at.load(Ordering::Relaxed) && !hosts.contains_key(key) {
            let now = Instant::now();
            hosts.retain(|_, host| !host.is_forgettable(now, self));
            // So that a sweep pays for itself however many hosts there are.
            self.sweep_at.store(MANY.max(2 * hosts.len()), Ordering::Relaxed);
        }
        hosts.entry(key.clone()).or_insert_with(|| Host::new(self))
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
            in_run: NonZeroUsize::new(100).expect("not zero"),
            pace: None,
            pause: Duration::from_millis(500),
            patience: Patience { tries: 4, connecting: 40 * SECOND, answering: 80 * SECOND },
            at_rest: 0,
        }
    }

    pub(super) fn limiter(per_host: PerHost) -> Limiter {
        Limiter::new(options(per_host))
    }

    impl Limiter {
        pub(super) async fn again(&self, key: &HostKey) -> Permit {
            self.enter(key, Attempt::Retry).await.expect("it has not been given up")
        }

        pub(super) fn is_at_rest(&self, host: &str) -> bool {
            lock(&self.0.hosts)[&key(host)].is_forgettable(Instant::now(), &self.0)
        }

        pub(super) fn permits(&self, host: &str) -> Option<(usize, usize)> {
            lock(&self.0.hosts).get(&key(host)).map(|host| (host.taken, host.level.permits()))
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
        let first = limiter.again(&there).await;
        let _second = limiter.again(&there).await;
        let mut third = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.again(&key("b")).await;
        first.leave(Feedback::Well);
        let _third = third.await;
        assert_eq!(limiter.permits("a"), Some((2, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_resting_rows_gets_no_new_ones() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let mut resting = Vec::new();
        for _ in 0..MOST {
            resting.push(limiter.again(&there).await.rest(Feedback::Unclear));
        }
        assert!(matches!(limiter.try_enter(&there, false), Entry::HostFull));
        drop(limiter.again(&there).await);
        assert!(
            matches!(limiter.try_enter(&there, false), Entry::HostFull),
            "those who rest may come back at any time"
        );
        let _ = futures::poll!(Box::pin(limiter.freed()));
        drop(resting.pop());
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        assert!(matches!(limiter.try_enter(&there, false), Entry::Permit(_)));
        drop(resting);
        assert!(limiter.is_at_rest("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn new_rows_go_before_those_that_try_again_while_these_are_few() {
        let limiter = Limiter::new(Options { at_rest: 2, ..options(PerHost::Fixed(1)) });
        let there = key("a");
        let resting = limiter.again(&there).await.rest(Feedback::Unclear);
        let permit = limiter.again(&there).await;
        let mut again = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut again).is_pending());
        for last in [false, true] {
            assert!(matches!(limiter.try_enter(&there, last), Entry::HostFull));
        }
        drop(permit);
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        let mut barging = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut barging).is_pending(), "the permit is promised");
        let Entry::Permit(new) = limiter.try_enter(&there, true) else { panic!("the new one goes first") };
        assert!(futures::poll!(&mut again).is_pending());
        drop(new);
        drop(again.await);
        drop(barging.await);
        // Now as many rest as may.
        let _another = limiter.again(&there).await.rest(Feedback::Unclear);
        let permit = limiter.again(&there).await;
        let mut again = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut again).is_pending());
        assert!(matches!(limiter.try_enter(&there, true), Entry::HostFull));
        drop(permit);
        drop(again.await);
        drop(resting);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_kept_whatever_the_way_to_the_seat() {
        let pace = Some(Duration::from_millis(30));
        let limiter = Limiter::new(Options { pace, ..options(PerHost::Fixed(9)) });
        let begin = Instant::now();
        for _ in 0..4 {
            drop(limiter.again(&key("a")).await);
        }
        assert_eq!(begin.elapsed(), Duration::from_millis(90));
        assert!(matches!(limiter.try_enter(&key("a"), false), Entry::NotBefore(_)));
        assert!(matches!(limiter.try_enter(&key("b"), false), Entry::Permit(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_not_saved_up_by_those_who_wait_for_the_run() {
        let in_run = NonZeroUsize::MIN;
        let limiter = Limiter::new(Options { in_run, pace: Some(SECOND), ..options(PerHost::Fixed(9)) });
        let other = limiter.again(&key("b")).await;
        let begin = Instant::now();
        let visit = || async {
            drop(limiter.again(&key("a")).await);
            begin.elapsed().as_secs()
        };
        let run_is_full = async {
            tokio::time::sleep(10 * SECOND).await;
            drop(other);
        };
        let (one, two, three, ()) = tokio::join!(visit(), visit(), visit(), run_is_full);
        let mut times = [one, two, three];
        times.sort_unstable();
        assert_eq!(times, [10, 11, 12]);
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_nobody_visits_are_forgotten_when_there_are_many() {
        for pace in [None, Some(SECOND)] {
            let limiter = Limiter::new(Options { pace, ..options(PerHost::Auto) });
            for number in 0..5 * MANY {
                let there = key(&format!("h{number}"));
                limiter.again(&there).await.leave(Feedback::Unanswered(ErrorKind::Dns));
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            let remembered = lock(&limiter.0.hosts).len();
            assert!(remembered <= 2 * MANY, "{remembered}");
            // Forgotten before its next slot, it would be asked too soon.
            limiter.again(&key("last")).await.leave(Feedback::Well);
            assert_eq!(limiter.is_at_rest("last"), pace.is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_has_seats_of_its_own() {
        let in_run = NonZeroUsize::new(2).expect("not zero");
        let limiter = Limiter::new(Options { in_run, ..options(PerHost::Auto) });
        let one = limiter.again(&key("a")).await;
        let _two = limiter.again(&key("b")).await;
        assert!(matches!(limiter.try_enter(&key("c"), false), Entry::RunFull));
        drop(one);
        assert!(limiter.freed().await.is_empty());
        assert!(matches!(limiter.try_enter(&key("c"), false), Entry::Permit(_)));
    }
}
