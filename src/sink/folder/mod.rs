//! The output folder: a file for each image.
//!
//! If a run is killed at any moment, no file under a final name is incomplete, and no complete file is lost. The
//! protocol that guarantees this is in `store`; its steps are in `publish`, `tmpfile` and `wal`.
//!
//! Between runs, nothing but images can be seen in the folder: the journal and the times of runs are hidden files. What is
//! not complete is in a hidden folder, `.fetchimg`, which goes at the end of the run if it is empty then. With `--state`,
//! all of these are in the state folder instead (see `state_folder`). Only what has to be on the file system of the images
//! is in the hidden folder even then, and only while the run needs it.
//!
//! One run at a time holds the folder (see `run_lock`): two runs would take each other's part files for those of an
//! earlier run.

mod aside;
mod dedup;
mod moving;
pub mod names;
mod older;
mod publish;
mod run_lock;
mod state_folder;
mod store;
#[cfg(target_os = "linux")]
mod tmpfile;
mod view;
pub mod wal;

use std::fs::{self, File};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Access;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};

pub use self::aside::Aside;
use self::dedup::DedupIndex;
pub use self::moving::{Moved, MovedFile};
use self::names::{NameCounts, Unnamed};
use self::run_lock::RunLock;
pub use self::view::FolderView;
use self::view::not_a_folder;
use self::wal::Wal;
use super::SpillDir;
use crate::record::RunError;
use crate::util::boot_id;

/// The name of the folder of part files.
const PARTS: &str = "parts";

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
    /// Where bodies are while they are received.
    spill_dir: SpillDir,
    /// With `--state`, where bodies are staged that need a name on the file system of the images.
    staging: Option<SpillDir>,
    /// Whether part files are on another file system than the images, as far as it is known.
    is_elsewhere: AtomicBool,
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
    /// Released last, when what the run needed is removed.
    _locks: Vec<RunLock>,
}

impl Folder {
    /// Creates the folder, and locks it for this run. `state`: the folder that has fetchimg's own files (`--state`). What an
    /// older version has left is taken over.
    ///
    /// # Errors
    /// When it cannot be created, read or written, or another run holds it.
    pub fn open(root: &Path, state: Option<&Path>, options: Options) -> Result<Self, RunError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        if root.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(at(root)(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder")));
        }
        // Nothing is made where the state cannot be.
        FolderView::open(root, state)?;
        for folder in [Some(root), state].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let view = FolderView::open(root, state)?;
        let locks = lock_all(&view)?;
        if let Some(state) = state {
            state_folder::claim(state, root)?;
        }
        let parts = view.work(PARTS);
        make_real_folder(&parts).map_err(at(&parts))?;
        view.take_over()?;
        // Without the right to list the folder, a run could not continue an earlier one.
        fs::read_dir(root).map_err(at(root))?;
        let boot = boot_id::id();
        let boot_to_resume = boot.clone().filter(|_| options.resume);
        let staging = view.has_state().then(|| staging(&view)).transpose()?;
        let device = |folder: &Path| fs::metadata(folder).map(|found| found.dev()).map_err(at(folder));
        let is_elsewhere = staging.is_some() && device(root)? != device(&parts)?;
        Ok(Self {
            spill_dir: SpillDir::open(parts.clone(), boot_to_resume).map_err(at(&parts))?,
            staging,
            is_elsewhere: is_elsewhere.into(),
            wal: Wal::new(view.work(wal::FOLDER), boot.as_deref(), options.fsync),
            view: view.looked_at_again(),
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
            _locks: locks,
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
        self.view
            .logs()
            .into_iter()
            .try_for_each(|folder| wal::clear(&folder).map_err(|source| RunError::Output { path: folder, source }))
    }

    /// Adds a file of an earlier run, with the SHA-256 of its content, to the index for `--dedupe`.
    pub fn insert_earlier(&self, sha256: &str, path: &str) {
        if self.options.dedupe {
            self.contents.insert_earlier(sha256, path);
        }
    }

    /// Counts of the records that name each file of this folder, for [`Folder::count_names`].
    #[must_use]
    pub fn name_counts(&self) -> NameCounts {
        // With `--state`, nothing may be there that shows how the file system takes names.
        let hidden = self.view.hidden_folder();
        let is_new = fs::create_dir(&hidden).is_ok();
        let counts = NameCounts::new(self.view.ignores_case());
        if is_new {
            let _ = fs::remove_dir(hidden);
        }
        counts
    }

    /// Whether files are removed when the last record that names them is superseded ([`Folder::count_names`]).
    #[must_use]
    pub const fn removes_files(&self) -> bool {
        self.names.is_some()
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

    /// With `--fsync`, flushes the folder, the folder of part files and the folders above to the disk, so that their new
    /// entries survive a loss of power.
    ///
    /// # Errors
    /// When a folder cannot be flushed.
    pub fn sync(&self) -> Result<(), RunError> {
        if !self.options.fsync {
            return Ok(());
        }
        let above = |folder: &Path| match folder.parent() {
            Some(parent) if parent == Path::new("") => Path::new(".").to_owned(),
            Some(parent) => parent.to_owned(),
            None => folder.to_owned(),
        };
        let (root, work) = (self.view.root().to_owned(), self.view.work_folder());
        // Without `--state`, the second one is above the first.
        let folders = [above(&work), work, above(&root), root.clone()];
        folders
            .iter()
            .try_for_each(|folder| sync_folder(folder))
            .map_err(|source| RunError::Output { path: root, source })
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

impl Drop for Folder {
    /// Removes what was there for the run alone, as far as nothing in it waits for the next run. What cannot be removed is
    /// used by the next run.
    fn drop(&mut self) {
        self.wal.close();
        let mut folders = vec![self.spill_dir.path().to_owned()];
        folders.extend(self.staging.as_ref().map(|staging| staging.path().to_owned()));
        folders.extend(self.view.logs());
        for folder in folders {
            let _ = fs::remove_dir(folder);
        }
        self.remove_empty_aside_folders();
        if self.view.has_state() {
            let _ = fs::remove_dir(self.view.hidden_folder());
        }
    }
}

/// Locks the folder. With `--state`, the lock is in the state folder. But where there is a hidden folder in the output
/// folder, a run without `--state` may hold that.
fn lock_all(view: &FolderView) -> Result<Vec<RunLock>, RunError> {
    let (work, hidden, root) = (view.work_folder(), view.hidden_folder(), view.root());
    if !view.has_state() {
        return Ok(vec![RunLock::acquire(&hidden, true, root)?]);
    }
    let mut locks = vec![RunLock::acquire(&work, false, root)?];
    if fs::symlink_metadata(&hidden).is_ok() {
        locks.push(RunLock::acquire(&hidden, true, root)?);
    }
    Ok(locks)
}

/// The folder where bodies are staged with `--state`. It is created when it is needed; what killed runs have left in it is
/// removed.
fn staging(view: &FolderView) -> Result<SpillDir, RunError> {
    let path = view.hidden(PARTS);
    let opened = if fs::symlink_metadata(&path).is_ok() {
        make_real_folder(&path).and_then(|()| SpillDir::open(path.clone(), None))
    } else {
        Ok(SpillDir::without_earlier(path.clone()))
    };
    opened.map_err(|source| RunError::Output { path, source })
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
    use crate::util::private_file;

    /// The names in the folder, without fetchimg's own.
    pub(super) fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| !private_file::is_own_name(name))
            .map(|name| name.to_string_lossy().into_owned())
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
        let entries = wal::read(&folder.view.work(wal::FOLDER), folder.boot.as_deref()).expect("the log");
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
        let open = Folder::open(&root, None, Options::default()).expect("open");
        assert!(matches!(Folder::open(&root, None, Options::default()), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let error = open.make_folders("deep/a.png").expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }

    /// Everything in a folder, hidden or not.
    fn everything(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
        let mut names = entries.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn nothing_of_a_run_is_left_unless_something_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, state) = (folder.path().join("images"), folder.path().join("state"));
        for state in [None, Some(&*state)] {
            let open = Folder::open(&root, state, Options::default()).expect("open");
            open.make_folders(".fetchimg/aside/7/a.png").expect("folders");
            assert!(open.spill_dir.path().is_dir());
            let waiting = open.view.work(PARTS).join("waits");
            drop(open);
            assert_eq!(everything(&root), [""; 0], "{state:?}");
            let open = Folder::open(&root, state, Options::default()).expect("open");
            fs::write(&waiting, "").expect("write");
            drop(open);
            assert!(waiting.exists());
            assert_eq!(everything(&root), [".fetchimg"; 1][usize::from(state.is_some())..], "{state:?}");
            fs::remove_file(&waiting).expect("remove");
            drop(Folder::open(&root, state, Options::default()).expect("open"));
            assert_eq!(everything(&root), [""; 0], "{state:?}");
        }
        assert_eq!(everything(&state), ["output"]);
    }

    #[test]
    fn a_run_without_a_state_folder_is_noticed_by_one_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, state) = (folder.path().join("images"), folder.path().join("state"));
        let open = Folder::open(&root, None, Options::default()).expect("open");
        let busy = Folder::open(&root, Some(&state), Options::default());
        assert!(matches!(busy, Err(RunError::Busy(path)) if path == root));
        drop(open);
        let open = Folder::open(&root, Some(&state), Options::default()).expect("open");
        assert!(matches!(Folder::open(&root, Some(&state), Options::default()), Err(RunError::Busy(_))));
        drop(open);
    }
}
