//! What a terminal understands, and what it is sent.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};

use super::view::{Line, Tone};

/// How the lines of the view look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    /// In colours, none of which carries a meaning alone.
    pub colours: bool,
    /// With more than ASCII.
    pub unicode: bool,
}

impl Paint {
    /// With colours or not, and with the characters of the locale.
    #[must_use]
    pub fn of_locale(colours: bool) -> Self {
        Self { colours, unicode: is_utf8(|name| env::var_os(name)) }
    }
}

/// Whether the locale's characters are UTF-8: the first of these variables that says anything decides (POSIX, section
/// 8.2).
fn is_utf8(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    let locale = said.unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether somebody sits before standard error and it can move its cursor. The terminals of most build servers are none,
/// whatever they say; they all set `CI`.
#[must_use]
pub fn is_live() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb") && !is_set("CI")
}

// ECMA-48: erase in line and in page, select graphic rendition; and DEC's mode 7, in which lines that are too long wrap.
const TO_END_OF_LINE: &[u8] = b"\x1b[K";
const TO_END_OF_SCREEN: &[u8] = b"\x1b[J";
const CUT_LONG_LINES: &[u8] = b"\x1b[?7l";
const WRAP_LONG_LINES: &[u8] = b"\x1b[?7h";
const RED: &[u8] = b"\x1b[31m";
const YELLOW: &[u8] = b"\x1b[33m";
const NO_COLOUR: &[u8] = b"\x1b[0m";

/// The bytes that bring the log lines `above` and the view below them onto a terminal, where a view `is_there` already or
/// not. All of it is one write, so that nothing flickers.
///
/// The cursor stays at the beginning of the view. A terminal that gets another width may break lines anew, and moves the
/// cursor with the text it stands on; so whatever became of the old view, the new one begins in the right place. And
/// nobody hears of another width at once: a line that has become too long is cut, or there would be more lines than the
/// cursor has to go up.
pub fn frame(above: &[u8], lines: &[Line], is_there: bool, colours: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(above.len() + 128 * lines.len() + 16);
    if is_there {
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
            Tone::Bad if colours => Some(RED),
            Tone::Slow if colours => Some(YELLOW),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_tells_the_characters() {
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

    fn shown(above: &str, lines: &[(&str, Tone)], is_there: bool, colours: bool) -> String {
        let lines = lines.iter().map(|(text, tone)| Line { text: (*text).to_owned(), tone: *tone });
        let bytes = frame(above.as_bytes(), &lines.collect::<Vec<_>>(), is_there, colours);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn a_frame_leaves_the_cursor_where_the_next_one_begins() {
        let lines = [("one", Tone::Plain), ("two", Tone::Bad), ("three", Tone::Slow)];
        let plain = "\x1b[?7lone\x1b[K\r\ntwo\x1b[K\r\nthree\x1b[J\x1b[?7h\r\x1b[2A";
        assert_eq!(shown("", &lines, false, false), plain);
        assert_eq!(shown("log\n", &lines[..1], true, true), "\r\x1b[Jlog\n\x1b[?7lone\x1b[J\x1b[?7h\r");
        let coloured = "\r\x1b[?7lone\x1b[K\r\n\x1b[31mtwo\x1b[0m\x1b[K\r\n\x1b[33mthree\x1b[0m\x1b[J\x1b[?7h\r\x1b[2A";
        assert_eq!(shown("", &lines, true, true), coloured);
        assert_eq!(shown("log\n", &[], true, true), "\r\x1b[Jlog\n", "at the end nothing is left");
        assert_eq!(shown("log\n", &[], false, true), "log\n", "and where there was nothing, nothing moves");
    }
}
