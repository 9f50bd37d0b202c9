//! Works around decoders that refuse files which viewers show.
//!
//! An [`Inspector`](crate::image::Inspector) takes such files for intact. The decoding libraries are stricter in these
//! few places and call the image corrupt, so the offending bytes are left out of a copy before they decode it.
//! Each workaround names the crate, the version that was checked, the upstream issue and the test that fails without
//! it. It can go once a release of that crate passes the test. The tests are at the end of this file; their samples are
//! in `tests/images` or written there byte by byte.

use std::borrow::Cow;

use super::icon;
use crate::record::Format;

/// The bytes to decode, and their format. Only the few files that need a workaround are copied.
pub fn decodable(bytes: &[u8], format: Format) -> (Cow<'_, [u8]>, Format) {
    let copy = match format {
        Format::Jpeg => filtered(bytes, jpeg),
        Format::Png => filtered(bytes, png),
        Format::Gif => filtered(bytes, gif),
        Format::Ico => match largest_png(bytes) {
            Some(picture) => return decodable(picture, Format::Png),
            None => None,
        },
        _ => None,
    };
    (copy.map_or(Cow::Borrowed(bytes), Cow::Owned), format)
}

/// Goes through a file and hands the parts to keep to a callback. Returns whether the whole file is kept; `None` if the
/// file is damaged, which the decoder is to report.
type PartFilter = fn(&[u8], &mut dyn FnMut(&[u8])) -> Option<bool>;

fn filtered(bytes: &[u8], filter: PartFilter) -> Option<Vec<u8>> {
    if filter(bytes, &mut |_| {})? {
        return None;
    }
    let mut copy = Vec::new();
    filter(bytes, &mut |part| copy.extend_from_slice(part))?;
    Some(copy)
}

/// Leaves out bytes between two segments before the first scan, which are there when a segment states a wrong length.
/// libjpeg skips them with a warning.
/// Upstream: `JpegDecoder::decode_headers` of zune-jpeg 0.5.15 refuses such bytes in strict mode ("Extra bytes between
/// headers"), by design. Strict mode is needed here because without it a truncated picture is filled up and passes. A
/// camera that writes such files: <https://github.com/etemesi254/zune-image/issues/261>.
///
/// Test: `bytes_between_the_segments_of_a_jpeg_do_not_matter`.
fn jpeg(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    const START: u8 = 0xD8;
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    // Two bytes that can only be the marker of a segment, whatever precedes them (ISO/IEC 10918-1, table B.1).
    let begins_segment = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0x01 | 0xD0..=0xD7 | 0xFF);
    keep(bytes.get(..2)?);
    let (mut at, mut is_whole) = (2, true);
    loop {
        let rest = bytes.get(at..)?;
        let skipped = rest.windows(2).position(begins_segment)?;
        is_whole &= skipped == 0;
        let segment = &rest[skipped..];
        let length = match segment[1] {
            START | END => return None,
            SCAN => {
                keep(segment);
                return Some(is_whole);
            }
            // The length includes itself.
            _ => Some(u16::from_be_bytes(*segment.get(2..)?.first_chunk()?)).filter(|length| *length >= 2)?,
        };
        let segment = segment.get(..2 + usize::from(length))?;
        keep(segment);
        at += skipped + segment.len();
    }
}

/// Leaves out Exif chunks if there is more than 1 MiB of them.
/// Upstream: png 0.18.1 keeps Exif without being asked, so that a long one exceeds the memory limit although the picture
/// does not ("TODO: allow skipping" in `StreamingDecoder::start_chunk`); text is skipped on request
/// (<https://github.com/image-rs/image/issues/1788>).
///
/// Test: `much_exif_in_a_png_is_left_out`.
fn png(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    /// Exif up to this length is kept, in bytes.
    const MAX_EXIF_BYTES: usize = 1 << 20;
    keep(bytes.get(..8)?);
    let (mut at, mut exif) = (8, 0_usize);
    loop {
        let rest = bytes.get(at..)?;
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
        let chunk = rest.get(..length.checked_add(12)?)?;
        match &chunk[4..8] {
            b"eXIf" => exif += chunk.len(),
            _ => keep(chunk),
        }
        if &chunk[4..8] == b"IEND" {
            return Some(exif <= MAX_EXIF_BYTES);
        }
        at += chunk.len();
    }
}

/// Leaves out unknown extensions and repeated block terminators, adds a missing trailer, and makes the logical screen
/// large enough for the first picture.
/// Upstream: in gif 0.14.2, unknown extensions and repeated block terminators are errors
/// (<https://github.com/image-rs/image-gif/issues/209>) unless `DecodeOptions::allow_unknown_blocks` is set.
/// `GifDecoder` of image 0.25.10 does not set it. A missing trailer is an error after the last frame
/// (<https://github.com/image-rs/image-gif/issues/138>; a fix is proposed in
/// <https://github.com/image-rs/image-gif/pull/237>). If the logical screen is smaller than the
/// first picture, browsers enlarge it, while `GifDecoder` cuts the picture off; no upstream issue was found.
///
/// Test: `a_gif_may_lack_its_trailer_and_hold_unknown_extensions`.
fn gif(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    const EXTENSION: u8 = 0x21;
    const PICTURE: u8 = 0x2C;
    const TRAILER: u8 = 0x3B;
    // Plain text, graphic control, comment and application (GIF 89a, appendix A).
    const KNOWN_LABELS: [u8; 4] = [0x01, 0xF9, 0xFE, 0xFF];
    let colours = |packed: u8| if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) };
    let after_blocks = |mut at: usize| -> Option<usize> {
        loop {
            let length = *bytes.get(at)?;
            at += 1 + usize::from(length);
            if length == 0 {
                return Some(at);
            }
        }
    };
    let start = 13 + colours(*bytes.get(10)?);
    let mut at = start;
    let mut is_whole = true;
    let mut picture = start;
    while bytes.get(picture) == Some(&EXTENSION) {
        picture = after_blocks(picture + 2)?;
    }
    let number = |at: usize| Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let screen = (number(6)?, number(8)?);
    let shown = screen_with(screen, [picture + 1, picture + 3, picture + 5, picture + 7].map(number));
    keep(&bytes[..6]);
    keep(&[shown.0.to_le_bytes(), shown.1.to_le_bytes()].concat());
    keep(bytes.get(10..start)?);
    is_whole &= shown == screen;
    loop {
        let (end, is_kept) = match bytes.get(at) {
            Some(&EXTENSION) => (after_blocks(at + 2)?, KNOWN_LABELS.contains(bytes.get(at + 1)?)),
            Some(&PICTURE) => (after_blocks(at + 11 + colours(*bytes.get(at + 9)?))?, true),
            Some(0) => (at + 1, false),
            Some(&TRAILER) => {
                keep(&[TRAILER]);
                return Some(is_whole);
            }
            Some(_) => return None,
            None => {
                keep(&[TRAILER]);
                return Some(false);
            }
        };
        if is_kept {
            keep(bytes.get(at..end)?);
        }
        is_whole &= is_kept;
        at = end;
    }
}

/// Width and height of a logical screen that holds the first picture, whose left, top, width and height are given.
fn screen_with(screen: (u16, u16), first: [Option<u16>; 4]) -> (u16, u16) {
    let [Some(left), Some(top), Some(width), Some(height)] = first else { return screen };
    if screen.0 == 0 || screen.1 == 0 {
        return (width, height);
    }
    (screen.0.max(left.saturating_add(width)), screen.1.max(top.saturating_add(height)))
}

/// The largest picture of an icon, if it is a PNG, which is then decoded as a PNG.
/// Upstream: `IcoDecoder` of image 0.25.10 refuses a PNG that is not RGBA with eight bits
/// (<https://github.com/image-rs/image/issues/1590>; lenient after <https://github.com/image-rs/image/pull/3027>) or
/// whose size is not the one in the icon's directory (lenient after <https://github.com/image-rs/image/pull/3001>).
/// Neither change is in 0.25.10. It also decodes the PNG without limits
/// (<https://github.com/image-rs/image/issues/3078>).
///
/// Test: `a_png_in_an_icon_may_have_any_colours_and_any_size`.
fn largest_png(bytes: &[u8]) -> Option<&[u8]> {
    icon::largest(bytes).filter(|picture| picture.starts_with(b"\x89PNG\r\n\x1A\n"))
}

#[cfg(test)]
mod tests {
    use super::super::{Encoding, Image, TransformOptions, transform};
    use super::*;

    /// Verifies a file, converts it to another format, and returns the size of the result.
    #[track_caller]
    fn decoded(bytes: &[u8], format: Format) -> (u32, u32) {
        let verified =
            transform(bytes, format, None, &TransformOptions { verify: true, ..TransformOptions::default() })
                .expect("sound");
        assert_eq!(verified.image, Image::Unchanged);
        let target = if format == Format::Png { Encoding::Webp } else { Encoding::Png };
        match transform(bytes, format, None, &TransformOptions { target: Some(target), ..TransformOptions::default() })
            .expect("sound")
            .image
        {
            Image::New { width, height, .. } => (width, height),
            Image::Unchanged => panic!("it is in another format now"),
        }
    }

    fn sample(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(name);
        std::fs::read(path).expect("a sample")
    }

    #[test]
    fn a_file_that_needs_no_workaround_is_not_copied() {
        let table = [
            ("photo.jpg", Format::Jpeg),
            ("progressive.jpg", Format::Jpeg),
            ("plain.png", Format::Png),
            ("animation.gif", Format::Gif),
            ("still.bmp", Format::Bmp),
        ];
        for (name, format) in table {
            assert!(matches!(decodable(&sample(name), format), (Cow::Borrowed(_), _)), "{name}");
            // Nor is a damaged file copied.
            let file = sample(name);
            for end in 0..file.len() {
                let cut = decodable(&file[..end], format);
                assert!(*cut.0 == file[..end] || format == Format::Gif, "{name}, cut at {end}");
            }
        }
    }

    #[test]
    fn bytes_between_the_segments_of_a_jpeg_do_not_matter() {
        let file = sample("photo.jpg");
        let first = 4 + usize::from(u16::from_be_bytes([file[4], file[5]]));
        let junk = [&file[..first], b"\0some\xFF\0junk\xFF\xFF", &file[first..]].concat();
        assert_eq!(decoded(&junk, Format::Jpeg), decoded(&file, Format::Jpeg));
        assert_eq!(decodable(&junk, Format::Jpeg).0, file);
    }

    #[test]
    fn a_gif_may_lack_its_trailer_and_hold_unknown_extensions() {
        const SCREEN: &[u8] = b"GIF89a\x02\0\x01\0\x80\0\0rgbRGB";
        const FRAME: &[u8] = b",\0\0\0\0\x02\0\x01\0\0\x02\x02\x44\x0A\0";
        let no_screen = b"GIF89a\0\0\0\0\x80\0\0rgbRGB";
        let unknown = b"!\x42\x03abc\0";
        let table: [(&str, &[&[u8]]); 6] = [
            ("plain", &[SCREEN, FRAME, b";"]),
            ("no trailer", &[SCREEN, FRAME, FRAME]),
            ("an unknown extension", &[SCREEN, unknown, FRAME, b";"]),
            ("ended twice", &[SCREEN, FRAME, b"\0", FRAME, b"\0\0;"]),
            ("no screen", &[no_screen, unknown, FRAME, b";"]),
            ("more behind it", &[SCREEN, FRAME, b";\0,more"]),
        ];
        for (what, parts) in table {
            assert_eq!(decoded(&parts.concat(), Format::Gif), (2, 1), "{what}");
        }
        let cut = [SCREEN, FRAME, &FRAME[..12]].concat();
        let small_screen = b"GIF89a\x01\0\x01\0\x80\0\0rgbRGB";
        assert_eq!(decoded(&[&small_screen[..], unknown, FRAME, b";"].concat(), Format::Gif), (2, 1));
        let aside = b",\x03\0\x04\0\x02\0\x01\0\0\x02\x02\x44\x0A\0";
        assert_eq!(decoded(&[&small_screen[..], &aside[..], b";"].concat(), Format::Gif), (5, 5));
        assert!(
            transform(&cut, Format::Gif, None, &TransformOptions { verify: true, ..TransformOptions::default() })
                .is_err()
        );
    }

    #[test]
    fn a_png_in_an_icon_may_have_any_colours_and_any_size() {
        for (name, size) in [("plain.png", (41, 19)), ("indexed.png", (43, 21))] {
            let png = sample(name);
            let length = u32::try_from(png.len()).expect("a small file").to_le_bytes();
            let entry = [b"\0\0\0\0\x01\0\x20\0".as_slice(), &length, b"\x16\0\0\0"].concat();
            let icon = [b"\0\0\x01\0\x01\0".as_slice(), &entry, &png].concat();
            assert_eq!(decoded(&icon, Format::Ico), size, "{name}");
        }
    }

    #[test]
    fn much_exif_in_a_png_is_left_out() {
        let file = sample("plain.png");
        let chunk = |name: &[u8], length: usize| {
            let content = [name, b"k\0".as_slice(), &vec![b'x'; length - 2]].concat();
            let checksum = crc32fast::hash(&content).to_be_bytes();
            [&u32::try_from(length).expect("a short one").to_be_bytes(), content.as_slice(), &checksum].concat()
        };
        let with = |text: Vec<u8>| [&file[..33], &text, &file[33..]].concat();
        let some = with(chunk(b"eXIf", 1000));
        assert_eq!(decodable(&some, Format::Png).0, some);
        for exif in [chunk(b"eXIf", 20_000_000), chunk(b"eXIf", 2).repeat(80_000)] {
            assert!(decodable(&with(exif.clone()), Format::Png).0.len() <= file.len());
            assert_eq!(decoded(&with(exif), Format::Png), (41, 19));
        }
        // Text is skipped by the decoder.
        for text in [chunk(b"tEXt", 20_000_000), chunk(b"tEXt", 2).repeat(80_000)] {
            assert_eq!(decoded(&with(text), Format::Png), (41, 19));
        }
    }
}
