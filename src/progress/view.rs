//! Arranges the status of a pass in lines that fit the terminal.
//!
//! The most important segments of a line are placed first, and a segment that does not fit is left out as a whole. A line is
//! at least one column shorter than the terminal, because terminals differ in where the cursor goes after a full line.
//! These are pure functions from a status and a size to lines.

use std::fmt::Write as _;

use console::measure_text_width;

use super::facts::Total;
use super::failures::FailureGroup;
use super::in_flight::SlowDownload;
use super::status::Status;
use super::words::{byte_rate, down, failure, origin, position, rate, roughly, short, throttled, time_left};
use crate::util::human::{Count, Size, counted};
use crate::util::redact::escaped;

/// The most lines of the view, on a terminal of any height.
const MAX_LINES: usize = 8;

/// In fewer columns than this, the numbers are on a line of their own, below the bar.
const WIDE_COLUMNS: usize = 60;

/// Columns of the bar, without its two ends: the fewest, those that it gets before less important segments are placed, and
/// the most.
const MIN_BAR_COLUMNS: usize = 8;
const USUAL_BAR_COLUMNS: usize = 16;
const MAX_BAR_COLUMNS: usize = 30;

/// An example of a failure is left out in fewer columns.
const MIN_EXAMPLE_COLUMNS: usize = 12;

/// The fewest columns for the name of a host that does not answer.
const MIN_HOST_COLUMNS: usize = 8;

/// Columns between two segments of a line.
const GAP_COLUMNS: usize = 2;

/// The label of the lines with the slowest downloads.
const SLOWEST_LABEL: &str = "slowest ";

/// The size of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// The kind of a line, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Progress.
    Plain,
    /// Failures.
    Failure,
    /// Hosts that have throttled, or do not answer.
    Throttled,
}

/// One line of the view, without colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewLine {
    /// The text.
    pub text: String,
    /// Its kind.
    pub tone: Tone,
}

/// The lines for a status. `unicode` says whether the terminal shows characters outside ASCII.
pub fn lines(status: &Status, size: ViewSize, unicode: bool) -> Vec<ViewLine> {
    let width = usize::from(size.width).saturating_sub(1).max(1);
    let height = usize::from(size.height);
    // At most a third of the terminal, so that log lines stay visible.
    let max_lines = (height / 3 + 1).min(height.saturating_sub(1)).clamp(1, MAX_LINES);
    let view = View { status, width, unicode };
    let plain = |text| ViewLine { text, tone: Tone::Plain };
    let mut lines = Vec::with_capacity(max_lines);
    let numbers = view.numbers();
    if width < WIDE_COLUMNS && max_lines > 2 {
        lines.extend([view.line(view.progress()), view.line(numbers)].map(plain));
    } else {
        let mut segments = view.progress();
        if max_lines == 1 && status.failed > 0 {
            segments.push(Segment::new(2, [format!("{} failed", Count(status.failed))]));
        }
        segments.extend(numbers);
        lines.push(plain(view.line(segments)));
    }
    let shares = Shares::of(status, max_lines.saturating_sub(lines.len()));
    lines.extend(view.failures(shares.failures).into_iter().map(|text| ViewLine { text, tone: Tone::Failure }));
    lines.extend(view.down(shares.down).into_iter().map(|text| ViewLine { text, tone: Tone::Throttled }));
    if !status.throttled.is_empty() {
        let is_narrow = width < WIDE_COLUMNS;
        let host_columns = match (is_narrow, status.throttled.len()) {
            (false, _) => width / 3,
            (true, 1) => width.saturating_sub(20),
            (true, _) => width.saturating_sub(28).max(8),
        };
        let hosts = status.throttled.iter().map(|host| {
            let name = view.shortened(&escaped(&host.host), host_columns);
            throttled(&name, host, is_narrow)
        });
        let lead = if is_narrow { "throttled " } else { "throttled: " };
        lines.push(ViewLine { text: view.list(lead, hosts.collect(), "; "), tone: Tone::Throttled });
    }
    lines.extend(status.slowest.iter().enumerate().map(|(number, slow)| plain(view.slow(slow, number == 0))));
    lines.truncate(max_lines);
    for line in &mut lines {
        line.text = console::truncate_str(&line.text, width, "").into_owned();
    }
    lines
}

/// How many lines failures and hosts that do not answer get.
struct Shares {
    failures: usize,
    down: usize,
}

/// The most lines with hosts that do not answer.
const MAX_DOWN_LINES: usize = 3;

impl Shares {
    /// Divides `free` lines. Each kind of line gets one; then failures and hosts that do not answer get more, in turns.
    fn of(status: &Status, free: usize) -> Self {
        let wanted_failures = if status.failed == 0 {
            0
        } else {
            // One more line where the groups that are shown are not all, or none is.
            let are_all = !status.groups.is_empty() && status.all_groups == status.groups.len();
            status.groups.len() + usize::from(!are_all)
        };
        let wanted_down = status.down.len().min(MAX_DOWN_LINES);
        let (mut failures, mut down) = (wanted_failures.min(1), wanted_down.min(1));
        let others = usize::from(!status.throttled.is_empty()) + usize::from(!status.slowest.is_empty());
        let mut left = free.saturating_sub(failures + down + others);
        while left > 0 && (failures < wanted_failures || down < wanted_down) {
            let is_down_next = down < wanted_down && (down < failures || failures == wanted_failures);
            if is_down_next {
                down += 1;
            } else {
                failures += 1;
            }
            left -= 1;
        }
        Self { failures, down }
    }
}

struct View<'a> {
    status: &'a Status,
    /// Columns that may be used.
    width: usize,
    unicode: bool,
}

/// A part of a line that is shown as a whole or not at all, in one of several forms, the longest first.
struct Segment {
    /// Its importance; 0 is the most important.
    rank: u8,
    forms: Vec<String>,
    /// Whether it is the bar, which takes all columns that are left.
    is_bar: bool,
}

impl Segment {
    fn new<const FORMS: usize>(rank: u8, forms: [String; FORMS]) -> Self {
        Self { rank, forms: forms.into(), is_bar: false }
    }

    /// A number, right-aligned in `width` columns if they are available. Otherwise the segments after it, and the length of
    /// the bar, would change with its number of digits.
    fn number(rank: u8, number: String, width: usize) -> Self {
        Self::new(rank, [format!("{number:>width$}"), number])
    }
}

/// Segments with this rank or a higher one are placed after all others have got their longest forms.
const OPTIONAL_RANK: u8 = 6;

impl View<'_> {
    /// The segments that show how far the pass is.
    fn progress(&self) -> Vec<Segment> {
        let Status { ended, total, title, .. } = *self.status;
        let mut segments = Vec::with_capacity(4);
        if !title.is_empty() {
            segments.push(Segment::new(1, [title.to_owned()]));
        }
        if !matches!(total, Total::Unknown | Total::Known(0)) {
            segments.push(Segment { is_bar: true, ..Segment::new(4, [" ".repeat(MIN_BAR_COLUMNS + 2)]) });
        }
        let ended = Count(ended).to_string();
        segments.push(match total {
            Total::Known(total) => {
                let total = Count(total).to_string();
                Segment::number(0, format!("{ended}/{total}"), 2 * total.len() + 1)
            }
            Total::About(total) => {
                let total = roughly(total).to_string();
                let wide = format!("{ended:>0$} of about {total}", total.len());
                Segment::new(0, [wide, format!("{ended}/~{total}")])
            }
            Total::Unknown => Segment::new(0, [format!("{ended} so far"), ended]),
        });
        if total == Total::Unknown {
            let reading = "list still being read";
            segments.push(Segment::new(2, [format!("end unknown: {reading}"), reading.to_owned()]));
        }
        segments
    }

    /// The segments that show how fast the pass is, and the time that is left.
    fn numbers(&self) -> Vec<Segment> {
        let status = self.status;
        let mut segments = Vec::with_capacity(7);
        if status.skipped > 0 {
            segments.push(Segment::new(OPTIONAL_RANK, [format!("{} skipped", Count(status.skipped))]));
        }
        if status.refused > 0 {
            segments.push(Segment::new(5, [format!("{} refused", Count(status.refused))]));
        }
        segments.push(Segment::number(3, rate(status.rates.saved), 6));
        segments.push(Segment::number(5, byte_rate(status.rates.bytes), 10));
        segments.push(Segment::number(5, Size::from(status.bytes).to_string(), 8));
        if let Some((open, complete)) = status.shards {
            let complete = counted(complete, "shard");
            segments.push(Segment::new(OPTIONAL_RANK, [format!("{complete} and {open} open"), complete]));
        }
        if status.last_in_flight().is_none() {
            segments.push(Segment::new(OPTIONAL_RANK + 1, [format!("{} under way", Count(status.in_flight))]));
        }
        segments.push(Segment::new(OPTIONAL_RANK, [format!("in {}", short(status.elapsed))]));
        if let Some(time) = status.time_left() {
            segments.push(Segment::new(2, [format!("{:<15}", time_left(time)), format!("~{}", short(time))]));
        } else if let Some(last) = status.last_in_flight() {
            segments.push(Segment::new(2, [format!("last {last} under way"), format!("last {last}")]));
        }
        segments
    }

    /// A line with as many of the segments as fit, in their order.
    fn line(&self, segments: Vec<Segment>) -> String {
        let mut by_rank = (0..segments.len()).collect::<Vec<_>>();
        by_rank.sort_by_key(|at| segments[*at].rank);
        let (required, optional): (Vec<_>, Vec<_>) =
            by_rank.into_iter().partition(|at| segments[*at].rank < OPTIONAL_RANK);
        let mut chosen = vec![None; segments.len()];
        let mut free = self.width + GAP_COLUMNS;
        for (group, for_bar) in [(required, 0), (optional, USUAL_BAR_COLUMNS - MIN_BAR_COLUMNS)] {
            let for_bar = if segments.iter().any(|segment| segment.is_bar) { free.min(for_bar) } else { 0 };
            free -= for_bar;
            // The shortest form of each segment, then longer forms for the most important ones.
            for at in &group {
                let shortest = segments[*at].forms.len() - 1;
                let taken = measure_text_width(&segments[*at].forms[shortest]) + GAP_COLUMNS;
                // The most important segment is always placed. If it does not fit, the line is cut.
                if taken <= free || segments[*at].rank == 0 {
                    chosen[*at] = Some(shortest);
                    free = free.saturating_sub(taken);
                }
            }
            for at in group {
                let Some(form) = chosen[at] else { continue };
                let forms = &segments[at].forms;
                let more = |longer: usize| measure_text_width(&forms[longer]) - measure_text_width(&forms[form]);
                if let Some(longer) = (0..form).find(|longer| more(*longer) <= free) {
                    free -= more(longer);
                    chosen[at] = Some(longer);
                }
            }
            free += for_bar;
        }
        let mut line = String::with_capacity(self.width);
        for (segment, form) in segments.into_iter().zip(chosen) {
            let Some(form) = form else { continue };
            if !line.is_empty() {
                line.push_str("  ");
            }
            if segment.is_bar {
                line.push_str(&self.bar((MIN_BAR_COLUMNS + free).min(MAX_BAR_COLUMNS)));
            } else {
                line.push_str(&segment.forms[form]);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The bar with the share of the rows that have ended.
    fn bar(&self, width: usize) -> String {
        // Blocks of zero to seven eighths of a column.
        const BLOCKS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let (Total::Known(total) | Total::About(total)) = self.status.total else { return String::new() };
        let eighths = u128::from(self.status.ended.min(total)) * 8 * width as u128 / u128::from(total.max(1));
        let eighths = usize::try_from(eighths).unwrap_or(0);
        let (full, rest) = (eighths / 8, eighths % 8);
        let drawn = if self.unicode {
            format!("{}{}", "█".repeat(full), BLOCKS[rest])
        } else {
            format!("{}{}", "=".repeat(full), if full < width && eighths > 0 { ">" } else { "" })
        };
        format!("[{drawn}{}]", " ".repeat(width.saturating_sub(measure_text_width(&drawn))))
    }

    /// A line with as many of the items as fit, and the number of the others.
    fn list(&self, lead: &str, items: Vec<String>, separator: &str) -> String {
        let mut line = lead.to_owned();
        let count = items.len();
        for (number, item) in items.into_iter().enumerate() {
            let more = |count: usize| if count == 0 { String::new() } else { format!("{separator}{count} more") };
            let (rest, before) = (count - number - 1, if number == 0 { "" } else { separator });
            let taken = measure_text_width(&line) + before.len() + measure_text_width(&item) + more(rest).len();
            // The first item is always shown. If it does not fit, the line is cut.
            if number > 0 && taken > self.width {
                line.push_str(&more(rest + 1));
                break;
            }
            line.push_str(before);
            line.push_str(&item);
        }
        line
    }

    /// The lines of failures, at most `max`: one for each host and kind, if there are lines for all of them; otherwise one
    /// with the kinds, and the hosts and kinds with the most failures below it.
    fn failures(&self, max: usize) -> Vec<String> {
        if max == 0 {
            return Vec::new();
        }
        let groups = &self.status.groups;
        let mut lines = Vec::with_capacity(max);
        if groups.is_empty() || self.status.all_groups > groups.len().min(max) {
            let kinds = self.status.failures.iter().map(failure).collect();
            lines.push(self.list(&format!("{} failed: ", Count(self.status.failed)), kinds, ", "));
        }
        let left = max - lines.len();
        lines.extend(groups.iter().take(left).map(|group| self.group(group)));
        lines
    }

    /// The line of the failures of one kind at one host, with one of them where there is room.
    fn group(&self, group: &FailureGroup) -> String {
        let mut line = match group.kind.http_status() {
            Some(status) if self.width < WIDE_COLUMNS => format!("failed: {}x {status}", Count(group.count)),
            None if self.width < WIDE_COLUMNS => format!("failed: {}x {}", Count(group.count), group.kind),
            _ => format!("failed: {} {}", Count(group.count), group.kind),
        };
        let free = |line: &str, lead: &str| self.width.saturating_sub(measure_text_width(line) + lead.len());
        let columns = free(&line, " at ");
        if !group.host.is_empty() && columns >= MIN_HOST_COLUMNS {
            line = format!("{line} at {}", self.shortened(&escaped(&group.host), columns));
        }
        let lead = if group.count > 1 { ", such as " } else { ": " };
        let path = group.url.split_once("://").map_or(&*group.url, |(_, rest)| rest);
        let path = path.strip_prefix(&*group.host).unwrap_or(path);
        let example = if path.is_empty() { &*group.message } else { path };
        let columns = free(&line, lead);
        if columns < MIN_EXAMPLE_COLUMNS {
            return line;
        }
        format!("{line}{lead}{}", self.shortened(&escaped(example), columns))
    }

    /// The lines of the hosts that do not answer, at most `max`. The last one says how many more there are.
    fn down(&self, max: usize) -> Vec<String> {
        let is_narrow = self.width < WIDE_COLUMNS;
        let hosts = &self.status.down;
        let lines = hosts.iter().take(max).enumerate().map(|(number, host)| {
            let without_name = measure_text_width(&down("", host, is_narrow));
            let mut more = match hosts.len() - max.min(hosts.len()) {
                others @ 1.. if number + 1 == max => format!("; {others} more"),
                _ => String::new(),
            };
            if without_name + more.len() + MIN_HOST_COLUMNS > self.width {
                more.clear();
            }
            let columns = self.width.saturating_sub(without_name + more.len()).max(MIN_HOST_COLUMNS);
            format!("{}{more}", down(&self.shortened(&escaped(&host.host), columns), host, is_narrow))
        });
        lines.collect()
    }

    /// The line of a slow download.
    fn slow(&self, slow: &SlowDownload, is_first: bool) -> String {
        let mut line = match (self.width < WIDE_COLUMNS, is_first) {
            (true, _) => String::new(),
            (false, true) => SLOWEST_LABEL.to_owned(),
            (false, false) => " ".repeat(SLOWEST_LABEL.len()),
        };
        let position = if self.width < WIDE_COLUMNS && slow.bytes > 0 {
            Size::from(slow.bytes).to_string()
        } else {
            position(slow)
        };
        let tries = match slow.attempt {
            attempt @ 2.. if self.width >= WIDE_COLUMNS => format!(", try {attempt}"),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, "{:>4}  {position}{tries}  ", short(slow.time));
        let free = self.width.saturating_sub(measure_text_width(&line));
        line.push_str(&self.shortened(&origin(slow, self.ellipsis()), free));
        line
    }

    const fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A text of at most `width` columns, cut in its middle: the beginning and the end of a URL say most.
    fn shortened(&self, text: &str, width: usize) -> String {
        if measure_text_width(text) <= width {
            return text.to_owned();
        }
        let free = width.saturating_sub(measure_text_width(self.ellipsis()));
        let head = console::truncate_str(text, free / 2, "");
        let tails = text.char_indices().rev().map(|(at, _)| &text[at..]);
        let tail = tails.take_while(|tail| measure_text_width(tail) <= free - free / 2).last().unwrap_or_default();
        format!("{head}{}{tail}", self.ellipsis())
    }
}

#[cfg(test)]
mod tests;
