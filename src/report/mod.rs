//! Records to words.
//!
//! A [`Tally`] folds the records of one pass over the list as they come; a [`Summary`] holds what is said about it, every
//! number computed once. [`text`], [`json`], [`html`] and [`markdown`] only arrange it, so they cannot disagree.

pub mod advice;
pub mod forecast;
pub mod history;
pub mod html;
pub mod json;
pub mod markdown;
pub mod plan;
mod statistics;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
pub mod text;
pub mod timeline;
pub mod trace;
mod words;

pub use self::forecast::{Forecast, Observed};
pub use self::plan::{HostRows, NAMES_TOLD, Plan, RowCounts};
pub use self::summary::{Basis, COMPLETED, Comparison, HOSTS_NAMED, OverloadedHost, Report, Summary, Times};
pub use self::tally::Tally;
