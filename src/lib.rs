//! fetchimg turns a list of image URLs into verified images on disk: fast, complete, polite, resumable.
//!
//! Every row of the input becomes exactly one [`Job`], every `Job` becomes exactly one [`Record`], and everything a user
//! sees (files, journal, progress, report, exit status) is made from records.
//!
//! # As a library
//!
//! [`Options`] say what a run does; their defaults are those of the command. [`Run`] takes jobs from a stream and gives
//! back their records while they come:
//!
//! ```no_run
//! use fetchimg::{Job, Options, Run};
//! use futures::{StreamExt, stream};
//!
//! # async fn fetch(urls: Vec<url::Url>) -> Result<(), fetchimg::RunError> {
//! let options = Options { output: "images".into(), ..Options::default() };
//! let jobs = stream::iter(urls).enumerate().map(|(index, url)| Job::new(index as u64, url));
//! let mut records = Run::new(options)?.records(jobs);
//! while let Some(record) = records.next().await {
//!     println!("{}: {:?}", record.url, record.outcome);
//! }
//! let summary = records.finish().await?;
//! println!("{} saved, {} failed", summary.saved, summary.failed);
//! # Ok(())
//! # }
//! ```
//!
//! A run has no global state: it installs no signal handler, raises no limit, prints nothing, and logs through [`tracing`]
//! alone. The command is the feature `cli`; without it there is no command line, no terminal and no signal in this crate.
//! What a run does, from the formats of lists to the meaning of each record, is in the manual: [`src/manual`][manual].
//!
//! [manual]: https://github.com/fetchimg/fetchimg/tree/main/src/manual
//!
//! # For the people who build it
//!
//! The folders of `src`, in the order in which a row meets them. Who may import whom is held by `tests/it/architecture.rs`.
//!
//! | folder | what it does |
//! |---|---|
//! | `cli` | what is typed: arguments, configuration, log, signals, exit |
//! | `run` | a run: passes, schedule, admission, ledger, survey, shutdown |
//! | `input` | bytes to rows: text, CSV, JSON Lines, Parquet, compressed |
//! | `naming` | a template to a reserved name to a final path |
//! | `limiter` | permits per host: adaptive limit, circuit breaker, rate, the queue across hosts; bandwidth |
//! | `fetch` | one job to one record: attempts, validation of the body, the finished image |
//! | `http` | client, redirects, deadlines, content encoding, retry policy, TLS, name resolution: the only reqwest |
//! | `image` | bytes to what they are, one file per format; `image/transform`: pixels on a CPU pool |
//! | `sink` | where a complete image goes: body, folder, write-ahead log, shards |
//! | `journal` | records on disk, one JSON line each; the manifest |
//! | `progress` | counters, and the live view |
//! | `report` | records to a summary, in text, JSON, HTML and Markdown; advice and forecast |
//! | `record` | the vocabulary: job, record, errors, formats, digests |
//! | `util` | small tools that know nothing of the rest |

#![cfg_attr(
    not(all(feature = "cli", feature = "parquet", feature = "transform")),
    allow(dead_code, reason = "parts of some folders serve a feature alone")
)]

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod fetch;
mod http;
mod image;
mod input;
mod journal;
mod limiter;
pub mod manual;
mod naming;
mod progress;
mod record;
mod report;
mod run;
mod sink;
mod util;

pub use crate::record::{
    Checksum, ErrorKind, Existing, Extra, Failed, Format, Job, KnownFile, MadeWith, Measures, Mode, Original, Outcome,
    Reason, Record, Refused, RunError, Saved, Seen, Skipped, Timing, Verified, Wishes,
};
pub use crate::report::Summary;
pub use crate::run::{Options, Records, Run};

/// The parts of `Options`, one for each folder that has options of its own.
pub mod options {
    pub use crate::fetch::{Accept, Bounds, Options as Fetch, Verify, Wanted};
    pub use crate::http::retry::Policy as RetryPolicy;
    pub use crate::http::{Credentials, Family, HeaderName, HeaderValue, Identity, Options as Http, Pinned};
    pub use crate::journal::RowIdentity;
    pub use crate::limiter::PerHost;
    #[cfg(feature = "parquet")]
    pub use crate::naming::KeyTemplate;
    pub use crate::naming::{Template, TemplateError};
    pub use crate::report::table::TableFormat;
    #[cfg(feature = "parquet")]
    pub use crate::run::SetOptions;
    pub use crate::run::metadata::Metadata;
    pub use crate::sink::folder::Options as Folder;
    #[cfg(feature = "parquet")]
    pub use crate::sink::shards::{Destination, Options as Shards, OutputFormat, Slice, Units};
    #[cfg(feature = "parquet")]
    pub use crate::util::store::StoreUrl;
}

/// Everything inside, for the benchmarks and fuzz targets of this package. It may change at any time.
#[doc(hidden)]
pub mod internals {
    pub mod fetch {
        pub use crate::fetch::*;
    }
    pub mod http {
        pub use crate::http::*;
    }
    pub mod image {
        pub use crate::image::*;
    }
    pub mod input {
        pub use crate::input::*;
    }
    pub mod journal {
        pub use crate::journal::*;
    }
    pub mod limiter {
        pub use crate::limiter::*;
    }
    pub mod naming {
        pub use crate::naming::*;
    }
    pub mod progress {
        pub use crate::progress::*;
    }
    pub mod record {
        pub use crate::record::*;
    }
    pub mod run {
        pub use crate::run::*;
    }
    pub mod sink {
        pub use crate::sink::*;
    }
    pub mod util {
        pub use crate::util::*;
    }
}
