//! A shard that is being made: its files grow while samples come, and what is known of its rows is in memory.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::sample::Sample;
use super::scratch::{
    FinishedFiles, LogHeader, LogPosition, RecordPlace, SamplePosition, Scratch, ScratchFiles, Settled, path_of,
};
use crate::record::{ColumnType, ColumnValues, ErrorKind, Job, Outcome, Record, hex, recorded_url, without_fragment};
use crate::sink::body::Body;
use crate::util::lock;

/// A shard that is being made.
#[derive(Debug)]
pub struct Unit {
    /// Its number among the shards of the list.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// When it was begun.
    pub began: SystemTime,
    /// Where its files wait; `None` if samples are not kept.
    scratch: Option<Scratch>,
    hasher: RandomState,
    state: Mutex<UnitState>,
    /// Allows this shard to be open.
    _permit: Option<OwnedSemaphorePermit>,
}

/// What is known of the rows of a shard.
#[derive(Debug, Default)]
struct UnitState {
    files: Option<ScratchFiles>,
    rows: Vec<UnitRow>,
    /// Rows that were read from the list.
    admitted: u64,
    /// Rows whose record is final.
    settled: u64,
    input: Sha256,
    /// The keys, where the template does not make them unique.
    keys: HashSet<Box<str>>,
    /// The first row with each URL, by a hash of it.
    urls: HashMap<u64, u64>,
    /// The first row with each content, by its SHA-256 (`--dedupe`).
    contents: HashMap<String, u64>,
    /// The columns of the list.
    columns: Vec<(Arc<str>, Option<ColumnValues>)>,
}

#[derive(Debug, Default)]
struct UnitRow {
    key: Box<str>,
    slot: Slot,
}

/// Where the record of a row is.
#[derive(Debug, Default)]
enum Slot {
    /// There is none yet.
    #[default]
    Open,
    /// In the tar file, with its image.
    Sample(Box<SamplePosition>),
    /// In the log.
    Logged(LogPosition),
    /// Nowhere, because samples are not kept: the path of its image, if it has one.
    Gone(Option<Box<str>>),
}

/// What a new shard must be made with, to go on with what a killed run has left of it.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The digest of the options that decide what is in the shard.
    pub settings: &'a str,
    /// The current boot, or a word that stands for any if files are flushed to the disk.
    pub boot: &'a str,
    /// What is left of the shard is removed (`--overwrite`).
    pub begins_anew: bool,
    /// What is left of the shard is removed if it was made with other options: no list has rows for it any more.
    pub gives_way: bool,
    /// Other runs may be making the same shard.
    pub is_shared: bool,
}

/// What the shard knows of a row when it is read from the list.
#[derive(Debug)]
pub enum UnitLookup {
    /// Nothing. The row has this key.
    New(Box<str>),
    /// An earlier run has settled it, with this record.
    Earlier(Vec<u8>),
    /// An earlier row of the shard has the same URL, and this image if it has one.
    Duplicate(Option<String>),
    /// An earlier row of the shard has the same URL, and is in flight.
    InFlight,
}

impl Conditions<'_> {
    /// Whether what a killed run has left is gone on with, instead of removed. `found`: what it says of itself.
    fn go_on(&self, found: Option<&LogHeader>) -> Result<bool, UnitError> {
        match found.filter(|found| found.boot == self.boot && !self.begins_anew) {
            Some(found) if found.settings == self.settings => Ok(true),
            Some(_) if !self.gives_way => Err(UnitError::OtherOptions),
            _ => Ok(false),
        }
    }
}

/// Why a shard cannot go on.
#[derive(Debug)]
pub enum UnitError {
    /// What a killed run has left of it was made with other options.
    OtherOptions,
    /// What a killed run has left of it was made from other rows.
    OtherRows,
    /// A file cannot be read or written.
    Io(io::Error),
}

impl From<io::Error> for UnitError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Unit {
    /// A shard whose samples are not kept.
    #[must_use]
    pub fn without_files(number: u64, name: String) -> Self {
        Self::new(number, name, None, UnitState::default(), None)
    }

    fn new(
        number: u64,
        name: String,
        scratch: Option<Scratch>,
        state: UnitState,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let (began, hasher) = (SystemTime::now(), RandomState::new());
        Self { number, name, began, scratch, hasher, state: Mutex::new(state), _permit: permit }
    }

    /// Opens the files of a shard in `folder`, and goes on with what a killed run has left in them. `row_of` tells the
    /// number of a row in the shard from its number in the list.
    ///
    /// # Errors
    /// When a file cannot be opened, or what is left was made with other options.
    pub fn open(
        (number, name): (u64, String),
        folder: &Path,
        conditions: Conditions<'_>,
        row_of: impl Fn(u64) -> u64,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, UnitError> {
        let (scratch, mut files) = ScratchFiles::open(folder, &name, conditions.is_shared)?;
        let header = LogHeader {
            shard: name.clone(),
            settings: conditions.settings.to_owned(),
            boot: conditions.boot.to_owned(),
        };
        let mut state = UnitState::default();
        if conditions.go_on(files.read_header().as_ref())? {
            files.recover()?.into_iter().for_each(|settled| state.recover(row_of(settled.index), settled));
        } else {
            files.begin(&header)?;
        }
        state.files = Some(files);
        Ok(Self::new(number, name, Some(scratch), state, Some(permit)))
    }

    /// What a killed run has left of a shard, if a run goes on with it. Nothing is changed, and nothing can be added to it.
    ///
    /// # Errors
    /// When a file cannot be read, or what is left was made with other options.
    pub fn look(
        (number, name): (u64, String),
        folder: &Path,
        conditions: Conditions<'_>,
        row_of: impl Fn(u64) -> u64,
    ) -> Result<Option<Self>, UnitError> {
        let Some(mut files) = ScratchFiles::look(folder, &name)? else { return Ok(None) };
        if !conditions.go_on(files.read_header().as_ref())? {
            return Ok(None);
        }
        let mut state = UnitState::default();
        files.find()?.into_iter().for_each(|settled| state.recover(row_of(settled.index), settled));
        state.files = Some(files);
        Ok(Some(Self::new(number, name, None, state, None)))
    }

    /// Admits the next row of the shard, in list order. `key`: what the template says. `dedupes`: a URL that an earlier row
    /// has is not fetched again. `keeps_keys`: two rows may have the same key by the template.
    ///
    /// # Errors
    /// When a killed run has settled another row in its place, or its record cannot be read.
    pub fn admit(&self, row: u64, job: &Job, key: String, rules: KeyRules) -> Result<UnitLookup, UnitError> {
        let mut state = lock(&self.state);
        let key = state.admit_row(row, key, rules);
        let (url, hash) = recorded_url(&job.url);
        state.hash_row(url_bytes(job), job.checksum.as_ref().map_or("", |checksum| &checksum.digest), job)?;
        let first = rules.dedupes.then(|| {
            let identity = (without_fragment(&job.url), job.checksum.as_ref().map(|checksum| &*checksum.digest));
            let identity = self.hasher.hash_one(identity);
            *state.urls.entry(identity).or_insert(row)
        });
        if !matches!(state.rows[index(row)].slot, Slot::Open) {
            let line = state.line(row)?;
            let is_same = serde_json::from_slice::<Record>(&line).is_ok_and(|record| {
                record.url == *url && record.url_hash == hash && record.extra == job.extra && record.index == job.index
            });
            if !is_same {
                return Err(UnitError::OtherRows);
            }
            state.settled += 1;
            return Ok(UnitLookup::Earlier(line));
        }
        Ok(match first.filter(|first| *first != row) {
            None => UnitLookup::New(key),
            Some(first) => match &state.rows[index(first)].slot {
                Slot::Open => UnitLookup::InFlight,
                _ => UnitLookup::Duplicate(state.image(first)),
            },
        })
    }

    /// Admits a row of the list that has its record already, because it holds no URL. Returns its key.
    ///
    /// # Errors
    /// When the row cannot be expressed in JSON, or a killed run has settled another row in its place.
    pub fn admit_invalid(
        &self,
        row: u64,
        record: &Record,
        key: String,
        rules: KeyRules,
    ) -> Result<Box<str>, UnitError> {
        let mut state = lock(&self.state);
        let key = state.admit_row(row, key, rules);
        let job = Job { extra: record.extra.clone(), ..Job::new(record.index, nowhere()) };
        state.hash_row(record.url.as_bytes(), "", &job)?;
        if matches!(state.rows[index(row)].slot, Slot::Sample(_)) {
            return Err(UnitError::OtherRows);
        }
        // It gets its record again, which is the same.
        state.rows[index(row)].slot = Slot::Open;
        Ok(key)
    }

    /// The key of a row that was admitted.
    #[must_use]
    pub fn key(&self, row: u64) -> Box<str> {
        lock(&self.state).rows.get(index(row)).map(|row| row.key.clone()).unwrap_or_default()
    }

    /// Appends a sample, unless the shard has one with this `content`, given by its SHA-256. Returns the image of that one.
    ///
    /// # Errors
    /// When it cannot be written. Nothing of it is in the file then.
    pub fn append(
        &self,
        row: u64,
        sample: &Sample,
        body: &mut Body<'_>,
        content: Option<String>,
    ) -> io::Result<Option<String>> {
        let mut state = lock(&self.state);
        if let Some(first) = content.as_ref().and_then(|content| state.contents.get(content)).copied()
            && first != row
            && let Some(path) = state.image(first)
        {
            return Ok(Some(path));
        }
        let Some(files) = &mut state.files else { return Err(io::Error::other("the shard has no files")) };
        let position = files.append(sample, body)?;
        state.row(row).slot = Slot::Sample(Box::new(position));
        if let Some(content) = content {
            state.contents.insert(content, row);
        }
        Ok(None)
    }

    /// The image of another row with this content, where samples are not kept. If there is none, it is that of this row from
    /// now on.
    pub fn same_content(&self, row: u64, content: String) -> Option<String> {
        let mut state = lock(&self.state);
        let first = *state.contents.entry(content).or_insert(row);
        if first == row { None } else { state.image(first) }
    }

    /// Takes the final record of a row. A row that was interrupted, or that could not be stored, is not settled: the shard
    /// waits for the next run.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn settle(&self, row: u64, record: &Record, line: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        match &record.outcome {
            Outcome::Failed(failed)
                if failed.ends_run
                    || [ErrorKind::Interrupted, ErrorKind::Disk].iter().any(|kind| failed.error == kind.name()) =>
            {
                return Ok(());
            }
            Outcome::Saved(saved) => {
                if state.files.is_none() {
                    state.row(row).slot = Slot::Gone(Some(saved.path.as_str().into()));
                }
            }
            _ => {
                let slot = match &mut state.files {
                    Some(files) => Slot::Logged(files.log(line)?),
                    None => Slot::Gone(None),
                };
                state.row(row).slot = slot;
            }
        }
        state.settled += 1;
        Ok(())
    }

    /// Whether the records of `whole` rows are final; of all admitted rows if that is `None`.
    #[must_use]
    pub fn is_complete(&self, whole: Option<u64>) -> bool {
        let state = lock(&self.state);
        state.settled == whole.unwrap_or(state.admitted) && state.settled == state.admitted
    }

    /// Writes the records that have come since the last call to the log.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        lock(&self.state).files.as_mut().map_or(Ok(()), ScratchFiles::flush)
    }

    /// Ends the tar file of a complete shard, and takes what is needed to make the rest of it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&self) -> io::Result<Option<FinishedUnit<'_>>> {
        let mut state = std::mem::take(&mut *lock(&self.state));
        let (Some(scratch), Some(files)) = (&self.scratch, state.files.take()) else { return Ok(None) };
        if state.has_more_rows() {
            let remedy = Scratch::remedy(scratch.log.parent().unwrap_or(&scratch.log), &self.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{MORE_ROWS}; {remedy}")));
        }
        Ok(Some(FinishedUnit {
            scratch,
            files: files.finish()?,
            input: hex(&state.input.finalize()),
            columns: state.columns.into_iter().map(|(name, values)| (name, values.map(|values| values.ty))).collect(),
            rows: state.rows,
        }))
    }

    /// Whether a killed run has settled rows behind those that were admitted.
    #[must_use]
    pub fn has_more_rows(&self) -> bool {
        lock(&self.state).has_more_rows()
    }

    /// The number of rows that were admitted.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        lock(&self.state).admitted
    }

    /// The digest of the rows that were admitted.
    #[must_use]
    pub fn input(&self) -> String {
        hex(&lock(&self.state).input.clone().finalize())
    }
}

/// What is said of a shard that has more rows than the list has for it.
pub const MORE_ROWS: &str = "it was begun from a list with more rows";

/// How rows are told apart.
#[derive(Clone, Copy, Debug)]
pub struct KeyRules {
    /// A URL that an earlier row of the shard has is not fetched again.
    pub dedupes: bool,
    /// The template gives each row of the shard a key of its own.
    pub is_unique: bool,
}

/// A complete shard, of which the tar file is written.
#[derive(Debug)]
pub struct FinishedUnit<'a> {
    /// Its files.
    pub scratch: &'a Scratch,
    /// Their content.
    pub files: FinishedFiles,
    /// The digest of the rows of the list.
    pub input: String,
    /// The columns of the list, with the types of their values.
    pub columns: Vec<(Arc<str>, Option<ColumnType>)>,
    rows: Vec<UnitRow>,
}

impl FinishedUnit<'_> {
    /// The records of all rows as lines, in list order, with the positions of their images and their keys.
    pub fn lines(&self) -> impl Iterator<Item = io::Result<(Vec<u8>, Option<SamplePosition>)>> {
        self.rows.iter().map(|row| match &row.slot {
            Slot::Sample(at) => Ok((self.files.record(at)?, Some(**at))),
            Slot::Logged(at) => Ok((self.files.logged(*at)?, None)),
            Slot::Open | Slot::Gone(_) => Err(io::Error::other("a row of a complete shard has no record")),
        })
    }
}

impl UnitState {
    /// Notes that a row was read from the list. Returns its key, which no other row of the shard has.
    fn admit_row(&mut self, row: u64, mut key: String, rules: KeyRules) -> Box<str> {
        self.admitted = self.admitted.max(row + 1);
        if !rules.is_unique && !self.keys.insert(key.as_str().into()) {
            let plain = key;
            key = format!("{plain}-{row}");
            // Another row may be called so by the template.
            while !self.keys.insert(key.as_str().into()) {
                key.push('_');
            }
        }
        let row = self.row(row);
        row.key = key.into();
        row.key.clone()
    }

    /// Takes what a killed run has settled.
    fn recover(&mut self, row: u64, settled: Settled) {
        let slot = match settled.place {
            RecordPlace::Tar(position) => {
                if let Some(sha256) = settled.sha256 {
                    self.contents.entry(sha256).or_insert(row);
                }
                Slot::Sample(Box::new(position))
            }
            // A sample has the last word: its row was tried again.
            RecordPlace::Log(_) if matches!(self.row(row).slot, Slot::Sample(_)) => return,
            RecordPlace::Log(position) => Slot::Logged(position),
        };
        self.row(row).slot = slot;
    }

    const fn has_more_rows(&self) -> bool {
        self.rows.len() as u64 > self.admitted
    }

    fn row(&mut self, row: u64) -> &mut UnitRow {
        let row = index(row);
        if self.rows.len() <= row {
            self.rows.resize_with(row + 1, UnitRow::default);
        }
        &mut self.rows[row]
    }

    /// Adds a row to the digest of the input, and its columns to those of the list.
    fn hash_row(&mut self, url: &[u8], checksum: &str, job: &Job) -> io::Result<()> {
        self.input.update(url);
        self.input.update([0]);
        self.input.update(checksum);
        self.input.update([0]);
        if !job.extra.is_empty() {
            self.input.update(serde_json::to_vec(&job.extra)?);
        }
        self.input.update(b"\n");
        for (place, (name, value)) in job.extra.iter().enumerate() {
            // Rows of a list mostly have the same columns in the same order.
            let known = match self.columns.get(place) {
                Some((known, _)) if **known == *name => Some(place),
                _ => self.columns.iter().position(|(known, _)| **known == *name),
            };
            let place = known.unwrap_or_else(|| {
                self.columns.push((name.into(), None));
                self.columns.len() - 1
            });
            let values = &mut self.columns[place].1;
            *values = match (*values, ColumnValues::of(value)) {
                (Some(one), Some(other)) => Some(one.or(other)),
                (one, other) => one.or(other),
            };
        }
        Ok(())
    }

    /// The path of the image of a row, if it has one.
    fn image(&mut self, row: u64) -> Option<String> {
        match &self.rows.get(index(row))?.slot {
            Slot::Open => None,
            Slot::Gone(path) => path.as_deref().map(str::to_owned),
            _ => path_of(&self.line(row).ok()?),
        }
    }

    /// The record of a settled row.
    fn line(&mut self, row: u64) -> io::Result<Vec<u8>> {
        let Some(files) = &mut self.files else { return Ok(Vec::new()) };
        match &self.rows[index(row)].slot {
            Slot::Sample(at) => files.record(at),
            Slot::Logged(at) => files.logged(*at),
            Slot::Open | Slot::Gone(_) => Ok(Vec::new()),
        }
    }
}

fn url_bytes(job: &Job) -> &[u8] {
    job.url.as_str().as_bytes()
}

/// A URL for a row that has none.
fn nowhere() -> url::Url {
    url::Url::parse("http://none.invalid/").unwrap_or_else(|_| unreachable!("it is a URL"))
}

fn index(row: u64) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}
