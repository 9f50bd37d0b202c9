//! Whether what an earlier run recorded of a row would end in the same way under the options of this run, so that nothing
//! has to be asked for.
//!
//! A refused record has what was seen of the image, and not the options that excluded it: so other options than those can
//! be judged as well. `--min-width 200` excludes an image of 99 pixels that `--min-width 300` has refused before, and
//! `--min-width 50` asks for it again.

use super::validate::{may_be, unsized_image, unwanted};
use super::{Accept, Options};
use crate::record::{ErrorKind, FetchError, Seen};
use crate::util::human::Size;

/// Why a filter excludes an image.
#[derive(Debug)]
pub struct Exclusion {
    /// The filter, as it is typed.
    pub flag: String,
    /// The error of the record.
    pub error: FetchError,
}

impl Options {
    /// The error of a body that is larger than the options allow. It is a refusal if the limit is a wish of the user.
    pub(super) fn too_large(&self, seen: Seen) -> FetchError {
        let clause = format!("larger than {} (--max-bytes)", Size::from(self.max_bytes));
        let error = FetchError::new(ErrorKind::TooLarge, clause);
        if self.refuses_larger { error.by_wish(seen) } else { error }
    }

    /// Why the filters of these options exclude an image of which an earlier run has seen this, if that is enough to tell.
    /// `refused_as` is the kind of the error with which it was refused then; `None` if it was saved, so that it was read to
    /// its end.
    ///
    /// The default limit on the size of a body is no filter: what was saved within another limit stays.
    #[must_use]
    pub fn exclusion(&self, seen: Seen, refused_as: Option<&str>) -> Option<Exclusion> {
        let Seen { bytes, format, measures } = seen;
        let (bounds, size) = (&self.wanted.bounds, measures.width.zip(measures.height));
        if let (Accept::Formats(wanted), Some(format)) = (&self.wanted.accept, format) {
            // Camera raw begins as TIFF does. An image whose size is known was read far enough to tell.
            let is_known = size.is_some() || refused_as.is_none();
            let is_wanted = if is_known { wanted.contains(&format) } else { may_be(format, wanted) };
            if !is_wanted {
                let mut names = wanted.iter().map(|format| format.name()).collect::<Vec<_>>();
                names.sort_unstable();
                names.dedup();
                return Some(Exclusion { flag: format!("--accept {}", names.join(",")), error: unwanted(format) });
            }
        }
        let is_kind = |kind: ErrorKind| refused_as == Some(kind.name());
        if let Some((width, height)) = size {
            if let (Some((_, flag)), Err(error)) =
                (bounds.broken_by(width, height), bounds.check_dimensions(width, height))
            {
                return Some(Exclusion { flag, error });
            }
        } else if is_kind(ErrorKind::NotAccepted) && bytes.is_some() && bounds.limit_dimensions() {
            // It was read to its end and states no size. A file that is stored is not removed because of what its record
            // does not say.
            return Some(Exclusion { flag: "a limit on its pixels".into(), error: unsized_image() });
        }
        if !is_kind(ErrorKind::TooLarge)
            && let Some(Err(error)) = bytes.map(|bytes| bounds.check_length(bytes))
        {
            return Some(Exclusion { flag: format!("--min-bytes {}", bounds.min_bytes), error });
        }
        let is_too_large = self.refuses_larger && bytes.is_some_and(|bytes| bytes > self.max_bytes);
        let flag = || format!("--max-bytes {}", self.max_bytes);
        is_too_large.then(|| Exclusion { flag: flag(), error: self.too_large(seen) })
    }

    /// Whether an error of an earlier run is met again by every request under these options (`--skip-permanent`). Errors
    /// that other options may mend are none of these: credentials, certificates, limits.
    #[must_use]
    pub fn fails_again(&self, error: ErrorKind) -> bool {
        match error {
            ErrorKind::BadUrl => true,
            // With 402 the server wants money, with 406 another header; the others want credentials or a referer.
            ErrorKind::HttpStatus(code) => !error.retryable() && !matches!(code, 401 | 402 | 403 | 406 | 407),
            ErrorKind::NotAnImage => self.wanted.accept != Accept::Anything,
            ErrorKind::CorruptImage => self.wanted.verifies(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::{Bounds, Verify, Wanted};
    use crate::record::{Format, Measures, Refused};

    fn options(wanted: Wanted) -> Options {
        Options { wanted, ..Options::default() }
    }

    fn bounds(bounds: Bounds) -> Options {
        options(Wanted { bounds, ..Wanted::default() })
    }

    fn formats(formats: &[Format]) -> Options {
        options(Wanted { accept: Accept::Formats(formats.into()), ..Wanted::default() })
    }

    fn refused(error: ErrorKind, bytes: Option<u64>, format: Option<Format>, size: Option<(u32, u32)>) -> Refused {
        let (width, height) = size.unzip();
        let seen = Seen { bytes, format, measures: Measures { width, height, ..Measures::default() } };
        Refused {
            error: error.name().into(),
            http_status: None,
            message: String::new(),
            retryable: false,
            attempts: 1,
            timing: None,
            seen,
            removed: None,
        }
    }

    #[test]
    fn what_was_seen_of_an_image_decides_under_other_options_too() {
        let small = refused(ErrorKind::TooSmall, Some(5000), Some(Format::Png), Some((99, 400)));
        let begun = refused(ErrorKind::NotAccepted, None, Some(Format::Tiff), None);
        let tiff = refused(ErrorKind::NotAccepted, Some(5000), Some(Format::Tiff), Some((99, 400)));
        let unsized_svg = refused(ErrorKind::NotAccepted, Some(5000), Some(Format::Svg), None);
        let endless = refused(ErrorKind::TooLarge, Some(5000), Some(Format::Png), None);
        let short = refused(ErrorKind::TooSmall, Some(10), None, None);
        let min_width = |min_width| bounds(Bounds { min_width, ..Bounds::default() });
        let min_bytes = |min_bytes| bounds(Bounds { min_bytes, ..Bounds::default() });
        let max_bytes = |max_bytes| Options { max_bytes, refuses_larger: true, ..Options::default() };
        for (earlier, options, again) in [
            (&small, min_width(100), true),
            (&small, min_width(99), false),
            (&small, Options::default(), false),
            (&small, bounds(Bounds { max_aspect: Some(4.0), ..Bounds::default() }), true),
            (&small, bounds(Bounds { max_pixels: Some(39_600), ..Bounds::default() }), false),
            (&small, formats(&[Format::Jpeg]), true),
            (&small, formats(&[Format::Jpeg, Format::Png]), false),
            (&small, min_bytes(5001), true),
            (&small, min_bytes(5000), false),
            (&small, max_bytes(4999), true),
            (&small, max_bytes(5000), false),
            (&begun, formats(&[Format::Jpeg]), true),
            (&begun, formats(&[Format::Nef]), false),
            (&begun, min_width(1), false),
            (&tiff, formats(&[Format::Nef]), true),
            (&unsized_svg, min_width(1), true),
            (&unsized_svg, Options::default(), false),
            (&endless, max_bytes(4000), true),
            (&endless, max_bytes(6000), false),
            (&endless, Options { max_bytes: 4000, ..Options::default() }, false),
            (&endless, min_bytes(9000), false),
            (&short, min_bytes(11), true),
            (&short, min_bytes(10), false),
        ] {
            let exclusion = options.exclusion(earlier.seen, Some(&earlier.error));
            assert_eq!(exclusion.is_some(), again, "{earlier:?} {options:?}");
        }
    }

    #[test]
    fn what_is_saved_is_judged_by_what_was_read_to_its_end() {
        let seen = |bytes, format, size: Option<(u32, u32)>| {
            let (width, height) = size.unzip();
            Seen { bytes: Some(bytes), format, measures: Measures { width, height, ..Measures::default() } }
        };
        let max_bytes = |max_bytes, refuses_larger| Options { max_bytes, refuses_larger, ..Options::default() };
        let max_pixels = bounds(Bounds { max_pixels: Some(9), ..Bounds::default() });
        for (seen, options, flag) in [
            (seen(11, None, None), max_bytes(10, true), Some("--max-bytes 10")),
            // Only a limit that was given refuses what is saved.
            (seen(11, None, None), max_bytes(10, false), None),
            (seen(11, None, None), max_bytes(11, true), None),
            (seen(11, Some(Format::Tiff), None), formats(&[Format::Nef, Format::Jpeg]), Some("--accept jpeg,nef")),
            (seen(11, Some(Format::Svg), None), max_pixels.clone(), None),
            (seen(11, Some(Format::Png), Some((2, 5))), max_pixels, Some("--max-pixels 9")),
        ] {
            let exclusion = options.exclusion(seen, None);
            assert_eq!(exclusion.as_ref().map(|exclusion| &*exclusion.flag), flag, "{seen:?} {options:?}");
        }
    }

    #[test]
    fn errors_that_other_options_may_mend_are_met_again_only_under_the_same() {
        let usual = Options::default();
        let anything = options(Wanted { accept: Accept::Anything, ..Wanted::default() });
        let unverified = options(Wanted { verify: Verify::Nothing, ..Wanted::default() });
        for code in [400, 404, 405, 410, 451, 501] {
            assert!(usual.fails_again(ErrorKind::HttpStatus(code)), "{code}");
        }
        for code in [401, 403, 406, 407, 429, 500, 503] {
            assert!(!usual.fails_again(ErrorKind::HttpStatus(code)), "{code}");
        }
        for (kind, in_usual, in_anything, in_unverified) in [
            (ErrorKind::BadUrl, true, true, true),
            (ErrorKind::NotAnImage, true, false, true),
            (ErrorKind::CorruptImage, true, false, false),
            (ErrorKind::Tls, false, false, false),
            (ErrorKind::TooLarge, false, false, false),
            (ErrorKind::Redirect, false, false, false),
            (ErrorKind::Checksum, false, false, false),
            (ErrorKind::Dns, false, false, false),
        ] {
            let again = [&usual, &anything, &unverified].map(|options| options.fails_again(kind));
            assert_eq!(again, [in_usual, in_anything, in_unverified], "{kind}");
        }
    }
}
