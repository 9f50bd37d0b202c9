//! The output folder, read and not touched: what a rehearsal (`--dry-run`) and a run have in common.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::wal::{self, Mark};
use crate::record::RunError;
use crate::util::private_file;

/// What is in the output folder. It need not be there.
///
/// A symbolic link in the place of a file or a folder may lead anywhere, and is taken for neither.
#[derive(Clone, Debug)]
pub struct FolderView {
    root: PathBuf,
    /// There was nothing in it but what is fetchimg's own.
    was_empty: bool,
}

impl FolderView {
    /// Looks whether this can be an output folder.
    ///
    /// # Errors
    /// When it cannot: a run would not begin.
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

    /// A file of fetchimg's own inside the output folder.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(private_file::FOLDER).join(name)
    }

    /// Whether the path leads to what is fetchimg's own.
    #[must_use]
    pub fn is_private(&self, path: &Path) -> bool {
        let private = self.root.join(private_file::FOLDER).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// What the system says about the regular file of that name, if there is one.
    #[must_use]
    pub fn metadata(&self, path: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file)
    }

    /// The size in bytes of the regular file of that name, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.metadata(path).map(|found| found.len())
    }

    /// Whether the name is known to be taken, by whatever. In a folder that was empty nothing is looked up: every name is
    /// given once, and publishing looks in any case.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        !self.was_empty && fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// The records of files that a killed run published and whose records did not reach its journal, as the journal would
    /// hold them. `boot`: see [`boot_id`](crate::util::boot_id).
    ///
    /// # Errors
    /// When what the run had noted cannot be read.
    pub fn unrecorded(&self, boot: Option<&str>) -> Result<Vec<Vec<u8>>, RunError> {
        let folder = self.private(wal::FOLDER);
        let noted = wal::read(&folder, boot).map_err(|source| RunError::Output { path: folder, source })?;
        let is_there = |noted: &wal::Noted| {
            let found =
                noted.file().and_then(|(path, bytes)| self.metadata(&path).filter(|found| found.len() == bytes));
            found.is_some_and(|found| Mark::of(&found) == noted.mark)
        };
        Ok(noted.into_iter().filter(is_there).map(|noted| noted.record).collect())
    }
}

/// What is said of a file, or a link, in the place of a folder.
pub(super) fn not_a_folder() -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one")
}

#[cfg(test)]
mod tests {
    use super::super::wal::Wal;
    use super::*;

    #[test]
    fn a_noted_record_counts_if_its_very_file_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let view = FolderView::open(folder.path()).expect("open");
        fs::create_dir(folder.path().join(private_file::FOLDER)).expect("a folder");
        let wal = Wal::new(view.private(wal::FOLDER), Some("boot"), false);
        let mark = |name: &str| {
            fs::write(folder.path().join(name), "12345").expect("write");
            Mark::of(&view.metadata(name).expect("the file"))
        };
        let there = br#"{"path":"there.png","bytes":5}"#;
        for (mark, record) in [
            (mark("there.png"), &there[..]),
            (mark("shorter.png"), br#"{"path":"shorter.png","bytes":6}"#),
            (mark("gone.png"), br#"{"path":"gone.png","bytes":5}"#),
            (Mark { inode: 1, ..mark("other.png") }, br#"{"path":"other.png","bytes":5}"#),
            (mark("outside.png"), br#"{"path":"../outside.png","bytes":5}"#),
        ] {
            std::mem::forget(wal.append(mark, record).expect("append"));
        }
        fs::remove_file(folder.path().join("gone.png")).expect("remove");
        assert_eq!(view.unrecorded(Some("boot")).expect("read"), [there.to_vec()]);
        assert!(view.unrecorded(Some("another boot")).expect("read").is_empty());
    }
}
