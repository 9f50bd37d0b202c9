//! Sizes: what a picture is scaled to, and the scaling.

use std::num::NonZeroU32;

use fast_image_resize as fir;
use fir::images::{Image, ImageRef};
use fir::{FilterType, PixelType, ResizeAlg, ResizeOptions};

use super::TransformError;
use super::picture::{Colour, Picture};

/// A size that pictures are brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// Width of the box in pixels.
    pub width: NonZeroU32,
    /// Height of the box in pixels.
    pub height: NonZeroU32,
    /// What becomes of the proportions.
    pub mode: Mode,
    /// Whether pixels may be added to a picture that has fewer.
    pub enlarge: bool,
}

/// How a picture gets into a box of other proportions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The whole picture, as large as fits into the box; one side may be shorter than that of the box. (img2dataset calls
    /// this `keep_ratio_largest`, and scales the shorter side to the size under `keep_ratio`.)
    KeepRatio,
    /// The middle of the picture, in the proportions of the box; all of the box is filled. Where it would have to be
    /// enlarged and may not be, it is as much smaller, in the same proportions.
    CenterCrop,
    /// The whole picture in the middle of the box, with a border in white around it.
    Border,
}

/// What a picture is scaled to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The part in the middle that is used: its width and height as shares of those of the picture as it is stored.
    pub used: (f64, f64),
    /// Width and height in pixels that this part is scaled to, still as stored.
    pub size: (u32, u32),
    /// Width and height of the border's outside, as displayed.
    pub frame: Option<(u32, u32)>,
}

impl Fit {
    /// For a picture stored in this size and to be displayed in this orientation (1 to 8).
    #[must_use]
    pub fn new((width, height): (u32, u32), orientation: u8, resize: Option<&Resize>) -> Self {
        let swap = |(a, b): (u32, u32)| if orientation >= 5 { (b, a) } else { (a, b) };
        let shown = swap((width, height));
        let Some(resize) = resize else {
            return Self { used: (1.0, 1.0), size: (width, height), frame: None };
        };
        let (shown_width, shown_height) = (f64::from(shown.0), f64::from(shown.1));
        let (box_width, box_height) = (f64::from(resize.width.get()), f64::from(resize.height.get()));
        let (horizontal, vertical) = (box_width / shown_width, box_height / shown_height);
        let capped = |scale: f64| if resize.enlarge { scale } else { scale.min(1.0) };
        let scaled = |scale: f64| (whole(shown_width * scale), whole(shown_height * scale));
        let (used, size) = match resize.mode {
            Mode::KeepRatio | Mode::Border => ((1.0, 1.0), scaled(capped(horizontal.min(vertical)))),
            Mode::CenterCrop => {
                let scale = horizontal.max(vertical);
                // What of the box is left when nothing may grow.
                let share = capped(scale) / scale;
                let size = (whole(box_width * share), whole(box_height * share));
                let used = ((box_width / scale / shown_width).min(1.0), (box_height / scale / shown_height).min(1.0));
                (used, size)
            }
        };
        let used = if orientation >= 5 { (used.1, used.0) } else { used };
        let outside = (resize.width.get(), resize.height.get());
        let frame = (resize.mode == Mode::Border && size != outside).then_some(outside);
        Self { used, size: swap(size), frame }
    }

    /// Whether a picture of this size stays as it is.
    #[must_use]
    pub fn is_nothing(&self, stored: (u32, u32)) -> bool {
        self.size == stored && self.used == (1.0, 1.0) && self.frame.is_none()
    }
}

/// To the nearest pixel, and never to none.
fn whole(size: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let size = size.round() as u32;
    size.max(1)
}

/// Scales the part of a picture that is used.
pub fn scale(picture: Picture, fit: &Fit) -> Result<Picture, TransformError> {
    if (picture.width, picture.height) == fit.size && fit.used == (1.0, 1.0) {
        return Ok(picture);
    }
    let pixel = match picture.colour {
        Colour::Grey => PixelType::U8,
        Colour::GreyAlpha => PixelType::U8x2,
        Colour::Rgb => PixelType::U8x3,
        Colour::Rgba => PixelType::U8x4,
    };
    let (stored_width, stored_height) = (f64::from(picture.width), f64::from(picture.height));
    let (used_width, used_height) = (stored_width * fit.used.0, stored_height * fit.used.1);
    // Values of pixels that are transparent in part count as much as they show: that is what `use_alpha` is for.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .crop((stored_width - used_width) / 2.0, (stored_height - used_height) / 2.0, used_width, used_height)
        .use_alpha(picture.colour.has_alpha());
    let from = ImageRef::new(picture.width, picture.height, &picture.data, pixel).map_err(TransformError::internal)?;
    let (width, height) = fit.size;
    let mut to = Image::new(width, height, pixel);
    fir::Resizer::new().resize(&from, &mut to, &options).map_err(TransformError::internal)?;
    Ok(Picture { width, height, data: to.into_vec(), ..picture })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(width: u32, height: u32, mode: Mode, enlarge: bool) -> Resize {
        let some = |size| NonZeroU32::new(size).expect("a size");
        Resize { width: some(width), height: some(height), mode, enlarge }
    }

    /// One line.
    fn picture(width: u32, colour: Colour, data: Vec<u8>) -> Picture {
        Picture { width, height: 1, colour, data, profile: None }
    }

    #[test]
    fn sizes_follow_from_the_mode() {
        use Mode::{Border, CenterCrop, KeepRatio};
        const FRAME: Option<(u32, u32)> = Some((256, 256));
        // Stored size, box, mode, may grow: what it is scaled to, and what is around it.
        let table = [
            ((1200, 800), (256, 256), KeepRatio, false, (256, 171), None),
            ((800, 1200), (256, 256), KeepRatio, false, (171, 256), None),
            ((1200, 800), (256, 100), KeepRatio, false, (150, 100), None),
            ((100, 50), (256, 256), KeepRatio, false, (100, 50), None),
            ((100, 50), (256, 256), KeepRatio, true, (256, 128), None),
            ((256, 256), (256, 256), KeepRatio, true, (256, 256), None),
            // Never to nothing.
            ((1, 60_000), (256, 256), KeepRatio, false, (1, 256), None),
            ((60_000, 1), (1, 1), KeepRatio, false, (1, 1), None),
            ((1, 1), (256, 256), KeepRatio, true, (256, 256), None),
            ((1200, 800), (256, 256), CenterCrop, false, (256, 256), None),
            ((1200, 100), (256, 256), CenterCrop, false, (100, 100), None),
            ((1200, 100), (256, 128), CenterCrop, false, (200, 100), None),
            ((1200, 100), (256, 256), CenterCrop, true, (256, 256), None),
            ((1, 60_000), (256, 256), CenterCrop, false, (1, 1), None),
            ((1200, 800), (256, 256), Border, false, (256, 171), FRAME),
            ((100, 50), (256, 256), Border, false, (100, 50), FRAME),
            ((100, 50), (256, 256), Border, true, (256, 128), FRAME),
            ((1, 60_000), (256, 256), Border, false, (1, 256), FRAME),
        ];
        for (stored, (width, height), mode, enlarge, size, frame) in table {
            let fit = Fit::new(stored, 1, Some(&resize(width, height, mode, enlarge)));
            assert_eq!((fit.size, fit.frame), (size, frame), "{stored:?} {mode:?} {enlarge}");
            // Turned by a quarter it fits as what is displayed, and is scaled as it is stored.
            let fit = Fit::new((stored.1, stored.0), 6, Some(&resize(width, height, mode, enlarge)));
            assert_eq!((fit.size, fit.frame), ((size.1, size.0), frame), "{stored:?} {mode:?} {enlarge}, turned");
        }
    }

    #[test]
    fn the_middle_of_a_picture_is_used_in_the_proportions_of_the_box() {
        let square = resize(100, 100, Mode::CenterCrop, false);
        assert_eq!(Fit::new((400, 200), 1, Some(&square)).used, (0.5, 1.0));
        assert_eq!(Fit::new((400, 200), 8, Some(&square)).used, (0.5, 1.0), "of the stored picture");
        assert_eq!(Fit::new((50, 200), 1, Some(&square)).used, (1.0, 0.25));
        let stored = picture(4, Colour::Grey, vec![9, 50, 50, 9]);
        let fit = Fit { used: (0.5, 1.0), size: (2, 1), frame: None };
        assert_eq!(scale(stored, &fit).expect("scaled").data, [50, 50]);
    }

    #[test]
    fn nothing_is_done_to_what_is_small_enough() {
        let fits = |stored, resize: Option<&Resize>| Fit::new(stored, 1, resize).is_nothing(stored);
        assert!(fits((100, 50), None));
        assert!(fits((100, 50), Some(&resize(100, 100, Mode::KeepRatio, true))));
        assert!(fits((100, 50), Some(&resize(256, 256, Mode::KeepRatio, false))));
        assert!(!fits((100, 50), Some(&resize(256, 256, Mode::KeepRatio, true))));
        assert!(!fits((100, 50), Some(&resize(100, 100, Mode::Border, false))));
        assert!(!fits((100, 50), Some(&resize(100, 100, Mode::CenterCrop, false))));
        assert!(fits((100, 100), Some(&resize(100, 100, Mode::CenterCrop, false))));
        let turned = Fit::new((100, 50), 6, Some(&resize(256, 256, Mode::KeepRatio, false)));
        assert!(turned.is_nothing((100, 50)), "the file says how it is to be displayed, and goes on saying it");
    }

    #[test]
    fn what_is_transparent_does_not_bleed_into_what_is_not() {
        // Red that shows beside green that does not.
        let data = [255, 0, 0, 255, 0, 255, 0, 0].repeat(32);
        let stored = picture(64, Colour::Rgba, data);
        let fit = Fit { used: (1.0, 1.0), size: (4, 1), frame: None };
        for pixel in scale(stored, &fit).expect("scaled").data.chunks_exact(4) {
            assert!(matches!(pixel, [250..=255, 0..5, 0, 120..136]), "{pixel:?}");
        }
    }
}
