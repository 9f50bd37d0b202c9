//! The charts of a pass, each with its numbers in words or in a table.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::record::Mode;
use crate::report::Summary;
use crate::report::timeline::Timeline;
use crate::report::trace::{DurationBucket, WaterfallBar};
use crate::report::words::{title, whole};
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

/// Up to this number of bars, each bar has its own name beside it.
const MAX_NAMED_BARS: usize = 40;

/// Milliseconds, printed in seconds.
pub fn seconds(milliseconds: f64) -> String {
    format!("{:.3} s", milliseconds / 1000.0)
}

/// The meaning of the colours of the bars.
pub fn legend() -> Markup {
    html! {
        ul.legend {
            @for (class, meaning) in [
                ("turn", "waiting for its turn"),
                ("wait", "waiting to try again"),
                ("first", "connecting and first byte"),
                ("body", "body"),
                ("refused", "refused"),
                ("lost", "failed"),
            ] { li { i class=(class) {} (meaning) } }
        }
    }
}

/// The waterfall chart: a bar for each download. The whole width is `span` seconds.
pub fn waterfall(summary: &Summary, span: f64) -> Markup {
    let trace = &summary.trace;
    let is_dense = trace.bars.len() > MAX_NAMED_BARS;
    let shown = trace.bars.len() as u64;
    html! {
        @if !trace.bars.is_empty() {
            table.bars.dense[is_dense] {
                caption {
                    b { (title(summary.mode)) } ": " (format!("{:.3} s", summary.wall_seconds))
                    @if shown < trace.downloads {
                        ". " (Count(shown)) " of " (Count(trace.downloads)) " downloads, picked evenly from the list."
                    }
                }
                thead { tr {
                    th scope="col" { "File" }
                    th scope="col" {
                        span.scale {
                            @for part in 0..=4 { span { (format!("{:.*}", digits(span), span * f64::from(part) / 4.0)) @if part == 4 { " s" } } }
                        }
                    }
                    th scope="col" { "Took" }
                } }
                tbody { @for bar in &trace.bars { (row(bar, span * 1000.0)) } }
            }
        }
    }
}

/// The number of decimals that distinguish quarters of the span.
fn digits(span: f64) -> usize {
    match span {
        0.0..1.0 => 3,
        1.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    }
}

/// The row of one download. The whole width is `span` milliseconds.
fn row(bar: &WaterfallBar, span: f64) -> Markup {
    let timing = bar.timing;
    let waited = timing.waited_ms.unwrap_or(0.0);
    let first = timing.ttfb_ms.unwrap_or(timing.total_ms).max(waited);
    let rest = (timing.total_ms - first).max(0.0);
    let lost = match (&bar.failure, &bar.refusal) {
        (Some(_), _) => Some("lost"),
        (None, Some(_)) => Some("refused"),
        (None, None) => None,
    };
    let parts = [
        ("turn", timing.start_ms),
        ("wait", waited),
        (lost.filter(|_| rest == 0.0).unwrap_or("first"), first - waited),
        (lost.unwrap_or("body"), rest),
    ];
    let width = |part: f64| format!("width:{:.3}%", (part / span.max(0.001) * 100.0).clamp(0.0, 100.0));
    html! {
        tr {
            th scope="row" title=(escaped(&bar.url)) { (cut_in_the_middle(&escaped(name(&bar.url)))) }
            td {
                div.track aria-hidden="true" {
                    @for (class, part) in parts { @if part > 0.0 { i class=(class) style=(width(part)) {} } }
                }
                span.sr {
                    "began at " (seconds(timing.start_ms))
                    @if waited > 0.0 { ", waited " (seconds(waited)) " to try again" }
                    @if let Some(first) = timing.ttfb_ms { ", first byte after " (seconds(first)) }
                    @if let Some(kind) = &bar.failure { ", failed: " (kind) }
                    @if let Some(kind) = &bar.refusal { ", refused: " (kind) }
                }
            }
            td { (seconds(timing.total_ms)) }
        }
    }
}

/// The last segment of the path of a URL.
fn name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/');
    path.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(url)
}

/// The number of characters at the end of a name that are always shown.
const TAIL_CHARS: usize = 9;

/// A name that is cut in the middle where there is no room for all of it: the ends of names tell files apart.
fn cut_in_the_middle(name: &str) -> Markup {
    let tail = name.char_indices().rev().nth(TAIL_CHARS - 1).map_or(0, |(at, _)| at);
    let (head, tail) = name.split_at(tail);
    html! { span.name { @if !head.is_empty() { span { (head) } } span { (tail) } } }
}

/// The charts of throughput and of downloads in flight over time. The whole width is `span` seconds.
pub fn timeline(summary: &Summary, span: f64) -> Markup {
    let Timeline { bin_seconds, bytes, alive } = &summary.trace.timeline;
    let rates = bytes.iter().map(|bytes| bytes / bin_seconds).collect::<Vec<_>>();
    let width = span / bin_seconds;
    let max_rate = Size::from(whole(rates.iter().copied().fold(0.0, f64::max)));
    let mean_rate = Size::from(whole(summary.bytes_per_second));
    let mean_in_flight = summary.sum_of_downloads_seconds / summary.wall_seconds.max(0.001);
    let speed = format!("{mean_rate}/s on average, {max_rate}/s at most");
    let in_flight = format!("{mean_in_flight:.1} on average, {} at most", summary.most_alive);
    html! {
        @if alive.len() > 1 {
            h3 { (title(summary.mode)) }
            div.charts {
                (chart("Throughput", &speed, &rates, width, span))
                (chart("Downloads under way", &in_flight, alive, width, span))
            }
            (table(summary, *bin_seconds, bytes, alive))
        }
    }
}

/// A chart of values per bin. `width` is the number of bins in `span` seconds, which are the whole width.
fn chart(what: &str, words: &str, values: &[f64], width: f64, span: f64) -> Markup {
    let most = values.iter().copied().fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let mut path = "M0 100".to_owned();
    for (bin, value) in values.iter().enumerate() {
        // A step for each bin, because its value is a mean. The highest step has 95 % of the height.
        let height = 100.0 - value / most * 95.0;
        let _ = write!(path, "L{bin} {height:.1}H{}", bin + 1);
    }
    let _ = write!(path, "V100Z");
    html! {
        figure {
            figcaption { b { (what) } ": " (words) }
            svg.chart viewBox=(format!("0 0 {width:.3} 100")) preserveAspectRatio="none" role="img" aria-label=(format!("{what}: {words}")) {
                path d=(path);
            }
            div.scale.soft aria-hidden="true" { span { "0" } span { (format!("{span:.*} s", digits(span))) } }
        }
    }
}

/// The most rows of the table that has the same numbers as the charts, for readers who cannot see them.
const MAX_TABLE_ROWS: usize = 20;

fn table(summary: &Summary, bin_seconds: f64, bytes: &[f64], alive: &[f64]) -> Markup {
    let bins_per_row = alive.len().div_ceil(MAX_TABLE_ROWS).max(1);
    #[expect(clippy::cast_precision_loss, reason = "fewer than a thousand")]
    let float = |number: usize| number as f64;
    html! {
        details {
            summary { "The same as a table (" (summary.mode.name()) ")" }
            table.numbers {
                thead { tr {
                    th scope="col" { "From" }
                    th scope="col" { "Throughput" }
                    th scope="col" { "Downloads under way" }
                } }
                tbody {
                    @for (row, (bytes, alive)) in bytes.chunks(bins_per_row).zip(alive.chunks(bins_per_row)).enumerate() {
                        @let seconds = float(bytes.len()) * bin_seconds;
                        tr {
                            th scope="row" { (format!("{:.3} s", float(row * bins_per_row) * bin_seconds)) }
                            td { (Size::from(whole(bytes.iter().sum::<f64>() / seconds))) "/s" }
                            td { (format!("{:.1}", alive.iter().sum::<f64>() / float(alive.len()))) }
                        }
                    }
                }
            }
        }
    }
}

/// The histograms of durations, one for each mode.
pub fn durations(modes: &[Summary]) -> Markup {
    html! {
        div.charts { @for summary in modes { (histogram(summary.mode, &summary.trace.durations)) } }
    }
}

fn histogram(mode: Mode, buckets: &[DurationBucket]) -> Markup {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1).max(1);
    #[expect(clippy::cast_precision_loss, reason = "shown")]
    let width = |count: u64| format!("width:{:.2}%", count as f64 / most as f64 * 100.0);
    html! {
        @if !buckets.is_empty() {
            table.bars {
                caption { b { (title(mode)) } }
                thead { tr { th scope="col" { "Up to" } th scope="col" { span.sr { "Share" } } th scope="col" { "Saved" } } }
                tbody {
                    @for bucket in buckets {
                        tr {
                            th scope="row" { (format!("{:.3} s", bucket.at_most_seconds)) }
                            td { div.track aria-hidden="true" { i.body style=(width(bucket.count)) {} } }
                            td { (Count(bucket.count)) }
                        }
                    }
                }
            }
        }
    }
}
