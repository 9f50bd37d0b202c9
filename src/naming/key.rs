//! Keys of samples (`--key`): what a sample is called within its shard.
//!
//! The template is that of `--name` with two fields more: `{shard}`, the name of the shard, and `{row}` or `{row:04}`, the
//! number of the row within it. A key holds neither `/` nor a dot, because readers of shards cut names at the first dot.

use std::fmt::Write as _;

use super::clean::{EXTENSION_PLACEHOLDER, clean_text};
use super::planned::PlannedName;
use super::template::{Field, FieldValues, Template, TemplateError};
use crate::record::{Job, url_hash};

/// `--key`, the text of the default.
pub const DEFAULT_KEY: &str = "{shard}{row:04}";

/// The longest key, in bytes: with an extension, it is a name that file systems take.
const MAX_KEY_BYTES: usize = 200;

/// A template for keys, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyTemplate {
    parts: Vec<KeyPart>,
}

#[derive(Clone, Debug, PartialEq)]
enum KeyPart {
    Shard,
    Row { width: usize },
    Other(Template),
}

/// Where a sample belongs.
#[derive(Clone, Copy, Debug)]
pub struct SamplePlace<'a> {
    /// The name of its shard.
    pub shard: &'a str,
    /// The number of its row within the shard.
    pub row: u64,
    /// Digits that the number has at least, where the template does not say how many.
    pub digits: usize,
}

impl Default for KeyTemplate {
    fn default() -> Self {
        Self { parts: vec![KeyPart::Shard, KeyPart::Row { width: 0 }] }
    }
}

impl std::str::FromStr for KeyTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let at = |rest: &str| text.chars().count() - rest.chars().count() + 1;
        let fail = |rest: &str, what: &str| Err(TemplateError { at: at(rest), what: what.to_owned() });
        let (mut parts, mut plain) = (Vec::new(), String::new());
        let mut rest = text;
        let take_plain = |plain: &mut String, parts: &mut Vec<KeyPart>| {
            if !plain.is_empty() {
                parts.push(KeyPart::Other(std::mem::take(plain).parse::<Template>()?));
            }
            Ok::<_, TemplateError>(())
        };
        while !rest.is_empty() {
            let own = |field: &str| rest.strip_prefix(field);
            if let Some(after) = own("{{").or_else(|| own("}}")) {
                plain.push_str(&rest[..2]);
                rest = after;
            } else if let Some(after) = own("{shard}") {
                take_plain(&mut plain, &mut parts)?;
                parts.push(KeyPart::Shard);
                rest = after;
            } else if let Some(field) = own("{row") {
                let Some((width, after)) = field.split_once('}') else { return fail(rest, "a { without its }") };
                let width = match width.strip_prefix(":0").map(str::parse) {
                    None if width.is_empty() => 0,
                    Some(Ok(width @ ..=20)) => width,
                    _ => return fail(rest, "the number of the row is {row} or, with leading zeros, {row:04}"),
                };
                take_plain(&mut plain, &mut parts)?;
                parts.push(KeyPart::Row { width });
                rest = after;
            } else if rest.starts_with(['/', '.']) {
                return fail(rest, "a key has no folder and no dot, because readers cut names at the first dot");
            } else {
                let end = if rest.starts_with('{') { rest.find('}').map(|end| end + 1) } else { None };
                let end = end.or_else(|| rest.chars().next().map(char::len_utf8)).unwrap_or(rest.len());
                plain.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
        take_plain(&mut plain, &mut parts)?;
        let key = Self { parts };
        if key.other(|field| matches!(field, Field::Basename | Field::Ext | Field::Sha256(_))) {
            return fail(
                text,
                "a key is given before the image is known: {basename}, {ext} and {sha256} are not for keys",
            );
        }
        if !key.differs_by_row() {
            return fail(text, "each sample of a shard needs a key of its own: add {row}, {index} or {url_hash}");
        }
        Ok(key)
    }
}

impl KeyTemplate {
    /// The key of the sample of a row. Two rows of a shard may have the same one only if their columns say so.
    #[must_use]
    pub fn render(&self, job: &Job, place: SamplePlace<'_>) -> String {
        let mut key = String::new();
        let mut hash = String::new();
        if self.other(|field| matches!(field, Field::UrlHash(_))) {
            hash = url_hash(&job.url);
        }
        let host = clean_text(job.url.host_str().unwrap_or_default());
        let basename =
            job.url.path_segments().and_then(|mut path| path.next_back()).map(clean_text).unwrap_or_default();
        for part in &self.parts {
            // Writing to a String cannot fail.
            let _ = match part {
                KeyPart::Shard => key.write_str(place.shard),
                KeyPart::Row { width: 0 } => write!(key, "{:0width$}", place.row, width = place.digits),
                KeyPart::Row { width } => write!(key, "{:0width$}", place.row, width = *width),
                KeyPart::Other(template) => key.write_str(&template.render(&FieldValues {
                    basename: &basename,
                    ext: "",
                    index: job.index,
                    host: &host,
                    url_hash: &hash,
                    extra: &job.extra,
                })),
            };
        }
        key_text(&key)
    }

    /// Whether the number of the row alone makes keys differ: then none has to be remembered.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        matches!(&self.parts[..], [KeyPart::Row { .. }] | [KeyPart::Shard, KeyPart::Row { .. }])
    }

    /// The template for rows that are tried again (`--retry-failed`). They are counted anew, so a key that counts rows, and
    /// does not name their shard, begins with the name of the shard.
    #[must_use]
    pub fn for_retries(mut self) -> Self {
        let counts_rows = self.parts.iter().any(|part| matches!(part, KeyPart::Row { .. }))
            || self.other(|field| matches!(field, Field::Index { .. }));
        if counts_rows
            && !self.parts.contains(&KeyPart::Shard)
            && let Ok(hyphen) = "-".parse()
        {
            self.parts.splice(0..0, [KeyPart::Shard, KeyPart::Other(hyphen)]);
        }
        self
    }

    /// The columns of the list that keys contain.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().flat_map(|part| match part {
            KeyPart::Other(template) => template.columns().collect::<Vec<_>>(),
            _ => Vec::new(),
        })
    }

    fn differs_by_row(&self) -> bool {
        let is_row = |part: &KeyPart| matches!(part, KeyPart::Row { .. });
        self.parts.iter().any(is_row) || self.other(|field| !matches!(field, Field::Host(_)))
    }

    fn other(&self, wanted: impl Fn(&Field) -> bool + Copy) -> bool {
        self.parts.iter().any(|part| matches!(part, KeyPart::Other(template) if template.uses(wanted)))
    }
}

/// A text from outside as a key: without dots, and of a length that names may have.
fn key_text(text: &str) -> String {
    let mut key = clean_text(text).replace('.', "_");
    if key.len() > MAX_KEY_BYTES {
        let end = (0..=MAX_KEY_BYTES).rev().find(|end| key.is_char_boundary(*end)).unwrap_or(0);
        key.truncate(end);
    }
    if key.is_empty() {
        key.push('_');
    }
    key
}

impl PlannedName {
    /// The name of the image of a sample: `folder/key.` and the extension of its format.
    #[must_use]
    pub fn of_sample(folder: &str, key: &str) -> Self {
        Self {
            pattern: format!("{folder}/{key}.{EXTENSION_PLACEHOLDER}"),
            digits: None,
            is_content_addressed: false,
            awaits_server_name: false,
            is_fixed: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::example::row;
    use super::*;
    use crate::record::Format;

    fn key(template: &str) -> String {
        let job = row(12_345, "http://a.example/cat.png", &[("id", json!("x/y.z")), ("n", json!(7))]);
        let place = SamplePlace { shard: "00001", row: 2_345, digits: 4 };
        template.parse::<KeyTemplate>().unwrap_or_else(|error| panic!("{template}: {error}")).render(&job, place)
    }

    #[test]
    fn a_key_is_rendered_without_dots_and_folders() {
        assert_eq!(key(DEFAULT_KEY), "000012345");
        assert_eq!(
            KeyTemplate::default().render(&row(1, "http://a/", &[]), SamplePlace { shard: "a", row: 1, digits: 5 }),
            "a00001"
        );
        assert_eq!(key("{row:06}-{col.id}"), "002345-x_y_z");
        assert_eq!(key("{index:08}"), "00012345");
        assert_eq!(key("{{{shard}}}-{col.n}"), "{00001}-7");
        assert_eq!(key("{url_hash:0:8}").len(), 8);
        assert_eq!(key(&format!("{{row}}{}", "ä".repeat(300))).len(), 200);
    }

    #[test]
    fn a_key_that_cannot_be_unique_or_holds_a_dot_is_refused() {
        for (template, what) in [
            ("", "needs a key of its own"),
            ("sample", "needs a key of its own"),
            ("{shard}", "needs a key of its own"),
            ("{host}", "needs a key of its own"),
            ("a/{row}", "no folder and no dot"),
            ("{row}.x", "no folder and no dot"),
            ("{row:4}", "with leading zeros, {row:04}"),
            ("{row", "a { without its }"),
            ("{basename}", "before the image is known"),
            ("{sha256}", "before the image is known"),
            ("{rowe}", "{row:04}"),
            ("{nmae}{row}", "there is no field {nmae}"),
        ] {
            let error = template.parse::<KeyTemplate>().expect_err(template);
            assert!(error.what.contains(what), "{template}: {error}");
        }
    }

    #[test]
    fn keys_of_rows_that_are_tried_again_are_not_those_of_others() {
        let place = SamplePlace { shard: "retry-00001", row: 3, digits: 4 };
        for (template, expected) in [
            (DEFAULT_KEY, "retry-000010003"),
            ("{row}", "retry-00001-0003"),
            ("x{index:06}", "retry-00001-x000009"),
            ("{col.id}", "7"),
        ] {
            let template = template.parse::<KeyTemplate>().expect(template).for_retries();
            let job = row(9, "http://a.example/cat.png", &[("id", json!(7))]);
            assert_eq!(template.clone().for_retries().render(&job, place), expected);
        }
    }

    #[test]
    fn the_name_of_a_sample_ends_in_the_extension_of_its_content() {
        let planned = PlannedName::of_sample("00000.tar", "000000001");
        assert_eq!(planned.finish(Some(Format::Jpeg), false, None).path, "00000.tar/000000001.jpg");
        assert_eq!(planned.finish(None, true, None).path, "00000.tar/000000001");
        assert_eq!(planned.known(), None);
    }
}
