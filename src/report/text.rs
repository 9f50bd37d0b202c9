//! The report as text, within 80 columns.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use indicatif::{BinaryBytes, HumanCount};

use super::{Basis, COMPLETED, Mode, Report, Summary, Times};
use crate::shown::harmless;

/// Writes the report.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    match &*report.modes {
        [first, second] => side_by_side(out, first, second)?,
        // Where nothing was left to fetch, the forecast says so.
        [only] if only.rows == 0 && report.forecast.is_some() => {}
        modes => modes.iter().try_for_each(|summary| alone(out, summary, report.ended == COMPLETED))?,
    }
    if let Some(comparison) = &report.comparison {
        let (sequential, concurrent) = (comparison.sequential_seconds, comparison.concurrent_seconds);
        let note = |mode: Mode| match &comparison.basis {
            Basis::Estimated { mode: estimated } if *estimated == mode => match mode {
                Mode::Sequential => "  at most  (estimate: all downloads added)".to_owned(),
                Mode::Concurrent => "  at least  (estimate: by the longest one)".to_owned(),
            },
            Basis::MeasuredBefore { date } if report.modes.iter().all(|ran| ran.mode != mode) => {
                format!("  (measured {date})")
            }
            _ => String::new(),
        };
        let measured = match comparison.basis {
            Basis::Measured => "measured",
            Basis::MeasuredBefore { .. } => "measured in two runs",
            Basis::Estimated { .. } => "estimated, at most",
        };
        writeln!(out, "One after the other: {sequential:>9.3} seconds{}", note(Mode::Sequential))?;
        writeln!(out, "All at once:         {concurrent:>9.3} seconds{}", note(Mode::Concurrent))?;
        writeln!(out, "Speed-up:            {:>9.1} times    ({measured})", comparison.speed_up)?;
    }
    if let Some(forecast) = &report.forecast {
        forecast.write_text(out)?;
    }
    if report.ended == COMPLETED && report.modes.iter().any(|summary| summary.saved + summary.skipped > 0) {
        writeln!(out, "The images are in {}", harmless(&report.output))?;
    }
    if report.ended != COMPLETED {
        writeln!(out, "The run did not end by itself: {}", harmless(&report.ended))?;
        writeln!(out, "Rows not reached have no record yet; the same command goes on with them.")?;
    }
    Ok(())
}

/// One mode.
fn alone(out: &mut impl Write, summary: &Summary, completed: bool) -> io::Result<()> {
    if summary.rows == 0 && !completed {
        return Ok(());
    }
    if summary.rows == 0 {
        return writeln!(out, "The list is empty: there was nothing to download.");
    }
    let title = match summary.mode {
        Mode::Sequential => "Sequential, one after the other",
        Mode::Concurrent => "Concurrent, one task per URL",
    };
    writeln!(out, "{title}")?;
    writeln!(out, "{}", download_time(summary))?;
    for (name, value) in figures(summary).iter().filter(|_| summary.saved > 0) {
        writeln!(out, "  {name:<18}{value}")?;
    }
    for (name, value) in remarks(summary) {
        writeln!(out, "  {name:<18}{value}")?;
    }
    writeln!(out)
}

/// Both modes, a column each; what may be long comes below.
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

/// What can be compared: at most 30 characters each.
fn figures(summary: &Summary) -> Vec<(&'static str, String)> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown")]
    let byte_rate = summary.bytes_per_second as u64;
    let times = |times: Option<Times>| {
        times.map_or("none".to_owned(), |Times { median, p95, max }| format!("{median:.3}, {p95:.3}, {max:.3} s"))
    };
    vec![
        ("saved", format!("{}, {}", counted(summary.saved, "image"), BinaryBytes(summary.bytes))),
        ("rate", format!("{:.1} images/s, {}/s", summary.images_per_second, BinaryBytes(byte_rate))),
        ("", "median, p95, max".to_owned()),
        ("first byte", times(summary.first_byte_seconds)),
        ("whole download", times(summary.download_seconds)),
        ("at once", format!("{} at most", summary.most_alive)),
    ]
}

/// What is worth a line only when it happened.
fn remarks(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    if summary.retries > 0 {
        remarks.push(("tried again", counted(summary.retries, "time")));
    }
    if summary.extension_mismatches > 0 {
        let count = HumanCount(summary.extension_mismatches);
        remarks.push(("wrong extension", format!("{count} (--fix-extension names them by content)")));
    }
    if summary.links > 0 {
        let (links, bytes) = (counted(summary.links, "link"), BinaryBytes(summary.link_bytes));
        remarks.push(("same content", format!("{links}, {bytes} not stored again")));
    }
    if let Some((worst, others)) = summary.overloaded_hosts.split_first() {
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" and {} more", counted(others.len() as u64, "host"))
        };
        remarks.push(("overloaded", format!("{} ({}){others}", harmless(&worst.host), counted(worst.times, "time"))));
    }
    if summary.skipped > 0 {
        remarks.push(("skipped", format!("{}: {}", HumanCount(summary.skipped), listed(&summary.skipped_by_reason))));
    }
    if summary.failed > 0 {
        remarks.push(("failed", format!("{}: {}", HumanCount(summary.failed), listed(&summary.failed_by_kind))));
    }
    remarks
}

pub(super) fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

pub(super) fn listed<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::report::{OverloadedHost, Tally};

    /// A summary with numbers as large as they get.
    fn large(mode: Mode, saved: u64) -> Summary {
        let times = Times { median: 0.123, p95: 12.345, max: 123.456 };
        Summary {
            rows: saved + 300,
            saved,
            failed: 200,
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
            links: 1_234_567,
            link_bytes: 987_654_321_012,
            failed_by_kind: BTreeMap::from([("dns".into(), 100), ("http_status 404".into(), 100)]),
            skipped_by_reason: BTreeMap::from([("already_saved", 100)]),
            overloaded_hosts: vec![OverloadedHost { host: "images.example.org:8443".into(), times: 4_321 }],
            ..Tally::new(mode).summary(Duration::from_secs(12_345), 1)
        }
    }

    fn shown(ended: &str, modes: Vec<Summary>, before: Option<(f64, SystemTime)>) -> String {
        let mut out = Vec::new();
        let report = Report::new("images".into(), ended.into(), modes, 256, before);
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
    fn what_did_not_happen_is_not_said() {
        let text = shown(COMPLETED, vec![Tally::new(Mode::Concurrent).summary(Duration::ZERO, 0)], None);
        assert_eq!(text, "The list is empty: there was nothing to download.\n");
        let refused = shown("the list is no list", vec![Tally::new(Mode::Concurrent).summary(Duration::ZERO, 0)], None);
        assert!(!refused.contains("empty") && refused.contains("the list is no list"), "{refused}");
        let interrupted = shown("interrupted", vec![large(Mode::Concurrent, 10)], None);
        assert!(!interrupted.contains("Speed-up") && !interrupted.contains("The images are in"), "{interrupted}");
    }
}
