//! Details of a pass beyond its sums: downloads over time, hosts, failures, and a selection of single downloads and images.
//!
//! A [`Tracer`] adds up the records of a pass as they arrive, in memory that does not grow with the list. Times go into bins
//! that double in width when there are too many. Of the downloads, only a selection is kept. Hosts beyond the first ten
//! thousand are not counted. A [`Trace`] says what it leaves out, so that a report can say it too.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::Serialize;

use super::timeline::{Bins, Timeline};
use crate::record::{ErrorKind, Format, Outcome, Record, Saved, Timing, host_of};
use crate::util::redact::shortened_data;

/// The most downloads that are kept one by one. Of more downloads, a selection of about half to all of this number is kept.
pub const MAX_BARS: usize = 100;

/// The most downloads that are kept because they are the slowest.
const MAX_SLOWEST: usize = 10;

/// The most images for the gallery.
const MAX_IMAGES: usize = 60;

/// The most examples of failures of one kind.
const MAX_EXAMPLES: usize = 3;

/// The most hosts that are counted; each takes about 200 bytes of memory.
const MAX_HOSTS_COUNTED: usize = 10_000;

/// The most hosts in a trace: those with the most failures, and then those with the most rows.
pub const MAX_HOSTS_SHOWN: usize = 25;

/// Details of one pass.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trace {
    /// Received bytes and downloads in flight over time.
    pub timeline: Timeline,
    /// A histogram of the durations of saved downloads, from the shortest bucket with a download to the longest.
    pub durations: Vec<DurationBucket>,
    /// The hosts with the most failures, and then those with the most rows, at most [`MAX_HOSTS_SHOWN`].
    pub hosts: Vec<HostSummary>,
    /// The number of hosts that were counted.
    pub hosts_met: u64,
    /// Whether there were more hosts than could be counted. Their rows are not included in those of the hosts here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_hosts: bool,
    /// Failures by kind, the most frequent first.
    pub failures: Vec<FailureGroup>,
    /// Refused images by kind, the most frequent first.
    pub refusals: Vec<FailureGroup>,
    /// A selection of downloads, in list order.
    #[serde(skip)]
    pub bars: Vec<WaterfallBar>,
    /// The number of downloads from which they were selected.
    #[serde(skip)]
    pub downloads: u64,
    /// The downloads that took longest, the longest first.
    #[serde(skip)]
    pub slowest: Vec<WaterfallBar>,
    /// Some of the saved images, in list order.
    #[serde(skip)]
    pub gallery: Vec<GalleryImage>,
}

/// One download, shown as a bar in a waterfall chart.
#[derive(Clone, Debug, PartialEq)]
pub struct WaterfallBar {
    /// The number of the row.
    pub index: u64,
    /// Its URL, secrets redacted.
    pub url: String,
    /// When it began and how long it took, in milliseconds.
    pub timing: Timing,
    /// Requests that were made.
    pub attempts: u32,
    /// The kind of error, if it failed.
    pub failure: Option<String>,
    /// The kind of refusal, if the options exclude the image.
    pub refusal: Option<String>,
}

/// A saved image.
#[derive(Clone, Debug, PartialEq)]
pub struct GalleryImage {
    /// The number of the row.
    pub index: u64,
    /// Relative to the output folder.
    pub path: String,
    /// The format of the bytes, if it is known.
    pub format: Option<Format>,
    /// Width and height in pixels, if they are known.
    pub size: Option<(u32, u32)>,
    /// Size of the file in bytes.
    pub bytes: u64,
}

/// A bucket of a histogram: downloads that took longer than those in the bucket before, and at most this time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DurationBucket {
    /// The longest duration of the bucket, in seconds.
    pub at_most_seconds: f64,
    /// The number of downloads.
    pub count: u64,
}

/// The numbers of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostSummary {
    /// The name, and the port if it is not the default one.
    pub host: String,
    /// Rows whose image was saved.
    pub saved: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose image was refused.
    pub refused: u64,
    /// Requests, redirects not counted.
    pub requests: u64,
    /// Bytes of the saved files.
    pub bytes: u64,
    /// Mean time from the first request to the header of the response, over downloaded rows, in seconds.
    pub mean_first_byte_seconds: f64,
    /// Mean time from the first request to the file, over downloaded rows, in seconds.
    pub mean_download_seconds: f64,
    /// Failures by kind, the most frequent first, each with an example.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<HostFailures>,
}

/// Failures of one kind at one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostFailures {
    /// The kind of error; `http_status` has its code.
    pub kind: String,
    /// The number of failures.
    pub count: u64,
    /// The first of them.
    pub example: FailureExample,
}

/// Failures or refusals of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureGroup {
    /// The kind of error; `http_status` has its code.
    pub kind: String,
    /// The number of failures.
    pub count: u64,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
    /// Some of the rows.
    pub examples: Vec<FailureExample>,
}

/// A row that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureExample {
    /// Its URL, secrets redacted; empty if the row has none.
    pub url: String,
    /// The message of the error.
    pub message: String,
}

impl Trace {
    /// The failures that are not among those of [`Trace::hosts`]: of each kind, how many.
    pub fn failures_elsewhere(&self) -> Vec<(&FailureGroup, u64)> {
        let at_hosts = |kind: &str| {
            let failures = self.hosts.iter().flat_map(|host| &host.failures).filter(|failures| failures.kind == kind);
            failures.map(|failures| failures.count).sum::<u64>()
        };
        let elsewhere = self.failures.iter().map(|group| (group, group.count.saturating_sub(at_hosts(&group.kind))));
        elsewhere.filter(|(_, count)| *count > 0).collect()
    }

    /// An example of a kind of failures that is not at one of [`Trace::hosts`].
    #[must_use]
    pub fn example_elsewhere<'a>(&self, group: &'a FailureGroup) -> Option<&'a FailureExample> {
        let is_elsewhere = |example: &&FailureExample| {
            host_of(&example.url).is_none_or(|name| self.hosts.iter().all(|listed| listed.host != name))
        };
        group.examples.iter().find(is_elsewhere)
    }
}

/// Adds up the records of a pass for a [`Trace`].
pub struct Tracer {
    bytes: Bins,
    alive: Bins,
    durations: [u64; BUCKET_BOUNDS_MS.len() + 1],
    hosts: HashMap<Box<str>, HostTally, RandomState>,
    more_hosts: bool,
    failures: FailureGroups,
    refusals: FailureGroups,
    bars: Vec<WaterfallBar>,
    /// About one of `stride` downloads is kept. A power of two.
    stride: u64,
    downloads: u64,
    slowest: Vec<WaterfallBar>,
    gallery: Vec<GalleryImage>,
}

/// The longest durations of all buckets except the last, in milliseconds.
const BUCKET_BOUNDS_MS: [f64; 20] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6];

/// Groups by kind.
#[derive(Default)]
struct FailureGroups(BTreeMap<String, FailureGroup>);

impl FailureGroups {
    fn add(&mut self, kind: &str, advice: Option<&'static str>, url: &str, message: &str) {
        if !self.0.contains_key(kind) {
            let group = FailureGroup { kind: kind.to_owned(), count: 0, advice, examples: Vec::new() };
            self.0.insert(kind.to_owned(), group);
        }
        let Some(group) = self.0.get_mut(kind) else { return };
        group.count += 1;
        if group.examples.len() < MAX_EXAMPLES {
            group.examples.push(FailureExample { url: shortened_data(url).into_owned(), message: message.to_owned() });
        }
    }

    /// The groups, the largest first.
    fn sorted(&self) -> Vec<FailureGroup> {
        let mut groups = self.0.values().cloned().collect::<Vec<_>>();
        groups.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.kind.cmp(&other.kind)));
        groups
    }
}

/// The sums of one host.
#[derive(Default)]
struct HostTally {
    saved: u64,
    /// Saved rows that were downloaded, and not made anew from stored files.
    downloaded: u64,
    failed: u64,
    refused: u64,
    requests: u64,
    bytes: u64,
    /// The sum of the times to first byte, in milliseconds.
    first_bytes: f64,
    /// The sum of the durations of downloads, in milliseconds.
    downloads: f64,
    failures: Vec<HostFailures>,
}

/// The most kinds of failures that are told apart at one host.
const MAX_KINDS: usize = 8;

impl HostTally {
    /// Counts a failure.
    fn fail(&mut self, kind: &str, example: impl FnOnce() -> FailureExample) {
        self.failed += 1;
        let has_room = self.failures.len() < MAX_KINDS;
        match self.failures.iter_mut().find(|failures| failures.kind == kind) {
            Some(failures) => failures.count += 1,
            None if has_room => {
                self.failures.push(HostFailures { kind: kind.to_owned(), count: 1, example: example() });
            }
            None => {}
        }
    }
}

impl Tracer {
    /// A tracer without records.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Bins::default(),
            alive: Bins::default(),
            durations: [0; BUCKET_BOUNDS_MS.len() + 1],
            hosts: HashMap::default(),
            more_hosts: false,
            failures: FailureGroups::default(),
            refusals: FailureGroups::default(),
            bars: Vec::new(),
            stride: 1,
            downloads: 0,
            slowest: Vec::new(),
            gallery: Vec::new(),
        }
    }

    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        match &record.outcome {
            Outcome::Saved(saved) => {
                let Timing { start_ms, ttfb_ms, total_ms, .. } = saved.timing;
                // What was made anew from a stored file is no download.
                let is_download = saved.attempts > 0;
                let end = start_ms + total_ms;
                let received = saved.original.as_ref().map_or(saved.bytes, |original| original.bytes);
                self.bytes.spread(
                    start_ms + ttfb_ms.unwrap_or(total_ms),
                    end,
                    float(received - saved.from_earlier_run.min(received)),
                );
                if is_download {
                    self.durations[BUCKET_BOUNDS_MS.partition_point(|bound| *bound < total_ms)] += 1;
                    self.add_download(record, saved.timing, saved.attempts, [None, None]);
                }
                if let Some(host) = self.host_tally(&record.url) {
                    host.saved += 1;
                    host.requests += u64::from(saved.attempts);
                    host.bytes += saved.bytes;
                    if is_download {
                        host.downloaded += 1;
                        host.first_bytes += ttfb_ms.unwrap_or(total_ms);
                        host.downloads += total_ms;
                    }
                }
                self.add_image(record.index, saved);
            }
            Outcome::Failed(failed) => {
                let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                if let Some(timing) = failed.timing {
                    self.add_download(record, timing, failed.attempts, [Some(&name), None]);
                }
                let example = || FailureExample {
                    url: shortened_data(&record.url).into_owned(),
                    message: failed.message.clone(),
                };
                if let Some(host) = self.host_tally(&record.url) {
                    host.fail(&name, example);
                    host.requests += u64::from(failed.attempts);
                }
                let advice = kind.and_then(|kind| kind.advice_on_many(&failed.message));
                self.failures.add(&name, advice, &record.url, &failed.message);
            }
            Outcome::Refused(refused) => {
                if let Some(timing) = refused.timing {
                    self.add_download(record, timing, refused.attempts, [None, Some(&refused.error)]);
                }
                if let Some(host) = self.host_tally(&record.url) {
                    host.refused += 1;
                    host.requests += u64::from(refused.attempts);
                }
                self.refusals.add(&refused.error, None, &record.url, &refused.message);
            }
            Outcome::Skipped(_) => {}
        }
    }

    /// Adds a download that made a request, with the kind of its failure or of its refusal.
    fn add_download(&mut self, record: &Record, timing: Timing, attempts: u32, [failure, refusal]: [Option<&str>; 2]) {
        let Timing { start_ms, total_ms, .. } = timing;
        self.downloads += 1;
        // One millisecond of a download counts as one tenth of a download in a bin of ten milliseconds.
        self.alive.spread(start_ms, start_ms + total_ms, total_ms);
        let bar = || WaterfallBar {
            index: record.index,
            url: shortened_data(&record.url).into_owned(),
            timing,
            attempts,
            failure: failure.map(Into::into),
            refusal: refusal.map(Into::into),
        };
        if self.is_selected(record.index) {
            self.bars.push(bar());
            if self.bars.len() > MAX_BARS {
                self.stride *= 2;
                let mut bars = std::mem::take(&mut self.bars);
                bars.retain(|bar| self.is_selected(bar.index));
                self.bars = bars;
            }
        }
        let place = self.slowest.partition_point(|slower| slower.timing.total_ms >= total_ms);
        if place < MAX_SLOWEST {
            self.slowest.truncate(MAX_SLOWEST - 1);
            self.slowest.insert(place, bar());
        }
    }

    /// Whether a row is selected. That depends only on its number, so that two passes over a list show the same rows. The
    /// numbers are hashed, because rows may alternate in kind.
    const fn is_selected(&self, index: u64) -> bool {
        (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) & (self.stride - 1) == 0
    }

    fn host_tally(&mut self, url: &str) -> Option<&mut HostTally> {
        let name = host_of(url)?;
        if self.hosts.len() >= MAX_HOSTS_COUNTED && !self.hosts.contains_key(name) {
            self.more_hosts = true;
            return None;
        }
        if !self.hosts.contains_key(name) {
            self.hosts.insert(name.into(), HostTally::default());
        }
        self.hosts.get_mut(name)
    }

    fn add_image(&mut self, index: u64, saved: &Saved) {
        if self.gallery.len() < MAX_IMAGES && saved.same_as.is_none() {
            self.gallery.push(GalleryImage {
                index,
                path: saved.path.clone(),
                format: saved.format,
                size: saved.measures.width.zip(saved.measures.height),
                bytes: saved.bytes,
            });
        }
    }

    /// The details of all records that were added.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let (mut bars, mut gallery) = (self.bars.clone(), self.gallery.clone());
        bars.sort_by_key(|bar| bar.index);
        gallery.sort_by_key(|picture| picture.index);
        Trace {
            timeline: Timeline::of(&self.bytes, &self.alive),
            durations: self.durations(),
            hosts: self.host_summaries(),
            hosts_met: self.hosts.len() as u64,
            more_hosts: self.more_hosts,
            failures: self.failures.sorted(),
            refusals: self.refusals.sorted(),
            bars,
            downloads: self.downloads,
            slowest: self.slowest.clone(),
            gallery,
        }
    }

    fn durations(&self) -> Vec<DurationBucket> {
        let bounds = BUCKET_BOUNDS_MS.into_iter().chain([f64::INFINITY]);
        let longest = self.slowest.first().map_or(0.0, |bar| bar.timing.total_ms);
        let buckets = bounds.zip(self.durations).map(|(bound, count)| {
            let bound = if bound.is_finite() { bound } else { longest };
            DurationBucket { at_most_seconds: bound / 1000.0, count }
        });
        let buckets = buckets.collect::<Vec<_>>();
        let occurs = |bucket: &DurationBucket| bucket.count > 0;
        let (first, last) = (buckets.iter().position(occurs), buckets.iter().rposition(occurs));
        first.zip(last).map_or_else(Vec::new, |(first, last)| buckets[first..=last].to_vec())
    }

    fn host_summaries(&self) -> Vec<HostSummary> {
        let mut hosts = self.hosts.iter().map(|(name, host)| (&**name, host)).collect::<Vec<_>>();
        let rank = |host: &HostTally| (host.failed, host.saved + host.refused);
        hosts
            .sort_by(|(name, one), (other_name, other)| rank(other).cmp(&rank(one)).then_with(|| name.cmp(other_name)));
        let mean = |sum: f64, count: u64| {
            if count == 0 { 0.0 } else { (sum / float(count) * 1000.0).round() / 1e6 }
        };
        let row = |(name, host): (&str, &HostTally)| HostSummary {
            host: name.to_string(),
            saved: host.saved,
            failed: host.failed,
            refused: host.refused,
            requests: host.requests,
            bytes: host.bytes,
            mean_first_byte_seconds: mean(host.first_bytes, host.downloaded),
            mean_download_seconds: mean(host.downloads, host.downloaded),
            failures: {
                let mut failures = host.failures.clone();
                failures.sort_by_key(|failures| std::cmp::Reverse(failures.count));
                failures
            },
        };
        hosts.into_iter().take(MAX_HOSTS_SHOWN).map(row).collect()
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
    fn downloads_in_flight_are_weighted_by_their_time() {
        let mut tracer = Tracer::new();
        // Two downloads in the first half of a second, and one in the rest.
        tracer.add(&failed(0, "http://a/", 0.0, 1000.0));
        tracer.add(&failed(1, "http://a/", 0.0, 500.0));
        let Timeline { bin_seconds, alive, bytes } = tracer.trace().timeline;
        let mean = alive.iter().sum::<f64>() * bin_seconds;
        assert!((mean - 1.5).abs() < 0.01, "{mean}");
        assert!((alive[0] - 2.0).abs() < 0.01 && (alive[alive.len() - 3] - 1.0).abs() < 0.01, "{alive:?}");
        assert_eq!(bytes.len(), alive.len());
    }

    #[test]
    fn the_selection_does_not_depend_on_the_order_and_memory_does_not_grow() {
        let rows = 5000;
        let trace_of = |order: &mut dyn Iterator<Item = u64>| {
            let mut tracer = Tracer::new();
            order.for_each(|index| tracer.add(&failed(index, &format!("http://h{index}/"), 1.0, 1.0 + float(index))));
            assert!(tracer.bars.len() <= MAX_BARS && tracer.slowest.len() <= MAX_SLOWEST);
            tracer.trace()
        };
        let (forth, back) = (trace_of(&mut (0..rows)), trace_of(&mut (0..rows).rev()));
        let indices = |trace: &Trace| trace.bars.iter().map(|bar| bar.index).collect::<Vec<_>>();
        assert_eq!(indices(&forth), indices(&back));
        assert!((MAX_BARS / 4..=MAX_BARS).contains(&forth.bars.len()), "{}", forth.bars.len());
        assert_eq!((forth.downloads, forth.hosts_met, forth.hosts.len()), (rows, rows, MAX_HOSTS_SHOWN));
        let slowest = back.slowest.iter().map(|bar| bar.index).collect::<Vec<_>>();
        assert_eq!(slowest, (rows - MAX_SLOWEST as u64..rows).rev().collect::<Vec<_>>());
        assert_eq!((back.failures[0].count, back.failures[0].examples.len()), (rows, MAX_EXAMPLES));
    }

    #[test]
    fn a_trace_says_that_there_were_more_hosts_than_it_counts() {
        let mut tracer = Tracer::new();
        for index in 0..=MAX_HOSTS_COUNTED as u64 {
            assert!(!tracer.more_hosts);
            tracer.add(&failed(index, &format!("http://h{index}/"), 1.0, 1.0));
        }
        tracer.add(&failed(0, "http://h0/", 1.0, 1.0));
        let trace = tracer.trace();
        assert_eq!((trace.hosts_met, trace.more_hosts), (MAX_HOSTS_COUNTED as u64, true));
        assert_eq!((&*trace.hosts[0].host, trace.hosts[0].failed), ("h0", 2));
    }

    #[test]
    fn hosts_are_parsed_from_the_urls_of_records() {
        assert_eq!((host_of("data:a/b,http://a.example/"), host_of("file:///a/b.png")), (None, None));
        assert_eq!(host_of("https://u:***@a.example:8443/x?y=http://b/"), Some("a.example:8443"));
        assert_eq!(host_of("http://[::1]:80?x"), Some("[::1]:80"));
        assert_eq!((host_of("nonsense"), host_of("")), (None, None));
    }
}
