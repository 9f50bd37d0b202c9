//! Counts the records that name each file, so that a file is removed only when no record names it any more, and that
//! no row takes the file of another one away (`--overwrite`).
//!
//! Only living records count: the last one of each row that says where its image is. A file may be named by several
//! rows, as under `{sha256}`, and each of them is fetched anew at its own time, or not at all. Where a new image gets
//! the name of a file that records of other rows still name, that file is set aside first (see `aside`), and
//! these records count for the file that is set aside.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Mutex;

use crate::util::compact_table::CompactTable;
use crate::util::lock;

/// Set in a count if fetchimg wrote the file, and did not only find the same bytes there.
const IS_OWN: u64 = 1;

/// Set in a count if the name was claimed in this pass: then the file under it, if there is one, is a new one.
const IS_CLAIMED: u64 = 2;

/// One record, in a count.
const ONE: u64 = 4;

/// The largest count that fits into the table, without the two marks. It never becomes smaller again.
const MAX: u64 = u32::MAX as u64 & !(IS_OWN | IS_CLAIMED);

/// The number of living records for each path, in 10 bytes each. If two paths have the same hash, a file is kept that
/// no record names, and nothing worse happens.
#[derive(Debug)]
pub struct NameCounts {
    hasher: RandomState,
    /// Whether paths that differ in upper and lower case alone are those of one file.
    ignores_case: bool,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    /// The records that name each file under its name.
    named: CompactTable<6, 4>,
    /// The records that name each file that was set aside, by the path that it had.
    aside: CompactTable<6, 4>,
}

/// A file that no record names any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// The file under the name.
    InPlace {
        /// Whether fetchimg wrote it.
        is_own: bool,
    },
    /// The file that was set aside.
    Aside,
}

impl NameCounts {
    /// No records. `ignores_case`: paths that differ in upper and lower case alone are those of one file, as
    /// [`FolderView::ignores_case`](super::FolderView::ignores_case) says.
    #[must_use]
    pub fn new(ignores_case: bool) -> Self {
        Self { hasher: RandomState::new(), ignores_case, tables: Mutex::default() }
    }

    /// Counts a record that names this file. `is_own`: fetchimg wrote the file.
    pub fn add(&self, path: &str, is_own: bool) {
        let key = self.key(path);
        let named = &mut lock(&self.tables).named;
        let before = named.get(key).unwrap_or(0);
        named.set(key, counted(before) | if is_own { IS_OWN } else { 0 });
    }

    /// Counts the record of a new image that is about to get this name. If records of other rows name the file that
    /// has the name, `set_aside` is called, and returns whether it has set the file aside. `replaces`: one of these
    /// records is of the row of the new image. Must be followed by [`NameCounts::withdraw`] if the image is not stored.
    ///
    /// # Errors
    /// Those of `set_aside`; then nothing is counted.
    pub fn claim(&self, path: &str, replaces: bool, set_aside: impl FnOnce() -> io::Result<bool>) -> io::Result<()> {
        let key = self.key(path);
        let tables = &mut *lock(&self.tables);
        let mut before = tables.named.get(key).unwrap_or(0);
        let others = (before / ONE).saturating_sub(u64::from(replaces));
        // The names of one pass are different, unless they are made of the content. So within a pass, a name that is
        // claimed is that of the same content.
        if before & IS_CLAIMED == 0 && others > 0 && set_aside()? {
            tables.aside.set(key, before);
            before = 0;
        }
        tables.named.set(key, counted(before) | IS_OWN | IS_CLAIMED);
        Ok(())
    }

    /// Takes back a [`NameCounts::claim`]. `take_back` is called if the file that was set aside belongs under the name
    /// again.
    pub fn withdraw(&self, path: &str, take_back: impl FnOnce()) {
        let key = self.key(path);
        let tables = &mut *lock(&self.tables);
        let Some(count) = tables.named.get(key) else { return };
        if count < 2 * ONE {
            tables.named.remove(key, count);
            if let Some(aside) = tables.aside.get(key) {
                tables.aside.remove(key, aside);
                tables.named.set(key, aside);
                take_back();
            }
        } else if count < MAX {
            tables.named.set(key, count - ONE);
        }
    }

    /// Takes back one record that named the file before this pass. If no record names the file now, calls `unnamed`;
    /// no record can begin to name it until that returns.
    pub fn release(&self, path: &str, unnamed: impl FnOnce(Unnamed)) {
        let key = self.key(path);
        let tables = &mut *lock(&self.tables);
        let is_aside = tables.aside.get(key).is_some();
        let table = if is_aside { &mut tables.aside } else { &mut tables.named };
        let Some(count) = table.get(key) else { return };
        if count < 2 * ONE {
            table.remove(key, count);
            unnamed(if is_aside { Unnamed::Aside } else { Unnamed::InPlace { is_own: count & IS_OWN != 0 } });
        } else if count < MAX {
            table.set(key, count - ONE);
        }
    }

    /// Whether the file that had this name when the pass began is set aside.
    pub fn is_aside(&self, path: &str) -> bool {
        lock(&self.tables).aside.get(self.key(path)).is_some()
    }

    /// Whether both paths have one count: they are the same, or differ in upper and lower case alone where that makes no
    /// other file.
    pub fn have_one_count(&self, one: &str, other: &str) -> bool {
        self.key(one) == self.key(other)
    }

    /// Whether a record names a file of this path.
    pub fn is_named(&self, path: &str) -> bool {
        lock(&self.tables).named.get(self.key(path)).is_some()
    }

    /// Whether no more than one record names the file.
    pub fn has_one_record(&self, path: &str) -> bool {
        lock(&self.tables).named.get(self.key(path)).is_none_or(|count| count < 2 * ONE)
    }

    /// Whether a row of this pass has this name, or had it reserved.
    pub fn is_claimed(&self, path: &str) -> bool {
        lock(&self.tables).named.get(self.key(path)).is_some_and(|count| count & IS_CLAIMED != 0)
    }

    /// To be called between two passes, when nothing is set aside any more.
    pub fn end_pass(&self) {
        let tables = &mut *lock(&self.tables);
        tables.named.filter_map_in_place(|count| Some(count & !IS_CLAIMED));
        tables.aside = CompactTable::default();
    }

    /// Paths that may be the same file on a file system that ignores case have the same key there. On others they are two
    /// files, and one of them would be left without a record if both had one count.
    fn key(&self, path: &str) -> u64 {
        if !self.ignores_case {
            return self.hasher.hash_one(path);
        }
        if path.is_ascii() {
            return self.hasher.hash_one(path.to_ascii_lowercase());
        }
        self.hasher.hash_one(path.to_lowercase().to_uppercase().to_lowercase())
    }
}

/// The count with one record more.
fn counted(count: u64) -> u64 {
    if count < MAX { count + ONE } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Releases a record and returns the file that no record names any more.
    fn release(names: &NameCounts, path: &str) -> Option<Unnamed> {
        let mut released = None;
        names.release(path, |unnamed| released = Some(unnamed));
        released
    }

    fn claim(names: &NameCounts, path: &str, replaces: bool, can_be_set_aside: bool) -> bool {
        let mut is_asked = false;
        let set_aside = || {
            is_asked = true;
            Ok(can_be_set_aside)
        };
        names.claim(path, replaces, set_aside).expect("claimed");
        is_asked
    }

    const OWN: Option<Unnamed> = Some(Unnamed::InPlace { is_own: true });

    #[test]
    fn a_file_is_unnamed_when_its_last_record_is_gone() {
        let names = NameCounts::new(true);
        assert_eq!(release(&names, "a.png"), None, "nothing was known of it");
        names.add("a.png", true);
        names.add("a.png", false);
        names.add("A.PNG", false);
        names.add("b.png", false);
        assert_eq!(["a.png", "a.png", "A.png"].map(|path| release(&names, path)), [None, None, OWN], "one file");
        assert_eq!(release(&names, "a.png"), None);
        let theirs = Some(Unnamed::InPlace { is_own: false });
        assert_eq!(release(&names, "b.png"), theirs, "fetchimg did not write it");
        names.add("a.png", false);
        assert_eq!(release(&names, "a.png"), theirs, "it is as if it had never been there");
    }

    #[test]
    fn case_makes_two_files_where_the_file_system_tells_it() {
        let names = NameCounts::new(false);
        names.add("cat.png", true);
        assert!(!claim(&names, "Cat.png", false, true), "it is another file");
        assert_eq!(["cat.png", "cat.png", "Cat.png"].map(|path| release(&names, path)), [OWN, None, OWN]);
    }

    #[test]
    fn any_number_of_records_may_name_a_file() {
        let names = NameCounts::new(true);
        for _ in 0..1000 {
            names.add("ä.png", true);
        }
        let unnamed = (0..1000).filter_map(|_| release(&names, "Ä.png")).count();
        assert_eq!(unnamed, 1);
        assert_eq!([MAX - ONE, MAX, MAX | IS_OWN].map(counted), [MAX, MAX, MAX | IS_OWN]);
    }

    #[test]
    fn the_file_of_another_row_is_set_aside_once() {
        let names = NameCounts::new(true);
        names.add("a.png", true);
        assert!(!claim(&names, "a.png", true, true), "it is that of the row itself");
        assert_eq!(release(&names, "a.png"), None, "its new record names it");
        names.end_pass();
        assert!(claim(&names, "a.png", false, true));
        assert!(!claim(&names, "a.png", false, true), "the second has the same content");
        assert!(names.is_claimed("a.png") && !names.is_claimed("b.png"));
        assert_eq!(release(&names, "a.png"), Some(Unnamed::Aside), "the old file, by the record of its row");
        assert_eq!(release(&names, "a.png"), None);
        assert_eq!(release(&names, "a.png"), OWN, "what was claimed twice is named twice");
    }

    #[test]
    fn what_was_set_aside_for_nothing_is_taken_back() {
        let names = NameCounts::new(true);
        names.add("a.png", true);
        assert!(claim(&names, "a.png", false, true));
        let mut is_back = false;
        names.withdraw("a.png", || is_back = true);
        assert!(is_back && !names.is_claimed("a.png"));
        assert_eq!(release(&names, "a.png"), OWN);
        // The bytes are the same, so nothing is set aside.
        names.add("b.png", true);
        assert!(claim(&names, "b.png", false, false));
        names.withdraw("b.png", || panic!("nothing was set aside"));
        assert_eq!(release(&names, "b.png"), OWN);
        names.claim("b.png", false, || panic!("no record names it")).expect("claimed");
        names.withdraw("b.png", || panic!("nothing was set aside"));
        assert_eq!(release(&names, "b.png"), None);
        // Nothing is counted where the file cannot be set aside.
        names.add("c.png", true);
        names.claim("c.png", false, || Err(io::ErrorKind::Other.into())).expect_err("it fails");
        assert_eq!(release(&names, "c.png"), OWN);
    }
}
