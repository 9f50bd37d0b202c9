//! Types that the format parsers share: what to look for in an image, what was found, and what is wrong with it.

use std::fmt;
use std::io;

use serde_json::{Map, Value};

use crate::record::{Format, Measures};

/// Why an image is corrupt, worded to follow "the image is corrupt:".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptImage(pub &'static str);

impl fmt::Display for CorruptImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why an inspection failed.
#[derive(Debug)]
pub enum InspectError {
    /// The image is corrupt.
    Corrupt(CorruptImage),
    /// The stored body cannot be read back.
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

/// What to look for besides size, frames and orientation.
#[derive(Clone, Copy, Debug, Default)]
pub struct InspectOptions {
    /// Check that the file is intact. Without this, no image is ever reported as corrupt.
    pub structure: bool,
    /// Read the Exif block.
    pub exif: bool,
}

/// Result of inspecting an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// Its size, frames and orientation.
    pub measures: Measures,
    /// Fields of [`exif::selected_fields`](super::exif::selected_fields); empty unless asked for.
    pub exif: Map<String, Value>,
    /// The format, if the whole file tells it more precisely than its first bytes: many camera raw files begin as TIFF.
    pub format: Option<Format>,
    /// What is wrong with the image unless all of its picture can be decoded. Only with [`InspectOptions::structure`].
    pub doubt: Option<CorruptImage>,
}

/// Result of parsing a header.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeaderInfo {
    pub(super) measures: Measures,
    /// The least number of bytes that the file has if it is complete.
    pub(super) min_length: u64,
    /// Offset and length of an Exif block, in bytes.
    pub(super) exif: Option<(u64, u64)>,
    /// Parsing more of the file may give more.
    pub(super) is_partial: bool,
    /// Offset of the first box that has not been read.
    pub(super) next_box: Option<u64>,
    /// The file is made of boxes, and none with image data has been seen.
    pub(super) lacks_data: bool,
}

/// The file is shorter than its header states.
pub(super) const TRUNCATED: &str = "it ends before its data does";

/// Measures with this width and height in pixels; 0 counts as unknown.
pub(super) fn sized(width: u32, height: u32) -> Measures {
    let some = |side| Some(side).filter(|side| *side > 0);
    Measures { width: some(width), height: some(height), ..Measures::default() }
}
