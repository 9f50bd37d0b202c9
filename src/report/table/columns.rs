//! The columns of a table: which fields the records have, and what kind of values.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::{Purpose, TableRow};
use crate::util::raw_json::RawFields;
use crate::util::redact::escaped_json;

/// The fields of records, in the order of their columns.
const RECORD_FIELDS: &[&str] = &[
    "index",
    "url",
    "url_hash",
    "status",
    "path",
    "bytes",
    "format",
    "width",
    "height",
    "frames",
    "orientation",
    "verified",
    "content_type",
    "http_status",
    "final_url",
    "attempts",
    "resumed_from",
    "start_ms",
    "ttfb_ms",
    "waited_ms",
    "processor_wait_ms",
    "total_ms",
    "exif",
    "md5",
    "sha1",
    "sha256",
    "sha512",
    "blake3",
    "phash",
    "original",
    "same_as",
    "extension_mismatch",
    "smaller_than_box",
    "made_with",
    "reason",
    "error",
    "message",
    "retryable",
];

/// The columns of metadata, in their order.
const METADATA_FIELDS: &[&str] = &[
    FILE_NAME,
    "index",
    "url",
    "bytes",
    "width",
    "height",
    "format",
    "frames",
    "orientation",
    "verified",
    "content_type",
    "final_url",
    "md5",
    "sha1",
    "sha256",
    "sha512",
    "blake3",
    "phash",
    "exif",
    "original",
    "same_as",
    "extension_mismatch",
    "smaller_than_box",
];

/// The column by which loaders find the file of a row.
const FILE_NAME: &str = "file_name";

/// What is put before the name of a column of the list that this program has a column of its own for.
const LIST_PREFIX: &str = "list_";

impl Purpose {
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Records => RECORD_FIELDS,
            Self::Metadata => METADATA_FIELDS,
        }
    }

    /// The columns that are there even if no row has a value for them.
    const fn fixed(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["index", "url", "status", "path"],
            Self::Metadata => &[FILE_NAME, "index", "url", "bytes", "width", "height", "format"],
        }
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellType {
    /// `true` and `false`.
    Bool,
    /// Integers of 64 bits.
    Int,
    /// Numbers.
    Double,
    /// Text, and what is JSON otherwise.
    Text,
}

/// The kinds of values that have occurred in a column, besides `null`.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds(u8);

impl Kinds {
    const BOOL: u8 = 1;
    const INT: u8 = 2;
    const DOUBLE: u8 = 4;
    const TEXT: u8 = 8;
    const NUMBERS: u8 = Self::INT | Self::DOUBLE;

    fn add(&mut self, value: &str) {
        self.0 |= match value.as_bytes().first() {
            Some(b'n') | None => 0,
            Some(b't' | b'f') => Self::BOOL,
            Some(b'-' | b'0'..=b'9') if value.parse::<i64>().is_ok() => Self::INT,
            // A longer integer would lose digits as a number.
            Some(b'-' | b'0'..=b'9') if value.contains(['.', 'e', 'E']) => Self::DOUBLE,
            Some(_) => Self::TEXT,
        }
    }

    fn cell_type(self, name: &str) -> CellType {
        match self.0 {
            Self::BOOL => CellType::Bool,
            Self::INT => CellType::Int,
            0 if ["index", "bytes", "width", "height"].contains(&name) => CellType::Int,
            Self::DOUBLE | Self::NUMBERS => CellType::Double,
            _ => CellType::Text,
        }
    }
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The name as the key of a JSON object, with the colon.
    pub key: String,
    /// What its values are.
    pub cell_type: CellType,
}

/// Where the columns of fields are.
type Positions = HashMap<String, usize, RandomState>;

/// Finds the columns of a table.
pub struct ColumnFinder {
    purpose: Purpose,
    own: Found,
    list: Found,
}

/// Names, as they are written in JSON, and the kinds of their values, in the order in which they have occurred.
#[derive(Default)]
struct Found {
    positions: Positions,
    columns: Vec<(String, Kinds)>,
}

impl Found {
    fn add(&mut self, name: &str, value: &str) {
        let position = if let Some(position) = self.positions.get(name) {
            *position
        } else {
            self.positions.insert(name.to_owned(), self.columns.len());
            self.columns.push((name.to_owned(), Kinds::default()));
            self.columns.len() - 1
        };
        self.columns[position].1.add(value);
    }
}

impl ColumnFinder {
    /// A finder that has seen no row.
    #[must_use]
    pub fn new(purpose: Purpose) -> Self {
        let (mut own, list) = (Found::default(), Found::default());
        purpose.fixed().iter().for_each(|name| own.add(name, "null"));
        Self { purpose, own, list }
    }

    /// Adds the columns of a record.
    pub fn add(&mut self, record: &str) {
        for field in RawFields::of(record) {
            if field.name == "extra" {
                RawFields::of(field.value).for_each(|column| self.list.add(column.name, column.value));
            } else if self.purpose == Purpose::Records || self.purpose.fields().contains(&field.name) {
                self.own.add(field.name, field.value);
            }
        }
    }

    /// The columns: those of this program, and then those of the list.
    #[must_use]
    pub fn finish(self) -> Columns {
        let Self { purpose, mut own, list } = self;
        let order = |name: &str| purpose.fields().iter().position(|field| *field == name).unwrap_or(usize::MAX);
        own.columns.sort_by_key(|(name, _)| order(name));
        let mut columns = Columns::default();
        let mut taken = purpose.fields().iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        if purpose == Purpose::Metadata {
            // What Hugging Face makes of `file_name`.
            taken.insert("image".to_owned());
        }
        for (name, kinds) in own.columns {
            taken.insert(name.clone());
            columns.own.insert(name.clone(), columns.all.len());
            columns.push(name, kinds);
        }
        for (raw, kinds) in list.columns {
            let mut name = serde_json::from_str::<String>(&format!("\"{raw}\"")).unwrap_or_else(|_| raw.clone());
            if purpose == Purpose::Metadata {
                name = without_file_name(name);
            }
            while !taken.insert(name.clone()) {
                name.insert_str(0, LIST_PREFIX);
            }
            columns.list.insert(raw, columns.all.len());
            columns.push(name, kinds);
        }
        columns
    }
}

/// The name of a column of the list in metadata. Hugging Face takes every column whose name ends in `file_name` or
/// `file_names` for names of images.
fn without_file_name(name: String) -> String {
    for end in ["file_name", "file_names"] {
        if name != FILE_NAME
            && let Some(begin) = name.strip_suffix(end)
            && (begin.is_empty() || begin.ends_with('_'))
        {
            return format!("{begin}{}", end.replace('_', ""));
        }
    }
    if name == FILE_NAME { format!("{LIST_PREFIX}filename") } else { name }
}

/// The columns of a table.
#[derive(Debug, Default)]
pub struct Columns {
    all: Vec<Column>,
    own: Positions,
    list: Positions,
}

impl Columns {
    fn push(&mut self, name: String, kinds: Kinds) {
        let quoted = serde_json::to_string(&name).unwrap_or_else(|_| unreachable!("a text is JSON"));
        let key = format!("{}:", escaped_json(&quoted));
        self.all.push(Column { cell_type: kinds.cell_type(&name), name, key });
    }

    /// The columns in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Column> {
        self.all.iter()
    }

    /// The values of a row as JSON, one for each column.
    #[must_use]
    pub fn cells<'a>(&self, row: TableRow<'a>) -> Vec<Option<&'a str>> {
        let mut cells = vec![None; self.all.len()];
        if let Some(position) = self.own.get(FILE_NAME) {
            cells[*position] = row.file_name;
        }
        let known = RawFields::of(row.known.unwrap_or_default());
        for field in known.chain(RawFields::of(row.record)) {
            if field.name == "extra" {
                for column in RawFields::of(field.value) {
                    if let Some(position) = self.list.get(column.name) {
                        cells[*position] = Some(column.value);
                    }
                }
            } else if let Some(position) = self.own.get(field.name) {
                cells[*position] = Some(field.value);
            }
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_the_list_gets_a_name_that_is_free() {
        let mut finder = ColumnFinder::new(Purpose::Metadata);
        finder.add(r#"{"index":0,"status":"saved","extra":{"url":1,"list_url":2,"file_name":"x","big_file_name":"y","image":"z","caf\u00e9":3,"status":4}}"#);
        let columns = finder.finish();
        let names = columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>();
        let own = ["file_name", "index", "url", "bytes", "width", "height", "format"];
        let of_list = ["list_url", "list_list_url", "list_filename", "big_filename", "list_image", "café", "status"];
        assert_eq!(names, [&own[..], &of_list].concat());
    }

    #[test]
    fn the_type_of_a_column_fits_all_its_values() {
        for (values, expected) in [
            (&["1", "-2", "null"][..], CellType::Int),
            (&["1", "2.5"], CellType::Double),
            (&["1e3"], CellType::Double),
            (&["true", "false"], CellType::Bool),
            (&["true", "1"], CellType::Text),
            (&["123456789012345678901"], CellType::Text),
            (&["1", "\"1\""], CellType::Text),
            (&["{\"a\":1}"], CellType::Text),
            (&["null"], CellType::Text),
        ] {
            let mut kinds = Kinds::default();
            for value in values {
                kinds.add(value);
            }
            assert_eq!(kinds.cell_type("x"), expected, "{values:?}");
        }
        assert_eq!(Kinds::default().cell_type("width"), CellType::Int);
    }
}
