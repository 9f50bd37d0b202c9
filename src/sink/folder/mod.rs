//! A folder with a file for each image, held by one run at a time: two would take each other's part files for those of an
//! earlier run.
//!
//! The folder keeps a promise by itself: when a run is killed at any moment, no file under a final name is incomplete, and
//! no complete one is lost. `store` is that protocol as a straight line; `publish`, `tmpfile` and `wal` are its steps.
//! What is fetchimg's own is in the folder's private folder, `.fetchimg`.

mod dedup;
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

use rustix::fs::Access;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};

use self::dedup::DedupIndex;
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
    /// Keep unfinished bodies for the next run, and resume those of the last one. They are known by their URLs, so not
    /// where several rows of one list are fetched for one URL (`--keep-duplicates`).
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
    /// The folder itself: a path from here is shorter than one from the root of the system.
    #[cfg(target_os = "linux")]
    descriptor: OwnedFd,
    /// Whether files without a name can be made and linked here.
    #[cfg(target_os = "linux")]
    has_unnamed_files: AtomicBool,
    /// Whether they can be linked by their descriptor.
    #[cfg(target_os = "linux")]
    links_by_descriptor: AtomicBool,
    /// Released by the system when the program ends, however it ends.
    _lock: File,
}

impl Folder {
    /// Makes the folder and what is private in it, and locks it for this run.
    ///
    /// # Errors
    /// When it cannot be made, read or written, or another run holds it.
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
            // Some network file systems have no locks. There the user has to keep two runs apart.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        // A folder that cannot be listed is one in which nothing can be continued.
        fs::read_dir(root).map_err(at(root))?;
        let boot = boot_id::id();
        let resumes_in = boot.clone().filter(|_| options.resume);
        Ok(Self {
            view: FolderView::open(root)?,
            spill_dir: SpillDir::open(parts.clone(), resumes_in).map_err(at(&parts))?,
            wal: Wal::new(private.join(wal::FOLDER), boot.as_deref(), options.fsync),
            contents: DedupIndex::default(),
            options,
            boot,
            #[cfg(target_os = "linux")]
            descriptor: rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| at(root)(error.into()))?,
            #[cfg(target_os = "linux")]
            has_unnamed_files: AtomicBool::new(true),
            #[cfg(target_os = "linux")]
            links_by_descriptor: AtomicBool::new(true),
            _lock: lock,
        })
    }

    /// What is in the folder.
    #[must_use]
    pub const fn view(&self) -> &FolderView {
        &self.view
    }

    /// Where bodies wait that are not in memory.
    #[must_use]
    pub const fn spill_dir(&self) -> &SpillDir {
        &self.spill_dir
    }

    /// Whether what is stored has to survive a loss of power (`--fsync`).
    #[must_use]
    pub const fn syncs(&self) -> bool {
        self.options.fsync
    }

    /// The records of files that a killed run published without recording them. When they are recorded,
    /// [`Folder::forget_unrecorded`] has to be called, before the first image is stored.
    ///
    /// # Errors
    /// When what the run had noted cannot be read.
    pub fn unrecorded(&self) -> Result<Vec<Vec<u8>>, RunError> {
        self.view.unrecorded(self.boot.as_deref())
    }

    /// The records of [`Folder::unrecorded`] are in the journal.
    ///
    /// # Errors
    /// When the notes of the killed run cannot be removed.
    pub fn forget_unrecorded(&self) -> Result<(), RunError> {
        self.wal.clear().map_err(|source| RunError::Output { path: self.view.private(wal::FOLDER), source })
    }

    /// Takes in a file of an earlier run, whose content has this SHA-256, for `--dedupe`.
    pub fn insert_earlier(&self, sha256: &str, path: &str) {
        if self.options.dedupe {
            self.contents.insert_earlier(sha256, path);
        }
    }

    /// With `--fsync`, makes the names of the folder, and of what is in it now, survive a loss of power.
    ///
    /// # Errors
    /// When the system cannot flush them.
    pub fn sync(&self) -> Result<(), RunError> {
        if !self.options.fsync {
            return Ok(());
        }
        let root = self.view.root();
        let above = root.parent().map(|above| if above == Path::new("") { Path::new(".") } else { above });
        let private = root.join(private_file::FOLDER);
        let mut folders = [Some(&*private), Some(root), above].into_iter().flatten();
        folders.try_for_each(sync_folder).map_err(|source| RunError::Output { path: root.to_owned(), source })
    }

    /// Whether images can be stored at all. If not, the run cannot go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        [self.view.root(), self.spill_dir.path()].into_iter().all(|folder| rustix::fs::access(folder, access).is_ok())
    }

    /// Makes the folders of a name, below the output folder only: when that is gone, the user has removed it, and making
    /// it again would hide that.
    fn make_folders(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(slash, _)| make_real_folder(&self.view.root().join(&path[..slash])))
    }

    /// With `--fsync`, flushes a file to the disk.
    fn sync_file(&self, file: &File) -> io::Result<()> {
        if self.options.fsync { file.sync_all() } else { Ok(()) }
    }

    /// With `--fsync`, makes the name of the file survive a loss of power, and those of the folders it is in: one of
    /// them may be new, and the task that made it may not have flushed it yet.
    fn sync_folders_of(&self, path: &str) -> io::Result<()> {
        if !self.options.fsync {
            return Ok(());
        }
        let folders = Path::new(path).ancestors().skip(1);
        folders.map(|folder| self.view.root().join(folder)).try_for_each(|folder| sync_folder(&folder))
    }
}

/// Makes a folder inside one that is there. A symbolic link in its place may lead anywhere, and is no folder.
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
    //! What is in the folder.

    use super::wal::Mark;
    use super::*;

    pub(super) fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != private_file::FOLDER)
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    pub(super) fn parts(folder: &Folder) -> usize {
        fs::read_dir(folder.spill_dir.path()).expect("a folder").count()
    }

    /// What the write-ahead log holds.
    pub(super) fn noted_files(folder: &Folder) -> Vec<(Mark, Vec<u8>)> {
        let noted = wal::read(&folder.view.private(wal::FOLDER), folder.boot.as_deref()).expect("the log");
        noted.into_iter().map(|noted| (noted.mark, noted.record)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_run_and_is_not_made_again_behind_the_users_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("images");
        let files = Folder::open(&root, Options::default()).expect("open");
        assert!(matches!(Folder::open(&root, Options::default()), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let error = files.make_folders("deep/a.png").expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}
