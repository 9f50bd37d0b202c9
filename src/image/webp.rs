//! WebP (RFC 9649): chunks in a RIFF container; one of them holds the picture, or several hold the frames of an
//! animation.

use super::exif;
use super::integers::{le16, le24, le32};
use super::parser::{FormatParser, MAX_TAKE_BYTES, ParseStep};
use super::types::{CorruptImage, InspectOptions};
use crate::record::Measures;

/// Bytes before the content of a chunk: its type and its length.
const CHUNK_HEADER_BYTES: u64 = 8;

/// What the next slice holds.
#[derive(Clone, Copy, Debug)]
enum WebpState {
    Start,
    Header,
    /// The beginning of the content of a chunk of this type, and the number of bytes behind it.
    Content([u8; 4], u64),
    /// Nothing: the container has ended.
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) struct WebpParser {
    options: InspectOptions,
    state: WebpState,
    /// Bytes left in the container.
    remaining: u64,
    measures: Measures,
    frames: u32,
    has_picture: bool,
    exif: Option<exif::ExifInfo>,
}

impl WebpParser {
    pub(super) fn new(options: InspectOptions) -> Self {
        Self {
            options,
            state: WebpState::Start,
            remaining: 0,
            measures: Measures::default(),
            frames: 0,
            has_picture: false,
            exif: None,
        }
    }

    pub(super) fn exif(&mut self) -> Option<exif::ExifInfo> {
        self.exif.take()
    }

    /// Goes on to the next chunk after skipping the rest of this one, in bytes.
    fn next_chunk(&mut self, skip: u64) -> ParseStep {
        if self.remaining >= CHUNK_HEADER_BYTES {
            self.state = WebpState::Header;
            return ParseStep::Take { skip, length: 8 };
        }
        // Fewer bytes than a chunk header are padding that the writer has included in the length. They have to be
        // there: decoders refuse a file that is shorter than its container.
        self.state = WebpState::Nothing;
        ParseStep::Take { skip: skip + self.remaining, length: 0 }
    }

    fn chunk(&mut self, header: &[u8]) -> Result<ParseStep, CorruptImage> {
        let kind = *header.first_chunk().unwrap_or(&[0; 4]);
        let length = u64::from(le32(header, 4).unwrap_or_default());
        // libwebp refuses it too.
        self.remaining = (self.remaining - CHUNK_HEADER_BYTES)
            .checked_sub(length)
            .ok_or(CorruptImage("a chunk is longer than the container says that all of them are"))?;
        // Some writers leave out the padding byte behind the last chunk, and do not count it either.
        let padding = (length % 2).min(self.remaining);
        self.remaining -= padding;
        let padded = length + padding;
        let read_bytes = match &kind {
            b"VP8X" | b"VP8 " => 10,
            b"VP8L" => 5,
            b"EXIF" if length <= MAX_TAKE_BYTES as u64 && self.exif.is_none() => length,
            b"ANMF" => {
                self.frames = self.frames.saturating_add(1);
                self.has_picture = true;
                0
            }
            _ => 0,
        };
        if read_bytes > length {
            return Err(CorruptImage("a chunk is too short for what it has to hold"));
        }
        if read_bytes == 0 {
            return Ok(self.next_chunk(padded));
        }
        self.state = WebpState::Content(kind, padded - read_bytes);
        Ok(ParseStep::Take { skip: 0, length: usize::try_from(read_bytes).unwrap_or_default() })
    }

    fn content(&mut self, kind: [u8; 4], content: &[u8]) -> Result<(), CorruptImage> {
        let size = match &kind {
            // Flags, then width and height of the canvas less one (2.7).
            b"VP8X" => le24(content, 4).zip(le24(content, 7)).map(|(width, height)| (width + 1, height + 1)),
            // A frame tag, a start code, then width and height in 14 bits each, below two bits of scaling (RFC 6386,
            // 9.1).
            b"VP8 " => {
                if content.get(3..6) != Some(b"\x9D\x01\x2A") {
                    return Err(CorruptImage("its picture does not begin as one"));
                }
                let size = |at| le16(content, at).map(|size| u32::from(size & 0x3FFF));
                size(6).zip(size(8))
            }
            // A signature, then width and height less one in 14 bits each (RFC 9649, 3.4).
            b"VP8L" => {
                if content.first() != Some(&0x2F) {
                    return Err(CorruptImage("its picture does not begin as one"));
                }
                le32(content, 1).map(|bits| ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
            }
            _ => {
                let info = exif::read(content, self.options.exif);
                self.measures.orientation = info.orientation;
                self.exif = Some(info);
                return Ok(());
            }
        };
        self.has_picture |= &kind != b"VP8X";
        // If there is a canvas, its chunk comes first and its size counts.
        if self.measures.width.is_none()
            && let Some((width, height)) = size
        {
            if width == 0 || height == 0 {
                return Err(CorruptImage("it has no size"));
            }
            (self.measures.width, self.measures.height) = (Some(width), Some(height));
        }
        Ok(())
    }
}

impl FormatParser for WebpParser {
    const START: ParseStep = ParseStep::Take { skip: 0, length: 12 };

    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        match self.state {
            WebpState::Start => {
                if !bytes.starts_with(b"RIFF") || !bytes.ends_with(b"WEBP") {
                    return Err(CorruptImage("it does not begin as a WebP"));
                }
                // The length counts the four bytes WEBP.
                self.remaining = u64::from(le32(bytes, 4).unwrap_or_default()).saturating_sub(4);
                Ok(self.next_chunk(0))
            }
            WebpState::Header => self.chunk(bytes),
            WebpState::Content(kind, after) => {
                self.content(kind, bytes)?;
                Ok(self.next_chunk(after))
            }
            WebpState::Nothing if !self.has_picture => Err(CorruptImage("it ends without a picture")),
            // Decoders ignore bytes after the end.
            WebpState::Nothing => Ok(ParseStep::Done),
        }
    }

    fn measures(&self) -> Measures {
        Measures { frames: Some(self.frames).filter(|frames| *frames > 1), ..self.measures }
    }

    fn end(&mut self, _rest: &[u8], _missing: u64) -> Result<(), CorruptImage> {
        Err(CorruptImage("it ends before its container does"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;
    use crate::record::Format;

    /// Description, file, expected number of frames, expected orientation.
    type WebpCase<'a> = (&'a str, Vec<u8>, Option<u32>, Option<u8>);

    const LOSSY: &[u8] = b"VP8 \x0A\0\0\0\x30\x01\0\x9D\x01\x2A\x0A\x40\x14\xC0";
    const LOSSLESS: &[u8] = b"VP8L\x06\0\0\0\x2F\x09\xC0\x04\0x";
    const CANVAS: &[u8] = b"VP8X\x0A\0\0\0\x02\0\0\0\x09\0\0\x13\0\0";
    const FRAME: &[u8] = b"ANMF\x04\0\0\0abcd";
    const ODD: &[u8] = b"XMP \x03\0\0\0abc";

    fn webp_of(length: usize, chunks: &[&[u8]]) -> Vec<u8> {
        let length = u32::try_from(length).expect("a short one").to_le_bytes();
        [b"RIFF".as_slice(), &length, b"WEBP", &chunks.concat()].concat()
    }

    fn webp(chunks: &[&[u8]]) -> Vec<u8> {
        webp_of(4 + chunks.concat().len(), chunks)
    }

    #[test]
    fn measures_of_an_intact_file_are_reported() {
        let exif = b"EXIF\x16\0\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        let marked = b"EXIF\x1C\0\0\0Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        let table: [WebpCase; 11] = [
            ("lossy", webp(&[LOSSY]), None, None),
            ("lossless", webp(&[LOSSLESS]), None, None),
            ("with a canvas", webp(&[CANVAS, LOSSY]), None, None),
            ("animated", webp(&[CANVAS, b"ANIM\x02\0\0\0ab", FRAME, FRAME]), Some(2), None),
            ("turned", webp(&[CANVAS, LOSSY, exif]), None, Some(3)),
            ("turned with a JPEG's mark", webp(&[CANVAS, LOSSY, marked]), None, Some(3)),
            ("padded", webp(&[CANVAS, ODD, b"\0", LOSSY]), None, None),
            ("padding missing at the end", webp(&[CANVAS, LOSSY, ODD]), None, None),
            (
                "padding of two chunks counted",
                [webp_of(4 + 18 + 20, &[CANVAS, LOSSY]), vec![0; 2]].concat(),
                None,
                None,
            ),
            ("padding not counted", webp_of(4 + 18 + 18 + 11, &[CANVAS, LOSSY, ODD, b"\0"]), None, None),
            ("bytes after the end", [webp(&[LOSSY]), b"RIFFmore".to_vec()].concat(), None, None),
        ];
        for (what, file, frames, orientation) in table {
            let expected = Measures { width: Some(10), height: Some(20), frames, orientation };
            assert_eq!(inspect(Format::Webp, &file).expect(what).measures, expected, "{what}");
            assert_eq!(measure(Format::Webp, &file), expected, "{what}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = webp(&[CANVAS, LOSSY, FRAME, FRAME]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Webp, &whole[..end]), Err("it ends before its container does"), "{end}");
        }
        // dwebp 1.2.4 refuses all that are shorter than their container, by one byte too, whatever is missing.
        for parts in [&[LOSSY][..], &[LOSSLESS], &[CANVAS, LOSSY], &[CANVAS, LOSSY, ODD], &[CANVAS, LOSSY, ODD, b"\0"]]
        {
            for more in 1..10 {
                let long = webp_of(4 + parts.concat().len() + more, parts);
                assert_eq!(inspect(Format::Webp, &long), Err("it ends before its container does"), "{more}");
                let filled = [long, vec![0; more]].concat();
                // Eight zeros are a chunk.
                assert!(more > 8 || inspect(Format::Webp, &filled).is_ok(), "{more}");
            }
        }
        let short = "a chunk is longer than the container says that all of them are";
        let no_picture = "its picture does not begin as one";
        let table: [(Vec<u8>, &str); 8] = [
            (webp_of(20, &[LOSSY]), short),
            (webp_of(0, &[LOSSY]), "it ends without a picture"),
            (webp_of(30, &[LOSSY]), "it ends before its container does"),
            (webp(&[CANVAS, ODD, b"\0"]), "it ends without a picture"),
            (webp(&[b"VP8 \x0A\0\0\0\x30\x01\0\x9D\x01\x2B\x0A\0\x14\0"]), no_picture),
            (webp(&[b"VP8L\x06\0\0\0\x2E\x09\xC0\x04\0x"]), no_picture),
            (webp(&[b"VP8 \x0A\0\0\0\x30\x01\0\x9D\x01\x2A\0\0\x14\0"]), "it has no size"),
            (webp(&[b"VP8X\x02\0\0\0ab"]), "a chunk is too short for what it has to hold"),
        ];
        for (file, what) in table {
            assert_eq!(inspect(Format::Webp, &file), Err(what));
        }
    }
}
