//! Opacity that does not mean what it says.

use std::io::Cursor;

use image::ColorType;
use tiff::tags::Tag;

use super::pixel_buffer::{Colour, PixelBuffer};
use crate::record::Format;

/// What the opacity of decoded pixels means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opacity {
    /// What it says.
    AsStated,
    /// Colours are multiplied by it.
    Associated,
    /// What it says, unless it is 0 everywhere: then there is none. Programs that know no opacity leave 0.
    NoneIfClear,
}

impl Opacity {
    /// For a file of this format. GIF and others may well hold a picture of which nothing is seen.
    pub fn of(bytes: &[u8], format: Format) -> Self {
        match format {
            Format::Tiff if is_associated(bytes) => Self::Associated,
            Format::Bmp => Self::NoneIfClear,
            _ => Self::AsStated,
        }
    }
}

/// Whether the colours of a TIFF are multiplied by their opacity (TIFF 6.0, `ExtraSamples` 1).
fn is_associated(tiff: &[u8]) -> bool {
    const ASSOCIATED: u16 = 1;
    let decoder = tiff::decoder::Decoder::new(Cursor::new(tiff));
    let samples = decoder.and_then(|mut decoder| decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples));
    matches!(samples, Ok(Some(samples)) if samples.first() == Some(&ASSOCIATED))
}

/// Divides colours by their opacity, and cuts off what is brighter than white. `data` is as the decoder gives it.
pub fn divide(data: &mut [u8], color_type: ColorType) {
    match color_type {
        ColorType::La8 => divide_bytes::<2>(data),
        ColorType::Rgba8 => divide_bytes::<4>(data),
        ColorType::La16 => divide_words::<2>(data),
        ColorType::Rgba16 => divide_words::<4>(data),
        ColorType::Rgba32F => divide_floats(data),
        _ => {}
    }
}

/// As Pillow and libvips do it, without rounding. Where nothing is seen, colours stay as they are.
fn divide_bytes<const CHANNELS: usize>(data: &mut [u8]) {
    for pixel in data.as_chunks_mut::<CHANNELS>().0 {
        let [colours @ .., alpha] = &mut pixel[..] else { continue };
        for colour in colours {
            if let Some(divided) = (u32::from(*colour) * 255).checked_div(u32::from(*alpha)) {
                *colour = u8::try_from(divided).unwrap_or(u8::MAX);
            }
        }
    }
}

fn divide_words<const CHANNELS: usize>(data: &mut [u8]) {
    let (values, _) = data.as_chunks_mut::<2>();
    for pixel in values.as_chunks_mut::<CHANNELS>().0 {
        let [colours @ .., alpha] = &mut pixel[..] else { continue };
        let alpha = u64::from(u16::from_ne_bytes(*alpha));
        for colour in colours {
            let full = u64::from(u16::from_ne_bytes(*colour)) * 65_535;
            if let Some(divided) = full.checked_div(alpha) {
                *colour = u16::try_from(divided).unwrap_or(u16::MAX).to_ne_bytes();
            }
        }
    }
}

fn divide_floats(data: &mut [u8]) {
    let (values, _) = data.as_chunks_mut::<4>();
    for [colours @ .., alpha] in values.as_chunks_mut::<4>().0 {
        let alpha = f32::from_ne_bytes(*alpha);
        if alpha > 0.0 {
            for colour in colours {
                *colour = (f32::from_ne_bytes(*colour) / alpha).to_ne_bytes();
            }
        }
    }
}

impl PixelBuffer {
    /// The picture, opaque if no pixel of it would be seen.
    #[must_use]
    pub fn opaque_if_clear(mut self) -> Self {
        if self.colour == Colour::Rgba && self.data.iter().skip(3).step_by(4).all(|alpha| *alpha == 0) {
            self.data.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = 255);
            self.colour = Colour::Rgbx;
        }
        self
    }

    /// The same picture without opacity if all of it is opaque, so that it is stored without.
    #[must_use]
    pub fn without_full_opacity(mut self) -> Self {
        if self.colour == Colour::Rgba && self.data.iter().skip(3).step_by(4).all(|alpha| *alpha == 255) {
            self.colour = Colour::Rgbx;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_divided_by_their_opacity() {
        // The values of Pillow 12 (`convert("RGBA")` of `RGBa`).
        let mut bytes = [32, 16, 32, 64, 9, 9, 9, 0, 200, 10, 0, 100, 7, 8, 9, 255];
        divide(&mut bytes, ColorType::Rgba8);
        assert_eq!(bytes, [127, 63, 127, 64, 9, 9, 9, 0, 255, 25, 0, 100, 7, 8, 9, 255]);
        let mut grey = [32, 64];
        divide(&mut grey, ColorType::La8);
        assert_eq!(grey, [127, 64]);
        let mut words = [8000_u16, 4000, 0, 16_000].map(u16::to_ne_bytes).concat();
        divide(&mut words, ColorType::Rgba16);
        assert_eq!(words, [32_767_u16, 16_383, 0, 16_000].map(u16::to_ne_bytes).concat());
        let mut floats = [0.25_f32, 0.125, 0.0, 0.5].map(f32::to_ne_bytes).concat();
        divide(&mut floats, ColorType::Rgba32F);
        assert_eq!(floats, [0.5_f32, 0.25, 0.0, 0.5].map(f32::to_ne_bytes).concat());
        let mut opaque = [32, 16, 32];
        divide(&mut opaque, ColorType::Rgb8);
        assert_eq!(opaque, [32, 16, 32]);
    }

    fn decoded(file: &[u8], format: Format) -> PixelBuffer {
        let limits = super::super::Limits::default();
        super::super::decode::open(file, format, &limits).and_then(|opened| opened.decode(None)).expect("a picture")
    }

    /// A TIFF of one pixel with four values of eight bits. `extra` says what the fourth is.
    fn tiff(pixel: [u8; 4], extra: u8) -> Vec<u8> {
        // Tag, type (3: 16 bits, 4: 32 bits), count, value.
        let entries: [(u16, u16, u32, u32); 10] = [
            (256, 3, 1, 1),
            (257, 3, 1, 1),
            (258, 3, 4, 12),
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, 8),
            (277, 3, 1, 4),
            (278, 3, 1, 1),
            (279, 4, 1, 4),
            (338, 3, 1, extra.into()),
        ];
        let mut bytes = b"II*\0\x14\0\0\0".to_vec();
        bytes.extend(pixel);
        bytes.extend([8, 0, 8, 0, 8, 0, 8, 0]);
        bytes.extend([10, 0]);
        for (tag, kind, count, value) in entries {
            bytes.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            bytes.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn associated_opacity_of_a_tiff_is_divided_out() {
        assert_eq!(decoded(&tiff([32, 16, 32, 64], 1), Format::Tiff).data, [127, 63, 127, 64]);
        assert_eq!(decoded(&tiff([32, 16, 32, 64], 2), Format::Tiff).data, [32, 16, 32, 64]);
        // Nothing of it is seen, and it says so.
        assert_eq!(decoded(&tiff([0; 4], 1), Format::Tiff).data, [0; 4]);
    }

    /// A BMP of 2 x 1 pixels with masks for all four values, with a header of `header` bytes.
    fn bmp(header: u8, pixels: [[u8; 4]; 2]) -> Vec<u8> {
        let mut bytes = b"BM".to_vec();
        bytes.extend([u32::from(header) + 14 + 8, 0, u32::from(header) + 14].map(u32::to_le_bytes).concat());
        bytes.extend([header, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 32, 0, 3, 0, 0, 0]);
        bytes.resize(14 + 40, 0);
        bytes.extend([0x00FF_0000_u32, 0xFF00, 0xFF, 0xFF00_0000].map(u32::to_le_bytes).concat());
        bytes.resize(14 + usize::from(header), 0);
        bytes.extend(pixels.concat());
        bytes
    }

    #[test]
    fn opacity_that_is_nowhere_is_none_in_a_bmp() {
        for header in [56, 108, 124] {
            let clear = decoded(&bmp(header, [[3, 2, 1, 0], [6, 5, 4, 0]]), Format::Bmp);
            assert_eq!((clear.colour, &*clear.data), (Colour::Rgbx, &[1, 2, 3, 255, 4, 5, 6, 255][..]), "{header}");
            let partly = decoded(&bmp(header, [[3, 2, 1, 0], [6, 5, 4, 9]]), Format::Bmp);
            assert_eq!((partly.colour, &*partly.data), (Colour::Rgba, &[1, 2, 3, 0, 4, 5, 6, 9][..]), "{header}");
            let opaque = decoded(&bmp(header, [[3, 2, 1, 255], [6, 5, 4, 255]]), Format::Bmp);
            assert_eq!(opaque.colour, Colour::Rgbx, "{header}");
        }
    }

    #[test]
    fn a_gif_of_which_nothing_is_seen_stays_so() {
        let gif = b"GIF89a\x02\0\x01\0\x80\0\0rgbRGB!\xF9\x04\x01\0\0\0\0,\0\0\0\0\x02\0\x01\0\0\x02\x02\x04\x0A\0;";
        let picture = decoded(gif, Format::Gif);
        assert_eq!((picture.colour, picture.data[3], picture.data[7]), (Colour::Rgba, 0, 0));
    }
}
