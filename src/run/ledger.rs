//! Gives every row of a pass exactly one record.
//!
//! [`Ledger::admit`] takes the rows in list order, before their download, and decides about them (see
//! [`super::admission`]). [`Ledger::fetched`] takes the results, in the order in which downloads end. Every row is
//! settled exactly once: its record is written to the journal and the manifest, counted, and logged. Only a row that an
//! interrupted run never began is left to the next one.

#[cfg(feature = "parquet")]
mod units;

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::admission::{Admission, Admitted, admit_without_url};
use super::changes::Changes;
use super::output::RowLog;
use super::stream::RecordSender;
use crate::fetch::{self, Fetched, Fetcher, Work};
use crate::journal::manifest::Manifest;
use crate::journal::{Journal, Key};
use crate::naming::{Namer, Template};
use crate::progress::Counters;
#[cfg(feature = "parquet")]
use crate::record::MadeWith;
use crate::record::{
    Checksum, ErrorKind, Existing, Extra, Failed, FetchError, Job, Mode, Outcome, Reason, Record, RecordLine, Row,
    RunError, Skipped,
};
use crate::report::Tally;
#[cfg(feature = "parquet")]
use crate::sink::Shards;
use crate::sink::{Folder, Receipt, Sink};
use crate::util::lock;

#[cfg(feature = "parquet")]
pub use self::units::SampleRules;

/// The rows of one pass over the list, and their records.
pub struct Ledger<'a> {
    existing: Existing,
    wishes: fetch::Options,
    journal: &'a mut Journal,
    manifest: Option<&'a mut Manifest>,
    sink: Arc<Sink>,
    namer: Arc<Mutex<Namer>>,
    /// The template of the names, if it has columns.
    named_by_columns: Option<Template>,
    counters: Arc<Counters>,
    changes: &'a mut Changes,
    /// Whether files that rows had before are removed when no row has them any more.
    removes_files: bool,
    /// Rows that wait for an earlier row with the same URL.
    waiting: HashMap<Key, Vec<Waiting>>,
    /// To be released when the records are written.
    receipts: Vec<Receipt>,
    tally: Tally,
    log: RowLog,
    /// Where each record goes too.
    records: Option<RecordSender>,
    failure: Option<RunError>,
    /// How rows become samples, if they go into shards.
    #[cfg(feature = "parquet")]
    samples: Option<SampleRules>,
    #[cfg(feature = "parquet")]
    present: Option<units::PresentRecords>,
    /// The wishes of the run, for the records of shards that are there.
    #[cfg(feature = "parquet")]
    made_with: MadeWith,
}

/// A row that waits for an earlier row with the same URL. Only what may differ between the two is kept.
struct Waiting {
    index: u64,
    fragment: Option<Box<str>>,
    extra: Extra,
    checksum: Option<Box<Checksum>>,
    _slot: DuplicateSlot,
}

/// The columns in a record.
#[derive(serde::Deserialize)]
struct Columns {
    #[serde(default)]
    extra: Extra,
}

/// The number of rows that may wait for earlier ones with the same URL.
const MAX_WAITING: usize = 8192;

/// Allows one row to wait for an earlier one with the same URL. Dropping it frees the slot for another row.
#[derive(Debug)]
pub struct DuplicateSlot {
    _permit: Option<OwnedSemaphorePermit>,
}

/// Pairs each row of a list with a slot, in case it has to wait. When all slots are taken, the list is not read
/// further. This cannot deadlock: a row waits only for rows that were read before it, and these are fetched in any
/// case.
pub fn with_slots<R>(listed: impl Stream<Item = R>) -> impl Stream<Item = (R, DuplicateSlot)> {
    let slots = Arc::new(Semaphore::new(MAX_WAITING));
    // The semaphore is never closed, so `acquire_owned` does not fail.
    listed
        .then(move |row| Arc::clone(&slots).acquire_owned().map(|permit| (row, DuplicateSlot { _permit: permit.ok() })))
}

impl<'a> Ledger<'a> {
    /// Begins a pass with the downloads of `fetcher`. Without a `manifest`, records are written to the journal only.
    pub fn new(
        mode: Mode,
        existing: Existing,
        journal: &'a mut Journal,
        manifest: Option<&'a mut Manifest>,
        (fetcher, changes): (&Fetcher, &'a mut Changes),
    ) -> Self {
        let template = lock(&fetcher.namer).template().clone();
        Self {
            existing,
            wishes: fetcher.options.clone(),
            journal,
            manifest,
            sink: Arc::clone(&fetcher.sink),
            namer: Arc::clone(&fetcher.namer),
            named_by_columns: Some(template).filter(|template| template.columns().next().is_some()),
            counters: Arc::clone(&fetcher.counters),
            removes_files: fetcher.sink.folder().is_some_and(Folder::removes_files),
            changes,
            waiting: HashMap::new(),
            receipts: Vec::new(),
            tally: Tally::new(mode),
            log: RowLog::new(fetcher.sink.keeps_images().then(|| fetcher.sink.root())),
            records: None,
            failure: None,
            #[cfg(feature = "parquet")]
            samples: None,
            #[cfg(feature = "parquet")]
            present: None,
            #[cfg(feature = "parquet")]
            made_with: fetcher.made_with.clone(),
        }
    }

    /// Makes samples of the rows, by these rules.
    #[cfg(feature = "parquet")]
    pub fn with_samples(mut self, samples: Option<SampleRules>) -> Self {
        self.samples = samples;
        self
    }

    /// Sends each record there too.
    pub fn forwarding(mut self, records: Option<RecordSender>) -> Self {
        self.records = records;
        self
    }

    /// Admits the next row of the list. Returns the work to do; `None` if the row gets its record without a download,
    /// now or, holding `slot`, when an earlier row with the same URL gets one.
    pub fn admit(&mut self, row: Row, slot: DuplicateSlot) -> Option<(Key, Work)> {
        #[cfg(feature = "parquet")]
        if self.samples.is_some() {
            return self.admit_to_shard(row, slot);
        }
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                match admit_without_url(record, self.journal) {
                    Ok(record) => self.settle(None, &record, None),
                    Err(error) => self.fail(error),
                }
                return None;
            }
        };
        self.tally.add_url(&job.url);
        let key = self.journal.key(&job);
        let mut namer = lock(&self.namer);
        let size = |path: &str| self.sink.size(path);
        let (existing, wishes, changes) = (self.existing, &self.wishes, &mut *self.changes);
        let admission = Admission { existing, wishes, journal: self.journal, namer: &mut namer, changes, size };
        let admitted = admission.admit(&job, key);
        drop(namer);
        match admitted {
            Ok(Admitted::Fetch { name, on_conflict, replaces, stored }) => {
                return Some((key, Work { job, name, on_conflict, replaces, stored }));
            }
            Ok(Admitted::Refused(file, error)) => {
                let mut record = Record::of(&job, Outcome::of_error(&error, 0, None));
                if let Outcome::Refused(refused) = &mut record.outcome {
                    refused.removed = Some(file.path.clone());
                }
                // A run that is killed in between leaves a row without a file, which the next run fetches and refuses.
                self.sink.release(&file.path, file.bytes);
                self.changes.note_removed();
                self.settle(Some(key), &record, None);
            }
            Ok(Admitted::Saved(stored)) => {
                let record = Record::of(&job, Outcome::Skipped(stored.already_saved()));
                self.settle(Some(key), &record, None);
            }
            Ok(Admitted::Ended(outcome)) => self.settle(Some(key), &Record::of(&job, *outcome), None),
            Ok(Admitted::Duplicate(stored)) => {
                if self.named_by_columns.is_some()
                    && let Ok(earlier) = serde_json::from_slice::<Columns>(self.journal.line_read())
                {
                    self.compare_columns(&job.extra, &earlier.extra);
                }
                let (path, other_digest) = stored.map(|stored| (stored.path, stored.other_digest)).unzip();
                let outcome = duplicate_outcome(path, job.checksum.as_deref(), other_digest.flatten().as_deref());
                self.settle(None, &Record::of(&job, outcome), None);
            }
            Ok(Admitted::InFlight) => self.wait(key, job, slot),
            Err(error) => self.fail(error),
        }
        None
    }

    /// Keeps a row until an earlier one with the same URL has its record.
    fn wait(&mut self, key: Key, job: Job, slot: DuplicateSlot) {
        let fragment = job.url.fragment().map(Into::into);
        let Job { index, extra, checksum, .. } = job;
        let waiting = Waiting { index, fragment, extra, checksum, _slot: slot };
        self.waiting.entry(key).or_default().push(waiting);
    }

    /// Takes the result of the download of a row. A row that an interrupted run never began gets no record.
    pub fn fetched(&mut self, key: Key, fetched: Box<Fetched>) {
        let Fetched { mut record, line, receipt } = *fetched;
        if let Outcome::Failed(failed) = &mut record.outcome
            && failed.ends_run
            && self.sink.is_closed()
        {
            // It is no failure of the row.
            let clause = "the reader of standard output has gone away";
            *failed = Failed::new(&FetchError::new(ErrorKind::Interrupted, clause), failed.attempts, failed.timing);
            self.fail(RunError::Closed);
        }
        if has_not_begun(&record) {
            // Neither have the rows that wait for it.
            self.waiting.remove(&key);
            return;
        }
        if let Outcome::Saved(saved) = &record.outcome {
            self.changes.note_saved(key, saved.attempts);
        }
        // A record whose file stays as it is has not been serialised (`--remake`).
        if self.removes_files && line.is_some() && matches!(record.outcome, Outcome::Saved(_)) {
            self.release_earlier(key);
        }
        self.settle(Some(key), &record, line);
        if !matches!(receipt, Receipt::None) {
            self.receipts.push(receipt);
        }
    }

    /// The row has a new file, so it no longer has the one of an earlier run. This comes before the new record is in the
    /// journal: a run that is killed in between leaves the record in the write-ahead log, and the next run does this
    /// again.
    fn release_earlier(&mut self, key: Key) {
        match self.journal.earlier_file(key) {
            Ok(Some(earlier)) => self.sink.release(&earlier.path, earlier.bytes),
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Takes the record of a row. With a `key`, it is the final record of this run for the URL, and the rows that wait
    /// for it are settled too. `line` is the record as a line of JSON, if it was serialised before.
    fn settle(&mut self, key: Option<Key>, record: &Record, line: Option<RecordLine>) {
        self.count(record);
        self.log.add(record);
        if let Outcome::Failed(failed) = &record.outcome
            && failed.ends_run
        {
            self.fail(RunError::Disk { folder: self.sink.root(), message: failed.message.clone() });
        }
        match line.map_or_else(|| self.line(record), Ok) {
            Ok(line) => self.append(record, line.as_bytes(), key),
            Err(error) => self.fail(RunError::System(error.into())),
        }
        if let Some(records) = &self.records {
            records.send(record.clone());
        }
        for Waiting { index, fragment, extra, checksum, _slot } in
            key.and_then(|key| self.waiting.remove(&key)).unwrap_or_default()
        {
            let path = match &record.outcome {
                Outcome::Saved(saved) => Some(saved.path.clone()),
                Outcome::Skipped(skipped) => skipped.path.clone(),
                Outcome::Failed(_) | Outcome::Refused(_) => None,
            };
            let other_digest = checksum.as_deref().and_then(|checksum| match &record.outcome {
                Outcome::Saved(saved) => {
                    saved.received_digest(checksum.algorithm).filter(|made| *made != checksum.digest)
                }
                _ => None,
            });
            let outcome = duplicate_outcome(path, checksum.as_deref(), other_digest);
            let mut url = record.url.split('#').next().unwrap_or_default().to_owned();
            if let Some(fragment) = fragment {
                url.push('#');
                url.push_str(&fragment);
            }
            self.compare_columns(&extra, &record.extra);
            let duplicate = Record { index, url, url_hash: record.url_hash.clone(), outcome, extra };
            self.settle(None, &duplicate, None);
        }
    }

    /// Counts a row with the URL of an earlier row, if their names would differ in a column.
    fn compare_columns(&mut self, extra: &Extra, earlier: &Extra) {
        let template = self.named_by_columns.as_ref();
        if let Some(column) = template.and_then(|template| template.differing_column(extra, earlier)) {
            self.tally.add_relabelled_duplicate(column);
        }
    }

    fn count(&mut self, record: &Record) {
        match &record.outcome {
            Outcome::Saved(saved) => {
                self.counters.downloaded.fetch_add(u64::from(saved.attempts > 0), Ordering::Relaxed);
                self.counters.saved.fetch_add(1, Ordering::Relaxed);
                if let Some(template) = &self.named_by_columns {
                    template.empty_columns(&record.extra).for_each(|column| self.tally.add_empty_column(column));
                }
            }
            Outcome::Failed(failed) => self.counters.fail(record, failed),
            Outcome::Refused(_) => _ = self.counters.refused.fetch_add(1, Ordering::Relaxed),
            Outcome::Skipped(_) => _ = self.counters.skipped.fetch_add(1, Ordering::Relaxed),
        }
        self.tally.add(record);
    }

    fn line(&self, record: &Record) -> serde_json::Result<RecordLine> {
        #[cfg(feature = "parquet")]
        if let Some(shards) = self.sink.shards() {
            return shards.line(record);
        }
        RecordLine::of(record)
    }

    fn append(&mut self, record: &Record, line: &[u8], key: Option<Key>) {
        #[cfg(feature = "parquet")]
        let appended = match self.sink.shards() {
            Some(shards) => shards.settle(record, line),
            None => self.journal.append(record, line, key),
        };
        #[cfg(not(feature = "parquet"))]
        let appended = self.journal.append(record, line, key);
        if let Err(error) = appended {
            self.fail(error);
        }
        self.write_to_manifest(line);
    }

    fn write_to_manifest(&mut self, line: &[u8]) {
        if let Some(manifest) = &mut self.manifest
            && let Err(error) = manifest.write_all(line).and_then(|()| manifest.write_all(b"\n"))
        {
            self.lose_manifest(error);
        }
    }

    /// Writes the records that have come since the last call. With `--fsync`, they survive a loss of power then.
    pub fn write(&mut self) {
        let written = self.journal.flush();
        #[cfg(feature = "parquet")]
        let written = written.and_then(|()| self.sink.shards().map_or(Ok(()), Shards::flush));
        if let Err(error) = written.and_then(|()| if self.sink.syncs() { self.journal.sync() } else { Ok(()) }) {
            self.fail(error);
        }
        if let Some(Err(error)) = self.manifest.as_mut().map(std::io::Write::flush) {
            self.lose_manifest(error);
        }
        // A receipt is released only when its record is safely in the journal. If the journal cannot be written, the
        // receipts are kept, and the next run adopts the records from the write-ahead log.
        if self.failure.is_none() {
            self.receipts.drain(..).for_each(Receipt::release);
        }
    }

    /// The error because of which the run cannot go on, if there is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&RunError> {
        self.failure.as_ref()
    }

    /// Keeps the error because of which the run cannot go on. Later ones are dropped.
    pub fn fail(&mut self, error: RunError) {
        self.failure.get_or_insert(error);
    }

    /// Ends the pass. Returns its tally, and the error that ended it early if there was one.
    #[must_use]
    pub fn finish(mut self) -> (Tally, Option<RunError>) {
        self.write();
        (self.tally, self.failure)
    }

    /// Handles a failed write to the manifest. If its reader has closed the pipe, the run goes on without a manifest,
    /// because the images are still wanted. Any other error ends the run.
    fn lose_manifest(&mut self, error: io::Error) {
        self.manifest = None;
        if error.kind() == io::ErrorKind::BrokenPipe {
            tracing::warn!(target: "fetchimg", "The reader of the manifest has closed it; the journal has all records");
        } else {
            self.fail(RunError::Output { path: "the manifest".into(), source: error });
        }
    }
}

fn skip(reason: Reason, path: Option<String>) -> Outcome {
    Outcome::Skipped(Skipped::new(reason, path))
}

/// Whether the run was interrupted before the first attempt at the row.
fn has_not_begun(record: &Record) -> bool {
    let Outcome::Failed(failed) = &record.outcome else { return false };
    failed.attempts == 0 && failed.error == ErrorKind::Interrupted.name()
}

/// The outcome of a row that has the same URL as an earlier one. `path` is the file of the earlier row, if it has one.
/// `other_digest` is the digest of the image, if it differs from the one that this row expects.
fn duplicate_outcome(path: Option<String>, checksum: Option<&Checksum>, other_digest: Option<&str>) -> Outcome {
    match (path, checksum, other_digest) {
        (Some(path), Some(Checksum { algorithm, digest }), Some(made)) => {
            let name = algorithm.name();
            let clause = format!("the {name} of {path}, from an earlier row, is {made}, and the list says {digest}");
            Outcome::Failed(Failed::new(&FetchError::new(ErrorKind::Checksum, clause), 0, None))
        }
        (path, ..) => Outcome::Skipped(Skipped::new(Reason::DuplicateUrl, path)),
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
    use crate::sink::folder;
    use crate::sink::folder::wal::{FileMark, Wal};

    /// The ledger of a pass with this output folder.
    fn ledger<'a>(folder: &Path, fsync: bool, (journal, changes): (&'a mut Journal, &'a mut Changes)) -> Ledger<'a> {
        let options = folder::Options { fsync, ..folder::Options::default() };
        let namer = Namer::new("{basename}".parse().expect("a template"), false);
        Ledger {
            existing: Existing::Keep,
            wishes: fetch::Options::default(),
            journal,
            manifest: None,
            sink: Arc::new(Sink::Folder(Folder::open(folder, None, options).expect("a folder"))),
            namer: Arc::new(Mutex::new(namer)),
            named_by_columns: None,
            counters: Arc::default(),
            changes,
            removes_files: false,
            waiting: HashMap::new(),
            receipts: Vec::new(),
            tally: Tally::new(Mode::Concurrent),
            log: RowLog::new(Some(folder.to_owned())),
            records: None,
            failure: None,
            #[cfg(feature = "parquet")]
            samples: None,
            #[cfg(feature = "parquet")]
            present: None,
            #[cfg(feature = "parquet")]
            made_with: MadeWith::default(),
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
        // /dev/null can be written but not synced.
        let mut journal = Journal::open(Path::new("/dev/null"), RowIdentity::Url, |_| {}).expect("a journal");
        let wal = Wal::new(folder.path().join("wal"), None, true);
        let job = Job::new(0, Url::parse("http://a.example/a.png").expect("a URL"));
        for fsync in [false, true] {
            let mut changes = Changes::new(&crate::run::Options::default());
            let of = (&mut journal, &mut changes);
            let mut ledger = ledger(&folder.path().join(fsync.to_string()), fsync, of);
            let entry = wal.append(FileMark { inode: 1, modified: 1 }, b"{}").expect("an entry");
            let key = ledger.journal.key(&job);
            ledger.fetched(key, Box::new(Fetched { receipt: Receipt::Wal(entry), ..*fetched(&job) }));
            ledger.write();
            assert_eq!((ledger.receipts.len(), ledger.failure().is_some()), (usize::from(fsync), fsync));
        }
    }

    #[test]
    fn a_list_is_not_read_further_while_too_many_rows_wait() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Journal::open(&folder.path().join("journal"), RowIdentity::Url, |_| {}).expect("a journal");
        let mut changes = Changes::new(&crate::run::Options::default());
        let mut ledger = ledger(folder.path(), false, (&mut journal, &mut changes));
        let url = Url::parse("http://a.example/a.png").expect("a URL");
        let mut listed = pin!(with_slots(stream::iter((0..).map(|index| Job::new(index, url.clone())))));
        let mut next = || listed.next().now_or_never().flatten();
        let (first, slot) = next().expect("a row");
        let (key, work) = ledger.admit(Ok(first), slot).expect("work");
        for _ in 0..MAX_WAITING {
            let (row, slot) = next().expect("a row, because a slot is free");
            assert!(ledger.admit(Ok(row), slot).is_none());
        }
        assert!(next().is_none(), "no slot is free");
        ledger.fetched(key, fetched(&work.job));
        let (row, slot) = next().expect("a row, because settled rows free their slots");
        assert!(ledger.admit(Ok(row), slot).is_none());
        assert_eq!(ledger.finish().0.summary(std::time::Duration::ZERO, 1).rows, MAX_WAITING as u64 + 2);
    }
}
