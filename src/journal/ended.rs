//! Rows that an earlier run has ended without an image and for good: their last record says that the options excluded the
//! image, or that the row failed with an error that no retry mends (`--skip-permanent`).
//!
//! The index has one state for both, and the offset of the record, so they take no more memory than a saved row. What the
//! record says is read back when the row is looked up. A file that was saved before counts more than either, unless the record
//! says that it was removed.

use super::index::{Key, Offset, RowIndex, RowState};
use super::line::RecordFields;
use super::{Journal, Lookup};
use crate::record::{ErrorKind, Job, Outcome, Record, Refused, RunError};

/// How an earlier run has ended a row without an image.
#[derive(Debug, PartialEq)]
pub enum EarlierEnd {
    /// Its options excluded the image.
    Refused(Box<Refused>),
    /// It failed with an error that no retry mends. Only if the index remembers such rows.
    Failed(ErrorKind),
}

/// Adds a record of an earlier run that names no file to the index, or removes the row from it that the record is about.
pub(super) fn index_ended(index: &mut RowIndex, offset: u64, record: &RecordFields) {
    let is_failed = record.is_failed();
    if !is_failed && record.status != "refused" {
        return;
    }
    if record.is_without_url() && !index.remembers_failures() {
        return;
    }
    let key = ended_key(index, record);
    if is_failed && (record.retryable || !index.remembers_failures()) {
        index.forget_ended(key);
    } else if record.removed.is_some() || matches!(index.get(key), None | Some(RowState::EndedEarlier(_))) {
        index.set(key, RowState::EndedEarlier(Offset::new(offset)));
    }
}

/// The key under which the index remembers a row that ended without an image.
fn ended_key(index: &RowIndex, record: &RecordFields) -> Key {
    if record.is_without_url() {
        index.key_without_url(&record.url, record.index)
    } else {
        index.key(record.url_identity(), record.index)
    }
}

/// The key of the row if the record at this offset is the one that the index remembers for having ended it.
pub(super) fn key_if_ended_by(index: &RowIndex, record: &RecordFields, offset: Offset) -> Option<Key> {
    let key = ended_key(index, record);
    (index.get(key) == Some(RowState::EndedEarlier(offset))).then_some(key)
}

impl Journal {
    /// What is known of a row that an earlier run has ended without an image. It is in flight from now on.
    pub(super) fn look_up_ended(&mut self, offset: Offset, key: Key, job: &Job) -> Result<Lookup, RunError> {
        let line = self.lines.line(offset.0)?;
        let is_same = serde_json::from_slice::<RecordFields>(&line)
            .is_ok_and(|record| record.is_about(job, self.index.identity()));
        if !is_same {
            return Ok(Lookup::New(None));
        }
        if self.index.remembers_new_rows() {
            self.index.set(key, RowState::InFlight(None));
        }
        let ended = match serde_json::from_slice::<Record>(&line).map(|record| record.outcome) {
            Ok(Outcome::Refused(refused)) => Some(EarlierEnd::Refused(Box::new(refused))),
            Ok(Outcome::Failed(failed)) => {
                ErrorKind::by_name(&failed.error, failed.http_status).map(EarlierEnd::Failed)
            }
            _ => None,
        };
        Ok(ended.map_or(Lookup::New(None), Lookup::Ended))
    }

    /// Whether an earlier run has recorded a row that is no URL. Always false unless the index remembers failures.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn has_failed_before(&mut self, record: &Record) -> Result<bool, RunError> {
        if !self.index.remembers_failures() {
            return Ok(false);
        }
        let key = self.index.key_without_url(&record.url, record.index);
        let Some(RowState::EndedEarlier(offset)) = self.index.get(key) else { return Ok(false) };
        let line = self.lines.line(offset.0)?;
        Ok(serde_json::from_slice::<RecordFields>(&line)
            .is_ok_and(|earlier| earlier.is_without_url() && earlier.url == record.url))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use url::Url;

    use super::*;
    use crate::journal::{Remembered, RowIdentity};
    use crate::record::{Extra, Failed, FetchError, Seen};

    const FAILURES: Remembered = Remembered { identity: RowIdentity::Url, failures: true };

    fn job(index: u64, number: u32) -> Job {
        Job::new(index, Url::parse(&format!("http://a.example/{number}.png")).expect("a URL"))
    }

    fn failed(kind: ErrorKind) -> Outcome {
        Outcome::Failed(Failed::new(&FetchError::new(kind, "x"), 1, None))
    }

    fn refused() -> Outcome {
        Outcome::of_error(&FetchError::new(ErrorKind::TooSmall, "x").by_wish(Seen::default()), 1, None)
    }

    /// What a run knows of the first image after these outcomes of it in earlier runs.
    fn known(path: &Path, remembered: Remembered, outcomes: Vec<Outcome>) -> Lookup {
        let lines = outcomes.into_iter().map(|outcome| Record::of(&job(0, 1), outcome));
        let lines = lines.map(|record| serde_json::to_string(&record).expect("JSON") + "\n");
        fs::write(path, lines.collect::<String>()).expect("write");
        let mut journal = Journal::open(path, remembered, |_| {}).expect("open");
        let key = journal.key(&job(0, 1));
        let known = journal.look_up(key, &job(0, 1)).expect("look up");
        assert_eq!(journal.look_up(key, &job(0, 1)).expect("look up"), Lookup::InFlight, "it is new once");
        known
    }

    #[test]
    fn the_last_record_tells_how_a_row_has_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let gone = || failed(ErrorKind::HttpStatus(404));
        let usual = Remembered::from(RowIdentity::Url);
        let is_refused = |known: Lookup| matches!(known, Lookup::Ended(EarlierEnd::Refused(_)));
        assert!(is_refused(known(&path, usual, vec![gone(), refused()])));
        assert!(is_refused(known(&path, FAILURES, vec![gone(), refused()])));
        for (remembered, outcomes, expected) in [
            (usual, vec![gone()], Lookup::New(None)),
            (usual, vec![refused(), gone()], Lookup::New(None)),
            (FAILURES, vec![gone()], Lookup::Ended(EarlierEnd::Failed(ErrorKind::HttpStatus(404)))),
            (FAILURES, vec![refused(), gone()], Lookup::Ended(EarlierEnd::Failed(ErrorKind::HttpStatus(404)))),
            (FAILURES, vec![gone(), failed(ErrorKind::Dns)], Lookup::New(None)),
            (FAILURES, vec![failed(ErrorKind::Dns)], Lookup::New(None)),
        ] {
            assert_eq!(known(&path, remembered, outcomes), expected);
        }
    }

    #[test]
    fn rows_that_are_no_urls_are_known_by_their_text_and_without_one_by_their_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let row = |index, text: &str| Record {
            index,
            url: text.to_owned(),
            url_hash: None,
            outcome: failed(ErrorKind::BadUrl),
            extra: Extra::default(),
        };
        let lines = [row(3, "no URL"), row(4, "")].map(|record| serde_json::to_string(&record).expect("JSON") + "\n");
        fs::write(&path, lines.concat()).expect("write");
        let mut journal = Journal::open(&path, FAILURES, |_| {}).expect("open");
        let mut is_known = |record: Record| journal.has_failed_before(&record).expect("read");
        assert!(is_known(row(3, "no URL")) && is_known(row(9, "no URL")) && is_known(row(4, "")));
        assert!(!is_known(row(5, "")) && !is_known(row(3, "another")));
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        assert!(!journal.has_failed_before(&row(3, "no URL")).expect("read"));
    }
}
