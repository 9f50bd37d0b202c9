//! Decides about each row before anything is fetched: whether it is a duplicate, whether it is saved already, and which
//! name it gets. Rows are admitted one at a time and in list order, because names depend on that order.

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
        /// The file that an earlier run saved for it, where the new file replaces it.
        replaces: Option<String>,
    },
    /// An earlier run saved it as this file, which is still there.
    Saved(StoredFile),
    /// An earlier row has the same URL and has its record. With the file that was stored for it, if there is one.
    Duplicate(Option<StoredFile>),
    /// An earlier row has the same URL, and its download is in flight.
    InFlight,
}

/// What the decision about a row depends on.
pub struct Admission<'a, S> {
    /// What happens to images that earlier runs saved.
    pub existing: Existing,
    /// What this run and earlier ones have recorded about the row.
    pub journal: &'a mut Journal,
    /// The names that are taken.
    pub namer: &'a mut Namer,
    /// Returns the size in bytes of the image that is stored under a path, if there is one.
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
        let is_current = |stored: &StoredFile| {
            existing == Existing::Keep && stored.other_digest.is_none() && size(&stored.path) == Some(stored.bytes)
        };
        let earlier = match earlier {
            Some(stored) if is_current(&stored) => return Ok(Admitted::Saved(stored)),
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
            Some(stored) => (namer.reuse(stored.path), None),
            None => (namer.reserve(job), None),
        };
        Ok(Admitted::Fetch { name, on_conflict, replaces })
    }
}
