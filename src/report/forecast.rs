//! What a sample says about the whole list (`--sample`).
//!
//! What can be told without a request, such as how many rows are duplicates, is known of the whole list. The sample is drawn
//! from the others, and its shares and means hold for all of these, give or take chance (`statistics` has the intervals).
//! The time is worked out from the pace at which its downloads ended.

use crate::util::human::{Count, Size};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::plan::RowCounts;
use super::statistics::{self, Interval, number};
use super::words::{counted, listed};

/// What came of one row of the sample.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    /// It has failed.
    pub failed: bool,
    /// The size of its file, 0 if there is none.
    pub bytes: u64,
    /// From the start of the pass to its record.
    pub ended: Duration,
}

/// What is expected, and what it lies between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The best guess.
    pub expected: f64,
    /// Hardly less; absent where the sample is too small to tell.
    pub low: Option<f64>,
    /// Hardly more.
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

/// Which part of the sample the time was worked out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// What is left without the opening of connections and the wait for the last rows, which are counted once. The bounds are
    /// a 95 % interval, of the pace or of the bytes, whichever is wider.
    Steady,
    /// All of it: it was too short. `expected` is by its whole, in which connections had to be opened first, and `low` by its
    /// second half.
    Whole,
}

/// What the whole list is likely to come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Rows of the list.
    pub rows: u64,
    /// Rows that would be fetched; the sample was drawn from these.
    pub to_fetch: u64,
    /// Rows of the sample.
    pub sampled: u64,
    /// Rows that are left to fetch after it.
    pub remaining: u64,
    /// `--sample-seed` of this sample.
    pub seed: u64,
    /// Rows that need no request, by reason.
    pub skipped_by_reason: BTreeMap<&'static str, u64>,
    /// Rows that fail without a request.
    pub bad: u64,
    /// How often the intervals hold the truth, as far as chance goes.
    pub confidence: f64,
    /// The share of the rows to fetch that fail (Wilson's interval, closing as the sample nears the whole).
    pub failed_share: Option<Estimate>,
    /// Rows of the list that fail, those that are bad included.
    pub failed_rows: Option<Estimate>,
    /// Bytes of all files to fetch, the sample's included (normal, corrected for skew: Hall 1992). Absent where nothing was
    /// saved.
    pub bytes: Option<Estimate>,
    /// The largest file's share of the sample's bytes.
    pub largest_share: Option<f64>,
    /// How long the rows take that are left, on the same machine and line and from the same hosts.
    pub seconds: Option<Estimate>,
    /// How that is known.
    pub pace: Option<Pace>,
}

/// A steady part is at least so long, for what is shorter says more about chance than about pace.
const STEADY_SECONDS: f64 = 2.0;

/// It is taken apart into so many pieces, whose paces tell how much it varies.
const PIECES: usize = 10;

/// Each of at least so many rows.
const ROWS_IN_PIECE: usize = 5;

/// From so large a part of the sample's bytes on, one file says that others like it matter.
const LARGE_SHARE: f64 = 0.1;

impl Forecast {
    /// What these rows say about the list. `wall`: how long they took together; `most_alive`: how many were under way at once.
    #[must_use]
    pub fn new(counts: &RowCounts, observed: &[Observed], wall: Duration, most_alive: u64, seed: u64) -> Self {
        let sampled = observed.len() as u64;
        let remaining = counts.to_fetch.saturating_sub(sampled);
        let (n, all, bad) = (number(observed.len()), real(counts.to_fetch), real(counts.bad()));
        let failed = number(observed.iter().filter(|row| row.failed).count());
        let share = (sampled > 0).then(|| Estimate::new(failed / n, Some(statistics::share(failed, n, all))));
        let sizes = observed.iter().map(|row| real(row.bytes)).collect::<Vec<_>>();
        let sum = sizes.iter().sum::<f64>();
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        // Of what is never saved, the sizes are not known.
        let bytes = (sum > 0.0).then(|| {
            let (mean, interval) = statistics::mean(&sizes, all);
            // What there is already is certain.
            Estimate::new(mean, interval).map(|mean| (mean * all).max(sum).round())
        });
        let time = if remaining == 0 {
            Some(none_left())
        } else {
            // Those of the rows that are left.
            let parts = bytes.filter(|bytes| bytes.expected > sum).and_then(|Estimate { expected, low, high }| {
                let part = |bytes: f64| (bytes - sum) / (expected - sum);
                Some(Interval { low: part(low?), high: part(high?) })
            });
            time(observed, wall, most_alive, remaining, parts)
        };
        Self {
            rows: counts.rows,
            to_fetch: counts.to_fetch,
            sampled,
            remaining,
            seed,
            skipped_by_reason: counts.skipped_by_reason.clone(),
            bad: counts.bad(),
            confidence: 0.95,
            failed_share: share.map(|share| share.map(|share| round(share, 1e6))),
            failed_rows: share.map(|share| share.map(|share| (share * all + bad).round())),
            bytes,
            largest_share: (sum > 0.0).then(|| round(largest / sum, 1e4)),
            seconds: time.map(|(seconds, _)| seconds.map(|seconds| round(seconds, 1e3))),
            pace: time.and_then(|(_, pace)| pace),
        }
    }

    /// Writes it for people, within 80 columns.
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
        if let (Some(share), Some(rows)) = (self.failed_share, self.failed_rows) {
            let percent = |share: f64| format!("{:.1}", share * 100.0);
            line(
                "failures",
                format!("{} % of what is to fetch{}", percent(share.expected), range(share, percent, " %")),
            )?;
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
            line("time", format!("{}{}", span(seconds.expected), range(seconds, span, "")))?;
            line("", format!("for the {} left", counted(self.remaining, "row")))?;
        }
        for remark in self.remarks() {
            writeln!(out, "{remark}")?;
        }
        Ok(())
    }

    /// How much the numbers are worth, in lines of at most 80 characters.
    fn remarks(&self) -> Vec<String> {
        if self.remaining == 0 {
            return Vec::new();
        }
        let mut remarks = vec![
            "Ranges are 95 % intervals: they allow for chance, not for what may change.".to_owned(),
            "The time takes this machine and line, the same hosts and the same options.".to_owned(),
        ];
        match (self.pace, self.seconds) {
            (Some(Pace::Whole), Some(Estimate { low: Some(_), .. })) => remarks.extend([
                "The sample was too short for a steady pace: connections had to be opened first.".to_owned(),
                "So its time is rather too long, and its lower bound is by the second half.".to_owned(),
            ]),
            (Some(Pace::Whole), _) => {
                remarks
                    .push("The sample was too short to tell a pace: the time is hardly longer than that.".to_owned());
            }
            _ => {}
        }
        if self.bytes.is_some_and(|bytes| bytes.high.is_none()) {
            remarks.push(format!("Fewer than {} rows say little about bytes.", statistics::ENOUGH));
        }
        if let Some(share) = self.largest_share.filter(|share| *share > LARGE_SHARE && self.sampled > 20) {
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

/// How long the rows take that are left. `bytes`: what the sizes of their files may be, in parts of what is expected; where
/// the line is what holds the downloads up, they take as much longer.
fn time(
    observed: &[Observed],
    wall: Duration,
    most_alive: u64,
    remaining: u64,
    bytes: Option<Interval>,
) -> Option<(Estimate, Option<Pace>)> {
    let mut rows = observed.iter().map(|row| (row.ended.as_secs_f64(), real(row.bytes))).collect::<Vec<_>>();
    rows.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
    let (n, left, wall) = (rows.len(), real(remaining), wall.as_secs_f64());
    // In the last tenth there is not always another row to begin, and in the first two connections are opened and hosts tried
    // with few.
    let (first, last) = (n / 5, n * 9 / 10);
    if last < 2 || first < 1 {
        return (n > 0).then(|| (Estimate::new(wall / number(n) * left, None), Some(Pace::Whole)));
    }
    let at = |row: usize| rows[row - 1].0;
    let middle_each = (at(last) - at(first)) / number(last - first);
    // Large files end last, and are work like any other. A few rows that nothing comes of are not: in a long list others are
    // fetched meanwhile, so what they take is taken once.
    let rate = |rows: &[(f64, f64)], seconds: f64| rows.iter().map(|(_, bytes)| bytes).sum::<f64>() / seconds;
    let drain = (wall - at(last)).max(f64::MIN_POSITIVE);
    let waits = rate(&rows[last..], drain) < rate(&rows[..last], at(last).max(f64::MIN_POSITIVE)) / 2.0;
    let waited = if waits { (drain - number(n - last) * middle_each).max(0.0) } else { 0.0 };
    let Interval { low, high } = bytes.unwrap_or(Interval { low: 1.0, high: 1.0 });
    let alive = usize::try_from(most_alive).unwrap_or(usize::MAX);
    let is_steady = at(last) - at(first) >= STEADY_SECONDS
        && n >= alive.saturating_mul(4)
        && last - first >= PIECES * ROWS_IN_PIECE;
    if is_steady {
        let edges = (0..=PIECES).map(|piece| first + (last - first) * piece / PIECES).collect::<Vec<_>>();
        let pieces = edges.windows(2).map(|edge| (at(edge[1]) - at(edge[0])) / number(edge[1] - edge[0]));
        let variance = pieces.map(|piece| (piece - middle_each).powi(2)).sum::<f64>() / number(PIECES - 1);
        let error = statistics::student(number(PIECES - 1)) * (variance / number(PIECES)).sqrt() / middle_each;
        let once = waited + (at(first) - number(first) * middle_each).max(0.0);
        let each = (wall - once).max(0.0) / number(n);
        let interval = Interval { low: each * low.min(1.0 - error).max(0.0), high: each * high.max(1.0 + error) };
        return Some((Estimate::new(each, Some(interval)).map(|each| once + each * left), Some(Pace::Steady)));
    }
    let each = (wall - waited).max(0.0) / number(n);
    let middle = last / 2;
    // When all rows were under way from the start, the second half is none.
    let later = (n >= alive.saturating_mul(2)).then(|| (at(last) - at(middle)) / number(last - middle));
    let interval = later.map(|later| Interval { low: later.min(each * low), high: each * high });
    Some((Estimate::new(each, interval).map(|each| waited + each * left), Some(Pace::Whole)))
}

const fn none_left() -> (Estimate, Option<Pace>) {
    (Estimate { expected: 0.0, low: Some(0.0), high: Some(0.0) }, None)
}

/// `, 3.1 to 9.6 %`, or nothing.
fn range(estimate: Estimate, show: impl Fn(f64) -> String, unit: &str) -> String {
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!(", {} to {}{unit}", show(low), show(high)),
        _ => String::new(),
    }
}

/// A time as one says it.
fn span(seconds: f64) -> String {
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

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown; such casts end at the bounds")]
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
            skipped_by_reason: BTreeMap::from([("duplicate_url", 100)]),
            bad_by_kind: BTreeMap::from([("bad_url".into(), 5)]),
        }
    }

    /// Rows that end one after the other in so many seconds each; every twentieth fails, the others have 1,000 bytes.
    fn rows(count: u32, each: f64) -> Vec<Observed> {
        let row = |number| {
            let failed = number % 20 == 0;
            let bytes = if failed { 0 } else { 1000 };
            Observed { failed, bytes, ended: Duration::from_secs_f64(f64::from(number) * each) }
        };
        (1..=count).map(row).collect()
    }

    fn wall(rows: &[Observed]) -> Duration {
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
    fn a_steady_sample_says_what_the_list_comes_to() {
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
        assert_eq!(forecast.pace, Some(Pace::Steady));
        assert_near(seconds.expected, 9960.0);
        let (low, high) = (seconds.low.expect("a bound"), seconds.high.expect("a bound"));
        assert!((9650.0..9750.0).contains(&low) && (10_100.0..10_200.0).contains(&high), "{seconds:?}");
        let text = shown(&forecast);
        assert!(text.contains("from 400 of 100,000 rows drawn at random"), "{text}");
        assert!(text.contains("5.0 % of what is to fetch, 3."), "{text}");
        assert!(text.contains("2.8 h, 2.7 h to 2.8 h\n                    for the 99,600 rows left\n"), "{text}");
    }

    #[test]
    fn what_the_start_and_the_last_rows_take_is_taken_once() {
        let mut sample = rows(400, 0.05);
        // Two seconds until the first one ends, and one that hangs for a minute.
        for row in &mut sample {
            row.ended += Duration::from_secs(2);
        }
        sample[399].ended = Duration::from_secs(82);
        let forecast = Forecast::new(&counts(10_400), &sample, wall(&sample), 8, 7);
        assert_near(forecast.seconds.expect("a time").expected, 500.0 + 2.0 + 60.0);
        // A pace that changes has wide bounds.
        for row in &mut sample[..200] {
            row.ended /= 4;
        }
        let seconds = Forecast::new(&counts(10_400), &sample, wall(&sample), 8, 7).seconds.expect("a time");
        assert!(seconds.high.expect("a bound") > 1.3 * seconds.expected, "{seconds:?}");
    }

    #[test]
    fn large_files_that_end_last_are_work() {
        // A line of 100,000 bytes a second: two seconds of small files, and then the large ones, which began as early.
        let mut sample = rows(400, 0.005);
        for (place, row) in sample[370..].iter_mut().enumerate() {
            (row.bytes, row.ended) = (20_000, Duration::from_secs_f64(2.0 + number(place + 1) * 0.2));
        }
        let forecast = Forecast::new(&counts(4400), &sample, wall(&sample), 64, 7);
        let seconds = forecast.seconds.expect("a time");
        assert_near(seconds.expected, 80.0);
        assert!(seconds.low < Some(70.0) && seconds.high > Some(95.0), "as sure as the bytes: {forecast:?}");
    }

    #[test]
    fn a_short_sample_says_that_it_is_short() {
        // Half a second to connect, then quickly.
        let mut sample = rows(100, 0.001);
        for row in &mut sample {
            row.ended += Duration::from_millis(500);
        }
        let forecast = Forecast::new(&counts(1100), &sample, wall(&sample), 6, 7);
        let seconds = forecast.seconds.expect("a time");
        assert_eq!(forecast.pace, Some(Pace::Whole));
        assert_near(seconds.low.expect("a bound"), 1.0);
        assert_near(seconds.expected, 6.0);
        assert!(seconds.high > Some(seconds.expected), "{seconds:?}");
        assert!(shown(&forecast).contains("too short for a steady pace"), "{}", shown(&forecast));
        let at_once = Forecast::new(&counts(1100), &sample, wall(&sample), 100, 7);
        assert_eq!(at_once.seconds.and_then(|seconds| seconds.low), None);
        assert!(shown(&at_once).contains("too short to tell a pace"), "{}", shown(&at_once));
    }

    #[test]
    fn little_is_said_of_little() {
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
    fn when_all_fail_nothing_is_known_of_bytes() {
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
    fn large_numbers_fit_and_a_large_file_is_mentioned() {
        let mut sample = rows(10_000, 9.0);
        sample[77].bytes = 999_999_999_999;
        let mut counts = counts(9_999_999_999);
        counts.skipped_by_reason.insert("already_saved", 1_234_567_890);
        let text = shown(&Forecast::new(&counts, &sample, wall(&sample), 256, u64::MAX));
        assert!(text.contains("One file has 100 % of the sample's bytes"), "{text}");
        assert!(text.contains(" days\n") && text.contains("for the 9,999,989,999 rows left"), "{text}");
    }
}
