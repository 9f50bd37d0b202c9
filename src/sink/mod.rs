//! Stores complete images in the output.
//!
//! A [`Body`] takes the bytes of one download. [`Sink::store`] is the only way for an image to appear in the output: it
//! takes the body together with an [`Entry`], which holds the record of the image. A body that is dropped before that
//! leaves nothing behind, or only what a later run can resume.
//!
//! Everything before a complete, checked image is the same for every kind of output; everything after it is up to the
//! sink. The sinks are a closed family: a [`Folder`] with a file for each image, and shards with thousands of images each.
//!
//! All calls block, on the threads that run the downloads, because handing each small file operation to a pool of blocking
//! threads would cost more than the operation itself. [`Sink::store`] also lets other downloads have their turn, so that
//! images that are complete at the same time share what can be shared.

mod body;
mod entry;
pub mod folder;
mod resume;
#[cfg(feature = "parquet")]
pub mod shards;

use std::io;
use std::path::PathBuf;

use url::Url;

pub use self::body::{Body, BodyReader, OwnedBody};
pub use self::entry::{Entry, OnConflict, Receipt, Stored};
pub use self::folder::Folder;
pub use self::resume::{Origin, SpillDir};
#[cfg(feature = "parquet")]
pub use self::shards::Shards;
use crate::util::private_file;

/// Where the images of a run go.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for a run, behind a pointer")]
pub enum Sink {
    /// A folder with a file for each image.
    Folder(Folder),
    /// Shards with thousands of images each.
    #[cfg(feature = "parquet")]
    Shards(Box<Shards>),
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
            #[cfg(feature = "parquet")]
            Self::Shards(shards) => shards.root(),
        }
    }

    /// Whether images are kept at all, and not only looked at.
    #[must_use]
    pub const fn keeps_images(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            #[cfg(feature = "parquet")]
            Self::Shards(shards) => shards.keeps_images(),
        }
    }

    /// The size in bytes of the image that is stored under this path, if there is one.
    #[must_use]
    pub fn size(&self, path: &str) -> Option<u64> {
        match self {
            Self::Folder(folder) => folder.view().size(path),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => None,
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
            #[cfg(feature = "parquet")]
            Self::Shards(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether the path is known to be taken, by an image or anything else.
    #[must_use]
    pub fn is_taken(&self, path: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.view().is_taken(path),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => false,
        }
    }

    /// Whether the run can go on after an image could not be stored: if other images can be, each as a file of its own. A
    /// shard would be completed without the row, and its rows are not fetched again.
    #[must_use]
    pub fn outlives_errors(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.is_usable(),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => false,
        }
    }

    /// Whether records have to be on the disk before they count (`--fsync`).
    #[must_use]
    pub fn syncs(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.syncs(),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => false,
        }
    }

    /// Stores one complete, checked image.
    ///
    /// # Errors
    /// When the image, or its entry in the write-ahead log, cannot be written.
    pub async fn store(&self, entry: Entry<'_>, body: Body<'_>) -> io::Result<Stored> {
        match self {
            Self::Folder(folder) => folder.store(entry, body).await,
            #[cfg(feature = "parquet")]
            // Boxed, because every download would be moved with room for it.
            Self::Shards(shards) => Box::pin(shards.store(entry, body)).await,
        }
    }

    /// To be called when a row whose record names `path`, an image of `bytes` bytes, has another image now, before the
    /// new record is in the journal. If no other record names the image, it is removed.
    pub fn release(&self, path: &str, bytes: u64) {
        match self {
            Self::Folder(folder) => folder.release(path, bytes),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => {}
        }
    }

    fn spill_dir(&self) -> &SpillDir {
        match self {
            Self::Folder(folder) => folder.spill_dir(),
            #[cfg(feature = "parquet")]
            Self::Shards(shards) => shards.spill_dir(),
        }
    }

    /// Whether there is no use in further images: the reader of a stream has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Folder(_) => false,
            #[cfg(feature = "parquet")]
            Self::Shards(shards) => shards.is_closed(),
        }
    }

    /// The folder, if each image becomes a file of it.
    #[must_use]
    pub fn folder(&self) -> Option<&Folder> {
        match self {
            Self::Folder(folder) => Some(folder),
            #[cfg(feature = "parquet")]
            Self::Shards(_) => None,
        }
    }

    /// The shards, if images go there.
    #[cfg(feature = "parquet")]
    #[must_use]
    pub fn shards(&self) -> Option<&Shards> {
        match self {
            Self::Folder(_) => None,
            Self::Shards(shards) => Some(shards),
        }
    }
}

#[cfg(all(test, feature = "parquet"))]
mod tests {
    use url::Url;

    use super::*;
    use crate::record::{Job, Outcome, Reason, Record, Skipped};

    #[test]
    fn the_way_to_a_file_has_no_room_for_shards() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(dir.path(), None, folder::Options::default()).expect("a folder");
        let sink = Sink::Folder(folder);
        let Sink::Folder(folder) = &sink else { unreachable!() };
        let entry = || {
            let job = Job::new(0, Url::parse("http://a.example/a.png").expect("a URL"));
            let skipped = Skipped::new(Reason::FileExists, None);
            let record = Record::of(&job, Outcome::Skipped(skipped));
            let (on_conflict, replaces) = (OnConflict::Keep, None);
            Entry { record, path: "a.png", on_conflict, replaces, is_content_addressed: false, began: None }
        };
        let alone = size_of_val(&folder.store(entry(), folder.spill_dir().body(None, None)));
        let chosen = size_of_val(&sink.store(entry(), sink.body(None, None)));
        let arguments = size_of::<Entry<'_>>() + size_of::<Body<'_>>();
        assert!(chosen <= alone + arguments + 32, "{chosen} bytes, {alone} of them for the folder");
    }
}
