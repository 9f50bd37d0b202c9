//! WebP (RFC 9649): chunks in a RIFF container, one of which holds the picture, or several the frames of an animation.

use super::exif;
use super::fields::{le16, le24, le32};
use super::inspector::{Unsound, Wanted};
use super::stream::{MOST_TOGETHER, Step, Walker};
use crate::record::Measures;

/// What comes before a chunk's content: its type and its length.
const HEADER: u64 = 8;

/// What the bytes are that come next.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Start,
    Header,
    /// The beginning of the content of a chunk of this type, and how many bytes come after it.
    Content([u8; 4], u64),
    /// Nothing: the container has ended.
    Nothing,
}

#[derive(Clone, Debug)]
pub(super) struct Webp {
    wanted: Wanted,
    expect: Expect,
    /// What the container still holds, in bytes.
    left: u64,
    /// The bytes that pass by now end with one that only makes their number even.
    is_padded: bool,
    measures: Measures,
    frames: u32,
    has_picture: bool,
    exif: Option<exif::Told>,
}

impl Webp {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            expect: Expect::Start,
            left: 0,
            is_padded: false,
            measures: Measures::default(),
            frames: 0,
            has_picture: false,
            exif: None,
        }
    }

    pub(super) fn exif(&mut self) -> Option<exif::Told> {
        self.exif.take()
    }

    /// On to the chunk after this one, of which so many bytes are left.
    fn next_chunk(&mut self, after: u64) -> Step {
        // A byte that is too few for a chunk is the padding that its writer has counted.
        let (expect, length) = if self.left < HEADER { (Expect::Nothing, 0) } else { (Expect::Header, 8) };
        self.expect = expect;
        Step::Take { after, length }
    }

    fn chunk(&mut self, header: &[u8]) -> Result<Step, Unsound> {
        let kind = *header.first_chunk().unwrap_or(&[0; 4]);
        let length = u64::from(le32(header, 4).unwrap_or_default());
        // libwebp refuses it too. The last padding may be missing.
        self.left = (self.left - HEADER)
            .checked_sub(length)
            .ok_or(Unsound("a chunk is longer than the container says that all of them are"))?;
        self.is_padded = length % 2 == 1;
        self.left = self.left.saturating_sub(u64::from(self.is_padded));
        let padded = length + u64::from(self.is_padded);
        let looked_at = match &kind {
            b"VP8X" | b"VP8 " => 10,
            b"VP8L" => 5,
            b"EXIF" if length <= MOST_TOGETHER as u64 && self.exif.is_none() => length,
            b"ANMF" => {
                self.frames = self.frames.saturating_add(1);
                self.has_picture = true;
                0
            }
            _ => 0,
        };
        if looked_at > length {
            return Err(Unsound("a chunk is too short for what it has to hold"));
        }
        if looked_at == 0 {
            return Ok(self.next_chunk(padded));
        }
        self.expect = Expect::Content(kind, padded - looked_at);
        Ok(Step::Take { after: 0, length: usize::try_from(looked_at).unwrap_or_default() })
    }

    fn content(&mut self, kind: [u8; 4], content: &[u8]) -> Result<(), Unsound> {
        let size = match &kind {
            // Flags, and what the canvas has more than one pixel (2.7).
            b"VP8X" => le24(content, 4).zip(le24(content, 7)).map(|(width, height)| (width + 1, height + 1)),
            // A frame tag, a start code, and sizes whose two upper bits scale them (RFC 6386, 9.1).
            b"VP8 " => {
                if content.get(3..6) != Some(b"\x9D\x01\x2A") {
                    return Err(Unsound("its picture does not begin as one"));
                }
                let size = |at| le16(content, at).map(|size| u32::from(size & 0x3FFF));
                size(6).zip(size(8))
            }
            // A signature, and twice 14 bits (RFC 9649, 3.4).
            b"VP8L" => {
                if content.first() != Some(&0x2F) {
                    return Err(Unsound("its picture does not begin as one"));
                }
                le32(content, 1).map(|bits| ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
            }
            _ => {
                let told = exif::read(content, self.wanted.exif);
                self.measures.orientation = told.orientation;
                self.exif = Some(told);
                return Ok(());
            }
        };
        self.has_picture |= &kind != b"VP8X";
        // The canvas comes first where there is one.
        if self.measures.width.is_none()
            && let Some((width, height)) = size
        {
            if width == 0 || height == 0 {
                return Err(Unsound("it has no size"));
            }
            (self.measures.width, self.measures.height) = (Some(width), Some(height));
        }
        Ok(())
    }
}

impl Walker for Webp {
    const START: Step = Step::Take { after: 0, length: 12 };

    fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound> {
        match self.expect {
            Expect::Start => {
                if !bytes.starts_with(b"RIFF") || !bytes.ends_with(b"WEBP") {
                    return Err(Unsound("it does not begin as a WebP"));
                }
                // The length counts the four bytes WEBP.
                self.left = u64::from(le32(bytes, 4).unwrap_or_default()).saturating_sub(4);
                Ok(self.next_chunk(0))
            }
            Expect::Header => self.chunk(bytes),
            Expect::Content(kind, after) => {
                self.content(kind, bytes)?;
                Ok(self.next_chunk(after))
            }
            Expect::Nothing if !self.has_picture => Err(Unsound("it ends without a picture")),
            // Whatever comes after the end, decoders do not look at it.
            Expect::Nothing => Ok(Step::Over),
        }
    }

    fn measures(&self) -> Measures {
        Measures { frames: Some(self.frames).filter(|frames| *frames > 1), ..self.measures }
    }

    fn end(&mut self, _rest: &[u8], missing: u64) -> Result<(), Unsound> {
        // Some writers leave out the padding behind the last chunk.
        if matches!(self.expect, Expect::Nothing) && missing == 1 && self.is_padded && self.has_picture {
            return Ok(());
        }
        Err(Unsound("it ends before its container does"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;
    use crate::record::Format;

    /// One row of a table.
    type Row<'a> = (&'a str, Vec<u8>, Option<u32>, Option<u8>);

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
    fn a_sound_file_tells_what_it_holds() {
        let exif = b"EXIF\x16\0\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        let marked = b"EXIF\x1C\0\0\0Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0";
        let table: [Row; 11] = [
            ("lossy", webp(&[LOSSY]), None, None),
            ("lossless", webp(&[LOSSLESS]), None, None),
            ("with a canvas", webp(&[CANVAS, LOSSY]), None, None),
            ("animated", webp(&[CANVAS, b"ANIM\x02\0\0\0ab", FRAME, FRAME]), Some(2), None),
            ("turned", webp(&[CANVAS, LOSSY, exif]), None, Some(3)),
            ("turned with a JPEG's mark", webp(&[CANVAS, LOSSY, marked]), None, Some(3)),
            ("padded", webp(&[CANVAS, ODD, b"\0", LOSSY]), None, None),
            ("padding missing at the end", webp(&[CANVAS, LOSSY, ODD]), None, None),
            ("padding counted and missing", webp_of(4 + 18 + 18 + 12, &[CANVAS, LOSSY, ODD]), None, None),
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
    fn a_file_with_damage_is_refused() {
        let whole = webp(&[CANVAS, LOSSY, FRAME, FRAME]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Webp, &whole[..end]), Err("it ends before its container does"), "{end}");
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
