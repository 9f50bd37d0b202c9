//! Decodes JPEG XL files (ISO/IEC 18181) with jxl-oxide.
//!
//! Of an animation, the first frame is shown. The decoder turns pictures upright, and [`Jxl::decode`] turns them back:
//! everything else here works on pixels as they are stored, and has the orientation from the header.

use image::ColorType;
use jxl_oxide::image::ExtraChannelType;
use jxl_oxide::{
    AllocTracker, EnumColourEncoding, InitializeResult, JxlImage, JxlThreadPool, PixelFormat, RenderingIntent,
};

use super::alpha;
use super::pixel_buffer::{Colour, PixelBuffer};
use super::profile::Profile;
use super::{Limits, TransformError};

/// A JPEG XL file that has been read to its end; of its pictures, none is decoded yet.
pub struct Jxl {
    /// Width in pixels, as stored.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    image: JxlImage,
}

impl Jxl {
    /// Reads the header and finds the frames.
    ///
    /// # Errors
    /// The file is damaged or cut off, or its picture is larger than the limits.
    pub fn open(bytes: &[u8], limits: &Limits) -> Result<Self, TransformError> {
        // The decoder counts all that it allocates by the size of the picture. The result and the floating-point values of
        // one row of the file are not in that.
        let memory = usize::try_from(limits.max_memory).unwrap_or(usize::MAX);
        let builder = JxlImage::builder().alloc_tracker(AllocTracker::with_limit(memory)).pool(JxlThreadPool::none());
        let mut header = builder.build_uninit();
        header.feed_bytes(bytes).map_err(error)?;
        let InitializeResult::Initialized(mut image) = header.try_init().map_err(error)? else {
            return Err(TransformError::Corrupt("it ends too soon".to_owned()));
        };
        image.finalize().map_err(error)?;
        let size = &image.image_header().size;
        let (width, height) = (size.width, size.height);
        limits.check_size(width, height)?;
        if image.pixel_format().has_black() {
            return Err(TransformError::Unsupported("JPEG XL in CMYK cannot be decoded here".to_owned()));
        }
        // What is brighter than white has no place in eight bits: the decoder maps it.
        if image.hdr_type().is_some() {
            image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative));
        }
        Ok(Self { width, height, image })
    }

    /// Decodes the first frame.
    ///
    /// # Errors
    /// The picture is damaged or cut off, or takes more memory than the limits allow.
    pub fn decode(&self, limits: &Limits) -> Result<PixelBuffer, TransformError> {
        let format = self.image.pixel_format();
        let colour = match format {
            PixelFormat::Gray => Colour::Grey,
            PixelFormat::Graya => Colour::GreyAlpha,
            PixelFormat::Rgba => Colour::Rgba,
            _ => Colour::Rgb,
        };
        let bytes = u64::from(self.width) * u64::from(self.height) * colour.channels() as u64;
        // A turned picture is copied once.
        limits.check_memory(bytes.saturating_mul(2))?;
        let (width, height) = (self.image.width(), self.image.height());
        let render = self.frame(0)?;
        let mut stream = render.stream();
        if (stream.width(), stream.height(), stream.channels() as usize) != (width, height, colour.channels()) {
            return Err(TransformError::Unsupported("JPEG XL with these channels cannot be decoded here".to_owned()));
        }
        let mut data = vec![0; usize::try_from(bytes).map_err(TransformError::internal)?];
        stream.write_to_buffer::<u8>(&mut data);
        if self.has_associated_alpha() {
            let color_type = if colour.is_grey() { ColorType::La8 } else { ColorType::Rgba8 };
            alpha::divide(&mut data, color_type);
        }
        let picture = PixelBuffer { width, height, colour, data, profile: self.profile() };
        let back = match self.image.image_header().metadata.orientation {
            6 => 8,
            8 => 6,
            other => u8::try_from(other).map_err(TransformError::internal)?,
        };
        Ok(picture.upright(back))
    }

    /// Decodes all frames, one after the other, and reports what is wrong with them.
    ///
    /// # Errors
    /// Those of [`Jxl::decode`]; there are more frames than the limits allow.
    pub fn verify(&self, limits: &Limits) -> Result<(), TransformError> {
        let frames = self.image.num_loaded_keyframes().max(1);
        let pixels = u64::from(self.width) * u64::from(self.height);
        limits.check_frames(frames as u64, pixels.saturating_mul(frames as u64))?;
        (0..frames).try_for_each(|number| self.frame(number).map(drop))
    }

    fn frame(&self, number: usize) -> Result<jxl_oxide::Render, TransformError> {
        if !self.image.is_loading_done() || number >= self.image.num_loaded_keyframes() {
            return Err(TransformError::Corrupt("it ends too soon".to_owned()));
        }
        self.image.render_frame(number).map_err(error)
    }

    /// Whether colours are multiplied by their opacity.
    fn has_associated_alpha(&self) -> bool {
        let extra = &self.image.image_header().metadata.ec_info;
        let is_associated = |ty: &ExtraChannelType| matches!(ty, ExtraChannelType::Alpha { alpha_associated: true });
        extra.iter().find(|channel| channel.is_alpha()).is_some_and(|alpha| is_associated(&alpha.ty))
    }

    /// What the decoded colours are, if they are not sRGB.
    fn profile(&self) -> Option<Profile> {
        /// Primaries of BT.709, transfer function of sRGB, RGB, full range (ITU-T H.273).
        const SRGB: [u8; 4] = [1, 13, 0, 1];
        if self.image.rendered_cicp() == Some(SRGB) { None } else { Some(Profile::Icc(self.image.rendered_icc())) }
    }
}

/// What a message of the decoder means. Its errors are boxed, and those about memory come from deep inside.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn error(error: Box<dyn std::error::Error + Send + Sync>) -> TransformError {
    let text = error.to_string();
    if text.contains("failed to allocate") {
        TransformError::TooLarge(text)
    } else if text.contains("not supported") || text.contains("unsupported") {
        TransformError::Unsupported(text)
    } else {
        TransformError::Corrupt(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
        std::fs::read(path).expect("a sample")
    }

    fn decoded(bytes: &[u8], limits: &Limits) -> Result<PixelBuffer, TransformError> {
        Jxl::open(bytes, limits)?.decode(limits)
    }

    /// The samples were encoded by cjxl 0.7: one from the JPEG beside it, without loss, and turned like that.
    #[test]
    fn pixels_are_those_of_the_picture_that_was_encoded() {
        let limits = Limits::default();
        let jpeg = sample("photo.jpg");
        let open = super::super::decode::open(&jpeg, crate::record::Format::Jpeg, &limits);
        let jpeg = open.and_then(|opened| opened.decode(None)).expect("a JPEG");
        let picture = decoded(&sample("photo.jxl"), &limits).expect("a JPEG XL");
        assert_eq!((picture.width, picture.height, picture.colour), (64, 48, Colour::Rgb));
        assert_eq!((jpeg.width, jpeg.height), (64, 48));
        let values = picture
            .data
            .chunks_exact(3)
            .flatten()
            .zip(jpeg.data.chunks_exact(jpeg.colour.channels()).flat_map(|pixel| &pixel[..3]));
        let differences = values.map(|(one, other)| u64::from(one.abs_diff(*other))).collect::<Vec<_>>();
        let sum = differences.iter().sum::<u64>();
        assert!(sum < 2 * differences.len() as u64, "{sum} over {} values", differences.len());
        assert_eq!(picture.profile, None);
    }

    #[test]
    fn a_picture_that_is_cut_anywhere_is_corrupt() {
        let whole = sample("still.jxl");
        assert!(decoded(&whole, &Limits::default()).is_ok());
        for end in 0..whole.len() - 1 {
            let cut = decoded(&whole[..end], &Limits::default()).map(|picture| picture.width);
            assert!(matches!(cut, Err(TransformError::Corrupt(_))), "cut at {end}: {cut:?}");
        }
    }

    #[test]
    fn damage_is_an_error_or_another_picture_and_nothing_worse() {
        let whole = sample("photo.jxl");
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let mut damaged = whole.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(2..damaged.len());
                damaged[at] = random.u8(..);
            }
            // A panic of the decoder ends at the CPU pool; here it is no failure either.
            let _ = std::panic::catch_unwind(|| {
                let limits = Limits { max_memory: 1 << 26, max_pixels: 1 << 22, ..Limits::default() };
                decoded(&damaged, &limits).map(drop)
            });
        }
    }

    #[test]
    fn it_is_held_to_the_limits() {
        let whole = sample("photo.jxl");
        for limits in
            [Limits { max_memory: 10_000, ..Limits::default() }, Limits { max_pixels: 10, ..Limits::default() }]
        {
            let refused = decoded(&whole, &limits).map(|picture| picture.width);
            assert!(matches!(refused, Err(TransformError::TooLarge(_))), "{refused:?}");
        }
    }
}
