//! The mode of a run, what it does with existing images, and its phases.

use serde::{Deserialize, Serialize};

/// In which order rows are downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One URL after another, in the order of the list.
    Sequential,
    /// One task per URL, many of them at the same time.
    Concurrent,
}

impl Mode {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Concurrent => "concurrent",
        }
    }

    /// The mode that this one is compared with.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Sequential => Self::Concurrent,
            Self::Concurrent => Self::Sequential,
        }
    }
}

/// What to do about files that already exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    #[default]
    /// Skip rows whose image is saved; keep other files as they are.
    Keep,
    /// Fetch every row; replace the files that fetchimg wrote, keep other files as they are (`--compare`).
    Refresh,
    /// Fetch every row and replace every file (`--overwrite`).
    Replace,
}

/// The phase of a run, in the order in which a shutdown passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Rows are read and fetched.
    Running,
    /// No new row and no new attempt begins; attempts in flight may finish.
    Finishing,
    /// Attempts that are still in flight are cancelled.
    Cancelling,
}
