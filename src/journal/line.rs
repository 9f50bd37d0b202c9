//! A record read back from the journal.

use std::borrow::Cow;

use serde::Deserialize;

use super::{RowIdentity, StoredFile};
use crate::record::{Checksum, Digests, ErrorKind, Job, KnownFile, Reason, is_plain_path, url_hash, without_fragment};

/// The fields of a record that the journal needs.
#[derive(Deserialize)]
pub(super) struct RecordFields<'a> {
    #[serde(default)]
    pub index: u64,
    #[serde(borrow)]
    pub url: Cow<'a, str>,
    #[serde(borrow, default)]
    pub url_hash: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub status: Cow<'a, str>,
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
    #[serde(default)]
    pub retryable: bool,
    #[serde(borrow, default)]
    pub path: Option<Cow<'a, str>>,
    /// The file that the row had until its image was refused.
    #[serde(borrow, default)]
    pub removed: Option<Cow<'a, str>>,
    #[serde(default)]
    pub bytes: u64,
    #[serde(borrow, default)]
    pub sha256: Option<Cow<'a, str>>,
    /// The number of the run. Records of earlier versions have none.
    #[serde(default)]
    pub run: u32,
    /// The run has fetched a sample of its list.
    #[serde(default)]
    pub sampled: bool,
    /// The run knows a row by its URL and its number.
    #[serde(default)]
    pub numbered: bool,
}

impl RecordFields<'_> {
    /// The path of the record, if fetchimg can have written a file there.
    pub fn plain_path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| is_plain_path(path))
    }

    /// Whether it says that a file was stored for the row.
    pub fn is_saved(&self) -> bool {
        self.status == "saved"
    }

    /// The file that the row has. Its digest is not compared with any.
    pub fn stored(&self) -> Option<StoredFile> {
        let (path, bytes, is_own) = (self.plain_path()?.to_owned(), self.bytes, self.is_saved());
        (is_own || self.is_duplicate_content()).then_some(StoredFile {
            path,
            bytes,
            is_own,
            other_digest: None,
            known: KnownFile::default(),
        })
    }

    /// Whether the row was skipped because another row had stored the same content.
    pub fn is_duplicate_content(&self) -> bool {
        self.status == "skipped" && self.reason.as_deref() == Some(Reason::DuplicateContent.name())
    }

    /// Whether the row was skipped because an earlier run had saved it.
    pub fn is_already_saved(&self) -> bool {
        self.status == "skipped" && self.reason.as_deref() == Some(Reason::AlreadySaved.name())
    }

    /// Whether other rows may have the same URL in their records and still be other rows: a row that repeats a URL, and one
    /// that has no valid URL.
    pub fn is_one_of_several(&self) -> bool {
        self.repeats_url() || self.is_without_url()
    }

    /// Whether the row was skipped because an earlier row of its list has the same URL.
    pub fn repeats_url(&self) -> bool {
        self.reason.as_deref() == Some(Reason::DuplicateUrl.name())
    }

    /// Whether the row was skipped because it had failed for good in an earlier run.
    pub fn is_failed_permanently(&self) -> bool {
        self.status == "skipped" && self.reason.as_deref() == Some(Reason::FailedPermanently.name())
    }

    /// Whether the row failed.
    pub fn is_failed(&self) -> bool {
        self.status == "failed"
    }

    /// Whether the row has no URL: its list holds something else there.
    pub fn is_without_url(&self) -> bool {
        self.error.as_deref() == Some(ErrorKind::BadUrl.name())
    }

    /// The text from which the key of the row is made: the hash of the URL, or else the URL without its fragment.
    pub fn url_identity(&self) -> &str {
        self.url_hash.as_deref().unwrap_or_else(|| self.url.split('#').next().unwrap_or_default())
    }

    /// Whether both are records of one row.
    pub fn is_about_same_row(&self, other: &Self, identity: RowIdentity) -> bool {
        self.url_identity() == other.url_identity() && (identity == RowIdentity::Url || self.index == other.index)
    }

    /// Whether this is the record of the same row.
    pub fn is_about(&self, job: &Job, identity: RowIdentity) -> bool {
        let is_same_url = match &self.url_hash {
            Some(hash) => *hash == url_hash(&job.url),
            None => self.url.split('#').next() == Some(without_fragment(&job.url)),
        };
        is_same_url && (identity == RowIdentity::Url || self.index == job.index)
    }
}

/// The digest of the received body in a record, if it differs from the checksum that a row asks for. `None` also if the
/// record has no digest by that algorithm.
pub(super) fn other_digest(line: &[u8], wanted: &Checksum) -> Option<String> {
    #[derive(Deserialize)]
    struct Received {
        #[serde(default)]
        original: Option<Digests>,
    }
    let received = serde_json::from_slice::<Received>(line).ok()?.original;
    let digests = received.or_else(|| serde_json::from_slice(line).ok())?;
    digests.get(wanted.algorithm).filter(|digest| *digest != wanted.digest).map(str::to_owned)
}
