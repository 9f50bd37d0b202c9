//! Detects image formats by signatures at the beginning of files, and TGA by one at the end.

use super::integers::le16;
use super::xml;
use crate::record::Format;

/// The most bytes at the beginning of a body that are examined. They decide in all cases but one: a TGA file is
/// recognised only by its end. Beyond `PLAIN_HEAD_BYTES` they count only in a document of markup: an SVG may have licence
/// comments and a document type with an internal subset before its root element.
pub const MAX_HEAD_BYTES: usize = 65_536;

/// Bytes that are examined if the body does not begin as a document of markup. Binary formats need far fewer.
const PLAIN_HEAD_BYTES: usize = 4096;

/// Growth in bytes after which a long beginning is examined again. Each time it is read from its start.
const EXAMINED_STEP_BYTES: usize = 1024;

/// Bytes after which no binary signature is waited for: all of them lie within 22 bytes, and of the brand list of a
/// HEIF only this part counts.
const BINARY_HEAD_BYTES: usize = 64;

/// Result of recognising a body by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// An image of this format.
    Image(Format),
    /// Something else, worded for a message ("an HTML page").
    Other(&'static str),
    /// More bytes are needed.
    Unclear,
}

/// Recognises a body by its beginning, of which at most [`MAX_HEAD_BYTES`] bytes count. `complete` says that `head` is
/// the whole body.
#[must_use]
pub fn recognise(head: &[u8], complete: bool) -> Recognition {
    recognise_with_end(head, complete.then_some(head))
}

/// Recognises a body by its beginning and, once it is complete, by its last bytes, in which [`TGA_FOOTER`] is searched.
fn recognise_with_end(head: &[u8], end: Option<&[u8]>) -> Recognition {
    // Later bytes are not examined, so the result does not depend on how a body was cut into pieces.
    let max_bytes = examined_bytes(head);
    let head = &head[..head.len().min(max_bytes)];
    let complete = end.is_some();
    if head.is_empty() && complete {
        return Recognition::Other("empty");
    }
    let decided = complete || head.len() >= BINARY_HEAD_BYTES;
    // The brands of a HEIF file are a list; the deciding one may come last.
    let box_length = head.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let is_listing = head.first() == Some(&0) && head.get(4..8) == Some(b"ftyp") && head.len() < box_length;
    if !decided && is_listing {
        return Recognition::Unclear;
    }
    if let Some(format) = binary(head) {
        return Recognition::Image(format);
    }
    if !decided {
        return Recognition::Unclear;
    }
    if let Some(other) = other_binary(head) {
        return Recognition::Other(other);
    }
    if may_be_tga(head) {
        return match end {
            None => Recognition::Unclear,
            Some(end) if end.ends_with(TGA_FOOTER) => Recognition::Image(Format::Tga),
            Some(_) => Recognition::Other(UNKNOWN_DATA),
        };
    }
    textual(head, complete || head.len() >= max_bytes)
}

/// How many bytes of a body with this beginning count.
fn examined_bytes(head: &[u8]) -> usize {
    let start = xml::decoded(&head[..head.len().min(PLAIN_HEAD_BYTES)]);
    if start.trim_ascii_start().starts_with(b"<") { MAX_HEAD_BYTES } else { PLAIN_HEAD_BYTES }
}

/// The last bytes of a TGA file (Truevision TGA 2.0, field 32). Files of version 1 have no signature and are not
/// recognised.
const TGA_FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";

/// Whether a body may be a TGA file: its header has no signature, but only few values of its fields are valid.
fn may_be_tga(head: &[u8]) -> bool {
    let Some([_, has_map, kind, map @ .., depth, descriptor]) = head.first_chunk::<18>() else { return false };
    let is_mapped = *has_map == 1 && map[2..4] != [0, 0] && matches!(map[4], 15 | 16 | 24 | 32);
    let is_map = match kind {
        1 | 9 => is_mapped,
        2 | 3 | 10 | 11 => is_mapped || (*has_map == 0 && map[..5] == [0; 5]),
        _ => false,
    };
    let has_size = le16(head, 12) > Some(0) && le16(head, 14) > Some(0);
    // The lower four bits are the number of alpha bits, the upper two are reserved.
    let is_described = descriptor & 15 <= 8 && descriptor & 0xC0 == 0;
    is_map && has_size && matches!(depth, 8 | 15 | 16 | 24 | 32) && is_described
}

/// Recognises a body that comes in pieces of any size.
#[derive(Clone, Debug)]
pub struct Recogniser {
    recognition: Recognition,
    head: Vec<u8>,
    end: [u8; TGA_FOOTER.len()],
}

impl Default for Recogniser {
    fn default() -> Self {
        Self { recognition: Recognition::Unclear, head: Vec::new(), end: [0; TGA_FOOTER.len()] }
    }
}

impl Recogniser {
    /// Takes the next piece and returns what is known now. A result other than `Unclear` is final.
    pub fn feed(&mut self, piece: &[u8]) -> Recognition {
        if self.recognition != Recognition::Unclear {
            return self.recognition;
        }
        let before = self.head.len();
        // The first piece mostly decides, and nothing has to be kept. A body that is unclear after the bytes that count
        // stays so until its end.
        if before == 0 {
            self.recognition = recognise(piece, false);
            if self.recognition == Recognition::Unclear {
                self.head.extend_from_slice(&piece[..piece.len().min(examined_bytes(piece))]);
            }
        } else {
            self.grow(piece);
        }
        if self.recognition == Recognition::Unclear {
            let passed = piece.len().min(self.end.len());
            self.end.copy_within(passed.., 0);
            let kept = self.end.len() - passed;
            self.end[kept..].copy_from_slice(&piece[piece.len() - passed..]);
        }
        self.recognition
    }

    /// Adds a later piece to the beginning, and examines it where that may tell more.
    fn grow(&mut self, piece: &[u8]) {
        let before = self.head.len();
        let possible = if before < PLAIN_HEAD_BYTES { MAX_HEAD_BYTES } else { examined_bytes(&self.head) };
        self.head.extend_from_slice(&piece[..piece.len().min(possible - before)]);
        let max_bytes = examined_bytes(&self.head);
        self.head.truncate(max_bytes);
        let length = self.head.len();
        let is_due = before < PLAIN_HEAD_BYTES
            || length / EXAMINED_STEP_BYTES > before / EXAMINED_STEP_BYTES
            || length == max_bytes;
        if length > before && is_due {
            self.recognition = recognise(&self.head, false);
            if self.recognition != Recognition::Unclear {
                self.head.truncate(before);
            }
        }
    }

    /// The bytes before the piece that decided. If only the end of the body decided, the bytes of its beginning that
    /// count.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The result for the complete body.
    #[must_use]
    pub fn end(&self) -> Recognition {
        match self.recognition {
            Recognition::Unclear => recognise_with_end(&self.head, Some(&self.end)),
            clear => clear,
        }
    }
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
        // The file size in bytes 2 to 5 is often wrong; the header length at 14 has only a few valid values. That of
        // OS/2 2.x may be cut behind any field that has zeros from there on.
        b'B' if at(0, b"BM")
            && matches!(
                head.get(14..18),
                Some([
                    12 | 16 | 20 | 24 | 28 | 32 | 36 | 40 | 42 | 44 | 46 | 48 | 52 | 56 | 60 | 64 | 108 | 124,
                    0,
                    0,
                    0
                ])
            ) =>
        {
            Format::Bmp
        }
        b'I' if at(0, b"II\x2A\0") || at(0, b"II\x2B\0") => Format::Tiff,
        // Camera raw; that of other makers begins as a TIFF.
        b'I' if at(0, b"IIRO") || at(0, b"IIRS") => Format::Orf,
        b'M' if at(0, b"MMOR") => Format::Orf,
        b'I' if at(0, b"II\x55\0") => Format::Rw2,
        b'F' if at(0, b"FUJIFILMCCD-RAW ") => Format::Raf,
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

/// Many files begin with the four bytes of an icon directory. So its first entry must be valid too: at least one
/// picture, an unused reserved byte, and a picture that is not empty and lies behind the directory.
fn icon(head: &[u8]) -> Option<Format> {
    let count = u16::from_le_bytes([*head.get(4)?, *head.get(5)?]);
    let entry = head.get(6..22)?;
    let size = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
    let offset = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
    // It should be 0. .NET writes 255, and viewers accept that.
    let is_reserved = matches!(entry[3], 0 | 255);
    (count > 0 && is_reserved && size > 0 && offset >= 6 + 16 * u32::from(count)).then_some(Format::Ico)
}

/// Tells still pictures from video by the brands of an ISO base media file (ISO/IEC 23008-12, annex B; AVIF, section
/// 6).
fn heif(head: &[u8]) -> Option<Format> {
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = head.get(8..length.min(BINARY_HEAD_BYTES).clamp(12, head.len().max(12)))?;
    let mut heic = false;
    for (position, brand) in brands.chunks_exact(4).enumerate() {
        match brand {
            b"avif" | b"avis" => return Some(Format::Avif),
            b"crx " if position == 0 => return Some(Format::Cr3),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" if position != 1 => {
                heic = true;
            }
            _ => {}
        }
    }
    heic.then_some(Format::Heic)
}

/// Names other binary formats that are often served in place of an image.
fn other_binary(head: &[u8]) -> Option<&'static str> {
    const TABLE: &[(usize, &[u8], &str)] = &[
        (0, b"%PDF-", "a PDF document"),
        (0, b"%!PS", "a PostScript document"),
        (0, b"\xC5\xD0\xD3\xC6", "a PostScript document"),
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
        (0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "a Windows Media video"),
        (0, b"\0\0\x01\xBA", "an MPEG video"),
        (0, b"FWS", "a Flash animation"),
        (0, b"CWS", "a Flash animation"),
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
        // Images in formats that no browser shows.
        (0, b"gimp xcf ", "a GIMP picture"),
        (0, b"icns", "a Macintosh icon"),
        (0, b"II\xBC\x01", "a JPEG XR picture"),
        (0, b"wOFF", "a web font"),
        (0, b"wOF2", "a web font"),
    ];
    TABLE
        .iter()
        .find(|(offset, bytes, _)| head.get(*offset..).is_some_and(|rest| rest.starts_with(bytes)))
        .map(|(_, _, what)| *what)
}

/// Tells SVG from other text formats.
fn textual(head: &[u8], decided: bool) -> Recognition {
    let head = &*xml::decoded(head);
    let Some(rest) = xml::skip_prolog(head) else {
        return if decided { Recognition::Other("an XML document") } else { Recognition::Unclear };
    };
    // A tag is recognised once its whole name is there.
    let is_cut = rest.is_empty() || (rest.starts_with(b"<") && xml::name(rest).is_none());
    if is_cut && !decided {
        return Recognition::Unclear;
    }
    let starts = |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if !rest.starts_with(b"<!") && xml::name(rest).is_some_and(xml::is_svg) {
        return Recognition::Image(Format::Svg);
    }
    Recognition::Other(match rest.first() {
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
        Some(_) => UNKNOWN_DATA,
    })
}

const UNKNOWN_DATA: &str = "data of an unknown kind";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_recognised() {
        let table: [(&[u8], Format); 33] = [
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", Format::Jpeg),
            (b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR", Format::Png),
            (b"GIF89a\x01\0\x01\0", Format::Gif),
            (b"RIFF\x24\0\0\0WEBPVP8 ", Format::Webp),
            (b"\0\0\0\x1CftypavifmifAavif", Format::Avif),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", Format::Avif),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Format::Heic),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Format::Bmp),
            (b"BM\x46\0\0\0\0\0\0\0\x1E\0\0\0\x10\0\0\0", Format::Bmp),
            (b"BM\x46\0\0\0\0\0\0\0\x4E\0\0\0\x40\0\0\0", Format::Bmp),
            (b"II\x2A\0\x08\0\0\0", Format::Tiff),
            (b"IIRO\x08\0\0\0", Format::Orf),
            (b"MMOR\0\0\0\x08", Format::Orf),
            (b"II\x55\0\x18\0\0\0", Format::Rw2),
            (b"FUJIFILMCCD-RAW 0201", Format::Raf),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", Format::Cr3),
            (b"MM\0\x2A\0\0\0\x08", Format::Tiff),
            (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0", Format::Ico),
            (b"\0\0\x01\0\x01\0\x10\x10\0\xFF\x01\0\x20\0\x68\x04\0\0\x16\0\0\0", Format::Ico),
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
            (b"<ns0:svg xmlns:ns0='http://www.w3.org/2000/svg'/>", Format::Svg),
            (b"<!DOCTYPE\n  svg PUBLIC 'x' 'y' [\n<!ENTITY a '[b]'>\n] >\n<svg/>", Format::Svg),
            (b"<!doctype svg:svg>\n<svg:svg/>", Format::Svg),
            (
                b"\xEF\xBB\xBF<?xml version='1.0'?>\n<!-- by > me -->\n<!DOCTYPE svg PUBLIC 'x' 'y' [<!ENTITY a 'b'>]>\n<SVG/>",
                Format::Svg,
            ),
        ];
        for (bytes, format) in table {
            assert_eq!(recognise(bytes, true), Recognition::Image(format), "{format}");
            for end in 0..bytes.len() {
                let early = recognise(&bytes[..end], false);
                assert!(
                    matches!(early, Recognition::Unclear) || early == Recognition::Image(format),
                    "{format} at {end}: {early:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_image_is_named() {
        let table: [(&[u8], &str); 32] = [
            (b"", "empty"),
            (b"<!DOCTYPE\n html>\n<svg>", "an XML document"),
            (b"<notsvg><svg/></notsvg>", "an XML document"),
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
            (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript document"),
            (b"\x1F\x8B\x08\0", "gzip-compressed data"),
            (b"PK\x03\x04\x14\0", "a ZIP archive"),
            (b"7z\xBC\xAF\x27\x1C\0\x04", "a 7z archive"),
            (b"Rar!\x1A\x07\x01\0", "a RAR archive"),
            (b"\xFD7zXZ\0\0", "xz-compressed data"),
            (b"BZh91AY", "bzip2-compressed data"),
            (b"\x1A\x45\xDF\xA3\x9F", "a Matroska or WebM video"),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "an MP4 or QuickTime video"),
            (b"RIFF\x24\0\0\0AVI LIST", "an AVI video"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "a WAVE sound"),
            (b"\0\0\x01\xBA\x44\0", "an MPEG video"),
            (b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9", "a Windows Media video"),
            (b"OggS\0\x02", "an Ogg sound or video"),
            (b"ID3\x04\0", "an MP3 sound"),
            (b"gimp xcf v011", "a GIMP picture"),
            (b"II\xBC\x01\x08\0\0\0", "a JPEG XR picture"),
            (b"[1, 2]", "a JSON document"),
            (b"<!DOCTYPE note SYSTEM 'a.dtd'><note/>", "an XML document"),
        ];
        for (bytes, what) in table {
            assert_eq!(recognise(bytes, true), Recognition::Other(what), "{what}");
            // The same when more bytes follow.
            let long = [bytes, &vec![b' '; MAX_HEAD_BYTES]].concat();
            assert!(bytes.is_empty() || recognise(&long, false) == Recognition::Other(what), "{what}");
        }
    }

    #[test]
    fn a_long_list_of_brands_is_read_to_the_same_limit_however_much_has_come() {
        // The deciding brand comes after 64 bytes.
        let file = [b"\0\0\0\x60ftypmif1\0\0\0\0".as_slice(), &b"miaf".repeat(19), b"avif"].concat();
        for end in [64, 80, file.len()] {
            assert_eq!(recognise(&file[..end], false), Recognition::Image(Format::Heic), "{end}");
        }
        // A body of another format is no list of brands.
        assert_eq!(recognise(b"P2\n", false), Recognition::Image(Format::Pnm));
        assert_eq!(recognise(b"P2\nPftyp", false), Recognition::Image(Format::Pnm));
        let late = [b"<!--".as_slice(), &vec![b'x'; MAX_HEAD_BYTES], b"--><svg/>"].concat();
        assert_eq!(recognise(&late, false), Recognition::Other("an XML document"));
        assert_eq!(recognise(&late, true), Recognition::Other("an XML document"));
    }

    #[test]
    fn a_drawing_is_found_behind_a_long_prolog_and_in_utf_16() {
        let asides = ["<!-- licence -->", "<?pi text?>\n", "<!-- <html> -->\n\n"];
        for aside in asides {
            let prolog = format!("<?xml version='1.0'?>{}", aside.repeat(50_000 / aside.len()));
            for root in ["<svg width='3'/>", "<!DOCTYPE svg [<!ENTITY a ']>'>]><svg:svg/>"] {
                let text = format!("{prolog}{root}");
                assert_eq!(recognise(text.as_bytes(), false), Recognition::Image(Format::Svg), "{aside} {root}");
                assert_eq!(recognise(&text.as_bytes()[..prolog.len()], false), Recognition::Unclear, "{aside}");
                let other = format!("{prolog}<html>");
                assert_eq!(recognise(other.as_bytes(), false), Recognition::Other("an HTML page"), "{aside}");
            }
        }
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let utf16 = |text: &str| text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
            let declaration = "<?xml version='1.0' encoding='UTF-16'?>";
            for (text, recognition) in [
                (format!("{declaration}<svg/>"), Recognition::Image(Format::Svg)),
                ("\u{FEFF}<svg/>".to_owned(), Recognition::Image(Format::Svg)),
                (format!("\u{FEFF}{declaration}<!--{}--><svg/>", "é".repeat(30_000)), Recognition::Image(Format::Svg)),
                (format!("{declaration}<note/>"), Recognition::Other("an XML document")),
                ("\u{FEFF}<html><svg/></html>".to_owned(), Recognition::Other("an HTML page")),
                ("\u{FEFF}Not found".to_owned(), Recognition::Other("text")),
            ] {
                let body = utf16(&text);
                assert_eq!(recognise(&body, true), recognition, "{text:.80}");
                let mut recogniser = Recogniser::default();
                for piece in body.chunks(511) {
                    recogniser.feed(piece);
                }
                assert_eq!(recogniser.end(), recognition, "{text:.80}");
            }
        }
    }

    #[test]
    fn a_short_beginning_waits_and_a_long_one_decides() {
        assert_eq!(recognise(b"", false), Recognition::Unclear);
        assert_eq!(recognise(b"\x89PN", false), Recognition::Unclear);
        assert_eq!(recognise(b"<?xml version='1.0'?>", false), Recognition::Unclear);
        let licence = [b"<?xml version='1.0'?><!--".as_slice(), &[b'x'; 300]].concat();
        assert_eq!(recognise(&licence, false), Recognition::Unclear);
        let endless = [b"<!--".as_slice(), &vec![b'x'; MAX_HEAD_BYTES]].concat();
        assert_eq!(recognise(&endless, false), Recognition::Other("an XML document"));
        assert_eq!(recognise(&[b'x'; 64], false), Recognition::Other("text"));
        assert_eq!(recognise(&[b' '; 64], false), Recognition::Unclear);
        assert_eq!(recognise(&[b' '; PLAIN_HEAD_BYTES], false), Recognition::Other("white space"));
    }

    /// A TGA of one grey pixel.
    fn tga() -> Vec<u8> {
        let header = b"\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x08\x20";
        [header.as_slice(), &[0x7F], &[0; 8], TGA_FOOTER].concat()
    }

    #[test]
    fn a_tga_is_recognised_by_its_end() {
        let file = tga();
        for end in 0..file.len() {
            assert_eq!(recognise(&file[..end], false), Recognition::Unclear, "{end}");
        }
        assert_eq!(recognise(&file, true), Recognition::Image(Format::Tga));
        assert_eq!(recognise(&file[..file.len() - 1], true), Recognition::Other(UNKNOWN_DATA));
        let longer = [&file[..19], &vec![0; 3 * MAX_HEAD_BYTES], TGA_FOOTER].concat();
        assert_eq!(recognise(&longer[..2 * MAX_HEAD_BYTES], false), Recognition::Unclear);
        assert_eq!(recognise(&longer, true), Recognition::Image(Format::Tga));
        // A body with an invalid header is not read to its end.
        for (at, value) in [(1, 2), (2, 4), (5, 1), (12, 0), (14, 0), (16, 7), (17, 0x40), (17, 9)] {
            let mut other = longer.clone();
            other[at] = value;
            assert_eq!(recognise(&other[..64], false), Recognition::Other(UNKNOWN_DATA), "{at}");
            assert_eq!(recognise(&other, true), Recognition::Other(UNKNOWN_DATA), "{at}");
        }
        let mut mapped = longer.clone();
        mapped[1..8].copy_from_slice(&[1, 9, 0, 0, 0, 1, 24]);
        assert_eq!(recognise(&mapped, true), Recognition::Image(Format::Tga));
    }

    #[test]
    fn a_recogniser_says_the_same_however_a_body_is_cut() {
        let long = |file: &[u8], length| [&file[..19], &vec![0; length], TGA_FOOTER].concat();
        let behind = |start: &[u8], length, end: &[u8]| [start, &vec![b'x'; length], end].concat();
        let (tga, late) = (tga(), behind(b"<!--", 3000, b"--><svg/>"));
        let spaces = [vec![b' '; 4000], behind(b"<!--", 9000, b"--><svg/>")].concat();
        let files: [&[u8]; 14] = [
            b"",
            b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR",
            b"Not found",
            &tga,
            &long(&tga, PLAIN_HEAD_BYTES - 30),
            &long(&tga, 3 * PLAIN_HEAD_BYTES),
            &[long(&tga, 100), vec![0]].concat(),
            &late,
            &spaces,
            &behind(b"<!--", MAX_HEAD_BYTES - 12, b"--><svg/>"),
            &behind(b"<!--", MAX_HEAD_BYTES - 11, b"--><svg/>"),
            &behind(b"<!--", MAX_HEAD_BYTES, b"--><svg/>"),
            &behind(b"<!--", 20_000, b"--><html>"),
            &behind(b"", 2 * PLAIN_HEAD_BYTES, b"<svg/>"),
        ];
        for file in files {
            // Single bytes take long with a long file.
            let small = if file.len() > 20_000 { 100 } else { 1 };
            for size in [small, 2, 7, 17, 18, 19, 512, PLAIN_HEAD_BYTES, MAX_HEAD_BYTES, file.len().max(1)] {
                let mut recogniser = Recogniser::default();
                let mut seen = 0;
                for piece in file.chunks(size) {
                    if recogniser.feed(piece) != Recognition::Unclear {
                        break;
                    }
                    seen += piece.len();
                }
                assert_eq!(recogniser.end(), recognise(file, true), "{} bytes in pieces of {size}", file.len());
                assert_eq!(recogniser.head(), &file[..seen.min(examined_bytes(file))]);
            }
        }
    }
}
