//! The line that a list from standard input has to end with (`--end-line`). The end of a pipe alone does not tell whether
//! its writer has written all, or was killed.

use std::io::{self, ErrorKind, Read};

/// The number of bytes that one read asks for.
const BLOCK_BYTES: usize = 64 * 1024;

/// Passes a list on up to its end line. What comes after that line is not read; without that line, the end is an error.
pub struct EndLineReader<'a, R> {
    from: R,
    state: Option<State<'a>>,
}

struct State<'a> {
    end_line: &'a [u8],
    block: Vec<u8>,
    /// What may be passed on, from `position` on.
    ready: Vec<u8>,
    position: usize,
    /// The current line, while it may become the end line.
    held: Vec<u8>,
    /// Whether the beginning of the current line has been passed on.
    is_inside_line: bool,
    has_ended: bool,
}

impl<'a, R> EndLineReader<'a, R> {
    /// Without an end line, everything is passed on.
    pub fn new(from: R, end_line: Option<&'a str>) -> Self {
        let state = end_line.map(|end_line| State {
            end_line: end_line.as_bytes(),
            block: vec![0; BLOCK_BYTES],
            ready: Vec::new(),
            position: 0,
            held: Vec::new(),
            is_inside_line: false,
            has_ended: false,
        });
        Self { from, state }
    }

    /// What it reads from; `None` if there has to be an end line, because some of it has been read already.
    pub fn into_inner(self) -> Option<R> {
        self.state.is_none().then_some(self.from)
    }
}

impl<R: Read> Read for EndLineReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(state) = &mut self.state else { return self.from.read(buffer) };
        loop {
            let ready = &state.ready[state.position..];
            if !ready.is_empty() || state.has_ended {
                let length = ready.len().min(buffer.len());
                buffer[..length].copy_from_slice(&ready[..length]);
                state.position += length;
                return Ok(length);
            }
            let length = self.from.read(&mut state.block)?;
            state.take(length)?;
        }
    }
}

impl State<'_> {
    /// Takes the first bytes of the block; none are the end of what is read.
    fn take(&mut self, length: usize) -> io::Result<()> {
        self.position = 0;
        self.ready = std::mem::take(&mut self.held);
        self.ready.extend_from_slice(&self.block[..length]);
        if length == 0 {
            // Its line feed may be missing.
            self.has_ended = !self.is_inside_line && self.is_end_line(&self.ready);
            self.ready.clear();
            if self.has_ended {
                return Ok(());
            }
            let end_line = String::from_utf8_lossy(self.end_line);
            let sentence = format!("it ends without the line {end_line:?}: its writer was killed, or has failed");
            return Err(io::Error::new(ErrorKind::UnexpectedEof, sentence));
        }
        let mut begin = 0;
        while let Some(length) = memchr::memchr(b'\n', &self.ready[begin..]) {
            if !self.is_inside_line && self.is_end_line(&self.ready[begin..begin + length]) {
                self.has_ended = true;
                self.ready.truncate(begin);
                return Ok(());
            }
            self.is_inside_line = false;
            begin += length + 1;
        }
        let line = &self.ready[begin..];
        if !self.is_inside_line && (self.end_line.starts_with(line) || self.is_end_line(line)) {
            self.held = self.ready.split_off(begin);
        } else {
            self.is_inside_line = true;
        }
        Ok(())
    }

    /// Whether it is the end line. A carriage return behind it belongs to its line feed.
    fn is_end_line(&self, line: &[u8]) -> bool {
        line.strip_suffix(b"\r").unwrap_or(line) == self.end_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out a few bytes at once.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    #[test]
    fn a_list_is_what_stands_before_its_end_line_however_it_is_cut() {
        for (list, expected) in [
            ("a\nb\nend\n", Some("a\nb\n")),
            ("a\nb\nend", Some("a\nb\n")),
            ("a\r\nend\r\n", Some("a\r\n")),
            ("end\n", Some("")),
            ("end\nb\n", Some("")),
            ("en\nend a\n end\nbend\nend\n", Some("en\nend a\n end\nbend\n")),
            ("\n\nend\n", Some("\n\n")),
            ("", None),
            ("a\nb\n", None),
            ("a\nen", None),
            ("a end", None),
            ("end a", None),
            ("end\r\r\n", None),
        ] {
            for size in 1..=list.len().max(1) {
                let mut read = String::new();
                let result = EndLineReader::new(Pieces(list.as_bytes(), size), Some("end")).read_to_string(&mut read);
                assert_eq!(result.ok().map(|_| &*read), expected, "{list:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn lines_do_not_wait_for_the_end_and_nothing_behind_it_is_read() {
        struct Lines(Vec<&'static str>);
        impl Read for Lines {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let line = self.0.remove(0);
                buffer[..line.len()].copy_from_slice(line.as_bytes());
                Ok(line.len())
            }
        }
        // One read more would panic.
        let mut from = EndLineReader::new(Lines(vec!["a\n", "b\n", "end\n"]), Some("end"));
        let mut buffer = [0; 99];
        let mut read = || from.read(&mut buffer).expect("it can be read");
        assert_eq!([read(), read(), read(), read()], [2, 2, 0, 0]);
    }
}
