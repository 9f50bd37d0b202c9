//! What the display shows and the counters do not have: the number of rows, and the hosts that have throttled or do not
//! answer.

use std::sync::Arc;
use std::time::Duration;

use crate::record::ErrorKind;

/// The number of rows in the lists, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// The exact number.
    Known(u64),
    /// An estimate from the part of the lists that has been read.
    About(u64),
    /// No estimate is possible, for instance before the end of a pipe.
    #[default]
    Unknown,
}

/// A host that has throttled or failed under the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThrottledHost {
    /// Its name, and its port if that is not the default one.
    pub host: String,
    /// How often that happened in this pass.
    pub times: u64,
    /// The rest of the time for which no request is sent to it.
    pub backoff_left: Option<Duration>,
}

/// A host that is down, or that owes an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownHost {
    /// Its name, and its port if that is not the default one.
    pub host: String,
    /// How the last request failed; `None` while none has.
    pub kind: Option<ErrorKind>,
    /// For how long it has not answered.
    pub silent_for: Duration,
    /// Rows that have been read and wait for it.
    pub rows: u64,
    /// The time until it is given up; zero if it is given up, `None` if that cannot be said.
    pub given_up_in: Option<Duration>,
}

/// Reads the facts of a pass.
pub type FactsOf = Arc<dyn Fn() -> Facts + Send + Sync>;

/// The values of a status that do not come from the counters.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The number of rows in the lists.
    pub total: Total,
    /// The hosts that have throttled, the worst first.
    pub throttled: Vec<ThrottledHost>,
    /// Shards that are open, and those that are complete, if images go into shards.
    pub shards: Option<(u64, u64)>,
    /// The hosts that do not answer, those with the most rows first.
    pub down: Vec<DownHost>,
}
