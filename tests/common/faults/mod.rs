//! The faults that the test server has.

pub mod raw;
