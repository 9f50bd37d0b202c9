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
    if report.ended == COMPLETED && report.modes.iter().any(|summary| summary.saved + summary.skipped > 0) {
        writeln!(out, "The images are in {}", harmless(&report.output))?;
    }
    if report.ended != COMPLETED {
        writeln!(out, "The run did not end by itself: {}", harmless(&report.ended))?;
        writeln!(out, "Rows that were not reached have no record yet; the same command goes on with them.")?;
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

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

fn listed<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count))).collect::<Vec<_>>().join(", ")
}
