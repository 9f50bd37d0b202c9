//! PNG and APNG (W3C PNG, third edition, section 5): chunks with their length in front and their checksum behind.

use crc32fast::Hasher;

use super::exif;
use super::integers::{be32, bytes};
use super::parser::{FormatParser, MAX_TAKE_BYTES, ParseStep};
use super::types::{CorruptImage, InspectOptions};
use crate::record::Measures;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1A\n";

/// Bytes before the content of a chunk: its length and its type.
const CHUNK_HEADER_BYTES: usize = 8;

/// Bytes behind the content of a chunk: its checksum.
const CRC_BYTES: usize = 4;

/// Largest length, width and height: they have 31 bits (5.3, 11.2.1).
const MAX_INTEGER: u32 = 0x7FFF_FFFF;

const INDEXED_COLOUR: u8 = 3;

/// What the next slice holds.
#[derive(Clone, Copy, Debug)]
enum PngState {
    /// The signature and the header of the first chunk.
    Start,
    /// The content of a chunk that is parsed.
    Content,
    /// The checksum of a chunk, and the header of the next one.
    Next,
    /// The last checksum.
    Last,
}

#[derive(Clone, Debug)]
pub(super) struct PngParser {
    options: InspectOptions,
    state: PngState,
    kind: [u8; 4],
    /// Running checksum of the current chunk, if it is to be checked.
    checksum: Option<Hasher>,
    measures: Measures,
    lacks_palette: bool,
    has_data: bool,
    /// What is wrong behind the beginning of the picture data. All of it may have come before.
    doubt: Option<CorruptImage>,
    exif: Option<exif::ExifInfo>,
}

impl PngParser {
    pub(super) fn new(options: InspectOptions) -> Self {
        Self {
            options,
            state: PngState::Start,
            kind: [0; 4],
            checksum: None,
            measures: Measures::default(),
            lacks_palette: false,
            has_data: false,
            doubt: None,
            exif: None,
        }
    }

    pub(super) fn exif(&mut self) -> Option<exif::ExifInfo> {
        self.exif.take()
    }

    /// Begins a chunk.
    fn chunk(&mut self, length: u32, kind: [u8; 4]) -> Result<ParseStep, CorruptImage> {
        if length > MAX_INTEGER {
            return self.lacks_end("a chunk has an impossible length");
        }
        if !kind.iter().all(u8::is_ascii_alphabetic) {
            return self.lacks_end("there is no chunk where one has to be");
        }
        if self.measures.width.is_none() && &kind != b"IHDR" {
            return Err(CorruptImage("its first chunk is not IHDR"));
        }
        self.kind = kind;
        // Decoders skip other chunks with a wrong checksum and show the picture.
        let is_needed = kind[0].is_ascii_uppercase() || matches!(&kind, b"acTL" | b"fcTL" | b"fdAT");
        self.checksum = (self.options.structure && is_needed).then(|| {
            let mut checksum = Hasher::new();
            checksum.update(&kind);
            checksum
        });
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let is_read = match &kind {
            b"IHDR" if length != 13 => return Err(CorruptImage("its IHDR chunk has a wrong length")),
            b"IHDR" => self.measures.width.is_none(),
            // It has no meaning after the image data.
            b"acTL" => length == 8 && !self.has_data,
            b"eXIf" => whole <= MAX_TAKE_BYTES && self.exif.is_none(),
            b"PLTE" => {
                self.lacks_palette = false;
                false
            }
            b"IDAT" if self.lacks_palette => return Err(CorruptImage("it has no palette for its colours")),
            b"IDAT" => {
                self.has_data = true;
                false
            }
            b"IEND" if !self.has_data => return Err(CorruptImage("it ends without a picture")),
            b"IEND" => {
                self.state = PngState::Last;
                return Ok(ParseStep::Take { skip: u64::from(length), length: CRC_BYTES });
            }
            _ => false,
        };
        Ok(if is_read {
            self.state = PngState::Content;
            ParseStep::Take { skip: 0, length: whole }
        } else {
            self.next_chunk(u64::from(length))
        })
    }

    /// Ends parsing at something that is not the end of a PNG. Behind the beginning of the picture data, only decoding
    /// tells whether the picture is whole.
    fn lacks_end(&mut self, what: &'static str) -> Result<ParseStep, CorruptImage> {
        if !self.has_data {
            return Err(CorruptImage(what));
        }
        self.doubt = Some(CorruptImage(what));
        Ok(ParseStep::Done)
    }

    fn next_chunk(&mut self, skip: u64) -> ParseStep {
        self.state = PngState::Next;
        ParseStep::Take { skip, length: CRC_BYTES + CHUNK_HEADER_BYTES }
    }

    fn content(&mut self, content: &[u8]) -> Result<(), CorruptImage> {
        match &self.kind {
            b"IHDR" => {
                let (width, height) = (be32(content, 0), be32(content, 4));
                let is_size = |size: Option<u32>| size.is_some_and(|size| (1..=MAX_INTEGER).contains(&size));
                if !is_size(width) || !is_size(height) {
                    return Err(CorruptImage("its size is impossible"));
                }
                let [depth, colours, compression, filter, interlace] = bytes(content, 8).unwrap_or_default();
                // Table 11.1. Only 0 is defined for compression and filter.
                let is_depth = match colours {
                    0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
                    INDEXED_COLOUR => matches!(depth, 1 | 2 | 4 | 8),
                    2 | 4 | 6 => matches!(depth, 8 | 16),
                    _ => false,
                };
                if !is_depth || compression != 0 || filter != 0 || interlace > 1 {
                    return Err(CorruptImage("its header is no PNG's"));
                }
                self.lacks_palette = colours == INDEXED_COLOUR;
                (self.measures.width, self.measures.height) = (width, height);
            }
            b"acTL" => self.measures.frames = be32(content, 0).filter(|frames| *frames > 1),
            _ => {
                let info = exif::read(content, self.options.exif);
                self.measures.orientation = info.orientation;
                self.exif = Some(info);
            }
        }
        Ok(())
    }

    /// Compares the checksum behind a chunk with the computed one.
    fn check(&mut self, stored: &[u8]) -> Result<(), CorruptImage> {
        let is_right = self.checksum.take().is_none_or(|checksum| Some(checksum.finalize()) == be32(stored, 0));
        is_right.then_some(()).ok_or(CorruptImage("a chunk has a wrong checksum"))
    }

    fn header(&mut self, header: &[u8]) -> Result<ParseStep, CorruptImage> {
        self.chunk(be32(header, 0).unwrap_or_default(), bytes(header, 4).unwrap_or_default())
    }
}

impl FormatParser for PngParser {
    const START: ParseStep = ParseStep::Take { skip: 0, length: SIGNATURE.len() + CHUNK_HEADER_BYTES };

    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        match self.state {
            PngState::Start => {
                let header = bytes.strip_prefix(SIGNATURE).ok_or(CorruptImage("it does not begin as a PNG"))?;
                self.header(header)
            }
            PngState::Content => {
                self.pass(bytes);
                self.content(bytes)?;
                Ok(self.next_chunk(0))
            }
            PngState::Next => {
                let (checksum, header) = bytes.split_at(CRC_BYTES);
                self.check(checksum)?;
                self.header(header)
            }
            PngState::Last => match self.check(bytes) {
                // Decoders ignore bytes after IEND.
                Ok(()) => Ok(ParseStep::Done),
                Err(CorruptImage(what)) => self.lacks_end(what),
            },
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        if let Some(checksum) = &mut self.checksum {
            checksum.update(bytes);
        }
    }

    fn measures(&self) -> Measures {
        self.measures
    }

    fn doubt(&self) -> Option<CorruptImage> {
        self.doubt
    }

    fn end(&mut self, _rest: &[u8], _missing: u64) -> Result<(), CorruptImage> {
        // Even if the last chunk of data is cut: only its checksum may be missing.
        self.lacks_end("it ends before its IEND chunk").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, may_be_whole, measure};
    use super::*;
    use crate::record::Format;

    /// Description, file, expected number of frames, expected orientation.
    type PngCase<'a> = (&'a str, Vec<u8>, Option<u32>, Option<u8>);

    fn chunk(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("a short one").to_be_bytes();
        let checksum = crc32fast::hash(&[&kind, content].concat()).to_be_bytes();
        [length.as_slice(), &kind, content, &checksum].concat()
    }

    fn header(colours: u8, depth: u8) -> Vec<u8> {
        chunk(*b"IHDR", &[0, 0, 0, 10, 0, 0, 0, 20, depth, colours, 0, 0, 0])
    }

    fn png(chunks: &[&[u8]]) -> Vec<u8> {
        [SIGNATURE, &chunks.concat()].concat()
    }

    /// The same chunk with one bit of its checksum flipped.
    fn damaged(mut chunk: Vec<u8>) -> Vec<u8> {
        *chunk.last_mut().expect("a checksum") ^= 1;
        chunk
    }

    #[test]
    fn measures_of_an_intact_file_are_reported() {
        let (grey, data, end) = (header(0, 8), chunk(*b"IDAT", b"abc"), chunk(*b"IEND", b""));
        let exif = chunk(*b"eXIf", b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0");
        let animated = chunk(*b"acTL", b"\0\0\0\x05\0\0\0\0");
        let still = chunk(*b"acTL", b"\0\0\0\x01\0\0\0\0");
        let table: [PngCase; 9] = [
            ("plain", png(&[&grey, &data, &end]), None, None),
            ("data in two chunks", png(&[&grey, &data, &data, &end]), None, None),
            ("indexed", png(&[&header(3, 4), &chunk(*b"PLTE", b"rgb"), &data, &end]), None, None),
            ("animated", png(&[&grey, &animated, &data, &chunk(*b"fdAT", b"\0\0\0\x01x"), &end]), Some(5), None),
            ("animated with one frame", png(&[&grey, &still, &data, &end]), None, None),
            ("animated too late", png(&[&grey, &data, &animated, &end]), None, None),
            ("turned", png(&[&grey, &exif, &data, &end]), None, Some(8)),
            ("turned at its end", png(&[&grey, &data, &exif, &end]), None, Some(8)),
            (
                "a note with a wrong checksum",
                png(&[&grey, &damaged(chunk(*b"tEXt", b"x")), &data, &end, b"more"]),
                None,
                None,
            ),
        ];
        for (what, file, frames, orientation) in table {
            let expected = Measures { width: Some(10), height: Some(20), frames, orientation };
            assert_eq!(inspect(Format::Png, &file).expect(what).measures, expected, "{what}");
            assert_eq!(measure(Format::Png, &file), expected, "{what}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let (grey, data, end) = (header(0, 8), chunk(*b"IDAT", b"abc"), chunk(*b"IEND", b""));
        let whole = png(&[&grey, &chunk(*b"tEXt", b"note"), &data, &end]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Png, &whole[..end]), Err("it ends before its IEND chunk"), "{end}");
            let filled = [&whole[..end], &vec![0; whole.len() - end]].concat();
            // The last checksum may itself end with zeros.
            assert!(filled == whole || inspect(Format::Png, &filled).is_err(), "{end}");
        }
        // From the first byte of the data on, only decoding tells whether a cut file is whole.
        let data_start = whole.windows(4).position(|kind| kind == b"IDAT").expect("data") + 4;
        for end in 0..whole.len() {
            assert_eq!(may_be_whole(Format::Png, &whole[..end]), end >= data_start, "{end}");
        }
        let until_end = whole.len() - 12;
        for behind in
            [&b"\0\0\0\0\0\0\0\0\0\0\0\0"[..], b"\xFF\xFF\xFF\xFFIEND", b"trailing words", b"\0\0\0\0IENDcrc?"]
        {
            assert!(may_be_whole(Format::Png, &[&whole[..until_end], behind].concat()), "{}", behind.escape_ascii());
        }
        for damaged in [png(&[&grey, &damaged(data.clone()), b"trailing"]), png(&[&damaged(grey.clone()), &data])] {
            assert!(!may_be_whole(Format::Png, &damaged));
        }
        let wrong = "a chunk has a wrong checksum";
        let impossible = [b"\x80\0\0\0IDAT".as_slice(), &[0; 32]].concat();
        let flat = chunk(*b"IHDR", &[0, 0, 0, 10, 0, 0, 0, 0, 8, 0, 0, 0, 0]);
        let mut moved = whole.clone();
        moved[8 + 25 + 3] -= 1; // The length of the note.
        let table: [(Vec<u8>, &str); 14] = [
            (png(&[&damaged(grey.clone()), &data, &end]), wrong),
            (png(&[&grey, &damaged(data.clone()), &end]), wrong),
            (png(&[&grey, &data, &damaged(end.clone())]), wrong),
            (png(&[&grey, &data, &damaged(chunk(*b"fdAT", b"\0\0\0\x01x")), &end]), wrong),
            (png(&[&grey, &impossible]), "a chunk has an impossible length"),
            (moved, "there is no chunk where one has to be"),
            (png(&[&data, &end]), "its first chunk is not IHDR"),
            (png(&[&chunk(*b"CgBI", b"\x50\0\x20\x06"), &grey, &data, &end]), "its first chunk is not IHDR"),
            (png(&[&chunk(*b"IHDR", b"short"), &data, &end]), "its IHDR chunk has a wrong length"),
            (png(&[&flat, &data, &end]), "its size is impossible"),
            (png(&[&header(0, 3), &data, &end]), "its header is no PNG's"),
            (png(&[&header(3, 4), &data, &end]), "it has no palette for its colours"),
            (png(&[&grey, &end]), "it ends without a picture"),
            (b"\x89PNG\r\n\x1A\x0B\0\0\0\x0DIHDR".to_vec(), "it does not begin as a PNG"),
        ];
        for (file, what) in table {
            assert_eq!(inspect(Format::Png, &file), Err(what));
        }
    }
}
