//! What has been done, on disk: one JSON record per line, appended, never changed.
//!
//! The journal answers two questions for each row of the list: has this run met the URL before, and has an earlier run
//! saved it? For each URL it keeps 8 bytes of hash, of which one is not stored, and in 6 more the place of its record in
//! the file; everything else is read back when it is asked for, and compared in full, so two URLs with one hash are
//! still two URLs. (While both are under way there is nothing to compare yet; the hash is keyed anew in every run, so
//! that nobody can arrange that.)
//!
//! With `--keep-duplicates` the second question alone is left, for a row is known by its URL and its number, and each is
//! met once. Then nothing has to be kept of rows that no earlier run has saved.

mod known;
mod line;
pub mod manifest;

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub use self::known::Key;
use self::known::{Known, Place, Standing};
use self::line::{Line, other_digest};
use crate::record::{Job, Outcome, Reason, Record, RunError, recorded, without_fragment};
use crate::util::private_file;

/// So much is noted before it is written, if nobody asks for it earlier.
const BUFFER: usize = 64 * 1024;

/// Which rows are one to the journal, in this run and across runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Those with the same URL: it is fetched once.
    Url,
    /// None but the row of that number with the same URL in another run (`--keep-duplicates`).
    Row {
        /// Whether there are more passes over the list than one, which meet the same rows.
        again: bool,
    },
}

/// The records of a folder, and which rows they are about.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What is only looked at ([`Journal::apart`]).
    apart_from: Option<EarlierLines>,
    /// Where lines are written. Apart from the folder it is a temporary file, which is made when there is something to write.
    file: Option<File>,
    /// Lines that are not in the file yet.
    unwritten: Vec<u8>,
    /// The length of the file without them.
    written: u64,
    known_by: KnownBy,
    known: Known,
    hasher: RandomState,
}

/// What earlier runs have written, where it stays as it is. Places of later lines begin at its end.
#[derive(Debug)]
struct EarlierLines {
    /// `None`: there is no journal yet.
    file: Option<File>,
    length: u64,
}

/// What is known of a row when its turn comes.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    /// This run sees it for the first time. Perhaps an earlier one saved it.
    New(Option<StoredFile>),
    /// An earlier row of this list names it, and is under way.
    InFlight,
    /// An earlier row of this list names it; the file that came of it, if one did.
    Done(Option<StoredFile>),
}

/// A file that a record speaks of.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredFile {
    /// Relative to the output folder.
    pub path: String,
    /// Its size when it was stored.
    pub bytes: u64,
    /// It was stored for this row, and not for another one with the same content.
    pub is_own: bool,
    /// The digest of what came, where the row asks for another one.
    pub other_digest: Option<String>,
}

/// A file that an earlier run has saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier<'a> {
    /// Relative to the output folder.
    pub path: &'a str,
    /// Its digest, where the record has it.
    pub sha256: Option<&'a str>,
}

/// A file that was taken in: see [`Journal::adopt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopted<'a> {
    /// Relative to the output folder.
    pub path: String,
    /// Its digest, where the record has it.
    pub sha256: Option<Cow<'a, str>>,
}

/// A record read back.
enum Found {
    /// It is about the URL, and names this file.
    Same(Option<StoredFile>),
    /// It is about another one with the same hash.
    Other,
}

/// How a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With a record.
    Whole,
    /// With part of one.
    Torn,
}

impl Journal {
    /// Opens the journal and reads what earlier runs have saved; `saved` is told each file of theirs. Lines that are
    /// no records are passed over, and the last one of a run that was killed is cut off.
    pub fn open(path: &Path, known_by: KnownBy, mut saved: impl FnMut(Earlier)) -> Result<Self, RunError> {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        let file = private_file::open(OpenOptions::new().create(true).append(true).read(true), path).map_err(fail)?;
        let mut journal = Self::new(path, known_by);
        if journal.take_in(&file, &mut saved).map_err(fail)? == End::Torn {
            file.set_len(journal.written).map_err(fail)?;
        }
        journal.file = Some(file);
        Ok(journal)
    }

    /// The journal of a folder that is only looked at: nothing is made or changed there, and what is noted goes into a
    /// temporary file.
    pub fn apart(path: &Path, known_by: KnownBy, mut saved: impl FnMut(Earlier)) -> Result<Self, RunError> {
        let fail = |source| RunError::Output { path: path.to_owned(), source };
        let mut journal = Self::new(path, known_by);
        let file = match private_file::open(OpenOptions::new().read(true), path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(fail)?),
        };
        if let Some(file) = &file {
            journal.take_in(file, &mut saved).map_err(fail)?;
        }
        journal.apart_from = Some(EarlierLines { file, length: journal.written });
        Ok(journal)
    }

    fn new(path: &Path, known_by: KnownBy) -> Self {
        Self {
            path: path.to_owned(),
            apart_from: None,
            file: None,
            unwritten: Vec::new(),
            written: 0,
            known_by,
            known: Known::default(),
            hasher: RandomState::new(),
        }
    }

    /// Reads what earlier runs have written.
    fn take_in(&mut self, file: &File, saved: &mut impl FnMut(Earlier)) -> io::Result<End> {
        let mut reader = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            let record = serde_json::from_slice::<Line>(&line);
            if let Ok(record) = &record
                && let (is_own, Some(path)) = (record.status == "saved", record.plain_path())
                && (is_own || record.is_of_another())
            {
                if is_own {
                    saved(Earlier { path, sha256: record.sha256.as_deref() });
                }
                let key = key_of(&self.hasher, self.known_by, record.name(), record.index);
                // A file of its own is not forgotten for another row's.
                if is_own || self.known.get(key).is_none() {
                    self.known.set(key, Standing::Earlier(Place::at(self.written)));
                }
            }
            if line.last() != Some(&b'\n') {
                // The end, or a line that was not finished: all of it but the line feed, or less.
                if record.is_ok() {
                    self.written += length as u64;
                    self.unwritten.push(b'\n');
                }
                return Ok(if record.is_err() && length > 0 { End::Torn } else { End::Whole });
            }
            self.written += length as u64;
        }
    }

    /// Takes in the record of a file that appeared just before a run was killed, unless the journal has it already.
    /// `is_there` is asked whether the file still is.
    ///
    /// Its file, if it was taken in.
    pub fn adopt<'a>(&mut self, line: &'a [u8]) -> Result<Option<Adopted<'a>>, RunError> {
        let Ok(record) = serde_json::from_slice::<Line>(line) else { return Ok(None) };
        let Some(path) = record.plain_path().filter(|_| record.status == "saved") else { return Ok(None) };
        let key = key_of(&self.hasher, self.known_by, record.name(), record.index);
        if let Some(Standing::Earlier(place)) = self.known.get(key) {
            let earlier = self.line(place)?;
            let says_the_same = serde_json::from_slice::<Line>(&earlier).is_ok_and(|earlier| {
                (&*earlier.status, earlier.plain_path(), earlier.bytes) == ("saved", Some(path), record.bytes)
            });
            if says_the_same {
                return Ok(None);
            }
        }
        self.known.set(key, Standing::Earlier(Place::at(self.written + self.unwritten.len() as u64)));
        self.unwritten.extend_from_slice(line);
        self.unwritten.push(b'\n');
        Ok(Some(Adopted { path: path.to_owned(), sha256: record.sha256 }))
    }

    /// The key of a row, the same as its record's: records show secrets redacted and carry a hash instead.
    #[must_use]
    pub fn key(&self, job: &Job) -> Key {
        match recorded(&job.url) {
            (_, Some(hash)) => key_of(&self.hasher, self.known_by, &hash, job.index),
            (_, None) => key_of(&self.hasher, self.known_by, without_fragment(&job.url), job.index),
        }
    }

    /// What is known of a row. From now on this pass has met it.
    pub fn meet(&mut self, key: Key, job: &Job) -> Result<Lookup, RunError> {
        Ok(match self.known.get(key) {
            None => {
                if self.remembers() {
                    self.known.set(key, Standing::InFlight(None));
                }
                Lookup::New(None)
            }
            Some(Standing::InFlight(_)) => Lookup::InFlight,
            Some(Standing::Done(place, _)) => match self.read(place, job)? {
                Found::Same(stored) => Lookup::Done(stored),
                Found::Other => Lookup::New(None),
            },
            Some(Standing::Earlier(place)) => match self.read(place, job)? {
                Found::Same(stored) => {
                    self.known.set(key, Standing::InFlight(Some(place)));
                    Lookup::New(stored)
                }
                Found::Other => Lookup::New(None),
            },
        })
    }

    /// Whether a row may be met again that nobody has saved before.
    fn remembers(&self) -> bool {
        self.known_by != KnownBy::Row { again: false }
    }

    /// The record in that place, if it is about this row.
    fn read(&mut self, place: Place, job: &Job) -> Result<Found, RunError> {
        let line = self.line(place)?;
        // What is foreseen was written a moment ago, and no file is opened by a name that may still have holes.
        let is_foreseen = self.apart_from.as_ref().is_some_and(|earlier| place.0 >= earlier.length);
        Ok(match serde_json::from_slice::<Line>(&line) {
            Ok(found) if found.is_about(job, self.known_by) => {
                let (bytes, is_own) = (found.bytes, !found.is_of_another());
                let other_digest = job.checksum.as_deref().and_then(|checksum| other_digest(&line, checksum));
                let path = if is_foreseen { found.path.as_deref() } else { found.plain_path() };
                Found::Same(path.map(|path| StoredFile { path: path.to_owned(), bytes, is_own, other_digest }))
            }
            _ => Found::Other,
        })
    }

    /// The line that begins in that place, without its line feed.
    fn line(&mut self, Place(at): Place) -> Result<Vec<u8>, RunError> {
        if at >= self.written {
            self.write()?;
        }
        let mut line = Vec::with_capacity(512);
        let (file, offset) = match &mut self.apart_from {
            Some(EarlierLines { file, length }) if at < *length => (file, at),
            Some(EarlierLines { length, .. }) => (&mut self.file, at - *length),
            None => (&mut self.file, at),
        };
        let read = match file {
            Some(file) => file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| BufReader::with_capacity(1024, Read::by_ref(file)).read_until(b'\n', &mut line)),
            // Nothing was ever written.
            None => Ok(0),
        };
        read.map_err(|source| self.failed(source))?;
        line.pop_if(|last| *last == b'\n');
        Ok(line)
    }

    /// Notes a record. With `key`, it is what this pass has to say about the row.
    ///
    /// `line` is the record as JSON.
    pub fn note(&mut self, record: &Record, line: &[u8], key: Option<Key>) -> Result<(), RunError> {
        let place = self.add(line);
        if let Some(key) = key.filter(|_| self.remembers()) {
            let before = match self.known.get(key) {
                Some(Standing::InFlight(before)) => before,
                _ => None,
            };
            let standing = match &record.outcome {
                Outcome::Saved(_) => Standing::Done(place, Some(place)),
                // This record has no size; the one before has.
                Outcome::Skipped(skipped) if skipped.reason == Reason::AlreadySaved => {
                    Standing::Done(before.unwrap_or(place), before)
                }
                // What was saved before is still there when fetching it again has failed.
                Outcome::Skipped(_) | Outcome::Failed(_) => Standing::Done(place, before),
            };
            self.known.set(key, standing);
        }
        if self.unwritten.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    /// Notes what would become of a row, for later rows with the same URL. Not a record: `line` is JSON that has its fields
    /// `url`, `url_hash`, `index` and `path` all the same.
    pub fn foresee(&mut self, line: &[u8], key: Key) -> Result<(), RunError> {
        if !self.remembers() {
            return Ok(());
        }
        let place = self.add(line);
        self.known.set(key, Standing::Done(place, None));
        if self.unwritten.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn add(&mut self, line: &[u8]) -> Place {
        let place = Place::at(self.written + self.unwritten.len() as u64);
        self.unwritten.extend_from_slice(line);
        self.unwritten.push(b'\n');
        place
    }

    /// Writes what has been noted. A run that is killed before that loses it, but for what it has saved: notes went
    /// before those files (see [`crate::sink::folder::wal`]), and the next run finds them.
    pub fn write(&mut self) -> Result<(), RunError> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        let (path, apart_from) = (&self.path, self.apart_from.as_ref());
        let fail = |source| {
            let path = if apart_from.is_some() { "a temporary file".into() } else { path.clone() };
            RunError::Output { path, source }
        };
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(fail)?),
        };
        let length = self.written - apart_from.map_or(0, |earlier| earlier.length);
        // The journal is open for appending: wherever reading has been, this goes to its end. A temporary file is not.
        let at_end = file.seek(SeekFrom::Start(length));
        if let Err(source) = at_end.and_then(|_| file.write_all(&self.unwritten)) {
            // Whatever part went out would stand before the next try. If it cannot be cut off, the line is torn.
            let _ = file.set_len(length);
            return Err(fail(source));
        }
        self.written += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes what has been written survive a loss of power.
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.as_ref().map_or(Ok(()), File::sync_data).map_err(|source| self.failed(source))
    }

    /// Begins another pass over the list: what this one has saved counts as saved by an earlier one.
    pub fn begin_pass(&mut self) {
        self.known.begin_pass();
    }

    fn failed(&self, source: io::Error) -> RunError {
        RunError::Output { path: self.path.clone(), source }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Only when a run is left at once is there anything left to write, and nobody to tell if it fails.
        if self.apart_from.is_none() {
            let _ = self.write();
        }
    }
}

fn key_of(hasher: &RandomState, known_by: KnownBy, name: &str, index: u64) -> Key {
    Key(match known_by {
        KnownBy::Url => hasher.hash_one(name),
        KnownBy::Row { .. } => hasher.hash_one((name, index)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use url::Url;

    use super::*;
    use crate::record::{Digests, ErrorKind, Failed, FetchError, Measures, Saved, Skipped, Timing};
    use crate::util::redact::redacted;

    fn meet(journal: &mut Journal, url: &Url) -> Result<Lookup, RunError> {
        meet_row(journal, 0, url)
    }

    fn meet_row(journal: &mut Journal, index: u64, url: &Url) -> Result<Lookup, RunError> {
        let job = Job::new(index, url.clone());
        let key = journal.key(&job);
        journal.meet(key, &job)
    }

    fn note(journal: &mut Journal, record: &Record, about: &Url) -> Result<(), RunError> {
        let key = journal.key(&Job::new(record.index, about.clone()));
        journal.note(record, &serde_json::to_vec(record).expect("JSON"), Some(key))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_folder_that_is_only_looked_at_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let [one, two, three] = [1, 2, 3].map(|number| url(&format!("https://a.example/{number}.png")));
        let stored = |path: &str, bytes| StoredFile { path: path.to_owned(), bytes, is_own: true, other_digest: None };
        let foresee = |journal: &mut Journal, url: &Url, path: &str| {
            let line = format!(r#"{{"index":0,"url":"{url}","status":"planned","path":"{path}"}}"#);
            let key = journal.key(&Job::new(0, url.clone()));
            journal.foresee(line.as_bytes(), key).expect("foresee");
        };
        // There is no journal yet.
        let mut apart = Journal::apart(&path, KnownBy::Url, |_| panic!("nothing is saved")).expect("open");
        assert_eq!(meet(&mut apart, &two).expect("meet"), Lookup::New(None));
        foresee(&mut apart, &two, "2.{ext}");
        assert_eq!(meet(&mut apart, &two).expect("meet"), Lookup::Done(Some(stored("2.{ext}", 0))));
        drop(apart);
        assert!(!path.exists());

        // The last line is torn, or is only without its line feed.
        let whole = serde_json::to_string(&saved(&one, "1.png")).expect("JSON");
        for text in [format!("{whole}\n{}", &whole[..40]), whole] {
            fs::write(&path, &text).expect("write");
            let mut names = Vec::new();
            let mut apart = Journal::apart(&path, KnownBy::Url, |file| names.push(file.path.to_owned())).expect("open");
            assert_eq!(names, ["1.png"]);
            assert_eq!(meet(&mut apart, &one).expect("meet"), Lookup::New(Some(stored("1.png", 5))));
            foresee(&mut apart, &one, "1.png");
            for (url, name) in [(&two, "{sha256:0:2}/2.png"), (&three, "3.png")] {
                assert_eq!(meet(&mut apart, url).expect("meet"), Lookup::New(None));
                foresee(&mut apart, url, name);
                assert_eq!(meet(&mut apart, url).expect("meet"), Lookup::Done(Some(stored(name, 0))));
            }
            assert_eq!(meet(&mut apart, &one).expect("meet"), Lookup::Done(Some(stored("1.png", 0))));
            drop(apart);
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
    }

    fn saved(url: &Url, path: &str) -> Record {
        let saved = Saved {
            path: path.into(),
            bytes: 5,
            format: None,
            measures: Measures::default(),
            content_type: None,
            http_status: 200,
            final_url: redacted(url).into_owned(),
            attempts: 1,
            resumed_from: 0,
            timing: Timing::default(),
            exif: serde_json::Map::new(),
            digests: Digests::default(),
            phash: None,
            original: None,
            same_as: None,
            extension_mismatch: false,
            from_earlier_run: 0,
        };
        Record::of(&Job::new(0, url.clone()), Outcome::Saved(saved))
    }

    #[test]
    fn what_was_saved_is_known_to_the_next_run_and_met_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let one = url("https://a.example/1.png#x");
        let signed = url("https://a.example/2.png?sig=secret");
        let mut journal = Journal::open(&path, KnownBy::Url, |_| panic!("there is nothing yet")).expect("open");
        for (url, name) in [(&one, "1.png"), (&signed, "2.png")] {
            assert_eq!(meet(&mut journal, url).expect("meet"), Lookup::New(None));
            assert_eq!(meet(&mut journal, url).expect("meet"), Lookup::InFlight);
            note(&mut journal, &saved(url, name), url).expect("note");
            let stored = StoredFile { path: name.into(), bytes: 5, is_own: true, other_digest: None };
            assert_eq!(meet(&mut journal, url).expect("meet"), Lookup::Done(Some(stored)));
        }
        journal.write().expect("write");
        drop(journal);
        assert!(!fs::read_to_string(&path).expect("read").contains("secret"));

        let mut names = Vec::new();
        let mut journal = Journal::open(&path, KnownBy::Url, |file| names.push(file.path.to_owned())).expect("open");
        assert_eq!(names, ["1.png", "2.png"]);
        let stored = |path: &str| {
            Lookup::New(Some(StoredFile { path: path.into(), bytes: 5, is_own: true, other_digest: None }))
        };
        assert_eq!(meet(&mut journal, &url("https://a.example/1.png")).expect("meet"), stored("1.png"));
        assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::InFlight);
        assert_eq!(meet(&mut journal, &signed).expect("meet"), stored("2.png"));
        assert_eq!(meet(&mut journal, &url("https://a.example/2.png?sig=other")).expect("meet"), Lookup::New(None));
    }

    #[test]
    fn a_torn_last_line_harms_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let whole = serde_json::to_string(&saved(&one, "1.png")).expect("JSON");
        fs::write(&path, format!("{whole}\n\u{0}garbage\n{}", &whole[..40])).expect("write");
        let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
        note(&mut journal, &saved(&two, "2.png"), &two).expect("note");
        journal.write().expect("write");
        let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
        for (url, name) in [(&one, "1.png"), (&two, "2.png")] {
            assert_eq!(
                meet(&mut journal, url).expect("meet"),
                Lookup::New(Some(StoredFile { path: name.into(), bytes: 5, is_own: true, other_digest: None }))
            );
        }
        let lines = fs::read_to_string(&path).expect("read");
        assert_eq!(lines.lines().count(), 3, "the torn line is gone: {lines}");

        // Only the line feed was lost.
        fs::write(&path, &whole).expect("write");
        let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
        assert!(matches!(meet(&mut journal, &one).expect("meet"), Lookup::New(Some(_))));
        drop(journal);
        assert_eq!(fs::read_to_string(&path).expect("read"), format!("{whole}\n"));
    }

    #[test]
    fn a_file_that_appeared_just_before_a_kill_is_taken_in_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("manifest.jsonl");
        let one = url("https://a.example/1.png");
        let record = saved(&one, "1.png");
        let line = serde_json::to_vec(&record).expect("JSON");
        let stored = StoredFile { path: "1.png".into(), bytes: 5, is_own: true, other_digest: None };
        let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
        assert_eq!(journal.adopt(&line).expect("adopt"), Some(Adopted { path: "1.png".into(), sha256: None }));
        assert_eq!(journal.adopt(&line).expect("adopt"), None, "it is known now");
        let outside = saved(&url("https://a.example/2.png"), "../2.png");
        assert_eq!(journal.adopt(&serde_json::to_vec(&outside).expect("JSON")).expect("adopt"), None);
        drop(journal);
        let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
        assert_eq!(journal.adopt(&line).expect("adopt"), None, "nor is it taken in by a later run");
        assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::New(Some(stored)));
        assert_eq!(fs::read_to_string(&path).expect("read").lines().count(), 1);
    }

    #[test]
    fn two_urls_with_one_hash_are_two_urls() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let mut journal = Journal::open(&folder.path().join("m"), KnownBy::Url, |_| {}).expect("open");
        // As if the hashes were the same.
        note(&mut journal, &saved(&one, "1.png"), &two).expect("note");
        assert_eq!(meet(&mut journal, &two).expect("meet"), Lookup::New(None));
    }

    #[test]
    fn a_second_pass_begins_afresh_and_keeps_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = url("https://a.example/1.png");
        let mut journal = Journal::open(&folder.path().join("m"), KnownBy::Url, |_| {}).expect("open");
        meet(&mut journal, &one).expect("meet");
        note(&mut journal, &saved(&one, "1.png"), &one).expect("note");
        journal.begin_pass();
        assert!(matches!(meet(&mut journal, &one).expect("meet"), Lookup::New(Some(_))));
        let skipped = |reason| {
            let outcome = Outcome::Skipped(Skipped { reason, path: Some("1.png".into()), bytes: None });
            Record::of(&Job::new(0, one.clone()), outcome)
        };
        note(&mut journal, &skipped(Reason::AlreadySaved), &one).expect("note");
        let stored = StoredFile { path: "1.png".into(), bytes: 5, is_own: true, other_digest: None };
        assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::Done(Some(stored.clone())));
        journal.begin_pass();
        assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::New(Some(stored)));

        let mut journal = Journal::open(&folder.path().join("n"), KnownBy::Url, |_| {}).expect("open");
        meet(&mut journal, &one).expect("meet");
        note(&mut journal, &skipped(Reason::FileExists), &one).expect("note");
        journal.begin_pass();
        assert_eq!(
            meet(&mut journal, &one).expect("meet"),
            Lookup::New(None),
            "somebody else's file never becomes ours"
        );
    }

    #[test]
    fn a_row_whose_content_another_one_has_stored_is_known_by_that_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m");
        let one = url("https://a.example/1.png");
        let (path_of_another, bytes) = (Some("2.png".into()), Some(7));
        let skipped = Skipped { reason: Reason::DuplicateContent, path: path_of_another, bytes };
        let skipped = Record::of(&Job::new(0, one.clone()), Outcome::Skipped(skipped));
        let again = |records: &[&Record]| {
            let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
            for record in records {
                note(&mut journal, record, &one).expect("note");
            }
            drop(journal);
            let mut saved = Vec::new();
            let told = |earlier: Earlier| saved.push(earlier.path.to_owned());
            let met = meet(&mut Journal::open(&path, KnownBy::Url, told).expect("open"), &one).expect("meet");
            (met, saved)
        };
        let of_another = StoredFile { path: "2.png".into(), bytes: 7, is_own: false, other_digest: None };
        assert_eq!(again(&[&skipped]), (Lookup::New(Some(of_another)), vec![]));
        let own = StoredFile { path: "1.png".into(), bytes: 5, is_own: true, other_digest: None };
        let expected = (Lookup::New(Some(own)), vec!["1.png".to_owned()]);
        assert_eq!(again(&[&saved(&one, "1.png"), &skipped]), expected);
    }

    #[test]
    fn what_a_failure_leaves_is_known_to_the_next_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = url("https://a.example/1.png");
        let mut journal = Journal::open(&folder.path().join("m"), KnownBy::Url, |_| {}).expect("open");
        meet(&mut journal, &one).expect("meet");
        note(&mut journal, &saved(&one, "1.png"), &one).expect("note");
        for _ in 0..2 {
            journal.begin_pass();
            let stored = StoredFile { path: "1.png".into(), bytes: 5, is_own: true, other_digest: None };
            assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::New(Some(stored)));
            let failed = Failed::new(&FetchError::new(ErrorKind::CutShort, "cut"), 1, None);
            let record = Record::of(&Job::new(0, one.clone()), Outcome::Failed(failed));
            note(&mut journal, &record, &one).expect("note");
            assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::Done(None));
        }
    }

    #[test]
    fn rows_may_be_known_by_their_numbers_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m");
        let one = url("https://a.example/1.png");
        for again in [false, true] {
            let mut journal = Journal::open(&path, KnownBy::Row { again }, |_| {}).expect("open");
            for index in 1..4 {
                let record = Record { index, ..saved(&one, &format!("{index}.png")) };
                assert_eq!(meet_row(&mut journal, index, &one).expect("meet"), Lookup::New(None));
                note(&mut journal, &record, &one).expect("note");
            }
            let key = journal.key(&Job::new(1, one.clone()));
            assert_eq!(journal.known.get(key).is_some(), again, "nothing is remembered that is not asked for again");
            journal.begin_pass();
            for index in 1..4 {
                let stored = again.then(|| StoredFile {
                    path: format!("{index}.png"),
                    bytes: 5,
                    is_own: true,
                    other_digest: None,
                });
                assert_eq!(meet_row(&mut journal, index, &one).expect("meet"), Lookup::New(stored));
            }
            drop(journal);

            let mut journal = Journal::open(&path, KnownBy::Row { again }, |_| {}).expect("open");
            let stored =
                |index| Some(StoredFile { path: format!("{index}.png"), bytes: 5, is_own: true, other_digest: None });
            assert_eq!(meet_row(&mut journal, 2, &one).expect("meet"), Lookup::New(stored(2)));
            assert_eq!(meet_row(&mut journal, 4, &one).expect("meet"), Lookup::New(None), "a row that is new");
            assert_eq!(meet_row(&mut journal, 1, &url("https://a.example/")).expect("meet"), Lookup::New(None));
            drop(journal);

            let mut journal = Journal::open(&path, KnownBy::Url, |_| {}).expect("open");
            assert_eq!(meet(&mut journal, &one).expect("meet"), Lookup::New(stored(3)), "by URL, the last one counts");
            drop(journal);
            fs::remove_file(&path).expect("remove");
        }
    }
}
