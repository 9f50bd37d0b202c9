//! How many rows a list has, counted independently of the parsers: for the properties and the fuzz target of lists.
//!
//! A list is one sound row, or a header, and then any bytes at all. What is counted are lines: each line that is neither
//! blank nor a comment belongs to exactly one row.

use fetchimg::internals::input::{ListFormat, Options};
use fetchimg::internals::record::{Outcome, Row};

/// A list whose beginning tells what it is, whatever follows.
pub struct AnyList {
    /// The list.
    pub bytes: Vec<u8>,
    /// How it is read.
    pub options: Options,
    beginning: usize,
    format: ListFormat,
    delimiter: u8,
}

impl AnyList {
    /// A list with these bytes after its beginning. `kind` chooses the format.
    pub fn new(kind: u8, rest: &[u8]) -> Self {
        let (format, beginning, delimiter) = match kind % 6 {
            0 => (ListFormat::Text, "http://a.example/\n", b'\t'),
            1 => (ListFormat::Jsonl, "{\"url\":\"http://a.example/\"}\n", b','),
            2 => (ListFormat::Tsv, "c\turl\n", b'\t'),
            3 => (ListFormat::Csv, "c;url\n", b';'),
            4 => (ListFormat::Csv, "c|url\n", b'|'),
            _ => (ListFormat::Csv, "c,url\n", b','),
        };
        let options = Options { format: Some(format), checksum_column: None, ..Options::default() };
        let bytes = [beginning.as_bytes(), rest].concat();
        Self { bytes, options, beginning: beginning.len(), format, delimiter }
    }

    /// Panics unless the rows are those of the list.
    pub fn check(&self, rows: &[Row]) {
        let rest = &self.bytes[self.beginning..];
        let (lines, expected) = match self.format {
            ListFormat::Jsonl => {
                let lines = rest.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
                (lines + 1, Some(lines + 1))
            }
            ListFormat::Text => {
                let is_row = |line: &&[u8]| !is_blank(line) && without_blanks(line).first() != Some(&b'#');
                let lines = lines(rest).into_iter().filter(is_row).count();
                (lines + 1, Some(lines + 1))
            }
            _ => {
                let is_row = |line: &&[u8]| !is_blank(line) || without_marks(line).contains(&self.delimiter);
                let lines = lines(rest).into_iter().filter(is_row).count();
                // Without quotes, no row has several lines.
                (lines, (!rest.contains(&b'"')).then_some(lines))
            }
        };
        if let Some(expected) = expected {
            assert_eq!(rows.len(), expected, "{:?} {}", self.format, self.bytes.escape_ascii());
        }
        assert!(rows.len() <= lines, "{} rows of {lines} lines: {}", rows.len(), self.bytes.escape_ascii());
        // A line break within a value is the end of a line that belongs to the row. Around a URL they are removed, so
        // they are only counted where no URL is quoted.
        let quoted_url = [self.delimiter, b'"'];
        if !rest.windows(2).any(|two| two == quoted_url) {
            let belonging = rows.iter().map(|row| 1 + breaks(row)).sum::<usize>();
            assert!(belonging >= lines, "{belonging} of {lines} lines are in rows: {}", self.bytes.escape_ascii());
        }
    }
}

/// The number of line breaks in the columns of a row.
fn breaks(row: &Row) -> usize {
    let extra = match row {
        Ok(job) => &job.extra,
        Err(record) => {
            assert!(matches!(record.outcome, Outcome::Failed(_)), "{record:?}");
            &record.extra
        }
    };
    let text = extra.get("c").and_then(|value| value.as_str()).unwrap_or_default();
    text.replace("\r\n", "\n").matches(['\r', '\n']).count()
}

/// The lines, each ended by a line feed, a carriage return, or both.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        rest = rest[end..].strip_prefix(b"\r\n").unwrap_or(&rest[end + 1..]);
    }
    lines.push(rest);
    lines
}

fn is_blank(line: &[u8]) -> bool {
    without_blanks(line).is_empty()
}

/// The line without white space and invisible marks at its beginning.
fn without_blanks(line: &[u8]) -> &[u8] {
    let is_removed =
        |letter: char| letter.is_whitespace() || matches!(letter, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}');
    let valid = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&line[..error.valid_up_to()]).unwrap_or_default(),
    };
    let rest = valid.trim_start_matches(is_removed);
    &line[valid.len() - rest.len()..]
}

/// The line without the marks at its beginning: the delimiter may be white space.
fn without_marks(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(b"\xEF\xBB\xBF") {
        line = rest;
    }
    line
}
