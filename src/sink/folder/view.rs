//! Reads the output folder without changing it, for a run and for a dry run (`--dry-run`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::wal::{self, FileMark};
use crate::record::RunError;
use crate::util::private_file;

/// A view of the output folder, which need not exist.
///
/// A symbolic link is taken neither for a file nor for a folder, because it may lead anywhere.
#[derive(Clone, Debug)]
pub struct FolderView {
    root: PathBuf,
    /// The folder was missing, or there was nothing in it except the private folder.
    was_empty: bool,
}

impl FolderView {
    /// Checks whether this can be an output folder.
    ///
    /// # Errors
    /// When it is not a folder, so that a run could not begin.
    pub fn open(root: &Path) -> Result<Self, RunError> {
        let private = root.join(private_file::FOLDER);
        let refuse_file = |path: &Path, found: io::Result<fs::Metadata>| match found {
            Ok(found) if !found.is_dir() => Err(RunError::Output { path: path.to_owned(), source: not_a_folder() }),
            _ => Ok(()),
        };
        refuse_file(root, fs::metadata(root))?;
        refuse_file(&private, fs::symlink_metadata(&private))?;
        let is_other = |entry: fs::DirEntry| entry.file_name() != private_file::FOLDER;
        let was_empty = match fs::read_dir(root) {
            Ok(entries) => !entries.flatten().any(is_other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            // What cannot be listed may hold anything.
            Err(_) => false,
        };
        Ok(Self { root: root.to_owned(), was_empty })
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a file in the private folder.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(private_file::FOLDER).join(name)
    }

    /// Whether the path leads into the private folder.
    #[must_use]
    pub fn is_private(&self, path: &Path) -> bool {
        let private = self.root.join(private_file::FOLDER).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// The metadata of the regular file of that name, if there is one.
    #[must_use]
    pub fn metadata(&self, path: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file)
    }

    /// The size in bytes of the regular file of that name, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.metadata(path).map(|found| found.len())
    }

    /// Whether the name is known to be taken, by a file or anything else. In a folder that was empty nothing is looked
    /// up, because each name is given only once, and publishing never overwrites a file by accident.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        !self.was_empty && fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// The records, as lines of the journal, of files that killed runs published. They may not be in the journal yet.
    /// `boot` is the current boot (see [`boot_id`](crate::util::boot_id)).
    ///
    /// # Errors
    /// When the write-ahead log cannot be read.
    pub fn unrecorded(&self, boot: Option<&str>) -> Result<Vec<Vec<u8>>, RunError> {
        let folder = self.private(wal::FOLDER);
        let entries = wal::read(&folder, boot).map_err(|source| RunError::Output { path: folder, source })?;
        let is_published = |entry: &wal::EarlierEntry| {
            let found =
                entry.file().and_then(|(path, bytes)| self.metadata(&path).filter(|found| found.len() == bytes));
            found.is_some_and(|found| FileMark::of(&found) == entry.mark)
        };
        Ok(entries.into_iter().filter(is_published).map(|entry| entry.record).collect())
    }
}

/// The error for a file or a link where a folder should be.
pub(super) fn not_a_folder() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one")
}

#[cfg(test)]
mod tests {
    use super::super::wal::Wal;
    use super::*;

    #[test]
    fn an_entry_of_the_log_counts_if_exactly_its_file_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let view = FolderView::open(folder.path()).expect("open");
        fs::create_dir(folder.path().join(private_file::FOLDER)).expect("a folder");
        let wal = Wal::new(view.private(wal::FOLDER), Some("boot"), false);
        let mark = |name: &str| {
            fs::write(folder.path().join(name), "12345").expect("write");
            FileMark::of(&view.metadata(name).expect("the file"))
        };
        let there = br#"{"path":"there.png","bytes":5}"#;
        for (mark, record) in [
            (mark("there.png"), &there[..]),
            (mark("shorter.png"), br#"{"path":"shorter.png","bytes":6}"#),
            (mark("gone.png"), br#"{"path":"gone.png","bytes":5}"#),
            (FileMark { inode: 1, ..mark("other.png") }, br#"{"path":"other.png","bytes":5}"#),
            (mark("outside.png"), br#"{"path":"../outside.png","bytes":5}"#),
        ] {
            std::mem::forget(wal.append(mark, record).expect("append"));
        }
        fs::remove_file(folder.path().join("gone.png")).expect("remove");
        assert_eq!(view.unrecorded(Some("boot")).expect("read"), [there.to_vec()]);
        assert!(view.unrecorded(Some("another boot")).expect("read").is_empty());
    }
}
