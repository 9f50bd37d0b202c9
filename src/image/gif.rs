//! GIF 87a and 89a: a screen, and blocks on it that begin with a byte of their kind and hold their data in sub-blocks of
//! up to 255 bytes.

use super::fields::le16;
use super::inspector::Unsound;
use super::stream::{Step, Walker};
use crate::record::Measures;

// What blocks begin with (GIF 89a, appendix A).
const EXTENSION: u8 = 0x21;
const PICTURE: u8 = 0x2C;
const TRAILER: u8 = 0x3B;

/// Codes have 12 bits at most and the first one more than the pixels, so pixels have not more than this.
const MOST_BITS: u8 = 11;

/// What the bytes are that come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Screen,
    /// The kind of the next block.
    Kind,
    Picture,
    /// What follows the picture's own colours.
    Bits,
    Label,
    /// The length of a sub-block; 0 ends the block.
    Length,
}

#[derive(Clone, Debug)]
pub(super) struct Gif {
    expect: Expect,
    width: u32,
    height: u32,
    frames: u32,
    /// The block is a picture's.
    is_frame: bool,
    /// Zeros have come where a block should.
    is_strange: bool,
}

impl Gif {
    pub(super) const fn new() -> Self {
        Self { expect: Expect::Screen, width: 0, height: 0, frames: 0, is_frame: false, is_strange: false }
    }

    fn next(&mut self, expect: Expect, after: u64, length: usize) -> Step {
        self.expect = expect;
        Step::Take { after, length }
    }

    fn block(&mut self, kind: u8) -> Result<Step, Unsound> {
        match kind {
            EXTENSION => Ok(self.next(Expect::Label, 0, 1)),
            PICTURE => Ok(self.next(Expect::Picture, 0, 9)),
            TRAILER if self.frames == 0 => Err(Unsound("it ends without a picture")),
            // Whatever comes after the end, decoders do not look at it.
            TRAILER => Ok(Step::Over),
            // Some writers end a block twice. What follows decides: zeros to the end are what a cut file was filled with.
            0 => {
                self.is_strange = true;
                Ok(self.next(Expect::Kind, 0, 1))
            }
            _ => Err(Unsound("there is no block where one has to be")),
        }
    }
}

/// The length of a table of colours, which the low bits of this byte tell where the highest is set.
fn colours(packed: u8) -> u64 {
    if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) }
}

impl Walker for Gif {
    const START: Step = Step::Take { after: 0, length: 13 };

    fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound> {
        let first = bytes.first().copied().unwrap_or_default();
        match self.expect {
            Expect::Screen => {
                if !bytes.starts_with(b"GIF") {
                    return Err(Unsound("it does not begin as a GIF"));
                }
                self.width = le16(bytes, 6).unwrap_or_default().into();
                self.height = le16(bytes, 8).unwrap_or_default().into();
                let after = colours(bytes.get(10).copied().unwrap_or_default());
                Ok(self.next(Expect::Kind, after, 1))
            }
            Expect::Kind => self.block(first),
            Expect::Picture => {
                // A screen without a size is as large as the first picture on it.
                if self.width == 0 || self.height == 0 {
                    self.width = le16(bytes, 4).unwrap_or_default().into();
                    self.height = le16(bytes, 6).unwrap_or_default().into();
                }
                self.is_frame = true;
                let after = colours(bytes.get(8).copied().unwrap_or_default());
                Ok(self.next(Expect::Bits, after, 1))
            }
            Expect::Bits if first > MOST_BITS => Err(Unsound("its pixels have an impossible number of bits")),
            Expect::Bits | Expect::Label => Ok(self.next(Expect::Length, 0, 1)),
            Expect::Length if first > 0 => Ok(self.next(Expect::Length, first.into(), 1)),
            Expect::Length => {
                self.frames = self.frames.saturating_add(u32::from(self.is_frame));
                self.is_frame = false;
                self.is_strange = false;
                Ok(self.next(Expect::Kind, 0, 1))
            }
        }
    }

    fn measures(&self) -> Measures {
        let is_known = self.width > 0 && self.height > 0;
        Measures {
            width: is_known.then_some(self.width),
            height: is_known.then_some(self.height),
            frames: Some(self.frames).filter(|frames| *frames > 1),
            orientation: None,
        }
    }

    fn end(&mut self, _rest: &[u8], missing: u64) -> Result<(), Unsound> {
        // Some writers forget the trailer, and every decoder shows their files: all the pictures are there.
        if self.expect == Expect::Kind && missing == 0 && self.frames > 0 && !self.is_strange {
            return Ok(());
        }
        Err(Unsound("it ends before its trailer"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::inspector::testing::{inspect, measure};
    use super::*;
    use crate::record::Format;

    /// One row of a table.
    type Row<'a> = (&'a str, &'a [&'a [u8]], Option<u32>);

    const SCREEN: &[u8] = b"GIF89a\x0A\0\x14\0\x80\0\0rgbRGB";
    const CONTROL: &[u8] = b"!\xF9\x04\0\x0A\0\0\0";
    const FRAME: &[u8] = b",\0\0\0\0\x0A\0\x14\0\0\x02\x03abc\x02de\0";

    #[test]
    fn a_sound_file_tells_what_it_holds() {
        let own_colours = b",\0\0\0\0\x0A\0\x14\0\x81rgbrgbrgbrgb\x02\x01a\0";
        let no_screen = b"GIF87a\0\0\0\0\0\0\0";
        let table: [Row; 8] = [
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
    fn a_file_with_damage_is_refused() {
        let whole = [SCREEN, CONTROL, FRAME, CONTROL, FRAME, b";"].concat();
        // Where nothing but the trailer is missing, or nothing but further frames.
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
