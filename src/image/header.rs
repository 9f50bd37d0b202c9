//! Formats that tell their size at the beginning, in a header of no fixed length.
//!
//! The beginning is kept, and looked at when it has become twice as long as it was. What is told depends on those lengths
//! and not on how the body was cut. Where a file is made of boxes, these are followed to its end.

use super::fields::{be32, be64, le16, le32};
use super::inspector::Unsound;
use super::stream::{MOST_TOGETHER, Step, Walker};
use super::{heif, jp2, jxl, svg};
use crate::record::{Format, Measures};

/// How much is looked at first. Most headers are shorter.
const FIRST: usize = 32;

/// The most that is kept, in bytes. The description of a picture from hundreds of tiles (HEIC) has some 10 KB.
const MOST: usize = 2 * MOST_TOGETHER;

/// What a header has told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) measures: Measures,
    /// How many bytes the file has at least if it is whole.
    pub(super) least: u64,
    /// Where an Exif block is, and its length.
    pub(super) exif: Option<(u64, u64)>,
    /// More of the file would tell more.
    pub(super) is_partial: bool,
    /// Where the next box begins, and has not been looked at.
    pub(super) next_box: Option<u64>,
    /// No box with the picture's data has been seen.
    pub(super) lacks_data: bool,
}

/// What the bytes are that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Head,
    /// Length and type of a box.
    Box,
    /// The length of a box that is longer than 32 bits say.
    LongBox,
}

/// What is wrong with a file that is shorter than it says.
pub(super) const CUT: &str = "it ends before its data does";

/// A picture of this size.
pub(super) fn sized(width: u32, height: u32) -> Measures {
    let some = |side| Some(side).filter(|side| *side > 0);
    Measures { width: some(width), height: some(height), ..Measures::default() }
}

#[derive(Clone, Debug)]
pub(super) struct Header {
    format: Format,
    expect: Expect,
    head: Vec<u8>,
    told: Option<Told>,
}

impl Header {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, expect: Expect::Head, head: Vec::new(), told: None }
    }

    pub(super) fn told(&self) -> Told {
        self.told.unwrap_or_default()
    }

    /// Bytes of memory that are kept.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.head.capacity()
    }

    fn look(&mut self, is_all: bool) {
        self.told = look(self.format, &self.head, is_all);
    }

    /// Everything has been told that will be. What is missing is missing.
    fn judge(&self) -> Result<(), Unsound> {
        let told = self.told();
        // An SVG need not tell its size, and a HEIF may describe its picture somewhere else.
        let may_be_silent = matches!(self.format, Format::Svg | Format::Avif | Format::Heic);
        if told.lacks_data {
            Err(Unsound(CUT))
        } else if !may_be_silent && (told.measures.width.is_none() || told.measures.height.is_none()) {
            Err(Unsound("its header does not tell its size"))
        } else {
            Ok(())
        }
    }

    /// On to the next box, which begins after so many bytes; or there is none.
    fn next_box(&mut self, after: Option<u64>) -> Result<Step, Unsound> {
        self.expect = Expect::Box;
        match after {
            Some(after) => Ok(Step::Take { after, length: 8 }),
            None => self.judge().map(|()| Step::Over),
        }
    }
}

impl Walker for Header {
    const START: Step = Step::Take { after: 0, length: FIRST };

    fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound> {
        match self.expect {
            Expect::Head => {
                self.head.extend_from_slice(bytes);
                let length = self.head.len();
                self.look(length >= MOST);
                // Where the first box begins that is not there; one may be there in part.
                let next = self.told().next_box.map(|next| next.checked_sub(length as u64));
                if length < MOST && (next == Some(None) || self.told.is_none_or(|told| told.is_partial)) {
                    return Ok(Step::Take { after: 0, length });
                }
                self.head = Vec::new();
                match next {
                    // So many boxes in front, and half a one: nobody knows what comes.
                    Some(None) => Ok(Step::Over),
                    next => self.next_box(next.flatten()),
                }
            }
            Expect::Box => {
                if let Some(told) = &mut self.told {
                    told.lacks_data &= !matches!(&bytes[4..], b"mdat" | b"jp2c");
                }
                match be32(bytes, 0) {
                    Some(1) => {
                        self.expect = Expect::LongBox;
                        Ok(Step::Take { after: 0, length: 8 })
                    }
                    // The length counts itself and the type. 0 is for the rest of the file, and less is no box any more:
                    // whatever comes after the boxes is left alone.
                    length => self.next_box(length.and_then(|length| u64::from(length).checked_sub(8))),
                }
            }
            Expect::LongBox => self.next_box(be64(bytes, 0).and_then(|length| length.checked_sub(16))),
        }
    }

    fn measures(&self) -> Measures {
        self.told().measures
    }

    fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), Unsound> {
        if self.expect == Expect::Head {
            self.head.extend_from_slice(rest);
            self.look(true);
        }
        if missing > 0 { Err(Unsound(CUT)) } else { self.judge() }
    }
}

/// What the beginning of a file tells, once it is long enough; `is_all` says that it will not become longer.
fn look(format: Format, head: &[u8], is_all: bool) -> Option<Told> {
    match format {
        Format::Avif | Format::Heic => heif::look(head, is_all),
        Format::Jp2 => jp2::look(head, is_all),
        Format::Jxl => jxl::look(head, is_all),
        Format::Svg => svg::look(head),
        Format::Bmp => bitmap(head),
        Format::Ico => icon(head, is_all),
        Format::Pnm => portable_map(head),
        Format::Hdr => radiance(head),
        Format::Exr => open_exr(head),
        // A header, one byte of pixels at least, and eight that end it (QOI specification).
        Format::Qoi => {
            Some(Told { measures: sized(be32(head, 4)?, be32(head, 8)?), least: 14 + 1 + 8, ..Told::default() })
        }
        Format::Dds => Some(Told { measures: sized(le32(head, 16)?, le32(head, 12)?), least: 128, ..Told::default() }),
        // Header, and the lengths of three sections (Adobe Photoshop file formats specification).
        Format::Psd => {
            Some(Told { measures: sized(be32(head, 18)?, be32(head, 14)?), least: 26 + 12, ..Told::default() })
        }
        // Its end has proved it.
        Format::Tga => {
            let (width, height) = (le16(head, 12)?.into(), le16(head, 14)?.into());
            Some(Told { measures: sized(width, height), ..Told::default() })
        }
        Format::Jpeg | Format::Png | Format::Gif | Format::Webp | Format::Tiff => None,
    }
}

/// Windows and OS/2 bitmaps: a header of 14 bytes, and another one of many kinds that begins with its length.
fn bitmap(head: &[u8]) -> Option<Told> {
    let start = u64::from(le32(head, 10)?);
    let (width, height, depth, compression) = if le32(head, 14)? == 12 {
        (le16(head, 18)?.into(), le16(head, 20)?.into(), le16(head, 24)?, 0)
    } else {
        // A height below 0 says that the top row comes first.
        (le32(head, 18)?, le32(head, 22)?.cast_signed().unsigned_abs(), le16(head, 28)?, le32(head, 30)?)
    };
    let bits = u64::from(width) * u64::from(depth);
    // Rows fill words of 32 bits; some writers leave out what fills the last one. 0 and 3 are pixels as they are.
    let rows = u64::from(height).saturating_sub(1).saturating_mul(bits.div_ceil(32) * 4);
    let pixels = if matches!(compression, 0 | 3) { rows.saturating_add(bits.div_ceil(8)) } else { 0 };
    Some(Told { measures: sized(width, height), least: start.saturating_add(pixels), ..Told::default() })
}

/// Icons and cursors: the largest of the pictures in it.
fn icon(head: &[u8], is_all: bool) -> Option<Told> {
    let count = usize::from(le16(head, 4)?);
    let entries = head.get(6..)?.chunks_exact(16).take(count);
    if entries.len() < count && !is_all {
        return None;
    }
    let mut told = Told::default();
    let mut largest = 0;
    for entry in entries {
        // A byte holds 256 as 0.
        let side = |at: usize| u32::from(entry[at].wrapping_sub(1)) + 1;
        let (width, height) = (side(0), side(1));
        if width * height > largest {
            largest = width * height;
            told.measures = sized(width, height);
        }
        told.least = told.least.max(u64::from(le32(entry, 8)?) + u64::from(le32(entry, 12)?));
    }
    Some(told)
}

/// Netpbm: P1 to P6 with their numbers one after the other, P7 with a line for each.
fn portable_map(head: &[u8]) -> Option<Told> {
    let kind = *head.get(1)?;
    let mut words = Words(head.get(2..)?);
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u32>().ok();
    let (mut width, mut height, mut depth, mut largest) = (0, 0, 1, 1);
    if kind == b'7' {
        loop {
            match words.next()? {
                b"WIDTH" => width = number(words.next()?)?,
                b"HEIGHT" => height = number(words.next()?)?,
                b"DEPTH" => depth = number(words.next()?)?,
                b"MAXVAL" => largest = number(words.next()?)?,
                b"ENDHDR" => break,
                _ => {}
            }
        }
    } else {
        width = number(words.next()?)?;
        height = number(words.next()?)?;
        if !matches!(kind, b'1' | b'4') {
            largest = number(words.next()?)?;
        }
        depth = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    }
    let samples = u64::from(width).saturating_mul(depth.into());
    let row = match kind {
        b'4' => samples.div_ceil(8),
        b'1' => samples,
        // A digit and what parts it from the next one.
        b'2' | b'3' => samples.saturating_mul(2),
        _ => samples.saturating_mul(if largest > 255 { 2 } else { 1 }),
    };
    let header = (head.len() - words.0.len()) as u64;
    let gap = u64::from(matches!(kind, b'2' | b'3'));
    let least = row.saturating_mul(height.into()).saturating_add(header).saturating_sub(gap);
    Some(Told { measures: sized(width, height), least, ..Told::default() })
}

/// Words with white space behind them, of which one byte belongs to the word. A comment goes to the end of its line, and
/// may begin within a word's white space or right behind the word.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            self.0 = self.0.trim_ascii_start();
            if self.0.first()? == &b'#' {
                self.0 = &self.0[self.0.iter().position(|byte| *byte == b'\n')?..];
                continue;
            }
            let end = self.0.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'#')?;
            let (word, rest) = self.0.split_at(end);
            self.0 = if rest[0] == b'#' { rest } else { &rest[1..] };
            return Some(word);
        }
    }
}

/// Radiance: lines, an empty one, and one with the axes and their lengths, the one of the rows first.
fn radiance(head: &[u8]) -> Option<Told> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    lines.find(|line| line.trim_ascii().is_empty())?;
    let line = lines.next().filter(|line| line.ends_with(b"\n"))?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace().skip(1).step_by(2).map(|word| word.parse::<u32>().ok());
    let (height, width) = (words.next()??, words.next()??);
    Some(Told { measures: sized(width, height), ..Told::default() })
}

/// `OpenEXR`: attributes with a name, a type and a length; one is the box of the pixels that are stored.
fn open_exr(head: &[u8]) -> Option<Told> {
    let mut rest = head.get(8..)?;
    loop {
        let mut text = || {
            let (text, after) = rest.split_at(rest.iter().position(|byte| *byte == 0)?);
            rest = &after[1..];
            Some(text)
        };
        let (name, kind) = (text()?, text()?);
        let length = usize::try_from(le32(rest, 0)?).ok()?;
        let value = rest.get(4..)?;
        if name == b"dataWindow" && kind == b"box2i" {
            let side = |from, to| {
                let [from, to] = [le32(value, from)?, le32(value, to)?].map(|edge| i64::from(edge.cast_signed()));
                u32::try_from(to - from + 1).ok()
            };
            let (width, height) = (side(0, 8)?, side(4, 12)?);
            return Some(Told { measures: sized(width, height), ..Told::default() });
        }
        rest = value.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;

    /// The least that is a bitmap, of 24 bits for each pixel.
    fn bitmap_of(width: i32, height: i32) -> Vec<u8> {
        let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
        file.extend(width.to_le_bytes());
        file.extend(height.to_le_bytes());
        file.extend(b"\x01\0\x18\0");
        file.resize(0x36, 0);
        file
    }

    #[test]
    fn a_header_tells_the_size() {
        let icons = [
            b"\0\0\x01\0\x03\0".as_slice(),
            b"\x10\x10\0\0\x01\0\x20\0\x01\0\0\0\x36\0\0\0",
            b"\0\0\0\0\x01\0\x20\0\x01\0\0\0\x37\0\0\0",
            b"\x20\x30\0\0\x01\0\x20\0\x01\0\0\0\x38\0\0\0...",
        ];
        let table: [(Format, Vec<u8>, u32, u32); 14] = [
            (Format::Bmp, [bitmap_of(2, -3), vec![0; 8 + 8 + 6]].concat(), 2, 3),
            (Format::Bmp, b"BM\0\0\0\0\0\0\0\0\x1A\0\0\0\x0C\0\0\0\x09\0\x01\0\x01\0\x01\0..".to_vec(), 9, 1),
            (Format::Ico, icons.concat(), 256, 256),
            (Format::Pnm, b"P4 #c\n9#d\n2\n1234".to_vec(), 9, 2),
            (Format::Pnm, b"P1\n#\n# size\n2 3\n101010".to_vec(), 2, 3),
            (Format::Pnm, b"P5 2 2 65535\n12345678".to_vec(), 2, 2),
            (Format::Pnm, b"P7\n# c\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n12345678".to_vec(), 2, 1),
            (Format::Hdr, b"#?RGBE\r\nFORMAT=32-bit_rle_rgbe\r\n\r\n-Y 20 +X 10\r\n".to_vec(), 10, 20),
            (Format::Hdr, b"#?RADIANCE\nX=+X 9\n\n+X 20 -Y 10\n".to_vec(), 10, 20),
            (Format::Psd, [b"8BPS\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x14\0\0\0\x0A\0\x08\0\x03".as_slice(), &[0; 12]].concat(), 10, 20),
            (Format::Qoi, b"qoif\0\0\0\x0A\0\0\0\x14\x03\0x\0\0\0\0\0\0\0\x01".to_vec(), 10, 20),
            (Format::Jp2, b"\xFF\x4F\xFF\x51\0\x2F\0\0\0\0\0\x0C\0\0\0\x15\0\0\0\x02\0\0\0\x01".to_vec(), 10, 20),
            (
                Format::Exr,
                b"v/1\x01\x02\0\0\0lines\0int\0\x02\0\0\0..dataWindow\0box2i\0\x10\0\0\0\xFF\xFF\xFF\xFF\0\0\0\0\x08\0\0\0\x13\0\0\0".to_vec(),
                10,
                20,
            ),
            // Further away than what is looked at first.
            (Format::Pnm, [b"P5 #".as_slice(), &vec![b'c'; 50_000], b"\n1 1 255 x"].concat(), 1, 1),
        ];
        for (format, file, width, height) in table {
            let expected = sized(width, height);
            assert_eq!(inspect(format, &file).map(|found| found.measures), Ok(expected), "{format}");
            assert_eq!(measure(format, &file), expected, "{format}");
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_says_is_refused() {
        let table: [(Format, Vec<u8>); 6] = [
            (Format::Bmp, [bitmap_of(2, -3), vec![0; 8 + 8 + 5]].concat()),
            (Format::Ico, b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x04\0\0\0\x16\0\0\0abc".to_vec()),
            (Format::Pnm, b"P6 2 2 255\n12345678901".to_vec()),
            (Format::Pnm, b"P6 4294967295 4294967295 65535\n12345678901".to_vec()),
            (Format::Qoi, b"qoif\0\0\0\x0A\0\0\0\x14\x03\0x\0\0\0\0\0\0\0".to_vec()),
            (Format::Bmp, bitmap_of(i32::MAX, i32::MIN)),
        ];
        for (format, file) in table {
            assert_eq!(inspect(format, &file), Err("it ends before its data does"), "{format}");
            assert!(measure(format, &file).width.is_some(), "{format} tells its size all the same");
        }
    }

    #[test]
    fn a_header_without_a_size_is_refused() {
        let table: [(Format, &[u8]); 9] = [
            (Format::Bmp, b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
            (Format::Pnm, b"P6\n2"),
            (Format::Pnm, b"P6\n2 -2 255\n"),
            (Format::Qoi, b"qoif\0\0\0\x0A\0\0\0\0\x03\0x\0\0\0\0\0\0\0\x01"),
            (Format::Hdr, b"#?RADIANCE\n\n-Y 20 +X"),
            (Format::Exr, b"v/1\x01\x02\0\0\0dataWindow\0box2i\0\x10\0\0\0"),
            (Format::Jxl, b"\xFF\x0A\0"),
            (Format::Jp2, b"\xFF\x4F\xFF\x51\0\x2F\0\0\0\0\0\x0C\0\0\0\x15\0\0\0\x0D\0\0\0\x01"),
            (Format::Dds, b"DDS "),
        ];
        for (format, file) in table {
            assert_eq!(inspect(format, file), Err("its header does not tell its size"), "{format}");
            // Zeros are a picture of one pixel in some.
            let filled = [file, &vec![0; 2 * MOST]].concat();
            let is_pixel = matches!(format, Format::Exr | Format::Jxl);
            assert_eq!(inspect(format, &filled).is_ok(), is_pixel, "{format}, filled with zeros");
        }
        let nothing = inspect(Format::Svg, b"<svg></svg>").map(|found| found.measures);
        assert_eq!(nothing, Ok(Measures::default()), "an SVG need not have a size");
    }
}
