//! Detects what a terminal supports, and encodes the view for it.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use super::view::{Tone, ViewLine};

/// How the view is written to the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalStyle {
    /// Colours. No meaning is expressed by a colour alone.
    pub colours: bool,
    /// Characters outside ASCII.
    pub unicode: bool,
}

impl TerminalStyle {
    /// A style with colours or without, and with the characters of the locale.
    #[must_use]
    pub fn of_locale(colours: bool) -> Self {
        Self { colours, unicode: is_utf8(|name| env::var_os(name)) }
    }
}

/// Whether the character encoding of the locale is UTF-8. The first of the variables that is set and not empty decides
/// (POSIX, section 8.2).
fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let value = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    let locale = value.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether standard error is a terminal that is read by a person and can move its cursor. Build servers may give their jobs a
/// terminal that is not watched; they set the variable `CI`.
#[must_use]
pub fn supports_live_view() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb") && !is_set("CI")
}

// Control sequences of ECMA-48 (erase in line, erase in page, select graphic rendition) and DEC's mode 7, which wraps lines
// that are too long.
const TO_END_OF_LINE: &[u8] = b"\x1b[K";
const TO_END_OF_SCREEN: &[u8] = b"\x1b[J";
const CUT_LONG_LINES: &[u8] = b"\x1b[?7l";
const WRAP_LONG_LINES: &[u8] = b"\x1b[?7h";
const RED: &[u8] = b"\x1b[31m";
const YELLOW: &[u8] = b"\x1b[33m";
const NO_COLOUR: &[u8] = b"\x1b[0m";

/// The bytes that write the log lines `above` and, below them, the lines of the view. `is_shown` says whether the terminal
/// shows an earlier view, which is overwritten. All of it is one write, so that nothing flickers.
///
/// The cursor is left at the start of the view. When the width of a terminal changes, it may wrap lines again, and it moves
/// the cursor together with the text at the cursor. So the next view begins in the right place, whatever happened to the old
/// one. Lines that are too long must be cut, not wrapped: until the new width is noticed, they would take more lines than
/// the cursor moves up.
pub fn frame(above: &[u8], lines: &[ViewLine], is_shown: bool, colours: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(above.len() + 128 * lines.len() + 16);
    if is_shown {
        bytes.push(b'\r');
        if lines.is_empty() || !above.is_empty() {
            bytes.extend(TO_END_OF_SCREEN);
        }
    }
    bytes.extend(above);
    if !lines.is_empty() {
        bytes.extend(CUT_LONG_LINES);
    }
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            bytes.extend(b"\r\n");
        }
        let colour = match line.tone {
            Tone::Failure if colours => Some(RED),
            Tone::Throttled if colours => Some(YELLOW),
            _ => None,
        };
        bytes.extend(colour.unwrap_or_default());
        bytes.extend(line.text.as_bytes());
        bytes.extend(colour.map_or(&b""[..], |_| NO_COLOUR));
        bytes.extend(if number + 1 < lines.len() { TO_END_OF_LINE } else { TO_END_OF_SCREEN });
    }
    if !lines.is_empty() {
        bytes.extend(WRAP_LONG_LINES);
        bytes.push(b'\r');
    }
    if lines.len() > 1 {
        bytes.extend(format!("\x1b[{}A", lines.len() - 1).bytes());
    }
    bytes
}

/// A line that stays on the terminal. The word before its first colon is red, if there are colours and the line does not
/// continue another one.
pub fn plain_line(line: &str, colours: bool) -> Vec<u8> {
    let is_first = colours && !line.starts_with(' ');
    let (lead, rest) = line.split_at(line.find(':').filter(|_| is_first).unwrap_or(0));
    let (red, end) = if lead.is_empty() { (&b""[..], &b""[..]) } else { (RED, NO_COLOUR) };
    [red, lead.as_bytes(), end, rest.as_bytes(), b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_determines_the_character_encoding() {
        let table = [
            (["", "", ""], false),
            (["C", "", "de_DE.UTF-8"], false),
            (["", "", "C"], false),
            (["", "", "en_GB.utf8"], true),
            (["", "C.UTF-8", "C"], true),
            (["", "de_DE.ISO-8859-1", "C.UTF-8"], false),
        ];
        for ([all, characters, language], utf8) in table {
            let variable = |name: &str| match name {
                "LC_ALL" => Some(all.into()),
                "LC_CTYPE" => Some(characters.into()),
                _ => Some(language.into()),
            };
            assert_eq!(is_utf8(variable), utf8, "{all:?} {characters:?} {language:?}");
        }
        assert!(!is_utf8(|_| None));
    }

    fn encoded(above: &str, lines: &[(&str, Tone)], is_shown: bool, colours: bool) -> String {
        let lines = lines.iter().map(|(text, tone)| ViewLine { text: (*text).to_owned(), tone: *tone });
        let bytes = frame(above.as_bytes(), &lines.collect::<Vec<_>>(), is_shown, colours);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_line_that_stays_is_plain_but_for_the_colour_of_its_first_word() {
        assert_eq!(plain_line("failed: a: b", false), b"failed: a: b\n");
        assert_eq!(plain_line("failed: a: b", true), b"\x1b[31mfailed\x1b[0m: a: b\n");
        assert_eq!(plain_line("  a: b", true), b"  a: b\n");
    }

    #[test]
    fn a_frame_leaves_the_cursor_where_the_next_one_begins() {
        let lines = [("one", Tone::Plain), ("two", Tone::Failure), ("three", Tone::Throttled)];
        let plain = "\x1b[?7lone\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[J\x1b[?7h\r\x1b[2A";
        assert_eq!(encoded("", &lines, false, false), plain);
        assert_eq!(encoded("log\n", &lines[..1], true, true), "\r\x1b[Jlog\n\x1b[?7lone\x1b[J\x1b[?7h\r");
        let coloured = "\r\x1b[?7lone\x1b[K\r\n\x1b[31mtwo\x1b[0m\x1b[K\r\n\x1b[33mthree\x1b[0m\x1b[J\x1b[?7h\r\x1b[2A";
        assert_eq!(encoded("", &lines, true, true), coloured);
        assert_eq!(encoded("log\n", &[], true, true), "\r\x1b[Jlog\n", "at the end the view is removed");
        assert_eq!(encoded("log\n", &[], false, true), "log\n", "without a view, the cursor is not moved");
    }
}
