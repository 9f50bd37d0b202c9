//! Names that have been asked for, in bounded room.

use std::collections::HashMap;
use std::mem;

use futures::future::{BoxFuture, Shared};

use super::Answer;

/// A lookup that may be under way; everybody who wants its answer holds one.
pub type Lookup = Shared<BoxFuture<'static, Answer>>;

/// So many names are in a generation, a few hundred bytes each.
const GENERATION: usize = 16_384;

/// Two generations of lookups. When the young one is full it becomes the old one, and what was old is forgotten; what
/// is recalled from the old one is young again. So the names in use stay, and no list is so long that it fills the
/// memory.
#[derive(Debug, Default)]
pub struct Memory {
    young: HashMap<String, Lookup>,
    old: HashMap<String, Lookup>,
}

impl Memory {
    /// The last lookup of the name.
    pub fn recall(&mut self, host: &str) -> Option<Lookup> {
        if let Some(lookup) = self.young.get(host) {
            return Some(lookup.clone());
        }
        let lookup = self.old.remove(host)?;
        self.keep(host, lookup.clone());
        Some(lookup)
    }

    /// Remembers the lookup.
    pub fn keep(&mut self, host: &str, lookup: Lookup) {
        if self.young.len() >= GENERATION {
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
        let lookup = || futures::future::ready(Answer::fails("")).boxed().shared();
        let mut memory = Memory::default();
        memory.keep("used", lookup());
        for index in 0..10 * GENERATION {
            memory.keep(&format!("h{index}"), lookup());
            assert!(memory.recall("used").is_some(), "{index}");
            assert!(memory.young.len() + memory.old.len() <= 2 * GENERATION, "{index}");
        }
        assert!(memory.recall("h0").is_none());
        assert!(memory.recall(&format!("h{}", 10 * GENERATION - 1)).is_some());
    }
}
