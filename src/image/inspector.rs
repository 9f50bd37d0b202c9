//! An image while it comes: its measures as soon as it tells them, and at its end whether it is sound.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};

use serde_json::{Map, Value};

use super::gif::Gif;
use super::header::{CUT, Header};
use super::jpeg::Jpeg;
use super::png::Png;
use super::stream::{MOST_TOGETHER, Stream, Walker};
use super::webp::Webp;
use super::{exif, svg, tiff};
use crate::record::{Format, Measures};

/// What is wrong with an image, in words that follow "the image is corrupt:".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsound(pub &'static str);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Why there is no end to an inspection.
#[derive(Debug)]
pub enum Fault {
    /// The image is not sound.
    Unsound(Unsound),
    /// What has been stored of it cannot be read.
    Io(io::Error),
}

impl From<Unsound> for Fault {
    fn from(unsound: Unsound) -> Self {
        Self::Unsound(unsound)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is looked for besides the measures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Whether the image is sound. Without it nothing is ever wrong.
    pub structure: bool,
    /// What its Exif block says.
    pub exif: bool,
}

/// What has been found out about an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its size, frames and orientation.
    pub measures: Measures,
    /// What [`exif::of_interest`] tells, if it was wanted.
    pub exif: Map<String, Value>,
}

/// Looks at an image that comes in pieces of any size. What it finds does not depend on how the body was cut.
#[derive(Clone, Debug)]
pub struct Inspector {
    format: Format,
    wanted: Wanted,
    walk: Walk,
    stream: Stream,
    /// Bytes that have come.
    length: u64,
    unsound: Option<Unsound>,
}

#[derive(Clone, Debug)]
enum Walk {
    Jpeg(Jpeg),
    Png(Png),
    Gif(Gif),
    Webp(Webp),
    Header(Header),
}

/// The same for whichever it is.
macro_rules! each {
    ($walk:expr, $walker:ident => $what:expr) => {
        match $walk {
            Walk::Jpeg($walker) => $what,
            Walk::Png($walker) => $what,
            Walk::Gif($walker) => $what,
            Walk::Webp($walker) => $what,
            Walk::Header($walker) => $what,
        }
    };
}

/// Where a walker begins, whichever it is.
const fn start<W: Walker>(_walker: &W) -> Stream {
    Stream::new(W::START)
}

impl Inspector {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(format: Format, wanted: Wanted) -> Self {
        let walk = match format {
            Format::Jpeg => Walk::Jpeg(Jpeg::new(wanted)),
            Format::Png => Walk::Png(Png::new(wanted)),
            Format::Gif => Walk::Gif(Gif::new()),
            Format::Webp => Walk::Webp(Webp::new(wanted)),
            _ => Walk::Header(Header::new(format)),
        };
        let mut stream = each!(&walk, walker => start(walker));
        if format == Format::Tiff {
            stream.give_up();
        }
        Self { format, wanted, walk, stream, length: 0, unsound: None }
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// The image is not sound, whatever comes. Never where that is not wanted.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), Unsound> {
        self.length += piece.len() as u64;
        if let Err(unsound) = each!(&mut self.walk, walker => self.stream.feed(walker, piece)) {
            self.unsound = Some(unsound);
            self.stream.give_up();
        }
        self.unsound.filter(|_| self.wanted.structure).map_or(Ok(()), Err)
    }

    /// What is known so far. Frames of an animation may become more.
    #[must_use]
    pub fn measures(&self) -> Measures {
        each!(&self.walk, walker => walker.measures())
    }

    /// Whether width and height will stay as they are now: known, or not to be known before the end.
    #[must_use]
    pub fn size_is_final(&self) -> bool {
        let Measures { width, height, .. } = self.measures();
        (width.is_some() && height.is_some()) || self.stream.is_over()
    }

    /// The end of the body. Some formats have to be read back from where it was stored: `whole` opens that, and is called
    /// for no others.
    ///
    /// # Errors
    /// The image is not sound, where that is wanted, or cannot be read back.
    pub fn end<R: Read + Seek>(mut self, whole: impl FnOnce() -> io::Result<R>) -> Result<Found, Fault> {
        let ended = match self.unsound {
            Some(unsound) => Err(unsound),
            None => each!(&mut self.walk, walker => self.stream.end(walker)),
        };
        if self.wanted.structure {
            ended?;
        }
        let measures = self.measures();
        let told = match &mut self.walk {
            Walk::Jpeg(walker) => walker.exif(),
            Walk::Png(walker) => walker.exif(),
            Walk::Webp(walker) => walker.exif(),
            Walk::Gif(_) => None,
            Walk::Header(_) if self.format == Format::Tiff => {
                return tiff::inspect(whole()?, self.length, self.wanted);
            }
            Walk::Header(walker) => {
                let told = walker.told();
                if self.wanted.structure && self.length < told.least {
                    return Err(Unsound(CUT).into());
                }
                if self.wanted.structure && self.format == Format::Svg {
                    svg::has_end(whole()?)?.then_some(()).ok_or(Unsound("it ends before its root element does"))?;
                    None
                } else {
                    // What lies beyond the end, the system may refuse to look for.
                    let place = told.exif.filter(|(place, _)| self.wanted.exif && *place < self.length);
                    place.map(|place| exif_at(whole()?, place)).transpose()?
                }
            }
        };
        Ok(Found { measures, exif: told.unwrap_or_default().fields })
    }
}

/// The Exif block of a HEIF file, behind the length of what comes before it (ISO/IEC 23008-12, A.2.1).
fn exif_at(mut whole: impl Read + Seek, (place, length): (u64, u64)) -> io::Result<exif::Told> {
    whole.seek(SeekFrom::Start(place))?;
    let mut block = Vec::new();
    whole.take(length.min(MOST_TOGETHER as u64)).read_to_end(&mut block)?;
    let before = super::fields::be32(&block, 0).and_then(|before| usize::try_from(before).ok());
    let start = before.and_then(|before| before.checked_add(4));
    Ok(start.and_then(|start| block.get(start..)).map(|block| exif::read(block, true)).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod testing {
    //! What becomes of a body, however it is cut.

    use std::io::Cursor;

    use super::*;

    /// What is found out about a sound image, or what is wrong.
    pub(in crate::image) fn inspect(format: Format, body: &[u8]) -> Result<Found, &'static str> {
        let wanted = Wanted { structure: true, exif: true };
        let whole = in_pieces(format, body, wanted, body.len());
        for size in [1, 2, 3, 7, 64, 512, 4096] {
            assert_eq!(in_pieces(format, body, wanted, size), whole, "{format} in pieces of {size}");
        }
        whole
    }

    /// The measures of an image that nobody wants to be sound.
    pub(in crate::image) fn measure(format: Format, body: &[u8]) -> Measures {
        in_pieces(format, body, Wanted::default(), 512).expect("nothing is wrong").measures
    }

    fn in_pieces(format: Format, body: &[u8], wanted: Wanted, size: usize) -> Result<Found, &'static str> {
        let mut inspector = Inspector::new(format, wanted);
        let mut fed = Ok(());
        for piece in body.chunks(size.max(1)) {
            fed = inspector.feed(piece);
            if fed.is_err() {
                break;
            }
        }
        fed.map_err(|unsound| unsound.0)?;
        inspector.end(|| Ok(Cursor::new(body))).map_err(|fault| match fault {
            Fault::Unsound(unsound) => unsound.0,
            Fault::Io(error) => panic!("memory can be read: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn no_image_needs_much_memory() {
        let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0";
        let exif = [b"\xFF\xE1\xFF\xFFExif\0\0".as_slice(), &vec![0; 65_527]].concat();
        let chunk = b"\0\0\0\0teXt\0\0\0\0";
        let png = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3A\x7E\x9B\x55";
        let table: [(Format, &[u8], &[u8]); 8] = [
            (Format::Gif, b"GIF89a\x01\0\x01\0\0\0\0", frame),
            (Format::Jpeg, b"\xFF\xD8", &exif),
            (Format::Jpeg, b"\xFF\xD8", b"\xFF\xFE\0\x04ab"),
            (Format::Png, png, chunk),
            (Format::Webp, b"RIFF\xFF\xFF\xFF\xFFWEBP", b"EXIF\x04\0\0\0abcd"),
            (Format::Avif, b"\0\0\0\x10ftypavif\0\0\0\0", b"\0\0\0\x0Cfree...."),
            (Format::Svg, b"<svg ", b"<svg x='' "),
            (Format::Exr, b"v/1\x01\x02\0\0\0", b"a\0b\0\0\0\0\0"),
        ];
        for (format, start, unit) in table {
            let mut inspector = Inspector::new(format, Wanted { structure: true, exif: true });
            inspector.feed(start).expect("sound so far");
            for _ in 0..4_000_000 / unit.len() {
                if inspector.feed(unit).is_err() {
                    break;
                }
                let kept = inspector.stream.memory();
                let head = if let Walk::Header(walker) = &inspector.walk { walker.memory() } else { 0 };
                assert!(kept + head <= 5 * MOST_TOGETHER, "{format} keeps {kept} and {head} bytes");
            }
        }
    }

    #[test]
    fn frames_are_counted_however_many_there_are() {
        let frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0";
        let body = [b"GIF89a\x01\0\x01\0\0\0\0".as_slice(), &frame.repeat(100_000), b";"].concat();
        let found = testing::inspect(Format::Gif, &body).expect("sound");
        assert_eq!(found.measures.frames, Some(100_000));
    }

    #[test]
    fn the_size_is_told_as_soon_as_it_has_come() {
        let table: [(Format, &[u8]); 4] = [
            (Format::Gif, b"GIF89a\x0A\0\x14\0\0\0\0"),
            (Format::Webp, b"RIFF\x24\0\0\0WEBPVP8L\x18\0\0\0\x2F\x09\xC0\x04\0"),
            (Format::Jpeg, b"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x14\0\x0A\x01"),
            (Format::Png, b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x0A\0\0\0\x14\x08\0\0\0\0"),
        ];
        for (format, start) in table {
            let mut inspector = Inspector::new(format, Wanted { structure: true, exif: false });
            let (last, before) = start.split_last().expect("some bytes");
            inspector.feed(before).expect("sound so far");
            assert!(!inspector.size_is_final(), "{format}");
            inspector.feed(&[*last]).expect("sound so far");
            assert!(inspector.size_is_final(), "{format}");
            assert_eq!(inspector.measures(), super::super::header::sized(10, 20), "{format}");
        }
        let tiff = Inspector::new(Format::Tiff, Wanted::default());
        assert!(tiff.size_is_final(), "nothing but its end tells");
    }

    #[test]
    fn what_is_wrong_stays_wrong_and_is_not_said_to_who_does_not_want_to_know() {
        let body = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDX";
        let mut inspector = Inspector::new(Format::Png, Wanted { structure: true, exif: false });
        let unsound = inspector.feed(body).expect_err("it has no IHDR");
        assert_eq!(inspector.feed(b"more"), Err(unsound));
        let ended = inspector.end(|| Ok(Cursor::new(body)));
        assert!(matches!(ended, Err(Fault::Unsound(again)) if again == unsound), "{ended:?}");
        assert_eq!(testing::measure(Format::Png, body), Measures::default());
    }

    #[test]
    fn a_body_that_cannot_be_read_back_is_no_corrupt_image() {
        let mut inspector = Inspector::new(Format::Tiff, Wanted { structure: true, exif: false });
        inspector.feed(b"II\x2A\0\x08\0\0\0").expect("nothing is looked at yet");
        let ended = inspector.end(|| Err::<Cursor<&[u8]>, _>(io::Error::other("the disk is gone")));
        assert!(matches!(&ended, Err(Fault::Io(error)) if error.to_string() == "the disk is gone"), "{ended:?}");
    }
}
