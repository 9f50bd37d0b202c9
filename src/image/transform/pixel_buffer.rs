//! Decoded pixels, row by row, with eight bits per value.

use super::profile::Profile;

/// Channels of a pixel, eight bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Brightness.
    Grey,
    /// Brightness and opacity.
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, opacity.
    Rgba,
    /// Red, green, blue, and a value without meaning: pixels that need not be widened before they are scaled.
    Rgbx,
}

impl Colour {
    /// Number of values per pixel.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba | Self::Rgbx => 4,
        }
    }

    /// Whether pixels have no colour.
    #[must_use]
    pub const fn is_grey(self) -> bool {
        matches!(self, Self::Grey | Self::GreyAlpha)
    }

    /// Whether pixels have opacity.
    #[must_use]
    pub const fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// A decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelBuffer {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Channels of the pixels.
    pub colour: Colour,
    /// Values of the pixels, row by row.
    pub data: Vec<u8>,
    /// What the file says about its colours.
    pub profile: Option<Profile>,
}

impl PixelBuffer {
    /// The picture rotated and mirrored for display by its orientation (Exif 2.32, tag 0x0112).
    #[must_use]
    pub fn upright(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (width, height) = if orientation >= 5 { (self.height, self.width) } else { (self.width, self.height) };
        let data = match self.colour {
            Colour::Grey => upright::<1>(&self.data, self.width, self.height, orientation),
            Colour::GreyAlpha => upright::<2>(&self.data, self.width, self.height, orientation),
            Colour::Rgb => upright::<3>(&self.data, self.width, self.height, orientation),
            Colour::Rgba | Colour::Rgbx => upright::<4>(&self.data, self.width, self.height, orientation),
        };
        Self { width, height, data, ..self }
    }

    /// The picture centred in a larger one, with a white border, which is transparent if pixels have opacity.
    #[must_use]
    pub fn framed(self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(self.width), height.max(self.height));
        let (left, top) = ((width - self.width) / 2, (height - self.height) / 2);
        let white: &[u8] = match self.colour {
            Colour::Grey => &[255],
            Colour::GreyAlpha => &[255, 0],
            Colour::Rgb => &[255; 3],
            Colour::Rgbx => &[255; 4],
            Colour::Rgba => &[255, 255, 255, 0],
        };
        let mut data = white.repeat(width as usize * height as usize);
        let from = left as usize * white.len();
        let lines = data.chunks_exact_mut(width as usize * white.len()).skip(top as usize);
        for (framed, line) in lines.zip(self.data.chunks_exact(self.width as usize * white.len())) {
            framed[from..from + line.len()].copy_from_slice(line);
        }
        Self { width, height, data, ..self }
    }

    /// The picture without the values that have no meaning.
    #[must_use]
    pub fn narrowed(self) -> Self {
        if self.colour != Colour::Rgbx {
            return self;
        }
        let mut data = vec![0; self.data.len() / 4 * 3];
        for (narrow, [values @ .., _]) in data.as_chunks_mut::<3>().0.iter_mut().zip(self.data.as_chunks::<4>().0) {
            *narrow = *values;
        }
        Self { colour: Colour::Rgb, data, ..self }
    }

    /// The picture without opacity, composed over white.
    #[must_use]
    pub fn flattened(self) -> Self {
        let (colour, channels) = match self.colour {
            Colour::GreyAlpha => (Colour::Grey, 2),
            Colour::Rgba => (Colour::Rgb, 4),
            Colour::Rgbx => return self.narrowed(),
            Colour::Grey | Colour::Rgb => return self,
        };
        let mut data = Vec::with_capacity(self.data.len() / channels * (channels - 1));
        for pixel in self.data.chunks_exact(channels) {
            let [values @ .., alpha] = pixel else { continue };
            data.extend(values.iter().map(|value| over_white(*value, *alpha)));
        }
        Self { colour, data, ..self }
    }
}

/// A value of this opacity, composed over white.
#[must_use]
pub fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    u8::try_from((value * alpha + 255 * (255 - alpha) + 127) / 255).unwrap_or(u8::MAX)
}

/// Rotates and mirrors pixels of `N` bytes.
fn upright<const N: usize>(data: &[u8], width: u32, height: u32, orientation: u8) -> Vec<u8> {
    let (width, height) = (width as usize, height as usize);
    let (pixels, _) = data.as_chunks::<N>();
    let (columns, rows) = if orientation >= 5 { (height, width) } else { (width, height) };
    let mut turned = Vec::with_capacity(data.len());
    for row in 0..rows {
        for column in 0..columns {
            // Position in the stored picture of the pixel that is displayed here.
            let (x, y) = match orientation {
                2 => (width - 1 - column, row),
                3 => (width - 1 - column, height - 1 - row),
                4 => (column, height - 1 - row),
                5 => (row, column),
                6 => (row, height - 1 - column),
                7 => (width - 1 - row, height - 1 - column),
                8 => (width - 1 - row, column),
                _ => (column, row),
            };
            turned.extend_from_slice(&pixels[y * width + x]);
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32, colour: Colour, data: &[u8]) -> PixelBuffer {
        PixelBuffer { width, height, colour, data: data.to_vec(), profile: None }
    }

    #[test]
    fn every_orientation_puts_each_pixel_in_its_place() {
        // 1 2 3
        // 4 5 6
        let stored = picture(3, 2, Colour::Grey, &[1, 2, 3, 4, 5, 6]);
        let table: &[(u8, u32, &[u8])] = &[
            (0, 3, &[1, 2, 3, 4, 5, 6]),
            (1, 3, &[1, 2, 3, 4, 5, 6]),
            (2, 3, &[3, 2, 1, 6, 5, 4]),
            (3, 3, &[6, 5, 4, 3, 2, 1]),
            (4, 3, &[4, 5, 6, 1, 2, 3]),
            (5, 2, &[1, 4, 2, 5, 3, 6]),
            (6, 2, &[4, 1, 5, 2, 6, 3]),
            (7, 2, &[6, 3, 5, 2, 4, 1]),
            (8, 2, &[3, 6, 2, 5, 1, 4]),
            (9, 3, &[1, 2, 3, 4, 5, 6]),
        ];
        for (orientation, width, pixels) in table {
            let upright = stored.clone().upright(*orientation);
            assert_eq!((upright.width, upright.height), (*width, 6 / width), "{orientation}");
            assert_eq!(upright.data, *pixels, "{orientation}");
        }
    }

    #[test]
    fn pixels_of_several_bytes_are_turned_as_a_whole() {
        let stored = picture(2, 1, Colour::Rgba, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(stored.clone().upright(2).data, [5, 6, 7, 8, 1, 2, 3, 4]);
        let turned = stored.upright(6);
        assert_eq!((turned.width, turned.height, &*turned.data), (1, 2, &[1, 2, 3, 4, 5, 6, 7, 8][..]));
    }

    #[test]
    fn a_border_is_white_or_transparent_and_as_wide_on_both_sides() {
        let framed = picture(1, 1, Colour::Grey, &[7]).framed(3, 2);
        assert_eq!((framed.width, framed.height), (3, 2));
        assert_eq!(framed.data, [255, 7, 255, 255, 255, 255]);
        assert_eq!(picture(1, 1, Colour::GreyAlpha, &[7, 9]).framed(2, 1).data, [7, 9, 255, 0]);
    }

    #[test]
    fn transparency_shows_white() {
        let flat = picture(3, 1, Colour::Rgba, &[9, 8, 7, 255, 9, 8, 7, 0, 0, 100, 200, 128]).flattened();
        assert_eq!((flat.colour, &*flat.data), (Colour::Rgb, &[9, 8, 7, 255, 255, 255, 127, 177, 227][..]));
        let flat = picture(1, 1, Colour::GreyAlpha, &[0, 51]).flattened();
        assert_eq!((flat.colour, &*flat.data), (Colour::Grey, &[204][..]));
    }
}
