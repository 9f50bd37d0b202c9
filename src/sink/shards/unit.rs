//! A shard that is being made: its tar file grows while samples come, and what is known of its rows is in memory.
//!
//! Two files wait in the private folder until the shard is complete: the tar file, and a log with the records of rows that
//! have no sample. Samples are appended under a lock, one after the other, so a killed run leaves at most the last one
//! incomplete. The next run walks over the tar file, cuts that end off, and knows from the records inside which rows are
//! there. So there is no index that could differ from the file.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::sample::{Sample, SampleLayout};
use super::tar::{self, TarEnd};
use crate::record::{ColumnType, ErrorKind, Job, Outcome, Record, hex, recorded_url, without_fragment};
use crate::sink::body::Body;
use crate::util::private_file::{self, remove_if_there};
use crate::util::{lock, run_id};

/// Lines of the log are written once they have this many bytes, if they are not flushed earlier.
const LOG_BUFFER_BYTES: usize = 64 * 1024;

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

/// The files of a shard that is being made.
#[derive(Debug)]
pub struct Scratch {
    /// The tar file.
    pub tar: PathBuf,
    /// The log of the rows without a sample.
    pub log: PathBuf,
    /// For the table of the shard.
    pub table: PathBuf,
}

impl Scratch {
    /// The files of the shard `name` in a folder.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = |extension: &str| folder.join(format!("{name}.{extension}"));
        Self { tar: path("tar"), log: path("jsonl"), table: path("parquet") }
    }

    /// Removes the files. The log is the last, because it tells that there are others.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        [&self.tar, &self.table, &self.log].into_iter().try_for_each(|path| remove_if_there(path))
    }
}

/// Removes what killed runs have left of a shard that is complete, unless a run that goes on holds it.
pub fn remove_abandoned(folder: &Path, name: &str) {
    let is_of_shard = |stem: &str| match stem.strip_prefix(name) {
        Some("") => true,
        // The identifier of a run that made the shard at the same time as another one.
        Some(rest) => {
            rest.strip_prefix('-').is_some_and(|id| id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        }
        None => false,
    };
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_of_shard(stem)) else {
            continue;
        };
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        // What cannot be removed does no harm: the shard is complete.
        if private_file::open(OpenOptions::new().read(true), &path).is_ok_and(|log| log.try_lock().is_ok()) {
            let _ = Scratch::new(folder, stem).remove();
        }
    }
}

/// What is known of the rows of a shard.
#[derive(Debug, Default)]
struct UnitState {
    files: Option<UnitFiles>,
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
    columns: Vec<(Arc<str>, Option<ColumnType>)>,
}

#[derive(Debug)]
struct UnitFiles {
    tar: File,
    /// The bytes of complete samples.
    tar_length: u64,
    tar_digest: Sha256,
    log: File,
    log_length: u64,
    unwritten: Vec<u8>,
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
    Logged(u64, u32),
    /// Nowhere, because samples are not kept: the path of its image, if it has one.
    Gone(Option<Box<str>>),
}

/// Where the parts of a sample are in the tar file.
#[derive(Clone, Copy, Debug)]
pub struct SamplePosition {
    /// Where the image begins.
    pub image: u64,
    /// The bytes of the image.
    pub image_length: u64,
    record: u64,
    record_length: u32,
}

/// The first line of a log.
#[derive(Debug, Serialize, Deserialize)]
struct LogHeader {
    shard: String,
    settings: String,
    boot: String,
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

/// Why a shard cannot go on.
#[derive(Debug)]
pub enum UnitError {
    /// What a killed run has left of it was made from other rows or with other options.
    OtherOrigin,
    /// A file cannot be read or written.
    Io(io::Error),
}

impl From<io::Error> for UnitError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The fields of a record that say which row it is about, and how it ended.
#[derive(Deserialize)]
struct LineFields {
    index: u64,
    status: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    sha256: Option<String>,
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
        let (scratch, log) = open_log(folder, &name, conditions.is_shared)?;
        let header = LogHeader {
            shard: name.clone(),
            settings: conditions.settings.to_owned(),
            boot: conditions.boot.to_owned(),
        };
        let mut open_tar = OpenOptions::new();
        let tar = private_file::open(open_tar.create(true).truncate(false).read(true).write(true), &scratch.tar)?;
        let mut reader = BufReader::new(&log);
        let mut first = String::new();
        // What is not UTF-8 is no header.
        let _ = reader.read_line(&mut first);
        let found = serde_json::from_str::<LogHeader>(&first).ok().filter(|_| first.ends_with('\n'));
        let found = found.filter(|found| found.boot == header.boot && !conditions.begins_anew);
        let mut state = UnitState::default();
        let mut files = UnitFiles {
            tar,
            tar_length: 0,
            tar_digest: Sha256::new(),
            log: log.try_clone()?,
            log_length: 0,
            unwritten: Vec::new(),
        };
        match found {
            Some(found) if found.settings != header.settings && !conditions.gives_way => {
                return Err(UnitError::OtherOrigin);
            }
            Some(found) if found.settings == header.settings => {
                files.recover(&mut state, first.len() as u64, reader, &row_of)?;
            }
            _ => {
                files.tar.set_len(0)?;
                files.log.set_len(0)?;
                files.unwritten = serde_json::to_vec(&header).map_err(io::Error::from)?;
                files.unwritten.push(b'\n');
                files.flush()?;
            }
        }
        state.files = Some(files);
        Ok(Self::new(number, name, Some(scratch), state, Some(permit)))
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
                return Err(UnitError::OtherOrigin);
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
    /// When the row cannot be expressed in JSON.
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
        if !matches!(state.rows[index(row)].slot, Slot::Open) {
            // It gets its record again, which is the same.
            state.rows[index(row)].slot = Slot::Open;
        }
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
                    Some(files) => files.log(line)?,
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
        lock(&self.state).files.as_mut().map_or(Ok(()), UnitFiles::flush)
    }

    /// Ends the tar file of a complete shard, and takes what is needed to make the rest of it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&self) -> io::Result<Option<FinishedUnit<'_>>> {
        let mut state = std::mem::take(&mut *lock(&self.state));
        let (Some(scratch), Some(mut files)) = (&self.scratch, state.files.take()) else { return Ok(None) };
        if state.rows.len() as u64 > state.admitted {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it was begun from a list with more rows"));
        }
        files.flush()?;
        (&files.tar).write_all(&tar::END)?;
        files.tar_digest.update(tar::END);
        Ok(Some(FinishedUnit {
            scratch,
            tar_bytes: files.tar_length + tar::END.len() as u64,
            tar_sha256: hex(&files.tar_digest.finalize()),
            tar: files.tar,
            log: files.log,
            input: hex(&state.input.finalize()),
            columns: state.columns,
            rows: state.rows,
        }))
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
    /// The tar file, open.
    pub tar: File,
    /// Its size.
    pub tar_bytes: u64,
    /// Its digest.
    pub tar_sha256: String,
    /// The digest of the rows of the list.
    pub input: String,
    /// The columns of the list, with the types of their values.
    pub columns: Vec<(Arc<str>, Option<ColumnType>)>,
    log: File,
    rows: Vec<UnitRow>,
}

impl FinishedUnit<'_> {
    /// The records of all rows as lines, in list order, with the positions of their images and their keys.
    pub fn lines(&self) -> impl Iterator<Item = io::Result<(Vec<u8>, Option<SamplePosition>)>> {
        self.rows.iter().map(|row| match &row.slot {
            Slot::Sample(at) => Ok((read_at(&self.tar, at.record, at.record_length)?, Some(**at))),
            Slot::Logged(at, length) => Ok((read_at(&self.log, *at, *length)?, None)),
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
            let ty = &mut self.columns[place].1;
            *ty = match (*ty, ColumnType::of(value)) {
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
            Slot::Sample(at) => read_at(&files.tar, at.record, at.record_length),
            Slot::Logged(at, length) => {
                files.flush()?;
                read_at(&files.log, *at, *length)
            }
            Slot::Open | Slot::Gone(_) => Ok(Vec::new()),
        }
    }
}

impl UnitFiles {
    fn append(&mut self, sample: &Sample, body: &mut Body<'_>) -> io::Result<SamplePosition> {
        struct Digesting<'a>(&'a File, &'a mut Sha256);

        impl io::Write for Digesting<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = self.0.write(bytes)?;
                self.1.update(&bytes[..count]);
                Ok(count)
            }

            fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
                let count = self.0.write_vectored(slices)?;
                let mut left = count;
                for slice in slices {
                    let taken = left.min(slice.len());
                    self.1.update(&slice[..taken]);
                    left -= taken;
                }
                Ok(count)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut digest = self.tar_digest.clone();
        if let Err(error) = sample.write(body, &mut Digesting(&self.tar, &mut digest)) {
            // The next sample goes where this one began. What is left of this one is cut off by the next run otherwise.
            let _ = self.tar.set_len(self.tar_length);
            self.tar.seek(SeekFrom::Start(self.tar_length))?;
            return Err(error);
        }
        self.tar_digest = digest;
        let SampleLayout { image, image_length, record, record_length, length } = sample.layout();
        let begin = self.tar_length;
        self.tar_length += length;
        Ok(SamplePosition { image: begin + image, image_length, record: begin + record, record_length })
    }

    fn log(&mut self, line: &[u8]) -> io::Result<Slot> {
        let at = self.log_length + self.unwritten.len() as u64;
        self.unwritten.extend_from_slice(line);
        self.unwritten.push(b'\n');
        if self.unwritten.len() >= LOG_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(Slot::Logged(at, u32::try_from(line.len()).unwrap_or(u32::MAX)))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        self.log.seek(SeekFrom::Start(self.log_length))?;
        if let Err(error) = (&self.log).write_all(&self.unwritten) {
            let _ = self.log.set_len(self.log_length);
            return Err(error);
        }
        self.log_length += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Goes on with what a killed run has left: cuts off the incomplete ends, and finds the rows that are settled.
    fn recover(
        &mut self,
        state: &mut UnitState,
        log_begin: u64,
        mut log: BufReader<&File>,
        row_of: &impl Fn(u64) -> u64,
    ) -> io::Result<()> {
        let mut image = None;
        let mut samples = Vec::new();
        let length = self.tar.metadata()?.len();
        let end = tar::walk(&mut self.tar, length, |entry| {
            if entry.is_record() {
                if let Some((image, image_length)) = image.take() {
                    let record_length = u32::try_from(entry.length).unwrap_or(u32::MAX);
                    let position = SamplePosition { image, image_length, record: entry.offset, record_length };
                    samples.push((position, entry.end()));
                }
            } else if image.is_none() {
                image = Some((entry.offset, entry.length));
            }
        })?;
        let (TarEnd::Complete(_) | TarEnd::Torn(_)) = end;
        for (position, end) in samples {
            let line = read_at(&self.tar, position.record, position.record_length)?;
            let Ok(fields) = serde_json::from_slice::<LineFields>(&line) else { break };
            let row = row_of(fields.index);
            if let Some(sha256) = fields.sha256 {
                state.contents.entry(sha256).or_insert(row);
            }
            state.row(row).slot = Slot::Sample(Box::new(position));
            self.tar_length = end;
        }
        self.tar.set_len(self.tar_length)?;
        self.tar.seek(SeekFrom::Start(0))?;
        let mut piece = vec![0; 1 << 18];
        loop {
            match self.tar.read(&mut piece)? {
                0 => break,
                count => self.tar_digest.update(&piece[..count]),
            }
        }
        self.log_length = log_begin;
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line)? > 0 {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            // A row that may succeed now is tried again.
            if let Ok(fields) = serde_json::from_slice::<LineFields>(text)
                && fields.status != "skipped"
                && !fields.retryable
            {
                let row = state.row(row_of(fields.index));
                if matches!(row.slot, Slot::Open | Slot::Logged(..)) {
                    row.slot = Slot::Logged(self.log_length, u32::try_from(text.len()).unwrap_or(u32::MAX));
                }
            }
            self.log_length += line.len() as u64;
            line.clear();
        }
        self.log.set_len(self.log_length)
    }
}

/// Opens the log of a shard, and locks it if other runs may be making the same shard: then each has files of its own.
fn open_log(folder: &Path, name: &str, is_shared: bool) -> io::Result<(Scratch, File)> {
    let mut own = name.to_owned();
    loop {
        let scratch = Scratch::new(folder, &own);
        let mut open = OpenOptions::new();
        let log = private_file::open(open.create(true).truncate(false).read(true).write(true), &scratch.log)?;
        if !is_shared {
            return Ok((scratch, log));
        }
        if matches!(log.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            own = format!("{name}-{}", run_id::unique());
            continue;
        }
        // The run that had it locked may have removed it.
        if std::fs::symlink_metadata(&scratch.log)
            .is_ok_and(|there| log.metadata().is_ok_and(|own| own.ino() == there.ino()))
        {
            return Ok((scratch, log));
        }
    }
}

fn read_at(file: &File, at: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut line = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut line, at)?;
    Ok(line)
}

/// The path in a record of a saved image.
fn path_of(line: &[u8]) -> Option<String> {
    serde_json::from_slice::<LineFields>(line).ok().filter(|fields| fields.status == "saved")?.path
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
