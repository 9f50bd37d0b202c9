//! Resizing: computes the size that a picture is scaled to, and scales it.

use std::cell::RefCell;
use std::f64::consts::PI;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use fast_image_resize as fir;
use fir::images::{TypedImage, TypedImageRef};
use fir::pixels::U8x4;
use fir::{Filter, FilterType, ResizeAlg, ResizeOptions};

use super::TransformError;
use super::pixel_buffer::{Colour, PixelBuffer};

/// A box that pictures are resized to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Width of the box in pixels.
    pub width: NonZeroU32,
    /// Height of the box in pixels.
    pub height: NonZeroU32,
    /// How a picture of another aspect ratio is fitted.
    pub mode: ResizeMode,
    /// Whether pictures that are smaller than the box may be enlarged.
    pub enlarge: bool,
}

/// How a picture is fitted into a box of another aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResizeMode {
    /// The whole picture, as large as fits into the box; one side may be shorter than that of the box. (img2dataset
    /// calls this `keep_ratio_largest`.)
    KeepRatio,
    /// The whole picture, as small as covers the box; one side may be longer than that of the box. (img2dataset calls
    /// this `keep_ratio`: the shorter side gets the size.)
    Shortest,
    /// The middle of the picture, as large as the box. A picture that is smaller on one side and may not be enlarged
    /// gets a white border there.
    CenterCrop,
    /// The whole picture, centred in the box, with a white border around it.
    Border,
}

impl ResizeMode {
    /// The name, as `--resize-mode` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeepRatio => "keep-ratio",
            Self::Shortest => "shortest",
            Self::CenterCrop => "center-crop",
            Self::Border => "border",
        }
    }
}

/// How one picture is cropped, scaled and framed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The middle part that is used: its width and height as fractions of those of the stored picture.
    pub used: (f64, f64),
    /// Width and height in pixels to which this part is scaled, before it is turned upright.
    pub size: (u32, u32),
    /// Outer width and height of the border in pixels, as displayed.
    pub frame: Option<(u32, u32)>,
    /// The picture would have to be enlarged to have the size that the mode gives to larger ones.
    pub is_smaller: bool,
}

impl Fit {
    /// For a picture stored in this size and displayed in this orientation (1 to 8).
    #[must_use]
    pub fn new((width, height): (u32, u32), orientation: u8, resize: Option<&Resize>) -> Self {
        let swap = |(a, b): (u32, u32)| if orientation >= 5 { (b, a) } else { (a, b) };
        let displayed = swap((width, height));
        let Some(resize) = resize else {
            return Self::whole((width, height));
        };
        let (displayed_width, displayed_height) = (f64::from(displayed.0), f64::from(displayed.1));
        let (box_width, box_height) = (f64::from(resize.width.get()), f64::from(resize.height.get()));
        let (horizontal, vertical) = (box_width / displayed_width, box_height / displayed_height);
        let full_scale = match resize.mode {
            ResizeMode::KeepRatio | ResizeMode::Border => horizontal.min(vertical),
            ResizeMode::Shortest | ResizeMode::CenterCrop => horizontal.max(vertical),
        };
        let scale = if resize.enlarge { full_scale } else { full_scale.min(1.0) };
        let scaled = (displayed_width * scale, displayed_height * scale);
        let (used, size) = if resize.mode == ResizeMode::CenterCrop {
            let fraction = |side: f64, scaled: f64| (side / scaled).min(1.0);
            (
                (fraction(box_width, scaled.0), fraction(box_height, scaled.1)),
                (scaled.0.min(box_width), scaled.1.min(box_height)),
            )
        } else {
            ((1.0, 1.0), scaled)
        };
        let size = (to_pixels(size.0), to_pixels(size.1));
        let used = if orientation >= 5 { (used.1, used.0) } else { used };
        let outside = (resize.width.get(), resize.height.get());
        let has_box = matches!(resize.mode, ResizeMode::CenterCrop | ResizeMode::Border);
        let frame = (has_box && size != outside).then_some(outside);
        Self { used, size: swap(size), frame, is_smaller: full_scale > 1.0 }
    }

    /// For the whole picture, scaled to this width and height in pixels.
    #[must_use]
    pub const fn whole(size: (u32, u32)) -> Self {
        Self { used: (1.0, 1.0), size, frame: None, is_smaller: false }
    }

    /// The least width and height in pixels at which a picture stored in this size may be decoded, if less than all of
    /// it: twice the size it is scaled to, of which nothing can be seen in the result.
    #[must_use]
    pub fn decoded_at_least(&self, stored: (u32, u32)) -> Option<(u32, u32)> {
        let twice = |size: u32, used: f64| to_pixels((2.0 * f64::from(size) / used).ceil());
        let least = (twice(self.size.0, self.used.0), twice(self.size.1, self.used.1));
        (least.0 < stored.0 && least.1 < stored.1).then_some(least)
    }

    /// Whether a picture stored in this size stays as it is.
    #[must_use]
    pub fn is_identity(&self, stored: (u32, u32)) -> bool {
        self.size == stored && self.used == (1.0, 1.0) && self.frame.is_none()
    }
}

/// Rounds to whole pixels, at least one.
fn to_pixels(size: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let size = size.round() as u32;
    size.max(1)
}

/// Scales the part of a picture that is used.
pub fn scale(picture: PixelBuffer, fit: &Fit) -> Result<PixelBuffer, TransformError> {
    if (picture.width, picture.height) == fit.size && fit.used == (1.0, 1.0) {
        return Ok(picture);
    }
    let (stored_width, stored_height) = (f64::from(picture.width), f64::from(picture.height));
    let (used_width, used_height) = (stored_width * fit.used.0, stored_height * fit.used.1);
    // `use_alpha` weights the values of a pixel by its opacity.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(lanczos()))
        .crop((stored_width - used_width) / 2.0, (stored_height - used_height) / 2.0, used_width, used_height)
        .use_alpha(picture.colour.has_alpha());
    let colour = picture.colour;
    let four = widened(picture);
    let from =
        TypedImageRef::<U8x4>::from_buffer(four.width, four.height, &four.data).map_err(TransformError::internal)?;
    let (width, height) = fit.size;
    let mut data = vec![0; width as usize * height as usize * 4];
    let mut to = TypedImage::<U8x4>::from_buffer(width, height, &mut data).map_err(TransformError::internal)?;
    RESIZER
        .with_borrow_mut(|resizer| resizer.resize_typed(&from, &mut to, &options))
        .map_err(TransformError::internal)?;
    let (colour, data) = narrowed(data, colour);
    Ok(PixelBuffer { width, height, data, colour, profile: four.profile })
}

thread_local! {
    /// The scaler of this thread, which keeps its buffers. Threads of the pool end when there is no work.
    static RESIZER: RefCell<fir::Resizer> = RefCell::new(fir::Resizer::new());
}

/// Lanczos (a = 3) by a table: the scaler computes its kernels anew for each picture, and sines take longer than the
/// rest of that.
fn lanczos() -> FilterType {
    static FILTER: LazyLock<FilterType> = LazyLock::new(|| {
        Filter::new("Lanczos3 by a table", tabulated_lanczos, LANCZOS_LOBES)
            .map_or(FilterType::Lanczos3, FilterType::Custom)
    });
    *FILTER
}

const LANCZOS_LOBES: f64 = 3.0;
/// Entries of the table per pixel. Between them it is interpolated, with an error below 10^-7.
const TABLE_STEPS: f64 = 4096.0;

fn tabulated_lanczos(distance: f64) -> f64 {
    static TABLE: LazyLock<Vec<f64>> = LazyLock::new(|| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let entries = (LANCZOS_LOBES * TABLE_STEPS) as u32 + 1;
        (0..entries).map(|entry| lanczos_at(f64::from(entry) / TABLE_STEPS)).collect()
    });
    let at = distance.abs() * TABLE_STEPS;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let index = at as usize;
    match TABLE.get(index..index + 2) {
        Some([before, after]) => before + (after - before) * at.fract(),
        _ => 0.0,
    }
}

fn lanczos_at(distance: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) };
    if distance < LANCZOS_LOBES { sinc(distance) * sinc(distance / LANCZOS_LOBES) } else { 0.0 }
}

/// The picture with four values per pixel, the missing ones filled up. The scaler is compiled anew for each number of
/// values, 20 s of processor time each, and is no slower with four of them than with three.
fn widened(picture: PixelBuffer) -> PixelBuffer {
    fn wide<const N: usize>(data: &[u8], widen: impl Fn(&[u8; N]) -> [u8; 4]) -> Vec<u8> {
        let (pixels, _) = data.as_chunks::<N>();
        let mut wide = vec![0; pixels.len() * 4];
        for (four, pixel) in wide.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
            *four = widen(pixel);
        }
        wide
    }
    let data = match picture.colour {
        Colour::Grey => wide(&picture.data, |&[grey]| [grey; 4]),
        Colour::GreyAlpha => wide(&picture.data, |&[grey, alpha]| [grey, grey, grey, alpha]),
        Colour::Rgb => wide(&picture.data, |&[red, green, blue]| [red, green, blue, 255]),
        Colour::Rgba | Colour::Rgbx => return picture,
    };
    PixelBuffer { colour: Colour::Rgba, data, ..picture }
}

/// Of scaled pixels with four values those that `colour` has, but for colours, which stay wide.
fn narrowed(data: Vec<u8>, colour: Colour) -> (Colour, Vec<u8>) {
    let (pixels, _) = data.as_chunks();
    match colour {
        Colour::Grey => (colour, pixels.iter().map(|&[grey, ..]: &[u8; 4]| grey).collect()),
        Colour::GreyAlpha => (colour, pixels.iter().flat_map(|&[grey, _, _, alpha]: &[u8; 4]| [grey, alpha]).collect()),
        Colour::Rgb | Colour::Rgbx => (Colour::Rgbx, data),
        Colour::Rgba => (colour, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(width: u32, height: u32, mode: ResizeMode, enlarge: bool) -> Resize {
        let some = |size| NonZeroU32::new(size).expect("a size");
        Resize { width: some(width), height: some(height), mode, enlarge }
    }

    /// A picture of one row.
    fn picture(width: u32, colour: Colour, data: Vec<u8>) -> PixelBuffer {
        PixelBuffer { width, height: 1, colour, data, profile: None }
    }

    #[test]
    fn sizes_follow_from_the_mode() {
        use ResizeMode::{Border, CenterCrop, KeepRatio, Shortest};
        const FRAME: Option<(u32, u32)> = Some((256, 256));
        // Stored size, box, mode, may be enlarged; expected size and frame.
        let table = [
            ((1200, 800), (256, 256), KeepRatio, false, (256, 171), None),
            ((800, 1200), (256, 256), KeepRatio, false, (171, 256), None),
            ((1200, 800), (256, 100), KeepRatio, false, (150, 100), None),
            ((100, 50), (256, 256), KeepRatio, false, (100, 50), None),
            ((100, 50), (256, 256), KeepRatio, true, (256, 128), None),
            ((256, 256), (256, 256), KeepRatio, true, (256, 256), None),
            // No side becomes 0.
            ((1, 60_000), (256, 256), KeepRatio, false, (1, 256), None),
            ((60_000, 1), (1, 1), KeepRatio, false, (1, 1), None),
            ((1, 1), (256, 256), KeepRatio, true, (256, 256), None),
            ((1200, 800), (256, 256), CenterCrop, false, (256, 256), None),
            ((1200, 100), (256, 256), CenterCrop, false, (256, 100), FRAME),
            ((1200, 100), (256, 128), CenterCrop, false, (256, 100), Some((256, 128))),
            ((1200, 100), (256, 256), CenterCrop, true, (256, 256), None),
            ((100, 50), (256, 256), CenterCrop, false, (100, 50), FRAME),
            ((100, 50), (256, 256), CenterCrop, true, (256, 256), None),
            ((256, 256), (256, 256), CenterCrop, false, (256, 256), None),
            ((1, 60_000), (256, 256), CenterCrop, false, (1, 256), FRAME),
            ((1200, 800), (256, 256), Shortest, false, (384, 256), None),
            ((800, 1200), (256, 256), Shortest, false, (256, 384), None),
            ((1200, 800), (256, 100), Shortest, false, (256, 171), None),
            ((1200, 100), (256, 256), Shortest, false, (1200, 100), None),
            ((1200, 100), (256, 256), Shortest, true, (3072, 256), None),
            ((256, 300), (256, 256), Shortest, true, (256, 300), None),
            ((1200, 800), (256, 256), Border, false, (256, 171), FRAME),
            ((100, 50), (256, 256), Border, false, (100, 50), FRAME),
            ((100, 50), (256, 256), Border, true, (256, 128), FRAME),
            ((1, 60_000), (256, 256), Border, false, (1, 256), FRAME),
        ];
        for (stored, (width, height), mode, enlarge, size, frame) in table {
            let fit = Fit::new(stored, 1, Some(&resize(width, height, mode, enlarge)));
            assert_eq!((fit.size, fit.frame), (size, frame), "{stored:?} {mode:?} {enlarge}");
            let (short, long) = (stored.0 < width, stored.1 < height);
            let is_smaller = if matches!(mode, KeepRatio | Border) { short && long } else { short || long };
            assert_eq!(fit.is_smaller, is_smaller, "{stored:?} {mode:?} {enlarge}");
            // Rotated by a quarter turn, it is fitted as displayed and scaled as stored.
            let fit = Fit::new((stored.1, stored.0), 6, Some(&resize(width, height, mode, enlarge)));
            assert_eq!((fit.size, fit.frame), ((size.1, size.0), frame), "{stored:?} {mode:?} {enlarge}, turned");
        }
    }

    #[test]
    fn the_middle_of_a_picture_is_cropped_to_the_aspect_ratio_of_the_box() {
        let square = resize(100, 100, ResizeMode::CenterCrop, false);
        assert_eq!(Fit::new((400, 200), 1, Some(&square)).used, (0.5, 1.0));
        assert_eq!(Fit::new((400, 200), 8, Some(&square)).used, (0.5, 1.0), "of the stored picture");
        assert_eq!(Fit::new((50, 200), 1, Some(&square)).used, (1.0, 0.5), "it is not enlarged");
        let enlarged = resize(100, 100, ResizeMode::CenterCrop, true);
        assert_eq!(Fit::new((50, 200), 1, Some(&enlarged)).used, (1.0, 0.25));
        let stored = picture(4, Colour::Grey, vec![9, 50, 50, 9]);
        let fit = Fit { used: (0.5, 1.0), ..Fit::whole((2, 1)) };
        assert_eq!(scale(stored, &fit).expect("scaled").data, [50, 50]);
    }

    #[test]
    fn a_picture_that_is_small_enough_stays_as_it_is() {
        let fits = |stored, resize: Option<&Resize>| Fit::new(stored, 1, resize).is_identity(stored);
        assert!(fits((100, 50), None));
        assert!(fits((100, 50), Some(&resize(100, 100, ResizeMode::KeepRatio, true))));
        assert!(fits((100, 50), Some(&resize(256, 256, ResizeMode::KeepRatio, false))));
        assert!(!fits((100, 50), Some(&resize(256, 256, ResizeMode::KeepRatio, true))));
        assert!(!fits((100, 50), Some(&resize(100, 100, ResizeMode::Border, false))));
        assert!(!fits((100, 50), Some(&resize(100, 100, ResizeMode::CenterCrop, false))));
        assert!(fits((100, 100), Some(&resize(100, 100, ResizeMode::CenterCrop, false))));
        assert!(fits((100, 50), Some(&resize(50, 50, ResizeMode::Shortest, false))));
        let turned = Fit::new((100, 50), 6, Some(&resize(256, 256, ResizeMode::KeepRatio, false)));
        assert!(turned.is_identity((100, 50)), "the file says how it is to be displayed, and goes on saying it");
    }

    #[test]
    fn transparent_pixels_do_not_bleed_into_opaque_ones() {
        // Opaque red beside transparent green.
        let data = [255, 0, 0, 255, 0, 255, 0, 0].repeat(32);
        let stored = picture(64, Colour::Rgba, data);
        let fit = Fit::whole((4, 1));
        for pixel in scale(stored, &fit).expect("scaled").data.chunks_exact(4) {
            assert!(matches!(pixel, [250..=255, 0..5, 0, 120..136]), "{pixel:?}");
        }
    }
}
