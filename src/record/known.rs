//! What an earlier record says of a file, copied into the records of rows that are skipped because of it.

use std::fmt::{self, Write as _};

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::util::raw_json::RawFields;

/// The fields of a record that describe its file, besides its path and its size in bytes. The others are about the download.
const FIELDS: [&str; 17] = [
    "format",
    "width",
    "height",
    "frames",
    "orientation",
    "verified",
    "exif",
    "md5",
    "sha1",
    "sha256",
    "sha512",
    "blake3",
    "phash",
    "original",
    "extension_mismatch",
    "smaller_than_box",
    "made_with",
];

/// What the journal knows of a file that an earlier run has saved: its format, its size in pixels, its digests and so on, as
/// the record of that file states them.
///
/// A resumed run has one for each row, so the text of the earlier record is copied and not parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownFile(Option<Box<str>>);

impl KnownFile {
    /// What a record says of its file.
    #[must_use]
    pub fn of_record(line: &str) -> Self {
        let mut known = String::new();
        for field in RawFields::of(line).filter(|field| FIELDS.contains(&field.name)) {
            known.push_str(if known.is_empty() { "{\"" } else { ",\"" });
            for part in [field.name, "\":", field.value] {
                known.push_str(part);
            }
        }
        if known.is_empty() {
            return Self::default();
        }
        known.push('}');
        Self(Some(known.into()))
    }

    /// The fields as a JSON object, as they are written in the record of the file.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.as_deref().unwrap_or("{}")
    }

    /// Whether nothing is known but the path and the size in bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The fields by name, as in the record of the file.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        self.0.as_deref().and_then(|known| serde_json::from_str(known).ok()).unwrap_or_default()
    }
}

impl Serialize for KnownFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for field in RawFields::of(self.0.as_deref().unwrap_or_default()) {
            // What is no JSON after all is left out.
            if let Ok(value) = serde_json::from_str::<&RawValue>(field.value) {
                map.serialize_entry(field.name, value)?;
            }
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for KnownFile {
    /// Reads the fields from a map and ignores its other entries: in records, they are fields among others.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KnownVisitor;
        impl<'de> Visitor<'de> for KnownVisitor {
            type Value = KnownFile;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the fields of a file")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KnownFile, A::Error> {
                let mut line = String::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if FIELDS.contains(&&*name) {
                        line.push_str(if line.is_empty() { "{" } else { "," });
                        let _ = write!(line, "\"{name}\":{value}");
                    }
                }
                line.push('}');
                Ok(KnownFile::of_record(&line))
            }
        }
        deserializer.deserialize_map(KnownVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Extra, Outcome, Reason, Record, Skipped};

    #[test]
    fn a_skipped_row_has_the_fields_of_its_file_and_none_of_its_download() {
        let line = r#"{"index":1,"url":"http://a/","status":"saved","path":"a.png","bytes":5,"format":"png","width":3,"content_type":"image/png","http_status":200,"attempts":1,"total_ms":1.5,"exif":{"Make":"x"},"sha256":"ab","original":{"bytes":7,"format":"jpeg"},"extra":{"width":9}}"#;
        let known = KnownFile::of_record(line);
        let skipped = Skipped { bytes: Some(5), known, ..Skipped::new(Reason::AlreadySaved, Some("a.png".into())) };
        let outcome = Outcome::Skipped(skipped);
        let record = Record { index: 1, url: "http://a/".into(), url_hash: None, outcome, extra: Extra::default() };
        let line = serde_json::to_string(&record).expect("JSON");
        let expected = r#"{"index":1,"url":"http://a/","status":"skipped","reason":"already_saved","path":"a.png","bytes":5,"format":"png","width":3,"exif":{"Make":"x"},"sha256":"ab","original":{"bytes":7,"format":"jpeg"}}"#;
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Record>(&line).expect("a record"), record);
        let Outcome::Skipped(Skipped { known, .. }) = record.outcome else { panic!("it is skipped") };
        assert_eq!(known.fields()["original"]["bytes"], 7);
        assert!(!known.is_empty() && KnownFile::of_record("{}").is_empty());
    }
}
