//! GIF 87a and 89a: a logical screen, followed by blocks, each with a label and its data in sub-blocks of up to 255
//! bytes.

use super::integers::le16;
use super::parser::{FormatParser, ParseStep};
use super::types::CorruptImage;
use crate::record::Measures;

// First bytes of blocks (GIF 89a, appendix A).
const EXTENSION: u8 = 0x21;
const PICTURE: u8 = 0x2C;
const TRAILER: u8 = 0x3B;

/// Largest LZW minimum code size in bits: codes have at most 12 bits, and the first codes one more than the pixels.
const MAX_CODE_SIZE_BITS: u8 = 11;

/// What the next slice holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GifState {
    Screen,
    /// The first byte of the next block.
    Kind,
    Picture,
    /// The LZW minimum code size, behind the local colour table.
    Bits,
    Label,
    /// The length of a sub-block; 0 ends the block.
    Length,
}

#[derive(Clone, Debug)]
pub(super) struct GifParser {
    state: GifState,
    width: u32,
    height: u32,
    frames: u32,
    /// Width and height are final.
    is_sized: bool,
    /// The current block holds a picture.
    is_frame: bool,
    /// Zeros have come in place of a block.
    has_stray_zeros: bool,
    /// What is wrong behind the beginning of the data of a picture. All of it may have come before.
    doubt: Option<CorruptImage>,
}

impl GifParser {
    pub(super) const fn new() -> Self {
        Self {
            state: GifState::Screen,
            width: 0,
            height: 0,
            frames: 0,
            is_sized: false,
            is_frame: false,
            has_stray_zeros: false,
            doubt: None,
        }
    }

    fn next(&mut self, state: GifState, skip: u64, length: usize) -> ParseStep {
        self.state = state;
        ParseStep::Take { skip, length }
    }

    /// Ends parsing at something that is not the end of a GIF. Only decoding tells whether a picture is whole that may be.
    fn lacks_end(&mut self, what: &'static str, may_be_whole: bool) -> Result<ParseStep, CorruptImage> {
        if !may_be_whole {
            return Err(CorruptImage(what));
        }
        self.doubt = Some(CorruptImage(what));
        Ok(ParseStep::Done)
    }

    fn block(&mut self, kind: u8) -> Result<ParseStep, CorruptImage> {
        match kind {
            EXTENSION => Ok(self.next(GifState::Label, 0, 1)),
            PICTURE => Ok(self.next(GifState::Picture, 0, 9)),
            TRAILER if self.frames == 0 => Err(CorruptImage("it ends without a picture")),
            // Decoders ignore bytes after the trailer.
            TRAILER => Ok(ParseStep::Done),
            // Some writers end a block twice. The bytes that follow decide: a truncated file may have been filled with
            // zeros to its end.
            0 => {
                self.has_stray_zeros = true;
                Ok(self.next(GifState::Kind, 0, 1))
            }
            _ => {
                // Browsers take anything else for the trailer.
                let may_be_whole = self.frames > 0 && !self.has_stray_zeros;
                self.lacks_end("there is no block where one has to be", may_be_whole)
            }
        }
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        let first = bytes.first().copied().unwrap_or_default();
        match self.state {
            GifState::Screen => {
                if !bytes.starts_with(b"GIF") {
                    return Err(CorruptImage("it does not begin as a GIF"));
                }
                self.width = le16(bytes, 6).unwrap_or_default().into();
                self.height = le16(bytes, 8).unwrap_or_default().into();
                let skip = colours(bytes.get(10).copied().unwrap_or_default());
                Ok(self.next(GifState::Kind, skip, 1))
            }
            GifState::Kind => self.block(first),
            GifState::Picture => {
                // Browsers enlarge a logical screen that is too small for the first picture on it. Later ones are
                // clipped.
                if !self.is_sized {
                    let edge = |at| u32::from(le16(bytes, at).unwrap_or_default());
                    self.width = self.width.max(edge(0) + edge(4));
                    self.height = self.height.max(edge(2) + edge(6));
                    self.is_sized = true;
                }
                self.is_frame = true;
                let skip = colours(bytes.get(8).copied().unwrap_or_default());
                Ok(self.next(GifState::Bits, skip, 1))
            }
            GifState::Bits if first > MAX_CODE_SIZE_BITS => {
                Err(CorruptImage("its pixels have an impossible number of bits"))
            }
            GifState::Bits | GifState::Label => Ok(self.next(GifState::Length, 0, 1)),
            GifState::Length if first > 0 => Ok(self.next(GifState::Length, first.into(), 1)),
            GifState::Length => {
                self.frames = self.frames.saturating_add(u32::from(self.is_frame));
                self.is_frame = false;
                self.has_stray_zeros = false;
                Ok(self.next(GifState::Kind, 0, 1))
            }
        }
    }
}

/// Length of a colour table in bytes, from the packed field of a descriptor: its highest bit says whether there is one.
fn colours(packed: u8) -> u64 {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

impl FormatParser for GifParser {
    const START: ParseStep = ParseStep::Take { skip: 0, length: 13 };

    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
        let step = self.parse(bytes);
        // Nothing more will tell the size of a file without a picture.
        self.is_sized |= matches!(step, Err(_) | Ok(ParseStep::Done));
        step
    }

    fn measures(&self) -> Measures {
        let is_known = self.is_sized && self.width > 0 && self.height > 0;
        Measures {
            width: is_known.then_some(self.width),
            height: is_known.then_some(self.height),
            frames: Some(self.frames).filter(|frames| *frames > 1),
            orientation: None,
        }
    }

    fn doubt(&self) -> Option<CorruptImage> {
        self.doubt
    }

    fn end(&mut self, _rest: &[u8], missing: u64) -> Result<(), CorruptImage> {
        self.is_sized = true;
        // Some writers leave out the trailer, and viewers show such files: all pictures are there.
        if self.state == GifState::Kind && missing == 0 && self.frames > 0 && !self.has_stray_zeros {
            return Ok(());
        }
        // Only the end of the last sub-block may be missing.
        let may_be_whole = self.is_frame && self.state == GifState::Length;
        self.lacks_end("it ends before its trailer", may_be_whole).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, may_be_whole, measure};
    use super::*;
    use crate::record::Format;

    /// Description, parts of the file, expected number of frames.
    type GifCase<'a> = (&'a str, &'a [&'a [u8]], Option<u32>);

    /// Width and height of the screen, place and size of the first picture, expected width and height.
    type ScreenCase<'a> = (&'a [u8], &'a [u8], (u32, u32));

    const SCREEN: &[u8] = b"GIF89a\x0A\0\x14\0\x80\0\0rgbRGB";
    const CONTROL: &[u8] = b"!\xF9\x04\0\x0A\0\0\0";
    const FRAME: &[u8] = b",\0\0\0\0\x0A\0\x14\0\0\x02\x03abc\x02de\0";

    #[test]
    fn measures_of_an_intact_file_are_reported() {
        let own_colours = b",\0\0\0\0\x0A\0\x14\0\x81rgbrgbrgbrgb\x02\x01a\0";
        let no_screen = b"GIF87a\0\0\0\0\0\0\0";
        let table: [GifCase; 8] = [
            ("still", &[SCREEN, CONTROL, FRAME, b";"], None),
            ("animated", &[SCREEN, CONTROL, FRAME, CONTROL, FRAME, FRAME, b";"], Some(3)),
            ("colours of its own", &[SCREEN, own_colours, b";"], None),
            ("comment", &[SCREEN, b"!\xFE\x02;,\0", FRAME, b";"], None),
            ("bytes after the end", &[SCREEN, FRAME, b";", FRAME, b"more"], None),
            ("no trailer", &[SCREEN, CONTROL, FRAME, FRAME], Some(2)),
            ("ended twice", &[SCREEN, FRAME, b"\0\0", FRAME, b";"], Some(2)),
            ("no screen", &[no_screen, FRAME, b";"], None),
        ];
        for (what, parts, frames) in table {
            let expected = Measures { width: Some(10), height: Some(20), frames, orientation: None };
            let file = parts.concat();
            assert_eq!(inspect(Format::Gif, &file).expect(what).measures, expected, "{what}");
            assert_eq!(measure(Format::Gif, &file), expected, "{what}");
        }
    }

    #[test]
    fn the_first_picture_may_enlarge_the_screen() {
        // As Pillow 13.0.0 has them, and Firefox and Chromium, but for the offset, which Firefox leaves out.
        let later = b",\0\0\0\0\xFF\0\xFF\0\0\x02\x03abc\x02de\0";
        let table: [ScreenCase; 5] = [
            (b"\x05\0\x06\0", b"\0\0\0\0\x0A\0\x14\0", (10, 20)),
            (b"\x64\0\x06\0", b"\0\0\0\0\x0A\0\x14\0", (100, 20)),
            (b"\0\0\0\0", b"\x01\0\x02\0\x0A\0\x14\0", (11, 22)),
            (b"\x0B\0\x0B\0", b"\x05\0\0\0\x0A\0\x0A\0", (15, 11)),
            (b"\x64\0\x64\0", b"\x5A\0\x5A\0\x0A\0\x0A\0", (100, 100)),
        ];
        for (screen, place, (width, height)) in table {
            let frame = [b",", place, b"\0\x02\x03abc\x02de\0"].concat();
            let file = [b"GIF89a", screen, b"\0\0\0", CONTROL, &frame, later, b";"].concat();
            let expected = Measures { width: Some(width), height: Some(height), frames: Some(2), orientation: None };
            assert_eq!(inspect(Format::Gif, &file).map(|found| found.measures), Ok(expected));
            assert_eq!(measure(Format::Gif, &file), expected);
        }
        // Without a picture there is nothing but the screen.
        let bare = measure(Format::Gif, &[SCREEN, CONTROL].concat());
        assert_eq!((bare.width, bare.height), (Some(10), Some(20)));
    }

    #[test]
    fn only_decoding_tells_whether_a_cut_picture_is_whole() {
        let whole = [SCREEN, CONTROL, FRAME, CONTROL, FRAME, b";"].concat();
        let data = [SCREEN.len() + CONTROL.len() + 11, SCREEN.len() + 2 * CONTROL.len() + FRAME.len() + 11];
        for end in 0..whole.len() {
            let is_within = data.iter().any(|start| (*start..start + FRAME.len() - 11).contains(&end));
            assert_eq!(may_be_whole(Format::Gif, &whole[..end]), is_within, "{end}");
        }
        // Browsers take anything for the trailer. Zeros may stand in place of further frames.
        for (behind, is_open) in [(&b"more"[..], true), (b"<html>", true), (b"\0\0more", false), (b"\0\0\0", false)] {
            let file = [SCREEN, FRAME, behind].concat();
            assert_eq!(may_be_whole(Format::Gif, &file), is_open, "{}", behind.escape_ascii());
        }
        assert!(!may_be_whole(Format::Gif, &[SCREEN, b"more"].concat()));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = [SCREEN, CONTROL, FRAME, CONTROL, FRAME, b";"].concat();
        // Cuts that cannot be detected: only the trailer is missing, or only further frames.
        let first = SCREEN.len() + CONTROL.len() + FRAME.len();
        let ends = [first, first + CONTROL.len(), whole.len() - 1];
        for end in 0..whole.len() {
            let cut = inspect(Format::Gif, &whole[..end]);
            assert_eq!(cut.is_ok(), ends.contains(&end), "{end}: {cut:?}");
            let filled = [&whole[..end], &vec![0; whole.len() - end + 3]].concat();
            assert!(inspect(Format::Gif, &filled).is_err(), "{end}");
        }
        let table: [(&[&[u8]], &str); 5] = [
            (&[SCREEN, b";"], "it ends without a picture"),
            (&[SCREEN, CONTROL], "it ends before its trailer"),
            (&[SCREEN, b"x"], "there is no block where one has to be"),
            (&[SCREEN, &FRAME[..10], b"\x0C"], "its pixels have an impossible number of bits"),
            (&[b"GIM89a\0\0\0\0\0\0\0"], "it does not begin as a GIF"),
        ];
        for (parts, what) in table {
            assert_eq!(inspect(Format::Gif, &parts.concat()), Err(what));
        }
    }
}
