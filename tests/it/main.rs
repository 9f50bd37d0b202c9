//! The integration tests. They are one program, so that `tests/common` is compiled and linked once, and the waits of
//! one file overlap with those of the others.
//!
//! `cargo test --test it politeness::` runs one file. What looks at the state of its whole process is in a program of
//! its own: `tests/faults`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/inspected.rs"]
mod inspected;
#[path = "../common/list_rows.rs"]
mod list_rows;
#[path = "../common/rules.rs"]
mod rules;

mod architecture;
mod changed;
mod columns;
mod compaction;
mod demo;
mod digests;
mod documents;
mod dry_run;
mod duplicates;
mod errors;
mod harness;
mod http2;
mod http_options;
mod images;
mod interrupt;
mod jpeg;
mod killed;
mod later_lists;
mod library;
mod limits;
mod lists;
mod local_images;
mod modes;
mod names;
mod names_resolved;
mod odd_images;
mod older_versions;
mod operators;
mod overwriting;
mod pixels;
mod politeness;
mod progress;
mod properties;
mod proxies;
mod readme;
mod redirects;
mod refused;
mod reports;
mod rerun;
mod retries;
mod sample;
mod shard_columns;
mod shard_faults;
mod shard_kills;
mod shard_retries;
mod shard_units;
mod shards;
mod shortfalls;
mod state_folder;
mod status;
mod store_images;
mod stores;
#[cfg(target_os = "linux")]
mod suspended;
mod usage;
mod validation;
