//! Decodes PNG files to pixels of eight bits, with what they say about their colours.
//!
//! Of an animation, the default image is decoded, as by libpng: it is the first frame, or stands for all of them.

use std::io::Cursor;

use png::{BitDepth, ColorType, DecodeOptions, Decoder, Info, InterlaceInfo, Reader, Transformations};

use super::pixel_buffer::{Colour, PixelBuffer};
use super::profile::{Measured, Profile};
use super::{Limits, TransformError};

/// A PNG file whose header has been read.
pub struct Png<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    reader: Reader<Cursor<&'a [u8]>>,
}

impl<'a> Png<'a> {
    /// Reads the header of a file, to the beginning of its pixels.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, TransformError> {
        /// Colour profiles have at most a few megabytes. They are decompressed before their size is known; one that
        /// exceeds the limit is left out.
        const MAX_PROFILE_BYTES: u64 = 16 << 20;
        let mut options = DecodeOptions::default();
        // Text may be long, and is not needed.
        options.set_ignore_text_chunk(true);
        let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
        let width = bytes.get(16..20).and_then(|width| width.first_chunk()).copied().map_or(0, u32::from_be_bytes);
        // One row counts, too, with four values of 16 bits per pixel.
        let bytes = MAX_PROFILE_BYTES + 8 * u64::from(width);
        decoder.set_limits(png::Limits { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) });
        let info = decoder.read_header_info()?;
        let (width, height) = info.size();
        limits.check_size(width, height)?;
        let mut transformations = Transformations::EXPAND;
        if matches!(info.color_type, ColorType::Rgb | ColorType::Indexed) && info.bit_depth != BitDepth::Sixteen {
            // Colours are scaled with four values per pixel.
            transformations |= Transformations::ALPHA;
        }
        decoder.set_transformations(transformations);
        Ok(Self { width, height, reader: decoder.read_info()? })
    }

    /// Decodes the pixels.
    pub fn decode(mut self, limits: &Limits) -> Result<PixelBuffer, TransformError> {
        let (width, height) = (self.width, self.height);
        let (color_type, depth) = self.reader.output_color_type();
        let (has_alpha, profile) = (has_alpha(self.reader.info()), profile(self.reader.info()));
        let row = self.reader.output_line_size(width).ok_or_else(too_much)?;
        // The result, and as much for values of 16 bits, which are narrowed.
        limits.check_memory((row as u64).saturating_mul(u64::from(height)).saturating_mul(2))?;
        let mut data = vec![0; row.checked_mul(height as usize).ok_or_else(too_much)?];
        if self.reader.info().interlaced {
            let bits = u8::try_from(color_type.samples()).unwrap_or(u8::MAX) * depth as u8;
            while let Some(pass) = self.reader.next_interlaced_row()? {
                let InterlaceInfo::Adam7(place) = pass.interlace() else { break };
                png::expand_interlaced_row(&mut data, row, pass.data(), place, bits);
            }
        } else {
            for row in data.chunks_exact_mut(row) {
                self.reader.read_row(row)?;
            }
        }
        // What follows the last row does not matter: the picture is whole.
        if depth == BitDepth::Sixteen {
            data = from_16_big_endian(&data);
        }
        let colour = match color_type {
            ColorType::Grayscale => Colour::Grey,
            ColorType::GrayscaleAlpha => Colour::GreyAlpha,
            ColorType::Rgba if has_alpha => Colour::Rgba,
            ColorType::Rgba => Colour::Rgbx,
            ColorType::Rgb | ColorType::Indexed => Colour::Rgb,
        };
        Ok(PixelBuffer { width, height, colour, data, profile })
    }
}

fn too_much() -> TransformError {
    TransformError::TooLarge("no memory".to_owned())
}

/// Whether pixels have opacity in the file, and not only as they are decoded.
fn has_alpha(info: &Info) -> bool {
    info.trns.is_some() || matches!(info.color_type, ColorType::Rgba | ColorType::GrayscaleAlpha)
}

/// What the file says about its colours: the first of `cICP`, `iCCP`, `sRGB`, and `gAMA` with `cHRM` (PNG, third
/// edition, section 4.3).
fn profile(info: &Info) -> Option<Profile> {
    if let Some(points) = info.coding_independent_code_points {
        return Some(Profile::CodePoints([
            points.color_primaries,
            points.transfer_function,
            points.matrix_coefficients,
            u8::from(points.is_video_full_range_image),
        ]));
    }
    if let Some(profile) = &info.icc_profile {
        return Some(Profile::Icc(profile.to_vec()));
    }
    if info.srgb.is_some() {
        return None;
    }
    let gamma = info.gama_chunk.map(png::ScaledFloat::into_scaled).filter(|gamma| *gamma > 0);
    let chromaticities = info.chrm_chunk.map(|chunk| {
        let points = [chunk.white, chunk.red, chunk.green, chunk.blue];
        let mut numbers = points.iter().flat_map(|(x, y)| [x.into_scaled(), y.into_scaled()]);
        std::array::from_fn(|_| numbers.next().unwrap_or_default())
    });
    let measured = Measured { gamma, chromaticities };
    (gamma.is_some() || chromaticities.is_some()).then_some(Profile::Measured(measured))
}

/// Converts values of 16 bits, the high byte first, to 8, rounded.
fn from_16_big_endian(data: &[u8]) -> Vec<u8> {
    let byte = |value: &[u8; 2]| (u32::from(u16::from_be_bytes(*value)) * 255 + 32_767) / 65_535;
    data.as_chunks().0.iter().map(|value| u8::try_from(byte(value)).unwrap_or(u8::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of these channels that has this profile.
    pub fn with_profile(profile: &[u8]) -> Vec<u8> {
        let mut info = Info::with_size(1, 1);
        info.icc_profile = Some(profile.into());
        let mut bytes = Vec::new();
        let mut writer =
            png::Encoder::with_info(&mut bytes, info).and_then(png::Encoder::write_header).expect("a head");
        writer.write_image_data(&[7]).and_then(|()| writer.finish()).expect("an end");
        bytes
    }

    fn decode(bytes: &[u8]) -> PixelBuffer {
        let limits = Limits::default();
        Png::open(bytes, &limits).and_then(|png| png.decode(&limits)).expect("a picture")
    }

    #[test]
    fn a_profile_is_decompressed_up_to_a_limit() {
        let profile = |bytes: &[u8]| match decode(bytes).profile {
            Some(Profile::Icc(profile)) => Some(profile.len()),
            _ => None,
        };
        assert_eq!(profile(&with_profile(&[7; 16_000])), Some(16_000));
        assert_eq!(profile(&with_profile(&vec![0; 20 << 20])), None);
    }

    #[test]
    fn values_of_sixteen_bits_are_rounded() {
        let values = [0_u16, 128, 129, 32_768, 65_535].map(u16::to_be_bytes).concat();
        assert_eq!(from_16_big_endian(&values), [0, 0, 1, 128, 255]);
    }

    #[test]
    fn colours_have_the_channels_that_the_file_has() {
        let sample = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
            decode(&std::fs::read(path).expect("a sample"))
        };
        // As Pillow 12 reads them.
        assert_eq!(sample("plain.png").colour, Colour::Rgbx);
        assert_eq!(sample("indexed.png").colour, Colour::Rgbx);
    }

    #[test]
    fn the_end_chunk_is_not_needed_for_the_pixels() {
        let whole = with_profile(&[7; 100]);
        let cut = &whole[..whole.len() - 12];
        assert_eq!(decode(cut).data, [7]);
    }
}
