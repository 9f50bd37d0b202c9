//! fetchimg turns a list of image URLs into verified images on disk.
//!
//! Every row of the input becomes exactly one [`Job`](record::Job), every `Job` becomes exactly one
//! [`Record`](record::Record), and everything a user sees (files, journal, progress, report, exit status) is made from
//! records.
//!
//! The rooms, in the order a URL meets them; [`run`], [`dry_run`] and [`pass`] wire them, and nothing else does:

pub mod cli;
pub mod run;

pub mod input;
// Where the list is gone through before, or instead:
// A row asks these in turn:
pub mod journal;
pub mod naming;
// Its download goes through these:
pub mod fetch;
pub mod http;
pub mod image;
pub mod limiter;
pub mod sink;
// And what came of it is told here:
pub mod progress;
pub mod report;
// The vocabulary, and what the system allows:
pub mod record;
pub mod util;

pub use cli::program;
pub use record::Exit;
