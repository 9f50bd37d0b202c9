//! The output of a download: a [`Record`] says how one row ended.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::record::{Algorithm, Digests, ErrorKind, Extra, FetchError, Format, Job, KnownFile, MadeWith, recorded_url};

/// Whether a path read back from a record is one that fetchimg can have written: inside the output folder, without hidden
/// files or folders. A journal may come with a folder from an untrusted source, and its paths must not lead out of the
/// folder.
#[must_use]
pub fn is_plain_path(path: &str) -> bool {
    let is_plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0', ':']);
    path.split('/').all(is_plain)
}

/// How one row ended. There is exactly one record per row, whatever happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The number of the row.
    pub index: u64,
    /// The URL, its secrets redacted.
    pub url: String,
    /// The hash of the URL ([`url_hash`](super::url_hash)), present if something in `url` is redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_hash: Option<String>,
    /// The status and what goes with it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The other columns of the row.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// How a row ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// The image is stored, complete and checked.
    Saved(Saved),
    /// The row has no image, because of an error.
    Failed(Failed),
    /// The row has no image, because the options exclude the one that is there (`--min-*`, `--max-*`, `--accept`).
    Refused(Refused),
    /// No file was stored for the row, on purpose.
    Skipped(Skipped),
}

/// A stored image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Relative to the output folder, with `/` between folders.
    pub path: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// The format of the bytes; absent if `--accept any` accepted an unknown one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Width and height in pixels, frames and orientation, as far as the file states them.
    #[serde(flatten)]
    pub measures: Measures,
    /// How far the image was verified, if decoding was asked for (`--verify decode`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// The `Content-Type` the server sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The status of the last response.
    pub http_status: u16,
    /// The URL after all redirects, its secrets redacted; the URL of the row if there were none.
    pub final_url: String,
    /// Requests that were made, redirects not counted.
    pub attempts: u32,
    /// Bytes of the body that an earlier attempt had already stored.
    #[serde(default)]
    pub resumed_from: u64,
    /// When the download began and how long it took.
    #[serde(flatten)]
    pub timing: Timing,
    /// Metadata of the camera (`--exif`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub exif: Map<String, Value>,
    /// Digests of the file (`--hash`).
    #[serde(flatten)]
    pub digests: Digests,
    /// The perceptual hash, as 16 hexadecimal digits (`--phash`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phash: Option<String>,
    /// The image as received, if the stored file is made from it (`--resize`, `--encode`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Box<Original>>,
    /// The file with the same bytes to which this one is a hard link (`--dedupe`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
    /// The extension of the name belongs to another format than the bytes, and was kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extension_mismatch: bool,
    /// The image is smaller than `--resize` asks for: it was left so, padded or enlarged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub smaller_than_box: bool,
    /// The wishes of the run that made the file, as far as they are not the defaults.
    #[serde(default, skip_serializing_if = "MadeWith::is_default")]
    pub made_with: MadeWith,
    /// Bytes of the body that an earlier run had stored. Not part of the record in JSON.
    #[serde(skip)]
    pub from_earlier_run: u64,
}

/// How far an image was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verified {
    /// Its structure was followed to its end. No decoder here supports its format, so its pixels were not looked at.
    Structure,
    /// All pixels of all frames were decoded.
    Decode,
}

impl Saved {
    /// The digest of the body as received, if it is recorded.
    #[must_use]
    pub fn received_digest(&self, algorithm: Algorithm) -> Option<&str> {
        self.original.as_ref().map_or(&self.digests, |original| &original.digests).get(algorithm)
    }
}

/// An image as the server sent it, if the stored file is made from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Original {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its format.
    pub format: Format,
    /// Its width and height in pixels, frames and orientation.
    #[serde(flatten)]
    pub measures: Measures,
    /// Its digests.
    #[serde(flatten)]
    pub digests: Digests,
}

/// What the header of an image states: its width and height, its frames and its orientation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// Width in pixels, as stored: before the orientation is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Frames of an animation, or pages of a document; absent if there is only one, or if the header does not state it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// How the image is rotated and mirrored for display, from 2 to 8 (Exif 2.32, tag 0x0112); absent if it is shown as
    /// stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<u8>,
}

/// A row that ended in an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The kind of error, by its name in the contract.
    pub error: String,
    /// The status of the response, if the error is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// What happened, in a sentence.
    pub message: String,
    /// Whether a later run may succeed.
    pub retryable: bool,
    /// Requests that were made.
    pub attempts: u32,
    /// When the download began and how long it took; absent if no request was made.
    #[serde(flatten)]
    pub timing: Option<Timing>,
    /// The same error would meet every later row, so the run ends. Not part of the record in JSON.
    #[serde(skip)]
    pub ends_run: bool,
}

/// A row whose image the user's own filters exclude. It has the fields of a failure, and what was seen of the image: from
/// that, a later run knows whether its filters exclude the image too, or whether it has to be asked for again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The kind of error, by its name in the contract.
    pub error: String,
    /// The status of the response, if the refusal is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Which filter excludes the image, in a sentence.
    pub message: String,
    /// Always false: with the same filters, a later run refuses the image again.
    pub retryable: bool,
    /// Requests that were made; 0 if what an earlier run saw of the image decides.
    pub attempts: u32,
    /// When the download began and how long it took; absent if no request was made.
    #[serde(flatten)]
    pub timing: Option<Timing>,
    /// What was seen of the image.
    #[serde(flatten)]
    pub seen: Seen,
    /// The file of an earlier run that was removed because of that (`--remake`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<String>,
}

/// What was seen of an image that is refused, mostly before it was read to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The size of the body in bytes, as announced or as received. Of one that is too large and was not announced, the
    /// bytes until that was clear. Absent if the format alone decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The format, if it was recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Width and height in pixels, frames and orientation, as far as the header stated them.
    #[serde(flatten)]
    pub measures: Measures,
}

/// A row for which no file was stored, on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Skipped {
    /// Why it was skipped.
    pub reason: Reason,
    /// The existing file because of which the row was skipped, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The size of that file in bytes, where it was stored for this row ([`Reason::AlreadySaved`]), or for another one with
    /// the same content ([`Reason::DuplicateContent`]): a later run needs it to check whether the file is unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What else is known of that file ([`Reason::AlreadySaved`]).
    #[serde(flatten)]
    pub known: KnownFile,
}

impl Skipped {
    /// A skipped row. Of the file, no more than its path is known.
    #[must_use]
    pub fn new(reason: Reason, path: Option<String>) -> Self {
        Self { reason, path, bytes: None, known: KnownFile::default() }
    }
}

/// Why a row was skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// An earlier run saved it, and the file is still there with its size.
    AlreadySaved,
    /// An earlier row of the list has the same URL.
    DuplicateUrl,
    /// A file with that name exists that fetchimg did not write.
    FileExists,
    /// Another file has the same bytes, and a hard link to it could not be made (`--dedupe`).
    DuplicateContent,
    /// The shard of the row is complete (`--output-format`).
    ShardExists,
    /// An earlier run recorded an error that is met again by every request (`--skip-permanent`).
    FailedPermanently,
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
            Self::ShardExists => "shard_exists",
            Self::FailedPermanently => "failed_permanently",
        }
    }
}

/// When a download began and how long it took, in milliseconds with two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// From the start of the pass over the list to the first request of this row. A run makes one pass, with `--compare` two.
    pub start_ms: f64,
    /// From the first request to the header of the last response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttfb_ms: Option<f64>,
    /// Of that time, the waits between attempts; absent if there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<f64>,
    /// Of that time, the wait for a processor that makes the pixels anew; absent if it was
    /// shorter than a millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_wait_ms: Option<f64>,
    /// From the first request to the end of the body, or of the last attempt, with the waits between attempts.
    pub total_ms: f64,
}

/// A duration in milliseconds with two decimals, as records state it.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

impl Record {
    /// The record of a job.
    #[must_use]
    pub fn of(job: &Job, outcome: Outcome) -> Self {
        let (url, url_hash) = recorded_url(&job.url);
        Self { index: job.index, url: url.into_owned(), url_hash, outcome, extra: job.extra.clone() }
    }

    /// Host and port of the URL, as the record shows them; `None` if the row has no valid URL.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        host_of(&self.url)
    }
}

/// Host and port of a URL as records show it.
#[must_use]
pub fn host_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    // A data: URL may hold other URLs, and is of no host.
    if scheme.contains(':') {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let name = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!name.is_empty()).then_some(name)
}

impl Outcome {
    /// The outcome of a row that met this error after `attempts` requests: it failed, or the options exclude its image.
    #[must_use]
    pub fn of_error(error: &FetchError, attempts: u32, timing: Option<Timing>) -> Self {
        let failed = Failed::new(error, attempts, timing);
        let Some(seen) = error.refused() else { return Self::Failed(failed) };
        let Failed { error, http_status, message, attempts, timing, .. } = failed;
        Self::Refused(Refused { error, http_status, message, retryable: false, attempts, timing, seen, removed: None })
    }
}

impl Failed {
    /// A failure after `attempts` requests.
    #[must_use]
    pub fn new(error: &FetchError, attempts: u32, timing: Option<Timing>) -> Self {
        let kind = error.kind();
        Self {
            error: kind.name().to_owned(),
            http_status: kind.http_status(),
            message: error.to_string(),
            // A later run may have the time that an interrupted run did not have, or the disk space.
            retryable: error.retryable() || kind == ErrorKind::Interrupted || error.ends_run(),
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
                verified: None,
                content_type: Some("image/png".into()),
                http_status: 200,
                final_url: "https://codeflex.co/a.png".into(),
                attempts: 1,
                resumed_from: 0,
                timing: Timing { start_ms: 1.2, ttfb_ms: Some(80.1), total_ms: 95.7, ..Timing::default() },
                exif: Map::new(),
                digests: Digests::default(),
                phash: None,
                original: None,
                same_as: None,
                extension_mismatch: false,
                smaller_than_box: false,
                made_with: MadeWith::default(),
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
    fn a_failure_has_the_http_status_and_no_timing_without_a_request() {
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
    fn a_refusal_has_what_was_seen_of_the_image() {
        let measures = Measures { width: Some(99), height: Some(100), ..Measures::default() };
        let seen = Seen { bytes: None, format: Some(Format::Png), measures };
        let error = FetchError::new(ErrorKind::TooSmall, "the image has 99 x 100 pixels (--min-width 100)");
        let timing = Timing { start_ms: 1.0, total_ms: 2.0, ..Timing::default() };
        let outcome = Outcome::of_error(&error.by_wish(seen), 1, Some(timing));
        let record = Record::of(&job("https://codeflex.co/b.png"), outcome);
        let line = serde_json::to_string(&record).expect("JSON");
        assert_eq!(
            line,
            r#"{"index":7,"url":"https://codeflex.co/b.png","status":"refused","error":"too_small","message":"the image has 99 x 100 pixels (--min-width 100)","retryable":false,"attempts":1,"start_ms":1.0,"total_ms":2.0,"format":"png","width":99,"height":100}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("a record"), record);
        let without_a_request = Outcome::of_error(&FetchError::new(ErrorKind::TooSmall, "x").by_wish(seen), 0, None);
        let record = Record::of(&job("https://codeflex.co/b.png"), without_a_request);
        let line = serde_json::to_string(&record).expect("JSON");
        assert_eq!(serde_json::from_str::<Record>(&line).expect("a record"), record);
    }

    #[test]
    fn a_path_from_a_record_stays_inside_the_output_folder() {
        for plain in ["a.png", "folder/a.png", "a b-1.png"] {
            assert!(is_plain_path(plain), "{plain}");
        }
        for other in ["", "/etc/x", "../a.png", "a/../../b", "a//b", ".fetchimg/lock", "a/.b", "C:x", "a\\b", "a/"] {
            assert!(!is_plain_path(other), "{other}");
        }
    }
}
