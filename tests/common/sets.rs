//! Reads sets of shards, by other code than that which writes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use serde_json::Value;

/// The files in a tar file, in order. Panics where it is torn or malformed.
#[track_caller]
pub fn tar_entries(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let octal = |field: &[u8]| {
        let text = std::str::from_utf8(field).expect("ASCII").trim_end_matches('\0');
        usize::from_str_radix(text, 8).expect("octal digits")
    };
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        let header = &tar[at..at + 512];
        if header == [0; 512] {
            assert_eq!(tar[at..], [0; 1024], "two blocks of zeros end the file");
            return entries;
        }
        assert_eq!(&header[257..265], b"ustar\x0000");
        assert_eq!(
            (&header[108..116], &header[136..148]),
            (&b"0000000\0"[..], &b"00000000000\0"[..]),
            "owner and time"
        );
        let name = header[..100].split(|byte| *byte == 0).next().expect("a name");
        let size = octal(&header[124..136]);
        entries.push((String::from_utf8(name.to_vec()).expect("UTF-8"), tar[at + 512..at + 512 + size].to_vec()));
        at += 512 + size.next_multiple_of(512);
    }
}

/// The rows of a Parquet file, and the names of its columns in order.
#[track_caller]
pub fn table(bytes: Vec<u8>) -> (Vec<String>, Vec<BTreeMap<String, Value>>) {
    let reader = SerializedFileReader::new(Bytes::from(bytes)).expect("a Parquet file");
    let schema = reader.metadata().file_metadata().schema_descr().root_schema_ptr();
    let names = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let rows = reader.get_row_iter(None).expect("rows").map(|row| {
        let row = row.expect("a row");
        row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect()
    });
    (names, rows.collect())
}

fn json(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Float(number) => f64::from(*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => bytes.data().len().into(),
        Field::Date(days) => format!("{days} days").into(),
        Field::TimestampMillis(number) | Field::TimestampMicros(number) => format!("{number} units").into(),
        Field::Group(row) => row.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect(),
        other => other.to_string().into(),
    }
}
