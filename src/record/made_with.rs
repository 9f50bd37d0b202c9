//! What shaped the file of a record: the wishes of the run that made it.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The wishes that shape a file or its record, as far as they are not the defaults. They have the names and the values of
/// the flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be typed")]
pub struct Wishes {
    /// The box, such as `256` or `320x240`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<String>,
    /// How pictures are fitted into the box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize_mode: Option<String>,
    /// Whether smaller pictures are enlarged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub enlarge: bool,
    /// The format in which all images are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode: Option<String>,
    /// The quality of lossy formats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// How images are checked for damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<String>,
    /// The digests that are recorded. Those that names or `--dedupe` need are among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
    /// Whether a perceptual hash is recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub phash: bool,
    /// Whether the Exif data are recorded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exif: bool,
    /// The formats that are accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// The smallest width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_width: Option<u32>,
    /// The smallest height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_height: Option<u32>,
    /// The largest number of pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<u64>,
    /// The largest ratio of the longer side to the shorter one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_aspect: Option<f64>,
    /// The smallest size of a body in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
    /// The largest size of a body in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// The template of the names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether extensions that contradict the content are replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fix_extension: bool,
}

impl Wishes {
    /// Whether pixels are made anew.
    #[must_use]
    pub const fn shapes_pixels(&self) -> bool {
        self.resize.is_some() || self.encode.is_some()
    }
}

/// The [`Wishes`] of a run as a value of its records. They are serialised once for all records of a run, and a record whose
/// run had none but the defaults has no such field, so that they cost nothing per image.
#[derive(Clone, Debug, Default)]
pub struct MadeWith(Option<Arc<RawValue>>);

impl MadeWith {
    /// The name of the field.
    pub const FIELD: &str = "made_with";

    /// The value for these wishes.
    #[must_use]
    pub fn of(wishes: &Wishes) -> Self {
        if *wishes == Wishes::default() {
            return Self(None);
        }
        // Texts, numbers and lists of texts can always be expressed in JSON.
        Self(serde_json::value::to_raw_value(wishes).ok().map(Arc::from))
    }

    /// Whether all wishes are the defaults, or unknown: the records of versions before 0.2 do not have them.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// The wishes as JSON, if they are not the defaults.
    #[must_use]
    pub fn json(&self) -> Option<&RawValue> {
        self.0.as_deref()
    }
}

impl PartialEq for MadeWith {
    fn eq(&self, other: &Self) -> bool {
        let value = |made: &Self| made.json().and_then(|json| serde_json::from_str::<Value>(json.get()).ok());
        value(self) == value(other)
    }
}

impl Serialize for MadeWith {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MadeWith {
    /// A record is read with its fields in any order, so its values are in memory already when this one is read.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.is_null() {
            return Ok(Self(None));
        }
        serde_json::value::to_raw_value(&value).map(|raw| Self(Some(Arc::from(raw)))).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_the_default_is_written() {
        assert!(MadeWith::of(&Wishes::default()).is_default());
        let wishes = Wishes {
            resize: Some("256".into()),
            resize_mode: Some("border".into()),
            encode: Some("webp".into()),
            quality: Some(80),
            hash: vec!["sha256".into()],
            name: Some("{index:06}.{ext}".into()),
            ..Wishes::default()
        };
        let made = MadeWith::of(&wishes);
        let expected = r#"{"resize":"256","resize_mode":"border","encode":"webp","quality":80,"hash":["sha256"],"name":"{index:06}.{ext}"}"#;
        assert_eq!(made.json().map(RawValue::get), Some(expected));
        assert_eq!(serde_json::from_str::<Wishes>(expected).expect("wishes"), wishes);
        assert_eq!(serde_json::from_str::<MadeWith>(expected).expect("a value"), made);
    }
}
