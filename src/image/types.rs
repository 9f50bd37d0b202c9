//! What the parsers of the formats share: what is looked for in an image, what is found, and what is wrong with it.

use std::fmt;
use std::io;

use serde_json::{Map, Value};

use crate::record::Measures;

/// What is wrong with an image, in words that follow "the image is corrupt:".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptImage(pub &'static str);

impl fmt::Display for CorruptImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why there is no end to an inspection.
#[derive(Debug)]
pub enum InspectError {
    /// The image is not sound.
    Corrupt(CorruptImage),
    /// What has been stored of it cannot be read.
    Io(io::Error),
}

impl From<CorruptImage> for InspectError {
    fn from(corruption: CorruptImage) -> Self {
        Self::Corrupt(corruption)
    }
}

impl From<io::Error> for InspectError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is looked for besides the measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct InspectOptions {
    /// Whether the image is sound. Without it nothing is ever wrong.
    pub structure: bool,
    /// What its Exif block says.
    pub exif: bool,
}

/// What has been found out about an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// Its size, frames and orientation.
    pub measures: Measures,
    /// What [`exif::selected_fields`](super::exif::selected_fields) tells, if it was wanted.
    pub exif: Map<String, Value>,
}

/// What a header has told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeaderInfo {
    pub(super) measures: Measures,
    /// How many bytes the file has at least if it is whole.
    pub(super) min_length: u64,
    /// Where an Exif block is, and its length.
    pub(super) exif: Option<(u64, u64)>,
    /// More of the file would tell more.
    pub(super) is_partial: bool,
    /// Where the next box begins, and has not been looked at.
    pub(super) next_box: Option<u64>,
    /// No box with the picture's data has been seen.
    pub(super) lacks_data: bool,
}

/// What is wrong with a file that is shorter than it says.
pub(super) const TRUNCATED: &str = "it ends before its data does";

/// A picture of this size.
pub(super) fn sized(width: u32, height: u32) -> Measures {
    let some = |side| Some(side).filter(|side| *side > 0);
    Measures { width: some(width), height: some(height), ..Measures::default() }
}
