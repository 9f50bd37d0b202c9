//! What the bytes are.
//!
//! [`recognise`] looks at the first bytes of a body and tells the image format, or what it is instead. It decides on a
//! signature alone and mostly never waits for more than [`ENOUGH`] bytes, so that a body that is no image is refused
//! before it has been read. [`Recogniser`] does the same with a body that comes in pieces.
//!
//! [`Inspector`] is fed an image of a known format while it comes, in pieces of any size, and tells its size as soon as
//! the header does, then its frames and its orientation, and at the end whether it is sound as far as that can be seen
//! without decoding it: nothing cut off, lengths that agree, checksums that hold. It needs the same little memory for any
//! image. [`exif`] holds what cameras note down.
//!
//! Each format has a file of its own that knows nothing of pieces; `stream.rs` cuts and joins for them.

mod boxes;
mod directory;
pub mod exif;
mod fields;
mod gif;
mod header;
mod heif;
mod inspector;
mod jp2;
mod jpeg;
mod jxl;
mod png;
mod signature;
mod stream;
mod svg;
mod tiff;
#[cfg(feature = "transform")]
pub mod transform;
mod webp;

pub use inspector::{Fault, Found, Inspector, Unsound, Wanted};
pub use signature::{ENOUGH, Recogniser, Verdict, recognise};
