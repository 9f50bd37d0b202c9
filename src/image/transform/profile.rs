//! What a file says about its colours, and the conversion to sRGB where a format cannot say it.

use moxcms::{
    Chromaticity, CicpColorPrimaries, CicpProfile, ColorPrimaries, ColorProfile, DataColorSpace, Layout,
    MatrixCoefficients, RenderingIntent, ToneReprCurve, TransferCharacteristics, TransformOptions,
};

use super::pixel_buffer::{Colour, PixelBuffer};

/// Fixed point is off by several values in dark tones.
fn options() -> TransformOptions {
    let rendering_intent = RenderingIntent::RelativeColorimetric;
    TransformOptions { rendering_intent, prefer_fixed_point: false, ..TransformOptions::default() }
}

/// What a file says about its colours. Without it they are sRGB.
#[derive(Clone, Debug, PartialEq)]
pub enum Profile {
    /// A colour profile (ICC.1).
    Icc(Vec<u8>),
    /// Code points for primaries, transfer function, matrix and range (ITU-T H.273; `cICP` in PNG).
    CodePoints([u8; 4]),
    /// `gAMA` and `cHRM` of PNG.
    Measured(Measured),
}

/// Gamma and chromaticities as PNG states them, times 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Exponent by which stored values follow from light; that of sRGB if absent.
    pub gamma: Option<u32>,
    /// x and y of white, red, green and blue; those of sRGB if absent.
    pub chromaticities: Option<[u32; 8]>,
}

impl Measured {
    /// The gamma that stands for the curve of sRGB.
    const SRGB_GAMMA: u32 = 45_455;
    const SRGB_CHROMATICITIES: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];

    /// Whether it describes sRGB. Writers round.
    fn is_srgb(&self) -> bool {
        const ROUNDING: u32 = 500;
        let is_near = |one: u32, other: u32| one.abs_diff(other) <= ROUNDING;
        self.gamma.is_none_or(|gamma| is_near(gamma, Self::SRGB_GAMMA))
            && self.chromaticities.is_none_or(|chromaticities| {
                chromaticities.iter().zip(Self::SRGB_CHROMATICITIES).all(|(one, other)| is_near(*one, other))
            })
    }

    fn profile(&self) -> ColorProfile {
        let mut profile = ColorProfile::new_srgb();
        if let Some([white_x, white_y, rest @ ..]) = self.chromaticities {
            #[expect(clippy::cast_precision_loss, reason = "six digits")]
            let point = |x: u32, y: u32| Chromaticity::new(x as f32 / 100_000.0, y as f32 / 100_000.0);
            let [red, green, blue] = [0, 2, 4].map(|at| point(rest[at], rest[at + 1]));
            profile.update_rgb_colorimetry(point(white_x, white_y).to_xyyb(), ColorPrimaries { red, green, blue });
        }
        if let Some(gamma) = self.gamma.filter(|gamma| gamma.abs_diff(Self::SRGB_GAMMA) > 500) {
            #[expect(clippy::cast_precision_loss, reason = "six digits")]
            let curve = ToneReprCurve::Parametric(vec![100_000.0 / gamma as f32]);
            profile.cicp = None;
            profile.red_trc = Some(curve.clone());
            profile.green_trc = Some(curve.clone());
            profile.blue_trc = Some(curve);
        }
        profile
    }
}

impl Profile {
    /// The ICC profile, if it is one for these channels (ICC.1, section 7.2.6). The profile of a decoded CMYK picture is
    /// not.
    #[must_use]
    pub fn icc_for(&self, colour: Colour) -> Option<&[u8]> {
        let space: &[u8] = if colour.is_grey() { b"GRAY" } else { b"RGB " };
        match self {
            Self::Icc(profile) => Some(&**profile).filter(|profile| profile.get(16..20) == Some(space)),
            _ => None,
        }
    }

    /// Whether it says sRGB, as far as that can be seen without computing.
    fn is_srgb(&self) -> bool {
        match self {
            Self::Icc(_) => false,
            // BT.709 primaries with the curve of sRGB.
            Self::CodePoints(points) => points[..2] == [1, 13],
            Self::Measured(measured) => measured.is_srgb(),
        }
    }

    /// The source of a conversion to sRGB, and whether it is a grey one.
    fn source(&self, colour: Colour) -> Option<ColorProfile> {
        match self {
            Self::Icc(_) => ColorProfile::new_from_slice(self.icc_for(colour)?).ok(),
            Self::CodePoints([primaries, transfer, ..]) => {
                let profile = ColorProfile::new_from_cicp(CicpProfile {
                    color_primaries: CicpColorPrimaries::try_from(*primaries).ok()?,
                    transfer_characteristics: TransferCharacteristics::try_from(*transfer).ok()?,
                    matrix_coefficients: MatrixCoefficients::Identity,
                    full_range: true,
                });
                profile.red_trc.is_some().then_some(profile)
            }
            Self::Measured(measured) => Some(measured.profile()),
        }
    }
}

impl PixelBuffer {
    /// The picture in sRGB, without a profile. A profile that cannot be used is dropped, as browsers do.
    #[must_use]
    pub fn into_srgb(mut self) -> Self {
        if let Some(profile) = self.profile.take().filter(|profile| !profile.is_srgb())
            && let Some(source) = profile.source(self.colour)
        {
            // An error leaves the values as they are.
            let _ = if self.colour.is_grey() { self.convert_grey(&source) } else { self.convert_colours(&source) };
        }
        self
    }

    /// Grey values go through a table.
    fn convert_grey(&mut self, source: &ColorProfile) -> Option<()> {
        let values = std::array::from_fn::<u8, 256, _>(|value| u8::try_from(value).unwrap_or(u8::MAX));
        let srgb = ColorProfile::new_srgb();
        let is_grey = source.color_space == DataColorSpace::Gray;
        let (layout, input) = if is_grey {
            (Layout::Gray, values.to_vec())
        } else {
            (Layout::Rgb, values.iter().flat_map(|value| [*value; 3]).collect())
        };
        let mut table = [0; 256 * 3];
        let transform = source.create_transform_8bit(layout, &srgb, Layout::Rgb, options()).ok()?;
        transform.transform(&input, &mut table).ok()?;
        for pixel in self.data.chunks_exact_mut(self.colour.channels()) {
            // The green of a neutral pixel.
            pixel[0] = table[usize::from(pixel[0]) * 3 + 1];
        }
        Some(())
    }

    fn convert_colours(&mut self, source: &ColorProfile) -> Option<()> {
        let srgb = ColorProfile::new_srgb();
        let layout = if self.colour.channels() == 4 { Layout::Rgba } else { Layout::Rgb };
        let transform = source.create_transform_8bit(layout, &srgb, layout, options()).ok()?;
        let row = self.width as usize * self.colour.channels();
        let mut converted = vec![0; row];
        for values in self.data.chunks_exact_mut(row) {
            transform.transform(values, &mut converted).ok()?;
            values.copy_from_slice(&converted);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, encode};
    use super::*;

    /// A grey profile (ICC.1) whose curve has this exponent.
    fn grey_icc(gamma: f64) -> Vec<u8> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small number")]
        let exponent = ((gamma * 256.0).round() as u16).to_be_bytes();
        let white = [b"XYZ \0\0\0\0".as_slice(), &[0, 0, 0xF6, 0xD6, 0, 1, 0, 0, 0, 0, 0xD3, 0x2D]].concat();
        let curve = [b"curv\0\0\0\0\0\0\0\x01".as_slice(), &exponent, &[0, 0]].concat();
        let number = |number: usize| u32::try_from(number).expect("a length").to_be_bytes();
        let first = 128 + 4 + 2 * 12;
        let tags = [
            &number(2)[..],
            b"wtpt",
            &number(first),
            &number(white.len()),
            b"kTRC",
            &number(first + white.len()),
            &number(curve.len()),
        ];
        let body = [&tags.concat()[..], &white, &curve].concat();
        let mut header = vec![0; 128];
        header[..4].copy_from_slice(&number(128 + body.len()));
        header[8..24].copy_from_slice(b"\x02\x10\0\0mntrGRAYXYZ ");
        header[36..40].copy_from_slice(b"acsp");
        header[68..80].copy_from_slice(&white[8..]);
        [header, body].concat()
    }

    fn picture(colour: Colour, data: &[u8], profile: Profile) -> PixelBuffer {
        let width = u32::try_from(data.len() / colour.channels()).expect("a width");
        PixelBuffer { width, height: 1, colour, data: data.to_vec(), profile: Some(profile) }
    }

    #[track_caller]
    fn assert_near(found: &[u8], expected: &[u8]) {
        let is_near = found.len() == expected.len()
            && found.iter().zip(expected).all(|(found, expected)| found.abs_diff(*expected) <= 1);
        assert!(is_near, "{found:?}, not {expected:?}");
    }

    const COLOURS: [u8; 12] = [200, 100, 50, 30, 60, 90, 128, 128, 128, 10, 200, 120];
    const ADOBE: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000];

    /// By the formulas of IEC 61966-2-1 in `NumPy`.
    #[test]
    fn colours_are_converted_to_srgb() {
        let measured = |gamma, chromaticities| Profile::Measured(Measured { gamma, chromaticities });
        let table = [
            (measured(Some(100_000), None), [229, 168, 122, 96, 133, 160, 188, 188, 188, 56, 229, 182]),
            // About that of sRGB, which it stands for.
            (measured(Some(45_454), Some(ADOBE)), [226, 100, 46, 1, 60, 91, 128, 128, 128, 0, 200, 115]),
            (measured(Some(55_556), Some(ADOBE)), [235, 119, 62, 1, 77, 110, 146, 146, 146, 0, 210, 135]),
            // Display P3.
            (Profile::CodePoints([12, 13, 0, 1]), [215, 93, 31, 17, 61, 93, 128, 128, 128, 0, 204, 112]),
            (Profile::CodePoints([1, 13, 0, 1]), COLOURS),
            (measured(Some(45_455), None), COLOURS),
            (measured(None, Some(Measured::SRGB_CHROMATICITIES)), COLOURS),
            (Profile::Icc(b"none".to_vec()), COLOURS),
            (Profile::CodePoints([77, 88, 0, 1]), COLOURS),
        ];
        for (profile, expected) in table {
            let shown = picture(Colour::Rgb, &COLOURS, profile.clone()).into_srgb();
            assert_near(&shown.data, &expected);
            assert_eq!(shown.profile, None);
            // Opacity stays.
            let wide = COLOURS.as_chunks::<3>().0.iter().flat_map(|&[red, green, blue]| [red, green, blue, 77]);
            let shown = picture(Colour::Rgba, &wide.collect::<Vec<_>>(), profile).into_srgb().data;
            assert!(shown.iter().skip(3).step_by(4).all(|alpha| *alpha == 77));
            let narrow = shown.as_chunks::<4>().0.iter().flat_map(|[values @ .., _]| *values);
            assert_near(&narrow.collect::<Vec<_>>(), &expected);
        }
    }

    /// By Little CMS 2, as Pillow 12 calls it.
    #[test]
    fn tones_of_grey_are_converted_to_srgb() {
        let values = [0, 16, 32, 64, 100, 128, 200, 254, 255];
        for (gamma, expected) in [
            (1.0, [0, 71, 99, 137, 168, 188, 229, 255, 255]),
            (1.8, [0, 20, 43, 81, 119, 146, 210, 254, 255]),
            (2.2, [0, 7, 26, 62, 100, 129, 201, 254, 255]),
        ] {
            let shown = picture(Colour::Grey, &values, Profile::Icc(grey_icc(gamma))).into_srgb();
            assert_near(&shown.data, &expected);
            // 1 / 2.2 stands for the curve of sRGB.
            if gamma > 2.0 {
                continue;
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "six digits")]
            let measured = Measured { gamma: Some((100_000.0 / gamma) as u32), chromaticities: None };
            let shown = picture(Colour::GreyAlpha, &values.map(|grey| [grey, 9]).concat(), Profile::Measured(measured));
            assert_near(&shown.into_srgb().data, &expected.map(|grey| [grey, 9]).concat());
        }
    }

    #[test]
    fn what_a_format_can_say_is_kept_and_the_rest_converted() {
        let measured = Profile::Measured(Measured { gamma: Some(100_000), chromaticities: Some(ADOBE) });
        let holds = |bytes: &[u8], name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        let written = |colour, profile: &Profile, target| {
            let picture = picture(colour, &[128; 64 * 3][..64 * Colour::channels(colour)], profile.clone());
            let bytes = encode::encode(picture, target, 95).expect("written");
            let shown = image::load_from_memory(&bytes).expect("a picture").into_rgb8().get_pixel(9, 0)[1];
            (bytes, shown)
        };
        let (png, shown) = written(Colour::Rgb, &measured, Encoding::Png);
        assert!(holds(&png, b"gAMA\0\x01\x86\xA0") && holds(&png, b"cHRM\0\0\x7A\x26") && shown == 128);
        let (png, shown) = written(Colour::Rgb, &Profile::CodePoints([9, 16, 0, 1]), Encoding::Png);
        assert!(holds(&png, b"cICP\x09\x10\0\x01") && shown == 128);
        let grey = Profile::Icc(grey_icc(1.0));
        let (png, shown) = written(Colour::Grey, &grey, Encoding::Png);
        assert!(holds(&png, b"iCCP") && shown == 128);
        let (jpeg, shown) = written(Colour::Grey, &grey, Encoding::Jpeg);
        assert!(holds(&jpeg, b"ICC_PROFILE") && shown.abs_diff(128) < 3);
        for (colour, profile, target) in [
            (Colour::Grey, &grey, Encoding::Webp),
            (Colour::Grey, &measured, Encoding::Webp),
            (Colour::Grey, &measured, Encoding::Jpeg),
            (Colour::Rgb, &measured, Encoding::Webp),
            (Colour::Rgb, &measured, Encoding::Jpeg),
        ] {
            let (bytes, shown) = written(colour, profile, target);
            assert!(shown.abs_diff(188) < 3, "{colour:?} {target:?}: {shown}");
            assert!(!holds(&bytes, b"ICCP") && !holds(&bytes, b"ICC_PROFILE"), "{colour:?} {target:?}");
        }
    }
}
