//! Pixels: whether there are any, how many are kept, and what they look like.
//!
//! [`transform`] takes the bytes of one image and a [`Plan`] and gives what came of it; [`verify`] decodes an image to its
//! end, every frame, and keeps nothing. Both compute and nothing else: they know no network, no files and no clock, and run
//! in a [`Pool`] beside the network. An image is somebody else's bytes: its header is held to [`Limits`] before memory is
//! taken for it, so that a bomb costs an error.

pub mod decode;
pub mod encode;
pub mod hash;
pub mod picture;
mod pool;
pub mod resize;
mod verify;
mod workarounds;

use std::error::Error;
use std::fmt;

pub use encode::Target;
pub use hash::PerceptualHash;
pub use pool::{Panicked, Pool};
pub use resize::{Mode, Resize};
pub use verify::verify;

use self::resize::Fit;
use crate::record::{ErrorKind, Format};
use crate::util::human::Size;

/// What is to be done with images. Nothing, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What an image may cost.
    pub limits: Limits,
    /// Decode every frame to its end (`--verify decode`).
    pub verify: bool,
    /// Another size.
    pub resize: Option<Resize>,
    /// Another format. Without it, what changes its size stays in its format if that can be written, and becomes PNG if
    /// not.
    pub target: Option<Target>,
    /// How much detail formats with loss keep, from 1 to 100.
    pub quality: Quality,
    /// Whether to say what the image looks like.
    pub hash: bool,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.keeps_images() && !self.verify && !self.hash
    }

    /// Whether images stay as they came, whatever is found out about them.
    #[must_use]
    pub const fn keeps_images(&self) -> bool {
        self.resize.is_none() && self.target.is_none()
    }
}

/// How much detail formats with loss keep, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality(u8);

impl Quality {
    /// Of 1 to 100; `None` for anything else.
    #[must_use]
    pub const fn new(quality: u8) -> Option<Self> {
        if quality >= 1 && quality <= 100 { Some(Self(quality)) } else { None }
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self(90)
    }
}

/// What one image may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture, and of each frame of an animation.
    pub max_pixels: u64,
    /// Bytes that decoding may take, the result included, the file not.
    pub max_memory: u64,
    /// Frames of an animation, where all of them are decoded.
    pub max_frames: u32,
    /// Pixels of all frames together, where all of them are decoded.
    pub max_frame_pixels: u64,
}

impl Default for Limits {
    /// 200 million pixels, more than cameras have, and 1 GiB: enough for 130 million in four colours. 10,000 frames are
    /// minutes of film, and 4 billion pixels are half a minute of work.
    fn default() -> Self {
        Self { max_pixels: 200_000_000, max_memory: 1 << 30, max_frames: 10_000, max_frame_pixels: 4_000_000_000 }
    }
}

impl Limits {
    fn check_size(&self, width: u32, height: u32) -> Result<(), TransformError> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            let most = self.max_pixels;
            return Err(TransformError::TooLarge(format!("{width} x {height} pixels, more than {most}")));
        }
        Ok(())
    }

    fn check_memory(&self, bytes: u64) -> Result<(), TransformError> {
        if bytes > self.max_memory {
            let (bytes, most) = (Size::from(bytes), Size::from(self.max_memory));
            return Err(TransformError::TooLarge(format!("it takes {bytes} of memory, more than {most}")));
        }
        Ok(())
    }

    fn check_frames(&self, frames: u64, pixels: u64) -> Result<(), TransformError> {
        let (most, most_pixels) = (self.max_frames, self.max_frame_pixels);
        if frames > u64::from(most) {
            return Err(TransformError::TooLarge(format!("{frames} frames, more than {most}")));
        }
        if pixels > most_pixels {
            return Err(TransformError::TooLarge(format!(
                "{frames} frames of {pixels} pixels, more than {most_pixels}"
            )));
        }
        Ok(())
    }
}

/// What came of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformed {
    /// The image to store.
    pub image: Image,
    /// What it looks like, if that was asked for.
    pub hash: Option<PerceptualHash>,
}

/// The image to store.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// The one that came, byte for byte: it has the size and the format that are wanted.
    Unchanged,
    /// Another one.
    New {
        /// The file.
        bytes: Vec<u8>,
        /// Its format.
        format: Format,
        /// Its width in pixels. It stands upright.
        width: u32,
        /// Its height in pixels.
        height: u32,
    },
}

/// Does with an image what the plan says.
///
/// `orientation` is how the picture is to be turned and mirrored for display, from 2 to 8 (Exif 2.32, tag 0x0112): the
/// result stands upright. Of an animation, and of a file of several pictures, the first picture is taken.
pub fn transform(
    bytes: &[u8],
    format: Format,
    orientation: Option<u8>,
    plan: &Plan,
) -> Result<Transformed, TransformError> {
    let (tidied, kind) = workarounds::tidied(bytes, format);
    let opened = decode::open(&tidied, kind, &plan.limits)?;
    let stored = (opened.width, opened.height);
    let orientation = orientation.unwrap_or(1);
    let fit = Fit::new(stored, orientation, plan.resize.as_ref());
    plan.limits.check_memory(made(&fit, stored))?;
    let own = Target::of(format);
    let stays = fit.is_nothing(stored) && (plan.target.is_none() || plan.target == own);
    let is_decoded = !stays || plan.hash;
    // What decodes a JPEG for its pixels sees as much of it.
    if plan.verify && !(is_decoded && format == Format::Jpeg) {
        verify(&tidied, kind, &plan.limits)?;
    }
    if !is_decoded {
        return Ok(Transformed { image: Image::Unchanged, hash: None });
    }
    let picture = opened.decode()?;
    let hash = if plan.hash { Some(hash::hash(&picture, orientation)?) } else { None };
    if stays {
        return Ok(Transformed { image: Image::Unchanged, hash });
    }
    let mut picture = resize::scale(picture, &fit)?.upright(orientation);
    if let Some((width, height)) = fit.frame {
        picture = picture.framed(width, height);
    }
    let (width, height) = (picture.width, picture.height);
    let target = plan.target.or(own).unwrap_or(Target::Png);
    let bytes = encode::encode(picture, target, plan.quality.0)?;
    Ok(Transformed { image: Image::New { bytes, format: target.format(), width, height }, hash })
}

/// The memory that [`transform`] and [`verify`] take for such an image, in bytes, for [`Pool::run`]. `size` is its width
/// and height in pixels, if they are known.
///
/// Headers may say anything, so it is [`Limits::max_memory`] that makes it hold.
#[must_use]
pub fn weight(format: Format, size: Option<(u32, u32)>, plan: &Plan) -> u64 {
    /// What the smallest picture may take: a line of text about it, or a colour profile, is longer.
    const LEAST: u64 = 8 << 20;
    let most = plan.limits.max_memory;
    let Some((width, height)) = size else { return most };
    let each = match format {
        // Coefficients of two bytes, and the colours.
        Format::Jpeg => 9,
        // Four values of sixteen bits, and again what the decoder has itself.
        Format::Png | Format::Tiff | Format::Pnm => 16,
        // The same of 32 bits.
        Format::Hdr | Format::Exr => 32,
        _ => 8,
    };
    let stored = (u64::from(width) * u64::from(height)).saturating_mul(each);
    let fit = Fit::new((width, height), 1, plan.resize.as_ref());
    stored.saturating_add(made(&fit, (width, height))).max(LEAST).min(most)
}

/// The memory for a picture of another size: as it is scaled, and as it is turned or framed.
fn made(fit: &Fit, stored: (u32, u32)) -> u64 {
    let (width, height) = fit.frame.unwrap_or(fit.size);
    if fit.is_nothing(stored) { 0 } else { (u64::from(width) * u64::from(height)).saturating_mul(8) }
}

/// Why nothing came of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransformError {
    /// Its bytes are not what its format asks for.
    Corrupt(String),
    /// It may be sound, but it cannot be decoded here, or not be written as is wanted.
    Unsupported(String),
    /// It would cost more than an image may.
    TooLarge(String),
    /// A defect here.
    Internal(String),
}

impl TransformError {
    /// The kind of failure that this is for a row.
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
            Self::TooLarge(what) => write!(f, "the image is too large: {what}"),
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
    fn what_is_made_of_an_image_weighs_too() {
        let side = NonZeroU32::new(10_000).expect("a side");
        let resize = |mode, enlarge| Plan {
            resize: Some(Resize { width: side, height: side, mode, enlarge }),
            ..Plan::default()
        };
        let weight = |plan: &Plan| weight(Format::Png, Some((100, 100)), plan);
        assert!(weight(&Plan::default()) < 10_000_000);
        assert!(weight(&resize(Mode::KeepRatio, false)) < 10_000_000);
        for plan in [resize(Mode::KeepRatio, true), resize(Mode::Border, false)] {
            assert!(weight(&plan) >= 800_000_000);
            let limits = Limits { max_memory: 100_000_000, ..Limits::default() };
            let mut png = Vec::new();
            let mut writer = png::Encoder::new(&mut png, 1, 1).write_header().expect("a head");
            writer.write_image_data(&[7]).and_then(|()| writer.finish()).expect("an end");
            let refused = transform(&png, Format::Png, None, &Plan { limits, ..plan });
            assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
        }
    }

    #[test]
    fn an_image_that_is_larger_inside_than_it_says_is_held_to_what_it_says() {
        // A screen of one pixel, and a picture of 3,000 by 3,000 on it.
        let mut gif = Vec::new();
        let mut encoder = gif::Encoder::new(&mut gif, 1, 1, &[0, 0, 0, 255, 255, 255]).expect("a head");
        let frame = gif::Frame { width: 3000, height: 3000, buffer: vec![0; 9_000_000].into(), ..Default::default() };
        encoder.write_frame(&frame).expect("a picture");
        drop(encoder);
        let mut plan = Plan { verify: true, ..Plan::default() };
        assert_eq!(transform(&gif, Format::Gif, None, &plan).map(|done| done.image), Ok(Image::Unchanged));
        plan.limits.max_memory = weight(Format::Gif, Some((1, 1)), &plan);
        let refused = transform(&gif, Format::Gif, None, &plan);
        assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
    }
}
