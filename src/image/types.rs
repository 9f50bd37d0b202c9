//! What the parsers of the formats share: what is looked for in an image, what is found, and what is wrong with it.

use std::fmt;
use std::io;

use serde_json::{Map, Value};

use crate::record::Measures;

/// What is wrong with an image, in words that follow "the image is corrupt:".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsound(pub &'static str);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why there is no end to an inspection.
#[derive(Debug)]
pub enum Fault {
    /// The image is not sound.
    Unsound(Unsound),
    /// What has been stored of it cannot be read.
    Io(io::Error),
}

impl From<Unsound> for Fault {
    fn from(unsound: Unsound) -> Self {
        Self::Unsound(unsound)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is looked for besides the measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether the image is sound. Without it nothing is ever wrong.
    pub structure: bool,
    /// What its Exif block says.
    pub exif: bool,
}

/// What has been found out about an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its size, frames and orientation.
    pub measures: Measures,
    /// What [`exif::of_interest`](super::exif::of_interest) tells, if it was wanted.
    pub exif: Map<String, Value>,
}

/// What a header has told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) measures: Measures,
    /// How many bytes the file has at least if it is whole.
    pub(super) least: u64,
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
pub(super) const CUT: &str = "it ends before its data does";

/// A picture of this size.
pub(super) fn sized(width: u32, height: u32) -> Measures {
    let some = |side| Some(side).filter(|side| *side > 0);
    Measures { width: some(width), height: some(height), ..Measures::default() }
}
