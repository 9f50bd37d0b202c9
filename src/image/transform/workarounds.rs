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
        Format::Png => filtered(bytes, png),
        Format::Gif => filtered(bytes, gif),
        Format::Bmp => filtered(bytes, bitmap),
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

/// Leaves out Exif chunks if there is more than 1 MiB of them, and closes a file whose end is missing or is something
/// else: what is there of the last chunk of data gets its checksum, and IEND follows. Whether all pixels are there is for
/// the decoder to find out. png 0.18.1 reports the missing end whatever it has decoded; libpng, and with it browsers, show
/// the picture.
/// Upstream: png 0.18.1 keeps Exif without being asked, so that a long one exceeds the memory limit although the picture
/// does not ("TODO: allow skipping" in `StreamingDecoder::start_chunk`); text is skipped on request
/// (<https://github.com/image-rs/image/issues/1788>).
///
/// Tests: `much_exif_in_a_png_is_left_out`, `a_png_may_lack_its_end`.
fn png(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    /// Exif up to this length is kept, in bytes.
    const MAX_EXIF_BYTES: usize = 1 << 20;
    keep(bytes.get(..8)?);
    let (mut at, mut exif, mut has_data) = (8, 0_usize, false);
    loop {
        let rest = bytes.get(at..)?;
        let Some(chunk) = png_chunk(rest) else {
            if !has_data && !rest.get(4..).is_some_and(|kind| kind.starts_with(b"IDAT")) {
                return None;
            }
            close_png(rest, keep);
            return Some(false);
        };
        match &chunk[4..8] {
            b"eXIf" => exif += chunk.len(),
            b"IEND" if !chunk.ends_with(&crc32fast::hash(&chunk[4..chunk.len() - 4]).to_be_bytes()) => {
                close_png(&[], keep);
                return Some(false);
            }
            kind => {
                has_data |= kind == b"IDAT";
                keep(chunk);
            }
        }
        if &chunk[4..8] == b"IEND" {
            return Some(exif <= MAX_EXIF_BYTES);
        }
        at += chunk.len();
    }
}

/// The chunk at the beginning of these bytes, with its length, type and checksum; `None` if there is none or it is cut.
fn png_chunk(rest: &[u8]) -> Option<&[u8]> {
    let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk()?)).ok()?;
    let is_kind = rest.get(4..8)?.iter().all(u8::is_ascii_alphabetic);
    rest.get(..length.checked_add(12)?).filter(|_| is_kind)
}

/// Keeps what is there of a chunk of picture data that is cut, and the last chunk.
fn close_png(rest: &[u8], keep: &mut dyn FnMut(&[u8])) {
    let mut keep_chunk = |content: &[u8]| {
        keep(&u32::try_from(content.len() - 4).unwrap_or_default().to_be_bytes());
        keep(content);
        keep(&crc32fast::hash(content).to_be_bytes());
    };
    if let Some(length) = rest.first_chunk().map(|length| u32::from_be_bytes(*length))
        && let Some(content) = rest.get(4..)
        && (content.starts_with(b"IDAT") || content.starts_with(b"fdAT"))
    {
        let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(4);
        keep_chunk(&content[..content.len().min(length)]);
    }
    keep_chunk(b"IEND");
}

/// Leaves out unknown extensions and repeated block terminators, adds a missing trailer and the missing end of the last
/// picture, and enlarges a logical screen that is too small for the first picture on it.
/// Upstream: in gif 0.14.2, unknown extensions and repeated block terminators are errors
/// (<https://github.com/image-rs/image-gif/issues/209>) unless `DecodeOptions::allow_unknown_blocks` is set.
/// `GifDecoder` of image 0.25.10 does not set it. A missing trailer is an error after the last frame
/// (<https://github.com/image-rs/image-gif/issues/138>; a fix is proposed in
/// <https://github.com/image-rs/image-gif/pull/237>). If the logical screen is smaller than the first picture on it, or
/// has no size, browsers enlarge it, while `GifDecoder` clips the picture; no upstream issue was found.
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
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|number| u16::from_le_bytes(*number));
    // Offset and size of the picture.
    let edge = |at: usize| Some(number(picture + 1 + at)?.saturating_add(number(picture + 5 + at)?));
    let (width, height) = (number(6)?, number(8)?);
    let (wide, high) = if bytes.get(picture) == Some(&PICTURE) { (edge(0)?, edge(2)?) } else { (0, 0) };
    if wide > width || high > height {
        keep(&bytes[..6]);
        keep(&wide.max(width).to_le_bytes());
        keep(&high.max(height).to_le_bytes());
        keep(bytes.get(10..start)?);
        is_whole = false;
    } else {
        keep(bytes.get(..start)?);
    }
    let mut has_picture = false;
    loop {
        let (end, is_kept) = match bytes.get(at) {
            Some(&EXTENSION) => (after_blocks(at + 2)?, KNOWN_LABELS.contains(bytes.get(at + 1)?)),
            Some(&PICTURE) => {
                has_picture = true;
                let blocks = at + 11 + colours(*bytes.get(at + 9)?);
                let Some(end) = after_blocks(blocks) else {
                    keep(bytes.get(at..blocks)?);
                    close_gif(&bytes[blocks..], keep);
                    return Some(false);
                };
                (end, true)
            }
            Some(0) => (at + 1, false),
            Some(&TRAILER) => {
                keep(&[TRAILER]);
                return Some(is_whole);
            }
            Some(_) if !has_picture => return None,
            // Browsers take anything else for the trailer.
            Some(_) | None => {
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

/// Keeps the sub-blocks of a picture, whose last one is cut, and ends the file behind them.
fn close_gif(mut blocks: &[u8], keep: &mut dyn FnMut(&[u8])) {
    while let Some((length, rest)) = blocks.split_first() {
        let (block, after) = rest.split_at(rest.len().min((*length).into()));
        if !block.is_empty() {
            keep(&[u8::try_from(block.len()).unwrap_or(*length)]);
            keep(block);
        }
        blocks = after;
    }
    keep(b"\0;");
}

/// Gives a bitmap of OS/2 2.x the header of Windows, whose fields are the same as far as both go. The longer header is
/// cut, and the shorter one filled up with zeros.
/// Upstream: `BmpDecoder` of image 0.25.10 knows the lengths of the other headers alone; no upstream issue was found.
///
/// Test: `a_bitmap_may_have_any_header_of_os_2`.
fn bitmap(bytes: &[u8], keep: &mut dyn FnMut(&[u8])) -> Option<bool> {
    /// Length of the file header, and of that of Windows behind it, in bytes.
    const FILE_HEADER: usize = 14;
    const WINDOWS_HEADER: usize = 40;
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number));
    let length = usize::try_from(number(FILE_HEADER)?).ok()?;
    // Compression 3 and 4 mean something else there.
    if !(16..=64).contains(&length) || matches!(length, 40 | 52 | 56) || (length >= 20 && number(30)? > 2) {
        return Some(true);
    }
    let end = FILE_HEADER + length.min(WINDOWS_HEADER);
    // Where the pixels begin counts from the start of the file.
    let start = (u64::from(number(10)?) + WINDOWS_HEADER as u64).checked_sub(length as u64)?;
    keep(&bytes[..10]);
    keep(&u32::try_from(start).ok()?.to_le_bytes());
    keep(&u32::try_from(WINDOWS_HEADER).ok()?.to_le_bytes());
    keep(bytes.get(FILE_HEADER + 4..end)?);
    keep(&[0; WINDOWS_HEADER][length.min(WINDOWS_HEADER)..]);
    keep(bytes.get(FILE_HEADER + length..)?);
    Some(false)
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
                let is_closed = matches!(format, Format::Gif | Format::Png);
                assert!(*cut.0 == file[..end] || is_closed, "{name}, cut at {end}");
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
        let small_screen = b"GIF89a\x01\0\x01\0\x80\0\0rgbRGB";
        assert_eq!(decoded(&[&small_screen[..], unknown, FRAME, b";"].concat(), Format::Gif), (2, 1));
        let aside = b",\x03\0\x04\0\x02\0\x01\0\0\x02\x02\x44\x0A\0";
        assert_eq!(decoded(&[&small_screen[..], &aside[..], b";"].concat(), Format::Gif), (5, 5));
        assert!(
            transform(&cut, Format::Gif, None, &TransformOptions { verify: true, ..TransformOptions::default() })
                .is_err()
        );
    }

    fn verified(bytes: &[u8], format: Format) -> Result<(), super::super::TransformError> {
        super::super::verify(bytes, format, &super::super::Limits::default())
    }

    #[test]
    fn a_png_may_lack_its_end() {
        for (name, size) in [("plain.png", (41, 19)), ("indexed.png", (43, 21)), ("animation.png", (22, 18))] {
            let (file, is_animated) = (sample(name), name == "animation.png");
            let data = file.len() - 12;
            let spoilt = [&file[..file.len() - 1], b"!"].concat();
            let ends: [&[u8]; 6] = [b"", b"\0", b"\0\0\0\0IEND", &[0; 40], b"\0\0\0\0IE?Dmore", &[0xFF; 9]];
            for behind in ends.map(|end| [&file[..data], end].concat()).into_iter().chain([spoilt]) {
                assert_eq!(decoded(&behind, Format::Png), size, "{name}");
                // A copy has no text.
                assert!(is_animated || *decodable(&behind, Format::Png).0 == file, "{name}");
            }
            // Of the last chunk of data only the checksum may be missing.
            for cut in (data - 4..data).filter(|_| !is_animated) {
                assert_eq!(verified(&file[..cut], Format::Png), Ok(()), "{name}, cut at {cut}");
            }
            let text = file.windows(4).position(|kind| kind == b"tEXt").map_or(data, |kind| kind - 4);
            for cut in (8..text.min(data) - 12).step_by(3) {
                assert!(verified(&file[..cut], Format::Png).is_err(), "{name}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_gif_may_lack_the_end_of_its_last_picture() {
        let file = sample("still.gif");
        // Without the trailer, the end of the last block, and both.
        for cut in [file.len() - 1, file.len() - 2] {
            for behind in [&b""[..], b"more"] {
                let cut = [&file[..cut], behind].concat();
                assert!(behind.is_empty() || cut[file.len() - 2] != 0 || verified(&cut, Format::Gif).is_ok());
            }
            assert_eq!(decoded(&file[..cut], Format::Gif), (31, 17), "cut at {cut}");
        }
        for cut in (20..file.len() - 6).step_by(3) {
            assert!(verified(&file[..cut], Format::Gif).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_screen_is_as_large_as_the_first_picture() {
        let (file, frame) = (sample("still.gif"), |bytes: &[u8]| {
            bytes.windows(10).position(|bytes| bytes == b",\0\0\0\0\x1F\0\x11\0\0").expect("a frame")
        });
        for (screen, offset, size) in [
            ((20, 9), (0, 0), (31, 17)),
            ((0, 0), (0, 0), (31, 17)),
            ((20, 40), (0, 0), (31, 40)),
            ((31, 17), (2, 3), (33, 20)),
            ((60, 70), (2, 3), (60, 70)),
        ] {
            let mut file = file.clone();
            let at = frame(&file);
            (file[6], file[8], file[at + 1], file[at + 3]) = (screen.0, screen.1, offset.0, offset.1);
            assert_eq!(decoded(&file, Format::Gif), size, "{screen:?} {offset:?}");
        }
    }

    #[test]
    fn a_bitmap_may_have_any_header_of_os_2() {
        let windows = sample("still.bmp");
        let start = u32::from_le_bytes([windows[10], windows[11], windows[12], windows[13]]);
        let pixels = &windows[usize::try_from(start).expect("a small file")..];
        for length in [16, 20, 24, 28, 32, 36, 42, 44, 46, 48, 60, 64_u8] {
            let mut header = windows[18..54].to_vec();
            header.resize(usize::from(length) - 4, 0);
            let start = 14 + u32::from(length);
            let os2 = [&windows[..10], &start.to_le_bytes(), &[length, 0, 0, 0], &header, pixels].concat();
            assert_eq!(decoded(&os2, Format::Bmp), (33, 15), "{length}");
            let opened = |bytes: &[u8]| {
                let (bytes, format) = decodable(bytes, Format::Bmp);
                super::super::decode::open(&bytes, format, &super::super::Limits::default())
                    .and_then(|opened| opened.decode(None))
                    .map(|picture| picture.data)
            };
            assert_eq!(opened(&os2), opened(&windows), "{length}");
        }
        // Huffman's compression and runs of 24 bits are not those of Windows.
        for compression in [3, 4] {
            let header = [&windows[18..30], &[compression, 0, 0, 0], &[0; 44]].concat();
            let os2 = [&windows[..10], &78_u32.to_le_bytes(), &[64, 0, 0, 0], &header, pixels].concat();
            let refused = verified(&os2, Format::Bmp);
            assert!(matches!(refused, Err(super::super::TransformError::Unsupported(_))), "{refused:?}");
        }
    }

    #[test]
    fn flags_of_a_webp_promise_nothing() {
        // dwebp 1.2.4 and Pillow 13.0.0 show all of these, and refuse what promises frames.
        for (name, size, picture) in [("lossy.webp", (45, 33), b"VP8 "), ("lossless.webp", (46, 34), b"VP8L")] {
            let file = sample(name);
            assert_eq!(&file[12..16], picture);
            let extended = |flags: u8, chunks: [&[u8]; 2]| {
                let [width, height] = [size.0 - 1, size.1 - 1].map(|side: u32| side.to_le_bytes());
                let canvas = [b"VP8X\x0A\0\0\0".as_slice(), &[flags, 0, 0, 0], &width[..3], &height[..3]].concat();
                let [before, behind] = chunks;
                let chunks = [&canvas, before, &file[12..], behind].concat();
                let length = u32::try_from(4 + chunks.len()).expect("a small file").to_le_bytes();
                [b"RIFF".as_slice(), &length, b"WEBP", &chunks].concat()
            };
            let (profile, exif, xmp) = (b"ICCP\x04\0\0\0abcd", b"EXIF\x03\0\0\0abc\0", b"XMP \x02\0\0\0ab");
            for flags in [0, 0x20, 0x10, 0x08, 0x04, 0x3C] {
                for chunks in [[&b""[..], b""], [profile, b""], [b"", exif], [exif, xmp], [b"", profile]] {
                    assert_eq!(decoded(&extended(flags, chunks), Format::Webp), size, "{name} {flags:#x}");
                }
            }
            assert!(verified(&extended(0x02, [b"", b""]), Format::Webp).is_err(), "{name}");
        }
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
