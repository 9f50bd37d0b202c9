//! Sets old files aside whose names new images get while records of other rows name them (`--overwrite`).
//!
//! A run gives all names anew, so a new image may get the name of a file that belongs to another row, which is fetched
//! later, fails, or is not in the list. Such a file gets a second name first, `.fetchimg/aside/END/PATH`, in the output
//! folder even with `--state`, because a file system has no names of files that are on another one. PATH is the
//! name that it had, and END the length of the journal when the pass began, in bytes. That says everything, whenever
//! the run is killed: the records before END that name PATH mean this file, and later ones the file at PATH.
//!
//! It is removed when the last of these rows is saved anew. What is left at the end of a pass, or of a killed run, gets
//! another name and new records (see `crate::run::asides`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::publish::Published;
use super::wal::{FileMark, WalEntry};
use super::{Folder, FolderView};
use crate::util::private_file::{self, remove_if_there};
use crate::util::redact::escaped;

/// The name of the folder, inside the hidden folder.
const FOLDER: &str = "aside";

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Records before this offset of the journal mean this file if they name `path`, and later ones do not.
    pub journal_end: u64,
    /// The path that the file had.
    pub path: String,
}

impl Aside {
    /// Where the file is, relative to the output folder.
    pub(super) fn location(&self) -> String {
        format!("{}/{FOLDER}/{}/{}", private_file::FOLDER, self.journal_end, self.path)
    }
}

impl Folder {
    /// Sets a file aside that records of other rows name. Returns whether there is one. The file keeps its name, if the
    /// file system has hard links, until another file gets it.
    pub(super) fn set_aside(&self, path: &str) -> io::Result<bool> {
        if self.view.metadata(path).is_none() {
            return Ok(false);
        }
        let location = self.aside(path).location();
        let (from, to) = (self.view.root().join(path), self.view.root().join(&location));
        let link = || match fs::hard_link(&from, &to) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) => {
                fs::rename(&from, &to)
            }
            linked => linked,
        };
        match link() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folders(&location)?;
                link()?;
            }
            linked => linked?,
        }
        self.sync_folders_of(&location)?;
        Ok(true)
    }

    /// Gives a file that was set aside its name again, because no other file got it.
    pub(super) fn take_back(&self, path: &str) {
        let aside = self.aside(path);
        let (from, to) = (self.view.root().join(aside.location()), self.view.root().join(path));
        let is_back = self.is_in_place(&aside) || fs::rename(&from, &to).is_ok();
        if is_back {
            self.remove_if_aside(&aside);
        } else {
            // It gets another name at the end of the pass.
            tracing::warn!(target: "fetchimg", "Cannot put back {}", escaped(path));
        }
    }

    /// Removes a file that was set aside, because no record names it any more.
    pub(super) fn remove_aside(&self, path: &str) {
        self.remove_if_aside(&self.aside(path));
    }

    pub(super) fn aside(&self, path: &str) -> Aside {
        Aside { journal_end: self.journal_end.load(Ordering::Relaxed), path: path.to_owned() }
    }

    /// At most `limit` of the files that are set aside, all with the same `journal_end`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn asides(&self, limit: usize) -> io::Result<Vec<Aside>> {
        let root = self.view.hidden(FOLDER);
        for folder in entries(&root)? {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(journal_end) = name.parse() else { continue };
            let mut paths = Vec::new();
            collect(&folder, "", limit, &mut paths)?;
            if !paths.is_empty() {
                return Ok(paths.into_iter().map(|path| Aside { journal_end, path }).collect());
            }
        }
        Ok(Vec::new())
    }

    /// Whether a run that was killed has set a file aside that had this path.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn is_aside(&self, path: &str) -> io::Result<bool> {
        Ok(entries(&self.view.hidden(FOLDER))?.iter().any(|folder| folder.join(path).is_file()))
    }

    /// Whether the file is under its name, too: the run ended before another file got that name.
    #[must_use]
    pub fn is_in_place(&self, aside: &Aside) -> bool {
        let file = |path: &str| self.view.metadata(path).map(|found| (found.dev(), found.ino()));
        file(&aside.path).is_some_and(|found| file(&aside.location()) == Some(found))
    }

    /// Gives a file that was set aside another visible name, which its `records` have already. They are written to the
    /// write-ahead log first, so that a run that is killed is continued: the entries are to be released when the records
    /// are in the journal. `None` if that name is taken. The file is not removed from where it is set aside.
    ///
    /// # Errors
    /// When the records or the file cannot be written.
    pub fn show_aside(&self, aside: &Aside, name: &str, records: &[Vec<u8>]) -> io::Result<Option<Vec<WalEntry>>> {
        let from = self.view.root().join(aside.location());
        let file = File::open(&from)?;
        let mark = FileMark::of(&file.metadata()?);
        let noted = records.iter().map(|record| self.wal.append(mark, record)).collect::<io::Result<Vec<_>>>()?;
        self.make_folders(name)?;
        if super::publish::rename_new(&from, &self.view.root().join(name))? == Published::NameTaken {
            noted.into_iter().for_each(WalEntry::release);
            return Ok(None);
        }
        self.sync_file(&file)?;
        self.sync_folders_of(name)?;
        Ok(Some(noted))
    }

    /// Removes a file that no record names, under both of its names.
    pub fn discard_aside(&self, aside: &Aside) {
        if self.is_in_place(aside)
            && let Some(bytes) = self.view.size(&aside.path)
        {
            self.remove(&aside.path, bytes);
        }
        self.remove_if_aside(aside);
    }

    /// Removes a file from where it is set aside, if it is there.
    pub fn remove_if_aside(&self, aside: &Aside) {
        let location = aside.location();
        let path = self.view.root().join(&location);
        if let Err(error) = remove_if_there(&path).and_then(|()| self.sync_folders_of(&location)) {
            tracing::warn!(target: "fetchimg", "Cannot remove {}: {error}", escaped(&path.to_string_lossy()));
        }
    }

    /// Removes the folders of files that were set aside, as far as they are empty.
    pub fn remove_empty_aside_folders(&self) {
        remove_empty(&self.view.hidden(FOLDER));
    }
}

impl FolderView {
    /// Whether a run that was killed has set files aside.
    pub(super) fn has_asides(&self) -> bool {
        let mut found = Vec::new();
        let folders = entries(&self.hidden(FOLDER)).unwrap_or_default();
        folders.iter().any(|folder| collect(folder, "", 1, &mut found).is_err() || !found.is_empty())
    }
}

/// The entries of a folder; none if it is not there, or is not a folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect(),
        Ok(_) => Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Adds the paths of the regular files in a folder, relative to where the search began, until there are `limit`. What
/// cannot be part of a path is not from fetchimg, and is left alone.
fn collect(folder: &Path, above: &str, limit: usize, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if paths.len() >= limit {
            return Ok(());
        }
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if above.is_empty() { name } else { format!("{above}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &path, limit, paths)?;
        } else if kind.is_file() && crate::record::is_plain_path(&path) {
            paths.push(path);
        }
    }
    Ok(())
}

/// Removes a folder and those in it, as far as they are empty.
fn remove_empty(folder: &Path) {
    for entry in entries(folder).unwrap_or_default() {
        remove_empty(&entry);
    }
    // It is not empty, or is not a folder.
    let _ = fs::remove_dir(folder);
}
