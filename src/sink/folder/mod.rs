//! The output folder: a file for each image.
//!
//! If a run is killed at any moment, no file under a final name is incomplete, and no complete file is lost. The
//! protocol that guarantees this is in `store`; its steps are in `publish`, `tmpfile` and `wal`. Files that fetchimg
//! keeps for itself are in a private folder inside, `.fetchimg`.
//!
//! One run at a time holds the folder: two runs would take each other's part files for those of an earlier run.

mod aside;
mod dedup;
mod moving;
pub mod names;
mod publish;
mod store;
#[cfg(target_os = "linux")]
mod tmpfile;
mod view;
pub mod wal;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Access;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};

pub use self::aside::Aside;
use self::dedup::DedupIndex;
pub use self::moving::{Moved, MovedFile};
use self::names::{NameCounts, Unnamed};
pub use self::view::FolderView;
use self::view::not_a_folder;
use self::wal::Wal;
use super::SpillDir;
use crate::record::RunError;
use crate::util::{boot_id, private_file};

/// How images are stored in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Flush each file and its folder to the disk before its record says `saved` (`--fsync`).
    pub fsync: bool,
    /// Store the same content once; further images of it become hard links to the first (`--dedupe`).
    pub dedupe: bool,
    /// Keep partial bodies for the next run, and resume those of earlier ones. They are identified by their URLs, so
    /// this must be off if several rows with the same URL are fetched (`--keep-duplicates`).
    pub resume: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { fsync: false, dedupe: false, resume: true }
    }
}

/// The output folder, held by this run alone.
#[derive(Debug)]
pub struct Folder {
    view: FolderView,
    options: Options,
    boot: Option<String>,
    spill_dir: SpillDir,
    wal: Wal,
    contents: DedupIndex,
    /// The records that name each file, if files that no record names are removed (`--overwrite`).
    names: Option<NameCounts>,
    /// The length of the journal when the pass began, in bytes (see `aside`).
    journal_end: AtomicU64,
    /// The open folder. The kernel resolves a path relative to it faster than a path from the root.
    #[cfg(target_os = "linux")]
    descriptor: OwnedFd,
    /// Whether files without a name can be created and linked here, as far as it is known.
    #[cfg(target_os = "linux")]
    has_unnamed_files: AtomicBool,
    /// Whether they can be linked by their descriptor, as far as it is known.
    #[cfg(target_os = "linux")]
    links_by_descriptor: AtomicBool,
    _lock: RunLock,
}

/// The lock of this run. The system releases it when the program ends, however it ends.
#[derive(Debug)]
struct RunLock(File);

impl Drop for RunLock {
    fn drop(&mut self) {
        // Closing the file would not be enough: a process that another thread is just starting has it open, too. On an
        // error, closing it is all that can be done.
        let _ = self.0.unlock();
    }
}

impl Folder {
    /// Creates the folder and the private folder in it, and locks it for this run.
    ///
    /// # Errors
    /// When it cannot be created, read or written, or another run holds it.
    pub fn open(root: &Path, options: Options) -> Result<Self, RunError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        let private = root.join(private_file::FOLDER);
        let parts = private.join("parts");
        if root.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(at(root)(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder")));
        }
        fs::create_dir_all(root).map_err(at(root))?;
        for folder in [&private, &parts] {
            make_real_folder(folder).map_err(at(folder))?;
        }
        let lock_path = private.join("lock");
        let lock = private_file::open(OpenOptions::new().create(true).truncate(false).write(true), &lock_path);
        let lock = lock.map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy(root.to_owned())),
            // Some network file systems have no locks. There, the user must not start two runs with the same folder.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        // Without the right to list the folder, a run could not continue an earlier one.
        fs::read_dir(root).map_err(at(root))?;
        let boot = boot_id::id();
        let boot_to_resume = boot.clone().filter(|_| options.resume);
        Ok(Self {
            view: FolderView::open(root)?,
            spill_dir: SpillDir::open(parts.clone(), boot_to_resume).map_err(at(&parts))?,
            wal: Wal::new(private.join(wal::FOLDER), boot.as_deref(), options.fsync),
            contents: DedupIndex::default(),
            names: None,
            journal_end: AtomicU64::new(0),
            options,
            boot,
            #[cfg(target_os = "linux")]
            descriptor: rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| at(root)(error.into()))?,
            #[cfg(target_os = "linux")]
            has_unnamed_files: AtomicBool::new(true),
            #[cfg(target_os = "linux")]
            links_by_descriptor: AtomicBool::new(true),
            _lock: RunLock(lock),
        })
    }

    /// The folder, for reading.
    #[must_use]
    pub const fn view(&self) -> &FolderView {
        &self.view
    }

    /// The folder of part files.
    #[must_use]
    pub const fn spill_dir(&self) -> &SpillDir {
        &self.spill_dir
    }

    /// Whether stored images have to survive a loss of power (`--fsync`).
    #[must_use]
    pub const fn syncs(&self) -> bool {
        self.options.fsync
    }

    /// The records of files that a killed run published without recording them. When they are in the journal,
    /// [`Folder::forget_unrecorded`] must be called, before the first image is stored.
    ///
    /// # Errors
    /// When the write-ahead log cannot be read.
    pub fn unrecorded(&self) -> Result<Vec<Vec<u8>>, RunError> {
        self.view.unrecorded(self.boot.as_deref())
    }

    /// Removes the write-ahead log of killed runs. To be called when the records of [`Folder::unrecorded`] are in the
    /// journal.
    ///
    /// # Errors
    /// When the write-ahead log cannot be removed.
    pub fn forget_unrecorded(&self) -> Result<(), RunError> {
        self.wal.clear().map_err(|source| RunError::Output { path: self.view.private(wal::FOLDER), source })
    }

    /// Adds a file of an earlier run, with the SHA-256 of its content, to the index for `--dedupe`.
    pub fn insert_earlier(&self, sha256: &str, path: &str) {
        if self.options.dedupe {
            self.contents.insert_earlier(sha256, path);
        }
    }

    /// From now on, removes files when the last record that names them is superseded, and sets them aside before another
    /// row gets their names (`--overwrite`). `names`: the records that name each file now. `journal_end`: the length of
    /// the journal with these records, in bytes.
    pub fn count_names(&mut self, names: NameCounts, journal_end: u64) {
        self.names = Some(names);
        self.journal_end = journal_end.into();
    }

    /// Counts a record whose file was set aside and is named `path` now.
    pub fn count_moved(&self, path: &str) {
        if let Some(names) = &self.names {
            names.add(path, true);
        }
    }

    /// To be called at the end of a pass, when nothing is set aside any more. `journal_end`: as in
    /// [`Folder::count_names`].
    pub fn end_pass(&self, journal_end: u64) {
        if let Some(names) = &self.names {
            names.end_pass();
        }
        self.journal_end.store(journal_end, Ordering::Relaxed);
    }

    /// To be called when a row whose record names the file `path` has another file now, before the new record is in the
    /// journal: until it is, the write-ahead log has it. Removes the file if no other record names it. A file of
    /// another size than `bytes` is not the image any more, and stays.
    pub fn release(&self, path: &str, bytes: u64) {
        if let Some(names) = &self.names {
            names.release(path, |unnamed| match unnamed {
                Unnamed::InPlace { is_own: true } => self.remove(path, bytes),
                Unnamed::InPlace { is_own: false } => {}
                Unnamed::Aside => self.remove_aside(path),
            });
        }
    }

    /// With `--fsync`, flushes the folder, its private folder and its parent to the disk, so that their new entries
    /// survive a loss of power.
    ///
    /// # Errors
    /// When a folder cannot be flushed.
    pub fn sync(&self) -> Result<(), RunError> {
        if !self.options.fsync {
            return Ok(());
        }
        let root = self.view.root();
        let parent = root.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent });
        let private = root.join(private_file::FOLDER);
        let mut folders = [Some(&*private), Some(root), parent].into_iter().flatten();
        folders.try_for_each(sync_folder).map_err(|source| RunError::Output { path: root.to_owned(), source })
    }

    /// Whether images can be stored at all. If not, the run cannot go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        [self.view.root(), self.spill_dir.path()].into_iter().all(|folder| rustix::fs::access(folder, access).is_ok())
    }

    /// Creates the folders of a path inside the output folder. The output folder itself is not created again: if it is
    /// gone, the user has removed it, and creating it would hide that.
    fn make_folders(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(slash, _)| make_real_folder(&self.view.root().join(&path[..slash])))
    }

    /// With `--fsync`, flushes a file to the disk.
    fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.options.fsync { file.sync_all() } else { Ok(()) }
    }

    /// With `--fsync`, flushes the folder of the file and all folders above it, so that the name survives a loss of
    /// power. Any of them may be new, and the task that created it may not have flushed it yet.
    fn sync_folders_of(&self, path: &str) -> io::Result<()> {
        if !self.options.fsync {
            return Ok(());
        }
        let folders = Path::new(path).ancestors().skip(1);
        folders.map(|folder| self.view.root().join(folder)).try_for_each(|folder| sync_folder(&folder))
    }
}

/// Creates a folder, if it is not there. A symbolic link in its place may lead anywhere, and is refused.
fn make_real_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            Err(not_a_folder())
        }
        made => made,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod testing {
    //! Shows tests what is in the folder.

    use super::wal::FileMark;
    use super::*;

    /// The names in the folder, without the private folder.
    pub(super) fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != private_file::FOLDER)
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    /// The number of part files.
    pub(super) fn part_files(folder: &Folder) -> usize {
        fs::read_dir(folder.spill_dir.path()).expect("a folder").count()
    }

    /// The entries of the write-ahead log.
    pub(super) fn wal_entries(folder: &Folder) -> Vec<(FileMark, Vec<u8>)> {
        let entries = wal::read(&folder.view.private(wal::FOLDER), folder.boot.as_deref()).expect("the log");
        entries.into_iter().map(|entry| (entry.mark, entry.record)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one_run_and_is_not_created_again_when_it_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("images");
        let open = Folder::open(&root, Options::default()).expect("open");
        assert!(matches!(Folder::open(&root, Options::default()), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let error = open.make_folders("deep/a.png").expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }

    #[test]
    fn a_lock_is_released_though_a_process_that_is_being_started_has_a_copy_of_the_file() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let lock = RunLock(file.reopen().expect("open"));
        lock.0.try_lock().expect("it is free");
        let copy = lock.0.try_clone().expect("a copy");
        let other = file.reopen().expect("open");
        assert!(other.try_lock().is_err());
        drop(lock);
        other.try_lock().expect("it is free again");
        drop(copy);
    }
}
