//! Writes a table as Parquet, column by column: no Arrow is needed for columns of four types.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::columns::{CellType, Column, Columns};
use super::text;

/// The most rows that are held before they are written together.
const MAX_GROUP_ROWS: usize = 16_384;

/// The most bytes of text that are held.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// A Parquet file that is being written.
pub struct ParquetTable<'a> {
    writer: SerializedFileWriter<Box<dyn Write + Send + 'a>>,
    columns: Vec<Buffer>,
    rows: usize,
    bytes: usize,
}

/// The values of a column that are not written yet.
struct Buffer {
    values: Values,
    /// For each row, 1 if it has a value and 0 if not.
    levels: Vec<i16>,
}

enum Values {
    Bool(Vec<bool>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl<'a> ParquetTable<'a> {
    /// Begins a file with these columns.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn begin(columns: &Columns, out: Box<dyn Write + Send + 'a>) -> io::Result<Self> {
        let field = |column: &Column| {
            let (physical, logical) = match column.cell_type {
                CellType::Bool => (PhysicalType::BOOLEAN, None),
                CellType::Int => (PhysicalType::INT64, None),
                CellType::Double => (PhysicalType::DOUBLE, None),
                CellType::Text => (PhysicalType::BYTE_ARRAY, Some(LogicalType::String)),
            };
            let field = Type::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL);
            field.with_logical_type(logical).build().map(Arc::new)
        };
        let fields = columns.iter().map(field).collect::<Result<Vec<_>, _>>().map_err(io_error)?;
        let schema = Type::group_type_builder("schema").with_fields(fields).build().map_err(io_error)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(io_error)?;
        let columns = columns.iter().map(|column| Buffer::new(column.cell_type)).collect();
        Ok(Self { writer, columns, rows: 0, bytes: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the rows before it cannot be written.
    pub fn write(&mut self, cells: &[Option<&str>]) -> io::Result<()> {
        for (buffer, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += buffer.push(cell.filter(|value| *value != "null"));
        }
        self.rows += 1;
        if self.rows >= MAX_GROUP_ROWS || self.bytes >= MAX_GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.writer.finish().map_err(io_error)?;
        self.writer.inner_mut().flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut group = self.writer.next_row_group().map_err(io_error)?;
        for Buffer { values, levels } in &mut self.columns {
            let Some(mut column) = group.next_column().map_err(io_error)? else { break };
            let levels = Some(std::mem::take(levels));
            let levels = levels.as_deref();
            match values {
                Values::Bool(values) => column.typed::<BoolType>().write_batch(&std::mem::take(values), levels, None),
                Values::Int(values) => column.typed::<Int64Type>().write_batch(&std::mem::take(values), levels, None),
                Values::Double(values) => {
                    column.typed::<DoubleType>().write_batch(&std::mem::take(values), levels, None)
                }
                Values::Text(values) => {
                    column.typed::<ByteArrayType>().write_batch(&std::mem::take(values), levels, None)
                }
            }
            .map_err(io_error)?;
            column.close().map_err(io_error)?;
        }
        group.close().map_err(io_error)?;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }
}

impl Buffer {
    fn new(cell_type: CellType) -> Self {
        let values = match cell_type {
            CellType::Bool => Values::Bool(Vec::new()),
            CellType::Int => Values::Int(Vec::new()),
            CellType::Double => Values::Double(Vec::new()),
            CellType::Text => Values::Text(Vec::new()),
        };
        Self { values, levels: Vec::new() }
    }

    /// Adds the value of the next row. Returns the number of bytes of a text.
    fn push(&mut self, value: Option<&str>) -> usize {
        let (is_there, bytes) = match (&mut self.values, value) {
            (_, None) => (false, 0),
            (Values::Bool(values), Some(value)) => (push(values, value.parse().ok()), 0),
            (Values::Int(values), Some(value)) => (push(values, value.parse().ok()), 0),
            (Values::Double(values), Some(value)) => (push(values, value.parse().ok()), 0),
            (Values::Text(values), Some(value)) => {
                let text = text(value);
                values.push(ByteArray::from(&*text));
                (true, text.len())
            }
        };
        self.levels.push(i16::from(is_there));
        bytes
    }
}

fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_there = value.is_some();
    values.extend(value);
    is_there
}

/// The error for the user. An error of the operating system is passed on as it is.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error),
        other => io::Error::other(other),
    }
}
