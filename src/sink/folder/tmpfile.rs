//! Folder that have no name until they are complete.
//!
//! What is linked into place in one step is complete from the moment it can be seen, and there is nothing to clean up
//! when the program dies. Linux alone has such files, and not on every file system.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::Folder;
use super::publish::Published;
use crate::sink::body::{Body, write_both};

impl Body<'_> {
    /// Writes the buffer into a file without a name and gives it one. `None`: that cannot be done here. A file may have
    /// been announced by then; it is gone, and the one that comes instead is announced in its turn.
    pub(in crate::sink) fn link_unnamed(
        &self,
        path: &str,
        announce: &mut impl FnMut(&fs::Metadata) -> io::Result<()>,
    ) -> io::Result<Option<Published>> {
        let files = self.files;
        if !files.unnamed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let give_up = || {
            files.unnamed.store(false, Ordering::Relaxed);
            Ok(None)
        };
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        // open(2): file systems without unnamed files say EOPNOTSUPP, kernels before 3.11 EISDIR.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = match openat(&files.folder, folder, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return give_up(),
            Err(error) => return Err(error.into()),
        };
        write_both(&mut file, &self.buffer, &self.end)?;
        if files.fsync {
            file.sync_all()?;
        }
        announce(&file.metadata()?)?;
        match files.link(&file, path) {
            Ok(()) => {
                files.sync_folders_of(path)?;
                Ok(Some(Published::Done))
            }
            Err(Errno::EXIST) => Ok(Some(Published::NameTaken)),
            Err(Errno::NOENT | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM) if files.root.join(folder).is_dir() => {
                give_up()
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Folder {
    /// Gives a name to a file that has none.
    fn link(&self, file: &File, path: &str) -> Result<(), Errno> {
        // By its descriptor: the shortest way, which kernels before 6.10 allow to the privileged alone.
        if self.by_descriptor.load(Ordering::Relaxed) {
            match linkat(file, "", &self.folder, path, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => self.by_descriptor.store(false, Ordering::Relaxed),
                linked => return linked,
            }
        }
        // The way through /proc needs no privilege; where there is no /proc, parts have names.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, source, &self.folder, path, AtFlags::SYMLINK_FOLLOW)
    }
}
