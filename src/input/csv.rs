//! Parses CSV and TSV: fields separated by commas or tabs, below a header with the names of the columns.
//!
//! Follows RFC 4180, as spreadsheets and databases write it: a field may be quoted, a quote in it is doubled, and a
//! quoted field may hold line feeds. A row whose number of fields differs from the header's fails without affecting
//! other rows.

use std::sync::Arc;

use serde_json::Value;

use super::MAX_ROW_BYTES;
use super::columns::ListColumns;
use super::rows::{ListContext, RawRow, ReadError, RowSender};
use crate::record::Extra;

/// The separator of the fields of a CSV file.
pub const COMMA: u8 = b',';

/// The separator of the fields of a TSV file.
pub const TAB: u8 = b'\t';

/// Parses a CSV or TSV list that arrives in pieces.
pub struct CsvParser<'a> {
    context: &'a ListContext<'a>,
    delimiter: u8,
    reader: csv_core::Reader,
    row: CsvFields,
    /// The number of bytes of the current row so far; 0 between two rows.
    row_bytes: usize,
    /// Whether those bytes are white space alone.
    is_blank: bool,
    quotes: QuoteTracker,
    /// The bytes of the current row after its first line, if it has more than one line.
    after_first_line: Option<Vec<u8>>,
    /// The number of the current line, from 1.
    line: u64,
    /// The number of the line on which the current row begins.
    row_line: u64,
    /// A row was too long and has been abandoned: everything up to the next line feed is skipped.
    is_skipping: bool,
    /// The columns of the header, once it has been read.
    columns: Option<ListColumns>,
}

impl<'a> CsvParser<'a> {
    /// A parser at the beginning of a list.
    pub fn new(delimiter: u8, context: &'a ListContext<'a>) -> Self {
        Self {
            context,
            delimiter,
            reader: reader(delimiter),
            row: CsvFields::default(),
            row_bytes: 0,
            is_blank: true,
            quotes: QuoteTracker::default(),
            after_first_line: None,
            line: 1,
            row_line: 1,
            is_skipping: false,
            columns: None,
        }
    }

    /// Parses the next bytes, and adds the rows that end in them.
    pub fn feed(&mut self, mut bytes: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        while let Some(first) = bytes.first() {
            if self.is_skipping || (self.row_bytes == 0 && matches!(first, b'\r' | b'\n')) {
                // There may be any number of blank lines between two rows.
                let is_line_feed = *first == b'\n';
                self.line += u64::from(is_line_feed);
                self.is_skipping &= !is_line_feed;
                bytes = &bytes[1..];
                continue;
            }
            if self.row_bytes == 0 {
                self.row_line = self.line;
            }
            // Limits what is parsed at once, so where a row is abandoned does not depend on how the bytes were cut into
            // reads.
            let next = &bytes[..bytes.len().min(MAX_ROW_BYTES + 1 - self.row_bytes)];
            let (taken, is_whole) = self.row.read(&mut self.reader, next);
            let taken = &bytes[..taken];
            bytes = &bytes[taken.len()..];
            self.row_bytes += taken.len();
            self.is_blank &= taken.trim_ascii().is_empty();
            self.quotes.feed(taken, self.delimiter);
            self.line += taken.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            if is_whole {
                self.finish_row(rows)?;
                continue;
            }
            match &mut self.after_first_line {
                Some(rest) => rest.extend_from_slice(taken),
                None => self.after_first_line = memchr::memchr(b'\n', taken).map(|end| taken[end + 1..].to_vec()),
            }
            if self.row_bytes > MAX_ROW_BYTES {
                self.abandon_row(taken.last() == Some(&b'\n'), rows)?;
            }
        }
        Ok(())
    }

    /// Adds the last row, at the end of the list.
    pub fn finish(mut self, rows: &mut RowSender) -> Result<(), ReadError> {
        while self.row_bytes > 0 {
            // A line feed ends the last row, unless it is within a quoted field.
            if self.row.read(&mut self.reader, b"\n").1 {
                return self.finish_row(rows);
            }
            self.push_invalid("whose quote is not closed", rows)?;
            self.reparse_after_first_line(rows)?;
        }
        Ok(())
    }

    /// Adds the current row, which is complete.
    fn finish_row(&mut self, rows: &mut RowSender) -> Result<(), ReadError> {
        let row = &self.row;
        let position = self.context.line(self.row_line);
        // A line of white space is blank too; but `""` is a row whose only field is empty.
        let is_blank = row.count == 1 && self.is_blank;
        match &self.columns {
            _ if is_blank => {}
            None => {
                let names = row.iter().map(|name| String::from_utf8_lossy(name).into()).collect();
                let columns = ListColumns::find(names, self.context)?;
                columns.require_template_columns(self.context)?;
                self.columns = Some(columns);
            }
            Some(columns) if row.count != columns.names.len() => {
                let (count, expected) = (row.count, columns.names.len());
                let hint = if row.contains(b'\n') { "; perhaps a quote is not closed" } else { "" };
                let message = format!("{position} has {}, and the header {expected}{hint}", count_of_fields(count));
                // Fields cannot be assigned to columns in such a row, so the record shows the text in the position of
                // the URL.
                let url = if columns.url < count { row.get(columns.url) } else { b"" };
                rows.push_invalid(url, &message, Extra::default());
            }
            // The rows that an unclosed quote has joined may happen to have the right number of fields.
            Some(columns) if self.quotes.are_misplaced && row.contains(b'\n') => {
                let message = format!(
                    "{position} has a field of several lines, and more behind the quote that ends it; perhaps a quote is not closed"
                );
                rows.push_invalid(row.get(columns.url), &message, Extra::default());
            }
            Some(columns) => {
                let mut extra = Vec::with_capacity(columns.names.len());
                let mut broken = None;
                for (column, name) in columns.others() {
                    match std::str::from_utf8(row.get(column)) {
                        Ok(text) => extra.push((Arc::clone(name), Value::from(text))),
                        Err(_) => broken = broken.or(Some(name)),
                    }
                }
                let (url, extra) = (row.get(columns.url), Extra::new(extra));
                if let Some(name) = broken {
                    rows.push_invalid(url, &format!("{position}: its {name} is not valid UTF-8"), extra);
                } else {
                    let checksum = columns.checksum.map_or(&b""[..], |column| row.get(column));
                    rows.push(RawRow { url, checksum: Ok(checksum), extra }, position);
                }
            }
        }
        self.clear();
        Ok(())
    }

    /// Ends a row that is too long, usually because of a quote that is not closed: everything after it would be one
    /// row. Parsing continues on the next line, which may then be in the middle of a field that really is that long.
    fn abandon_row(&mut self, at_line_feed: bool, rows: &mut RowSender) -> Result<(), ReadError> {
        let is_open = self.quotes.is_open && self.after_first_line.is_some();
        let resumed = if is_open { self.row_line + 1 } else { self.line + u64::from(!at_line_feed) };
        let what =
            format!("of more than 1 MiB, perhaps because a quote is not closed; reading goes on at line {resumed}");
        self.push_invalid(&what, rows)?;
        if is_open {
            return self.reparse_after_first_line(rows);
        }
        self.is_skipping = !at_line_feed;
        self.reader = reader(self.delimiter);
        self.clear();
        Ok(())
    }

    /// Parses the lines after the first line of a row whose quote is not closed, as rows of their own. This does not
    /// repeat itself: every group of adjacent quotes in them has an even number of quotes, so none of them leaves a
    /// field open.
    fn reparse_after_first_line(&mut self, rows: &mut RowSender) -> Result<(), ReadError> {
        let rest = self.after_first_line.take().unwrap_or_default();
        self.line = self.row_line + 1;
        self.reader = reader(self.delimiter);
        self.clear();
        self.feed(&rest, rows)
    }

    fn clear(&mut self) {
        self.row.clear();
        (self.row_bytes, self.is_blank, self.quotes, self.after_first_line) = (0, true, QuoteTracker::default(), None);
    }

    /// Adds a row whose fields are unknown, as a failed record; fails if it is the header. `what` follows "a row" in
    /// the message.
    fn push_invalid(&self, what: &str, rows: &mut RowSender) -> Result<(), ReadError> {
        let position = self.context.line(self.row_line);
        if self.columns.is_none() {
            return Err(self
                .context
                .not_a_list(format!("where the names of its columns should be, there is a row {what}")));
        }
        rows.push_invalid(b"", &format!("{position} begins a row {what}"), Extra::default());
        Ok(())
    }
}

/// The fields of one row, such as a possible header.
pub fn fields(line: &[u8], delimiter: u8) -> Vec<Vec<u8>> {
    let mut row = CsvFields::default();
    let mut reader = reader(delimiter);
    if !line.is_empty() && (row.read(&mut reader, line).1 || row.read(&mut reader, b"").1) {
        return row.iter().map(<[u8]>::to_vec).collect();
    }
    Vec::new()
}

fn reader(delimiter: u8) -> csv_core::Reader {
    let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    // csv_core removes a byte-order mark at the beginning, but only if it arrives in one piece. The caller has already
    // removed it, so the reader is moved past its beginning.
    reader.read_record(b"\n", &mut [0], &mut [0]);
    reader
}

fn count_of_fields(count: usize) -> String {
    if count == 1 { "1 field".to_owned() } else { format!("{count} fields") }
}

/// Tracks the quotes of the current row. The reader accepts any text as a row; this finds what is not allowed by RFC
/// 4180.
#[derive(Default)]
struct QuoteTracker {
    /// The last byte of the row so far.
    before: Option<u8>,
    /// The current field began with a quote that may still be open.
    is_open: bool,
    /// The last byte is a quote that closes the field, unless another quote follows.
    is_closing: bool,
    /// A quote that closes a field was followed by more text of the same field.
    are_misplaced: bool,
}

impl QuoteTracker {
    fn feed(&mut self, bytes: &[u8], delimiter: u8) {
        let mut at = 0;
        loop {
            if let (true, Some(next)) = (self.is_closing, bytes.get(at)) {
                self.is_closing = false;
                if *next == b'"' {
                    at += 1;
                } else {
                    self.is_open = false;
                    self.are_misplaced |= *next != delimiter && !matches!(next, b'\r' | b'\n');
                }
            }
            let Some(quote) = memchr::memchr(b'"', &bytes[at..]).map(|found| at + found) else { break };
            if self.is_open {
                self.is_closing = true;
            } else {
                let before = quote.checked_sub(1).map_or(self.before, |before| Some(bytes[before]));
                self.is_open = before.is_none_or(|before| before == delimiter);
            }
            at = quote + 1;
        }
        self.before = bytes.last().copied().or(self.before);
    }
}

/// The fields of the current row. The buffers grow and are reused.
struct CsvFields {
    /// The bytes of the fields, one after the other; `length` of them are in use.
    bytes: Vec<u8>,
    length: usize,
    /// The ends of the fields in `bytes`; `count` of them are in use.
    ends: Vec<usize>,
    count: usize,
}

impl Default for CsvFields {
    fn default() -> Self {
        Self { bytes: vec![0; 1024], length: 0, ends: vec![0; 16], count: 0 }
    }
}

impl CsvFields {
    /// Parses bytes up to the end of the row; an empty slice ends the last row of a list. Returns the number of bytes
    /// used, and whether the row is complete.
    fn read(&mut self, reader: &mut csv_core::Reader, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        loop {
            let free = (&mut self.bytes[self.length..], &mut self.ends[self.count..]);
            let (result, read, written, ends) = reader.read_record(&bytes[taken..], free.0, free.1);
            taken += read;
            self.length += written;
            self.count += ends;
            match result {
                csv_core::ReadRecordResult::OutputFull => self.bytes.resize(2 * self.bytes.len(), 0),
                csv_core::ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                csv_core::ReadRecordResult::Record => return (taken, true),
                csv_core::ReadRecordResult::InputEmpty | csv_core::ReadRecordResult::End => return (taken, false),
            }
        }
    }

    fn get(&self, field: usize) -> &[u8] {
        let start = field.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[field]]
    }

    fn contains(&self, byte: u8) -> bool {
        self.bytes[..self.length].contains(&byte)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|field| self.get(field))
    }

    fn clear(&mut self) {
        (self.length, self.count) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{options, rows_as_text};
    use crate::input::{ListFormat, Options};

    #[test]
    fn rows_have_the_columns_of_the_header() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let table = [
            ("", vec![]),
            ("\n \n\r\n", vec![]),
            ("url,md5\n", vec![]),
            ("\u{feff}url,md5\r\nhttp://a/1,\r\n\r\n  \r\nhttp://a/2,", vec!["http://a/1 {}", "http://a/2 {}"]),
            ("md5,url,b,a\n,http://a/1,1,2\n", vec![r#"http://a/1 {"b":"1","a":"2"}"#]),
            ("url,md5,\nhttp://a/1,,0\n", vec![r#"http://a/1 {"":"0"}"#]),
            ("md5,url,c\n, http://a/1 ,\n", vec![r#"http://a/1 {"c":""}"#]),
            (
                "url,md5,c\nhttp://a/1,,\"say \"\"hi\"\",\ntwice\"\nhttp://a/2,,\"\"\nhttp://a/\"3\",,it's \"so\"\n",
                vec![
                    r#"http://a/1 {"c":"say \"hi\",\ntwice"}"#,
                    r#"http://a/2 {"c":""}"#,
                    r#"http://a/%223%22 {"c":"it's \"so\""}"#,
                ],
            ),
            ("\"url\",\"md5\"\n\"http://a/1,2\",\"\"\n", vec!["http://a/1,2 {}"]),
        ];
        for (list, rows) in table {
            assert_eq!(rows_as_text(list.as_bytes(), &options(ListFormat::Csv)), rows, "{list:?}");
        }
        let list = format!("url,md5\nhttp://a/1, {}\n", md5.to_uppercase());
        assert_eq!(rows_as_text(list.as_bytes(), &options(ListFormat::Csv)), ["http://a/1 md5 {}"]);
        let list = b"a\turl\tmd5\tb\r\none, two\thttp://a/1,2\t\t\"a\ttab\"\r\n\thttp://a/2\t\t\n";
        let rows = [r#"http://a/1,2 {"a":"one, two","b":"a\ttab"}"#, r#"http://a/2 {"a":"","b":""}"#];
        assert_eq!(rows_as_text(list, &options(ListFormat::Tsv)), rows);
    }

    #[test]
    fn an_invalid_row_is_one_failed_record_with_its_line_number() {
        let list = b"url,md5,c,d\n\
            http://a/1,,\"two\nlines\",\n\
            \n\
            http://a/2,\n\
            http://a/3,,c,d,e\n\
            a,b,c,d\n\
            ,,c,d\n\
            http://a/4,123,c,d\n\
            http://a/5,x,\xff,d\n\
            http://a/\xff,,c,d\n\
            \x1b[2J?sig=secret\n\
            http://a/6,,c,d";
        let expected = [
            r#"http://a/1 {"c":"two\nlines","d":""}"#,
            r"bad_url [http://a/2] line 5 of list has 2 fields, and the header 4 {}",
            r"bad_url [http://a/3] line 6 of list has 5 fields, and the header 4 {}",
            r#"bad_url [a] line 7 of list: its url is no http(s) URL: it does not begin with http:// or https:// {"c":"c","d":"d"}"#,
            r#"bad_url [] line 8 of list has no URL: its url is empty {"c":"c","d":"d"}"#,
            r#"checksum [http://a/4] line 9 of list: the checksum has 3 digits; md5 has 32, sha1 40, sha256 64, sha512 128 {"c":"c","d":"d"}"#,
            r#"bad_url [http://a/5] line 10 of list: its c is not valid UTF-8 {"d":"d"}"#,
            "bad_url [http://a/\u{fffd}] line 11 of list: its url is no http(s) URL: it is not valid UTF-8 {\"c\":\"c\",\"d\":\"d\"}",
            r"bad_url [\u{1b}[2J?sig=***] line 12 of list has 1 field, and the header 4 {}",
            r#"http://a/6 {"c":"c","d":"d"}"#,
        ];
        assert_eq!(rows_as_text(list, &options(ListFormat::Csv)), expected);
    }

    #[test]
    fn a_row_whose_only_field_is_empty_is_no_blank_line() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let list = b"url\n\"\"\n\n \t\n\" \"\nhttp://a/1\n\"\"";
        let no_url = |line| format!("bad_url [] line {line} of list has no URL: its url is empty {{}}");
        assert_eq!(rows_as_text(list, &options), [no_url(2), no_url(5), "http://a/1 {}".to_owned(), no_url(7)]);
    }

    #[test]
    fn an_unclosed_quote_is_reported() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let table = [
            ("url,c\n\"http://a/1", "bad_url [] line 2 of list begins a row whose quote is not closed {}"),
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,\"y\",z\n",
                "bad_url [http://a/1] line 2 of list has 3 fields, and the header 2; perhaps a quote is not closed {}",
            ),
            // Without the check of the quotes, the unclosed one would go unnoticed.
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,12\" y\n",
                "bad_url [http://a/1] line 2 of list has a field of several lines, and more behind the quote that ends it; perhaps a quote is not closed {}",
            ),
            ("url,c\nhttp://a/1,\"x\"\"\ny\"\n", r#"http://a/1 {"c":"x\"\ny"}"#),
            ("url,c\nhttp://a/1,\"x\" y\"\n", r#"http://a/1 {"c":"x y\""}"#),
            ("url,c\n\"http://a/1\",x\"\"y \"\"\r\n", r#"http://a/1 {"c":"x\"\"y \"\""}"#),
            (
                "url,\"c",
                "list is no list of URLs: where the names of its columns should be, there is a row whose quote is not closed",
            ),
        ];
        for (list, row) in table {
            assert_eq!(rows_as_text(list.as_bytes(), &options), [row]);
        }
    }

    #[test]
    fn the_rows_after_an_unclosed_quote_are_parsed() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let list = "url,c\nhttp://a/1,\"x\nhttp://a/2,y\r\n\nhttp://a/3,\"\"\nhttp://a/4,\"\"\"\"\nhttp://a/5";
        let expected = [
            "bad_url [] line 2 of list begins a row whose quote is not closed {}",
            r#"http://a/2 {"c":"y"}"#,
            r#"http://a/3 {"c":""}"#,
            r#"http://a/4 {"c":"\""}"#,
            "bad_url [http://a/5] line 7 of list has 1 field, and the header 2 {}",
        ];
        assert_eq!(rows_as_text(list.as_bytes(), &options), expected);
        // Together they are longer than a row may be.
        let words = "words ".repeat(40);
        let rows = (0..5000).map(|row| format!("http://a.example/{row},{words}\n")).collect::<Vec<_>>().concat();
        assert!(rows.len() > MAX_ROW_BYTES);
        let list = format!("url,c\nhttp://a/1,\"x\n{rows}http://a/2,\"\"\"x\n{rows}");
        let texts = rows_as_text(list.as_bytes(), &options);
        let refused = texts.iter().filter(|row| row.starts_with("bad_url")).collect::<Vec<_>>();
        assert_eq!((texts.len(), refused.len()), (2 + 2 * 5000, 2), "{refused:?}");
        assert!(refused[0].contains("line 2 ") && refused[0].contains("reading goes on at line 3 "), "{refused:?}");
        assert!(refused[1].contains("line 5003 "), "{refused:?}");
        assert!(texts[10_001].starts_with("http://a.example/4999 "), "{}", texts[10_001]);
    }

    #[test]
    fn the_message_about_a_missing_column_lists_the_columns() {
        let no_checksum = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let many = (0..30).map(|number| format!("c{number}")).collect::<Vec<_>>().join(",");
        let table = [
            (
                "image,,caption\n",
                "it has no column url, but image, one without a name, caption; name the one with --url-column",
            ),
            ("URL\n", "it has no column url, but URL; name"),
            ("url,sha1\n", "it has no column md5, as --checksum-column says, but url, sha1"),
            ("http://ann:pw@a.example/1,x\n", "its first row holds a URL, and must name the columns, one of them url"),
            (&many, "c18, c19 and 10 more; name"),
        ];
        for (list, what) in table {
            let texts = rows_as_text(list.as_bytes(), &options(ListFormat::Csv));
            assert!(texts[0].starts_with("list is no list of URLs: ") && texts[0].contains(what), "{texts:?}");
        }
        assert_eq!(rows_as_text(b"url,sha1\nhttp://a/1,x\n", &no_checksum), [r#"http://a/1 {"sha1":"x"}"#]);
    }

    #[test]
    fn a_row_that_is_too_long_is_abandoned_and_takes_no_memory() {
        let field = "x".repeat(MAX_ROW_BYTES - 100);
        let table = [
            // A long field is valid.
            (format!("{field}\nhttp://a/2,\n"), vec!["http://a/1".to_owned(), "http://a/2".to_owned()]),
            // A field that is too long ends with its line,
            (format!("{field}{field}\nhttp://a/2,\n"), vec![abandoned(2, 3), "http://a/2".to_owned()]),
            // and one that also has an unclosed quote ends with the first line of its row.
            (
                format!("\"{}\nhttp://a/2,\n", format!("{}\n", "x".repeat(1000)).repeat(MAX_ROW_BYTES / 1000)),
                vec![abandoned(2, 3), "bad_url".to_owned(), "http://a/2".to_owned()],
            ),
            (",".repeat(MAX_ROW_BYTES + 1), vec![abandoned(2, 3)]),
        ];
        for (rest, expected) in table {
            let list = format!("url,c\nhttp://a/1,{rest}");
            let rows = rows_as_text(list.as_bytes(), &Options { checksum_column: None, ..options(ListFormat::Csv) });
            let short = |row: &String| {
                if row.contains("MiB") { row.clone() } else { row.split(' ').next().unwrap_or_default().to_owned() }
            };
            let short = rows.iter().map(short).collect::<Vec<_>>();
            assert_eq!(short[..short.len().min(2)], expected[..expected.len().min(2)]);
            assert_eq!(short.last(), expected.last());
        }
        let header = rows_as_text(field.repeat(2).as_bytes(), &options(ListFormat::Csv));
        let what = "where the names of its columns should be, there is a row of more than 1 MiB";
        assert!(header[0].contains(what), "{header:?}");
    }

    fn abandoned(line: u64, resumed: u64) -> String {
        format!(
            "bad_url [] line {line} of list begins a row of more than 1 MiB, perhaps because a quote is not closed; reading \
             goes on at line {resumed} {{}}"
        )
    }
}
