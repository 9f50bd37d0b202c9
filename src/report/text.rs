//! The report as text, within 80 columns.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use indicatif::{BinaryBytes, HumanCount};

use super::{Basis, Mode, Report, Summary, Times};
use crate::shown::harmless;

/// Writes the report.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for summary in &report.modes {
        pass(out, summary)?;
    }
    if let Some(comparison) = &report.comparison {
        let (sequential, concurrent) = (comparison.sequential_seconds, comparison.concurrent_seconds);
        let note = |mode: Mode| match &comparison.basis {
            Basis::Estimated { mode: estimated } if *estimated == mode => match mode {
                Mode::Sequential => "  (estimate: single downloads added up)".to_owned(),
                Mode::Concurrent => "  (estimate: no shorter than the longest)".to_owned(),
            },
            Basis::MeasuredBefore { date } if report.modes.iter().all(|ran| ran.mode != mode) => {
                format!("  (measured {date})")
            }
            _ => String::new(),
        };
        let measured = match comparison.basis {
            Basis::Measured => "measured",
            Basis::MeasuredBefore { .. } => "measured in two runs",
            Basis::Estimated { .. } => "estimated",
        };
        writeln!(out, "One after the other: {sequential:>9.3} seconds{}", note(Mode::Sequential))?;
        writeln!(out, "All at once:         {concurrent:>9.3} seconds{}", note(Mode::Concurrent))?;
        writeln!(out, "Speed-up:            {:>9.1} times    ({measured})", comparison.speed_up)?;
    }
    if report.modes.iter().any(|summary| summary.saved > 0) {
        writeln!(out, "The images are in {}", harmless(&report.output))?;
    }
    if report.ended != "completed" {
        writeln!(out, "The run did not end by itself: {}", harmless(&report.ended))?;
    }
    Ok(())
}

fn pass(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    if summary.rows == 0 {
        return writeln!(out, "The list is empty: there was nothing to download.");
    }
    let mode = match summary.mode {
        Mode::Sequential => "Sequential, one after the other",
        Mode::Concurrent => "Concurrent, one task per URL",
    };
    writeln!(out, "{mode}")?;
    writeln!(out, "Download time: {:.3} seconds", summary.wall_seconds)?;
    let mut line = |name: &str, value: &dyn Display| writeln!(out, "  {name:<18}{value}");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown")]
    let byte_rate = summary.bytes_per_second as u64;
    line("saved", &format_args!("{} images, {}", HumanCount(summary.saved), BinaryBytes(summary.bytes)))?;
    line("rate", &format_args!("{:.1} images/s, {}/s", summary.images_per_second, BinaryBytes(byte_rate)))?;
    for (name, times) in [("first byte", summary.first_byte_seconds), ("whole download", summary.download_seconds)] {
        if let Some(Times { median, p95, max }) = times {
            line(name, &format_args!("median {median:.3} s, p95 {p95:.3} s, max {max:.3} s"))?;
        }
    }
    line("at once", &format_args!("{} at most", summary.most_alive))?;
    if summary.retries > 0 {
        line("tried again", &format_args!("{} times", HumanCount(summary.retries)))?;
    }
    if summary.extension_mismatches > 0 {
        let count = HumanCount(summary.extension_mismatches);
        line("wrong extension", &format_args!("{count} (--fix-extension names them by content)"))?;
    }
    if summary.skipped > 0 {
        line("skipped", &format_args!("{}: {}", HumanCount(summary.skipped), listed(&summary.skipped_by_reason)))?;
    }
    if summary.failed > 0 {
        line("failed", &format_args!("{}: {}", HumanCount(summary.failed), listed(&summary.failed_by_kind)))?;
    }
    writeln!(out)
}

fn listed<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{} {name}", HumanCount(*count))).collect::<Vec<_>>().join(", ")
}
