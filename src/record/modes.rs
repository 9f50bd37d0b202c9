//! How a run goes through its list, what it does with images that are there, and how far it is from its end.

use serde::{Deserialize, Serialize};

/// How the list is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One URL after the other, in the order of the list.
    Sequential,
    /// One task per URL, many at once.
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

    /// The one that it is compared with.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Sequential => Self::Concurrent,
            Self::Concurrent => Self::Sequential,
        }
    }
}

/// What to do with images that are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    #[default]
    /// Skip what is saved; leave other files alone.
    Keep,
    /// Fetch everything; replace what fetchimg wrote, leave other files alone (`--compare`).
    Refresh,
    /// Fetch and replace everything (`--overwrite`).
    Replace,
}

/// How far the run is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Rows are taken and fetched.
    Running,
    /// No new rows and no new attempts; what is under way may finish.
    Finishing,
    /// What is still under way is given up.
    Leaving,
}
