//! Who may visit which host, and when.
//!
//! [`Limiter`] hands out seats: so many per host, so many in the run. It knows nothing about HTTP: a download holds a
//! [`Seat`] for one attempt, says how the attempt went, and gives the seat back before it waits for another try.
//! There are two ways to a seat: [`Limiter::enter`] waits for it, and [`Limiter::try_enter`] does not; whoever is
//! refused by the latter is told by [`Limiter::freed`] when asking again is worth it (see [`crate::lookahead`]).
//!
//! With [`PerHost::Auto`] a host begins with as many seats as a browser takes, gets one more for each visit that went
//! well up to 64, and keeps half of them when it asks for less (429, 503) or breaks under the load (resets, timeouts).
//! A host that says "too many requests" is left alone by everybody for the time it asks for, or for a while that grows
//! as long as it says nothing else. A host that refuses one connection after the other is visited by one at a time until it answers again.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until};
use url::Url;

/// Downloads at once per host (`--per-host`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerHost {
    /// As many as the host bears.
    Auto,
    /// So many.
    Fixed(usize),
}

/// What browsers open to one host over HTTP/1.1.
const MODEST: usize = 6;
/// No host gets more by itself: a server that serves 64 at once is not faster with 65.
const MOST: usize = 64;
/// After so many refused connections in a row, one probe at a time is enough to learn that the host is back.
const REFUSALS: u32 = 8;

/// However often a host asks for fewer requests, it is asked again after so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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

/// Seats at hosts and in the run. Clones share them.
#[derive(Clone, Debug)]
pub struct Limiter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    per_host: PerHost,
    pause: Duration,
    pace: Option<Quota>,
    hosts: Mutex<HashMap<HostKey, Host>>,
    run: Arc<Semaphore>,
    /// Hosts at which a seat has become free since somebody was refused one.
    freed: Mutex<Vec<HostKey>>,
    changed: Notify,
}

#[derive(Debug)]
struct Host {
    /// Seats there are.
    seats: usize,
    /// Seats taken.
    taken: usize,
    /// Downloads that have left their seat to try again later.
    resting: usize,
    /// Nobody enters before.
    not_before: Option<Instant>,
    /// Those seats were last taken away; visits that began before say nothing new about the host.
    halved: Option<Instant>,
    /// Refused connections since the last answer.
    refusals: u32,
    /// How often the host asked for less, or broke.
    overloads: u64,
    /// Pauses since it last kept up.
    pauses: u32,
    /// What `--rate` leaves to it.
    pace: Option<DefaultDirectRateLimiter>,
    /// Who waits, first come first served.
    queue: VecDeque<oneshot::Sender<Seat>>,
    /// Somebody has been refused a seat, and wants to know when there is one.
    wanted: bool,
}

/// How a visit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The host keeps up.
    Well,
    /// The host asked for fewer requests (429), or to stay away for so long.
    Throttled(Option<Duration>),
    /// The host, or the way to it, broke down under the load.
    Overloaded,
    /// There was no connection.
    Refused,
    /// Nothing was learned about its load.
    Unclear,
}

/// What comes of asking for a seat without waiting.
#[derive(Debug)]
pub enum Entry {
    /// Here it is.
    Seat(Seat),
    /// The host is full; it will be among the [`Limiter::freed`] when it is not.
    HostFull,
    /// The host wants nobody before that time.
    NotBefore(Instant),
    /// The run is full.
    RunFull,
}

/// A place at a host and in the run, for one attempt. Dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    shared: Arc<Shared>,
    key: HostKey,
    since: Instant,
    visit: Visit,
    in_run: Option<OwnedSemaphorePermit>,
    /// Not when nobody was there to take the seat, and its giver has taken it back.
    counted: bool,
}

/// A download that waits to try again. It holds no seat, but a host with many of them gets no new rows. Dropping it ends
/// the wait.
#[derive(Debug)]
pub struct Resting {
    shared: Arc<Shared>,
    key: HostKey,
}

impl Drop for Resting {
    fn drop(&mut self) {
        let mut hosts = lock(&self.shared.hosts);
        if let Some(host) = hosts.get_mut(&self.key) {
            host.resting -= 1;
            host.tell_if_wanted(&self.key, &self.shared);
            if host.is_forgettable() {
                hosts.remove(&self.key);
            }
        }
        drop(hosts);
        self.shared.changed.notify_one();
    }
}

impl Limiter {
    /// `in_run`: seats over all hosts.
    ///
    /// `pace`: the shortest time between two requests to a host. `pause`: how long a host that asks for fewer requests is left alone the first time; it doubles from there.
    #[must_use]
    pub fn new(per_host: PerHost, in_run: NonZeroUsize, pause: Duration, pace: Option<Duration>) -> Self {
        Self(Arc::new(Shared {
            per_host,
            pause,
            pace: pace.and_then(Quota::with_period),
            hosts: Mutex::default(),
            run: Arc::new(Semaphore::new(in_run.get().min(Semaphore::MAX_PERMITS))),
            freed: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Waits for a seat, at the host first and in the run last, so that a slow host keeps nobody else from working.
    pub async fn enter(&self, key: &HostKey) -> Seat {
        let mut seat = self.at_host(key).await;
        // Closed never: the semaphore lives as long as the limiter.
        seat.in_run = Arc::clone(&self.0.run).acquire_owned().await.ok();
        seat.since = Instant::now();
        seat
    }

    async fn at_host(&self, key: &HostKey) -> Seat {
        loop {
            let wait = {
                let mut hosts = lock(&self.0.hosts);
                let host = hosts.entry(key.clone()).or_insert_with(|| Host::new(&self.0));
                match host.not_before {
                    Some(until) if until > Instant::now() => Wait::Until(until),
                    _ if host.has_room() => match host.pace() {
                        Ok(()) => {
                            host.taken += 1;
                            return Seat::new(&self.0, key.clone());
                        }
                        Err(until) => Wait::Until(until),
                    },
                    _ => {
                        let (sender, receiver) = oneshot::channel();
                        host.queue.push_back(sender);
                        Wait::Queue(receiver)
                    }
                }
            };
            match wait {
                Wait::Until(until) => sleep_until(until).await,
                Wait::Queue(receiver) => {
                    if let Ok(seat) = receiver.await {
                        return seat;
                    }
                    // The host has been told to wait, and its queue sent to do so.
                }
            }
        }
    }

    /// Takes a seat if there is one now.
    #[must_use]
    pub fn try_enter(&self, key: &HostKey) -> Entry {
        let Ok(in_run) = Arc::clone(&self.0.run).try_acquire_owned() else { return Entry::RunFull };
        let mut hosts = lock(&self.0.hosts);
        let host = hosts.entry(key.clone()).or_insert_with(|| Host::new(&self.0));
        match host.not_before {
            Some(until) if until > Instant::now() => Entry::NotBefore(until),
            // New rows stay in the list when so many of the host's wait for another try.
            _ if host.has_room() && host.queue.is_empty() && host.resting < MOST => {
                if let Err(until) = host.pace() {
                    return Entry::NotBefore(until);
                }
                host.taken += 1;
                let mut seat = Seat::new(&self.0, key.clone());
                seat.in_run = Some(in_run);
                Entry::Seat(seat)
            }
            _ => {
                host.wanted = true;
                Entry::HostFull
            }
        }
    }

    /// Waits until a seat has become free, in the run or at a host that [`Limiter::try_enter`] found full, and says
    /// which hosts.
    pub async fn freed(&self) -> Vec<HostKey> {
        self.0.changed.notified().await;
        std::mem::take(&mut *lock(&self.0.freed))
    }

    /// The hosts that asked for less or broke under the load, and how often, the worst first.
    #[must_use]
    pub fn overloaded(&self) -> Vec<(HostKey, u64)> {
        let hosts = lock(&self.0.hosts);
        let overloaded = hosts.iter().filter(|(_, host)| host.overloads > 0);
        let mut overloaded = overloaded.map(|(key, host)| (key.clone(), host.overloads)).collect::<Vec<_>>();
        overloaded.sort_by(|(left, more), (right, less)| less.cmp(more).then_with(|| left.cmp(right)));
        overloaded
    }
}

enum Wait {
    Until(Instant),
    Queue(oneshot::Receiver<Seat>),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held leaves numbers that are off by one seat at worst.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(shared: &Shared) -> Self {
        let seats = match shared.per_host {
            PerHost::Auto => MODEST,
            PerHost::Fixed(seats) => seats,
        };
        Self {
            seats,
            taken: 0,
            resting: 0,
            not_before: None,
            halved: None,
            refusals: 0,
            overloads: 0,
            pauses: 0,
            pace: shared.pace.map(RateLimiter::direct),
            queue: VecDeque::new(),
            wanted: false,
        }
    }

    /// Takes its turn by `--rate`, or says when to ask again.
    fn pace(&self) -> Result<(), Instant> {
        let Some(pace) = &self.pace else { return Ok(()) };
        pace.check().map_err(|not_until| Instant::now() + not_until.wait_time_from(DefaultClock::default().now()))
    }

    fn has_room(&self) -> bool {
        let seats = if self.refusals >= REFUSALS { 1 } else { self.seats };
        self.taken < seats
    }

    /// Puts the host among the freed if somebody was refused a seat and there may be one now.
    fn tell_if_wanted(&mut self, key: &HostKey, shared: &Shared) {
        if self.wanted && (self.has_room() || self.not_before.is_some()) {
            self.wanted = false;
            lock(&shared.freed).push(key.clone());
        }
    }

    fn learn(&mut self, shared: &Shared, since: Instant, visit: Visit) {
        let is_auto = shared.per_host == PerHost::Auto;
        match visit {
            Visit::Unclear => return,
            Visit::Well => {
                (self.refusals, self.pauses) = (0, 0);
                if is_auto {
                    self.seats = (self.seats + 1).min(MOST);
                }
                return;
            }
            Visit::Refused => self.refusals = self.refusals.saturating_add(1),
            Visit::Throttled(_) | Visit::Overloaded => self.refusals = 0,
        }
        self.overloads += 1;
        // One overload is met by all who are there; it takes half of the seats once.
        let is_news = self.halved.is_none_or(|halved| since > halved);
        if is_news {
            self.halved = Some(Instant::now());
            if is_auto {
                self.seats = (self.seats / 2).max(1);
            }
        }
        let Visit::Throttled(asked) = visit else { return };
        let pause = match asked {
            Some(asked) => asked,
            None if is_news => {
                self.pauses += 1;
                shared.pause.saturating_mul(1 << (self.pauses - 1).min(16)).min(LONGEST_PAUSE)
            }
            None => return,
        };
        let until = Instant::now() + pause;
        self.not_before = Some(self.not_before.map_or(until, |earlier| earlier.max(until)));
        // Those who wait for a seat wait for the time instead: their senders are dropped.
        self.queue.clear();
    }

    /// Nothing to remember: a host that is met again begins as new.
    fn is_forgettable(&self) -> bool {
        self.taken == 0
            && self.resting == 0
            && self.pace.is_none()
            && self.queue.is_empty()
            && self.overloads == 0
            && !self.wanted
    }
}

impl Seat {
    fn new(shared: &Arc<Shared>, key: HostKey) -> Self {
        let (since, visit) = (Instant::now(), Visit::Unclear);
        Self { shared: Arc::clone(shared), key, since, visit, in_run: None, counted: true }
    }

    /// Says how the visit went, and gives the seat back.
    pub fn leave(mut self, visit: Visit) {
        self.visit = visit;
    }

    /// The same, with the intention to come back.
    #[must_use]
    pub fn rest(mut self, visit: Visit) -> Resting {
        self.visit = visit;
        let resting = Resting { shared: Arc::clone(&self.shared), key: self.key.clone() };
        if let Some(host) = lock(&self.shared.hosts).get_mut(&self.key) {
            host.resting += 1;
        }
        resting
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        // Before anybody is told about it.
        drop(self.in_run.take());
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.taken -= 1;
        host.learn(&self.shared, self.since, self.visit);
        while host.has_room() {
            let Some(next) = host.queue.pop_front() else { break };
            if host.pace().is_err() {
                // Not its turn yet: it waits for the time instead, as a dropped sender tells it to.
                continue;
            }
            match next.send(Self::new(&self.shared, self.key.clone())) {
                Ok(()) => host.taken += 1,
                // Whoever waited is gone. The seat must not take the lock again on its way out.
                Err(mut seat) => seat.counted = false,
            }
        }
        host.tell_if_wanted(&self.key, &self.shared);
        if host.is_forgettable() {
            hosts.remove(&self.key);
        }
        drop(hosts);
        self.shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str) -> HostKey {
        HostKey::of(&Url::parse(&format!("http://{host}/a.png")).expect("a URL"))
    }

    fn limiter(per_host: PerHost) -> Limiter {
        Limiter::new(per_host, NonZeroUsize::new(100).expect("not zero"), Duration::from_millis(500), None)
    }

    impl Limiter {
        fn seats(&self, host: &str) -> Option<(usize, usize)> {
            lock(&self.0.hosts).get(&key(host)).map(|host| (host.taken, host.seats))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_number_is_never_exceeded_and_other_hosts_are_free() {
        let limiter = limiter(PerHost::Fixed(2));
        let there = key("a");
        let first = limiter.enter(&there).await;
        let _second = limiter.enter(&there).await;
        let mut third = Box::pin(limiter.enter(&there));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.enter(&key("b")).await;
        first.leave(Visit::Well);
        let _third = third.await;
        assert_eq!(limiter.seats("a"), Some((2, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn auto_grows_with_success_and_halves_once_for_one_overload() {
        let limiter = limiter(PerHost::Auto);
        let mut seats = Vec::new();
        for _ in 0..MODEST {
            seats.push(limiter.enter(&key("a")).await);
        }
        for seat in seats.drain(..4) {
            seat.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((2, MODEST + 4)));
        tokio::time::advance(Duration::from_millis(1)).await;
        for seat in seats.drain(..) {
            seat.leave(Visit::Overloaded);
        }
        assert_eq!(limiter.seats("a"), Some((0, 5)));
        assert_eq!(limiter.overloaded(), [(key("a"), 2)]);
        for _ in 0..200 {
            limiter.enter(&key("a")).await.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((0, MOST)));
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_hears_a_retry_after() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let seat = limiter.enter(&there).await;
        let begin = Instant::now();
        let mut queued = Box::pin(limiter.enter(&there));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_enter(&there), Entry::HostFull));
        seat.leave(Visit::Throttled(Some(Duration::from_secs(7))));
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there), "whoever was refused is told to look again");
        assert!(matches!(limiter.try_enter(&there), Entry::NotBefore(_)));
        let _seat = queued.await;
        assert_eq!(begin.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_requests_pause_the_host_longer_each_time() {
        let limiter = limiter(PerHost::Auto);
        let mut waited = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let (one, two) = (limiter.enter(&key("a")).await, limiter.try_enter(&key("a")));
            waited.push(begin.elapsed().as_millis());
            tokio::time::advance(Duration::from_millis(1)).await;
            one.leave(Visit::Throttled(None));
            // Whoever was on the way meets the same, and it is no news.
            if let Entry::Seat(two) = two {
                two.leave(Visit::Throttled(None));
            }
        }
        assert_eq!(waited, [0, 500, 1000]);
        limiter.enter(&key("a")).await.leave(Visit::Well);
        limiter.enter(&key("a")).await.leave(Visit::Throttled(None));
        let begin = Instant::now();
        drop(limiter.enter(&key("a")).await);
        assert_eq!(begin.elapsed().as_millis(), 500, "it had kept up in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_resting_rows_gets_no_new_ones() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let mut resting = Vec::new();
        for _ in 0..MOST {
            resting.push(limiter.enter(&there).await.rest(Visit::Unclear));
        }
        assert!(matches!(limiter.try_enter(&there), Entry::HostFull));
        drop(limiter.enter(&there).await);
        assert!(matches!(limiter.try_enter(&there), Entry::HostFull), "those who rest may come back at any time");
        let _ = futures::poll!(Box::pin(limiter.freed()));
        drop(resting.pop());
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        assert!(matches!(limiter.try_enter(&there), Entry::Seat(_)));
        drop(resting);
        assert_eq!(limiter.seats("a"), None, "nothing is left to remember");
    }

    #[tokio::test]
    async fn a_pace_is_kept_whatever_the_way_to_the_seat() {
        let pace = Some(Duration::from_millis(30));
        let limiter = Limiter::new(PerHost::Fixed(9), NonZeroUsize::new(9).expect("not zero"), Duration::ZERO, pace);
        let begin = Instant::now();
        for _ in 0..4 {
            drop(limiter.enter(&key("a")).await);
        }
        assert!(begin.elapsed() >= Duration::from_millis(90), "{:?}", begin.elapsed());
        assert!(matches!(limiter.try_enter(&key("a")), Entry::NotBefore(_)));
        assert!(matches!(limiter.try_enter(&key("b")), Entry::Seat(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_is_probed_by_one_at_a_time() {
        let limiter = limiter(PerHost::Fixed(20));
        let mut seats = Vec::new();
        for _ in 0..REFUSALS {
            seats.push(limiter.enter(&key("a")).await);
        }
        seats.drain(..).for_each(|seat| seat.leave(Visit::Refused));
        let probe = limiter.enter(&key("a")).await;
        assert!(matches!(limiter.try_enter(&key("a")), Entry::HostFull));
        probe.leave(Visit::Refused);
        let probe = limiter.enter(&key("a")).await;
        assert!(matches!(limiter.try_enter(&key("a")), Entry::HostFull));
        probe.leave(Visit::Well);
        let (Entry::Seat(_one), Entry::Seat(_two)) = (limiter.try_enter(&key("a")), limiter.try_enter(&key("a")))
        else {
            panic!("the host is back");
        };
    }

    #[tokio::test(start_paused = true)]
    async fn the_run_has_seats_of_its_own() {
        let limiter =
            Limiter::new(PerHost::Auto, NonZeroUsize::new(2).expect("not zero"), Duration::from_millis(500), None);
        let one = limiter.enter(&key("a")).await;
        let _two = limiter.enter(&key("b")).await;
        assert!(matches!(limiter.try_enter(&key("c")), Entry::RunFull));
        drop(one);
        assert!(limiter.freed().await.is_empty());
        assert!(matches!(limiter.try_enter(&key("c")), Entry::Seat(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_seat_along() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let seat = limiter.enter(&there).await;
        let mut gone = Box::pin(limiter.enter(&there));
        let mut stays = Box::pin(limiter.enter(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        drop(seat);
        drop(stays.await);
        assert_eq!(limiter.seats("a"), None, "nothing is left to remember");
    }
}
