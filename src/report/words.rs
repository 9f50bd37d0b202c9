//! The words and numbers that all formats of the report share, so that the formats agree.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Basis, Changed, Comparison, Percentiles, Report, Summary};
use crate::record::{Mode, Reason, ShardTotals};
pub use crate::util::human::counted;
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

/// The name of a mode and what it means.
#[must_use]
pub const fn title(mode: Mode) -> &'static str {
    match mode {
        Mode::Sequential => "Sequential, one after the other",
        Mode::Concurrent => "Concurrent, one task per URL",
    }
}

/// The result of the run in one line.
#[must_use]
pub fn headline(report: &Report) -> String {
    let Some(last) = report.modes.last() else { return "The run could not begin".to_owned() };
    let images = counted(last.saved, "image");
    let there = already_there(last);
    let others = [(last.refused, "refused"), (last.failed, "failed")].into_iter().filter(|(count, _)| *count > 0);
    let failed = others.fold(String::new(), |text, (count, what)| format!("{text}, {} {what}", Count(count)));
    match (&*report.modes, &report.comparison) {
        ([_, _], Some(comparison)) => {
            format!("{images}: {:.1} times as fast all at once{failed}", comparison.speed_up)
        }
        _ if there > 0 && last.saved == 0 => {
            format!("{}, there already{failed}", counted(there, "image"))
        }
        _ if is_remade(last) => format!("{images} made anew in {:.3} seconds{failed}", last.wall_seconds),
        _ if there > 0 => {
            let (all, new) = (counted(there + last.saved, "image"), Count(last.saved));
            format!("{all}: {new} in {:.3} seconds, {} there already{failed}", last.wall_seconds, Count(there))
        }
        _ => format!("{images} in {:.3} seconds{failed}", last.wall_seconds),
    }
}

/// The number of images that earlier runs have saved.
#[must_use]
pub fn already_there(summary: &Summary) -> u64 {
    summary.skipped_by_reason.get(Reason::AlreadySaved.name()).copied().unwrap_or_default()
}

/// Whether a speed-up was measured or estimated.
#[must_use]
pub const fn basis(comparison: &Comparison) -> &'static str {
    match comparison.basis {
        Basis::Measured => "measured",
        Basis::MeasuredBefore { .. } => "measured in two runs",
        Basis::Estimated { .. } => "estimated, at most",
    }
}

/// Where the time of a mode comes from, if it did not run in this run.
#[must_use]
pub fn note(report: &Report, mode: Mode) -> Option<String> {
    match &report.comparison.as_ref()?.basis {
        Basis::Estimated { mode: estimated } if *estimated == mode => Some(match mode {
            Mode::Sequential => "at most  (estimate: all downloads added)".to_owned(),
            Mode::Concurrent => "at least  (estimate: by the longest one)".to_owned(),
        }),
        Basis::MeasuredBefore { date } if report.modes.iter().all(|ran| ran.mode != mode) => {
            Some(format!("(measured {date})"))
        }
        _ => None,
    }
}

/// Whether all images of a pass were made anew from their stored files, so that nothing was downloaded.
fn is_remade(summary: &Summary) -> bool {
    summary.saved > 0 && summary.changed.remade_from_files == summary.saved
}

/// The figures that can be compared between modes, by name. Each has at most 30 characters. Those of downloads are left out
/// if there were none.
pub fn figures(summary: &Summary) -> Vec<(&'static str, String)> {
    let byte_rate = whole(summary.bytes_per_second);
    let times = |times: Option<Percentiles>| {
        times.map_or("none".to_owned(), |Percentiles { median, p95, max }| format!("{median:.3}, {p95:.3}, {max:.3} s"))
    };
    let saved = ("saved", format!("{}, {}", counted(summary.saved, "image"), Size::from(summary.bytes)));
    if is_remade(summary) {
        return vec![saved];
    }
    vec![
        saved,
        ("rate", format!("{:.1} images/s, {}/s", summary.images_per_second, Size::from(byte_rate))),
        ("", "median, p95, max".to_owned()),
        ("first byte", times(summary.first_byte_seconds)),
        ("whole download", times(summary.download_seconds)),
        ("at once", format!("{} at most", summary.most_alive)),
    ]
}

/// The number of images that are made anew, and where from.
pub fn made_anew(images: u64, from_files: u64) -> String {
    let from = match from_files {
        0 if images == 1 => "fetched again".to_owned(),
        0 => "all of them fetched again".to_owned(),
        all if all == images => "from stored files, without a request".to_owned(),
        some => format!("{} of them from stored files, without a request", Count(some)),
    };
    format!("{}, {from}", counted(images, "image"))
}

/// The remarks on a pass, by name: numbers that are shown only if they are not zero.
pub fn remarks(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut remarks = Vec::new();
    let Changed { remade, remade_from_files, renamed, .. } = summary.changed;
    if remade > 0 {
        remarks.push(("made anew", made_anew(remade, remade_from_files)));
    }
    if renamed > 0 {
        remarks.push(("renamed", counted(renamed, "file")));
    }
    if summary.retries > 0 {
        remarks.push(("tried again", counted(summary.retries, "time")));
    }
    if summary.extension_mismatches > 0 {
        let count = Count(summary.extension_mismatches);
        remarks.push(("wrong extension", format!("{count} (--fix-extension names them by content)")));
    }
    if summary.smaller_than_box > 0 {
        remarks.push((
            "smaller",
            format!("{} had fewer pixels than the box of --resize", counted(summary.smaller_than_box, "image")),
        ));
    }
    if !summary.empty_columns.is_empty() {
        let columns = summary.empty_columns.iter();
        let columns = columns.map(|(name, count)| format!("{} in {}", escaped(name), counted(*count, "row")));
        remarks.push(("empty columns", columns.collect::<Vec<_>>().join(", ")));
    }
    if summary.links > 0 {
        let (links, bytes) = (counted(summary.links, "link"), Size::from(summary.link_bytes));
        remarks.push(("same content", format!("{links}, {bytes} not stored again")));
    }
    if let (Some(shards), None) = (summary.shards, summary.shard_totals) {
        remarks.push(("shards", format!("{} completed", Count(shards))));
    }
    if let Some(totals) = &summary.shard_totals {
        remarks.extend(of_shards(totals));
    }
    if let Some((worst, others)) = summary.overloaded_hosts.split_first() {
        let others = if others.is_empty() {
            String::new()
        } else {
            format!(" and {} more", counted(others.len() as u64, "host"))
        };
        remarks.push(("overloaded", format!("{} ({}){others}", escaped(&worst.host), counted(worst.times, "time"))));
    }
    if summary.skipped > 0 {
        remarks.push(("skipped", format!("{}: {}", Count(summary.skipped), listed(&summary.skipped_by_reason))));
    }
    if summary.refused > 0 {
        remarks.push(("refused", format!("{}: {}", Count(summary.refused), listed(&summary.refused_by_kind))));
    }
    if summary.failed > 0 {
        remarks.push(("failed", format!("{}: {}", Count(summary.failed), listed(&summary.failed_by_kind))));
    }
    remarks
}

/// The remarks on shards: how many there are, and what is in them.
fn of_shards(totals: &ShardTotals) -> Vec<(&'static str, String)> {
    let of = |rows, samples| format!("{}, {} with an image", counted(rows, "row"), Count(samples));
    let ShardTotals { completed, rows, samples, bytes, present, present_rows, present_samples, behind, unfinished } =
        *totals;
    let made = format!("{} completed", Count(completed));
    let made = if rows > 0 { format!("{made}: {}, {}", of(rows, samples), Size::from(bytes)) } else { made };
    let mut remarks = vec![("shards", made)];
    if present > 0 {
        remarks.push(("shards before", format!("{}: {}", Count(present), of(present_rows, present_samples))));
    }
    if behind > 0 {
        remarks.push(("left over", format!("{} behind the end of the list", counted(behind, "shard"))));
    }
    if unfinished > 0 {
        remarks.push(("unfinished", format!("{}, kept for the next run", counted(unfinished, "shard"))));
    }
    remarks
}

/// Counts with their names, separated by commas.
pub fn listed<K: Display>(counts: &BTreeMap<K, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{} {name}", Count(*count))).collect::<Vec<_>>().join(", ")
}

/// The forecast as text, if there is one.
#[must_use]
pub fn forecast(report: &Report) -> Option<String> {
    let mut text = Vec::new();
    report.forecast.as_ref()?.write_text(&mut text).ok()?;
    String::from_utf8(text).ok()
}

/// The integer part of a number; negative numbers become 0.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "shown")]
pub fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
