//! Signatures at the beginning of files.

use crate::format::Format;

/// So many bytes decide in every case. Binary formats need 16; SVG may open with an XML declaration, a licence comment
/// and a document type before its root element.
pub const ENOUGH: usize = 4096;

/// Every binary signature lies within 22 bytes, and of a HEIF brand list so many bytes count.
const DECIDED: usize = 64;

/// What the first bytes of a body tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An image of this format.
    Image(Format),
    /// Something else, in words for a message ("an HTML page").
    Other(&'static str),
    /// Too few bytes to tell.
    Unclear,
}

/// Looks at the beginning of a body; `complete` says that there is no more to come.
#[must_use]
pub fn recognise(head: &[u8], complete: bool) -> Verdict {
    // Whatever comes later changes nothing: a verdict does not depend on how a body was cut into pieces.
    let head = &head[..head.len().min(ENOUGH)];
    if head.is_empty() && complete {
        return Verdict::Other("empty");
    }
    let decided = complete || head.len() >= DECIDED;
    // The brands of a HEIF file are a list; the one that decides may come last.
    let box_length = head.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let is_listing = head.first() == Some(&0) && head.get(4..8) == Some(b"ftyp") && head.len() < box_length;
    if !decided && is_listing {
        return Verdict::Unclear;
    }
    if let Some(format) = binary(head) {
        return Verdict::Image(format);
    }
    if !decided {
        return Verdict::Unclear;
    }
    if let Some(other) = other_binary(head) {
        return Verdict::Other(other);
    }
    textual(head, complete || head.len() >= ENOUGH)
}

fn binary(head: &[u8]) -> Option<Format> {
    let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
    Some(match head.first()? {
        0xFF if at(0, b"\xFF\xD8\xFF") => Format::Jpeg,
        0xFF if at(0, b"\xFF\x0A") => Format::Jxl,
        0xFF if at(0, b"\xFF\x4F\xFF\x51") => Format::Jp2,
        0x89 if at(0, b"\x89PNG\r\n\x1A\n") => Format::Png,
        b'G' if at(0, b"GIF87a") || at(0, b"GIF89a") => Format::Gif,
        b'R' if at(0, b"RIFF") && at(8, b"WEBP") => Format::Webp,
        // The size in bytes 2 to 5 is often wrong; the header length at 14 is one of a handful.
        b'B' if at(0, b"BM") && matches!(head.get(14..18), Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])) => {
            Format::Bmp
        }
        b'I' if at(0, b"II\x2A\0") || at(0, b"II\x2B\0") => Format::Tiff,
        b'M' if at(0, b"MM\0\x2A") || at(0, b"MM\0\x2B") => Format::Tiff,
        0 if at(0, b"\0\0\x01\0") || at(0, b"\0\0\x02\0") => icon(head)?,
        0 if at(0, b"\0\0\0\x0CJXL \r\n\x87\n") => Format::Jxl,
        0 if at(0, b"\0\0\0\x0CjP  \r\n\x87\n") => Format::Jp2,
        0 if at(4, b"ftyp") => heif(head)?,
        b'q' if at(0, b"qoif") => Format::Qoi,
        b'P' if matches!(head.get(1..3), Some([b'1'..=b'7', b' ' | b'\t' | b'\n' | b'\r'])) => Format::Pnm,
        b'D' if at(0, b"DDS \x7C\0\0\0") => Format::Dds,
        b'#' if at(0, b"#?RADIANCE") || at(0, b"#?RGBE") => Format::Hdr,
        b'v' if at(0, b"v/1\x01") => Format::Exr,
        b'8' if at(0, b"8BPS\0\x01") || at(0, b"8BPS\0\x02") => Format::Psd,
        _ => return None,
    })
}

/// An icon directory has no signature worth the name: four bytes that many files begin with. So its first entry must
/// make sense too: at least one image, a reserved byte of 0, a picture of some size behind the directory.
fn icon(head: &[u8]) -> Option<Format> {
    let count = u16::from_le_bytes([*head.get(4)?, *head.get(5)?]);
    let entry = head.get(6..22)?;
    let size = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
    let offset = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
    (count > 0 && entry[3] == 0 && size > 0 && offset >= 6 + 16 * u32::from(count)).then_some(Format::Ico)
}

/// The brands of an ISO base media file tell still pictures from video (ISO/IEC 23008-12, annex B; AVIF, section 6).
fn heif(head: &[u8]) -> Option<Format> {
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = head.get(8..length.min(DECIDED).clamp(12, head.len().max(12)))?;
    let mut heic = false;
    for (position, brand) in brands.chunks_exact(4).enumerate() {
        match brand {
            b"avif" | b"avis" => return Some(Format::Avif),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" if position != 1 => {
                heic = true;
            }
            _ => {}
        }
    }
    heic.then_some(Format::Heic)
}

/// What is often found where an image should be.
fn other_binary(head: &[u8]) -> Option<&'static str> {
    const TABLE: &[(usize, &[u8], &str)] = &[
        (0, b"%PDF-", "a PDF document"),
        (0, b"\x1F\x8B", "gzip-compressed data"),
        (0, b"\x28\xB5\x2F\xFD", "zstd-compressed data"),
        (0, b"PK\x03\x04", "a ZIP archive"),
        (0, b"PK\x05\x06", "a ZIP archive"),
        (0, b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
        (0, b"Rar!\x1A\x07", "a RAR archive"),
        (0, b"\xFD7zXZ\0", "xz-compressed data"),
        (0, b"BZh", "bzip2-compressed data"),
        (257, b"ustar", "a tar archive"),
        (4, b"ftyp", "an MP4 or QuickTime video"),
        (0, b"\x1A\x45\xDF\xA3", "a Matroska or WebM video"),
        (0, b"FLV\x01", "a Flash video"),
        (8, b"AVI ", "an AVI video"),
        (8, b"WAVE", "a WAVE sound"),
        (0, b"OggS", "an Ogg sound or video"),
        (0, b"ID3", "an MP3 sound"),
        (0, b"fLaC", "a FLAC sound"),
        (0, b"\x7FELF", "an ELF program"),
        (0, b"MZ", "a Windows program"),
        (0, b"PAR1", "a Parquet file"),
        (0, b"SQLite format 3\0", "an SQLite database"),
        (0, b"wOFF", "a web font"),
        (0, b"wOF2", "a web font"),
    ];
    TABLE
        .iter()
        .find(|(offset, bytes, _)| head.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)))
        .map(|(_, _, what)| *what)
}

/// Tells SVG from the other things that are written as text.
fn textual(head: &[u8], decided: bool) -> Verdict {
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head);
    let mut rest = head.trim_ascii_start();
    // Declaration, comments and document type may stand before the root element.
    loop {
        match skip_markup(rest) {
            Prologue::Over => break,
            Prologue::Until(after) => rest = after.trim_ascii_start(),
            Prologue::Unfinished if decided => return Verdict::Other("an XML document"),
            Prologue::Unfinished => return Verdict::Unclear,
        }
    }
    // Every tag that is looked for, and the opening of a comment or document type, fits into so many bytes.
    let is_cut = rest.is_empty() || (rest.starts_with(b"<") && rest.len() < "<!doctype html".len());
    if is_cut && !decided {
        return Verdict::Unclear;
    }
    let starts = |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if starts("<svg") || starts("<svg:svg") {
        return Verdict::Image(Format::Svg);
    }
    Verdict::Other(match rest.first() {
        _ if [
            "<!doctype html",
            "<html",
            "<head",
            "<body",
            "<script",
            "<title",
            "<meta",
            "<div",
            "<p>",
            "<h1",
            "<a ",
        ]
        .iter()
        .any(|tag| starts(tag)) =>
        {
            "an HTML page"
        }
        Some(b'<') => "an XML document",
        Some(b'{' | b'[') => "a JSON document",
        None => "white space",
        Some(_) if head.iter().take(512).all(|byte| !matches!(byte, 0..=8 | 14..=31)) => "text",
        Some(_) => "data of an unknown kind",
    })
}

/// What stands before the root element of an XML document.
enum Prologue<'a> {
    /// Nothing more.
    Over,
    /// One piece, which ends before these bytes.
    Until(&'a [u8]),
    /// One piece, which does not end here.
    Unfinished,
}

fn skip_markup(rest: &[u8]) -> Prologue<'_> {
    let skip_to = |mark: &[u8]| match rest.windows(mark.len()).position(|window| window == mark) {
        Some(at) => Prologue::Until(&rest[at + mark.len()..]),
        None => Prologue::Unfinished,
    };
    if rest.starts_with(b"<?") {
        skip_to(b"?>")
    } else if rest.starts_with(b"<!--") {
        skip_to(b"-->")
    } else if rest.get(..13).is_some_and(|start| start.eq_ignore_ascii_case(b"<!doctype svg")) {
        // An internal subset in brackets holds `>` of its own.
        let bracket = rest.iter().position(|byte| *byte == b'[');
        let close = rest.iter().position(|byte| *byte == b'>');
        skip_to(if bracket.is_some() && (close.is_none() || bracket < close) { b"]>" } else { b">" })
    } else {
        Prologue::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_recognised() {
        let table: [(&[u8], Format); 22] = [
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Format::Jpeg),
            (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", Format::Png),
            (b"GIF89a\x01\0\x01\0", Format::Gif),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Format::Webp),
            (b"\0\0\0\x1CftypavifmifAavif", Format::Avif),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", Format::Avif),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Format::Heic),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Format::Bmp),
            (b"II\x2A\0\x08\0\0\0", Format::Tiff),
            (b"MM\0\x2A\0\0\0\x08", Format::Tiff),
            (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0", Format::Ico),
            (b"\xFF\x0A\xFA\x7F", Format::Jxl),
            (b"\0\0\0\x0CJXL \r\n\x87\n", Format::Jxl),
            (b"\0\0\0\x0CjP  \r\n\x87\n", Format::Jp2),
            (b"qoif\0\0\0\x01", Format::Qoi),
            (b"P6\n2 2\n255\n", Format::Pnm),
            (b"DDS \x7C\0\0\0", Format::Dds),
            (b"#?RADIANCE\n", Format::Hdr),
            (b"v/1\x01\x02\0\0\0", Format::Exr),
            (b"8BPS\0\x01\0\0", Format::Psd),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Format::Svg),
            (
                b"\xEF\xBB\xBF<?xml version='1.0'?>\n<!-- by > me -->\n<!DOCTYPE svg PUBLIC 'x' 'y' [<!ENTITY a 'b'>]>\n<SVG/>",
                Format::Svg,
            ),
        ];
        for (bytes, format) in table {
            assert_eq!(recognise(bytes, true), Verdict::Image(format), "{format}");
            for end in 0..bytes.len() {
                let early = recognise(&bytes[..end], false);
                assert!(
                    matches!(early, Verdict::Unclear) || early == Verdict::Image(format),
                    "{format} at {end}: {early:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_image_is_named() {
        let table: [(&[u8], &str); 11] = [
            (b"", "empty"),
            (b"<!DOCTYPE html><html>", "an HTML page"),
            (b"  \n<HTML lang=en>", "an HTML page"),
            (b"<!-- x --><html>", "an HTML page"),
            (b"{\"error\":1}", "a JSON document"),
            (b"<?xml version='1.0'?><Error/>", "an XML document"),
            (b"%PDF-1.7\n", "a PDF document"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "an MP4 or QuickTime video"),
            (b"Not found", "text"),
            (b"\x01\x02\x03\x04\0\0", "data of an unknown kind"),
            (b"BMW is a car maker, not a bitmap", "text"),
        ];
        for (bytes, what) in table {
            assert_eq!(recognise(bytes, true), Verdict::Other(what), "{what}");
        }
    }

    #[test]
    fn a_long_list_of_brands_is_read_as_far_whatever_has_come() {
        // The deciding brand comes after 64 bytes.
        let file = [b"\0\0\0\x60ftypmif1\0\0\0\0".as_slice(), &b"miaf".repeat(19), b"avif"].concat();
        for end in [64, 80, file.len()] {
            assert_eq!(recognise(&file[..end], false), Verdict::Image(Format::Heic), "{end}");
        }
        // What is another format already is no list of brands.
        assert_eq!(recognise(b"P2\n", false), Verdict::Image(Format::Pnm));
        assert_eq!(recognise(b"P2\nPftyp", false), Verdict::Image(Format::Pnm));
        let late = [b"<!--".as_slice(), &[b'x'; ENOUGH], b"--><svg/>"].concat();
        assert_eq!(recognise(&late, false), Verdict::Other("an XML document"));
        assert_eq!(recognise(&late, true), Verdict::Other("an XML document"));
    }

    #[test]
    fn a_short_beginning_waits_and_a_long_one_decides() {
        assert_eq!(recognise(b"", false), Verdict::Unclear);
        assert_eq!(recognise(b"\x89PN", false), Verdict::Unclear);
        assert_eq!(recognise(b"<?xml version='1.0'?>", false), Verdict::Unclear);
        let licence = [b"<?xml version='1.0'?><!--".as_slice(), &[b'x'; 300]].concat();
        assert_eq!(recognise(&licence, false), Verdict::Unclear);
        let endless = [b"<!--".as_slice(), &[b'x'; ENOUGH]].concat();
        assert_eq!(recognise(&endless, false), Verdict::Other("an XML document"));
        assert_eq!(recognise(&[b'x'; 64], false), Verdict::Other("text"));
        assert_eq!(recognise(&[b' '; 64], false), Verdict::Unclear);
        assert_eq!(recognise(&[b' '; ENOUGH], false), Verdict::Other("white space"));
    }
}
