//! The journal of the output folder: one JSON record per line, appended and never changed. When later records have superseded
//! more than half of the lines, it is written anew without them (see `compaction`).
//!
//! For each row of the list, the journal answers two questions: has this pass seen the URL before, and has an earlier run
//! saved it, or ended it without an image and for good (`ended`)? The index keeps 13 bytes for each URL: 7 bytes of its
//! hash, and 6 with the state of the row and the offset of its record in the file. Everything else is read back from the
//! file when it is needed and compared in full, so two URLs with the same hash are still two URLs. (While both are in
//! flight there is no record to compare yet. The hash is keyed anew in every run, so that no list can be written whose URLs
//! collide.)
//!
//! With `--keep-duplicates`, a row is identified by its URL and its number, so a pass sees each row once, and only the second
//! question is left. Then a row is not kept in the index unless an earlier run has saved it, or ended it for good.

mod compaction;
mod current;
mod ended;
mod index;
mod line;
mod lines;
pub mod manifest;
mod moved;

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use self::compaction::{LineCounter, LineCounts};
pub use self::current::{CurrentRecord, CurrentRecords};
pub use self::ended::EarlierEnd;
pub use self::index::{Key, Remembered, RowIdentity};
use self::index::{Offset, RowIndex, RowState};
use self::line::{RecordFields, other_digest};
use self::lines::{LineFile, line_at};
pub use self::moved::{NamingRecord, NewName, renamed_line, shared_line};
use crate::record::{Job, KnownFile, Outcome, Reason, Record, RunError, Skipped, recorded_url, without_fragment};

/// The records of an output folder, with an index by row.
#[derive(Debug)]
pub struct Journal {
    lines: LineFile,
    index: RowIndex,
    /// Of the lines of earlier runs.
    counts: LineCounts,
    /// The record that was read back last, as a line.
    read_back: Vec<u8>,
}

/// How the journal is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Which rows of earlier runs are remembered.
    pub remembered: Remembered,
    /// For a dry run: nothing is created or changed in the folder of the journal. What is appended goes to a temporary file.
    pub is_overlay: bool,
    /// Tell of all files that rows have or had, and not only of those that were saved. That costs another read for each row
    /// that has another file now.
    pub follows: bool,
}

impl<R: Into<Remembered>> From<R> for JournalOptions {
    fn from(remembered: R) -> Self {
        Self { remembered: remembered.into(), is_overlay: false, follows: false }
    }
}

/// What the journal knows of a row when the row is read from the list.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    /// The first row of this pass with its identity. The file is the one that an earlier run or pass saved, if it did.
    New(Option<StoredFile>),
    /// The same as a new row without a file. The last record of an earlier run says that it was refused, or failed for good.
    Ended(EarlierEnd),
    /// An earlier row of this pass is the same and is still in flight.
    InFlight,
    /// An earlier row of this pass is the same and has ended. The file is the one that it has, if it has one.
    Done(Option<StoredFile>),
}

/// A file that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFile {
    /// Relative to the output folder.
    pub path: String,
    /// Its size in bytes when it was stored.
    pub bytes: u64,
    /// Whether it was stored for this row, and not for another one with the same content.
    pub is_own: bool,
    /// The digest of the received body, if it differs from the checksum that the row asks for.
    pub other_digest: Option<String>,
    /// What else the record says of the file, where the row may be skipped because of it.
    pub known: KnownFile,
}

impl StoredFile {
    /// The outcome of a row that has this file already.
    #[must_use]
    pub fn already_saved(self) -> Skipped {
        let Self { path, bytes, known, .. } = self;
        Skipped { bytes: Some(bytes), known, ..Skipped::new(Reason::AlreadySaved, Some(path)) }
    }
}

/// A file that an earlier run has saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierFile<'a> {
    /// Relative to the output folder.
    pub path: &'a str,
    /// Its digest, if the record has it.
    pub sha256: Option<&'a str>,
}

/// What a record of an earlier run says about a file, in the order of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming<'a> {
    /// The row of the record has this file.
    Named {
        /// The file.
        file: EarlierFile<'a>,
        /// Whether it was stored for this row, and not for another one with the same content.
        is_own: bool,
    },
    /// The row had the file of this path before, and has another one now, or the same one anew.
    Superseded(&'a str),
}

impl<'a> Naming<'a> {
    /// The file that was stored for the row of the record, if it has one.
    #[must_use]
    pub const fn own_file(self) -> Option<EarlierFile<'a>> {
        match self {
            Self::Named { file, is_own: true } => Some(file),
            Self::Named { .. } | Self::Superseded(_) => None,
        }
    }
}

/// A file whose record was added by [`Journal::adopt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedFile<'a> {
    /// Relative to the output folder.
    pub path: String,
    /// Its digest, if the record has it.
    pub sha256: Option<Cow<'a, str>>,
    /// The file that the row had before.
    pub superseded: Option<StoredFile>,
}

/// A record read back for a row.
enum ReadBack {
    /// It is the record of that row, and names this file.
    SameRow(Option<StoredFile>),
    /// It is the record of another row with the same hash.
    OtherRow,
}

impl Journal {
    /// Opens the journal, or creates it, and calls `named` with the files that earlier runs have saved. Lines that are not
    /// records are skipped, and the incomplete last line of a run that was killed is removed.
    ///
    /// # Errors
    /// When the file cannot be opened, read or truncated.
    pub fn open(
        path: &Path,
        options: impl Into<JournalOptions>,
        mut named: impl FnMut(Naming),
    ) -> Result<Self, RunError> {
        let JournalOptions { remembered, is_overlay, follows } = options.into();
        let each = |earlier: &EarlierRecord, file: &File| {
            if follows {
                earlier.follow(file, remembered.identity, &mut named);
            } else {
                earlier.call_if_saved(&mut named);
            }
        };
        if is_overlay {
            Self::read(remembered, |on_line| LineFile::open_overlay(path, on_line), each)
        } else {
            Self::read(remembered, |on_line| LineFile::open(path, on_line), each)
        }
    }

    /// Opens the journal as an overlay (see [`JournalOptions::is_overlay`]).
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn open_overlay(
        path: &Path,
        remembered: impl Into<Remembered>,
        named: impl FnMut(Naming),
    ) -> Result<Self, RunError> {
        Self::open(path, JournalOptions { is_overlay: true, ..remembered.into().into() }, named)
    }

    /// Opens the file with `open`, which calls what it gets for each line, and calls `each` for each record.
    fn read(
        remembered: Remembered,
        open: impl FnOnce(&mut dyn FnMut(&File, u64, &[u8]) -> bool) -> Result<LineFile, RunError>,
        mut each: impl FnMut(&EarlierRecord, &File),
    ) -> Result<Self, RunError> {
        let mut index = RowIndex::new(remembered);
        let mut counter = LineCounter::default();
        let lines = open(&mut |file, offset, line| {
            let earlier = index_earlier(&mut index, offset, line);
            counter.count(&index, earlier.as_ref());
            earlier.map(|earlier| each(&earlier, file)).is_some()
        })?;
        Ok(Self { lines, index, counts: counter.counts(), read_back: Vec::new() })
    }

    /// Adds the record of a file that was published just before a run was killed, unless the journal has the record already.
    /// Returns the file if its record was added. The caller has checked that the file is there.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn adopt<'a>(&mut self, line: &'a [u8]) -> Result<Option<AdoptedFile<'a>>, RunError> {
        let Ok(record) = serde_json::from_slice::<RecordFields>(line) else { return Ok(None) };
        let Some(path) = record.plain_path().filter(|_| record.status == "saved") else { return Ok(None) };
        let key = self.index.key(record.url_identity(), record.index);
        let mut superseded = None;
        if let Some(RowState::SavedEarlier(offset)) = self.index.get(key) {
            let earlier = self.lines.line(offset.0)?;
            if earlier == line {
                return Ok(None);
            }
            let earlier = serde_json::from_slice::<RecordFields>(&earlier).ok();
            let earlier = earlier.filter(|earlier| earlier.is_about_same_row(&record, self.index.identity()));
            superseded = earlier.as_ref().and_then(RecordFields::stored);
        }
        let offset = self.lines.append(line);
        self.index.set(key, RowState::SavedEarlier(Offset::new(offset)));
        Ok(Some(AdoptedFile { path: path.to_owned(), sha256: record.sha256, superseded }))
    }

    /// The file that an earlier run or pass saved for a row in flight, if there is one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn earlier_file(&mut self, key: Key) -> Result<Option<StoredFile>, RunError> {
        let Some(RowState::InFlight(Some(Offset(offset)))) = self.index.get(key) else { return Ok(None) };
        let line = self.lines.line(offset)?;
        Ok(serde_json::from_slice::<RecordFields>(&line).ok().as_ref().and_then(RecordFields::stored))
    }

    /// The key of a row. It equals the key of the row's record, in which the secrets of the URL are redacted: such a record
    /// has the hash of the URL instead.
    #[must_use]
    pub fn key(&self, job: &Job) -> Key {
        match recorded_url(&job.url) {
            (_, Some(hash)) => self.index.key(&hash, job.index),
            (_, None) => self.index.key(without_fragment(&job.url), job.index),
        }
    }

    /// What is known of a row. If it is new, it is in flight from now on.
    ///
    /// # Errors
    /// When the journal cannot be read, or written so that it can be read.
    pub fn look_up(&mut self, key: Key, job: &Job) -> Result<Lookup, RunError> {
        Ok(match self.index.get(key) {
            None => {
                if self.index.remembers_new_rows() {
                    self.index.set(key, RowState::InFlight(None));
                }
                Lookup::New(None)
            }
            Some(RowState::EndedEarlier(offset)) => self.look_up_ended(offset, key, job)?,
            Some(RowState::InFlight(_)) => Lookup::InFlight,
            Some(RowState::Done(offset, _)) => match self.read_back(offset, job, |_| KnownFile::default())? {
                ReadBack::SameRow(stored) => Lookup::Done(stored),
                ReadBack::OtherRow => Lookup::New(None),
            },
            Some(RowState::SavedEarlier(offset)) => match self.read_back(offset, job, KnownFile::of_record)? {
                ReadBack::SameRow(stored) => {
                    self.index.set(key, RowState::InFlight(Some(offset)));
                    Lookup::New(stored)
                }
                ReadBack::OtherRow => Lookup::New(None),
            },
        })
    }

    /// The record that the last [`Journal::look_up`] has found for its row, as a line: a caller that needs more of
    /// it than the file need not read it again.
    #[must_use]
    pub fn line_read(&self) -> &[u8] {
        &self.read_back
    }

    /// Reads the record at an offset and compares it with a row. `known` finds what else it says of the file.
    fn read_back(
        &mut self,
        Offset(offset): Offset,
        job: &Job,
        known: impl FnOnce(&str) -> KnownFile,
    ) -> Result<ReadBack, RunError> {
        let line = self.lines.line(offset)?;
        // A planned path was written by this run and may still contain fields of the template. It is shown and never opened,
        // so it is not checked.
        let is_planned = self.lines.is_in_overlay(offset);
        let read = Ok(match serde_json::from_slice::<RecordFields>(&line) {
            Ok(found) if found.is_about(job, self.index.identity()) => {
                let (bytes, is_own) = (found.bytes, !found.is_duplicate_content());
                let other_digest = job.checksum.as_deref().and_then(|checksum| other_digest(&line, checksum));
                let path = if is_planned { found.path.as_deref() } else { found.plain_path() };
                let known = || std::str::from_utf8(&line).map_or_else(|_| KnownFile::default(), known);
                ReadBack::SameRow(path.map(|path| StoredFile {
                    path: path.to_owned(),
                    bytes,
                    is_own,
                    other_digest,
                    known: known(),
                }))
            }
            _ => ReadBack::OtherRow,
        });
        self.read_back = line;
        read
    }

    /// Appends a record; `line` is the record as JSON. `key` is the key of the row if this is its final record in this pass,
    /// and not that of a duplicate.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn append(&mut self, record: &Record, line: &[u8], key: Option<Key>) -> Result<(), RunError> {
        let offset = Offset::new(self.lines.append(line));
        if let Some(key) = key.filter(|_| self.index.remembers_new_rows()) {
            let before = match self.index.get(key) {
                Some(RowState::InFlight(before)) => before,
                _ => None,
            };
            let state = match &record.outcome {
                Outcome::Saved(_) => RowState::Done(offset, Some(offset)),
                // This record does not have the size of the file; the one before has.
                Outcome::Skipped(skipped) if skipped.reason == Reason::AlreadySaved => {
                    RowState::Done(before.unwrap_or(offset), before)
                }
                // A file that was saved before still exists if fetching it again has failed.
                Outcome::Skipped(_) | Outcome::Failed(_) | Outcome::Refused(_) => RowState::Done(offset, before),
            };
            self.index.set(key, state);
        }
        self.lines.flush_if_full()
    }

    /// Appends what a dry run plans for a row, so that later rows with the same URL are looked up with the planned file.
    /// `line` is not a record, but JSON with the fields `url`, `url_hash`, `index` and `path` of one.
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn append_planned(&mut self, line: &[u8], key: Key) -> Result<(), RunError> {
        if !self.index.remembers_new_rows() {
            return Ok(());
        }
        let offset = Offset::new(self.lines.append(line));
        self.index.set(key, RowState::Done(offset, None));
        self.lines.flush_if_full()
    }

    /// Writes the appended records to the file. A run that is killed before that loses them, except those of saved files:
    /// they were written to the log of intents before the files appeared (see [`crate::sink::folder::wal`]), and the next
    /// run adopts them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> Result<(), RunError> {
        self.lines.flush()
    }

    /// Makes the records in the file survive a loss of power.
    ///
    /// # Errors
    /// When the system cannot sync the file.
    pub fn sync(&self) -> Result<(), RunError> {
        self.lines.sync()
    }

    /// Begins another pass over the list: rows that the last pass saved count as saved earlier.
    pub fn begin_pass(&mut self) {
        self.index.begin_pass();
    }
}

/// A record of an earlier run.
struct EarlierRecord<'a> {
    record: RecordFields<'a>,
    /// Whether its row has a file since this record.
    is_named: bool,
    /// The offset of the record that said before which file the row has.
    before: Option<Offset>,
}

/// Adds a line of an earlier run to the index, if it is a record.
fn index_earlier<'a>(index: &mut RowIndex, offset: u64, line: &'a [u8]) -> Option<EarlierRecord<'a>> {
    let record = serde_json::from_slice::<RecordFields>(line).ok()?;
    let mut earlier = EarlierRecord { is_named: false, before: None, record };
    let record = &earlier.record;
    if record.plain_path().is_some() && (record.is_saved() || record.is_duplicate_content()) {
        let key = index.key(record.url_identity(), record.index);
        let before = index.get(key);
        // A row keeps its own file, even if a later record names that of another row.
        let before =
            before.and_then(|before| if let RowState::SavedEarlier(offset) = before { Some(offset) } else { None });
        if record.is_saved() || before.is_none() {
            index.set(key, RowState::SavedEarlier(Offset::new(offset)));
            earlier.is_named = true;
            earlier.before = before;
        }
    } else {
        ended::index_ended(index, offset, record);
    }
    Some(earlier)
}

impl EarlierRecord<'_> {
    /// Calls `named` if it is the record of a saved file.
    fn call_if_saved(&self, named: &mut impl FnMut(Naming)) {
        if let Some(path) = self.record.plain_path().filter(|_| self.record.is_saved()) {
            let file = EarlierFile { path, sha256: self.record.sha256.as_deref() };
            named(Naming::Named { file, is_own: true });
        }
    }

    /// Calls `named` with the file that the row has since this record, and with the one that it had before, which is
    /// read back from `file`.
    fn follow(&self, file: &File, identity: RowIdentity, named: &mut impl FnMut(Naming)) {
        let Some(path) = self.record.plain_path().filter(|_| self.is_named) else { return };
        let earlier = EarlierFile { path, sha256: self.record.sha256.as_deref() };
        named(Naming::Named { file: earlier, is_own: self.record.is_saved() });
        // What cannot be read back still counts, so its file stays.
        let Some(before) = self.before.and_then(|Offset(offset)| line_at(file, offset).ok()) else { return };
        if let Ok(before) = serde_json::from_slice::<RecordFields>(&before)
            && before.is_about_same_row(&self.record, identity)
            && let Some(path) = before.plain_path()
        {
            named(Naming::Superseded(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use url::Url;

    use super::*;
    use crate::record::{Digests, ErrorKind, Failed, FetchError, Measures, Saved, Skipped, Timing};
    use crate::util::redact::redacted;

    /// The path of a file that was stored for the row of its record.
    fn own(naming: Naming) -> String {
        naming.own_file().expect("its own file").path.to_owned()
    }

    fn look_up(journal: &mut Journal, url: &Url) -> Result<Lookup, RunError> {
        look_up_row(journal, 0, url)
    }

    fn look_up_row(journal: &mut Journal, index: u64, url: &Url) -> Result<Lookup, RunError> {
        let job = Job::new(index, url.clone());
        let key = journal.key(&job);
        journal.look_up(key, &job)
    }

    fn append(journal: &mut Journal, record: &Record, about: &Url) -> Result<(), RunError> {
        let key = journal.key(&Job::new(record.index, about.clone()));
        journal.append(record, &serde_json::to_vec(record).expect("JSON"), Some(key))
    }

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    #[test]
    fn a_dry_run_does_not_change_the_journal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let [one, two, three] = [1, 2, 3].map(|number| url(&format!("https://a.example/{number}.png")));
        let stored = |path: &str, bytes| StoredFile {
            path: path.to_owned(),
            bytes,
            is_own: true,
            other_digest: None,
            known: KnownFile::default(),
        };
        let plan = |journal: &mut Journal, url: &Url, path: &str| {
            let line = format!(r#"{{"index":0,"url":"{url}","status":"planned","path":"{path}"}}"#);
            let key = journal.key(&Job::new(0, url.clone()));
            journal.append_planned(line.as_bytes(), key).expect("append");
        };
        // There is no journal yet.
        let mut overlay = Journal::open_overlay(&path, RowIdentity::Url, |_| panic!("nothing is saved")).expect("open");
        assert_eq!(look_up(&mut overlay, &two).expect("look up"), Lookup::New(None));
        plan(&mut overlay, &two, "2.{ext}");
        assert_eq!(look_up(&mut overlay, &two).expect("look up"), Lookup::Done(Some(stored("2.{ext}", 0))));
        drop(overlay);
        assert!(!path.exists());

        // The last line is torn, or is only without its line feed.
        let whole = serde_json::to_string(&saved(&one, "1.png")).expect("JSON");
        for text in [format!("{whole}\n{}", &whole[..40]), whole] {
            fs::write(&path, &text).expect("write");
            let mut names = Vec::new();
            let mut overlay =
                Journal::open_overlay(&path, RowIdentity::Url, |file| names.push(own(file))).expect("open");
            assert_eq!(names, ["1.png"]);
            assert_eq!(look_up(&mut overlay, &one).expect("look up"), Lookup::New(Some(stored("1.png", 5))));
            plan(&mut overlay, &one, "1.png");
            for (url, name) in [(&two, "{sha256:0:2}/2.png"), (&three, "3.png")] {
                assert_eq!(look_up(&mut overlay, url).expect("look up"), Lookup::New(None));
                plan(&mut overlay, url, name);
                assert_eq!(look_up(&mut overlay, url).expect("look up"), Lookup::Done(Some(stored(name, 0))));
            }
            assert_eq!(look_up(&mut overlay, &one).expect("look up"), Lookup::Done(Some(stored("1.png", 0))));
            drop(overlay);
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
            verified: None,
            original: None,
            same_as: None,
            extension_mismatch: false,
            smaller_than_box: false,
            made_with: crate::record::MadeWith::default(),
            from_earlier_run: 0,
        };
        Record::of(&Job::new(0, url.clone()), Outcome::Saved(saved))
    }

    #[test]
    fn what_was_saved_is_known_to_the_next_run_and_is_new_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let one = url("https://a.example/1.png#x");
        let signed = url("https://a.example/2.png?sig=secret");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| panic!("there is nothing yet")).expect("open");
        for (url, name) in [(&one, "1.png"), (&signed, "2.png")] {
            assert_eq!(look_up(&mut journal, url).expect("look up"), Lookup::New(None));
            assert_eq!(look_up(&mut journal, url).expect("look up"), Lookup::InFlight);
            append(&mut journal, &saved(url, name), url).expect("append");
            let stored = StoredFile {
                path: name.into(),
                bytes: 5,
                is_own: true,
                other_digest: None,
                known: KnownFile::default(),
            };
            assert_eq!(look_up(&mut journal, url).expect("look up"), Lookup::Done(Some(stored)));
        }
        journal.flush().expect("flush");
        drop(journal);
        assert!(!fs::read_to_string(&path).expect("read").contains("secret"));

        let mut names = Vec::new();
        let mut journal = Journal::open(&path, RowIdentity::Url, |file| names.push(own(file))).expect("open");
        assert_eq!(names, ["1.png", "2.png"]);
        let stored = |path: &str| {
            Lookup::New(Some(StoredFile {
                path: path.into(),
                bytes: 5,
                is_own: true,
                other_digest: None,
                known: KnownFile::default(),
            }))
        };
        assert_eq!(look_up(&mut journal, &url("https://a.example/1.png")).expect("look up"), stored("1.png"));
        assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::InFlight);
        assert_eq!(look_up(&mut journal, &signed).expect("look up"), stored("2.png"));
        assert_eq!(
            look_up(&mut journal, &url("https://a.example/2.png?sig=other")).expect("look up"),
            Lookup::New(None)
        );
    }

    #[test]
    fn a_torn_last_line_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let whole = serde_json::to_string(&saved(&one, "1.png")).expect("JSON");
        fs::write(&path, format!("{whole}\n\u{0}garbage\n{}", &whole[..40])).expect("write");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        append(&mut journal, &saved(&two, "2.png"), &two).expect("append");
        journal.flush().expect("flush");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        for (url, name) in [(&one, "1.png"), (&two, "2.png")] {
            assert_eq!(
                look_up(&mut journal, url).expect("look up"),
                Lookup::New(Some(StoredFile {
                    path: name.into(),
                    bytes: 5,
                    is_own: true,
                    other_digest: None,
                    known: KnownFile::default()
                }))
            );
        }
        let lines = fs::read_to_string(&path).expect("read");
        assert_eq!(lines.lines().count(), 3, "the torn line is gone: {lines}");

        // Only the line feed was lost.
        fs::write(&path, &whole).expect("write");
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        assert!(matches!(look_up(&mut journal, &one).expect("look up"), Lookup::New(Some(_))));
        drop(journal);
        assert_eq!(fs::read_to_string(&path).expect("read"), format!("{whole}\n"));
    }

    #[test]
    fn a_file_that_was_published_just_before_a_kill_is_adopted_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let one = url("https://a.example/1.png");
        let record = saved(&one, "1.png");
        let line = serde_json::to_vec(&record).expect("JSON");
        let stored = StoredFile {
            path: "1.png".into(),
            bytes: 5,
            is_own: true,
            other_digest: None,
            known: KnownFile::default(),
        };
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        assert_eq!(
            journal.adopt(&line).expect("adopt"),
            Some(AdoptedFile { path: "1.png".into(), sha256: None, superseded: None })
        );
        assert_eq!(journal.adopt(&line).expect("adopt"), None, "it is known now");
        let outside = saved(&url("https://a.example/2.png"), "../2.png");
        assert_eq!(journal.adopt(&serde_json::to_vec(&outside).expect("JSON")).expect("adopt"), None);
        drop(journal);
        let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
        assert_eq!(journal.adopt(&line).expect("adopt"), None, "nor is it adopted by a later run");
        assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::New(Some(stored)));
        assert_eq!(fs::read_to_string(&path).expect("read").lines().count(), 1);
    }

    #[test]
    fn two_urls_with_one_hash_are_two_urls() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (url("https://a.example/1.png"), url("https://a.example/2.png"));
        let mut journal = Journal::open(&folder.path().join("m"), RowIdentity::Url, |_| {}).expect("open");
        // As if the hashes were the same.
        append(&mut journal, &saved(&one, "1.png"), &two).expect("append");
        assert_eq!(look_up(&mut journal, &two).expect("look up"), Lookup::New(None));
    }

    #[test]
    fn a_second_pass_sees_every_row_as_new_and_keeps_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = url("https://a.example/1.png");
        let mut journal = Journal::open(&folder.path().join("m"), RowIdentity::Url, |_| {}).expect("open");
        look_up(&mut journal, &one).expect("look up");
        append(&mut journal, &saved(&one, "1.png"), &one).expect("append");
        journal.begin_pass();
        assert!(matches!(look_up(&mut journal, &one).expect("look up"), Lookup::New(Some(_))));
        let skipped = |reason| {
            let outcome = Outcome::Skipped(Skipped::new(reason, Some("1.png".into())));
            Record::of(&Job::new(0, one.clone()), outcome)
        };
        append(&mut journal, &skipped(Reason::AlreadySaved), &one).expect("append");
        let stored = StoredFile {
            path: "1.png".into(),
            bytes: 5,
            is_own: true,
            other_digest: None,
            known: KnownFile::default(),
        };
        assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::Done(Some(stored.clone())));
        journal.begin_pass();
        assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::New(Some(stored)));

        let mut journal = Journal::open(&folder.path().join("n"), RowIdentity::Url, |_| {}).expect("open");
        look_up(&mut journal, &one).expect("look up");
        append(&mut journal, &skipped(Reason::FileExists), &one).expect("append");
        journal.begin_pass();
        assert_eq!(
            look_up(&mut journal, &one).expect("look up"),
            Lookup::New(None),
            "a file that fetchimg did not write is never taken for its own"
        );
    }

    #[test]
    fn a_duplicate_by_content_is_known_with_the_file_of_the_other_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m");
        let one = url("https://a.example/1.png");
        let (path_of_another, bytes) = (Some("2.png".into()), Some(7));
        let skipped = Skipped { bytes, ..Skipped::new(Reason::DuplicateContent, path_of_another) };
        let skipped = Record::of(&Job::new(0, one.clone()), Outcome::Skipped(skipped));
        let again = |records: &[&Record]| {
            let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
            for record in records {
                append(&mut journal, record, &one).expect("append");
            }
            drop(journal);
            let mut saved = Vec::new();
            let save = |earlier: Naming| saved.push(own(earlier));
            let found =
                look_up(&mut Journal::open(&path, RowIdentity::Url, save).expect("open"), &one).expect("look up");
            (found, saved)
        };
        let of_another = StoredFile {
            path: "2.png".into(),
            bytes: 7,
            is_own: false,
            other_digest: None,
            known: KnownFile::default(),
        };
        assert_eq!(again(&[&skipped]), (Lookup::New(Some(of_another)), vec![]));
        let own = StoredFile {
            path: "1.png".into(),
            bytes: 5,
            is_own: true,
            other_digest: None,
            known: KnownFile::default(),
        };
        let expected = (Lookup::New(Some(own)), vec!["1.png".to_owned()]);
        assert_eq!(again(&[&saved(&one, "1.png"), &skipped]), expected);
    }

    #[test]
    fn a_file_that_could_not_be_fetched_again_is_known_to_the_next_pass() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = url("https://a.example/1.png");
        let mut journal = Journal::open(&folder.path().join("m"), RowIdentity::Url, |_| {}).expect("open");
        look_up(&mut journal, &one).expect("look up");
        append(&mut journal, &saved(&one, "1.png"), &one).expect("append");
        for _ in 0..2 {
            journal.begin_pass();
            let stored = StoredFile {
                path: "1.png".into(),
                bytes: 5,
                is_own: true,
                other_digest: None,
                known: KnownFile::default(),
            };
            assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::New(Some(stored)));
            let failed = Failed::new(&FetchError::new(ErrorKind::CutShort, "cut"), 1, None);
            let record = Record::of(&Job::new(0, one.clone()), Outcome::Failed(failed));
            append(&mut journal, &record, &one).expect("append");
            assert_eq!(look_up(&mut journal, &one).expect("look up"), Lookup::Done(None));
        }
    }

    #[test]
    fn rows_with_one_url_may_be_told_apart_by_their_numbers() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("m");
        let one = url("https://a.example/1.png");
        for again in [false, true] {
            let mut journal =
                Journal::open(&path, RowIdentity::UrlAndNumber { several_passes: again }, |_| {}).expect("open");
            for index in 1..4 {
                let record = Record { index, ..saved(&one, &format!("{index}.png")) };
                assert_eq!(look_up_row(&mut journal, index, &one).expect("look up"), Lookup::New(None));
                append(&mut journal, &record, &one).expect("append");
            }
            let key = journal.key(&Job::new(1, one.clone()));
            assert_eq!(journal.index.get(key).is_some(), again, "rows that are not looked up again are not remembered");
            journal.begin_pass();
            for index in 1..4 {
                let stored = again.then(|| StoredFile {
                    path: format!("{index}.png"),
                    bytes: 5,
                    is_own: true,
                    other_digest: None,
                    known: KnownFile::default(),
                });
                assert_eq!(look_up_row(&mut journal, index, &one).expect("look up"), Lookup::New(stored));
            }
            drop(journal);

            let mut journal =
                Journal::open(&path, RowIdentity::UrlAndNumber { several_passes: again }, |_| {}).expect("open");
            let stored = |index| {
                Some(StoredFile {
                    path: format!("{index}.png"),
                    bytes: 5,
                    is_own: true,
                    other_digest: None,
                    known: KnownFile::default(),
                })
            };
            assert_eq!(look_up_row(&mut journal, 2, &one).expect("look up"), Lookup::New(stored(2)));
            assert_eq!(look_up_row(&mut journal, 4, &one).expect("look up"), Lookup::New(None), "a row that is new");
            assert_eq!(look_up_row(&mut journal, 1, &url("https://a.example/")).expect("look up"), Lookup::New(None));
            drop(journal);

            let mut journal = Journal::open(&path, RowIdentity::Url, |_| {}).expect("open");
            assert_eq!(
                look_up(&mut journal, &one).expect("look up"),
                Lookup::New(stored(3)),
                "by URL, the last one counts"
            );
            drop(journal);
            fs::remove_file(&path).expect("remove");
        }
    }
}
