//! The progress of a run: counters that downloads update, and the live view and log lines that show them.
//!
//! Downloads add to [`Counters`] and know nothing of the display. A thread of the [`Screen`] reads the counters ten times a
//! second. What only the display needs is not recorded when there is no display.
//!
//! Each reading becomes a `Status` (in `status`), which holds plain values. `view` arranges it in lines that fit the
//! terminal, and `terminal` adds cursor movements and colours. `words` makes a sentence of it for the log.

mod counters;
mod display;
mod facts;
mod failures;
mod in_flight;
mod metrics;
#[cfg(feature = "cli")]
mod rate;
#[cfg(feature = "cli")]
mod screen;
#[cfg(feature = "cli")]
mod status;
#[cfg(feature = "cli")]
mod terminal;
#[cfg(feature = "cli")]
mod view;
#[cfg(feature = "cli")]
mod words;

pub use self::counters::{Counters, DownloadGuard, HighWaterMark};
pub use self::display::{Display, DisplayGuard};
pub use self::facts::{DownHost, Facts, FactsOf, ThrottledHost, Total};
pub use self::failures::{FailureGroup, attempts};
pub use self::metrics::MetricsFile;
#[cfg(feature = "cli")]
pub use self::screen::{DEFAULT_HEARTBEAT, HEARTBEAT_TARGET, LogWriter, ProgressMode, Screen};
#[cfg(feature = "cli")]
pub use self::terminal::TerminalStyle;
