//! Reads Parquet files, column by column and page by page.
//!
//! The schema is at the end of the file, and the columns are read side by side, so the input must be seekable: what
//! comes from a pipe, or compressed as a whole, is first copied to a temporary file. One page of each column is in
//! memory, so a file with very many columns is refused. Columns that a record cannot hold are not read.

mod schema;
pub mod table;
mod value;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use parquet::column::page::{Page, PageReader};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, FileReader};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::record::reader::TreeBuilder;
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use serde_json::Value;

use super::MAX_ROW_BYTES;
use super::columns::ListColumns;
use super::rows::{ListContext, RawRow, ReadError, RowSender};
use crate::record::Extra;
use crate::util::redact::escaped;
use schema::{is_text, without_annotations, without_binary};
use value::{size, value};

/// The number of rows in a batch, after the first few batches.
const MAX_BATCH_ROWS: usize = 1024;

/// The number of values of all columns that are decoded in advance: a file with up to 256 columns is decoded in batches of
/// [`MAX_BATCH_ROWS`] values.
const MAX_DECODED_VALUES: usize = 256 * MAX_BATCH_ROWS;

/// The number of values that are decoded at once in a file with very many columns.
const MIN_DECODED_VALUES: usize = 8;

/// The memory that the pages of all columns may take together, in bytes. The usual writers make pages of at most 1 MiB.
const MAX_PAGES_BYTES: u64 = 1 << 30;

/// Reads all rows of a file, in order.
pub fn read(file: impl ChunkReader + 'static, context: &ListContext, rows: &mut RowSender) -> Result<(), ReadError> {
    let fail = |error| context.unreadable(io_error(error));
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(fail)?;
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    drop(metadata);
    let projection = Projection::find(&schema, context)?;
    // The library interprets annotated values itself. Where it cannot, it fails or panics for the whole file, so the
    // annotations are removed, and `value` interprets the values.
    let plain = without_annotations(&schema).map_err(fail)?;
    let options = ReadOptionsBuilder::new().with_parquet_schema(Arc::new(SchemaDescriptor::new(plain))).build();
    let reader = SerializedFileReader::new_with_options(file, options).map_err(fail)?;
    projection.refuse_too_many(&reader, context).map_err(fail)??;
    rows.announce_rows(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0));
    let projected = Type::group_type_builder(schema.name()).with_fields(projection.fields.clone()).build();
    let columns = reader.metadata().file_metadata().schema_descr().num_columns();
    let projected = Arc::new(SchemaDescriptor::new(Arc::new(projected.map_err(fail)?)));
    let records = TreeBuilder::new().with_batch_size(values_at_once(columns));
    // Batches begin small, so the first request does not wait for a whole batch.
    let mut batch_rows = 1;
    let mut number = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(fail)?;
        let count = u64::try_from(group.metadata().num_rows()).unwrap_or(0);
        if context.options.share.is_some_and(|share| !share.includes_any(rows.next_index(), count)) {
            rows.set_next_index(rows.next_index() + count);
            number += count;
            continue;
        }
        for row in records.as_iter(Arc::clone(&projected), &*group).map_err(fail)? {
            number += 1;
            projection.push(&row.map_err(fail)?, number, context, rows);
            let (count, bytes) = rows.unsent();
            if count >= batch_rows || bytes >= MAX_ROW_BYTES {
                rows.send()?;
                batch_rows = (2 * batch_rows).min(MAX_BATCH_ROWS);
            }
        }
    }
    rows.send()
}

/// The number of values of each column that the library decodes at once, for that many columns. It allocates memory for
/// them in advance, in every column.
fn values_at_once(columns: usize) -> usize {
    (MAX_DECODED_VALUES / columns.max(1)).clamp(MIN_DECODED_VALUES, MAX_BATCH_ROWS)
}

/// The size in bytes of the first page of a column, and of the page with its dictionary, when they are decompressed.
fn first_page_bytes(pages: &mut dyn PageReader) -> Result<u64, ParquetError> {
    let mut bytes = 0;
    while let Some(page) = pages.get_next_page()? {
        bytes += page.buffer().len() as u64;
        if !matches!(page, Page::DictionaryPage { .. }) {
            break;
        }
    }
    Ok(bytes)
}

/// The error for the user. An error of the operating system is passed on as it is.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error),
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// The columns that are read: the URL, the checksum, and those whose values a record can hold.
struct Projection {
    columns: ListColumns,
    fields: Vec<TypePtr>,
}

impl Projection {
    fn find(schema: &Type, context: &ListContext) -> Result<Self, ReadError> {
        let names = |fields: &[TypePtr]| fields.iter().map(|field| field.name().into()).collect();
        let all = ListColumns::find(names(schema.get_fields()), context)?;
        all.require_template_columns(context)?;
        let mut fields = Vec::new();
        for (column, field) in schema.get_fields().iter().enumerate() {
            if column != all.url && Some(column) != all.checksum {
                fields.extend(without_binary(field));
            } else if is_text(field) {
                fields.push(Arc::clone(field));
            } else {
                return Err(context.not_a_list(format!("its column {} holds no text", all.names[column])));
            }
        }
        // The library finds columns by their names, and of several with one name only the last.
        let mut counts = HashMap::<&str, usize>::new();
        schema.get_fields().iter().for_each(|field| *counts.entry(field.name()).or_default() += 1);
        if let Some(field) = fields.iter().find(|field| counts.get(field.name()).is_some_and(|count| *count > 1)) {
            let name = escaped(field.name());
            return Err(context.not_a_list(format!("it has several columns {name}, which cannot be told apart")));
        }
        Ok(Self { columns: ListColumns::find(names(&fields), context)?, fields })
    }

    /// Fails if the pages of all columns take too much memory: each column is read page by page, but all side by side.
    fn refuse_too_many(
        &self,
        reader: &SerializedFileReader<impl ChunkReader + 'static>,
        context: &ListContext,
    ) -> Result<Result<(), ReadError>, ParquetError> {
        let names = self.fields.iter().map(|field| field.name()).collect::<HashSet<_>>();
        let is_read = |column: &ColumnChunkMetaData| {
            column.column_path().parts().first().is_some_and(|name| names.contains(name.as_str()))
        };
        let bytes = |column: &ColumnChunkMetaData| u64::try_from(column.uncompressed_size()).unwrap_or(u64::MAX);
        for (number, group) in reader.metadata().row_groups().iter().enumerate() {
            let columns = || group.columns().iter().enumerate().filter(|(_, column)| is_read(column));
            // No page is larger than its column. This settles nearly every file, and takes no look at the pages.
            if columns().map(|(_, column)| bytes(column)).fold(0, u64::saturating_add) <= MAX_PAGES_BYTES {
                continue;
            }
            let group = reader.get_row_group(number)?;
            let mut in_memory = 0;
            for (column, _) in columns() {
                in_memory += first_page_bytes(&mut *group.get_column_page_reader(column)?)?;
                if in_memory > MAX_PAGES_BYTES {
                    return Ok(Err(context.not_a_list(format!(
                        "a page of each of its {} columns takes more than {} MiB of memory in all; keep only the columns \
                         that you need, for example: duckdb -c \"COPY (SELECT {} FROM 'LIST.parquet') TO 'SMALL.parquet'\"",
                        columns().count(),
                        MAX_PAGES_BYTES >> 20,
                        escaped(&context.options.url_column),
                    ))));
                }
            }
            // The pages of the other row groups are of the same kind.
            break;
        }
        Ok(Ok(()))
    }

    fn push(&self, row: &Row, number: u64, context: &ListContext, rows: &mut RowSender) {
        let position = context.row(number);
        let fields = row.get_column_iter().map(|(_, field)| field).collect::<Vec<_>>();
        let text = |column: usize| match fields.get(column) {
            Some(Field::Bytes(bytes)) => bytes.data(),
            _ => b"",
        };
        let mut extra = Vec::with_capacity(fields.len());
        let mut invalid = None;
        if fields.iter().map(|field| size(field)).sum::<usize>() > MAX_ROW_BYTES {
            invalid = Some(format!("{position} holds more than 1 MiB"));
        } else {
            for (column, name) in self.columns.others() {
                match fields.get(column).map_or(Ok(Value::Null), |field| value(field, &self.fields[column])) {
                    Ok(value) => extra.push((Arc::clone(name), value)),
                    Err(_) => invalid = invalid.or_else(|| Some(format!("{position}: its {name} is not valid UTF-8"))),
                }
            }
        }
        let (url, extra) = (text(self.columns.url), Extra::new(extra));
        match invalid {
            Some(what) => rows.push_invalid(url, &what, extra),
            None => rows.push(RawRow { url, checksum: Ok(self.columns.checksum.map_or(b"", text)), extra }, position),
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

    /// A file whose row groups are written by `write`, which is given the number of the group.
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

    /// Writes the next column of a row group. `levels`: the definition levels; `repeated`: the repetition levels.
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
    use crate::input::testing::{options, rows_as_text};
    use crate::input::{List, ListContent, ListFormat, Options, ReadProgress, spool};

    const CAPTIONS: &str = "message list {
        optional binary caption (UTF8); optional binary url (UTF8); optional binary md5 (UTF8); required int64 id;
    }";

    fn captions(compression: Compression) -> Vec<u8> {
        file(CAPTIONS, compression, 3, |group, number| {
            // The last row group is empty.
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
    fn columns_are_read_with_every_compression() {
        let compressions = [
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
        for compression in compressions {
            assert_eq!(
                rows_as_text(&captions(compression), &options(ListFormat::Parquet)),
                expected,
                "{compression:?}"
            );
        }
        let by_content = Options { format: None, ..options(ListFormat::Parquet) };
        assert_eq!(rows_as_text(&captions(compressions[1]), &by_content), expected);
    }

    #[test]
    fn a_row_with_invalid_text_fails_alone() {
        let schema = "message list { required binary url (UTF8); required binary c (UTF8); required binary d (UTF8); }";
        let long = "x".repeat(MAX_ROW_BYTES);
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
        assert_eq!(rows_as_text(&list, &Options::default()), expected);
    }

    #[test]
    fn missing_columns_and_damaged_files_are_reported() {
        let list = captions(Compression::SNAPPY);
        let no_text = Options { url_column: "id".to_owned(), ..Options::default() };
        let missing = Options { url_column: "link".to_owned(), ..Options::default() };
        let no_checksum = Options { checksum_column: Some("sha1".to_owned()), ..Options::default() };
        let table = [
            (no_text, "list is no list of URLs: its column id holds no text"),
            (missing, "list has no column link; it has caption, url, md5, id; name the one with --url-column"),
            (no_checksum, "list has no column sha1, which --checksum-column asks for; it has caption, url, md5, id"),
        ];
        for (options, what) in table {
            assert_eq!(rows_as_text(&list, &options), [what]);
        }
        let twice = "message list { required binary url (UTF8); required binary url (UTF8); }";
        let twice = file(twice, Compression::SNAPPY, 1, |group, _| {
            texts(group, &["http://a/1"], None, None);
            texts(group, &["http://a/2"], None, None);
        });
        let what = "list is no list of URLs: it has several columns url, which cannot be told apart";
        assert_eq!(rows_as_text(&twice, &Options::default()), [what]);
        let several = "message list { repeated binary url (UTF8); required binary c (UTF8); }";
        let several = file(several, Compression::SNAPPY, 0, |_, _| {});
        let what = "list is no list of URLs: its column url holds no text";
        assert_eq!(rows_as_text(&several, &Options::default()), [what]);
        let cut = rows_as_text(&list[..list.len() - 9], &Options::default());
        assert!(cut[0].starts_with("cannot read the list list: "), "{cut:?}");
        // With any damaged byte, reading ends: with all rows, or with an error.
        let mut refused = 0;
        for at in 4..list.len() {
            let mut damaged = list.clone();
            damaged[at] ^= 0x55;
            let content = ListContent::File(spool(&mut &damaged[..]).expect("a file"));
            let damaged = List { name: "list".into(), format: None, end_line: None, content };
            let (sender, _receiver) = tokio::sync::mpsc::channel(1000);
            let ended = damaged.read(&Options::default(), &mut RowSender::new(sender, Arc::default()));
            refused += usize::from(matches!(ended, Err(ReadError::Failed(_))));
        }
        assert!(refused > list.len() / 4, "{refused} of {}", list.len());
    }

    #[test]
    fn the_first_batches_are_small_and_the_total_is_known() {
        let rows = 5000;
        let schema = "message list { required binary url (UTF8); }";
        let list = file(schema, Compression::SNAPPY, 1, |group, _| {
            let urls = (0..rows).map(|row| ByteArray::from(&*format!("http://a/{row}"))).collect::<Vec<_>>();
            column::<ByteArrayType>(group, &urls, None, None);
        });
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1000);
        let reading = Arc::new(ReadProgress::new(None));
        let mut taken = RowSender::new(sender, Arc::clone(&reading));
        let (options, mut file) = (Options::default(), &list[..]);
        let file = spool(&mut file).expect("a file");
        assert!(read(file, &ListContext { name: "list", options: &options, end_line: None }, &mut taken).is_ok());
        assert_eq!(reading.total(), Some(rows));
        let (sender, _receiver) = tokio::sync::mpsc::channel(1000);
        let reading = Arc::new(ReadProgress::new(None));
        let mut first_of_two = RowSender::new(sender, Arc::clone(&reading));
        first_of_two.is_last_list = false;
        let file = spool(&mut &list[..]).expect("a file");
        assert!(
            read(file, &ListContext { name: "list", options: &options, end_line: None }, &mut first_of_two).is_ok()
        );
        assert_eq!(reading.total(), None);
        let mut sizes = Vec::new();
        while let Ok(batch) = receiver.try_recv() {
            sizes.push(batch.expect("rows").len());
        }
        assert_eq!(sizes[..5], [1, 2, 4, 8, 16]);
        assert_eq!(sizes.iter().max(), Some(&MAX_BATCH_ROWS));
        assert_eq!(sizes.iter().sum::<usize>() as u64, rows);
    }
}
