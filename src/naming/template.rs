//! Parses file name templates, which are text with fields in braces, and renders them.
//!
//! | field | stands for |
//! |---|---|
//! | `{basename}` | the last segment of the URL's path, or the name from the server, or `image` |
//! | `{stem}` `{ext}` | what is before and after its last dot; `{ext}` by content if that is no extension of an image |
//! | `{index}` `{index:06}` | the number of the row, from 0; with leading zeros |
//! | `{index/10000}` `{index/10000:04}` | that number divided, the remainder dropped |
//! | `{host}` | the host of the URL |
//! | `{url_hash}` | the SHA-256 of the URL, 64 hexadecimal digits ([`crate::record::url_hash`]) |
//! | `{sha256}` | the SHA-256 of the body, 64 hexadecimal digits |
//! | `{col.NAME}` | the column NAME of the row |
//! | `{{` `}}` | the braces themselves |
//!
//! `{stem}`, `{host}`, `{url_hash}`, `{sha256}` and `{col.NAME}` can have a slice: `{sha256:0:2}` is the characters from
//! position 0, counted from 0, up to and not including position 2. Positions after the end of the text are ignored.
//!
//! The value of a column is written as it is if it is text, and as in JSON if it is a number, `true` or `false`; then it
//! is cleaned like all text from outside. A missing column, null, a list or an object is written as `none`. NAME may have
//! any character but braces, colons included: only two numbers at the very end are a slice. So the column `a:0:2` is
//! `{col.a:0:2:0:999}`.
//!
//! `{sha256}` is known after the body, and only allowed in some places (see [`super::digest_digits`]).

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU64;

use serde_json::Value;

use super::clean::{DIGIT_PLACEHOLDER, clean_text};
use super::digest_digits::DigestDigits;
use crate::record::Extra;
use crate::util::redact::needs_escaping;

/// The text for a column without a value.
const MISSING_VALUE: &str = "none";

/// `--name`, the text of [`Template::default`].
pub const DEFAULT_TEMPLATE: &str = "{basename}";

/// The number of hexadecimal digits of a SHA-256.
pub const SHA256_DIGITS: usize = 64;

/// A file name template (`--name`), parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// As it was typed.
    text: String,
    parts: Vec<TemplatePart>,
    digits: Option<DigestDigits>,
}

/// `{basename}`.
impl Default for Template {
    fn default() -> Self {
        Self { text: DEFAULT_TEMPLATE.to_owned(), parts: vec![TemplatePart::Field(Field::Basename)], digits: None }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum TemplatePart {
    Text(String),
    Field(Field),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Basename,
    Stem(Slice),
    Ext,
    Index { divisor: NonZeroU64, width: usize },
    Host(Slice),
    UrlHash(Slice),
    Sha256(Slice),
    Column(String, Slice),
}

/// A range of characters of a text: `start` is included, `end` is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    pub start: usize,
    pub end: usize,
}

impl Slice {
    const ALL: Self = Self { start: 0, end: usize::MAX };
    const SHA256: Self = Self { start: 0, end: SHA256_DIGITS };

    fn apply(self, text: &str) -> &str {
        let place = |number| text.char_indices().nth(number).map_or(text.len(), |(place, _)| place);
        &text[place(self.start)..place(self.end)]
    }

    /// The number of characters of the slice, for a text that is long enough.
    pub const fn width(self) -> usize {
        self.end - self.start
    }
}

/// Why a template is invalid, and where.
#[derive(Debug, PartialEq)]
pub struct TemplateError {
    /// The number of the character in the template, from 1.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at character {})", self.what, self.at)
    }
}

impl std::error::Error for TemplateError {}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    /// Parses text with fields in braces; `{{` and `}}` stand for braces.
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let fail = |at: usize, what: String| Err(TemplateError { at, what });
        if text.is_empty() {
            return fail(1, "the template is empty".into());
        }
        // Each part with the number of the character where it was recognised: for a field, that of its brace.
        let mut parts = Vec::new();
        let mut plain = String::new();
        // A sample name, with an `x` for each field, and the number of the character in the template for each of its
        // characters.
        let mut sample = Vec::new();
        let mut characters = text.chars().enumerate().map(|(index, character)| (index + 1, character)).peekable();
        while let Some((at, character)) = characters.next() {
            sample.push((at, if character == '{' { 'x' } else { character }));
            match character {
                '{' | '}' if characters.next_if(|(_, next)| *next == character).is_some() => plain.push(character),
                '}' => return fail(at, "a } without its {".into()),
                '{' => {
                    let mut inner = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((_, '{')) | None => return fail(at, "a { without its }".into()),
                            Some((_, character)) => inner.push(character),
                        }
                    }
                    let field = Field::parse(&inner).map_err(|error| error.in_field(&inner, at))?;
                    if !plain.is_empty() {
                        parts.push((TemplatePart::Text(std::mem::take(&mut plain)), at));
                    }
                    parts.push((TemplatePart::Field(field), at));
                }
                '\\' => return fail(at, "folders are separated by /".into()),
                '<' | '>' | ':' | '"' | '|' | '?' | '*' => {
                    return fail(at, format!("{character} is refused in names by Windows"));
                }
                other if needs_escaping(other) => return fail(at, "a control character".into()),
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            parts.push((TemplatePart::Text(plain), text.len()));
        }
        // Every component must be a visible name.
        let end = sample.last().map(|(at, _)| (*at, '/'));
        let mut begins = true;
        for (at, character) in sample.into_iter().chain(end) {
            if begins && matches!(character, '/' | '.') {
                return fail(at, "the name must stay inside the output folder and show no hidden or empty part".into());
            }
            begins = character == '/';
        }
        let digits = DigestDigits::of(&components(&parts))?;
        Ok(Self { text: text.to_owned(), parts: parts.into_iter().map(|(part, _)| part).collect(), digits })
    }
}

/// A part of the name of a folder or of the file.
#[derive(Clone, Copy, Debug)]
pub(super) enum ComponentPart<'a> {
    Text(&'a str),
    /// With the number of the character in the template where the field begins.
    Field(&'a Field, usize),
}

/// The components of a template: its folders and its file.
fn components(parts: &[(TemplatePart, usize)]) -> Vec<Vec<ComponentPart<'_>>> {
    let mut components = Vec::new();
    let mut component = Vec::new();
    for (part, at) in parts {
        match part {
            TemplatePart::Text(text) => {
                for (number, text) in text.split('/').enumerate() {
                    if number > 0 {
                        components.push(std::mem::take(&mut component));
                    }
                    if !text.is_empty() {
                        component.push(ComponentPart::Text(text));
                    }
                }
            }
            TemplatePart::Field(field) => component.push(ComponentPart::Field(field, *at)),
        }
    }
    components.push(component);
    components
}

/// Why a field is invalid, and where.
struct FieldError<'a> {
    /// The text of the field from the invalid character on; `None`: the field as a whole.
    from: Option<&'a str>,
    what: String,
}

impl FieldError<'_> {
    /// The error in the template. `brace`: the number of the character of the field's opening brace.
    fn in_field(self, field: &str, brace: usize) -> TemplateError {
        let right = self.from.map(|from| field.chars().count() - from.chars().count());
        TemplateError { at: right.map_or(brace, |right| brace + 1 + right), what: self.what }
    }
}

impl Field {
    /// Parses the text between braces.
    fn parse(text: &str) -> Result<Self, FieldError<'_>> {
        if let Some(column) = text.strip_prefix("col.") {
            return Self::parse_column(column);
        }
        let (name, more) = text.split_at(text.find([':', '/']).unwrap_or(text.len()));
        let whole = |field, advice: &str| match more {
            "" => Ok(field),
            _ => Err(FieldError { from: Some(more), what: format!("{{{name}}} is taken whole{advice}") }),
        };
        match name {
            "basename" => whole(Self::Basename, "; a part of it is {stem:0:8}"),
            "ext" => whole(Self::Ext, ""),
            "index" => Self::parse_index(text, more),
            "stem" => Ok(Self::Stem(slice(name, more, None)?)),
            "host" => Ok(Self::Host(slice(name, more, None)?)),
            "url_hash" => Ok(Self::UrlHash(slice(name, more, Some(Slice::SHA256))?)),
            "sha256" => Ok(Self::Sha256(slice(name, more, Some(Slice::SHA256))?)),
            _ => {
                let known = "{basename} {stem} {ext} {index} {host} {url_hash} {sha256} {col.NAME}";
                Err(FieldError { from: None, what: format!("there is no field {{{text}}}; there are {known}") })
            }
        }
    }

    /// Parses the field of the row number. `more`: the text after `index` in `text`.
    fn parse_index<'a>(text: &str, more: &'a str) -> Result<Self, FieldError<'a>> {
        let fail = |from, what: String| Err(FieldError { from: Some(from), what });
        let forms = || format!("{{{text}}} is none of {{index}} {{index:06}} {{index/1000}} {{index/1000:06}}");
        let (divisor, more) = match more.strip_prefix('/') {
            None => (NonZeroU64::MIN, more),
            Some(by) => {
                let (digits, more) = by.split_at(by.find(':').unwrap_or(by.len()));
                let Some(divisor) = number(digits) else { return fail(by, forms()) };
                let Some(divisor) = NonZeroU64::new(divisor) else {
                    return fail(by, "nothing can be divided by 0".into());
                };
                (divisor, more)
            }
        };
        let width = match more {
            "" => 0,
            _ => match more.strip_prefix(":0").and_then(number) {
                Some(width @ ..=20) => width,
                Some(_) => return fail(more, "no row has a number of more than 20 digits".into()),
                None => return fail(more, forms()),
            },
        };
        Ok(Self::Index { divisor, width })
    }

    /// Parses a column. `column`: the text after `col.`.
    fn parse_column(column: &str) -> Result<Self, FieldError<'_>> {
        let mut words = column.rsplitn(3, ':');
        let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let name = match (words.next().filter(is_number), words.next().filter(is_number), words.next()) {
            (Some(_), Some(_), Some(name)) => name,
            _ => column,
        };
        if name.is_empty() {
            return Err(FieldError { from: Some(column), what: "{col.NAME} needs the name of a column".into() });
        }
        Ok(Self::Column(name.to_owned(), slice("col.NAME", &column[name.len()..], None)?))
    }
}

/// Parses the slice after the name of a field: nothing, or two numbers. `all`: the whole of the field, if its length is
/// known.
fn slice<'a>(name: &str, more: &'a str, all: Option<Slice>) -> Result<Slice, FieldError<'a>> {
    let fail = |from, what: String| Err(FieldError { from: Some(from), what });
    if more.is_empty() {
        return Ok(all.unwrap_or(Slice::ALL));
    }
    let Some((first, second)) = more.strip_prefix(':').and_then(|numbers| numbers.split_once(':')) else {
        return fail(more, format!("a part of {{{name}}} is two numbers, as in {{{name}:0:8}}"));
    };
    let from_first = &more[1..];
    let no_number = |word| format!("{word:?} is no number from 0 to {}", usize::MAX);
    let Some(start) = number(first) else { return fail(from_first, no_number(first)) };
    let Some(end) = number(second) else { return fail(second, no_number(second)) };
    if start >= end {
        return fail(from_first, format!("nothing is left of {{{name}}} from {start} up to, but not including, {end}"));
    }
    match all {
        Some(all) if end > all.end => fail(second, format!("{{{name}}} has {} digits", all.end)),
        _ => Ok(Slice { start, end }),
    }
}

/// A number that consists of digits; a sign is not allowed.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The values of the fields for one name.
pub(super) struct FieldValues<'a> {
    pub basename: &'a str,
    pub ext: &'a str,
    pub index: u64,
    pub host: &'a str,
    pub url_hash: &'a str,
    pub extra: &'a Extra,
}

impl Template {
    /// The template as it was typed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether another list may give another name to the same URL: names have the number or a column of the row.
    #[must_use]
    pub fn depends_on_row(&self) -> bool {
        self.uses(|field| matches!(field, Field::Index { .. } | Field::Column(..)))
    }

    /// Whether names have digits of the SHA-256 of the body, which must be computed then.
    #[must_use]
    pub const fn wants_sha256(&self) -> bool {
        self.digits.is_some()
    }

    /// The places of these digits, if there are any.
    pub(super) const fn digits(&self) -> Option<&DigestDigits> {
        self.digits.as_ref()
    }

    /// The name for these values, before it is made fit for file systems; with placeholders for SHA-256 digits.
    pub(super) fn render(&self, values: &FieldValues) -> String {
        use fmt::Write as _;
        let mut name = String::new();
        for part in &self.parts {
            // Writing to a String cannot fail.
            let _ = match part {
                TemplatePart::Text(text) => name.write_str(text),
                TemplatePart::Field(Field::Basename) => name.write_str(values.basename),
                TemplatePart::Field(Field::Stem(slice)) => {
                    let stem = values.basename.rsplit_once('.').map_or(values.basename, |(stem, _)| stem);
                    name.write_str(slice.apply(stem))
                }
                TemplatePart::Field(Field::Ext) => name.write_str(values.ext),
                TemplatePart::Field(Field::Index { divisor, width }) => {
                    write!(name, "{:0width$}", values.index / *divisor)
                }
                TemplatePart::Field(Field::Host(slice)) => name.write_str(slice.apply(values.host)),
                TemplatePart::Field(Field::UrlHash(slice)) => name.write_str(slice.apply(values.url_hash)),
                TemplatePart::Field(Field::Sha256(slice)) => {
                    name.extend(std::iter::repeat_n(DIGIT_PLACEHOLDER, slice.width()));
                    Ok(())
                }
                TemplatePart::Field(Field::Column(column, slice)) => match column_text(values.extra.get(column)) {
                    Some(value) => name.write_str(slice.apply(&clean_text(&value))),
                    None => name.write_str(MISSING_VALUE),
                },
            };
        }
        name
    }

    /// Whether different rows always have different names, whatever the other fields are.
    ///
    /// They do if a folder or the file begins with a few plain characters and `{index}`, followed by a character that
    /// is no digit, or by the end. The text before the number is the same in all names, so they differ where the
    /// numbers do: a number is never the start of another one followed by a non-digit, also with leading zeros.
    ///
    /// The rules for whole names do not change that. An underscore may be put before (`com1` is a device and `com10` is
    /// not; the underscore is then where other names have a letter or a digit), and a name that is too long is
    /// truncated at its end, far after the number. A dot before the number is not allowed, because the number could be
    /// taken for an extension, and suffixes are put before extensions.
    pub(super) fn is_unique_per_row(&self) -> bool {
        /// The length of the text before the number, in bytes. A name has 255 bytes, of which a suffix takes at most
        /// 86, an extension 9, a number 20, and SHA-256 digits at the end, with the text beside them, 72.
        const MAX_PREFIX_BYTES: usize = 64;
        let mut begun = true;
        let mut before = 0;
        for (position, part) in self.parts.iter().enumerate() {
            match part {
                TemplatePart::Text(text) => {
                    let last = text.rsplit('/').next().unwrap_or(text);
                    if last.len() < text.len() {
                        (begun, before) = (true, 0);
                    }
                    before += last.len();
                    begun &= before <= MAX_PREFIX_BYTES && last.bytes().all(|byte| byte.is_ascii() && byte != b'.');
                }
                TemplatePart::Field(Field::Index { divisor: NonZeroU64::MIN, .. }) if begun => {
                    let ends = match self.parts.get(position + 1) {
                        None => true,
                        Some(TemplatePart::Text(next)) => {
                            next.bytes().next().is_some_and(|b| b.is_ascii() && !b.is_ascii_digit())
                        }
                        Some(TemplatePart::Field(_)) => false,
                    };
                    if ends {
                        return true;
                    }
                    begun = false;
                }
                TemplatePart::Field(_) => begun = false,
            }
        }
        false
    }

    /// Whether the file's name ends in `.{ext}`.
    pub(super) fn ends_in_extension(&self) -> bool {
        matches!(&self.parts[..], [.., TemplatePart::Text(text), TemplatePart::Field(Field::Ext)] if text.ends_with('.'))
    }

    /// The columns that names contain.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            TemplatePart::Field(Field::Column(name, _)) => Some(&**name),
            _ => None,
        })
    }

    /// The columns of the template for which a row has no text, so that its name has `none` or nothing in their place.
    pub fn empty_columns<'a>(&'a self, extra: &'a Extra) -> impl Iterator<Item = &'a str> {
        self.columns().filter(|column| column_text(extra.get(column)).is_none_or(|text| clean_text(&text).is_empty()))
    }

    /// The first column of the template in which two rows differ.
    #[must_use]
    pub fn differing_column(&self, one: &Extra, other: &Extra) -> Option<&str> {
        self.columns().find(|column| column_text(one.get(column)) != column_text(other.get(column)))
    }

    /// Whether the template has a field that `wanted` accepts.
    pub(super) fn uses(&self, wanted: impl Fn(&Field) -> bool) -> bool {
        self.parts.iter().any(|part| matches!(part, TemplatePart::Field(field) if wanted(field)))
    }
}

/// The value of a column as text, before cleaning; `None` if it has no text.
fn column_text(value: Option<&Value>) -> Option<Cow<'_, str>> {
    match value? {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(truth) => Some(truth.to_string().into()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_template_says_where() {
        for (template, at, what) in [
            ("", 1, "the template is empty"),
            ("ab{index", 3, "a { without its }"),
            ("ab{index{stem}", 3, "a { without its }"),
            ("ab{col.x{y}", 3, "a { without its }"),
            ("a}", 2, "a } without its {"),
            ("a\\b", 2, "folders are separated by /"),
            ("{index}:{basename}", 8, ": is refused in names by Windows"),
            ("é\u{7f}", 2, "a control character"),
            ("{index}-{nmae}", 9, "there is no field {nmae}"),
            ("{index}-{nmae:0:2}", 9, "there is no field {nmae:0:2}"),
            ("{col}", 1, "there is no field {col}"),
            ("{}", 1, "there is no field {}"),
            ("{basename:0:8}", 10, "{basename} is taken whole; a part of it is {stem:0:8}"),
            ("x{ext:0:1}", 6, "{ext} is taken whole"),
            ("{stem/2}", 6, "a part of {stem} is two numbers, as in {stem:0:8}"),
            ("{stem:3}", 6, "a part of {stem} is two numbers, as in {stem:0:8}"),
            ("é{url_hash:}", 11, "a part of {url_hash} is two numbers, as in {url_hash:0:8}"),
            ("{stem::3}", 7, "\"\" is no number from 0 to 18446744073709551615"),
            ("{stem:-1:3}", 7, "\"-1\" is no number"),
            ("{stem:0:+3}", 9, "\"+3\" is no number"),
            ("{stem:0:3:4}", 9, "\"3:4\" is no number"),
            ("{stem:0:18446744073709551616}", 9, "\"18446744073709551616\" is no number"),
            ("{sha256:2:2}", 9, "nothing is left of {sha256} from 2 up to, but not including, 2"),
            ("{host:2:1}", 7, "nothing is left of {host} from 2 up to, but not including, 1"),
            ("{url_hash:60:65}", 14, "{url_hash} has 64 digits"),
            ("{sha256:64:65}", 12, "{sha256} has 64 digits"),
            ("{index:6x}", 7, "{index:6x} is none of {index} {index:06} {index/1000} {index/1000:06}"),
            ("{index:6}", 7, "{index:6} is none of"),
            ("{index:0}", 7, "{index:0} is none of"),
            ("{index:0:2}", 7, "{index:0:2} is none of"),
            ("{index:0+6}", 7, "{index:0+6} is none of"),
            ("{index:021}", 7, "no row has a number of more than 20 digits"),
            ("{index/}", 8, "{index/} is none of"),
            ("{index/-1}", 8, "{index/-1} is none of"),
            ("{index/0}", 8, "nothing can be divided by 0"),
            ("{index/10:4}", 10, "{index/10:4} is none of"),
            ("{col.}", 6, "{col.NAME} needs the name of a column"),
            ("{col.:0:2}", 6, "{col.NAME} needs the name of a column"),
            ("{col.ü:4:2}", 8, "nothing is left of {col.NAME} from 4"),
            ("{col.a:0:18446744073709551616}", 10, "\"18446744073709551616\" is no number"),
            ("{host}-{sha256:0:8}-{stem}", 8, "{sha256} must begin or end a folder's name or the file's"),
            ("x/{index}{sha256}{stem}", 10, "{sha256} must begin or end"),
            ("../{basename}", 1, "inside the output folder"),
            ("/{basename}", 1, "inside the output folder"),
            ("a//{basename}", 3, "inside the output folder"),
            ("é/{{/{basename}/", 16, "inside the output folder"),
            ("{basename}/", 11, "inside the output folder"),
            ("{basename}/../a", 12, "inside the output folder"),
            ("a/.{stem}", 3, "inside the output folder"),
            (".hidden/{basename}", 1, "inside the output folder"),
            (".{stem:0:1}", 1, "inside the output folder"),
        ] {
            let error = template.parse::<Template>().expect_err(template);
            assert_eq!(error.at, at, "{template}: {error}");
            assert!(error.what.contains(what), "{template}: {error}");
        }
    }

    #[test]
    fn two_numbers_at_the_end_of_a_column_are_a_slice_and_all_else_is_its_name() {
        let all = Slice::ALL;
        for (text, name, slice) in [
            ("col.a", "a", all),
            ("col.a:0:2", "a", Slice { start: 0, end: 2 }),
            ("col.a:b", "a:b", all),
            ("col.a:b:2", "a:b:2", all),
            ("col.a:1", "a:1", all),
            ("col.a:1:", "a:1:", all),
            ("col.a:1:2:3", "a:1", Slice { start: 2, end: 3 }),
            ("col.a:0:2:0:999", "a:0:2", Slice { start: 0, end: 999 }),
            ("col.a/b.c \t", "a/b.c \t", all),
            ("col.col.x", "col.x", all),
        ] {
            let field = Field::parse(text).unwrap_or_else(|error| panic!("{text}: {}", error.what));
            assert_eq!(field, Field::Column(name.to_owned(), slice), "{text}");
        }
    }

    #[test]
    fn templates_with_unique_names_per_row_are_recognised() {
        for (template, apart) in [
            ("{index}", true),
            ("{index:08}", true),
            ("{index:08}.png", true),
            ("img_{index:06}-{basename}", true),
            ("{index} {host}", true),
            ("{host}/{index}.{ext}", true),
            ("{index}/{basename}", true),
            ("com{index}", true),
            ("7{index}", true),
            ("{stem}-{index}", false),
            ("{index}{stem}", false),
            ("{index}7", false),
            ("{index}{index}", false),
            ("{index}{ext}", false),
            ("{index}\u{301}", false),
            ("é{index}", false),
            ("a.jp{index}", false),
            ("{host}{index}", false),
            ("{basename}", false),
            ("{index:04}{stem}/{basename}", false),
            ("{index/1}", true),
            ("{index/10}", false),
            ("{index/10:04}-{basename}", false),
            ("{index/10000:04}/{index}", true),
            ("{sha256:0:2}/{index:06}", true),
            ("{index}-{sha256:0:8}", true),
            ("{index}-{stem}-{sha256}", true),
            ("{sha256:0:8}-{index}", false),
            ("{url_hash:0:8}", false),
            ("{url_hash}", false),
            ("{col.id}", false),
            ("{col.index}/{stem}", false),
        ] {
            assert_eq!(template.parse::<Template>().expect(template).is_unique_per_row(), apart, "{template}");
        }
        let long = |count| format!("{}{{index}}", "x".repeat(count)).parse::<Template>().expect("a template");
        assert!(long(64).is_unique_per_row() && !long(65).is_unique_per_row());
    }
}
