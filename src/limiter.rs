//! Who may visit which host, and when.
//!
//! [`Limiter`] hands out seats at hosts. It knows nothing about HTTP: [`crate::fetch`] asks for a seat before each
//! attempt, says how the attempt went, and gives the seat back before it waits for another try.
//!
//! With [`PerHost::Auto`] a host begins with as many seats as a browser takes, gets one more for each visit that went
//! well up to 64, and keeps half of them when it asks for less (429, 503) or breaks under the load (resets, timeouts).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
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

/// Seats at hosts.
#[derive(Debug)]
pub struct Limiter {
    per_host: PerHost,
    hosts: Arc<Mutex<HashMap<HostKey, Host>>>,
}

/// A host as servers count it: name and port.
type HostKey = Box<str>;

#[derive(Debug)]
struct Host {
    /// Seats there are.
    seats: usize,
    /// Seats taken.
    taken: usize,
    /// Nobody enters before.
    not_before: Option<Instant>,
    /// Those seats were last taken away; visits that began before say nothing new about the host.
    halved: Option<Instant>,
    /// Who waits, first come first served.
    queue: VecDeque<oneshot::Sender<Seat>>,
}

/// How a visit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The host keeps up.
    Well,
    /// The host, or the way to it, is overloaded; stay away for so long where it said so.
    Overloaded(Option<Duration>),
    /// Nothing was learned about its load.
    Unclear,
}

/// A place at a host, for one attempt. Dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    hosts: Arc<Mutex<HashMap<HostKey, Host>>>,
    key: HostKey,
    per_host: PerHost,
    since: Instant,
    visit: Visit,
    /// Not when nobody was there to take the seat, and its giver has taken it back.
    counted: bool,
}

impl Limiter {
    /// Limits every host in the same way.
    #[must_use]
    pub fn new(per_host: PerHost) -> Self {
        Self { per_host, hosts: Arc::default() }
    }

    /// Waits for a seat at the URL's host.
    pub async fn enter(&self, url: &Url) -> Seat {
        let key: HostKey = url[url::Position::BeforeHost..url::Position::AfterPort].into();
        loop {
            let wait = {
                let mut hosts = lock(&self.hosts);
                let host = hosts.entry(key.clone()).or_insert_with(|| Host::new(self.per_host));
                let now = Instant::now();
                match host.not_before {
                    Some(until) if until > now => Wait::Until(until),
                    _ if host.taken < host.seats => {
                        host.taken += 1;
                        return Seat::new(&self.hosts, key, self.per_host);
                    }
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
                    if let Ok(mut seat) = receiver.await {
                        seat.since = Instant::now();
                        return seat;
                    }
                    // The host has been told to wait, and its queue sent to do so.
                }
            }
        }
    }
}

enum Wait {
    Until(Instant),
    Queue(oneshot::Receiver<Seat>),
}

fn lock(hosts: &Mutex<HashMap<HostKey, Host>>) -> MutexGuard<'_, HashMap<HostKey, Host>> {
    // A panic while the lock is held leaves numbers that are off by one seat at worst.
    hosts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(per_host: PerHost) -> Self {
        let seats = match per_host {
            PerHost::Auto => MODEST,
            PerHost::Fixed(seats) => seats,
        };
        Self { seats, taken: 0, not_before: None, halved: None, queue: VecDeque::new() }
    }

    fn learn(&mut self, per_host: PerHost, since: Instant, visit: Visit) {
        match visit {
            Visit::Well if per_host == PerHost::Auto => self.seats = (self.seats + 1).min(MOST),
            Visit::Overloaded(asked) => {
                // One overload is met by all who are there; it takes half of the seats once.
                if per_host == PerHost::Auto && self.halved.is_none_or(|halved| since > halved) {
                    self.seats = (self.seats / 2).max(1);
                    self.halved = Some(Instant::now());
                }
                if let Some(asked) = asked {
                    let until = Instant::now() + asked;
                    self.not_before = Some(self.not_before.map_or(until, |earlier| earlier.max(until)));
                    // Those who wait for a seat wait for the time instead: their senders are dropped.
                    self.queue.clear();
                }
            }
            Visit::Well | Visit::Unclear => {}
        }
    }

    /// Nothing to remember: a host that is met again begins as new.
    fn is_forgettable(&self) -> bool {
        self.taken == 0 && self.queue.is_empty() && self.halved.is_none() && self.not_before.is_none()
    }
}

impl Seat {
    fn new(hosts: &Arc<Mutex<HashMap<HostKey, Host>>>, key: HostKey, per_host: PerHost) -> Self {
        Self { hosts: Arc::clone(hosts), key, per_host, since: Instant::now(), visit: Visit::Unclear, counted: true }
    }

    /// Says how the visit went, and gives the seat back.
    pub fn leave(mut self, visit: Visit) {
        self.visit = visit;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.counted {
            return;
        }
        let mut hosts = lock(&self.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.taken -= 1;
        host.learn(self.per_host, self.since, self.visit);
        while host.taken < host.seats {
            let Some(next) = host.queue.pop_front() else { break };
            match next.send(Self::new(&self.hosts, self.key.clone(), self.per_host)) {
                Ok(()) => host.taken += 1,
                // Whoever waited is gone. The seat must not take the lock again on its way out.
                Err(mut seat) => seat.counted = false,
            }
        }
        if host.is_forgettable() {
            hosts.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str) -> Url {
        Url::parse(&format!("http://{host}/a.png")).expect("a URL")
    }

    impl Limiter {
        fn seats(&self, host: &str) -> Option<(usize, usize)> {
            lock(&self.hosts).get(host).map(|host| (host.taken, host.seats))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_number_is_never_exceeded_and_other_hosts_are_free() {
        let limiter = Limiter::new(PerHost::Fixed(2));
        let there = url("a");
        let first = limiter.enter(&url("a")).await;
        let _second = limiter.enter(&url("a")).await;
        let mut third = Box::pin(limiter.enter(&there));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.enter(&url("b")).await;
        first.leave(Visit::Well);
        let _third = third.await;
        assert_eq!(limiter.seats("a"), Some((2, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn auto_grows_with_success_and_halves_once_for_one_overload() {
        let limiter = Limiter::new(PerHost::Auto);
        let mut seats = Vec::new();
        for _ in 0..MODEST {
            seats.push(limiter.enter(&url("a")).await);
        }
        for seat in seats.drain(..4) {
            seat.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((2, MODEST + 4)));
        tokio::time::advance(Duration::from_millis(1)).await;
        for seat in seats.drain(..) {
            seat.leave(Visit::Overloaded(None));
        }
        assert_eq!(limiter.seats("a"), Some((0, 5)));
        for _ in 0..200 {
            limiter.enter(&url("a")).await.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((0, MOST)));
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_hears_a_retry_after() {
        let limiter = Limiter::new(PerHost::Fixed(1));
        let there = url("a");
        let seat = limiter.enter(&there).await;
        let begin = Instant::now();
        let mut queued = Box::pin(limiter.enter(&there));
        assert!(futures::poll!(&mut queued).is_pending());
        seat.leave(Visit::Overloaded(Some(Duration::from_secs(7))));
        let _seat = queued.await;
        assert_eq!(begin.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_seat_along() {
        let limiter = Limiter::new(PerHost::Fixed(1));
        let there = url("a");
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
