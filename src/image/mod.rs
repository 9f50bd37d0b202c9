//! Tells what bytes are: the image format, the size in pixels, and whether the file is intact.
//!
//! [`recognise`] detects the image format from the first bytes of a body, or says what the body is instead. A signature
//! decides, and in all cases but one [`MAX_HEAD_BYTES`] bytes are enough, so a body that is no image is refused before
//! it has been downloaded. [`Recogniser`] does the same for a body that comes in pieces.
//!
//! [`Inspector`] is fed an image of a known format in pieces of any size, while it is downloaded. It reports the size
//! as soon as the header states it, then frames and orientation. At the end it says whether the file is intact as far
//! as that can be seen without decoding it: nothing cut off, lengths that agree, checksums that match. Its memory is
//! bounded and does not depend on the size of the image. [`exif`] reads the Exif metadata that cameras write.
//!
//! Each format has a file of its own that knows nothing of pieces; `parser.rs` feeds them. [`transform`] decodes,
//! resizes and encodes.

mod boxes;
pub mod exif;
mod gif;
mod header;
mod heif;
mod ifd;
mod inspector;
mod integers;
mod jp2;
mod jpeg;
mod jxl;
mod parser;
mod png;
mod raw;
mod signature;
mod svg;
mod tiff;
#[cfg(feature = "transform")]
pub mod transform;
mod types;
mod webp;
mod xml;

pub use inspector::Inspector;
pub use signature::{MAX_HEAD_BYTES, Recogniser, Recognition, recognise};
pub use types::{CorruptImage, InspectError, InspectOptions, Inspection};
