//! Splits a JSON object into its fields without decoding them: names and values are slices of the text.
//!
//! A journal has millions of records, of which only a few fields are looked at, and which are copied as they are written.
//! Finding where a value ends is several times faster than parsing it. Numbers and escapes are not checked.

/// A field of an object, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawField<'a> {
    /// The name without its quotation marks. Escapes are not decoded.
    pub name: &'a str,
    /// The value.
    pub value: &'a str,
}

/// The fields of an object, in their order.
#[derive(Clone, Debug)]
pub struct RawFields<'a> {
    text: &'a str,
    at: usize,
    end: End,
}

/// How far an object has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// A field follows, or the end of an object without fields.
    First,
    /// A field follows.
    Open,
    /// The last field has been read, and nothing follows the object.
    Complete,
    /// It is no object, or not a complete one.
    Broken,
}

impl<'a> RawFields<'a> {
    /// The fields of the object that is this text.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let at = after_space(text.as_bytes(), 0);
        let end = if text.as_bytes().get(at) == Some(&b'{') { End::First } else { End::Broken };
        Self { text, at: at + 1, end }
    }

    /// Whether all fields have been read, and the text is one complete object.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.end == End::Complete
    }

    /// Reads the next field, or what is there instead of it.
    fn read(&mut self) -> Option<RawField<'a>> {
        let text = self.text.as_bytes();
        let name_start = after_space(text, self.at);
        if self.end == End::First && text.get(name_start) == Some(&b'}') {
            self.close(name_start + 1);
            return None;
        }
        let name_end = string_end(text, name_start)?;
        let colon = after_space(text, name_end);
        if text.get(colon) != Some(&b':') {
            return None;
        }
        let value_start = after_space(text, colon + 1);
        let value_end = value_end(text, value_start)?;
        let next = after_space(text, value_end);
        match text.get(next)? {
            b',' => (self.at, self.end) = (next + 1, End::Open),
            b'}' => self.close(next + 1),
            _ => return None,
        }
        Some(RawField {
            name: self.text.get(name_start + 1..name_end - 1)?,
            value: self.text.get(value_start..value_end)?,
        })
    }

    /// Ends the object, behind which nothing may follow.
    fn close(&mut self, at: usize) {
        let is_end = after_space(self.text.as_bytes(), at) == self.text.len();
        self.end = if is_end { End::Complete } else { End::Broken };
    }
}

impl<'a> Iterator for RawFields<'a> {
    type Item = RawField<'a>;

    fn next(&mut self) -> Option<RawField<'a>> {
        if matches!(self.end, End::Complete | End::Broken) {
            return None;
        }
        let field = self.read();
        // An object without fields is complete without one.
        if field.is_none() && self.end != End::Complete {
            self.end = End::Broken;
        }
        field
    }
}

/// The text of a string without its quotation marks, if it is one. Escapes are not decoded.
#[must_use]
pub fn inner(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

fn after_space(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the string that begins here.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    if text.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The end of the value that begins here.
fn value_end(text: &[u8], start: usize) -> Option<usize> {
    match text.get(start)? {
        b'"' => string_end(text, start),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, start);
            loop {
                match text.get(at)? {
                    b'"' => at = string_end(text, at)?,
                    b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
                    b'}' | b']' if depth == 1 => return Some(at + 1),
                    b'}' | b']' => (depth, at) = (depth - 1, at + 1),
                    _ => at += 1,
                }
            }
        }
        b'-' | b'0'..=b'9' => {
            let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            Some(start + text[start..].iter().take_while(|byte| is_part(byte)).count())
        }
        _ => ["true", "false", "null"]
            .iter()
            .find(|word| text[start..].starts_with(word.as_bytes()))
            .map(|word| start + word.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Vec<(&str, &str)>, bool) {
        let mut fields = RawFields::of(text);
        let found = fields.by_ref().map(|field| (field.name, field.value)).collect();
        (found, fields.is_complete())
    }

    #[test]
    fn fields_are_found_as_they_are_written() {
        let text = r#"{"a":1.50,"b\"c":"x\\\",\"d\":","e":{"f":["}",{"g":2}],"h":{}}, "i" : null ,"j":-1e3,"k":true}"#;
        let expected = [
            ("a", "1.50"),
            (r#"b\"c"#, r#""x\\\",\"d\":""#),
            ("e", r#"{"f":["}",{"g":2}],"h":{}}"#),
            ("i", "null"),
            ("j", "-1e3"),
            ("k", "true"),
        ];
        assert_eq!(split(text), (expected.to_vec(), true));
        assert_eq!(split("{}"), (vec![], true));
        assert_eq!(split("{\"a\":\"ä\"}\r"), (vec![("a", "\"ä\"")], true));
        assert_eq!(inner("\"ä\""), Some("ä"));
    }

    #[test]
    fn what_is_no_complete_object_is_not_taken_for_one() {
        let whole = r#"{"a":1,"b":{"c":"d"},"e":"f"}"#;
        for end in 0..whole.len() {
            assert!(!split(&whole[..end]).1, "{}", &whole[..end]);
        }
        for text in
            ["", "[]", "null", "{,}", "{\"a\"}", "{\"a\":}", "{\"a\":x}", "{\"a\":1}{", "{\"a\":1,}", "{\"a\":1}x"]
        {
            assert!(!split(text).1, "{text}");
        }
    }
}
