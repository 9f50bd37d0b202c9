//! A record read back: what matters of it here.

use std::borrow::Cow;

use serde::Deserialize;

use super::KnownBy;
use crate::record::{Checksum, Digests, Job, Reason, is_plain_path, url_hash, without_fragment};

/// The fields of a record that matter here.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
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
    pub path: Option<Cow<'a, str>>,
    #[serde(default)]
    pub bytes: u64,
    #[serde(borrow, default)]
    pub sha256: Option<Cow<'a, str>>,
}

impl Line<'_> {
    /// The file, if the record speaks of one that fetchimg can have written.
    pub fn plain_path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| is_plain_path(path))
    }

    /// Whether there was nothing to store, because another row had stored the same content.
    pub fn is_of_another(&self) -> bool {
        self.status == "skipped" && self.reason.as_deref() == Some(Reason::DuplicateContent.name())
    }

    /// What the key of its URL is made of.
    pub fn name(&self) -> &str {
        self.url_hash.as_deref().unwrap_or_else(|| self.url.split('#').next().unwrap_or_default())
    }

    pub fn is_about(&self, job: &Job, known_by: KnownBy) -> bool {
        let is_same_url = match &self.url_hash {
            Some(hash) => *hash == url_hash(&job.url),
            None => self.url.split('#').next() == Some(without_fragment(&job.url)),
        };
        is_same_url && (known_by == KnownBy::Url || self.index == job.index)
    }
}

/// The digest that a record has of what came, if that is not what a row asks for. A record need not have one.
pub(super) fn other_digest(line: &[u8], wanted: &Checksum) -> Option<String> {
    #[derive(Deserialize)]
    struct Came {
        #[serde(default)]
        original: Option<Digests>,
    }
    let came = serde_json::from_slice::<Came>(line).ok()?.original;
    let digests = came.or_else(|| serde_json::from_slice(line).ok())?;
    digests.get(wanted.algorithm).filter(|digest| *digest != wanted.digest).map(str::to_owned)
}
