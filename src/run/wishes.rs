//! The wishes of a run that shape its files and their records, for the field `made_with`.

use super::Options;
use crate::fetch::{Accept, DEFAULT_MAX_BYTES, Verify};
use crate::naming::DEFAULT_TEMPLATE;
use crate::record::{Algorithm, Wishes};

/// The wishes of a run. What its options say by default is left out.
pub fn of(options: &Options) -> Wishes {
    let fetch = &options.fetch;
    let (wanted, bounds) = (&fetch.wanted, &fetch.wanted.bounds);
    let mut hash = wanted.digests.clone();
    hash.sort_unstable();
    hash.dedup();
    let positive = |pixels: u32| Some(pixels).filter(|pixels| *pixels > 0);
    let wishes = Wishes {
        verify: match wanted.verify {
            Verify::Nothing => Some("none".into()),
            Verify::Structure => None,
            Verify::Decode => Some("decode".into()),
        },
        hash: hash.into_iter().map(|algorithm: Algorithm| algorithm.name().to_owned()).collect(),
        exif: wanted.exif,
        accept: accept(&wanted.accept),
        min_width: positive(bounds.min_width),
        min_height: positive(bounds.min_height),
        max_pixels: bounds.max_pixels,
        max_aspect: bounds.max_aspect,
        min_bytes: Some(bounds.min_bytes).filter(|bytes| *bytes > 0),
        max_bytes: Some(fetch.max_bytes).filter(|bytes| *bytes != DEFAULT_MAX_BYTES),
        name: Some(options.template.text()).filter(|text| *text != DEFAULT_TEMPLATE).map(str::to_owned),
        // Images that are made anew always get the extension of their format, whether it is asked for or not.
        fix_extension: fetch.fix_extension && !makes_pixels(options),
        ..Wishes::default()
    };
    with_pixels(options, wishes)
}

/// `--accept`, as it is typed.
fn accept(accept: &Accept) -> Option<String> {
    match accept {
        Accept::Images => None,
        Accept::Formats(formats) => {
            let mut names = formats.iter().map(|format| format.name()).collect::<Vec<_>>();
            names.sort_unstable();
            names.dedup();
            Some(names.join(","))
        }
        Accept::Anything => Some("any".into()),
    }
}

/// Whether images are stored as they are made here, and not as they are received.
#[cfg(feature = "transform")]
pub fn makes_pixels(options: &Options) -> bool {
    options.fetch.plan.as_ref().is_some_and(|plan| !plan.keeps_images())
}

#[cfg(not(feature = "transform"))]
pub const fn makes_pixels(_: &Options) -> bool {
    false
}

#[cfg(feature = "transform")]
fn with_pixels(options: &Options, mut wishes: Wishes) -> Wishes {
    use crate::image::transform::{Quality, ResizeMode};

    let Some(plan) = &options.fetch.plan else { return wishes };
    wishes.phash = plan.hash;
    if let Some(resize) = &plan.resize {
        let (width, height) = (resize.width, resize.height);
        wishes.resize = Some(if width == height { width.to_string() } else { format!("{width}x{height}") });
        wishes.resize_mode = Some(resize.mode).filter(|m| *m != ResizeMode::KeepRatio).map(|m| m.name().to_owned());
        wishes.enlarge = resize.enlarge;
    }
    wishes.encode = plan.target.map(|target| target.format().name().to_owned());
    if makes_pixels(options) && plan.quality != Quality::default() {
        wishes.quality = Some(plan.quality.get());
    }
    wishes
}

#[cfg(not(feature = "transform"))]
fn with_pixels(_: &Options, wishes: Wishes) -> Wishes {
    wishes
}
