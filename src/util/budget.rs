//! How much memory rows take while they are under way, so that it stays within bounds.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// The bytes that are held, all together.
#[derive(Debug, Default)]
pub struct MemoryBudget {
    held: Mutex<usize>,
    less: Condvar,
}

/// Some of them, as long as it is there.
#[derive(Debug)]
pub struct MemoryShare {
    bytes: usize,
    all: Arc<MemoryBudget>,
}

impl MemoryBudget {
    /// So many more are held now.
    #[must_use]
    pub fn hold(self: &Arc<Self>, bytes: usize) -> MemoryShare {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) += bytes;
        MemoryShare { bytes, all: Arc::clone(self) }
    }

    /// Waits until no more than so many are held. Whoever holds them must not wait for the caller.
    pub fn wait_for(&self, most: usize) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.less.wait_while(held, |held| *held > most).unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        *self.all.held.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.all.less.notify_all();
    }
}
