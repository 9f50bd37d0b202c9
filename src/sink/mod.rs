//! Where bytes go.
//!
//! A [`Body`] takes the bytes of one body. [`Body::commit`] is the only way for a file to appear; dropping a part
//! abandons it and leaves no trace, or what a later run can go on with.
//!
//! All calls block. They are made on the threads that run the downloads, in line: handing every small file to a pool
//! of threads costs more than the files themselves.

mod body;
pub mod folder;
mod resume;

pub use body::{Body, BodyReader};
pub use folder::{Folder, Linked, OnConflict, Published};
pub use resume::Origin;
