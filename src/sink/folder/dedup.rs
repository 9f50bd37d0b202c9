//! Which contents are stored, and under which name first (`--dedupe`).
//!
//! The digest finds the file that may be the same; whether it is, its bytes tell. Kept in memory: about a hundred bytes
//! for each different content.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// So many contents can be stored at the same time.
const SHARDS: usize = 64;

/// The first file of each content, by its SHA-256 in hexadecimal digits, relative to the output folder.
#[derive(Debug)]
pub struct DedupIndex {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<Box<str>, Box<str>>>>,
}

impl Default for DedupIndex {
    fn default() -> Self {
        Self { hasher: RandomState::new(), shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect() }
    }
}

impl DedupIndex {
    /// Stores a content: `store` is told its first file, if there is one, and says which it is from now on. Meanwhile
    /// nobody else stores the same one.
    pub fn store<T, E>(
        &self,
        sha256: &str,
        store: impl FnOnce(Option<&str>) -> Result<(T, Option<Box<str>>), E>,
    ) -> Result<T, E> {
        let shard = usize::try_from(self.hasher.hash_one(sha256) % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
        let (stored, first) = store(shard.get(sha256).map(|path| &**path))?;
        if let Some(first) = first {
            shard.insert(sha256.into(), first);
        }
        Ok(stored)
    }

    /// Takes in a file of an earlier run. The first one of a content stays the first.
    pub fn know(&self, sha256: &str, path: &str) {
        let known =
            self.store(sha256, |first| Ok::<_, std::convert::Infallible>(((), first.is_none().then(|| path.into()))));
        known.unwrap_or_else(|never| match never {});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_of_a_content_is_remembered() {
        let contents = DedupIndex::default();
        contents.know("aa", "1.png");
        contents.know("aa", "2.png");
        let ask = |sha256: &str, is_now: Option<&str>| {
            let store = |first: Option<&str>| Ok::<_, ()>((first.map(str::to_owned), is_now.map(Into::into)));
            contents.store(sha256, store).expect("stored")
        };
        assert_eq!(ask("aa", None).as_deref(), Some("1.png"));
        assert_eq!(ask("bb", Some("3.png")), None);
        assert_eq!(ask("bb", Some("4.png")).as_deref(), Some("3.png"), "and another one where the first is gone");
        assert_eq!(ask("bb", None).as_deref(), Some("4.png"));
        assert!(contents.store("bb", |_| Err::<((), _), _>("full")).is_err());
        assert_eq!(ask("bb", None).as_deref(), Some("4.png"));
    }
}
