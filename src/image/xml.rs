//! The beginning of an XML document (XML 1.0, section 2.8): its encoding, and what may precede its root element.

use std::borrow::Cow;

/// Encoding of a document, as far as its first bytes tell it (XML 1.0, appendix F). All others count as UTF-8: only
/// their ASCII characters are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XmlEncoding {
    Utf8,
    Utf16LittleEndian,
    Utf16BigEndian,
}

impl XmlEncoding {
    /// The encoding of a document that begins with these bytes. Without a byte order mark, UTF-16 is known by its XML
    /// declaration, which is then obligatory.
    pub(super) fn of(head: &[u8]) -> Self {
        match head {
            [0xFF, 0xFE, ..] | [b'<', 0, b'?', 0, ..] => Self::Utf16LittleEndian,
            [0xFE, 0xFF, ..] | [0, b'<', 0, b'?', ..] => Self::Utf16BigEndian,
            _ => Self::Utf8,
        }
    }

    /// The text as UTF-8, without a byte order mark.
    pub(super) fn decoded(self, text: &[u8]) -> Cow<'_, [u8]> {
        let unit = match self {
            Self::Utf8 => return Cow::Borrowed(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)),
            Self::Utf16LittleEndian => u16::from_le_bytes,
            Self::Utf16BigEndian => u16::from_be_bytes,
        };
        let (units, _) = text.as_chunks();
        let text = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)));
        let text = text.map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>();
        Cow::Owned(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text).into_bytes())
    }
}

/// The beginning of a document as UTF-8, without a byte order mark.
pub(super) fn decoded(head: &[u8]) -> Cow<'_, [u8]> {
    XmlEncoding::of(head).decoded(head)
}

/// Skips the XML declaration, processing instructions, comments and document type that may precede the root element;
/// `None` if one of them is not complete.
pub(super) fn skip_prolog(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.trim_ascii_start();
    loop {
        match skip_markup(rest) {
            Prolog::Done => return Some(rest),
            Prolog::Skipped(after) => rest = after.trim_ascii_start(),
            Prolog::Incomplete => return None,
        }
    }
}

/// The name of a tag, or of the root element in a document type, once the whole name is there.
pub(super) fn name(tag: &[u8]) -> Option<&[u8]> {
    const DECLARED: &[u8] = b"<!doctype";
    let is_declared = tag.get(..DECLARED.len()).is_some_and(|start| start.eq_ignore_ascii_case(DECLARED));
    let rest = if is_declared { tag[DECLARED.len()..].trim_ascii_start() } else { tag.strip_prefix(b"<")? };
    let end = rest.iter().position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/' | b'['))?;
    Some(&rest[..end])
}

/// Whether a name is that of the root element of an SVG. It may have any namespace prefix: Python's `ElementTree`
/// writes `ns0:svg`.
pub(super) fn is_svg(name: &[u8]) -> bool {
    name.rsplit(|byte| *byte == b':').next().is_some_and(|local| local.eq_ignore_ascii_case(b"svg"))
}

/// The next part of an XML prolog.
enum Prolog<'a> {
    /// None: the root element follows.
    Done,
    /// One part, followed by these bytes.
    Skipped(&'a [u8]),
    /// One part, whose end is not there.
    Incomplete,
}

fn skip_markup(rest: &[u8]) -> Prolog<'_> {
    let skipped = if rest.starts_with(b"<?") || rest.starts_with(b"<!--") {
        skip_aside(rest)
    } else if rest.starts_with(b"<!") && name(rest).is_some_and(is_svg) {
        skip_document_type(rest)
    } else {
        return Prolog::Done;
    };
    skipped.map_or(Prolog::Incomplete, Prolog::Skipped)
}

/// Skips a processing instruction or a comment; the bytes behind it, once it is complete.
fn skip_aside(rest: &[u8]) -> Option<&[u8]> {
    let mark: &[u8] = if rest.starts_with(b"<?") { b"?>" } else { b"-->" };
    Some(&rest[memchr::memmem::find(rest, mark)? + mark.len()..])
}

/// Skips a document type with its internal subset in brackets, in which declarations, texts in quotes and comments may
/// hold any bracket.
fn skip_document_type(text: &[u8]) -> Option<&[u8]> {
    let mut rest = &text[1..];
    let mut is_in_subset = false;
    loop {
        let (byte, after) = rest.split_first()?;
        rest = match byte {
            b'"' | b'\'' => &after[after.iter().position(|other| other == byte)? + 1..],
            b'<' if rest.starts_with(b"<?") || rest.starts_with(b"<!--") => skip_aside(rest)?,
            b'>' if !is_in_subset => return Some(after),
            _ => {
                is_in_subset = (is_in_subset || *byte == b'[') && *byte != b']';
                after
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn text_in_utf_16_is_decoded_in_both_byte_orders() {
        let text = "<?xml version='1.0' encoding='UTF-16'?><!-- Grüße 🐟 --><svg/>";
        for unit in [u16::to_le_bytes, u16::to_be_bytes] {
            for file in [utf16(text, unit), utf16(&format!("\u{FEFF}{text}"), unit)] {
                assert_eq!(String::from_utf8_lossy(&decoded(&file)), text);
                // Half a character at the end is left out, and half a pair of surrogates is replaced.
                for end in 4..file.len() {
                    let cut = decoded(&file[..end]);
                    let cut = std::str::from_utf8(&cut).expect("UTF-8").trim_end_matches('\u{FFFD}');
                    assert!(text.starts_with(cut), "{cut}");
                }
            }
        }
        let plain = [b"\xEF\xBB\xBF".as_slice(), text.as_bytes()].concat();
        assert_eq!(decoded(&plain), text.as_bytes());
        // XML does not allow UTF-16 with neither a mark nor a declaration.
        let bare = utf16("<svg/>", u16::to_le_bytes);
        assert_eq!(decoded(&bare), bare);
    }

    #[test]
    fn what_precedes_the_root_element_is_skipped() {
        let prologs = [
            "",
            " \n",
            "<?xml version='1.0'?>\n<?xml-stylesheet href='a.css' type='text/css'?>",
            "<!-- <svg> -- > - ?> -->\n<!---->",
            "<!DOCTYPE svg>",
            "<!doctype svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" 'a>b'>",
            "<!DOCTYPE svg SYSTEM 'svg.dtd' [\n<!ENTITY a \"]>\">\n<!-- it's ]> -->\n<?pi ]>?>\n<!ATTLIST g x CDATA '>'>\n] >",
            "<!DOCTYPE ns0:svg [ <!ENTITY % b '[b]'> %b; ]><!-- more -->",
        ];
        for prolog in prologs {
            let text = format!("{prolog}<svg width='1'/>");
            assert_eq!(skip_prolog(text.as_bytes()), Some(&b"<svg width='1'/>"[..]), "{prolog}");
            for end in 0..prolog.len() {
                let cut = skip_prolog(&text.as_bytes()[..end]);
                let is_undecided = cut.is_none_or(|rest| rest.is_empty() || name(rest).is_none());
                assert!(is_undecided, "{prolog}, cut at {end}: {cut:?}");
            }
        }
    }
}
