//! Parquet files: rows out of columns, page by page.
//!
//! Such a file is read from its end, where its schema is, and in as many places as it has columns, so it has to be a
//! file: what comes through a pipe or packed is kept in a temporary one first. Of each column one page is in memory, and
//! columns that have no place in a record are not read at all.
//!
//! What becomes of a value: booleans and numbers stay what they are (what JSON has no number for, such as NaN, is
//! null); text, enums and UUIDs are text, and so are decimals, to the last digit; JSON is itself; dates, times and
//! timestamps are text as in RFC 3339, with a `Z` where they are meant in UTC; structs and maps are objects, lists are
//! arrays. Binary data (bytes that the schema does not call text) is left out, and so are intervals, and lists and maps
//! that hold such; of a struct what is left stays. The columns for the URL and the checksum may be bytes, which old
//! writers called their texts.

use std::fs::File;
use std::io;
use std::str::Utf8Error;
use std::sync::Arc;

use chrono::{DateTime, NaiveTime, SecondsFormat, Utc};
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use serde_json::{Number, Value};

use super::LONGEST_ROW;
use super::columns::Columns;
use super::rows::{About, Ended, Found, Rows};
use crate::record::Extra;
use crate::util::redact::escaped;

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

/// What remains of a column when its binary data is left out, if there is something left.
fn kept(of: &TypePtr) -> Option<TypePtr> {
    if of.is_primitive() {
        return has_a_place(of).then(|| Arc::clone(of));
    }
    let (all, about) = (of.get_fields(), of.get_basic_info());
    let fields = all.iter().filter_map(kept).collect::<Vec<_>>();
    if !fields.is_empty() && fields.len() == all.len() && fields.iter().zip(all).all(|(kept, of)| Arc::ptr_eq(kept, of))
    {
        return Some(Arc::clone(of));
    }
    // What a list or a map is made of is told by its fields, so none of them can be left out.
    let is_struct =
        !matches!(about.converted_type(), ConvertedType::LIST | ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE);
    if fields.is_empty() || !is_struct {
        return None;
    }
    let rest = Type::group_type_builder(of.name()).with_repetition(about.repetition()).with_fields(fields);
    rest.build().ok().map(Arc::new)
}

/// Whether values of a type can become JSON that says what they say.
fn has_a_place(of: &Type) -> bool {
    let meaning = Meaning::of(of);
    match of.get_physical_type() {
        Physical::BYTE_ARRAY => matches!(meaning, Meaning::Text | Meaning::Json | Meaning::Decimal),
        Physical::FIXED_LEN_BYTE_ARRAY => matches!(meaning, Meaning::Uuid | Meaning::Float16 | Meaning::Decimal),
        _ => true,
    }
}

/// Whether a column holds one text in each row, or what may be one.
fn is_text(of: &Type) -> bool {
    of.is_primitive()
        && of.get_physical_type() == Physical::BYTE_ARRAY
        && !matches!(Meaning::of(of), Meaning::Decimal)
        && !is_repeated(of)
}

/// The same schema without what values mean, but for two kinds of numbers that the library knows better.
fn bare(of: &Type) -> Result<TypePtr, ParquetError> {
    let about = of.get_basic_info();
    let bare = match of {
        Type::PrimitiveType { physical_type, type_length, scale, precision, .. } => {
            let builder = Type::primitive_type_builder(of.name(), *physical_type)
                .with_repetition(about.repetition())
                .with_length(*type_length);
            match Meaning::of(of) {
                Meaning::Decimal => builder
                    .with_converted_type(ConvertedType::DECIMAL)
                    .with_precision(*precision)
                    .with_scale(*scale)
                    .build()?,
                Meaning::Float16 => builder.with_logical_type(Some(LogicalType::Float16)).build()?,
                _ => builder.build()?,
            }
        }
        Type::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| bare(field)).collect::<Result<_, _>>()?;
            let mut builder = Type::group_type_builder(of.name()).with_converted_type(about.converted_type());
            if about.has_repetition() {
                builder = builder.with_repetition(about.repetition());
            }
            builder.with_fields(fields).build()?
        }
    };
    Ok(Arc::new(bare))
}

/// What the values of a column stand for (Parquet, "Logical Types").
enum Meaning {
    /// Themselves.
    Plain,
    Text,
    Json,
    Uuid,
    Decimal,
    Float16,
    Unsigned,
    Date,
    /// Since midnight, so many to a second.
    Time(i64),
    /// Since 1970, so many to a second, in UTC or in nobody's time zone.
    Timestamp(i64, bool),
}

impl Meaning {
    /// By the annotation of today, or the one of old files.
    fn of(of: &Type) -> Self {
        let about = of.get_basic_info();
        let per_second = |unit: &TimeUnit| match unit {
            TimeUnit::MILLIS => 1_000,
            TimeUnit::MICROS => 1_000_000,
            TimeUnit::NANOS => 1_000_000_000,
        };
        match (about.logical_type_ref(), about.converted_type()) {
            (Some(LogicalType::Timestamp(about)), _) => {
                Self::Timestamp(per_second(&about.unit), about.is_adjusted_to_u_t_c)
            }
            (Some(LogicalType::Time(about)), _) => Self::Time(per_second(&about.unit)),
            (Some(LogicalType::Uuid), _) => Self::Uuid,
            (Some(LogicalType::Float16), _) => Self::Float16,
            (_, ConvertedType::TIMESTAMP_MILLIS) => Self::Timestamp(1_000, true),
            (_, ConvertedType::TIMESTAMP_MICROS) => Self::Timestamp(1_000_000, true),
            (_, ConvertedType::TIME_MILLIS) => Self::Time(1_000),
            (_, ConvertedType::TIME_MICROS) => Self::Time(1_000_000),
            (_, ConvertedType::DATE) => Self::Date,
            (_, ConvertedType::DECIMAL) => Self::Decimal,
            (_, ConvertedType::UTF8 | ConvertedType::ENUM) => Self::Text,
            (_, ConvertedType::JSON) => Self::Json,
            (_, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
                Self::Unsigned
            }
            _ => Self::Plain,
        }
    }
}

/// A value as JSON.
fn value(field: &Field, of: &Type) -> Result<Value, Utf8Error> {
    Ok(match field {
        Field::Group(row) => {
            let named = row.get_column_iter().zip(fields(of));
            let object = named.map(|((name, field), of)| Ok((name.clone(), value(field, of)?)));
            Value::Object(object.collect::<Result<_, _>>()?)
        }
        Field::ListInternal(list) => {
            let (of, is_plain) = (element(of), std::ptr::eq(element(of), of));
            let elements = match list.elements() {
                // Where the elements are the repeated field itself, the library makes a list of them twice.
                [Field::ListInternal(inner)] if !is_plain && is_repeated(of) => inner.elements(),
                elements => elements,
            };
            Value::Array(elements.iter().map(|field| value(field, of)).collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let of = fields(of).first().map_or(&[][..], |pair| fields(pair));
            let [key_of, value_of] = of else { return Ok(Value::Null) };
            let object = map.entries().iter().map(|(key, field)| {
                let key = match value(key, key_of)? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                Ok((key, value(field, value_of)?))
            });
            Value::Object(object.collect::<Result<_, _>>()?)
        }
        Field::Bool(value) => Value::Bool(*value),
        Field::Int(number) => match Meaning::of(of) {
            Meaning::Unsigned => number.cast_unsigned().into(),
            _ => integer(i64::from(*number), of),
        },
        Field::Long(number) => match Meaning::of(of) {
            Meaning::Unsigned => number.cast_unsigned().into(),
            _ => integer(*number, of),
        },
        // As the shortest text that means this number, as for any other: 0.1, and not what else is nearest to it.
        Field::Float(number) => float(number.to_string().parse().unwrap_or(f64::NAN)),
        Field::Double(number) => float(*number),
        Field::Float16(number) => float(f64::from(*number)),
        // What was called INT96.
        Field::TimestampMillis(number) => timestamp(*number, 1_000, true),
        Field::Bytes(bytes) => text(bytes.data(), of)?,
        Field::Decimal(_) => Value::String(field.to_string()),
        // The library gives nothing else for a bare schema.
        _ => Value::Null,
    })
}

fn fields(of: &Type) -> &[TypePtr] {
    if of.is_primitive() { &[] } else { of.get_fields() }
}

/// The type of the elements of a list, which has been written in several ways (Parquet, "Lists", backward-compatibility
/// rules; the library goes by the same).
fn element(of: &Type) -> &Type {
    let converted = of.get_basic_info().converted_type();
    match (fields(of), converted) {
        ([repeated], ConvertedType::LIST) => match fields(repeated) {
            [only] if is_repeated(only) => only,
            [only] if repeated.name() != "array" && !repeated.name().ends_with("_tuple") => only,
            _ => repeated,
        },
        // A set: a map without values.
        ([repeated], ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => {
            fields(repeated).first().map_or(of, |key| key)
        }
        _ => of,
    }
}

fn is_repeated(of: &Type) -> bool {
    of.get_basic_info().has_repetition() && of.get_basic_info().repetition() == Repetition::REPEATED
}

fn integer(number: i64, of: &Type) -> Value {
    match Meaning::of(of) {
        Meaning::Date => {
            let date = number.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            date.map_or_else(|| number.into(), |date| date.date_naive().to_string().into())
        }
        Meaning::Time(per_second) => {
            let (seconds, nanoseconds) = parts(number, per_second);
            let seconds = u32::try_from(seconds).ok();
            let time = seconds.and_then(|seconds| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanoseconds));
            time.map_or_else(|| number.into(), |time| time.to_string().into())
        }
        Meaning::Timestamp(per_second, is_utc) => timestamp(number, per_second, is_utc),
        _ => number.into(),
    }
}

/// A moment, as text where the calendar has it.
fn timestamp(number: i64, per_second: i64, is_utc: bool) -> Value {
    let (seconds, nanoseconds) = parts(number, per_second);
    let text = |moment: DateTime<Utc>| {
        let mut text = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        if !is_utc {
            text.pop();
        }
        text.into()
    };
    DateTime::from_timestamp(seconds, nanoseconds).map_or_else(|| number.into(), text)
}

/// Seconds, and the nanoseconds that are left.
fn parts(number: i64, per_second: i64) -> (i64, u32) {
    let nanoseconds = number.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (number.div_euclid(per_second), u32::try_from(nanoseconds).unwrap_or(0))
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn text(bytes: &[u8], of: &Type) -> Result<Value, Utf8Error> {
    if let (Meaning::Uuid, Ok(bytes)) = (Meaning::of(of), <[u8; 16]>::try_from(bytes)) {
        let hex = crate::record::hex(&bytes);
        // RFC 9562, section 4.
        return Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into());
    }
    let text = std::str::from_utf8(bytes)?;
    Ok(match Meaning::of(of) {
        Meaning::Json => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    })
}

/// What a value takes in memory, beyond what each takes, in bytes.
fn weight(field: &Field) -> usize {
    match field {
        Field::Bytes(bytes) => bytes.len(),
        Field::Group(row) => row.get_column_iter().map(|(_, field)| weight(field)).sum(),
        Field::ListInternal(list) => list.elements().iter().map(weight).sum(),
        Field::MapInternal(map) => map.entries().iter().map(|(key, value)| weight(key) + weight(value)).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {

    use parquet::basic::Compression;
    use parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
        Int32Type, Int64Type, Int96, Int96Type,
    };
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
    use parquet::schema::parser::parse_message_type;

    use super::*;
    use crate::input::testing::{options, told};
    use crate::input::{Bytes, Format, List, Options, Reading, kept};

    type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

    /// A file with row groups that are written by the function, given their numbers.
    fn file(
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
    fn column<T: DataType>(group: &mut Group, values: &[T::T], levels: Option<&[i16]>, repeated: Option<&[i16]>) {
        let mut column = group.next_column().expect("no error").expect("a column");
        column.typed::<T>().write_batch(values, levels, repeated).expect("written");
        column.close().expect("written");
    }

    fn texts(group: &mut Group, values: &[&str], levels: Option<&[i16]>, repeated: Option<&[i16]>) {
        let values = values.iter().map(|text| ByteArray::from(*text)).collect::<Vec<_>>();
        column::<ByteArrayType>(group, &values, levels, repeated);
    }

    fn fixed(group: &mut Group, value: &[u8]) {
        column::<FixedLenByteArrayType>(group, &[FixedLenByteArray::from(value.to_vec())], None, None);
    }

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
    fn values_become_what_json_has_for_them() {
        let schema = "message list {
            required boolean yes; required int32 small (INTEGER(8,true)); required int32 unsigned (INTEGER(32,false));
            required int64 large (INTEGER(64,false)); required float tenth; required double nan;
            required int32 cents (DECIMAL(9,2)); required fixed_len_byte_array(16) exact (DECIMAL(38,3));
            required int32 date (DATE); required int32 day (DATE); required int32 time (TIME(MILLIS,true));
            required int64 old (TIMESTAMP_MILLIS); required int64 utc (TIMESTAMP(MICROS,true));
            required int64 local (TIMESTAMP(NANOS,false)); required int64 never (TIMESTAMP(MILLIS,true));
            required int96 ancient; required fixed_len_byte_array(16) uuid (UUID);
            required fixed_len_byte_array(2) half (FLOAT16); required binary json (JSON); required binary enum (ENUM);
            required binary url; required binary bytes; required fixed_len_byte_array(3) hash;
            required fixed_len_byte_array(12) interval (INTERVAL); required binary last (STRING);
        }";
        let list = file(schema, Compression::SNAPPY, 1, |group, _| {
            column::<BoolType>(group, &[true], None, None);
            column::<Int32Type>(group, &[-8], None, None);
            column::<Int32Type>(group, &[-1], None, None);
            column::<Int64Type>(group, &[-1], None, None);
            column::<FloatType>(group, &[0.1], None, None);
            column::<DoubleType>(group, &[f64::NAN], None, None);
            column::<Int32Type>(group, &[-1205], None, None);
            fixed(group, &12_345_678_901_234_567_890_123_i128.to_be_bytes());
            column::<Int32Type>(group, &[19_844], None, None);
            column::<Int32Type>(group, &[i32::MAX], None, None);
            column::<Int32Type>(group, &[45_296_007], None, None);
            column::<Int64Type>(group, &[-1], None, None);
            column::<Int64Type>(group, &[1_714_564_800_000_000], None, None);
            column::<Int64Type>(group, &[1_714_564_800_000_000_001], None, None);
            column::<Int64Type>(group, &[i64::MAX], None, None);
            let mut noon = Int96::new();
            // Nanoseconds of the day in two halves, and the Julian day.
            let nanoseconds = 43_200_000_000_000_u64;
            noon.set_data((nanoseconds & 0xFFFF_FFFF) as u32, (nanoseconds >> 32) as u32, 2_460_432);
            column::<Int96Type>(group, &[noon], None, None);
            fixed(
                group,
                &[0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0],
            );
            fixed(group, &[0, 0x3E]);
            texts(group, &[r#"{"a":[1,null]}"#], None, None);
            texts(group, &["CAT"], None, None);
            texts(group, &["http://a/1"], None, None);
            column::<ByteArrayType>(group, &[ByteArray::from(vec![0xFF; 1000])], None, None);
            fixed(group, b"abc");
            fixed(group, &[0; 12]);
            texts(group, &["end"], None, None);
        });
        let expected = r#"{"yes":true,"small":-8,"unsigned":4294967295,"large":18446744073709551615,"tenth":0.1,"nan":null,"cents":"-12.05","exact":"12345678901234567890.123","date":"2024-05-01","day":2147483647,"time":"12:34:56.007","old":"1969-12-31T23:59:59.999Z","utc":"2024-05-01T12:00:00Z","local":"2024-05-01T12:00:00.000000001","never":9223372036854775807,"ancient":"2024-05-01T12:00:00Z","uuid":"123e4567-e89b-12d3-a456-426614174000","half":1.5,"json":{"a":[1,null]},"enum":"CAT","last":"end"}"#;
        assert_eq!(told(&list, &Options::default()), [format!("http://a/1 {expected}")]);
    }

    #[test]
    fn what_is_nested_stays_so() {
        let schema = "message list {
            required binary url (UTF8);
            optional group tags (LIST) { repeated group list { optional binary element (UTF8); } }
            required group old (LIST) { repeated int32 array; }
            optional group image { optional binary bytes; optional binary path (UTF8); }
            optional group binary (LIST) { repeated group list { optional binary element; } }
            optional group only { optional binary bytes; }
            optional group scores (MAP) { repeated group key_value { required binary key (UTF8); optional int64 value (TIMESTAMP(MILLIS,true)); } }
            repeated int32 plain;
            repeated group boxes { required int32 x; optional binary label (UTF8); }
        }";
        let list = file(schema, Compression::SNAPPY, 1, |group, _| {
            texts(group, &["http://a/1", "http://a/2"], None, None);
            texts(group, &["x", "y"], Some(&[3, 2, 3, 0]), Some(&[0, 1, 1, 0]));
            column::<Int32Type>(group, &[1, 2], Some(&[1, 1, 0]), Some(&[0, 1, 0]));
            texts(group, &["b"], Some(&[2, 0]), None);
            texts(group, &["p.png"], Some(&[2, 0]), None);
            texts(group, &["b"], Some(&[3, 0]), Some(&[0, 0]));
            texts(group, &["b"], Some(&[2, 0]), None);
            texts(group, &["k", "l"], Some(&[2, 2, 0]), Some(&[0, 1, 0]));
            column::<Int64Type>(group, &[0], Some(&[3, 2, 0]), Some(&[0, 1, 0]));
            column::<Int32Type>(group, &[5, 6], Some(&[1, 1, 0]), Some(&[0, 1, 0]));
            column::<Int32Type>(group, &[9, 8], Some(&[1, 1, 0]), Some(&[0, 1, 0]));
            texts(group, &["cat"], Some(&[1, 2, 0]), Some(&[0, 1, 0]));
        });
        let expected = [
            r#"http://a/1 {"tags":["x",null,"y"],"old":[1,2],"image":{"path":"p.png"},"scores":{"k":"1970-01-01T00:00:00Z","l":null},"plain":[5,6],"boxes":[{"label":null,"x":9},{"label":"cat","x":8}]}"#,
            r#"http://a/2 {"tags":null,"old":[],"image":null,"scores":null,"plain":[],"boxes":[]}"#,
        ];
        assert_eq!(told(&list, &Options::default()), expected);
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
