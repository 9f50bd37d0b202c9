//! Lists in every format, with the columns that data sets have: a URL, a caption, a width and a height.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::Result;

/// The formats, by the extensions of files. Text has the URLs alone.
pub const FORMATS: [&str; 4] = ["txt", "csv", "jsonl", "parquet"];

/// Writes a list of this number of rows, in the format of the file's extension. A Parquet file has one row group,
/// compressed with Snappy, as most programs write it.
pub fn write(path: &Path, rows: u64, url: impl Fn(u64) -> String) -> Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("txt") => (0..rows).try_for_each(|row| writeln!(out, "{}", url(row)))?,
        Some("csv") => {
            writeln!(out, "url,caption,width,height")?;
            (0..rows).try_for_each(|row| writeln!(out, "{},\"{}\",{},768", url(row), caption(row), width(row)))?;
        }
        Some("jsonl") => (0..rows).try_for_each(|row| {
            let (url, caption, width) = (url(row), caption(row), width(row));
            writeln!(out, r#"{{"url":"{url}","caption":"{caption}","width":{width},"height":768}}"#)
        })?,
        _ => return parquet(out, rows, url),
    }
    Ok(out.flush()?)
}

fn parquet(out: BufWriter<File>, rows: u64, url: impl Fn(u64) -> String) -> Result<()> {
    let schema = "message list {
        required binary url (UTF8); required binary caption (UTF8); required int32 width; required int32 height;
    }";
    let schema = Arc::new(parse_message_type(schema)?);
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let mut writer = SerializedFileWriter::new(out, schema, properties)?;
    let mut group = writer.next_row_group()?;
    column::<ByteArrayType>(&mut group, rows, |row| ByteArray::from(url(row).into_bytes()))?;
    column::<ByteArrayType>(&mut group, rows, |row| ByteArray::from(caption(row).into_bytes()))?;
    column::<Int32Type>(&mut group, rows, width)?;
    column::<Int32Type>(&mut group, rows, |_| 768)?;
    group.close()?;
    writer.close()?;
    Ok(())
}

/// The number of values that are made before they are written.
const BATCH_VALUES: usize = 10_000;

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<BufWriter<File>>,
    rows: u64,
    value: impl Fn(u64) -> T::T,
) -> Result<()> {
    let mut column = group.next_column()?.ok_or("there are more columns than in the schema")?;
    for first in (0..rows).step_by(BATCH_VALUES) {
        let values = (first..rows).take(BATCH_VALUES).map(&value).collect::<Vec<_>>();
        column.typed::<T>().write_batch(&values, None, None)?;
    }
    Ok(column.close()?)
}

/// Five to twenty words, the same for the same row.
fn caption(row: u64) -> String {
    const WORDS: [&str; 16] = [
        "a",
        "photograph",
        "of",
        "the",
        "old",
        "harbour",
        "at",
        "dusk",
        "with",
        "two",
        "fishing",
        "boats",
        "and",
        "lanterns",
        "stock",
        "vector",
    ];
    let mut random = fastrand::Rng::with_seed(row);
    let words = (0..random.usize(5..=20)).map(|_| WORDS[random.usize(..WORDS.len())]).collect::<Vec<_>>();
    format!("{} {row}", words.join(" "))
}

fn width(row: u64) -> i32 {
    fastrand::Rng::with_seed(row ^ 7).i32(200..4000)
}
