//! The vocabulary that every other folder uses: jobs and records, and the names of errors, formats, digests, modes and exit
//! statuses.
//!
//! A [`Job`] is one row of the list, and a [`Record`] says how it ended. These types hold values and do no work; only the
//! digests are computed here.

mod column;
mod digest;
mod error;
mod exit;
mod format;
mod job;
mod known;
mod line;
mod made_with;
mod modes;
mod outcome;
mod shard_totals;

pub use self::column::{ColumnType, ColumnValues};
pub use self::digest::{Algorithm, Checksum, Digester, Digests, hex};
pub use self::error::{BoxError, ErrorKind, FetchError, RunError, THE_STORE, TOO_LARGE_TO_DECODE};
pub use self::exit::Exit;
pub use self::format::{Format, MAX_EXTENSION_BYTES};
pub use self::job::{Extra, Job, Row, recorded_url, text_hash, url_hash, without_fragment};
pub use self::known::KnownFile;
pub use self::line::{RecordLine, RunMark};
pub use self::made_with::{MadeWith, Wishes};
pub use self::modes::{Existing, Mode, Phase};
pub use self::outcome::{
    Failed, Measures, Original, Outcome, Reason, Record, Refused, Saved, Seen, Skipped, Timing, Verified, host_of,
    is_plain_path, milliseconds,
};
pub use self::shard_totals::ShardTotals;
