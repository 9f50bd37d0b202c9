//! Names that have been asked for, in bounded room.

use std::collections::HashMap;
use std::mem;

use futures::future::{BoxFuture, Shared};

use super::CachedAnswer;

/// A lookup that may be under way; everybody who wants its answer holds one.
pub type SharedLookup = Shared<BoxFuture<'static, CachedAnswer>>;

/// So many names are in a generation, a few hundred bytes each.
const GENERATION_CAPACITY: usize = 16_384;

/// Two generations of lookups. When the young one is full it becomes the old one, and what was old is forgotten; what
/// is recalled from the old one is young again. So the names in use stay, and no list is so long that it fills the
/// memory.
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

    /// Remembers the lookup.
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
    fn what_is_used_stays_and_the_rest_goes() {
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
