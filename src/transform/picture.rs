//! Pixels: as a decoder leaves them ([`Decoded`]), and as an encoder takes them ([`Picture`]).

/// What the values of a pixel mean. Always eight bits each.
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
    /// Brightness and two differences of colour, each in a plane of its own (ITU-T T.871, section 7).
    YCbCr,
}

impl Colour {
    /// Values next to each other in one plane.
    #[must_use]
    pub const fn channels(self) -> usize {
        match self {
            Self::Grey | Self::YCbCr => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Whether a pixel may be transparent.
    #[must_use]
    pub const fn has_alpha(self) -> bool {
        matches!(self, Self::GreyAlpha | Self::Rgba)
    }
}

/// A plane of a decoded picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// How many of its pixels the picture spreads over, in each direction: at the right and below, the last ones may be
    /// covered in part.
    pub covered: (f64, f64),
    /// The values, line by line.
    pub data: Vec<u8>,
}

impl Plane {
    /// An empty plane for so many pixels of one value each, which come line by line.
    #[must_use]
    pub fn with_room(covered: (f64, f64)) -> Self {
        let whole = |size: f64| size.ceil() as u32;
        let (width, height) = (whole(covered.0), whole(covered.1));
        Self { width, height, covered, data: Vec::with_capacity(width as usize * height as usize) }
    }

    /// The next line; what is beyond the width is left out.
    pub fn push(&mut self, line: &[u8]) {
        self.data.extend_from_slice(line.get(..self.width as usize).unwrap_or(line));
    }
}

/// A picture as it was decoded: not upright yet, perhaps smaller than it is, its planes perhaps of different sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// What the values mean.
    pub colour: Colour,
    /// Three of [`Colour::YCbCr`], one of all others.
    pub planes: Vec<Plane>,
    /// The colour profile that came with it (ICC.1).
    pub profile: Option<Vec<u8>>,
}

impl Decoded {
    /// A picture of one plane, at full size.
    #[must_use]
    pub fn whole(width: u32, height: u32, colour: Colour, data: Vec<u8>) -> Self {
        let covered = (f64::from(width), f64::from(height));
        Self { colour, planes: vec![Plane { width, height, covered, data }], profile: None }
    }
}

/// A picture that is ready to be encoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Pixels in a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// What the values mean.
    pub colour: Colour,
    /// Three of [`Colour::YCbCr`], one of all others, all of the same size.
    pub planes: Vec<Vec<u8>>,
    /// The colour profile (ICC.1).
    pub profile: Option<Vec<u8>>,
}

impl Picture {
    /// The picture turned and mirrored for display as its orientation asks for (Exif 2.32, tag 0x0112).
    #[must_use]
    pub fn upright(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let (width, height) = if orientation >= 5 { (self.height, self.width) } else { (self.width, self.height) };
        let turn = |plane: &Vec<u8>| match self.colour.channels() {
            1 => upright::<1>(plane, self.width, self.height, orientation),
            2 => upright::<2>(plane, self.width, self.height, orientation),
            3 => upright::<3>(plane, self.width, self.height, orientation),
            _ => upright::<4>(plane, self.width, self.height, orientation),
        };
        Self { width, height, planes: self.planes.iter().map(turn).collect(), ..self }
    }

    /// The picture in the middle of a larger one, with a border in white that is transparent where pixels can be.
    #[must_use]
    pub fn framed(self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(self.width), height.max(self.height));
        let (left, top) = ((width - self.width) / 2, (height - self.height) / 2);
        let frame = |(index, plane): (usize, &Vec<u8>)| {
            let white: &[u8] = match self.colour {
                Colour::Grey => &[255],
                Colour::GreyAlpha => &[255, 0],
                Colour::Rgb => &[255; 3],
                Colour::Rgba => &[255, 255, 255, 0],
                Colour::YCbCr if index == 0 => &[255],
                Colour::YCbCr => &[128],
            };
            let mut framed = white.repeat(width as usize * height as usize);
            let stride = width as usize * white.len();
            let from = left as usize * white.len();
            let lines = framed.chunks_exact_mut(stride).skip(top as usize);
            for (framed, line) in lines.zip(plane.chunks_exact(self.width as usize * white.len())) {
                framed[from..from + line.len()].copy_from_slice(line);
            }
            framed
        };
        let planes = self.planes.iter().enumerate().map(frame).collect();
        Self { width, height, planes, ..self }
    }

    /// The picture without transparency: what shows through is white.
    #[must_use]
    pub fn flattened(self) -> Self {
        let (colour, channels) = match self.colour {
            Colour::GreyAlpha => (Colour::Grey, 2),
            Colour::Rgba => (Colour::Rgb, 4),
            Colour::Grey | Colour::Rgb | Colour::YCbCr => return self,
        };
        let flat = |plane: &Vec<u8>| {
            let mut flat = Vec::with_capacity(plane.len() / channels * (channels - 1));
            for pixel in plane.chunks_exact(channels) {
                let [values @ .., alpha] = pixel else { continue };
                let alpha = u32::from(*alpha);
                let over = |value: &u8| ((u32::from(*value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
                flat.extend(values.iter().map(over));
            }
            flat
        };
        Self { colour, planes: self.planes.iter().map(flat).collect(), ..self }
    }

    /// The picture in one plane: brightness and differences of colour become red, green and blue.
    #[must_use]
    pub fn interleaved(self) -> Self {
        let [brightness, blue, red] = &*self.planes else { return self };
        let mut data = Vec::with_capacity(3 * brightness.len());
        for ((y, cb), cr) in brightness.iter().zip(blue).zip(red) {
            data.extend(rgb(*y, *cb, *cr));
        }
        Self { colour: Colour::Rgb, planes: vec![data], ..self }
    }
}

/// Of sixteen bits of a fraction, as T.871 has the factors in section 7.
fn rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let y = (i32::from(y) << 16) + (1 << 15);
    let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
    [y + 91_881 * cr, y - 22_554 * cb - 46_802 * cr, y + 116_130 * cb].map(|value| (value >> 16).clamp(0, 255) as u8)
}

/// One plane of pixels of `N` bytes.
fn upright<const N: usize>(plane: &[u8], width: u32, height: u32, orientation: u8) -> Vec<u8> {
    let (width, height) = (width as usize, height as usize);
    let (pixels, _) = plane.as_chunks::<N>();
    let (columns, rows) = if orientation >= 5 { (height, width) } else { (width, height) };
    let mut turned = Vec::with_capacity(plane.len());
    for row in 0..rows {
        for column in 0..columns {
            // Where the pixel is stored that is displayed here.
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

    fn picture(width: u32, height: u32, colour: Colour, data: &[u8]) -> Picture {
        Picture { width, height, colour, planes: vec![data.to_vec()], profile: None }
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
            assert_eq!(upright.planes, [pixels.to_vec()], "{orientation}");
        }
    }

    #[test]
    fn pixels_of_several_bytes_are_turned_as_a_whole() {
        let stored = picture(2, 1, Colour::Rgba, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(stored.clone().upright(2).planes, [[5, 6, 7, 8, 1, 2, 3, 4]]);
        let turned = stored.upright(6);
        assert_eq!((turned.width, turned.height, &*turned.planes[0]), (1, 2, &[1, 2, 3, 4, 5, 6, 7, 8][..]));
    }

    #[test]
    fn a_border_is_white_or_transparent_and_as_wide_on_both_sides() {
        let framed = picture(1, 1, Colour::Grey, &[7]).framed(3, 2);
        assert_eq!((framed.width, framed.height), (3, 2));
        assert_eq!(framed.planes, [[255, 7, 255, 255, 255, 255]]);
        assert_eq!(picture(1, 1, Colour::GreyAlpha, &[7, 9]).framed(2, 1).planes, [[7, 9, 255, 0]]);
        let mut planes = picture(1, 1, Colour::YCbCr, &[7]);
        planes.planes = vec![vec![7], vec![8], vec![9]];
        assert_eq!(planes.framed(2, 1).planes, [[7, 255], [8, 128], [9, 128]]);
    }

    #[test]
    fn transparency_shows_white() {
        let flat = picture(3, 1, Colour::Rgba, &[9, 8, 7, 255, 9, 8, 7, 0, 0, 100, 200, 128]).flattened();
        assert_eq!((flat.colour, &*flat.planes[0]), (Colour::Rgb, &[9, 8, 7, 255, 255, 255, 127, 177, 227][..]));
        let flat = picture(1, 1, Colour::GreyAlpha, &[0, 51]).flattened();
        assert_eq!((flat.colour, &*flat.planes[0]), (Colour::Grey, &[204][..]));
    }

    #[test]
    fn brightness_and_differences_become_colours() {
        let table = [
            ([255, 128, 128], [255, 255, 255]),
            ([0, 128, 128], [0, 0, 0]),
            ([76, 85, 255], [254, 0, 0]),
            ([150, 44, 21], [0, 255, 1]),
            ([29, 255, 107], [0, 0, 254]),
        ];
        for ([y, cb, cr], expected) in table {
            assert_eq!(rgb(y, cb, cr), expected);
        }
    }
}
