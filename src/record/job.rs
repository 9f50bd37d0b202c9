//! What goes in: a [`Job`] is one row of the list.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::record::{Checksum, Record, hex};
use crate::util::budget::{MemoryBudget, MemoryShare};
use crate::util::redact::redacted;

/// One row of the list that holds a URL.
#[derive(Clone, Debug)]
pub struct Job {
    /// The number of the row, from 0, blank lines and comments not counted.
    pub index: u64,
    /// What to fetch.
    pub url: Url,
    /// What else the row holds.
    pub extra: Extra,
    /// What the body has to hash to (`--checksum-column`).
    pub checksum: Option<Box<Checksum>>,
}

impl Job {
    /// A row that holds nothing but a URL.
    #[must_use]
    pub fn new(index: u64, url: Url) -> Self {
        Self { index, url, extra: Extra::default(), checksum: None }
    }
}

/// The columns of a row besides its URL, in their order. They are carried into the row's record, and names may hold
/// them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Extra(Option<Arc<Columns>>);

#[derive(Debug)]
struct Columns {
    /// Names and values.
    all: Vec<(Arc<str>, Value)>,
    /// What they weigh, if anybody counts that.
    weight: Option<MemoryShare>,
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Extra {
    /// These columns. Names may be shared between the rows of a list.
    #[must_use]
    pub fn new(columns: Vec<(Arc<str>, Value)>) -> Self {
        Self((!columns.is_empty()).then(|| Arc::new(Columns { all: columns, weight: None })))
    }

    /// How many bytes of memory the values take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(|(_, value)| size(value)).sum()
    }

    /// Counts them among these as long as they are there. To be said before they are cloned.
    pub fn weigh(&mut self, bytes: usize, weights: &Arc<MemoryBudget>) {
        if let Some(columns) = self.0.as_mut().and_then(Arc::get_mut) {
            columns.weight = Some(weights.hold(bytes));
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value of a column; of several with one name that of the first.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(column, _)| *column == name).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().flat_map(|columns| &columns.all).map(|(name, value)| (&**name, value))
    }
}

/// How many bytes of memory a value takes.
fn size(value: &Value) -> usize {
    let more = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| size_of::<String>() + name.len() + size(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + more
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = Extra;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the columns of a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Extra, A::Error> {
                let mut columns = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    columns.push((name.into(), value));
                }
                Ok(Extra::new(columns))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}

/// One row of the list: a job, or the record of a line that is none.
pub type Row = Result<Job, Box<Record>>;

/// What a URL is known by, on this and on later runs: the SHA-256 of its normalised text without the fragment, which
/// is never sent (RFC 3986, section 3.5), as hexadecimal digits.
#[must_use]
pub fn url_hash(url: &Url) -> String {
    hex(&Sha256::digest(without_fragment(url).as_bytes()))
}

/// The text of a URL that identifies what it names.
#[must_use]
pub fn without_fragment(url: &Url) -> &str {
    &url[..url::Position::AfterQuery]
}

/// The URL as records show it, and its hash where that is not the URL itself because something is redacted.
#[must_use]
pub fn recorded(url: &Url) -> (Cow<'_, str>, Option<String>) {
    let shown = redacted(url);
    let hash = (shown != url.as_str()).then(|| url_hash(url));
    (shown, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_does_not_make_another_picture() {
        let url = |text| Url::parse(text).expect("a URL");
        assert_eq!(url_hash(&url("https://a.example/x.png#1")), url_hash(&url("https://a.example/x.png")));
        assert_ne!(url_hash(&url("https://a.example/x.png?1")), url_hash(&url("https://a.example/x.png")));
        assert_eq!(url_hash(&url("https://a.example/x.png")).len(), 64);
    }
}
