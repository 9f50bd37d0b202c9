//! What the bytes are.
//!
//! [`recognise`] looks at the first bytes of a body and tells the image format, or what it is instead. It decides on a
//! signature alone and mostly never waits for more than [`ENOUGH`] bytes, so that a body that is no image is refused
//! before it has been read. [`Recogniser`] does the same with a body that comes in pieces.
//!
//! Whether the rest of the image is sound is not looked at here.

mod fields;
mod signature;

pub use signature::{ENOUGH, Recogniser, Verdict, recognise};
