//! Encodes pixels as baseline JPEG.

use mozjpeg::qtable::{AnnexK_Chroma, AnnexK_Luma};
use mozjpeg::{ColorSpace, Compress};

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
    /// A profile is divided into segments that are numbered in one byte; a longer one is left out.
    const MAX_PROFILE_BYTES: usize = 255 * 65_519;
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
    if let Some(profile) = profile.filter(|profile| (1..=MAX_PROFILE_BYTES).contains(&profile.len())) {
        started.write_icc_profile(profile);
    }
    started.write_scanlines(&picture.data)?;
    started.finish()
}
