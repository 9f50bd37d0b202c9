//! Which names are taken, from the records of earlier runs.

use crate::journal::{AdoptedFile, EarlierFile, Naming};
use crate::naming::Namer;
use crate::sink::folder::names::NameCounts;

/// Follows the records of earlier runs, and marks as taken the names that living ones have: the last record of each
/// row.
pub struct TakenNames<'a> {
    /// Where names are marked.
    pub namer: &'a mut Namer,
    /// The records that name each file, where it matters that superseded records are dead (`--overwrite`). Elsewhere
    /// all names that were ever given stay taken, which costs no memory.
    pub counts: Option<NameCounts>,
}

impl TakenNames<'_> {
    /// Takes what a record of an earlier run says.
    pub fn follow(&mut self, naming: Naming) {
        match (naming, &self.counts) {
            (Naming::Named { file, is_own }, Some(counts)) => {
                if counts.add(file.path, is_own) {
                    self.namer.mark_taken(file.path);
                }
            }
            (Naming::Named { file, is_own: true }, None) => self.namer.mark_taken(file.path),
            (Naming::Superseded(path), Some(counts)) => counts.release(path, |_| self.namer.mark_free(path)),
            (Naming::Named { .. } | Naming::Superseded(_), None) => {}
        }
    }

    /// Takes the record of a file that a killed run published without recording it. `remove` is called with the path
    /// and the size in bytes of the file that the row had before, if no record names it any more.
    pub fn adopt(&mut self, adopted: &AdoptedFile, remove: impl FnOnce(&str, u64)) {
        let AdoptedFile { path, sha256, superseded } = adopted;
        let file = EarlierFile { path, sha256: sha256.as_deref() };
        self.follow(Naming::Named { file, is_own: true });
        if let (Some(old), Some(counts)) = (superseded, &self.counts) {
            counts.release(&old.path, |is_own| {
                self.namer.mark_free(&old.path);
                if is_own {
                    remove(&old.path, old.bytes);
                }
            });
        }
    }
}
