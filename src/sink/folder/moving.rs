//! Gives the files of rows the names that the list gives now (`--rename`).
//!
//! Rows may change places in any way, so a new name is often that of another row's file, which gets its own new name
//! later. Such a file is set aside first, as with `--overwrite` (see `aside`), and is moved from there.
//!
//! The order makes a kill at any moment harmless: the record with the new name is in the write-ahead log, with the mark of
//! the file, before the file has that name. Then the file gets a second name, so that it is never without one, and loses
//! the old one when no record names it. What is set aside is settled by the next run, with or without `--rename`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use super::Folder;
use super::publish::Linked;
use super::wal::{FileMark, WalEntry};
use crate::sink::OnConflict;

/// How giving a file another name ended.
#[derive(Debug)]
pub enum Moved {
    /// The file has the new name. The entry is to be released when its record is in the journal.
    Done(WalEntry),
    /// The file keeps its name: another file has the new one and stays, or the file is not what its record says.
    Kept,
}

/// The file that gets another name.
#[derive(Clone, Copy, Debug)]
pub struct MovedFile<'a> {
    /// The path in its record.
    pub from: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// The new path.
    pub to: &'a str,
    /// The new path holds the SHA-256 of the file, so what is there already is the same.
    pub is_content_addressed: bool,
    /// Its record with the new path.
    pub record: &'a [u8],
}

/// Where the file is now.
struct Source {
    /// Relative to the output folder.
    location: String,
    found: Metadata,
    /// Whether it can be moved where it cannot be linked: no other record names it.
    is_alone: bool,
    /// Its name and the new one differ in upper and lower case alone.
    changes_case: bool,
}

impl Folder {
    /// Gives a file another name. The old name is to be released by [`Folder::release`] then. Works only after
    /// [`Folder::count_names`].
    ///
    /// # Errors
    /// When the record or the file cannot be written.
    pub fn move_file(&self, file: MovedFile<'_>) -> io::Result<Moved> {
        let Some(names) = &self.names else { return Ok(Moved::Kept) };
        let MovedFile { from, bytes, to, .. } = file;
        // Another row may have got its name already.
        let is_aside = names.is_aside(from);
        let location = if is_aside { self.aside(from).location() } else { from.to_owned() };
        let Some(found) = self.view.metadata(&location).filter(|found| found.len() == bytes) else {
            return Ok(Moved::Kept);
        };
        let changes_case = !is_aside && names.have_one_count(from, to);
        let source = Source { location, found, is_alone: is_aside || names.has_one_record(from), changes_case };
        let (mut is_named, mut was_set_aside) = (false, false);
        names.claim(to, changes_case, || {
            is_named = true;
            was_set_aside = self.set_aside(to)?;
            Ok(was_set_aside)
        })?;
        let replaces = was_set_aside || (file.is_content_addressed && self.view.size(to) == Some(bytes));
        let on_conflict = if replaces { OnConflict::Replace } else { OnConflict::Keep };
        // A record names a file that is gone: its row is fetched again, under that name.
        let is_missing = is_named && !was_set_aside;
        let noted = if is_missing { Ok(None) } else { self.give_name(&source, to, on_conflict, file.record) };
        match noted {
            Ok(Some(noted)) => Ok(Moved::Done(noted)),
            kept => {
                names.withdraw(to, || self.take_back(to));
                kept.map(|_| Moved::Kept)
            }
        }
    }

    /// Writes the record to the write-ahead log, and gives the file a second name. `None` if it cannot have that name.
    fn give_name(
        &self,
        source: &Source,
        to: &str,
        on_conflict: OnConflict,
        record: &[u8],
    ) -> io::Result<Option<WalEntry>> {
        let Source { location, found, is_alone, changes_case } = source;
        match self.make_folders(to) {
            // Some other file is where a folder would be.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            made => made?,
        }
        let noted = self.wal.append(FileMark::of(found), record)?;
        let there = fs::symlink_metadata(self.view.root().join(to));
        let is_same = |other: &Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
        let may_move = on_conflict == OnConflict::Replace || there.as_ref().map_or(true, is_same);
        let mut linked = Linked::Impossible;
        // Where case does not count, a second name would be the first one.
        if !(*changes_case && may_move) {
            linked = self.link((location, found), to, on_conflict)?;
        }
        // Without hard links the file is moved.
        if linked == Linked::Impossible && *is_alone && may_move {
            fs::rename(self.view.root().join(location), self.view.root().join(to))?;
            self.sync_folders_of(to)?;
            self.sync_folders_of(location)?;
            linked = Linked::Done;
        }
        if linked == Linked::Done {
            return Ok(Some(noted));
        }
        noted.release();
        Ok(None)
    }
}
