//! Cache of DNS lookups, with a bounded number of names.

use std::collections::HashMap;
use std::mem;

use futures::future::{BoxFuture, Shared};

use super::CachedAnswer;

/// A lookup that may be in flight, shared by all tasks that wait for its answer.
pub type SharedLookup = Shared<BoxFuture<'static, CachedAnswer>>;

/// Names in a generation, at a few hundred bytes each.
const GENERATION_CAPACITY: usize = 16_384;

/// Two generations of lookups. When the young one is full it becomes the old one, and the previous old one is dropped;
/// a lookup that is found in the old one moves to the young one. So the names in use stay, and a long list does not
/// fill the memory.
#[derive(Debug, Default)]
pub struct LookupCache {
    young: HashMap<String, SharedLookup>,
    old: HashMap<String, SharedLookup>,
}

impl LookupCache {
    /// The last lookup of the name.
    pub fn get(&mut self, host: &str) -> Option<SharedLookup> {
        if let Some(lookup) = self.young.get(host) {
            return Some(lookup.clone());
        }
        let lookup = self.old.remove(host)?;
        self.insert(host, lookup.clone());
        Some(lookup)
    }

    /// Keeps the lookup of the name.
    pub fn insert(&mut self, host: &str, lookup: SharedLookup) {
        if self.young.len() >= GENERATION_CAPACITY {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(host.to_owned(), lookup);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn names_in_use_stay_and_others_are_dropped() {
        let lookup = || futures::future::ready(CachedAnswer::fails("")).boxed().shared();
        let mut cache = LookupCache::default();
        cache.insert("used", lookup());
        for index in 0..10 * GENERATION_CAPACITY {
            cache.insert(&format!("h{index}"), lookup());
            assert!(cache.get("used").is_some(), "{index}");
            assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_CAPACITY, "{index}");
        }
        assert!(cache.get("h0").is_none());
        assert!(cache.get(&format!("h{}", 10 * GENERATION_CAPACITY - 1)).is_some());
    }
}
