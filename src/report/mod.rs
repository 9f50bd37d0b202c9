//! The report of a run: it adds up records and writes the result as text, JSON, HTML or Markdown.
//!
//! A [`Tally`] adds up the records of one pass over the list as they arrive. A [`Summary`] has all numbers of the pass, each
//! of them computed once. [`text`], [`json`], [`html`] and [`markdown`] only arrange these numbers, so they cannot disagree.

pub mod advice;
mod changed;
mod failing;
pub mod forecast;
pub mod history;
#[cfg(feature = "cli")]
pub mod html;
pub mod json;
#[cfg(feature = "cli")]
pub mod markdown;
pub mod plan;
mod shortfalls;
mod statistics;
mod summary;
mod suspicious;
pub mod table;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(feature = "cli")]
pub mod text;
pub mod timeline;
pub mod trace;
mod words;

pub use self::changed::{Changed, ChangedWish, Made, NameChange};
#[cfg(feature = "cli")]
pub use self::failing::{FailingHost, FailingHosts};
pub use self::forecast::{Forecast, SampledRow};
pub use self::plan::{DryRunPlan, HostRows, MAX_NAMES_LISTED, PlannedHosts, RowCounts};
pub use self::summary::{
    Basis, COMPLETED, Closing, Comparison, Ending, INTERRUPTED, MAX_HOSTS_LISTED, OverloadedHost, Percentiles, Report,
    SampleImages, Summary, Tolerance,
};
pub use self::suspicious::SuspiciousKind;
pub use self::tally::Tally;
