//! What is decided about a row before anything is fetched: has this list named its URL before, is it saved already, and
//! which name does it get? In list order, one row at a time, because names depend on that.

use crate::journal::{Journal, Key, Lookup, StoredFile};
use crate::naming::{Namer, Planned};
use crate::record::{Existing, Job, RunError};
use crate::sink::OnConflict;

/// What is to happen to a row.
#[derive(Debug)]
pub enum Admitted {
    /// It is fetched.
    Fetch {
        /// The name reserved for it.
        name: Planned,
        /// What happens when there is a file of that name.
        publish: OnConflict,
        /// The file that an earlier run saved for it, and its size, where that has to go when the new one is there.
        replaces: Option<(String, u64)>,
    },
    /// An earlier run saved it as this file, which is still there.
    Saved(String),
    /// An earlier row has its URL, and is done with; the file that came of it, if one did.
    Duplicate(Option<StoredFile>),
    /// An earlier row has its URL, and is under way.
    InFlight,
}

/// Decides about a row. `size` tells that of the regular file of a name in the output folder, if there is one.
///
/// # Errors
/// When the journal cannot be read.
pub fn admit(
    job: &Job,
    key: Key,
    existing: Existing,
    journal: &mut Journal,
    namer: &mut Namer,
    size: impl Fn(&str) -> Option<u64>,
) -> Result<Admitted, RunError> {
    let earlier = match journal.look_up(key, job)? {
        Lookup::New(earlier) => earlier,
        Lookup::Done(stored) => return Ok(Admitted::Duplicate(stored)),
        Lookup::InFlight => return Ok(Admitted::InFlight),
    };
    // What the list says now may not be what came then.
    if let Some(StoredFile { path, bytes, other_digest: None, .. }) = &earlier
        && existing == Existing::Keep
        && size(path) == Some(*bytes)
    {
        return Ok(Admitted::Saved(path.clone()));
    }
    // Another row's file is not this one's to replace.
    let earlier = earlier.filter(|stored| stored.is_own);
    let publish = match (&earlier, existing) {
        (_, Existing::Replace) => OnConflict::Replace,
        // What an earlier run wrote for this URL is fetchimg's to replace. A link or a folder in its place is
        // somebody else's, and where there is nothing, nothing is replaced.
        (Some(earlier), Existing::Keep | Existing::Refresh) if size(&earlier.path).is_some() => OnConflict::Replace,
        _ => OnConflict::Keep,
    };
    let (name, replaces) = match earlier {
        // The names that are asked for now may be others.
        Some(stored) if existing == Existing::Replace => {
            (namer.reserve_instead(job, &stored.path), Some((stored.path, stored.bytes)))
        }
        Some(stored) => (namer.again(stored.path), None),
        None => (namer.reserve(job), None),
    };
    Ok(Admitted::Fetch { name, publish, replaces })
}
