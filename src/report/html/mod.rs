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
use super::trace::{FailureExample, FailureGroup, HostFailures, HostSummary, Trace};
use super::words::{already_there, basis, counted, figures, forecast, headline, note, remarks, title};
use super::{COMPLETED, Report, Summary};
use crate::record::Mode;
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

const STYLE: &str = include_str!("style.css");

/// The content security policy of the page: no scripts and no network, only images from where the page is.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' file: data:";

/// Where the page is, and what it refers to.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The page, which must exist already.
    pub page: &'a Path,
    /// The folder of the images.
    pub output: &'a Path,
    /// The file with all records.
    pub records: &'a Path,
}

/// Writes the report. Its links lead from the page to the images.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut (impl Write + ?Sized), report: &Report, paths: Paths) -> io::Result<()> {
    let links = gallery::ImageLinks::new(paths.page, paths.output);
    out.write_all(page(report, &links, paths.records).into_string().as_bytes())
}

fn page(report: &Report, links: &gallery::ImageLinks, records: &Path) -> Markup {
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
                    @if let Some(tolerance) = &report.ok_if_failed_below { p { (tolerance.sentence()) "." } }
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
                        (failures(report, summary, records))
                        (refusals(&summary.trace.refusals))
                        (gallery::gallery(summary, links))
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
                @let there = already_there(last);
                @if there > 0 { li { b { (Count(there)) } "there already" } }
                @if last.skipped > there { li { b { (Count(last.skipped - there)) } "skipped" } }
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
            @let names = report.modes.iter().map(|summary| title(summary.mode));
            @let rows = first.iter().enumerate().map(|(row, (name, _))| {
                (html! { (name) }, columns.iter().map(|column| html! { (column[row].1) }).collect())
            });
            (numbers("Figures", &std::iter::once("Figure").chain(names).collect::<Vec<_>>(), rows.collect()))
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
            (numbers("The slowest downloads", &["URL", "First byte", "Whole", "Requests"], trace.slowest.iter().map(|bar| {
                let name = html! {
                    (escaped(&bar.url))
                    @if let Some(kind) = &bar.failure { " " span.bad { (kind) } }
                    @if let Some(kind) = &bar.refusal { " " span.soft { (kind) } }
                };
                let first = bar.timing.ttfb_ms.map_or_else(|| "none".to_owned(), charts::seconds);
                (name, vec![
                    html! { (first) },
                    html! { (charts::seconds(bar.timing.total_ms)) },
                    html! { (bar.attempts) },
                ])
            }).collect()))
        }
    }
}

/// A row of a table: its name, and what is in the other columns.
type NumbersRow = (Markup, Vec<Markup>);

/// A table of numbers with the names of its columns. Its first column has the names of the rows. On a narrow screen, each
/// row is a block in which each number has the name of its column beside it.
fn numbers(label: &str, columns: &[&str], rows: Vec<NumbersRow>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(label) {
            table.numbers {
                thead { tr { @for column in columns { th scope="col" { (column) } } } }
                tbody {
                    @for (name, cells) in rows {
                        tr {
                            th scope="row" { (name) }
                            @for (column, cell) in columns.iter().skip(1).zip(cells) {
                                td data-column=(column) { span { (cell) } }
                            }
                        }
                    }
                }
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
    let row = |host: &HostSummary| {
        // A host that has never answered, or was never asked, has no times.
        let time = |seconds: f64| {
            if host.saved > 0 && host.requests > 0 { format!("{seconds:.3} s") } else { "none".to_owned() }
        };
        let cells = vec![
            html! { (Count(host.saved)) },
            html! { (Count(host.refused)) },
            html! { span.bad[host.failed > 0] { (Count(host.failed)) } },
            html! { (Count(host.requests)) },
            html! { (Size::from(host.bytes)) },
            html! { (time(host.mean_first_byte_seconds)) },
            html! { (time(host.mean_download_seconds)) },
            html! { (Count(overloads(&host.host))) },
        ];
        (html! { (escaped(&host.host)) }, cells)
    };
    html! {
        @if !trace.hosts.is_empty() {
            h2 { "Hosts" }
            @if trace.hosts_met > trace.hosts.len() as u64 {
                p.soft {
                    "The " (trace.hosts.len()) " with the most failures and rows, of " (Count(trace.hosts_met))
                    @if trace.more_hosts { " that were counted; there were more" } "."
                }
            }
            (numbers("Hosts", &HOST_COLUMNS, trace.hosts.iter().map(row).collect()))
        }
    }
}

/// The rows that the filters have refused, by kind.
fn refusals(groups: &[FailureGroup]) -> Markup {
    html! {
        @if !groups.is_empty() {
            h2 { "Refused" }
            ul { @for group in groups { (failures_of_kind(&group.kind, group.count, group.examples.first())) } }
        }
    }
}

/// The failures: by kind, and then by host.
fn failures(report: &Report, summary: &Summary, records: &Path) -> Markup {
    let trace = &summary.trace;
    html! {
        @if !trace.failures.is_empty() {
            h2 { "Failures" @if report.modes.len() > 1 { " (" (summary.mode.name()) ")" } }
            @if summary.shard_totals.is_some() {
                p.soft {
                    "Their records are in the tables of the shards, and "
                    code { "fetchimg --retry-failed -o " (escaped(&report.output)) } " tries those again that may succeed now."
                }
            } @else { p.soft {
                "Their records are in " code { (escaped(&records.display().to_string())) } ", and "
                code { "fetchimg --status --failed -o " (escaped(&report.output)) } " shows them."
            } }
            ul.kinds {
                @for group in &trace.failures {
                    li { (Count(group.count)) " × " code { (group.kind) } @if let Some(advice) = group.advice { ": " (advice) } }
                }
            }
            @for host in trace.hosts.iter().filter(|host| host.failed > 0) {
                h3 { (escaped(&host.host)) " " span.soft { (Count(host.failed)) " of " (counted(host.saved + host.refused + host.failed, "row")) } }
                ul { @for HostFailures { kind, count, example } in &host.failures { (failures_of_kind(kind, *count, Some(example))) } }
            }
            @let others = trace.failures_elsewhere();
            @if !others.is_empty() {
                h3 { @if trace.hosts.is_empty() { "Rows without a host" } @else { "Other hosts, and rows without one" } }
                ul { @for (group, count) in others { (failures_of_kind(&group.kind, count, trace.example_elsewhere(group))) } }
            }
        }
    }
}

fn failures_of_kind(kind: &str, count: u64, example: Option<&FailureExample>) -> Markup {
    html! {
        li {
            (Count(count)) " × " code { (kind) }
            @if let Some(FailureExample { url, message }) = example {
                br;
                span.soft { @if count > 1 { "such as " } (escaped(url)) @if !url.is_empty() { ": " } (escaped(message)) }
            }
        }
    }
}
