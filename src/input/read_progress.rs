//! How far the lists have been read, and how many rows they have: for the progress of the run.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counters of rows and bytes. The thread that reads the lists sets them; the progress display reads them.
#[derive(Debug, Default)]
pub struct ReadProgress {
    /// The number of rows read so far.
    rows: AtomicU64,
    /// The number of all rows, once it is known; `u64::MAX` until then.
    total: AtomicU64,
    /// The number of bytes read for those rows, as they are stored; zero where this is unknown.
    bytes: AtomicU64,
    /// The number of bytes of all lists, if each has a known size.
    all_bytes: Option<u64>,
}

impl ReadProgress {
    /// The state before anything has been read. `all_bytes`: the size of all lists, `None` if one of them is a pipe or
    /// the like.
    #[must_use]
    pub fn new(all_bytes: Option<u64>) -> Self {
        Self { total: AtomicU64::new(u64::MAX), all_bytes, ..Self::default() }
    }

    /// The number of all rows, once it is known: at the end of the lists, or earlier where the last list states its
    /// number of rows.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Acquire)).filter(|total| *total != u64::MAX)
    }

    /// An estimate of the number of all rows, as if the unread part of the lists had as many rows per byte as the part
    /// that has been read. `None` before the first row, and for pipes, whose size is unknown.
    #[must_use]
    pub fn estimate(&self) -> Option<u64> {
        let (rows, bytes) = (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        let all = u128::from(rows) * u128::from(self.all_bytes?);
        let estimate = all.checked_div(u128::from(bytes)).filter(|_| rows > 0)?;
        // A file may have grown since its size was asked for.
        Some(u64::try_from(estimate).unwrap_or(u64::MAX).max(rows))
    }

    /// Sets the number of rows read so far.
    pub fn set_rows(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    /// Sets the number of all rows.
    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Release);
    }

    /// Sets the number of bytes read so far; zero where bytes do not tell how far the rows have been read.
    pub fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// A reader that adds the bytes it reads to a [`ReadProgress`].
pub struct CountingReader<R> {
    from: R,
    progress: Arc<ReadProgress>,
}

impl<R: Read> CountingReader<R> {
    /// Counts the bytes that are read through it.
    pub fn new(from: R, progress: &Arc<ReadProgress>) -> Self {
        Self { from, progress: Arc::clone(progress) }
    }
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.progress.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_a_file_is_estimated_from_what_has_been_read() {
        let progress = Arc::new(ReadProgress::new(Some(1000)));
        assert_eq!((progress.total(), progress.estimate()), (None, None), "nothing has been read");
        let mut list = CountingReader::new(&[b'x'; 1000][..], &progress);
        list.read_exact(&mut [0; 100]).expect("100 bytes");
        assert_eq!(progress.estimate(), None, "it may be a row that is not complete");
        progress.set_rows(20);
        assert_eq!(progress.estimate(), Some(200));
        list.read_exact(&mut [0; 100]).expect("100 bytes");
        progress.set_rows(30);
        assert_eq!(progress.estimate(), Some(150));
        progress.set_bytes(0);
        assert_eq!(progress.estimate(), None);
        progress.set_bytes(2000);
        assert_eq!(progress.estimate(), Some(30), "no fewer than have been read");
        progress.set_total(31);
        assert_eq!(progress.total(), Some(31));
    }

    #[test]
    fn nothing_is_known_of_the_rest_of_a_pipe() {
        let progress = ReadProgress::new(None);
        progress.set_rows(20);
        progress.set_bytes(100);
        assert_eq!((progress.total(), progress.estimate()), (None, None));
    }
}
