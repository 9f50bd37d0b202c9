//! Parquet files: rows out of columns, page by page.
//!
//! Such a file is read from its end, where its schema is, and in as many places as it has columns, so it has to be a
//! file: what comes through a pipe or packed is kept in a temporary one first. Of each column one page is in memory, and
//! columns that have no place in a record are not read at all.

mod schema;
mod value;

use std::fs::File;
use std::io;
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use serde_json::Value;

use super::LONGEST_ROW;
use super::columns::Columns;
use super::rows::{About, Ended, Found, Rows};
use crate::record::Extra;
use crate::util::redact::escaped;
use schema::{bare, is_text, kept};
use value::{value, weight};

/// So many rows are handed over at once, when the first ones are on their way.
const MOST_AT_ONCE: usize = 1024;

/// Reads a file from its first row to its last.
pub fn read(file: File, about: &About, rows: &mut Rows) -> Result<(), Ended> {
    let fail = |error| about.unreadable(in_our_words(error));
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(fail)?;
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    drop(metadata);
    let wanted = Wanted::find(&schema, about)?;
    // The library makes sense of values before we see them, and fails, or panics, for the whole file where it cannot.
    let bare = bare(&schema).map_err(fail)?;
    let options = ReadOptionsBuilder::new().with_parquet_schema(Arc::new(SchemaDescriptor::new(bare))).build();
    let reader = SerializedFileReader::new_with_options(file, options).map_err(fail)?;
    rows.expect(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0));
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted.fields.clone()).build();
    let found = projection.and_then(|projection| reader.get_row_iter(Some(projection))).map_err(fail)?;
    // The first request need not wait for the rows of a whole batch.
    let mut at_once = 1;
    for (number, row) in (1..).zip(found) {
        wanted.push(&row.map_err(fail)?, number, about, rows);
        let (count, bytes) = rows.waiting();
        if count >= at_once || bytes >= LONGEST_ROW {
            rows.send()?;
            at_once = (2 * at_once).min(MOST_AT_ONCE);
        }
    }
    rows.send()
}

/// An error of the system as it came.
fn in_our_words(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// The columns that are read.
struct Wanted {
    columns: Columns,
    fields: Vec<TypePtr>,
}

impl Wanted {
    fn find(schema: &Type, about: &About) -> Result<Self, Ended> {
        let names = |fields: &[TypePtr]| fields.iter().map(|field| field.name().into()).collect();
        let all = Columns::find(names(schema.get_fields()), about)?;
        all.have_those_in_names(about)?;
        let mut fields = Vec::new();
        for (column, field) in schema.get_fields().iter().enumerate() {
            if column != all.url && Some(column) != all.checksum {
                fields.extend(kept(field));
            } else if is_text(field) {
                fields.push(Arc::clone(field));
            } else {
                return Err(about.not_a_list(format!("its column {} holds no text", all.names[column])));
            }
        }
        // The library looks columns up by their names, and finds the last one for each of them.
        let count = |name: &str| schema.get_fields().iter().filter(|field| field.name() == name).count();
        if let Some(field) = fields.iter().find(|field| count(field.name()) > 1) {
            let name = escaped(field.name());
            return Err(about.not_a_list(format!("it has several columns {name}, which cannot be told apart")));
        }
        Ok(Self { columns: Columns::find(names(&fields), about)?, fields })
    }

    fn push(&self, row: &Row, number: u64, about: &About, rows: &mut Rows) {
        let place = about.row(number);
        let fields = row.get_column_iter().map(|(_, field)| field).collect::<Vec<_>>();
        let text = |column: usize| match fields.get(column) {
            Some(Field::Bytes(bytes)) => bytes.data(),
            _ => b"",
        };
        let mut extra = Vec::with_capacity(fields.len());
        let mut broken = None;
        if fields.iter().map(|field| weight(field)).sum::<usize>() > LONGEST_ROW {
            broken = Some(format!("{place} holds more than 1 MiB"));
        } else {
            for (column, name) in self.columns.others() {
                match fields.get(column).map_or(Ok(Value::Null), |field| value(field, &self.fields[column])) {
                    Ok(value) => extra.push((Arc::clone(name), value)),
                    Err(_) => broken = broken.or_else(|| Some(format!("{place}: its {name} is not valid UTF-8"))),
                }
            }
        }
        let (url, extra) = (text(self.columns.url), Extra::new(extra));
        match broken {
            Some(what) => rows.refuse(url, &what, extra),
            None => rows.push(Found { url, checksum: Ok(self.columns.checksum.map_or(b"", text)), extra }, place),
        }
    }
}

#[cfg(test)]
mod testing {
    use std::sync::Arc;

    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::parser::parse_message_type;

    pub type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

    /// A file with row groups that are written by the function, given their numbers.
    pub fn file(
        schema: &str,
        compression: Compression,
        groups: usize,
        mut write: impl FnMut(&mut Group, usize),
    ) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(schema).expect("a schema"));
        let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).expect("a writer");
        for number in 0..groups {
            let mut group = writer.next_row_group().expect("a row group");
            write(&mut group, number);
            group.close().expect("written");
        }
        writer.into_inner().expect("a file")
    }

    /// The next column of a row group. `levels`: how much of its path each value has, and where it repeats.
    pub fn column<T: DataType>(group: &mut Group, values: &[T::T], levels: Option<&[i16]>, repeated: Option<&[i16]>) {
        let mut column = group.next_column().expect("no error").expect("a column");
        column.typed::<T>().write_batch(values, levels, repeated).expect("written");
        column.close().expect("written");
    }

    pub fn texts(group: &mut Group, values: &[&str], levels: Option<&[i16]>, repeated: Option<&[i16]>) {
        let values = values.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
        column::<ByteArrayType>(group, &values, levels, repeated);
    }

    pub fn fixed(group: &mut Group, value: &[u8]) {
        column::<FixedLenByteArrayType>(group, &[FixedLenByteArray::from(value.to_vec())], None, None);
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};

    use super::testing::{column, file, texts};
    use super::*;
    use crate::input::testing::{options, told};
    use crate::input::{Bytes, Format, List, Options, Reading, kept};

    const CAPTIONS: &str = "message list {
        optional binary caption (UTF8); optional binary url (UTF8); optional binary md5 (UTF8); required int64 id;
    }";

    fn captions(compression: Compression) -> Vec<u8> {
        file(CAPTIONS, compression, 3, |group, number| {
            // The last one has no rows at all.
            let (url, id) = (format!("http://a/{number}"), 7 * i64::try_from(number).expect("small"));
            match number {
                0 => {
                    texts(group, &["one", "é \"2\""], Some(&[1, 1, 0]), None);
                    texts(group, &[&url, "no url", "http://a/?sig=s"], Some(&[1, 1, 1]), None);
                    texts(group, &["D41D8CD98F00B204E9800998ECF8427E", "", "12"], Some(&[1, 1, 1]), None);
                    column::<Int64Type>(group, &[id, id + 1, id + 2], None, None);
                }
                1 => {
                    texts(group, &[], Some(&[0, 0]), None);
                    texts(group, &[&url], Some(&[0, 1]), None);
                    texts(group, &[], Some(&[0, 0]), None);
                    column::<Int64Type>(group, &[id, id + 1], None, None);
                }
                _ => {
                    (0..3).for_each(|_| texts(group, &[], Some(&[]), None));
                    column::<Int64Type>(group, &[], None, None);
                }
            }
        })
    }

    #[test]
    fn rows_come_out_of_columns_however_they_are_packed() {
        let packings = [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(parquet::basic::GzipLevel::default()),
            Compression::ZSTD(parquet::basic::ZstdLevel::default()),
            Compression::LZ4_RAW,
            Compression::LZ4,
            Compression::BROTLI(parquet::basic::BrotliLevel::default()),
        ];
        let expected = [
            r#"http://a/0 md5 {"caption":"one","id":0}"#,
            r#"bad_url [no url] row 2 of list: its url is no http(s) URL: it does not begin with http:// or https:// {"caption":"é \"2\"","id":1}"#,
            r#"checksum [http://a/?sig=***] row 3 of list: the checksum has 2 digits; md5 has 32, sha1 40, sha256 64, sha512 128 {"caption":null,"id":2}"#,
            r#"bad_url [] row 4 of list has no URL: its url is empty {"caption":null,"id":7}"#,
            r#"http://a/1 {"caption":null,"id":8}"#,
        ];
        for packing in packings {
            assert_eq!(told(&captions(packing), &options(Format::Parquet)), expected, "{packing:?}");
        }
        let by_content = Options { format: None, ..options(Format::Parquet) };
        assert_eq!(told(&captions(packings[1]), &by_content), expected);
    }

    #[test]
    fn text_that_is_none_fails_its_row_alone() {
        let schema = "message list { required binary url (UTF8); required binary c (UTF8); required binary d (UTF8); }";
        let long = "x".repeat(LONGEST_ROW);
        let list = file(schema, Compression::SNAPPY, 1, |group, _| {
            let broken = ByteArray::from(b"http://a/\xFF".to_vec());
            column::<ByteArrayType>(group, &["http://a/1".into(), broken.clone(), "http://a/3".into()], None, None);
            column::<ByteArrayType>(group, &[broken, "c".into(), "c".into()], None, None);
            texts(group, &["d", "d", &long], None, None);
        });
        let expected = [
            r#"bad_url [http://a/1] row 1 of list: its c is not valid UTF-8 {"d":"d"}"#,
            "bad_url [http://a/\u{fffd}] row 2 of list: its url is no http(s) URL: it is not valid UTF-8 {\"c\":\"c\",\"d\":\"d\"}",
            "bad_url [http://a/3] row 3 of list holds more than 1 MiB {}",
        ];
        assert_eq!(told(&list, &Options::default()), expected);
    }

    #[test]
    fn what_is_missing_or_damaged_is_said() {
        let list = captions(Compression::SNAPPY);
        let no_text = Options { url_column: "id".to_owned(), ..Options::default() };
        let missing = Options { url_column: "link".to_owned(), ..Options::default() };
        let no_checksum = Options { checksum_column: Some("sha1".to_owned()), ..Options::default() };
        let table = [
            (no_text, "list is no list of URLs: its column id holds no text"),
            (
                missing,
                "list is no list of URLs: it has no column link, but caption, url, md5, id; name the one with --url-column",
            ),
            (
                no_checksum,
                "list is no list of URLs: it has no column sha1, as --checksum-column says, but caption, url, md5, id",
            ),
        ];
        for (options, what) in table {
            assert_eq!(told(&list, &options), [what]);
        }
        let twice = "message list { required binary url (UTF8); required binary url (UTF8); }";
        let twice = file(twice, Compression::SNAPPY, 1, |group, _| {
            texts(group, &["http://a/1"], None, None);
            texts(group, &["http://a/2"], None, None);
        });
        let what = "list is no list of URLs: it has several columns url, which cannot be told apart";
        assert_eq!(told(&twice, &Options::default()), [what]);
        let several = "message list { repeated binary url (UTF8); required binary c (UTF8); }";
        let several = file(several, Compression::SNAPPY, 0, |_, _| {});
        let what = "list is no list of URLs: its column url holds no text";
        assert_eq!(told(&several, &Options::default()), [what]);
        let cut = told(&list[..list.len() - 9], &Options::default());
        assert!(cut[0].starts_with("cannot read the list list: "), "{cut:?}");
        // Whatever is broken, there is an end, and the reading of lists goes on or says why not.
        let mut refused = 0;
        for at in 4..list.len() {
            let mut damaged = list.clone();
            damaged[at] ^= 0x55;
            let bytes = Bytes::File(kept(&mut &damaged[..]).expect("a file"));
            let damaged = List { name: "list".into(), format: None, bytes };
            let (sender, _receiver) = tokio::sync::mpsc::channel(1000);
            let ended = damaged.read(&Options::default(), &mut Rows::new(sender, Arc::default()));
            refused += usize::from(matches!(ended, Err(Ended::Failed(_))));
        }
        assert!(refused > list.len() / 4, "{refused} of {}", list.len());
    }

    #[test]
    fn the_first_rows_do_not_wait_and_their_number_is_known() {
        let rows = 5000;
        let schema = "message list { required binary url (UTF8); }";
        let list = file(schema, Compression::SNAPPY, 1, |group, _| {
            let urls = (0..rows).map(|row| ByteArray::from(&*format!("http://a/{row}"))).collect::<Vec<_>>();
            column::<ByteArrayType>(group, &urls, None, None);
        });
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1000);
        let reading = Arc::new(Reading::new(None));
        let mut taken = Rows::new(sender, Arc::clone(&reading));
        let (options, mut file) = (Options::default(), &list[..]);
        let file = kept(&mut file).expect("a file");
        assert!(read(file, &About { name: "list", options: &options }, &mut taken).is_ok());
        assert_eq!(reading.total(), Some(rows));
        let (sender, _receiver) = tokio::sync::mpsc::channel(1000);
        let reading = Arc::new(Reading::new(None));
        let mut first_of_two = Rows::new(sender, Arc::clone(&reading));
        first_of_two.is_last_list = false;
        let file = kept(&mut &list[..]).expect("a file");
        assert!(read(file, &About { name: "list", options: &options }, &mut first_of_two).is_ok());
        assert_eq!(reading.total(), None);
        let mut sizes = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            sizes.push(batch.expect("rows").len());
        }
        assert_eq!(sizes[..5], [1, 2, 4, 8, 16]);
        assert_eq!(sizes.iter().max(), Some(&MOST_AT_ONCE));
        assert_eq!(sizes.iter().sum::<usize>() as u64, rows);
    }
}
