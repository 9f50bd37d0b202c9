//! Reads the list without sending requests, and finds out what a run would do with each row.
//!
//! Rows are admitted in list order by the same code as in a run ([`crate::run::admission`]), so they get the names that
//! a run would give them. What depends on the answers of servers stays open.

use std::collections::HashMap;
use std::pin::pin;

use foldhash::fast::RandomState;
use futures::StreamExt;

use super::admission::{Admission, Admitted, admit_without_url};
use super::changes::Changes;
use super::shutdown::Stop;
use crate::fetch::{self, Work};
use crate::input::Lists;
use crate::journal::{Journal, Key};
use crate::limiter::HostKey;
use crate::naming::Namer;
use crate::record::{Existing, Outcome, Phase, Reason, Record, Row, RunError, Skipped};
use crate::report::{Changed, HostRows, MAX_HOSTS_LISTED, RowCounts};
use crate::sink::OnConflict;
use crate::sink::folder::FolderView;

/// What a run would do with a row.
#[derive(Debug)]
pub enum RowPlan {
    /// Fetch it.
    Fetch(Key, Box<Work>),
    /// Nothing, because its record is known already. With its key, if it is the first row with its URL.
    Settled(Option<Key>, Box<Record>),
}

/// Admits rows without fetching them, and counts them.
#[derive(Debug)]
pub struct Survey<'a> {
    existing: Existing,
    wishes: &'a fetch::Options,
    folder: FolderView,
    journal: &'a mut Journal,
    namer: &'a mut Namer,
    changes: &'a mut Changes,
    counts: RowCounts,
    hosts: HashMap<HostKey, u64, RandomState>,
}

impl<'a> Survey<'a> {
    /// Begins a survey.
    pub fn new(
        (existing, wishes): (Existing, &'a fetch::Options),
        folder: FolderView,
        journal: &'a mut Journal,
        (namer, changes): (&'a mut Namer, &'a mut Changes),
    ) -> Self {
        let (counts, hosts) = (RowCounts::default(), HashMap::default());
        Self { existing, wishes, folder, journal, namer, changes, counts, hosts }
    }

    /// Calls `each` for every row of the lists, until they end or the run is asked to.
    ///
    /// # Errors
    /// When the lists or the journal cannot be read, and those of `each`.
    pub async fn go(
        &mut self,
        lists: &Lists,
        stop: &Stop,
        mut each: impl FnMut(&mut Self, RowPlan) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (rows, _) = lists.rows()?;
        let mut rows = pin!(rows.take_until(stop.reached(Phase::Finishing)));
        while let Some(row) = rows.next().await {
            let plan = self.plan(row?)?;
            each(self, plan)?;
        }
        Ok(())
    }

    /// Decides about the next row of the list.
    fn plan(&mut self, row: Row) -> Result<RowPlan, RunError> {
        self.counts.rows += 1;
        let job = match row {
            Ok(job) => job,
            Err(record) => {
                let record = admit_without_url(record, self.journal)?;
                self.counts.add_settled(&record.outcome);
                return Ok(RowPlan::Settled(None, record));
            }
        };
        let key = self.journal.key(&job);
        let size = |path: &str| self.folder.size(path);
        let (existing, wishes, changes) = (self.existing, self.wishes, &mut *self.changes);
        let admission = Admission { existing, wishes, journal: self.journal, namer: self.namer, changes, size };
        let skip = |reason, path| Outcome::Skipped(Skipped::new(reason, path));
        let (key, outcome) = match admission.admit(&job, key)? {
            Admitted::Fetch { name, on_conflict, replaces, stored } => {
                let is_taken = |path: &&str| on_conflict == OnConflict::Keep && self.folder.is_taken(path);
                let Some(path) = name.known().filter(is_taken).map(str::to_owned) else {
                    if stored.is_some() {
                        self.counts.to_remake += 1;
                    } else {
                        self.counts.to_fetch += 1;
                        let host = HostKey::of(&job.url);
                        if !host.is_none() {
                            *self.hosts.entry(host).or_default() += 1;
                        }
                    }
                    return Ok(RowPlan::Fetch(key, Box::new(Work { job, name, on_conflict, replaces, stored })));
                };
                (Some(key), skip(Reason::FileExists, Some(path)))
            }
            Admitted::Refused(_, error) => (Some(key), Outcome::of_error(&error, 0, None)),
            Admitted::Saved(stored) => (Some(key), Outcome::Skipped(stored.already_saved())),
            Admitted::Ended(outcome) => (Some(key), *outcome),
            Admitted::Duplicate(stored) => (None, skip(Reason::DuplicateUrl, stored.map(|stored| stored.path))),
            Admitted::InFlight => (None, skip(Reason::DuplicateUrl, None)),
        };
        self.counts.add_settled(&outcome);
        let record = Record::of(&job, outcome);
        Ok(RowPlan::Settled(key, Box::new(record)))
    }

    /// Appends the planned line of a row to the journal's temporary file, so that later rows with the same URL find its
    /// file (see [`Journal::append_planned`]).
    ///
    /// # Errors
    /// When the temporary file cannot be written.
    pub fn append_planned(&mut self, line: &[u8], key: Key) -> Result<(), RunError> {
        self.journal.append_planned(line, key)
    }

    /// The counts of the rows so far.
    #[must_use]
    pub const fn counts(&self) -> &RowCounts {
        &self.counts
    }

    /// How saved images differ from what the run would make.
    #[must_use]
    pub fn changed(&self) -> Changed {
        self.changes.changed()
    }

    /// The number of hosts that would be contacted, and those with the most rows.
    #[must_use]
    pub fn hosts(&self) -> (u64, Vec<HostRows>) {
        let mut hosts = self.hosts.iter().map(|(host, rows)| (*rows, host.name())).collect::<Vec<_>>();
        hosts.sort_unstable_by(|(one, name), (other, next)| other.cmp(one).then_with(|| name.cmp(next)));
        let listed =
            hosts.iter().take(MAX_HOSTS_LISTED).map(|(rows, host)| HostRows { host: (*host).to_owned(), rows: *rows });
        (hosts.len() as u64, listed.collect())
    }
}
