//! JSON Lines: one object per line, with the URL under one of its keys.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Unexpected, Visitor};
use serde_json::Value;

use super::columns::Names;
use super::lines::Lines;
use super::rows::{About, Found, Place, Rows};
use super::{LONGEST_ROW, Options};
use crate::record::Extra;
use crate::util::redact::escaped;

/// Takes bytes, gives rows.
pub struct Parser<'a> {
    lines: Lines,
    objects: Objects<'a>,
}

impl<'a> Parser<'a> {
    /// A list, from its beginning.
    pub fn new(about: &'a About<'a>) -> Self {
        let objects = Objects { about, names: Names::default(), lack_checksum: false, have_checksum: false };
        Self { lines: Lines::new(LONGEST_ROW), objects }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8], rows: &mut Rows) {
        self.lines.take(bytes, |line, number| self.objects.push(line, number, rows));
    }

    /// There are no more.
    pub fn end(mut self, rows: &mut Rows) {
        self.lines.end(|line, number| self.objects.push(line, number, rows));
        let Objects { about, lack_checksum, have_checksum, .. } = self.objects;
        if let Some(column) = about.options.checksum_column.as_deref().filter(|_| lack_checksum && !have_checksum) {
            let (list, column) = (escaped(about.name), escaped(column));
            tracing::warn!(target: "fetchimg", "No object of {list} has a {column}, so nothing was compared with a checksum");
        }
    }
}

struct Objects<'a> {
    about: &'a About<'a>,
    names: Names,
    /// There are objects without the key of the checksum, and objects with it.
    lack_checksum: bool,
    have_checksum: bool,
}

impl Objects<'_> {
    fn push(&mut self, line: &[u8], number: u64, rows: &mut Rows) {
        let place = self.about.line(number);
        // What cannot be read may hold a secret in any place, so nothing of it is shown.
        let refuse = |rows: &mut Rows, what: &str| rows.refuse(b"", &format!("{place} {what}"), Extra::default());
        if line.trim_ascii().is_empty() {
            return;
        }
        if line.len() > LONGEST_ROW {
            return refuse(rows, "is longer than 1 MiB");
        }
        let mut json = serde_json::Deserializer::from_slice(line);
        let object = Reading { options: self.about.options, names: &mut self.names };
        match object.deserialize(&mut json).and_then(|object| json.end().map(|()| object)) {
            Ok(object) => {
                let has_checksum = object.checksum.is_some();
                self.have_checksum |= has_checksum;
                self.lack_checksum |= !has_checksum;
                object.push(place, rows);
            }
            Err(error) => {
                // It counts lines too, and has seen one.
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                let place = if error.column() > 0 { format!(" at byte {}", error.column()) } else { String::new() };
                refuse(rows, &format!("is no JSON object: {what}{place}"));
            }
        }
    }
}

/// What a line holds.
struct Object {
    url: Option<Value>,
    checksum: Option<Value>,
    extra: Extra,
}

impl Object {
    fn push(self, place: Place, rows: &mut Rows) {
        let Self { url, checksum, extra } = self;
        let url_column = &place.about.options.url_column;
        let url = match url {
            Some(Value::String(url)) => url,
            Some(other) => {
                let what = kind(&other);
                return rows.refuse(b"", &format!("{place} has no URL: its {url_column} is {what}"), extra);
            }
            None => {
                let message = format!("{place} has no {url_column}; name the key of the URL with --url-column");
                return rows.refuse(b"", &message, extra);
            }
        };
        let checksum = match &checksum {
            None | Some(Value::Null) => Ok(&b""[..]),
            Some(Value::String(checksum)) => Ok(checksum.as_bytes()),
            Some(other) => Err(kind(other)),
        };
        rows.push(Found { url: url.as_bytes(), checksum, extra }, place);
    }
}

/// What a value is, for people.
const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// How an object is read: its URL and its checksum apart, everything else as it stands.
struct Reading<'a> {
    options: &'a Options,
    names: &'a mut Names,
}

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Object;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Object, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    /// A text is not quoted in the message: it may be a URL with a secret, or very long.
    fn visit_str<E: de::Error>(self, _: &str) -> Result<Object, E> {
        Err(E::invalid_type(Unexpected::Other("text"), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let Self { options, names } = self;
        let (mut url, mut checksum, mut extra) = (None, None, Vec::new());
        while let Some(name) = map.next_key_seed(Name(names))? {
            let value = map.next_value()?;
            if *name == *options.url_column {
                url = Some(value);
            } else if options.checksum_column.as_deref() == Some(&name) {
                checksum = Some(value);
            } else {
                extra.push((name, value));
            }
        }
        Ok(Object { url, checksum, extra: Extra::new(extra) })
    }
}

/// A key, shared with the objects before.
struct Name<'a>(&'a mut Names);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Arc<str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Arc<str>, E> {
        Ok(self.0.shared(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::testing::{options, told};
    use crate::input::{Format, Options};

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
        assert_eq!(told(list.as_bytes(), &options(Format::Jsonl)), expected);
        assert_eq!(told(b"", &options(Format::Jsonl)), [""; 0]);
    }

    #[test]
    fn a_broken_line_is_one_failed_record() {
        let deep = format!("{{\"url\":{}1{}}}", "[".repeat(500), "]".repeat(500));
        let long = format!("{{\"url\":\"http://a/1\",\"c\":\"{}\"}}", "x".repeat(LONGEST_ROW));
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
            (
                b"{\"url\":\"\xff\"}",
                "bad_url [] line 1 of list is no JSON object: invalid unicode code point at byte 9 {}",
            ),
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
            assert_eq!(told(&list, &options(Format::Jsonl)), [expected, "http://a/2 {}"]);
        }
    }

    #[test]
    fn keys_are_shared_by_all_rows() {
        let list = b"{\"url\":\"http://a/1\",\"c\":1}\n{\"c\":2,\"url\":\"http://a/2\"}\n";
        let rows = crate::input::rows_of(&list[..], "list", &Options::default()).expect("rows");
        let names = rows.iter().flatten().filter_map(|job| job.extra.iter().next()).map(|(name, _)| name.as_ptr());
        let names = names.collect::<Vec<_>>();
        assert_eq!(names, [names[0]; 2]);
    }
}
