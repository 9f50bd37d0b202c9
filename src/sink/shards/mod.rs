//! Shards: a set of tar or Parquet files, each with the images of some rows of the list.
//!
//! | file | what it does |
//! |---|---|
//! | `units` | which rows belong to which shard |
//! | `unit`, `scratch` | a shard that is being made, and its files |
//! | `sample`, `tar` | a sample as bytes of a tar file |
//! | `commit`, `table`, `marker` | a complete shard: its table, its marker |
//! | `target` | where complete shards go |
//! | `preview` | what a run would find, without changes |
//! | `set` | what a folder or a store of shards holds, and who works in it |
//! | `verify` | compares a set with what it says of itself |
//! | `stream` | one tar stream on standard output |
//!
//! Rows are admitted in list order, and a shard is open from its first row until the record of its last one is final. Then
//! its table and its marker are made on a thread for blocking work. While the last slow rows of a shard are in flight, rows
//! of the next ones are fetched; at most [`MAX_OPEN_SHARDS`] are open at the same time, or more if they are small.

mod commit;
mod marker;
mod preview;
mod sample;
mod scratch;
mod set;
mod stream;
mod table;
mod tar;
mod target;
mod unit;
mod units;
mod verify;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use self::commit::{Committed, Committer};
use self::marker::Marker;
use self::sample::Sample;
use self::scratch::Scratch;
use self::set::{Access, SetFolder};
use self::stream::TarStream;
use self::target::{ShardFolder, Target};
use self::unit::{Conditions, Unit, UnitError};
use super::{Body, Entry, Receipt, SpillDir, Stored};
use crate::record::{Algorithm, ColumnType, Job, Outcome, Record, RecordLine, RunError, Saved, ShardTotals, hex};
use crate::util::human::{Count, counted};
use crate::util::location::Location;
use crate::util::store::StoreUrl;
use crate::util::{boot_id, lock};

pub use self::marker::{Origin, SUFFIX as MARKER_SUFFIX, StoredFile};
pub use self::preview::Preview;
pub use self::set::{FILE as SET_FILE, SetInfo, refuse_set};
pub use self::tar::{TarEnd, TarEntry, walk as walk_tar};
pub use self::target::shard_names;
pub use self::unit::{KeyRules, UnitLookup};
pub use self::units::{DEFAULT_SHARD_SIZE, Slice, Units};
pub use self::verify::{Finding, Verdict, verify};

/// Shards that are open at the same time, at most. Each holds two open files and 100 to 200 bytes for each of its rows.
pub const MAX_OPEN_SHARDS: usize = 16;

/// The same for small shards: otherwise fewer rows would be open than are downloaded at once.
pub const MAX_OPEN_SMALL_SHARDS: usize = 64;

/// The number of rows of all open shards together, up to which shards are small.
const FEW_ROWS: u64 = 160_000;

/// The extension of an image of an unknown format (`--accept any`).
const UNKNOWN_EXTENSION: &str = ".bin";

/// Stands in place of the boot in what is flushed to the disk, and so is there after a loss of power.
const SYNCED: &str = "synced";

/// What a set consists of (`--output-format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Tar files with samples, and tables beside them.
    Webdataset,
    /// Tables with the images inside.
    Parquet,
}

/// Where the samples of a run go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Shards in this folder.
    Folder(PathBuf),
    /// Shards below this prefix of an object store.
    Store(StoreUrl),
    /// One tar stream on standard output.
    Stdout,
    /// Nowhere: images are checked and counted (`--sample`).
    Nowhere,
}

impl Destination {
    /// Where the shards are, if it is for shards.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        match self {
            Self::Folder(root) => Some(Location::Folder(root.clone())),
            Self::Store(url) => Some(Location::Store(url.clone())),
            Self::Stdout | Self::Nowhere => None,
        }
    }
}

/// How a set is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it consists of.
    pub format: OutputFormat,
    /// Where it goes.
    pub destination: Destination,
    /// The folder in which open shards wait for an object store; `None`: that of the system for what is temporary
    /// (`--scratch`).
    pub scratch: Option<PathBuf>,
    /// How the list is cut.
    pub units: Units,
    /// The column of the list with the caption.
    pub caption_column: Option<String>,
    /// The types of the columns of the list, where the list states them.
    pub column_types: Vec<(Arc<str>, ColumnType)>,
    /// The options that decide what is in the shards, as they are typed. A set is only gone on with if they are the same.
    pub settings: Vec<(String, String)>,
    /// Flush shards to the disk before their markers appear (`--fsync`).
    pub fsync: bool,
    /// The fields of records beside the SHA-256 that are digests of images, and columns of the tables: `md5`, `phash`.
    pub digests: Vec<&'static str>,
    /// Leave out samples with the same content as another one of their shard (`--dedupe`).
    pub dedupe: bool,
    /// Make shards that are there anew (`--overwrite`).
    pub replaces: bool,
}

impl Options {
    /// What the set in the folder will say of itself.
    #[must_use]
    pub fn info(&self) -> SetInfo {
        let (output_format, settings) = (self.format.names().0.to_owned(), self.settings.clone());
        SetInfo { output_format, settings, anew_since_ms: None }
    }

    /// How the run works at the set.
    const fn access(&self) -> Access {
        let units = &self.units;
        Access { replaces: self.replaces, is_shared: units.is_shared(), is_retry: units.retries.is_some() }
    }

    /// The boot in which unfinished shards are gone on with.
    fn boot(&self) -> String {
        if self.fsync { SYNCED.to_owned() } else { boot_id::id().unwrap_or_default() }
    }
}

/// A set of shards that is being made.
#[derive(Debug)]
pub struct Shards {
    options: Options,
    settings: String,
    /// What an unfinished shard must have been made with.
    scratch_settings: String,
    boot: String,
    output: Output,
    spill_dir: SpillDir,
    open: Mutex<HashMap<u64, Arc<Unit>>>,
    /// The shard that is there already and whose rows are being read.
    present: Mutex<Option<PresentShard>>,
    room: Arc<Semaphore>,
    commits: Mutex<Vec<JoinHandle<()>>>,
    committed: AtomicU64,
    totals: Arc<Mutex<ShardTotals>>,
    /// The number behind that of the last shard whose rows were read.
    entered: AtomicU64,
    failure: Arc<Mutex<Option<RunError>>>,
    temporary: Option<tempfile::TempDir>,
}

/// Where samples go.
#[derive(Debug)]
enum Output {
    Set { committer: Arc<Committer>, folder: SetFolder },
    Stream(TarStream),
    Nowhere,
}

/// A shard that is there: its rows are compared with those from which it was made.
#[derive(Debug)]
struct PresentShard {
    marker: Marker,
    /// Counts the rows of the list, without files.
    unit: Unit,
    /// Whether the rows begin as those do from which the shard was made.
    begins_alike: bool,
}

impl PresentShard {
    const fn new(marker: Marker, unit: Unit) -> Self {
        Self { marker, unit, begins_alike: false }
    }

    /// Counts a row that was admitted.
    fn count(&mut self) {
        self.begins_alike |=
            self.unit.admitted() == self.marker.count && self.unit.input() == self.marker.fetchimg.input;
    }

    /// What differs, if the shard was made from other rows than those that were admitted.
    fn difference(&self) -> Option<String> {
        if self.unit.input() == self.marker.fetchimg.input {
            return None;
        }
        let name = &self.unit.name;
        let (before, now) = (Count(self.marker.count), Count(self.unit.admitted()));
        let sentence = if self.begins_alike {
            format!(
                "the list has grown: there were {before} rows for this shard when it was made, and now there are {now}; \
                 remove {name}{MARKER_SUFFIX}, and the same command makes this shard anew and goes on behind it, or \
                 give the new rows as a list of their own, with another -o"
            )
        } else if self.unit.admitted() < self.marker.count {
            format!(
                "it was made from other rows of the list: there were {before}, and now there are {now}; give the list as \
                 it was, choose another folder with -o, or {}",
                remedy(name)
            )
        } else {
            format!("it was made from other rows of the list; {}", remedy(name))
        };
        Some(sentence)
    }
}

/// What happens to a row.
#[derive(Debug)]
pub enum Lookup {
    /// It is fetched. Its sample has this key, and its image is in this file of the set.
    New {
        /// The name of the file.
        folder: String,
        /// The key.
        key: Box<str>,
    },
    /// An earlier run has settled it, with this record; without one, the whole shard is there.
    Earlier(Option<Vec<u8>>),
    /// An earlier row of its shard has the same URL, and this image if it has one.
    Duplicate(Option<String>),
    /// An earlier row of its shard has the same URL, and is in flight.
    InFlight,
}

impl Shards {
    /// Opens the place for a set, and locks it for this run.
    ///
    /// # Errors
    /// When it cannot be opened or written, another run holds it, or it holds another set.
    pub fn open(options: Options) -> Result<Self, RunError> {
        let fail = |path: &Path, source| RunError::Output { path: path.to_owned(), source };
        let boot = options.boot();
        let failure = Arc::<Mutex<Option<RunError>>>::default();
        let mut temporary = None;
        let access = options.access();
        let (output, parts) = match &options.destination {
            Destination::Folder(root) => {
                let folder = SetFolder::open(root, options.info(), access)?;
                let target = ShardFolder::new(root.clone(), folder.scratch.clone(), options.fsync);
                let committer =
                    Committer::new(Target::Folder(target), &options, access.replaces || folder.makes_anew());
                let parts = folder.parts.clone();
                (Output::Set { committer: Arc::new(committer), folder }, parts)
            }
            Destination::Store(url) => {
                let folder = SetFolder::open_in_store(url, options.scratch.as_deref(), options.info(), access)?;
                let replaces = access.replaces || folder.makes_anew();
                let committer = Committer::new(Target::Store(url.clone()), &options, replaces);
                temporary = Some(tempfile::tempdir().map_err(RunError::System)?);
                let parts = folder.parts.clone();
                (Output::Set { committer: Arc::new(committer), folder }, parts)
            }
            other => {
                let folder = tempfile::tempdir().map_err(RunError::System)?;
                let parts = temporary.insert(folder).path().to_owned();
                let private = parts.join(crate::util::private_file::FOLDER);
                std::fs::create_dir(&private).map_err(|error| fail(&private, error))?;
                match other {
                    Destination::Stdout => (Output::Stream(TarStream::stdout().map_err(RunError::System)?), parts),
                    _ => (Output::Nowhere, parts),
                }
            }
        };
        // Several rows of a list may have the same URL, and so no body is gone on with by a later run.
        let spill_dir = SpillDir::open(parts.clone(), None).map_err(|error| fail(&parts, error))?;
        let max_open = usize::try_from(FEW_ROWS / options.units.size).unwrap_or(MAX_OPEN_SMALL_SHARDS);
        let max_open = max_open.clamp(MAX_OPEN_SHARDS, MAX_OPEN_SMALL_SHARDS);
        let settings = options.info().digest();
        Ok(Self {
            scratch_settings: scratch_settings(&settings, &options)?,
            settings,
            options,
            boot,
            output,
            spill_dir,
            open: Mutex::default(),
            present: Mutex::default(),
            room: Arc::new(Semaphore::new(max_open)),
            commits: Mutex::default(),
            committed: AtomicU64::new(0),
            totals: Arc::default(),
            entered: AtomicU64::new(0),
            failure,
            temporary,
        })
    }

    /// How the set is made.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// The folder of large bodies.
    #[must_use]
    pub const fn spill_dir(&self) -> &SpillDir {
        &self.spill_dir
    }

    /// A folder for what a run notes of itself, if the output is none. It is removed at the end.
    #[must_use]
    pub fn temporary(&self) -> Option<&Path> {
        self.temporary.as_ref().map(tempfile::TempDir::path)
    }

    /// The path of the output, for messages.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        match &self.options.destination {
            Destination::Folder(root) => root.clone(),
            Destination::Store(url) => url.to_string().into(),
            Destination::Stdout => "standard output".into(),
            Destination::Nowhere => "nowhere".into(),
        }
    }

    /// Whether images are kept, and not only looked at.
    #[must_use]
    pub const fn keeps_images(&self) -> bool {
        !matches!(self.output, Output::Nowhere)
    }

    /// Whether the reader of standard output has gone away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(&self.output, Output::Stream(stream) if stream.is_closed())
    }

    /// Makes ready for the rows of a shard, when there is room for another one. To be called for each shard, in order.
    ///
    /// # Errors
    /// When the shard before this one was made from other rows of the list, or a file of this one cannot be opened.
    pub async fn enter(&self, number: u64) -> Result<(), RunError> {
        self.leave_present()?;
        self.entered.fetch_max(number + 1, Ordering::Relaxed);
        let name = self.options.units.name(number);
        let Output::Set { committer, folder } = &self.output else {
            lock(&self.open).insert(number, Arc::new(Unit::without_files(number, name)));
            return Ok(());
        };
        if !self.options.replaces {
            let marker = committer.target().marker(&name).await;
            let path = committer.target().path(&format!("{name}{MARKER_SUFFIX}"));
            let marker = marker.map_err(|source| RunError::Output { path, source })?;
            if let Some(marker) = marker.filter(|marker| !folder.replaces(marker)) {
                if marker.fetchimg.settings != self.settings {
                    return Err(self.other_shard(&name, made_with_other_options(&name)));
                }
                folder.note_begin()?;
                // A run that was killed just after the marker appeared has left some.
                scratch::remove_abandoned(&folder.scratch, &name);
                let mut totals = lock(&self.totals);
                totals.present += 1;
                totals.present_rows += marker.count;
                totals.present_samples += marker.successes;
                drop(totals);
                let unit = Unit::without_files(number, name);
                *lock(&self.present) = Some(PresentShard::new(marker, unit));
                return Ok(());
            }
        }
        folder.note_begin()?;
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return Ok(()) };
        let conditions = Conditions {
            settings: &self.scratch_settings,
            boot: &self.boot,
            begins_anew: self.options.replaces,
            gives_way: self.options.units.retries.is_some(),
            is_shared: self.options.units.is_shared(),
        };
        let row_of = |index| self.options.units.row(index);
        let unit = Unit::open((number, name.clone()), &folder.scratch, conditions, row_of, permit);
        let unit = unit.map_err(|error| self.unit_error(&name, error))?;
        lock(&self.open).insert(number, Arc::new(unit));
        Ok(())
    }

    /// Ends the reading of a shard that is there: it must have been made from the same rows.
    fn leave_present(&self) -> Result<(), RunError> {
        let Some(present) = lock(&self.present).take() else { return Ok(()) };
        match present.difference() {
            None => Ok(()),
            Some(sentence) => Err(self.other_shard(&present.unit.name, sentence)),
        }
    }

    fn other_shard(&self, name: &str, sentence: String) -> RunError {
        other_shard(&self.root(), self.options.format, (name, sentence))
    }

    fn unit_error(&self, name: &str, error: UnitError) -> RunError {
        match error {
            UnitError::Io(source) => RunError::Output { path: self.root().join(name), source },
            other => {
                let scratch = match &self.output {
                    Output::Set { folder, .. } => &folder.scratch,
                    Output::Stream(_) | Output::Nowhere => Path::new(""),
                };
                self.other_shard(name, other_origin(&other, scratch, name))
            }
        }
    }

    /// Admits the next row, in list order. `key`: what the template says. Its shard must have been entered.
    ///
    /// # Errors
    /// When a killed run has settled another row in its place.
    pub fn admit(&self, job: &Job, key: String, rules: KeyRules) -> Result<Lookup, RunError> {
        let (number, row) = self.place(job.index);
        let mut present = lock(&self.present);
        if let Some(present) = present.as_mut().filter(|present| present.unit.number == number) {
            let admitted = present.unit.admit(row, job, key, KeyRules { dedupes: false, is_unique: true });
            present.count();
            return admitted.map(|_| Lookup::Earlier(None)).map_err(|error| self.unit_error(&present.unit.name, error));
        }
        drop(present);
        let unit = self.unit(number)?;
        let admitted = unit.admit(row, job, key, rules).map_err(|error| self.unit_error(&unit.name, error))?;
        Ok(match admitted {
            UnitLookup::New(key) => Lookup::New { folder: self.data_name(&unit.name), key },
            UnitLookup::Earlier(line) => {
                self.commit_if_complete(&unit, self.options.units.whole());
                Lookup::Earlier(Some(line))
            }
            UnitLookup::Duplicate(path) => Lookup::Duplicate(path),
            UnitLookup::InFlight => Lookup::InFlight,
        })
    }

    /// Admits a row that holds no URL, and so has its record already. Returns whether the record is to be settled: not if
    /// the whole shard is there.
    ///
    /// # Errors
    /// When the row cannot be expressed in JSON.
    pub fn admit_invalid(&self, record: &Record, key: String, rules: KeyRules) -> Result<bool, RunError> {
        let (number, row) = self.place(record.index);
        let mut present = lock(&self.present);
        if let Some(present) = present.as_mut().filter(|present| present.unit.number == number) {
            let admitted = present.unit.admit_invalid(row, record, key, KeyRules { dedupes: false, is_unique: true });
            present.count();
            return admitted.map(|_| false).map_err(|error| self.unit_error(&present.unit.name, error));
        }
        drop(present);
        let unit = self.unit(number)?;
        unit.admit_invalid(row, record, key, rules).map_err(|error| self.unit_error(&unit.name, error))?;
        Ok(true)
    }

    fn place(&self, index: u64) -> (u64, u64) {
        (self.options.units.number(index), self.options.units.row(index))
    }

    fn unit(&self, number: u64) -> Result<Arc<Unit>, RunError> {
        let unit = lock(&self.open).get(&number).map(Arc::clone);
        unit.ok_or_else(|| RunError::System(io::Error::other("a row of a shard that is not open")))
    }

    /// The name of the file of a shard that holds the images.
    fn data_name(&self, shard: &str) -> String {
        format!("{shard}.{}", self.options.format.names().1)
    }

    /// The record of a row as a line, with its key and its caption.
    ///
    /// # Errors
    /// When a value cannot be expressed in JSON.
    pub fn line(&self, record: &Record) -> serde_json::Result<RecordLine> {
        #[derive(serde::Serialize)]
        struct More<'a> {
            shard: &'a str,
            key: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            caption: Option<String>,
        }
        let (number, row) = self.place(record.index);
        let Some(unit) = lock(&self.open).get(&number).map(Arc::clone) else { return RecordLine::of(record) };
        let key = unit.key(row);
        RecordLine::with(record, &More { shard: &unit.name, key: &key, caption: self.caption(record) })
    }

    fn caption(&self, record: &Record) -> Option<String> {
        match record.extra.get(self.options.caption_column.as_deref()?)? {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// Stores one complete, checked image as a sample.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn store(&self, mut entry: Entry<'_>, mut body: Body<'_>) -> io::Result<Stored> {
        if matches!(self.output, Output::Nowhere) {
            body.discard();
            entry.complete();
            let line = RecordLine::of(&entry.record)?;
            return Ok(Stored::New { record: entry.record, line, receipt: Receipt::None });
        }
        let (number, row) = self.place(entry.record.index);
        let unit = self.unit(number).map_err(io::Error::other)?;
        body.complete();
        let content = entry.sha256().filter(|_| self.options.dedupe).map(str::to_owned);
        entry.complete();
        let mut path = Cow::Borrowed(entry.path);
        let is_bare = |path: &str| path.rsplit('/').next().is_some_and(|name| !name.contains('.'));
        if is_bare(&path) {
            // Readers leave out what has no extension.
            path.to_mut().push_str(UNKNOWN_EXTENSION);
            if let Outcome::Saved(saved) = &mut entry.record.outcome {
                saved.path = path.to_string();
            }
        }
        let line = self.line(&entry.record)?;
        let name = path.rsplit('/').next().unwrap_or(&path);
        let sample = Sample::new(name, body.length(), line.as_bytes(), self.caption(&entry.record).as_deref());
        let same = if let Output::Stream(stream) = &self.output {
            let same = content.and_then(|content| unit.same_content(row, content));
            if same.is_none() {
                stream.append(&sample, &mut body).await?;
            }
            same
        } else {
            unit.append(row, &sample, &mut body, content)?
        };
        body.discard();
        if let Some(of) = same {
            return Ok(Stored::Duplicate { of });
        }
        Ok(Stored::New { record: entry.record, line, receipt: Receipt::None })
    }

    /// Takes the final record of a row that was admitted.
    ///
    /// # Errors
    /// When it cannot be written to the log of its shard.
    pub fn settle(&self, record: &Record, line: &[u8]) -> Result<(), RunError> {
        if matches!(self.output, Output::Nowhere) {
            return Ok(());
        }
        let (number, row) = self.place(record.index);
        let unit = self.unit(number)?;
        unit.settle(row, record, line).map_err(|error| self.unit_error(&unit.name, error.into()))?;
        self.commit_if_complete(&unit, self.options.units.whole());
        Ok(())
    }

    /// Commits a shard whose records are final, on a thread for blocking work.
    fn commit_if_complete(&self, unit: &Arc<Unit>, whole: Option<u64>) {
        let is_settled = match whole {
            // The end of the list tells.
            None => false,
            whole => unit.is_complete(whole),
        };
        if is_settled {
            self.commit(unit);
        }
    }

    fn commit(&self, unit: &Arc<Unit>) {
        // Another row may have been the last one, too.
        let Some(unit) = lock(&self.open).remove(&unit.number) else { return };
        let Output::Set { committer, folder } = &self.output else { return };
        if let Err(error) = folder.note() {
            lock(&self.failure).get_or_insert(error);
            return;
        }
        self.committed.fetch_add(1, Ordering::Relaxed);
        let (committer, failure, totals) = (Arc::clone(committer), Arc::clone(&self.failure), Arc::clone(&self.totals));
        let commit = tokio::task::spawn_blocking(move || match committer.commit(&unit) {
            Ok(Committed { rows, samples, bytes }) => {
                let mut totals = lock(&totals);
                totals.completed += 1;
                totals.rows += rows;
                totals.samples += samples;
                totals.bytes += bytes;
            }
            Err(error) => _ = lock(&failure).get_or_insert(error),
        });
        let mut commits = lock(&self.commits);
        commits.retain(|commit| !commit.is_finished());
        commits.push(commit);
    }

    /// Writes the records that have come since the last call.
    ///
    /// # Errors
    /// When they cannot be written, or a shard could not be committed.
    pub fn flush(&self) -> Result<(), RunError> {
        if let Some(error) = lock(&self.failure).take() {
            return Err(error);
        }
        let open = lock(&self.open).values().map(Arc::clone).collect::<Vec<_>>();
        open.iter().try_for_each(|unit| unit.flush().map_err(|error| self.unit_error(&unit.name, error.into())))
    }

    /// Ends the run: commits the shards whose rows all have their records, if the list was read to its end, and waits for
    /// all commits.
    ///
    /// # Errors
    /// When a shard cannot be committed, or the last one that is there was made from other rows.
    pub async fn seal(&self, list_has_ended: bool) -> Result<(), RunError> {
        if list_has_ended {
            self.leave_present()?;
            let mut open = lock(&self.open).values().map(Arc::clone).collect::<Vec<_>>();
            open.retain(|unit| unit.is_complete(None));
            open.sort_by_key(|unit| unit.number);
            for unit in &open {
                self.commit(unit);
            }
        }
        let commits = std::mem::take(&mut *lock(&self.commits));
        for commit in commits {
            commit.await.map_err(|panicked| RunError::System(panicked.into()))?;
        }
        self.flush()?;
        if list_has_ended {
            self.end_list()?;
        }
        if let Output::Stream(stream) = &self.output {
            let fail = |source| RunError::Output { path: "standard output".into(), source };
            tokio::task::block_in_place(|| stream.finish()).map_err(fail)?;
        }
        Ok(())
    }

    /// Lets the commits end that wait for an object store. What the store lacks then is put there by a later run. Returns
    /// where it waits.
    #[must_use]
    pub fn give_up(&self) -> Option<&Path> {
        match (&self.options.destination, &self.output) {
            (Destination::Store(url), Output::Set { folder, .. }) => {
                url.give_up();
                Some(&folder.scratch)
            }
            _ => None,
        }
    }

    /// Ends with a list that was read to its end. Shards of earlier runs may be behind its last one: it was longer, or its
    /// shards were smaller. They are removed if all shards are made anew; otherwise, and by a run that makes a share, they are
    /// named. Shards with names of other kinds stay.
    fn end_list(&self) -> Result<(), RunError> {
        let Output::Set { folder, .. } = &self.output else { return Ok(()) };
        let (units, entered) = (&self.options.units, self.entered.load(Ordering::Relaxed));
        if units.name.is_some() || units.retries.is_some() || (entered == 0 && units.slice.is_none()) {
            return Ok(());
        }
        let fail = |source| RunError::Output { path: self.root(), source };
        let mut behind = shard_names(&folder.root.names().map_err(fail)?);
        behind.retain(|name| Units::list_number(name).is_some_and(|number| number >= units.end(entered)));
        if folder.makes_anew() && !units.is_shared() {
            for name in behind {
                // The marker first: without it, the other files are no shard.
                for suffix in [MARKER_SUFFIX, ".tar", ".parquet"] {
                    folder.root.remove(&format!("{name}{suffix}")).map_err(fail)?;
                }
            }
            return folder.note_end();
        }
        let Some((first, last)) = behind.first().zip(behind.last()) else { return Ok(()) };
        lock(&self.totals).behind = behind.len() as u64;
        let which = if first == last { first.clone() } else { format!("{first} to {last}") };
        tracing::warn!(
            target: "fetchimg",
            "{} behind the end of the list: {which}. Readers take all shards of {} for the set; remove the files of those that \
             are left from a longer list or from smaller shards",
            counted(behind.len() as u64, "shard"),
            self.root().display()
        );
        Ok(())
    }

    /// The number of open shards.
    #[must_use]
    pub fn open_count(&self) -> u64 {
        lock(&self.open).len() as u64
    }

    /// The number of shards that this run has completed; `None` if it makes no shards, but a stream.
    #[must_use]
    pub fn completed(&self) -> Option<u64> {
        matches!(self.output, Output::Set { .. }).then(|| self.committed.load(Ordering::Relaxed))
    }

    /// What there is of shards; `None` if this run makes no shards.
    #[must_use]
    pub fn totals(&self) -> Option<ShardTotals> {
        let totals = matches!(self.output, Output::Set { .. }).then(|| *lock(&self.totals))?;
        Some(ShardTotals { unfinished: self.open_count(), ..totals })
    }
}

/// A shard that is there is another one.
fn other_shard(root: &Path, format: OutputFormat, (name, sentence): (&str, String)) -> RunError {
    let path = root.join(format!("{name}.{}", format.names().1));
    RunError::Output { path, source: io::Error::new(io::ErrorKind::InvalidInput, sentence) }
}

/// What is said of a complete shard that was made with other options.
fn made_with_other_options(name: &str) -> String {
    format!("it was made with other options; {}", remedy(name))
}

/// What to do so that a complete shard is made anew, and the others stay as they are.
fn remedy(name: &str) -> String {
    format!(
        "remove {name}{MARKER_SUFFIX}, and the same command makes this shard anew; --overwrite makes all shards anew"
    )
}

/// What is said of an unfinished shard that was made from something else. `scratch`: where it waits.
fn other_origin(error: &UnitError, scratch: &Path, name: &str) -> String {
    let from = match error {
        UnitError::OtherOptions => "with other options",
        _ => "from other rows of the list",
    };
    format!("it was made {from} as far as it has come; {}", Scratch::remedy(scratch, name))
}

/// What an unfinished shard must have been made with. Which rows are tried again depends on the shards of the list that are
/// complete, too.
fn scratch_settings(settings: &str, options: &Options) -> Result<String, RunError> {
    let (Some(_), Some(root)) = (&options.units.retries, options.destination.location()) else {
        return Ok(settings.to_owned());
    };
    let fail = |source| RunError::Output { path: root.root(), source };
    let mut digest = Sha256::new_with_prefix(settings);
    for name in shard_names(&root.names().map_err(fail)?).iter().filter(|name| !Units::is_retry_name(name)) {
        digest.update(format!("\n{name}"));
    }
    Ok(hex(&digest.finalize()))
}

/// The SHA-256 is a column of every table.
pub const DIGEST: Algorithm = Algorithm::Sha256;

/// Whether a record is that of a sample.
#[must_use]
pub const fn saved(record: &Record) -> Option<&Saved> {
    match &record.outcome {
        Outcome::Saved(saved) => Some(saved),
        _ => None,
    }
}
