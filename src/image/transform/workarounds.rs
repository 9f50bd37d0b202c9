//! Works around decoders that refuse files which viewers show.
//!
//! An [`Inspector`](crate::image::Inspector) takes such files for intact. The decoding libraries are stricter in these
//! few places and call the image corrupt, so the offending bytes are left out of a copy before they decode it.
//! Each workaround names the crate, the version that was checked, the upstream issue and the test that fails without
//! it. It can go once a release of that crate passes the test. The tests are at the end of this file; their samples are
//! in `tests/images` or written there byte by byte.

use std::borrow::Cow;

use crate::record::Format;

/// The bytes to decode, and their format. Only the few files that need a workaround are copied.
pub fn decodable(bytes: &[u8], format: Format) -> (Cow<'_, [u8]>, Format) {
    let copy = match format {
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

/// Leaves out text and Exif chunks if there is more than 1 MiB of them.
/// Upstream: `PngDecoder` of image 0.25.10 has png 0.18.1 keep all text. A long text exceeds the memory limit although
/// the picture does not (<https://github.com/image-rs/image/issues/1788>), and many short ones take several times the
/// memory that is counted. A proposed change reads text only when it is asked for
/// (<https://github.com/image-rs/image-png/pull/657>).
///
/// Test: `much_text_in_a_png_is_left_out`.
fn png(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    /// Text and Exif up to this length are kept, in bytes.
    const MAX_TEXT_BYTES: usize = 1 << 20;
    keep(bytes.get(..8)?);
    let (mut at, mut text) = (8, 0_usize);
    loop {
        let rest = bytes.get(at..)?;
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
        let chunk = rest.get(..length.checked_add(12)?)?;
        match &chunk[4..8] {
            b"tEXt" | b"zTXt" | b"iTXt" | b"eXIf" => text += chunk.len(),
            _ => keep(chunk),
        }
        if &chunk[4..8] == b"IEND" {
            return Some(text <= MAX_TEXT_BYTES);
        }
        at += chunk.len();
    }
}

/// Leaves out unknown extensions and repeated block terminators, and adds a missing trailer and a missing size of the
/// logical screen.
/// Upstream: in gif 0.14.2, unknown extensions and repeated block terminators are errors
/// (<https://github.com/image-rs/image-gif/issues/209>) unless `DecodeOptions::allow_unknown_blocks` is set.
/// `GifDecoder` of image 0.25.10 does not set it. A missing trailer is an error after the last frame
/// (<https://github.com/image-rs/image-gif/issues/138>; a fix is proposed in
/// <https://github.com/image-rs/image-gif/pull/237>). If the logical screen has no size, browsers take that of the
/// first picture, while `GifDecoder` reports 0 pixels; no upstream issue was found.
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
    if bytes[6..8] == [0, 0] || bytes[8..10] == [0, 0] {
        let mut picture = start;
        while bytes.get(picture) == Some(&EXTENSION) {
            picture = after_blocks(picture + 2)?;
        }
        // The screen becomes as large as the first picture.
        keep(&bytes[..6]);
        keep(bytes.get(picture + 5..picture + 9)?);
        keep(bytes.get(10..start)?);
        is_whole = false;
    } else {
        keep(bytes.get(..start)?);
    }
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

/// The largest picture of an icon, if it is a PNG, which is then decoded as a PNG.
/// Upstream: `IcoDecoder` of image 0.25.10 refuses a PNG that is not RGBA with eight bits
/// (<https://github.com/image-rs/image/issues/1590>; lenient after <https://github.com/image-rs/image/pull/3027>) or
/// whose size is not the one in the icon's directory (lenient after <https://github.com/image-rs/image/pull/3001>).
/// Neither change is in 0.25.10. It also decodes the PNG without limits
/// (<https://github.com/image-rs/image/issues/3078>).
///
/// Test: `a_png_in_an_icon_may_have_any_colours_and_any_size`.
fn largest_png(bytes: &[u8]) -> Option<&[u8]> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let side = |byte: u8| u32::from(byte.wrapping_sub(1)) + 1;
    let entries = bytes.get(6..)?.chunks_exact(16).take(count.into());
    let largest = entries.max_by_key(|entry| side(entry[0]) * side(entry[1]))?;
    let [length, start] = [8, 12].map(|at| largest.get(at..).and_then(|number| number.first_chunk()));
    let number = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
    let (start, length) = (number(start?)?, number(length?)?);
    let picture = bytes.get(start..start.checked_add(length)?)?;
    picture.starts_with(b"\x89PNG\r\n\x1A\n").then_some(picture)
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
    fn much_text_in_a_png_is_left_out() {
        let file = sample("plain.png");
        let chunk = |length: usize| {
            let content = [b"tEXtk\0".as_slice(), &vec![b'x'; length - 2]].concat();
            let checksum = crc32fast::hash(&content).to_be_bytes();
            [&u32::try_from(length).expect("a short one").to_be_bytes(), content.as_slice(), &checksum].concat()
        };
        let with = |text: Vec<u8>| [&file[..33], &text, &file[33..]].concat();
        let some = with(chunk(1000));
        assert_eq!(decodable(&some, Format::Png).0, some);
        for text in [chunk(2_000_000), chunk(2).repeat(80_000)] {
            assert!(decodable(&with(text), Format::Png).0.len() <= file.len());
        }
    }
}
