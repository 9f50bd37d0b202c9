//! The report as one HTML page without scripts, and without fonts or style sheets from other files. Only the gallery shows
//! other files: the images themselves.
//!
//! What a chart shows is also on the page in words or in a table. All text from outside (URLs, names and messages) is escaped
//! by the template and by [`escaped`], and the content security policy of the page forbids scripts.

mod charts;
mod gallery;

use std::io::{self, Write};
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::charts::{durations, timeline, waterfall};
use super::trace::{FailureGroup, Trace};
use super::words::{basis, figures, forecast, headline, note, remarks, title};
use super::{COMPLETED, Report, Summary};
use crate::record::Mode;
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

const STYLE: &str = include_str!("style.css");

/// The content security policy of the page: no scripts and no network, only images from where the page is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file: data:";

/// Writes the report. `file` is the path of the page, which must exist already. Its links lead from there to the images in
/// the folder `output`.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut (impl Write + ?Sized), report: &Report, file: &Path, output: &Path) -> io::Result<()> {
    let links = gallery::ImageLinks::new(file, output);
    out.write_all(page(report, &links).into_string().as_bytes())
}

fn page(report: &Report, links: &gallery::ImageLinks) -> Markup {
    let headline = headline(report);
    // Both modes have one scale, so that the lengths of their bars can be compared.
    let span = report.modes.iter().map(|summary| summary.wall_seconds).fold(0.0, f64::max);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="referrer" content="no-referrer";
                title { (headline) " · fetchimg" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (headline) }
                    p.soft { "fetchimg " (report.version) ", " (report.date) ", into " code { (escaped(&report.output)) } }
                }
                main {
                    @if report.ended != COMPLETED {
                        p.bad role="note" {
                            "The run did not end by itself: " (escaped(&report.ended))
                            ". Rows not reached have no record yet; the same command goes on with them."
                        }
                    }
                    (key_numbers(report))
                    @if !report.advice.is_empty() {
                        section.advice aria-label="Advice" { @for sentence in &report.advice { p { (sentence) } } }
                    }
                    @if let Some(forecast) = forecast(report) { h2 { "The whole list" } pre { (forecast) } }
                    @if report.modes.iter().any(|summary| !summary.trace.bars.is_empty()) {
                        h2 { "Downloads, one bar each" }
                        (charts::legend())
                        @for summary in &report.modes { (waterfall(summary, span)) }
                    }
                    (comparison(report))
                    @if report.modes.iter().any(|summary| summary.trace.timeline.alive.len() > 1) {
                        h2 { "Over time" }
                        @for summary in &report.modes { (timeline(summary, span)) }
                    }
                    @if report.modes.iter().any(|summary| !summary.trace.durations.is_empty()) {
                        h2 { "How long downloads took" }
                        (durations(&report.modes))
                    }
                    @if let Some(summary) = report.modes.last() {
                        (slowest(&summary.trace))
                        (hosts(summary))
                        (failures("Failures", &summary.trace.failures, summary.mode, report.modes.len()))
                        (failures("Refused", &summary.trace.refusals, summary.mode, report.modes.len()))
                        (gallery::gallery(&summary.trace, summary.saved, links))
                    }
                }
            }
        }
    }
}

/// The most important numbers.
fn key_numbers(report: &Report) -> Markup {
    html! {
        ul.answer {
            @if let Some(comparison) = &report.comparison {
                li { b { (format!("{:.1} ×", comparison.speed_up)) } "speed-up (" (basis(comparison)) ")" }
                li {
                    b { (format!("{:.3} s", comparison.sequential_seconds)) } "one after the other"
                    @if let Some(note) = note(report, Mode::Sequential) { " " span.soft { (note) } }
                }
                li {
                    b { (format!("{:.3} s", comparison.concurrent_seconds)) } "all at once"
                    @if let Some(note) = note(report, Mode::Concurrent) { " " span.soft { (note) } }
                }
            } @else {
                @for summary in &report.modes {
                    li { b { (format!("{:.3} s", summary.wall_seconds)) } (summary.mode.name()) }
                }
            }
            @if let Some(last) = report.modes.last() {
                li { b { (Count(last.saved)) } "saved, " (Size::from(last.bytes)) }
                li { b.bad[last.failed > 0] { (Count(last.failed)) } "failed" }
                @if last.refused > 0 { li { b { (Count(last.refused)) } "refused" } }
                @if last.skipped > 0 { li { b { (Count(last.skipped)) } "skipped" } }
            }
        }
    }
}

/// All figures, with a column for each mode.
fn comparison(report: &Report) -> Markup {
    let columns = report.modes.iter().map(|summary| {
        let time = ("download time", format!("{:.3} s", summary.wall_seconds));
        // In the text report, a heading explains the three numbers below it. Here the names of the rows do.
        let named = figures(summary).into_iter().filter(|(name, _)| !name.is_empty()).map(|(name, value)| match name {
            "first byte" => ("first byte: median, p95, max", value),
            "whole download" => ("whole download: median, p95, max", value),
            name => (name, value),
        });
        std::iter::once(time).chain(named).collect::<Vec<_>>()
    });
    let columns = columns.collect::<Vec<_>>();
    html! {
        @if let Some(first) = columns.first() {
            h2 { "Figures" }
            div.wide tabindex="0" role="region" aria-label="Figures" {
                table.numbers {
                    thead { tr {
                        th scope="col" { span.sr { "Figure" } }
                        @for summary in &report.modes { th scope="col" { (title(summary.mode)) } }
                    } }
                    tbody {
                        @for (row, (name, _)) in first.iter().enumerate() {
                            tr {
                                th scope="row" { (name) }
                                @for column in &columns { td { (column[row].1) } }
                            }
                        }
                    }
                }
            }
            @for summary in &report.modes {
                @let remarks = remarks(summary);
                @if !remarks.is_empty() {
                    ul {
                        @for (name, value) in remarks {
                            li { @if report.modes.len() > 1 { (summary.mode.name()) ", " } (name) ": " (value) }
                        }
                    }
                }
            }
        }
    }
}

fn slowest(trace: &Trace) -> Markup {
    html! {
        // If all downloads are in the waterfall chart, the slowest are visible there.
        @if trace.downloads > trace.bars.len() as u64 {
            h2 { "The slowest" }
            (numbers("The slowest downloads", &["URL", "First byte", "Whole", "Requests"], &html! {
                @for bar in &trace.slowest {
                    tr {
                        th scope="row" { (escaped(&bar.url)) @if let Some(kind) = &bar.failure { " " span.bad { (kind) } } @if let Some(kind) = &bar.refusal { " " span.soft { (kind) } } }
                        td { (bar.timing.ttfb_ms.map_or_else(|| "none".to_owned(), charts::seconds)) }
                        td { (charts::seconds(bar.timing.total_ms)) }
                        td { (bar.attempts) }
                    }
                }
            }))
        }
    }
}

/// A table of numbers with the names of its columns. Its first column has the names of the rows. It may be wider than the
/// page, and then it can be scrolled with the keyboard.
fn numbers(label: &str, columns: &[&str], rows: &Markup) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table.numbers {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody { (rows) }
            }
        }
    }
}

const HOST_COLUMNS: [&str; 9] =
    ["Host", "Saved", "Refused", "Failed", "Requests", "Size", "First byte, mean", "Whole, mean", "Overloaded"];

fn hosts(summary: &Summary) -> Markup {
    let trace = &summary.trace;
    let overloads =
        |name: &str| summary.overloaded_hosts.iter().find(|host| host.host == name).map_or(0, |host| host.times);
    html! {
        @if !trace.hosts.is_empty() {
            h2 { "Hosts" }
            @if trace.hosts_met > trace.hosts.len() as u64 {
                p.soft {
                    "The " (trace.hosts.len()) " with the most rows, of " (Count(trace.hosts_met))
                    @if trace.more_hosts { " that were counted; there were more" } "."
                }
            }
            (numbers("Hosts", &HOST_COLUMNS, &html! {
                @for host in &trace.hosts {
                    tr {
                        th scope="row" { (escaped(&host.host)) }
                        td { (Count(host.saved)) }
                        td { (Count(host.refused)) }
                        td.bad[host.failed > 0] { (Count(host.failed)) }
                        td { (Count(host.requests)) }
                        td { (Size::from(host.bytes)) }
                        td { (format!("{:.3} s", host.mean_first_byte_seconds)) }
                        td { (format!("{:.3} s", host.mean_download_seconds)) }
                        td { (Count(overloads(&host.host))) }
                    }
                }
            }))
        }
    }
}

fn failures(title: &str, groups: &[FailureGroup], mode: Mode, passes: usize) -> Markup {
    let others = |group: &FailureGroup| group.count - group.examples.len() as u64;
    html! {
        @if !groups.is_empty() {
            h2 { (title) @if passes > 1 { " (" (mode.name()) ")" } }
            @for group in groups {
                h3 { (Count(group.count)) " × " code { (group.kind) } }
                @if let Some(advice) = group.advice { p { (advice) } }
                ul {
                    @for example in &group.examples {
                        li { (escaped(&example.url)) @if !example.url.is_empty() { ": " } (escaped(&example.message)) }
                    }
                    @if others(group) > 0 { li.soft { "and " (Count(others(group))) " more" } }
                }
            }
        }
    }
}
