//! Stores complete images in the output.
//!
//! A [`Body`] takes the bytes of one download. [`Sink::store`] is the only way for an image to appear in the output: it
//! takes the body together with an [`Entry`], which holds the record of the image. A body that is dropped before that
//! leaves nothing behind, or only what a later run can resume.
//!
//! Everything before a complete, checked image is the same for every kind of output; everything after it is up to the
//! sink. The sinks are a closed family, and today there is one: a [`Folder`] with a file for each image.
//!
//! All calls block, on the threads that run the downloads, because handing each small file operation to a pool of blocking
//! threads would cost more than the operation itself. [`Sink::store`] also lets other downloads have their turn, so that
//! images that are complete at the same time share what can be shared.

mod body;
mod entry;
pub mod folder;
mod resume;

use std::io;
use std::path::PathBuf;

use url::Url;

pub use self::body::{Body, BodyReader, OwnedBody};
pub use self::entry::{Entry, OnConflict, Receipt, Stored};
pub use self::folder::Folder;
pub use self::resume::{Origin, SpillDir};
use crate::util::private_file;

/// Where the images of a run go.
#[derive(Debug)]
pub enum Sink {
    /// A folder with a file for each image.
    Folder(Folder),
}

impl Sink {
    /// A new body, of `expected` bytes if that is known. With an `origin`, a partial body is kept for a later run when
    /// it is dropped, if it is long enough to be worth it.
    #[must_use]
    pub fn body<'a>(&'a self, expected: Option<u64>, origin: Option<Origin<'a>>) -> Body<'a> {
        self.spill_dir().body(expected, origin)
    }

    /// The partial body of this URL that an earlier run has left, if it can be resumed.
    #[must_use]
    pub fn unfinished<'a>(&'a self, url: &'a Url) -> Option<Body<'a>> {
        self.spill_dir().unfinished(url)
    }

    /// The path of the output, for messages.
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

    /// Opens the image that is stored under this path, for reading. A link is not followed.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, path: &str) -> io::Result<std::fs::File> {
        match self {
            Self::Folder(folder) => {
                let options = &mut std::fs::OpenOptions::new();
                private_file::open(options.read(true), &folder.view().root().join(path))
            }
        }
    }

    /// Whether the path is known to be taken, by an image or anything else.
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
    /// When the image, or its entry in the write-ahead log, cannot be written.
    pub async fn store(&self, entry: Entry<'_>, body: Body<'_>) -> io::Result<Stored> {
        match self {
            Self::Folder(folder) => folder.store(entry, body).await,
        }
    }

    /// To be called when a row whose record names `path`, an image of `bytes` bytes, has another image now, before the
    /// new record is in the journal. If no other record names the image, it is removed.
    pub fn release(&self, path: &str, bytes: u64) {
        match self {
            Self::Folder(folder) => folder.release(path, bytes),
        }
    }

    const fn spill_dir(&self) -> &SpillDir {
        match self {
            Self::Folder(folder) => folder.spill_dir(),
        }
    }
}
