//! Makes text from outside fit to be part of a file name, and applies the rules for whole names.
//!
//! All text from outside passes [`clean_text`] and `fit_component`. Their rules:
//!
//! | what | becomes | why |
//! |---|---|---|
//! | `/` `\` and `< > : " \| ? *` | `_` | separators, and what Windows refuses |
//! | control, line-separating and direction-changing characters | `_` | terminals, and names that read as another name |
//! | bytes that are not UTF-8 after percent-decoding | `_` | |
//! | composed characters | NFC | macOS stores either form and takes them for one name |
//! | spaces at either end, dots at the end | removed | Windows drops them silently |
//! | a dot in front | `_` before it | `.`, `..`, hidden files, `.fetchimg` |
//! | `CON` `PRN` `AUX` `NUL` `COM1`… `LPT9`, with any extension | `_` before it | Windows devices |
//! | more than 255 bytes | the stem is truncated between characters, the extension stays | file systems |

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::record::{Format, MAX_EXTENSION_BYTES};
use crate::util::redact::needs_escaping;

/// Stands in a planned name for the extension, which depends on the format of the body. No cleaned name can contain it.
pub const EXTENSION_PLACEHOLDER: char = '\0';

/// The extension for bytes of an unknown format.
pub const UNKNOWN_EXTENSION: &str = "bin";

/// Stands in a planned name for one digit of the body's SHA-256. No cleaned name can contain it.
pub const DIGIT_PLACEHOLDER: char = '\u{1}';

/// SHA-256 digits that begin within this number of bytes of a name are located from its start, others from its end (see
/// [`super::digest_digits`]).
pub const MAX_START_OFFSET: usize = 80;

/// The longest name of a file or folder, in bytes (`NAME_MAX` of ext4, XFS, APFS, NTFS).
const MAX_COMPONENT_BYTES: usize = 255;

/// The text after the last dot of the last component, if there is text before that dot.
pub fn extension(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, extension)| extension)
}

/// Text from outside without separators, control characters and whatever else a name must not contain.
#[must_use]
pub fn clean_text(text: &str) -> String {
    // The common case: nothing to clean.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !text.ends_with('.')
    {
        return text.to_owned();
    }
    let composed = if is_nfc(text) { text.to_owned() } else { text.nfc().collect() };
    let cleaned = composed
        .chars()
        .map(|character| match character {
            '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' | char::REPLACEMENT_CHARACTER => '_',
            other if needs_escaping(other) => '_',
            other => other,
        })
        .collect::<String>();
    cleaned.trim_start().trim_end_matches(|last: char| last == '.' || last.is_whitespace()).to_owned()
}

/// The rendered path with each component made fit for a file system, and with an image extension or a placeholder for
/// one at the end. `has_extension`: the template ends with an extension, so none is added, even if nothing is before
/// it.
pub fn fit_path(rendered: &str, has_extension: bool, fix_extension: bool) -> String {
    let mut path = String::with_capacity(rendered.len() + 8);
    let mut components = rendered.split('/').peekable();
    while let Some(component) = components.next() {
        if !path.is_empty() {
            path.push('/');
        }
        let is_file = components.peek().is_none();
        let is_known = |ext: &str| ext == "\0" || Format::from_extension(ext).is_some();
        let complete = has_extension || extension(component).is_some_and(is_known);
        if is_file && !complete {
            let open = format!("{}.{EXTENSION_PLACEHOLDER}", component.trim_end_matches(['.', ' ']));
            path.push_str(&fit_component(&open, "", fix_extension));
        } else {
            path.push_str(&fit_component(component, "", fix_extension));
        }
    }
    path
}

/// Applies the rules for whole names to a file or folder name, with `suffix` added before its extension.
fn fit_component(component: &str, suffix: &str, fix_extension: bool) -> String {
    let trimmed = component.trim_start().trim_end_matches(['.', ' ']);
    let (stem, ext) = match extension(trimmed) {
        // A long "extension" is part of the name.
        Some(ext) if ext.len() <= 8 => trimmed.split_at(trimmed.len() - ext.len() - 1),
        _ => (trimmed, ""),
    };
    // The placeholder may become empty, and then its dot is removed.
    let stem = if ext.contains(EXTENSION_PLACEHOLDER) { stem.trim_end_matches(['.', ' ']) } else { stem };
    let ext_may_change = ext.contains(EXTENSION_PLACEHOLDER) || (fix_extension && !ext.is_empty());
    let max_ext = if ext_may_change { ext.len().max(MAX_EXTENSION_BYTES + 1) } else { ext.len() };
    // SHA-256 digits at the end are kept, with the punctuation before them; the text before is truncated.
    let kept = stem.find(DIGIT_PLACEHOLDER).filter(|first| *first > MAX_START_OFFSET).map_or(stem.len(), |first| {
        first - usize::from(stem[..first].ends_with(|before: char| before.is_ascii_punctuation()))
    });
    let (stem, digits) = stem.split_at(kept);
    let max_stem = MAX_COMPONENT_BYTES - suffix.len() - max_ext - digits.len();
    let mut stem = truncated(stem, max_stem);
    let mut guard = "";
    // Truncation can produce a device name, and the underscore before it takes one byte.
    let is_device = if digits.is_empty() { is_device(stem) } else { is_device(&[stem, digits].concat()) };
    if (stem.is_empty() && digits.is_empty()) || stem.starts_with('.') || is_device {
        guard = "_";
        stem = truncated(stem, max_stem - guard.len());
    }
    format!("{guard}{stem}{digits}{suffix}{ext}")
}

/// The beginning of a stem that takes at most `max_bytes`, once extensions are in place of its placeholders. If it is
/// truncated, no dot or space is left at its end.
fn truncated(stem: &str, max_bytes: usize) -> &str {
    let fits = |end: usize| {
        stem.is_char_boundary(end)
            && end + stem[..end].matches(EXTENSION_PLACEHOLDER).count() * (MAX_EXTENSION_BYTES - 1) <= max_bytes
    };
    if fits(stem.len()) {
        return stem;
    }
    match (0..=stem.len().min(max_bytes)).rev().find(|end| fits(*end)).unwrap_or(0) {
        end if end == stem.len() => stem,
        end => stem[..end].trim_end_matches(['.', ' ']),
    }
}

/// The longest device name, in bytes.
const MAX_DEVICE_BYTES: usize = 7;

/// Whether a stem is a name that Windows reserves for a device. It is reserved with any extension, so the part before
/// the first dot counts. A placeholder for a digit may become any hexadecimal digit.
fn is_device(stem: &str) -> bool {
    let name = stem.split('.').next().unwrap_or(stem).trim_end();
    if name.len() > MAX_DEVICE_BYTES {
        return false;
    }
    let name = name.to_uppercase();
    let begins_with = |word: &str| {
        let mut rest = name.chars();
        let is_same = |letter: char| {
            rest.next().is_some_and(|c| c == letter || (c == DIGIT_PLACEHOLDER && letter.is_ascii_hexdigit()))
        };
        word.chars().all(is_same).then_some(rest)
    };
    let is_whole = |word: &&str| begins_with(word).is_some_and(|rest| rest.as_str().is_empty());
    let is_number = |mut rest: std::str::Chars| {
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³' | DIGIT_PLACEHOLDER), None))
    };
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].iter().any(is_whole)
        || ["COM", "LPT"].into_iter().filter_map(begins_with).any(is_number)
}

/// The path with `-suffix` before the extension of its last component.
#[must_use]
pub fn with_suffix(path: &str, suffix: &str, fix_extension: bool) -> String {
    let suffix = format!("-{suffix}");
    match path.rsplit_once('/') {
        Some((folders, name)) => format!("{folders}/{}", fit_component(name, &suffix, fix_extension)),
        None => fit_component(path, &suffix, fix_extension),
    }
}

/// The path with the extension of another format, if its extension is one of `from`.
#[must_use]
pub fn with_format(path: &str, from: Format, to: Format) -> Option<String> {
    let own = extension(path).filter(|own| Format::from_extension(own) == Some(from))?;
    Some(format!("{}{}", &path[..path.len() - own.len()], to.extension()))
}

#[cfg(test)]
mod tests {
    use super::super::example::{job, name, namer, row};
    use super::super::namer::Namer;
    use super::*;

    #[test]
    fn unsafe_names_are_made_safe() {
        let long = "x".repeat(300);
        let long_two_bytes = "ü".repeat(200);
        let table = [
            ("cat.png", "cat.png".to_owned()),
            ("cat%20one.png", "cat one.png".into()),
            ("..%2F..%2Fetc%2Fpasswd", "_.._.._etc_passwd.jpg".into()),
            ("..%5C..%5Cwindows.png", "_.._.._windows.png".into()),
            ("%2e%2e%2fa.png", "_.._a.png".into()),
            (".htaccess", "_.htaccess.jpg".into()),
            (".png", "_.png.jpg".into()),
            (".fetchimg", "_.fetchimg.jpg".into()),
            ("con.png", "_con.png".into()),
            ("Lpt1.tar.png", "_Lpt1.tar.png".into()),
            ("com10.png", "com10.png".into()),
            ("nul", "_nul.jpg".into()),
            ("a%00b%0a.png", "a_b_.png".into()),
            ("a%1b%5B2J.png", "a_[2J.png".into()),
            ("a%e2%80%aegnp.png", "a_gnp.png".into()),
            ("%ff%fe.png", "__.png".into()),
            ("a:b%3Fc*d|e%22f%3Cg%3E.png", "a_b_c_d_e_f_g_.png".into()),
            ("trailing.png.%20.%20", "trailing.png".into()),
            ("%20%20lead.png", "lead.png".into()),
            ("e%cc%81.png", "é.png".into()),
            ("photo.php", "photo.php.jpg".into()),
            ("v1.2", "v1.2.jpg".into()),
            ("-rf.png", "-rf.png".into()),
            (long.as_str(), format!("{}.jpg", "x".repeat(249))),
            (long_two_bytes.as_str(), format!("{}.jpg", "ü".repeat(124))),
        ];
        for (segment, expected) in table {
            let url = format!("https://example.org/folder/{segment}");
            assert_eq!(name("{basename}", &url), expected, "{segment}");
        }
        let long_png = format!("https://example.org/{}.png", "y".repeat(300));
        assert_eq!(name("{basename}", &long_png).len(), 255);
        assert_eq!(name("{basename}", "https://example.org/"), "image.jpg");
        assert_eq!(name("{basename}", "https://example.org/a/?id=3#x"), "image.jpg");
        assert_eq!(name("{basename}", "https://example.org/a.png?id=3#x.gif"), "a.png");
    }

    #[test]
    fn a_name_is_no_longer_than_a_file_system_takes_whatever_fills_it() {
        let long = format!("https://a.example/{}", "z".repeat(300));
        for (template, url, fix_extension) in [
            ("{basename}", format!("{long}.png"), true),
            ("{stem}-{ext}", long.clone(), false),
            ("{ext}{ext}{ext}{stem}/{stem}", long.clone(), false),
        ] {
            let mut namer = Namer::new(template.parse().expect("a template"), fix_extension);
            for index in 0..2 {
                let name = namer.reserve(&job(index, &format!("{url}?{index}"))).finish(
                    Some(Format::Webp),
                    fix_extension,
                    None,
                );
                assert!(name.path.split('/').all(|part| part.len() <= MAX_COMPONENT_BYTES), "{template}: {name:?}");
            }
        }
    }

    #[test]
    fn a_truncated_name_does_not_end_in_dots_or_spaces() {
        let spaces = format!("https://a.example/nul{}x/y", "%20".repeat(300));
        assert_eq!(name("{stem}/{index}", spaces.trim_end_matches("/y")), "_nul/16.jpg");
        let dots = format!("https://a.example/{}{}x", "z".repeat(200), ".".repeat(100));
        let planned = namer("{basename}").reserve(&job(0, &dots));
        assert_eq!(planned.finish(None, false, None).path, "z".repeat(200));
        let open = namer("{stem}.{ext}").reserve(&job(0, "https://a.example/x%20..php"));
        assert_eq!(open.finish(None, false, None).path, "x");
    }

    #[test]
    fn a_column_value_makes_no_folder_and_no_path_outside() {
        let long = "x".repeat(10_000);
        let longest = "x".repeat(255);
        for (value, folder, file) in [
            ("../../etc", "_.._.._etc", "_.._.._etc.jpg"),
            ("..", "_", "_.jpg"),
            ("...", "_", "_.jpg"),
            (".fetchimg", "_.fetchimg", "_.fetchimg.jpg"),
            ("/etc/passwd", "_etc_passwd", "_etc_passwd.jpg"),
            ("C:\\a", "C__a", "C__a.jpg"),
            ("CON", "_CON", "_CON.jpg"),
            ("nul.png", "_nul.png", "_nul.png"),
            ("", "_", "_.jpg"),
            (" \t ", "_", "_.jpg"),
            ("a\0b", "a_b", "a_b.jpg"),
            ("\u{1}\u{1}", "__", "__.jpg"),
            ("\x1b[2J\r\n", "_[2J__", "_[2J__.jpg"),
            ("\u{202e}gnp", "_gnp", "_gnp.jpg"),
            ("{index}", "{index}", "{index}.jpg"),
            ("a. ", "a", "a.jpg"),
            ("cat.png", "cat.png", "cat.png"),
            (&long, &longest, &format!("{}.jpg", &longest[..249])),
        ] {
            let row = row(7, "https://a.example/cat.png", &[("a", value.into())]);
            let named = |template: &str| namer(template).reserve(&row).finish(Some(Format::Jpeg), false, None).path;
            assert_eq!(named("{col.a}/{index}"), format!("{folder}/7.jpg"), "{value:?}");
            assert_eq!(named("{col.a}"), *file, "{value:?}");
        }
    }

    #[test]
    fn a_digit_may_complete_the_name_of_a_device() {
        for (stem, device) in [
            ("com1", true),
            ("com\u{1}", true),
            ("LPT\u{1}.tar", true),
            ("\u{1}on", true),
            ("\u{1}UX", true),
            ("\u{1}LO\u{1}K$", true),
            ("co\u{1}", false),
            ("n\u{1}l", false),
            ("com\u{1}\u{1}", false),
            ("\u{1}", false),
        ] {
            assert_eq!(is_device(stem), device, "{stem:?}");
        }
    }
}
