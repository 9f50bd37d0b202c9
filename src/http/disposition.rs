//! The file name in a `Content-Disposition` field (RFC 6266), for images whose URL has none.

use percent_encoding::percent_decode_str;

/// The file name in the field, as the sender wrote it; the folder `naming` makes it safe.
///
/// `filename*` (RFC 8187) is preferred to `filename` (RFC 6266, section 4.3).
#[must_use]
pub fn filename(value: &[u8]) -> Option<String> {
    // Field values are Latin-1 by tradition and UTF-8 in practice.
    let text =
        std::str::from_utf8(value).map_or_else(|_| value.iter().copied().map(char::from).collect(), str::to_owned);
    let mut plain = None;
    let mut extended = None;
    let mut rest = text.split_once(';')?.1;
    while !rest.trim().is_empty() {
        let Some((name, after)) = rest.split_once('=') else { break };
        let (value, after) = parameter_value(after);
        match name.trim_start_matches([';', ' ', '\t']).trim().to_ascii_lowercase().as_str() {
            "filename*" if extended.is_none() => extended = decode_extended(&value),
            "filename" if plain.is_none() => plain = Some(value),
            _ => {}
        }
        rest = after;
    }
    extended.or(plain).filter(|name| !name.trim().is_empty())
}

/// The value of a parameter, a token or a quoted string (RFC 9110, section 5.6.4), and the text after it.
fn parameter_value(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            // A backslash quotes the next character. A Windows path that an old server sends unescaped loses its
            // separators that way, which does no harm.
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// Decodes `UTF-8''na%C3%AFve.png` (RFC 8187, section 3.2.1); ISO-8859-1 is understood as well.
fn decode_extended(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, encoded) = rest.split_once('\'')?;
    let bytes = percent_decode_str(encoded);
    if charset.eq_ignore_ascii_case("utf-8") {
        bytes.decode_utf8().ok().map(Into::into)
    } else if charset.eq_ignore_ascii_case("iso-8859-1") {
        Some(bytes.map(char::from).collect())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_found_however_they_are_written() {
        let table: [(&str, Option<&str>); 16] = [
            ("attachment; filename=cat.png", Some("cat.png")),
            ("inline; filename=\"cat one.png\"", Some("cat one.png")),
            ("attachment;filename=\"a;b=c.png\";size=3", Some("a;b=c.png")),
            ("attachment; filename=\"say \\\"hi\\\".png\"", Some("say \"hi\".png")),
            ("attachment; FILENAME = \"cat.png\"", Some("cat.png")),
            ("attachment; filename=\"x.png\"; filename*=UTF-8''na%C3%AFve.png", Some("naïve.png")),
            ("attachment; filename*=utf-8'en'%E2%82%AC.png; filename=\"x.png\"", Some("€.png")),
            ("attachment; filename*=iso-8859-1''caf%E9.png", Some("café.png")),
            ("attachment; filename*=klingon''x; filename=y.png", Some("y.png")),
            ("attachment; filename*=UTF-8''%ff; filename=y.png", Some("y.png")),
            ("attachment; filename=\"never closed.png", Some("never closed.png")),
            ("attachment; filename=\"\"", None),
            ("attachment", None),
            ("attachment; filename", None),
            ("", None),
            ("attachment; size=3; filename=../../x.png", Some("../../x.png")),
        ];
        for (value, name) in table {
            assert_eq!(filename(value.as_bytes()).as_deref(), name, "{value}");
        }
        assert_eq!(filename(b"inline; filename=\"caf\xE9.png\"").as_deref(), Some("café.png"));
    }
}
