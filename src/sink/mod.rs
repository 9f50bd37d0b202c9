//! Where bytes go.
//!
//! A [`Part`] takes the bytes of one body. [`Part::commit`] is the only way for a file to appear; dropping a part
//! abandons it and leaves no trace, or what a later run can go on with.

mod files;

pub use files::{Files, Linked, Origin, Part, Publish, Published, Whole};
