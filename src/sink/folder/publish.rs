//! How a complete body gets its name.
//!
//! A body is staged first: all its bytes are in a file that has no final name, so that the file can be noted in the
//! write-ahead log. Then the file is published in one step. A body in memory is staged in a file without any name (see
//! `tmpfile`). Everything else is staged in a part file, which is linked or renamed: larger bodies, and all of them where
//! the file system has no unnamed files or an existing file is to be replaced. With `--dedupe`, a file that is there
//! already and has the same bytes is what is staged, and it gets a second name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Folder;
use crate::sink::OnConflict;
use crate::sink::body::{Body, SpillFile};
use crate::util::private_file::remove_if_there;

/// A complete file that waits for its final name.
pub(super) enum Staged<'a> {
    /// A file without a name. The body is still there, in case the file cannot be linked.
    Unnamed(File, Body<'a>),
    /// A part file.
    Named(SpillFile),
}

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The file is there under its name.
    Done,
    /// There is another file of that name, and it stays.
    NameTaken,
}

/// Result of hard-linking an existing file with the same bytes to another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// The file has this name too.
    Done,
    /// There is another file of that name, and it stays.
    NameTaken,
    /// One file cannot have two names here.
    Impossible,
    /// The file is gone.
    Gone,
}

impl Staged<'_> {
    /// What the system says about the file.
    pub(super) fn metadata(&mut self) -> io::Result<Metadata> {
        match self {
            Self::Unnamed(file, _) => file.metadata(),
            Self::Named(part) => part.open()?.metadata(),
        }
    }
}

impl Folder {
    /// Writes a complete body to a file that has no final name. With `--fsync`, the file is on the disk then.
    pub(super) fn stage<'a>(&self, mut body: Body<'a>, path: &str, on_conflict: OnConflict) -> io::Result<Staged<'a>> {
        body.complete();
        self.make_folders(path)?;
        #[cfg(target_os = "linux")]
        if body.is_in_memory()
            && on_conflict == OnConflict::Keep
            && let Some(file) = self.make_unnamed(&body, path)?
        {
            self.sync_file(&file)?;
            return Ok(Staged::Unnamed(file, body));
        }
        self.stage_named(body)
    }

    fn stage_named<'a>(&self, body: Body<'a>) -> io::Result<Staged<'a>> {
        let mut part = body.into_spill_file()?;
        self.sync_file(part.open()?)?;
        Ok(Staged::Named(part))
    }

    /// Gives a staged file its final name. If it cannot be linked from where it is, it is staged anew and comes back as an
    /// error to be published again.
    pub(super) fn publish<'a>(
        &self,
        staged: Staged<'a>,
        path: &str,
        on_conflict: OnConflict,
    ) -> io::Result<Result<Published, Staged<'a>>> {
        let target = self.view.root().join(path);
        let published = match staged {
            #[cfg(target_os = "linux")]
            Staged::Unnamed(file, body) => match self.link_unnamed(&file, path)? {
                Some(published) => published,
                None => return self.stage_named(body).map(Err),
            },
            #[cfg(not(target_os = "linux"))]
            Staged::Unnamed(_, body) => return self.stage_named(body).map(Err),
            Staged::Named(part) => match on_conflict {
                OnConflict::Replace => fs::rename(&part.path, &target).map(|()| Published::Done),
                OnConflict::Keep => rename_new(&part.path, &target),
            }?,
        };
        if published == Published::Done {
            self.sync_folders_of(path)?;
        }
        Ok(Ok(published))
    }

    /// Gives the file `first`, which has these metadata, another name.
    pub(super) fn link(
        &self,
        (first, found): (&str, &Metadata),
        path: &str,
        on_conflict: OnConflict,
    ) -> io::Result<Linked> {
        let (from, target) = (self.view.root().join(first), self.view.root().join(path));
        let is_same_file = |other: Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
        let linked = match on_conflict {
            // It has this name already.
            OnConflict::Replace if self.view.metadata(path).is_some_and(is_same_file) => Ok(()),
            OnConflict::Replace => {
                let aside = self.spill_dir.unused_path()?;
                fs::hard_link(&from, &aside).and_then(|()| {
                    let renamed = fs::rename(&aside, &target);
                    renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
                })
            }
            OnConflict::Keep => fs::hard_link(&from, &target),
        };
        match linked {
            Ok(()) => {
                self.sync_folders_of(path)?;
                Ok(Linked::Done)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::AlreadyExists if on_conflict == OnConflict::Keep => Ok(Linked::NameTaken),
                io::ErrorKind::NotFound => Ok(Linked::Gone),
                io::ErrorKind::Unsupported
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::TooManyLinks
                | io::ErrorKind::CrossesDevices => Ok(Linked::Impossible),
                _ => Err(error),
            },
        }
    }

    /// Removes an image that another one has replaced under another name. A file of another size is not that image any
    /// more, and stays.
    pub(super) fn remove(&self, path: &str, bytes: u64) -> io::Result<()> {
        if self.view.size(path) != Some(bytes) {
            return Ok(());
        }
        remove_if_there(&self.view.root().join(path))
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
