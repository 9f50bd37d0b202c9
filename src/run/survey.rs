//! The list gone through without a request: what a run would do with each of its rows.
//!
//! Rows are judged in list order by the same rules as in a run ([`crate::run::admission`]), so they get the very names that a run
//! would give them. What only the answers can tell stays open.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;

use foldhash::fast::RandomState;
use futures::StreamExt;

use super::admission::{self, Admitted};
use super::shutdown::Stop;
use crate::fetch::Work;
use crate::input::Lists;
use crate::journal::{Journal, Key};
use crate::limiter::HostKey;
use crate::naming::Namer;
use crate::record::{ErrorKind, Existing, Outcome, Phase, Reason, Record, Row, RunError, Skipped};
use crate::report::{HostRows, MAX_HOSTS_LISTED, RowCounts};
use crate::sink::OnConflict;
use crate::util::private_file;

/// An output folder that is looked at and not touched. It need not be there.
#[derive(Clone, Debug)]
pub struct FolderView {
    root: PathBuf,
    /// There is nothing in it but what is fetchimg's own.
    is_empty: bool,
}

impl FolderView {
    /// Looks whether it can be one.
    ///
    /// # Errors
    /// When it cannot: a run would not begin.
    pub fn new(root: &Path) -> Result<Self, RunError> {
        let private = root.join(private_file::FOLDER);
        let is_refused = |path: &Path, found: io::Result<fs::Metadata>| match found {
            Ok(found) if !found.is_dir() => {
                let source = io::Error::new(io::ErrorKind::NotADirectory, "it is no folder, or a link to one");
                Err(RunError::Output { path: path.to_owned(), source })
            }
            _ => Ok(()),
        };
        is_refused(root, fs::metadata(root))?;
        is_refused(&private, fs::symlink_metadata(&private))?;
        let is_other = |entry: fs::DirEntry| entry.file_name() != private_file::FOLDER;
        let is_empty = !fs::read_dir(root).is_ok_and(|entries| entries.flatten().any(is_other));
        Ok(Self { root: root.to_owned(), is_empty })
    }

    /// A file of fetchimg's own.
    #[must_use]
    pub fn private(&self, name: &str) -> PathBuf {
        self.root.join(private_file::FOLDER).join(name)
    }

    /// Whether the path leads to what is fetchimg's own.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let private = self.root.join(private_file::FOLDER).canonicalize();
        matches!((path.canonicalize(), private), (Ok(path), Ok(private)) if path.starts_with(&private))
    }

    /// What the system says about the regular file of that name, if there is one.
    #[must_use]
    pub fn look_at(&self, path: &str) -> Option<fs::Metadata> {
        fs::symlink_metadata(self.root.join(path)).ok().filter(fs::Metadata::is_file)
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.look_at(path).map(|found| found.len())
    }

    fn is_taken(&self, path: &str) -> bool {
        !self.is_empty && fs::symlink_metadata(self.root.join(path)).is_ok()
    }
}

/// What a run would do with a row.
#[derive(Debug)]
pub enum Verdict {
    /// Fetch it.
    Fetch(Key, Box<Work>),
    /// Nothing: its record is known. With its key, if it is the first row of its URL.
    Settled(Option<Key>, Box<Record>),
}

/// Judges rows and counts them.
#[derive(Debug)]
pub struct Survey<'a> {
    existing: Existing,
    folder: FolderView,
    journal: &'a mut Journal,
    namer: &'a mut Namer,
    counts: RowCounts,
    hosts: HashMap<HostKey, u64, RandomState>,
}

impl<'a> Survey<'a> {
    /// No row has come yet.
    pub fn new(existing: Existing, folder: FolderView, journal: &'a mut Journal, namer: &'a mut Namer) -> Self {
        Self { existing, folder, journal, namer, counts: RowCounts::default(), hosts: HashMap::default() }
    }

    /// Goes through the lists and hands over each row with its verdict, until they end or the run is asked to.
    ///
    /// # Errors
    /// Those of the lists, of the journal, and of `each`.
    pub async fn go(
        &mut self,
        lists: &Lists,
        stop: &Stop,
        mut each: impl FnMut(&mut Self, Verdict) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (rows, _) = lists.rows()?;
        let mut rows = pin!(rows.take_until(stop.reached(Phase::Finishing)));
        while let Some(row) = rows.next().await {
            let verdict = self.judge(row?)?;
            each(self, verdict)?;
        }
        Ok(())
    }

    /// Judges the next row of the list.
    fn judge(&mut self, row: Row) -> Result<Verdict, RunError> {
        self.counts.rows += 1;
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                if let Outcome::Failed(failed) = &record.outcome {
                    let kind = ErrorKind::by_name(&failed.error, failed.http_status);
                    let name = kind.map_or_else(|| failed.error.clone(), |kind| kind.to_string());
                    *self.counts.bad_by_kind.entry(name).or_default() += 1;
                }
                return Ok(Verdict::Settled(None, record));
            }
        };
        let key = self.journal.key(&job);
        let size = |path: &str| self.folder.size(path);
        let (key, reason, path) = match admission::admit(&job, key, self.existing, self.journal, self.namer, size)? {
            Admitted::Fetch { name, publish, replaces } => {
                let is_taken = |path: &&str| publish == OnConflict::Keep && self.folder.is_taken(path);
                let Some(path) = name.known().filter(is_taken).map(str::to_owned) else {
                    self.counts.to_fetch += 1;
                    *self.hosts.entry(HostKey::of(&job.url)).or_default() += 1;
                    return Ok(Verdict::Fetch(key, Box::new(Work { job, name, publish, replaces })));
                };
                (Some(key), Reason::FileExists, Some(path))
            }
            Admitted::Saved(path) => (Some(key), Reason::AlreadySaved, Some(path)),
            Admitted::Duplicate(stored) => (None, Reason::DuplicateUrl, stored.map(|stored| stored.path)),
            Admitted::InFlight => (None, Reason::DuplicateUrl, None),
        };
        *self.counts.skipped_by_reason.entry(reason.name()).or_default() += 1;
        let record = Record::of(&job, Outcome::Skipped(Skipped { reason, path, bytes: None }));
        Ok(Verdict::Settled(key, Box::new(record)))
    }

    /// Later rows with the same URL are told the file that this line names (see [`Journal::append_planned`]).
    ///
    /// # Errors
    /// When that cannot be kept.
    pub fn foresee(&mut self, line: &[u8], key: Key) -> Result<(), RunError> {
        self.journal.append_planned(line, key)
    }

    /// What has come so far.
    #[must_use]
    pub const fn counts(&self) -> &RowCounts {
        &self.counts
    }

    /// How many hosts would be asked, and those with the most rows.
    #[must_use]
    pub fn hosts(&self) -> (u64, Vec<HostRows>) {
        let mut hosts = self.hosts.iter().map(|(host, rows)| (*rows, host.name())).collect::<Vec<_>>();
        hosts.sort_unstable_by(|(one, name), (other, next)| other.cmp(one).then_with(|| name.cmp(next)));
        let most =
            hosts.iter().take(MAX_HOSTS_LISTED).map(|(rows, host)| HostRows { host: (*host).to_owned(), rows: *rows });
        (hosts.len() as u64, most.collect())
    }
}
