//! Text lists: one URL per line.

use super::lines::Lines;
use super::rows::{About, LONGEST_URL, Place, Rows};

/// Of a longer line only the beginning is kept: enough to see that it is too long for a URL.
const LONGEST_LINE: usize = 2 * LONGEST_URL;

/// Takes bytes, gives rows.
pub struct Parser<'a> {
    lines: Lines,
    about: &'a About<'a>,
}

impl<'a> Parser<'a> {
    /// A list, from its beginning.
    pub fn new(about: &'a About<'a>) -> Self {
        Self { lines: Lines::ended_by_cr(LONGEST_LINE), about }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8], rows: &mut Rows) {
        self.lines.take(bytes, |line, number| push(line, self.about.line(number), rows));
    }

    /// There are no more.
    pub fn end(self, rows: &mut Rows) {
        self.lines.end(|line, number| push(line, self.about.line(number), rows));
    }
}

fn push(line: &[u8], place: Place, rows: &mut Rows) {
    // Unicode white space where the line is text; otherwise the parser will say that it is none.
    let text = std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes());
    if !text.is_empty() && text[0] != b'#' {
        rows.push_url(text, place);
    }
}
