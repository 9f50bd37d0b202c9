//! Finds out by what the fields of a CSV or TSV list are separated.

use super::CsvParser;
use crate::input::trim::trim;

/// The separator of the fields of a CSV file.
pub const COMMA: u8 = b',';

/// Their separator where the comma is part of numbers, as spreadsheets write it in most of Europe.
pub const SEMICOLON: u8 = b';';

/// Their separator in exports of databases.
pub const BAR: u8 = b'|';

/// The separator of the fields of a TSV file.
pub const TAB: u8 = b'\t';

impl CsvParser<'_> {
    /// Chooses the delimiter by which the header has the column of the URL and at least one more, otherwise the one that
    /// makes most columns of it.
    pub(super) fn choose_delimiter(&mut self, header: &[u8]) {
        let candidates = [self.delimiter, COMMA, TAB, SEMICOLON, BAR];
        let url_column = self.context.options.url_column.trim().as_bytes();
        let mut has_url = |delimiter: &u8| {
            self.fields.split(header, *delimiter);
            self.fields.count() > 1 && self.fields.iter().any(|name| trim(name) == url_column)
        };
        let with_url = candidates.into_iter().find(&mut has_url);
        let mut columns = |delimiter: &u8| {
            self.fields.split(header, *delimiter);
            self.fields.count()
        };
        // Of several with the same number, the first one of those above.
        self.delimiter = with_url.or(candidates.into_iter().rev().max_by_key(&mut columns)).unwrap_or(self.delimiter);
    }
}

/// The delimiter that the first line states for spreadsheets, as in `sep=;`.
pub fn stated_delimiter(line: &[u8]) -> Option<u8> {
    let unquoted = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\""));
    let (sep, delimiter) = unquoted.unwrap_or(line).split_at_checked(4)?;
    match delimiter {
        [delimiter @ (COMMA | SEMICOLON | BAR | TAB)] if sep.eq_ignore_ascii_case(b"sep=") => Some(*delimiter),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{options, rows_as_text};
    use crate::input::{ListFormat, Options};

    #[test]
    fn the_header_tells_the_delimiter() {
        let none = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let row = r#"http://a/1 {"c":"x, y"}"#;
        for list in [
            "url;c\nhttp://a/1;x, y\n",
            "c|url\n\"x, y\"|http://a/1\n",
            "\n c\t url \nx, y\t http://a/1\n",
            "c, url\n\"x, y\", http://a/1\n",
            "sep=;\nurl;c\nhttp://a/1;x, y\n",
            "\u{feff}SEP=,\r\n\r\nurl,c\r\nhttp://a/1,\"x, y\"\r\n",
            "\"sep=|\"\nurl|c\nhttp://a/1|x, y\n",
            "sep=\t\nurl\tc\nhttp://a/1\tx, y\n",
        ] {
            for format in [Some(ListFormat::Csv), Some(ListFormat::Tsv), None] {
                assert_eq!(rows_as_text(list.as_bytes(), &Options { format, ..none.clone() }), [row], "{list:?}");
            }
        }
        // The user knows better,
        let asked = Options { delimiter: Some(SEMICOLON), ..none.clone() };
        let list = b"sep=,\nurl;c,url\nhttp://a/1,2;x\n";
        assert_eq!(rows_as_text(list, &asked), [r#"http://a/1,2 {"c,url":"x"}"#]);
        // but a whole header is no column.
        for header in ["url;c", "c|url", "c\turl"] {
            let options = Options { url_column: header.to_owned(), ..none.clone() };
            let list = format!("{header}\nhttp://a/1;x|\ty\n");
            let error = &rows_as_text(list.as_bytes(), &options)[0];
            assert!(error.starts_with("list has no column "), "{error}");
        }
        let error = &rows_as_text(b"id;link\n1;http://a/1\n", &none)[0];
        assert!(error.contains("list has no column url; it has id, link; name"), "{error}");
    }
}
