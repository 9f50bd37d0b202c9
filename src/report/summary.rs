//! The numbers of a report: a summary of each pass, and the comparison of the two modes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::advice::{self, ConcurrencyLimits};
use super::changed::Changed;
use super::failing::FailingHosts;
use super::forecast::Forecast;
use super::suspicious::SuspiciousKind;
use super::trace::Trace;
use super::words::counted;
use crate::record::{Existing, Mode, Record, ShardTotals};
use crate::util::human::Count;

/// Percentiles of durations, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of the durations are not longer.
    pub median: f64,
    /// 95 % of the durations are not longer.
    pub p95: f64,
    /// The longest duration.
    pub max: f64,
}

/// The numbers of one pass over the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The mode of the pass.
    pub mode: Mode,
    /// Duration of the pass, in seconds.
    pub wall_seconds: f64,
    /// Rows of the list that have a record: the sum of `saved`, `failed`, `refused` and `skipped`.
    pub rows: u64,
    /// Rows whose image was saved.
    pub saved: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose image the user's own filters exclude.
    pub refused: u64,
    /// Rows that were skipped.
    pub skipped: u64,
    /// Failed rows by kind; `http_status` has its code.
    pub failed_by_kind: BTreeMap<String, u64>,
    /// Refused rows by kind.
    pub refused_by_kind: BTreeMap<String, u64>,
    /// Skipped rows by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Bytes of the saved files.
    pub bytes: u64,
    /// Images that were downloaded and saved, per second of the pass.
    pub images_per_second: f64,
    /// Bytes of saved images that came over the network in this run, per second of the pass.
    pub bytes_per_second: f64,
    /// From the first request of a row to the header of its response, over the saved rows.
    pub first_byte_seconds: Option<Percentiles>,
    /// From the first request of a row to its file, over the saved rows.
    pub download_seconds: Option<Percentiles>,
    /// The sum of the durations of all downloads, of saved and of failed rows, without the time for which images waited for
    /// a processor.
    pub sum_of_downloads_seconds: f64,
    /// The sum of the times to first byte, of saved rows.
    pub sum_of_first_bytes_seconds: f64,
    /// The sum of the times that connections waited for the look-up of a host name.
    pub lookup_seconds: f64,
    /// The most downloads that were in flight at the same time.
    pub most_alive: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// Files whose extension belongs to another format than their bytes.
    pub extension_mismatches: u64,
    /// Images that are smaller than `--resize` asks for: left so, padded or enlarged.
    pub smaller_than_box: u64,
    /// Whether they were enlarged.
    #[serde(skip)]
    pub enlarges: bool,
    /// Saved images whose name has nothing of its own in place of a column (`{col.NAME}`), by column.
    pub empty_columns: BTreeMap<String, u64>,
    /// Rows with the URL of an earlier row and another value in a column of the names, which have no file of their own, by
    /// the first such column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub relabelled_duplicates: BTreeMap<String, u64>,
    /// Rows whose URL seems to be something else, by what it seems to be, with an example of each.
    pub suspicious_urls: Vec<SuspiciousKind>,
    /// Saved images that are hard links to files with the same bytes.
    pub links: u64,
    /// Bytes of disk space that these links save.
    pub link_bytes: u64,
    /// How the images of earlier runs differ from what this run would make, and what was done about it.
    #[serde(skip_serializing_if = "Changed::is_empty")]
    pub changed: Changed,
    /// Hosts that throttled (429, 503), refused or broke connections, or timed out; the worst first, at most ten.
    pub overloaded_hosts: Vec<OverloadedHost>,
    /// Shards that were completed, if images go into shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
    /// What there is of shards, if images go into shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_totals: Option<ShardTotals>,
    /// The hosts at which the most rows failed.
    pub failing_hosts: FailingHosts,
    /// Failed rows for which another run may succeed.
    pub failed_retryable: u64,
    /// The distribution over time and hosts, failures, and single downloads.
    #[serde(flatten)]
    pub trace: Trace,
    /// The hash of the URLs of the list in their order, which identifies the list.
    #[serde(skip)]
    pub list: u64,
    /// The record of the only row, if there was one row.
    #[serde(skip)]
    pub only_record: Option<Box<Record>>,
}

/// A host that was overloaded, or unreachable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OverloadedHost {
    /// The name, and the port if it is not the default one.
    pub host: String,
    /// How many attempts failed for that reason.
    pub times: u64,
    /// How many of them were answered with 429 or 503.
    pub throttled: u64,
}

/// The most hosts in a list of a report.
pub const MAX_HOSTS_LISTED: usize = 10;

/// The wall times of the two modes. If only one of them ran, the other is from an earlier run or estimated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Wall time of the sequential mode, in seconds.
    pub sequential_seconds: f64,
    /// Wall time of the concurrent mode, in seconds.
    pub concurrent_seconds: f64,
    /// The sequential time divided by the concurrent time.
    pub speed_up: f64,
    /// Where the time of the mode that did not run comes from.
    pub basis: Basis,
}

/// What a comparison is based on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Basis {
    /// Both modes ran in this run.
    Measured,
    /// The other mode fetched the same list into the same folder in an earlier run.
    MeasuredBefore {
        /// The date of that run, as an HTTP date (RFC 9110, section 5.6.7).
        date: String,
    },
    /// The time of the other mode is estimated from the downloads of this one.
    Estimated {
        /// The mode whose time is estimated.
        mode: Mode,
    },
}

/// The value of [`Report::ended`] for a run that reached the end of its list.
pub const COMPLETED: &str = "completed";

/// The value of [`Report::ended`] for a run that was asked to end.
pub const INTERRUPTED: &str = "interrupted";

/// Why a run ended, for the words at the end of its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Its rows have ended.
    #[default]
    Completed,
    /// It was asked to end.
    Interrupted,
    /// A list cannot be read, or is none. The command says so, and the same command would meet the same fault.
    ListFault,
    /// It could not go on for another reason, of which the command tells.
    Aborted,
}

/// What the end of a report says besides numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Closing {
    /// Why the run ended.
    pub ending: Ending,
    /// The command line, if it can be shown.
    pub command: Option<String>,
    /// The file with the records.
    pub records: String,
    /// The command that lists the rows that failed.
    pub listing: String,
    /// The command that tries rows again that failed, if images go into shards: the same command leaves complete shards alone.
    pub retry: Option<String>,
    /// What a later run with the same command does with images that are there.
    pub existing: Existing,
    /// What became of the images, if the run was one of a sample.
    pub sample: Option<SampleImages>,
    /// The only input was a URL.
    pub is_single_url: bool,
    /// The rows were those that had failed before (`--retry-failed`).
    pub is_retry: bool,
}

/// What becomes of the images of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleImages {
    /// They are those of a later run, too.
    Kept,
    /// They were looked at and dropped, because they would have gone into shards.
    Dropped,
}

/// The whole report of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of fetchimg.
    pub version: &'static str,
    /// The output folder, as the user named it.
    pub output: String,
    /// When the run ended, as an HTTP date.
    pub date: String,
    /// `completed`, `interrupted`, or the error that ended the run.
    pub ended: String,
    /// The number of rows that a run left that ended early, if the length of the list is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_left: Option<u64>,
    /// The summaries of all passes over the list, in their order.
    pub modes: Vec<Summary>,
    /// The comparison of the two modes, if it is possible.
    pub comparison: Option<Comparison>,
    /// What is told of images that were made with other wishes, and advice that follows from the numbers, in up to three
    /// sentences each.
    pub advice: Vec<String>,
    /// The forecast for the whole list, if the run fetched a sample of it (`--sample`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Forecast>,
    /// What `--ok-if-failed-below` makes of the rows that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok_if_failed_below: Option<Tolerance>,
    /// What its end says.
    #[serde(skip)]
    pub closing: Closing,
}

/// What `--ok-if-failed-below` makes of the rows that failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tolerance {
    /// The share of rows, from 0 to 1, of which fewer may fail.
    pub share: f64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that have a record.
    pub rows: u64,
    /// Whether fewer rows failed, so that the run is a success.
    pub is_ok: bool,
}

impl Tolerance {
    /// Compares the share of the failed rows with the one that is allowed.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of rows are below 2^53")]
    pub fn new(share: f64, failed: u64, rows: u64) -> Self {
        Self { share, failed, rows, is_ok: rows > 0 && (failed as f64 / rows as f64) < share }
    }

    /// What the report says of it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { share, failed, rows, is_ok } = self;
        let (verdict, status) = if *is_ok { ("fewer than", 0) } else { ("not fewer than", 1) };
        format!(
            "{} of {} failed, {verdict} the share of {share} by --ok-if-failed-below: status {status}",
            Count(*failed),
            counted(*rows, "row")
        )
    }
}

impl Report {
    /// The report of these passes. `earlier` is the time in seconds that the other mode took for the same list in the same
    /// folder, and the date of that run.
    #[must_use]
    pub fn new(
        output: String,
        ended: String,
        modes: Vec<Summary>,
        limits: ConcurrencyLimits,
        earlier: Option<(f64, SystemTime)>,
    ) -> Self {
        // A run that ended early does not show how long the list takes.
        let comparison = if ended == COMPLETED { compare(&modes, limits.at_once, earlier) } else { None };
        let advice = modes.last().map_or_else(Vec::new, |summary| {
            let mut sentences = summary.changed.sentences();
            sentences.append(&mut advice::advice(summary, limits));
            sentences
        });
        let ending = match &*ended {
            COMPLETED => Ending::Completed,
            INTERRUPTED => Ending::Interrupted,
            _ => Ending::Aborted,
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            output,
            date: httpdate::fmt_http_date(SystemTime::now()),
            ended,
            modes,
            comparison,
            advice,
            forecast: None,
            rows_left: None,
            ok_if_failed_below: None,
            closing: Closing { ending, ..Closing::default() },
        }
    }

    /// Adds what the end of the report says, and the number of rows that are left.
    #[must_use]
    pub fn closing(self, closing: Closing, rows_left: Option<u64>) -> Self {
        Self { rows_left, closing, ..self }
    }

    /// Adds what `--ok-if-failed-below` makes of the rows that failed.
    #[must_use]
    pub fn tolerating(self, ok_if_failed_below: Option<Tolerance>) -> Self {
        Self { ok_if_failed_below, ..self }
    }

    /// Makes this the report of a sample. The modes are not compared, because their times for a sample say little about the
    /// whole list.
    #[must_use]
    pub fn of_sample(self, forecast: Option<Forecast>) -> Self {
        Self { comparison: None, forecast, ..self }
    }
}

fn compare(modes: &[Summary], at_once: usize, earlier: Option<(f64, SystemTime)>) -> Option<Comparison> {
    let (sequential_seconds, concurrent_seconds, basis) = match modes {
        [first, second] => (first.wall_seconds, second.wall_seconds, Basis::Measured),
        // What is made anew from stored files takes time that is no time of downloads.
        [only] if only.saved > 0 && only.changed.remade_from_files == 0 => {
            let (other, basis) = match earlier {
                Some((seconds, date)) => (seconds, Basis::MeasuredBefore { date: httpdate::fmt_http_date(date) }),
                None => (estimate(only, at_once), Basis::Estimated { mode: only.mode.other() }),
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

/// The estimated wall time of the mode that did not run, in seconds.
///
/// The sequential time is estimated as the sum of all downloads. That is an upper bound, because downloads that share the
/// bandwidth take longer. The concurrent time is estimated as the longest download, or the sum of all downloads divided by
/// the number that may run at the same time, whichever is longer. That is a lower bound. So the speed-up is an upper bound.
fn estimate(ran: &Summary, at_once: usize) -> f64 {
    let sum = ran.sum_of_downloads_seconds;
    match ran.mode {
        // Not shorter than this run: reading the list may have taken longer than the downloads.
        Mode::Concurrent => sum.max(ran.wall_seconds),
        Mode::Sequential => {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let shared = sum / at_once.max(1) as f64;
            ran.download_seconds.map_or(0.0, |times| times.max).max(shared)
        }
    }
}

/// Seconds with six decimals, so that a report does not show more digits than a clock has.
pub(super) fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
