//! Encodes pixels as baseline JPEG.

use mozjpeg::qtable::{AnnexK_Chroma, AnnexK_Luma};
use mozjpeg::{ColorSpace, Compress, Marker};

use super::super::TransformError;
use super::super::pixel_buffer::{Colour, PixelBuffer};
use super::guarded;

/// From this quality on, colours are not subsampled (4:4:4), as in `ImageMagick` and libvips.
const FULL_CHROMA_QUALITY: u8 = 90;

/// Encodes a picture without opacity. `quality` is from 1 to 100.
pub fn encode(picture: &PixelBuffer, quality: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, TransformError> {
    let too_long = |side: u32| TransformError::Unsupported(format!("JPEG holds no {side} pixels in a row"));
    for side in [picture.width, picture.height] {
        u16::try_from(side).map_err(|_| too_long(side))?;
    }
    guarded(|| write(picture, quality, profile).map_err(TransformError::internal))
}

fn write(picture: &PixelBuffer, quality: u8, profile: Option<&[u8]>) -> std::io::Result<Vec<u8>> {
    let (width, height) = (picture.width as usize, picture.height as usize);
    let space = if picture.colour == Colour::Grey { ColorSpace::JCS_GRAYSCALE } else { ColorSpace::JCS_RGB };
    let mut encoder = Compress::new(space);
    encoder.set_size(width, height);
    // As libjpeg-turbo: one scan, no search for the smallest file, which takes ten times as long.
    encoder.set_fastest_defaults();
    // The tables of libjpeg (ISO/IEC 10918-1, annex K). With `set_quality`, low qualities would not be baseline.
    let quality_factor = f32::from(quality);
    encoder.set_luma_qtable(&AnnexK_Luma.scaled(quality_factor, quality_factor));
    encoder.set_chroma_qtable(&AnnexK_Chroma.scaled(quality_factor, quality_factor));
    if picture.colour != Colour::Grey {
        let size = if quality >= FULL_CHROMA_QUALITY { (1, 1) } else { (2, 2) };
        encoder.set_chroma_sampling_pixel_sizes(size, size);
    }
    let mut started = encoder.start_compress(Vec::with_capacity(width * height / 2 + 1024))?;
    for segment in profile_segments(profile.unwrap_or_default()) {
        started.write_marker(Marker::APP(2), &segment);
    }
    started.write_scanlines(&picture.data)?;
    started.finish()
}

/// A colour profile in numbered parts (ICC.1, section B.4). `write_icc_profile` of mozjpeg 0.10.13 numbers them from 0,
/// so that no reader finds them. One that is too long for the numbers is left out.
fn profile_segments(profile: &[u8]) -> Vec<Vec<u8>> {
    /// What a segment holds, less the name and two numbers.
    const PART_BYTES: usize = 65_533 - 14;
    let parts = profile.chunks(PART_BYTES);
    let Ok(count) = u8::try_from(parts.len()) else { return Vec::new() };
    let numbered = (1..=count).zip(parts);
    numbered.map(|(number, part)| [b"ICC_PROFILE\0".as_slice(), &[number, count], part].concat()).collect()
}
