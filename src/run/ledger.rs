//! The one place where rows get their records.
//!
//! [`Ledger::admit`] takes rows before their download, in list order: it decides about them (see [`super::admission`]).
//! [`Ledger::fetched`] takes what became of them, in whatever order downloads end. Every row is settled exactly once: its
//! record is written to the journal and the manifest, counted, and logged.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::{Admission, Admitted};
use super::output::say;
use crate::fetch::{Fetched, Fetcher, Work};
use crate::journal::manifest::Manifest;
use crate::journal::{Journal, Key};
use crate::naming::Namer;
use crate::progress::Counters;
use crate::record::{
    Checksum, ErrorKind, Existing, Extra, Failed, FetchError, Job, Mode, Outcome, Reason, Record, RecordLine, Row,
    RunError, Skipped,
};
use crate::report::Tally;
use crate::sink::{Receipt, Sink};
use crate::util::lock;

/// The rows of one pass over the list, and their records.
pub struct Ledger<'a> {
    existing: Existing,
    journal: &'a mut Journal,
    manifest: Option<&'a mut Manifest>,
    sink: Arc<Sink>,
    namer: Arc<Mutex<Namer>>,
    counters: Arc<Counters>,
    /// Rows that wait for an earlier row with the same URL.
    waiting: HashMap<Key, Vec<Waiting>>,
    /// To be released when the records are written.
    receipts: Vec<Receipt>,
    tally: Tally,
    /// Where each record goes too.
    records: Option<UnboundedSender<Record>>,
    failure: Option<RunError>,
}

/// A row that waits for an earlier row with the same URL: what the two do not have in common.
struct Waiting {
    index: u64,
    fragment: Option<Box<str>>,
    extra: Extra,
    checksum: Option<Box<Checksum>>,
    _slot: DuplicateSlot,
}

/// Rows that may wait for earlier ones with the same URL.
const MAX_WAITING: usize = 8192;

/// The right of one row to wait for an earlier one. It is a field of the row, and is given back with it.
#[derive(Debug)]
pub struct DuplicateSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The rows of a list, each with a slot in case it has to wait. When all slots are taken, the list is not read on: the rows
/// that the waiting ones wait for were read before them, and are fetched without any further row.
pub fn with_slots<R>(listed: impl Stream<Item = R>) -> impl Stream<Item = (R, DuplicateSlot)> {
    let slots = Arc::new(Semaphore::new(MAX_WAITING));
    // The semaphore is never closed, so a permit comes in the end.
    listed
        .then(move |row| Arc::clone(&slots).acquire_owned().map(|permit| (row, DuplicateSlot { _permit: permit.ok() })))
}

impl<'a> Ledger<'a> {
    /// Begins a pass whose downloads are those of `fetcher`. Without a `manifest`, records go to the journal alone.
    pub fn new(
        mode: Mode,
        existing: Existing,
        journal: &'a mut Journal,
        manifest: Option<&'a mut Manifest>,
        fetcher: &Fetcher,
    ) -> Self {
        Self {
            existing,
            journal,
            manifest,
            sink: Arc::clone(&fetcher.sink),
            namer: Arc::clone(&fetcher.namer),
            counters: Arc::clone(&fetcher.counters),
            waiting: HashMap::new(),
            receipts: Vec::new(),
            tally: Tally::new(mode),
            records: None,
            failure: None,
        }
    }

    /// Sends each record there too.
    pub fn forwarding(mut self, records: Option<UnboundedSender<Record>>) -> Self {
        self.records = records;
        self
    }

    /// Decides about the next row of the list: work to do, or a record, at once or, with `slot` to wait in, later.
    pub fn admit(&mut self, row: Row, slot: DuplicateSlot) -> Option<(Key, Work)> {
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                self.settle(None, &record, None);
                return None;
            }
        };
        self.tally.add_url(&job.url);
        let skip = |reason, path| Outcome::Skipped(Skipped { reason, path, bytes: None });
        let key = self.journal.key(&job);
        let mut namer = lock(&self.namer);
        let size = |path: &str| self.sink.size(path);
        let admission = Admission { existing: self.existing, journal: self.journal, namer: &mut namer, size };
        let admitted = admission.admit(&job, key);
        drop(namer);
        match admitted {
            Ok(Admitted::Fetch { name, on_conflict, replaces }) => {
                return Some((key, Work { job, name, on_conflict, replaces }));
            }
            Ok(Admitted::Saved(path)) => {
                let record = Record::of(&job, skip(Reason::AlreadySaved, Some(path)));
                self.settle(Some(key), &record, None);
            }
            Ok(Admitted::Duplicate(stored)) => {
                let (path, other_digest) = stored.map(|stored| (stored.path, stored.other_digest)).unzip();
                let outcome = repeated(path, job.checksum.as_deref(), other_digest.flatten().as_deref());
                self.settle(None, &Record::of(&job, outcome), None);
            }
            Ok(Admitted::InFlight) => {
                let fragment = job.url.fragment().map(Into::into);
                let Job { index, extra, checksum, .. } = job;
                let waiting = Waiting { index, fragment, extra, checksum, _slot: slot };
                self.waiting.entry(key).or_default().push(waiting);
            }
            Err(error) => self.fail(error),
        }
        None
    }

    /// Takes what came of the download of a row.
    pub fn fetched(&mut self, key: Key, fetched: Box<Fetched>) {
        let Fetched { record, line, receipt } = *fetched;
        self.settle(Some(key), &record, line);
        if !matches!(receipt, Receipt::None) {
            self.receipts.push(receipt);
        }
    }

    /// Takes the record of a row. With a `key` it is the final record of this run for that URL, and rows that wait for it
    /// are settled with it. `line`: the record as JSON, if it was serialised before.
    fn settle(&mut self, key: Option<Key>, record: &Record, line: Option<RecordLine>) {
        match &record.outcome {
            Outcome::Saved(_) => _ = self.counters.saved.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed(failed) => self.counters.fail(ErrorKind::by_name(&failed.error, failed.http_status)),
            Outcome::Skipped(_) => _ = self.counters.skipped.fetch_add(1, Ordering::Relaxed),
        }
        say(record);
        self.tally.add(record);
        if let Outcome::Failed(failed) = &record.outcome
            && failed.ends_run
        {
            self.fail(RunError::Disk { folder: self.sink.root(), message: failed.message.clone() });
        }
        match line.map_or_else(|| RecordLine::of(record), Ok) {
            Ok(line) => self.write_down(record, line.as_bytes(), key),
            Err(error) => self.fail(RunError::System(error.into())),
        }
        if let Some(records) = &self.records {
            // A program that has stopped reading does not want them; the journal has all records.
            let _ = records.send(record.clone());
        }
        for Waiting { index, fragment, extra, checksum, _slot } in
            key.and_then(|key| self.waiting.remove(&key)).unwrap_or_default()
        {
            let path = match &record.outcome {
                Outcome::Saved(saved) => Some(saved.path.clone()),
                Outcome::Skipped(skipped) => skipped.path.clone(),
                Outcome::Failed(_) => None,
            };
            let other_digest = checksum.as_deref().and_then(|checksum| match &record.outcome {
                Outcome::Saved(saved) => {
                    saved.received_digest(checksum.algorithm).filter(|made| *made != checksum.digest)
                }
                _ => None,
            });
            let outcome = repeated(path, checksum.as_deref(), other_digest);
            let mut url = record.url.split('#').next().unwrap_or_default().to_owned();
            if let Some(fragment) = fragment {
                url.push('#');
                url.push_str(&fragment);
            }
            let duplicate = Record { index, url, url_hash: record.url_hash.clone(), outcome, extra };
            self.settle(None, &duplicate, None);
        }
    }

    fn write_down(&mut self, record: &Record, line: &[u8], key: Option<Key>) {
        if let Err(error) = self.journal.append(record, line, key) {
            self.fail(error);
        }
        if let Some(manifest) = &mut self.manifest
            && let Err(error) = manifest.write_all(line).and_then(|()| manifest.write_all(b"\n"))
        {
            self.lose_manifest(error);
        }
    }

    /// Writes the records since the last call; with `--fsync`, so that they survive a loss of power.
    pub fn write(&mut self) {
        let written = self.journal.flush();
        if let Err(error) = written.and_then(|()| if self.sink.syncs() { self.journal.sync() } else { Ok(()) }) {
            self.fail(error);
        }
        if let Some(Err(error)) = self.manifest.as_mut().map(std::io::Write::flush) {
            self.lose_manifest(error);
        }
        // Receipts are released when the records are where they have to survive; if they cannot be written, not at all.
        if self.failure.is_none() {
            self.receipts.drain(..).for_each(Receipt::release);
        }
    }

    /// Why the run cannot go on, if it cannot.
    #[must_use]
    pub const fn failure(&self) -> Option<&RunError> {
        self.failure.as_ref()
    }

    /// Remembers the first reason not to go on.
    pub fn fail(&mut self, error: RunError) {
        self.failure.get_or_insert(error);
    }

    /// What came of the pass, and why it ended early if it did.
    #[must_use]
    pub fn finish(mut self) -> (Tally, Option<RunError>) {
        self.write();
        (self.tally, self.failure)
    }

    /// A closed pipe ends the manifest and not the run: the images are still wanted. Any other failure ends the run.
    fn lose_manifest(&mut self, error: io::Error) {
        self.manifest = None;
        if error.kind() == io::ErrorKind::BrokenPipe {
            tracing::warn!(target: "fetchimg", "Nobody reads the manifest any more; the journal has all records");
        } else {
            self.fail(RunError::Output { path: "the manifest".into(), source: error });
        }
    }
}

/// The outcome of a row that has the URL of an earlier one. `path`: the file of the earlier row, if it has one.
/// `other_digest`: the digest of the image, if it is not the one that this row asks for.
fn repeated(path: Option<String>, checksum: Option<&Checksum>, other_digest: Option<&str>) -> Outcome {
    match (path, checksum, other_digest) {
        (Some(path), Some(Checksum { algorithm, digest }), Some(made)) => {
            let name = algorithm.name();
            let clause = format!("the {name} of {path}, from an earlier row, is {made}, and the list says {digest}");
            Outcome::Failed(Failed::new(&FetchError::new(ErrorKind::Checksum, clause), 0, None))
        }
        (path, ..) => Outcome::Skipped(Skipped { reason: Reason::DuplicateUrl, path, bytes: None }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::pin;

    use futures::stream;
    use url::Url;

    use super::*;
    use crate::journal::RowIdentity;
    use crate::sink::folder::wal::{Mark, Wal};
    use crate::sink::{Folder, folder};

    /// The rows of a pass in this folder.
    fn rows<'a>(folder: &Path, fsync: bool, journal: &'a mut Journal) -> Ledger<'a> {
        let options = folder::Options { fsync, ..folder::Options::default() };
        let namer = Namer::new("{basename}".parse().expect("a template"), false);
        Ledger {
            existing: Existing::Keep,
            journal,
            manifest: None,
            sink: Arc::new(Sink::Folder(Folder::open(folder, options).expect("a folder"))),
            namer: Arc::new(Mutex::new(namer)),
            counters: Arc::default(),
            waiting: HashMap::new(),
            receipts: Vec::new(),
            tally: Tally::new(Mode::Concurrent),
            records: None,
            failure: None,
        }
    }

    fn fetched(job: &Job) -> Box<Fetched> {
        let outcome = Outcome::Failed(Failed::new(&FetchError::new(ErrorKind::CutShort, "cut"), 1, None));
        Box::new(Fetched { record: Record::of(job, outcome), line: None, receipt: Receipt::None })
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn receipts_are_kept_until_the_records_are_on_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        // What is written there cannot be synced.
        let mut journal = Journal::open(Path::new("/dev/null"), RowIdentity::Url, |_| {}).expect("a journal");
        let wal = Wal::new(folder.path().join("wal"), None, true);
        let job = Job::new(0, Url::parse("http://a.example/a.png").expect("a URL"));
        for fsync in [false, true] {
            let mut rows = rows(&folder.path().join(fsync.to_string()), fsync, &mut journal);
            let entry = wal.append(Mark { inode: 1, modified: 1 }, b"{}").expect("an entry");
            let key = rows.journal.key(&job);
            rows.fetched(key, Box::new(Fetched { receipt: Receipt::Wal(entry), ..*fetched(&job) }));
            rows.write();
            assert_eq!((rows.receipts.len(), rows.failure().is_some()), (usize::from(fsync), fsync));
        }
    }

    #[test]
    fn a_list_waits_while_too_many_of_its_rows_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::open(&folder.path().join("journal"), RowIdentity::Url, |_| {}).expect("a journal");
        let mut rows = rows(folder.path(), false, &mut journal);
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let mut listed = pin!(with_slots(stream::iter((0..).map(|index| Job::new(index, url.clone())))));
        let mut next = || listed.next().now_or_never().flatten();
        let (first, slot) = next().expect("a row");
        let (key, work) = rows.admit(Ok(first), slot).expect("work");
        for _ in 0..MAX_WAITING {
            let (row, slot) = next().expect("a row, for there is a slot");
            assert!(rows.admit(Ok(row), slot).is_none());
        }
        assert!(next().is_none(), "no slot is left");
        rows.fetched(key, fetched(&work.job));
        let (row, slot) = next().expect("what has been settled gives its slot back");
        assert!(rows.admit(Ok(row), slot).is_none());
        assert_eq!(rows.finish().0.summary(std::time::Duration::ZERO, 1).rows, MAX_WAITING as u64 + 2);
    }
}
