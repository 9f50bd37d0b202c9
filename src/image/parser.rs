//! Walks over a body that comes in pieces of any size.
//!
//! A [`FormatParser`] knows one format. It says which [`ParseStep`] comes next, and is handed what it asked for: so many bytes
//! together after so many others, or whatever comes until it has found something. What it sees does not depend on how
//! the body was cut. Bytes are handed on as they lie in their piece wherever they are whole there; only what a piece
//! cuts in two is gathered.

use super::types::CorruptImage;
use crate::record::Measures;

/// The most that a parser asks for at once, in bytes. A block of Exif data has no more in a JPEG, whose segments state
/// their length in 16 bits, and seldom elsewhere.
pub(super) const MAX_TAKE_BYTES: usize = 65_536;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParseStep {
    /// So many bytes pass by, then so many are wanted together: [`MAX_TAKE_BYTES`] at most, or none.
    Take {
        /// Bytes that pass by.
        skip: u64,
        /// Bytes that are wanted.
        length: usize,
    },
    /// Bytes are shown as they come, until something is found among them.
    Scan,
    /// The rest tells nothing more.
    Done,
}

/// One format, seen from its beginning to its end.
pub(super) trait FormatParser {
    /// Where to begin.
    const START: ParseStep;

    /// The bytes that were wanted together.
    fn take(&mut self, bytes: &[u8]) -> Result<ParseStep, CorruptImage>;

    /// Bytes that pass by, in pieces as they come.
    fn pass(&mut self, _bytes: &[u8]) {}

    /// Looks for something, and tells how many of the bytes belong to the search and what comes after them.
    fn scan(&mut self, bytes: &[u8]) -> Result<(usize, ParseStep), CorruptImage> {
        Ok((bytes.len(), ParseStep::Scan))
    }

    /// What has been told so far.
    fn measures(&self) -> Measures;

    /// The body has ended with `rest`, the beginning of what was wanted together; `missing` bytes should have passed by
    /// before that. It is not called after [`ParseStep::Done`].
    fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), CorruptImage>;
}

/// How far a walk has come.
#[derive(Clone, Debug)]
pub(super) struct ParserDriver {
    step: ParseStep,
    buffer: Vec<u8>,
}

impl ParserDriver {
    pub(super) const fn new(start: ParseStep) -> Self {
        Self { step: start, buffer: Vec::new() }
    }

    /// Whether what comes now tells nothing more.
    pub(super) fn is_done(&self) -> bool {
        self.step == ParseStep::Done
    }

    /// The rest tells nothing more, whatever the parser thinks.
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
                        // Large blocks come once; their memory need not stay for as long as the body does.
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

    /// Bytes of memory that are kept.
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

/// Memory for gathering that is kept from one time to the next, in bytes.
const KEPT_BUFFER_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for one thing after the other, whatever comes, and writes down what it got.
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
                    driver.feed(&mut parser, piece).expect("nobody shouts");
                }
                driver.end(&mut parser).expect("nobody shouts");
                assert_eq!(parser.taken, taken, "{body} in pieces of {size}");
                assert_eq!(parser.passed, passed.as_bytes(), "{body} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_a_parser_says_is_wrong_is_said() {
        for size in 1..=3 {
            let mut parser = ScriptedParser { steps: [].iter(), taken: Vec::new(), passed: Vec::new() };
            let mut driver = ParserDriver::new(ScriptedParser::START);
            let told = b"!!!".chunks(size).try_for_each(|piece| driver.feed(&mut parser, piece));
            assert_eq!(told, Err(CorruptImage("it shouts")), "in pieces of {size}");
        }
    }
}
