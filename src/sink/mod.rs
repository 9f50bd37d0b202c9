//! Where complete images go.
//!
//! A [`Body`] takes the bytes of one download. With what is to be recorded of it, as an [`Entry`], it is handed to
//! [`Sink::store`], which is the only way for an image to appear. A body that is dropped before leaves no trace, or what
//! a later run can resume.
//!
//! Everything before a complete, checked image is the same for every kind of output; everything after it is up to the
//! sink. The sinks are a closed family, and today there is one: a [`Folder`] with a file for each image.
//!
//! All calls block. They are made in line, on the threads that run the downloads: a pool of threads for each small file
//! operation costs more than the files themselves.

mod body;
mod entry;
pub mod folder;
mod resume;

use std::io;
use std::path::PathBuf;

use url::Url;

pub use self::body::{Body, BodyReader, OwnedBody};
pub use self::entry::{Entry, OnConflict, Receipt, Replaced, Stored};
pub use self::folder::Folder;
pub use self::resume::{Origin, SpillDir};

/// Where the images of a run go.
#[derive(Debug)]
pub enum Sink {
    /// A folder with a file for each image.
    Folder(Folder),
}

impl Sink {
    /// A place for the bytes of a download of about `expected` bytes, if that is known. With its `origin`, what has
    /// come of it when it is dropped is kept for a later run, unless that is hardly anything.
    #[must_use]
    pub fn body<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Body<'a> {
        self.spill_dir().body(expected, origin)
    }

    /// What an earlier run has of the body at this URL, if it can be resumed.
    #[must_use]
    pub fn unfinished<'a>(&'a self, url: &'a Url) -> Option<Body<'a>> {
        self.spill_dir().unfinished(url)
    }

    /// Where the images are, as an error names it.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.view().root().to_owned(),
        }
    }

    /// The size in bytes of the image that is stored under this path, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        match self {
            Self::Folder(folder) => folder.view().size(path),
        }
    }

    /// Whether the path is known to be taken, by whatever.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.view().is_taken(path),
        }
    }

    /// Whether images can be stored at all. If not, the run cannot go on after a storage error.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.is_usable(),
        }
    }

    /// Whether records have to be on the disk before they count (`--fsync`).
    #[must_use]
    pub const fn syncs(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.syncs(),
        }
    }

    /// Stores one complete, checked image.
    ///
    /// # Errors
    /// When the image, or the note about it, cannot be written.
    pub fn store(&self, entry: Entry<'_>, body: Body<'_>) -> io::Result<Stored> {
        match self {
            Self::Folder(folder) => folder.store(entry, body),
        }
    }

    const fn spill_dir(&self) -> &SpillDir {
        match self {
            Self::Folder(folder) => folder.spill_dir(),
        }
    }
}
