//! Bytes to lines, however the bytes are cut into reads.

/// Takes bytes, gives lines without their line feeds.
pub struct Lines {
    /// What has come of the line under way.
    line: Vec<u8>,
    /// The number of the last whole line, from 1.
    number: u64,
    longest: usize,
    /// A carriage return ends a line too, with a line feed behind it or not.
    is_ended_by_cr: bool,
    /// The last line ended so. A line feed that comes now is no line.
    after_cr: bool,
}

impl Lines {
    /// Of a line of more than `longest` bytes, only the beginning is kept: one byte more, which tells that it is longer.
    pub const fn new(longest: usize) -> Self {
        Self { line: Vec::new(), number: 0, longest, is_ended_by_cr: false, after_cr: false }
    }

    /// The same, where nothing in a line can be a carriage return.
    pub fn ended_by_cr(longest: usize) -> Self {
        Self { is_ended_by_cr: true, ..Self::new(longest) }
    }

    /// Gives each line that has come to its end, with its number.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], u64)) {
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
                each(&bytes[..end.min(self.longest + 1)], self.number);
            } else {
                self.keep(&bytes[..end]);
                each(&self.line, self.number);
                self.line.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// The last line needs no line feed.
    pub fn end(self, mut each: impl FnMut(&[u8], u64)) {
        each(&self.line, self.number + 1);
    }

    fn keep(&mut self, more: &[u8]) {
        let room = (self.longest + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&more[..more.len().min(room)]);
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
            let mut lines = Lines::new(6);
            let mut read = Vec::new();
            let mut each = |line: &[u8], number| read.push((line.to_vec(), number));
            text.chunks(cut).for_each(|piece| lines.take(piece, &mut each));
            lines.end(each);
            assert!(read.iter().map(|(line, number)| (&**line, *number)).eq(expected), "{cut}: {read:?}");
        }
    }

    #[test]
    fn a_line_may_end_with_a_carriage_return_alone() {
        let text = b"one\rtwo\r\n\nfour\n\r\rseven\r";
        let expected =
            [(&b"one"[..], 1), (b"two", 2), (b"", 3), (b"four", 4), (b"", 5), (b"", 6), (b"seven", 7), (b"", 8)];
        for cut in 1..=text.len() {
            let mut lines = Lines::ended_by_cr(99);
            let mut read = Vec::new();
            let mut each = |line: &[u8], number| read.push((line.to_vec(), number));
            text.chunks(cut).for_each(|piece| lines.take(piece, &mut each));
            lines.end(each);
            assert!(read.iter().map(|(line, number)| (&**line, *number)).eq(expected), "{cut}: {read:?}");
        }
    }
}
