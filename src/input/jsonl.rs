//! Parses JSON Lines: one object per line, with the URL under one of its keys.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Unexpected, Visitor};
use serde_json::Value;

use super::lines::LineSplitter;
use super::rows::{ListContext, RawRow, RowPosition, RowSender};
use super::trim::trim;
use super::{ColumnUse, MAX_ROW_BYTES, NamedColumn, Options};
use crate::record::Extra;
use crate::util::redact::escaped;

/// Parses a JSON Lines list that arrives in pieces.
pub struct JsonlParser<'a> {
    lines: LineSplitter,
    objects: ObjectReader<'a>,
}

impl<'a> JsonlParser<'a> {
    /// A parser at the beginning of a list.
    pub fn new(context: &'a ListContext<'a>) -> Self {
        let objects = ObjectReader {
            context,
            names: KeyInterner::default(),
            some_lack_checksum: false,
            some_have_checksum: false,
            has_warned: HasWarned::default(),
            missing: context.options.named_columns.iter().collect(),
        };
        Self { lines: LineSplitter::new(MAX_ROW_BYTES), objects }
    }

    /// Parses the next bytes, and adds the rows that end in them.
    pub fn feed(&mut self, bytes: &[u8], rows: &mut RowSender) {
        self.lines.feed(bytes, |line, number| self.objects.push(line, number, rows));
    }

    /// Adds the last row, at the end of the list. Warns of keys that are asked for and that no object has: nothing was compared
    /// with a checksum then, or no image has a caption.
    pub fn finish(mut self, rows: &mut RowSender) {
        self.lines.finish(|line, number| self.objects.push(line, number, rows));
        let ObjectReader { context, some_lack_checksum, some_have_checksum, missing, .. } = self.objects;
        let warns = rows.is_first_reading && (some_lack_checksum || some_have_checksum);
        for NamedColumn { name, used_for } in missing.into_iter().filter(|_| warns) {
            let consequence = match used_for {
                // The report says how many names have nothing of it.
                ColumnUse::Name => continue,
                ColumnUse::Key => "no key has a part of it",
                ColumnUse::Caption => "no image has a caption",
            };
            let (list, name, flag) = (escaped(context.name), escaped(name), used_for.flag());
            tracing::warn!(target: "fetchimg", "No object of {list} has a {name}, which {flag} asks for, so {consequence}");
        }
        if let Some(column) =
            context.options.checksum_column.as_deref().filter(|_| warns && some_lack_checksum && !some_have_checksum)
        {
            let (list, column) = (escaped(context.name), escaped(column));
            tracing::warn!(target: "fetchimg", "No object of {list} has a {column}, so nothing was compared with a checksum");
        }
    }
}

/// Parses the objects of all lines.
struct ObjectReader<'a> {
    context: &'a ListContext<'a>,
    names: KeyInterner,
    /// Whether there are objects without the key of the checksum, and objects with it.
    some_lack_checksum: bool,
    some_have_checksum: bool,
    has_warned: HasWarned,
    /// The keys that the command line names and no object had so far.
    missing: Vec<&'a NamedColumn>,
}

/// What the user has been told.
#[derive(Default)]
struct HasWarned {
    /// That a line is not UTF-8.
    of_encoding: bool,
    /// That a line has half of a surrogate pair.
    of_surrogates: bool,
}

impl ObjectReader<'_> {
    fn parse(&mut self, text: &str) -> serde_json::Result<ParsedObject> {
        let mut json = serde_json::Deserializer::from_str(text);
        let object = ObjectSeed { options: self.context.options, names: &mut self.names };
        object.deserialize(&mut json).and_then(|object| json.end().map(|()| object))
    }

    fn push(&mut self, line: &[u8], number: u64, rows: &mut RowSender) {
        let position = self.context.line(number);
        // A line that cannot be parsed may hold a secret anywhere, so nothing of it is shown.
        let fail =
            |rows: &mut RowSender, what: &str| rows.push_invalid(b"", &format!("{position} {what}"), Extra::default());
        if line.len() > MAX_ROW_BYTES {
            return fail(rows, "is longer than 1 MiB");
        }
        let line = trim(line);
        if line.is_empty() {
            return;
        }
        // An image does not depend on a caption in another encoding.
        let text = String::from_utf8_lossy(line);
        let is_utf8 = matches!(text, Cow::Borrowed(_));
        let parsed = self.parse(&text);
        // Nor on a caption that was cut in the middle of a character.
        let mended = parsed.is_err().then(|| without_lone_surrogates(&text)).flatten();
        let has_surrogates = mended.is_some();
        match mended.map_or(parsed, |mended| self.parse(&mended)) {
            Ok(object) => {
                let has_checksum = object.checksum.is_some();
                self.some_have_checksum |= has_checksum;
                self.some_lack_checksum |= !has_checksum;
                self.missing.retain(|column| object.extra.get(&column.name).is_none());
                if !is_utf8 || has_surrogates {
                    let what = if is_utf8 {
                        "has half of a UTF-16 surrogate pair".to_owned()
                    } else {
                        format!("is not valid {}", self.context.options.encoding)
                    };
                    if let Some(broken) = object.broken(self.context.options) {
                        let message = format!("{position}: its {broken} {what}");
                        return rows.push_invalid(b"", &message, object.extra);
                    }
                    let has_warned =
                        if is_utf8 { &mut self.has_warned.of_surrogates } else { &mut self.has_warned.of_encoding };
                    if !std::mem::replace(has_warned, true) && rows.is_first_reading {
                        let position = position.to_string();
                        tracing::warn!(
                            target: "fetchimg",
                            "{} {what}; what cannot be read is recorded as U+FFFD, here and in the lines after it",
                            escaped(&position)
                        );
                    }
                }
                object.push(position, rows);
            }
            Err(error) => {
                // The parser counts lines too, and sees one line only.
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                let place = if error.column() > 0 { format!(" at byte {}", error.column()) } else { String::new() };
                fail(rows, &format!("is no JSON object: {what}{place}"));
            }
        }
    }
}

/// JSON with U+FFFD for each escape of half a surrogate pair, which is no character. `None` if there is none. Python's `json`
/// writes one for text that was cut in the middle of an emoji.
fn without_lone_surrogates(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut mended, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(next) = memchr::memchr(b'\\', &bytes[at..]) {
        let escape = at + next;
        at = match (unit(escape), unit(escape + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => escape + 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.push_str(&json[copied..escape]);
                mended.push_str("\\ufffd");
                copied = escape + 6;
                copied
            }
            // What the backslash escapes is no escape itself.
            _ => (escape + 2).min(bytes.len()),
        };
    }
    (copied > 0).then(|| mended + &json[copied..])
}

/// The object on a line.
struct ParsedObject {
    url: Option<Value>,
    checksum: Option<Value>,
    extra: Extra,
}

impl ParsedObject {
    /// The key of the URL, or of a value that names the image, if what was no UTF-8 in the line may have been part of it.
    fn broken<'a>(&self, options: &'a Options) -> Option<&'a str> {
        let is_broken =
            |value: &Value| matches!(value, Value::String(text) if text.contains(char::REPLACEMENT_CHARACTER));
        let is_broken_column = |name: &str| self.extra.get(name).is_some_and(is_broken);
        let url = self.url.as_ref().filter(|url| is_broken(url)).map(|_| &*options.url_column);
        url.or_else(|| options.naming_column(is_broken_column).map(|column| &*column.name))
    }

    fn push(self, position: RowPosition, rows: &mut RowSender) {
        let Self { url, checksum, extra } = self;
        let url_column = &position.context.options.url_column;
        let url = match url {
            Some(Value::String(url)) => url,
            Some(other) => {
                let what = type_name(&other);
                return rows.push_invalid(b"", &format!("{position} has no URL: its {url_column} is {what}"), extra);
            }
            None => {
                let message = format!("{position} has no {url_column}; name the key of the URL with --url-column");
                return rows.push_invalid(b"", &message, extra);
            }
        };
        let checksum = match &checksum {
            None | Some(Value::Null) => Ok(&b""[..]),
            Some(Value::String(checksum)) => Ok(checksum.as_bytes()),
            Some(other) => Err(type_name(other)),
        };
        rows.push(RawRow { url: url.as_bytes(), checksum, extra }, position);
    }
}

/// The type of a value, in words for a message.
const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads an object: takes its URL and its checksum apart, and keeps everything else in its order.
struct ObjectSeed<'a> {
    options: &'a Options,
    names: &'a mut KeyInterner,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ParsedObject;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<ParsedObject, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ParsedObject;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    /// The text is not quoted in the message: it may be a URL with a secret, or very long.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<ParsedObject, E> {
        Err(E::invalid_type(Unexpected::Other("text"), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedObject, A::Error> {
        let Self { options, names } = self;
        let (mut url, mut checksum, mut extra) = (None, None, Vec::new());
        while let Some(name) = map.next_key_seed(KeySeed(names))? {
            let value = map.next_value()?;
            if *name == *options.url_column {
                url = Some(value);
            } else if options.checksum_column.as_deref() == Some(&name) {
                checksum = Some(value);
            } else {
                extra.push((name, value));
            }
        }
        let is_alike = |(name, _): &(Arc<str>, Value)| name.trim().eq_ignore_ascii_case(options.url_column.trim());
        if url.is_none() && extra.iter().filter(|field| is_alike(field)).count() == 1 {
            url = extra.iter().position(is_alike).map(|at| extra.remove(at).1);
        }
        remove_superseded(&mut extra);
        Ok(ParsedObject { url, checksum, extra: Extra::new(extra) })
    }
}

/// The number of keys up to which each is compared with each, because that is quicker than a table.
const MAX_COMPARED_KEYS: usize = 32;

/// Of values with one key, keeps the last, as most programs do that read JSON: names would be made of the first otherwise, and
/// tables have the last.
fn remove_superseded(fields: &mut Vec<(Arc<str>, Value)>) {
    let is_repeated = if fields.len() <= MAX_COMPARED_KEYS {
        let is_repeated = |at: usize| fields[..at].iter().any(|(name, _)| *name == fields[at].0);
        (1..fields.len()).any(is_repeated)
    } else {
        let mut seen = HashSet::with_capacity_and_hasher(fields.len(), RandomState::default());
        !fields.iter().all(|(name, _)| seen.insert(name))
    };
    if is_repeated {
        let mut seen = HashSet::<Arc<str>, RandomState>::default();
        fields.reverse();
        fields.retain(|(name, _)| seen.insert(Arc::clone(name)));
        fields.reverse();
    }
}

/// Reads a key, and interns it.
struct KeySeed<'a>(&'a mut KeyInterner);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Arc<str>, E> {
        Ok(self.0.intern(name))
    }
}

/// The number of keys that are interned. It is limited because objects may have, for example, one key for each user of
/// a site.
const MAX_INTERNED_KEYS: usize = 1000;

/// The length of the longest key that is interned, in bytes. A longer one is hardly used twice.
const MAX_INTERNED_KEY_BYTES: usize = 1000;

/// Interns the keys of JSON objects: rows with the same key share its text.
#[derive(Debug, Default)]
struct KeyInterner(HashSet<Arc<str>, RandomState>);

impl KeyInterner {
    /// The interned text of a key.
    fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(name) {
            return Arc::clone(shared);
        }
        let new = Arc::<str>::from(name);
        if self.0.len() < MAX_INTERNED_KEYS && name.len() <= MAX_INTERNED_KEY_BYTES {
            self.0.insert(Arc::clone(&new));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{options, rows_as_text};
    use crate::input::{ColumnUse, ListFormat, NamedColumn, Options};

    #[test]
    fn each_line_is_an_object() {
        let list = format!(
            "\u{feff}{}\n\r\n   \n{}\r\n{}",
            r#"{"b":[1,{"x":null}],"url":"http://a/1","a":0.1,"md5":null,"c":"\u00e9 \n","d":18446744073709551615}"#,
            r#"  {"md5":"D41D8CD98F00B204E9800998ECF8427E","url":" http://a/2 "}"#,
            r#"{"url":"http://a/3","md5":"","ok":true}"#,
        );
        let expected = [
            r#"http://a/1 {"b":[1,{"x":null}],"a":0.1,"c":"é \n","d":18446744073709551615}"#,
            r"http://a/2 md5 {}",
            r#"http://a/3 {"ok":true}"#,
        ];
        assert_eq!(rows_as_text(list.as_bytes(), &options(ListFormat::Jsonl)), expected);
        assert_eq!(rows_as_text(b"", &options(ListFormat::Jsonl)), [""; 0]);
    }

    #[test]
    fn an_invalid_line_is_one_failed_record() {
        let deep = format!("{{\"url\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        let long = format!("{{\"url\":\"http://a/1\",\"c\":\"{}\"}}", "x".repeat(MAX_ROW_BYTES));
        let table: [(&[u8], &str); 17] = [
            (b"http://a/1?sig=secret", "bad_url [] line 1 of list is no JSON object: expected value at byte 1 {}"),
            (
                b"[1]",
                "bad_url [] line 1 of list is no JSON object: invalid type: sequence, expected an object at byte 1 {}",
            ),
            (
                b"\"http://ann:pw@a/1?sig=secret\"",
                "bad_url [] line 1 of list is no JSON object: invalid type: text, expected an object at byte 30 {}",
            ),
            (
                b"7",
                "bad_url [] line 1 of list is no JSON object: invalid type: integer `7`, expected an object at byte 1 {}",
            ),
            (
                b"{\"url\":\"http://a/1\"",
                "bad_url [] line 1 of list is no JSON object: EOF while parsing an object at byte 19 {}",
            ),
            (
                b"{\"url\":\"http://a/1\"} {}",
                "bad_url [] line 1 of list is no JSON object: trailing characters at byte 22 {}",
            ),
            (b"{\"url\":\"\xff\"}", "bad_url [] line 1 of list: its url is not valid UTF-8 {}"),
            (b"{\"c\":1}", "bad_url [] line 1 of list has no url; name the key of the URL with --url-column {\"c\":1}"),
            (b"{\"url\":null,\"c\":1}", "bad_url [] line 1 of list has no URL: its url is null {\"c\":1}"),
            (b"{\"url\":7}", "bad_url [] line 1 of list has no URL: its url is a number {}"),
            (b"{\"url\":[\"http://a/1\"]}", "bad_url [] line 1 of list has no URL: its url is an array {}"),
            (b"{\"url\":\"\"}", "bad_url [] line 1 of list has no URL: its url is empty {}"),
            (
                b"{\"url\":\"x\",\"c\":1}",
                "bad_url [x] line 1 of list: its url is no http(s) URL: it does not begin with http:// or https:// {\"c\":1}",
            ),
            (
                b"{\"url\":\"http://a/?sig=s\",\"md5\":7}",
                "checksum [http://a/?sig=***] line 1 of list: the checksum is a number {}",
            ),
            (
                b"{\"url\":\"http://a/1\",\"md5\":\"zz\"}",
                "checksum [http://a/1] line 1 of list: the checksum holds 'z', which is no hexadecimal digit {}",
            ),
            (deep.as_bytes(), "bad_url [] line 1 of list is no JSON object: recursion limit exceeded at byte 134 {}"),
            (long.as_bytes(), "bad_url [] line 1 of list is longer than 1 MiB {}"),
        ];
        for (line, expected) in table {
            let list = [line, b"\n{\"url\":\"http://a/2\"}"].concat();
            assert_eq!(rows_as_text(&list, &options(ListFormat::Jsonl)), [expected, "http://a/2 {}"]);
        }
    }

    #[test]
    fn a_value_in_another_encoding_costs_no_row_unless_it_names_the_image() {
        let list = b"{\"url\":\"http://a/1\",\"c\":\"caf\xe9\"}\n{\"url\":\"http://a/2\"}";
        let rows = [r#"http://a/1 {"c":"caf?"}"#.replace('?', "\u{fffd}"), "http://a/2 {}".to_owned()];
        assert_eq!(rows_as_text(list, &options(ListFormat::Jsonl)), rows);
        let named = |used_for| Options {
            named_columns: vec![NamedColumn { name: "c".to_owned(), used_for }],
            ..options(ListFormat::Jsonl)
        };
        assert_eq!(rows_as_text(list, &named(ColumnUse::Caption)), rows);
        let named = named(ColumnUse::Name);
        assert!(rows_as_text(list, &named)[0].starts_with("bad_url [] line 1 of list: its c is not valid UTF-8 "));
    }

    #[test]
    fn text_that_was_cut_in_a_character_costs_no_row_unless_it_names_the_image() {
        for (text, read) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\uDE00\n\\ud83d \ud83d\\", "\u{fffd}\n\\ud83d \u{fffd}\\"),
            (r"\udbff\u0041é", "\u{fffd}Aé"),
        ] {
            let list = format!("{{\"url\":\"http://a/1\",\"c\":\"{text}\"}}\n{{\"url\":\"http://a/{text}\"}}\n");
            let extra = serde_json::json!({"c": read});
            let failed = "bad_url [] line 2 of list: its url has half of a UTF-16 surrogate pair {}".to_owned();
            let rows = [format!("http://a/1 {extra}"), failed.clone()];
            assert_eq!(rows_as_text(list.as_bytes(), &options(ListFormat::Jsonl)), rows, "{text}");
            let named_columns = vec![NamedColumn { name: "c".to_owned(), used_for: ColumnUse::Name }];
            let named = Options { named_columns, ..options(ListFormat::Jsonl) };
            let row = format!("bad_url [] line 1 of list: its c has half of a UTF-16 surrogate pair {extra}");
            assert_eq!(rows_as_text(list.as_bytes(), &named), [row, failed], "{text}");
        }
        // Other mistakes stay.
        for text in [r"\ud83d\x", r"\ud83", r"\ud83d\"] {
            let list = format!("{{\"url\":\"http://a/1\",\"c\":\"{text}\"}}\n");
            let rows = rows_as_text(list.as_bytes(), &options(ListFormat::Jsonl));
            assert!(rows[0].starts_with("bad_url [] line 1 of list is no JSON object: "), "{rows:?}");
        }
    }

    #[test]
    fn of_values_with_one_key_the_last_counts() {
        let many = (0..100).map(|n| format!("\"k{n}\":{n},")).collect::<Vec<_>>().concat();
        for more in [String::new(), many] {
            let list = format!(r#"{{"url":"http://a/0","c":1,{more}"d":2,"c":3,"url":"http://a/1","c":4}}"#);
            let extra = format!(r#"{{{more}"d":2,"c":4}}"#);
            assert_eq!(rows_as_text(list.as_bytes(), &options(ListFormat::Jsonl)), [format!("http://a/1 {extra}")]);
        }
    }

    #[test]
    fn keys_are_interned() {
        let list = b"{\"url\":\"http://a/1\",\"c\":1}\n{\"c\":2,\"url\":\"http://a/2\"}\n";
        let rows = crate::input::rows_of(&list[..], "list", &Options::default()).expect("rows");
        let names = rows.iter().flatten().filter_map(|job| job.extra.iter().next()).map(|(name, _)| name.as_ptr());
        let names = names.collect::<Vec<_>>();
        assert_eq!(names, [names[0]; 2]);
    }
}
