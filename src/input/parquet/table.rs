//! Reads tables whose columns are known by their names: those of shards.

use std::io;
use std::sync::Arc;

use parquet::basic::Type as Physical;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::schema::types::{SchemaDescriptor, Type};
use serde_json::Value;

use super::io_error;
use super::schema::{LogicalKind, is_repeated, without_annotations, without_binary};
use super::value::value;
use crate::record::{ColumnType, ColumnValues};
use crate::util::location::OpenFile;

/// A row: the names of its columns, and their values.
pub type TableRow = Vec<(Arc<str>, Value)>;

/// Calls `each` with each row of a table, without its binary data, until it returns `false`. `wanted` chooses columns.
///
/// # Errors
/// When the file cannot be read.
pub fn read_table(
    file: OpenFile,
    wanted: impl Fn(&str) -> bool,
    mut each: impl FnMut(TableRow) -> bool,
) -> io::Result<()> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(io_error)?;
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    drop(metadata);
    let fields =
        schema.get_fields().iter().filter(|field| wanted(field.name())).filter_map(without_binary).collect::<Vec<_>>();
    let names = fields.iter().map(|field| Arc::from(field.name())).collect::<Vec<Arc<str>>>();
    let plain = without_annotations(&schema).map_err(io_error)?;
    let options = ReadOptionsBuilder::new().with_parquet_schema(Arc::new(SchemaDescriptor::new(plain))).build();
    let reader = SerializedFileReader::new_with_options(file, options).map_err(io_error)?;
    let projected = Type::group_type_builder(schema.name()).with_fields(fields.clone()).build().map_err(io_error)?;
    for row in reader.get_row_iter(Some(projected)).map_err(io_error)? {
        let row = row.map_err(io_error)?;
        let values = row.get_column_iter().zip(&fields).zip(&names).map(|(((_, field), ty), name)| {
            let value = value(field, ty).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            Ok((Arc::clone(name), value))
        });
        if !each(values.collect::<io::Result<_>>()?) {
            break;
        }
    }
    Ok(())
}

/// What a program has noted in the file under this key.
///
/// # Errors
/// When the file cannot be read.
pub fn noted(file: &OpenFile, key: &str) -> io::Result<Option<String>> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file).map_err(io_error)?;
    let notes = metadata.file_metadata().key_value_metadata().into_iter().flatten();
    Ok(notes.filter(|note| note.key == key).find_map(|note| note.value.clone()))
}

/// The columns of a Parquet file, with their types, and with the bounds of whole numbers where the file states them.
///
/// # Errors
/// When the file cannot be read.
pub fn columns(file: &OpenFile) -> io::Result<Vec<(Arc<str>, ColumnValues)>> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file).map_err(io_error)?;
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    let values = |field: &Type| ColumnValues::stated(column_type(field), bounds(&metadata, field));
    Ok(schema.get_fields().iter().map(|field| (field.name().into(), values(field))).collect())
}

/// The least and the greatest value of a column of whole numbers, if they are known.
fn bounds(metadata: &ParquetMetaData, field: &Type) -> Option<(i128, i128)> {
    if !field.is_primitive() {
        return None;
    }
    let is_unsigned = matches!(LogicalKind::of(field), LogicalKind::Unsigned);
    if is_unsigned && field.get_physical_type() == Physical::INT32 {
        return Some((0, u32::MAX.into()));
    }
    let schema = metadata.file_metadata().schema_descr();
    let place = schema.columns().iter().position(|column| column.path().parts() == [field.name()])?;
    let (mut least, mut greatest) = (0, 0);
    for group in metadata.row_groups() {
        let Statistics::Int64(stated) = group.column(place).statistics()? else { return None };
        if stated.null_count_opt() == u64::try_from(group.num_rows()).ok() {
            continue;
        }
        for bound in [*stated.min_opt()?, *stated.max_opt()?] {
            let bound = if is_unsigned { i128::from(bound.cast_unsigned()) } else { bound.into() };
            (least, greatest) = (bound.min(least), bound.max(greatest));
        }
    }
    Some((least, greatest))
}

fn column_type(ty: &Type) -> ColumnType {
    if !ty.is_primitive() || is_repeated(ty) {
        return ColumnType::Json;
    }
    match (LogicalKind::of(ty), ty.get_physical_type()) {
        (LogicalKind::Date, _) => ColumnType::Date,
        (LogicalKind::Timestamp(per_second, is_utc), _) => ColumnType::Timestamp(per_second, is_utc),
        (LogicalKind::Unsigned, Physical::INT64) => ColumnType::Unsigned,
        (LogicalKind::Json, _) => ColumnType::Json,
        (LogicalKind::Float16, _) | (LogicalKind::Plain, Physical::FLOAT) => ColumnType::Float,
        (LogicalKind::Plain, Physical::BOOLEAN) => ColumnType::Boolean,
        (LogicalKind::Plain, Physical::INT32) => ColumnType::Int32,
        (LogicalKind::Unsigned, _) | (LogicalKind::Plain, Physical::INT64) => ColumnType::Int64,
        (LogicalKind::Plain, Physical::DOUBLE) => ColumnType::Double,
        // The library converts it to milliseconds.
        (LogicalKind::Plain, Physical::INT96) => ColumnType::Timestamp(1_000, true),
        _ => ColumnType::Text,
    }
}
