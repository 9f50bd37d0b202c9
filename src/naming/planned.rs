//! A name before and after the answer: [`Planned`] has holes for what only the bytes can tell, [`FinalName`] has none.

use super::clean::{HOLE, UNKNOWN, extension};
use crate::format::Format;

/// The name reserved for a job: complete, or with a hole for the extension.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub(super) pattern: String,
    /// The URL has no name of its own, so the server may give one.
    pub(super) asks_server: bool,
    /// An earlier run gave the name: it stays, whatever the bytes are now. Another extension might be somebody's.
    pub(super) stays: bool,
}

/// A name with everything in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FinalName {
    /// Relative to the output folder, `/` between folders.
    pub path: String,
    /// The extension promises another format than the bytes are.
    pub mismatch: bool,
}

impl Planned {
    /// The name, where it is known before the answer.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        (!self.pattern.contains(HOLE) && !self.asks_server).then_some(&*self.pattern)
    }

    /// Whether a `Content-Disposition` of the answer may name the file.
    #[must_use]
    pub const fn asks_server(&self) -> bool {
        self.asks_server
    }

    /// The name, now that the bytes have told their format.
    #[must_use]
    pub fn finish(&self, format: Option<Format>, fix_extension: bool) -> FinalName {
        if self.pattern.contains(HOLE) {
            let path = if let Some(format) = format {
                self.pattern.replace(HOLE, format.extension())
            } else {
                // The dot that stands before a hole at the very end was only put there for the extension. What is before it
                // must not become one: it was not reserved as that.
                let is_image = |stem: &&str| extension(stem).and_then(Format::from_extension).is_some();
                let bare = self.pattern.strip_suffix(".\0").filter(|stem| !is_image(stem));
                bare.unwrap_or(&self.pattern).replace(HOLE, UNKNOWN)
            };
            return FinalName { path, mismatch: false };
        }
        let promised = extension(&self.pattern).and_then(Format::from_extension);
        let mismatch = promised.is_some() && format.is_some() && promised != format;
        match (mismatch && fix_extension && !self.stays, format, self.pattern.rsplit_once('.')) {
            (true, Some(format), Some((stem, _))) => {
                FinalName { path: format!("{stem}.{}", format.extension()), mismatch: false }
            }
            _ => FinalName { path: self.pattern.clone(), mismatch },
        }
    }
}
