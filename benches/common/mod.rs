//! What several benchmarks share: pictures, servers, certificates, and measuring.

#![allow(dead_code, reason = "each benchmark uses a part")]

pub mod certificates;
pub mod corpus;
pub mod instant;
pub mod lists;
pub mod measure;
pub mod nginx;
pub mod server;

use std::error::Error;

/// An error ends the benchmark with its message.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The median, the smallest and the largest of the numbers; zeros if there are none.
pub fn spread(mut numbers: Vec<f64>) -> (f64, f64, f64) {
    numbers.sort_by(f64::total_cmp);
    let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
    (at(numbers.len() / 2), at(0), at(numbers.len().saturating_sub(1)))
}

/// A number of bytes in megabytes of a million bytes.
#[expect(clippy::cast_precision_loss, reason = "shown")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
