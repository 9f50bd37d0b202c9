//! Decodes JPEG, at full size or smaller.

use mozjpeg::{ColorSpace, CompInfo, CompInfoExt as _, Decompress, Marker};

use super::super::pixel_buffer::{Colour, PixelBuffer};
use super::super::profile::Profile;
use super::super::{Limits, TransformError};
use super::scans::{Scans, survey};
use super::{guarded, messages};

/// Denominator of the factors by which the library scales.
const WHOLE: u8 = 8;

/// Scans of a picture, at most. Each costs a pass over all coefficients, however few bytes it has. Encoders write about
/// ten, and libjpeg-turbo recommends this limit.
const MAX_SCANS: u32 = 500;

/// A file whose header has been read.
pub struct OpenedJpeg<'a> {
    decoder: Decompress<&'a [u8]>,
    scans: Scans,
}

/// Reads the header of a file.
pub fn open(file: &[u8]) -> Result<OpenedJpeg<'_>, TransformError> {
    let scans = survey(file);
    let picture = &file[..scans.length];
    let decoder = guarded(|| {
        let opened = Decompress::with_err(messages::error_manager()).with_markers(&[Marker::APP(2)]).from_mem(picture);
        opened.map_err(|_| TransformError::Corrupt("it holds no picture".to_owned()))
    })?;
    Ok(OpenedJpeg { decoder, scans })
}

impl OpenedJpeg<'_> {
    /// Width and height in pixels, as stored.
    pub fn size(&self) -> (u32, u32) {
        // Two bytes each in the file.
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        (side(self.decoder.width()), side(self.decoder.height()))
    }

    /// Decodes the picture, scaled down if it may be: to a half, a quarter or an eighth, whichever is smallest and has
    /// both sides at least as long as those of `at_least`, in pixels.
    ///
    /// Scaling happens in the cosine transform, which takes less time then. The data are decoded all the same, so that
    /// damage is found at any scale.
    pub fn decode(self, at_least: Option<(u32, u32)>, limits: &Limits) -> Result<PixelBuffer, TransformError> {
        let (width, height) = self.size();
        let eighths = at_least.map_or(WHOLE, |least| eighths((width, height), least));
        let (space, colour) = match self.decoder.color_space() {
            ColorSpace::JCS_GRAYSCALE => (ColorSpace::JCS_GRAYSCALE, Colour::Grey),
            ColorSpace::JCS_YCbCr | ColorSpace::JCS_RGB => (ColorSpace::JCS_RGB, Colour::Rgb),
            ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => (ColorSpace::JCS_CMYK, Colour::Rgb),
            _ => {
                let count = self.decoder.components().len();
                return Err(TransformError::Unsupported(format!("JPEG of {count} components")));
            }
        };
        limits.check_memory(self.memory(eighths))?;
        self.check_scans(limits)?;
        let Self { mut decoder, .. } = self;
        guarded(move || {
            let profile = profile(&decoder);
            decoder.scale(eighths);
            let mut started = decoder.to_colorspace(space).map_err(TransformError::internal)?;
            let (width, height) = (started.width(), started.height());
            let mut data = started.read_scanlines::<u8>().map_err(TransformError::internal)?;
            if space == ColorSpace::JCS_CMYK {
                data = without_black(data);
            }
            let side = |side| u32::try_from(side).map_err(TransformError::internal);
            // The rest of the file is not read: the pixels are there, and what trails behind them may be anything.
            Ok(PixelBuffer {
                width: side(width)?,
                height: side(height)?,
                colour,
                data,
                profile: profile.map(Profile::Icc),
            })
        })
    }

    /// Whether all scans are there, and not too many.
    fn check_scans(&self, limits: &Limits) -> Result<(), TransformError> {
        let (width, height) = self.size();
        let count = self.scans.count;
        let pixels = u64::from(width) * u64::from(height) * u64::from(count);
        if self.scans.are_several && (count > MAX_SCANS || pixels > limits.max_frame_pixels) {
            return Err(TransformError::TooLarge(format!("{count} scans of {width} x {height} pixels")));
        }
        self.scans.missing.map_or(Ok(()), |what| Err(TransformError::Corrupt(what.to_owned())))
    }

    /// Bytes of memory for decoding at this scale, the result included.
    fn memory(&self, eighths: u8) -> u64 {
        /// Rows of samples of each component that the library holds while it makes pixels of them, at most: twice what
        /// a row of blocks has at the highest sampling, and as much before it is brought to full width.
        const ROWS: u64 = 128;
        let components = self.decoder.components();
        let (width, height) = self.size();
        let scaled = |side: u32| u64::from(scaled(side, eighths));
        let pixels = scaled(width) * scaled(height);
        let rows = u64::from(width) * ROWS;
        let count = components.len() as u64;
        let coefficients = if self.scans.are_several { components.iter().map(coefficient_bytes).sum() } else { 0 };
        coefficients + (pixels + rows) * count
    }
}

/// Bytes of memory for all coefficients of a component.
fn coefficient_bytes(component: &CompInfo) -> u64 {
    const BLOCK_BYTES: u64 = 64 * 2;
    let (across, down) = component.sampling();
    let whole = |blocks: usize, factor: u8| (blocks as u64).next_multiple_of(u64::from(factor.max(1)));
    let blocks = whole(component.width_in_blocks(), across) * whole(component.height_in_blocks(), down);
    blocks * BLOCK_BYTES
}

/// The smallest scale, in eighths, at which a picture of this size is at least as large as `least`.
fn eighths((width, height): (u32, u32), least: (u32, u32)) -> u8 {
    let is_enough = |eighths: &u8| scaled(width, *eighths) >= least.0 && scaled(height, *eighths) >= least.1;
    [1, 2, 4].into_iter().find(is_enough).unwrap_or(WHOLE)
}

/// A side in pixels at this scale.
fn scaled(side: u32, eighths: u8) -> u32 {
    (side * u32::from(eighths)).div_ceil(u32::from(WHOLE))
}

/// The colour profile (ICC.1, section B.4): parts with a number and a count, in segments APP2.
fn profile(decoder: &Decompress<&[u8]>) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    for segment in decoder.markers() {
        if let Some(&[number, count, ref part @ ..]) = segment.data.strip_prefix(b"ICC_PROFILE\0") {
            parts.push((number, count, part));
        }
    }
    parts.sort_unstable_by_key(|(number, ..)| *number);
    let is_whole = parts
        .iter()
        .zip(1..)
        .all(|((number, count, _), expected)| *number == expected && usize::from(*count) == parts.len());
    (is_whole && !parts.is_empty()).then(|| parts.iter().flat_map(|(.., part)| *part).copied().collect())
}

/// Red, green and blue from cyan, magenta, yellow and black, which all programs store inverted: 255 is no ink. Browsers
/// do not wait for the Adobe segment that says so. Without a colour profile, inks are taken to be ideal.
fn without_black(mut data: Vec<u8>) -> Vec<u8> {
    let count = data.len() / 4;
    for at in 0..count {
        let black = u32::from(data[4 * at + 3]);
        for channel in 0..3 {
            let ink = u32::from(data[4 * at + channel]);
            data[3 * at + channel] = u8::try_from((ink * black + 127) / 255).unwrap_or(u8::MAX);
        }
    }
    data.truncate(3 * count);
    data
}
