//! A record as one line of JSON, as the journal, the manifest and the write-ahead log have it.

use serde::Serialize;

use super::Record;
use crate::util::redact;

/// What each record of a run into a folder says about the run. Where the folder has records of several runs, these tell which
/// rows belong to one list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunMark {
    /// The number of the run, from 1. Later runs into the folder have greater ones. Zero: it has none.
    pub run: u32,
    /// The run has fetched a sample of its list (`--sample`), so that rows without a record may still be in the list.
    #[serde(skip_serializing_if = "is_false")]
    pub sampled: bool,
    /// The run knows a row by its URL and its number (`--keep-duplicates`).
    #[serde(skip_serializing_if = "is_false")]
    pub numbered: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

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

    /// The line of a record of a run.
    ///
    /// # Errors
    /// When a value of the record cannot be expressed in JSON.
    pub fn of_run(record: &Record, mark: RunMark) -> serde_json::Result<Self> {
        if mark.run == 0 { Self::of(record) } else { Self::with(record, &mark) }
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
