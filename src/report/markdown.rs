//! The report as GitHub Flavored Markdown, for pull requests, issues and blog posts.

use std::io::{self, Write};

use super::trace::{FailureGroup, Trace, WaterfallBar};
use super::words::{basis, figures, forecast, headline, note, remarks, title};
use super::{COMPLETED, Report, Summary};
use crate::record::Mode;
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

/// Writes the report.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut (impl Write + ?Sized), report: &Report) -> io::Result<()> {
    writeln!(out, "# {}\n", headline(report))?;
    if report.ended != COMPLETED {
        writeln!(out, "**The run did not end by itself:** {}\n", code(&report.ended))?;
    }
    numbers(out, report)?;
    if let Some(comparison) = &report.comparison {
        let noted = |mode| note(report, mode).map_or_else(String::new, |note| format!(" {note}"));
        let (sequential, concurrent) = (comparison.sequential_seconds, comparison.concurrent_seconds);
        writeln!(out, "- One after the other: {sequential:.3} seconds{}", noted(Mode::Sequential))?;
        writeln!(out, "- All at once: {concurrent:.3} seconds{}", noted(Mode::Concurrent))?;
        writeln!(out, "- Speed-up: **{:.1} times** ({})\n", comparison.speed_up, basis(comparison))?;
    }
    if let Some(forecast) = forecast(report) {
        writeln!(out, "## The whole list\n\n```text\n{}\n```\n", forecast.trim_end())?;
    }
    bars(out, report)?;
    if !report.advice.is_empty() {
        writeln!(out, "## Advice\n")?;
        for sentence in &report.advice {
            writeln!(out, "- {}", plain(sentence))?;
        }
        writeln!(out)?;
    }
    if let Some(tolerance) = &report.ok_if_failed_below {
        writeln!(out, "{}.\n", tolerance.sentence())?;
    }
    if let Some(last) = report.modes.last() {
        hosts(out, &last.trace)?;
        failures(out, "Failures", &last.trace.failures)?;
        failures(out, "Refused", &last.trace.refusals)?;
    }
    writeln!(out, "fetchimg {}, {}, into {}", report.version, report.date, code(&report.output))
}

/// The figures, with a column for each mode.
fn numbers(out: &mut (impl Write + ?Sized), report: &Report) -> io::Result<()> {
    if report.modes.is_empty() {
        return Ok(());
    }
    let mut row = |name: &str, value: &dyn Fn(&Summary) -> String| {
        let cells = report.modes.iter().map(value).collect::<Vec<_>>().join(" | ");
        writeln!(out, "| {name} | {cells} |")
    };
    row("", &|summary| title(summary.mode).to_owned())?;
    row("---", &|_| "---".to_owned())?;
    row("download time", &|summary| format!("{:.3} seconds", summary.wall_seconds))?;
    // In the text report, a heading explains the three numbers below it. Here the names of the rows do.
    let names = [
        ("saved", "saved"),
        ("rate", "rate"),
        ("first byte", "first byte: median, p95, max"),
        ("whole download", "whole download: median, p95, max"),
        ("at once", "at once"),
    ];
    let is_given =
        |name: &str| report.modes.iter().any(|summary| figures(summary).iter().any(|(other, _)| *other == name));
    for (name, label) in names.into_iter().filter(|(name, _)| is_given(name)) {
        row(label, &|summary| {
            figures(summary).into_iter().find(|(other, _)| *other == name).map_or_else(String::new, |(_, value)| value)
        })?;
    }
    writeln!(out)?;
    for summary in &report.modes {
        for (name, value) in remarks(summary) {
            let mode = if report.modes.len() > 1 { format!("{}, ", summary.mode.name()) } else { String::new() };
            writeln!(out, "- {mode}{name}: {}", plain(&value))?;
        }
    }
    writeln!(out)
}

/// Downloads are drawn as bars if a pass has at most this number of them.
const MAX_BARS: usize = 40;

/// The width of the chart, in characters.
const CHART_COLUMNS: usize = 56;

/// The downloads as bars of characters, with both modes on one scale.
fn bars(out: &mut (impl Write + ?Sized), report: &Report) -> io::Result<()> {
    let is_short = |summary: &Summary| (1..=MAX_BARS).contains(&summary.trace.bars.len());
    let span = report.modes.iter().map(|summary| summary.wall_seconds * 1000.0).fold(0.0, f64::max);
    if !report.modes.iter().all(is_short) || span <= 0.0 {
        return Ok(());
    }
    writeln!(out, "## Downloads\n\n```text")?;
    for summary in &report.modes {
        writeln!(out, "{}: {:.3} seconds", title(summary.mode), summary.wall_seconds)?;
        for bar in &summary.trace.bars {
            // Three backticks would end the code block.
            writeln!(out, "{} {}", name(&bar.url).replace('`', "'"), drawn(bar, span).trim_end())?;
        }
        writeln!(out)?;
    }
    writeln!(out, "· its turn had not come  ░ connecting and first byte  █ body  - refused  x failed\n```\n")
}

/// The last segment of the path of a URL, in 16 columns.
fn name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    let name = escaped(path.rsplit('/').next().unwrap_or(path)).into_owned();
    console::pad_str(&name, 16, console::Alignment::Left, Some("…")).into_owned()
}

fn drawn(bar: &WaterfallBar, span: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "columns")]
    let column = |time: f64| ((time / span * CHART_COLUMNS as f64).round() as usize).min(CHART_COLUMNS);
    let timing = bar.timing;
    let begin = column(timing.start_ms);
    let end = column(timing.start_ms + timing.total_ms).max(begin + 1);
    // A failure is visible even if it came with the header of the response.
    let (body, min_columns) = match (&bar.failure, &bar.refusal) {
        (Some(_), _) => ("x", 1),
        (None, Some(_)) => ("-", 1),
        (None, None) => ("█", 0),
    };
    let first = column(timing.start_ms + timing.ttfb_ms.unwrap_or(timing.total_ms)).clamp(begin, end - min_columns);
    ["·".repeat(begin), "░".repeat(first - begin), body.repeat(end - first)].concat()
}

fn hosts(out: &mut (impl Write + ?Sized), trace: &Trace) -> io::Result<()> {
    if trace.hosts.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Hosts\n")?;
    if trace.hosts_met > trace.hosts.len() as u64 {
        let more = if trace.more_hosts { " that were counted; there were more" } else { "" };
        writeln!(
            out,
            "The {} with the most failures and rows, of {}{more}.\n",
            trace.hosts.len(),
            Count(trace.hosts_met)
        )?;
    }
    writeln!(out, "| host | saved | refused | failed | requests | size | first byte, mean | whole, mean |")?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for host in &trace.hosts {
        // A host that has never answered has no times.
        let time = |seconds: f64| {
            if host.saved > 0 && host.requests > 0 { format!("{seconds:.3} s") } else { "none".to_owned() }
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            code(&host.host),
            Count(host.saved),
            Count(host.refused),
            Count(host.failed),
            Count(host.requests),
            Size::from(host.bytes),
            time(host.mean_first_byte_seconds),
            time(host.mean_download_seconds),
        )?;
    }
    writeln!(out)
}

fn failures(out: &mut (impl Write + ?Sized), title: &str, groups: &[FailureGroup]) -> io::Result<()> {
    if groups.is_empty() {
        return Ok(());
    }
    writeln!(out, "## {title}\n")?;
    for group in groups {
        let advice = group.advice.map_or_else(String::new, |advice| format!(" ({advice})"));
        writeln!(out, "- {} × `{}`{advice}", Count(group.count), group.kind)?;
        for example in &group.examples {
            writeln!(out, "  - {}", [&*example.url, &*example.message].map(code).join(" "))?;
        }
    }
    writeln!(out)
}

/// Text from outside as a code span, in which it is neither Markdown nor HTML and cannot end a table cell.
fn code(text: &str) -> String {
    let text = escaped(text).replace('`', "'").replace('|', "\\|");
    if text.is_empty() { text } else { format!("`{text}`") }
}

/// A sentence of this program, which may contain text from outside, with the characters of Markdown and HTML escaped.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '<' | '>' | '[' | ']' | '*' | '`' | '|' | '\\' | '&' | '#' | '!' | '_') {
            shown.push('\\');
        }
        shown.push(character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_neither_markdown_nor_html() {
        assert_eq!(code("a`<b>`|c\u{1b}"), "`a'<b>'\\|c\\u{1b}`");
        assert_eq!(plain("[x](y) <img> a_b"), "\\[x\\](y) \\<img\\> a\\_b");
    }
}
