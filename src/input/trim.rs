//! One trim for what stands around URLs, names of columns and whole lines, in lists of every format.

use std::ops::RangeInclusive;

/// U+FEFF in UTF-8: the byte-order mark that some editors put before text. Where lists have been joined, it stands
/// before a line in the middle.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Removes white space and the invisible characters that text brings along from documents and web pages, at both ends.
/// What is no UTF-8 stays.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_end(trim_start(text))
}

/// [`trim`] at the beginning alone.
pub fn trim_start(mut text: &[u8]) -> &[u8] {
    while let Some(length) = lengths(text.first()).find(|length| text.get(..*length).is_some_and(is_trimmed)) {
        text = &text[length..];
    }
    text
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    let last = |text: &[u8], length: usize| text.len().checked_sub(length).is_some_and(|at| is_trimmed(&text[at..]));
    while let Some(length) = lengths(text.last()).find(|length| last(text, *length)) {
        text = &text[..text.len() - length];
    }
    text
}

/// The lengths that a removed character may have whose first or last byte this is. None has more than three bytes.
fn lengths(byte: Option<&u8>) -> RangeInclusive<usize> {
    if byte.is_some_and(u8::is_ascii) { 1..=1 } else { 2..=3 }
}

/// Removes the byte-order marks at the beginning, for lines that may begin with white space which counts.
pub fn without_marks(mut line: &[u8]) -> &[u8] {
    while let Some(rest) = line.strip_prefix(BYTE_ORDER_MARK) {
        line = rest;
    }
    line
}

/// Whether the bytes are one character that is removed: white space, which includes the no-break space U+00A0, a mark,
/// a character without width, or a direction.
fn is_trimmed(bytes: &[u8]) -> bool {
    if let [byte] = bytes {
        return byte.is_ascii_whitespace() || *byte == b'\x0B';
    }
    let is_removed =
        |letter: char| letter.is_whitespace() || matches!(letter, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}');
    let mut letters = std::str::from_utf8(bytes).unwrap_or_default().chars();
    letters.next().is_some_and(is_removed) && letters.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_marks_are_removed_at_both_ends() {
        for around in
            ["", " ", "\t\r\n\u{b}", "\u{a0}", "\u{feff}", "\u{200b}", "\u{200f}\u{2060}", "\u{3000} \u{2028}"]
        {
            for text in ["http://a.example/1", "a b", "\u{fc}", "a\u{200b}b", "\u{1F600}", ""] {
                let whole = format!("{around}{text}{around}");
                assert_eq!(trim(whole.as_bytes()), text.as_bytes(), "{whole:?}");
            }
        }
        assert_eq!(trim(b" \xFF \xA0 "), b"\xFF \xA0", "half a character is no white space");
        assert_eq!(without_marks(b"\xEF\xBB\xBF\xEF\xBB\xBF\tx"), b"\tx");
    }
}
