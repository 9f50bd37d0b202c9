//! A record as one line of JSON, as the journal, the manifest and the write-ahead log have it.

use serde::Serialize;

use super::Record;
use crate::util::redact;

/// What each record in the journal of a folder says about the run that has written it. The journal has the records of several
/// runs, and these fields tell which rows belong to one list. They are in the journal alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunMark {
    /// The number of the run. Later runs into the folder have greater ones. Zero: it has none, as the first run.
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
pub struct RecordLine {
    text: Vec<u8>,
    /// The length of the part before the mark of the run; `None` if there is no mark.
    unmarked: Option<usize>,
}

impl RecordLine {
    /// The line of a record.
    ///
    /// # Errors
    /// When a value of the record cannot be expressed in JSON.
    pub fn of(record: &Record) -> serde_json::Result<Self> {
        redact::json(record, false).map(|text| Self { text, unmarked: None })
    }

    /// The line of a record of a run.
    ///
    /// # Errors
    /// When a value of the record cannot be expressed in JSON.
    pub fn of_run(record: &Record, mark: RunMark) -> serde_json::Result<Self> {
        let line = Self::of(record)?;
        if mark.run == 0 {
            return Ok(line);
        }
        let unmarked = Some(line.text.len() - 1);
        Ok(Self { text: joined(line.text, &mark)?, unmarked })
    }

    /// The line of a record with further fields at its end. `more` must be an object with at least one field.
    ///
    /// # Errors
    /// When a value cannot be expressed in JSON.
    pub fn with(record: &Record, more: &impl serde::Serialize) -> serde_json::Result<Self> {
        Ok(Self { text: joined(redact::json(record, false)?, more)?, unmarked: None })
    }

    /// The bytes of the text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The text without the mark of the run, in two parts.
    #[must_use]
    pub fn unmarked(&self) -> [&[u8]; 2] {
        self.unmarked.map_or([&self.text, b""], |length| [&self.text[..length], b"}"])
    }
}

impl RunMark {
    /// The names of the fields.
    pub const FIELDS: [&str; 3] = ["run", "sampled", "numbered"];
}

/// An object with the fields of another one at its end, which must have one.
fn joined(mut object: Vec<u8>, more: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let more = redact::json(more, false)?;
    object.pop();
    object.push(b',');
    object.extend_from_slice(more.get(1..).unwrap_or_default());
    Ok(object)
}
