//! Decodes files to pixels, within limits.
//!
//! [`open`] reads a header and holds it to the [`Limits`] before anything large is allocated; [`OpenedImage::decode`]
//! gives the pixels of the first picture in the file.

use std::io::{Cursor, ErrorKind};

use image::codecs::{
    bmp::BmpDecoder, dds::DdsDecoder, gif::GifDecoder, hdr::HdrDecoder, ico::IcoDecoder, openexr::OpenExrDecoder,
    pnm::PnmDecoder, qoi::QoiDecoder, tga::TgaDecoder, tiff::TiffDecoder,
};
use image::error::{DecodingError, ImageError, ImageFormatHint, LimitErrorKind, ParameterErrorKind};
use image::{ColorType, ImageDecoder, ImageFormat, ImageResult};

use super::alpha::{self, Opacity};
use super::icon::Bitmap;
use super::jpeg::decode::{self as jpeg, OpenedJpeg};
#[cfg(feature = "jxl")]
use super::jxl::Jxl;
use super::pixel_buffer::{Colour, PixelBuffer};
use super::png::Png;
use super::profile::Profile;
use super::webp::Webp;
use super::{Limits, TransformError};
use crate::record::Format;

/// A file whose header has been read and is within the limits.
pub struct OpenedImage<'a> {
    /// Width in pixels, as stored.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    decoder: AnyDecoder<'a>,
    limits: Limits,
}

enum AnyDecoder<'a> {
    Jpeg(Box<OpenedJpeg<'a>>),
    Png(Box<Png<'a>>),
    Webp(Box<Webp<'a>>),
    #[cfg(feature = "jxl")]
    Jxl(Box<Jxl>),
    /// A bitmap in an icon.
    Icon(Box<Bitmap<'a>>),
    Other(Box<dyn ImageDecoder + 'a>, Opacity),
}

/// Reads the header of a file.
pub fn open<'a>(bytes: &'a [u8], format: Format, limits: &Limits) -> Result<OpenedImage<'a>, TransformError> {
    let (decoder, (width, height)) = match format {
        Format::Jpeg => {
            let opened = Box::new(jpeg::open(bytes)?);
            let size = opened.size();
            (AnyDecoder::Jpeg(opened), size)
        }
        Format::Png => {
            let png = Box::new(Png::open(bytes, limits)?);
            let size = (png.width, png.height);
            (AnyDecoder::Png(png), size)
        }
        Format::Webp => {
            let webp = Box::new(Webp::open(bytes)?);
            let size = (webp.width, webp.height);
            (AnyDecoder::Webp(webp), size)
        }
        #[cfg(feature = "jxl")]
        Format::Jxl => {
            let jxl = Box::new(Jxl::open(bytes, limits)?);
            let size = (jxl.width, jxl.height);
            (AnyDecoder::Jxl(jxl), size)
        }
        _ => {
            if let Some(bitmap) = icon_bitmap(bytes, format) {
                let size = decoder(&bitmap.icon, format)?.dimensions();
                (AnyDecoder::Icon(Box::new(bitmap)), size)
            } else {
                let decoder = decoder(bytes, format)?;
                let size = decoder.dimensions();
                (AnyDecoder::Other(decoder, Opacity::of(bytes, format)), size)
            }
        }
    };
    if width == 0 || height == 0 {
        return Err(TransformError::Corrupt(format!("a picture of {width} x {height} pixels")));
    }
    limits.check_size(width, height)?;
    Ok(OpenedImage { width, height, decoder, limits: *limits })
}

fn icon_bitmap(bytes: &[u8], format: Format) -> Option<Bitmap<'_>> {
    if format == Format::Ico { Bitmap::of(bytes) } else { None }
}

impl OpenedImage<'_> {
    /// Decodes the pixels. If they are to be scaled, the picture may be decoded at a smaller size, but not below
    /// `at_least`, its width and height in pixels.
    pub fn decode(self, at_least: Option<(u32, u32)>) -> Result<PixelBuffer, TransformError> {
        let limits = &self.limits;
        match self.decoder {
            AnyDecoder::Jpeg(opened) => opened.decode(at_least, limits),
            AnyDecoder::Png(png) => png.decode(limits),
            AnyDecoder::Webp(webp) => webp.decode(at_least, limits),
            #[cfg(feature = "jxl")]
            AnyDecoder::Jxl(jxl) => jxl.decode(limits),
            AnyDecoder::Icon(bitmap) => {
                let mut picture = other(decoder(&bitmap.icon, Format::Ico)?, limits, Opacity::AsStated)?;
                bitmap.apply_mask(&mut picture.data);
                Ok(picture)
            }
            AnyDecoder::Other(decoder, opacity) => other(decoder, limits, opacity),
        }
        .map(PixelBuffer::without_full_opacity)
    }
}

/// The decoder for any format but JPEG, PNG and WebP.
fn decoder(bytes: &[u8], format: Format) -> Result<Box<dyn ImageDecoder + '_>, TransformError> {
    fn boxed<'a, D: ImageDecoder + 'a>(decoder: ImageResult<D>) -> ImageResult<Box<dyn ImageDecoder + 'a>> {
        decoder.map(|decoder| Box::new(decoder) as _)
    }
    // Windows writes such bitmaps, though rarely; the decoder calls them corrupt.
    if format == Format::Bmp && bytes.get(14) != Some(&12) && bytes.get(28..30) == Some(&[64, 0]) {
        return Err(TransformError::Unsupported("bitmaps of 64 bits per pixel cannot be decoded here".to_owned()));
    }
    let bytes = Cursor::new(bytes);
    Ok(match format {
        Format::Gif => boxed(GifDecoder::new(bytes)),
        Format::Bmp => boxed(BmpDecoder::new(bytes)),
        Format::Tiff => boxed(TiffDecoder::new(bytes)),
        Format::Ico => boxed(IcoDecoder::new(bytes)),
        Format::Qoi => boxed(QoiDecoder::new(bytes)),
        Format::Pnm => boxed(PnmDecoder::new(bytes)),
        Format::Tga => boxed(TgaDecoder::new(bytes)),
        Format::Dds => boxed(DdsDecoder::new(bytes)),
        Format::Hdr => boxed(HdrDecoder::new(bytes)),
        Format::Exr => boxed(OpenExrDecoder::new(bytes)),
        raw if raw.is_raw() => {
            return Err(TransformError::Unsupported(format!("camera raw ({raw}) cannot be decoded here")));
        }
        _ => return Err(TransformError::Unsupported(format!("{format} cannot be decoded here"))),
    }?)
}

fn other(
    mut decoder: Box<dyn ImageDecoder + '_>,
    limits: &Limits,
    opacity: Opacity,
) -> Result<PixelBuffer, TransformError> {
    let (width, height) = decoder.dimensions();
    let color_type = decoder.color_type();
    let bytes = decoder.total_bytes();
    // Decoders need about as much again for themselves as for the result.
    limits.check_memory(bytes.saturating_mul(2))?;
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc = Some(limits.max_memory);
    decoder.set_limits(decoder_limits)?;
    // A broken colour profile is no reason to refuse the picture.
    let profile = decoder.icc_profile().ok().flatten().map(Profile::Icc);
    let mut data = vec![0; usize::try_from(bytes).map_err(TransformError::internal)?];
    decoder.read_image_boxed(&mut data)?;
    if opacity == Opacity::Associated {
        alpha::divide(&mut data, color_type);
    }
    let (colour, data) = match color_type {
        ColorType::L8 => (Colour::Grey, data),
        ColorType::La8 => (Colour::GreyAlpha, data),
        ColorType::Rgb8 => (Colour::Rgb, data),
        ColorType::Rgba8 => (Colour::Rgba, data),
        ColorType::L16 => (Colour::Grey, from_16(&data)),
        ColorType::La16 => (Colour::GreyAlpha, from_16(&data)),
        ColorType::Rgb16 => (Colour::Rgb, from_16(&data)),
        ColorType::Rgba16 => (Colour::Rgba, from_16(&data)),
        ColorType::Rgb32F => (Colour::Rgb, from_linear(&data, 3)),
        ColorType::Rgba32F => (Colour::Rgba, from_linear(&data, 4)),
        other => return Err(TransformError::Unsupported(format!("pixels of the kind {other:?}"))),
    };
    let picture = PixelBuffer { width, height, colour, data, profile };
    Ok(if opacity == Opacity::NoneIfClear { picture.opaque_if_clear() } else { picture })
}

/// Converts values of 16 bits to 8, rounded.
fn from_16(data: &[u8]) -> Vec<u8> {
    let (values, _) = data.as_chunks();
    let byte = |value: &[u8; 2]| (u32::from(u16::from_ne_bytes(*value)) * 255 + 32_767) / 65_535;
    values.iter().map(|value| u8::try_from(byte(value)).unwrap_or(u8::MAX)).collect()
}

/// Converts linear light to sRGB values (IEC 61966-2-1). Values above white become white. Opacity, the fourth of four
/// channels, stays linear.
fn from_linear(data: &[u8], channels: usize) -> Vec<u8> {
    let (values, _) = data.as_chunks();
    let byte = |(index, value): (usize, &[u8; 4])| {
        let light = f32::from_ne_bytes(*value).clamp(0.0, 1.0);
        let is_opacity = channels == 4 && index % 4 == 3;
        let encoded = match light {
            _ if is_opacity => light,
            ..=0.003_130_8 => 12.92 * light,
            _ => 1.055 * light.powf(1.0 / 2.4) - 0.055,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 255")]
        let byte = (encoded * 255.0).round() as u8;
        byte
    };
    values.iter().enumerate().map(byte).collect()
}

impl From<ImageError> for TransformError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::Unsupported { .. }) => {
                Self::Unsupported(limit.to_string())
            }
            ImageError::Limits(limit) => Self::TooLarge(limit.to_string()),
            ImageError::Unsupported(what) => Self::Unsupported(what.to_string()),
            // A DDS whose sides are no multiples of four is valid, but its decoder refuses it.
            ImageError::Parameter(what) if matches!(what.kind(), ParameterErrorKind::DimensionMismatch) => {
                Self::Unsupported(what.to_string())
            }
            ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Self::Corrupt("it ends too soon".to_owned())
            }
            ImageError::Decoding(what) if is_unsupported_exr(&what) => Self::Unsupported(what.to_string()),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Whether an `OpenEXR` may be intact: image 0.25.10 passes on as text what exr does not do (deep data, channels of
/// different sizes), and wants channels of the names R, G and B.
fn is_unsupported_exr(error: &DecodingError) -> bool {
    let text = error.to_string();
    let is_exr = error.format_hint() == ImageFormatHint::Exact(ImageFormat::OpenExr);
    is_exr && ["not supported: ", "does not contain non-deep rgb channels"].iter().any(|part| text.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_decoders_do_not_do_is_not_corrupt() {
        let sample = |name: &str| {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
            std::fs::read(path).expect("a sample")
        };
        // The channels get other names, in the list and nowhere else.
        let mut depth = sample("still.exr");
        let channels = depth.windows(6).position(|bytes| bytes == b"chlist").expect("channels");
        for name in [b"\0B\0", b"\0G\0", b"\0R\0"] {
            let at = depth[channels..].windows(3).position(|bytes| bytes == name).map_or(0, |at| channels + at);
            depth[at + 1] += 8;
        }
        let mut bitmap = sample("still.bmp");
        bitmap[28] = 64;
        let mut jpeg_in_bitmap = sample("still.bmp");
        jpeg_in_bitmap[30] = 4;
        let pam = b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nTUPLTYPE SPECTRUM\nENDHDR\n12345".to_vec();
        let fax = {
            let mut file = sample("turned.tiff");
            // Compression (259), with the high byte first.
            let at = file.windows(8).position(|entry| entry == b"\x01\x03\0\x03\0\0\0\x01").expect("its tag");
            file[at + 8..at + 10].copy_from_slice(&34_661_u16.to_be_bytes());
            file
        };
        let files: [(Format, Vec<u8>); 8] = [
            (Format::Exr, depth),
            (Format::Bmp, bitmap),
            (Format::Bmp, jpeg_in_bitmap),
            (Format::Pnm, pam),
            (Format::Tiff, fax),
            (Format::Hdr, b"#?RADIANCE\nFORMAT=32-bit_rle_xyze\n\n-Y 1 +X 1\n1234".to_vec()),
            (Format::Psd, sample("still.psd")),
            (Format::Dng, sample("turned.tiff")),
        ];
        for (format, file) in files {
            let opened = open(&file, format, &Limits::default()).and_then(|opened| opened.decode(None)).map(|_| ());
            assert!(matches!(opened, Err(TransformError::Unsupported(_))), "{format}: {opened:?}");
        }
    }

    #[test]
    fn a_dds_whose_sides_are_no_multiples_of_four_is_not_corrupt() {
        let field = |number: u32| number.to_le_bytes();
        // Length and flags of the header, height, width; flags and format of the pixels further behind (DDS_HEADER).
        let head = [124, 0x1007, 5, 6].map(field).concat();
        let mut dds = [b"DDS ".as_slice(), &head, &[0; 56], &field(32), &field(4), b"DXT1"].concat();
        dds.resize(128 + 4 * 8, 0);
        let opened = open(&dds, Format::Dds, &Limits::default()).map(|_| ());
        assert!(matches!(opened, Err(TransformError::Unsupported(_))), "{opened:?}");
        dds[12] = 8;
        dds[16] = 8;
        assert!(open(&dds, Format::Dds, &Limits::default()).and_then(|opened| opened.decode(None)).is_ok());
    }

    #[test]
    fn values_of_other_depths_become_eight_bits() {
        let values = [0_u16, 128, 129, 32_768, 65_535].map(u16::to_ne_bytes).concat();
        assert_eq!(from_16(&values), [0, 0, 1, 128, 255]);
        let light = [0.0_f32, 0.215, 1.0, 0.5, 7.0, -1.0, f32::NAN, 0.0].map(f32::to_ne_bytes).concat();
        assert_eq!(from_linear(&light, 4)[..6], [0, 128, 255, 128, 255, 0]);
    }
}
