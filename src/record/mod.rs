//! The vocabulary of a run: what a row is, what becomes of it, and by which names errors, formats, digests and exit
//! statuses are known.
//!
//! A [`Job`] is one row of the list, a [`Record`] is what became of it. Nothing here does anything: every other folder
//! speaks in these terms.

mod digest;
mod error;
mod exit;
mod format;
mod job;
mod line;
mod modes;

pub use self::digest::{Algorithm, Checksum, Digester, Digests, hex};
pub use self::error::{BoxError, ErrorKind, FetchError, RunError};
pub use self::exit::Exit;
pub use self::format::{Format, LONGEST_EXTENSION};
pub use self::job::{
    Extra, Failed, Job, Measures, Original, Outcome, Reason, Record, Row, Saved, Skipped, Timing, is_plain_path,
    milliseconds, recorded, url_hash, without_fragment,
};
pub use self::line::RecordLine;
pub use self::modes::{Existing, Mode, Phase};
