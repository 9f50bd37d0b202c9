//! Parses text lists: one URL per line, blank lines, and comments that begin with `#`.

use super::lines::LineSplitter;
use super::rows::{ListContext, MAX_URL_BYTES, RowPosition, RowSender};

/// The number of bytes of a line that are kept: enough to see that a longer one is too long for a URL.
const MAX_LINE_BYTES: usize = 2 * MAX_URL_BYTES;

/// Parses a text list that arrives in pieces.
pub struct TextParser<'a> {
    lines: LineSplitter,
    context: &'a ListContext<'a>,
}

impl<'a> TextParser<'a> {
    /// A parser at the beginning of a list.
    pub fn new(context: &'a ListContext<'a>) -> Self {
        Self { lines: LineSplitter::ended_by_cr(MAX_LINE_BYTES), context }
    }

    /// Parses the next bytes, and adds the rows that end in them.
    pub fn feed(&mut self, bytes: &[u8], rows: &mut RowSender) {
        self.lines.feed(bytes, |line, number| push(line, self.context.line(number), rows));
    }

    /// Adds the last row, at the end of the list.
    pub fn finish(self, rows: &mut RowSender) {
        self.lines.finish(|line, number| push(line, self.context.line(number), rows));
    }
}

fn push(line: &[u8], position: RowPosition, rows: &mut RowSender) {
    // Trims Unicode white space. A line that is not UTF-8 fails later, when the URL is parsed.
    let text = std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes());
    if !text.is_empty() && text[0] != b'#' {
        rows.push_url(text, position);
    }
}
