//! Parses CSV and TSV: fields separated by commas or tabs, below a header with the names of the columns.
//!
//! Follows RFC 4180, as spreadsheets and databases write it: a field may be quoted, a quote in it is doubled, and a
//! quoted field may hold line feeds. A row whose number of fields differs from the header's fails without affecting
//! other rows.
//!
//! Captions that begin with a quotation mark of their own look like quoted fields, and would take all rows up to the
//! next quotation mark along. So the list is split into lines first, and lines are joined to one row only where all of
//! them are sound as one: the quote that opens the field is followed by one that closes it, nothing but the end of the
//! field stands behind that, the row has the header's number of fields, and none of the joined lines is a row itself.
//! Otherwise the first of the lines fails, and the next one begins a row of its own: every line belongs to a row.
//! Programs that write TSV seldom quote, so there a quote that is not closed in its line is text if the line is a row.

mod delimiter;
mod fields;

use std::borrow::Cow;
use std::ops::RangeBounds;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::columns::ListColumns;
use super::rows::{ListContext, RawRow, ReadError, RowSender, begins_as_url};
use super::trim::{trim, without_marks};
use super::{MAX_ROW_BYTES, TextEncoding};
use crate::record::{Extra, hex};
use crate::util::redact::escaped;
pub use delimiter::{BAR, COMMA, SEMICOLON, TAB, stated_delimiter};
pub use fields::fields;
use fields::{CsvFields, Followed, Quote, follow, without_end};

/// The first line of a TSV file for Google's Storage Transfer Service, in the place of a header. The columns are the URL,
/// the size, and the MD5 in Base64; the last two may be missing.
pub const HTTP_DATA: &[u8] = b"TsvHttpData-1.0";

/// Parses a CSV or TSV list that arrives in pieces.
pub struct CsvParser<'a> {
    context: &'a ListContext<'a>,
    delimiter: u8,
    preamble: Preamble,
    /// The beginning of the current line, from earlier reads. Of a line that is longer than a row may be, the beginning
    /// is kept, with one byte more, which tells that it is longer.
    line: Vec<u8>,
    /// The number of the last complete line, from 1.
    number: u64,
    /// Whether that line ended with a carriage return: a line feed that comes next belongs to it.
    after_cr: bool,
    /// The lines of a row whose quoted field goes on in the next line.
    open: Option<OpenRow>,
    fields: CsvFields,
    /// The columns of the header, once it has been read.
    columns: Option<ListColumns>,
    /// Whether the user has been told that a column is not UTF-8.
    has_warned_of_encoding: bool,
}

/// What is known of the list before its header.
#[derive(PartialEq)]
enum Preamble {
    /// Nothing: the header tells the delimiter.
    None,
    /// The delimiter.
    Delimiter,
    /// That it begins with [`HTTP_DATA`], and has no header.
    HttpData,
}

/// A row of several lines, of which the last is still to come.
struct OpenRow {
    /// The lines with their ends.
    bytes: Vec<u8>,
    /// The length of the first of them.
    first_line_bytes: usize,
    /// The number of the first of them, from 1.
    first_line: u64,
    /// The number of the field that is open, from 0.
    field: usize,
    /// The number of fields before it that have several lines.
    long_fields: usize,
}

/// The most fields of several lines in one row. Each of its lines may be parsed as often as this before it is clear that
/// they are no row, and one call within another.
const MAX_LONG_FIELDS: usize = 100;

impl<'a> CsvParser<'a> {
    /// A parser at the beginning of a list. `usual`: the delimiter if neither the user nor the header tells another.
    pub fn new(usual: u8, context: &'a ListContext<'a>) -> Self {
        let delimiter = context.options.delimiter;
        Self {
            context,
            delimiter: delimiter.unwrap_or(usual),
            preamble: if delimiter.is_some() { Preamble::Delimiter } else { Preamble::None },
            line: Vec::new(),
            number: 0,
            after_cr: false,
            open: None,
            fields: CsvFields::default(),
            columns: None,
            has_warned_of_encoding: false,
        }
    }

    /// Parses the next bytes, and adds the rows that end in them.
    pub fn feed(&mut self, mut bytes: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                if let Some(open) = &mut self.open {
                    open.end_with_line_feed();
                }
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                self.keep(bytes);
                break;
            };
            let (last, rest) = bytes.split_at(end + 1);
            self.after_cr = last[end] == b'\r';
            bytes = rest;
            if self.line.is_empty() {
                self.push_line(last, rows)?;
            } else {
                self.keep(last);
                let line = std::mem::take(&mut self.line);
                self.push_line(&line, rows)?;
            }
        }
        Ok(())
    }

    /// Adds the last row, at the end of the list.
    pub fn finish(mut self, rows: &mut RowSender) -> Result<(), ReadError> {
        loop {
            let line = std::mem::take(&mut self.line);
            if !line.is_empty() {
                self.push_line(&line, rows)?;
            } else if let Some(open) = self.open.take() {
                self.give_up(&open, NOT_CLOSED, rows)?;
            } else {
                return Ok(());
            }
        }
    }

    fn keep(&mut self, more: &[u8]) {
        let free = (MAX_ROW_BYTES + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&more[..more.len().min(free)]);
    }

    /// Parses a line, with its end.
    fn push_line(&mut self, line: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        self.number += 1;
        match self.open.take() {
            None => self.begin_row(line, rows),
            Some(open) => self.continue_row(open, line, rows),
        }
    }

    /// Parses the first line of a row, which is usually the only one.
    fn begin_row(&mut self, line: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        // A list that was joined from several has a mark wherever one of them began.
        let line = without_marks(line);
        let text = without_end(line);
        if text.len() > MAX_ROW_BYTES {
            return self.push_invalid(TOO_LONG, self.number, true, rows);
        }
        // A line of delimiters is a row, even if they are tabs.
        if trim(text).is_empty() && !text.contains(&self.delimiter) {
            return Ok(());
        }
        if self.columns.is_none() && self.is_preamble(text)? {
            return Ok(());
        }
        let Some(field) = self.fields.split(text, self.delimiter) else {
            return self.finish_row(self.number, rows);
        };
        if self.delimiter == TAB && (self.columns.is_none() || self.is_row_with_url_in(..)) {
            return self.finish_row(self.number, rows);
        }
        if self.is_row_with_url_in(field..) {
            return self.push_invalid(NOT_CLOSED, self.number, true, rows);
        }
        let (bytes, first_line_bytes) = (line.to_vec(), line.len());
        self.open = Some(OpenRow { bytes, first_line_bytes, first_line: self.number, field, long_fields: 0 });
        Ok(())
    }

    /// Takes from the first line what it says about the list: the delimiter, or all columns. Returns whether that is all
    /// that it says; otherwise it is the header.
    fn is_preamble(&mut self, line: &[u8]) -> Result<bool, ReadError> {
        if trim(line) == HTTP_DATA {
            let names = [&*self.context.options.url_column, "size", "md5"].map(Arc::from);
            let columns = ListColumns::find(names.into(), self.context)?;
            columns.require_template_columns(self.context)?;
            (self.columns, self.delimiter, self.preamble) = (Some(columns), TAB, Preamble::HttpData);
            return Ok(true);
        }
        if let Some(delimiter) = stated_delimiter(line) {
            self.delimiter = self.context.options.delimiter.unwrap_or(delimiter);
            self.preamble = Preamble::Delimiter;
            return Ok(true);
        }
        if self.preamble == Preamble::None {
            self.choose_delimiter(line);
        }
        Ok(false)
    }

    /// Parses a line that begins within a quoted field.
    fn continue_row(&mut self, mut open: OpenRow, line: &[u8], rows: &mut RowSender) -> Result<(), ReadError> {
        let text = without_end(line);
        let fits = open.bytes.len() + line.len() <= MAX_ROW_BYTES;
        open.bytes.extend_from_slice(line);
        if !fits {
            return self.give_up(&open, TOO_LONG, rows);
        }
        let Followed { end, fields, quoted_delimiters } = follow(text, self.delimiter);
        open.field += fields;
        open.long_fields += usize::from(fields > 0);
        // A line that is a row itself, with its URL between the quotes, shows that the quote before it was a stray one.
        self.fields.split(text, self.delimiter);
        if self.is_row_with_url_in(0..=quoted_delimiters) {
            return self.give_up(&open, NOT_CLOSED, rows);
        }
        let expected = self.columns.as_ref().map_or(usize::MAX, |columns| columns.names.len());
        match end {
            Quote::Misplaced => {
                let what = "that has a field of several lines, and more behind the quote that ends it; perhaps a quote is not closed";
                self.give_up(&open, what, rows)
            }
            Quote::Open if open.long_fields > MAX_LONG_FIELDS => {
                self.give_up(&open, "with more than 100 fields of several lines; perhaps a quote is not closed", rows)
            }
            // Not only a wrong row: each of its lines may open one more field, and would be parsed once for each.
            _ if open.field >= expected => self.give_up(
                &open,
                "of several lines with more fields than the header; perhaps a quote is not closed",
                rows,
            ),
            Quote::Open => {
                self.open = Some(open);
                Ok(())
            }
            Quote::Closed if open.field + 1 < expected && self.columns.is_some() => self.give_up(
                &open,
                "of several lines with fewer fields than the header; perhaps a quote is not closed",
                rows,
            ),
            Quote::Closed => {
                self.fields.split(without_end(&open.bytes), self.delimiter);
                self.finish_row(open.first_line, rows)
            }
        }
    }

    /// Takes back that several lines are one row. The first fails, or in TSV is read as if its quote were text; the
    /// others are rows of their own. `what` follows "a row" in the message.
    fn give_up(&mut self, open: &OpenRow, what: &str, rows: &mut RowSender) -> Result<(), ReadError> {
        let (first, rest) = open.bytes.split_at(open.first_line_bytes);
        self.fields.split(without_end(first), self.delimiter);
        self.number = open.first_line;
        if self.delimiter == TAB {
            self.finish_row(open.first_line, rows)?;
        } else {
            self.push_invalid(what, open.first_line, !rest.is_empty(), rows)?;
        }
        // The other lines are parsed once more, and few of them twice more: while a field is open, a line leaves it open
        // or begins another field, of which there are no more than columns and `MAX_LONG_FIELDS`.
        self.after_cr = first.ends_with(b"\r");
        self.feed(rest, rows)
    }

    /// Whether the current fields are a row of the list for themselves: as many as in the header, and a URL in its
    /// column, which is one of `within`.
    fn is_row_with_url_in(&self, within: impl RangeBounds<usize>) -> bool {
        self.columns.as_ref().is_some_and(|columns| {
            within.contains(&columns.url)
                && self.fields.count() == columns.names.len()
                && begins_as_url(self.fields.get(columns.url))
        })
    }

    /// Adds the row of the current fields. `first_line`: the number of its first line.
    fn finish_row(&mut self, first_line: u64, rows: &mut RowSender) -> Result<(), ReadError> {
        if self.preamble == Preamble::HttpData {
            self.fields.fill_up_to(3);
        }
        let fields = &self.fields;
        let position = self.context.line(first_line);
        match &self.columns {
            None => {
                let names = fields.iter().map(|name| String::from_utf8_lossy(trim(name)).into()).collect();
                let columns = ListColumns::find(names, self.context)?.numbered(self.context, rows.is_first_reading);
                columns.require_template_columns(self.context)?;
                self.columns = Some(columns);
            }
            Some(columns) if fields.count() != columns.names.len() => {
                let (count, expected) = (fields.count(), columns.names.len());
                let message = format!("{position} has {}, and the header {expected}", count_of_fields(count));
                // Fields cannot be assigned to columns in such a row, so the record shows the text in the position of
                // the URL.
                let url = if columns.url < count { fields.get(columns.url) } else { b"" };
                rows.push_invalid(url, &message, Extra::default());
            }
            Some(columns) => {
                let mut extra = Vec::with_capacity(columns.names.len());
                let mut broken = None;
                for (column, name) in columns.others() {
                    let text = String::from_utf8_lossy(fields.get(column));
                    broken = broken.or(matches!(text, Cow::Owned(_)).then_some(name));
                    extra.push((Arc::clone(name), Value::from(text)));
                }
                // The image does not depend on a caption. Its own name does on a column that the name is made of.
                let asked_for = |name: &Arc<str>| self.context.options.naming_column(|asked| *asked == **name);
                if let Some(name) = broken {
                    let mut broken =
                        columns.others().filter(|(column, _)| std::str::from_utf8(fields.get(*column)).is_err());
                    if let Some((name, asked)) = broken.find_map(|(_, name)| Some((name, asked_for(name)?))) {
                        let (encoding, flag) = (self.context.options.encoding, asked.used_for.flag());
                        let message = format!("{position}: its {name} is not valid {encoding}, and {flag} needs it");
                        rows.push_invalid(fields.get(columns.url), &message, Extra::new(extra));
                        return Ok(());
                    }
                    if !std::mem::replace(&mut self.has_warned_of_encoding, true) && rows.is_first_reading {
                        let format = if self.delimiter == TAB { "tsv" } else { "csv" };
                        warn_of_encoding(self.context, &position.to_string(), name, format);
                    }
                }
                let (url, extra) = (fields.get(columns.url), Extra::new(extra));
                let checksum = columns.checksum.map_or(&b""[..], |column| fields.get(column));
                let digits = (self.preamble == Preamble::HttpData)
                    .then(|| STANDARD.decode(trim(checksum)).ok())
                    .flatten()
                    .map(|md5| hex(&md5));
                let checksum = digits.as_ref().map_or(checksum, |digits| digits.as_bytes());
                rows.push(RawRow { url, checksum: Ok(checksum), extra }, position);
            }
        }
        Ok(())
    }

    /// Adds a row that cannot be parsed, as a failed record; fails if it is the header. `what` follows "a row" in the
    /// message, and `goes_on` tells that the next line begins a row.
    fn push_invalid(&self, what: &str, line: u64, goes_on: bool, rows: &mut RowSender) -> Result<(), ReadError> {
        let Some(columns) = &self.columns else {
            let what = format!("where the names of its columns should be, there is a row {what}");
            return Err(self.context.not_a_list(what));
        };
        let next = if goes_on { format!("; reading goes on at line {}", line + 1) } else { String::new() };
        // Most such rows have one stray quote, in another column than the URL's.
        let url = if what != TOO_LONG && self.is_row_with_url_in(..) { self.fields.get(columns.url) } else { b"" };
        let position = self.context.line(line);
        rows.push_invalid(trim(url), &format!("{position} begins a row {what}{next}"), Extra::default());
        Ok(())
    }
}

/// Tells once for a list that the text of its columns is in another encoding, and how to convert it.
fn warn_of_encoding(context: &ListContext, position: &str, column: &str, format: &str) {
    let (list, position, column) = (escaped(context.name), escaped(position), escaped(column));
    let encoding = context.options.encoding;
    let advice = if encoding == TextEncoding::default() {
        format!(
            ". If the list is in Windows-1252, read it with --input-encoding windows-1252, or convert it: \
             iconv -f WINDOWS-1252 -t UTF-8 {list} | fetchimg --input-format {format}"
        )
    } else {
        String::new()
    };
    tracing::warn!(
        target: "fetchimg",
        "{position}: its {column} is not valid {encoding}; what cannot be read is recorded as U+FFFD, here and in the rows \
         after it{advice}"
    );
}

/// What a row has of which the closing quote never comes; follows "a row".
const NOT_CLOSED: &str = "whose quote is not closed";

/// What a row has that is longer than the limit; follows "a row".
const TOO_LONG: &str = "of more than 1 MiB, perhaps because a quote is not closed";

impl OpenRow {
    /// Adds the line feed that belongs to the carriage return at the end.
    fn end_with_line_feed(&mut self) {
        if self.bytes.len() == self.first_line_bytes {
            self.first_line_bytes += 1;
        }
        self.bytes.push(b'\n');
    }
}

fn count_of_fields(count: usize) -> String {
    if count == 1 { "1 field".to_owned() } else { format!("{count} fields") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{options, rows_as_text};
    use crate::input::{ColumnUse, ListFormat, NamedColumn, Options, rows_of};

    #[test]
    fn fields_of_several_lines_are_followed_up_to_a_limit_in_one_row() {
        const COLUMNS: usize = 20_000;
        const LINES: usize = 2000;
        let names = (0..COLUMNS).map(|column| format!(",c{column}")).collect::<Vec<_>>().concat();
        // Each line ends a field and begins another, and the last one shows that none of them is one.
        let list = format!("url{names}\n\"a\n{}b\"x\n", "b\",\"\n".repeat(LINES));
        let texts = rows_as_text(list.as_bytes(), &Options { checksum_column: None, ..options(ListFormat::Csv) });
        assert_eq!(texts.len(), LINES + 2);
        assert!(texts.iter().all(|text| text.starts_with("bad_url ")));
        assert!(texts[0].contains("more than 100 fields of several lines"), "{}", texts[0]);
    }

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
            http://a/5,12,\xff,d\n\
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
            "checksum [http://a/5] line 10 of list: the checksum has 2 digits; md5 has 32, sha1 40, sha256 64, sha512 128 {\"c\":\"\u{fffd}\",\"d\":\"d\"}",
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
    fn an_unclosed_quote_costs_the_row_that_it_is_in() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let open = |url, line, next| {
            format!(
                "bad_url [{url}] line {line} of list begins a row whose quote is not closed; reading goes on at line {next} {{}}"
            )
        };
        let misplaced = "line 2 of list begins a row that has a field of several lines, and more behind the quote that \
            ends it; perhaps a quote is not closed; reading goes on at line 3 {}";
        let table = [
            (
                "url,c\n\"http://a/1",
                vec!["bad_url [] line 2 of list begins a row whose quote is not closed {}".to_owned()],
            ),
            (
                "url,c\nhttp://a/1,\"x",
                vec!["bad_url [http://a/1] line 2 of list begins a row whose quote is not closed {}".to_owned()],
            ),
            // The next line has a quote of its own, which would close the field,
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,\"y\",z\n",
                vec![
                    format!("bad_url [http://a/1] {misplaced}"),
                    "bad_url [http://a/2] line 3 of list has 3 fields, and the header 2 {}".to_owned(),
                ],
            ),
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,12\" y\n",
                vec![open("http://a/1", 2, 3), r#"http://a/2 {"c":"12\" y"}"#.to_owned()],
            ),
            // or one at its end, or alone.
            (
                "url,c\nhttp://a/1,\"x\nhttp://a/2,y\"\nhttp://a/3,z\n",
                vec![
                    open("http://a/1", 2, 3),
                    r#"http://a/2 {"c":"y\""}"#.to_owned(),
                    r#"http://a/3 {"c":"z"}"#.to_owned(),
                ],
            ),
            (
                "url,c\r\nhttp://a/1,\"x\r\nhttp://a/2,\"\r\nhttp://a/3,\"\r\n",
                vec![
                    open("http://a/1", 2, 3),
                    open("http://a/2", 3, 4),
                    "bad_url [http://a/3] line 4 of list begins a row whose quote is not closed {}".to_owned(),
                ],
            ),
            // The URL need not come first, nor be written in small letters.
            (
                "c,url,d\n\"x,http://a/1,\nplain,HTTP://a/2,\"\"\n",
                vec![open("http://a/1", 2, 3), r#"http://a/2 {"c":"plain","d":""}"#.to_owned()],
            ),
            (
                "c,url\n\"x,http://a/1\ny\",http://a/2\n",
                vec![open("http://a/1", 2, 3), r#"http://a/2 {"c":"y\""}"#.to_owned()],
            ),
            // Lines that are sound as one row stay one,
            ("c,url\n\"one\ntwo\",http://a/1\n", vec![r#"http://a/1 {"c":"one\ntwo"}"#.to_owned()]),
            ("url,c\nhttp://a/1,\"x\"\"\ny\"\n", vec![r#"http://a/1 {"c":"x\"\ny"}"#.to_owned()]),
            ("url,c\rhttp://a/1,\"x\r\ry\"\r", vec![r#"http://a/1 {"c":"x\r\ry"}"#.to_owned()]),
            (
                "c,url\n\"\nsee http://b/, or\n\" ,http://a/1\n",
                vec![r#"http://a/1 {"c":"\nsee http://b/, or\n "}"#.to_owned()],
            ),
            (
                "c,url,d\n\"1\n2\",http://a/1,\"3\n\"\"4\"\"\n\"\n,http://a/2,\n",
                vec![
                    r#"http://a/1 {"c":"1\n2","d":"3\n\"4\"\n"}"#.to_owned(),
                    r#"http://a/2 {"c":"","d":""}"#.to_owned(),
                ],
            ),
            // and those that are not are rows for themselves.
            (
                "url,c\nhttp://a/1,\"x\ny\",z\n",
                vec![
                    "bad_url [http://a/1] line 2 of list begins a row of several lines with more fields than the header; \
                     perhaps a quote is not closed; reading goes on at line 3 {}"
                        .to_owned(),
                    "bad_url [y\"] line 3 of list: its url is no http(s) URL: it does not begin with http:// or https:// {\"c\":\"z\"}"
                        .to_owned(),
                ],
            ),
            (
                "c,url,d\n\"x\ny\",http://a/1\n",
                vec![
                    "bad_url [] line 2 of list begins a row of several lines with fewer fields than the header; perhaps a \
                     quote is not closed; reading goes on at line 3 {}"
                        .to_owned(),
                    "bad_url [http://a/1] line 3 of list has 2 fields, and the header 3 {}".to_owned(),
                ],
            ),
            ("url,c\nhttp://a/1,\"x\" y\"\n", vec![r#"http://a/1 {"c":"x y\""}"#.to_owned()]),
            ("url,c\n\"http://a/1\",x\"\"y \"\"\r\n", vec![r#"http://a/1 {"c":"x\"\"y \"\""}"#.to_owned()]),
            (
                "url,\"c",
                vec![
                    "list is no list of URLs: where the names of its columns should be, there is a row whose quote is not closed"
                        .to_owned(),
                ],
            ),
        ];
        for (list, rows) in table {
            assert_eq!(rows_as_text(list.as_bytes(), &options), rows, "{list:?}");
        }
    }

    #[test]
    fn the_rows_after_an_unclosed_quote_are_parsed() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let list = "url,c\nhttp://a/1,\"x\nhttp://a/2,y\r\n\nhttp://a/3,\"\"\nhttp://a/4,\"\"\"\"\nhttp://a/5";
        let expected = [
            "bad_url [http://a/1] line 2 of list begins a row whose quote is not closed; reading goes on at line 3 {}",
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
    fn in_tsv_a_quote_is_text_unless_it_is_closed_in_its_line() {
        let options = Options { checksum_column: None, ..options(ListFormat::Tsv) };
        let row = |url: &str, caption: &str| format!("{url} {}", serde_json::json!({ "c": caption }));
        let table = [
            (
                "url\tc\nhttp://a/1\t\"Beautiful view\nhttp://a/2\tplain\nhttp://a/3\t\"Bye\n",
                vec![row("http://a/1", "\"Beautiful view"), row("http://a/2", "plain"), row("http://a/3", "\"Bye")],
            ),
            (
                "url\tc\nhttp://a/1\t\"opened\nhttp://a/2\tcloses\"\n",
                vec![row("http://a/1", "\"opened"), row("http://a/2", "closes\"")],
            ),
            (
                "c\turl\n\"opened\thttp://a/1\n\"\"\thttp://a/2\n\"x \"\"y\"\"\"\thttp://a/3\n\"\thttp://a/4",
                vec![
                    row("http://a/1", "\"opened"),
                    row("http://a/2", ""),
                    row("http://a/3", "x \"y\""),
                    row("http://a/4", "\""),
                ],
            ),
            // A line that is no row without the next one may go on in it,
            ("c\turl\n\"one\n\"\"two\"\"\"\thttp://a/1\n", vec![row("http://a/1", "one\n\"two\"")]),
            // and is read for itself where that makes no row either.
            (
                "c\turl\n\"one\nplain\thttp://a/1\n\"\nend\"\n",
                vec![
                    "bad_url [] line 2 of list has 1 field, and the header 2 {}".to_owned(),
                    row("http://a/1", "plain"),
                    "bad_url [] line 4 of list has 1 field, and the header 2 {}".to_owned(),
                    "bad_url [] line 5 of list has 1 field, and the header 2 {}".to_owned(),
                ],
            ),
        ];
        for (list, rows) in table {
            assert_eq!(rows_as_text(list.as_bytes(), &options), rows, "{list:?}");
        }
    }

    #[test]
    fn a_column_in_another_encoding_costs_no_row_unless_it_names_the_image() {
        let list = b"url,c,d\nhttp://a/1,caf\xe9,x\nhttp://a/2,x,\x93x\x94\nhttp://a/3,,\n";
        let rows = |named: &str| {
            let named_columns = vec![NamedColumn { name: named.to_owned(), used_for: ColumnUse::Name }];
            rows_as_text(list, &Options { checksum_column: None, named_columns, ..options(ListFormat::Csv) })
        };
        let (one, two) =
            ("http://a/1 {\"c\":\"caf\u{fffd}\",\"d\":\"x\"}", "http://a/2 {\"c\":\"x\",\"d\":\"\u{fffd}x\u{fffd}\"}");
        let three = r#"http://a/3 {"c":"","d":""}"#;
        assert_eq!(rows("c")[1..], [two, three]);
        assert_eq!(rows("d")[0], one);
        let refused = "bad_url [http://a/1] line 2 of list: its c is not valid UTF-8, and --name needs it {";
        assert!(rows("c")[0].starts_with(refused), "{:?}", rows("c"));
    }

    #[test]
    fn a_list_for_the_transfer_service_needs_no_header() {
        let list = b"TsvHttpData-1.0\nhttp://a/1\t203\t1B2M2Y8AsgTpgAmY7PhCfg==\nhttp://a/2\t7\nhttp://a/3\n";
        for format in [Some(ListFormat::Tsv), Some(ListFormat::Text), None] {
            let options = Options { format, ..options(ListFormat::Tsv) };
            let rows = [r#"http://a/1 md5 {"size":"203"}"#, r#"http://a/2 {"size":"7"}"#, r#"http://a/3 {"size":""}"#];
            assert_eq!(rows_as_text(list, &options), rows);
        }
    }

    #[test]
    fn a_mark_before_a_line_is_not_part_of_it() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let list = "\u{feff}url,c\n\u{feff}\"http://a/1\",x\n\u{feff}\u{feff}\nhttp://a/2\u{a0},\"y\n\u{feff}z\"\n";
        let rows = [r#"http://a/1 {"c":"x"}"#, "http://a/2 {\"c\":\"y\n\u{feff}z\"}"];
        let rows = rows.map(|row| row.replace('\n', "\\n"));
        assert_eq!(rows_as_text(list.as_bytes(), &options), rows);
    }

    /// Each line begins another quoted field, so that no line ends the row. Were every line taken for the first of a row
    /// up to the end of the list, this would take minutes.
    #[test]
    fn quotes_that_open_and_close_in_every_line_take_no_time() {
        let options = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let list = format!("url,c\nhttp://a/1,\"x\n{}", "y\",\"z\n".repeat(20_000));
        let texts = rows_of(list.as_bytes(), "list", &options).map(|rows| rows.len());
        assert_eq!(texts.ok(), Some(20_001));
        let list = format!("url,c\nhttp://a/1,{}", "\"\"\",".repeat(50_000));
        let texts = rows_of(list.as_bytes(), "list", &options).map(|rows| rows.len());
        assert_eq!(texts.ok(), Some(1));
    }

    #[test]
    fn the_message_about_a_missing_column_lists_the_columns() {
        let no_checksum = Options { checksum_column: None, ..options(ListFormat::Csv) };
        let many = (0..30).map(|number| format!("c{number}")).collect::<Vec<_>>().join(",");
        let table = [
            (
                "image,,caption\n",
                "has no column url; it has image, one without a name, caption; name the one with --url-column",
            ),
            ("URL,Url\n", "has no column url; it has URL, Url; name"),
            ("url,sha1\n", "has no column md5, which --checksum-column asks for; it has url, sha1"),
            (
                "http://ann:pw@a.example/1,x\n",
                "has a URL in its first row, which must name the columns, one of them url",
            ),
            (&many, "c18, c19 and 10 more; name"),
        ];
        for (list, what) in table {
            let texts = rows_as_text(list.as_bytes(), &options(ListFormat::Csv));
            assert!(texts[0].starts_with("list has ") && texts[0].contains(what), "{texts:?}");
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
