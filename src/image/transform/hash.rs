//! Perceptual hashes: pictures that look alike have hashes that differ in few bits.
//!
//! The definition, which will not change: the brightness of the picture (ITU-R BT.601, transparency over white) is
//! scaled to 32 x 32 pixels with a Lanczos filter (a = 3) and turned upright. Of its discrete cosine transform (type
//! II), the 8 x 8 lowest frequencies give one bit each, row by row, the first one highest: whether the coefficient is
//! above the median. This is what `phash` of Python's `ImageHash` computes.

use std::fmt;

use super::TransformError;
use super::pixel_buffer::{Colour, PixelBuffer, over_white};
use super::resize::{Fit, scale};

/// A perceptual hash of 64 bits. Displayed as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerceptualHash(pub u64);

impl PerceptualHash {
    /// The number of bits in which two hashes differ: 0 to 6 for versions of one picture, about 32 for unrelated
    /// pictures.
    #[must_use]
    pub const fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

impl fmt::Display for PerceptualHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Width and height to which pictures are scaled, in pixels.
const SIDE_PIXELS: u32 = 32;
/// Frequencies that are used, in each direction.
const FREQUENCIES: usize = 8;

/// The hash of a picture as displayed in this orientation (1 to 8).
pub fn hash(picture: &PixelBuffer, orientation: u8) -> Result<PerceptualHash, TransformError> {
    let data = picture.data.chunks_exact(picture.colour.channels()).map(|pixel| brightness(pixel, picture.colour));
    let (width, height) = (picture.width, picture.height);
    let grey = PixelBuffer { width, height, colour: Colour::Grey, data: data.collect(), profile: None };
    let fit = Fit::whole((SIDE_PIXELS, SIDE_PIXELS));
    Ok(PerceptualHash(bits(&scale(grey, &fit)?.upright(orientation).data)))
}

/// The brightness of a pixel over white.
fn brightness(pixel: &[u8], colour: Colour) -> u8 {
    let mixed = |red: u8, green: u8, blue: u8| {
        // The weights of JPEG in 16 bits (ITU-T T.871, section 7).
        let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 32_768;
        u8::try_from(sum >> 16).unwrap_or(u8::MAX)
    };
    match (colour, pixel) {
        (Colour::Rgb, [red, green, blue]) | (Colour::Rgbx, [red, green, blue, _]) => mixed(*red, *green, *blue),
        (Colour::Rgba, [red, green, blue, alpha]) => over_white(mixed(*red, *green, *blue), *alpha),
        (Colour::GreyAlpha, [value, alpha]) => over_white(*value, *alpha),
        (_, [value, ..]) => *value,
        _ => u8::MAX,
    }
}

/// The hash of 32 x 32 pixels.
fn bits(pixels: &[u8]) -> u64 {
    let side = SIDE_PIXELS as usize;
    let cosine = |frequency: usize, position: usize| {
        #[expect(clippy::cast_precision_loss, reason = "below a hundred")]
        let [frequency, position, side] = [frequency, 2 * position + 1, 2 * side].map(|number| number as f64);
        (std::f64::consts::PI * frequency * position / side).cos()
    };
    let cosines: [[f64; SIDE_PIXELS as usize]; FREQUENCIES] =
        std::array::from_fn(|frequency| std::array::from_fn(|position| cosine(frequency, position)));
    // The transform of the rows first, then of the columns.
    let lines = pixels.chunks_exact(side).map(|line| {
        cosines.map(|cosines| line.iter().zip(cosines).map(|(value, cosine)| f64::from(*value) * cosine).sum::<f64>())
    });
    let lines = lines.collect::<Vec<[f64; FREQUENCIES]>>();
    let mut low = Vec::with_capacity(FREQUENCIES * FREQUENCIES);
    for cosines in &cosines {
        low.extend(
            (0..FREQUENCIES)
                .map(|column| lines.iter().zip(cosines).map(|(line, cosine)| line[column] * cosine).sum::<f64>()),
        );
    }
    let mut sorted = low.clone();
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[FREQUENCIES * FREQUENCIES / 2 - 1], sorted[FREQUENCIES * FREQUENCIES / 2]);
    low.iter().fold(0, |bits, value| (bits << 1) | u64::from(*value > median))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of 8 x 6 patches whose brightness depends on `number` alone; it looks the same at any size.
    fn patches(width: u32, height: u32, number: u64) -> PixelBuffer {
        let value = |index: u32| {
            let patch = (index % width * 8 / width) + 8 * (index / width * 6 / height);
            let mixed = (number + u64::from(patch)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed.to_be_bytes()[3]
        };
        let data = (0..width * height).map(value).collect();
        PixelBuffer { width, height, colour: Colour::Grey, data, profile: None }
    }

    #[test]
    fn hashes_agree_with_imagehash() {
        let flat =
            PixelBuffer { width: 40, height: 30, colour: Colour::Rgb, data: vec![200; 40 * 30 * 3], profile: None };
        assert_eq!(hash(&flat, 1).expect("a hash").to_string().len(), 16);
        let table = [(patches(320, 240, 1), EXPECTED_HASHES[0]), (patches(320, 240, 1000), EXPECTED_HASHES[1])];
        for (picture, expected) in table {
            assert_eq!(hash(&picture, 1).expect("a hash").to_string(), expected);
        }
    }

    /// Results of `imagehash.phash` for the same pictures (`ImageHash` 4.3 for Python).
    const EXPECTED_HASHES: [&str; 2] = ["ae85e87056bbd944", "fc07acf830a0b25f"];

    #[test]
    fn versions_of_a_picture_have_near_hashes_and_others_have_not() {
        let of = |picture: &PixelBuffer| hash(picture, 1).expect("a hash");
        let picture = of(&patches(320, 240, 1));
        assert!(picture.distance(of(&patches(160, 120, 1))) <= 6);
        assert!(picture.distance(of(&patches(320, 240, 1000))) > 10);
        let colours = patches(320, 240, 1);
        let data = colours.data.iter().flat_map(|value| [*value; 3]).collect();
        assert_eq!(picture, of(&PixelBuffer { colour: Colour::Rgb, data, ..colours }));
    }

    #[test]
    fn what_is_displayed_is_hashed() {
        let stored = patches(320, 240, 1);
        let turned = hash(&stored, 6).expect("a hash");
        assert!(turned.distance(hash(&stored.upright(6), 1).expect("a hash")) <= 2);
    }
}
