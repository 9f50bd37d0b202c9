//! Reservoir sampling: draws rows at random from a list of unknown length (`--sample`).
//!
//! The list is read once, to its end, and each row that a run would fetch is chosen with the same probability. The
//! chosen rows are kept in a reservoir. When it is full, row number n replaces a random one with probability size / n
//! (Vitter 1985, algorithm R). So the list may come through a pipe, and only the rows that are fetched are kept in
//! memory.

use std::num::NonZeroUsize;

use fastrand::Rng;

/// The largest sample. From this many rows, any share is known to a third of a percent. Each row is held in memory
/// until it is fetched.
pub const MAX_SAMPLE_ROWS: usize = 100_000;

/// How a sample is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The size of the sample. A shorter list is taken as a whole.
    pub rows: NonZeroUsize,
    /// The seed of the random numbers: the same seed draws the same rows from the same list.
    pub seed: u64,
}

/// A sample of the items that were offered so far.
#[derive(Debug)]
pub struct Reservoir<T> {
    rows: NonZeroUsize,
    random: Rng,
    offered: usize,
    kept: Vec<(usize, T)>,
}

impl<T> Reservoir<T> {
    /// An empty reservoir.
    #[must_use]
    pub fn new(sample: Sample) -> Self {
        Self { rows: sample.rows, random: Rng::with_seed(sample.seed), offered: 0, kept: Vec::new() }
    }

    /// Takes the next item into the sample, or drops it.
    pub fn offer(&mut self, item: T) {
        let number = self.offered;
        self.offered += 1;
        if self.kept.len() < self.rows.get() {
            self.kept.push((number, item));
        } else if let Some(slot) = self.kept.get_mut(self.random.usize(..self.offered)) {
            *slot = (number, item);
        }
    }

    /// The chosen items, in the order in which they were offered.
    #[must_use]
    pub fn chosen(mut self) -> Vec<T> {
        self.kept.sort_unstable_by_key(|(number, _)| *number);
        self.kept.into_iter().map(|(_, item)| item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(of: usize, rows: usize, seed: u64) -> Vec<usize> {
        let mut reservoir = Reservoir::new(Sample { rows: NonZeroUsize::new(rows).expect("not zero"), seed });
        (0..of).for_each(|item| reservoir.offer(item));
        reservoir.chosen()
    }

    #[test]
    fn a_sample_has_the_given_size_and_keeps_the_order_and_the_same_seed_draws_the_same() {
        let sample = chosen(1000, 50, 1);
        assert_eq!(sample.len(), 50);
        assert!(sample.is_sorted_by(|one, next| one < next), "{sample:?}");
        assert_eq!(sample, chosen(1000, 50, 1));
        assert_ne!(sample, chosen(1000, 50, 2));
        assert_eq!(chosen(3, 50, 1), [0, 1, 2], "all there are");
        assert!(chosen(0, 50, 1).is_empty());
    }

    #[test]
    fn every_item_is_chosen_with_the_same_probability() {
        let mut times = [0_i32; 20];
        for seed in 0..4000 {
            for item in chosen(20, 5, seed) {
                times[item] += 1;
            }
        }
        // 1,000 times each, plus or minus five standard deviations of 27.
        assert!(times.iter().all(|times| (times - 1000).abs() < 137), "{times:?}");
    }
}
