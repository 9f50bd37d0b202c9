//! SVG (Scalable Vector Graphics 1.1, section 5.1.2): the root element may state a size or a view box.

use std::io::{self, Read, Seek, SeekFrom};

use super::types::HeaderInfo;
use super::xml::{self, XmlEncoding};
use crate::record::Measures;

/// The size that the root element states, in CSS pixels; `None` until the whole tag is there.
pub(super) fn parse(head: &[u8]) -> Option<HeaderInfo> {
    let text = xml::decoded(head);
    let root = root(&text)?;
    let (width, height) = (root.width.and_then(length), root.height.and_then(length));
    let (width, height) = match (width, height, root.view_box.and_then(proportions)) {
        (None, None, Some((width, height))) => (Some(width), Some(height)),
        (Some(width), None, Some((wide, high))) => (Some(width), Some(width * high / wide)),
        (None, Some(height), Some((wide, high))) => (Some(height * wide / high), Some(height)),
        (width, height, _) => (width, height),
    };
    let measures = Measures { width: width.and_then(pixels), height: height.and_then(pixels), ..Measures::default() };
    Some(HeaderInfo { measures, ..HeaderInfo::default() })
}

/// Whether the document is complete: its last bytes close the root element, or at least some element.
pub(super) fn has_end(mut source: impl Read + Seek) -> io::Result<bool> {
    // Comments and data of editors may follow the root element.
    const TAIL_BYTES: u64 = 4096;
    let length = source.seek(SeekFrom::End(0))?;
    source.rewind()?;
    let mut start = Vec::new();
    source.by_ref().take(4).read_to_end(&mut start)?;
    // Even, so that no character of UTF-16 is divided.
    source.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES) & !1))?;
    let mut end = Vec::new();
    source.take(TAIL_BYTES + 1).read_to_end(&mut end)?;
    let end = XmlEncoding::of(&start).decoded(&end);
    let closes_root = |tag: &[u8]| end.windows(tag.len()).any(|window| window.eq_ignore_ascii_case(tag));
    Ok(end.trim_ascii_end().ends_with(b">") || closes_root(b"</svg") || closes_root(b"</svg:svg"))
}

#[derive(Default)]
struct SvgRoot<'a> {
    width: Option<&'a str>,
    height: Option<&'a str>,
    view_box: Option<&'a str>,
}

/// The attributes of the root element, once its whole tag is there.
fn root(head: &[u8]) -> Option<SvgRoot<'_>> {
    let tag = xml::skip_prolog(head)?.strip_prefix(b"<")?;
    let mut rest = &tag[tag.iter().position(|byte| ends_name(*byte))?..];
    let mut root = SvgRoot::default();
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with(b">") || rest.starts_with(b"/>") {
            return Some(root);
        }
        let (name, after) = rest.split_at(rest.iter().position(|byte| ends_name(*byte))?);
        rest = after.trim_ascii_start();
        let Some(value) = rest.strip_prefix(b"=").map(<[u8]>::trim_ascii_start) else {
            // Not well-formed: what has been read so far counts.
            return if rest.is_empty() { None } else { Some(root) };
        };
        let (quote, value) = value.split_first()?;
        if !matches!(quote, b'"' | b'\'') {
            return Some(root);
        }
        let end = value.iter().position(|byte| byte == quote)?;
        let text = std::str::from_utf8(&value[..end]).ok();
        match name {
            b"width" => root.width = root.width.or(text),
            b"height" => root.height = root.height.or(text),
            b"viewBox" => root.view_box = root.view_box.or(text),
            _ => {}
        }
        rest = &value[end + 1..];
    }
}

const fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/')
}

/// A length in CSS pixels; `None` for relative lengths (`%`, `em`).
fn length(text: &str) -> Option<f64> {
    // CSS Values and Units, section 6.2.
    const UNITS: [(&str, f64); 7] = [
        ("px", 1.0),
        ("pt", 96.0 / 72.0),
        ("pc", 16.0),
        ("mm", 96.0 / 25.4),
        ("cm", 96.0 / 2.54),
        ("in", 96.0),
        ("", 1.0),
    ];
    let text = text.trim().to_ascii_lowercase();
    let (number, unit) = UNITS.iter().find_map(|(unit, pixels)| Some((text.strip_suffix(unit)?, pixels)))?;
    let length = number.trim_end().parse::<f64>().ok()? * unit;
    (length.is_finite() && length > 0.0).then_some(length)
}

/// Width and height of a view box: its last two numbers.
fn proportions(view_box: &str) -> Option<(f64, f64)> {
    let mut numbers = view_box.split([',', ' ', '\t', '\n', '\r']).filter(|number| !number.is_empty()).skip(2);
    Some((length(numbers.next()?)?, length(numbers.next()?)?))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 1 and the largest there is")]
fn pixels(length: f64) -> Option<u32> {
    (length <= f64::from(u32::MAX)).then(|| length.round().max(1.0) as u32)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_root_element_tells_the_size() {
        let table = [
            ("<svg width=\"8\" height='4'/>", Some((Some(8), Some(4)))),
            (
                "<?xml version='1.0'?>\n<!-- <svg width='1'> -->\n<svg\n width = \"10.4px\"\theight=\"5.5\">",
                Some((Some(10), Some(6))),
            ),
            (
                "<svg:svg width='1in' height='25.4mm' xmlns:svg='http://www.w3.org/2000/svg'>",
                Some((Some(96), Some(96))),
            ),
            ("<svg width='2CM' height='12pt'>", Some((Some(76), Some(16)))),
            ("<svg viewBox='0 0 24 12'>", Some((Some(24), Some(12)))),
            ("<svg viewBox='-1.5,-2, 3e1,20' width='100%' height='100%'>", Some((Some(30), Some(20)))),
            ("<svg viewBox='0 0 24 12' width='48'>", Some((Some(48), Some(24)))),
            ("<svg viewBox='0 0 24 12' height='48'>", Some((Some(96), Some(48)))),
            ("<svg width='48'>", Some((Some(48), None))),
            ("<svg width='0' height='-3'>", Some((None, None))),
            ("<svg width='NaN' height='inf'>", Some((None, None))),
            ("<svg width='1e40' height='0.2'>", Some((None, Some(1)))),
            ("<svg>", Some((None, None))),
            ("<svg data-width='3' d:height='4' title='width=\"5\" >'/>", Some((None, None))),
            ("<svg width=8 height='4'>", Some((None, None))),
            ("<svg width='8' height='4", None),
            ("<svg width", None),
            ("<svg", None),
        ];
        for (text, size) in table {
            let size_read = parse(text.as_bytes()).map(|info| (info.measures.width, info.measures.height));
            assert_eq!(size_read, size, "{text}");
        }
    }

    #[test]
    fn a_drawing_in_utf_16_tells_its_size() {
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            for mark in ["", "\u{FEFF}"] {
                let text =
                    format!("{mark}<?xml version='1.0' encoding='UTF-16'?><!-- 🐟 --><svg width='8' height='4'/>");
                let file = text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
                let size = parse(&file).map(|info| (info.measures.width, info.measures.height));
                assert_eq!(size, Some((Some(8), Some(4))));
                assert!(parse(&file[..file.len() - 6]).is_none());
            }
        }
    }

    #[test]
    fn a_document_that_was_cut_has_no_end() {
        for whole in ["<svg></svg>", "<svg/>\n", "<svg>\n</SVG>\n<!-- 1 -->", "<svg></svg>\n trailing words"] {
            assert!(has_end(Cursor::new(whole)).expect("it can be read"), "{whole}");
        }
        for cut in ["<svg><path d='M 1 2 ", "<svg><path/></s", "<svg>some text", ""] {
            assert!(!has_end(Cursor::new(cut)).expect("it can be read"), "{cut}");
        }
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            let text = format!("\u{FEFF}<svg><text>{}</text></svg>\n", "Grüße ".repeat(1000));
            let whole = text.encode_utf16().flat_map(unit).collect::<Vec<_>>();
            assert!(has_end(Cursor::new(&whole)).expect("it can be read"));
            for end in (2..whole.len() - 30).rev().step_by(501) {
                assert!(!has_end(Cursor::new(&whole[..end])).expect("it can be read"), "{end}");
            }
        }
    }
}
