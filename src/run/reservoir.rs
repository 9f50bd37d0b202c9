//! Rows drawn at random (`--sample`).
//!
//! The list is read to its end once, and each of its rows that a run would fetch has the same chance to be among the
//! chosen: they are kept in a reservoir, where a new one takes the place of any other, ever more seldom (Vitter 1985,
//! algorithm R). So how long the list is need not be known, a pipe will do, and no more is kept than is fetched.

use std::num::NonZeroUsize;

use fastrand::Rng;

/// So many rows say of any share what it is to a third of a percent. Each is held in memory until it is fetched.
pub const MOST_ROWS: usize = 100_000;

/// How a sample is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// So many rows at most.
    pub rows: NonZeroUsize,
    /// The same number draws the same rows from the same list again.
    pub seed: u64,
}

/// A sample of what has come so far.
#[derive(Debug)]
pub struct Reservoir<T> {
    rows: NonZeroUsize,
    random: Rng,
    met: usize,
    kept: Vec<(usize, T)>,
}

impl<T> Reservoir<T> {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(sample: Sample) -> Self {
        Self { rows: sample.rows, random: Rng::with_seed(sample.seed), met: 0, kept: Vec::new() }
    }

    /// The next one comes.
    pub fn offer(&mut self, item: T) {
        let number = self.met;
        self.met += 1;
        if self.kept.len() < self.rows.get() {
            self.kept.push((number, item));
        } else if let Some(place) = self.kept.get_mut(self.random.usize(..self.met)) {
            *place = (number, item);
        }
    }

    /// The chosen, in the order in which they came.
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
    fn a_sample_has_so_many_in_their_order_and_the_same_seed_draws_the_same() {
        let sample = chosen(1000, 50, 1);
        assert_eq!(sample.len(), 50);
        assert!(sample.is_sorted_by(|one, next| one < next), "{sample:?}");
        assert_eq!(sample, chosen(1000, 50, 1));
        assert_ne!(sample, chosen(1000, 50, 2));
        assert_eq!(chosen(3, 50, 1), [0, 1, 2], "all there are");
        assert!(chosen(0, 50, 1).is_empty());
    }

    #[test]
    fn everybody_has_the_same_chance() {
        let mut times = [0_i32; 20];
        for seed in 0..4000 {
            for item in chosen(20, 5, seed) {
                times[item] += 1;
            }
        }
        // 1,000 times each, give or take five standard deviations of 27.
        assert!(times.iter().all(|times| (times - 1000).abs() < 137), "{times:?}");
    }
}
