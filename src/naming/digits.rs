//! Where names hold digits of the body's SHA-256.
//!
//! They are known when the body is complete, and names are given out long before. So each digit is a hole in a planned
//! name, and the collision table takes it for one that may turn out to be any. Two plans are then one name if they agree
//! in everything else — but only if it can be told from a name where its digits are: could they be anywhere, `a?` + `b`
//! and `aa` + `?` might both become `aab`. Therefore digits must begin or end their folder or file name, and beside them,
//! on that side, there is nothing but what has a known length: plain text, a part of `{url_hash}`, or the number of the
//! row with something behind it (or before it) that is no digit. Then the same place is found again in the names of
//! earlier runs: under `{sha256:0:2}/{basename}`, a file `ab/cat.png` stands in the way of every `??/cat.png`.
//!
//! A name that is too long is cut elsewhere. Where a file name holds all 64 digits, it is therefore the content's own:
//! different contents have different names, whatever the table says, and equal ones may share theirs.

use std::sync::Arc;

use super::clean::{DIGIT, NEAR, extension};
use super::template::{Field, Piece, SHA256_DIGITS, TemplateError};
use crate::record::Format;

/// Digits near the beginning end within so many bytes of it: whatever is cut is behind them. A name has 255 bytes, of
/// which a suffix takes 86 at most, and an extension 9.
const LONGEST_BEGINNING: usize = 150;

/// Digits at the end take so many bytes at most, with what is beside them: room for all 64, and for those of the row's
/// number that tell rows apart.
const LONGEST_END: usize = 72;

/// The digits in the names of a template.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// Which digits of the 64 stand there, in this order.
    which: Arc<[u8]>,
    places: Vec<Place>,
    /// How many folders and files a path has.
    components: usize,
    /// The file name holds all of them, in a row.
    names_content: bool,
}

/// Digits in the name of a folder or of the file.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    component: usize,
    from: Side,
    /// What is met from there on, up to the last of the digits.
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Beginning {
        /// An underscore in front is not of the template, but put before a device's name.
        underscore_is_guard: bool,
    },
    End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// So many characters, whatever they are.
    Known(usize),
    /// The number of a row.
    Number,
    /// So many digits of the digest.
    Digits(usize),
}

impl Digits {
    /// Those of a template that consists of these folders and a file. `None` if there are none.
    ///
    /// # Errors
    /// When it cannot be told from a name where they are.
    pub fn of(components: &[Vec<Piece>]) -> Result<Option<Self>, TemplateError> {
        let mut places = Vec::new();
        let mut which = Vec::new();
        for (component, pieces) in components.iter().enumerate() {
            let digits = pieces.iter().enumerate().filter_map(|(position, piece)| match piece {
                Piece::Field(Field::Sha256(slice), at) => Some((position, *at, slice)),
                _ => None,
            });
            let digits = digits.collect::<Vec<_>>();
            let [(first, at, _), ..] = digits[..] else { continue };
            let last = digits.last().map_or(first, |(last, ..)| *last);
            which.extend(digits.iter().flat_map(|(_, _, slice)| slice.start..slice.end));
            let is_file = component + 1 == components.len();
            let place = from_beginning(&pieces[..=last]).or_else(|| from_end(&pieces[first..], is_file));
            let Some((from, steps)) = place else {
                let what = "{sha256} must begin or end a folder's name or the file's, with nothing but short plain text, \
                            {url_hash} and {index} beside it there: two images might get one name otherwise";
                return Err(TemplateError { at, what: what.into() });
            };
            places.push(Place { component, from, steps });
        }
        let names_content = places.last().is_some_and(|place| {
            place.component + 1 == components.len() && place.steps.contains(&Step::Digits(SHA256_DIGITS))
        });
        let which = which.into_iter().filter_map(|digit| u8::try_from(digit).ok()).collect::<Arc<[u8]>>();
        let components = components.len();
        Ok((!places.is_empty()).then_some(Self { which, places, components, names_content }))
    }

    /// Which digits of the 64 stand in a name, in this order.
    pub fn which(&self) -> Arc<[u8]> {
        Arc::clone(&self.which)
    }

    /// Whether different contents have different names by these digits alone.
    pub const fn names_content(&self) -> bool {
        self.names_content
    }

    /// Whether the digits of the file name are found from its end, where a suffix moves them.
    pub fn are_moved_by_suffixes(&self) -> bool {
        self.places.last().is_some_and(|place| place.component + 1 == self.components && place.from == Side::End)
    }

    /// The path with holes where this template puts digits; `None` if the path has none there.
    pub fn reopened(&self, path: &str) -> Option<String> {
        self.reopened_before(path, 0)
    }

    /// What may have been planned for a path that is known: with holes where this template puts digits, by itself and
    /// before whatever may be a suffix.
    pub fn readings(&self, path: &str) -> impl Iterator<Item = String> {
        let suffixes = suffixes(path).filter(|_| self.are_moved_by_suffixes());
        std::iter::once(0).chain(suffixes).filter_map(|suffix| self.reopened_before(path, suffix))
    }

    /// `suffix`: so many bytes before the extension are no part of what the template made.
    fn reopened_before(&self, path: &str, suffix: usize) -> Option<String> {
        let mut components = path.split('/').map(str::to_owned).collect::<Vec<_>>();
        if components.len() != self.components {
            return None;
        }
        for Place { component, from, steps } in &self.places {
            let name = &components[*component];
            let is_file = component + 1 == self.components;
            let end = if is_file && *from == Side::End { stem_length(name).checked_sub(suffix)? } else { name.len() };
            let (name, rest) = name.split_at_checked(end)?;
            components[*component] = reopened(name, *from, steps)? + rest;
        }
        Some(components.join("/"))
    }
}

/// The way to digits from the beginning of a name, through `pieces`, the last of which are digits.
fn from_beginning(pieces: &[Piece]) -> Option<(Side, Vec<Step>)> {
    let mut steps = Vec::new();
    let mut length = 0;
    let mut before = 0;
    for (position, piece) in pieces.iter().enumerate() {
        let (step, bytes) = match piece {
            // A name does not begin with a space.
            Piece::Text(text) => known(if position == 0 { text.trim_start() } else { text }),
            Piece::Field(Field::Index { .. }, _) => match pieces.get(position + 1) {
                Some(Piece::Text(text)) if is_no_digit(text.bytes().next()) => NUMBER,
                _ => return None,
            },
            Piece::Field(field, _) => of_field(field)?,
        };
        if matches!(step, Step::Digits(_)) && !steps.iter().any(|step| matches!(step, Step::Digits(_))) {
            before = length;
        }
        length += bytes;
        steps.push(step);
    }
    let underscore_is_guard = !matches!(pieces.first(), Some(Piece::Text(text)) if text.trim_start().starts_with('_'));
    (before < NEAR && length <= LONGEST_BEGINNING).then_some((Side::Beginning { underscore_is_guard }, steps))
}

/// The way to digits from the end of a name, through `pieces`, the first of which are digits.
fn from_end(pieces: &[Piece], is_file: bool) -> Option<(Side, Vec<Step>)> {
    let mut steps = Vec::new();
    let mut length = 0;
    for (position, piece) in without_extension(pieces, is_file)?.iter().enumerate().rev() {
        let (step, bytes) = match piece {
            // What is behind a dot might be taken for an extension.
            Piece::Text(text) if text.contains('.') => return None,
            Piece::Text(text) => known(text),
            Piece::Field(Field::Index { .. }, _) => match position.checked_sub(1).map(|before| pieces[before]) {
                Some(Piece::Text(text)) if is_no_digit(text.bytes().last()) => NUMBER,
                _ => return None,
            },
            Piece::Field(field, _) => of_field(field)?,
        };
        length += bytes;
        steps.push(step);
    }
    (length <= LONGEST_END).then_some((Side::End, steps))
}

/// The pieces of a name without those that make its extension, which a name loses before it is looked at.
fn without_extension<'a>(pieces: &[Piece<'a>], is_file: bool) -> Option<Vec<Piece<'a>>> {
    let (pieces, last) = match pieces {
        [pieces @ .., Piece::Text(text), Piece::Field(Field::Ext, _)] if is_file => (pieces, text.strip_suffix('.')?),
        [pieces @ .., Piece::Text(text)] => {
            let parts = text.rsplit_once('.').filter(|(_, ext)| is_file && Format::from_extension(ext).is_some());
            (pieces, parts.map_or(*text, |(before, _)| before))
        }
        pieces => return Some(pieces.to_vec()),
    };
    // It would be removed from the end of one name and not of another.
    (!last.ends_with(' ')).then(|| [pieces, &[Piece::Text(last)]].concat())
}

/// And the bytes that it takes at most.
const NUMBER: (Step, usize) = (Step::Number, 20);

fn known(text: &str) -> (Step, usize) {
    (Step::Known(text.chars().count()), text.len())
}

/// A field of which it is known how many characters it has.
fn of_field(field: &Field) -> Option<(Step, usize)> {
    match field {
        Field::UrlHash(slice) => Some((Step::Known(slice.width()), slice.width())),
        Field::Sha256(slice) => Some((Step::Digits(slice.width()), slice.width())),
        _ => None,
    }
}

fn is_no_digit(byte: Option<u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii() && !byte.is_ascii_digit())
}

/// The name with holes where digits are; `None` where it has none.
fn reopened(name: &str, from: Side, steps: &[Step]) -> Option<String> {
    let mut letters = name.chars().collect::<Vec<_>>();
    if from == Side::End {
        letters.reverse();
    }
    let mut rest = letters.as_mut_slice();
    if from == (Side::Beginning { underscore_is_guard: true }) && rest.first() == Some(&'_') {
        rest = &mut rest[1..];
    }
    for step in steps {
        let width = match step {
            Step::Known(width) | Step::Digits(width) => *width,
            Step::Number => rest.iter().take_while(|letter| letter.is_ascii_digit()).count(),
        };
        let (passed, left) = rest.split_at_mut_checked(width)?;
        if matches!(step, Step::Digits(_)) {
            if !passed.iter().all(char::is_ascii_hexdigit) {
                return None;
            }
            passed.fill(DIGIT);
        }
        rest = left;
    }
    if from == Side::End {
        letters.reverse();
    }
    Some(letters.into_iter().collect())
}

/// The length in bytes of the name of a file without its extension, if that is one of an image.
fn stem_length(name: &str) -> usize {
    extension(name)
        .filter(|ext| Format::from_extension(ext).is_some())
        .map_or(name.len(), |ext| name.len() - ext.len() - 1)
}

/// The lengths of what may be a suffix of the file's name: `-` and digits of a URL's hash, and perhaps `-` and a number.
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

    fn digits(template: &str) -> Digits {
        template.parse::<Template>().expect(template).digits().expect("digits").clone()
    }

    #[test]
    fn no_extension_is_made_of_digits() {
        // So `{stem}.{sha256:0:3}` never has one by chance.
        let mut all = Format::ALL.iter().flat_map(|format| format.extensions());
        assert_eq!(all.find(|ext| ext.bytes().all(|byte| byte.is_ascii_hexdigit())), None);
    }

    #[test]
    fn digits_stand_where_names_tell_their_place() {
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
            // Between what has no known length.
            ("{stem}-{sha256:0:8}-{host}", ""),
            ("{sha256:0:2}-{stem}-{sha256:2:4}", ""),
            ("{stem}{sha256:0:8}{ext}", ""),
            ("{stem}{sha256:0:8}-{ext}", ""),
            ("{col.a}{sha256:0:8}{col.b}", ""),
            ("{index}{sha256:0:8}{stem}", ""),
            ("{index}7{sha256:0:8}{stem}", ""),
            ("{stem}{sha256:0:8}{index}", ""),
            ("{stem}{sha256:0:8}7{index}", ""),
            // The end of a name is cleaned, and it may be an extension.
            ("{stem}{sha256:0:8}.jp{index}", ""),
            ("{stem}{sha256:0:8} .{ext}", ""),
            ("{stem}{sha256:0:8}. /{index}", ""),
            // It might be cut.
            ("{stem}{sha256}123456789", ""),
            ("{url_hash}{url_hash}{sha256}{url_hash}", ""),
            (&format!("{}{{sha256:0:1}}{{stem}}", "x".repeat(80)), ""),
        ] {
            let parsed = template.parse::<Template>();
            let places = parsed.as_ref().map(|parsed| parsed.digits().map_or(&[][..], |digits| &digits.places));
            let side = |place: &Place| if place.from == Side::End { 'e' } else { 'b' };
            let found = places.map(|places| places.iter().map(side).collect::<String>()).unwrap_or_default();
            assert_eq!(found, sides, "{template}: {:?}", parsed.err());
        }
    }

    #[test]
    fn a_name_is_the_contents_own_if_it_holds_all_digits() {
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
            assert_eq!(digits(template).names_content(), own, "{template}");
        }
    }

    #[test]
    fn what_may_have_been_planned_is_read_from_a_name() {
        let hash = "0123456789abcdef".repeat(4);
        for (template, path, readings) in [
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
            let found = digits.readings(path).map(|reading| reading.replace(DIGIT, "."));
            assert_eq!(found.collect::<Vec<_>>(), readings, "{template} {path}");
        }
    }
}
