//! The table of a shard: a Parquet file with a row for every row of the list, saved or not, in list order.
//!
//! First come the columns of the list with their own types, then those of img2dataset with its names and types, then ours.
//! With images inside, the last column is `image`, a struct of `bytes` and `path`, as Hugging Face `datasets` reads it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{ColumnPath, Type, TypePtr};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::record::{ColumnType, ErrorKind, Extra};

/// Rows of a row group, at most.
const MAX_GROUP_ROWS: usize = 100_000;

/// Bytes of images after which a row group ends. Readers hold a group in memory.
const MAX_GROUP_IMAGE_BYTES: u64 = 96 << 20;

/// The columns with the key of the row that a row tries again (`--retry-failed`), and with the shard of that row.
const RETRY_COLUMNS: [&str; 2] = ["retry_of", "retry_of_shard"];

/// The key of the metadata of the file that says which columns are those of the list.
const METADATA_KEY: &str = "fetchimg";

/// A row of the table, read from the line of its record.
#[derive(Debug, Deserialize)]
pub struct TableRow {
    url: String,
    #[serde(default)]
    url_hash: Option<String>,
    status: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    retryable: Option<bool>,
    #[serde(default)]
    http_status: Option<u16>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    height: Option<u32>,
    #[serde(default)]
    original: Option<OriginalSize>,
    #[serde(default)]
    exif: Option<Box<RawValue>>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    md5: Option<String>,
    #[serde(default)]
    sha1: Option<String>,
    #[serde(default)]
    sha512: Option<String>,
    #[serde(default)]
    blake3: Option<String>,
    #[serde(default)]
    phash: Option<String>,
    #[serde(default)]
    final_url: Option<String>,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    attempts: Option<u32>,
    #[serde(default)]
    ttfb_ms: Option<f64>,
    #[serde(default)]
    total_ms: Option<f64>,
    #[serde(default)]
    extra: Extra,
    /// Where the bytes of its image are, and how many.
    #[serde(skip)]
    pub image: Option<(u64, u64)>,
}

#[derive(Debug, Deserialize)]
struct OriginalSize {
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    height: Option<u32>,
}

/// How a row ended, in the words of img2dataset and one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The sample is in the shard.
    Success,
    /// There is no image.
    FailedToDownload,
    /// There is an image that is not wanted, or cannot be decoded.
    FailedToResize,
    /// There is no sample on purpose: another row has the same URL or the same content.
    Skipped,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::FailedToDownload => "failed_to_download",
            Self::FailedToResize => "failed_to_resize",
            Self::Skipped => "skipped",
        }
    }
}

impl TableRow {
    /// How the row ended.
    pub fn status(&self) -> Status {
        match (self.status.as_str(), self.error.as_deref()) {
            ("saved", _) => Status::Success,
            ("refused", _) => Status::FailedToResize,
            (_, Some(error)) => match ErrorKind::by_name(error, self.http_status) {
                Some(
                    ErrorKind::NotAnImage | ErrorKind::NotAccepted | ErrorKind::CorruptImage | ErrorKind::TooSmall,
                ) => Status::FailedToResize,
                _ => Status::FailedToDownload,
            },
            _ => Status::Skipped,
        }
    }

    /// The status in a few words, as the marker counts it.
    pub fn counted_as(&self) -> Cow<'_, str> {
        match (self.status(), &self.error, self.http_status) {
            (Status::Success, ..) => "success".into(),
            (_, Some(error), Some(status)) if error == "http_status" => format!("{error} {status}").into(),
            (_, Some(error), _) => error.into(),
            (_, None, _) => self.reason.as_deref().unwrap_or("skipped").into(),
        }
    }

    fn original(&self) -> (Option<u32>, Option<u32>) {
        self.original.as_ref().map_or((self.width, self.height), |original| (original.width, original.height))
    }

    /// The message of a failure; of a skipped row, the row that has its image.
    fn message(&self) -> Option<Cow<'_, str>> {
        match (&self.message, &self.path, self.status()) {
            (Some(message), ..) => Some(message.into()),
            (None, Some(path), Status::Skipped) => Some(format!("the same as {path}").into()),
            _ => None,
        }
    }
}

/// A value of the table.
enum Cell<'a> {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    fn text(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or(Cell::Null, |text| Cell::Text(text.into()))
    }

    fn integer(number: Option<impl Into<i64>>) -> Self {
        number.map_or(Cell::Null, |number| Cell::Integer(number.into()))
    }

    fn double(number: Option<f64>) -> Self {
        number.map_or(Cell::Null, Cell::Double)
    }

    /// The value of a column of the list. What does not fit into its type is null.
    fn of(value: Option<&'a Value>, ty: ColumnType) -> Self {
        let Some(value) = value.filter(|value| !value.is_null()) else { return Cell::Null };
        match ty {
            ColumnType::Boolean => value.as_bool().map_or(Cell::Null, Cell::Boolean),
            ColumnType::Int32 | ColumnType::Int64 => Cell::integer(value.as_i64()),
            ColumnType::Unsigned => Cell::integer(value.as_u64().map(u64::cast_signed)),
            ColumnType::Float | ColumnType::Double => Cell::double(value.as_f64()),
            ColumnType::Date => Cell::integer(date(value)),
            ColumnType::Timestamp(per_second, is_utc) => Cell::integer(timestamp(value, per_second, is_utc)),
            ColumnType::Text => match value {
                Value::String(text) => Cell::Text(text.into()),
                other => Cell::Text(other.to_string().into()),
            },
            ColumnType::Json => Cell::Text(value.to_string().into()),
        }
    }
}

/// Days since 1970, from the text of a date or, where it is out of range, from their number.
fn date(value: &Value) -> Option<i64> {
    let days =
        |text: &str| Some(text.parse::<NaiveDate>().ok()?.signed_duration_since(NaiveDate::default()).num_days());
    value.as_i64().or_else(|| value.as_str().and_then(days))
}

/// Units since 1970, from the text of a moment or, where it is out of range, from their number.
fn timestamp(value: &Value, per_second: i64, is_utc: bool) -> Option<i64> {
    let parse = |text: &str| {
        let moment = if is_utc {
            DateTime::parse_from_rfc3339(text).ok()?.to_utc()
        } else {
            text.parse::<NaiveDateTime>().ok()?.and_utc()
        };
        let nanoseconds = i64::from(moment.timestamp_subsec_nanos());
        moment.timestamp().checked_mul(per_second)?.checked_add(nanoseconds / (1_000_000_000 / per_second))
    };
    value.as_i64().or_else(|| value.as_str().and_then(parse))
}

/// A column that every table has.
struct FixedColumn {
    name: &'static str,
    ty: ColumnType,
    get: for<'a> fn(&'a TableRow, &'a Layout) -> Cell<'a>,
}

const fn column(
    name: &'static str,
    ty: ColumnType,
    get: for<'a> fn(&'a TableRow, &'a Layout) -> Cell<'a>,
) -> FixedColumn {
    FixedColumn { name, ty, get }
}

/// The columns of img2dataset, in its order, then ours.
const FIXED_COLUMNS: [FixedColumn; 28] = [
    column("key", ColumnType::Text, |row, _| Cell::Text((&*row.key).into())),
    column("url", ColumnType::Text, |row, _| Cell::Text((&*row.url).into())),
    column("caption", ColumnType::Text, |row, layout| {
        let caption = layout.caption_column.as_deref().and_then(|column| row.extra.get(column));
        Cell::of(caption, ColumnType::Text)
    }),
    column("status", ColumnType::Text, |row, _| Cell::Text(row.status().name().into())),
    column("error_message", ColumnType::Text, |row, _| Cell::text(row.message())),
    column("width", ColumnType::Int32, |row, _| Cell::integer(row.width)),
    column("height", ColumnType::Int32, |row, _| Cell::integer(row.height)),
    column("original_width", ColumnType::Int32, |row, _| Cell::integer(row.original().0)),
    column("original_height", ColumnType::Int32, |row, _| Cell::integer(row.original().1)),
    column("exif", ColumnType::Text, |row, _| Cell::text(row.exif.as_ref().map(|exif| exif.get()))),
    column("sha256", ColumnType::Text, |row, _| Cell::text(row.sha256.as_deref())),
    column("error", ColumnType::Text, |row, _| Cell::text(row.error.as_deref().or(row.reason.as_deref()))),
    column("http_status", ColumnType::Int32, |row, _| Cell::integer(row.http_status)),
    column("retryable", ColumnType::Boolean, |row, _| row.retryable.map_or(Cell::Null, Cell::Boolean)),
    column("bytes", ColumnType::Int64, |row, _| Cell::integer(row.bytes.and_then(|bytes| i64::try_from(bytes).ok()))),
    column("format", ColumnType::Text, |row, _| Cell::text(row.format.as_deref())),
    column("final_url", ColumnType::Text, |row, _| Cell::text(row.final_url.as_deref())),
    column("content_type", ColumnType::Text, |row, _| Cell::text(row.content_type.as_deref())),
    column("attempts", ColumnType::Int32, |row, _| Cell::integer(row.attempts)),
    column("ttfb_ms", ColumnType::Double, |row, _| Cell::double(row.ttfb_ms)),
    column("total_ms", ColumnType::Double, |row, _| Cell::double(row.total_ms)),
    column("path", ColumnType::Text, |row, _| match row.status() {
        Status::Success => Cell::text(row.path.as_deref()),
        _ => Cell::Null,
    }),
    column(RETRY_COLUMNS[0], ColumnType::Text, |row, layout| layout.retried(row, RETRY_COLUMNS[0])),
    column(RETRY_COLUMNS[1], ColumnType::Text, |row, layout| layout.retried(row, RETRY_COLUMNS[1])),
    column("url_hash", ColumnType::Text, |row, _| Cell::text(row.url_hash.as_deref())),
    // The statuses of img2dataset do not tell what failed from what was refused.
    column("record_status", ColumnType::Text, |row, _| Cell::Text((&*row.status).into())),
    column("offset", ColumnType::Int64, |row, _| Cell::integer(row.image.and_then(|(at, _)| i64::try_from(at).ok()))),
    column("length", ColumnType::Int64, |row, _| Cell::integer(row.image.and_then(|(_, n)| i64::try_from(n).ok()))),
];

/// The columns of digests that a table has if they are asked for (`--hash`, `--phash`).
const DIGEST_COLUMNS: [FixedColumn; 5] = [
    column("md5", ColumnType::Text, |row, _| Cell::text(row.md5.as_deref())),
    column("sha1", ColumnType::Text, |row, _| Cell::text(row.sha1.as_deref())),
    column("sha512", ColumnType::Text, |row, _| Cell::text(row.sha512.as_deref())),
    column("blake3", ColumnType::Text, |row, _| Cell::text(row.blake3.as_deref())),
    column("phash", ColumnType::Text, |row, _| Cell::text(row.phash.as_deref())),
];

/// Fixed columns at the end that say where an image is in the tar file.
const POSITION_COLUMNS: usize = 2;

/// The columns of a table.
#[derive(Debug)]
pub struct Layout {
    /// Whether images are inside.
    pub holds_images: bool,
    /// The column of the list with the caption.
    pub caption_column: Option<String>,
    /// The other columns of the list, with their types.
    pub list_columns: Vec<(Arc<str>, ColumnType)>,
    /// Whether the rows are tried again: they have [`RETRY_COLUMNS`] beside the columns of the list.
    pub is_retry: bool,
    /// The digests beside the SHA-256 that are columns.
    pub digests: Vec<&'static str>,
}

impl Layout {
    /// The columns that have the same names in every set, and those that are asked for.
    fn fixed(&self) -> impl Iterator<Item = &'static FixedColumn> {
        let shown = if self.holds_images { FIXED_COLUMNS.len() - POSITION_COLUMNS } else { FIXED_COLUMNS.len() };
        let digests = DIGEST_COLUMNS.iter().filter(|column| self.digests.contains(&column.name));
        FIXED_COLUMNS[..shown].iter().chain(digests)
    }

    /// The columns of the list that are not among the fixed ones by another name.
    fn others(&self) -> impl Iterator<Item = &(Arc<str>, ColumnType)> {
        self.list_columns.iter().filter(|(name, _)| {
            Some(&**name) != self.caption_column.as_deref() && !(self.is_retry && RETRY_COLUMNS.contains(&&**name))
        })
    }

    /// The names of these columns in the table: another column may have the name that one has in the list.
    fn names_of_others(&self) -> Vec<String> {
        let mut taken = FIXED_COLUMNS.iter().map(|column| column.name.to_owned()).collect::<Vec<_>>();
        taken.extend(self.digests.iter().copied().chain(["image"]).map(str::to_owned));
        let fixed = taken.len();
        for (name, _) in self.others() {
            let mut free = name.to_string();
            while taken.contains(&free) {
                free.insert_str(0, "list_");
            }
            taken.push(free);
        }
        taken.split_off(fixed)
    }

    /// What a row says of the row that it tries again.
    fn retried<'a>(&self, row: &'a TableRow, column: &str) -> Cell<'a> {
        Cell::of(row.extra.get(column).filter(|_| self.is_retry), ColumnType::Text)
    }

    /// Says which columns are those of the list, and what they are called there.
    fn metadata(&self) -> KeyValue {
        let names = self.names_of_others();
        let columns = names.iter().zip(self.others().map(|(name, _)| &**name)).collect::<Vec<_>>();
        KeyValue::new(METADATA_KEY.to_owned(), serde_json::json!({ "list_columns": columns }).to_string())
    }

    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let mut fields = Vec::new();
        for (name, (_, ty)) in self.names_of_others().iter().zip(self.others()) {
            fields.push(field(name, *ty)?);
        }
        for column in self.fixed() {
            fields.push(field(column.name, column.ty)?);
        }
        if self.holds_images {
            let bytes = Type::primitive_type_builder("bytes", Physical::BYTE_ARRAY);
            let bytes = bytes.with_repetition(Repetition::OPTIONAL).build()?;
            let image = Type::group_type_builder("image").with_repetition(Repetition::OPTIONAL);
            let image = image.with_fields(vec![Arc::new(bytes), field("path", ColumnType::Text)?]);
            fields.push(Arc::new(image.build()?));
        }
        Ok(Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?))
    }

    fn properties(&self) -> WriterProperties {
        let level = ZstdLevel::try_new(3).unwrap_or_default();
        let mut metadata = vec![self.metadata()];
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("fetchimg version ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Chunk);
        if self.holds_images {
            let bytes = ColumnPath::new(vec!["image".to_owned(), "bytes".to_owned()]);
            // So `datasets` shows it as an image, and not as a struct.
            let features = r#"{"info": {"features": {"image": {"_type": "Image"}}}}"#.to_owned();
            properties = properties
                .set_column_compression(bytes.clone(), Compression::UNCOMPRESSED)
                .set_column_dictionary_enabled(bytes.clone(), false)
                .set_column_statistics_enabled(bytes, EnabledStatistics::None);
            metadata.push(KeyValue::new("huggingface".to_owned(), features));
        }
        properties.set_key_value_metadata(Some(metadata)).build()
    }
}

/// A column of the schema, any of whose values may be missing.
fn field(name: &str, ty: ColumnType) -> Result<TypePtr, ParquetError> {
    let unit = |per_second| match per_second {
        1_000 => TimeUnit::MILLIS,
        1_000_000 => TimeUnit::MICROS,
        _ => TimeUnit::NANOS,
    };
    let (physical, logical) = match ty {
        ColumnType::Boolean => (Physical::BOOLEAN, None),
        ColumnType::Int32 => (Physical::INT32, None),
        ColumnType::Int64 => (Physical::INT64, None),
        ColumnType::Unsigned => (Physical::INT64, Some(LogicalType::integer(64, false))),
        ColumnType::Float => (Physical::FLOAT, None),
        ColumnType::Double => (Physical::DOUBLE, None),
        ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Json => (Physical::BYTE_ARRAY, Some(LogicalType::Json)),
        ColumnType::Date => (Physical::INT32, Some(LogicalType::Date)),
        ColumnType::Timestamp(per_second, is_utc) => {
            (Physical::INT64, Some(LogicalType::timestamp(is_utc, unit(per_second))))
        }
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    Ok(Arc::new(builder.with_logical_type(logical).build()?))
}

/// Writes a table. `rows` are in list order; their images are read from `images` if the table holds them.
///
/// # Errors
/// When a row cannot be read, or the table cannot be written.
pub fn write(
    out: impl Write + Send,
    layout: &Layout,
    mut rows: impl Iterator<Item = io::Result<TableRow>>,
    images: &File,
) -> io::Result<()> {
    let properties = Arc::new(layout.properties());
    let schema = layout.schema().map_err(io_error)?;
    let mut writer = SerializedFileWriter::new(out, schema, properties).map_err(io_error)?;
    loop {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while group.len() < MAX_GROUP_ROWS && bytes < MAX_GROUP_IMAGE_BYTES {
            let Some(row) = rows.next().transpose()? else { break };
            bytes += row.image.filter(|_| layout.holds_images).map_or(0, |(_, length)| length);
            group.push(row);
        }
        if group.is_empty() {
            break;
        }
        write_group(&mut writer, layout, &group, images).map_err(io_error)?;
    }
    writer.close().map_err(io_error)?;
    Ok(())
}

fn write_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    layout: &Layout,
    rows: &[TableRow],
    images: &File,
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    for (name, ty) in layout.others() {
        write_column(&mut group, *ty, rows.iter().map(|row| Cell::of(row.extra.get(name), *ty)))?;
    }
    for column in layout.fixed() {
        write_column(&mut group, column.ty, rows.iter().map(|row| (column.get)(row, layout)))?;
    }
    if layout.holds_images {
        write_images(&mut group, rows, images)?;
    }
    group.close()?;
    Ok(())
}

fn write_column<'a, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    ty: ColumnType,
    cells: impl Iterator<Item = Cell<'a>>,
) -> Result<(), ParquetError> {
    match ty {
        ColumnType::Boolean => write_values::<BoolType, _>(group, cells, |cell| match cell {
            Cell::Boolean(value) => Some(value),
            _ => None,
        }),
        ColumnType::Int32 | ColumnType::Date => write_values::<Int32Type, _>(group, cells, |cell| match cell {
            Cell::Integer(number) => i32::try_from(number).ok(),
            _ => None,
        }),
        ColumnType::Int64 | ColumnType::Unsigned | ColumnType::Timestamp(..) => {
            write_values::<Int64Type, _>(group, cells, |cell| match cell {
                Cell::Integer(number) => Some(number),
                _ => None,
            })
        }
        #[expect(clippy::cast_possible_truncation, reason = "the list has it as a number of 32 bits")]
        ColumnType::Float => write_values::<FloatType, _>(group, cells, |cell| match cell {
            Cell::Double(number) => Some(number as f32),
            _ => None,
        }),
        ColumnType::Double => write_values::<DoubleType, _>(group, cells, |cell| match cell {
            Cell::Double(number) => Some(number),
            _ => None,
        }),
        ColumnType::Text | ColumnType::Json => write_values::<ByteArrayType, _>(group, cells, |cell| match cell {
            Cell::Text(text) => Some(ByteArray::from(text.into_owned().into_bytes())),
            _ => None,
        }),
    }
}

/// Writes the next column of a row group; what `value` does not know is null.
fn write_values<'a, T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    cells: impl Iterator<Item = Cell<'a>>,
    value: impl Fn(Cell<'a>) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        levels.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let mut column = next_column(group)?;
    column.typed::<T>().write_batch(&values, Some(&levels), None)?;
    column.close()
}

fn next_column<'a, W: Write + Send>(
    group: &'a mut SerializedRowGroupWriter<'_, W>,
) -> Result<parquet::file::writer::SerializedColumnWriter<'a>, ParquetError> {
    group.next_column()?.ok_or_else(|| ParquetError::General("the schema has fewer columns".to_owned()))
}

/// Writes the two columns of the images, whose bytes are in memory one by one.
fn write_images<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[TableRow],
    images: &File,
) -> Result<(), ParquetError> {
    let mut bytes = next_column(group)?;
    for row in rows {
        let Some((offset, length)) = row.image else {
            bytes.typed::<ByteArrayType>().write_batch(&[], Some(&[0]), None)?;
            continue;
        };
        let mut image = vec![0; usize::try_from(length).unwrap_or(0)];
        images.read_exact_at(&mut image, offset)?;
        bytes.typed::<ByteArrayType>().write_batch(&[ByteArray::from(image)], Some(&[2]), None)?;
    }
    bytes.close()?;
    let (mut names, mut levels) = (Vec::new(), Vec::new());
    for row in rows {
        let name = row.image.and(row.path.as_deref()).map(|path| path.rsplit('/').next().unwrap_or(path));
        levels.push(if name.is_some() { 2 } else { 0 });
        names.extend(name.map(|name| ByteArray::from(name.as_bytes().to_vec())));
    }
    let mut paths = next_column(group)?;
    paths.typed::<ByteArrayType>().write_batch(&names, Some(&levels), None)?;
    paths.close()
}

/// An error of the operating system as it is, so that a full disk is known as one.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error),
        other => io::Error::other(other),
    }
}
