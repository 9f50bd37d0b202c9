//! Validates a body while it streams: its format, structure, size in pixels and digests.
//!
//! The download of a body that is not wanted ends as soon as that is known, and the rest of it is not read.

use std::io::{self, Read, Seek};

use serde_json::{Map, Value};

use crate::image::{CorruptImage, InspectError, InspectOptions, Inspection, Inspector, Recogniser, Recognition};
use crate::record::{
    Algorithm, Checksum, Digester, Digests, ErrorKind, FetchError, Format, Measures, Original, Seen, Verified,
};
use crate::util::human::Size;

/// Which images are wanted (`--accept`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Every image format that is recognised.
    #[default]
    Images,
    /// These formats.
    Formats(Vec<Format>),
    /// Any body, an image or not.
    Anything,
}

/// Limits on the size of an image. Width and height are those of the picture as it is stored, before any orientation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The smallest width in pixels.
    pub min_width: u32,
    /// The smallest height in pixels.
    pub min_height: u32,
    /// The largest number of pixels, width times height.
    pub max_pixels: Option<u64>,
    /// The largest ratio of the longer side to the shorter one.
    pub max_aspect: Option<f64>,
    /// The smallest size of the file in bytes.
    pub min_bytes: u64,
}

impl Bounds {
    /// Whether an image with unknown width and height must be refused.
    pub(super) const fn limit_dimensions(&self) -> bool {
        self.min_width > 0 || self.min_height > 0 || self.max_pixels.is_some() || self.max_aspect.is_some()
    }

    /// Checks width and height, in pixels.
    ///
    /// # Errors
    /// [`ErrorKind::TooSmall`] or [`ErrorKind::NotAccepted`], with the flag that sets the limit.
    pub(super) fn check_dimensions(&self, width: u32, height: u32) -> Result<(), FetchError> {
        self.broken_by(width, height).map_or(Ok(()), |(kind, flag)| {
            Err(FetchError::new(kind, format!("the image has {width} x {height} pixels ({flag})")))
        })
    }

    /// The flag with the limit that an image of this width and height exceeds, and the kind of the error.
    #[must_use]
    pub fn broken_by(&self, width: u32, height: u32) -> Option<(ErrorKind, String)> {
        if width < self.min_width {
            return Some((ErrorKind::TooSmall, format!("--min-width {}", self.min_width)));
        }
        if height < self.min_height {
            return Some((ErrorKind::TooSmall, format!("--min-height {}", self.min_height)));
        }
        if let Some(max) = self.max_pixels.filter(|max| u64::from(width) * u64::from(height) > *max) {
            return Some((ErrorKind::NotAccepted, format!("--max-pixels {max}")));
        }
        let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
        let max = self.max_aspect.filter(|max| long > short * max)?;
        Some((ErrorKind::NotAccepted, format!("--max-aspect {max}")))
    }

    /// Checks a length in bytes, as announced or as received.
    ///
    /// # Errors
    /// [`ErrorKind::TooSmall`].
    pub fn check_length(&self, bytes: u64) -> Result<(), FetchError> {
        if bytes >= self.min_bytes {
            return Ok(());
        }
        let clause = format!("{} of at least {} (--min-bytes)", Size::from(bytes), Size::from(self.min_bytes));
        Err(FetchError::new(ErrorKind::TooSmall, clause))
    }
}

/// How an image is checked for corruption (`--verify`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Not at all: the format is recognised by the first bytes, and the rest is not checked.
    Nothing,
    /// Its structure is followed to its end. The pixels are not decoded.
    #[default]
    Structure,
    /// It is decoded completely.
    Decode,
}

/// Which images are wanted, and what is recorded about them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The formats.
    pub accept: Accept,
    /// The limits on the size.
    pub bounds: Bounds,
    /// How an image is checked for corruption.
    pub verify: Verify,
    /// Whether the Exif block is read (`--exif`).
    pub exif: bool,
    /// The digests, for the record and for the name.
    pub digests: Vec<Algorithm>,
}

impl Wanted {
    /// Whether a corrupt image is refused. Where any body is accepted, no body counts as corrupt.
    #[must_use]
    pub fn verifies(&self) -> bool {
        self.verify != Verify::Nothing && self.accept != Accept::Anything
    }

    fn inspect_options(&self) -> InspectOptions {
        InspectOptions { structure: self.verifies(), exif: self.exif }
    }
}

/// What is known about a complete, valid body.
#[derive(Clone, Debug, Default)]
pub struct InspectedBody {
    /// Its format. `None` only where any body is accepted and the format is not recognised.
    pub format: Option<Format>,
    /// Its width, height and other properties.
    pub measures: Measures,
    /// Its Exif fields, if the options ask for them.
    pub exif: Map<String, Value>,
    /// Its digests.
    pub digests: Digests,
    /// Its perceptual hash, if the options ask for it.
    pub phash: Option<String>,
    /// How far it was verified, if the options ask for decoding.
    pub verified: Option<Verified>,
    /// What is wrong with it unless all of its picture can be decoded.
    pub doubt: Option<CorruptImage>,
    /// The body as it was received, where a transformed image is stored.
    pub original: Option<Box<Original>>,
    /// It would have had to be enlarged to have the size that the options ask for.
    pub smaller_than_box: bool,
}

/// The validation of one body.
pub struct BodyValidator<'a> {
    wanted: &'a Wanted,
    checksum: Option<&'a Checksum>,
    recogniser: Recogniser,
    /// Present as soon as the body is recognised as an image.
    inspector: Option<Inspector>,
    /// Width and height are within their limits, or have none.
    dimensions_checked: bool,
    digester: Digester,
}

impl<'a> BodyValidator<'a> {
    /// Begins the validation of a body. `checksum` is the digest that the list gives for it.
    pub fn new(wanted: &'a Wanted, checksum: Option<&'a Checksum>) -> Self {
        let of_checksum = checksum.map(|checksum| checksum.algorithm);
        Self {
            wanted,
            checksum,
            recogniser: Recogniser::default(),
            inspector: None,
            dimensions_checked: !wanted.bounds.limit_dimensions(),
            digester: Digester::new(wanted.digests.iter().copied().chain(of_checksum)),
        }
    }

    /// Validates the next bytes of the body, in pieces of `piece_size` bytes until the format is recognised.
    ///
    /// # Errors
    /// As soon as it is clear that the body is not wanted or corrupt.
    pub fn feed(&mut self, bytes: &[u8], piece_size: usize) -> Result<(), FetchError> {
        let mut recognised_bytes = 0;
        for piece in bytes.chunks(piece_size) {
            if self.inspector.is_some() {
                break;
            }
            self.recognise(piece)?;
            recognised_bytes += piece.len();
        }
        // Inspection and digests do not depend on how the bytes are cut, and are faster with many bytes at once.
        if let Some(inspector) = &mut self.inspector {
            inspector.feed(&bytes[recognised_bytes..]).map_err(corrupt)?;
        }
        self.digester.update(bytes);
        self.check_dimensions()
    }

    fn recognise(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        let recognition = self.recogniser.feed(piece);
        self.check_accepted(recognition)?;
        if let Recognition::Image(format) = recognition {
            let mut inspector = self.begin_inspection(format)?;
            inspector.feed(piece).map_err(corrupt)?;
            self.inspector = Some(inspector);
        }
        Ok(())
    }

    /// Begins the inspection with the bytes that came before the format was recognised.
    fn begin_inspection(&self, format: Format) -> Result<Inspector, FetchError> {
        let mut inspector = Inspector::new(format, self.wanted.inspect_options());
        inspector.feed(self.recogniser.head()).map_err(corrupt)?;
        Ok(inspector)
    }

    /// Checks width and height as soon as they are known.
    fn check_dimensions(&mut self) -> Result<(), FetchError> {
        if !self.dimensions_checked
            && let Some(Measures { width: Some(width), height: Some(height), .. }) =
                self.inspector.as_ref().map(Inspector::measures)
        {
            self.wanted.bounds.check_dimensions(width, height).map_err(|error| error.by_wish(self.seen()))?;
            self.dimensions_checked = true;
        }
        Ok(())
    }

    /// What has been seen of the image so far. Its size in bytes is not known yet.
    pub fn seen(&self) -> Seen {
        let measures = self.inspector.as_ref().map(Inspector::measures).unwrap_or_default();
        Seen { bytes: None, format: self.inspector.as_ref().map(Inspector::format), measures }
    }

    /// Whether the end of the image has been seen.
    pub fn has_ended(&self) -> bool {
        self.inspector.as_ref().is_some_and(Inspector::has_ended)
    }

    /// Ends the validation of a body of `length` bytes. `whole` opens the body for formats that have to be read again;
    /// `unreadable` makes the error for the case that this fails.
    ///
    /// # Errors
    /// When the body is not wanted or corrupt, its digest is not that of the list, or it cannot be read.
    pub fn finish<R: Read + Seek>(
        mut self,
        length: u64,
        whole: impl FnOnce() -> io::Result<R>,
        unreadable: impl FnOnce(io::Error) -> FetchError,
    ) -> Result<InspectedBody, FetchError> {
        let too_small = |error: FetchError| error.by_wish(Seen { bytes: Some(length), ..self.seen() });
        self.wanted.bounds.check_length(length).map_err(too_small)?;
        let recognition = self.recogniser.end();
        self.check_accepted(recognition)?;
        let mut inspected = InspectedBody::default();
        if let Recognition::Image(format) = recognition {
            // Some bodies are recognised only when their end is known.
            let inspector = self.inspector.take().map_or_else(|| self.begin_inspection(format), Ok)?;
            let Inspection { measures, exif, format: precise_format, doubt } =
                inspector.end(whole).map_err(|error| match error {
                    InspectError::Corrupt(corruption) => corrupt(corruption),
                    InspectError::Io(error) => unreadable(error),
                })?;
            let format = precise_format.unwrap_or(format);
            if let Accept::Formats(wanted) = &self.wanted.accept
                && !wanted.contains(&format)
            {
                return Err(unwanted(format).by_wish(Seen { bytes: Some(length), format: Some(format), measures }));
            }
            inspected = InspectedBody { format: Some(format), measures, exif, doubt, ..InspectedBody::default() };
        }
        if !self.dimensions_checked {
            let seen = Seen { bytes: Some(length), format: inspected.format, measures: inspected.measures };
            let Measures { width: Some(width), height: Some(height), .. } = inspected.measures else {
                return Err(unsized_image().by_wish(seen));
            };
            self.wanted.bounds.check_dimensions(width, height).map_err(|error| error.by_wish(seen))?;
        }
        inspected.digests = self.digester.finish();
        if let Some(Checksum { algorithm, digest }) = self.checksum {
            let made = inspected.digests.get(*algorithm).unwrap_or_default();
            if made != digest {
                let name = algorithm.name();
                let clause = format!("the {name} of the body is {made}, and the list says {digest}");
                return Err(FetchError::new(ErrorKind::Checksum, clause));
            }
        }
        Ok(inspected)
    }

    /// Checks a format, or what else the body is, against `--accept`.
    fn check_accepted(&self, recognition: Recognition) -> Result<(), FetchError> {
        match (recognition, &self.wanted.accept) {
            (Recognition::Other(what), Accept::Images | Accept::Formats(_)) => {
                Err(FetchError::new(ErrorKind::NotAnImage, format!("the body is {what}")))
            }
            (Recognition::Image(format), Accept::Formats(wanted)) if !may_be(format, wanted) => {
                Err(unwanted(format).by_wish(Seen { format: Some(format), ..Seen::default() }))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a body that begins in this format may have one of the wanted ones.
pub(super) fn may_be(format: Format, wanted: &[Format]) -> bool {
    let begins_alike = |wanted: &Format| format == Format::Tiff && wanted.begins_as_tiff();
    wanted.contains(&format) || wanted.iter().any(begins_alike)
}

/// The error of an image of another format than the wanted ones.
pub(super) fn unwanted(format: Format) -> FetchError {
    FetchError::new(ErrorKind::NotAccepted, format!("the image is {format}"))
}

/// The error of an image that does not state its width and height, for which there are bounds.
pub(super) fn unsized_image() -> FetchError {
    FetchError::new(ErrorKind::NotAccepted, "it does not tell its size in pixels, for which there are bounds")
}

/// The error of a corrupt image.
pub fn corrupt(corruption: CorruptImage) -> FetchError {
    FetchError::new(ErrorKind::CorruptImage, format!("the image is corrupt: {corruption}"))
}
