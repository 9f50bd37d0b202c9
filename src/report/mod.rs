//! Records to words.
//!
//! A [`Tally`] folds the records of one pass over the list as they come; a [`Summary`] holds what is said about it, every
//! number computed once. [`text`], [`json`], [`html`] and [`markdown`] only arrange it, so they cannot disagree.

pub mod advice;
pub mod forecast;
pub mod history;
#[cfg(feature = "cli")]
pub mod html;
pub mod json;
#[cfg(feature = "cli")]
pub mod markdown;
pub mod plan;
mod statistics;
#[cfg(feature = "cli")]
pub mod text;
pub mod timeline;
pub mod trace;
mod words;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;
use url::Url;
use xxhash_rust::xxh3::Xxh3;

use self::advice::Allowed;
pub use self::forecast::{Forecast, Observed};
pub use self::plan::{HostRows, NAMES_TOLD, Plan, RowCounts};
use self::trace::{Trace, Tracer};
use crate::record::{ErrorKind, Mode, Outcome, Record, Timing};

/// Folds the records of a pass.
pub struct Tally {
    mode: Mode,
    rows: u64,
    saved: u64,
    bytes: u64,
    /// Of those, what came over the network in this run.
    received: u64,
    extension_mismatches: u64,
    links: u64,
    link_bytes: u64,
    retries: u64,
    skipped: BTreeMap<&'static str, u64>,
    failed: BTreeMap<String, u64>,
    first_byte: Spread,
    whole: Spread,
    tracer: Tracer,
    list: Xxh3,
}

/// Durations in microseconds, kept with three significant digits in constant memory.
struct Spread {
    histogram: Histogram<u32>,
    sum: Duration,
    longest: Duration,
}

impl Spread {
    fn new() -> Self {
        // Two days, which no attempt exceeds; constant arguments that are valid.
        let histogram =
            Histogram::new_with_bounds(1, 200_000_000_000, 3).unwrap_or_else(|_| unreachable!("valid bounds"));
        Self { histogram, sum: Duration::ZERO, longest: Duration::ZERO }
    }

    fn add(&mut self, milliseconds: f64) {
        let duration = Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default();
        self.histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        self.sum += duration;
        self.longest = self.longest.max(duration);
    }

    fn times(&self) -> Option<Times> {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of two days fit into 53 bits")]
        let at = |quantile| self.histogram.value_at_quantile(quantile) as f64 / 1e6;
        let longest = self.longest.as_secs_f64();
        // The histogram rounds up within a bucket; no quantile is above the longest.
        let quantile = |quantile: f64| round(at(quantile).min(longest));
        (!self.histogram.is_empty()).then(|| Times { median: quantile(0.5), p95: quantile(0.95), max: round(longest) })
    }
}

/// Seconds with six decimals, so that a report does not show what a clock cannot tell.
fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

/// How long something took, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Times {
    /// Half of them took no longer.
    pub median: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

/// What one pass over the list came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How the list was gone through.
    pub mode: Mode,
    /// From the start of the pass to its end.
    pub wall_seconds: f64,
    /// Rows of the list that were reached; `saved`, `failed` and `skipped` add up to it.
    pub rows: u64,
    /// Rows that ended as files.
    pub saved: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that needed no request.
    pub skipped: u64,
    /// Failures by kind, `http_status` with its code.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Skipped rows by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Bytes of the files that were saved.
    pub bytes: u64,
    /// Saved files per second of wall time.
    pub images_per_second: f64,
    /// Bytes of saved files per second of wall time.
    pub bytes_per_second: f64,
    /// From a row's first request to the head of its answer, over saved rows.
    pub first_byte_seconds: Option<Times>,
    /// From a row's first request to its file, over saved rows.
    pub download_seconds: Option<Times>,
    /// The single downloads of saved and failed rows, added up.
    pub sum_of_downloads_seconds: f64,
    /// Their times to first byte, added up, those of saved rows.
    pub sum_of_first_bytes_seconds: f64,
    /// What connections waited for the look-up of host names, added up.
    pub lookup_seconds: f64,
    /// The most downloads alive at once.
    pub most_alive: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Files whose extension names another format than their bytes are.
    pub extension_mismatches: u64,
    /// Saved images that are hard links to files with the same bytes.
    pub links: u64,
    /// The bytes that they would have taken.
    pub link_bytes: u64,
    /// Hosts that asked for less (429, 503), refused, broke or went silent, the worst first, ten at most.
    pub overloaded_hosts: Vec<OverloadedHost>,
    /// What the records tell beyond sums.
    #[serde(flatten)]
    pub trace: Trace,
    /// What identifies the list: its URLs in their order.
    #[serde(skip)]
    pub list: u64,
}

/// A host that was too much for, or that was not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverloadedHost {
    /// The name, and the port if it is not the usual one.
    pub host: String,
    /// How many attempts met that.
    pub times: u64,
    /// How many of them were answered with 429 or 503.
    pub throttled: u64,
}

/// So many overloaded hosts are named.
pub const HOSTS_NAMED: usize = 10;

impl Tally {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            rows: 0,
            saved: 0,
            bytes: 0,
            received: 0,
            extension_mismatches: 0,
            links: 0,
            link_bytes: 0,
            retries: 0,
            skipped: BTreeMap::new(),
            failed: BTreeMap::new(),
            first_byte: Spread::new(),
            whole: Spread::new(),
            tracer: Tracer::new(),
            list: Xxh3::new(),
        }
    }

    /// Hears the URL of a row, in list order.
    pub fn name_url(&mut self, url: &Url) {
        self.list.update(url.as_str().as_bytes());
        self.list.update(b"\n");
    }

    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        self.rows += 1;
        self.tracer.add(record);
        match &record.outcome {
            Outcome::Saved(saved) => {
                self.saved += 1;
                self.bytes += saved.bytes;
                let came = saved.original.as_ref().map_or(saved.bytes, |original| original.bytes);
                self.received += came.saturating_sub(saved.from_earlier_run);
                self.retries += u64::from(saved.attempts.saturating_sub(1));
                self.extension_mismatches += u64::from(saved.extension_mismatch);
                if saved.same_as.is_some() {
                    self.links += 1;
                    self.link_bytes += saved.bytes;
                }
                let Timing { ttfb_ms, total_ms, .. } = saved.timing;
                if let Some(first_byte) = ttfb_ms {
                    self.first_byte.add(first_byte);
                }
                self.whole.add(total_ms);
            }
            Outcome::Failed(failed) => {
                let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                *self.failed.entry(name).or_default() += 1;
                self.retries += u64::from(failed.attempts.saturating_sub(1));
                if let Some(timing) = failed.timing {
                    self.whole.sum += Duration::try_from_secs_f64(timing.total_ms / 1000.0).unwrap_or_default();
                }
            }
            Outcome::Skipped(skipped) => *self.skipped.entry(skipped.reason.name()).or_default() += 1,
        }
    }

    /// Everything that is said about the pass.
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
            skipped: self.skipped.values().sum(),
            failed_by_kind: self.failed.clone(),
            skipped_by_reason: self.skipped.clone(),
            bytes: self.bytes,
            images_per_second: rate(self.saved),
            bytes_per_second: rate(self.received),
            first_byte_seconds: self.first_byte.times(),
            download_seconds: self.whole.times(),
            sum_of_downloads_seconds: round(self.whole.sum.as_secs_f64()),
            sum_of_first_bytes_seconds: round(self.first_byte.sum.as_secs_f64()),
            lookup_seconds: 0.0,
            most_alive,
            retries: self.retries,
            extension_mismatches: self.extension_mismatches,
            links: self.links,
            link_bytes: self.link_bytes,
            overloaded_hosts: Vec::new(),
            trace: self.tracer.trace(),
            list: self.list.digest(),
        }
    }
}

/// The two modes side by side, or as near as one run gets to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Wall time one after the other, in seconds.
    pub sequential_seconds: f64,
    /// Wall time all at once, in seconds.
    pub concurrent_seconds: f64,
    /// The first divided by the second.
    pub speed_up: f64,
    /// Where the number for the mode that did not run in this pass is from.
    pub basis: Basis,
}

/// How much a comparison is worth.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// Both modes ran now.
    Measured,
    /// The other mode fetched the same list into the same folder before.
    MeasuredBefore {
        /// When, as an HTTP date (RFC 9110, section 5.6.7).
        date: String,
    },
    /// The other mode never ran; its time was worked out from this one's.
    Estimated {
        /// Which mode.
        mode: Mode,
    },
}

/// What [`Report::ended`] says of a run that went through its list.
pub const COMPLETED: &str = "completed";

/// The whole report of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of fetchimg.
    pub version: &'static str,
    /// The output folder as it was given.
    pub output: String,
    /// When the run ended, as an HTTP date.
    pub date: String,
    /// `completed`, `interrupted`, or why the run could not go on.
    pub ended: String,
    /// The passes over the list, in the order they were made.
    pub modes: Vec<Summary>,
    /// What concurrency brought, where it can be told.
    pub comparison: Option<Comparison>,
    /// What to do about it, in up to three sentences.
    pub advice: Vec<String>,
    /// What the whole list is likely to come to, if this was a sample of it (`--sample`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
}

impl Report {
    /// The report of these passes. `before`: the time that the other mode took for the same list in the same folder, and
    /// when.
    #[must_use]
    pub fn new(
        output: String,
        ended: String,
        modes: Vec<Summary>,
        allowed: Allowed,
        before: Option<(f64, SystemTime)>,
    ) -> Self {
        // What ended early says nothing about how long the list takes.
        let comparison = if ended == COMPLETED { compare(&modes, allowed.at_once, before) } else { None };
        let advice = modes.last().map_or_else(Vec::new, |summary| advice::advice(summary, allowed));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            output,
            date: httpdate::fmt_http_date(SystemTime::now()),
            ended,
            modes,
            comparison,
            advice,
            forecast: None,
        }
    }

    /// The report of a sample. How long the modes take for it says little about the list, so they are not compared.
    #[must_use]
    pub fn of_sample(self, forecast: Option<Forecast>) -> Self {
        Self { comparison: None, forecast, ..self }
    }
}

fn compare(modes: &[Summary], window: usize, before: Option<(f64, SystemTime)>) -> Option<Comparison> {
    let (sequential_seconds, concurrent_seconds, basis) = match modes {
        [first, second] => (first.wall_seconds, second.wall_seconds, Basis::Measured),
        [only] if only.saved > 0 => {
            let (other, basis) = match before {
                Some((seconds, date)) => (seconds, Basis::MeasuredBefore { date: httpdate::fmt_http_date(date) }),
                None => (estimate(only, window), Basis::Estimated { mode: only.mode.other() }),
            };
            match only.mode {
                Mode::Sequential => (only.wall_seconds, other, basis),
                Mode::Concurrent => (other, only.wall_seconds, basis),
            }
        }
        _ => return None,
    };
    let speed_up = if concurrent_seconds > 0.0 { sequential_seconds / concurrent_seconds } else { 0.0 };
    Some(Comparison {
        sequential_seconds,
        concurrent_seconds: round(concurrent_seconds),
        speed_up: (speed_up * 100.0).round() / 100.0,
        basis,
    })
}

/// The wall time of the mode that did not run: for one after the other a bound from above, since downloads that share a
/// line take longer each; for all at once a bound from below. The speed-up is at most what comes of them. One after the other: the single downloads added up. All at once: no
/// shorter than the longest, nor than their sum shared out over as many as may run.
fn estimate(ran: &Summary, window: usize) -> f64 {
    let sum = ran.sum_of_downloads_seconds;
    match ran.mode {
        // Not shorter than this run either: then it was the list that took its time.
        Mode::Concurrent => sum.max(ran.wall_seconds),
        Mode::Sequential => {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let shared = sum / window.max(1) as f64;
            ran.download_seconds.map_or(0.0, |times| times.max).max(shared)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Digests, Extra, Failed, FetchError, Measures, Reason, Saved, Skipped};

    fn record(outcome: Outcome) -> Record {
        Record { index: 0, url: "http://a.example/1.png".into(), url_hash: None, outcome, extra: Extra::default() }
    }

    fn saved(ttfb_ms: f64, total_ms: f64) -> Record {
        record(Outcome::Saved(Saved {
            path: "1.png".into(),
            bytes: 1000,
            format: None,
            measures: Measures::default(),
            content_type: None,
            http_status: 200,
            final_url: String::new(),
            attempts: 2,
            resumed_from: 0,
            timing: Timing { ttfb_ms: Some(ttfb_ms), total_ms, ..Timing::default() },
            exif: serde_json::Map::new(),
            digests: Digests::default(),
            phash: None,
            original: None,
            same_as: None,
            extension_mismatch: true,
            from_earlier_run: 0,
        }))
    }

    fn pass(mode: Mode) -> Tally {
        let mut pass = Tally::new(mode);
        for n in 1..=100 {
            pass.add(&saved(f64::from(n), f64::from(n) * 10.0));
        }
        let error = FetchError::new(ErrorKind::HttpStatus(404), "404 Not Found");
        let timing = Timing { total_ms: 500.0, ..Timing::default() };
        pass.add(&record(Outcome::Failed(Failed::new(&error, 1, Some(timing)))));
        pass.add(&record(Outcome::Skipped(Skipped { reason: Reason::DuplicateUrl, path: None, bytes: None })));
        pass
    }

    #[test]
    fn the_numbers_are_those_of_the_records() {
        let summary = pass(Mode::Concurrent).summary(Duration::from_secs(10), 7);
        assert_eq!((summary.rows, summary.saved, summary.failed, summary.skipped), (102, 100, 1, 1));
        assert_eq!(summary.bytes, 100_000);
        assert!((summary.images_per_second - 10.0).abs() < 1e-9);
        assert_eq!(summary.failed_by_kind, BTreeMap::from([("http_status 404".to_owned(), 1)]));
        let times = summary.download_seconds.expect("times");
        assert!((times.median - 0.5).abs() < 0.001 && (times.p95 - 0.95).abs() < 0.001, "{times:?}");
        assert!((times.max - 1.0).abs() < 1e-9);
        assert!((summary.sum_of_downloads_seconds - 51.0).abs() < 1e-6, "5,050 x 10 ms and 500 ms");
        assert_eq!((summary.retries, summary.extension_mismatches, summary.most_alive), (100, 100, 7));
    }

    #[test]
    fn an_estimate_is_called_one_and_a_measurement_one() {
        let concurrent = pass(Mode::Concurrent).summary(Duration::from_secs(5), 7);
        let sequential = pass(Mode::Sequential).summary(Duration::from_secs(50), 1);
        let report = |modes: &[&Summary], before| {
            let modes = modes.iter().map(|summary| (*summary).clone()).collect();
            let allowed = Allowed { at_once: 10, per_host: None, most_per_host: 64 };
            Report::new("images".into(), COMPLETED.into(), modes, allowed, before).comparison.expect("a comparison")
        };
        let both = report(&[&sequential, &concurrent], None);
        assert_eq!((both.speed_up, both.basis), (10.0, Basis::Measured));
        let one = report(&[&concurrent], None);
        assert_eq!((one.sequential_seconds, one.basis), (51.0, Basis::Estimated { mode: Mode::Sequential }));
        let other = report(&[&sequential], None);
        assert!((other.concurrent_seconds - 5.1).abs() < 1e-9, "{other:?}");
        let before = report(&[&concurrent], Some((40.0, SystemTime::UNIX_EPOCH)));
        assert!((before.speed_up - 8.0).abs() < 1e-9);
        assert_eq!(before.basis, Basis::MeasuredBefore { date: "Thu, 01 Jan 1970 00:00:00 GMT".into() });
    }
}
