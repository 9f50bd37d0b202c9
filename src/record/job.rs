//! The input of a download: a [`Job`] is one row of the list, and its URL is what it is known by.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex};

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

use crate::record::{Checksum, Record, hex};
use crate::util::budget::{MemoryBudget, MemoryShare};
use crate::util::lock;
use crate::util::redact::redacted;

/// One row of the list that holds a URL.
#[derive(Clone, Debug)]
pub struct Job {
    /// The number of the row, from 0, blank lines and comments not counted.
    pub index: u64,
    /// What to fetch.
    pub url: Url,
    /// The other columns of the row.
    pub extra: Extra,
    /// The checksum that the body must have (`--checksum-column`).
    pub checksum: Option<Box<Checksum>>,
}

impl Job {
    /// A row with a URL and no other columns.
    #[must_use]
    pub fn new(index: u64, url: Url) -> Self {
        Self { index, url, extra: Extra::default(), checksum: None }
    }
}

/// The columns of a row besides its URL, in their order. They are copied into the row's record, and templates for file
/// names can refer to them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Extra(Option<Arc<ExtraColumns>>);

#[derive(Debug)]
struct ExtraColumns {
    /// Names and values.
    all: Vec<(Arc<str>, Value)>,
    /// The memory that the row takes, if it is charged to a budget.
    charged: Mutex<Option<MemoryShare>>,
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Extra {
    /// Columns by name. The names may be shared between the rows of a list.
    #[must_use]
    pub fn new(columns: Vec<(Arc<str>, Value)>) -> Self {
        Self((!columns.is_empty()).then(|| Arc::new(ExtraColumns { all: columns, charged: Mutex::default() })))
    }

    /// The memory that the values take, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.iter().map(|(_, value)| size(value)).sum()
    }

    /// Holds `bytes` of the budget until the columns and all their clones are dropped, or [`Extra::release`] is called. Must
    /// be called before the first clone is made: clones of no columns hold nothing.
    pub fn charge_to(&mut self, budget: &Arc<MemoryBudget>, bytes: usize) {
        let columns =
            self.0.get_or_insert_with(|| Arc::new(ExtraColumns { all: Vec::new(), charged: Mutex::default() }));
        *lock(&columns.charged) = Some(budget.hold(bytes));
    }

    /// Gives the budget back what it holds, for a row that is kept for longer than the budget allows for.
    pub fn release(&self) {
        if let Some(columns) = &self.0 {
            lock(&columns.charged).take();
        }
    }

    /// Whether there are no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|columns| columns.all.is_empty())
    }

    /// The value of a column, or of the first one if several have that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(column, _)| *column == name).map(|(_, value)| value)
    }

    /// The names and values, in the order of the columns.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().flat_map(|columns| &columns.all).map(|(name, value)| (&**name, value))
    }
}

/// The memory that a value takes, in bytes.
fn size(value: &Value) -> usize {
    let heap = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| size_of::<String>() + name.len() + size(value)).sum()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + heap
}

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ExtraVisitor;
        impl<'de> Visitor<'de> for ExtraVisitor {
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
        deserializer.deserialize_map(ExtraVisitor)
    }
}

/// One row of the list: a job, or the failed record of a line that holds no URL.
pub type Row = Result<Job, Box<Record>>;

/// The hash that identifies a URL in this and in later runs: the SHA-256 of its normalised text without the fragment,
/// which is never sent (RFC 3986, section 3.5), as 64 hexadecimal digits.
#[must_use]
pub fn url_hash(url: &Url) -> String {
    text_hash(without_fragment(url))
}

/// The SHA-256 of a text, as 64 hexadecimal digits.
#[must_use]
pub fn text_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The text of a URL without its fragment: URLs that differ only in the fragment name the same resource.
#[must_use]
pub fn without_fragment(url: &Url) -> &str {
    &url[..url::Position::AfterQuery]
}

/// The URL as records show it, and its hash if something was redacted, so that the text no longer identifies the URL.
#[must_use]
pub fn recorded_url(url: &Url) -> (Cow<'_, str>, Option<String>) {
    let shown = redacted(url);
    let hash = (shown != url.as_str()).then(|| url_hash(url));
    (shown, hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_differ_only_in_the_fragment_have_one_hash() {
        let url = |text| Url::parse(text).expect("a URL");
        assert_eq!(url_hash(&url("https://a.example/x.png#1")), url_hash(&url("https://a.example/x.png")));
        assert_ne!(url_hash(&url("https://a.example/x.png?1")), url_hash(&url("https://a.example/x.png")));
        assert_eq!(url_hash(&url("https://a.example/x.png")).len(), 64);
    }
}
