//! Who may visit which host, and when.
//!
//! [`Limiter`] hands out seats: so many per host, so many in the run. It knows nothing about HTTP: a download holds a
//! [`Seat`] for one attempt, says how the attempt went, and gives the seat back before it waits for another try.
//! There are two ways to a seat: [`Limiter::enter`] waits for it, and [`Limiter::try_enter`] does not; whoever is
//! refused by the latter is told by [`Limiter::freed`] when asking again is worth it (see [`crate::lookahead`]).
//!
//! With [`PerHost::Auto`] the number of seats follows what the host bears (see `level`). A host that says "too many
//! requests" is left alone by everybody for the time it asks for, or for a while that grows as long as it says nothing
//! else. A host that serves nobody is visited by one at a time until it answers again, and in the end given up (see
//! `breaker`). A visit that came to nothing while others, begun since, were served well says something about its page
//! and nothing about the host.

mod breaker;
mod level;
mod pace;
mod usual;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use url::Url;

use self::breaker::{Failing, Standing};
pub use self::breaker::{GivenUp, Patience};
use self::level::{Level, MODEST, MOST};
use self::pace::Pace;
use self::usual::Usual;
use crate::error::Kind;

/// Downloads at once per host (`--per-host`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerHost {
    /// As many as the host bears.
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

/// However often a host asks for fewer requests, it is asked again after so long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
    /// Hosts at which a seat has become free since somebody was refused one.
    freed: Mutex<Vec<HostKey>>,
    changed: Notify,
    /// Rows that wait for another try, at all hosts.
    resting: AtomicUsize,
}

#[derive(Debug)]
struct Host {
    /// Seats there are.
    level: Level,
    /// How long visits take.
    usual: Usual,
    /// Seats taken.
    taken: usize,
    /// Those of them that were taken to see whether the host is back.
    probing: usize,
    /// Downloads that have left their seat to try again later, and have none yet.
    resting: usize,
    /// Nobody enters before.
    not_before: Option<Instant>,
    /// Seats were last taken away; visits that began before say nothing new about the host.
    halved: Option<Instant>,
    /// When the latest of the visits began that went well.
    served: Option<Instant>,
    /// When something was last heard from it but that it is overloaded.
    heard: Option<Instant>,
    /// What has come to nothing since.
    failing: Option<Failing>,
    /// How often the host asked for less, or broke.
    overloads: u64,
    /// What `--rate` leaves to it.
    pace: Option<Pace>,
    /// Who waits, first come first served.
    queue: VecDeque<(Turn, oneshot::Sender<Seat>)>,
    /// Somebody has been refused a seat, and wants to know when there is one.
    wanted: bool,
    /// They have been told, and will come.
    promised: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A row that has not visited the host yet.
    First,
    /// A row that has, and has waited since. When a host is down it need not wait for more than the one before it: its
    /// attempts are numbered.
    Again,
}

/// How a visit went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// The host keeps up.
    Well,
    /// The host asked for fewer requests, or to stay away for so long.
    Throttled(Kind, Option<Duration>),
    /// The host said that it was overloaded.
    Busy(Kind),
    /// The answer had begun, and the connection broke.
    Broken,
    /// The answer had begun, and nothing more came.
    Silent,
    /// No answer came.
    Unanswered(Kind),
    /// Nothing was learned about the host.
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
    /// The host has served nobody for long; rows need not wait for it.
    GivenUp,
    /// The run is full.
    RunFull,
}

/// A place at a host and in the run, for one attempt. Dropping it gives it back.
#[derive(Debug)]
pub struct Seat {
    shared: Arc<Shared>,
    key: HostKey,
    since: Instant,
    /// How many seats were taken then, this one included.
    among: usize,
    is_probe: bool,
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
            self.shared.resting.fetch_sub(1, Ordering::Relaxed);
            host.tell_if_wanted(&self.key, &self.shared);
        }
        drop(hosts);
        self.shared.changed.notify_one();
    }
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
            resting: AtomicUsize::new(0),
        }))
    }

    /// Waits for a seat, at the host first and in the run last, so that a slow host keeps nobody else from working.
    ///
    /// # Errors
    /// When the host has been given up.
    pub async fn enter(&self, key: &HostKey, turn: Turn) -> Result<Seat, GivenUp> {
        loop {
            let mut seat = self.at_host(key, turn).await?;
            // Closed never: the semaphore lives as long as the limiter.
            seat.in_run = Arc::clone(&self.0.run).acquire_owned().await.ok();
            // Last: slots that were taken before the wait would be used one right after the other. When somebody else
            // has been quicker, the seats are not held until the next slot comes.
            if seat.take_slot() {
                return Ok(seat);
            }
        }
    }

    async fn at_host(&self, key: &HostKey, turn: Turn) -> Result<Seat, GivenUp> {
        loop {
            let (receiver, until) = {
                let mut hosts = lock(&self.0.hosts);
                let host = self.0.host(&mut hosts, key);
                let until = match host.room(turn, &self.0) {
                    Room::Free if turn == Turn::Again && host.promised && self.0.has_new_first() => None,
                    Room::Free => match host.due() {
                        Ok(()) => return Ok(host.seat(key, &self.0)),
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
            let seat = match until {
                Some(until) => timeout_at(until, receiver).await.ok().and_then(Result::ok),
                None => receiver.await.ok(),
            };
            if let Some(seat) = seat {
                return Ok(seat);
            }
        }
    }

    /// Takes a seat for a new row, the `last` one at hand, if there is one now.
    #[must_use]
    pub fn try_enter(&self, key: &HostKey, last: bool) -> Entry {
        let Ok(in_run) = Arc::clone(&self.0.run).try_acquire_owned() else { return Entry::RunFull };
        let mut hosts = lock(&self.0.hosts);
        let host = self.0.host(&mut hosts, key);
        let room = host.room(Turn::First, &self.0);
        // Whoever waited for a time and not for a seat may have gone.
        host.queue.retain(|(_, sender)| !sender.is_closed());
        // Only whoever is refused now has a row that waits, and will come when told.
        (host.wanted, host.promised) = (false, false);
        let entry = match room {
            // New rows stay in the list when so many of the host's wait for another try.
            Room::Free if self.0.has_new_first() || (host.queue.is_empty() && host.resting < MOST) => {
                match host.due() {
                    Ok(()) => {
                        let mut seat = host.seat(key, &self.0);
                        host.take_slot();
                        seat.in_run = Some(in_run);
                        Entry::Seat(seat)
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
        if last || !matches!(entry, Entry::Seat(_)) {
            host.serve(key, &self.0, false);
        }
        entry
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

impl Limiter {
    /// The hosts that are left alone, or have lost seats within the `lately` last time: how often they were overloaded,
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

/// Whether there is a seat.
enum Room {
    Free,
    Full,
    NotBefore(Instant),
    GivenUp(GivenUp),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while the lock is held leaves numbers that are off by one seat at worst.
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
        if hosts.len() >= MANY && hosts.len() == hosts.capacity() && !hosts.contains_key(key) {
            // Before it would grow, so that a sweep pays for itself however many hosts there are.
            let now = Instant::now();
            hosts.retain(|_, host| !host.is_forgettable(now, self));
        }
        hosts.entry(key.clone()).or_insert_with(|| Host::new(self))
    }
}

impl Host {
    fn new(shared: &Shared) -> Self {
        let level = match shared.options.per_host {
            PerHost::Auto => Level::new(),
            PerHost::Fixed(seats) => Level::fixed(seats),
        };
        Self {
            level,
            usual: Usual::default(),
            taken: 0,
            probing: 0,
            resting: 0,
            not_before: None,
            halved: None,
            served: None,
            heard: None,
            failing: None,
            overloads: 0,
            pace: shared.options.pace.map(Pace::new),
            queue: VecDeque::new(),
            wanted: false,
            promised: false,
        }
    }

    /// Whether a request may be made now by `--rate`, or when.
    fn due(&self) -> Result<(), Instant> {
        self.pace.map_or(Ok(()), |pace| pace.due(Instant::now()))
    }

    /// Takes the next slot by `--rate`, and says when it comes.
    fn take_slot(&mut self) -> Instant {
        let now = Instant::now();
        self.pace.as_mut().map_or(now, |pace| pace.take(now))
    }

    fn standing(&self, now: Instant, shared: &Shared) -> Standing {
        self.failing.map_or(Standing::Up, |failing| failing.standing(now, &shared.options.patience))
    }

    fn is_down(&self, now: Instant, shared: &Shared) -> bool {
        self.standing(now, shared) != Standing::Up
    }

    fn room(&self, turn: Turn, shared: &Shared) -> Room {
        let now = Instant::now();
        let paused = self.not_before.filter(|until| *until > now);
        let is_full = self.taken >= self.level.seats();
        match self.standing(now, shared) {
            Standing::GivenUp(given_up, next) => {
                let may_try = turn == Turn::First && now >= next && paused.is_none();
                if may_try && !is_full && self.probing == 0 { Room::Free } else { Room::GivenUp(given_up) }
            }
            standing => match (standing, paused) {
                (_, Some(until)) => Room::NotBefore(until),
                _ if is_full => Room::Full,
                (Standing::Down(_), _) if self.probing > 0 => Room::Full,
                (Standing::Down(next), _) if turn == Turn::First && now < next => Room::NotBefore(next),
                _ => Room::Free,
            },
        }
    }

    /// A seat, whether there is one or not.
    fn seat(&mut self, key: &HostKey, shared: &Arc<Shared>) -> Seat {
        let since = Instant::now();
        let is_probe = self.is_down(since, shared);
        self.taken += 1;
        self.probing += usize::from(is_probe);
        Seat {
            shared: Arc::clone(shared),
            key: key.clone(),
            since,
            among: self.taken,
            is_probe,
            visit: Visit::Unclear,
            in_run: None,
            counted: true,
        }
    }

    fn take_back(&mut self, seat: &Seat) {
        self.taken -= 1;
        self.probing -= usize::from(seat.is_probe);
    }

    /// Gives the free seats to those who wait, unless they are kept for new rows.
    fn serve(&mut self, key: &HostKey, shared: &Arc<Shared>, is_kept: bool) {
        while let Some((turn, _)) = self.queue.front() {
            let room = self.room(*turn, shared);
            if matches!(room, Room::Full) || (is_kept && matches!(room, Room::Free)) {
                return;
            }
            let Some((_, next)) = self.queue.pop_front() else { return };
            if !matches!(room, Room::Free) || self.due().is_err() {
                // Whoever waits for a seat waits for a time instead, or no longer, as a dropped sender tells.
                continue;
            }
            if let Err(mut seat) = next.send(self.seat(key, shared)) {
                // Whoever waited is gone. The seat must not take the lock again on its way out.
                self.take_back(&seat);
                seat.counted = false;
            }
        }
    }

    /// Puts the host among the freed if somebody was refused a seat and would hear something else now.
    fn tell_if_wanted(&mut self, key: &HostKey, shared: &Shared) {
        if self.wanted && !matches!(self.room(Turn::First, shared), Room::Full) {
            (self.wanted, self.promised) = (false, true);
            lock(&shared.freed).push(key.clone());
        }
    }

    fn learn(&mut self, shared: &Shared, seat: &Seat) {
        let (began, among, visit) = (seat.since, seat.among, seat.visit);
        let now = Instant::now();
        let was_down = self.is_down(now, shared);
        let kind = match visit {
            Visit::Unclear => return,
            Visit::Well => {
                if was_down {
                    // Whatever broke it before, it has been mended.
                    self.level = self.level.anew();
                }
                self.heard = Some(now);
                self.served = self.served.max(Some(began));
                self.failing = None;
                self.usual.note(now.saturating_duration_since(began));
                self.level.well(among);
                return;
            }
            Visit::Broken | Visit::Silent => {
                self.heard = Some(now);
                self.failing = None;
                None
            }
            Visit::Throttled(kind, _) | Visit::Busy(kind) | Visit::Unanswered(kind) => Some(kind),
        };
        let was_heard_meanwhile = self.heard.is_some_and(|heard| heard > began);
        let asked = matches!(visit, Visit::Throttled(..));
        if let Some(kind) = kind.filter(|_| !was_heard_meanwhile) {
            self.failing.get_or_insert_with(|| Failing::new(kind, began)).note(kind, asked, began, now);
        }
        let is_its_own = !asked && self.served.is_some_and(|served| served > began);
        // A host that has never been heard is not overloaded, it is not there.
        let is_absent = matches!(visit, Visit::Unanswered(kind) if kind == Kind::Dns || self.heard.is_none());
        let is_overload = !is_its_own && !is_absent;
        self.overloads += u64::from(is_overload);
        // One overload is met by all who are there; it takes half of the seats once.
        let is_news = self.halved.is_none_or(|halved| began > halved);
        if is_overload && !was_down {
            // Whoever is silent takes little of the host's strength and much time: a few are no burden.
            let is_silent = matches!(visit, Visit::Silent | Visit::Unanswered(Kind::Timeout | Kind::Stalled));
            let least = if is_silent { MODEST } else { 1 };
            if !is_news {
                self.level.broke_too(among);
            } else if self.level.broke(among, least, asked) {
                self.halved = Some(now);
            }
        }
        let Visit::Throttled(_, asked) = visit else { return };
        let failing = self.failing.get_or_insert_with(|| Failing::new(kind.unwrap_or(Kind::Internal), began));
        if is_news {
            failing.paused();
            self.halved = Some(now);
        }
        let pause = match asked {
            Some(asked) => asked,
            None if is_news => {
                let doublings = failing.pauses().saturating_sub(1).min(16);
                shared.options.pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
            }
            None => return,
        };
        let until = now + pause;
        self.not_before = Some(self.not_before.map_or(until, |earlier| earlier.max(until)));
        // Those who wait for a seat wait for the time instead: their senders are dropped.
        self.queue.clear();
    }

    /// Whether a host that is met again may begin as new.
    fn is_forgettable(&self, now: Instant, shared: &Shared) -> bool {
        let is_idle = self.taken == 0 && self.resting == 0 && self.queue.is_empty() && !self.wanted;
        is_idle && self.overloads == 0 && !self.is_down(now, shared) && self.due().is_ok()
    }
}

impl Seat {
    /// Whether a silence is far longer than whole visits to this host usually are.
    #[must_use]
    pub fn is_unusual(&self, silence: Duration) -> bool {
        let hosts = lock(&self.shared.hosts);
        let too_long = hosts.get(&self.key).and_then(|host| host.usual.too_long());
        too_long.is_some_and(|too_long| silence >= too_long)
    }

    /// Takes a slot by `--rate` for the first request, if there is one now. With that the visit begins.
    fn take_slot(&mut self) -> bool {
        self.since = Instant::now();
        let mut hosts = lock(&self.shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return true };
        let is_due = host.due().is_ok();
        if is_due {
            host.take_slot();
        }
        is_due
    }

    /// Waits for a slot by `--rate` for one more request of this visit, such as one that a redirect asks for.
    pub async fn next_slot(&self) {
        let slot = lock(&self.shared.hosts).get_mut(&self.key).map(Host::take_slot);
        if let Some(slot) = slot.filter(|slot| *slot > Instant::now()) {
            sleep_until(slot).await;
        }
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
            self.shared.resting.fetch_add(1, Ordering::Relaxed);
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
        let shared = Arc::clone(&self.shared);
        let mut hosts = lock(&shared.hosts);
        let Some(host) = hosts.get_mut(&self.key) else { return };
        host.take_back(self);
        host.learn(&shared, self);
        let is_kept = (host.wanted || host.promised) && shared.has_new_first();
        host.serve(&self.key, &shared, is_kept);
        host.tell_if_wanted(&self.key, &shared);
        drop(hosts);
        shared.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str) -> HostKey {
        HostKey::of(&Url::parse(&format!("http://{host}/a.png")).expect("a URL"))
    }

    const SECOND: Duration = Duration::from_secs(1);
    const BUSY: Visit = Visit::Busy(Kind::HttpStatus(503));
    const REFUSED: Visit = Visit::Unanswered(Kind::Connect);

    const fn throttled(asked: Option<Duration>) -> Visit {
        Visit::Throttled(Kind::HttpStatus(429), asked)
    }

    fn options(per_host: PerHost) -> Options {
        Options {
            per_host,
            in_run: NonZeroUsize::new(100).expect("not zero"),
            pace: None,
            pause: Duration::from_millis(500),
            patience: Patience { tries: 4, connecting: 40 * SECOND, answering: 80 * SECOND },
            at_rest: 0,
        }
    }

    fn limiter(per_host: PerHost) -> Limiter {
        Limiter::new(options(per_host))
    }

    impl Limiter {
        async fn again(&self, key: &HostKey) -> Seat {
            self.enter(key, Turn::Again).await.expect("it has not been given up")
        }

        fn is_at_rest(&self, host: &str) -> bool {
            lock(&self.0.hosts)[&key(host)].is_forgettable(Instant::now(), &self.0)
        }

        fn seats(&self, host: &str) -> Option<(usize, usize)> {
            lock(&self.0.hosts).get(&key(host)).map(|host| (host.taken, host.level.seats()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fixed_number_is_never_exceeded_and_other_hosts_are_free() {
        let limiter = limiter(PerHost::Fixed(2));
        let there = key("a");
        let first = limiter.again(&there).await;
        let _second = limiter.again(&there).await;
        let mut third = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut third).is_pending());
        let _other = limiter.again(&key("b")).await;
        first.leave(Visit::Well);
        let _third = third.await;
        assert_eq!(limiter.seats("a"), Some((2, 2)));
    }

    #[tokio::test(start_paused = true)]
    async fn auto_grows_with_success_and_halves_once_for_one_overload() {
        let limiter = limiter(PerHost::Auto);
        let mut seats = Vec::new();
        for _ in 0..MODEST {
            seats.push(limiter.again(&key("a")).await);
        }
        // The first two came when there were few others, and prove nothing.
        for seat in seats.drain(..4).rev() {
            seat.leave(Visit::Well);
        }
        assert_eq!(limiter.seats("a"), Some((2, MODEST + 1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        for seat in seats.drain(..) {
            seat.leave(BUSY);
        }
        assert_eq!(limiter.seats("a"), Some((0, 3)));
        assert_eq!(limiter.overloaded(), [(key("a"), 2)]);
        crowd(&limiter, 3000, MOST).await;
        assert_eq!(limiter.seats("a"), Some((0, MOST)));
    }

    /// Visits to "a", which serves so many at once and says to all others that it is busy. How many were refused.
    async fn crowd(limiter: &Limiter, visits: usize, limit: usize) -> usize {
        let (mut made, mut refused) = (0, 0);
        while made < visits {
            let mut seats = Vec::new();
            while let Entry::Seat(seat) = limiter.try_enter(&key("a"), false) {
                seats.push(seat);
            }
            made += seats.len();
            let rest = seats.split_off(limit.min(seats.len()));
            refused += rest.len();
            for seat in rest {
                seat.leave(BUSY);
            }
            tokio::time::advance(Duration::from_millis(20)).await;
            for seat in seats {
                seat.leave(Visit::Well);
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

    #[tokio::test(start_paused = true)]
    async fn everybody_hears_a_retry_after() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let seat = limiter.again(&there).await;
        let begin = Instant::now();
        let mut queued = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_enter(&there, false), Entry::HostFull));
        seat.leave(throttled(Some(Duration::from_secs(7))));
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there), "whoever was refused is told to look again");
        assert!(matches!(limiter.try_enter(&there, false), Entry::NotBefore(_)));
        let left_alone = Duration::from_secs(7);
        assert_eq!(limiter.throttled(SECOND), [(there.clone(), 1, Some(left_alone))]);
        let _seat = queued.await;
        assert_eq!(begin.elapsed().as_secs(), 7);
        assert_eq!(limiter.throttled(8 * SECOND), [(there, 1, None)]);
        assert!(limiter.throttled(SECOND).is_empty(), "that was long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_requests_pause_the_host_longer_each_time() {
        let limiter = limiter(PerHost::Auto);
        let mut waited = Vec::new();
        for _ in 0..3 {
            let begin = Instant::now();
            let (one, two) = (limiter.again(&key("a")).await, limiter.try_enter(&key("a"), false));
            waited.push(begin.elapsed().as_millis());
            tokio::time::advance(Duration::from_millis(1)).await;
            one.leave(throttled(None));
            // Whoever was on the way meets the same, and it is no news.
            if let Entry::Seat(two) = two {
                two.leave(throttled(None));
            }
        }
        assert_eq!(waited, [0, 500, 1000]);
        limiter.again(&key("a")).await.leave(Visit::Well);
        limiter.again(&key("a")).await.leave(throttled(None));
        let begin = Instant::now();
        drop(limiter.again(&key("a")).await);
        assert_eq!(begin.elapsed().as_millis(), 500, "it had kept up in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_with_many_resting_rows_gets_no_new_ones() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let mut resting = Vec::new();
        for _ in 0..MOST {
            resting.push(limiter.again(&there).await.rest(Visit::Unclear));
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
        assert!(matches!(limiter.try_enter(&there, false), Entry::Seat(_)));
        drop(resting);
        assert!(limiter.is_at_rest("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn new_rows_go_before_those_that_try_again_while_these_are_few() {
        let limiter = Limiter::new(Options { at_rest: 2, ..options(PerHost::Fixed(1)) });
        let there = key("a");
        let resting = limiter.again(&there).await.rest(Visit::Unclear);
        let seat = limiter.again(&there).await;
        let mut again = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut again).is_pending());
        for last in [false, true] {
            assert!(matches!(limiter.try_enter(&there, last), Entry::HostFull));
        }
        drop(seat);
        assert_eq!(limiter.freed().await, std::slice::from_ref(&there));
        let mut barging = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut barging).is_pending(), "the seat is promised");
        let Entry::Seat(new) = limiter.try_enter(&there, true) else { panic!("the new one goes first") };
        assert!(futures::poll!(&mut again).is_pending());
        drop(new);
        drop(again.await);
        drop(barging.await);
        // Now as many rest as may.
        let _another = limiter.again(&there).await.rest(Visit::Unclear);
        let seat = limiter.again(&there).await;
        let mut again = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut again).is_pending());
        assert!(matches!(limiter.try_enter(&there, true), Entry::HostFull));
        drop(seat);
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
        assert!(matches!(limiter.try_enter(&key("b"), false), Entry::Seat(_)));
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
    async fn who_leaves_the_queue_takes_no_slot_along() {
        let pace = Duration::from_millis(100);
        let limiter = Limiter::new(Options { pace: Some(pace), ..options(PerHost::Fixed(2)) });
        let there = key("a");
        let seat = limiter.again(&there).await;
        let mut gone = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        tokio::time::sleep(pace).await;
        drop(seat);
        assert!(matches!(limiter.try_enter(&there, false), Entry::Seat(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_refuses_is_probed_by_one_at_a_time() {
        let limiter = limiter(PerHost::Fixed(20));
        let mut seats = Vec::new();
        for _ in 0..breaker::REFUSALS {
            seats.push(limiter.again(&key("a")).await);
        }
        seats.drain(..).for_each(|seat| seat.leave(REFUSED));
        // Whoever has tried before need only wait for others who do.
        let probe = limiter.again(&key("a")).await;
        assert!(futures::poll!(Box::pin(limiter.again(&key("a")))).is_pending());
        probe.leave(REFUSED);
        // New rows come after pauses that grow.
        let mut waited = Vec::new();
        for _ in 0..4 {
            let begin = Instant::now();
            let probe = limiter.enter(&key("a"), Turn::First).await.expect("it has not been given up");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::HostFull));
            waited.push(begin.elapsed().as_secs());
            probe.leave(REFUSED);
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::NotBefore(_)));
        }
        assert_eq!(waited, [1, 1, 2, 4]);
        let there = key("a");
        let mut waiting = Box::pin(limiter.enter(&there, Turn::First));
        assert!(futures::poll!(&mut waiting).is_pending());
        let _ = futures::poll!(Box::pin(limiter.freed()));
        limiter.again(&key("a")).await.leave(Visit::Well);
        assert_eq!(limiter.freed().await, [key("a")], "whoever was to come later may come now");
        let (Entry::Seat(_one), Entry::Seat(_two)) =
            (limiter.try_enter(&key("a"), false), limiter.try_enter(&key("a"), false))
        else {
            panic!("the host is back");
        };
        assert_eq!(begin_of(waiting).await, Duration::ZERO);
    }

    async fn begin_of(waiting: impl Future<Output = Result<Seat, GivenUp>>) -> Duration {
        let begin = Instant::now();
        drop(waiting.await.expect("a seat"));
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_serves_nobody_is_given_up_and_may_come_back() {
        for (visit, patience) in [(REFUSED, 40), (BUSY, 40), (Visit::Unanswered(Kind::Stalled), 80)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let given_up = loop {
                match limiter.enter(&key("a"), Turn::First).await {
                    Ok(seat) => seat.leave(visit),
                    Err(given_up) => break given_up,
                }
            };
            assert_eq!((begin.elapsed().as_secs(), given_up.time.as_secs()), (patience, patience), "{visit:?}");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::GivenUp));
            assert!(limiter.enter(&key("a"), Turn::Again).await.is_err());
            tokio::time::advance(30 * SECOND).await;
            let Entry::Seat(probe) = limiter.try_enter(&key("a"), false) else {
                panic!("one still tries, now and then")
            };
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::GivenUp), "one");
            probe.leave(Visit::Well);
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::Seat(_)), "an answer brings it back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_hear_at_once_that_a_host_is_given_up() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        for _ in 1..breaker::REFUSALS {
            limiter.again(&there).await.leave(REFUSED);
        }
        let seat = limiter.again(&there).await;
        let mut queued = Box::pin(limiter.enter(&there, Turn::Again));
        assert!(futures::poll!(&mut queued).is_pending());
        assert!(matches!(limiter.try_enter(&there, false), Entry::HostFull));
        tokio::time::advance(40 * SECOND).await;
        seat.leave(REFUSED);
        assert_eq!(queued.await.err().map(|given_up| given_up.kind), Some(Kind::Connect));
        assert_eq!(limiter.freed().await, [there]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_says_too_many_requests_and_nothing_else_is_given_up() {
        for (asked, patience) in [(None, 40..62), (Some(60 * SECOND), 420..421)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            while let Ok(seat) = limiter.enter(&key("a"), Turn::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                seat.leave(throttled(asked));
            }
            assert!(patience.contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_wish_for_fewer_requests_does_not_keep_a_host_that_is_busy_for_ever() {
        for asked in [None, Some(60 * SECOND)] {
            let limiter = limiter(PerHost::Auto);
            let begin = Instant::now();
            let mut visit = throttled(asked);
            while let Ok(seat) = limiter.enter(&key("a"), Turn::First).await {
                tokio::time::advance(Duration::from_millis(1)).await;
                seat.leave(visit);
                visit = BUSY;
                assert!(begin.elapsed() < 120 * SECOND, "asked for {asked:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silent_pages_of_a_host_that_serves_others_are_their_own_trouble() {
        for visit in [Visit::Unanswered(Kind::Stalled), Visit::Silent, Visit::Broken] {
            let limiter = limiter(PerHost::Auto);
            crowd(&limiter, 1000, MOST).await;
            let mut silent = Vec::new();
            for _ in 0..50 {
                silent.push(limiter.again(&key("a")).await);
            }
            tokio::time::advance(SECOND).await;
            limiter.again(&key("a")).await.leave(Visit::Well);
            silent.drain(..).for_each(|seat| seat.leave(visit));
            assert_eq!(limiter.seats("a"), Some((0, MOST)), "{visit:?}");
            assert!(matches!(limiter.try_enter(&key("a"), false), Entry::Seat(_)));
            assert_eq!(limiter.overloaded(), [], "{visit:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_falls_silent_keeps_a_few_seats_until_it_is_down() {
        let limiter = limiter(PerHost::Auto);
        crowd(&limiter, 1000, MOST).await;
        for _ in 0..breaker::REFUSALS - 1 {
            let seat = limiter.again(&key("a")).await;
            tokio::time::advance(SECOND).await;
            seat.leave(Visit::Unanswered(Kind::Timeout));
        }
        let seats = limiter.seats("a").map_or(0, |(_, seats)| seats);
        assert!((MODEST..MOST / 2).contains(&seats), "{seats}");
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_nobody_visits_are_forgotten_when_there_are_many() {
        for pace in [None, Some(SECOND)] {
            let limiter = Limiter::new(Options { pace, ..options(PerHost::Auto) });
            for number in 0..5 * MANY {
                let there = key(&format!("h{number}"));
                limiter.again(&there).await.leave(Visit::Unanswered(Kind::Dns));
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            let remembered = lock(&limiter.0.hosts).len();
            assert!(remembered <= 2 * MANY, "{remembered}");
            // Forgotten before its next slot, it would be asked too soon.
            limiter.again(&key("last")).await.leave(Visit::Well);
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
        assert!(matches!(limiter.try_enter(&key("c"), false), Entry::Seat(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_the_queue_takes_no_seat_along() {
        let limiter = limiter(PerHost::Fixed(1));
        let there = key("a");
        let seat = limiter.again(&there).await;
        let mut gone = Box::pin(limiter.again(&there));
        let mut stays = Box::pin(limiter.again(&there));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop(gone);
        drop(seat);
        drop(stays.await);
        assert!(limiter.is_at_rest("a"));
    }
}
