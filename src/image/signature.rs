//! Signatures at the beginning of files, and one at the end.

use super::fields::le16;
use crate::record::Format;

/// So many bytes decide in every case but one. Binary formats need 16; SVG may open with an XML declaration, a licence
/// comment and a document type before its root element. A TGA file is told by its end alone.
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

/// Looks at the beginning of a body, of which [`ENOUGH`] bytes count; `complete` says that there is no more to come, and
/// that `head` is all of it.
#[must_use]
pub fn recognise(head: &[u8], complete: bool) -> Verdict {
    judge(head, complete.then_some(head))
}

/// Looks at the beginning of a body, and at its last bytes once they are known: [`FOOTER`] is found in them.
fn judge(head: &[u8], end: Option<&[u8]>) -> Verdict {
    // Whatever comes later changes nothing: a verdict does not depend on how a body was cut into pieces.
    let head = &head[..head.len().min(ENOUGH)];
    let complete = end.is_some();
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
    if may_be_tga(head) {
        return match end {
            None => Verdict::Unclear,
            Some(end) if end.ends_with(FOOTER) => Verdict::Image(Format::Tga),
            Some(_) => Verdict::Other(UNKNOWN),
        };
    }
    textual(head, complete || head.len() >= ENOUGH)
}

/// The last bytes of a TGA file (Truevision TGA 2.0, field 32). Older files have no mark at all, and are not recognised.
const FOOTER: &[u8] = b"TRUEVISION-XFILE.\0";

/// Whether a body begins as a TGA file may: its header has no signature, but few values that make sense.
fn may_be_tga(head: &[u8]) -> bool {
    let Some([_, has_map, kind, map @ .., depth, descriptor]) = head.first_chunk::<18>() else { return false };
    let is_mapped = *has_map == 1 && map[2..4] != [0, 0] && matches!(map[4], 15 | 16 | 24 | 32);
    let is_map = match kind {
        1 | 9 => is_mapped,
        2 | 3 | 10 | 11 => is_mapped || (*has_map == 0 && map[..5] == [0; 5]),
        _ => false,
    };
    let has_size = le16(head, 12) > Some(0) && le16(head, 14) > Some(0);
    // Bits of transparency; two bits above the two of the orientation are reserved.
    let is_described = descriptor & 15 <= 8 && descriptor & 0xC0 == 0;
    is_map && has_size && matches!(depth, 8 | 15 | 16 | 24 | 32) && is_described
}

/// Tells what a body is while it comes, in pieces of any size.
#[derive(Clone, Debug)]
pub struct Recogniser {
    verdict: Verdict,
    head: Vec<u8>,
    end: [u8; FOOTER.len()],
}

impl Default for Recogniser {
    fn default() -> Self {
        Self { verdict: Verdict::Unclear, head: Vec::new(), end: [0; FOOTER.len()] }
    }
}

impl Recogniser {
    /// Takes the next piece and tells what is known now. A verdict that is clear stays.
    pub fn feed(&mut self, piece: &[u8]) -> Verdict {
        if self.verdict != Verdict::Unclear {
            return self.verdict;
        }
        let before = self.head.len();
        let counts = &piece[..piece.len().min(ENOUGH - before)];
        // Mostly the first piece settles it and nothing has to be kept. And what is unclear for so long stays unclear.
        if before == 0 {
            self.verdict = recognise(counts, false);
        } else if !counts.is_empty() {
            self.head.extend_from_slice(counts);
            self.verdict = recognise(&self.head, false);
            self.head.truncate(before);
        }
        if self.verdict == Verdict::Unclear {
            self.head.extend_from_slice(counts);
            let passed = piece.len().min(self.end.len());
            self.end.copy_within(passed.., 0);
            let kept = self.end.len() - passed;
            self.end[kept..].copy_from_slice(&piece[piece.len() - passed..]);
        }
        self.verdict
    }

    /// What came before the piece that made the verdict clear: all of it, or [`ENOUGH`] bytes of a body that nothing but
    /// its end made clear.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The verdict on a body that is complete.
    #[must_use]
    pub fn end(&self) -> Verdict {
        match self.verdict {
            Verdict::Unclear => judge(&self.head, Some(&self.end)),
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
/// make sense too: at least one image, a reserved byte that nobody uses, a picture of some size behind the directory.
fn icon(head: &[u8]) -> Option<Format> {
    let count = u16::from_le_bytes([*head.get(4)?, *head.get(5)?]);
    let entry = head.get(6..22)?;
    let size = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
    let offset = u32::from_le_bytes([entry[12], entry[13], entry[14], entry[15]]);
    // It is to be 0; .NET writes 255, and nobody minds.
    let is_reserved = matches!(entry[3], 0 | 255);
    (count > 0 && is_reserved && size > 0 && offset >= 6 + 16 * u32::from(count)).then_some(Format::Ico)
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
        // Pictures of kinds that no browser shows.
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

/// Tells SVG from the other things that are written as text.
fn textual(head: &[u8], decided: bool) -> Verdict {
    let Some(rest) = skip_prologue(head) else {
        return if decided { Verdict::Other("an XML document") } else { Verdict::Unclear };
    };
    // A tag tells what it is once its name is all there, and every tag that is looked for is that long.
    let is_cut = rest.is_empty() || (rest.starts_with(b"<") && name(rest).is_none());
    if is_cut && !decided {
        return Verdict::Unclear;
    }
    let starts = |word: &str| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if !rest.starts_with(b"<!") && name(rest).is_some_and(is_svg) {
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
        Some(_) => UNKNOWN,
    })
}

const UNKNOWN: &str = "data of an unknown kind";

/// What comes after declaration, comments and document type, which may stand before the root element. Nothing where these
/// do not end.
pub(super) fn skip_prologue(head: &[u8]) -> Option<&[u8]> {
    let mut rest = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    loop {
        match skip_markup(rest) {
            Prologue::Over => return Some(rest),
            Prologue::Until(after) => rest = after.trim_ascii_start(),
            Prologue::Unfinished => return None,
        }
    }
}

/// The name of a tag, or of the root element that a document type announces, once it is all there.
fn name(tag: &[u8]) -> Option<&[u8]> {
    const DECLARED: &[u8] = b"<!doctype";
    let is_declared = tag.get(..DECLARED.len()).is_some_and(|start| start.eq_ignore_ascii_case(DECLARED));
    let rest = if is_declared { tag[DECLARED.len()..].trim_ascii_start() } else { tag.strip_prefix(b"<")? };
    let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/' | b'['))?;
    Some(&rest[..end])
}

/// Whether that is the root element of an SVG. It may have a prefix, which is whatever its writer likes: Python's
/// `ElementTree` calls it `ns0:svg`.
fn is_svg(name: &[u8]) -> bool {
    name.rsplit(|byte| *byte == b':').next().is_some_and(|local| local.eq_ignore_ascii_case(b"svg"))
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
    } else if rest.starts_with(b"<!") && name(rest).is_some_and(is_svg) {
        // An internal subset in brackets holds `>` of its own.
        let bracket = rest.iter().position(|byte| *byte == b'[');
        let close = rest.iter().position(|byte| *byte == b'>');
        if bracket.is_none() || (close.is_some() && close < bracket) {
            return skip_to(b">");
        }
        let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b']');
        match ends.find_map(|(at, _)| rest[at + 1..].trim_ascii_start().strip_prefix(b">")) {
            Some(after) => Prologue::Until(after),
            None => Prologue::Unfinished,
        }
    } else {
        Prologue::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_recognised() {
        let table: [(&[u8], Format); 26] = [
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
            assert_eq!(recognise(bytes, true), Verdict::Other(what), "{what}");
            // And long before its end.
            let long = [bytes, &[b' '; ENOUGH]].concat();
            assert!(bytes.is_empty() || recognise(&long, false) == Verdict::Other(what), "{what}");
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

    /// A TGA of one grey pixel.
    fn tga() -> Vec<u8> {
        let header = b"\0\0\x03\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x08\x20";
        [header.as_slice(), &[0x7F], &[0; 8], FOOTER].concat()
    }

    #[test]
    fn a_tga_is_proved_by_its_end() {
        let file = tga();
        for end in 0..file.len() {
            assert_eq!(recognise(&file[..end], false), Verdict::Unclear, "{end}");
        }
        assert_eq!(recognise(&file, true), Verdict::Image(Format::Tga));
        assert_eq!(recognise(&file[..file.len() - 1], true), Verdict::Other(UNKNOWN));
        let longer = [&file[..19], &[0; 3 * ENOUGH], FOOTER].concat();
        assert_eq!(recognise(&longer[..2 * ENOUGH], false), Verdict::Unclear);
        assert_eq!(recognise(&longer, true), Verdict::Image(Format::Tga));
        // What cannot be one is not read to its end.
        for (at, value) in [(1, 2), (2, 4), (5, 1), (12, 0), (14, 0), (16, 7), (17, 0x40), (17, 9)] {
            let mut other = longer.clone();
            other[at] = value;
            assert_eq!(recognise(&other[..64], false), Verdict::Other(UNKNOWN), "{at}");
            assert_eq!(recognise(&other, true), Verdict::Other(UNKNOWN), "{at}");
        }
        let mut mapped = longer.clone();
        mapped[1..8].copy_from_slice(&[1, 9, 0, 0, 0, 1, 24]);
        assert_eq!(recognise(&mapped, true), Verdict::Image(Format::Tga));
    }

    #[test]
    fn a_recogniser_says_the_same_however_a_body_is_cut() {
        let long = |file: &[u8], length| [&file[..19], &vec![0; length], FOOTER].concat();
        let (tga, late) = (tga(), [b"<!--".as_slice(), &[b'x'; 3000], b"--><svg/>"].concat());
        let files: [&[u8]; 8] = [
            b"",
            b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR",
            b"Not found",
            &tga,
            &long(&tga, ENOUGH - 30),
            &long(&tga, 3 * ENOUGH),
            &[long(&tga, 100), vec![0]].concat(),
            &late,
        ];
        for file in files {
            for size in [1, 2, 7, 17, 18, 19, 512, ENOUGH, file.len().max(1)] {
                let mut recogniser = Recogniser::default();
                let mut seen = 0;
                for piece in file.chunks(size) {
                    if recogniser.feed(piece) != Verdict::Unclear {
                        break;
                    }
                    seen += piece.len();
                }
                assert_eq!(recogniser.end(), recognise(file, true), "{} bytes in pieces of {size}", file.len());
                assert_eq!(recogniser.head(), &file[..seen.min(ENOUGH)]);
            }
        }
    }
}
