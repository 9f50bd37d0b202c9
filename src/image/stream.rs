//! Walks over a body that comes in pieces of any size.
//!
//! A [`Walker`] knows one format. It says which [`Step`] comes next, and is handed what it asked for: so many bytes
//! together after so many others, or whatever comes until it has found something. What it sees does not depend on how
//! the body was cut. Bytes are handed on as they lie in their piece wherever they are whole there; only what a piece
//! cuts in two is gathered.

use super::inspector::Unsound;
use crate::record::Measures;

/// The most that a walker asks for at once, in bytes. A block of Exif data has no more in a JPEG, whose segments state
/// their length in 16 bits, and seldom elsewhere.
pub(super) const MOST_TOGETHER: usize = 65_536;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes pass by, then so many are wanted together: [`MOST_TOGETHER`] at most, or none.
    Take {
        /// Bytes that pass by.
        after: u64,
        /// Bytes that are wanted.
        length: usize,
    },
    /// Bytes are shown as they come, until something is found among them.
    Scan,
    /// The rest tells nothing more.
    Over,
}

/// One format, seen from its beginning to its end.
pub(super) trait Walker {
    /// Where to begin.
    const START: Step;

    /// The bytes that were wanted together.
    fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound>;

    /// Bytes that pass by, in pieces as they come.
    fn pass(&mut self, _bytes: &[u8]) {}

    /// Looks for something, and tells how many of the bytes belong to the search and what comes after them.
    fn scan(&mut self, bytes: &[u8]) -> Result<(usize, Step), Unsound> {
        Ok((bytes.len(), Step::Scan))
    }

    /// What has been told so far.
    fn measures(&self) -> Measures;

    /// The body has ended with `rest`, the beginning of what was wanted together; `missing` bytes should have passed by
    /// before that. It is not called after [`Step::Over`].
    fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), Unsound>;
}

/// How far a walk has come.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    step: Step,
    gathered: Vec<u8>,
}

impl Stream {
    pub(super) const fn new(start: Step) -> Self {
        Self { step: start, gathered: Vec::new() }
    }

    /// Whether what comes now tells nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.step == Step::Over
    }

    /// The rest tells nothing more, whatever the walker thinks.
    pub(super) fn give_up(&mut self) {
        self.step = Step::Over;
        self.gathered = Vec::new();
    }

    pub(super) fn feed(&mut self, walker: &mut impl Walker, mut piece: &[u8]) -> Result<(), Unsound> {
        loop {
            match &mut self.step {
                Step::Take { after, .. } if *after > 0 => {
                    let passing = usize::try_from(*after).map_or(piece.len(), |after| after.min(piece.len()));
                    let (passed, rest) = piece.split_at(passing);
                    walker.pass(passed);
                    *after -= passing as u64;
                    piece = rest;
                    if *after > 0 {
                        return Ok(());
                    }
                }
                Step::Take { length, .. } => {
                    let missing = *length - self.gathered.len();
                    let (bytes, rest) = piece.split_at(missing.min(piece.len()));
                    piece = rest;
                    if bytes.len() < missing {
                        self.gathered.extend_from_slice(bytes);
                        return Ok(());
                    }
                    if self.gathered.is_empty() {
                        self.step = walker.take(bytes)?;
                    } else {
                        self.gathered.extend_from_slice(bytes);
                        self.step = walker.take(&self.gathered)?;
                        self.gathered.clear();
                        // Large blocks come once; their memory need not stay for as long as the body does.
                        self.gathered.shrink_to(KEPT);
                    }
                }
                Step::Scan => {
                    if piece.is_empty() {
                        return Ok(());
                    }
                    let (used, step) = walker.scan(piece)?;
                    piece = &piece[used..];
                    self.step = step;
                }
                Step::Over => return Ok(()),
            }
        }
    }

    /// Bytes of memory that are kept.
    #[cfg(test)]
    pub(super) const fn memory(&self) -> usize {
        self.gathered.capacity()
    }

    pub(super) fn end(&self, walker: &mut impl Walker) -> Result<(), Unsound> {
        match self.step {
            Step::Take { after, .. } => walker.end(&self.gathered, after),
            Step::Scan => walker.end(&[], 0),
            Step::Over => Ok(()),
        }
    }
}

/// Memory for gathering that is kept from one time to the next, in bytes.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for one thing after the other, whatever comes, and writes down what it got.
    struct Scripted {
        steps: std::slice::Iter<'static, Step>,
        taken: Vec<String>,
        passed: Vec<u8>,
    }

    impl Scripted {
        fn next(&mut self, what: String) -> Step {
            self.taken.push(what);
            self.steps.next().copied().unwrap_or(Step::Over)
        }
    }

    impl Walker for Scripted {
        const START: Step = Step::Take { after: 0, length: 2 };

        fn take(&mut self, bytes: &[u8]) -> Result<Step, Unsound> {
            if bytes == b"!!" {
                return Err(Unsound("it shouts"));
            }
            Ok(self.next(bytes.escape_ascii().to_string()))
        }

        fn pass(&mut self, bytes: &[u8]) {
            self.passed.extend_from_slice(bytes);
        }

        fn scan(&mut self, bytes: &[u8]) -> Result<(usize, Step), Unsound> {
            Ok(match bytes.iter().position(|byte| *byte == b'.') {
                Some(at) => (at + 1, self.next("found".into())),
                None => (bytes.len(), Step::Scan),
            })
        }

        fn measures(&self) -> Measures {
            Measures::default()
        }

        fn end(&mut self, rest: &[u8], missing: u64) -> Result<(), Unsound> {
            self.taken.push(format!("ended with [{}], {missing} missing", rest.escape_ascii()));
            Ok(())
        }
    }

    #[test]
    fn a_walker_sees_the_same_however_a_body_is_cut() {
        const STEPS: &[Step] = &[
            Step::Take { after: 3, length: 4 },
            Step::Take { after: 2, length: 0 },
            Step::Scan,
            Step::Take { after: 0, length: 1 },
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
                let mut walker = Scripted { steps: STEPS.iter(), taken: Vec::new(), passed: Vec::new() };
                let mut stream = Stream::new(Scripted::START);
                for piece in body.as_bytes().chunks(size) {
                    stream.feed(&mut walker, piece).expect("nobody shouts");
                }
                stream.end(&mut walker).expect("nobody shouts");
                assert_eq!(walker.taken, taken, "{body} in pieces of {size}");
                assert_eq!(walker.passed, passed.as_bytes(), "{body} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_a_walker_says_is_wrong_is_said() {
        for size in 1..=3 {
            let mut walker = Scripted { steps: [].iter(), taken: Vec::new(), passed: Vec::new() };
            let mut stream = Stream::new(Scripted::START);
            let told = b"!!!".chunks(size).try_for_each(|piece| stream.feed(&mut walker, piece));
            assert_eq!(told, Err(Unsound("it shouts")), "in pieces of {size}");
        }
    }
}
