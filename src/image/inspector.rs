//! Inspects an image while it is downloaded: size, frames and orientation as soon as they are known, and at the end
//! whether the file is intact.

use std::io::{self, Read, Seek, SeekFrom};

use super::gif::GifParser;
use super::header::HeaderParser;
use super::jpeg::JpegParser;
use super::parser::{FormatParser, MAX_TAKE_BYTES, ParserDriver};
use super::png::PngParser;
use super::types::{CorruptImage, InspectError, InspectOptions, Inspection, TRUNCATED};
use super::webp::WebpParser;
use super::{exif, raw, svg, tiff};
use crate::record::{Format, Measures};

/// Inspects an image that comes in pieces of any size. The result does not depend on how the body was cut.
#[derive(Clone, Debug)]
pub struct Inspector {
    format: Format,
    options: InspectOptions,
    parser: AnyParser,
    driver: ParserDriver,
    /// Bytes fed so far.
    length: u64,
    corruption: Option<CorruptImage>,
}

#[derive(Clone, Debug)]
enum AnyParser {
    Jpeg(JpegParser),
    Png(PngParser),
    Gif(GifParser),
    Webp(WebpParser),
    Header(HeaderParser),
}

/// Runs the same expression on the parser of any format.
macro_rules! each {
    ($any:expr, $parser:ident => $what:expr) => {
        match $any {
            AnyParser::Jpeg($parser) => $what,
            AnyParser::Png($parser) => $what,
            AnyParser::Gif($parser) => $what,
            AnyParser::Webp($parser) => $what,
            AnyParser::Header($parser) => $what,
        }
    };
}

/// A driver at the first step of this parser.
const fn start<P: FormatParser>(_parser: &P) -> ParserDriver {
    ParserDriver::new(P::START)
}

impl Inspector {
    /// An inspector that has been fed nothing yet.
    #[must_use]
    pub fn new(format: Format, options: InspectOptions) -> Self {
        let parser = match format {
            Format::Jpeg => AnyParser::Jpeg(JpegParser::new(options)),
            Format::Png => AnyParser::Png(PngParser::new(options)),
            Format::Gif => AnyParser::Gif(GifParser::new()),
            Format::Webp => AnyParser::Webp(WebpParser::new(options)),
            _ => AnyParser::Header(HeaderParser::new(format)),
        };
        let mut driver = each!(&parser, parser => start(parser));
        if reads_back(format) {
            driver.stop();
        }
        Self { format, options, parser, driver, length: 0, corruption: None }
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// The image is corrupt, whatever comes after this. Never without [`InspectOptions::structure`].
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), CorruptImage> {
        self.length += piece.len() as u64;
        if let Err(corruption) = each!(&mut self.parser, parser => self.driver.feed(parser, piece)) {
            self.corruption = Some(corruption);
            self.driver.stop();
        }
        self.corruption.filter(|_| self.options.structure).map_or(Ok(()), Err)
    }

    /// The format that is parsed.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// What is known so far. The number of frames may still grow.
    #[must_use]
    pub fn measures(&self) -> Measures {
        each!(&self.parser, parser => parser.measures())
    }

    /// Whether width and height are final: known, or not to be known before the end of the body.
    #[must_use]
    pub fn size_is_final(&self) -> bool {
        let Measures { width, height, .. } = self.measures();
        (width.is_some() && height.is_some()) || self.driver.is_done()
    }

    /// Whether the end of the image has been seen, so that it is complete whatever else comes. Only with
    /// [`InspectOptions::structure`], and for formats that have an end.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let has_end = matches!(self.format, Format::Jpeg | Format::Png | Format::Gif | Format::Webp);
        let is_sound = self.corruption.is_none() && each!(&self.parser, parser => parser.doubt()).is_none();
        has_end && self.options.structure && is_sound && self.driver.is_done()
    }

    /// Ends the inspection. `whole` opens the stored body; it is called only for formats that have to be read back
    /// (TIFF, camera raw, SVG, Exif of HEIF).
    ///
    /// # Errors
    /// The image is corrupt (only with [`InspectOptions::structure`]), or the stored body cannot be read back.
    pub fn end<R: Read + Seek>(mut self, whole: impl FnOnce() -> io::Result<R>) -> Result<Inspection, InspectError> {
        let ended = match self.corruption {
            Some(corruption) => Err(corruption),
            None => each!(&mut self.parser, parser => self.driver.end(parser)),
        };
        if self.options.structure {
            ended?;
        }
        let measures = self.measures();
        let exif = match &mut self.parser {
            AnyParser::Jpeg(parser) => parser.exif(),
            AnyParser::Png(parser) => parser.exif(),
            AnyParser::Webp(parser) => parser.exif(),
            AnyParser::Gif(_) => None,
            AnyParser::Header(_) if self.format == Format::Raf => {
                let (measures, corruption) = raw::fujifilm(whole()?, self.length)?;
                return match corruption.filter(|_| self.options.structure) {
                    Some(what) => Err(CorruptImage(what).into()),
                    None => Ok(Inspection { measures, ..Inspection::default() }),
                };
            }
            AnyParser::Header(_) if reads_back(self.format) => {
                return tiff::inspect(whole()?, self.length, self.format, self.options);
            }
            AnyParser::Header(parser) => {
                let info = parser.info();
                if self.options.structure && self.length < info.min_length {
                    return Err(CorruptImage(TRUNCATED).into());
                }
                if self.options.structure && self.format == Format::Svg {
                    svg::has_end(whole()?)?
                        .then_some(())
                        .ok_or(CorruptImage("it ends before its root element does"))?;
                    None
                } else {
                    // Seeking beyond the end of the file may be an error of the system.
                    let block = info.exif.filter(|(offset, _)| self.options.exif && *offset < self.length);
                    block.map(|block| exif_at(whole()?, block)).transpose()?
                }
            }
        };
        let doubt = each!(&self.parser, parser => parser.doubt()).filter(|_| self.options.structure);
        Ok(Inspection { measures, exif: exif.unwrap_or_default().fields, format: None, doubt })
    }
}

/// Whether a format has directories that may lie anywhere, so that the stored body is read when it is complete.
const fn reads_back(format: Format) -> bool {
    matches!(format, Format::Tiff | Format::Raf) || (format.is_raw() && !matches!(format, Format::Cr3))
}

/// Reads the Exif block of a HEIF file. Its first four bytes state the number of bytes between them and the TIFF header
/// (ISO/IEC 23008-12, A.2.1).
fn exif_at(mut whole: impl Read + Seek, (offset, length): (u64, u64)) -> io::Result<exif::ExifInfo> {
    whole.seek(SeekFrom::Start(offset))?;
    let mut block = Vec::new();
    whole.take(length.min(MAX_TAKE_BYTES as u64)).read_to_end(&mut block)?;
    let gap = super::integers::be32(&block, 0).and_then(|gap| usize::try_from(gap).ok());
    let start = gap.and_then(|gap| gap.checked_add(4));
    Ok(start.and_then(|start| block.get(start..)).map(|block| exif::read(block, true)).unwrap_or_default())
}

#[cfg(test)]
pub(super) mod testing {
    //! Inspects whole bodies, cut in several ways.

    use std::io::Cursor;

    use super::*;

    /// The result of inspecting an image, or why it is corrupt or may be; the same however the body is cut.
    pub(in crate::image) fn inspect(format: Format, body: &[u8]) -> Result<Inspection, &'static str> {
        let options = InspectOptions { structure: true, exif: true };
        let whole = in_pieces(format, body, options, body.len());
        for size in [1, 2, 3, 7, 64, 512, 4096] {
            assert_eq!(in_pieces(format, body, options, size), whole, "{format} in pieces of {size}");
        }
        whole.and_then(|found| found.doubt.map_or(Ok(found), |corruption| Err(corruption.0)))
    }

    /// Whether nothing but the end of an image is wrong, as far as can be seen.
    pub(in crate::image) fn may_be_whole(format: Format, body: &[u8]) -> bool {
        let options = InspectOptions { structure: true, exif: false };
        let whole = in_pieces(format, body, options, body.len());
        assert_eq!(in_pieces(format, body, options, 1), whole, "{format}");
        whole.is_ok_and(|found| found.doubt.is_some())
    }

    /// The measures of an image whose structure is not checked.
    pub(in crate::image) fn measure(format: Format, body: &[u8]) -> Measures {
        in_pieces(format, body, InspectOptions::default(), 512).expect("nothing is wrong").measures
    }

    fn in_pieces(
        format: Format,
        body: &[u8],
        options: InspectOptions,
        size: usize,
    ) -> Result<Inspection, &'static str> {
        let mut inspector = Inspector::new(format, options);
        let mut fed = Ok(());
        for piece in body.chunks(size.max(1)) {
            fed = inspector.feed(piece);
            if fed.is_err() {
                break;
            }
        }
        fed.map_err(|corruption| corruption.0)?;
        inspector.end(|| Ok(Cursor::new(body))).map_err(|error| match error {
            InspectError::Corrupt(corruption) => corruption.0,
            InspectError::Io(error) => panic!("memory can be read: {error}"),
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
            let mut inspector = Inspector::new(format, InspectOptions { structure: true, exif: true });
            inspector.feed(start).expect("sound so far");
            for _ in 0..4_000_000 / unit.len() {
                if inspector.feed(unit).is_err() {
                    break;
                }
                let kept = inspector.driver.memory();
                let head = if let AnyParser::Header(parser) = &inspector.parser { parser.memory() } else { 0 };
                assert!(kept + head <= 5 * MAX_TAKE_BYTES, "{format} keeps {kept} and {head} bytes");
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
            (Format::Gif, b"GIF89a\x0A\0\x14\0\0\0\0,\0\0\0\0\x01\0\x01\0\0"),
            (Format::Webp, b"RIFF\x24\0\0\0WEBPVP8L\x18\0\0\0\x2F\x09\xC0\x04\0"),
            (Format::Jpeg, b"\xFF\xD8\xFF\xC0\0\x0B\x08\0\x14\0\x0A\x01"),
            (Format::Png, b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR\0\0\0\x0A\0\0\0\x14\x08\0\0\0\0"),
        ];
        for (format, start) in table {
            let mut inspector = Inspector::new(format, InspectOptions { structure: true, exif: false });
            let (last, before) = start.split_last().expect("some bytes");
            inspector.feed(before).expect("sound so far");
            assert!(!inspector.size_is_final(), "{format}");
            inspector.feed(&[*last]).expect("sound so far");
            assert!(inspector.size_is_final(), "{format}");
            assert_eq!(inspector.measures(), super::super::types::sized(10, 20), "{format}");
        }
        let tiff = Inspector::new(Format::Tiff, InspectOptions::default());
        assert!(tiff.size_is_final(), "nothing but its end tells");
    }

    #[test]
    fn a_corrupt_image_stays_corrupt_and_is_not_reported_where_that_is_not_wanted() {
        let body = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDX";
        let mut inspector = Inspector::new(Format::Png, InspectOptions { structure: true, exif: false });
        let corruption = inspector.feed(body).expect_err("it has no IHDR");
        assert_eq!(inspector.feed(b"more"), Err(corruption));
        let ended = inspector.end(|| Ok(Cursor::new(body)));
        assert!(matches!(ended, Err(InspectError::Corrupt(again)) if again == corruption), "{ended:?}");
        assert_eq!(testing::measure(Format::Png, body), Measures::default());
    }

    #[test]
    fn a_body_that_cannot_be_read_back_is_no_corrupt_image() {
        let mut inspector = Inspector::new(Format::Tiff, InspectOptions { structure: true, exif: false });
        inspector.feed(b"II\x2A\0\x08\0\0\0").expect("nothing is looked at yet");
        let ended = inspector.end(|| Err::<Cursor<&[u8]>, _>(io::Error::other("the disk is gone")));
        assert!(matches!(&ended, Err(InspectError::Io(error)) if error.to_string() == "the disk is gone"), "{ended:?}");
    }
}
