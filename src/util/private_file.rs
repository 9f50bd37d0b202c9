//! Names and opens fetchimg's own files in the output folder: the lock, the journal, the times of earlier runs.
//!
//! Another user who may write into the folder, or who packed the archive that it was extracted from, may have put a
//! symbolic link where such a file belongs. Writing through the link would destroy the file that it points to.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The folder inside the output folder that holds what is not complete. It is there only while a run goes on, or while
/// something in it waits for the next run.
pub const FOLDER: &str = ".fetchimg";

/// The journal, inside the output folder.
pub const JOURNAL: &str = ".fetchimg.jsonl";

/// The times of earlier runs, inside the output folder.
pub const RUNS: &str = ".fetchimg.runs.jsonl";

/// Whether something in the output folder with this name is fetchimg's own. No image has a name that begins with a dot.
#[must_use]
pub fn is_own_name(name: &OsStr) -> bool {
    name.as_bytes().strip_prefix(FOLDER.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'.', ..]))
}

/// Says what the set of shards in the output folder was made with.
pub const SET: &str = ".fetchimg.set.json";

/// Opens a file with these options, but never through a symbolic link (`O_NOFOLLOW`).
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where `path` is a symbolic link; otherwise the error of `open(2)`.
pub fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let opened = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path);
    opened.map_err(|error| match error.raw_os_error() {
        // With O_NOFOLLOW, open(2) reports a single link as ELOOP, "too many levels of symbolic links".
        Some(code) if code == Errno::LOOP.raw_os_error() => {
            io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link, which may lead anywhere")
        }
        _ => error,
    })
}

/// Removes one of fetchimg's own files, if it exists. If a symbolic link is in its place, the link is removed and not the file
/// that it points to.
///
/// # Errors
/// When the file exists and cannot be removed.
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
    fn own_files_are_told_from_others_by_their_names() {
        for own in [FOLDER, JOURNAL, RUNS, ".fetchimg.another"] {
            assert!(is_own_name(OsStr::new(own)), "{own}");
        }
        for other in ["", "fetchimg", ".fetchimg2", ".fetchimg-old", ".hidden", "a.fetchimg"] {
            assert!(!is_own_name(OsStr::new(other)), "{other}");
        }
    }

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
