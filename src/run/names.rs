//! Which names are taken, and which records name each file, from the records of earlier runs.

use crate::journal::{AdoptedFile, EarlierFile, Naming, StoredFile};
use crate::naming::Namer;
use crate::sink::folder::names::{NameCounts, Unnamed};

/// Follows the records of earlier runs.
pub struct TakenNames<'a> {
    /// Where the names of earlier runs are marked as taken; `None` if all names are given anew (`--overwrite`).
    pub namer: Option<&'a mut Namer>,
    /// The living records that name each file, where files are removed that no record names. A record is living until
    /// a later one of its row says that the row has another file.
    pub counts: Option<NameCounts>,
}

impl TakenNames<'_> {
    /// Takes what a record of an earlier run says.
    pub fn follow(&mut self, naming: Naming) {
        match naming {
            Naming::Named { file, is_own } => {
                if let Some(counts) = &self.counts {
                    counts.add(file.path, is_own);
                }
                if is_own {
                    self.mark_taken(file.path);
                }
            }
            Naming::Superseded(path) => {
                if let Some(counts) = &self.counts {
                    counts.release(path, |_| ());
                }
            }
        }
    }

    /// Marks the name of a file as taken, unless names are given anew.
    pub fn mark_taken(&mut self, path: &str) {
        if let Some(namer) = &mut self.namer {
            namer.mark_taken(path);
        }
    }

    /// Takes the record of a file that a killed run published without recording it. Returns the file that the row had
    /// before, which is to be released when all these records are taken: another of them may name it.
    pub fn adopt(&mut self, adopted: AdoptedFile) -> Option<StoredFile> {
        let AdoptedFile { path, sha256, superseded } = adopted;
        let file = EarlierFile { path: &path, sha256: sha256.as_deref() };
        self.follow(Naming::Named { file, is_own: true });
        superseded
    }

    /// Takes back the record of the file that a row had before. `remove` is called with the path and the size in bytes
    /// of the file, if no record names it any more and fetchimg wrote it.
    pub fn release(&self, file: &StoredFile, remove: impl FnOnce(&str, u64)) {
        if let Some(counts) = &self.counts {
            counts.release(&file.path, |unnamed| {
                if unnamed == (Unnamed::InPlace { is_own: true }) {
                    remove(&file.path, file.bytes);
                }
            });
        }
    }

    /// Takes what [`super::asides::settle`] says: the file of a record has another name now.
    pub fn follow_move(&mut self, old: &str, new: &str) {
        if let Some(counts) = &self.counts {
            counts.release(old, |_| ());
            counts.add(new, true);
        }
        self.mark_taken(new);
    }
}
