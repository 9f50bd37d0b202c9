//! Files in a folder.
//!
//! A body of up to 64 KiB waits in memory and is written in one go into a file without a name, which is then linked
//! into place: complete from the moment it can be seen, and nothing to clean up when the program dies. A larger body
//! goes through a named part file under `.fetchimg/parts`, as does everything where the file system has no unnamed
//! files or an existing file is to be replaced.
//!
//! All calls block. They are made on the threads that run the downloads, in line: handing every small file to a pool
//! of threads costs more than the files themselves.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::Access;

use crate::error::RunError;

/// What waits in memory before it is written. The median picture of the web has 23 KB; with 256 downloads at once this
/// is 16 MiB at most.
const BUFFER: usize = 64 * 1024;

/// The folder of everything that is no image, inside the output folder.
const PRIVATE: &str = ".fetchimg";

/// The output folder, held by this run alone.
#[derive(Debug)]
pub struct Files {
    root: PathBuf,
    fsync: bool,
    /// Whether files without a name can be made and linked here.
    unnamed: AtomicBool,
    parts: AtomicU64,
    /// Released by the system when the program ends, however it ends.
    _lock: File,
}

/// What to do when the name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// Leave the file that is there.
    New,
    /// Put the new one in its place.
    Replace,
}

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The file is there under its name.
    Done,
    /// There is another file of that name, and it stays.
    NameTaken,
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

impl Files {
    /// Makes the folder and what is private in it, and takes hold of it. `fsync`: flush each file and its folder.
    pub fn open(root: &Path, fsync: bool) -> Result<Self, RunError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| RunError::Output { path, source }
        };
        let private = root.join(PRIVATE);
        let parts = private.join("parts");
        if root.metadata().is_ok_and(|found| !found.is_dir()) {
            return Err(at(root)(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder")));
        }
        fs::create_dir_all(root).map_err(at(root))?;
        for folder in [&private, &parts] {
            make_real_folder(folder).map_err(at(folder))?;
        }
        let lock_path = private.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Busy(root.to_owned())),
            // Some network file systems have no locks. Two runs on one folder are then the user's care.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(at(&lock_path)(error)),
        }
        // Bodies that a killed run left unfinished. What is anything else is not fetchimg's.
        for left in fs::read_dir(&parts).map_err(at(&parts))?.flatten() {
            let is_part = Path::new(&left.file_name()).extension().is_some_and(|extension| extension == "part");
            if is_part && left.file_type().is_ok_and(|kind| kind.is_file()) {
                fs::remove_file(left.path()).map_err(at(&left.path()))?;
            }
        }
        Ok(Self {
            root: root.to_owned(),
            fsync,
            unnamed: AtomicBool::new(cfg!(target_os = "linux")),
            parts: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// The output folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes an image that another one has replaced under another name.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A file of fetchimg's own inside the output folder.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(PRIVATE).join(name)
    }

    /// Whether the path leads to what is fetchimg's own.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let private = self.root.join(PRIVATE).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// The size of the regular file of that name, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file).map(|found| found.len())
    }

    /// Whether the name is taken, by whatever.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// A place for a body of about `expected` bytes, if that is known.
    #[must_use]
    pub fn begin(&self, expected: Option<u64>) -> Part<'_> {
        let expected = expected.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        Part { files: self, buffer: Vec::with_capacity(expected.min(BUFFER)), file: None, length: 0 }
    }

    /// Makes the folders of a name, below the output folder only: when that is gone, somebody has removed it, and
    /// making it again would hide that.
    fn make_folders(&self, path: &str) -> io::Result<()> {
        path.match_indices('/').try_for_each(|(slash, _)| make_real_folder(&self.root.join(&path[..slash])))
    }

    /// Whether images can be stored at all. When not, it is no use to go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let access = Access::WRITE_OK | Access::EXEC_OK;
        [&self.root, &self.private("parts")].into_iter().all(|folder| rustix::fs::access(folder, access).is_ok())
    }

    fn new_part(&self) -> io::Result<Named> {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let path = self.private("parts").join(format!("{number:06}.part"));
        // What an earlier run left under that number is nobody's.
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
        Ok(Named { file: Some(file), path })
    }
}

/// The bytes of one body on their way.
#[derive(Debug)]
pub struct Part<'a> {
    files: &'a Files,
    buffer: Vec<u8>,
    file: Option<Named>,
    length: u64,
}

/// A part file. Its name disappears with it.
#[derive(Debug)]
struct Named {
    /// Closed while the body rests.
    file: Option<File>,
    path: PathBuf,
}

impl Named {
    /// The file, open at its end.
    fn open(&mut self) -> io::Result<&mut File> {
        Ok(match &mut self.file {
            Some(file) => file,
            closed => closed.insert(OpenOptions::new().append(true).open(&self.path)?),
        })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // When it has been published there is nothing left to remove, and nobody to tell about anything else.
        let _ = fs::remove_file(&self.path);
    }
}

impl Part<'_> {
    /// Takes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.buffer.len() + piece.len() > BUFFER {
            let file = match &mut self.file {
                Some(file) => file,
                empty => empty.insert(self.files.new_part()?),
            };
            file.open()?.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        if piece.len() > BUFFER {
            if let Some(file) = &mut self.file {
                file.open()?.write_all(piece)?;
            }
        } else {
            self.buffer.extend_from_slice(piece);
        }
        self.length += piece.len() as u64;
        Ok(())
    }

    /// Gives back the memory and the open file until more comes: many bodies may rest at once.
    pub fn rest(&mut self) -> io::Result<()> {
        let named = match &mut self.file {
            Some(named) => named,
            empty => empty.insert(self.files.new_part()?),
        };
        named.open()?.write_all(&self.buffer)?;
        named.file = None;
        self.buffer = Vec::new();
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Publishes the file under its name, which is relative to the output folder.
    pub fn commit(mut self, path: &str, publish: Publish) -> io::Result<Published> {
        let target = self.files.root.join(path);
        self.files.make_folders(path)?;
        if self.file.is_none()
            && publish == Publish::New
            && let Some(published) = self.link_unnamed(&target)?
        {
            return Ok(published);
        }
        let mut named = match self.file.take() {
            Some(named) => named,
            None => self.files.new_part()?,
        };
        let file = named.open()?;
        file.write_all(&self.buffer)?;
        if self.files.fsync {
            file.sync_all()?;
        }
        let published = match publish {
            Publish::Replace => fs::rename(&named.path, &target).map(|()| Published::Done),
            Publish::New => rename_new(&named.path, &target),
        }?;
        self.sync_folder(&target)?;
        Ok(published)
    }

    /// Writes the buffer into a file without a name and gives it one. `None`: not here; nothing has happened.
    #[cfg(target_os = "linux")]
    fn link_unnamed(&self, target: &Path) -> io::Result<Option<Published>> {
        use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open};
        use rustix::io::Errno;
        use std::os::fd::AsRawFd;

        if !self.files.unnamed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let give_up = || {
            self.files.unnamed.store(false, Ordering::Relaxed);
            Ok(None)
        };
        let folder = target.parent().unwrap_or(Path::new("."));
        // open(2): file systems without unnamed files say EOPNOTSUPP, kernels before 3.11 EISDIR.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = match open(folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return give_up(),
            Err(error) => return Err(error.into()),
        };
        file.write_all(&self.buffer)?;
        if self.files.fsync {
            file.sync_all()?;
        }
        // The way through /proc needs no privilege; where there is no /proc, parts have names.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        match linkat(CWD, source, CWD, target, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {
                self.sync_folder(target)?;
                Ok(Some(Published::Done))
            }
            Err(Errno::EXIST) => Ok(Some(Published::NameTaken)),
            Err(Errno::NOENT | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) if folder.is_dir() => give_up(),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn link_unnamed(&self, _: &Path) -> io::Result<Option<Published>> {
        Ok(None)
    }

    fn sync_folder(&self, target: &Path) -> io::Result<()> {
        match target.parent() {
            Some(folder) if self.files.fsync => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// Renames unless the new name is taken. A hard link does it everywhere in one step; where there are no hard links
/// (FAT, some network file systems), looking first is the best there is.
fn rename_new(from: &Path, to: &Path) -> io::Result<Published> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(Published::Done),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::NameTaken),
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            if fs::symlink_metadata(to).is_ok() {
                return Ok(Published::NameTaken);
            }
            fs::rename(from, to).map(|()| Published::Done)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(root: &Path) -> Vec<String> {
        let mut names = fs::read_dir(root)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .filter(|name| name != PRIVATE)
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    fn parts(files: &Files) -> usize {
        fs::read_dir(files.private("parts")).expect("a folder").count()
    }

    #[test]
    fn a_file_appears_when_it_is_committed_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        for (unnamed, fsync) in [(true, false), (false, false), (true, true)] {
            let root = folder.path().join(format!("{unnamed}-{fsync}"));
            let files = Files::open(&root, fsync).expect("open");
            if !unnamed {
                files.unnamed.store(false, Ordering::Relaxed);
            }
            for size in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER + 7] {
                let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
                for chunk in [512, 100_000] {
                    let mut part = files.begin(None);
                    for piece in bytes.chunks(chunk) {
                        part.write(piece).expect("write");
                    }
                    assert_eq!(visible(&root).len(), 0);
                    assert_eq!(part.length(), size as u64);
                    assert_eq!(part.commit("a/b.png", Publish::New).expect("commit"), Published::Done);
                    assert_eq!(fs::read(root.join("a/b.png")).expect("read"), bytes);
                    assert_eq!(files.size("a/b.png"), Some(size as u64));
                    fs::remove_dir_all(root.join("a")).expect("remove");
                }
            }
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_body_that_rests_holds_nothing_and_goes_on_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), false).expect("open");
        for size in [10, 3 * BUFFER + 7] {
            let bytes = (0..=250).cycle().take(size).collect::<Vec<u8>>();
            let mut part = files.begin(None);
            for piece in bytes.chunks(size / 3) {
                part.write(piece).expect("write");
                part.rest().expect("rest");
                assert_eq!(part.buffer.capacity(), 0);
                assert!(part.file.as_ref().is_some_and(|named| named.file.is_none()));
            }
            assert_eq!(part.commit("a.png", Publish::Replace).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), bytes);
            assert_eq!(parts(&files), 0);
        }
    }

    #[test]
    fn a_taken_name_is_kept_or_replaced_as_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::open(folder.path(), false).expect("open");
        for size in [10, 2 * BUFFER] {
            fs::write(folder.path().join("a.png"), "theirs").expect("write");
            let part = |byte: u8| {
                let mut part = files.begin(Some(size as u64));
                part.write(&vec![byte; size]).expect("write");
                part
            };
            assert_eq!(part(1).commit("a.png", Publish::New).expect("commit"), Published::NameTaken);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), b"theirs");
            assert_eq!(part(2).commit("a.png", Publish::Replace).expect("commit"), Published::Done);
            assert_eq!(fs::read(folder.path().join("a.png")).expect("read"), vec![2; size]);
        }
        drop(files.begin(None));
        assert_eq!((visible(folder.path()), parts(&files)), (vec!["a.png".to_owned()], 0));
    }

    #[test]
    fn a_folder_serves_one_run_and_is_not_made_again_behind_the_users_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("images");
        let files = Files::open(&root, false).expect("open");
        assert!(matches!(Files::open(&root, false), Err(RunError::Busy(_))));
        fs::remove_dir_all(&root).expect("remove");
        let mut part = files.begin(None);
        part.write(b"x").expect("write");
        let error = part.commit("deep/a.png", Publish::New).expect_err("no folder");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}
