//! What records tell beyond sums: when downloads ran, at which hosts, what went wrong, and which of them to show.
//!
//! A [`Tracer`] folds the records of a pass as they come, in memory that does not grow with the list: times go into bins
//! that double in width when there are too many, of the downloads every so many-th is kept, and hosts beyond the first
//! thousands are counted together. Whoever shows a [`Trace`] can say so, for it knows of how many it is a part.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::Serialize;

use super::timeline::{Bins, Timeline};
use crate::record::{ErrorKind, Format, Outcome, Record, Saved, Timing};

/// Downloads are shown one by one as long as there are no more; of more, between half as many and as many are kept.
pub const MOST_BARS: usize = 100;

/// So many of the slowest are kept besides.
const SLOWEST: usize = 10;

/// Images that can be shown.
const PICTURES: usize = 60;

/// Failures of one kind that are told one by one.
const EXAMPLES: usize = 3;

/// Hosts that are counted each for itself. Two hundred bytes each.
const MOST_HOSTS: usize = 10_000;

/// Hosts in a trace, those with the most rows.
pub const HOSTS_SHOWN: usize = 25;

/// What the records of one pass tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// Bytes that came and downloads that were alive, over time.
    pub timeline: Timeline,
    /// How many saved images took how long, from the shortest time that occurred to the longest.
    pub durations: Vec<Bucket>,
    /// The hosts with the most rows, [`HOSTS_SHOWN`] at most.
    pub hosts: Vec<HostRow>,
    /// How many hosts there were, as far as they were counted.
    pub hosts_met: u64,
    /// Whether there were more than could be counted, whose rows are not among those of the hosts here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_hosts: bool,
    /// Failures by kind, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Downloads one by one, in list order.
    #[serde(skip)]
    pub bars: Vec<Bar>,
    /// How many downloads these are taken from.
    #[serde(skip)]
    pub downloads: u64,
    /// Those that took longest, the longest first.
    #[serde(skip)]
    pub slowest: Vec<Bar>,
    /// Some images that were saved, in list order.
    #[serde(skip)]
    pub gallery: Vec<Picture>,
}

/// One download.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// The number of the row.
    pub index: u64,
    /// Its URL, secrets redacted.
    pub url: String,
    /// When it began and how long it took.
    pub timing: Timing,
    /// Requests that were made.
    pub attempts: u32,
    /// The kind of its failure, if it failed.
    pub failure: Option<String>,
}

/// An image that was saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// The number of the row.
    pub index: u64,
    /// Relative to the output folder.
    pub path: String,
    /// What the bytes are.
    pub format: Option<Format>,
    /// Width and height in pixels.
    pub size: Option<(u32, u32)>,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// How many took no longer than this, and longer than the bucket before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// The longest duration in it, in seconds.
    pub at_most_seconds: f64,
    /// Downloads.
    pub count: u64,
}

/// What came of a host's rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostRow {
    /// The name, and the port if it is not the usual one.
    pub host: String,
    /// Rows that ended as files.
    pub saved: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Requests, redirects not counted.
    pub requests: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// From the first request to the head of the answer, the mean of saved rows in seconds.
    pub mean_first_byte_seconds: f64,
    /// From the first request to the file, the mean of saved rows in seconds.
    pub mean_download_seconds: f64,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureGroup {
    /// The kind, `http_status` with its code.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
    /// Some of them.
    pub examples: Vec<Example>,
}

/// A row that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// Its URL, secrets redacted; empty where there was none.
    pub url: String,
    /// What happened.
    pub message: String,
}

/// Folds records.
pub struct Tracer {
    bytes: Bins,
    alive: Bins,
    durations: [u64; BOUNDS.len() + 1],
    hosts: HashMap<Box<str>, Host, RandomState>,
    more_hosts: bool,
    failures: BTreeMap<String, FailureGroup>,
    bars: Vec<Bar>,
    /// One download of so many is kept, a power of two.
    stride: u64,
    downloads: u64,
    slowest: Vec<Bar>,
    gallery: Vec<Picture>,
}

/// The longest durations in the buckets but the last, in milliseconds.
const BOUNDS: [f64; 20] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6];

#[derive(Default)]
struct Host {
    saved: u64,
    failed: u64,
    requests: u64,
    bytes: u64,
    /// In milliseconds.
    first_bytes: f64,
    downloads: f64,
}

impl Tracer {
    /// Nothing has come yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Bins::default(),
            alive: Bins::default(),
            durations: [0; BOUNDS.len() + 1],
            hosts: HashMap::default(),
            more_hosts: false,
            failures: BTreeMap::new(),
            bars: Vec::new(),
            stride: 1,
            downloads: 0,
            slowest: Vec::new(),
            gallery: Vec::new(),
        }
    }

    /// Takes a record.
    pub fn add(&mut self, record: &Record) {
        match &record.outcome {
            Outcome::Saved(saved) => {
                let Timing { start_ms, ttfb_ms, total_ms, .. } = saved.timing;
                let end = start_ms + total_ms;
                let came = saved.original.as_ref().map_or(saved.bytes, |original| original.bytes);
                self.bytes.spread(
                    start_ms + ttfb_ms.unwrap_or(total_ms),
                    end,
                    float(came - saved.from_earlier_run.min(came)),
                );
                self.durations[BOUNDS.partition_point(|bound| *bound < total_ms)] += 1;
                self.run(record, saved.timing, saved.attempts, None);
                if let Some(host) = self.host(&record.url) {
                    host.saved += 1;
                    host.requests += u64::from(saved.attempts);
                    host.bytes += saved.bytes;
                    host.first_bytes += ttfb_ms.unwrap_or(total_ms);
                    host.downloads += total_ms;
                }
                self.show(record.index, saved);
            }
            Outcome::Failed(failed) => {
                let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                if let Some(timing) = failed.timing {
                    self.run(record, timing, failed.attempts, Some(&name));
                }
                if let Some(host) = self.host(&record.url) {
                    host.failed += 1;
                    host.requests += u64::from(failed.attempts);
                }
                let advice = kind.and_then(ErrorKind::advice);
                let group = self.failures.entry(name.clone()).or_insert_with(|| FailureGroup {
                    kind: name,
                    count: 0,
                    advice,
                    examples: Vec::new(),
                });
                group.count += 1;
                if group.examples.len() < EXAMPLES {
                    let (url, message) = (record.url.clone(), failed.message.clone());
                    group.examples.push(Example { url, message });
                }
            }
            Outcome::Skipped(_) => {}
        }
    }

    /// A download that took its time.
    fn run(&mut self, record: &Record, timing: Timing, attempts: u32, failure: Option<&str>) {
        let Timing { start_ms, total_ms, .. } = timing;
        self.downloads += 1;
        // Where it is alive for a millisecond in a bin of ten, it counts for a tenth there.
        self.alive.spread(start_ms, start_ms + total_ms, total_ms);
        let bar =
            || Bar { index: record.index, url: record.url.clone(), timing, attempts, failure: failure.map(Into::into) };
        if self.is_kept(record.index) {
            self.bars.push(bar());
            if self.bars.len() > MOST_BARS {
                self.stride *= 2;
                let mut bars = std::mem::take(&mut self.bars);
                bars.retain(|bar| self.is_kept(bar.index));
                self.bars = bars;
            }
        }
        let place = self.slowest.partition_point(|slower| slower.timing.total_ms >= total_ms);
        if place < SLOWEST {
            self.slowest.truncate(SLOWEST - 1);
            self.slowest.insert(place, bar());
        }
    }

    /// Which rows are kept depends on their numbers alone, so that two passes over a list show the same. Scattered, for
    /// every second row may be of another kind.
    const fn is_kept(&self, index: u64) -> bool {
        (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) & (self.stride - 1) == 0
    }

    fn host(&mut self, url: &str) -> Option<&mut Host> {
        let name = host(url)?;
        if self.hosts.len() >= MOST_HOSTS && !self.hosts.contains_key(name) {
            self.more_hosts = true;
            return None;
        }
        if !self.hosts.contains_key(name) {
            self.hosts.insert(name.into(), Host::default());
        }
        self.hosts.get_mut(name)
    }

    fn show(&mut self, index: u64, saved: &Saved) {
        if self.gallery.len() < PICTURES && saved.same_as.is_none() {
            self.gallery.push(Picture {
                index,
                path: saved.path.clone(),
                format: saved.format,
                size: saved.measures.width.zip(saved.measures.height),
                bytes: saved.bytes,
            });
        }
    }

    /// All of it.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let (mut bars, mut gallery) = (self.bars.clone(), self.gallery.clone());
        bars.sort_by_key(|bar| bar.index);
        gallery.sort_by_key(|picture| picture.index);
        let mut failures = self.failures.values().cloned().collect::<Vec<_>>();
        failures.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.kind.cmp(&other.kind)));
        Trace {
            timeline: Timeline::of(&self.bytes, &self.alive),
            durations: self.durations(),
            hosts: self.rows_of_hosts(),
            hosts_met: self.hosts.len() as u64,
            more_hosts: self.more_hosts,
            failures,
            bars,
            downloads: self.downloads,
            slowest: self.slowest.clone(),
            gallery,
        }
    }

    fn durations(&self) -> Vec<Bucket> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let longest = self.slowest.first().map_or(0.0, |bar| bar.timing.total_ms);
        let buckets = bounds.zip(self.durations).map(|(bound, count)| {
            let bound = if bound.is_finite() { bound } else { longest };
            Bucket { at_most_seconds: bound / 1000.0, count }
        });
        let buckets = buckets.collect::<Vec<_>>();
        let occurs = |bucket: &Bucket| bucket.count > 0;
        let (first, last) = (buckets.iter().position(occurs), buckets.iter().rposition(occurs));
        first.zip(last).map_or_else(Vec::new, |(first, last)| buckets[first..=last].to_vec())
    }

    fn rows_of_hosts(&self) -> Vec<HostRow> {
        let mut hosts = self.hosts.iter().map(|(name, host)| (&**name, host)).collect::<Vec<_>>();
        let rows = |host: &Host| host.saved + host.failed;
        hosts
            .sort_by(|(name, one), (other_name, other)| rows(other).cmp(&rows(one)).then_with(|| name.cmp(other_name)));
        let mean = |sum: f64, count: u64| {
            if count == 0 { 0.0 } else { (sum / float(count) * 1000.0).round() / 1e6 }
        };
        let row = |(name, host): (&str, &Host)| HostRow {
            host: name.to_string(),
            saved: host.saved,
            failed: host.failed,
            requests: host.requests,
            bytes: host.bytes,
            mean_first_byte_seconds: mean(host.first_bytes, host.saved),
            mean_download_seconds: mean(host.downloads, host.saved),
        };
        hosts.into_iter().take(HOSTS_SHOWN).map(row).collect()
    }
}

impl Default for Tracer {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown")]
const fn float(number: u64) -> f64 {
    number as f64
}

/// Host and port of a URL as records show it.
fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let name = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Extra, Failed, FetchError};

    fn failed(index: u64, url: &str, start_ms: f64, total_ms: f64) -> Record {
        let timing = Timing { start_ms, total_ms, ..Timing::default() };
        let error = FetchError::new(ErrorKind::CutShort, format!("cut {index}"));
        let outcome = Outcome::Failed(Failed::new(&error, 2, Some(timing)));
        Record { index, url: url.into(), url_hash: None, outcome, extra: Extra::default() }
    }

    #[test]
    fn downloads_alive_are_counted_by_their_time() {
        let mut tracer = Tracer::new();
        // Two at once for the first half of a second, one for the rest.
        tracer.add(&failed(0, "http://a/", 0.0, 1000.0));
        tracer.add(&failed(1, "http://a/", 0.0, 500.0));
        let Timeline { bin_seconds, alive, bytes } = tracer.trace().timeline;
        let mean = alive.iter().sum::<f64>() * bin_seconds;
        assert!((mean - 1.5).abs() < 0.01, "{mean}");
        assert!((alive[0] - 2.0).abs() < 0.01 && (alive[alive.len() - 3] - 1.0).abs() < 0.01, "{alive:?}");
        assert_eq!(bytes.len(), alive.len());
    }

    #[test]
    fn the_same_part_of_a_list_is_kept_whatever_the_order_and_memory_does_not_grow() {
        let rows = 5000;
        let kept = |order: &mut dyn Iterator<Item = u64>| {
            let mut tracer = Tracer::new();
            order.for_each(|index| tracer.add(&failed(index, &format!("http://h{index}/"), 1.0, 1.0 + float(index))));
            assert!(tracer.bars.len() <= MOST_BARS && tracer.slowest.len() <= SLOWEST);
            tracer.trace()
        };
        let (forth, back) = (kept(&mut (0..rows)), kept(&mut (0..rows).rev()));
        let indices = |trace: &Trace| trace.bars.iter().map(|bar| bar.index).collect::<Vec<_>>();
        assert_eq!(indices(&forth), indices(&back));
        assert!((MOST_BARS / 4..=MOST_BARS).contains(&forth.bars.len()), "{}", forth.bars.len());
        assert_eq!((forth.downloads, forth.hosts_met, forth.hosts.len()), (rows, rows, HOSTS_SHOWN));
        let slowest = back.slowest.iter().map(|bar| bar.index).collect::<Vec<_>>();
        assert_eq!(slowest, (rows - SLOWEST as u64..rows).rev().collect::<Vec<_>>());
        assert_eq!((back.failures[0].count, back.failures[0].examples.len()), (rows, EXAMPLES));
    }

    #[test]
    fn hosts_beyond_the_first_thousands_are_said_to_be_more() {
        let mut tracer = Tracer::new();
        for index in 0..=MOST_HOSTS as u64 {
            assert!(!tracer.more_hosts);
            tracer.add(&failed(index, &format!("http://h{index}/"), 1.0, 1.0));
        }
        tracer.add(&failed(0, "http://h0/", 1.0, 1.0));
        let trace = tracer.trace();
        assert_eq!((trace.hosts_met, trace.more_hosts), (MOST_HOSTS as u64, true));
        assert_eq!((&*trace.hosts[0].host, trace.hosts[0].failed), ("h0", 2));
    }

    #[test]
    fn hosts_are_read_off_what_records_show() {
        assert_eq!(host("https://u:***@a.example:8443/x?y=http://b/"), Some("a.example:8443"));
        assert_eq!(host("http://[::1]:80?x"), Some("[::1]:80"));
        assert_eq!((host("nonsense"), host("")), (None, None));
    }
}
