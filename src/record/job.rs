//! Plain values: what goes in ([`Job`]) and what comes out ([`Record`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use url::Url;

use crate::record::{Algorithm, Checksum, Digests, FetchError, Format, hex};
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

/// Whether a path read back from a record is one that fetchimg can have written: below the output folder, in no hidden
/// place. A journal may have come with a folder from elsewhere, and must not lead outside it.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let is_plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0', ':']);
    path.split('/').all(is_plain)
}

/// What became of one row: exactly one per row, whatever happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the row.
    pub index: u64,
    /// The URL, its secrets redacted.
    pub url: String,
    /// What the URL is known by, present where `url` does not say it because something is redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_hash: Option<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What else the row of the list held.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// How a row ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The file is there, complete and checked.
    Saved(Saved),
    /// There is no file of this row.
    Failed(Failed),
    /// Nothing was fetched, on purpose.
    Skipped(Skipped),
}

/// A stored image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Relative to the output folder, with `/` between folders.
    pub path: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What the bytes are; absent when `--accept any` let through something unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Width and height in pixels, animation and orientation, as far as the file states them.
    #[serde(flatten)]
    pub measures: Measures,
    /// The `Content-Type` the server sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The status of the last answer.
    pub http_status: u16,
    /// Where the redirects led, secrets redacted; the URL itself when there were none.
    pub final_url: String,
    /// Requests that were needed, redirects not counted.
    pub attempts: u32,
    /// Bytes of the file that an earlier attempt had already stored.
    #[serde(default)]
    pub resumed_from: u64,
    /// When and how long.
    #[serde(flatten)]
    pub timing: Timing,
    /// What the camera has noted down (`--exif`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub exif: Map<String, Value>,
    /// Digests of the file (`--hash`).
    #[serde(flatten)]
    pub digests: Digests,
    /// What the picture looks like, in 16 hexadecimal digits (`--phash`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phash: Option<String>,
    /// What came, where the file is made from it (`--resize`, `--encode`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Box<Original>>,
    /// The file that has the same bytes, of which this is another name (`--dedupe`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// The name promises another format than the bytes are, and was kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extension_mismatch: bool,
    /// Bytes of the file that an earlier run had stored. Not part of the record as it is written.
    #[serde(skip)]
    pub from_earlier_run: u64,
}

impl Saved {
    /// What the body that came hashes to, if that is recorded.
    #[must_use]
    pub fn digest_of_what_came(&self, algorithm: Algorithm) -> Option<&str> {
        self.original.as_ref().map_or(&self.digests, |original| &original.digests).get(algorithm)
    }
}

/// An image as the server sent it, where another one is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its format.
    pub format: Format,
    /// Its width and height and the like.
    #[serde(flatten)]
    pub measures: Measures,
    /// Its digests.
    #[serde(flatten)]
    pub digests: Digests,
}

/// What the header of an image says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Width in pixels, as stored: before any orientation is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Pictures of an animation, or pages of a document; absent where there is one, or where the format does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// How the picture is to be turned and mirrored for display, from 2 to 8 (Exif 2.32, tag 0x0112); absent where it
    /// stands upright.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<u8>,
}

/// A row without an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The kind of error, by its name in the contract.
    pub error: String,
    /// The status of the answer, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// What happened, in a sentence.
    pub message: String,
    /// Whether another run may succeed.
    pub retryable: bool,
    /// Requests that were made.
    pub attempts: u32,
    /// When and how long; absent for a row that was never tried.
    #[serde(flatten)]
    pub timing: Option<Timing>,
    /// The same would happen to every later row, so the run ends. Not part of the record as it is written.
    #[serde(skip)]
    pub ends_run: bool,
}

/// A row that needed no request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Why.
    pub reason: Reason,
    /// The file that stands for this row, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its size in bytes, where a later run has to know it: it is another row's ([`Reason::DuplicateContent`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Why a row was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// An earlier run saved it, and the file is still there with its size.
    AlreadySaved,
    /// An earlier row of the list has the same URL.
    DuplicateUrl,
    /// There is a file of that name that fetchimg did not write.
    FileExists,
    /// Another file has the same bytes, and cannot have two names (`--dedupe`).
    DuplicateContent,
}

impl Reason {
    /// The name in records and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlreadySaved => "already_saved",
            Self::DuplicateUrl => "duplicate_url",
            Self::FileExists => "file_exists",
            Self::DuplicateContent => "duplicate_content",
        }
    }
}

/// When a download began and how long it took, in milliseconds with two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the start of the pass over the list (of the run, but for `--compare`) to the first request of this row.
    pub start_ms: f64,
    /// From the first request to the head of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<f64>,
    /// Of that, what was spent waiting to try again; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// From the first request to the end of the body, or of the last attempt; waits between attempts included.
    pub total_ms: f64,
}

/// A duration as records state it.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

impl Record {
    /// The record of a job.
    #[must_use]
    pub fn of(job: &Job, outcome: Outcome) -> Self {
        let (url, url_hash) = recorded(&job.url);
        Self { index: job.index, url: url.into_owned(), url_hash, outcome, extra: job.extra.clone() }
    }
}

impl Failed {
    /// A failure after `attempts` requests.
    #[must_use]
    pub fn new(error: &FetchError, attempts: u32, timing: Option<Timing>) -> Self {
        let kind = error.kind();
        let http_status = match kind {
            crate::record::ErrorKind::HttpStatus(code) => Some(code),
            _ => None,
        };
        Self {
            error: kind.name().to_owned(),
            http_status,
            message: error.to_string(),
            // Another run may well do what this one was not given the time or the room for.
            retryable: kind.retryable() || kind == crate::record::ErrorKind::Interrupted || error.ends_run(),
            attempts,
            timing,
            ends_run: error.ends_run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ErrorKind;

    fn job(url: &str) -> Job {
        Job::new(7, Url::parse(url).expect("a URL"))
    }

    #[test]
    fn a_record_reads_as_the_contract_shows_it() {
        let saved = Record::of(
            &job("https://codeflex.co/a.png"),
            Outcome::Saved(Saved {
                path: "a.png".into(),
                bytes: 48213,
                format: Some(Format::Png),
                measures: Measures { width: Some(1024), height: Some(512), ..Measures::default() },
                content_type: Some("image/png".into()),
                http_status: 200,
                final_url: "https://codeflex.co/a.png".into(),
                attempts: 1,
                resumed_from: 0,
                timing: Timing { start_ms: 1.2, ttfb_ms: Some(80.1), waited_ms: None, total_ms: 95.7 },
                exif: Map::new(),
                digests: Digests::default(),
                phash: None,
                original: None,
                same_as: None,
                extension_mismatch: false,
                from_earlier_run: 0,
            }),
        );
        let line = serde_json::to_string(&saved).expect("JSON");
        assert_eq!(
            line,
            r#"{"index":7,"url":"https://codeflex.co/a.png","status":"saved","path":"a.png","bytes":48213,"format":"png","width":1024,"height":512,"content_type":"image/png","http_status":200,"final_url":"https://codeflex.co/a.png","attempts":1,"resumed_from":0,"start_ms":1.2,"ttfb_ms":80.1,"total_ms":95.7}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("a record"), saved);
    }

    #[test]
    fn a_failure_carries_the_status_and_no_time_it_never_had() {
        let failed = Failed::new(&FetchError::new(ErrorKind::HttpStatus(404), "404 Not Found"), 1, None);
        let record = Record::of(&job("https://ann:pw@codeflex.co/b.png"), Outcome::Failed(failed));
        let line = serde_json::to_string(&record).expect("JSON");
        assert!(
            line.contains(
                r#""error":"http_status","http_status":404,"message":"404 Not Found","retryable":false,"attempts":1}"#
            ),
            "{line}"
        );
        assert!(!line.contains("pw@") && line.contains("url_hash"), "{line}");
        assert_eq!(serde_json::from_str::<Record>(&line).expect("a record"), record);
    }

    #[test]
    fn a_path_from_a_record_stays_inside() {
        for plain in ["a.png", "folder/a.png", "a b-1.png"] {
            assert!(is_plain_path(plain), "{plain}");
        }
        for other in ["", "/etc/x", "../a.png", "a/../../b", "a//b", ".fetchimg/lock", "a/.b", "C:x", "a\\b", "a/"] {
            assert!(!is_plain_path(other), "{other}");
        }
    }

    #[test]
    fn the_fragment_does_not_make_another_picture() {
        assert_eq!(url_hash(&job("https://a.example/x.png#1").url), url_hash(&job("https://a.example/x.png").url));
        assert_ne!(url_hash(&job("https://a.example/x.png?1").url), url_hash(&job("https://a.example/x.png").url));
        assert_eq!(url_hash(&job("https://a.example/x.png").url).len(), 64);
    }
}
