//! Formats that state their size at the beginning, in a header of variable length.
//!
//! The beginning is buffered and parsed each time its length has doubled, so the result depends on those lengths and
//! not on how the body was cut. If the file consists of boxes, these are followed to the end of the file.

use super::integers::{be32, be64, le16, le32};
use super::parser::{FormatParser, MAX_TAKE_BYTES, ParseStep};
use super::types::{CorruptImage, HeaderInfo, TRUNCATED, sized};
use super::{heif, jp2, jxl, raw, svg};
use crate::record::{Format, Measures};

/// Length in bytes at which a header is first parsed. Most headers are shorter.
const FIRST_READ_BYTES: usize = 32;

/// The most that is buffered, in bytes. The description of a picture of hundreds of tiles (HEIC) has some 10 KB.
const MAX_HEADER_BYTES: usize = 2 * MAX_TAKE_BYTES;

/// What the next slice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderState {
    Head,
    /// Length and type of a box.
    Box,
    /// The 64-bit length of a box.
    LongBox,
}

#[derive(Clone, Debug)]
pub(super) struct HeaderParser {
    format: Format,
    state: HeaderState,
    head: Vec<u8>,
    info: Option<HeaderInfo>,
}

impl HeaderParser {
    pub(super) const fn new(format: Format) -> Self {
        Self { format, state: HeaderState::Head, head: Vec::new(), info: None }
    }

    pub(super) fn info(&self) -> HeaderInfo {
        self.info.unwrap_or_default()
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.head.capacity()
    }

    fn parse_head(&mut self, is_final: bool) {
        self.info = parse(self.format, &self.head, is_final);
    }

    /// Checks the result when nothing more is to be parsed.
    fn check_complete(&self) -> Result<(), CorruptImage> {
        let info = self.info();
        // An SVG need not state its size, and a HEIF may describe its picture elsewhere.
        let may_lack_size = matches!(self.format, Format::Svg | Format::Avif | Format::Heic | Format::Cr3);
        if info.lacks_data {
            Err(CorruptImage(TRUNCATED))
        } else if !may_lack_size && (info.measures.width.is_none() || info.measures.height.is_none()) {
            Err(CorruptImage("its header does not tell its size"))
        } else {
            Ok(())
        }
    }

    /// Goes on to the next box after skipping this number of bytes; `None` if there is no further box.
    fn next_box(&mut self, skip: Option<u64>) -> Result<ParseStep, CorruptImage> {
        self.state = HeaderState::Box;
        match skip {
            Some(skip) => Ok(ParseStep::Take { skip, length: 8 }),
            None => self.check_complete().map(|()| ParseStep::Done),
        }
    }
}

impl FormatParser for HeaderParser {
    const START: ParseStep = ParseStep::Take { skip: 0, length: FIRST_READ_BYTES };

    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        match self.state {
            HeaderState::Head => {
                self.head.extend_from_slice(bytes);
                let length = self.head.len();
                self.parse_head(length >= MAX_HEADER_BYTES);
                // Bytes up to the first box that has not been read; `Some(None)` if that box is in the buffer in part.
                let next = self.info().next_box.map(|next| next.checked_sub(length as u64));
                if length < MAX_HEADER_BYTES && (next == Some(None) || self.info.is_none_or(|info| info.is_partial)) {
                    return Ok(ParseStep::Take { skip: 0, length });
                }
                self.head = Vec::new();
                match next {
                    // The buffer is full and ends within the header of a box: the rest cannot be followed.
                    Some(None) => Ok(ParseStep::Done),
                    next => self.next_box(next.flatten()),
                }
            }
            HeaderState::Box => {
                if let Some(info) = &mut self.info {
                    info.lacks_data &= !matches!(&bytes[4..], b"mdat" | b"jp2c");
                }
                match be32(bytes, 0) {
                    Some(1) => {
                        self.state = HeaderState::LongBox;
                        Ok(ParseStep::Take { skip: 0, length: 8 })
                    }
                    // The length includes itself and the type. 0 means the rest of the file. A length from 2 to 7 is no
                    // box: data that follows the boxes is ignored.
                    length => self.next_box(length.and_then(|length| u64::from(length).checked_sub(8))),
                }
            }
            HeaderState::LongBox => self.next_box(be64(bytes, 0).and_then(|length| length.checked_sub(16))),
        }
    }

    fn measures(&self) -> Measures {
        self.info().measures
    }

    fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), CorruptImage> {
        if self.state == HeaderState::Head {
            self.head.extend_from_slice(rest);
            self.parse_head(true);
        }
        if missing > 0 { Err(CorruptImage(TRUNCATED)) } else { self.check_complete() }
    }
}

/// Parses the beginning of a file; `None` until it is long enough. `is_final` says that it will not grow.
fn parse(format: Format, head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    match format {
        Format::Avif | Format::Heic => heif::parse(head, is_final),
        Format::Jp2 => jp2::parse(head, is_final),
        Format::Jxl => jxl::parse(head, is_final),
        Format::Svg => svg::parse(head),
        Format::Bmp => bitmap(head),
        Format::Ico => icon(head, is_final),
        Format::Pnm => portable_map(head),
        Format::Hdr => radiance(head),
        Format::Exr => open_exr(head),
        // A header, at least one byte of pixels, and an end marker of eight bytes (QOI specification).
        Format::Qoi => Some(HeaderInfo {
            measures: sized(be32(head, 4)?, be32(head, 8)?),
            min_length: 14 + 1 + 8,
            ..HeaderInfo::default()
        }),
        Format::Dds => Some(HeaderInfo {
            measures: sized(le32(head, 16)?, le32(head, 12)?),
            min_length: 128,
            ..HeaderInfo::default()
        }),
        // A header and the lengths of three sections (Adobe Photoshop file formats specification).
        Format::Psd => Some(HeaderInfo {
            measures: sized(be32(head, 18)?, be32(head, 14)?),
            min_length: 26 + 12,
            ..HeaderInfo::default()
        }),
        // Its footer has been found, so the file is complete.
        Format::Tga => {
            let (width, height) = (le16(head, 12)?.into(), le16(head, 14)?.into());
            Some(HeaderInfo { measures: sized(width, height), ..HeaderInfo::default() })
        }
        Format::Cr3 => raw::canon(head, is_final),
        // They have inspectors of their own, or are read back when they are complete.
        _ => None,
    }
}

/// Windows and OS/2 bitmaps: a file header of 14 bytes, and an information header of one of several kinds, which begins
/// with its length.
fn bitmap(head: &[u8]) -> Option<HeaderInfo> {
    let start = u64::from(le32(head, 10)?);
    let header = le32(head, 14)?;
    let (width, height, depth, compression) = if header == 12 {
        (le16(head, 18)?.into(), le16(head, 20)?.into(), le16(head, 24)?, 0)
    } else {
        // That of OS/2 2.x may end before the field; then the pixels are uncompressed.
        let compression = if header < 20 { 0 } else { le32(head, 30)? };
        // A negative height says that the top row comes first.
        (le32(head, 18)?, le32(head, 22)?.cast_signed().unsigned_abs(), le16(head, 28)?, compression)
    };
    let bits = u64::from(width) * u64::from(depth);
    // Rows are padded to 32 bits; some writers leave out the padding of the last row. Compression 0 means uncompressed
    // pixels, and so does 3, but that of OS/2 2.x with its 64 bytes is Huffman's.
    let rows = u64::from(height).saturating_sub(1).saturating_mul(bits.div_ceil(32) * 4);
    let is_uncompressed = compression == 0 || (compression == 3 && header != 64);
    let pixels = if is_uncompressed { rows.saturating_add(bits.div_ceil(8)) } else { 0 };
    Some(HeaderInfo {
        measures: sized(width, height),
        min_length: start.saturating_add(pixels),
        ..HeaderInfo::default()
    })
}

/// Icons and cursors: the size of the largest picture in the file.
fn icon(head: &[u8], is_final: bool) -> Option<HeaderInfo> {
    let count = usize::from(le16(head, 4)?);
    let entries = head.get(6..)?.chunks_exact(16).take(count);
    if entries.len() < count && !is_final {
        return None;
    }
    let mut info = HeaderInfo::default();
    let mut largest = 0;
    for entry in entries {
        // 0 means 256.
        let side = |at: usize| u32::from(entry[at].wrapping_sub(1)) + 1;
        let (width, height) = (side(0), side(1));
        if width * height > largest {
            largest = width * height;
            info.measures = sized(width, height);
        }
        info.min_length = info.min_length.max(u64::from(le32(entry, 8)?) + u64::from(le32(entry, 12)?));
    }
    Some(info)
}

/// Netpbm: P1 to P6 list their numbers one after the other, P7 has a line for each.
fn portable_map(head: &[u8]) -> Option<HeaderInfo> {
    let kind = *head.get(1)?;
    let mut tokens = PnmTokens(head.get(2..)?);
    let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u32>().ok();
    let (mut width, mut height, mut depth, mut largest) = (0, 0, 1, 1);
    if kind == b'7' {
        loop {
            match tokens.next()? {
                b"WIDTH" => width = number(tokens.next()?)?,
                b"HEIGHT" => height = number(tokens.next()?)?,
                b"DEPTH" => depth = number(tokens.next()?)?,
                b"MAXVAL" => largest = number(tokens.next()?)?,
                b"ENDHDR" => break,
                _ => {}
            }
        }
    } else {
        width = number(tokens.next()?)?;
        height = number(tokens.next()?)?;
        if !matches!(kind, b'1' | b'4') {
            largest = number(tokens.next()?)?;
        }
        depth = if matches!(kind, b'3' | b'6') { 3 } else { 1 };
    }
    let samples = u64::from(width).saturating_mul(depth.into());
    let row = match kind {
        b'4' => samples.div_ceil(8),
        b'1' => samples,
        // A digit and a separator.
        b'2' | b'3' => samples.saturating_mul(2),
        _ => samples.saturating_mul(if largest > 255 { 2 } else { 1 }),
    };
    let header = (head.len() - tokens.0.len()) as u64;
    let gap = u64::from(matches!(kind, b'2' | b'3'));
    let min_length = row.saturating_mul(height.into()).saturating_add(header).saturating_sub(gap);
    Some(HeaderInfo { measures: sized(width, height), min_length, ..HeaderInfo::default() })
}

/// Words, each with one byte of white space behind it. A comment extends to the end of its line; it may begin in the
/// white space or directly behind a word.
struct PnmTokens<'a>(&'a [u8]);

impl<'a> PnmTokens<'a> {
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

/// Radiance: lines of text, an empty line, and a line with the axes and their lengths, that of the rows first.
fn radiance(head: &[u8]) -> Option<HeaderInfo> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    lines.find(|line| line.trim_ascii().is_empty())?;
    let line = lines.next().filter(|line| line.ends_with(b"\n"))?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_ascii_whitespace().skip(1).step_by(2).map(|word| word.parse::<u32>().ok());
    let (height, width) = (words.next()??, words.next()??);
    Some(HeaderInfo { measures: sized(width, height), ..HeaderInfo::default() })
}

/// `OpenEXR`: attributes with a name, a type and a length; `dataWindow` is the rectangle of the stored pixels.
fn open_exr(head: &[u8]) -> Option<HeaderInfo> {
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
            return Some(HeaderInfo { measures: sized(width, height), ..HeaderInfo::default() });
        }
        rest = value.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;

    /// A bitmap header for 24 bits per pixel.
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
        let table: [(Format, Vec<u8>, u32, u32); 17] = [
            (Format::Bmp, [bitmap_of(2, -3), vec![0; 8 + 8 + 6]].concat(), 2, 3),
            (Format::Bmp, b"BM\0\0\0\0\0\0\0\0\x1A\0\0\0\x0C\0\0\0\x09\0\x01\0\x01\0\x01\0..".to_vec(), 9, 1),
            // OS/2 2.x: the shortest header, the longest with uncompressed pixels, and with Huffman's compression.
            (Format::Bmp, b"BM\0\0\0\0\0\0\0\0\x1E\0\0\0\x10\0\0\0\x09\0\0\0\x01\0\0\0\x01\0\x01\0..".to_vec(), 9, 1),
            (Format::Bmp, [b"BM\0\0\0\0\0\0\0\0\x4E\0\0\0\x40\0\0\0\x09\0\0\0\x02\0\0\0\x01\0\x01\0".as_slice(), &[0; 54]].concat(), 9, 2),
            (Format::Bmp, [b"BM\0\0\0\0\0\0\0\0\x4E\0\0\0\x40\0\0\0\xE8\x03\0\0\xE8\x03\0\0\x01\0\x01\0\x03\0\0\0".as_slice(), &[0; 60]].concat(), 1000, 1000),
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
            // A header that is longer than the part that is parsed first.
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
        let table: [(Format, Vec<u8>); 7] = [
            (Format::Bmp, b"BM\0\0\0\0\0\0\0\0\x1E\0\0\0\x10\0\0\0\x09\0\0\0\x02\0\0\0\x01\0\x01\x0012345".to_vec()),
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
            // In some formats, zeros describe a picture of one pixel.
            let filled = [file, &vec![0; 2 * MAX_HEADER_BYTES]].concat();
            let is_pixel = matches!(format, Format::Exr | Format::Jxl);
            assert_eq!(inspect(format, &filled).is_ok(), is_pixel, "{format}, filled with zeros");
        }
        let nothing = inspect(Format::Svg, b"<svg></svg>").map(|found| found.measures);
        assert_eq!(nothing, Ok(Measures::default()), "an SVG need not have a size");
    }
}
