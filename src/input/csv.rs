//! Lists with columns as text: fields separated by commas or tabs, under a row with their names.
//!
//! Read as RFC 4180 says, and as spreadsheets and databases write: a field may stand in quotes, a quote in it is
//! doubled, and line feeds in it are its own. A row with another number of fields than the header fails alone.

use std::sync::Arc;

use serde_json::Value;

use super::LONGEST_ROW;
use super::columns::Columns;
use super::rows::{About, Ended, Found, Rows};
use crate::record::Extra;

/// What separates the fields of a CSV file.
pub const COMMA: u8 = b',';

/// What separates the fields of a TSV file.
pub const TAB: u8 = b'\t';

/// Takes bytes, gives rows.
pub struct Parser<'a> {
    about: &'a About<'a>,
    delimiter: u8,
    reader: csv_core::Reader,
    row: Fields,
    /// Bytes of the row under way; 0 between two rows.
    taken: usize,
    /// They are nothing but white space.
    is_blank: bool,
    quotes: Quotes,
    /// What has come of the row behind its first line, if it goes on there.
    behind: Option<Vec<u8>>,
    /// The number of the line under way, from 1, and of the one in which the row under way begins.
    line: u64,
    begun: u64,
    /// A row that was too long has been given up, and the next one begins on the next line.
    is_skipping: bool,
    /// What the header says, once it has been read.
    columns: Option<Columns>,
}

impl<'a> Parser<'a> {
    /// A list, from its beginning.
    pub fn new(delimiter: u8, about: &'a About<'a>) -> Self {
        Self {
            about,
            delimiter,
            reader: reader(delimiter),
            row: Fields::default(),
            taken: 0,
            is_blank: true,
            quotes: Quotes::default(),
            behind: None,
            line: 1,
            begun: 1,
            is_skipping: false,
            columns: None,
        }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, mut bytes: &[u8], rows: &mut Rows) -> Result<(), Ended> {
        while let Some(first) = bytes.first() {
            if self.is_skipping || (self.taken == 0 && matches!(first, b'\r' | b'\n')) {
                // Between two rows there may be any number of blank lines.
                let is_line_feed = *first == b'\n';
                self.line += u64::from(is_line_feed);
                self.is_skipping &= !is_line_feed;
                bytes = &bytes[1..];
                continue;
            }
            if self.taken == 0 {
                self.begun = self.line;
            }
            // Where a row is given up does not depend on how the bytes are cut into reads.
            let next = &bytes[..bytes.len().min(LONGEST_ROW + 1 - self.taken)];
            let (taken, is_whole) = self.row.read(&mut self.reader, next);
            let taken = &bytes[..taken];
            bytes = &bytes[taken.len()..];
            self.taken += taken.len();
            self.is_blank &= taken.trim_ascii().is_empty();
            self.quotes.follow(taken, self.delimiter);
            self.line += taken.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>();
            if is_whole {
                self.end_row(rows)?;
                continue;
            }
            match &mut self.behind {
                Some(behind) => behind.extend_from_slice(taken),
                None => self.behind = memchr::memchr(b'\n', taken).map(|end| taken[end + 1..].to_vec()),
            }
            if self.taken > LONGEST_ROW {
                self.give_up(taken.last() == Some(&b'\n'), rows)?;
            }
        }
        Ok(())
    }

    /// There are no more.
    pub fn end(mut self, rows: &mut Rows) -> Result<(), Ended> {
        while self.taken > 0 {
            // A line feed ends the last row, unless it is part of a field.
            if self.row.read(&mut self.reader, b"\n").1 {
                return self.end_row(rows);
            }
            self.refuse("whose quote is not closed", rows)?;
            self.begin_again(rows)?;
        }
        Ok(())
    }

    /// Takes the row that has come to its end.
    fn end_row(&mut self, rows: &mut Rows) -> Result<(), Ended> {
        let row = &self.row;
        let place = self.about.line(self.begun);
        // A line of white space is blank, too; but `""` is a row whose only field is empty.
        let is_blank = row.count == 1 && self.is_blank;
        match &self.columns {
            _ if is_blank => {}
            None => {
                let names = row.iter().map(|name| String::from_utf8_lossy(name).into()).collect();
                let columns = Columns::find(names, self.about)?;
                columns.have_those_in_names(self.about)?;
                self.columns = Some(columns);
            }
            Some(columns) if row.count != columns.names.len() => {
                let (count, expected) = (row.count, columns.names.len());
                let hint = if row.contains(b'\n') { "; perhaps a quote is not closed" } else { "" };
                let message = format!("{place} has {}, and the header {expected}{hint}", fields_in_words(count));
                // Which is which cannot be told any more; this is what stands there.
                let url = if columns.url < count { row.get(columns.url) } else { b"" };
                rows.refuse(url, &message, Extra::default());
            }
            // By chance the rows that such a quote has made one may have as many fields as one.
            Some(columns) if self.quotes.are_broken && row.contains(b'\n') => {
                let message = format!(
                    "{place} has a field of several lines, and more behind the quote that ends it; perhaps a quote is not closed"
                );
                rows.refuse(row.get(columns.url), &message, Extra::default());
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
                    rows.refuse(url, &format!("{place}: its {name} is not valid UTF-8"), extra);
                } else {
                    let checksum = columns.checksum.map_or(&b""[..], |column| row.get(column));
                    rows.push(Found { url, checksum: Ok(checksum), extra }, place);
                }
            }
        }
        self.clear();
        Ok(())
    }

    /// A quote that nobody closes would make all the rest one row. So the row ends here, and the next one begins on the
    /// next line, though that may be within a field that really is so long.
    fn give_up(&mut self, at_line_feed: bool, rows: &mut Rows) -> Result<(), Ended> {
        let is_open = self.quotes.is_open && self.behind.is_some();
        let resumed = if is_open { self.begun + 1 } else { self.line + u64::from(!at_line_feed) };
        let what =
            format!("of more than 1 MiB, perhaps because a quote is not closed; reading goes on at line {resumed}");
        self.refuse(&what, rows)?;
        if is_open {
            return self.begin_again(rows);
        }
        self.is_skipping = !at_line_feed;
        self.reader = reader(self.delimiter);
        self.clear();
        Ok(())
    }

    /// Reads once more what is behind the first line of a row whose quote is not closed: these are rows of their own. No
    /// quote is left open in them, because there is an even number of quotes wherever some stand together, so this does
    /// not begin over and over.
    fn begin_again(&mut self, rows: &mut Rows) -> Result<(), Ended> {
        let behind = self.behind.take().unwrap_or_default();
        self.line = self.begun + 1;
        self.reader = reader(self.delimiter);
        self.clear();
        self.take(&behind, rows)
    }

    fn clear(&mut self) {
        self.row.clear();
        (self.taken, self.is_blank, self.quotes, self.behind) = (0, true, Quotes::default(), None);
    }

    /// A row of which it cannot be told what it holds. `what` follows "a row".
    fn refuse(&self, what: &str, rows: &mut Rows) -> Result<(), Ended> {
        let place = self.about.line(self.begun);
        if self.columns.is_none() {
            return Err(self
                .about
                .not_a_list(format!("where the names of its columns should be, there is a row {what}")));
        }
        rows.refuse(b"", &format!("{place} begins a row {what}"), Extra::default());
        Ok(())
    }
}

/// The fields of one row, such as the first line of a list that may be a header.
pub fn fields(line: &[u8], delimiter: u8) -> Vec<Vec<u8>> {
    let mut row = Fields::default();
    let mut reader = reader(delimiter);
    if !line.is_empty() && (row.read(&mut reader, line).1 || row.read(&mut reader, b"").1) {
        return row.iter().map(<[u8]>::to_vec).collect();
    }
    Vec::new()
}

fn reader(delimiter: u8) -> csv_core::Reader {
    let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
    // It takes a mark at the beginning for a byte-order mark, if that comes in one piece; there is none any more.
    reader.read_record(b"\n", &mut [0], &mut [0]);
    reader
}

fn fields_in_words(count: usize) -> String {
    if count == 1 { "1 field".to_owned() } else { format!("{count} fields") }
}

/// Follows the quotes of the row under way. The reader takes everything for a row; here it is told what is none by
/// RFC 4180.
#[derive(Default)]
struct Quotes {
    /// The last byte, if there is one.
    before: Option<u8>,
    /// A field has begun with a quote.
    is_open: bool,
    /// And the last byte may have closed it.
    is_closing: bool,
    /// Behind the quote that closed a field there was something else than the end of the field.
    are_broken: bool,
}

impl Quotes {
    fn follow(&mut self, bytes: &[u8], delimiter: u8) {
        let mut at = 0;
        loop {
            if let (true, Some(next)) = (self.is_closing, bytes.get(at)) {
                self.is_closing = false;
                if *next == b'"' {
                    at += 1;
                } else {
                    self.is_open = false;
                    self.are_broken |= *next != delimiter && !matches!(next, b'\r' | b'\n');
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

/// The fields of the row under way.
struct Fields {
    /// Their bytes, one after the other, and room for more.
    bytes: Vec<u8>,
    length: usize,
    /// Where they end, and room for more.
    ends: Vec<usize>,
    count: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { bytes: vec![0; 1024], length: 0, ends: vec![0; 16], count: 0 }
    }
}

impl Fields {
    /// Takes bytes, up to the end of the row; none at all end the last one. How many it took, and whether the row is
    /// whole.
    fn read(&mut self, reader: &mut csv_core::Reader, bytes: &[u8]) -> (usize, bool) {
        let mut taken = 0;
        loop {
            let room = (&mut self.bytes[self.length..], &mut self.ends[self.count..]);
            let (result, read, written, ended) = reader.read_record(&bytes[taken..], room.0, room.1);
            taken += read;
            self.length += written;
            self.count += ended;
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
    use crate::input::testing::{options, told};
    use crate::input::{Format, Options};

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
            assert_eq!(told(list.as_bytes(), &options(Format::Csv)), rows, "{list:?}");
        }
        let list = format!("url,md5\nhttp://a/1, {}\n", md5.to_uppercase());
        assert_eq!(told(list.as_bytes(), &options(Format::Csv)), ["http://a/1 md5 {}"]);
        let list = b"a\turl\tmd5\tb\r\none, two\thttp://a/1,2\t\t\"a\ttab\"\r\n\thttp://a/2\t\t\n";
        let rows = [r#"http://a/1,2 {"a":"one, two","b":"a\ttab"}"#, r#"http://a/2 {"a":"","b":""}"#];
        assert_eq!(told(list, &options(Format::Tsv)), rows);
    }

    #[test]
    fn a_broken_row_is_one_failed_record_that_names_its_line() {
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
        assert_eq!(told(list, &options(Format::Csv)), expected);
    }

    #[test]
    fn a_row_whose_only_field_is_empty_is_no_blank_line() {
        let options = Options { checksum_column: None, ..options(Format::Csv) };
        let list = b"url\n\"\"\n\n \t\n\" \"\nhttp://a/1\n\"\"";
        let gone = |line| format!("bad_url [] line {line} of list has no URL: its url is empty {{}}");
        assert_eq!(told(list, &options), [gone(2), gone(5), "http://a/1 {}".to_owned(), gone(7)]);
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named() {
        let options = Options { checksum_column: None, ..options(Format::Csv) };
        let table = [
            ("url,c\n\"http://a/1", "bad_url [] line 2 of list begins a row whose quote is not closed {}"),
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,\"y\",z\n",
                "bad_url [http://a/1] line 2 of list has 3 fields, and the header 2; perhaps a quote is not closed {}",
            ),
            // Without the second one there would be no trace of the first.
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
            assert_eq!(told(list.as_bytes(), &options), [row]);
        }
    }

    #[test]
    fn the_rows_behind_a_quote_that_is_not_closed_are_rows() {
        let options = Options { checksum_column: None, ..options(Format::Csv) };
        let list = "url,c\nhttp://a/1,\"x\nhttp://a/2,y\r\n\nhttp://a/3,\"\"\nhttp://a/4,\"\"\"\"\nhttp://a/5";
        let expected = [
            "bad_url [] line 2 of list begins a row whose quote is not closed {}",
            r#"http://a/2 {"c":"y"}"#,
            r#"http://a/3 {"c":""}"#,
            r#"http://a/4 {"c":"\""}"#,
            "bad_url [http://a/5] line 7 of list has 1 field, and the header 2 {}",
        ];
        assert_eq!(told(list.as_bytes(), &options), expected);
        // More of them than one row may be long.
        let words = "words ".repeat(40);
        let rows = (0..5000).map(|row| format!("http://a.example/{row},{words}\n")).collect::<Vec<_>>().concat();
        assert!(rows.len() > LONGEST_ROW);
        let list = format!("url,c\nhttp://a/1,\"x\n{rows}http://a/2,\"\"\"x\n{rows}");
        let told = told(list.as_bytes(), &options);
        let refused = told.iter().filter(|row| row.starts_with("bad_url")).collect::<Vec<_>>();
        assert_eq!((told.len(), refused.len()), (2 + 2 * 5000, 2), "{refused:?}");
        assert!(refused[0].contains("line 2 ") && refused[0].contains("reading goes on at line 3 "), "{refused:?}");
        assert!(refused[1].contains("line 5003 "), "{refused:?}");
        assert!(told[10_001].starts_with("http://a.example/4999 "), "{}", told[10_001]);
    }

    #[test]
    fn a_missing_column_names_those_that_are_there() {
        let no_checksum = Options { checksum_column: None, ..options(Format::Csv) };
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
            let told = told(list.as_bytes(), &options(Format::Csv));
            assert!(told[0].starts_with("list is no list of URLs: ") && told[0].contains(what), "{told:?}");
        }
        assert_eq!(told(b"url,sha1\nhttp://a/1,x\n", &no_checksum), [r#"http://a/1 {"sha1":"x"}"#]);
    }

    #[test]
    fn a_row_without_end_is_given_up_and_costs_no_memory() {
        let field = "x".repeat(LONGEST_ROW - 100);
        let table = [
            // A long field is still a field.
            (format!("{field}\nhttp://a/2,\n"), vec!["http://a/1".to_owned(), "http://a/2".to_owned()]),
            // One that is too long ends at its line's end,
            (format!("{field}{field}\nhttp://a/2,\n"), vec![gone(2, 3), "http://a/2".to_owned()]),
            // and one whose quote is not closed at the end of its first one.
            (
                format!("\"{}\nhttp://a/2,\n", "x\n".repeat(LONGEST_ROW / 2)),
                vec![gone(2, 3), "bad_url".to_owned(), "http://a/2".to_owned()],
            ),
            (",".repeat(LONGEST_ROW + 1), vec![gone(2, 3)]),
        ];
        for (rest, expected) in table {
            let list = format!("url,c\nhttp://a/1,{rest}");
            let rows = told(list.as_bytes(), &Options { checksum_column: None, ..options(Format::Csv) });
            let short = |row: &String| {
                if row.contains("MiB") { row.clone() } else { row.split(' ').next().unwrap_or_default().to_owned() }
            };
            let short = rows.iter().map(short).collect::<Vec<_>>();
            assert_eq!(short[..short.len().min(2)], expected[..expected.len().min(2)]);
            assert_eq!(short.last(), expected.last());
        }
        let header = told(field.repeat(2).as_bytes(), &options(Format::Csv));
        let what = "where the names of its columns should be, there is a row of more than 1 MiB";
        assert!(header[0].contains(what), "{header:?}");
    }

    fn gone(line: u64, resumed: u64) -> String {
        format!(
            "bad_url [] line {line} of list begins a row of more than 1 MiB, perhaps because a quote is not closed; reading \
             goes on at line {resumed} {{}}"
        )
    }
}
