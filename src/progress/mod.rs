//! Counters, and what is shown of them.
//!
//! The downloads add to [`Counters`]; a thread of the [`Screen`] looks at them ten times a second. Nobody who downloads
//! knows whether anything is drawn, and what nobody looks at is not kept.
//!
//! A look becomes a `Status` (`status`), which is plain values. It is told in lines that fit the terminal (`view`), with
//! what `terminal` knows of cursors and colours, or in a sentence for the log (`words`).

mod counters;
mod display;
mod in_flight;
#[cfg(feature = "cli")]
mod rate;
#[cfg(feature = "cli")]
mod screen;
mod status;
#[cfg(feature = "cli")]
mod terminal;
#[cfg(feature = "cli")]
mod view;
#[cfg(feature = "cli")]
mod words;

pub use self::counters::{Alive, Counters, HighWater};
pub use self::display::{Display, Watch};
#[cfg(feature = "cli")]
pub use self::screen::{AboveView, Screen, Show};
pub use self::status::{Facts, Throttled, Total};
#[cfg(feature = "cli")]
pub use self::terminal::Paint;
