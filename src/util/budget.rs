//! A limit on the memory that rows in progress may take together.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::util::lock;

/// Counts the bytes that are held, so that a producer can wait until there are fewer.
#[derive(Debug, Default)]
pub struct MemoryBudget {
    held: Mutex<usize>,
    released: Condvar,
}

/// Bytes counted in a [`MemoryBudget`] until this value is dropped.
#[derive(Debug)]
pub struct MemoryShare {
    bytes: usize,
    budget: Arc<MemoryBudget>,
}

impl MemoryBudget {
    /// Counts `bytes` as held. This never blocks: the producer waits before it reads more.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> MemoryShare {
        *lock(&self.held) += bytes;
        MemoryShare { bytes, budget: Arc::clone(self) }
    }

    /// Blocks until at most `limit` bytes are held. A holder must never wait for the caller, or both deadlock.
    pub fn wait_until_at_most(&self, limit: usize) {
        let held = lock(&self.held);
        drop(self.released.wait_while(held, |held| *held > limit).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        *lock(&self.budget.held) -= self.bytes;
        self.budget.released.notify_all();
    }
}
