//! Writes and reads any record, which must stay the same, and opens a journal of any bytes, which must be repaired at
//! the first time and stay unchanged at the second.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use fetchimg::internals::record::{Digests, Format, Extra, Failed, Measures, Outcome, Reason, Record, Saved, Skipped, Timing, is_plain_path, milliseconds};
use fetchimg::internals::journal::{Journal, RowIdentity};
use fetchimg::internals::util::redact;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    index: u64,
    texts: [&'a str; 4],
    given: [bool; 3],
    numbers: [u32; 4],
    http_status: u16,
    kind: u8,
    /// What else is in the journal.
    journal: &'a [u8],
}

fn record(input: &Input) -> Record {
    let [url, message, path, other] = input.texts.map(str::to_owned);
    let [first, second, third] = input.given;
    let [start, wait, bytes, attempts] = input.numbers;
    let time = |micros: u32| milliseconds(Duration::from_micros(micros.into()));
    let timing = Timing {
        start_ms: time(start),
        ttfb_ms: second.then(|| time(wait)),
        waited_ms: second.then(|| time(start)),
        total_ms: time(wait),
    };
    let outcome = match input.kind % 3 {
        0 => Outcome::Saved(Saved {
            path,
            bytes: bytes.into(),
            format: Format::ALL.get(usize::from(input.kind / 3)).copied(),
            measures: Measures::default(),
            content_type: first.then(|| message.clone()),
            http_status: input.http_status,
            final_url: message,
            attempts,
            resumed_from: start.into(),
            timing,
            exif: serde_json::Map::new(),
            digests: Digests::default(),
            phash: None,
            original: None,
            same_as: None,
            extension_mismatch: third,
            made_with: fetchimg::MadeWith::default(),
            from_earlier_run: 0,
        }),
        1 => Outcome::Failed(Failed {
            error: other.clone(),
            http_status: first.then_some(input.http_status),
            message,
            retryable: second,
            attempts,
            timing: third.then_some(timing),
            ends_run: false,
        }),
        _ => {
            let reasons = [Reason::AlreadySaved, Reason::DuplicateUrl, Reason::FileExists, Reason::DuplicateContent];
            let reason = reasons[usize::from(input.kind / 3 % 4)];
            Outcome::Skipped(Skipped { bytes: second.then_some(input.index), ..Skipped::new(reason, first.then_some(path)) })
        }
    };
    Record { index: input.index, url, url_hash: third.then_some(other), outcome, extra: Extra::default() }
}

fuzz_target!(|input: Input| {
    let record = record(&input);
    let line = redact::json(&record, false).expect("a record is JSON");
    assert!(!line.contains(&b'\n'), "a record is one line");
    let text = std::str::from_utf8(&line).expect("JSON is text");
    assert!(!text.chars().any(redact::needs_escaping), "{text}");
    assert_eq!(serde_json::from_slice::<Record>(&line).expect("a record"), record);
    // Any bytes in a journal are parsed as a record or skipped.
    let _ = serde_json::from_slice::<Record>(input.journal);

    let folder = tempfile::tempdir_in(if cfg!(target_os = "linux") { "/dev/shm" } else { "." }).expect("a folder");
    let path = folder.path().join("journal.jsonl");
    let cut = line.len() * usize::from(input.kind) / 255;
    let bytes = [&line, b"\n".as_slice(), input.journal, b"\n", &line[..cut]].concat();
    std::fs::write(&path, bytes).expect("a file");
    let open = || {
        let mut files = Vec::new();
        drop(Journal::open(&path, RowIdentity::Url, |naming| {
            files.extend(naming.own_file().map(|file| file.path.to_owned()));
        }).expect("a journal"));
        (files, std::fs::read(&path).expect("a file"))
    };
    let (files, mended) = open();
    assert!(files.iter().all(|file| is_plain_path(file)), "{files:?}");
    if let Outcome::Saved(saved) = &record.outcome {
        assert_eq!(files.first() == Some(&saved.path), is_plain_path(&saved.path), "{files:?}");
    }
    assert!(mended.last() == Some(&b'\n') || mended.is_empty());
    assert_eq!(open(), (files, mended), "there is nothing left to mend");
});
