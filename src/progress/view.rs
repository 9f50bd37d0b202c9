//! A look at a pass in lines that fit a terminal.
//!
//! What matters most gets its place first, what does not fit is left out as a whole, and no line is wider than the
//! terminal less one column, for terminals differ in what a full line does. Pure functions: a status and a size in,
//! lines out.

use std::fmt::Write as _;

use console::measure_text_width;

use super::in_flight::Slow;
use super::status::{Status, Total};
use super::words::{byte_rate, failure, left, place, position, rate, roughly, short, throttled};
use crate::util::human::{Count, Size};
use crate::util::redact::escaped;

/// However high the terminal is.
const MOST_LINES: usize = 8;

/// On a terminal that is narrower the numbers have a line of their own, below the bar.
const NARROW: usize = 60;

/// Columns of the bar, without its ends: at least, before there is anything that matters less, and at most.
const SHORTEST_BAR: usize = 8;
const USUAL_BAR: usize = 16;
const LONGEST_BAR: usize = 30;

/// Columns between two pieces of a line.
const GAP: usize = 2;

/// The word before the slowest downloads.
const SLOWEST: &str = "slowest ";

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// How it goes.
    Plain,
    /// What went wrong.
    Bad,
    /// What is held back.
    Slow,
}

/// One line, without colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// What it tells.
    pub tone: Tone,
}

/// The status in lines. `unicode`: whether the terminal shows more than ASCII.
pub fn lines(status: &Status, size: ViewSize, unicode: bool) -> Vec<Line> {
    let width = usize::from(size.width).saturating_sub(1).max(1);
    let height = usize::from(size.height);
    // A third of the terminal, so that what the log says stays in sight.
    let most = (height / 3 + 1).min(height.saturating_sub(1)).clamp(1, MOST_LINES);
    let view = View { status, width, unicode };
    let plain = |text| Line { text, tone: Tone::Plain };
    let mut lines = Vec::with_capacity(most);
    let numbers = view.numbers();
    if width < NARROW && most > 2 {
        lines.extend([view.line(view.progress()), view.line(numbers)].map(plain));
    } else {
        let mut pieces = view.progress();
        if most == 1 && status.failed > 0 {
            pieces.push(Piece::new(2, [format!("{} failed", Count(status.failed))]));
        }
        pieces.extend(numbers);
        lines.push(plain(view.line(pieces)));
    }
    if status.failed > 0 {
        let kinds = status.failures.iter().map(failure).collect();
        lines.push(Line {
            text: view.list(&format!("{} failed: ", Count(status.failed)), kinds, ", "),
            tone: Tone::Bad,
        });
    }
    if !status.throttled.is_empty() {
        let is_narrow = width < NARROW;
        let room = match (is_narrow, status.throttled.len()) {
            (false, _) => width / 3,
            (true, 1) => width.saturating_sub(20),
            (true, _) => width.saturating_sub(28).max(8),
        };
        let hosts = status.throttled.iter().map(|spared| {
            let host = view.shortened(&escaped(&spared.host), room);
            throttled(&host, spared, is_narrow)
        });
        let lead = if is_narrow { "throttled " } else { "throttled: " };
        lines.push(Line { text: view.list(lead, hosts.collect(), "; "), tone: Tone::Slow });
    }
    lines.extend(status.slowest.iter().enumerate().map(|(number, slow)| plain(view.slow(slow, number == 0))));
    lines.truncate(most);
    for line in &mut lines {
        line.text = console::truncate_str(&line.text, width, "").into_owned();
    }
    lines
}

struct View<'a> {
    status: &'a Status,
    /// Columns that may be used.
    width: usize,
    unicode: bool,
}

/// A part of a line that is shown as a whole or not at all, in one of several forms, the longest first.
struct Piece {
    /// The lower, the more it matters.
    rank: u8,
    forms: Vec<String>,
    /// It is the bar, which takes what room is left.
    is_bar: bool,
}

impl Piece {
    fn new<const FORMS: usize>(rank: u8, forms: [String; FORMS]) -> Self {
        Self { rank, forms: forms.into(), is_bar: false }
    }

    /// A number, in the room of the longer ones to come where there is some: or whatever stands behind it, and the length
    /// of the bar, would change with it.
    fn number(rank: u8, number: String, width: usize) -> Self {
        Self::new(rank, [format!("{number:>width$}"), number])
    }
}

/// What matters less than that waits until the others have got their longest forms.
const LESS: u8 = 6;

impl View<'_> {
    /// How far it is.
    fn progress(&self) -> Vec<Piece> {
        let Status { ended, total, title, .. } = *self.status;
        let mut pieces = Vec::with_capacity(4);
        if !title.is_empty() {
            pieces.push(Piece::new(1, [title.to_owned()]));
        }
        if !matches!(total, Total::Unknown | Total::Known(0)) {
            pieces.push(Piece { is_bar: true, ..Piece::new(4, [" ".repeat(SHORTEST_BAR + 2)]) });
        }
        let ended = Count(ended).to_string();
        pieces.push(match total {
            Total::Known(total) => {
                let total = Count(total).to_string();
                Piece::number(0, format!("{ended}/{total}"), 2 * total.len() + 1)
            }
            Total::About(total) => {
                let total = roughly(total).to_string();
                let wide = format!("{ended:>0$} of about {total}", total.len());
                Piece::new(0, [wide, format!("{ended}/~{total}")])
            }
            Total::Unknown => Piece::new(0, [format!("{ended} so far"), ended]),
        });
        if total == Total::Unknown {
            let reading = "list still being read";
            pieces.push(Piece::new(2, [format!("end unknown: {reading}"), reading.to_owned()]));
        }
        pieces
    }

    /// How fast it goes, and until when.
    fn numbers(&self) -> Vec<Piece> {
        let status = self.status;
        let mut pieces = Vec::with_capacity(6);
        if status.skipped > 0 {
            pieces.push(Piece::new(LESS, [format!("{} skipped", Count(status.skipped))]));
        }
        pieces.push(Piece::number(3, rate(status.rates.rows), 6));
        pieces.push(Piece::number(5, byte_rate(status.rates.bytes), 10));
        pieces.push(Piece::number(5, Size::from(status.bytes).to_string(), 8));
        if status.last().is_none() {
            pieces.push(Piece::new(LESS + 1, [format!("{} under way", Count(status.alive))]));
        }
        pieces.push(Piece::new(LESS, [format!("in {}", short(status.elapsed))]));
        if let Some(time) = status.left() {
            pieces.push(Piece::new(2, [format!("{:<15}", left(time)), format!("~{}", short(time))]));
        } else if let Some(last) = status.last() {
            pieces.push(Piece::new(2, [format!("last {last} under way"), format!("last {last}")]));
        }
        pieces
    }

    /// As many of the pieces as there is room for, in their order.
    fn line(&self, pieces: Vec<Piece>) -> String {
        let mut by_rank = (0..pieces.len()).collect::<Vec<_>>();
        by_rank.sort_by_key(|at| pieces[*at].rank);
        let (first, second): (Vec<_>, Vec<_>) = by_rank.into_iter().partition(|at| pieces[*at].rank < LESS);
        let mut chosen = vec![None; pieces.len()];
        let mut free = self.width + GAP;
        for (group, kept) in [(first, 0), (second, USUAL_BAR - SHORTEST_BAR)] {
            let kept = if pieces.iter().any(|piece| piece.is_bar) { free.min(kept) } else { 0 };
            free -= kept;
            // The shortest form of each, then longer ones for those that matter most.
            for at in &group {
                let shortest = pieces[*at].forms.len() - 1;
                let taken = measure_text_width(&pieces[*at].forms[shortest]) + GAP;
                // Without what matters most there is no line; it is cut in the end.
                if taken <= free || pieces[*at].rank == 0 {
                    chosen[*at] = Some(shortest);
                    free = free.saturating_sub(taken);
                }
            }
            for at in group {
                let Some(form) = chosen[at] else { continue };
                let forms = &pieces[at].forms;
                let more = |longer: usize| measure_text_width(&forms[longer]) - measure_text_width(&forms[form]);
                if let Some(longer) = (0..form).find(|longer| more(*longer) <= free) {
                    free -= more(longer);
                    chosen[at] = Some(longer);
                }
            }
            free += kept;
        }
        let mut line = String::with_capacity(self.width);
        for (piece, form) in pieces.into_iter().zip(chosen) {
            let Some(form) = form else { continue };
            if !line.is_empty() {
                line.push_str("  ");
            }
            if piece.is_bar {
                line.push_str(&self.bar((SHORTEST_BAR + free).min(LONGEST_BAR)));
            } else {
                line.push_str(&piece.forms[form]);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// The share of the list that has ended.
    fn bar(&self, width: usize) -> String {
        // An eighth of a column each.
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

    /// As many of the items as there is room for, and how many more there are.
    fn list(&self, lead: &str, items: Vec<String>, separator: &str) -> String {
        let mut line = lead.to_owned();
        let count = items.len();
        for (number, item) in items.into_iter().enumerate() {
            let more = |count: usize| if count == 0 { String::new() } else { format!("{separator}{count} more") };
            let (rest, before) = (count - number - 1, if number == 0 { "" } else { separator });
            let taken = measure_text_width(&line) + before.len() + measure_text_width(&item) + more(rest).len();
            // The first one is always there, and cut if need be.
            if number > 0 && taken > self.width {
                line.push_str(&more(rest + 1));
                break;
            }
            line.push_str(before);
            line.push_str(&item);
        }
        line
    }

    /// One of the slowest downloads.
    fn slow(&self, slow: &Slow, is_first: bool) -> String {
        let mut line = match (self.width < NARROW, is_first) {
            (true, _) => String::new(),
            (false, true) => SLOWEST.to_owned(),
            (false, false) => " ".repeat(SLOWEST.len()),
        };
        let position =
            if self.width < NARROW && slow.bytes > 0 { Size::from(slow.bytes).to_string() } else { position(slow) };
        let tries = match slow.attempt {
            attempt @ 2.. if self.width >= NARROW => format!(", try {attempt}"),
            _ => String::new(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, "{:>4}  {position}{tries}  ", short(slow.time));
        let room = self.width.saturating_sub(measure_text_width(&line));
        line.push_str(&self.shortened(&place(slow, self.ellipsis()), room));
        line
    }

    const fn ellipsis(&self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }

    /// A text cut in the middle, whose beginning and end tell most.
    fn shortened(&self, text: &str, width: usize) -> String {
        if measure_text_width(text) <= width {
            return text.to_owned();
        }
        let room = width.saturating_sub(measure_text_width(self.ellipsis()));
        let head = console::truncate_str(text, room / 2, "");
        let tails = text.char_indices().rev().map(|(at, _)| &text[at..]);
        let tail = tails.take_while(|tail| measure_text_width(tail) <= room - room / 2).last().unwrap_or_default();
        format!("{head}{}{tail}", self.ellipsis())
    }
}

#[cfg(test)]
mod tests;
