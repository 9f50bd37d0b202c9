//! What has been done, on disk: one JSON record per line, appended, never changed.
//!
//! The journal answers two questions for each row of the list: has this run met the URL before, and has an earlier run
//! saved it? For each URL it keeps 8 bytes of its hash and the place of its record in the file; everything else is read
//! back when it is asked for, and compared in full, so two URLs with one hash are still two URLs.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::RunError;
use crate::job::{Record, url_hash, without_fragment};
use crate::shown::masked;

/// So much is noted before it is written, if nobody asks for it earlier.
const BUFFER: usize = 64 * 1024;

/// What a URL is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u64);

/// The records of a folder, and which URLs they are about.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Lines that are not in the file yet.
    unwritten: Vec<u8>,
    /// The length of the file without them.
    written: u64,
    known: HashMap<Key, Known>,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    /// An earlier run saved it; the record begins there.
    Earlier(u64),
    /// This run has met it and it is under way.
    UnderWay,
    /// This run is done with it; the record begins there.
    Done(u64),
}

/// What is known of a URL when a row names it.
#[derive(Debug, PartialEq)]
pub enum Met {
    /// This run sees it for the first time. Perhaps an earlier one saved it.
    First(Option<Stored>),
    /// An earlier row of this list names it, and is under way.
    UnderWay,
    /// An earlier row of this list names it; the file that came of it, if one did.
    Done(Option<String>),
}

/// A file that a record speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Relative to the output folder.
    pub path: String,
    /// Its size when it was stored.
    pub bytes: u64,
}

/// A record read back.
enum Found {
    /// It is about the URL, and names this file.
    Same(Option<Stored>),
    /// It is about another one with the same hash.
    Other,
}

/// The fields of a record that matter here.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    url_hash: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    path: Option<Cow<'a, str>>,
    #[serde(default)]
    bytes: u64,
}

impl Line<'_> {
    fn key(&self) -> Key {
        let text = self.url_hash.as_deref().unwrap_or_else(|| self.url.split('#').next().unwrap_or_default());
        Key(xxh3_64(text.as_bytes()))
    }

    fn is_about(&self, url: &Url) -> bool {
        match &self.url_hash {
            Some(hash) => *hash == url_hash(url),
            None => self.url.split('#').next() == Some(without_fragment(url)),
        }
    }
}

impl Key {
    /// The key of a URL, the same as its record's: records show secrets masked and carry a hash instead.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        Self(match masked(url) {
            Cow::Borrowed(_) => xxh3_64(without_fragment(url).as_bytes()),
            Cow::Owned(_) => xxh3_64(url_hash(url).as_bytes()),
        })
    }
}

impl Journal {
    /// Opens the journal and reads what earlier runs have saved; `saved` is told each file of theirs. Lines that are
    /// no records (the last one of a run that was killed) are passed over.
    pub fn open(path: &Path, mut saved: impl FnMut(&str)) -> Result<Self, RunError> {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        let file = OpenOptions::new().create(true).append(true).read(true).open(path).map_err(fail)?;
        let mut known = HashMap::new();
        let mut written = 0;
        let mut torn = false;
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(fail)?;
            if length == 0 {
                break;
            }
            torn = line.last() != Some(&b'\n');
            if let Ok(record) = serde_json::from_slice::<Line>(&line)
                && let (true, Some(path)) = (record.status == "saved", &record.path)
            {
                saved(path);
                known.insert(record.key(), Known::Earlier(written));
            }
            written += length as u64;
        }
        let unwritten = if torn { b"\n".to_vec() } else { Vec::new() };
        Ok(Self { path: path.to_owned(), file, unwritten, written, known })
    }

    /// What is known of the URL of a row. From now on this run has met it.
    pub fn meet(&mut self, url: &Url) -> Result<Met, RunError> {
        let key = Key::of(url);
        let place = match self.known.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(Known::UnderWay);
                return Ok(Met::First(None));
            }
            Entry::Occupied(known) => *known.get(),
        };
        Ok(match place {
            Known::UnderWay => Met::UnderWay,
            Known::Done(at) => match self.read(at, url)? {
                Found::Same(stored) => Met::Done(stored.map(|stored| stored.path)),
                Found::Other => Met::First(None),
            },
            Known::Earlier(at) => match self.read(at, url)? {
                Found::Same(stored) => {
                    self.known.insert(key, Known::UnderWay);
                    Met::First(stored)
                }
                Found::Other => Met::First(None),
            },
        })
    }

    /// The record that begins at `at`, if it is about this URL.
    fn read(&mut self, at: u64, url: &Url) -> Result<Found, RunError> {
        if at >= self.written {
            self.write()?;
        }
        let mut line = Vec::with_capacity(512);
        let read = self
            .file
            .seek(SeekFrom::Start(at))
            .and_then(|_| BufReader::with_capacity(1024, Read::by_ref(&mut self.file)).read_until(b'\n', &mut line));
        read.map_err(|source| self.failed(source))?;
        Ok(match serde_json::from_slice::<Line>(&line) {
            Ok(found) if found.is_about(url) => {
                let bytes = found.bytes;
                Found::Same(found.path.map(|path| Stored { path: path.into_owned(), bytes }))
            }
            _ => Found::Other,
        })
    }

    /// Notes a record. With `key`, it is what this run has to say about that URL.
    pub fn note(&mut self, record: &Record, key: Option<Key>) -> Result<(), RunError> {
        let at = self.written + self.unwritten.len() as u64;
        serde_json::to_writer(&mut self.unwritten, record).map_err(|error| self.failed(error.into()))?;
        self.unwritten.push(b'\n');
        if let Some(key) = key {
            self.known.insert(key, Known::Done(at));
        }
        if self.unwritten.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    /// Writes what has been noted. Until then a crash forgets it, which costs a look at a file that is there already.
    pub fn write(&mut self) -> Result<(), RunError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        // The file is open for appending: wherever reading has been, this goes to the end.
        self.file.write_all(&self.unwritten).map_err(|source| self.failed(source))?;
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes what has been written survive a loss of power.
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    /// Begins another pass over the list: what this run has done counts as done by an earlier one.
    pub fn begin_pass(&mut self) {
        self.known.retain(|_, known| !matches!(known, Known::UnderWay));
        for known in self.known.values_mut() {
            if let Known::Done(at) = *known {
                *known = Known::Earlier(at);
            }
        }
    }

    fn failed(&self, source: io::Error) -> RunError {
        RunError::Output { path: self.path.clone(), source }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Only when a run is left at once is there anything left to write, and nobody to tell if it fails.
        let _ = self.write();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::job::{Job, Outcome, Reason, Saved, Skipped, Timing};

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn saved(url: &Url, path: &str) -> Record {
        let saved = Saved {
            path: path.into(),
            bytes: 5,
            format: None,
            content_type: None,
            http_status: 200,
            final_url: masked(url).into_owned(),
            attempts: 1,
            resumed_from: 0,
            timing: Timing { start_ms: 0.0, ttfb_ms: None, total_ms: 0.0 },
            extension_mismatch: false,
        };
        Record::of(&Job { index: 0, url: url.clone() }, Outcome::Saved(saved))
    }

    #[test]
    fn what_was_saved_is_known_to_the_next_run_and_met_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let one = url("https://a.example/1.png#x");
        let signed = url("https://a.example/2.png?sig=secret");
        let mut journal = Journal::open(&path, |_| panic!("there is nothing yet")).expect("open");
        for (url, name) in [(&one, "1.png"), (&signed, "2.png")] {
            assert_eq!(journal.meet(url).expect("meet"), Met::First(None));
            assert_eq!(journal.meet(url).expect("meet"), Met::UnderWay);
            journal.note(&saved(url, name), Some(Key::of(url))).expect("note");
            assert_eq!(journal.meet(url).expect("meet"), Met::Done(Some(name.into())));
        }
        journal.write().expect("write");
        drop(journal);
        assert!(!fs::read_to_string(&path).expect("read").contains("secret"));

        let mut names = Vec::new();
        let mut journal = Journal::open(&path, |name| names.push(name.to_owned())).expect("open");
        assert_eq!(names, ["1.png", "2.png"]);
        let stored = |path: &str| Met::First(Some(Stored { path: path.into(), bytes: 5 }));
        assert_eq!(journal.meet(&url("https://a.example/1.png")).expect("meet"), stored("1.png"));
        assert_eq!(journal.meet(&one).expect("meet"), Met::UnderWay);
        assert_eq!(journal.meet(&signed).expect("meet"), stored("2.png"));
        assert_eq!(journal.meet(&url("https://a.example/2.png?sig=other")).expect("meet"), Met::First(None));
    }

    #[test]
    fn a_torn_last_line_harms_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let whole = serde_json::to_string(&saved(&one, "1.png")).expect("JSON");
        fs::write(&path, format!("{whole}\n\u{0}garbage\n{}", &whole[..40])).expect("write");
        let mut journal = Journal::open(&path, |_| {}).expect("open");
        journal.note(&saved(&two, "2.png"), Some(Key::of(&two))).expect("note");
        journal.write().expect("write");
        let mut journal = Journal::open(&path, |_| {}).expect("open");
        for (url, name) in [(&one, "1.png"), (&two, "2.png")] {
            assert_eq!(journal.meet(url).expect("meet"), Met::First(Some(Stored { path: name.into(), bytes: 5 })));
        }
    }

    #[test]
    fn two_urls_with_one_hash_are_two_urls() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let mut journal = Journal::open(&folder.path().join("m"), |_| {}).expect("open");
        // As if the hashes were the same.
        journal.note(&saved(&one, "1.png"), Some(Key::of(&two))).expect("note");
        assert_eq!(journal.meet(&two).expect("meet"), Met::First(None));
    }

    #[test]
    fn a_second_pass_begins_afresh_and_keeps_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = url("https://a.example/1.png");
        let mut journal = Journal::open(&folder.path().join("m"), |_| {}).expect("open");
        journal.meet(&one).expect("meet");
        journal.note(&saved(&one, "1.png"), Some(Key::of(&one))).expect("note");
        journal.begin_pass();
        assert!(matches!(journal.meet(&one).expect("meet"), Met::First(Some(_))));
        let skipped = Outcome::Skipped(Skipped { reason: Reason::AlreadySaved, path: Some("1.png".into()) });
        let record = Record::of(&Job { index: 0, url: one.clone() }, skipped);
        journal.note(&record, Some(Key::of(&one))).expect("note");
        assert_eq!(journal.meet(&one).expect("meet"), Met::Done(Some("1.png".into())));
    }
}
