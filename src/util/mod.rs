//! Small tools that know nothing of images, HTTP or runs, and are used by several folders.

pub mod boot_id;
pub mod budget;
pub mod compact_table;
pub mod data_url;
pub mod human;
pub mod location;
mod lock;
pub mod private_file;
pub mod raw_json;
mod real_path;
pub mod redact;
pub mod run_id;
pub mod shell;
pub mod store;
#[cfg(feature = "cli")]
pub mod wrap;

pub use self::lock::lock;
pub use self::real_path::real_path;
