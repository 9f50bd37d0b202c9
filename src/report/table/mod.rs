//! Records as a table: JSON Lines, CSV, TSV or Parquet, with a column for each field and for each column of the list.
//!
//! A table of [`Purpose::Records`] has all fields. One of [`Purpose::Metadata`] says of each file what loaders of image
//! folders ask for. The columns are found first ([`ColumnFinder`]), because a header and a Parquet file need them before
//! the first row. Then the rows are written ([`Table`]). Both get records as lines, and no record is kept.

mod columns;
#[cfg(feature = "parquet")]
mod parquet;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

pub use self::columns::{ColumnFinder, Columns};
use crate::util::raw_json::inner;
use crate::util::redact::escaped;

/// The formats of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// A JSON object per line.
    Jsonl,
    /// Fields separated by commas, below a header (RFC 4180).
    Csv,
    /// Fields separated by tabs, below a header.
    Tsv,
    /// Parquet.
    Parquet,
}

impl TableFormat {
    /// The format of a file, by the extension of its name.
    #[must_use]
    pub fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }

    /// Whether this build can write it.
    #[must_use]
    pub const fn is_supported(self) -> bool {
        cfg!(feature = "parquet") || !matches!(self, Self::Parquet)
    }
}

/// What a table is for, which decides about its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All fields of the records.
    Records,
    /// What is known of the files, by their names.
    Metadata,
}

/// A row of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableRow<'a> {
    /// The record as JSON.
    pub record: &'a str,
    /// Fields that the record lacks, as a JSON object.
    pub known: Option<&'a str>,
    /// The name of the file as JSON, for [`Purpose::Metadata`].
    pub file_name: Option<&'a str>,
}

/// A table that is being written.
pub struct Table<'a> {
    columns: &'a Columns,
    writer: Writer<'a>,
}

enum Writer<'a> {
    Jsonl(Box<dyn Write + Send + 'a>),
    Separated {
        out: Box<dyn Write + Send + 'a>,
        delimiter: u8,
        /// Control characters are escaped.
        is_for_terminal: bool,
    },
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::ParquetTable<'a>>),
}

impl<'a> Table<'a> {
    /// Begins a table. On a terminal, control characters in CSV are escaped.
    ///
    /// # Errors
    /// When `out` cannot be written, or this build cannot write the format.
    pub fn begin(
        format: TableFormat,
        columns: &'a Columns,
        out: impl Write + Send + 'a,
        is_for_terminal: bool,
    ) -> io::Result<Self> {
        let out = Box::new(out);
        let writer = match format {
            TableFormat::Jsonl => Writer::Jsonl(out),
            TableFormat::Csv => Writer::separated(out, b',', is_for_terminal, columns)?,
            TableFormat::Tsv => Writer::separated(out, b'\t', is_for_terminal, columns)?,
            #[cfg(feature = "parquet")]
            TableFormat::Parquet => Writer::Parquet(Box::new(parquet::ParquetTable::begin(columns, out)?)),
            #[cfg(not(feature = "parquet"))]
            TableFormat::Parquet => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { columns, writer })
    }

    /// Writes the next row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, row: TableRow) -> io::Result<()> {
        let cells = self.columns.cells(row);
        match &mut self.writer {
            Writer::Jsonl(out) => {
                for (number, (column, value)) in self.columns.iter().zip(&cells).enumerate() {
                    out.write_all(if number == 0 { b"{" } else { b"," })?;
                    out.write_all(column.key.as_bytes())?;
                    out.write_all(value.unwrap_or("null").as_bytes())?;
                }
                out.write_all(b"}\n")
            }
            Writer::Separated { out, delimiter, is_for_terminal } => {
                let texts = cells.iter().map(|value| value.map_or(Cow::Borrowed(""), text));
                separated(out, *delimiter, *is_for_terminal, texts)
            }
            #[cfg(feature = "parquet")]
            Writer::Parquet(table) => table.write(&cells),
        }
    }

    /// Ends the table.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<()> {
        match self.writer {
            Writer::Jsonl(mut out) | Writer::Separated { mut out, .. } => out.flush(),
            #[cfg(feature = "parquet")]
            Writer::Parquet(table) => table.finish(),
        }
    }
}

impl<'a> Writer<'a> {
    fn separated(
        mut out: Box<dyn Write + Send + 'a>,
        delimiter: u8,
        is_for_terminal: bool,
        columns: &Columns,
    ) -> io::Result<Self> {
        let names = columns.iter().map(|column| Cow::Borrowed(&*column.name));
        separated(&mut out, delimiter, is_for_terminal, names)?;
        Ok(Self::Separated { out, delimiter, is_for_terminal })
    }
}

/// Writes fields as a line. A field that holds the delimiter, a quotation mark or a line break is quoted.
fn separated<'a>(
    out: &mut impl Write,
    delimiter: u8,
    is_for_terminal: bool,
    fields: impl Iterator<Item = Cow<'a, str>>,
) -> io::Result<()> {
    for (number, field) in fields.enumerate() {
        if number > 0 {
            out.write_all(&[delimiter])?;
        }
        let field = if is_for_terminal { Cow::Owned(escaped(&field).into_owned()) } else { field };
        let needs_quotes = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
        if field.bytes().any(needs_quotes) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// A value as text: strings without quotation marks, nothing for `null`, and anything else as JSON.
fn text(value: &str) -> Cow<'_, str> {
    match inner(value) {
        Some(text) if !text.contains('\\') => Cow::Borrowed(text),
        // What serde_json cannot read, such as half of a surrogate pair, is shown as it is.
        Some(text) => serde_json::from_str::<String>(value).map_or(Cow::Borrowed(text), Cow::Owned),
        None if value == "null" => Cow::Borrowed(""),
        None => Cow::Borrowed(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: [&str; 2] = [
        r#"{"index":0,"url":"http://a/1","status":"saved","path":"1.png","bytes":5,"format":"png","total_ms":1.5,"extra":{"caption":"a \"b\",\nc","width":7,"n":1}}"#,
        r#"{"index":1,"url":"http://a/2","status":"skipped","reason":"duplicate_url","path":"1.png","future":{"a":[1]},"extra":{"n":2.5}}"#,
    ];

    fn table(format: TableFormat, purpose: Purpose) -> String {
        let mut finder = ColumnFinder::new(purpose);
        for record in RECORDS {
            finder.add(record);
        }
        let columns = finder.finish();
        let mut out = Vec::new();
        let mut table = Table::begin(format, &columns, &mut out, false).expect("a table");
        for record in RECORDS {
            table.write(TableRow { record, known: None, file_name: Some("\"x/1.png\"") }).expect("a row");
        }
        table.finish().expect("an end");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn records_have_a_column_for_each_field_and_each_column_of_the_list() {
        assert_eq!(
            table(TableFormat::Csv, Purpose::Records),
            "index,url,status,path,bytes,format,total_ms,reason,future,caption,list_width,n\n\
             0,http://a/1,saved,1.png,5,png,1.5,,,\"a \"\"b\"\",\nc\",7,1\n\
             1,http://a/2,skipped,1.png,,,,duplicate_url,\"{\"\"a\"\":[1]}\",,,2.5\n"
        );
        let tsv = table(TableFormat::Tsv, Purpose::Records);
        assert!(tsv.starts_with("index\turl\tstatus\t"), "{tsv}");
    }

    #[test]
    fn metadata_begins_with_the_name_of_the_file_and_has_the_same_columns_in_each_row() {
        let lines = table(TableFormat::Jsonl, Purpose::Metadata);
        let expected = [
            r#"{"file_name":"x/1.png","index":0,"url":"http://a/1","bytes":5,"width":null,"height":null,"format":"png","caption":"a \"b\",\nc","list_width":7,"n":1}"#,
            r#"{"file_name":"x/1.png","index":1,"url":"http://a/2","bytes":null,"width":null,"height":null,"format":null,"caption":null,"list_width":null,"n":2.5}"#,
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn control_characters_reach_no_terminal() {
        let mut out = Vec::new();
        separated(&mut out, b',', true, ["a\u{1b}[31m".into(), "b\nc".into()].into_iter()).expect("a line");
        assert_eq!(String::from_utf8_lossy(&out), "a\\u{1b}[31m,b\\u{a}c\n");
    }
}
