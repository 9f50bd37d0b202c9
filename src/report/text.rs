//! The report as text, within 80 columns or those of the terminal.

use std::io::{self, Write};
use std::path::Path;

use console::Term;

use super::words::{basis, counted, figures, forecast, note, remarks, title};
use super::{COMPLETED, Closing, Ending, FailingHost, FailingHosts, Report, SampleImages, Summary};
use crate::record::{ErrorKind, Existing, Mode, Outcome, Record};
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;
use crate::util::wrap::{with_short_urls, wrapped};

/// The columns of a report that is written to a file, or to what is no terminal.
pub const COLUMNS: usize = 80;

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let mut page = Page { out, columns: COLUMNS };
    numbers(&mut page, report)?;
    closing(&mut page, report)?;
    match report.closing.ending {
        Ending::Completed | Ending::Interrupted => Ok(()),
        Ending::ListFault | Ending::Aborted => {
            page.line(&format!("The run did not end by itself: {}", escaped(&report.ended)))
        }
    }
}

/// Writes the report beside what the command says elsewhere: an error that ended the run is not repeated, and a single URL
/// gets a single line. It fits into this number of columns (see [`terminal_columns`]).
///
/// # Errors
/// When `out` cannot be written.
pub fn print(out: &mut impl Write, report: &Report, columns: usize) -> io::Result<()> {
    let mut page = Page { out, columns };
    let rows = report.modes.iter().map(|summary| summary.rows).sum::<u64>();
    if report.closing.ending == Ending::ListFault && rows == 0 {
        return Ok(());
    }
    if let (true, [summary]) = (report.closing.is_single_url, &*report.modes) {
        if let Some(line) = summary.only_record.as_ref().and_then(|record| single_line(record, &report.output)) {
            page.line(&line)?;
        }
        return interruption(&mut page, report);
    }
    numbers(&mut page, report)?;
    closing(&mut page, report)?;
    match report.closing.ending {
        Ending::Completed | Ending::Interrupted => Ok(()),
        Ending::ListFault => page.line("The list was not read to its end."),
        Ending::Aborted => match report.rows_left {
            Some(left) => page.line(&format!("stopped early: {} left", counted(left, "row"))),
            None => page.line("stopped early"),
        },
    }
}

/// The columns of the terminal that standard output is, or standard error, but at most 80. `None` if it is no terminal.
#[must_use]
pub fn terminal_columns(is_on_stderr: bool) -> Option<usize> {
    let terminal = if is_on_stderr { Term::stderr() } else { Term::stdout() };
    terminal.size_checked().map(|(_, width)| usize::from(width).clamp(MIN_COLUMNS, COLUMNS))
}

/// A terminal with fewer columns breaks lines itself.
const MIN_COLUMNS: usize = 20;

/// A text of lines, each with a name and its value (see [`DryRunPlan`](super::DryRunPlan)), in this number of columns.
///
/// # Errors
/// When `out` cannot be written.
pub fn print_fitted(out: &mut impl Write, text: &str, columns: usize) -> io::Result<()> {
    let mut page = Page { out, columns };
    for line in text.lines() {
        match (line.get(..NAME_COLUMNS), line.get(NAME_COLUMNS..)) {
            (Some(name), Some(value)) if line.starts_with("  ") && !value.starts_with("  ") => {
                page.item(name.trim(), value)?;
            }
            _ => page.line(line)?,
        }
    }
    Ok(())
}

/// The columns of a name, with what is before and behind it.
const NAME_COLUMNS: usize = 20;

/// What is said of rows that are to be tried again (`--retry-failed`), if there are none.
pub const NOTHING_TO_RETRY: &str = "There is nothing to try again: no row has failed that may succeed now.";

/// Where the report is written: lines that are broken at blanks.
struct Page<'a, W> {
    out: &'a mut W,
    columns: usize,
}

impl<W: Write> Page<'_, W> {
    /// A line. What follows it, where it is too long, is indented.
    fn line(&mut self, text: &str) -> io::Result<()> {
        if text.chars().count() <= self.columns {
            return writeln!(self.out, "{}", text.trim_end());
        }
        self.wrap(text, "", 2, self.columns)
    }

    /// A sentence behind a word, and indented below it.
    fn paragraph(&mut self, lead: &str, sentence: &str) -> io::Result<()> {
        let columns = self.columns - 2;
        self.wrap(&with_short_urls(sentence, columns - lead.len()), lead, lead.len(), columns)
    }

    /// A name and its value, in two columns if there is room for them.
    fn item(&mut self, name: &str, value: &str) -> io::Result<()> {
        let lead = format!("  {name:<18}");
        if self.columns >= 2 * lead.len() + 20 {
            return self.wrap(value, &lead, lead.len(), self.columns);
        }
        let name = if name.is_empty() { "  ".to_owned() } else { format!("  {name}: ") };
        self.wrap(value, &name, 4, self.columns)
    }

    fn wrap(&mut self, text: &str, first: &str, indent: usize, columns: usize) -> io::Result<()> {
        wrapped(text, columns, first, indent).iter().try_for_each(|line| writeln!(self.out, "{}", line.trim_end()))
    }
}

/// What became of the only row. A failure has been logged.
fn single_line(record: &Record, output: &str) -> Option<String> {
    let shown = |path: &str| escaped(&Path::new(output).join(path).to_string_lossy()).into_owned();
    match &record.outcome {
        Outcome::Saved(saved) => {
            let done = if saved.attempts == 0 { "made anew" } else { "saved" };
            let size = saved.measures.width.zip(saved.measures.height);
            let size = size.map_or_else(String::new, |(width, height)| format!(", {width} x {height}"));
            let format = saved.format.map_or_else(String::new, |format| format!(", {}", format.name()));
            Some(format!("{done} {}, {}{size}{format}", shown(&saved.path), Size::from(saved.bytes)))
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
fn numbers(page: &mut Page<'_, impl Write>, report: &Report) -> io::Result<()> {
    match &*report.modes {
        [first, second] if page.columns >= COLUMNS => side_by_side(page, first, second)?,
        [only] if only.rows == 0 && report.closing.is_retry && report.ended == COMPLETED => {
            page.line(NOTHING_TO_RETRY)?;
        }
        // If there was nothing to fetch, the forecast says so.
        [only] if only.rows == 0 && report.forecast.is_some() => {}
        modes => modes.iter().try_for_each(|summary| single_mode(page, summary, report.ended == COMPLETED))?,
    }
    if let Some(comparison) = &report.comparison {
        let (sequential, concurrent) = (comparison.sequential_seconds, comparison.concurrent_seconds);
        let noted = |mode| note(report, mode).map_or_else(String::new, |note| format!("  {note}"));
        page.line(&format!("One after the other: {sequential:>9.3} seconds{}", noted(Mode::Sequential)))?;
        page.line(&format!("All at once:         {concurrent:>9.3} seconds{}", noted(Mode::Concurrent)))?;
        page.line(&format!("Speed-up:            {:>9.1} times    ({})", comparison.speed_up, basis(comparison)))?;
    }
    for sentence in &report.advice {
        page.paragraph("- ", sentence)?;
    }
    forecast(report).iter().flat_map(|text| text.lines()).try_for_each(|line| page.line(line))
}

/// The last lines: where the images are, which rows failed, where the records are, and what to do next.
fn closing(page: &mut Page<'_, impl Write>, report: &Report) -> io::Result<()> {
    let Some(last) = report.modes.last() else { return interruption(page, report) };
    if report.closing.sample == Some(SampleImages::Dropped) {
        page.line("Nothing was kept: the sample of a set is only looked at")?;
    } else if report.ended == COMPLETED && report.modes.iter().any(|summary| summary.saved + summary.skipped > 0) {
        let what = if last.shard_totals.is_some() { "shards" } else { "images" };
        page.line(&format!("The {what} are in {}", escaped(&report.output)))?;
    }
    let FailingHosts { worst, hosts } = &last.failing_hosts;
    if !worst.is_empty() {
        let interrupted = last.failed_by_kind.get("interrupted").copied().unwrap_or_default();
        page.paragraph("Failed:  ", &failing(worst, *hosts, last.failed - interrupted))?;
        if !report.closing.records.is_empty() {
            page.line(&format!("Records: {}", escaped(&report.closing.records)))?;
        }
        if report.closing.ending == Ending::Completed {
            next(page, report, last)?;
        }
    }
    if let Some(tolerance) = &report.ok_if_failed_below {
        page.paragraph("Allowed: ", &tolerance.sentence())?;
    }
    interruption(page, report)
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
        let name = match &*host.host {
            "" if host.by_kind.keys().all(|kind| kind == ErrorKind::BadUrl.name()) => "in the list itself".into(),
            // Files, and what data: URLs hold.
            "" => "at no host".into(),
            name => format!("at {}", escaped(name)),
        };
        parts.push(format!("{} {name} ({kinds}{rest})", Count(host.failed)));
        named += host.failed;
    }
    let others = hosts.saturating_sub(parts.len() as u64);
    if others > 0 && failed > named {
        let others = if others == 1 { "another host".to_owned() } else { counted(others, "other host") };
        parts.push(format!("{} at {others}", Count(failed - named)));
    }
    parts.join("; ")
}

/// What to do about the rows that failed, with the command.
fn next(page: &mut Page<'_, impl Write>, report: &Report, last: &Summary) -> io::Result<()> {
    let Closing { command, records, listing, existing, sample, retry, .. } = &report.closing;
    if let (Some(retry), false, 1..) = (retry, sample.is_some(), last.failed_retryable) {
        let count = last.failed_retryable;
        let lead = if count == last.failed { String::new() } else { format!("{} may succeed; ", Count(count)) };
        return step(page, &format!("{lead}to try them again, in further shards:"), retry);
    }
    if sample.is_some() || records.is_empty() {
        return Ok(());
    }
    let again = match existing {
        Existing::Keep => "the same command",
        Existing::Refresh => "without --compare, the same command",
        Existing::Replace => "without --overwrite, the same command",
    };
    let (sentence, command) = match last.failed_retryable {
        0 if last.failed == 1 => ("it would not succeed now; to list it:".to_owned(), Some(listing.clone())),
        0 => ("none of them would succeed now; to list them:".to_owned(), Some(listing.clone())),
        count => {
            let command = command.clone().filter(|_| *existing == Existing::Keep);
            let chance = if count == last.failed { String::new() } else { format!("; {} may succeed", Count(count)) };
            let end = if command.is_some() { ":" } else { "" };
            let what = if last.failed == 1 { "it" } else { "them" };
            (format!("{again} tries {what} again{chance}{end}"), command)
        }
    };
    let Some(command) = command else { return page.paragraph("Next:    ", &sentence) };
    step(page, &sentence, &command)
}

/// What to do next, with the command.
fn step(page: &mut Page<'_, impl Write>, sentence: &str, command: &str) -> io::Result<()> {
    // A command is not broken into lines: it is there to be copied.
    if sentence.len() + command.chars().count() + 10 <= page.columns {
        return page.line(&format!("Next:    {sentence} {command}"));
    }
    page.paragraph("Next:    ", sentence)?;
    writeln!(page.out, "  {command}")
}

/// The line of a run that was interrupted.
fn interruption(page: &mut Page<'_, impl Write>, report: &Report) -> io::Result<()> {
    if report.closing.ending != Ending::Interrupted {
        return Ok(());
    }
    let left = report.rows_left.map_or_else(String::new, |left| format!(": {} left", counted(left, "row")));
    let goes_on = match report.closing.existing {
        _ if report.closing.sample.is_some() => "",
        Existing::Keep => "; the same command goes on",
        Existing::Refresh => "; the same command begins anew",
        Existing::Replace => "; without --overwrite, the same command goes on",
    };
    page.line(&format!("interrupted{left}{goes_on}"))
}

/// The section for a run with one mode.
fn single_mode(page: &mut Page<'_, impl Write>, summary: &Summary, completed: bool) -> io::Result<()> {
    if summary.rows == 0 && !completed {
        return Ok(());
    }
    if summary.rows == 0 {
        return page.line("The list is empty: there was nothing to download.");
    }
    page.line(title(summary.mode))?;
    page.line(&download_time(summary))?;
    for (name, value) in figures(summary).iter().filter(|_| summary.saved > 0) {
        page.item(name, value)?;
    }
    for (name, value) in remarks(summary) {
        page.item(name, &value)?;
    }
    page.line("")
}

/// The section for a run with both modes, a column each. Lines that may be long are below the columns.
fn side_by_side(page: &mut Page<'_, impl Write>, first: &Summary, second: &Summary) -> io::Result<()> {
    if first.rows + second.rows == 0 {
        return page.line("The list is empty: there was nothing to download.");
    }
    let titles = [first, second].map(|summary| match summary.mode {
        Mode::Sequential => "Sequential",
        Mode::Concurrent => "Concurrent",
    });
    let mut row = |name: &str, left: &str, right: &str| {
        let line = format!("{name:<16}{left:<31}{right}");
        writeln!(page.out, "{}", line.trim_end())
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
            page.line(&format!("{title}, {name}: {value}"))?;
        }
    }
    page.line("")
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
            failed_by_kind: ["connect", "dns", "http_status 404", "http_status 500", "not_an_image", "timeout", "tls"]
                .map(|kind| (kind.to_owned(), 100))
                .into(),
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
    fn long_lines_are_broken_at_blanks_whatever_the_terminal_is() {
        let both = vec![large(Mode::Sequential, 1_234_567), large(Mode::Concurrent, 1_234_567)];
        let report = Report::new("images".into(), COMPLETED.into(), both, LIMITS, None);
        for columns in [40, 60, 79, 80] {
            let mut out = Vec::new();
            let mut page = Page { out: &mut out, columns };
            numbers(&mut page, &report).and_then(|()| closing(&mut page, &report)).expect("written");
            let text = String::from_utf8(out).expect("UTF-8");
            for line in text.lines() {
                assert!(line.chars().count() <= columns, "{columns} columns: {line}\n{text}");
            }
            let words = text.split_whitespace().collect::<Vec<_>>();
            for whole in ["images.example.org:8443", "not_accepted,", "--fix-extension", "already_saved"] {
                assert!(words.iter().any(|word| word.trim_start_matches('(') == whole), "{whole}\n{text}");
            }
        }
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
