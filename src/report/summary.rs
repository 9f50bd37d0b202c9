//! What is said about a run: a summary of each pass, how the two modes compare, and the report that holds both.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::advice::{self, Allowed};
use super::forecast::Forecast;
use super::trace::Trace;
use crate::record::Mode;

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

/// Seconds with six decimals, so that a report does not show what a clock cannot tell.
pub(super) fn round(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}
