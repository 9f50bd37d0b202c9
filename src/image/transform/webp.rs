//! Decodes WebP files (RFC 9649): the container here, in safe Rust, and single pictures by `libwebp`.
//!
//! Of an animation, the first frame is shown on its canvas. What it does not cover is transparent, as in browsers, which
//! ignore the background colour of the file.

use super::libwebp::{self, Features};
use super::pixel_buffer::{Colour, PixelBuffer};
use super::profile::Profile;
use super::{Limits, TransformError};

/// A WebP file whose header has been read.
pub struct Webp<'a> {
    /// Width of the canvas in pixels.
    pub width: u32,
    /// Height of the canvas in pixels.
    pub height: u32,
    profile: Option<&'a [u8]>,
    first: Frame<'a>,
    is_animated: bool,
    /// What follows the first picture.
    rest: &'a [u8],
}

/// One picture, and its place on the canvas.
struct Frame<'a> {
    left: u32,
    top: u32,
    features: Features,
    /// The chunks that libwebp decodes.
    picture: &'a [u8],
}

/// The first chunk: its name, its content, and what follows it. A cut content is as long as it is.
fn chunk(bytes: &[u8]) -> Option<(&[u8; 4], &[u8], &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (content, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
    // Chunks of odd length are padded.
    Some((name, content, rest.get(length % 2..).unwrap_or_default()))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| (number << 8) | u32::from(*byte))
}

/// The chunks of the next picture, and what follows them.
fn picture(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = bytes;
    let mut start = None;
    while let Some((name, _, rest)) = chunk(at) {
        if matches!(name, b"ALPH") {
            start.get_or_insert(at);
        }
        if matches!(name, b"VP8 " | b"VP8L") {
            let start = if name == b"VP8 " { start.unwrap_or(at) } else { at };
            return Some((&start[..start.len() - rest.len()], rest));
        }
        at = rest;
    }
    None
}

impl<'a> Frame<'a> {
    /// The next frame of an animation, and what follows it.
    fn next(mut bytes: &'a [u8], (width, height): (u32, u32)) -> Result<Option<(Self, &'a [u8])>, TransformError> {
        const HEADER_BYTES: usize = 16;
        while let Some((name, content, rest)) = chunk(bytes) {
            bytes = rest;
            if name != b"ANMF" {
                continue;
            }
            let no_picture = || TransformError::Corrupt("a frame without a picture".to_owned());
            let (header, chunks) = content.split_at_checked(HEADER_BYTES).ok_or_else(no_picture)?;
            // The place in units of two pixels, the size less one.
            let (left, top) = (2 * number(&header[..3]), 2 * number(&header[3..6]));
            let size = (number(&header[6..9]) + 1, number(&header[9..12]) + 1);
            let (picture, _) = picture(chunks).ok_or_else(no_picture)?;
            let features = libwebp::features(picture)?;
            if (features.width, features.height) != size || left + size.0 > width || top + size.1 > height {
                return Err(TransformError::Corrupt("a frame of another size".to_owned()));
            }
            return Ok(Some((Self { left, top, features, picture }, rest)));
        }
        Ok(None)
    }

    fn pixels(&self) -> u64 {
        u64::from(self.features.width) * u64::from(self.features.height)
    }

    /// Holds the size to the limits, before it is decoded.
    fn check(&self, limits: &Limits) -> Result<(), TransformError> {
        limits.check_size(self.features.width, self.features.height)?;
        // Four values of the result, and as much within the decoder.
        limits.check_memory(self.pixels().saturating_mul(8))
    }
}

impl<'a> Webp<'a> {
    /// Reads the header of a file.
    pub fn open(bytes: &'a [u8]) -> Result<Self, TransformError> {
        const ANIMATED: u8 = 0x02;
        let no_picture = || TransformError::Corrupt("it holds no picture".to_owned());
        let chunks = bytes.get(12..).ok_or_else(no_picture)?;
        let extended = chunk(chunks).filter(|(name, content, _)| *name == b"VP8X" && content.len() >= 10);
        let Some((_, header, after)) = extended else {
            let (picture, rest) = picture(chunks).ok_or_else(no_picture)?;
            let features = libwebp::features(picture)?;
            let first = Frame { left: 0, top: 0, features, picture };
            let (width, height) = (features.width, features.height);
            return Ok(Self { width, height, profile: None, first, is_animated: false, rest });
        };
        let (width, height) = (number(&header[4..7]) + 1, number(&header[7..10]) + 1);
        // The profile comes before the pictures.
        let profile = chunk(after).filter(|(name, ..)| *name == b"ICCP").map(|(_, profile, _)| profile);
        let is_animated = header[0] & ANIMATED != 0;
        let (first, rest) = if is_animated {
            Frame::next(after, (width, height))?.ok_or_else(no_picture)?
        } else {
            let (picture, rest) = picture(after).ok_or_else(no_picture)?;
            let features = libwebp::features(picture)?;
            if (features.width, features.height) != (width, height) {
                return Err(TransformError::Corrupt("its picture has another size".to_owned()));
            }
            (Frame { left: 0, top: 0, features, picture }, rest)
        };
        Ok(Self { width, height, profile, first, is_animated, rest })
    }

    /// Decodes the first picture, at a smaller size if that is at least `at_least`.
    pub fn decode(&self, at_least: Option<(u32, u32)>, limits: &Limits) -> Result<PixelBuffer, TransformError> {
        self.first.check(limits)?;
        let features = self.first.features;
        let profile = self.profile.map(|profile| Profile::Icc(profile.to_vec()));
        let (width, height) = (self.width, self.height);
        if (features.width, features.height) == (width, height) {
            // libwebp weights colours by opacity only in part, and a lossless picture is no cheaper if it is scaled.
            let can_scale = !features.has_alpha && !features.is_lossless;
            let scaled = at_least.filter(|least| can_scale && is_worthwhile(*least, (width, height)));
            let data = libwebp::decode(self.first.picture, scaled)?;
            let (width, height) = scaled.unwrap_or((width, height));
            let colour = if features.has_alpha { Colour::Rgba } else { Colour::Rgbx };
            return Ok(PixelBuffer { width, height, colour, data, profile });
        }
        limits.check_memory((self.first.pixels() * 8).saturating_add(u64::from(width) * u64::from(height) * 4))?;
        let frame = libwebp::decode(self.first.picture, None)?;
        let mut data = vec![0; width as usize * height as usize * 4];
        let from = self.first.left as usize * 4;
        let rows = data.chunks_exact_mut(width as usize * 4).skip(self.first.top as usize);
        for (canvas, row) in rows.zip(frame.chunks_exact(features.width as usize * 4)) {
            canvas[from..from + row.len()].copy_from_slice(row);
        }
        Ok(PixelBuffer { width, height, colour: Colour::Rgba, data, profile })
    }

    /// Decodes all frames, and keeps none.
    pub fn verify(&self, limits: &Limits) -> Result<(), TransformError> {
        let size = (self.width, self.height);
        // Their cost first: headers can be read without decoding.
        let (mut frames, mut pixels, mut at) = (1, self.first.pixels(), self.rest);
        self.first.check(limits)?;
        while self.is_animated
            && let Some((frame, rest)) = Frame::next(at, size)?
        {
            frame.check(limits)?;
            frames += 1;
            pixels += frame.pixels();
            at = rest;
        }
        limits.check_frames(frames, pixels)?;
        libwebp::decode(self.first.picture, None)?;
        let mut at = self.rest;
        while self.is_animated
            && let Some((frame, rest)) = Frame::next(at, size)?
        {
            libwebp::decode(frame.picture, None)?;
            at = rest;
        }
        Ok(())
    }
}

/// Whether scaling to this size saves more than it costs. libwebp takes as long to scale as to convert all pixels (12.3 ms
/// for a picture of 1500 x 1000 pixels, 13.6 ms at 512 x 340, 3.5 and 5.2 ms at 800 x 600 and 512 x 384), so only the
/// next step gains, which costs about 1 ms for a million pixels.
fn is_worthwhile((width, height): (u32, u32), (full_width, full_height): (u32, u32)) -> bool {
    u64::from(width) * u64::from(height) * 8 <= u64::from(full_width) * u64::from(full_height)
        && width <= full_width
        && height <= full_height
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, encode};
    use super::*;

    const LIMITS: Limits =
        Limits { max_pixels: 1_000_000, max_memory: 8_000_000, max_frames: 9, max_frame_pixels: 99_999 };

    fn number(value: usize, bytes: usize) -> Vec<u8> {
        value.to_le_bytes()[..bytes].to_vec()
    }

    fn a_chunk(name: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&name[..], &number(content.len(), 4), content, &[0][..content.len() % 2]].concat()
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        [b"RIFF", &number(body.len() + 4, 4)[..], b"WEBP", &body].concat()
    }

    fn extended(flags: u8, width: usize, height: usize) -> Vec<u8> {
        a_chunk(*b"VP8X", &[&[flags, 0, 0, 0][..], &number(width - 1, 3), &number(height - 1, 3)].concat())
    }

    /// The chunks of a picture of one colour, lossless so that its values are exact.
    fn plain(width: u32, height: u32, pixel: [u8; 4]) -> Vec<u8> {
        let data = pixel.repeat(width as usize * height as usize);
        let file = ::webp::Encoder::from_rgba(&data, width, height).encode_lossless().to_vec();
        let (picture, _) = picture(&file[12..]).expect("a picture");
        picture.to_vec()
    }

    fn frame(left: usize, top: usize, (width, height): (u32, u32), chunks: &[u8]) -> Vec<u8> {
        let sides = [width, height].map(|side| number(side as usize - 1, 3)).concat();
        a_chunk(*b"ANMF", &[&number(left / 2, 3)[..], &number(top / 2, 3), &sides, &[100, 0, 0, 0], chunks].concat())
    }

    fn decoded(file: &[u8]) -> Result<PixelBuffer, TransformError> {
        let webp = Webp::open(file)?;
        webp.verify(&LIMITS)?;
        webp.decode(None, &LIMITS)
    }

    const RED: [u8; 4] = [255, 0, 0, 255];

    #[test]
    fn what_the_flags_promise_need_not_be_there() {
        // Alpha, Exif, XMP and a profile, of which there is none.
        let picture = decoded(&file(&[extended(0x3C, 6, 4), plain(6, 4, RED)])).expect("a picture");
        assert_eq!((picture.width, picture.height, &picture.data[..4]), (6, 4, &RED[..]));
        assert_eq!(picture.profile, None);
    }

    #[test]
    fn the_first_frame_lies_on_a_transparent_canvas() {
        let frames = [frame(2, 2, (3, 1), &plain(3, 1, RED)), frame(0, 0, (8, 4), &plain(8, 4, [9, 9, 9, 255]))];
        let animation = file(&[extended(0x02, 8, 4), a_chunk(*b"ANIM", &[7, 7, 7, 255, 0, 0]), frames.concat()]);
        let picture = decoded(&animation).expect("a picture");
        assert_eq!((picture.width, picture.height, picture.colour), (8, 4, Colour::Rgba));
        let shown = picture.data.chunks_exact(4).enumerate().filter(|(_, pixel)| pixel[3] != 0);
        assert_eq!(
            shown.map(|(at, pixel)| (at, pixel.to_vec())).collect::<Vec<_>>(),
            [18, 19, 20].map(|at| (at, RED.to_vec()))
        );
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        let whole = file(&[extended(0, 6, 4), plain(6, 4, RED)]);
        assert!(decoded(&whole).is_ok());
        for end in 0..whole.len() - 1 {
            assert!(matches!(decoded(&whole[..end]), Err(TransformError::Corrupt(_))), "cut at {end}");
        }
        let outside = file(&[extended(0x02, 8, 4), frame(6, 0, (3, 1), &plain(3, 1, RED))]);
        let another = file(&[extended(0x02, 8, 4), frame(0, 0, (4, 1), &plain(3, 1, RED))]);
        for wrong in [outside, another, file(&[extended(0, 6, 5), plain(6, 4, RED)]), file(&[extended(0x02, 6, 4)])] {
            assert!(matches!(decoded(&wrong), Err(TransformError::Corrupt(_))), "{wrong:?}");
        }
        let second = [frame(0, 0, (3, 1), &plain(3, 1, RED)), frame(0, 0, (3, 1), &plain(3, 1, RED)[..12])].concat();
        let second = file(&[extended(0x02, 8, 4), second]);
        let webp = Webp::open(&second).expect("the first one is sound");
        assert!(webp.decode(None, &LIMITS).is_ok() && webp.verify(&LIMITS).is_err());
    }

    #[test]
    fn damage_is_an_error_or_another_picture_and_nothing_worse() {
        let sample = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
            std::fs::read(path).expect("a sample")
        };
        let mut random = fastrand::Rng::with_seed(7);
        for name in ["lossy.webp", "lossless.webp", "animation.webp"] {
            let whole = sample(name);
            let size = decoded(&whole).map(|picture| (picture.width, picture.height)).expect("a sound one");
            for _ in 0..300 {
                let mut damaged = whole.clone();
                for _ in 0..random.usize(1..5) {
                    let at = random.usize(12..damaged.len());
                    damaged[at] = random.u8(..);
                }
                let Ok(webp) = Webp::open(&damaged) else { continue };
                let _ = webp.verify(&LIMITS);
                if let Ok(picture) = webp.decode(Some((size.0 / 4 + 1, size.1 / 4 + 1)), &LIMITS) {
                    assert_eq!(picture.data.len(), picture.width as usize * picture.height as usize * 4);
                }
            }
        }
    }

    #[test]
    fn it_is_held_to_the_limits() {
        let wide = file(&[plain(2000, 600, RED)]);
        assert!(matches!(decoded(&wide), Err(TransformError::TooLarge(_))));
        // A large canvas with a small frame on it.
        let canvas = file(&[extended(0x02, 16_000, 16_000), frame(0, 0, (3, 1), &plain(3, 1, RED))]);
        let opened = Webp::open(&canvas).expect("a header");
        assert!(matches!(opened.decode(None, &LIMITS), Err(TransformError::TooLarge(_))));
        let frames = frame(0, 0, (3, 1), &plain(3, 1, RED)).repeat(10);
        let many = file(&[extended(0x02, 8, 4), frames]);
        assert!(matches!(decoded(&many), Err(TransformError::TooLarge(_))));
    }

    #[test]
    fn a_lossy_picture_is_scaled_as_it_is_decoded_but_not_too_far() {
        let pixel = |at: usize| [at % 400 / 2, at / 400 / 2, 90].map(|value| u8::try_from(value).expect("below 256"));
        let data = (0..400 * 300).flat_map(pixel).collect();
        let picture = PixelBuffer { width: 400, height: 300, colour: Colour::Rgb, data, profile: None };
        let file = encode::encode(picture, Encoding::Webp, 90).expect("a file");
        let webp = Webp::open(&file).expect("a header");
        let size = |at_least| webp.decode(at_least, &LIMITS).map(|picture| (picture.width, picture.height));
        assert_eq!(size(None), Ok((400, 300)));
        assert_eq!(size(Some((100, 75))), Ok((100, 75)));
        assert_eq!(size(Some((200, 150))), Ok((400, 300)), "scaling would cost more than it saves");
    }
}
