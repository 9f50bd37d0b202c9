//! What a run has made of shards, for its report.

use serde::Serialize;

/// The shards of a set, as a run leaves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShardTotals {
    /// Shards that the run completed.
    pub completed: u64,
    /// Their rows.
    pub rows: u64,
    /// Their rows with an image.
    pub samples: u64,
    /// The bytes of their data files.
    pub bytes: u64,
    /// Shards that were there already.
    pub present: u64,
    /// Their rows.
    pub present_rows: u64,
    /// Their rows with an image.
    pub present_samples: u64,
    /// Shards that are there though the list has no rows for them, as far as the run knows it.
    pub behind: u64,
    /// Shards that are begun and not complete.
    pub unfinished: u64,
}
