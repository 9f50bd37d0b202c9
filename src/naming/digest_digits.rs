//! Where names have digits of the body's SHA-256, and which templates allow that.
//!
//! The digits are known when the body is complete, long after its name has been reserved. So a planned name has a
//! placeholder for each digit, and the collision table takes it as one that may become any digit. Two planned names
//! then collide if they agree in everything else.
//!
//! That requires that the place of the digits can be found in a finished name. If they could be anywhere, `a?` + `b`
//! and `aa` + `?` might both become `aab`. Therefore digits must be at the start or the end of a folder's or the file's
//! name, and between them and that side there may only be parts of a known length: plain text, a part of `{url_hash}`,
//! or the number of the row, followed (or preceded) by a character that is no digit. Then the same place is found in
//! the names of earlier runs too: with `{sha256:0:2}/{basename}`, a file `ab/cat.png` collides with every `??/cat.png`.
//!
//! Truncation of a long name never removes digits. So if a file name has all 64 digits, it is determined by the content:
//! different contents have different names, without the table, and equal contents may share a name.

use std::sync::Arc;

use super::clean::{DIGIT_PLACEHOLDER, MAX_START_OFFSET, extension};
use super::template::{ComponentPart, Field, SHA256_DIGITS, TemplateError};
use crate::record::Format;

/// The end of digits that are located from the start of a name, in bytes. Truncation happens after it: a name has 255
/// bytes, of which a suffix takes at most 86, and an extension 9.
const MAX_START_BYTES: usize = 150;

/// The length of digits at the end of a name with the text between and after them, in bytes: enough for all 64, and for
/// the digits of the row number that make rows distinct.
const MAX_END_BYTES: usize = 72;

/// The digits of the SHA-256 in the names of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct DigestDigits {
    /// The positions of the digits in the SHA-256, in the order of the placeholders.
    positions: Arc<[u8]>,
    runs: Vec<DigitRun>,
    /// The number of components of a path: the folders and the file.
    components: usize,
    /// Whether the file name has all 64 digits, in order.
    is_content_addressed: bool,
}

/// The digits in the name of one folder or of the file.
#[derive(Clone, Debug, PartialEq)]
struct DigitRun {
    component: usize,
    /// The side of the name from which the digits are located.
    anchor: Anchor,
    /// The segments from that side of the name to the last of the digits, included.
    segments: Vec<NameSegment>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Anchor {
    Start {
        /// An underscore at the start is not part of the template: it was put before the name of a device.
        underscore_is_guard: bool,
    },
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum NameSegment {
    /// This number of characters, whatever they are.
    Fixed(usize),
    /// The number of a row.
    RowNumber,
    /// This number of digits of the SHA-256.
    Digits(usize),
}

impl DigestDigits {
    /// The digits of a template with these components; `None` if it has none.
    ///
    /// # Errors
    /// When their place could not be found in a finished name.
    pub fn of(components: &[Vec<ComponentPart>]) -> Result<Option<Self>, TemplateError> {
        let mut runs = Vec::new();
        let mut positions = Vec::new();
        for (component, parts) in components.iter().enumerate() {
            let digits = parts.iter().enumerate().filter_map(|(position, part)| match part {
                ComponentPart::Field(Field::Sha256(slice), at) => Some((position, *at, slice)),
                _ => None,
            });
            let digits = digits.collect::<Vec<_>>();
            let [(first, at, _), ..] = digits[..] else { continue };
            let last = digits.last().map_or(first, |(last, ..)| *last);
            positions.extend(digits.iter().flat_map(|(_, _, slice)| slice.start..slice.end));
            let is_file = component + 1 == components.len();
            let found = segments_from_start(&parts[..=last]).or_else(|| segments_from_end(&parts[first..], is_file));
            let Some((anchor, segments)) = found else {
                let what = "{sha256} must begin or end a folder's name or the file's, with nothing but short plain text, \
                            {url_hash} and {index} beside it there: two images might get one name otherwise";
                return Err(TemplateError { at, what: what.into() });
            };
            runs.push(DigitRun { component, anchor, segments });
        }
        let is_content_addressed = runs.last().is_some_and(|run| {
            run.component + 1 == components.len() && run.segments.contains(&NameSegment::Digits(SHA256_DIGITS))
        });
        let positions = positions.into_iter().filter_map(|digit| u8::try_from(digit).ok()).collect::<Arc<[u8]>>();
        let components = components.len();
        Ok((!runs.is_empty()).then_some(Self { positions, runs, components, is_content_addressed }))
    }

    /// The positions of the digits in the SHA-256, in the order of the placeholders.
    pub fn positions(&self) -> Arc<[u8]> {
        Arc::clone(&self.positions)
    }

    /// Whether these digits alone make the names of different contents different.
    pub const fn is_content_addressed(&self) -> bool {
        self.is_content_addressed
    }

    /// Whether the digits of the file name are located from its end, where a suffix moves them.
    pub fn are_moved_by_suffixes(&self) -> bool {
        self.runs.last().is_some_and(|run| run.component + 1 == self.components && run.anchor == Anchor::End)
    }

    /// The path with placeholders where this template has digits; `None` if there are no digits in that place.
    pub fn with_placeholders(&self, path: &str) -> Option<String> {
        self.with_placeholders_before(path, 0)
    }

    /// The patterns that may have become this path, with placeholders where this template has digits. If the digits are
    /// at the end of the file name, and it may end with a suffix, there are also patterns with the digits before the
    /// suffix.
    pub fn possible_patterns(&self, path: &str) -> impl Iterator<Item = String> {
        let suffixes = suffixes(path).filter(|_| self.are_moved_by_suffixes());
        std::iter::once(0).chain(suffixes).filter_map(|suffix| self.with_placeholders_before(path, suffix))
    }

    /// `suffix`: the number of bytes before the extension that are not from the template.
    fn with_placeholders_before(&self, path: &str, suffix: usize) -> Option<String> {
        let mut components = path.split('/').map(str::to_owned).collect::<Vec<_>>();
        if components.len() != self.components {
            return None;
        }
        for DigitRun { component, anchor, segments } in &self.runs {
            let name = &components[*component];
            let is_file = component + 1 == self.components;
            let end =
                if is_file && *anchor == Anchor::End { stem_length(name).checked_sub(suffix)? } else { name.len() };
            let (name, rest) = name.split_at_checked(end)?;
            components[*component] = with_placeholders(name, *anchor, segments)? + rest;
        }
        Some(components.join("/"))
    }
}

/// The segments from the start of a name to its last digits, for `parts`, the last of which is digits; `None` if their
/// length is unknown or too large.
fn segments_from_start(parts: &[ComponentPart]) -> Option<(Anchor, Vec<NameSegment>)> {
    let mut segments = Vec::new();
    let mut length = 0;
    let mut before = 0;
    for (position, part) in parts.iter().enumerate() {
        let (segment, bytes) = match part {
            // Cleaning removes spaces at the start of a name.
            ComponentPart::Text(text) => fixed(if position == 0 { text.trim_start() } else { text }),
            ComponentPart::Field(Field::Index { .. }, _) => match parts.get(position + 1) {
                Some(ComponentPart::Text(text)) if is_ascii_non_digit(text.bytes().next()) => ROW_NUMBER,
                _ => return None,
            },
            ComponentPart::Field(field, _) => field_segment(field)?,
        };
        if matches!(segment, NameSegment::Digits(_))
            && !segments.iter().any(|segment| matches!(segment, NameSegment::Digits(_)))
        {
            before = length;
        }
        length += bytes;
        segments.push(segment);
    }
    let underscore_is_guard =
        !matches!(parts.first(), Some(ComponentPart::Text(text)) if text.trim_start().starts_with('_'));
    (before < MAX_START_OFFSET && length <= MAX_START_BYTES)
        .then_some((Anchor::Start { underscore_is_guard }, segments))
}

/// The segments from the end of a name to its first digits, for `parts`, the first of which is digits; `None` if their
/// length is unknown or too large.
fn segments_from_end(parts: &[ComponentPart], is_file: bool) -> Option<(Anchor, Vec<NameSegment>)> {
    let mut segments = Vec::new();
    let mut length = 0;
    for (position, part) in without_extension(parts, is_file)?.iter().enumerate().rev() {
        let (segment, bytes) = match part {
            // Text after a dot might be taken for an extension.
            ComponentPart::Text(text) if text.contains('.') => return None,
            ComponentPart::Text(text) => fixed(text),
            ComponentPart::Field(Field::Index { .. }, _) => match position.checked_sub(1).map(|before| parts[before]) {
                Some(ComponentPart::Text(text)) if is_ascii_non_digit(text.bytes().last()) => ROW_NUMBER,
                _ => return None,
            },
            ComponentPart::Field(field, _) => field_segment(field)?,
        };
        length += bytes;
        segments.push(segment);
    }
    (length <= MAX_END_BYTES).then_some((Anchor::End, segments))
}

/// The parts of a name without its extension, which is removed before digits are located.
fn without_extension<'a>(parts: &[ComponentPart<'a>], is_file: bool) -> Option<Vec<ComponentPart<'a>>> {
    let (parts, last) = match parts {
        [parts @ .., ComponentPart::Text(text), ComponentPart::Field(Field::Ext, _)] if is_file => {
            (parts, text.strip_suffix('.')?)
        }
        [parts @ .., ComponentPart::Text(text)] => {
            let split = text.rsplit_once('.').filter(|(_, ext)| is_file && Format::from_extension(ext).is_some());
            (parts, split.map_or(*text, |(before, _)| before))
        }
        parts => return Some(parts.to_vec()),
    };
    // Cleaning would remove the spaces from one name and not from another.
    (!last.ends_with(' ')).then(|| [parts, &[ComponentPart::Text(last)]].concat())
}

/// A row number, and its length in bytes at most.
const ROW_NUMBER: (NameSegment, usize) = (NameSegment::RowNumber, 20);

/// Text of a known length, and its length in bytes.
fn fixed(text: &str) -> (NameSegment, usize) {
    (NameSegment::Fixed(text.chars().count()), text.len())
}

/// A field of a known length, and its length in bytes.
fn field_segment(field: &Field) -> Option<(NameSegment, usize)> {
    match field {
        Field::UrlHash(slice) => Some((NameSegment::Fixed(slice.width()), slice.width())),
        Field::Sha256(slice) => Some((NameSegment::Digits(slice.width()), slice.width())),
        _ => None,
    }
}

fn is_ascii_non_digit(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii() && !byte.is_ascii_digit())
}

/// The name with placeholders in the place of the digits; `None` if there are no digits.
fn with_placeholders(name: &str, anchor: Anchor, segments: &[NameSegment]) -> Option<String> {
    let mut letters = name.chars().collect::<Vec<_>>();
    if anchor == Anchor::End {
        letters.reverse();
    }
    let mut rest = letters.as_mut_slice();
    if anchor == (Anchor::Start { underscore_is_guard: true }) && rest.first() == Some(&'_') {
        rest = &mut rest[1..];
    }
    for segment in segments {
        let width = match segment {
            NameSegment::Fixed(width) | NameSegment::Digits(width) => *width,
            NameSegment::RowNumber => rest.iter().take_while(|letter| letter.is_ascii_digit()).count(),
        };
        let (passed, left) = rest.split_at_mut_checked(width)?;
        if matches!(segment, NameSegment::Digits(_)) {
            if !passed.iter().all(char::is_ascii_hexdigit) {
                return None;
            }
            passed.fill(DIGIT_PLACEHOLDER);
        }
        rest = left;
    }
    if anchor == Anchor::End {
        letters.reverse();
    }
    Some(letters.into_iter().collect())
}

/// The length of a file name without its extension, in bytes. Only an extension of an image counts as one.
fn stem_length(name: &str) -> usize {
    extension(name)
        .filter(|ext| Format::from_extension(ext).is_some())
        .map_or(name.len(), |ext| name.len() - ext.len() - 1)
}

/// The lengths of what may be a suffix of the file name: `-` and digits of a URL's hash, and perhaps `-` and a number.
fn suffixes(path: &str) -> impl Iterator<Item = usize> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = &name[..stem_length(name)];
    let hash = |stem: &str| {
        let (_, hash) = stem.rsplit_once('-')?;
        let is_hash = matches!(hash.len(), 8 | 16 | 32 | 64) && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(hash.len() + 1)
    };
    let number = stem.rsplit_once('-').filter(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
    let with_number = number.and_then(|(before, number)| Some(hash(before)? + number.len() + 1));
    hash(stem).into_iter().chain(with_number)
}

#[cfg(test)]
mod tests {
    use super::super::template::Template;
    use super::*;

    fn digits(template: &str) -> DigestDigits {
        template.parse::<Template>().expect(template).digits().expect("digits").clone()
    }

    #[test]
    fn no_extension_is_made_of_digits() {
        // So `{stem}.{sha256:0:3}` never ends in an extension by chance.
        let mut all = Format::ALL.iter().flat_map(|format| format.extensions());
        assert_eq!(all.find(|ext| ext.bytes().all(|byte| byte.is_ascii_hexdigit())), None);
    }

    #[test]
    fn digits_must_be_at_the_start_or_the_end_of_a_name() {
        let longest_beginning = format!("{}{{sha256}}", "x".repeat(79));
        for (template, sides) in [
            ("{sha256}", "b"),
            ("{sha256:0:2}/{sha256:2:4}/{sha256}.{ext}", "bbb"),
            ("{sha256:0:2}/{basename}", "b"),
            ("a/{stem}-{sha256:0:8}", "e"),
            ("{stem}-{sha256:0:8}.{ext}", "e"),
            ("{stem}-{sha256:0:8}.png", "e"),
            ("{stem}-{sha256:0:8}-x.jpeg", "e"),
            ("{stem}-{sha256:0:8}-{index:06}", "e"),
            ("{stem}-{sha256:0:8}{url_hash:0:8}", "e"),
            ("{stem}{sha256:0:2}{sha256:4:6}/{index}", "e"),
            ("{index:06}-{sha256:0:8}-{stem}", "b"),
            ("{index/10}-{sha256:0:8}{stem}", "b"),
            ("{url_hash:0:4}{sha256:0:4}{stem}", "b"),
            ("x {sha256:0:2}. {ext}{stem}", "b"),
            (&longest_beginning, "b"),
            ("{stem}{sha256}12345678", "e"),
            ("{url_hash}{url_hash}{sha256}", "e"),
            ("{stem}/x{sha256:0:1}", "b"),
            // Between parts of unknown length.
            ("{stem}-{sha256:0:8}-{host}", ""),
            ("{sha256:0:2}-{stem}-{sha256:2:4}", ""),
            ("{stem}{sha256:0:8}{ext}", ""),
            ("{stem}{sha256:0:8}-{ext}", ""),
            ("{col.a}{sha256:0:8}{col.b}", ""),
            ("{index}{sha256:0:8}{stem}", ""),
            ("{index}7{sha256:0:8}{stem}", ""),
            ("{stem}{sha256:0:8}{index}", ""),
            ("{stem}{sha256:0:8}7{index}", ""),
            // The end of a name is cleaned, and may be taken for an extension.
            ("{stem}{sha256:0:8}.jp{index}", ""),
            ("{stem}{sha256:0:8} .{ext}", ""),
            ("{stem}{sha256:0:8}. /{index}", ""),
            // It might be truncated.
            ("{stem}{sha256}123456789", ""),
            ("{url_hash}{url_hash}{sha256}{url_hash}", ""),
            (&format!("{}{{sha256:0:1}}{{stem}}", "x".repeat(80)), ""),
        ] {
            let parsed = template.parse::<Template>();
            let runs = parsed.as_ref().map(|parsed| parsed.digits().map_or(&[][..], |digits| &digits.runs));
            let side = |run: &DigitRun| if run.anchor == Anchor::End { 'e' } else { 'b' };
            let found = runs.map(|runs| runs.iter().map(side).collect::<String>()).unwrap_or_default();
            assert_eq!(found, sides, "{template}: {:?}", parsed.err());
        }
    }

    #[test]
    fn a_name_is_content_addressed_if_it_has_all_digits() {
        for (template, own) in [
            ("{sha256}", true),
            ("{sha256:0:64}", true),
            ("{sha256:0:2}/{sha256}.{ext}", true),
            ("{stem}-{sha256}", true),
            ("{sha256}-{stem}", true),
            ("{sha256}/{basename}", false),
            ("{sha256:0:63}", false),
            ("{sha256:1:64}", false),
            ("{sha256:0:32}/{sha256:32:64}", false),
        ] {
            assert_eq!(digits(template).is_content_addressed(), own, "{template}");
        }
    }

    #[test]
    fn possible_patterns_are_found_for_a_name() {
        let hash = "0123456789abcdef".repeat(4);
        for (template, path, possible_patterns) in [
            ("{sha256:0:2}/{basename}", "ab/cat.png", &["../cat.png"][..]),
            ("{sha256:0:2}/{basename}", "AB/cat.png", &["../cat.png"]),
            ("{sha256:0:2}/{basename}", "abc/cat.png", &["..c/cat.png"]),
            ("{sha256:0:2}/{basename}", "ax/cat.png", &[]),
            ("{sha256:0:2}/{basename}", "a/cat.png", &[]),
            ("{sha256:0:2}/{basename}", "cat.png", &[]),
            ("{sha256:0:2}/{basename}", "x/ab/cat.png", &[]),
            ("{sha256:0:1}on/{basename}", "_con/cat.png", &["_.on/cat.png"]),
            ("_{sha256:0:1}/{basename}", "_c/cat.png", &["_./cat.png"]),
            ("{sha256}", &format!("{hash}.png"), &[&format!("{}.png", ".".repeat(64))]),
            ("{sha256}", "cat.png", &[]),
            ("{index:04}-{sha256:0:2}{stem}", "12345-abcat.png", &["12345-..cat.png"]),
            ("{index:04}-{sha256:0:2}{stem}", "x-abcat.png", &[]),
            ("{stem}{sha256:0:2}x.{ext}", "catabx.png", &["cat..x.png"]),
            ("{stem}{sha256:0:2}x.{ext}", "catabx.jp", &[]),
            ("{stem}{sha256:0:2}x.{ext}", "catabx", &["cat..x"]),
            ("é{sha256:0:2}", "éab.png", &["é...png"]),
            ("{stem}-{sha256:0:2}-{index}", "cat-ab-16.png", &["cat-..-16.png"]),
            ("{stem}-{sha256:0:8}", "cat-01234567.png", &["cat-.........png"]),
            (
                "{stem}-{sha256:0:8}",
                "cat-01234567-89abcdef.png",
                &["cat-01234567-.........png", "cat-........-89abcdef.png"],
            ),
            ("{stem}-{sha256:0:4}", "cat-0123-89abcdef-16", &["cat-....-89abcdef-16"]),
            ("{sha256:0:4}-{stem}", "0123-cat-89abcdef.png", &["....-cat-89abcdef.png"]),
        ] {
            let digits = digits(template);
            let found = digits.possible_patterns(path).map(|reading| reading.replace(DIGIT_PLACEHOLDER, "."));
            assert_eq!(found.collect::<Vec<_>>(), possible_patterns, "{template} {path}");
        }
    }
}
