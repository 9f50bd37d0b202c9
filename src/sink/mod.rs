//! Where bytes go.
//!
//! A [`Part`] takes the bytes of one body. [`Part::commit`] is the only way for a file to appear; dropping a part
//! abandons it and leaves no trace, or what a later run can go on with.
//!
//! All calls block. They are made on the threads that run the downloads, in line: handing every small file to a pool
//! of threads costs more than the files themselves.

mod body;
pub mod folder;
mod resume;

pub use body::{Part, Whole};
pub use folder::{Files, Linked, Publish, Published};
pub use resume::Origin;
