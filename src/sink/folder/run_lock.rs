//! The lock that one run at a time holds.
//!
//! It is on a file that is removed when the run ends, so that nothing of it is left. Another run may have opened that file
//! just before it was removed, and would lock a file that no third run can find. So a run that has locked its file looks
//! whether the file is still under its name, and tries again if not. What a killed run leaves is locked again by the next.
//!
//! Versions before 0.2 lock the same file, `.fetchimg/lock`, and never remove it. So they are noticed, and notice others.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::make_real_folder;
use crate::record::RunError;
use crate::util::private_file::{self, remove_if_there};

/// The name of the locked file.
const NAME: &str = "lock";

/// The lock of this run. The system releases it when the program ends, however it ends.
#[derive(Debug)]
pub(super) struct RunLock {
    file: File,
    path: PathBuf,
    /// Whether the folder of the file was made for the run, and goes with the lock if nothing else is in it.
    owns_folder: bool,
}

impl RunLock {
    /// Locks a file in this folder. `owns_folder`: the folder is made for the run, and goes with the lock. `busy` is the
    /// output folder, for the message if another run has the lock.
    pub fn acquire(folder: &Path, owns_folder: bool, busy: &Path) -> Result<Self, RunError> {
        let path = folder.join(NAME);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        loop {
            if owns_folder {
                make_real_folder(folder).map_err(at(folder))?;
            }
            let file = match private_file::open(OpenOptions::new().create(true).truncate(false).write(true), &path) {
                // A run that has just ended has removed the folder.
                Err(error) if owns_folder && error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(at(&path))?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(RunError::Busy(busy.to_owned())),
                // Some network file systems have no locks. There, the user must not start two runs with the same folder.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
            }
            let locked = file.metadata().map_err(at(&path))?;
            if fs::symlink_metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == (locked.dev(), locked.ino()))
            {
                return Ok(Self { file, path, owns_folder });
            }
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Removed while it is locked, so that no run holds a lock on it by then. After this line another run may begin, and
        // all that is still done is to remove an empty folder. What cannot be removed is used by the next run.
        let removed = remove_if_there(&self.path);
        if let Some(folder) = self.path.parent().filter(|_| removed.is_ok() && self.owns_folder) {
            let _ = fs::remove_dir(folder);
        }
        // Closing the file would not be enough: a process that another thread is just starting has it open, too. On an
        // error, closing it is all that can be done.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn acquire(folder: &Path) -> Result<RunLock, RunError> {
        RunLock::acquire(folder, true, folder)
    }

    #[test]
    fn a_lock_is_released_though_a_process_that_is_being_started_has_a_copy_of_the_file() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("own");
        let lock = acquire(&folder).expect("it is free");
        let copy = lock.file.try_clone().expect("a copy");
        assert!(matches!(acquire(&folder), Err(RunError::Busy(_))));
        drop(lock);
        assert!(!folder.exists(), "nothing is left");
        drop(acquire(&folder).expect("it is free again"));
        drop(copy);
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_counts_for_nothing() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("own");
        let lock = acquire(&folder).expect("it is free");
        // As a run that has opened the file before the lock was released.
        let opened = File::open(folder.join(NAME)).expect("open");
        drop(lock);
        opened.try_lock().expect("it is not held");
        drop(acquire(&folder).expect("the next run locks a new file"));
        // What a killed run has left is used again, and goes.
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join(NAME), "").expect("a file");
        drop(acquire(&folder).expect("it is free"));
        assert!(!folder.exists());
    }

    #[test]
    fn two_runs_never_hold_it_at_once_while_it_comes_and_goes() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("own");
        let (holders, held) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while held.load(Ordering::SeqCst) < 200 {
                        let Ok(lock) = acquire(&folder) else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "another thread holds it");
                        held.fetch_add(1, Ordering::SeqCst);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!folder.exists());
    }
}
