//! A hash of what a picture looks like.
//!
//! Pictures that look alike have hashes that differ in few bits. The definition, which will not change: the brightness of
//! the picture (ITU-R BT.601, transparency over white), where both sides have 256 pixels or more as the means of its whole
//! blocks of 8 x 8; scaled to 32 x 32 pixels by Lanczos' filter (a = 3) and turned upright; of its discrete cosine
//! transform (type II) the 8 x 8 lowest frequencies, row by row, a bit for each that is above the median, the first one
//! highest. This is the `phash` of Python's `ImageHash` but for the means, which let a JPEG be hashed without being decoded
//! in full.

use std::fmt;

use super::TransformError;
use super::jpeg::Reduction;
use super::picture::{Colour, Decoded, Picture, Plane};
use super::resize::{Fit, scale};

/// What a picture looks like, in 64 bits. Written in 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PerceptualHash(pub u64);

impl PerceptualHash {
    /// The number of bits in which two hashes differ: 0 to 6 where pictures are versions of one, about 32 where they have
    /// nothing to do with each other.
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

/// Pictures are looked at in so many pixels each way ...
const SIDE: u32 = 32;
/// ... and hashed by so many frequencies.
const KEPT: usize = 8;

/// How much smaller a picture may be decoded for its hash.
#[must_use]
pub const fn reduction((width, height): (u32, u32)) -> Reduction {
    if has_means(width, height) { Reduction::Eighth } else { Reduction::Full }
}

const fn has_means(width: u32, height: u32) -> bool {
    width >= 8 * SIDE && height >= 8 * SIDE
}

/// The hash of a picture of that size, of which this was decoded.
pub fn hash(decoded: &Decoded, (width, height): (u32, u32), orientation: u8) -> Result<PerceptualHash, TransformError> {
    let Some(first) = decoded.planes.first() else { return Err(TransformError::Internal("no plane".to_owned())) };
    let small = if has_means(width, height) {
        // Of a JPEG, a block may be fewer pixels by now.
        let side = (first.covered.0 * 8.0 / f64::from(width)).round() as u32;
        means(first, decoded.colour, side, (width / 8, height / 8))
    } else {
        let data = first.data.chunks_exact(decoded.colour.channels()).map(|pixel| brightness(pixel, decoded.colour));
        Plane { data: data.collect(), ..*first }
    };
    let seen = Decoded { colour: Colour::Grey, planes: vec![small], profile: None };
    let fit = Fit { used: (1.0, 1.0), size: (SIDE, SIDE), frame: None, shrinks: 1.0 };
    let Picture { planes, .. } = scale(seen, &fit)?.upright(orientation);
    Ok(PerceptualHash(bits(planes.first().map_or(&[], Vec::as_slice))))
}

/// The brightness of a pixel, over white.
fn brightness(pixel: &[u8], colour: Colour) -> u8 {
    let mixed = |red: u8, green: u8, blue: u8| {
        // As JPEG has it, of sixteen bits (ITU-T T.871, section 7).
        (19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 32_768) >> 16
    };
    let (value, alpha) = match (colour, pixel) {
        (Colour::Rgb, [red, green, blue]) => (mixed(*red, *green, *blue), 255),
        (Colour::Rgba, [red, green, blue, alpha]) => (mixed(*red, *green, *blue), u32::from(*alpha)),
        (Colour::GreyAlpha, [value, alpha]) => (u32::from(*value), u32::from(*alpha)),
        (_, [value, ..]) => (u32::from(*value), 255),
        _ => (255, 255),
    };
    ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

/// The mean brightness of so many whole blocks of pixels.
fn means(plane: &Plane, colour: Colour, side: u32, (columns, rows): (u32, u32)) -> Plane {
    let (side, channels) = (side as usize, colour.channels());
    let mut data = Vec::with_capacity(columns as usize * rows as usize);
    let mut sums = vec![0_u32; columns as usize];
    for lines in plane.data.chunks_exact(plane.width as usize * channels * side).take(rows as usize) {
        sums.fill(0);
        for line in lines.chunks_exact(plane.width as usize * channels) {
            for (sum, pixels) in sums.iter_mut().zip(line.chunks_exact(side * channels)) {
                *sum += pixels.chunks_exact(channels).map(|pixel| u32::from(brightness(pixel, colour))).sum::<u32>();
            }
        }
        let count = (side * side) as u32;
        data.extend(sums.iter().map(|sum| ((sum + count / 2) / count) as u8));
    }
    Plane { width: columns, height: rows, covered: (f64::from(columns), f64::from(rows)), data }
}

/// The bits of 32 x 32 pixels.
fn bits(pixels: &[u8]) -> u64 {
    let side = SIDE as usize;
    let cosine = |frequency: usize, position: usize| {
        (std::f64::consts::PI * frequency as f64 * (2 * position + 1) as f64 / (2 * side) as f64).cos()
    };
    let cosines: [[f64; SIDE as usize]; KEPT] =
        std::array::from_fn(|frequency| std::array::from_fn(|position| cosine(frequency, position)));
    // Along the lines first, then down the columns.
    let lines = pixels.chunks_exact(side).map(|line| {
        cosines.map(|cosines| line.iter().zip(cosines).map(|(value, cosine)| f64::from(*value) * cosine).sum::<f64>())
    });
    let lines = lines.collect::<Vec<[f64; KEPT]>>();
    let mut low = Vec::with_capacity(KEPT * KEPT);
    for cosines in &cosines {
        low.extend(
            (0..KEPT).map(|column| lines.iter().zip(cosines).map(|(line, cosine)| line[column] * cosine).sum::<f64>()),
        );
    }
    let mut sorted = low.clone();
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[KEPT * KEPT / 2 - 1], sorted[KEPT * KEPT / 2]);
    low.iter().fold(0, |bits, value| bits << 1 | u64::from(*value > median))
}
