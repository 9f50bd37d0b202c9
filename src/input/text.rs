//! Parses text lists: one URL per line, blank lines, and comments that begin with `#`.

use super::lines::LineSplitter;
use super::rows::{ListContext, MAX_URL_BYTES, RowPosition, RowSender, begins_as_url};
use super::trim::trim;
use crate::record::Extra;

/// The number of bytes of a line that are kept: enough to see that a longer one is too long for a URL.
const MAX_LINE_BYTES: usize = 2 * MAX_URL_BYTES;

/// Parses a text list that arrives in pieces.
pub struct TextParser<'a> {
    lines: LineSplitter,
    context: &'a ListContext<'a>,
    /// Whether a row has said what a list with tabs may be.
    has_hinted: bool,
}

impl<'a> TextParser<'a> {
    /// A parser at the beginning of a list.
    pub fn new(context: &'a ListContext<'a>) -> Self {
        Self { lines: LineSplitter::ended_by_cr(MAX_LINE_BYTES), context, has_hinted: false }
    }

    /// Parses the next bytes, and adds the rows that end in them.
    pub fn feed(&mut self, bytes: &[u8], rows: &mut RowSender) {
        self.lines.feed(bytes, |line, number| push(line, self.context.line(number), &mut self.has_hinted, rows));
    }

    /// Adds the last row, at the end of the list.
    pub fn finish(mut self, rows: &mut RowSender) {
        self.lines.finish(|line, number| push(line, self.context.line(number), &mut self.has_hinted, rows));
    }
}

fn push(line: &[u8], position: RowPosition, has_hinted: &mut bool, rows: &mut RowSender) {
    let text = trim(line);
    // What is behind the blanks of a line that is too long is not known.
    if (text.is_empty() && line.len() <= MAX_LINE_BYTES) || text.first() == Some(&b'#') {
        return;
    }
    // A tab is part of no URL: it parts fields.
    let fields = || text.split(|byte| *byte == b'\t').map(trim).filter(|field| !field.is_empty());
    let first = fields().next().unwrap_or_default();
    if fields().all(begins_as_url) || first.len() == text.len() {
        // Several URLs are those of one image, as in the lists of aria2. The first is fetched.
        return rows.push_url(first, position);
    }
    let hint = if std::mem::replace(has_hinted, true) {
        ""
    } else {
        "; if the list has columns, name them in its first line, and read it with --input-format tsv"
    };
    let count = fields().count();
    let message =
        format!("{position} is no http(s) URL: tabs part it into {count} fields, and not each is a URL{hint}");
    rows.push_invalid(text, &message, Extra::default());
}

#[cfg(test)]
mod tests {
    use crate::input::testing::rows_as_text;
    use crate::input::{ListFormat, Options};

    #[test]
    fn a_tab_parts_fields() {
        let options = Options { format: Some(ListFormat::Text), ..Options::default() };
        let refused = |text: &str, line, count, hint| {
            format!(
                "bad_url [{text}] line {line} of list is no http(s) URL: tabs part it into {count} fields, and not each is a \
                 URL{hint} {{}}"
            )
        };
        let hint = "; if the list has columns, name them in its first line, and read it with --input-format tsv";
        let table = [
            ("http://a/1\thttp://b/1\n", vec!["http://a/1 {}".to_owned()]),
            ("http://a/1 \t\t HTTPS://b/1\thttp://c/1\t\n", vec!["http://a/1 {}".to_owned()]),
            (
                "\thttp://a/1\u{a0}\t\r\n# a\tcomment\n\u{feff}#\n\t\t\nhttp://a/2\t",
                vec!["http://a/1 {}".to_owned(), "http://a/2 {}".to_owned()],
            ),
            (
                "http://a/1\t12:1\t33:1\nhttp://a/2\nhttp://a/3\tx\n",
                vec![
                    refused(r"http://a/1\u{9}12:1\u{9}33:1", 1, 3, hint),
                    "http://a/2 {}".to_owned(),
                    refused(r"http://a/3\u{9}x", 3, 2, ""),
                ],
            ),
            ("a cat\thttp://a/1\n", vec![refused(r"a cat\u{9}http://a/1", 1, 2, hint)]),
        ];
        for (list, rows) in table {
            assert_eq!(rows_as_text(list.as_bytes(), &options), rows, "{list:?}");
        }
    }

    #[test]
    fn marks_and_spaces_around_a_line_are_not_part_of_it() {
        let list = "\u{a0}http://a/1\u{200b}\n\u{feff}\u{2060}http://a/2\n\u{feff}# comment\n\u{200e}\n \u{feff} http://a/3\u{3000}";
        let rows = ["http://a/1 {}", "http://a/2 {}", "http://a/3 {}"];
        assert_eq!(rows_as_text(list.as_bytes(), &Options::default()), rows);
        // Part of the name of a file, they are sent.
        assert_eq!(rows_as_text("http://a/\u{200b}1".as_bytes(), &Options::default()), ["http://a/%E2%80%8B1 {}"]);
    }

    #[test]
    fn a_nul_costs_the_line_that_it_is_in() {
        for (list, expected) in [
            (&b"http://a/\x001\nhttp://a/2\n"[..], ["bad_url [", "http://a/2 {}"]),
            (b"http://a/1\nhttp://a/\x002\n", ["http://a/1 {}", "bad_url ["]),
            (b"# \x00 comment\nhttp://a/1\n\x00\n", ["http://a/1 {}", "bad_url ["]),
        ] {
            let rows = rows_as_text(list, &Options::default());
            assert_eq!(rows.len(), 2, "{rows:?}");
            assert!(rows.iter().zip(expected).all(|(row, begin)| row.starts_with(begin)), "{rows:?}");
        }
    }
}
