//! The forecast for the whole list from a random sample of its rows (`--sample`).
//!
//! What needs no request, such as the number of duplicates, is counted for the whole list. The sample is drawn from the rows
//! that would be fetched, and its shares and means are estimates for all of these rows (`statistics` has the confidence
//! intervals). The time is estimated from the pace at which the downloads of the sample ended.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::plan::RowCounts;
use super::statistics::{self, Interval, number};
use super::words::{counted, listed};
use crate::util::human::{Count, Size};

/// The result of one row of the sample.
#[derive(Clone, Copy, Debug)]
pub struct SampledRow {
    /// Whether the row failed.
    pub failed: bool,
    /// Whether its image was refused.
    pub refused: bool,
    /// The size of its file in bytes; 0 if there is none.
    pub bytes: u64,
    /// The time from the start of the pass to the record of the row.
    pub ended: Duration,
}

/// An estimate with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The expected value.
    pub expected: f64,
    /// The lower bound; absent if the sample is too small.
    pub low: Option<f64>,
    /// The upper bound; absent if the sample is too small.
    pub high: Option<f64>,
}

impl Estimate {
    fn new(expected: f64, interval: Option<Interval>) -> Self {
        let (low, high) = interval.map(|Interval { low, high }| (low, high)).unzip();
        Self { expected, low, high }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self { expected: change(self.expected), low: self.low.map(&change), high: self.high.map(&change) }
    }
}

/// The part of the sample from which the time was estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaceBasis {
    /// The steady part: all but the opening of connections and the wait for the last rows, which are counted once and not for
    /// each row. The bounds are the 95 % interval of the pace or that of the bytes, whichever is wider.
    Steady,
    /// The whole sample, because it was too short for a steady part. `expected` is from the whole sample, in which connections
    /// had to be opened first, and `low` from its second half.
    Whole,
}

/// The forecast for the whole list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Rows of the list.
    pub rows: u64,
    /// Rows that would be fetched. The sample was drawn from these.
    pub to_fetch: u64,
    /// Rows of the sample.
    pub sampled: u64,
    /// Rows that are left to fetch after the sample.
    pub remaining: u64,
    /// The seed of the random choice (`--sample-seed`).
    pub seed: u64,
    /// Rows that need no request, by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that fail without a request.
    pub bad: u64,
    /// Rows that are refused without a request, because an earlier run has seen their images.
    pub refused: u64,
    /// The confidence level of the intervals, from 0 to 1.
    pub confidence: f64,
    /// The share of the rows to fetch that fail (Wilson's interval with finite population correction).
    pub failed_share: Option<Estimate>,
    /// Rows of the list that fail, including those that fail without a request.
    pub failed_rows: Option<Estimate>,
    /// The share of the rows to fetch whose images the filters exclude, with the same interval.
    pub refused_share: Option<Estimate>,
    /// Rows of the list whose images the filters exclude, including those that are refused without a request.
    pub refused_rows: Option<Estimate>,
    /// Bytes of all files to fetch, including those of the sample (t interval with Hall's correction for skewness). Absent if
    /// nothing was saved.
    pub bytes: Option<Estimate>,
    /// The share of the largest file in the bytes of the sample.
    pub largest_share: Option<f64>,
    /// The time in seconds for the rows that are left, on the same machine and network and from the same hosts.
    pub seconds: Option<Estimate>,
    /// The part of the sample from which the time was estimated.
    pub pace: Option<PaceBasis>,
}

/// The shortest steady part. In less time, the pace depends mostly on chance.
const MIN_STEADY_SECONDS: f64 = 2.0;

/// The steady part is divided into this number of batches, and the variance of their paces gives the interval of the mean
/// pace.
const BATCHES: usize = 10;

/// The smallest number of rows in a batch.
const MIN_ROWS_PER_BATCH: usize = 5;

/// If one file has more than this share of the sample's bytes, a remark says that rare large files matter.
const LARGE_FILE_SHARE: f64 = 0.1;

impl Forecast {
    /// The forecast from the rows of a sample. `wall` is the duration of the pass over the sample, and `most_alive` the most
    /// downloads that were in flight at the same time.
    #[must_use]
    pub fn new(counts: &RowCounts, sample: &[SampledRow], wall: Duration, most_alive: u64, seed: u64) -> Self {
        let sampled = sample.len() as u64;
        let remaining = counts.to_fetch.saturating_sub(sampled);
        let (n, all, bad) = (number(sample.len()), real(counts.to_fetch), real(counts.bad()));
        let share_of = |is: fn(&SampledRow) -> bool| {
            let found = number(sample.iter().filter(|row| is(row)).count());
            (sampled > 0).then(|| Estimate::new(found / n, Some(statistics::share(found, n, all))))
        };
        let (share, refused) = (share_of(|row| row.failed), share_of(|row| row.refused));
        let rows_of = |share: Estimate, known: f64| share.map(|share| (share * all + known).round());
        let sizes = sample.iter().map(|row| real(row.bytes)).collect::<Vec<_>>();
        let sum = sizes.iter().sum::<f64>();
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        // If nothing was saved, no size is known.
        let bytes = (sum > 0.0).then(|| {
            let (mean, interval) = statistics::mean(&sizes, all);
            // The bytes of the sample are certain.
            Estimate::new(mean, interval).map(|mean| (mean * all).max(sum).round())
        });
        let time = if remaining == 0 {
            Some(none_left())
        } else {
            // The bounds of the bytes that are left, relative to their expected value.
            let relative_bytes =
                bytes.filter(|bytes| bytes.expected > sum).and_then(|Estimate { expected, low, high }| {
                    let relative = |bytes: f64| (bytes - sum) / (expected - sum);
                    Some(Interval { low: relative(low?), high: relative(high?) })
                });
            time(sample, wall, most_alive, remaining, relative_bytes)
        };
        Self {
            rows: counts.rows,
            to_fetch: counts.to_fetch,
            sampled,
            remaining,
            seed,
            skipped_by_reason: counts.skipped_by_reason.clone(),
            bad: counts.bad(),
            refused: counts.refused(),
            confidence: 0.95,
            failed_share: share.map(|share| share.map(|share| round(share, 1e6))),
            failed_rows: share.map(|share| rows_of(share, bad)),
            refused_share: refused.map(|share| share.map(|share| round(share, 1e6))),
            refused_rows: refused.map(|share| rows_of(share, real(counts.refused()))),
            bytes,
            largest_share: (sum > 0.0).then(|| round(largest / sum, 1e4)),
            seconds: time.map(|(seconds, _)| seconds.map(|seconds| round(seconds, 1e3))),
            pace: time.and_then(|(_, pace)| pace),
        }
    }

    /// Writes the forecast as text, within 80 columns.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows == 0 {
            return writeln!(out, "The list is empty: there is nothing to forecast.");
        }
        let is_whole = self.remaining == 0;
        let from = match (self.to_fetch, is_whole) {
            (0, _) => "nothing is left to fetch".to_owned(),
            (_, true) => "the sample was all there was to fetch".to_owned(),
            _ => format!("from {} of {} drawn at random", Count(self.sampled), counted(self.to_fetch, "row")),
        };
        writeln!(out, "Forecast for the list: {from}")?;
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<18}{value}");
        line("rows", format!("{}, of which {} to fetch", Count(self.rows), Count(self.to_fetch)))?;
        if !self.skipped_by_reason.is_empty() {
            line("skipped", listed(&self.skipped_by_reason))?;
        }
        if self.bad > 0 {
            line("bad", format!("{} without a request", counted(self.bad, "failure")))?;
        }
        for (name, share, rows) in self.shares() {
            let percent = |share: f64| format!("{:.1}", share * 100.0);
            line(name, format!("{} % of what is to fetch{}", percent(share.expected), range(share, percent, " %")))?;
            let count = |rows: f64| Count(whole(rows)).to_string();
            line("", format!("{} of the list{}", counted(whole(rows.expected), "row"), range(rows, count, "")))?;
        }
        match self.bytes {
            Some(bytes) => {
                let size = |bytes: f64| Size::from(whole(bytes)).to_string();
                line("bytes", format!("{}{}", size(bytes.expected), range(bytes, size, "")))?;
            }
            None if self.sampled > 0 => line("bytes", "not known: no image was saved".to_owned())?,
            None => {}
        }
        if let Some(seconds) = self.seconds.filter(|_| !is_whole) {
            line("time", format!("{}{}", duration(seconds.expected), range(seconds, duration, "")))?;
            line("", format!("for the {} left", counted(self.remaining, "row")))?;
        }
        for remark in self.remarks() {
            writeln!(out, "{remark}")?;
        }
        Ok(())
    }

    /// The rows without an image, by name. Refusals are told only where there are any.
    fn shares(&self) -> impl Iterator<Item = (&'static str, Estimate, Estimate)> {
        let refused = self.refused_share.zip(self.refused_rows).filter(|(_, rows)| rows.expected > 0.0);
        let failed = self.failed_share.zip(self.failed_rows);
        let named = [("refused", refused), ("failures", failed)].into_iter();
        named.filter_map(|(name, estimates)| estimates.map(|(share, rows)| (name, share, rows)))
    }

    /// Remarks on the accuracy of the numbers, in lines of at most 80 characters.
    fn remarks(&self) -> Vec<String> {
        if self.remaining == 0 {
            return Vec::new();
        }
        let mut remarks = vec![
            "Ranges are 95 % intervals: they allow for chance, not for what may change.".to_owned(),
            "The time takes this machine and line, the same hosts and the same options.".to_owned(),
        ];
        match (self.pace, self.seconds) {
            (Some(PaceBasis::Whole), Some(Estimate { low: Some(_), .. })) => remarks.extend([
                "The sample was too short for a steady pace: connections had to be opened first.".to_owned(),
                "So its time is rather too long, and its lower bound is by the second half.".to_owned(),
            ]),
            (Some(PaceBasis::Whole), _) => {
                remarks
                    .push("The sample was too short to tell a pace: the time is hardly longer than that.".to_owned());
            }
            _ => {}
        }
        if self.bytes.is_some_and(|bytes| bytes.high.is_none()) {
            remarks.push(format!("Fewer than {} rows say little about bytes.", statistics::MIN_VALUES));
        }
        if let Some(share) = self.largest_share.filter(|share| *share > LARGE_FILE_SHARE && self.sampled > 20) {
            remarks.push(format!(
                "One file has {:.0} % of the sample's bytes: rare large files may add to",
                share * 100.0
            ));
            remarks.push("the bytes and to the time, beyond what is said here.".to_owned());
        }
        remarks.push(format!("--sample-seed {} draws the same rows from the same list.", self.seed));
        remarks
    }
}

/// The time for the rows that are left. `relative_bytes` are the bounds of their bytes relative to the expected value: if the
/// bandwidth limits the downloads, the time varies in proportion.
fn time(
    sample: &[SampledRow],
    wall: Duration,
    most_alive: u64,
    remaining: u64,
    relative_bytes: Option<Interval>,
) -> Option<(Estimate, Option<PaceBasis>)> {
    let mut rows = sample.iter().map(|row| (row.ended.as_secs_f64(), real(row.bytes))).collect::<Vec<_>>();
    rows.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let (n, left, wall) = (rows.len(), real(remaining), wall.as_secs_f64());
    // The steady part is without the first fifth, in which connections are opened and the limits of hosts are still low, and
    // without the last tenth, in which no more rows may be left to begin.
    let (first, last) = (n / 5, n * 9 / 10);
    if last < 2 || first < 1 {
        return (n > 0).then(|| (Estimate::new(wall / number(n) * left, None), Some(PaceBasis::Whole)));
    }
    let at = |row: usize| rows[row - 1].0;
    let middle_each = (at(last) - at(first)) / number(last - first);
    // The last rows may be large files, which take their share of the time as any row. Or they may be a few rows that receive
    // nothing: in a long list, other rows are fetched during that wait, so it is counted once.
    let rate = |rows: &[(f64, f64)], seconds: f64| rows.iter().map(|(_, bytes)| bytes).sum::<f64>() / seconds;
    let drain = (wall - at(last)).max(f64::MIN_POSITIVE);
    let is_waiting = rate(&rows[last..], drain) < rate(&rows[..last], at(last).max(f64::MIN_POSITIVE)) / 2.0;
    let waited = if is_waiting { (drain - number(n - last) * middle_each).max(0.0) } else { 0.0 };
    let Interval { low, high } = relative_bytes.unwrap_or(Interval { low: 1.0, high: 1.0 });
    let in_flight = usize::try_from(most_alive).unwrap_or(usize::MAX);
    let is_steady = at(last) - at(first) >= MIN_STEADY_SECONDS
        && n >= in_flight.saturating_mul(4)
        && last - first >= BATCHES * MIN_ROWS_PER_BATCH;
    if is_steady {
        let edges = (0..=BATCHES).map(|batch| first + (last - first) * batch / BATCHES).collect::<Vec<_>>();
        let paces = edges.windows(2).map(|edge| (at(edge[1]) - at(edge[0])) / number(edge[1] - edge[0]));
        let variance = paces.map(|pace| (pace - middle_each).powi(2)).sum::<f64>() / number(BATCHES - 1);
        let error =
            statistics::student_quantile(number(BATCHES - 1)) * (variance / number(BATCHES)).sqrt() / middle_each;
        let once = waited + (at(first) - number(first) * middle_each).max(0.0);
        let each = (wall - once).max(0.0) / number(n);
        let interval = Interval { low: each * low.min(1.0 - error).max(0.0), high: each * high.max(1.0 + error) };
        return Some((Estimate::new(each, Some(interval)).map(|each| once + each * left), Some(PaceBasis::Steady)));
    }
    let each = (wall - waited).max(0.0) / number(n);
    let middle = last / 2;
    // If most rows were in flight from the start, the second half of the sample has no pace of its own.
    let later = (n >= in_flight.saturating_mul(2)).then(|| (at(last) - at(middle)) / number(last - middle));
    let interval = later.map(|later| Interval { low: later.min(each * low), high: each * high });
    Some((Estimate::new(each, interval).map(|each| waited + each * left), Some(PaceBasis::Whole)))
}

const fn none_left() -> (Estimate, Option<PaceBasis>) {
    (Estimate { expected: 0.0, low: Some(0.0), high: Some(0.0) }, None)
}

/// `, 3.1 to 9.6 %`, or nothing.
fn range(estimate: Estimate, show: impl Fn(f64) -> String, unit: &str) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!(", {} to {}{unit}", show(low), show(high)),
        _ => String::new(),
    }
}

/// A duration with a unit that fits.
fn duration(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{seconds:.1} s"),
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.1} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[expect(clippy::cast_precision_loss, reason = "neither rows nor bytes of a file come to 2^53")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown; these casts saturate")]
const fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(to_fetch: u64) -> RowCounts {
        RowCounts {
            rows: to_fetch + 105,
            to_fetch,
            to_remake: 0,
            skipped_by_reason: BTreeMap::from([("duplicate_url", 100)]),
            bad_by_kind: BTreeMap::from([("bad_url".into(), 5)]),
            ..RowCounts::default()
        }
    }

    /// Rows that end one after another, each after `each` seconds. Every twentieth row fails, and the others have 1,000 bytes.
    fn rows(count: u32, each: f64) -> Vec<SampledRow> {
        let row = |number| {
            let failed = number % 20 == 0;
            let bytes = if failed { 0 } else { 1000 };
            SampledRow { failed, refused: false, bytes, ended: Duration::from_secs_f64(f64::from(number) * each) }
        };
        (1..=count).map(row).collect()
    }

    fn wall(rows: &[SampledRow]) -> Duration {
        rows.iter().map(|row| row.ended).max().unwrap_or_default()
    }

    fn shown(forecast: &Forecast) -> String {
        let mut out = Vec::new();
        forecast.write_text(&mut out).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
        text
    }

    #[track_caller]
    fn assert_near(left: f64, right: f64) {
        assert!((left - right).abs() <= right.abs() * 0.01, "{left} is not {right}");
    }

    #[test]
    fn a_steady_sample_gives_a_forecast_with_bounds() {
        let sample = rows(400, 0.1);
        let forecast = Forecast::new(&counts(100_000), &sample, wall(&sample), 8, 7);
        assert_eq!((forecast.sampled, forecast.remaining, forecast.bad), (400, 99_600, 5));
        let share = forecast.failed_share.expect("a share");
        assert_near(share.expected, 0.05);
        assert!(share.low.is_some_and(|low| (0.03..0.035).contains(&low)), "{share:?}");
        assert!(share.high.is_some_and(|high| (0.075..0.08).contains(&high)), "{share:?}");
        assert_near(forecast.failed_rows.expect("rows").expected, 5005.0);
        let bytes = forecast.bytes.expect("bytes");
        assert_near(bytes.expected, 95e6);
        assert!(bytes.low < Some(95e6) && bytes.high > Some(95e6), "{bytes:?}");
        let seconds = forecast.seconds.expect("a time");
        assert_eq!(forecast.pace, Some(PaceBasis::Steady));
        assert_near(seconds.expected, 9960.0);
        let (low, high) = (seconds.low.expect("a bound"), seconds.high.expect("a bound"));
        assert!((9650.0..9750.0).contains(&low) && (10_100.0..10_200.0).contains(&high), "{seconds:?}");
        let text = shown(&forecast);
        assert!(text.contains("from 400 of 100,000 rows drawn at random"), "{text}");
        assert!(text.contains("5.0 % of what is to fetch, 3."), "{text}");
        assert!(text.contains("2.8 h, 2.7 h to 2.8 h\n                    for the 99,600 rows left\n"), "{text}");
    }

    #[test]
    fn the_time_of_the_start_and_of_the_last_rows_is_counted_once() {
        let mut sample = rows(400, 0.05);
        // Two seconds until the first row ends, and one row that stalls for a minute.
        for row in &mut sample {
            row.ended += Duration::from_secs(2);
        }
        sample[399].ended = Duration::from_secs(82);
        let forecast = Forecast::new(&counts(10_400), &sample, wall(&sample), 8, 7);
        assert_near(forecast.seconds.expect("a time").expected, 500.0 + 2.0 + 60.0);
        // If the pace changes, the bounds are wide.
        for row in &mut sample[..200] {
            row.ended /= 4;
        }
        let seconds = Forecast::new(&counts(10_400), &sample, wall(&sample), 8, 7).seconds.expect("a time");
        assert!(seconds.high.expect("a bound") > 1.3 * seconds.expected, "{seconds:?}");
    }

    #[test]
    fn large_files_that_end_last_are_not_counted_as_a_wait() {
        // A bandwidth of 100,000 bytes per second: small files for two seconds, and then the large ones, which began as early.
        let mut sample = rows(400, 0.005);
        for (place, row) in sample[370..].iter_mut().enumerate() {
            (row.bytes, row.ended) = (20_000, Duration::from_secs_f64(2.0 + number(place + 1) * 0.2));
        }
        let forecast = Forecast::new(&counts(4400), &sample, wall(&sample), 64, 7);
        let seconds = forecast.seconds.expect("a time");
        assert_near(seconds.expected, 80.0);
        assert!(
            seconds.low < Some(70.0) && seconds.high > Some(95.0),
            "the bounds are as wide as those of the bytes: {forecast:?}"
        );
    }

    #[test]
    fn a_short_sample_is_said_to_be_too_short() {
        // Half a second to connect, then a thousand rows per second.
        let mut sample = rows(100, 0.001);
        for row in &mut sample {
            row.ended += Duration::from_millis(500);
        }
        let forecast = Forecast::new(&counts(1100), &sample, wall(&sample), 6, 7);
        let seconds = forecast.seconds.expect("a time");
        assert_eq!(forecast.pace, Some(PaceBasis::Whole));
        assert_near(seconds.low.expect("a bound"), 1.0);
        assert_near(seconds.expected, 6.0);
        assert!(seconds.high > Some(seconds.expected), "{seconds:?}");
        assert!(shown(&forecast).contains("too short for a steady pace"), "{}", shown(&forecast));
        let at_once = Forecast::new(&counts(1100), &sample, wall(&sample), 100, 7);
        assert_eq!(at_once.seconds.and_then(|seconds| seconds.low), None);
        assert!(shown(&at_once).contains("too short to tell a pace"), "{}", shown(&at_once));
    }

    #[test]
    fn a_tiny_sample_gives_few_numbers() {
        let sample = rows(1, 0.5);
        let one = Forecast::new(&counts(2), &sample, wall(&sample), 1, 7);
        assert_eq!(one.failed_share, Some(Estimate { expected: 0.0, low: Some(0.0), high: Some(0.5) }));
        assert_eq!(one.bytes, Some(Estimate { expected: 2000.0, low: None, high: None }));
        assert_near(one.seconds.expect("a time").expected, 0.5);
        assert!(shown(&one).contains("Fewer than 10 rows"), "{}", shown(&one));

        let whole = Forecast::new(&counts(1), &sample, wall(&sample), 1, 7);
        assert_eq!(whole.failed_share, Some(Estimate { expected: 0.0, low: Some(0.0), high: Some(0.0) }));
        assert_eq!(whole.bytes, Some(Estimate { expected: 1000.0, low: Some(1000.0), high: Some(1000.0) }));
        assert!(shown(&whole).contains("all there was to fetch"), "{}", shown(&whole));

        let nothing = Forecast::new(&counts(0), &[], Duration::ZERO, 0, 7);
        assert_eq!((nothing.failed_share, nothing.bytes), (None, None));
        assert!(shown(&nothing).contains("nothing is left to fetch"), "{}", shown(&nothing));
        let empty = Forecast::new(&RowCounts::default(), &[], Duration::ZERO, 0, 7);
        assert_eq!(shown(&empty), "The list is empty: there is nothing to forecast.\n");
    }

    #[test]
    fn refused_rows_are_no_failures_and_take_no_bytes() {
        let mut sample = rows(400, 0.1);
        for row in sample.iter_mut().filter(|row| row.failed) {
            (row.failed, row.refused) = (false, true);
        }
        let mut counts = counts(100_000);
        assert!(!shown(&Forecast::new(&counts, &rows(400, 0.1), wall(&sample), 8, 7)).contains("refused"));
        counts.refused_by_kind.insert("too_small".into(), 7);
        let forecast = Forecast::new(&counts, &sample, wall(&sample), 8, 7);
        assert_eq!(forecast.failed_share.map(|share| share.expected), Some(0.0));
        assert_near(forecast.refused_share.expect("a share").expected, 0.05);
        assert_near(forecast.refused_rows.expect("rows").expected, 5007.0);
        assert_near(forecast.bytes.expect("bytes").expected, 95e6);
        let text = shown(&forecast);
        assert!(text.contains("refused           5.0 % of what is to fetch, 3."), "{text}");
        assert!(text.contains("5,007 rows of the list, "), "{text}");
    }

    #[test]
    fn if_all_rows_fail_no_bytes_are_forecast() {
        let mut sample = rows(50, 0.1);
        for row in &mut sample {
            (row.failed, row.bytes) = (true, 0);
        }
        let forecast = Forecast::new(&counts(10_000), &sample, wall(&sample), 8, 7);
        let share = forecast.failed_share.expect("a share");
        assert_eq!((share.expected, share.high), (1.0, Some(1.0)));
        assert!(share.low.is_some_and(|low| (0.92..0.94).contains(&low)), "{share:?}");
        assert_eq!((forecast.bytes, forecast.largest_share), (None, None));
        assert!(shown(&forecast).contains("no image was saved"), "{}", shown(&forecast));
    }

    #[test]
    fn large_numbers_fit_into_a_line_and_a_large_file_is_mentioned() {
        let mut sample = rows(10_000, 9.0);
        sample[77].bytes = 999_999_999_999;
        let mut counts = counts(9_999_999_999);
        counts.skipped_by_reason.insert("already_saved", 1_234_567_890);
        let text = shown(&Forecast::new(&counts, &sample, wall(&sample), 256, u64::MAX));
        assert!(text.contains("One file has 100 % of the sample's bytes"), "{text}");
        assert!(text.contains(" days\n") && text.contains("for the 9,999,989,999 rows left"), "{text}");
    }
}
