//! Drives a format parser over a body that comes in pieces of any size.
//!
//! A [`FormatParser`] knows one format. It names its next [`ParseStep`] and is handed what that asks for: a number of
//! bytes in one slice after a number of skipped ones, or all bytes as they come until it has found what it searches.
//! The result does not depend on how the body was cut. Slices point into the piece wherever possible; only what a cut
//! divides is copied into a buffer.

use super::types::CorruptImage;
use crate::record::Measures;

/// The longest slice that a parser may ask for, in bytes. Exif blocks fit: in a JPEG, segments state their length in 16
/// bits, and in other formats the blocks are seldom longer.
pub(super) const MAX_TAKE_BYTES: usize = 65_536;

/// What a parser wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParseStep {
    /// Skip bytes, then hand over the following ones in one slice.
    Take {
        /// Bytes to skip; [`FormatParser::pass`] sees them.
        skip: u64,
        /// Length of the slice in bytes: from 0 to [`MAX_TAKE_BYTES`].
        length: usize,
    },
    /// Hand over all bytes as they come, until the parser has found what it searches.
    Scan,
    /// Nothing more is to be read.
    Done,
}

/// A push parser of one format.
pub(super) trait FormatParser {
    /// The first step.
    const START: ParseStep;

    /// Takes the slice that [`ParseStep::Take`] asked for.
    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage>;

    /// Sees the skipped bytes, in pieces as they come.
    fn pass(&mut self, _bytes: &[u8]) {}

    /// Searches the bytes during [`ParseStep::Scan`]. Returns the number of bytes used and the next step.
    fn scan(&mut self, bytes: &[u8]) -> Result<(usize, ParseStep), CorruptImage> {
        Ok((bytes.len(), ParseStep::Scan))
    }

    /// Size, frames and orientation as far as known.
    fn measures(&self) -> Measures;

    /// What is wrong with the image unless it can be decoded: nothing that is seen may be missing.
    fn doubt(&self) -> Option<CorruptImage> {
        None
    }

    /// Judges a body that ended before [`ParseStep::Done`]. `rest` is the available part of the slice that was asked
    /// for, `missing` the number of bytes that were still to be skipped before it.
    fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), CorruptImage>;
}

/// Position of a parser in a body.
#[derive(Clone, Debug)]
pub(super) struct ParserDriver {
    step: ParseStep,
    buffer: Vec<u8>,
}

impl ParserDriver {
    pub(super) const fn new(start: ParseStep) -> Self {
        Self { step: start, buffer: Vec::new() }
    }

    /// Whether the parser needs no more bytes.
    pub(super) fn is_done(&self) -> bool {
        self.step == ParseStep::Done
    }

    /// Ends parsing: further bytes are ignored.
    pub(super) fn stop(&mut self) {
        self.step = ParseStep::Done;
        self.buffer = Vec::new();
    }

    pub(super) fn feed(&mut self, parser: &mut impl FormatParser, mut piece: &[u8]) -> Result<(), CorruptImage> {
        loop {
            match &mut self.step {
                ParseStep::Take { skip, .. } if *skip > 0 => {
                    let passing = usize::try_from(*skip).map_or(piece.len(), |skip| skip.min(piece.len()));
                    let (passed, rest) = piece.split_at(passing);
                    parser.pass(passed);
                    *skip -= passing as u64;
                    piece = rest;
                    if *skip > 0 {
                        return Ok(());
                    }
                }
                ParseStep::Take { length, .. } => {
                    let missing = *length - self.buffer.len();
                    let (bytes, rest) = piece.split_at(missing.min(piece.len()));
                    piece = rest;
                    if bytes.len() < missing {
                        self.buffer.extend_from_slice(bytes);
                        return Ok(());
                    }
                    if self.buffer.is_empty() {
                        self.step = parser.take(bytes)?;
                    } else {
                        self.buffer.extend_from_slice(bytes);
                        self.step = parser.take(&self.buffer)?;
                        self.buffer.clear();
                        // A large block comes once; its memory need not be kept until the body ends.
                        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
                    }
                }
                ParseStep::Scan => {
                    if piece.is_empty() {
                        return Ok(());
                    }
                    let (used, step) = parser.scan(piece)?;
                    piece = &piece[used..];
                    self.step = step;
                }
                ParseStep::Done => return Ok(()),
            }
        }
    }

    /// Bytes of memory in use.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    pub(super) fn end(&self, parser: &mut impl FormatParser) -> Result<(), CorruptImage> {
        match self.step {
            ParseStep::Take { skip, .. } => parser.end(&self.buffer, skip),
            ParseStep::Scan => parser.end(&[], 0),
            ParseStep::Done => Ok(()),
        }
    }
}

/// Buffer capacity that is kept from one slice to the next, in bytes.
const KEPT_BUFFER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes fixed steps, whatever the bytes are, and logs what it was handed.
    struct ScriptedParser {
        steps: std::slice::Iter<'static, ParseStep>,
        taken: Vec<String>,
        passed: Vec<u8>,
    }

    impl ScriptedParser {
        fn next(&mut self, what: String) -> ParseStep {
            self.taken.push(what);
            self.steps.next().copied().unwrap_or(ParseStep::Done)
        }
    }

    impl FormatParser for ScriptedParser {
        const START: ParseStep = ParseStep::Take { skip: 0, length: 2 };

        fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage> {
            if bytes == b"!!" {
                return Err(CorruptImage("it shouts"));
            }
            Ok(self.next(bytes.escape_ascii().to_string()))
        }

        fn pass(&mut self, bytes: &[u8]) {
            self.passed.extend_from_slice(bytes);
        }

        fn scan(&mut self, bytes: &[u8]) -> Result<(usize, ParseStep), CorruptImage> {
            Ok(match bytes.iter().position(|byte| *byte == b'.') {
                Some(at) => (at + 1, self.next("found".into())),
                None => (bytes.len(), ParseStep::Scan),
            })
        }

        fn measures(&self) -> Measures {
            Measures::default()
        }

        fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), CorruptImage> {
            self.taken.push(format!("ended with [{}], {missing} missing", rest.escape_ascii()));
            Ok(())
        }
    }

    #[test]
    fn a_parser_sees_the_same_however_a_body_is_cut() {
        const STEPS: &[ParseStep] = &[
            ParseStep::Take { skip: 3, length: 4 },
            ParseStep::Take { skip: 2, length: 0 },
            ParseStep::Scan,
            ParseStep::Take { skip: 0, length: 1 },
        ];
        let table: [(&str, &[&str], &str); 9] = [
            ("ab---cdef--ghi.jklm", &["ab", "cdef", "", "found", "j"], "-----"),
            ("ab---cdef--ghi.", &["ab", "cdef", "", "found", "ended with [], 0 missing"], "-----"),
            ("ab---cdef--ghi", &["ab", "cdef", "", "ended with [], 0 missing"], "-----"),
            ("ab---cdef--", &["ab", "cdef", "", "ended with [], 0 missing"], "-----"),
            ("ab---cdef-", &["ab", "cdef", "ended with [], 1 missing"], "----"),
            ("ab---cde", &["ab", "ended with [cde], 0 missing"], "---"),
            ("ab-", &["ab", "ended with [], 2 missing"], "-"),
            ("a", &["ended with [a], 0 missing"], ""),
            ("", &["ended with [], 0 missing"], ""),
        ];
        for (body, taken, passed) in table {
            for size in 1..=body.len().max(1) {
                let mut parser = ScriptedParser { steps: STEPS.iter(), taken: Vec::new(), passed: Vec::new() };
                let mut driver = ParserDriver::new(ScriptedParser::START);
                for piece in body.as_bytes().chunks(size) {
                    driver.feed(&mut parser, piece).expect("nothing is wrong");
                }
                driver.end(&mut parser).expect("nothing is wrong");
                assert_eq!(parser.taken, taken, "{body} in pieces of {size}");
                assert_eq!(parser.passed, passed.as_bytes(), "{body} in pieces of {size}");
            }
        }
    }

    #[test]
    fn an_error_of_a_parser_is_passed_on() {
        for size in 1..=3 {
            let mut parser = ScriptedParser { steps: [].iter(), taken: Vec::new(), passed: Vec::new() };
            let mut driver = ParserDriver::new(ScriptedParser::START);
            let result = b"!!!".chunks(size).try_for_each(|piece| driver.feed(&mut parser, piece));
            assert_eq!(result, Err(CorruptImage("it shouts")), "in pieces of {size}");
        }
    }
}
