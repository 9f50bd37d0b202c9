//! The report as text, within 80 columns.

use std::io::{self, Write};
use std::path::Path;

use super::words::{basis, counted, figures, note, remarks, title};
use super::{COMPLETED, Closing, Ending, FailingHost, FailingHosts, Report, Summary};
use crate::record::{Existing, Mode, Outcome, Record};
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    numbers(out, report)?;
    closing(out, report)?;
    match report.closing.ending {
        Ending::Completed | Ending::Interrupted => Ok(()),
        Ending::ListFault | Ending::Aborted => {
            writeln!(out, "The run did not end by itself: {}", escaped(&report.ended))
        }
    }
}

/// Writes the report beside what the command says elsewhere: an error that ended the run is not repeated, and a single URL
/// gets a single line.
///
/// # Errors
/// When `out` cannot be written.
pub fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let rows = report.modes.iter().map(|summary| summary.rows).sum::<u64>();
    if report.closing.ending == Ending::ListFault && rows == 0 {
        return Ok(());
    }
    if let (true, [summary]) = (report.closing.is_single_url, &*report.modes) {
        if let Some(line) = summary.only_record.as_ref().and_then(|record| single_line(record, &report.output)) {
            writeln!(out, "{line}")?;
        }
        return interruption(out, report);
    }
    numbers(out, report)?;
    closing(out, report)?;
    match report.closing.ending {
        Ending::Completed | Ending::Interrupted => Ok(()),
        Ending::ListFault => writeln!(out, "The list was not read to its end."),
        Ending::Aborted => match report.rows_left {
            Some(left) => writeln!(out, "stopped early: {} left", counted(left, "row")),
            None => writeln!(out, "stopped early"),
        },
    }
}

/// What became of the only row. A failure has been logged.
fn single_line(record: &Record, output: &str) -> Option<String> {
    let shown = |path: &str| escaped(&Path::new(output).join(path).to_string_lossy()).into_owned();
    match &record.outcome {
        Outcome::Saved(saved) => {
            let size = saved.measures.width.zip(saved.measures.height);
            let size = size.map_or_else(String::new, |(width, height)| format!(", {width} x {height}"));
            let format = saved.format.map_or_else(String::new, |format| format!(", {}", format.name()));
            Some(format!("saved {}, {}{size}{format}", shown(&saved.path), Size::from(saved.bytes)))
        }
        Outcome::Skipped(skipped) => {
            let path = skipped.path.as_deref().map_or_else(String::new, |path| format!(" {}", shown(path)));
            Some(format!("skipped{path}, {}", skipped.reason.name()))
        }
        Outcome::Refused(refused) => Some(format!("refused, {}", escaped(&refused.message))),
        Outcome::Failed(_) => None,
    }
}

/// The numbers of the passes, their comparison, the advice and the forecast.
fn numbers(out: &mut impl Write, report: &Report) -> io::Result<()> {
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
        paragraph(out, "- ", sentence)?;
    }
    if let Some(forecast) = &report.forecast {
        forecast.write_text(out)?;
    }
    Ok(())
}

/// The last lines: where the images are, which rows failed, where the records are, and what to do next.
fn closing(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let Some(last) = report.modes.last() else { return interruption(out, report) };
    if report.ended == COMPLETED && report.modes.iter().any(|summary| summary.saved + summary.skipped > 0) {
        let what = if last.shard_totals.is_some() { "shards" } else { "images" };
        writeln!(out, "The {what} are in {}", escaped(&report.output))?;
    }
    let FailingHosts { worst, hosts } = &last.failing_hosts;
    if !worst.is_empty() {
        let interrupted = last.failed_by_kind.get("interrupted").copied().unwrap_or_default();
        paragraph(out, "Failed:  ", &failing(worst, *hosts, last.failed - interrupted))?;
        if !report.closing.records.is_empty() {
            writeln!(out, "Records: {}", escaped(&report.closing.records))?;
        }
        if report.closing.ending == Ending::Completed {
            next(out, report, last)?;
        }
    }
    interruption(out, report)
}

/// The hosts with the most failures that are named.
const MAX_HOSTS_NAMED: usize = 3;

/// The kinds of failures that are named for each of them.
const MAX_KINDS_NAMED: usize = 2;

/// The hosts with the most failures, each with its kinds. `failed`: the failures of all hosts.
fn failing(worst: &[FailingHost], hosts: u64, failed: u64) -> String {
    let mut parts = Vec::with_capacity(MAX_HOSTS_NAMED + 1);
    let mut named = 0;
    for host in worst.iter().take(MAX_HOSTS_NAMED) {
        let mut kinds = host.by_kind.iter().collect::<Vec<_>>();
        kinds.sort_by(|(name, one), (next, other)| other.cmp(one).then_with(|| name.cmp(next)));
        let rest = if kinds.len() > MAX_KINDS_NAMED { " and others" } else { "" };
        let kinds = kinds.iter().take(MAX_KINDS_NAMED).map(|(kind, _)| kind.as_str()).collect::<Vec<_>>().join(", ");
        let name =
            if host.host.is_empty() { "in the list itself".into() } else { format!("at {}", escaped(&host.host)) };
        parts.push(format!("{} {name} ({kinds}{rest})", Count(host.failed)));
        named += host.failed;
    }
    let others = hosts.saturating_sub(parts.len() as u64);
    if others > 0 && failed > named {
        parts.push(format!("{} at {}", Count(failed - named), counted(others, "other host")));
    }
    parts.join("; ")
}

/// What to do about the rows that failed, with the command.
fn next(out: &mut impl Write, report: &Report, last: &Summary) -> io::Result<()> {
    let Closing { command, records, listing, existing, is_sample, retry, .. } = &report.closing;
    if let (Some(retry), false, 1..) = (retry, *is_sample, last.failed_retryable) {
        let count = last.failed_retryable;
        let lead = if count == last.failed { String::new() } else { format!("{} may succeed; ", Count(count)) };
        return step(out, &format!("{lead}to try them again, in further shards:"), retry);
    }
    if *is_sample || records.is_empty() {
        return Ok(());
    }
    let again = match existing {
        Existing::Keep => "the same command",
        Existing::Refresh => "without --compare, the same command",
        Existing::Replace => "without --overwrite, the same command",
    };
    let (sentence, command) = match last.failed_retryable {
        0 => ("none of them would succeed now; to list them:".to_owned(), Some(listing.clone())),
        count => {
            let command = command.clone().filter(|_| *existing == Existing::Keep);
            let chance = if count == last.failed { String::new() } else { format!("; {} may succeed", Count(count)) };
            let end = if command.is_some() { ":" } else { "" };
            (format!("{again} tries them again{chance}{end}"), command)
        }
    };
    let Some(command) = command else { return paragraph(out, "Next:    ", &sentence) };
    step(out, &sentence, &command)
}

/// What to do next, with the command.
fn step(out: &mut impl Write, sentence: &str, command: &str) -> io::Result<()> {
    // A command is not broken into lines: it is there to be copied.
    if sentence.len() + command.chars().count() + 10 <= 80 {
        return writeln!(out, "Next:    {sentence} {command}");
    }
    paragraph(out, "Next:    ", sentence)?;
    writeln!(out, "  {command}")
}

/// The line of a run that was interrupted.
fn interruption(out: &mut impl Write, report: &Report) -> io::Result<()> {
    if report.closing.ending != Ending::Interrupted {
        return Ok(());
    }
    let left = report.rows_left.map_or_else(String::new, |left| format!(": {} left", counted(left, "row")));
    let goes_on = match report.closing.existing {
        _ if report.closing.is_sample => "",
        Existing::Keep => "; the same command goes on",
        Existing::Refresh => "; the same command begins anew",
        Existing::Replace => "; without --overwrite, the same command goes on",
    };
    writeln!(out, "interrupted{left}{goes_on}")
}

/// A sentence within 80 columns, behind a word and indented below it.
fn paragraph(out: &mut impl Write, lead: &str, sentence: &str) -> io::Result<()> {
    let indent = " ".repeat(lead.len());
    let options = textwrap::Options::new(78).initial_indent(lead).subsequent_indent(&indent);
    textwrap::wrap(sentence, options).iter().try_for_each(|line| writeln!(out, "{line}"))
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
