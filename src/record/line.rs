//! A record as one line of JSON: what the journal, the manifest and the write-ahead log hold.

use super::Record;
use crate::util::redact;

/// The JSON text of a [`Record`], without the line feed that ends it in a file. No control character is in it as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine(Vec<u8>);

impl RecordLine {
    /// The line of this record.
    ///
    /// # Errors
    /// When a value of the record has no JSON form.
    pub fn of(record: &Record) -> serde_json::Result<Self> {
        redact::json(record, false).map(Self)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
