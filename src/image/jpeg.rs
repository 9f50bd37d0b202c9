//! JPEG (ISO/IEC 10918-1, annex B): segments behind markers, and entropy-coded data, in which a byte FF begins a marker
//! unless a 0 follows it.

use memchr::memchr;

use super::exif;
use super::integers::be16;
use super::parser::{FormatParser, ParseStep};
use super::types::{CorruptImage, InspectOptions};
use crate::record::Measures;

// Second bytes of markers (table B.1).
const FIRST_RESTART: u8 = 0xD0;
const LAST_RESTART: u8 = 0xD7;
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const NUMBER_OF_LINES: u8 = 0xDC;
const APP1: u8 = 0xE1;
const TEMPORARY: u8 = 0x01;

/// First bytes of an APP1 segment with an Exif block (Exif 2.32, 4.7.2).
const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// What the next slice holds.
#[derive(Clone, Copy, Debug)]
enum JpegState {
    Start,
    Marker,
    /// The length of the segment behind this marker.
    Length(u8),
    /// The beginning of a frame header of this length in bytes.
    Frame(u16),
    /// The first bytes of an APP1 segment, and the number of bytes behind them.
    App1(u64),
    Exif,
    /// The content of a number-of-lines (DNL) segment.
    Lines,
    /// Nothing: the entropy-coded data begins.
    Data,
}

#[derive(Clone, Debug)]
pub(super) struct JpegParser {
    options: InspectOptions,
    state: JpegState,
    width: Option<u32>,
    /// 0 if only a number-of-lines segment after the first scan states it.
    height: Option<u32>,
    has_data: bool,
    /// The last byte of the entropy-coded data was FF.
    is_marker: bool,
    /// What is wrong behind the beginning of the picture. All of it may have come before.
    doubt: Option<CorruptImage>,
    exif: Option<exif::ExifInfo>,
}

impl JpegParser {
    pub(super) const fn new(options: InspectOptions) -> Self {
        Self {
            options,
            state: JpegState::Start,
            width: None,
            height: None,
            has_data: false,
            is_marker: false,
            doubt: None,
            exif: None,
        }
    }

    pub(super) fn exif(&mut self) -> Option<exif::ExifInfo> {
        self.exif.take()
    }

    /// Behind the beginning of the picture, anything may follow where the end marker is missing, such as what cameras
    /// append. Only decoding tells whether the picture is whole.
    fn or_doubt(&mut self, step: Result<ParseStep, CorruptImage>) -> Result<ParseStep, CorruptImage> {
        step.or_else(|corruption| {
            if !self.has_data {
                return Err(corruption);
            }
            self.doubt = Some(corruption);
            Ok(ParseStep::Done)
        })
    }

    fn next(&mut self, state: JpegState, skip: u64, length: usize) -> ParseStep {
        self.state = state;
        ParseStep::Take { skip, length }
    }

    fn next_marker(&mut self, skip: u64) -> ParseStep {
        self.next(JpegState::Marker, skip, 2)
    }

    fn marker(&mut self, code: u8) -> Result<ParseStep, CorruptImage> {
        match code {
            START_OF_IMAGE => Err(CorruptImage("it begins a second time before its end")),
            END_OF_IMAGE if !self.has_data => Err(CorruptImage("it ends without a picture")),
            END_OF_IMAGE if self.height == Some(0) => Err(CorruptImage("its height is told nowhere")),
            // Many intact files have thumbnails, further pictures (MPF), videos or padding after this marker.
            END_OF_IMAGE => Ok(ParseStep::Done),
            FIRST_RESTART..=LAST_RESTART | TEMPORARY => Ok(self.next_marker(0)),
            _ => Ok(self.next(JpegState::Length(code), 0, 2)),
        }
    }

    fn segment(&mut self, code: u8, length: u16) -> Result<ParseStep, CorruptImage> {
        // The length includes its own two bytes.
        let Some(content) = length.checked_sub(2) else {
            return Err(CorruptImage("a segment has an impossible length"));
        };
        let whole = u64::from(content);
        Ok(match code {
            // Frame headers of every coding process; three codes in the range mean tables instead.
            0xC0..=0xCF if !matches!(code, 0xC4 | 0xC8 | 0xCC) && self.width.is_none() => {
                if content < 6 {
                    return Err(CorruptImage("its frame header is too short"));
                }
                self.next(JpegState::Frame(length), 0, 6)
            }
            APP1 if self.exif.is_none() && usize::from(content) > EXIF_PREFIX.len() => {
                self.next(JpegState::App1(whole - EXIF_PREFIX.len() as u64), 0, EXIF_PREFIX.len())
            }
            NUMBER_OF_LINES if self.height == Some(0) && content == 2 => self.next(JpegState::Lines, 0, 2),
            START_OF_SCAN if self.width.is_none() => {
                return Err(CorruptImage("its picture comes before its frame header"));
            }
            // Size and orientation are known.
            START_OF_SCAN if !self.options.structure && self.height != Some(0) => ParseStep::Done,
            START_OF_SCAN => self.next(JpegState::Data, whole, 0),
            _ => self.next_marker(whole),
        })
    }

    /// Decoders refuse a frame header whose length does not agree with its number of components (B.2.2).
    fn frame(&mut self, header: &[u8], length: u16) -> Result<ParseStep, CorruptImage> {
        let components = u16::from(header.get(5).copied().unwrap_or_default());
        if components == 0 || length != 8 + 3 * components {
            return Err(CorruptImage("its frame header has a wrong length"));
        }
        let width = be16(header, 3).filter(|width| *width > 0).ok_or(CorruptImage("it has no width"))?;
        (self.width, self.height) = (Some(width.into()), be16(header, 1).map(u32::from));
        Ok(self.next_marker(u64::from(3 * components)))
    }

    fn step(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        match self.state {
            JpegState::Start if bytes == [0xFF, START_OF_IMAGE] => Ok(self.next_marker(0)),
            JpegState::Start => Err(CorruptImage("it does not begin as a JPEG")),
            JpegState::Marker => match *bytes {
                [0xFF, code] if code != 0 && code != 0xFF => self.marker(code),
                // Any number of FF bytes may precede a marker (B.1.1.2). Where other bytes do, because a segment states
                // a wrong length, libjpeg warns and goes on at the next marker; so the image is not refused here
                // either.
                _ => {
                    self.is_marker = bytes.last() == Some(&0xFF);
                    Ok(ParseStep::Scan)
                }
            },
            JpegState::Length(code) => self.segment(code, be16(bytes, 0).unwrap_or_default()),
            JpegState::Frame(length) => self.frame(bytes, length),
            JpegState::App1(remaining) if bytes == EXIF_PREFIX => {
                Ok(self.next(JpegState::Exif, 0, usize::try_from(remaining).unwrap_or_default()))
            }
            JpegState::App1(remaining) => Ok(self.next_marker(remaining)),
            JpegState::Exif => {
                self.exif = Some(exif::read(bytes, self.options.exif));
                Ok(self.next_marker(0))
            }
            JpegState::Lines => {
                self.height = be16(bytes, 0).map(u32::from);
                Ok(self.next_marker(0))
            }
            JpegState::Data => {
                self.has_data = true;
                self.is_marker = false;
                Ok(ParseStep::Scan)
            }
        }
    }
}

impl FormatParser for JpegParser {
    const START: ParseStep = ParseStep::Take { skip: 0, length: 2 };

    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        let step = self.step(bytes);
        self.or_doubt(step)
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(usize, ParseStep), CorruptImage> {
        let mut at = 0;
        loop {
            if !self.is_marker {
                let Some(found) = memchr(0xFF, &bytes[at..]) else { return Ok((bytes.len(), ParseStep::Scan)) };
                at += found + 1;
                self.is_marker = true;
            }
            let Some(code) = bytes.get(at) else { return Ok((at, ParseStep::Scan)) };
            at += 1;
            match *code {
                0xFF => {}
                0 | FIRST_RESTART..=LAST_RESTART => self.is_marker = false,
                code => {
                    self.is_marker = false;
                    let step = self.marker(code);
                    return Ok((at, self.or_doubt(step)?));
                }
            }
        }
    }

    fn measures(&self) -> Measures {
        Measures {
            width: self.width,
            height: self.height.filter(|height| *height > 0),
            frames: None,
            orientation: self.exif.as_ref().and_then(|exif| exif.orientation),
        }
    }

    fn doubt(&self) -> Option<CorruptImage> {
        self.doubt
    }

    fn end(&mut self, _rest: &[u8], _missing: u64) -> Result<(), CorruptImage> {
        let ended = Err(CorruptImage("it ends before its end-of-image marker"));
        self.or_doubt(ended).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;
    use crate::record::Format;

    const FRAME: &[u8] = b"\xFF\xC0\0\x0B\x08\0\x14\0\x0A\x01\x01\x11\0";
    const SCAN: &[u8] = b"\xFF\xDA\0\x08\x01\x01\0\0\x3F\0";
    const END: &[u8] = b"\xFF\xD9";

    fn jpeg(parts: &[&[u8]]) -> Vec<u8> {
        [b"\xFF\xD8".as_slice(), &parts.concat()].concat()
    }

    /// A segment with an Exif block that holds nothing but an orientation.
    fn turned(orientation: u8) -> Vec<u8> {
        let mut segment = b"\xFF\xE1\0\x22Exif\0\0II\x2A\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        segment.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        segment
    }

    #[test]
    fn an_intact_file_states_its_size_and_orientation() {
        let comment = b"\xFF\xFE\0\x06\xFF\xD9ab";
        let table: [(&str, Vec<u8>, Option<u8>); 11] = [
            ("plain", jpeg(&[FRAME, SCAN, b"abc", END]), None),
            ("stuffing and restarts", jpeg(&[FRAME, SCAN, b"a\xFF\0b\xFF\xD0c\xFF\xD7\xFF\0", END]), None),
            ("fill bytes", jpeg(&[b"\xFF\xFF", FRAME, b"\xFF", SCAN, b"a\xFF\xFF\xFF", END]), None),
            ("two scans", jpeg(&[FRAME, SCAN, b"a", b"\xFF\xC4\0\x03x", SCAN, b"b", END]), None),
            ("an end within a segment", jpeg(&[comment, FRAME, SCAN, b"a", END]), None),
            ("bytes after the end", jpeg(&[FRAME, SCAN, b"a", END, b"\0\0\xFF\xD8\xFFtrailing"]), None),
            ("something between segments", jpeg(&[b"\0\0\0", FRAME, b"x\xFF\0", SCAN, b"a", END]), None),
            ("turned", jpeg(&[&turned(6), FRAME, SCAN, b"a", END]), Some(6)),
            ("turned by the first block", jpeg(&[&turned(8), &turned(3), FRAME, SCAN, b"a", END]), Some(8)),
            ("upright", jpeg(&[&turned(1), FRAME, SCAN, b"a", END]), None),
            ("turned to nowhere", jpeg(&[&turned(9), FRAME, SCAN, b"a", END]), None),
        ];
        for (what, file, orientation) in table {
            let measures = inspect(Format::Jpeg, &file).expect(what).measures;
            let expected = Measures { width: Some(10), height: Some(20), frames: None, orientation };
            assert_eq!(measures, expected, "{what}");
            assert_eq!(measure(Format::Jpeg, &file), expected, "{what}");
        }
    }

    #[test]
    fn the_height_may_come_after_the_first_scan() {
        let flat = b"\xFF\xC0\0\x0B\x08\0\0\0\x0A\x01\x01\x11\0";
        let file = jpeg(&[flat, SCAN, b"a", b"\xFF\xDC\0\x04\0\x14", END]);
        for measures in [inspect(Format::Jpeg, &file).expect("sound").measures, measure(Format::Jpeg, &file)] {
            assert_eq!((measures.width, measures.height), (Some(10), Some(20)));
        }
        let never = jpeg(&[flat, SCAN, b"a", END]);
        assert_eq!(inspect(Format::Jpeg, &never), Err("its height is told nowhere"));
    }

    #[test]
    fn what_is_wrong_behind_the_beginning_of_the_picture_is_doubted_and_what_is_before_refused() {
        let file = jpeg(&[&turned(6), FRAME, SCAN, b"abc", END]);
        let data = file.len() - b"abc".len() - END.len();
        let tails: [&[u8]; 5] = [b"", b"\0\0more", b"\xFF\xD8\xFF\xE1", b"\xFF\xE1\0\0", b"\xFF"];
        for end in 2..file.len() {
            // Before the data, what follows would be taken for the rest of a header.
            let tails = if end < data { &tails[..1] } else { &tails[..] };
            for tail in tails {
                let cut = [&file[..end], tail].concat();
                let mut inspector = super::super::Inspector::new(
                    Format::Jpeg,
                    super::super::InspectOptions { structure: true, exif: false },
                );
                let fed = inspector.feed(&cut);
                assert!(!inspector.has_ended(), "{end}, {}", tail.escape_ascii());
                let ended = inspector.end(|| Ok(std::io::Cursor::new(&cut)));
                let is_doubted = fed.is_ok() && ended.is_ok_and(|ended| ended.doubt.is_some());
                assert_eq!(is_doubted, end >= data, "{end}, {}", tail.escape_ascii());
            }
        }
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = jpeg(&[&turned(6), FRAME, SCAN, b"abc", END]);
        for end in 2..whole.len() {
            let cut = "it ends before its end-of-image marker";
            assert_eq!(inspect(Format::Jpeg, &whole[..end]), Err(cut), "{end}");
            let filled = [&whole[..end], &vec![0; whole.len() - end]].concat();
            assert!(inspect(Format::Jpeg, &filled).is_err(), "{end}");
        }
        let wide = b"\xFF\xC0\0\x0B\x08\0\x14\0\0\x01\x01\x11\0";
        let long = b"\xFF\xC0\0\x0C\x08\0\x14\0\x0A\x01\x01\x11\0\0";
        let table: [(Vec<u8>, &str); 7] = [
            (jpeg(&[wide, SCAN, b"a", END]), "it has no width"),
            (jpeg(&[long, SCAN, b"a", END]), "its frame header has a wrong length"),
            (jpeg(&[b"\xFF\xC0\0\x05\x08\0\x14"]), "its frame header is too short"),
            (jpeg(&[b"\xFF\xE0\0\x01"]), "a segment has an impossible length"),
            (jpeg(&[SCAN, b"a", END]), "its picture comes before its frame header"),
            (jpeg(&[FRAME, END]), "it ends without a picture"),
            (jpeg(&[FRAME, SCAN, b"a", b"\xFF\xD8", FRAME, SCAN, b"a", END]), "it begins a second time before its end"),
        ];
        for (file, what) in table {
            assert_eq!(inspect(Format::Jpeg, &file), Err(what));
        }
        assert_eq!(measure(Format::Jpeg, &jpeg(&[wide, SCAN])), Measures::default(), "no width is not a width of 0");
    }
}
