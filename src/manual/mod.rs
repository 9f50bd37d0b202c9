//! The user's manual. Each file is shown here as a module, and the README links to the same files.
//!
//! - [`options`]: all flags, their values, exit statuses, shell completions
//! - [`lists`]: formats, columns, checksums, repeated URLs
//! - [`names`]: file names and templates
//! - [`images`]: filters, verification, thumbnails, digests
//! - [`records`]: what is recorded for each row, and the kinds of errors
//! - [`reports`]: output, logging, report files, the live view
//! - [`politeness`]: limits, deadlines, retries, back-off
//! - [`resume`]: what a second run does, partial bodies, interrupts
//! - [`forecast`]: dry runs and samples
//! - [`datasets`]: shards for training, shares of a list, streams
//! - [`engines`]: Slurm, Kubernetes, Spark, Ray, and Python
//! - [`stores`]: sets, lists and images in S3, Google Cloud Storage and Azure
//! - [`http`]: requests, redirects, host names, proxies, certificates

// A change of the manual then builds nothing but the documentation.
#![cfg(doc)]

/// Makes a module of each file. The files end with link definitions that are relative to this folder, for readers of the
/// repository. In Markdown the first definition of a label counts, so those given here take their place for rustdoc.
macro_rules! manual {
    ($($name:ident),+ $(,)?) => {
        $(
            #[doc = concat!(
                "[options]: crate::manual::options\n",
                "[lists]: crate::manual::lists\n",
                "[names]: crate::manual::names\n",
                "[images]: crate::manual::images\n",
                "[records]: crate::manual::records\n",
                "[reports]: crate::manual::reports\n",
                "[politeness]: crate::manual::politeness\n",
                "[resume]: crate::manual::resume\n",
                "[forecast]: crate::manual::forecast\n",
                "[datasets]: crate::manual::datasets\n",
                "[engines]: crate::manual::engines\n",
                "[stores]: crate::manual::stores\n",
                "[http]: crate::manual::http\n",
                "[faults]: ", env!("CARGO_PKG_REPOSITORY"), "/blob/main/tests/FAULTS.md\n",
                "[waterfall]: ", env!("CARGO_PKG_REPOSITORY"), "/raw/main/src/manual/waterfall.png\n\n",
                include_str!(concat!(stringify!($name), ".md")),
            )]
            pub mod $name {}
        )+
    };
}

manual!(options, lists, names, images, records, reports, politeness, resume, forecast, datasets, engines, stores, http);
