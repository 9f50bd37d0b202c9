//! What comes out: a [`Record`] is what became of one row.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::{Algorithm, Digests, Extra, FetchError, Format, Job, recorded};

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
    use url::Url;

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
}
