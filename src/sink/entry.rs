//! What a sink gets with a complete body, and what it returns.

use std::time::Instant;

use super::folder::wal::WalEntry;
use crate::record::{Algorithm, Outcome, Record, RecordLine, RunMark, milliseconds};

/// One complete, checked image that is about to be stored. Its bytes are in a separate [`Body`](super::Body).
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its record, with the outcome `saved`. The sink fills in what is known only when the image is stored.
    pub record: Record,
    /// Where the image goes, relative to the output.
    pub path: &'a str,
    /// What happens when that path is taken.
    pub on_conflict: OnConflict,
    /// The path of the file that an earlier run stored for the same row, which this one replaces.
    pub replaces: Option<&'a str>,
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

impl Entry<'_> {
    /// Completes the record and serialises it as a line of the run with this mark. `same_as` is the file that the image
    /// shares its content with.
    pub(super) fn line(&mut self, same_as: Option<&str>, mark: RunMark) -> serde_json::Result<RecordLine> {
        if let Outcome::Saved(saved) = &mut self.record.outcome {
            saved.same_as = same_as.map(str::to_owned);
            if let Some(began) = self.began {
                saved.timing.total_ms = milliseconds(began.elapsed());
            }
        }
        RecordLine::of_run(&self.record, mark)
    }

    /// Completes the record of an image that is stored now.
    #[cfg(feature = "parquet")]
    pub(super) fn complete(&mut self) {
        if let (Outcome::Saved(saved), Some(began)) = (&mut self.record.outcome, self.began) {
            saved.timing.total_ms = milliseconds(began.elapsed());
        }
    }

    /// The SHA-256 of the image in hexadecimal digits, if it was computed.
    pub(super) fn sha256(&self) -> Option<&str> {
        match &self.record.outcome {
            Outcome::Saved(saved) => saved.digests.get(Algorithm::Sha256),
            _ => None,
        }
    }

    /// Whether `path` is that of this image, or of the file of an earlier run that it replaces.
    pub(super) fn is_own(&self, path: &str) -> bool {
        path == self.path || self.replaces == Some(path)
    }
}

/// How storing an image ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is nearly always New, and taken apart where it comes back")]
pub enum Stored {
    /// It was stored.
    New {
        /// Its record.
        record: Record,
        /// The record as a line of the journal.
        line: RecordLine,
        /// To be released when the line is safely in the journal.
        receipt: Receipt,
    },
    /// It was not stored, because the path is taken by another file, which stays.
    Exists,
    /// It was not stored, because this file has the same bytes.
    Duplicate {
        /// Its path, relative to the output.
        of: String,
    },
}

/// Keeps the record of a stored image in the write-ahead log until the journal has it. If it is dropped without
/// [`Receipt::release`], the next run adopts the record.
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
    /// To be called when the record is in the journal.
    pub fn release(self) {
        match self {
            Self::Wal(entry) => entry.release(),
            Self::None => {}
        }
    }
}
