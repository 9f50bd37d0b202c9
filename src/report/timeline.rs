//! Bytes and downloads over time, in a bounded number of bins of equal length.

use serde::Serialize;

/// Bytes and downloads over time, in bins of equal length from the start of the pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// The length of a bin, in seconds.
    pub bin_seconds: f64,
    /// Bytes of bodies per bin. Those of a download are distributed evenly between its first byte and its end.
    pub bytes: Vec<f64>,
    /// The mean number of downloads in flight per bin.
    pub alive: Vec<f64>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { bin_seconds: MIN_BIN_MILLISECONDS / 1000.0, bytes: Vec::new(), alive: Vec::new() }
    }
}

/// The length of a bin at the start, in milliseconds.
const MIN_BIN_MILLISECONDS: f64 = 1.0;

/// The most bins while amounts are added. Beyond that, each two bins are merged.
const MAX_BINS: usize = 512;

/// The most bins in a timeline.
const MAX_BINS_SHOWN: usize = 128;

/// Amounts over time; times are in milliseconds.
#[derive(Clone)]
pub struct Bins {
    width: f64,
    amounts: Vec<f64>,
}

impl Default for Bins {
    /// Bins without amounts.
    fn default() -> Self {
        Self { width: MIN_BIN_MILLISECONDS, amounts: Vec::new() }
    }
}

impl Bins {
    /// Distributes an amount evenly over a time. A time that is not finite, or negative, is ignored.
    pub fn spread(&mut self, from: f64, until: f64, amount: f64) {
        if !(from >= 0.0 && until >= from && until.is_finite()) {
            return;
        }
        while until >= self.width * float(MAX_BINS) {
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
            let (begin, end) = (float(bin) * self.width, float(bin + 1) * self.width);
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
const fn float(number: usize) -> f64 {
    number as f64
}

impl Timeline {
    /// A timeline from the bins of bytes and those of milliseconds in which downloads were in flight.
    pub fn of(bytes: &Bins, alive: &Bins) -> Self {
        let (mut bytes, mut alive) = (bytes.clone(), alive.clone());
        // More bins are kept for accurate sums than are useful in a report.
        while bytes.amounts.len() > MAX_BINS_SHOWN {
            bytes.widen();
        }
        while alive.amounts.len() > MAX_BINS_SHOWN {
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
    fn bins_keep_the_sum_of_all_amounts_when_they_are_merged() {
        let mut bins = Bins::default();
        for (from, until, amount) in
            [(0.0, 0.0, 1.0), (0.25, 3.5, 10.0), (511.0, 700.0, 100.0), (0.0, 90_000.0, 1000.0)]
        {
            bins.spread(from, until, amount);
            assert!(bins.amounts.len() <= MAX_BINS);
        }
        assert!((bins.amounts.iter().sum::<f64>() - 1111.0).abs() < 1e-6);
        for invalid in [f64::NAN, f64::INFINITY, -1.0] {
            bins.spread(0.0, invalid, 1.0);
        }
        assert!((bins.amounts.iter().sum::<f64>() - 1111.0).abs() < 1e-6, "invalid times are ignored");
    }
}
