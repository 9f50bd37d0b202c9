//! Flags of the group "Images".

use std::num::NonZeroU32;
use std::sync::Arc;

use super::units::size;
use super::{UsageError, usage};
use crate::cli::args::{Args, EncodeChoice, ResizeModeChoice, VerifyChoice};
use crate::fetch::{Accept, Bounds, Verify, Wanted};
use crate::image::transform::{Encoding, Limits, Quality, Resize, ResizeMode, TransformOptions};
use crate::record::{Algorithm, Format};

/// The longest side that `--resize` accepts, in pixels: that of WebP. JPEG allows 65,535.
const MAX_RESIZE_SIDE: u32 = 16_383;

/// `--accept`.
fn accept(list: &str) -> Result<Accept, UsageError> {
    match list {
        "image" => return Ok(Accept::Images),
        "any" => return Ok(Accept::Anything),
        _ => {}
    }
    let mut formats = Vec::new();
    for name in list.split(',').map(str::trim) {
        if name.eq_ignore_ascii_case(Format::Raw.name()) {
            formats.extend(Format::ALL.iter().filter(|format| format.is_raw()));
        } else if let Some(format) = Format::from_name(name) {
            formats.push(format);
        } else {
            let known = Format::ALL.iter().map(|format| format.name()).collect::<Vec<_>>().join(" ");
            return usage(format!("--accept {name}: unknown; write image, any, or a comma list of: {known}"));
        }
    }
    Ok(Accept::Formats(formats))
}

/// What to do with decoded pixels (`--resize`, `--encode`, `--phash`, `--verify decode`), or `None` if nothing.
pub fn transform_options(args: &Args) -> Result<Option<Arc<TransformOptions>>, UsageError> {
    for (flag, is_given) in [("--resize-mode", args.resize_mode.is_some()), ("--enlarge", args.enlarge)] {
        if is_given && args.resize.is_none() {
            return usage(format!("{flag} says how to resize; say to what size, such as --resize 256"));
        }
    }
    if args.quality.is_some() && args.resize.is_none() && args.encode.is_none() {
        return usage("--quality says how to encode; images stay as they are without --encode jpeg or --resize 256");
    }
    if (args.resize.is_some() || args.encode.is_some()) && args.accept == "any" {
        return usage("--accept any saves whatever comes, which can be neither resized nor encoded; leave it out");
    }
    if args.verify == VerifyChoice::Decode && args.accept == "any" {
        return usage("--accept any saves whatever comes, sound or not; leave out that or --verify decode");
    }
    let mode = match args.resize_mode.unwrap_or(ResizeModeChoice::KeepRatio) {
        ResizeModeChoice::KeepRatio => ResizeMode::KeepRatio,
        ResizeModeChoice::Shortest => ResizeMode::Shortest,
        ResizeModeChoice::CenterCrop => ResizeMode::CenterCrop,
        ResizeModeChoice::Border => ResizeMode::Border,
    };
    let resize = args.resize.as_deref().map(sides).transpose()?;
    let target = args.encode.map(|format| match format {
        EncodeChoice::Jpeg => Encoding::Jpeg,
        EncodeChoice::Png => Encoding::Png,
        EncodeChoice::Webp => Encoding::Webp,
    });
    let quality = match args.quality.map(Quality::new) {
        None => Quality::default(),
        Some(Some(quality)) => quality,
        Some(None) => return usage("--quality: from 1 (small) to 100 (good); 90 is usual"),
    };
    let options = TransformOptions {
        limits: Limits::default(),
        verify: args.verify == VerifyChoice::Decode,
        resize: resize.map(|(width, height)| Resize { width, height, mode, enlarge: args.enlarge }),
        target,
        quality,
        hash: args.phash,
    };
    Ok((!options.is_empty()).then(|| Arc::new(options)))
}

/// `--resize`: width and height from `256` or `320x240`.
fn sides(text: &str) -> Result<(NonZeroU32, NonZeroU32), UsageError> {
    let (width, height) = text.split_once('x').unwrap_or((text, text));
    match (width.parse::<NonZeroU32>(), height.parse::<NonZeroU32>()) {
        (Ok(width), Ok(height)) if width.get().max(height.get()) <= MAX_RESIZE_SIDE => Ok((width, height)),
        _ => usage(format!(
            "--resize {text}: write the pixels of a side, such as 256, or 320x240; {MAX_RESIZE_SIDE} at most"
        )),
    }
}

/// What an image must be to be accepted, and what is recorded about it.
pub fn wanted(args: &Args) -> Result<Wanted, UsageError> {
    let pixels = |text: &str| match text.parse::<u64>() {
        Ok(pixels) if pixels > 0 => Ok(pixels),
        _ => usage(format!("--max-pixels {text} is no number of pixels; write 50000000 for fifty million")),
    };
    if let Some(aspect) = args.max_aspect.filter(|aspect| !aspect.is_finite() || *aspect < 1.0) {
        return usage(format!(
            "--max-aspect {aspect}: the longer side divided by the shorter one is never below 1; write 3 for 3:1"
        ));
    }
    let bounds = Bounds {
        min_width: args.min_width.unwrap_or(0),
        min_height: args.min_height.unwrap_or(0),
        max_pixels: args.max_pixels.as_deref().map(pixels).transpose()?,
        max_aspect: args.max_aspect,
        min_bytes: args.min_bytes.as_deref().map_or(Ok(0), |text| size("--min-bytes", text))?,
    };
    let verify = match args.verify {
        VerifyChoice::None => Verify::Nothing,
        VerifyChoice::Structure => Verify::Structure,
        VerifyChoice::Decode => Verify::Decode,
    };
    Ok(Wanted { accept: accept(&args.accept)?, bounds, verify, exif: args.exif, digests: digests(args)? })
}

/// `--hash`: the algorithms with these names.
fn digests(args: &Args) -> Result<Vec<Algorithm>, UsageError> {
    let by_name = |name: &String| {
        Algorithm::by_name(name.trim()).ok_or_else(|| {
            let known = Algorithm::ALL.map(Algorithm::name).join(" ");
            UsageError(format!("--hash {name}: unknown; write a comma list of: {known}"))
        })
    };
    args.hash.iter().map(by_name).collect()
}

#[cfg(test)]
mod tests {
    use crate::cli::config::tests::assert_refused;

    #[test]
    fn invalid_values_are_refused_with_a_hint() {
        assert_refused(&[("list --accept jpeg,doc", "comma list")]);
    }
}
