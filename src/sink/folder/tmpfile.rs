//! Files that have no name until they are complete (`O_TMPFILE`, open(2)).
//!
//! Such a file is linked to its final name in one step, so it is complete from the moment it can be seen. If the
//! program is killed before that, nothing has to be cleaned up. Only Linux has such files, and not on every file
//! system.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};
use rustix::io::Errno;

use super::Folder;
use super::publish::Published;
use crate::sink::body::Body;

impl Folder {
    /// Writes a body to a file without a name, in the folder of `path`. `None` if the file system has no such
    /// files.
    pub(super) fn make_unnamed(&self, body: &Body<'_>, path: &str) -> io::Result<Option<File>> {
        if !self.has_unnamed_files.load(Ordering::Relaxed) {
            return Ok(None);
        }
        // open(2): EOPNOTSUPP from file systems without unnamed files, EISDIR from kernels before 3.11.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = match openat(&self.descriptor, parent(path), flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                self.has_unnamed_files.store(false, Ordering::Relaxed);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        body.copy_to(&mut file)?;
        Ok(Some(file))
    }

    /// Gives an unnamed file its name. `None` if the file system does not allow it; the file is lost then.
    pub(super) fn link_unnamed(&self, file: &File, path: &str) -> io::Result<Option<Published>> {
        match self.link_file(file, path) {
            Ok(()) => Ok(Some(Published::Done)),
            Err(Errno::EXIST) => Ok(Some(Published::NameTaken)),
            Err(Errno::NOENT | Errno::XDEV | Errno::OPNOTSUPP | Errno::PERM)
                if self.view.root().join(parent(path)).is_dir() =>
            {
                self.has_unnamed_files.store(false, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn link_file(&self, file: &File, path: &str) -> Result<(), Errno> {
        // AT_EMPTY_PATH links by the descriptor. Kernels before 6.10 allow it only with CAP_DAC_READ_SEARCH
        // (linkat(2)).
        if self.links_by_descriptor.load(Ordering::Relaxed) {
            match linkat(file, "", &self.descriptor, path, AtFlags::EMPTY_PATH) {
                Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
                    self.links_by_descriptor.store(false, Ordering::Relaxed);
                }
                linked => return linked,
            }
        }
        // Linking through /proc needs no capability. Without /proc, bodies are staged in part files.
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, source, &self.descriptor, path, AtFlags::SYMLINK_FOLLOW)
    }
}

/// The folder of a path, relative to the output folder.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(folder, _)| folder)
}
