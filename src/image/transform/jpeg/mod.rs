//! JPEG through the libjpeg family, which is what browsers and most other programs show JPEG with.
//!
//! Odd but sound files have to look as they look elsewhere: one scan per component, any sampling, JFIF beside Adobe
//! segments, frames without Huffman tables, arithmetic coding. Decoders in Rust that were tried show stripes, black
//! lines or wrong colours for some of these. Of the family, mozjpeg builds with a C compiler alone, so that there is one
//! decoder for all builds. The feature `simd` adds assembler routines, for which nasm is needed; the pixels are the
//! same with them.
//!
//! [`decode`] drives the library, `messages` says which of its warnings mean damage, `scans` looks for scans that are
//! missing, and [`encode`] writes baseline files.

pub mod decode;
pub mod encode;
mod messages;
mod scans;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::TransformError;

/// Calls the library, whose fatal errors unwind to here without a word on standard error. Other panics go on.
fn guarded<T>(work: impl FnOnce() -> Result<T, TransformError>) -> Result<T, TransformError> {
    // What the library has left half done is dropped unread.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => match panic.downcast::<TransformError>() {
            Ok(error) => Err(*error),
            Err(panic) => resume_unwind(panic),
        },
    }
}
