//! The report as text, within 80 columns.

use std::io::{self, Write};

use super::words::{basis, figures, note, remarks, title};
use super::{COMPLETED, Report, Summary};
use crate::record::Mode;
use crate::util::redact::escaped;

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    match &*report.modes {
        [first, second] => side_by_side(out, first, second)?,
        // If there was nothing to fetch, the forecast says so.
        [only] if only.rows == 0 && report.forecast.is_some() => {}
        modes => modes.iter().try_for_each(|summary| single_mode(out, summary, report.ended == COMPLETED))?,
    }
    if let Some(comparison) = &report.comparison {
        let (sequential, concurrent) = (comparison.sequential_seconds, comparison.concurrent_seconds);
        let noted = |mode| note(report, mode).map_or_else(String::new, |note| format!("  {note}"));
        writeln!(out, "One after the other: {sequential:>9.3} seconds{}", noted(Mode::Sequential))?;
        writeln!(out, "All at once:         {concurrent:>9.3} seconds{}", noted(Mode::Concurrent))?;
        writeln!(out, "Speed-up:            {:>9.1} times    ({})", comparison.speed_up, basis(comparison))?;
    }
    for sentence in &report.advice {
        for line in textwrap::wrap(sentence, textwrap::Options::new(78).initial_indent("- ").subsequent_indent("  ")) {
            writeln!(out, "{line}")?;
        }
    }
    if let Some(forecast) = &report.forecast {
        forecast.write_text(out)?;
    }
    if report.ended == COMPLETED && report.modes.iter().any(|summary| summary.saved + summary.skipped > 0) {
        writeln!(out, "The images are in {}", escaped(&report.output))?;
    }
    if report.ended != COMPLETED {
        writeln!(out, "The run did not end by itself: {}", escaped(&report.ended))?;
        writeln!(out, "Rows not reached have no record yet; the same command goes on with them.")?;
    }
    Ok(())
}

/// The section for a run with one mode.
fn single_mode(out: &mut impl Write, summary: &Summary, completed: bool) -> io::Result<()> {
    if summary.rows == 0 && !completed {
        return Ok(());
    }
    if summary.rows == 0 {
        return writeln!(out, "The list is empty: there was nothing to download.");
    }
    writeln!(out, "{}", title(summary.mode))?;
    writeln!(out, "{}", download_time(summary))?;
    for (name, value) in figures(summary).iter().filter(|_| summary.saved > 0) {
        writeln!(out, "  {name:<18}{value}")?;
    }
    for (name, value) in remarks(summary) {
        writeln!(out, "  {name:<18}{value}")?;
    }
    writeln!(out)
}

/// The section for a run with both modes, a column each. Lines that may be long are below the columns.
fn side_by_side(out: &mut impl Write, first: &Summary, second: &Summary) -> io::Result<()> {
    if first.rows + second.rows == 0 {
        return writeln!(out, "The list is empty: there was nothing to download.");
    }
    let titles = [first, second].map(|summary| match summary.mode {
        Mode::Sequential => "Sequential",
        Mode::Concurrent => "Concurrent",
    });
    let mut row = |name: &str, left: &str, right: &str| {
        let line = format!("{name:<16}{left:<31}{right}");
        writeln!(out, "{}", line.trim_end())
    };
    row("", titles[0], titles[1])?;
    row("", &download_time(first), &download_time(second))?;
    let right = figures(second);
    for (name, left) in figures(first) {
        let right = right.iter().find(|(other, _)| *other == name);
        row(name, &left, right.map_or("", |(_, value)| value))?;
    }
    for (summary, title) in [(first, titles[0]), (second, titles[1])] {
        for (name, value) in remarks(summary) {
            writeln!(out, "{title}, {name}: {value}")?;
        }
    }
    writeln!(out)
}

fn download_time(summary: &Summary) -> String {
    format!("Download time: {:.3} seconds", summary.wall_seconds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::report::advice::ConcurrencyLimits;
    use crate::report::{OverloadedHost, Percentiles, Tally};

    const LIMITS: ConcurrencyLimits = ConcurrencyLimits { at_once: 256, per_host: None, max_per_host: 64 };

    /// A summary with the largest numbers that are expected.
    fn large(mode: Mode, saved: u64) -> Summary {
        let times = Percentiles { median: 0.123, p95: 12.345, max: 123.456 };
        Summary {
            rows: saved + 400,
            saved,
            failed: 200,
            refused: 100,
            refused_by_kind: BTreeMap::from([("not_accepted".into(), 50), ("too_small".into(), 50)]),
            empty_columns: BTreeMap::from([("caption".into(), 1_234_567)]),
            skipped: 100,
            bytes: 987_654_321_012,
            images_per_second: 12_345.6,
            bytes_per_second: 1_234_567_890.0,
            first_byte_seconds: Some(times),
            download_seconds: Some(times),
            sum_of_downloads_seconds: 98_765.4,
            most_alive: 256,
            retries: 1_234,
            extension_mismatches: 12,
            smaller_than_box: 1_234_567,
            links: 1_234_567,
            link_bytes: 987_654_321_012,
            failed_by_kind: BTreeMap::from([("dns".into(), 100), ("http_status 404".into(), 100)]),
            skipped_by_reason: BTreeMap::from([("already_saved", 100)]),
            overloaded_hosts: vec![OverloadedHost {
                host: "images.example.org:8443".into(),
                times: 4_321,
                throttled: 4_000,
            }],
            ..Tally::new(mode).summary(Duration::from_secs(12_345), 1)
        }
    }

    fn shown(ended: &str, modes: Vec<Summary>, earlier: Option<(f64, SystemTime)>) -> String {
        let mut out = Vec::new();
        let report = Report::new("images".into(), ended.into(), modes, LIMITS, earlier);
        write(&mut out, &report).expect("written");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_report_fits_into_80_columns() {
        let one = |mode| vec![large(mode, 1_234_567)];
        let both = [one(Mode::Sequential), one(Mode::Concurrent)].concat();
        for text in [
            shown(COMPLETED, both, None),
            shown(COMPLETED, one(Mode::Concurrent), None),
            shown(COMPLETED, one(Mode::Sequential), None),
            shown(COMPLETED, one(Mode::Concurrent), Some((12_345.6, SystemTime::UNIX_EPOCH))),
            shown("interrupted", one(Mode::Concurrent), None),
        ] {
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "{} columns: {line}\n{text}", line.chars().count());
            }
        }
    }

    #[test]
    fn an_empty_or_interrupted_run_has_a_short_report() {
        let text = shown(COMPLETED, vec![Tally::new(Mode::Concurrent).summary(Duration::ZERO, 0)], None);
        assert_eq!(text, "The list is empty: there was nothing to download.\n");
        let refused = shown("the list is no list", vec![Tally::new(Mode::Concurrent).summary(Duration::ZERO, 0)], None);
        assert!(!refused.contains("empty") && refused.contains("the list is no list"), "{refused}");
        let interrupted = shown("interrupted", vec![large(Mode::Concurrent, 10)], None);
        assert!(!interrupted.contains("Speed-up") && !interrupted.contains("The images are in"), "{interrupted}");
    }
}
