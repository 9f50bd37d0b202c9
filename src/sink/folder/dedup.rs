//! Deduplication by content (`--dedupe`): remembers the first file of each content.
//!
//! The SHA-256 finds a file that may have the same content; comparing the bytes decides. The index is in memory and
//! takes about a hundred bytes for each different content.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader};
use std::sync::{Mutex, MutexGuard};

use super::FolderView;
use crate::sink::body::{Body, WRITE_BUFFER};
use crate::util::lock;

/// The number of shards, each with a lock of its own: at most this many images are stored at the same time.
const SHARDS: usize = 64;

type Shard = HashMap<Box<str>, Box<str>>;

/// The first file of each content, by its SHA-256 in hexadecimal digits, relative to the output folder.
#[derive(Debug)]
pub struct DedupIndex {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

impl Default for DedupIndex {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect() }
    }
}

impl DedupIndex {
    /// Reserves a content: until the reservation is dropped, no other task stores the same content.
    pub fn reserve<'a>(&'a self, sha256: &'a str) -> Content<'a> {
        let shard = usize::try_from(self.hasher.hash_one(sha256) % SHARDS as u64).unwrap_or(0);
        Content { sha256, shard: lock(&self.shards[shard]) }
    }

    /// Adds a file of an earlier run, unless the content has a first file already.
    pub fn insert_earlier(&self, sha256: &str, path: &str) {
        let mut content = self.reserve(sha256);
        if content.first().is_none() {
            content.set_first(path);
        }
    }
}

/// A reserved content.
#[derive(Debug)]
pub struct Content<'a> {
    sha256: &'a str,
    shard: MutexGuard<'a, Shard>,
}

impl Content<'_> {
    /// Its first file, if there is one.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.shard.get(self.sha256).map(|path| &**path)
    }

    /// Makes this file the first one.
    pub fn set_first(&mut self, path: &str) {
        self.shard.insert(self.sha256.into(), path.into());
    }
}

/// Whether the file of that name has the same bytes as the body.
pub(super) fn has_the_bytes_of(view: &FolderView, path: &str, body: &mut Body<'_>) -> io::Result<bool> {
    if view.size(path) != Some(body.length()) {
        return Ok(false);
    }
    let file = match File::open(view.root().join(path)) {
        // It was removed since its size was read.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let mut file = BufReader::with_capacity(WRITE_BUFFER, file);
    let mut body = BufReader::with_capacity(WRITE_BUFFER, body.reader()?);
    loop {
        let (received, stored) = (body.fill_buf()?, file.fill_buf()?);
        let length = received.len().min(stored.len());
        if received[..length] != stored[..length] || length == 0 {
            return Ok(received.is_empty() && stored.is_empty());
        }
        body.consume(length);
        file.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_of_a_content_is_remembered() {
        let index = DedupIndex::default();
        index.insert_earlier("aa", "1.png");
        index.insert_earlier("aa", "2.png");
        assert_eq!(index.reserve("aa").first(), Some("1.png"));
        assert_eq!(index.reserve("bb").first(), None);
        index.reserve("bb").set_first("3.png");
        assert_eq!(index.reserve("bb").first(), Some("3.png"));
        index.reserve("bb").set_first("4.png");
        assert_eq!(index.reserve("bb").first(), Some("4.png"), "another file replaces a first one that is gone");
    }
}
