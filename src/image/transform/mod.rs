//! Works on pixels: decodes to verify, resizes, encodes, and computes perceptual hashes.
//!
//! [`transform`] takes the bytes of one image and [`TransformOptions`] and returns the image to store. `verify`
//! decodes every frame of an image and keeps nothing. Both only compute: they use no network, no files and no clock,
//! and run in a [`CpuPool`] beside the network. An image is untrusted: its header is held to [`Limits`] before memory
//! is allocated for it, so that a decompression bomb ends as an error.

mod alpha;
pub mod decode;
pub mod encode;
pub mod hash;
mod icon;
mod jpeg;
#[cfg(feature = "jxl")]
mod jxl;
mod libwebp;
pub mod pixel_buffer;
mod png;
mod pool;
pub mod profile;
pub mod resize;
mod verify;
mod webp;
mod workarounds;

use std::error::Error;
use std::fmt;

pub use encode::Encoding;
pub use hash::PerceptualHash;
pub use pool::{CpuPool, Panicked};
pub use resize::{Resize, ResizeMode};
pub use verify::verify;

use self::resize::Fit;
use crate::record::{ErrorKind, Format, TOO_LARGE_TO_DECODE};
use crate::util::human::Size;

/// What to do with images. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TransformOptions {
    /// Limits for each image.
    pub limits: Limits,
    /// Decode every frame (`--verify decode`).
    pub verify: bool,
    /// Resize to this box.
    pub resize: Option<Resize>,
    /// Encode in this format. If `None`, a resized image keeps its format if that can be written, and becomes PNG
    /// otherwise.
    pub target: Option<Encoding>,
    /// Quality of lossy formats, from 1 (small) to 100 (good).
    pub quality: Quality,
    /// Compute the perceptual hash.
    pub hash: bool,
}

impl TransformOptions {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keeps_images() && !self.verify && !self.hash
    }

    /// Whether images are stored byte for byte as they came.
    #[must_use]
    pub const fn keeps_images(&self) -> bool {
        self.resize.is_none() && self.target.is_none()
    }
}

/// Quality of lossy formats, from 1 (small) to 100 (good).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// A quality from 1 to 100; `None` for anything else.
    #[must_use]
    pub const fn new(quality: u8) -> Option<Self> {
        if quality >= 1 && quality <= 100 { Some(Self(quality)) } else { None }
    }

    /// The quality as a number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self(90)
    }
}

/// Limits on the size of one image and on the resources for decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most pixels of a picture, and of each frame of an animation.
    pub max_pixels: u64,
    /// Most bytes of memory for decoding, including the result, excluding the file.
    pub max_memory: u64,
    /// Most frames of an animation, if all of them are decoded.
    pub max_frames: u32,
    /// Most pixels of all frames together, if all of them are decoded.
    pub max_frame_pixels: u64,
}

impl Default for Limits {
    /// 200 million pixels, more than cameras have. 1 GiB, enough for 130 million pixels of four channels. 10,000
    /// frames, which are minutes of film. 4 billion pixels of all frames, about half a minute of work.
    fn default() -> Self {
        Self { max_pixels: 200_000_000, max_memory: 1 << 30, max_frames: 10_000, max_frame_pixels: 4_000_000_000 }
    }
}

impl Limits {
    fn check_size(&self, width: u32, height: u32) -> Result<(), TransformError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            let max = self.max_pixels;
            return Err(TransformError::TooLarge(format!("{width} x {height} pixels, more than {max}")));
        }
        Ok(())
    }

    fn check_memory(&self, bytes: u64) -> Result<(), TransformError> {
        if bytes > self.max_memory {
            let (bytes, max) = (Size::from(bytes), Size::from(self.max_memory));
            return Err(TransformError::TooLarge(format!("it takes {bytes} of memory, more than {max}")));
        }
        Ok(())
    }

    fn check_frames(&self, frames: u64, pixels: u64) -> Result<(), TransformError> {
        let (max, max_pixels) = (self.max_frames, self.max_frame_pixels);
        if frames > u64::from(max) {
            return Err(TransformError::TooLarge(format!("{frames} frames, more than {max}")));
        }
        if pixels > max_pixels {
            return Err(TransformError::TooLarge(format!(
                "{frames} frames of {pixels} pixels, more than {max_pixels}"
            )));
        }
        Ok(())
    }
}

/// Result of transforming an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformed {
    /// The image to store.
    pub image: Image,
    /// The perceptual hash, if asked for.
    pub hash: Option<PerceptualHash>,
    /// The image would have had to be enlarged to have the size that was asked for ([`Fit::is_smaller`]).
    pub smaller_than_box: bool,
}

/// The image to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// The original, byte for byte: it has the requested size and format.
    Unchanged,
    /// A newly encoded one.
    New {
        /// The file.
        bytes: Vec<u8>,
        /// Its format.
        format: Format,
        /// Its width in pixels, upright.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
}

/// Transforms an image as the options say.
///
/// `orientation` says how the picture is to be rotated and mirrored for display, from 2 to 8 (Exif 2.32, tag 0x0112); a
/// new image is upright. Of an animation or a file of several pictures, the first picture is used.
///
/// # Errors
/// The image is corrupt, cannot be decoded or encoded here, or exceeds the limits.
pub fn transform(
    bytes: &[u8],
    format: Format,
    orientation: Option<u8>,
    options: &TransformOptions,
) -> Result<Transformed, TransformError> {
    let (bytes, source_format) = workarounds::decodable(bytes, format);
    let opened = decode::open(&bytes, source_format, &options.limits)?;
    let stored = (opened.width, opened.height);
    let orientation = orientation.unwrap_or(1);
    let fit = Fit::new(stored, orientation, options.resize.as_ref());
    let smaller_than_box = fit.is_smaller;
    options.limits.check_memory(scaled_memory(&fit, stored))?;
    let own_encoding = Encoding::of(format);
    let stays = fit.is_identity(stored) && (options.target.is_none() || options.target == own_encoding);
    let is_decoded = !stays || options.hash;
    // Decoding a JPEG for its pixels verifies as much.
    if options.verify && !(is_decoded && format == Format::Jpeg) {
        verify(&bytes, source_format, &options.limits)?;
    }
    if !is_decoded {
        return Ok(Transformed { image: Image::Unchanged, hash: None, smaller_than_box });
    }
    // The hash is defined by the whole picture.
    let at_least = if options.hash { None } else { fit.decoded_at_least(stored) };
    let picture = opened.decode(at_least)?;
    let hash = if options.hash { Some(hash::hash(&picture, orientation)?) } else { None };
    if stays {
        return Ok(Transformed { image: Image::Unchanged, hash, smaller_than_box });
    }
    let mut picture = resize::scale(picture, &fit)?.upright(orientation);
    if let Some((width, height)) = fit.frame {
        picture = picture.framed(width, height);
    }
    let (width, height) = (picture.width, picture.height);
    let target = options.target.or(own_encoding).unwrap_or(Encoding::Png);
    let bytes = encode::encode(picture, target, options.quality.0)?;
    Ok(Transformed { image: Image::New { bytes, format: target.format(), width, height }, hash, smaller_than_box })
}

/// Whether [`transform`] gives an image that is stored in this size another size or shape. `orientation` is as there.
#[must_use]
pub fn is_resized(stored: (u32, u32), orientation: Option<u8>, options: &TransformOptions) -> bool {
    !Fit::new(stored, orientation.unwrap_or(1), options.resize.as_ref()).is_identity(stored)
}

/// The format in which [`transform`] stores an image of this format.
#[must_use]
pub fn stored_format(format: Format, is_resized: bool, options: &TransformOptions) -> Format {
    match (options.target, Encoding::of(format)) {
        (Some(target), _) => target.format(),
        (None, None) if is_resized => Format::Png,
        (None, _) => format,
    }
}

/// Bytes of memory that [`transform`] and `verify` need for such an image, for [`CpuPool::run`]. `size` is its width
/// and height in pixels, if known.
///
/// The header may be wrong, so this is an estimate; [`Limits::max_memory`] enforces it.
#[must_use]
pub fn memory_needed(format: Format, size: Option<(u32, u32)>, options: &TransformOptions) -> u64 {
    /// Least estimate: metadata and a colour profile may need more than a small picture.
    const MIN_BYTES: u64 = 8 << 20;
    let max = options.limits.max_memory;
    let Some((width, height)) = size else { return max };
    let bytes_per_pixel = match format {
        // Three coefficients of two bytes, and three colour values.
        Format::Jpeg => 9,
        // Four values of 16 bits, and as much within the decoder.
        Format::Png | Format::Tiff | Format::Pnm => 16,
        // The same with 32 bits.
        Format::Hdr | Format::Exr => 32,
        // Floating-point values, and their copies within the decoder.
        Format::Jxl => 40,
        _ => 8,
    };
    let stored = (u64::from(width) * u64::from(height)).saturating_mul(bytes_per_pixel);
    let fit = Fit::new((width, height), 1, options.resize.as_ref());
    stored.saturating_add(scaled_memory(&fit, (width, height))).max(MIN_BYTES).min(max)
}

/// Bytes of memory for the scaled picture and for its rotated or framed copy.
fn scaled_memory(fit: &Fit, stored: (u32, u32)) -> u64 {
    let (width, height) = fit.frame.unwrap_or(fit.size);
    if fit.is_identity(stored) { 0 } else { (u64::from(width) * u64::from(height)).saturating_mul(8) }
}

/// Why an image cannot be transformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformError {
    /// Its bytes violate its format.
    Corrupt(String),
    /// It may be intact, but cannot be decoded here, or cannot be encoded as requested.
    Unsupported(String),
    /// It exceeds the limits.
    TooLarge(String),
    /// A defect of this program.
    Internal(String),
}

impl TransformError {
    /// The error kind of the record.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Corrupt(_) => ErrorKind::CorruptImage,
            Self::Unsupported(_) => ErrorKind::NotAccepted,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt(what) => write!(f, "the image is corrupt: {what}"),
            Self::Unsupported(what) => write!(f, "the image cannot be worked on: {what}"),
            Self::TooLarge(what) => write!(f, "{TOO_LARGE_TO_DECODE}: {what}"),
            Self::Internal(what) => f.write_str(what),
        }
    }
}

impl Error for TransformError {}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn the_memory_of_the_new_image_counts_too() {
        let side = NonZeroU32::new(10_000).expect("a side");
        let resize = |mode, enlarge| TransformOptions {
            resize: Some(Resize { width: side, height: side, mode, enlarge }),
            ..TransformOptions::default()
        };
        let memory_needed = |options: &TransformOptions| memory_needed(Format::Png, Some((100, 100)), options);
        assert!(memory_needed(&TransformOptions::default()) < 10_000_000);
        assert!(memory_needed(&resize(ResizeMode::KeepRatio, false)) < 10_000_000);
        for options in [resize(ResizeMode::KeepRatio, true), resize(ResizeMode::Border, false)] {
            assert!(memory_needed(&options) >= 800_000_000);
            let limits = Limits { max_memory: 100_000_000, ..Limits::default() };
            let mut png = Vec::new();
            let mut writer = ::png::Encoder::new(&mut png, 1, 1).write_header().expect("a head");
            writer.write_image_data(&[7]).and_then(|()| writer.finish()).expect("an end");
            let refused = transform(&png, Format::Png, None, &TransformOptions { limits, ..options });
            assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
        }
    }

    #[test]
    fn an_image_that_is_larger_inside_than_its_header_states_is_held_to_that() {
        // A logical screen of one pixel with a picture of 3,000 by 3,000 on it.
        let mut gif = Vec::new();
        let mut encoder = gif::Encoder::new(&mut gif, 1, 1, &[0, 0, 0, 255, 255, 255]).expect("a head");
        let frame = gif::Frame { width: 3000, height: 3000, buffer: vec![0; 9_000_000].into(), ..Default::default() };
        encoder.write_frame(&frame).expect("a picture");
        drop(encoder);
        let mut options = TransformOptions { verify: true, ..TransformOptions::default() };
        assert_eq!(transform(&gif, Format::Gif, None, &options).map(|done| done.image), Ok(Image::Unchanged));
        options.limits.max_memory = memory_needed(Format::Gif, Some((1, 1)), &options);
        let refused = transform(&gif, Format::Gif, None, &options);
        assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
    }
}
