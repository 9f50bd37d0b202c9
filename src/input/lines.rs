//! Splits bytes that arrive in pieces into numbered lines.

/// Splits bytes into lines, and removes their line feeds. The lines do not depend on how the bytes were cut into reads.
pub struct LineSplitter {
    /// The beginning of the current line, from earlier reads.
    line: Vec<u8>,
    /// The number of the last complete line, from 1.
    number: u64,
    /// The maximum length of a line, in bytes; of a longer one, one byte more is kept.
    max_bytes: usize,
    /// Whether a carriage return ends a line too, with or without a line feed after it.
    is_ended_by_cr: bool,
    /// Whether the last line ended with a carriage return: a line feed that comes next belongs to it.
    after_cr: bool,
}

impl LineSplitter {
    /// A splitter whose lines end with line feeds. Of a line of more than `max_bytes` bytes, only the beginning is
    /// kept, with one byte more, which tells that it is longer.
    pub const fn new(max_bytes: usize) -> Self {
        Self { line: Vec::new(), number: 0, max_bytes, is_ended_by_cr: false, after_cr: false }
    }

    /// A splitter whose lines end with line feeds, carriage returns or both, for formats where neither can be part of a
    /// line.
    pub fn ended_by_cr(max_bytes: usize) -> Self {
        Self { is_ended_by_cr: true, ..Self::new(max_bytes) }
    }

    /// Calls `each` with every line that is complete now, and its number.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], u64)) {
        let is_ended_by_cr = self.is_ended_by_cr;
        let end_of_line = |bytes: &[u8]| {
            if is_ended_by_cr { memchr::memchr2(b'\n', b'\r', bytes) } else { memchr::memchr(b'\n', bytes) }
        };
        while let Some(end) = end_of_line(bytes) {
            let is_cr = bytes[end] == b'\r';
            if std::mem::replace(&mut self.after_cr, is_cr) && !is_cr && end == 0 && self.line.is_empty() {
                bytes = &bytes[1..];
                continue;
            }
            self.number += 1;
            if self.line.is_empty() {
                each(&bytes[..end.min(self.max_bytes + 1)], self.number);
            } else {
                self.keep(&bytes[..end]);
                each(&self.line, self.number);
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Calls `each` with the last line, which needs no line feed and may be empty.
    pub fn finish(self, mut each: impl FnMut(&[u8], u64)) {
        each(&self.line, self.number + 1);
    }

    fn keep(&mut self, more: &[u8]) {
        let free = (self.max_bytes + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&more[..more.len().min(free)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let text = b"one\n\nthree\r\n123456789\nlast";
        let expected = [(&b"one"[..], 1), (b"", 2), (b"three\r", 3), (b"1234567", 4), (b"last", 5)];
        for cut in 1..=text.len() {
            let mut lines = LineSplitter::new(6);
            let mut read = Vec::new();
            let mut each = |line: &[u8], number| read.push((line.to_vec(), number));
            text.chunks(cut).for_each(|piece| lines.feed(piece, &mut each));
            lines.finish(each);
            assert!(read.iter().map(|(line, number)| (&**line, *number)).eq(expected), "{cut}: {read:?}");
        }
    }

    #[test]
    fn a_line_may_end_with_a_carriage_return_alone() {
        let text = b"one\rtwo\r\n\nfour\n\r\rseven\r";
        let expected =
            [(&b"one"[..], 1), (b"two", 2), (b"", 3), (b"four", 4), (b"", 5), (b"", 6), (b"seven", 7), (b"", 8)];
        for cut in 1..=text.len() {
            let mut lines = LineSplitter::ended_by_cr(99);
            let mut read = Vec::new();
            let mut each = |line: &[u8], number| read.push((line.to_vec(), number));
            text.chunks(cut).for_each(|piece| lines.feed(piece, &mut each));
            lines.finish(each);
            assert!(read.iter().map(|(line, number)| (&**line, *number)).eq(expected), "{cut}: {read:?}");
        }
    }
}
