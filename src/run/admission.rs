//! Admission of a row, before anything is fetched: has this list named its URL before, is it saved already, and which name
//! does it get? Rows are admitted one at a time and in list order, because names depend on that order.

use crate::journal::{Journal, Key, Lookup, StoredFile};
use crate::naming::{Namer, PlannedName};
use crate::record::{Existing, Job, RunError};
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
        /// The file that an earlier run saved for it, and its size in bytes, where the new file replaces it.
        replaces: Option<(String, u64)>,
    },
    /// An earlier run saved it as this file, which is still there.
    Saved(String),
    /// An earlier row has its URL, and is done with; the file that came of it, if one did.
    Duplicate(Option<StoredFile>),
    /// An earlier row has its URL, and its download is in flight.
    InFlight,
}

/// What a row is decided by.
pub struct Admission<'a, S> {
    /// What happens to images that are there.
    pub existing: Existing,
    /// What this run and earlier ones know of the row.
    pub journal: &'a mut Journal,
    /// The names that are taken.
    pub namer: &'a mut Namer,
    /// Tells the size in bytes of the image that is stored under a path, if there is one.
    pub size: S,
}

impl<S: Fn(&str) -> Option<u64>> Admission<'_, S> {
    /// Decides about a row.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn admit(self, job: &Job, key: Key) -> Result<Admitted, RunError> {
        let Self { existing, journal, namer, size } = self;
        let earlier = match journal.look_up(key, job)? {
            Lookup::New(earlier) => earlier,
            Lookup::Done(stored) => return Ok(Admitted::Duplicate(stored)),
            Lookup::InFlight => return Ok(Admitted::InFlight),
        };
        // A file whose digest is not what the list asks for now is fetched again.
        if let Some(StoredFile { path, bytes, other_digest: None, .. }) = &earlier
            && existing == Existing::Keep
            && size(path) == Some(*bytes)
        {
            return Ok(Admitted::Saved(path.clone()));
        }
        // Another row's file is not this one's to replace.
        let earlier = earlier.filter(|stored| stored.is_own);
        let on_conflict = match (&earlier, existing) {
            (_, Existing::Replace) => OnConflict::Replace,
            // A file that an earlier run wrote for this URL is replaced. A link or a folder in its place was not written by
            // fetchimg and stays.
            (Some(earlier), Existing::Keep | Existing::Refresh) if size(&earlier.path).is_some() => OnConflict::Replace,
            _ => OnConflict::Keep,
        };
        let (name, replaces) = match earlier {
            // The template may be another one now.
            Some(stored) if existing == Existing::Replace => {
                (namer.reserve_replacement(job, &stored.path), Some((stored.path, stored.bytes)))
            }
            Some(stored) => (namer.reuse(stored.path), None),
            None => (namer.reserve(job), None),
        };
        Ok(Admitted::Fetch { name, on_conflict, replaces })
    }
}
