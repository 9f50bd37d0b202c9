//! Reads the output folder without changing it, for a run and for a dry run (`--dry-run`).

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::state_folder;
use super::wal::{self, FileMark};
use crate::record::RunError;
use crate::util::{private_file, real_path};

/// A view of the output folder, which need not exist, and of where fetchimg keeps its own files for it.
///
/// A symbolic link is taken neither for a file nor for a folder, because it may lead anywhere.
#[derive(Clone, Debug)]
pub struct FolderView {
    root: PathBuf,
    /// The folder that has fetchimg's own files instead (`--state`).
    state: Option<PathBuf>,
    /// The folder was missing, or there was nothing in it except fetchimg's own files.
    was_empty: bool,
}

impl FolderView {
    /// Checks whether this can be an output folder, with this state folder if there is one.
    ///
    /// # Errors
    /// When one of them is not a folder, or the state folder is that of another output folder, so that a run could not
    /// begin.
    pub fn open(root: &Path, state: Option<&Path>) -> Result<Self, RunError> {
        let hidden = root.join(private_file::FOLDER);
        let refuse_file = |path: &Path, found: io::Result<fs::Metadata>| match found {
            Ok(found) if !found.is_dir() => Err(RunError::Output { path: path.to_owned(), source: not_a_folder() }),
            _ => Ok(()),
        };
        refuse_file(root, fs::metadata(root))?;
        refuse_file(&hidden, fs::symlink_metadata(&hidden))?;
        if let Some(state) = state {
            refuse_file(state, fs::metadata(state))?;
            state_folder::check(state, root)?;
        }
        let view = Self { root: root.to_owned(), state: state.map(Path::to_owned), was_empty: false };
        Ok(view.looked_at_again())
    }

    /// The output folder that a state folder serves, if it serves one.
    #[must_use]
    pub fn output_of_state(state: &Path) -> Option<PathBuf> {
        state_folder::output_of(state).ok().flatten()
    }

    /// The same view, with what is in the folder now.
    pub(super) fn looked_at_again(mut self) -> Self {
        let is_other = |entry: fs::DirEntry| !private_file::is_own_name(&entry.file_name());
        self.was_empty = match fs::read_dir(&self.root) {
            Ok(entries) => !entries.flatten().any(is_other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            // What cannot be listed may hold anything.
            Err(_) => false,
        };
        self
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether fetchimg's own files are not in the output folder (`--state`).
    pub(super) const fn has_state(&self) -> bool {
        self.state.is_some()
    }

    /// Where the journal is written. To read it without a run, use [`FolderView::journal_to_read`].
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state
            .as_ref()
            .map_or_else(|| self.root.join(private_file::JOURNAL), |state| state.join(state_folder::JOURNAL))
    }

    /// Removes fetchimg's own files if they say nothing: the journal is empty, and no earlier run has left its times. To be
    /// called while the folder is locked. What cannot be removed is used by the next run.
    pub fn remove_unused(&self) {
        let is_empty = fs::symlink_metadata(self.journal()).is_ok_and(|found| found.is_file() && found.len() == 0);
        if is_empty && !self.runs().exists() {
            let _ = fs::remove_file(self.journal());
            if let Some(state) = &self.state {
                state_folder::release(state);
            }
        }
    }

    /// The file with the times of earlier runs.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.state.as_ref().map_or_else(|| self.root.join(private_file::RUNS), |state| state.join(state_folder::RUNS))
    }

    /// The folder with the files of a run that goes on: the lock, part files, the write-ahead log.
    pub(super) fn work_folder(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| self.hidden_folder())
    }

    /// The path of something in the folder of a run that goes on.
    #[must_use]
    pub fn work(&self, name: &str) -> PathBuf {
        self.work_folder().join(name)
    }

    /// The hidden folder inside the output folder. With `--state` it is there only while something has to be on the file
    /// system of the images.
    pub(super) fn hidden_folder(&self) -> PathBuf {
        self.root.join(private_file::FOLDER)
    }

    /// The path of something in the hidden folder.
    pub(super) fn hidden(&self, name: &str) -> PathBuf {
        self.hidden_folder().join(name)
    }

    /// Whether the path is that of one of fetchimg's own files, or would be among them. Nothing need be there yet.
    #[must_use]
    pub fn is_private(&self, path: &Path) -> bool {
        let Ok(path) = real_path(path) else { return false };
        let is_below = |folder: &Path| real_path(folder).is_ok_and(|folder| path.starts_with(folder));
        let is_own = path.file_name().is_some_and(private_file::is_own_name);
        let is_in_root = || real_path(&self.root).is_ok_and(|root| path.parent() == Some(&root));
        is_below(&self.hidden_folder()) || (is_own && is_in_root()) || self.state.as_deref().is_some_and(is_below)
    }

    /// Whether names in the folder that differ in upper and lower case alone are those of one file. Where nothing is there
    /// that shows it, they are taken to be.
    #[must_use]
    pub fn ignores_case(&self) -> bool {
        let identity = |name: &str| {
            let found = fs::symlink_metadata(self.root.join(name)).ok();
            found.map(|found| (found.dev(), found.ino()))
        };
        let own = [private_file::FOLDER, private_file::JOURNAL].into_iter();
        let mut found = own.filter_map(|name| Some((identity(name)?, identity(&name.to_ascii_uppercase()))));
        found.next().is_none_or(|(found, other)| other == Some(found))
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
        let mut entries = Vec::new();
        for folder in self.logs() {
            let found = wal::read(&folder, boot).map_err(|source| RunError::Output { path: folder, source })?;
            entries.extend(found);
        }
        let is_published = |entry: &wal::EarlierEntry| {
            let found =
                entry.file().and_then(|(path, bytes)| self.metadata(&path).filter(|found| found.len() == bytes));
            found.is_some_and(|found| FileMark::of(&found) == entry.mark)
        };
        // Several rows may have one file, as under `{sha256}`. With `--overwrite`, each of them puts the same content in its
        // place, and only the last one is marked.
        let published = entries.iter().filter(|entry| is_published(entry)).filter_map(wal::EarlierEntry::content);
        let published = published.collect::<HashSet<_>>();
        let is_there = |entry: &wal::EarlierEntry| {
            is_published(entry) || entry.content().is_some_and(|content| published.contains(&content))
        };
        Ok(entries.iter().filter(|entry| is_there(entry)).map(|entry| entry.record.clone()).collect())
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
    fn own_files_are_private_before_they_are_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let (root, state) = (dir.path().join("images"), dir.path().join("state"));
        for is_made in [false, true] {
            let view = FolderView::open(&root, Some(&state)).expect("open");
            for own in ["images/.fetchimg/r.json", "images/.fetchimg.jsonl", "state/r.json", "state/below/r.json"] {
                assert!(view.is_private(&dir.path().join(own)), "{own} {is_made}");
            }
            for other in ["images/r.json", "images/below/.fetchimg.jsonl", "r.json", "state.json", "below/r.json"] {
                assert!(!view.is_private(&dir.path().join(other)), "{other} {is_made}");
            }
            let link = dir.path().join("link");
            if is_made {
                std::os::unix::fs::symlink(root.join(private_file::FOLDER), &link).expect("a link");
                assert!(view.is_private(&link.join("r.json")), "by another name");
            }
            for folder in [&root.join(private_file::FOLDER), &state] {
                fs::create_dir_all(folder).expect("a folder");
            }
        }
    }

    #[test]
    fn an_entry_of_the_log_counts_if_exactly_its_file_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let view = FolderView::open(folder.path(), None).expect("open");
        fs::create_dir(folder.path().join(private_file::FOLDER)).expect("a folder");
        let wal = Wal::new(view.work(wal::FOLDER), Some("boot"), false);
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
            (FileMark { inode: 2, modified: 1 }, br#"{"url":"1","path":"shared.png","bytes":5,"sha256":"a"}"#),
            (mark("shared.png"), br#"{"url":"2","path":"shared.png","bytes":5,"sha256":"a"}"#),
            (FileMark { inode: 3, modified: 1 }, br#"{"url":"3","path":"shared.png","bytes":5,"sha256":"b"}"#),
        ] {
            std::mem::forget(wal.append(mark, record).expect("append"));
        }
        fs::remove_file(folder.path().join("gone.png")).expect("remove");
        // The file that two rows share was put there twice, with the same content.
        let shared = ["1", "2"].map(|url| format!(r#"{{"url":"{url}","path":"shared.png","bytes":5,"sha256":"a"}}"#));
        let expected = [there.to_vec(), shared[0].clone().into_bytes(), shared[1].clone().into_bytes()];
        assert_eq!(view.unrecorded(Some("boot")).expect("read"), expected);
        assert!(view.unrecorded(Some("another boot")).expect("read").is_empty());
    }
}
