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

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
