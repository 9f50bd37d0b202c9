//! What is handed to a sink with a complete body, and what it says of it.

use std::time::Instant;

use super::folder::wal::WalEntry;
use crate::record::{Algorithm, Outcome, Record, RecordLine, milliseconds};

/// One complete, checked image on its way to its place. The body comes beside it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its record, which says `saved`. What only storing can tell is filled in by the sink.
    pub record: Record,
    /// Where the image goes, relative to the output.
    pub path: &'a str,
    /// What happens when that path is taken.
    pub on_conflict: OnConflict,
    /// The file that an earlier run stored for the same row.
    pub replaces: Option<Replaced<'a>>,
    /// The path holds the SHA-256 of the image, so what is there already is the same.
    pub is_content_addressed: bool,
    /// When the first attempt at the download began.
    pub began: Option<Instant>,
}

/// What to do when a path is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave the file that is there.
    Keep,
    /// Put the new one in its place.
    Replace,
}

/// A file of an earlier run that a new one takes the place of.
#[derive(Clone, Copy, Debug)]
pub struct Replaced<'a> {
    /// Its path, relative to the output.
    pub path: &'a str,
    /// Its size in bytes when it was stored. A file of another size is not that image any more.
    pub bytes: u64,
    /// Remove it when the new file is there. Not where the new file may be the same one under another spelling.
    pub remove: bool,
}

impl Entry<'_> {
    /// The line of the record, now that the image is about to appear: as a file of its own, or with the content of
    /// `same_as`.
    pub(super) fn line(&mut self, same_as: Option<&str>) -> serde_json::Result<RecordLine> {
        if let Outcome::Saved(saved) = &mut self.record.outcome {
            saved.same_as = same_as.map(str::to_owned);
            if let Some(began) = self.began {
                saved.timing.total_ms = milliseconds(began.elapsed());
            }
        }
        RecordLine::of(&self.record)
    }

    /// The SHA-256 of the image in hexadecimal digits, if it was computed.
    pub(super) fn sha256(&self) -> Option<&str> {
        match &self.record.outcome {
            Outcome::Saved(saved) => saved.digests.get(Algorithm::Sha256),
            _ => None,
        }
    }

    /// Whether `path` is what this very row had before: it keeps that path, or the file goes when the new one is there.
    pub(super) fn is_own(&self, path: &str) -> bool {
        path == self.path || self.replaces.is_some_and(|replaced| replaced.path == path)
    }
}

/// How storing an image ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is nearly always New, and taken apart where it comes back")]
pub enum Stored {
    /// It is there.
    New {
        /// Its record.
        record: Record,
        /// The same as a line of the journal.
        line: RecordLine,
        /// To be released when the line is where it has to survive.
        receipt: Receipt,
    },
    /// It is not stored: there is another file of that path, and it stays.
    Exists,
    /// It is not stored: this file has the same bytes.
    Duplicate {
        /// Its path, relative to the output.
        of: String,
    },
}

/// Until when the sink needs to remember a record by itself. Dropped without [`Receipt::release`], it leaves the record
/// to the next run.
#[derive(Debug, Default)]
#[must_use = "what the receipt stands for is kept until it is released"]
pub enum Receipt {
    /// The write-ahead log holds the record until the journal does.
    Wal(WalEntry),
    /// The sink keeps nothing.
    #[default]
    None,
}

impl Receipt {
    /// The record is in the journal.
    pub fn release(self) {
        match self {
            Self::Wal(entry) => entry.release(),
            Self::None => {}
        }
    }
}
