//! Reads any list: its rows must not depend on how its bytes are cut into reads, and every line of a list must belong to
//! exactly one row.
#![no_main]

#[path = "../../tests/common/list_rows.rs"]
mod list_rows;

use std::io::{self, Read};

use arbitrary::Arbitrary;
use fetchimg::internals::input::{ListFormat, Options, rows_of};
use libfuzzer_sys::fuzz_target;
use list_rows::AnyList;

#[derive(Arbitrary, Debug)]
struct List<'a> {
    cuts: [u8; 8],
    format: u8,
    long_line: Option<(u8, u32)>,
    text: &'a [u8],
}

/// Without Parquet, because its library panics on some damaged files. A run catches the panic, but a fuzzer reports it.
const FORMATS: [Option<ListFormat>; 5] =
    [None, Some(ListFormat::Text), Some(ListFormat::Csv), Some(ListFormat::Tsv), Some(ListFormat::Jsonl)];

/// A reader that returns pieces of the sizes `cuts` times `unit`, in turn, and `Interrupted` now and then.
struct InPieces<'a> {
    bytes: &'a [u8],
    cuts: [u8; 8],
    unit: usize,
    turn: usize,
}

impl Read for InPieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let cut = self.cuts[self.turn % self.cuts.len()];
        self.turn += 1;
        if cut == 0 && self.turn % 2 == 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = usize::from(cut.max(1)).saturating_mul(self.unit).min(into.len());
        self.bytes.read(&mut into[..length])
    }
}

fuzz_target!(|list: List| {
    let mut text = list.text.to_vec();
    if let Some((byte, length)) = list.long_line {
        let middle = text.len() / 2;
        let line = std::iter::repeat_n(byte, usize::try_from(length % 200_000).expect("it is small"));
        text.splice(middle..middle, line);
    }
    // Reading a long line byte by byte would take long and test nothing new.
    let unit = if list.long_line.is_some() { 61 } else { 1 };
    let in_pieces = |bytes| InPieces { bytes, cuts: list.cuts, unit, turn: 0 };

    // A list with a sound beginning: each of its rows has a record.
    let sound = AnyList::new(list.format, &text);
    sound.check(&rows_of(in_pieces(&sound.bytes), "list", &sound.options).expect("a list"));

    if text.starts_with(b"PAR1") {
        return;
    }
    // Any bytes: the same rows, or the same error, however they are cut.
    let format = FORMATS[usize::from(list.format) % FORMATS.len()];
    let options = Options { format, checksum_column: None, ..Options::default() };
    let whole = rows_of(text.as_slice(), "list", &options);
    let pieces = rows_of(in_pieces(&text), "list", &options);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    for (index, row) in (0_u64..).zip(whole.iter().flatten()) {
        match row {
            Ok(job) => {
                assert_eq!(job.index, index);
                assert!(matches!(job.url.scheme(), "http" | "https") && job.url.has_host());
            }
            Err(record) => {
                assert_eq!(record.index, index);
                assert!(!record.url.chars().any(char::is_control), "{record:?}");
                assert!(record.url.len() < 10_000, "{} bytes of a bad line are shown", record.url.len());
            }
        }
    }
});
