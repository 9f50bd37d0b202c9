//! Which downloads are under way, for whoever wants to see the slowest of them.
//!
//! There are places, taken and left without a lock that anybody waits at: a download writes down who it is when it
//! begins, and then how far it has got, into a place that is its own. The text of a place is written over by the next
//! one there, so nothing is allocated once every place has been used. Whoever looks goes through all of them, which is
//! cheap ten times a second.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use url::{Position, Url};

/// Places for each download at once: with half of them free, one is found at once.
const PLACES_EACH: usize = 2;
const FEWEST_PLACES: usize = 64;
/// More are not looked through ten times a second. A download that finds no place is not seen, and nothing else.
const MOST_PLACES: usize = 8192;
/// So many places are tried.
const TRIES: usize = 16;

/// So much of a host's name, and of a file's, is kept, in bytes. A wide terminal shows less.
const LONGEST: usize = 128;

/// The places.
#[derive(Debug)]
pub struct UnderWay {
    begin: Instant,
    /// Where the next download looks first.
    next: AtomicUsize,
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// When its download began, in microseconds; zero while it is free.
    since: AtomicU64,
    bytes: AtomicU64,
    /// All there will be; zero if that is not known.
    length: AtomicU64,
    about: Mutex<About>,
}

#[derive(Debug, Default)]
struct About {
    /// The host, and what the last segment of the path is called.
    text: String,
    /// Where the one ends and the other begins.
    middle: usize,
    /// There are folders between them.
    is_deep: bool,
    attempt: u32,
}

/// A download's place, its own until it is dropped.
#[derive(Debug)]
pub struct Place<'a>(&'a Slot);

/// A download that has been under way for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Host and port.
    pub host: String,
    /// The last segment of the path.
    pub name: String,
    /// There are others before it.
    pub is_deep: bool,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// How long it has been under way.
    pub time: Duration,
    /// Bytes of its body that are here.
    pub bytes: u64,
    /// All there will be, if that is known.
    pub length: Option<u64>,
}

impl UnderWay {
    /// Places for so many downloads at once.
    pub fn new(at_once: NonZeroUsize) -> Self {
        let places = at_once.get().saturating_mul(PLACES_EACH).clamp(FEWEST_PLACES, MOST_PLACES);
        let slots = std::iter::repeat_with(Slot::default).take(places).collect();
        Self { begin: Instant::now(), next: AtomicUsize::new(0), slots }
    }

    /// From 1, for zero is no time.
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Takes a place, unless too many are taken.
    pub fn enter(&self, url: &Url, attempt: u32) -> Option<Place<'_>> {
        let (now, first) = (self.now(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut tried = (0..TRIES).map(|offset| &self.slots[first.wrapping_add(offset) % self.slots.len()]);
        let slot =
            tried.find(|slot| slot.since.compare_exchange(0, now, Ordering::Acquire, Ordering::Relaxed).is_ok())?;
        slot.bytes.store(0, Ordering::Relaxed);
        slot.length.store(0, Ordering::Relaxed);
        // Neither user information nor a query, where secrets stand.
        let (host, path) = (&url[Position::BeforeHost..Position::AfterPort], url.path());
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut about = slot.about.lock().unwrap_or_else(PoisonError::into_inner);
        about.text.clear();
        about.text.push_str(beginning(host));
        about.middle = about.text.len();
        about.text.push_str(beginning(name));
        (about.is_deep, about.attempt) = (!folders.is_empty(), attempt);
        drop(about);
        Some(Place(slot))
    }

    /// So many of those that have been under way for longer than that, the slowest first.
    pub fn slowest(&self, count: usize, longer_than: Duration) -> Vec<Slow> {
        let now = self.now();
        let latest = now.saturating_sub(u64::try_from(longer_than.as_micros()).unwrap_or(u64::MAX));
        let mut oldest = Vec::<(u64, &Slot)>::with_capacity(count + 1);
        for slot in &self.slots {
            let since = slot.since.load(Ordering::Relaxed);
            let is_wanted = oldest.len() < count || oldest.last().is_some_and(|(other, _)| since < *other);
            if since != 0 && since < latest && is_wanted {
                let at = oldest.partition_point(|(other, _)| *other <= since);
                oldest.insert(at, (since, slot));
                oldest.truncate(count);
            }
        }
        let seen = oldest.into_iter().filter_map(|(since, slot)| {
            let about = slot.about.lock().unwrap_or_else(PoisonError::into_inner);
            // It may have ended meanwhile, and another one have come.
            let is_the_same = slot.since.load(Ordering::Relaxed) == since;
            let (host, name) = about.text.split_at(about.middle);
            is_the_same.then(|| Slow {
                host: host.to_owned(),
                name: name.to_owned(),
                is_deep: about.is_deep,
                attempt: about.attempt,
                time: Duration::from_micros(now - since),
                bytes: slot.bytes.load(Ordering::Relaxed),
                length: Some(slot.length.load(Ordering::Relaxed)).filter(|length| *length > 0),
            })
        });
        seen.collect()
    }
}

/// As much of a text as is kept. URLs are ASCII, so any byte is a place to cut at.
fn beginning(text: &str) -> &str {
    text.get(..LONGEST).unwrap_or(text)
}

impl Place<'_> {
    /// So much of the body is here, of so much.
    pub fn reach(&self, position: u64, of: Option<u64>) {
        self.0.bytes.store(position, Ordering::Relaxed);
        self.0.length.store(of.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn the_slowest_come_first_and_those_that_have_ended_not_at_all() {
        let under_way = UnderWay::new(NonZeroUsize::MIN);
        let secret = url("https://ann:secret@a.example:8443/b/c.png?sig=secret");
        let slow = under_way.enter(&secret, 1).expect("a place");
        slow.reach(3, Some(10));
        std::thread::sleep(Duration::from_millis(2));
        let _slow_too = under_way.enter(&url("http://b.example/"), 2).expect("a place");
        std::thread::sleep(Duration::from_millis(2));
        drop(under_way.enter(&url("http://c.example/c.png"), 1));
        let _last = under_way.enter(&url("http://d.example/d.png"), 1).expect("a place");
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(under_way.slowest(9, Duration::ZERO).len(), 3);
        assert!(under_way.slowest(9, Duration::from_secs(60)).is_empty());
        let seen = under_way.slowest(2, Duration::ZERO);
        assert!(seen[0].time > seen[1].time, "{seen:?}");
        let told = seen.iter().map(|seen| (&*seen.host, &*seen.name, seen.is_deep, seen.attempt)).collect::<Vec<_>>();
        assert_eq!(told, [("a.example:8443", "c.png", true, 1), ("b.example", "", false, 2)]);
        assert_eq!((seen[0].bytes, seen[0].length), (3, Some(10)));
        assert_eq!((seen[1].bytes, seen[1].length), (0, None));
    }

    #[test]
    fn whoever_finds_no_place_is_not_seen() {
        let under_way = UnderWay::new(NonZeroUsize::MIN);
        let url = url(&format!("http://a.example/{}", "x".repeat(5000)));
        let mut places = (0..FEWEST_PLACES).filter_map(|_| under_way.enter(&url, 1)).collect::<Vec<_>>();
        assert_eq!(places.len(), FEWEST_PLACES);
        assert!(under_way.enter(&url, 1).is_none());
        places.clear();
        assert!(under_way.enter(&url, 1).is_some());
        std::thread::sleep(Duration::from_millis(2));
        assert!(under_way.slowest(1, Duration::ZERO).is_empty());
    }
}
