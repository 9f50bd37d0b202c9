//! Counts the records that name each file, so that a file is removed only when no record names it any more
//! (`--overwrite`).
//!
//! Only living records count: the last one of each row that says where its image is. A file may be named by several
//! rows, as under `{sha256}`, and each of them is fetched anew at its own time, or not at all.

use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;

use crate::util::compact_table::CompactTable;
use crate::util::lock;

/// Set in a count if fetchimg wrote the file, and did not only find the same bytes there.
const IS_OWN: u64 = 1;

/// One record, in a count.
const ONE: u64 = 2;

/// The largest count that fits into the table.
const MAX: u64 = u32::MAX as u64;

/// The number of living records for each path, in 10 bytes each. If two paths have the same hash, a file is kept that
/// no record names, and nothing worse happens.
#[derive(Debug, Default)]
pub struct NameCounts {
    hasher: RandomState,
    table: Mutex<CompactTable<6, 4>>,
}

impl NameCounts {
    /// Counts a record that names this file. `is_own`: fetchimg wrote the file. Returns whether no other record names
    /// it.
    pub fn add(&self, path: &str, is_own: bool) -> bool {
        let key = self.key(path);
        let mut table = lock(&self.table);
        let before = table.get(key).unwrap_or(0);
        table.set(key, (before + ONE).min(MAX) | if is_own { IS_OWN } else { 0 });
        before == 0
    }

    /// Takes back one [`NameCounts::add`]. If no record names the file now, calls `unnamed` with whether fetchimg wrote
    /// the file; no record can begin to name it until that returns.
    pub fn release(&self, path: &str, unnamed: impl FnOnce(bool)) {
        let key = self.key(path);
        let mut table = lock(&self.table);
        let Some(count) = table.get(key) else { return };
        if count < 2 * ONE {
            table.remove(key, count);
            unnamed(count & IS_OWN != 0);
        } else if count < MAX {
            table.set(key, count - ONE);
        }
    }

    /// Paths that may be the same file on a file system that ignores case have the same key.
    fn key(&self, path: &str) -> u64 {
        if path.is_ascii() {
            return self.hasher.hash_one(path.to_ascii_lowercase());
        }
        self.hasher.hash_one(path.to_lowercase().to_uppercase().to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_unnamed_when_its_last_record_is_gone() {
        let names = NameCounts::default();
        let release = |path: &str| {
            let mut unnamed = None;
            names.release(path, |is_own| unnamed = Some(is_own));
            unnamed
        };
        assert_eq!(release("a.png"), None, "nothing was known of it");
        assert!(names.add("a.png", true));
        assert!(!names.add("a.png", false));
        assert!(!names.add("A.PNG", false), "it may be the same file");
        assert!(names.add("b.png", false));
        assert_eq!([release("a.png"), release("a.png"), release("A.png")], [None, None, Some(true)]);
        assert_eq!(release("a.png"), None);
        assert_eq!(release("b.png"), Some(false), "fetchimg did not write it");
        assert!(names.add("a.png", false), "it is as if it had never been there");
        assert_eq!(release("a.png"), Some(false));
    }

    #[test]
    fn any_number_of_records_may_name_a_file() {
        let names = NameCounts::default();
        for _ in 0..1000 {
            names.add("ä.png", true);
        }
        let mut unnamed = 0;
        (0..1000).for_each(|_| names.release("Ä.png", |_| unnamed += 1));
        assert_eq!(unnamed, 1);
    }
}
