//! What happened when, in bins of equal length, of which there are never many however long a run takes.

use serde::Serialize;

/// What happened when, in bins of equal length from the start of the pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// The length of a bin.
    pub bin_seconds: f64,
    /// Bytes of bodies that came in each bin, spread evenly between a download's first byte and its end.
    pub bytes: Vec<f64>,
    /// Downloads that were under way in each bin, on average.
    pub alive: Vec<f64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { bin_seconds: SHORTEST_BIN / 1000.0, bytes: Vec::new(), alive: Vec::new() }
    }
}

/// In milliseconds.
const SHORTEST_BIN: f64 = 1.0;

/// When there are so many, two become one.
const MOST_BINS: usize = 512;

/// In a trace there are no more than that.
const BINS_SHOWN: usize = 128;

/// Amounts over time, in milliseconds.
#[derive(Clone)]
pub struct Bins {
    width: f64,
    amounts: Vec<f64>,
}

impl Default for Bins {
    /// Nothing has come yet.
    fn default() -> Self {
        Self { width: SHORTEST_BIN, amounts: Vec::new() }
    }
}

impl Bins {
    /// Spreads an amount evenly over a time.
    pub fn spread(&mut self, from: f64, until: f64, amount: f64) {
        if !(from >= 0.0 && until >= from && until.is_finite()) {
            return;
        }
        while until >= self.width * count(MOST_BINS) {
            self.widen();
        }
        let (first, last) = (self.bin(from), self.bin(until));
        if self.amounts.len() <= last {
            self.amounts.resize(last + 1, 0.0);
        }
        if first == last {
            self.amounts[first] += amount;
            return;
        }
        let rate = amount / (until - from);
        for bin in first..=last {
            let (begin, end) = (count(bin) * self.width, count(bin + 1) * self.width);
            self.amounts[bin] += rate * (until.min(end) - from.max(begin));
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the number of bins")]
    fn bin(&self, time: f64) -> usize {
        (time / self.width) as usize
    }

    fn widen(&mut self) {
        self.width *= 2.0;
        self.amounts = self.amounts.chunks(2).map(|pair| pair.iter().sum()).collect();
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
const fn count(number: usize) -> f64 {
    number as f64
}

impl Timeline {
    /// Of bytes, and of milliseconds in which downloads were alive.
    pub fn of(bytes: &Bins, alive: &Bins) -> Self {
        let (mut bytes, mut alive) = (bytes.clone(), alive.clone());
        // More are needed to add up, but tell nobody more.
        while bytes.amounts.len() > BINS_SHOWN {
            bytes.widen();
        }
        while alive.amounts.len() > BINS_SHOWN {
            alive.widen();
        }
        while bytes.width < alive.width {
            bytes.widen();
        }
        while alive.width < bytes.width {
            alive.widen();
        }
        let length = bytes.amounts.len().max(alive.amounts.len());
        bytes.amounts.resize(length, 0.0);
        alive.amounts.resize(length, 0.0);
        let width = alive.width;
        let rounded = |amount: f64| (amount * 1000.0).round() / 1000.0;
        Self {
            bin_seconds: width / 1000.0,
            bytes: bytes.amounts.into_iter().map(f64::round).collect(),
            alive: alive.amounts.into_iter().map(|amount| rounded(amount / width)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_keep_what_they_are_given_however_wide_they_become() {
        let mut bins = Bins::default();
        for (from, until, amount) in
            [(0.0, 0.0, 1.0), (0.25, 3.5, 10.0), (511.0, 700.0, 100.0), (0.0, 90_000.0, 1000.0)]
        {
            bins.spread(from, until, amount);
            assert!(bins.amounts.len() <= MOST_BINS);
        }
        assert!((bins.amounts.iter().sum::<f64>() - 1111.0).abs() < 1e-6);
        for nonsense in [f64::NAN, f64::INFINITY, -1.0] {
            bins.spread(0.0, nonsense, 1.0);
        }
        assert!((bins.amounts.iter().sum::<f64>() - 1111.0).abs() < 1e-6, "nothing came of it");
    }
}
