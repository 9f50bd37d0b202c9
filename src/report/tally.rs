//! Adds up the records of one pass over the list.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use url::Url;
use xxhash_rust::xxh3::Xxh3;

use super::changed::Changed;
use super::failing::FailureCounts;
use super::summary::{Percentiles, Summary, round};
use super::suspicious::SuspiciousUrls;
use super::trace::Tracer;
use crate::record::{ErrorKind, Mode, Outcome, Record, Timing};

/// The sums over all records of a pass so far.
pub struct Tally {
    mode: Mode,
    rows: u64,
    saved: u64,
    /// Images that were made anew from their stored files: they are saved, and were not downloaded.
    remade: u64,
    bytes: u64,
    /// Bytes of bodies that came over the network in this run.
    received: u64,
    extension_mismatches: u64,
    smaller_than_box: u64,
    empty_columns: BTreeMap<String, u64>,
    relabelled_duplicates: BTreeMap<String, u64>,
    suspicious: SuspiciousUrls,
    links: u64,
    link_bytes: u64,
    retries: u64,
    skipped: BTreeMap<&'static str, u64>,
    failed: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    failures: FailureCounts,
    /// The record of the first row.
    first: Option<Box<Record>>,
    first_byte: DurationHistogram,
    whole: DurationHistogram,
    /// The time for which images waited for a processor, in all.
    queued_for_processor: Duration,
    tracer: Tracer,
    list: Xxh3,
}

/// A histogram of durations in microseconds, with three significant digits and in constant memory.
struct DurationHistogram {
    histogram: Histogram<u32>,
    sum: Duration,
    longest: Duration,
}

fn add_one(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => _ = counts.insert(name.to_owned(), 1),
    }
}

fn duration(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
}

impl DurationHistogram {
    fn new() -> Self {
        // 200,000 seconds are more than two days, and no download takes longer.
        let histogram =
            Histogram::new_with_bounds(1, 200_000_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are valid"));
        Self { histogram, sum: Duration::ZERO, longest: Duration::ZERO }
    }

    fn add(&mut self, milliseconds: f64) {
        let duration = duration(milliseconds);
        self.histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.sum += duration;
        self.longest = self.longest.max(duration);
    }

    fn percentiles(&self) -> Option<Percentiles> {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of two days fit into 53 bits")]
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e6;
        let longest = self.longest.as_secs_f64();
        // The histogram rounds up to the end of a bucket, so a quantile could exceed the longest duration.
        let quantile = |quantile: f64| round(at(quantile).min(longest));
        (!self.histogram.is_empty()).then(|| Percentiles {
            median: quantile(0.5),
            p95: quantile(0.95),
            max: round(longest),
        })
    }
}

impl Tally {
    /// A tally without records.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            rows: 0,
            saved: 0,
            remade: 0,
            bytes: 0,
            received: 0,
            extension_mismatches: 0,
            smaller_than_box: 0,
            empty_columns: BTreeMap::new(),
            relabelled_duplicates: BTreeMap::new(),
            suspicious: SuspiciousUrls::default(),
            links: 0,
            link_bytes: 0,
            retries: 0,
            skipped: BTreeMap::new(),
            failed: BTreeMap::new(),
            refused: BTreeMap::new(),
            failures: FailureCounts::default(),
            first: None,
            first_byte: DurationHistogram::new(),
            whole: DurationHistogram::new(),
            queued_for_processor: Duration::ZERO,
            tracer: Tracer::new(),
            list: Xxh3::new(),
        }
    }

    /// Adds the URL of a row to the hash of the list, and looks whether it seems to be one. URLs must be added in list order.
    pub fn add_url(&mut self, url: &Url) {
        self.suspicious.add(url);
        self.list.update(url.as_str().as_bytes());
        self.list.update(b"\n");
    }

    /// Counts a saved image whose name has nothing of its own in place of this column.
    pub fn add_empty_column(&mut self, column: &str) {
        add_one(&mut self.empty_columns, column);
    }

    /// Counts a row without a file of its own, because an earlier row has its URL, that differs from that row in this column
    /// of the names.
    pub fn add_relabelled_duplicate(&mut self, column: &str) {
        add_one(&mut self.relabelled_duplicates, column);
    }

    /// Adds the time that a row took without an image.
    fn add_lost(&mut self, attempts: u32, timing: Option<Timing>) {
        self.retries += u64::from(attempts.saturating_sub(1));
        if let Some(timing) = timing {
            self.whole.sum += duration(timing.total_ms);
            self.queued_for_processor += duration(timing.processor_wait_ms.unwrap_or_default());
        }
    }

    /// Adds a record.
    pub fn add(&mut self, record: &Record) {
        self.rows += 1;
        if self.rows == 1 {
            self.first = Some(Box::new(record.clone()));
        }
        self.tracer.add(record);
        match &record.outcome {
            Outcome::Saved(saved) => {
                self.saved += 1;
                self.bytes += saved.bytes;
                let received = saved.original.as_ref().map_or(saved.bytes, |original| original.bytes);
                self.received += received.saturating_sub(saved.from_earlier_run);
                self.retries += u64::from(saved.attempts.saturating_sub(1));
                self.extension_mismatches += u64::from(saved.extension_mismatch);
                self.smaller_than_box += u64::from(saved.smaller_than_box);
                if saved.same_as.is_some() {
                    self.links += 1;
                    self.link_bytes += saved.bytes;
                }
                let Timing { ttfb_ms, total_ms, processor_wait_ms, .. } = saved.timing;
                if let Some(first_byte) = ttfb_ms {
                    self.first_byte.add(first_byte);
                }
                // An image that was made anew from its file was not downloaded.
                if saved.attempts > 0 {
                    self.whole.add(total_ms);
                } else {
                    self.remade += 1;
                }
                self.queued_for_processor += duration(processor_wait_ms.unwrap_or_default());
            }
            Outcome::Failed(failed) => {
                let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                *self.failed.entry(name).or_default() += 1;
                self.failures.add(record, failed);
                self.add_lost(failed.attempts, failed.timing);
            }
            Outcome::Refused(refused) => {
                *self.refused.entry(refused.error.clone()).or_default() += 1;
                self.add_lost(refused.attempts, refused.timing);
            }
            Outcome::Skipped(skipped) => *self.skipped.entry(skipped.reason.name()).or_default() += 1,
        }
    }

    /// The summary of the pass. `wall` is its duration, and `most_alive` the most downloads that were in flight at the same
    /// time.
    #[must_use]
    pub fn summary(&self, wall: Duration, most_alive: u64) -> Summary {
        let seconds = wall.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |count: u64| if seconds > 0.0 { (count as f64 / seconds * 1000.0).round() / 1000.0 } else { 0.0 };
        Summary {
            mode: self.mode,
            wall_seconds: round(seconds),
            rows: self.rows,
            saved: self.saved,
            failed: self.failed.values().sum(),
            refused: self.refused.values().sum(),
            skipped: self.skipped.values().sum(),
            refused_by_kind: self.refused.clone(),
            failed_by_kind: self.failed.clone(),
            skipped_by_reason: self.skipped.clone(),
            bytes: self.bytes,
            images_per_second: rate(self.saved - self.remade),
            bytes_per_second: rate(self.received),
            first_byte_seconds: self.first_byte.percentiles(),
            download_seconds: self.whole.percentiles(),
            sum_of_downloads_seconds: round(self.whole.sum.saturating_sub(self.queued_for_processor).as_secs_f64()),
            sum_of_first_bytes_seconds: round(self.first_byte.sum.as_secs_f64()),
            lookup_seconds: 0.0,
            most_alive,
            retries: self.retries,
            extension_mismatches: self.extension_mismatches,
            smaller_than_box: self.smaller_than_box,
            enlarges: false,
            empty_columns: self.empty_columns.clone(),
            relabelled_duplicates: self.relabelled_duplicates.clone(),
            suspicious_urls: self.suspicious.kinds(),
            links: self.links,
            link_bytes: self.link_bytes,
            changed: Changed::default(),
            overloaded_hosts: Vec::new(),
            shards: None,
            shard_totals: None,
            trace: self.tracer.trace(),
            failing_hosts: self.failures.hosts(),
            failed_retryable: self.failures.retryable,
            only_record: self.first.clone().filter(|_| self.rows == 1),
            list: self.list.digest(),
        }
    }
}
