//! The look at a body while it streams: what it is, and what it hashes to. Whatever is not wanted ends the download at
//! once: the rest of such a body is not read.

use bytesize::ByteSize;

use crate::digest::{Algorithm, Checksum, Digester, Digests};
use crate::error::{FetchError, Kind};
use crate::format::Format;
use crate::image::{ENOUGH, Verdict, recognise};

/// Which images are wanted (`--accept`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Every format that is recognised.
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
    /// [`Kind::TooSmall`] or [`Kind::NotAccepted`], with the flag that says so.
    fn allow_sides(&self, width: u32, height: u32) -> Result<(), FetchError> {
        let refuse =
            |kind, flag: &str| Err(FetchError::new(kind, format!("the image has {width} x {height} pixels ({flag})")));
        if width < self.min_width {
            return refuse(Kind::TooSmall, &format!("--min-width {}", self.min_width));
        }
        if height < self.min_height {
            return refuse(Kind::TooSmall, &format!("--min-height {}", self.min_height));
        }
        if let Some(most) = self.max_pixels.filter(|most| u64::from(width) * u64::from(height) > *most) {
            return refuse(Kind::NotAccepted, &format!("--max-pixels {most}"));
        }
        let (long, short) = (f64::from(width.max(height)), f64::from(width.min(height)));
        if let Some(most) = self.max_aspect.filter(|most| long > short * most) {
            return refuse(Kind::NotAccepted, &format!("--max-aspect {most}"));
        }
        Ok(())
    }

    /// Holds a length in bytes to the bounds, as announced or as received.
    ///
    /// # Errors
    /// [`Kind::TooSmall`].
    pub fn allow_length(&self, bytes: u64) -> Result<(), FetchError> {
        if bytes >= self.min_bytes {
            return Ok(());
        }
        let clause = format!("{} of at least {} (--min-bytes)", ByteSize(bytes), ByteSize(self.min_bytes));
        Err(FetchError::new(Kind::TooSmall, clause))
    }
}

/// How much is done to find out whether an image is sound (`--verify`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: its first bytes are taken at their word.
    Nothing,
    /// Its parts are followed to its end, without a look at the pixels.
    Structure,
    /// It is decoded as a whole.
    Decode,
}

/// What is wanted of a body.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its format.
    pub accept: Accept,
    /// Its size.
    pub bounds: Bounds,
    /// Whether it is sound.
    pub verify: Verify,
    /// Its digests, for the record and for its name.
    pub digests: Vec<Algorithm>,
}

/// What a look at a whole body has found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What it is; nothing where anything is accepted and it is nothing that is known.
    pub format: Option<Format>,
    /// Its digests.
    pub digests: Digests,
}

/// The look at one body.
pub struct Look<'a> {
    wanted: &'a Wanted,
    checksum: Option<&'a Checksum>,
    /// The beginning, as long as the verdict is open.
    head: Vec<u8>,
    verdict: Verdict,
    digester: Digester,
}

impl<'a> Look<'a> {
    /// `checksum`: what the body has to hash to.
    pub fn new(wanted: &'a Wanted, checksum: Option<&'a Checksum>) -> Self {
        let asked = checksum.map(|checksum| checksum.algorithm);
        let digester = Digester::new(wanted.digests.iter().copied().chain(asked));
        Self { wanted, checksum, head: Vec::new(), verdict: Verdict::Unclear, digester }
    }

    /// Looks at the next bytes in pieces of at most that size.
    ///
    /// # Errors
    /// As soon as it is clear that the body is not wanted.
    pub fn at(&mut self, bytes: &[u8], piece_size: usize) -> Result<(), FetchError> {
        for piece in bytes.chunks(piece_size) {
            if self.verdict != Verdict::Unclear {
                break;
            }
            self.recognise(piece)?;
        }
        // Some algorithms are several times as quick with more bytes at once than a piece has.
        self.digester.update(bytes);
        Ok(())
    }

    fn recognise(&mut self, piece: &[u8]) -> Result<(), FetchError> {
        // Mostly the first piece settles it and nothing has to be kept.
        self.verdict = if self.head.is_empty() {
            recognise(&piece[..piece.len().min(ENOUGH)], false)
        } else {
            let room = ENOUGH.saturating_sub(self.head.len());
            self.head.extend_from_slice(&piece[..piece.len().min(room)]);
            recognise(&self.head, false)
        };
        if self.verdict == Verdict::Unclear && self.head.is_empty() {
            self.head.extend_from_slice(piece);
        }
        self.judge()
    }

    /// What there is to say about the whole body.
    ///
    /// # Errors
    /// When it is not wanted, or is not what the list says it is.
    pub fn end(mut self) -> Result<Found, FetchError> {
        if self.verdict == Verdict::Unclear {
            self.verdict = recognise(&self.head, true);
            self.judge()?;
        }
        let format = match self.verdict {
            Verdict::Image(format) => Some(format),
            Verdict::Other(_) | Verdict::Unclear => None,
        };
        let digests = self.digester.finish();
        if let Some(Checksum { algorithm, digest }) = self.checksum {
            let made = digests.get(*algorithm).unwrap_or_default();
            if made != digest {
                let name = algorithm.name();
                let clause = format!("the {name} of the body is {made}, and the list says {digest}");
                return Err(FetchError::new(Kind::Checksum, clause));
            }
        }
        Ok(Found { format, digests })
    }

    fn judge(&self) -> Result<(), FetchError> {
        match (self.verdict, &self.wanted.accept) {
            (Verdict::Other(what), Accept::Images | Accept::Formats(_)) => {
                Err(FetchError::new(Kind::NotAnImage, format!("the body is {what}")))
            }
            (Verdict::Image(format), Accept::Formats(wanted)) if !wanted.contains(&format) => {
                Err(FetchError::new(Kind::NotAccepted, format!("the image is {format}")))
            }
            _ => Ok(()),
        }
    }
}
