//! What becomes of a row before and after its download.
//!
//! Before, in list order and one row at a time: is it a URL at all, has this list named it before, is it saved already,
//! and which name does it get ([`Rows::admit`])? After, in whatever order downloads end: note the record, count it, say
//! it ([`Rows::fetched`]). Every row is settled exactly once.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Kind, RunError};
use crate::fetch::{Fetched, Work};
use crate::intents::Intent;
use crate::job::{Extra, Outcome, Reason, Record, Row, Skipped};
use crate::journal::{Journal, Key, Met, Stored};
use crate::manifest::Manifest;
use crate::naming::Namer;
use crate::progress::Counters;
use crate::report::{Mode, Tally};
use crate::shown::{self, harmless};
use crate::sink::{Files, Publish};

/// What to do with images that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Skip what is saved; leave other files alone.
    Keep,
    /// Fetch everything; replace what fetchimg wrote, leave other files alone (`--compare`).
    Refresh,
    /// Fetch and replace everything (`--overwrite`).
    Replace,
}

/// The rows of one pass over the list.
pub struct Rows<'a> {
    existing: Existing,
    journal: &'a mut Journal,
    manifest: Option<&'a mut Manifest>,
    files: Arc<Files>,
    namer: Arc<Mutex<Namer>>,
    counters: Arc<Counters>,
    /// Rows that wait for an earlier row with the same URL.
    waiting: HashMap<Key, Vec<Waiting>>,
    /// Notes on files whose records have not been written yet.
    open: Vec<Intent>,
    tally: Tally,
    failure: Option<RunError>,
}

/// What is not the same as in the row that it waits for.
struct Waiting {
    index: u64,
    fragment: Option<Box<str>>,
    extra: Extra,
}

impl<'a> Rows<'a> {
    /// Begins a pass. Without a `manifest`, records go to the journal alone.
    pub fn new(
        mode: Mode,
        existing: Existing,
        journal: &'a mut Journal,
        manifest: Option<&'a mut Manifest>,
        files: Arc<Files>,
        namer: Arc<Mutex<Namer>>,
        counters: Arc<Counters>,
    ) -> Self {
        let tally = Tally::new(mode);
        let (waiting, open) = (HashMap::new(), Vec::new());
        Self { existing, journal, manifest, files, namer, counters, waiting, open, tally, failure: None }
    }

    /// Decides about the next row of the list: work to do, or a record at once.
    pub fn admit(&mut self, row: Row) -> Option<(Key, Work)> {
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                self.settle(None, &record, None);
                return None;
            }
        };
        self.tally.name_url(&job.url);
        let skip = |reason, path| Outcome::Skipped(Skipped { reason, path });
        let key = self.journal.key(&job);
        let earlier = match self.journal.meet(key, &job) {
            Ok(Met::First(earlier)) => earlier,
            Ok(Met::Done(path)) => {
                self.settle(None, &Record::of(&job, skip(Reason::DuplicateUrl, path)), None);
                return None;
            }
            Ok(Met::UnderWay) => {
                let fragment = job.url.fragment().map(Into::into);
                let waiting = Waiting { index: job.index, fragment, extra: job.extra };
                self.waiting.entry(key).or_default().push(waiting);
                return None;
            }
            Err(error) => {
                self.fail(error);
                return None;
            }
        };
        if let Some(Stored { path, bytes }) = &earlier
            && self.existing == Existing::Keep
            && self.files.size(path) == Some(*bytes)
        {
            let record = Record::of(&job, skip(Reason::AlreadySaved, Some(path.clone())));
            self.settle(Some(key), &record, None);
            return None;
        }
        // What an earlier run wrote for this URL is fetchimg's to replace, under the name it has.
        let publish = match (&earlier, self.existing) {
            (None, Existing::Keep | Existing::Refresh) => Publish::New,
            _ => Publish::Replace,
        };
        let mut namer = self.namer.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, replaces) = match earlier {
            // The names that are asked for now may be others.
            Some(stored) if self.existing == Existing::Replace => {
                (namer.reserve_instead(&job, &stored.path), Some((stored.path, stored.bytes)))
            }
            Some(stored) => (namer.again(stored.path), None),
            None => (namer.reserve(&job), None),
        };
        drop(namer);
        Some((key, Work { job, name, publish, replaces }))
    }

    /// Takes what came of the download of a row.
    pub fn fetched(&mut self, key: Key, fetched: Box<Fetched>) {
        let Fetched { record, line, intent } = *fetched;
        self.settle(Some(key), &record, line);
        self.open.extend(intent);
    }

    /// Takes the record of a row. `key`: the record is the last word of this run on that URL, and rows that have waited
    /// for it are settled with it. `line`: the record as JSON, if somebody has it already.
    fn settle(&mut self, key: Option<Key>, record: &Record, line: Option<Vec<u8>>) {
        let counter = match &record.outcome {
            Outcome::Saved(_) => &self.counters.saved,
            Outcome::Failed(_) => &self.counters.failed,
            Outcome::Skipped(_) => &self.counters.skipped,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        say(record);
        self.tally.add(record);
        if let Outcome::Failed(failed) = &record.outcome
            && failed.ends_run
        {
            self.fail(RunError::Disk { folder: self.files.root().to_owned(), message: failed.message.clone() });
        }
        match line.map_or_else(|| shown::json(record, false), Ok) {
            Ok(line) => self.write_down(record, &line, key),
            Err(error) => self.fail(RunError::System(error.into())),
        }
        for Waiting { index, fragment, extra } in key.and_then(|key| self.waiting.remove(&key)).unwrap_or_default() {
            let path = match &record.outcome {
                Outcome::Saved(saved) => Some(saved.path.clone()),
                Outcome::Skipped(skipped) => skipped.path.clone(),
                Outcome::Failed(_) => None,
            };
            let outcome = Outcome::Skipped(Skipped { reason: Reason::DuplicateUrl, path });
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
        if let Err(error) = self.journal.note(record, line, key) {
            self.fail(error);
        }
        if let Some(manifest) = &mut self.manifest
            && let Err(error) = manifest.write_all(line).and_then(|()| manifest.write_all(b"\n"))
        {
            self.lose_manifest(error);
        }
    }

    /// Writes what has been noted since the last time.
    pub fn write(&mut self) {
        if let Err(error) = self.journal.write() {
            self.fail(error);
        }
        if let Some(Err(error)) = self.manifest.as_mut().map(std::io::Write::flush) {
            self.lose_manifest(error);
        }
        // When the records could not be written, the notes are all that there is, and stay.
        if self.failure.is_none() {
            self.open.drain(..).for_each(Intent::done);
        }
    }

    /// Makes the records that have been written survive a loss of power.
    pub fn sync(&mut self) {
        if let Err(error) = self.journal.sync() {
            self.fail(error);
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

    /// Who reads the manifest may go away; the images are still wanted. Any other trouble with it is the run's.
    fn lose_manifest(&mut self, error: io::Error) {
        self.manifest = None;
        if error.kind() == io::ErrorKind::BrokenPipe {
            tracing::warn!(target: "fetchimg", "Nobody reads the manifest any more; the journal has all records");
        } else {
            self.fail(RunError::Output { path: "the manifest".into(), source: error });
        }
    }
}

/// The log line of a record.
fn say(record: &Record) {
    let url = harmless(&record.url);
    match &record.outcome {
        Outcome::Saved(saved) if saved.extension_mismatch => {
            let format = saved.format.map_or("something else", |format| format.name());
            tracing::info!(target: "fetchimg", "Downloaded: {url} (named {}, but {format})", harmless(&saved.path));
        }
        Outcome::Saved(_) => tracing::info!(target: "fetchimg", "Downloaded: {url}"),
        Outcome::Skipped(Skipped { reason: Reason::FileExists, path }) => {
            let path = path.as_deref().unwrap_or_default();
            tracing::warn!(target: "fetchimg", "Kept: {}, of which no earlier run has a record, instead of {url}; --overwrite replaces it", harmless(path));
        }
        Outcome::Skipped(skipped) => tracing::debug!(target: "fetchimg", "Skipped: {url}: {}", skipped.reason.name()),
        // One line said why the run ends; not one for each row as well.
        Outcome::Failed(failed) if failed.error == Kind::Interrupted.name() => {
            tracing::debug!(target: "fetchimg", "Left: {url}: {}", harmless(&failed.message));
        }
        Outcome::Failed(failed) => {
            let attempts = match failed.attempts {
                0 | 1 => String::new(),
                attempts => format!(" ({attempts} attempts)"),
            };
            let advice = Kind::by_name(&failed.error, failed.http_status).and_then(Kind::advice);
            let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
            // Of a row that could not be read there is no URL to show, and the message says where it is.
            let url = if url.is_empty() { url } else { format!("{url}: ").into() };
            tracing::error!(target: "fetchimg", "Failed: {url}{}{attempts}{advice}", harmless(&failed.message));
        }
    }
}
