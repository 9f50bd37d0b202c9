//! Files of fetchimg's own in the output folder: the lock, the journal, what earlier runs measured.
//!
//! Whoever may write into the folder, or packed the archive that it came out of, may have put a symbolic link in their
//! place. Written through it, they would destroy what it leads to.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The folder of everything that is no image, inside the output folder.
pub const FOLDER: &str = ".fetchimg";

/// Opens a file as the options say, but never one behind a symbolic link.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        // open(2) says "too many levels of symbolic links" of a single one.
        Some(code) if code == Errno::LOOP.raw_os_error() => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link, which may lead anywhere")
        }
        _ => error,
    })
}

/// Removes a file of ours, if it is there. A link in its place is removed, and not what it leads to.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_opened_neither_for_writing_nor_for_reading() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, there, nowhere) = (folder.path().join("file"), folder.path().join("a"), folder.path().join("b"));
        let append = |path: &Path| open(OpenOptions::new().create(true).append(true), path);
        append(&file).expect("a new file");
        append(&file).expect("the same file");
        symlink(&file, &there).expect("a link");
        symlink(folder.path().join("new"), &nowhere).expect("a link");
        for link in [there, nowhere] {
            for opened in [append(&link), open(OpenOptions::new().read(true), &link)] {
                let error = opened.expect_err("it is a link");
                assert_eq!(error.to_string(), "it is a symbolic link, which may lead anywhere");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 3, "nothing was made behind a link");
    }
}
