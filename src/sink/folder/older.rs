//! Takes over what versions before 0.2, or runs without `--state`, have left in the output folder.
//!
//! Before 0.2, everything was in the folder `.fetchimg`, which always stayed: the journal `manifest.jsonl`, the times of
//! earlier runs `runs.jsonl`, part files, the write-ahead log, and files that were set aside. The last three have kept
//! their places, so they need nothing: what a killed run of an older version left there is found like that of any other.
//!
//! The two files are renamed, each in one step, so a run that is killed in between has moved one of them or both. On another
//! file system (`--state`) the journal is copied, the copy gets its name when it is complete and on the disk, and then the
//! older one is removed. So both may be there:
//!
//! - The older one may be the beginning of the newer one, or all of it: a run was killed just before the older one was
//!   removed. Then the newer one wins, because it has every record of the other.
//! - The older one may say something else: an older version has worked in the folder again, which does not know of the newer
//!   one. Then both count, and where they contradict each other the older *version* wins, because it wrote last: a journal
//!   that a newer version finds is always moved or removed by it. Its records of saved files are added at the end (see
//!   [`FolderView::records_of_older_version`]), as those of a killed run are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::view::FolderView;
use super::{sync_folder, wal};
use crate::record::RunError;
use crate::util::private_file::{self, remove_if_there};

/// The journal of versions before 0.2, inside the hidden folder.
const JOURNAL: &str = "manifest.jsonl";

/// The times of earlier runs of versions before 0.2, inside the hidden folder.
const RUNS: &str = "runs.jsonl";

/// Where a copy of the journal is written before it gets its name, in the folder of the run.
const COPY: &str = "journal.copy";

impl FolderView {
    /// Where a copy of the journal can be written that is to take its place: on the same file system, and removed by the next
    /// run if this one is killed.
    #[must_use]
    pub fn journal_copy(&self) -> PathBuf {
        self.work(COPY)
    }

    /// Where journals of before may be, in the order in which they were written.
    fn older_places(&self) -> Vec<PathBuf> {
        // With `--state`, a run without it may have been before.
        let without_state = self.has_state().then(|| self.root().join(private_file::JOURNAL));
        without_state.into_iter().chain([self.hidden(JOURNAL)]).collect()
    }

    /// The journals of before that are there, in the order in which they were written.
    fn older_journals(&self) -> Vec<PathBuf> {
        let mut found = self.older_places();
        found.retain(|path| fs::symlink_metadata(path).is_ok());
        found
    }

    /// The journal that is to be read, without changing anything: a run would have moved one of an older version to its
    /// place.
    #[must_use]
    pub fn journal_to_read(&self) -> PathBuf {
        let journal = self.journal();
        if is_empty(&journal) { self.older_journals().into_iter().next().unwrap_or(journal) } else { journal }
    }

    /// The records, as lines of the journal, that an older version has written since the journal was moved to its place.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn records_of_older_version(&self) -> Result<Vec<Vec<u8>>, RunError> {
        let read = self.journal_to_read();
        let mut records = Vec::new();
        for path in self.older_journals().into_iter().filter(|path| *path != read) {
            let fail = |source| RunError::Output { path: path.clone(), source };
            let file = private_file::open(OpenOptions::new().read(true), &path).map_err(fail)?;
            if !is_beginning_of(&file, &read).map_err(fail)? {
                let lines = BufReader::new(&file).split(b'\n').collect::<io::Result<Vec<_>>>();
                records.append(&mut lines.map_err(fail)?);
            }
        }
        Ok(records)
    }

    /// Moves what older versions have left to its place. To be called by the run that holds the folder, before it reads
    /// anything.
    ///
    /// # Errors
    /// When something cannot be moved. Then nothing is lost, and the next run does it again.
    pub(super) fn take_over(&self) -> Result<(), RunError> {
        let copy = self.journal_copy();
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        remove_if_there(&copy).map_err(at(&copy))?;
        let journal = self.journal();
        for older in self.older_journals() {
            let moved = move_journal(&older, &journal, &copy).map_err(at(&older))?;
            if !moved && self.has_asides() {
                // A file that is set aside is found by the length that the journal had. Which journal that was is not
                // known, and a picture could be lost.
                let sentence = "an older version was ended with --overwrite after this one had worked here; run the older \
                                version once more, which gives the pictures in .fetchimg/aside their names";
                return Err(at(&older)(io::Error::other(sentence)));
            }
        }
        self.take_over_runs();
        if self.has_state() {
            let parts = self.hidden(super::PARTS);
            self.take_over_parts(&parts).map_err(at(&parts))?;
        }
        Ok(())
    }

    /// Moves the times of earlier runs. They only save a second measurement, so nothing ends the run if they cannot be moved.
    fn take_over_runs(&self) {
        let without_state = self.has_state().then(|| self.root().join(private_file::RUNS));
        for older in without_state.into_iter().chain([self.hidden(RUNS)]) {
            // Lines of times are independent of each other, so they may be added to what is there, even twice.
            let moved = || {
                let mut lines = Vec::new();
                private_file::open(OpenOptions::new().read(true), &older)?.read_to_end(&mut lines)?;
                let runs = self.runs();
                if fs::symlink_metadata(&runs).is_err() && fs::rename(&older, &runs).is_ok() {
                    return Ok(());
                }
                let mut runs = private_file::open(OpenOptions::new().create(true).append(true), &runs)?;
                io::Write::write_all(&mut runs, &lines)?;
                remove_if_there(&older)
            };
            match moved() {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let older = older.display();
                    tracing::warn!(target: "fetchimg", "The times of earlier runs stay in {older}: {error}");
                }
                _ => {}
            }
        }
    }

    /// Moves the partial bodies of runs without `--state` to the state folder. One that is copied in part is the beginning
    /// of a body, too.
    fn take_over_parts(&self, parts: &Path) -> io::Result<()> {
        let entries = match fs::symlink_metadata(parts) {
            Ok(found) if found.is_dir() => fs::read_dir(parts)?,
            _ => return Ok(()),
        };
        for entry in entries {
            let entry = entry?;
            let (from, to) = (entry.path(), self.work(super::PARTS).join(entry.file_name()));
            if !entry.file_type()?.is_file() || from.extension().is_none_or(|extension| extension != "part") {
                continue;
            }
            if fs::rename(&from, &to).is_err() {
                remove_if_there(&to)?;
                fs::copy(&from, &to)?;
                fs::remove_file(&from)?;
            }
        }
        Ok(())
    }

    /// Removes the journals of older versions. To be called when the records of
    /// [`FolderView::records_of_older_version`] are in the journal.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn forget_older_version(&self) -> Result<(), RunError> {
        self.older_journals()
            .into_iter()
            .try_for_each(|path| remove_if_there(&path).map_err(|source| RunError::Output { path, source }))
    }

    /// The folders of write-ahead logs: that of this run, and with `--state` the one that a run without it may have left.
    pub(super) fn logs(&self) -> Vec<PathBuf> {
        let without_state = self.has_state().then(|| self.hidden(wal::FOLDER));
        [self.work(wal::FOLDER)].into_iter().chain(without_state).collect()
    }
}

/// Gives the journal of an older version its new name. If it is on another file system, it is copied: `copy` is a path in a
/// folder of this run. Returns whether the older one is gone; if not, another journal is there, which stays as it is.
fn move_journal(older: &Path, journal: &Path, copy: &Path) -> io::Result<bool> {
    // It is never read through a link, and never moved with one.
    let mut file = private_file::open(OpenOptions::new().read(true), older)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    if is_empty(journal) {
        match fs::rename(older, journal) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let mut copied = private_file::open(OpenOptions::new().write(true).create_new(true), copy)?;
                copied.set_permissions(found.permissions())?;
                io::copy(&mut file, &mut copied)?;
                copied.sync_all()?;
                fs::rename(copy, journal)?;
            }
            renamed => renamed?,
        }
        // Before the older one is removed, and before a record is added that would be looked for under the new name.
        sync_folder(journal.parent().unwrap_or(Path::new(".")))?;
    } else if !is_beginning_of(&file, journal)? {
        return Ok(false);
    }
    remove_if_there(older)?;
    Ok(true)
}

/// Whether there is no such file, or nothing in it.
fn is_empty(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0)
        || fs::symlink_metadata(path).is_err()
}

/// Whether the content of a file is the beginning of that of another.
fn is_beginning_of(file: &File, other: &Path) -> io::Result<bool> {
    let other = private_file::open(OpenOptions::new().read(true), other)?;
    let (length, other_length) = (file.metadata()?.len(), other.metadata()?.len());
    if length > other_length {
        return Ok(false);
    }
    let (mut file, mut other) = (BufReader::with_capacity(1 << 18, file), BufReader::with_capacity(1 << 18, other));
    loop {
        let (one, two) = (file.fill_buf()?, other.fill_buf()?);
        let common = one.len().min(two.len());
        if common == 0 {
            return Ok(one.is_empty());
        }
        if one[..common] != two[..common] {
            return Ok(false);
        }
        file.consume(common);
        other.consume(common);
    }
}
