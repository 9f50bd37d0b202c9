//! A record as one line of JSON, as the journal, the manifest and the write-ahead log have it.

use super::Record;
use crate::util::redact;

/// The JSON text of a [`Record`], without the line feed that ends the line in a file. Its control characters are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine(Vec<u8>);

impl RecordLine {
    /// The line of a record.
    ///
    /// # Errors
    /// When a value of the record cannot be expressed in JSON.
    pub fn of(record: &Record) -> serde_json::Result<Self> {
        redact::json(record, false).map(Self)
    }

    /// The line of a record with further fields at its end. `more` must be an object with at least one field.
    ///
    /// # Errors
    /// When a value cannot be expressed in JSON.
    pub fn with(record: &Record, more: &impl serde::Serialize) -> serde_json::Result<Self> {
        let (mut line, more) = (redact::json(record, false)?, redact::json(more, false)?);
        line.pop();
        line.push(b',');
        line.extend_from_slice(more.get(1..).unwrap_or_default());
        Ok(Self(line))
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
