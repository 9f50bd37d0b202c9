//! Decides about each row before anything is fetched: whether it is a duplicate, whether it is saved already, and which
//! name it gets. Rows are admitted one at a time and in list order, because names depend on that order.

use super::changes::{Changes, Remake, SavedRow, Verdict};
use crate::fetch::{self, StoredImage};
use crate::journal::{EarlierEnd, Journal, Key, Lookup, StoredFile};
use crate::naming::{Namer, PlannedName};
use crate::record::{Existing, FetchError, Job, Outcome, Reason, Record, RunError, Skipped};
use crate::sink::OnConflict;

/// What is to happen to a row.
#[derive(Debug)]
pub enum Admitted {
    /// It is fetched.
    Fetch {
        /// The name reserved for it.
        name: PlannedName,
        /// What happens when there is a file of that name.
        on_conflict: OnConflict,
        /// The file that an earlier run saved for it, where the new file replaces it.
        replaces: Option<String>,
        /// The stored file from which it is made anew, if it can be.
        stored: Option<Box<StoredImage>>,
    },
    /// An earlier run saved it as this file, which is removed, because a filter of this run refuses the image.
    Refused(StoredFile, FetchError),
    /// An earlier run saved it as this file, which is still there.
    Saved(StoredFile),
    /// An earlier run refused its image, and the options of this one exclude it too; or it failed for good. With its
    /// outcome, for which nothing is asked.
    Ended(Box<Outcome>),
    /// An earlier row has the same URL and has its record. With the file that was stored for it, if there is one.
    Duplicate(Option<StoredFile>),
    /// An earlier row has the same URL, and its download is in flight.
    InFlight,
}

/// What the decision about a row depends on.
pub struct Admission<'a, S> {
    /// What happens to images that earlier runs saved.
    pub existing: Existing,
    /// What images are held to.
    pub wishes: &'a fetch::Options,
    /// What this run and earlier ones have recorded about the row.
    pub journal: &'a mut Journal,
    /// The names that are taken.
    pub namer: &'a mut Namer,
    /// Compares saved images with the wishes of this run.
    pub changes: &'a mut Changes,
    /// Returns the size in bytes of the image that is stored under a path, if there is one.
    pub size: S,
}

impl<S: Fn(&str) -> Option<u64>> Admission<'_, S> {
    /// Decides about a row.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn admit(self, job: &Job, key: Key) -> Result<Admitted, RunError> {
        let Self { existing, wishes, journal, namer, changes, size } = self;
        // The name of a file that was removed when its image was refused.
        let mut removed = None;
        let earlier = match journal.look_up(key, job)? {
            Lookup::New(earlier) => earlier,
            Lookup::Ended(ended) => {
                if let Some(outcome) = still_ended(&ended, existing, wishes) {
                    // It keeps its name from later rows, so that names depend on the list alone.
                    let _ = namer.reserve(job);
                    return Ok(Admitted::Ended(Box::new(outcome)));
                }
                if let EarlierEnd::Refused(refused) = ended {
                    removed = refused.removed.filter(|path| existing != Existing::Replace && size(path).is_none());
                }
                None
            }
            Lookup::Done(stored) => return Ok(Admitted::Duplicate(stored)),
            Lookup::InFlight => return Ok(Admitted::InFlight),
        };
        // A file whose digest is not what the list asks for now is fetched again.
        let is_current = |stored: &StoredFile| {
            existing == Existing::Keep && stored.other_digest.is_none() && size(&stored.path) == Some(stored.bytes)
        };
        let earlier = match earlier {
            Some(stored) if is_current(&stored) => {
                let row = SavedRow { job, key, file: &stored, line: journal.line_read() };
                return Ok(match changes.judge(row, namer, |path| size(path).is_none()) {
                    Verdict::Keep => Admitted::Saved(stored),
                    Verdict::Refuse(error) => Admitted::Refused(stored, error),
                    Verdict::Remake(Remake { name, on_conflict, stored: from }) => {
                        Admitted::Fetch { name, on_conflict, replaces: Some(stored.path), stored: from }
                    }
                });
            }
            // A file that was stored for another row must not be replaced by this one.
            earlier => earlier.filter(|stored| stored.is_own),
        };
        let on_conflict = match (&earlier, existing) {
            (_, Existing::Replace) => OnConflict::Replace,
            // A file that an earlier run wrote for this URL is replaced. A link or a folder in its place was not
            // written by fetchimg and stays.
            (Some(earlier), Existing::Keep | Existing::Refresh) if size(&earlier.path).is_some() => OnConflict::Replace,
            _ => OnConflict::Keep,
        };
        let (name, replaces) = match earlier {
            // The list and the template of this run may differ from those of the earlier one.
            Some(stored) if existing == Existing::Replace => (namer.reserve(job), Some(stored.path)),
            Some(stored) => {
                changes.pass_by(job, namer);
                (namer.reuse_for(job, stored.path.clone()), Some(stored.path))
            }
            None => {
                let name = match removed {
                    Some(path) => namer.reuse_for(job, path),
                    None => namer.reserve(job),
                };
                changes.note_reserved((job, key), &name, namer);
                (name, None)
            }
        };
        Ok(Admitted::Fetch { name, on_conflict, replaces, stored: None })
    }
}

/// The outcome of a row that an earlier run has ended without an image, if it would end in the same way now.
fn still_ended(earlier: &EarlierEnd, existing: Existing, wishes: &fetch::Options) -> Option<Outcome> {
    match earlier {
        // Where everything is fetched again, it shows whether the image is another one now.
        EarlierEnd::Refused(earlier) if existing == Existing::Keep => {
            let error = wishes.exclusion(earlier.seen, Some(&earlier.error))?.error;
            let mut outcome = Outcome::of_error(&error.by_wish(earlier.seen), 0, None);
            if let Outcome::Refused(refused) = &mut outcome {
                refused.removed.clone_from(&earlier.removed);
            }
            Some(outcome)
        }
        EarlierEnd::Refused(_) => None,
        EarlierEnd::Failed(error) => wishes.fails_again(*error).then(failed_permanently),
    }
}

/// The outcome of a row that failed for good in an earlier run (`--skip-permanent`).
fn failed_permanently() -> Outcome {
    Outcome::Skipped(Skipped::new(Reason::FailedPermanently, None))
}

/// The record of a row that is no URL: skipped instead of failed if an earlier run has recorded it and such rows are not
/// to count again (`--skip-permanent`).
///
/// # Errors
/// When the journal cannot be read.
pub fn admit_without_url(mut record: Box<Record>, journal: &mut Journal) -> Result<Box<Record>, RunError> {
    if journal.has_failed_before(&record)? {
        record.outcome = failed_permanently();
    }
    Ok(record)
}
