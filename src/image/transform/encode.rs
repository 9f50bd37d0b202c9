//! Encodes pixels as baseline JPEG, as PNG of eight bits or as lossy WebP.
//!
//! What the file says about its colours is kept where the format can say it, since a picture would change its colours
//! without; elsewhere the colours are converted to sRGB: WebP has no grey profiles, and JPEG and WebP have nothing like
//! `gAMA`, `cHRM` and `cICP` of PNG. Other metadata is dropped: Exif, XMP, comments.

use std::borrow::Cow;

use super::TransformError;
use super::jpeg;
use super::pixel_buffer::{Colour, PixelBuffer};
use super::profile::Profile;
use crate::record::Format;

/// Formats that pictures can be encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Baseline JPEG; transparency is composed over white.
    Jpeg,
    /// PNG, lossless.
    Png,
    /// WebP, lossy.
    Webp,
}

impl Encoding {
    /// The encoding of this file format, if files of it can be written.
    #[must_use]
    pub const fn of(format: Format) -> Option<Self> {
        match format {
            Format::Jpeg => Some(Self::Jpeg),
            Format::Png => Some(Self::Png),
            Format::Webp => Some(Self::Webp),
            _ => None,
        }
    }

    /// The file format.
    #[must_use]
    pub const fn format(self) -> Format {
        match self {
            Self::Jpeg => Format::Jpeg,
            Self::Png => Format::Png,
            Self::Webp => Format::Webp,
        }
    }
}

/// Compression level of PNG. A thumbnail of a photograph takes 2.3 ms of processor time and has 53.5 KB; with the default
/// of the crate it takes 18.3 ms and has 49.1 KB, and with its fast one 0.5 ms and 64.3 KB.
const PNG_LEVEL: u8 = 2;

/// Effort of the WebP encoder, from 0 to 6. The same thumbnail takes 3.2 ms and 5.4 ms with the default, 4, at nearly the
/// same size; below 2, edges get worse.
const WEBP_METHOD: i32 = 2;

/// Encodes a picture. `quality`, from 1 to 100, is for the lossy formats.
pub fn encode(picture: PixelBuffer, target: Encoding, quality: u8) -> Result<Vec<u8>, TransformError> {
    let mut picture = picture.narrowed();
    let is_carried = match &picture.profile {
        Some(profile @ Profile::Icc(_)) => {
            profile.icc_for(picture.colour).is_some() && !(picture.colour.is_grey() && target == Encoding::Webp)
        }
        Some(Profile::CodePoints(_) | Profile::Measured(_)) => target == Encoding::Png,
        None => true,
    };
    if !is_carried {
        picture = picture.into_srgb();
    }
    match target {
        Encoding::Jpeg => {
            let picture = picture.flattened();
            let profile = picture.profile.as_ref().and_then(|profile| profile.icc_for(picture.colour));
            jpeg::encode::encode(&picture, quality, profile)
        }
        Encoding::Png => png(picture),
        Encoding::Webp => webp(&picture, quality),
    }
}

fn png(picture: PixelBuffer) -> Result<Vec<u8>, TransformError> {
    let mut info = png::Info::with_size(picture.width, picture.height);
    info.bit_depth = png::BitDepth::Eight;
    info.color_type = match picture.colour {
        Colour::Grey => png::ColorType::Grayscale,
        Colour::GreyAlpha => png::ColorType::GrayscaleAlpha,
        Colour::Rgb | Colour::Rgbx => png::ColorType::Rgb,
        Colour::Rgba => png::ColorType::Rgba,
    };
    let mut code_points = None;
    match picture.profile {
        Some(Profile::Icc(profile)) => info.icc_profile = Some(profile.into()),
        Some(Profile::Measured(measured)) => {
            info.source_gamma = measured.gamma.map(png::ScaledFloat::from_scaled);
            info.source_chromaticities = measured.chromaticities.map(chromaticities);
        }
        Some(Profile::CodePoints(points)) => code_points = Some(points),
        None => {}
    }
    let mut bytes = Vec::new();
    let write = || {
        let mut encoder = png::Encoder::with_info(&mut bytes, info)?;
        encoder.set_deflate_compression(png::DeflateCompression::Level(PNG_LEVEL));
        encoder.set_filter(png::Filter::Adaptive);
        let mut writer = encoder.write_header()?;
        if let Some(points) = code_points {
            writer.write_chunk(png::chunk::cICP, &points)?;
        }
        writer.write_image_data(&picture.data)?;
        writer.finish()
    };
    write().map_err(TransformError::internal)?;
    Ok(bytes)
}

fn chromaticities(numbers: [u32; 8]) -> png::SourceChromaticities {
    let [white, red, green, blue] = [0, 2, 4, 6].map(|at| {
        let scaled = |at: usize| png::ScaledFloat::from_scaled(numbers[at]);
        (scaled(at), scaled(at + 1))
    });
    png::SourceChromaticities { white, red, green, blue }
}

fn webp(picture: &PixelBuffer, quality: u8) -> Result<Vec<u8>, TransformError> {
    /// Width and height have 14 bits (RFC 9649, section 2.7).
    const MAX_SIDE_PIXELS: u32 = 16_383;
    let (width, height) = (picture.width, picture.height);
    if width > MAX_SIDE_PIXELS || height > MAX_SIDE_PIXELS {
        return Err(TransformError::Unsupported(format!("WebP holds no {} pixels in a row", width.max(height))));
    }
    // WebP has no grey.
    let pixels = match picture.colour {
        Colour::Grey => Cow::Owned(picture.data.iter().flat_map(|grey| [*grey; 3]).collect::<Vec<_>>()),
        Colour::GreyAlpha => {
            let (pixels, _) = picture.data.as_chunks();
            Cow::Owned(pixels.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect())
        }
        Colour::Rgb | Colour::Rgbx | Colour::Rgba => Cow::Borrowed(&*picture.data),
    };
    let profile = picture.profile.as_ref().and_then(|profile| profile.icc_for(picture.colour));
    let encoder = if picture.colour.has_alpha() {
        webp::Encoder::from_rgba(&pixels, width, height)
    } else {
        webp::Encoder::from_rgb(&pixels, width, height)
    };
    let mut config =
        webp::WebPConfig::new().map_err(|()| TransformError::Internal("another version of libwebp".to_owned()))?;
    config.quality = f32::from(quality);
    config.method = WEBP_METHOD;
    let file =
        encoder.encode_advanced(&config).map_err(|error| TransformError::Internal(format!("WebP: {error:?}")))?;
    Ok(match profile {
        Some(profile) => with_profile(&file, (width, height), profile),
        None => file.to_vec(),
    })
}

/// Adds a colour profile to a WebP file (RFC 9649, section 2.7); the encoder cannot.
fn with_profile(file: &[u8], (width, height): (u32, u32), profile: &[u8]) -> Vec<u8> {
    const ICC_FLAG: u8 = 0x20;
    let chunks = file.get(12..).unwrap_or_default();
    let mut head = [0; 10];
    let mut rest = chunks;
    if let Some(extended) = chunks.strip_prefix(b"VP8X\x0A\0\0\0").and_then(|chunk| chunk.split_at_checked(10)) {
        head.copy_from_slice(extended.0);
        rest = extended.1;
    } else {
        head[4..7].copy_from_slice(&(width - 1).to_le_bytes()[..3]);
        head[7..10].copy_from_slice(&(height - 1).to_le_bytes()[..3]);
    }
    head[0] |= ICC_FLAG;
    let padding = &[0][..profile.len() % 2];
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let body = [b"WEBPVP8X\x0A\0\0\0", &head[..], b"ICCP", &length(profile), profile, padding, rest].concat();
    [b"RIFF", &length(&body)[..], &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(colour: Colour, data: &[u8], profile: Option<Profile>) -> PixelBuffer {
        let width = u32::try_from(data.len() / colour.channels()).expect("a width");
        PixelBuffer { width, height: 1, colour, data: data.to_vec(), profile }
    }

    #[test]
    fn every_colour_can_be_written_in_every_format() {
        for (target, format) in [
            (Encoding::Jpeg, image::ImageFormat::Jpeg),
            (Encoding::Png, image::ImageFormat::Png),
            (Encoding::Webp, image::ImageFormat::WebP),
        ] {
            for (colour, data) in [
                (Colour::Grey, &[9, 200, 9][..]),
                (Colour::GreyAlpha, &[9, 255, 200, 0]),
                (Colour::Rgb, &[9, 200, 9, 0, 0, 0]),
                (Colour::Rgba, &[9, 200, 9, 255, 1, 2, 3, 4]),
            ] {
                let picture = picture(colour, data, None);
                let width = picture.width;
                let bytes = encode(picture, target, 90).expect("written");
                assert_eq!(image::guess_format(&bytes).ok(), Some(format), "{colour:?}");
                let read = image::load_from_memory(&bytes).expect("a sound image");
                assert_eq!((read.width(), read.height()), (width, 1), "{target:?} {colour:?}");
            }
        }
    }

    #[test]
    fn a_colour_profile_is_kept_where_it_is_for_these_channels() {
        let mut profile = vec![7; 200];
        profile[16..20].copy_from_slice(b"RGB ");
        let holds = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        for (target, name) in
            [(Encoding::Jpeg, &b"ICC_PROFILE"[..]), (Encoding::Png, b"iCCP"), (Encoding::Webp, b"ICCP")]
        {
            let colours = picture(Colour::Rgb, &[1, 2, 3], Some(Profile::Icc(profile.clone())));
            assert!(holds(&encode(colours, target, 90).expect("written"), name), "{target:?}");
            let grey = picture(Colour::Grey, &[1], Some(Profile::Icc(profile.clone())));
            assert!(!holds(&encode(grey, target, 90).expect("written"), name), "{target:?}");
        }
    }
}
