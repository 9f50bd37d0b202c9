//! The look at a body while it streams: what it is, and what it hashes to. Whatever is not wanted ends the download at
//! once: the rest of such a body is not read.

use std::io::{self, Read, Seek};

use serde_json::{Map, Value};

use crate::image::{CorruptImage, InspectError, InspectOptions, Inspection, Inspector, Recogniser, Recognition};
use crate::record::{Algorithm, Checksum, Digester, Digests, ErrorKind, FetchError, Format, Measures, Original};
use crate::util::human::Size;

/// Which images are wanted (`--accept`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// Every format that is recognised.
    #[default]
    Images,
    /// These formats.
    Formats(Vec<Format>),
    /// Whatever comes.
    Anything,
}

/// How large an image has to be, and how large it may be. Sides are those of the picture as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The least width in pixels.
    pub min_width: u32,
    /// The least height in pixels.
    pub min_height: u32,
    /// The most pixels, width times height.
    pub max_pixels: Option<u64>,
    /// The most that the longer side may be as a multiple of the shorter one.
    pub max_aspect: Option<f64>,
    /// The least size of the file in bytes.
    pub min_bytes: u64,
}

impl Bounds {
    /// Whether anybody has to know the sides.
    const fn ask_for_sides(&self) -> bool {
        self.min_width > 0 || self.min_height > 0 || self.max_pixels.is_some() || self.max_aspect.is_some()
    }

    /// Holds the sides to the bounds.
    ///
    /// # Errors
    /// [`ErrorKind::TooSmall`] or [`ErrorKind::NotAccepted`], with the flag that says so.
    fn allow_sides(&self, width: u32, height: u32) -> Result<(), FetchError> {
        let refuse =
            |kind, flag: &str| Err(FetchError::new(kind, format!("the image has {width} x {height} pixels ({flag})")));
        if width < self.min_width {
            return refuse(ErrorKind::TooSmall, &format!("--min-width {}", self.min_width));
        }
        if height < self.min_height {
            return refuse(ErrorKind::TooSmall, &format!("--min-height {}", self.min_height));
        }
        if let Some(most) = self.max_pixels.filter(|most| u64::from(width) * u64::from(height) > *most) {
            return refuse(ErrorKind::NotAccepted, &format!("--max-pixels {most}"));
        }
        let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
        if let Some(most) = self.max_aspect.filter(|most| long > short * most) {
            return refuse(ErrorKind::NotAccepted, &format!("--max-aspect {most}"));
        }
        Ok(())
    }

    /// Holds a length in bytes to the bounds, as announced or as received.
    ///
    /// # Errors
    /// [`ErrorKind::TooSmall`].
    pub fn allow_length(&self, bytes: u64) -> Result<(), FetchError> {
        if bytes >= self.min_bytes {
            return Ok(());
        }
        let clause = format!("{} of at least {} (--min-bytes)", Size::from(bytes), Size::from(self.min_bytes));
        Err(FetchError::new(ErrorKind::TooSmall, clause))
    }
}

/// How much is done to find out whether an image is sound (`--verify`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: its first bytes are taken at their word.
    Nothing,
    /// Its parts are followed to its end, without a look at the pixels.
    #[default]
    Structure,
    /// It is decoded as a whole.
    Decode,
}

/// What is wanted of a body.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its format.
    pub accept: Accept,
    /// Its size.
    pub bounds: Bounds,
    /// Whether it is sound.
    pub verify: Verify,
    /// Whether what its camera has noted down is to be read (`--exif`).
    pub exif: bool,
    /// Its digests, for the record and for its name.
    pub digests: Vec<Algorithm>,
}

impl Wanted {
    /// Whether an image has to be sound. Where anything is accepted, nothing is wrong with anything.
    #[must_use]
    pub fn asks_whether_sound(&self) -> bool {
        self.verify != Verify::Nothing && self.accept != Accept::Anything
    }

    /// What is looked for inside an image.
    fn inspection(&self) -> InspectOptions {
        InspectOptions { structure: self.asks_whether_sound(), exif: self.exif }
    }
}

/// What a look at a whole body has found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What it is; nothing where anything is accepted and it is nothing that is known.
    pub format: Option<Format>,
    /// Its size in pixels and the like.
    pub measures: Measures,
    /// What its camera has noted down, if that is wanted.
    pub exif: Map<String, Value>,
    /// Its digests.
    pub digests: Digests,
    /// What it looks like, if that is wanted.
    pub phash: Option<String>,
    /// What came, where another image is stored.
    pub original: Option<Box<Original>>,
}

/// The look at one body.
pub struct BodyValidator<'a> {
    wanted: &'a Wanted,
    checksum: Option<&'a Checksum>,
    recogniser: Recogniser,
    /// Once it is known what the body is, and if it is an image.
    inspector: Option<Inspector>,
    /// Its sides are known and allowed, or nobody asks for them.
    sides_are_settled: bool,
    digester: Digester,
}

impl<'a> BodyValidator<'a> {
    /// `checksum`: what the body has to hash to.
    pub fn new(wanted: &'a Wanted, checksum: Option<&'a Checksum>) -> Self {
        let asked = checksum.map(|checksum| checksum.algorithm);
        Self {
            wanted,
            checksum,
            recogniser: Recogniser::default(),
            inspector: None,
            sides_are_settled: !wanted.bounds.ask_for_sides(),
            digester: Digester::new(wanted.digests.iter().copied().chain(asked)),
        }
    }

    /// Looks at the next bytes, until they have told what they are in pieces of at most that size.
    ///
    /// # Errors
    /// As soon as it is clear that the body is not wanted.
    pub fn feed(&mut self, bytes: &[u8], piece_size: usize) -> Result<(), FetchError> {
        let mut looked_at = 0;
        for piece in bytes.chunks(piece_size) {
            if self.inspector.is_some() {
                break;
            }
            self.recognise(piece)?;
            looked_at += piece.len();
        }
        // What is known to be an image, and what makes digests, is quicker with more bytes at once, and sees the same.
        if let Some(inspector) = &mut self.inspector {
            inspector.feed(&bytes[looked_at..]).map_err(corrupt)?;
        }
        self.digester.update(bytes);
        self.settle_sides()
    }

    fn recognise(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        let verdict = self.recogniser.feed(piece);
        self.judge(verdict)?;
        if let Recognition::Image(format) = verdict {
            let mut inspector = self.begin(format)?;
            inspector.feed(piece).map_err(corrupt)?;
            self.inspector = Some(inspector);
        }
        Ok(())
    }

    /// Begins to inspect an image with what came before it was known as one.
    fn begin(&self, format: Format) -> Result<Inspector, FetchError> {
        let mut inspector = Inspector::new(format, self.wanted.inspection());
        inspector.feed(self.recogniser.head()).map_err(corrupt)?;
        Ok(inspector)
    }

    /// Holds the sides to the bounds as soon as they are known.
    fn settle_sides(&mut self) -> Result<(), FetchError> {
        if !self.sides_are_settled
            && let Some(Measures { width: Some(width), height: Some(height), .. }) =
                self.inspector.as_ref().map(Inspector::measures)
        {
            self.wanted.bounds.allow_sides(width, height)?;
            self.sides_are_settled = true;
        }
        Ok(())
    }

    /// What there is to say about the whole body, of so many bytes. `whole` opens it, for formats that have to be read
    /// back; `unreadable` says what it means that it cannot be read.
    ///
    /// # Errors
    /// When it is not wanted, is not sound, or is not what the list says it is.
    pub fn finish<R: Read + Seek>(
        mut self,
        length: u64,
        whole: impl FnOnce() -> io::Result<R>,
        unreadable: impl FnOnce(io::Error) -> FetchError,
    ) -> Result<Found, FetchError> {
        self.wanted.bounds.allow_length(length)?;
        let verdict = self.recogniser.end();
        self.judge(verdict)?;
        let mut found = Found::default();
        if let Recognition::Image(format) = verdict {
            // Some formats are told by their last bytes alone.
            let inspector = self.inspector.take().map_or_else(|| self.begin(format), Ok)?;
            let Inspection { measures, exif } = inspector.end(whole).map_err(|error| match error {
                InspectError::Corrupt(corruption) => corrupt(corruption),
                InspectError::Io(error) => unreadable(error),
            })?;
            found = Found { format: Some(format), measures, exif, ..Found::default() };
        }
        if !self.sides_are_settled {
            let Measures { width: Some(width), height: Some(height), .. } = found.measures else {
                let clause = "it does not tell its size in pixels, for which there are bounds";
                return Err(FetchError::new(ErrorKind::NotAccepted, clause));
            };
            self.wanted.bounds.allow_sides(width, height)?;
        }
        found.digests = self.digester.finish();
        if let Some(Checksum { algorithm, digest }) = self.checksum {
            let made = found.digests.get(*algorithm).unwrap_or_default();
            if made != digest {
                let name = algorithm.name();
                let clause = format!("the {name} of the body is {made}, and the list says {digest}");
                return Err(FetchError::new(ErrorKind::Checksum, clause));
            }
        }
        Ok(found)
    }

    fn judge(&self, verdict: Recognition) -> Result<(), FetchError> {
        match (verdict, &self.wanted.accept) {
            (Recognition::Other(what), Accept::Images | Accept::Formats(_)) => {
                Err(FetchError::new(ErrorKind::NotAnImage, format!("the body is {what}")))
            }
            (Recognition::Image(format), Accept::Formats(wanted)) if !wanted.contains(&format) => {
                Err(FetchError::new(ErrorKind::NotAccepted, format!("the image is {format}")))
            }
            _ => Ok(()),
        }
    }
}

fn corrupt(corruption: CorruptImage) -> FetchError {
    FetchError::new(ErrorKind::CorruptImage, format!("the image is corrupt: {corruption}"))
}
