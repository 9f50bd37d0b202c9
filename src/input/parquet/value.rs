//! Converts values of Parquet columns to JSON.
//!
//! | Parquet | JSON |
//! |---|---|
//! | booleans, numbers | the same; null where JSON has no such number, as for NaN |
//! | text, enums, UUIDs | text |
//! | decimals | text, with all digits |
//! | JSON | that JSON |
//! | dates, times, timestamps | text as in RFC 3339, with a `Z` if they are in UTC |
//! | structs, maps | objects |
//! | lists | arrays |
//!
//! Binary data (bytes that the schema does not call text) and intervals are left out, and so are lists and maps that
//! hold them; a struct loses only these fields. The columns of the URL and the checksum may be bytes without an
//! annotation, because old writers wrote text so.

use std::str::Utf8Error;

use chrono::{DateTime, NaiveTime, SecondsFormat, Utc};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::{Number, Value};

use super::schema::{LogicalKind, element, fields, is_repeated};

/// The JSON of a value. `ty`: its type in the annotated schema.
///
/// # Errors
/// When text is not valid UTF-8.
pub fn value(field: &Field, ty: &Type) -> Result<Value, Utf8Error> {
    Ok(match field {
        Field::Group(row) => {
            let named = row.get_column_iter().zip(fields(ty));
            let object = named.map(|((name, field), ty)| Ok((name.clone(), value(field, ty)?)));
            Value::Object(object.collect::<Result<_, _>>()?)
        }
        Field::ListInternal(list) => {
            let (ty, is_plain) = (element(ty), std::ptr::eq(element(ty), ty));
            let elements = match list.elements() {
                // If the repeated field is itself the element, the library returns a list within a list.
                [Field::ListInternal(inner)] if !is_plain && is_repeated(ty) => inner.elements(),
                elements => elements,
            };
            Value::Array(elements.iter().map(|field| value(field, ty)).collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let pair = fields(ty).first().map_or(&[][..], |pair| fields(pair));
            let [key_type, value_type] = pair else { return Ok(Value::Null) };
            let object = map.entries().iter().map(|(key, field)| {
                let key = match value(key, key_type)? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                Ok((key, value(field, value_type)?))
            });
            Value::Object(object.collect::<Result<_, _>>()?)
        }
        Field::Bool(value) => Value::Bool(*value),
        Field::Int(number) => match LogicalKind::of(ty) {
            LogicalKind::Unsigned => number.cast_unsigned().into(),
            _ => integer(i64::from(*number), ty),
        },
        Field::Long(number) => match LogicalKind::of(ty) {
            LogicalKind::Unsigned => number.cast_unsigned().into(),
            _ => integer(*number, ty),
        },
        // By its shortest decimal form, like any other number: 0.1, and not the exact value of the nearest `f32`.
        Field::Float(number) => float(number.to_string().parse().unwrap_or(f64::NAN)),
        Field::Double(number) => float(*number),
        Field::Float16(number) => float(f64::from(*number)),
        // The library converts INT96 to this.
        Field::TimestampMillis(number) => timestamp(*number, 1_000, true),
        Field::Bytes(bytes) => text(bytes.data(), ty)?,
        Field::Decimal(_) => Value::String(field.to_string()),
        // The library returns nothing else for a schema without annotations.
        _ => Value::Null,
    })
}

fn integer(number: i64, ty: &Type) -> Value {
    match LogicalKind::of(ty) {
        LogicalKind::Date => {
            let date = number.checked_mul(86_400).and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            date.map_or_else(|| number.into(), |date| date.date_naive().to_string().into())
        }
        LogicalKind::Time(per_second) => {
            let (seconds, nanoseconds) = split_seconds(number, per_second);
            let seconds = u32::try_from(seconds).ok();
            let time = seconds.and_then(|seconds| NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanoseconds));
            time.map_or_else(|| number.into(), |time| time.to_string().into())
        }
        LogicalKind::Timestamp(per_second, is_utc) => timestamp(number, per_second, is_utc),
        _ => number.into(),
    }
}

/// A timestamp as text, or as a number if it is out of range. `per_second`: units in a second.
fn timestamp(number: i64, per_second: i64, is_utc: bool) -> Value {
    let (seconds, nanoseconds) = split_seconds(number, per_second);
    let text = |moment: DateTime<Utc>| {
        let mut text = moment.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        if !is_utc {
            text.pop();
        }
        text.into()
    };
    DateTime::from_timestamp(seconds, nanoseconds).map_or_else(|| number.into(), text)
}

/// Whole seconds, and the remaining nanoseconds.
fn split_seconds(number: i64, per_second: i64) -> (i64, u32) {
    let nanoseconds = number.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (number.div_euclid(per_second), u32::try_from(nanoseconds).unwrap_or(0))
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn text(bytes: &[u8], ty: &Type) -> Result<Value, Utf8Error> {
    if let (LogicalKind::Uuid, Ok(bytes)) = (LogicalKind::of(ty), <[u8; 16]>::try_from(bytes)) {
        let hex = crate::record::hex(&bytes);
        // RFC 9562, section 4.
        return Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into());
    }
    let text = std::str::from_utf8(bytes)?;
    Ok(match LogicalKind::of(ty) {
        LogicalKind::Json => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    })
}

/// The size of a value in memory, in bytes, without the fixed size of [`Field`].
pub fn size(field: &Field) -> usize {
    match field {
        Field::Bytes(bytes) => bytes.len(),
        Field::Group(row) => row.get_column_iter().map(|(_, field)| size(field)).sum(),
        Field::ListInternal(list) => list.elements().iter().map(size).sum(),
        Field::MapInternal(map) => map.entries().iter().map(|(key, value)| size(key) + size(value)).sum(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type, Int96, Int96Type,
    };

    use super::super::testing::{column, file, fixed, texts};
    use crate::input::Options;
    use crate::input::testing::rows_as_text;

    #[test]
    fn values_are_converted_by_their_logical_types() {
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
        assert_eq!(rows_as_text(&list, &Options::default()), [format!("http://a/1 {expected}")]);
    }

    #[test]
    fn nested_values_stay_nested() {
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
        assert_eq!(rows_as_text(&list, &Options::default()), expected);
    }
}
