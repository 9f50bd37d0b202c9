//! The output folder, held by one run at a time: two would take each other's part files for those of a run before.
//!
//! Inside it, a link in the place of a file or a folder may lead anywhere, and is taken for neither.

pub mod dedup;
mod publish;
#[cfg(target_os = "linux")]
mod tmpfile;
pub mod wal;

pub use self::publish::{Linked, OnConflict, Published};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Access;
#[cfg(target_os = "linux")]
use rustix::fs::{Mode, OFlags};

use crate::record::RunError;
use crate::sink::resume::{Unfinished, look_through};
use crate::util::private_file;

/// The output folder, held by this run alone.
#[derive(Debug)]
pub struct Folder {
    pub(in crate::sink) root: PathBuf,
    pub(in crate::sink) fsync: bool,
    pub(in crate::sink) boot: Option<String>,
    /// Whether there was nothing but what is fetchimg's own when the run began.
    was_empty: bool,
    /// What earlier runs have left unfinished, by the start of the URL's hash.
    pub(in crate::sink) left: HashMap<String, Unfinished>,
    /// The folder itself: a path from here is shorter than one from the root of the system.
    #[cfg(target_os = "linux")]
    pub(in crate::sink) folder: OwnedFd,
    /// Whether files without a name can be made and linked here.
    pub(in crate::sink) unnamed: AtomicBool,
    /// Whether they can be linked by their descriptor.
    #[cfg(target_os = "linux")]
    pub(in crate::sink) by_descriptor: AtomicBool,
    parts: AtomicU64,
    /// Released by the system when the program ends, however it ends.
    _lock: File,
}

/// Makes a folder inside one that is there. A symbolic link in its place may lead anywhere, and is no folder.
fn make_real_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_dir() {
                return Ok(());
            }
            Err(io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one"))
        }
        made => made,
    }
}

impl Folder {
    /// Makes the folder and what is private in it, and takes hold of it. `fsync`: flush each file and its folder;
    /// `boot`: see [`crate::util::boot_id::id`].
    pub fn open(root: &Path, fsync: bool, boot: Option<String>) -> Result<Self, RunError> {
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
            // Some network file systems have no locks. Two runs on one folder are then the user's care.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        let left = look_through(&parts, boot.as_deref()).map_err(at(&parts))?;
        let was_empty =
            fs::read_dir(root).map_err(at(root))?.flatten().all(|entry| entry.file_name() == private_file::FOLDER);
        Ok(Self {
            root: root.to_owned(),
            fsync,
            boot,
            was_empty,
            left,
            #[cfg(target_os = "linux")]
            folder: rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| at(root)(error.into()))?,
            unnamed: AtomicBool::new(cfg!(target_os = "linux")),
            #[cfg(target_os = "linux")]
            by_descriptor: AtomicBool::new(true),
            parts: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Whether what is stored has to survive a loss of power (`--fsync`).
    #[must_use]
    pub const fn syncs(&self) -> bool {
        self.fsync
    }

    /// With `--fsync`, makes the names of the folder, and of what is in it now, survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let above = self.root.parent().map(|above| if above == Path::new("") { Path::new(".") } else { above });
        sync_folder(&self.root.join(private_file::FOLDER))?;
        sync_folder(&self.root)?;
        above.map_or(Ok(()), sync_folder)
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes an image of so many bytes that another one has replaced under another name. A file of another size is
    /// not that image any more, and stays.
    pub fn remove(&self, path: &str, bytes: u64) -> io::Result<()> {
        if self.size(path) != Some(bytes) {
            return Ok(());
        }
        remove_if_there(&self.root.join(path))
    }

    /// A file of fetchimg's own inside the output folder.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(private_file::FOLDER).join(name)
    }

    /// Whether the path leads to what is fetchimg's own.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let private = self.root.join(private_file::FOLDER).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// The size of the regular file of that name, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        self.look_at(path).map(|found| found.len())
    }

    /// Whether the name is known to be taken, by whatever. In a folder that was empty nobody looks: every name is given
    /// once, and publishing looks in any case.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        !self.was_empty && fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// What the system says about the regular file of that name, if there is one.
    #[must_use]
    pub fn look_at(&self, path: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file)
    }

    /// Makes the folders of a name, below the output folder only: when that is gone, somebody has removed it, and
    /// making it again would hide that.
    pub(in crate::sink) fn make_folders(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(slash, _)| make_real_folder(&self.root.join(&path[..slash])))
    }

    /// With `--fsync`, makes the name of the file survive a loss of power, and those of the folders it is in: one of
    /// them may be new, and its maker not yet have got so far.
    pub(in crate::sink) fn sync_folders_of(&self, path: &str) -> io::Result<()> {
        if !self.fsync {
            return Ok(());
        }
        let folders = Path::new(path).ancestors().skip(1);
        folders.map(|folder| self.root.join(folder)).try_for_each(|folder| sync_folder(&folder))
    }

    /// Whether images can be stored at all. When not, it is no use to go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        [&self.root, &self.private("parts")].into_iter().all(|folder| rustix::fs::access(folder, access).is_ok())
    }

    /// A name in the folder of parts that says nothing.
    pub(in crate::sink) fn next_number(&self) -> String {
        format!("{:06}.part", self.parts.fetch_add(1, Ordering::Relaxed))
    }
}

/// What stands in a place of ours is nobody's, and it may be a link to somewhere else.
pub(in crate::sink) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
pub(in crate::sink) mod testing {
    //! What is in the folder.

    use super::*;

    pub(in crate::sink) fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != private_file::FOLDER)
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    pub(in crate::sink) fn parts(files: &Folder) -> usize {
        fs::read_dir(files.private("parts")).expect("a folder").count()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sink::OnConflict;

    #[test]
    fn a_folder_serves_one_run_and_is_not_made_again_behind_the_users_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("images");
        let files = Folder::open(&root, false, None).expect("open");
        assert!(matches!(Folder::open(&root, false, None), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let mut part = files.begin(None, None);
        part.write(&Bytes::from_static(b"x")).expect("write");
        let error = part.commit("deep/a.png", OnConflict::Keep, |_| Ok(())).expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}
