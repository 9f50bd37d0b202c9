//! What is known about the lists while they are read.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the lists have been read, and how long they are.
#[derive(Debug, Default)]
pub struct Reading {
    /// Rows read so far.
    rows: AtomicU64,
    /// All there are, once that is known; `u64::MAX` until then.
    total: AtomicU64,
    /// Bytes that those rows have taken, as they are stored; zero while that cannot be told.
    bytes: AtomicU64,
    /// Those of all lists, if each has an end that is known.
    all_bytes: Option<u64>,
}

impl Reading {
    /// Nothing has been read of so many bytes.
    #[must_use]
    pub fn new(all_bytes: Option<u64>) -> Self {
        Self { total: AtomicU64::new(u64::MAX), all_bytes, ..Self::default() }
    }

    /// The number of rows, when the lists have been read to their end, or when the last one tells how many it has.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Acquire)).filter(|total| *total != u64::MAX)
    }

    /// About how many rows there are, if the rest of the lists is like what has been read of them. Only files have such a
    /// rest; nobody knows how much will come through a pipe.
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let all = u128::from(rows) * u128::from(self.all_bytes?);
        let estimate = all.checked_div(u128::from(bytes)).filter(|_| rows > 0)?;
        // A file may have grown since.
        Some(u64::try_from(estimate).unwrap_or(u64::MAX).max(rows))
    }

    /// So many rows have been read.
    pub fn read(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// There are so many.
    pub fn know(&self, total: u64) {
        self.total.store(total, Ordering::Release);
    }

    /// So many bytes have been read, in whichever way; zero where that says nothing about the rows.
    pub fn reach(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// A reader whose bytes are counted.
pub struct Counted<R> {
    from: R,
    reading: Arc<Reading>,
}

impl<R: Read> Counted<R> {
    /// Counts from here on.
    pub fn new(from: R, reading: &Arc<Reading>) -> Self {
        Self { from, reading: Arc::clone(reading) }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.reading.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_expected_to_go_on_as_it_began() {
        let reading = Arc::new(Reading::new(Some(1000)));
        assert_eq!((reading.total(), reading.estimate()), (None, None), "nothing has been read");
        let mut list = Counted::new(&[b'x'; 1000][..], &reading);
        list.read_exact(&mut [0; 100]).expect("so much");
        assert_eq!(reading.estimate(), None, "it may be a row that is not complete");
        reading.read(20);
        assert_eq!(reading.estimate(), Some(200));
        list.read_exact(&mut [0; 100]).expect("so much");
        reading.read(30);
        assert_eq!(reading.estimate(), Some(150));
        reading.reach(0);
        assert_eq!(reading.estimate(), None);
        reading.reach(2000);
        assert_eq!(reading.estimate(), Some(30), "no fewer than have been read");
        reading.know(31);
        assert_eq!(reading.total(), Some(31));
    }

    #[test]
    fn nobody_knows_how_much_comes_through_a_pipe() {
        let reading = Reading::new(None);
        reading.read(20);
        reading.reach(100);
        assert_eq!((reading.total(), reading.estimate()), (None, None));
    }
}
