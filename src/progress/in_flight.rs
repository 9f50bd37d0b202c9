//! The downloads in flight, recorded so that the display can show the slowest of them.
//!
//! Each download takes a slot without waiting for other downloads, writes its URL there, and then updates how many bytes it
//! has. The next download in the slot reuses the memory of the text, so nothing is allocated once every slot has been used.
//! The display searches all slots, which is cheap at ten times a second.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use url::{Position, Url};

use crate::util::lock;

/// Slots per download that may be in flight. If half of them are free, a download finds a free one after few attempts.
const SLOTS_PER_DOWNLOAD: usize = 2;
const MIN_SLOTS: usize = 64;
/// More slots would take too long to search ten times a second. A download without a slot is not shown; nothing else
/// changes.
const MAX_SLOTS: usize = 8192;
/// Slots that a download tries before it goes without one.
const MAX_SLOT_ATTEMPTS: usize = 16;

/// Bytes of a host name, and of a file name, that are kept. A wide terminal shows less.
const MAX_NAME_BYTES: usize = 128;

/// The slots of all downloads.
#[derive(Debug)]
pub struct InFlight {
    begin: Instant,
    /// The slot that the next download tries first.
    next: AtomicUsize,
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    /// When the download began, in microseconds since the pass began; zero if the slot is free.
    since: AtomicU64,
    bytes: AtomicU64,
    /// The length of the body in bytes; zero if it is unknown.
    length: AtomicU64,
    label: Mutex<SlotLabel>,
}

#[derive(Debug, Default)]
struct SlotLabel {
    /// The host, followed by the last segment of the path.
    text: String,
    /// The length of the host in the text.
    host_length: usize,
    /// The path has folders before its last segment.
    is_deep: bool,
    attempt: u32,
}

impl SlotLabel {
    fn host(&self) -> &str {
        &self.text[..self.host_length]
    }
}

/// The slot of one download, which is free again when this is dropped.
#[derive(Debug)]
pub struct SlotGuard<'a>(&'a Slot);

/// A download that has been in flight for a long time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowDownload {
    /// Host and port.
    pub host: String,
    /// The last segment of the path.
    pub name: String,
    /// The path has folders before its last segment.
    pub is_deep: bool,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// How long it has been in flight.
    pub time: Duration,
    /// Bytes of its body that have been received.
    pub bytes: u64,
    /// The length of the body in bytes, if it is known.
    pub length: Option<u64>,
}

impl InFlight {
    /// Slots for about `at_once` downloads at the same time.
    pub fn new(at_once: NonZeroUsize) -> Self {
        let count = at_once.get().saturating_mul(SLOTS_PER_DOWNLOAD).clamp(MIN_SLOTS, MAX_SLOTS);
        let slots = std::iter::repeat_with(Slot::default).take(count).collect();
        Self { begin: Instant::now(), next: AtomicUsize::new(0), slots }
    }

    /// Microseconds since the pass began; at least 1, because zero marks a free slot.
    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Takes a slot for a download. `None` if none of those that it tries is free.
    pub fn enter(&self, url: &Url, attempt: u32) -> Option<SlotGuard<'_>> {
        let (now, first) = (self.now(), self.next.fetch_add(1, Ordering::Relaxed));
        let mut tried = (0..MAX_SLOT_ATTEMPTS).map(|offset| &self.slots[first.wrapping_add(offset) % self.slots.len()]);
        let slot =
            tried.find(|slot| slot.since.compare_exchange(0, now, Ordering::Acquire, Ordering::Relaxed).is_ok())?;
        slot.bytes.store(0, Ordering::Relaxed);
        slot.length.store(0, Ordering::Relaxed);
        // Without user information and query, which may hold secrets.
        let (host, path) = (&url[Position::BeforeHost..Position::AfterPort], url.path());
        let (folders, name) = match path.split_once(',') {
            // The rest is the image itself.
            Some((media_type, _)) if url.scheme() == "data" => ("", media_type),
            _ => path.rsplit_once('/').unwrap_or(("", path)),
        };
        let mut label = lock(&slot.label);
        label.text.clear();
        label.text.push_str(shortened(host));
        label.host_length = label.text.len();
        label.text.push_str(shortened(name));
        (label.is_deep, label.attempt) = (!folders.is_empty(), attempt);
        drop(label);
        Some(SlotGuard(slot))
    }

    /// Whether a download from this host has received bytes of its body.
    pub fn is_receiving_from(&self, host: &str) -> bool {
        let host = shortened(host);
        self.slots.iter().any(|slot| {
            let is_receiving = slot.since.load(Ordering::Relaxed) != 0 && slot.bytes.load(Ordering::Relaxed) > 0;
            is_receiving && lock(&slot.label).host() == host
        })
    }

    /// The downloads that have been in flight for longer than `longer_than`, the slowest first, at most `count`.
    pub fn slowest(&self, count: usize, longer_than: Duration) -> Vec<SlowDownload> {
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
        let downloads = oldest.into_iter().filter_map(|(since, slot)| {
            let label = lock(&slot.label);
            // The download may have ended since, and another one may have taken the slot.
            let is_same = slot.since.load(Ordering::Relaxed) == since;
            let (host, name) = label.text.split_at(label.host_length);
            is_same.then(|| SlowDownload {
                host: host.to_owned(),
                name: name.to_owned(),
                is_deep: label.is_deep,
                attempt: label.attempt,
                time: Duration::from_micros(now - since),
                bytes: slot.bytes.load(Ordering::Relaxed),
                length: Some(slot.length.load(Ordering::Relaxed)).filter(|length| *length > 0),
            })
        });
        downloads.collect()
    }
}

/// The first [`MAX_NAME_BYTES`] of a text. URLs are ASCII, so every byte is the start of a character.
fn shortened(text: &str) -> &str {
    text.get(..MAX_NAME_BYTES).unwrap_or(text)
}

impl SlotGuard<'_> {
    /// Sets how many bytes of the body there are, and its length if that is known.
    pub fn reach(&self, position: u64, length: Option<u64>) {
        self.0.bytes.store(position, Ordering::Relaxed);
        self.0.length.store(length.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for SlotGuard<'_> {
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
        let in_flight = InFlight::new(NonZeroUsize::MIN);
        let secret = url("https://ann:secret@a.example:8443/b/c.png?sig=secret");
        let slow = in_flight.enter(&secret, 1).expect("a slot");
        slow.reach(3, Some(10));
        std::thread::sleep(Duration::from_millis(2));
        let _slow_too = in_flight.enter(&url("http://b.example/"), 2).expect("a slot");
        std::thread::sleep(Duration::from_millis(2));
        drop(in_flight.enter(&url("http://c.example/c.png"), 1));
        let _last = in_flight.enter(&url("http://d.example/d.png"), 1).expect("a slot");
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(in_flight.slowest(9, Duration::ZERO).len(), 3);
        assert!(in_flight.slowest(9, Duration::from_secs(60)).is_empty());
        let slowest = in_flight.slowest(2, Duration::ZERO);
        assert!(slowest[0].time > slowest[1].time, "{slowest:?}");
        let labels = slowest.iter().map(|slow| (&*slow.host, &*slow.name, slow.is_deep, slow.attempt));
        assert_eq!(labels.collect::<Vec<_>>(), [("a.example:8443", "c.png", true, 1), ("b.example", "", false, 2)]);
        assert_eq!((slowest[0].bytes, slowest[0].length), (3, Some(10)));
        assert_eq!((slowest[1].bytes, slowest[1].length), (0, None));
        let receives = |host| in_flight.is_receiving_from(host);
        assert!(receives("a.example:8443") && !receives("a.example") && !receives("b.example"));
        drop(slow);
        assert!(!in_flight.is_receiving_from("a.example:8443"));
    }

    #[test]
    fn a_download_without_a_slot_is_not_shown() {
        let in_flight = InFlight::new(NonZeroUsize::MIN);
        let url = url(&format!("http://a.example/{}", "x".repeat(5000)));
        let mut slots = (0..MIN_SLOTS).filter_map(|_| in_flight.enter(&url, 1)).collect::<Vec<_>>();
        assert_eq!(slots.len(), MIN_SLOTS);
        assert!(in_flight.enter(&url, 1).is_none());
        slots.clear();
        assert!(in_flight.enter(&url, 1).is_some());
        std::thread::sleep(Duration::from_millis(2));
        assert!(in_flight.slowest(1, Duration::ZERO).is_empty());
    }
}
