//! PNG and APNG (W3C PNG, third edition, section 5): chunks with their length before and their checksum behind them.

use crc32fast::Hasher;

use super::exif;
use super::fields::{be32, bytes};
use super::inspector::{Unsound, Wanted};
use super::stream::{MOST_TOGETHER, Step, Walker};
use crate::record::Measures;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1A\n";

/// What comes before a chunk's content: its length and its type.
const HEADER: usize = 8;

/// What comes behind it.
const CHECKSUM: usize = 4;

/// Lengths and sizes have 31 bits (5.3, 11.2.1).
const LARGEST: u32 = 0x7FFF_FFFF;

const INDEXED: u8 = 3;

/// What the bytes are that come next.
#[derive(Clone, Copy, Debug)]
enum Expect {
    /// The signature and the header of the first chunk.
    Start,
    /// The content of a chunk that is looked at.
    Content,
    /// The checksum of a chunk, and the header of the next one.
    Next,
    /// The last checksum.
    Last,
}

#[derive(Clone, Debug)]
pub(super) struct Png {
    wanted: Wanted,
    expect: Expect,
    kind: [u8; 4],
    /// The checksum of the chunk so far, where it is looked at.
    checksum: Option<Hasher>,
    measures: Measures,
    lacks_palette: bool,
    has_data: bool,
    exif: Option<exif::Told>,
}

impl Png {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self {
            wanted,
            expect: Expect::Start,
            kind: [0; 4],
            checksum: None,
            measures: Measures::default(),
            lacks_palette: false,
            has_data: false,
            exif: None,
        }
    }

    pub(super) fn exif(&mut self) -> Option<exif::Told> {
        self.exif.take()
    }

    /// A chunk begins.
    fn chunk(&mut self, length: u32, kind: [u8; 4]) -> Result<Step, Unsound> {
        if length > LARGEST {
            return Err(Unsound("a chunk has an impossible length"));
        }
        if !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(Unsound("there is no chunk where one has to be"));
        }
        if self.measures.width.is_none() && &kind != b"IHDR" {
            return Err(Unsound("its first chunk is not IHDR"));
        }
        self.kind = kind;
        // Decoders leave out other chunks with a wrong checksum and show the picture.
        let is_needed = kind[0].is_ascii_uppercase() || matches!(&kind, b"acTL" | b"fcTL" | b"fdAT");
        self.checksum = (self.wanted.structure && is_needed).then(|| {
            let mut checksum = Hasher::new();
            checksum.update(&kind);
            checksum
        });
        let whole = usize::try_from(length).unwrap_or(usize::MAX);
        let is_told = match &kind {
            b"IHDR" if length != 13 => return Err(Unsound("its IHDR chunk has a wrong length")),
            b"IHDR" => self.measures.width.is_none(),
            // After the picture's data it means nothing.
            b"acTL" => length == 8 && !self.has_data,
            b"eXIf" => whole <= MOST_TOGETHER && self.exif.is_none(),
            b"PLTE" => {
                self.lacks_palette = false;
                false
            }
            b"IDAT" if self.lacks_palette => return Err(Unsound("it has no palette for its colours")),
            b"IDAT" => {
                self.has_data = true;
                false
            }
            b"IEND" if !self.has_data => return Err(Unsound("it ends without a picture")),
            b"IEND" => {
                self.expect = Expect::Last;
                return Ok(Step::Take { after: u64::from(length), length: CHECKSUM });
            }
            _ => false,
        };
        Ok(if is_told {
            self.expect = Expect::Content;
            Step::Take { after: 0, length: whole }
        } else {
            self.next_after(u64::from(length))
        })
    }

    fn next_after(&mut self, after: u64) -> Step {
        self.expect = Expect::Next;
        Step::Take { after, length: CHECKSUM + HEADER }
    }

    fn content(&mut self, content: &[u8]) -> Result<(), Unsound> {
        match &self.kind {
            b"IHDR" => {
                let (width, height) = (be32(content, 0), be32(content, 4));
                let is_size = |size: Option<u32>| size.is_some_and(|size| (1..=LARGEST).contains(&size));
                if !is_size(width) || !is_size(height) {
                    return Err(Unsound("its size is impossible"));
                }
                let [depth, colours, compression, filter, interlace] = bytes(content, 8).unwrap_or_default();
                // Table 11.1; and nothing but 0 has been defined for compression and filter.
                let is_depth = match colours {
                    0 => matches!(depth, 1 | 2 | 4 | 8 | 16),
                    INDEXED => matches!(depth, 1 | 2 | 4 | 8),
                    2 | 4 | 6 => matches!(depth, 8 | 16),
                    _ => false,
                };
                if !is_depth || compression != 0 || filter != 0 || interlace > 1 {
                    return Err(Unsound("its header is no PNG's"));
                }
                self.lacks_palette = colours == INDEXED;
                (self.measures.width, self.measures.height) = (width, height);
            }
            b"acTL" => self.measures.frames = be32(content, 0).filter(|frames| *frames > 1),
            _ => {
                let told = exif::read(content, self.wanted.exif);
                self.measures.orientation = told.orientation;
                self.exif = Some(told);
            }
        }
        Ok(())
    }

    /// The checksum behind a chunk.
    fn check(&mut self, told: &[u8]) -> Result<(), Unsound> {
        let is_right = self.checksum.take().is_none_or(|checksum| Some(checksum.finalize()) == be32(told, 0));
        is_right.then_some(()).ok_or(Unsound("a chunk has a wrong checksum"))
    }

    fn header(&mut self, header: &[u8]) -> Result<Step, Unsound> {
        self.chunk(be32(header, 0).unwrap_or_default(), bytes(header, 4).unwrap_or_default())
    }
}

impl Walker for Png {
    const START: Step = Step::Take { after: 0, length: SIGNATURE.len() + HEADER };

    fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound> {
        match self.expect {
            Expect::Start => {
                let header = bytes.strip_prefix(SIGNATURE).ok_or(Unsound("it does not begin as a PNG"))?;
                self.header(header)
            }
            Expect::Content => {
                self.pass(bytes);
                self.content(bytes)?;
                Ok(self.next_after(0))
            }
            Expect::Next => {
                let (checksum, header) = bytes.split_at(CHECKSUM);
                self.check(checksum)?;
                self.header(header)
            }
            Expect::Last => {
                self.check(bytes)?;
                // Whatever comes after the end, decoders do not look at it.
                Ok(Step::Over)
            }
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

    fn end(&mut self, _rest: &[u8], _missing: u64) -> Result<(), Unsound> {
        Err(Unsound("it ends before its IEND chunk"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;
    use crate::record::Format;

    /// One row of a table.
    type Row<'a> = (&'a str, Vec<u8>, Option<u32>, Option<u8>);

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

    /// The same with one bit changed in the last checksum.
    fn damaged(mut chunk: Vec<u8>) -> Vec<u8> {
        *chunk.last_mut().expect("a checksum") ^= 1;
        chunk
    }

    #[test]
    fn a_sound_file_tells_what_it_holds() {
        let (grey, data, end) = (header(0, 8), chunk(*b"IDAT", b"abc"), chunk(*b"IEND", b""));
        let exif = chunk(*b"eXIf", b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0");
        let animated = chunk(*b"acTL", b"\0\0\0\x05\0\0\0\0");
        let still = chunk(*b"acTL", b"\0\0\0\x01\0\0\0\0");
        let table: [Row; 9] = [
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
    fn a_file_with_damage_is_refused() {
        let (grey, data, end) = (header(0, 8), chunk(*b"IDAT", b"abc"), chunk(*b"IEND", b""));
        let whole = png(&[&grey, &chunk(*b"tEXt", b"note"), &data, &end]);
        for end in 0..whole.len() {
            assert_eq!(inspect(Format::Png, &whole[..end]), Err("it ends before its IEND chunk"), "{end}");
            let filled = [&whole[..end], &vec![0; whole.len() - end]].concat();
            // Its last checksum may end with zeros of its own.
            assert!(filled == whole || inspect(Format::Png, &filled).is_err(), "{end}");
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
