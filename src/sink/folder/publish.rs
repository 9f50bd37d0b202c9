//! Gives a complete body its final name.
//!
//! First the body is staged: all its bytes are written to a file that has no final name, so that the file can be noted
//! in the write-ahead log. Then the file is published: it gets its final name in one step.
//!
//! A body in memory is staged in a file without any name (see `tmpfile`). A larger body is staged in its part file,
//! which is then linked or renamed; so is every body if the file system has no unnamed files or an existing file is to
//! be replaced. With `--dedupe`, an existing file with the same bytes is hard-linked instead, and nothing is staged.
//!
//! With `--state`, part files may be on another file system, from which nothing can be linked or renamed. Then the body is
//! copied to a file without any name, or to one in the hidden folder of the output, and that is published.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{Folder, make_real_folder};
use crate::sink::body::{Body, SpillFile};
use crate::sink::{OnConflict, SpillDir};
use crate::util::private_file::remove_if_there;
use crate::util::redact::escaped;

/// A complete file that waits for its final name.
pub(super) enum Staged<'a> {
    /// A file without a name. The body is kept, in case the file cannot be linked.
    Unnamed(File, Body<'a>),
    /// A part file.
    Named(SpillFile),
}

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// The file has its final name.
    Done,
    /// Another file has that name, and stays.
    NameTaken,
}

/// Result of giving an existing file with the same bytes another name (a hard link).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linked {
    /// The file has this name too.
    Done,
    /// Another file has that name, and stays.
    NameTaken,
    /// The file system does not allow it.
    Impossible,
    /// The file is gone.
    Gone,
}

impl Staged<'_> {
    /// The metadata of the file.
    pub(super) fn metadata(&mut self) -> io::Result<Metadata> {
        match self {
            Self::Unnamed(file, _) => file.metadata(),
            Self::Named(part_file) => part_file.open()?.metadata(),
        }
    }
}

impl Folder {
    /// Writes a complete body to a file that has no final name. With `--fsync`, the file is flushed to the disk.
    pub(super) fn stage<'a>(&self, mut body: Body<'a>, path: &str, on_conflict: OnConflict) -> io::Result<Staged<'a>> {
        body.complete();
        self.make_folders(path)?;
        #[cfg(target_os = "linux")]
        if (body.is_in_memory() || self.staging_elsewhere().is_some())
            && on_conflict == OnConflict::Keep
            && let Some(file) = self.make_unnamed(&body, path)?
        {
            self.sync_file(&file)?;
            body.is_copied();
            return Ok(Staged::Unnamed(file, body));
        }
        self.stage_named(body)
    }

    fn stage_named<'a>(&self, mut body: Body<'a>) -> io::Result<Staged<'a>> {
        let mut part_file = match self.staging_elsewhere() {
            Some(staging) => {
                let mut part_file = new_file_in(staging)?;
                body.copy_to(part_file.open()?)?;
                body.is_copied();
                part_file
            }
            None => body.into_spill_file()?,
        };
        self.sync_file(part_file.open()?)?;
        Ok(Staged::Named(part_file))
    }

    /// Copies a staged file that turns out to be on another file system than its final name. A part file and the images
    /// may have one device and still be on two mounts.
    fn stage_again<'a>(&self, part_file: &SpillFile, staging: &SpillDir) -> io::Result<Staged<'a>> {
        self.is_elsewhere.store(true, Ordering::Relaxed);
        let mut copy = new_file_in(staging)?;
        io::copy(&mut File::open(&part_file.path)?, copy.open()?)?;
        self.sync_file(copy.open()?)?;
        Ok(Staged::Named(copy))
    }

    /// Where bodies are staged, if that is not where they are received: those are on another file system.
    fn staging_elsewhere(&self) -> Option<&SpillDir> {
        self.staging.as_ref().filter(|_| self.is_elsewhere.load(Ordering::Relaxed))
    }

    /// Gives a staged file its final name. With `--fsync`, the file is flushed once more: on a file system without a
    /// journal (ext2), the link is a change of the file, too, and its folder alone would lead to a file that is not
    /// there. If an unnamed file cannot be linked, or a part file is on another file system, the body is staged again in a
    /// part file, which is returned as the inner error and has to be published instead.
    pub(super) fn publish<'a>(
        &self,
        staged: Staged<'a>,
        path: &str,
        on_conflict: OnConflict,
    ) -> io::Result<Result<Published, Staged<'a>>> {
        let (published, _part) = match staged {
            #[cfg(target_os = "linux")]
            Staged::Unnamed(file, body) => {
                let Some(published) = self.link_unnamed(&file, path)? else {
                    // It takes as much of the disk as the one that is written instead.
                    drop(file);
                    return self.stage_named(body).map(Err);
                };
                if published == Published::Done {
                    self.sync_file(&file)?;
                }
                (published, None)
            }
            #[cfg(not(target_os = "linux"))]
            Staged::Unnamed(_, body) => return self.stage_named(body).map(Err),
            Staged::Named(mut part) => {
                let target = self.view.root().join(path);
                let published = match on_conflict {
                    OnConflict::Replace => fs::rename(&part.path, &target).map(|()| Published::Done),
                    OnConflict::Keep => rename_new(&part.path, &target),
                };
                let published = match (published, &self.staging) {
                    (Err(error), Some(staging))
                        if error.kind() == io::ErrorKind::CrossesDevices && !part.path.starts_with(staging.path()) =>
                    {
                        return self.stage_again(&part, staging).map(Err);
                    }
                    (published, _) => published?,
                };
                if published == Published::Done {
                    self.sync_file(part.open()?)?;
                }
                // Its old name goes after the new one is on the disk.
                (published, Some(part))
            }
        };
        if published == Published::Done {
            self.sync_folders_of(path)?;
        }
        Ok(Ok(published))
    }

    /// Hard-links the file `first`, which has these metadata, to another name.
    pub(super) fn link(
        &self,
        (first, metadata): (&str, &Metadata),
        path: &str,
        on_conflict: OnConflict,
    ) -> io::Result<Linked> {
        let (from, target) = (self.view.root().join(first), self.view.root().join(path));
        let is_same_file = |other: Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
        let linked = match on_conflict {
            // The file has this name already.
            OnConflict::Replace if self.view.metadata(path).is_some_and(is_same_file) => Ok(()),
            OnConflict::Replace => {
                // A hard link cannot replace a file, so a link under a temporary name is renamed.
                let temporary = match self.staging_elsewhere() {
                    Some(staging) => {
                        make_staging(staging)?;
                        staging.unused_path()?
                    }
                    None => self.spill_dir.unused_path()?,
                };
                fs::hard_link(&from, &temporary).and_then(|()| {
                    // Another image may have got the name `first` since its bytes were compared.
                    let linked = fs::symlink_metadata(&temporary).and_then(|linked| {
                        if is_same_file(linked) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
                    });
                    let renamed = linked.and_then(|()| fs::rename(&temporary, &target));
                    renamed.inspect_err(|_| drop(fs::remove_file(&temporary)))
                })
            }
            OnConflict::Keep => fs::hard_link(&from, &target),
        };
        match linked {
            Ok(()) => {
                if self.options.fsync {
                    self.sync_file(&File::open(&target)?)?;
                }
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

    /// Removes an image that no record names any more. A file of another size than `bytes` is not that image, and
    /// stays. With `--fsync`, it does not come back with a loss of power.
    pub fn remove(&self, path: &str, bytes: u64) {
        if self.view.size(path) != Some(bytes) {
            return;
        }
        let removed = remove_if_there(&self.view.root().join(path)).and_then(|()| self.sync_folders_of(path));
        if let Err(error) = removed {
            // This is only a warning, because the image that replaces it is stored.
            tracing::warn!(target: "fetchimg", "Cannot remove {}, which no row has any more: {error}", escaped(path));
        }
    }
}

/// Creates a file in the folder where bodies are staged.
fn new_file_in(staging: &SpillDir) -> io::Result<SpillFile> {
    make_staging(staging)?;
    staging.create(None)
}

/// Creates the folder where bodies are staged, which is in the hidden folder of the output. The output folder itself is not
/// created again.
fn make_staging(staging: &SpillDir) -> io::Result<()> {
    staging.path().parent().map_or(Ok(()), make_real_folder)?;
    make_real_folder(staging.path())
}

/// Gives a file a new name, unless that name is taken. A hard link does this in one step on every file system that has
/// hard links. On others (FAT, some network file systems) the name is checked first, so another program may take it in
/// between.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<Published> {
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
